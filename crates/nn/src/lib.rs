//! Parameters, layers, initializers, losses, metrics and optimizers.
#![forbid(unsafe_code)]

mod config;
mod error;
pub mod losses;
pub mod names;

pub use error::{Error, Result};
pub use losses::{IntoLoss, Loss};
