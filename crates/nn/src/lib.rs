//! Parameters, layers, initializers, losses, metrics and optimizers.
#![forbid(unsafe_code)]

mod error;
pub mod names;

pub use error::{Error, Result};
