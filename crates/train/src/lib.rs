//! Data, compile and fit, history, callbacks and model files.
//!
//! | room | what it holds |
//! |---|---|
//! | [`callbacks`] | what runs beside the training loop: early stopping, checkpoints, learning rates, logs |
//! | [`data`] | IDX, CIFAR-10 and CSV files as plain arrays |
//! | [`history`] | every value of every epoch, its files, the signs of overfitting |
//! | `plot` | a history as PNG or SVG (feature `plot`, on by default) |
//! | [`progress`] | the live bar, or a line an epoch |
//! | [`report`] | confusion matrix; precision, recall and F1 by class |
//! | [`text`] | "did you mean", lists of names, numbers as Keras prints them |
#![forbid(unsafe_code)]

pub mod callbacks;
mod checkpoint;
pub mod data;
pub mod datasets;
pub mod error;
mod fit;
pub mod history;
#[cfg(feature = "plot")]
pub mod plot;
pub mod progress;
mod repeat;
pub mod report;
pub mod text;

mod files;
mod interrupt;
mod model;
mod plans;
mod unoptimized;

pub use callbacks::{Callback, Control, Direction, Mode, Snapshot};
pub use data::{Batch, ClassWeight, Dataset, Inputs};
pub use error::{Error, Result};
pub use fit::Fit;
pub use history::{FitVerdict, History, Logs, Overfitting, Params, StopReason};
pub use model::{Compile, Model};
pub use progress::{Progress, Verbosity};
pub use report::{ClassificationReport, ConfusionMatrix};
