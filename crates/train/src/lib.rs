//! Data, compile and fit, history, callbacks and model files.
#![forbid(unsafe_code)]

pub mod callbacks;
pub mod data;
pub mod error;
pub mod history;
#[cfg(feature = "plot")]
pub mod plot;
pub mod progress;
pub mod report;
pub mod table;
pub mod text;

mod files;

pub use callbacks::{Direction, Mode};
pub use error::{Error, Result};
pub use history::{FitVerdict, History, Logs, Overfitting, Params, StopReason};
pub use progress::{Progress, Verbosity};
pub use report::{ClassificationReport, ConfusionMatrix};
