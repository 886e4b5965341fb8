//! Data, compile and fit, history, callbacks and model files.
//!
//! ```
//! use kiln_nn::{Key, Sequential, layers::Dense, ops::*};
//! use kiln_train::{Compile, Dataset, Fit, Verbosity};
//! let x = Key::new(0).normal([64, 3], 0.0, 1.0)?;
//! let data = Dataset::new(x.clone(), x.sum(-1)?.reshape([64, 1])?)?;
//! let mut model = Sequential::new([3]).add(Dense::new(1)).compile("adam", "mse", ["mae"])?;
//! let history = model.fit(&data, Fit::new().epochs(3).verbose(Verbosity::Silent))?;
//! assert!(history.last("loss") < history.get("loss").map(|losses| losses[0]));
//! # Ok::<(), kiln_train::Error>(())
//! ```
//!
//! | room | what it holds |
//! |---|---|
//! | here | [`Dataset`], [`Compile`], [`Model`] with `fit`, `evaluate`, `predict`, `save` and `load`, the settings of [`Fit`] |
//! | [`datasets`] | digits that come with Kiln; MNIST and CIFAR-10 from a folder |
//! | [`callbacks`] | what runs beside the training loop: early stopping, checkpoints, learning rates, logs |
//! | [`data`] | IDX, CIFAR-10 and CSV files as plain arrays |
//! | [`history`] | every value of every epoch, its files, what it says of the fit |
//! | [`monitor`] | a deployed model: drift, metrics when labels arrive, challengers |
//! | `plot` | histories, comparisons, confusion matrices, curves as PNG or SVG (feature `plot`, on by default) |
//! | [`progress`] | the live bar, or a line an epoch |
//! | [`report`] | confusion matrix; precision, recall and F1 by class; a run on one page of HTML (feature `plot`) |
//! | [`scores`] | scikit-learn's scores of whole arrays: F1, ROC AUC, log loss, R², … |
//! | [`search`] | hyperparameters on a grid, at random, by Hyperband, by what their scores let expect |
//! | [`splits`] | parts of data to train on and to judge by, as scikit-learn has them |
//! | [`text`] | "did you mean", lists of names, numbers as Keras prints them |
#![forbid(unsafe_code)]

pub mod callbacks;
mod checkpoint;
mod cross_validate;
pub mod data;
pub mod datasets;
mod doubts;
pub mod error;
mod evaluate;
mod fit;
pub mod history;
pub mod monitor;
#[cfg(feature = "plot")]
pub mod plot;
pub mod progress;
mod repeat;
pub mod report;
mod running;
pub mod scores;
pub mod search;
pub mod splits;
pub mod text;

mod files;
mod interrupt;
mod json;
mod model;
mod plans;
mod predictor;
mod rate_finder;
mod unoptimized;

pub use callbacks::{Callback, Control, Direction, Mode, Snapshot};
pub use checkpoint::LoadReport;
pub use cross_validate::{CrossValidation, FoldResult, cross_validate};
pub use data::{Batch, BatchSource, ClassWeight, Dataset, Inputs, IntoClassWeight, IntoTensors, Stream};
pub use error::{Error, Result};
pub use fit::{Every, Fit};
pub use history::{Diagnosis, FitVerdict, History, Logs, Params, StopReason};
pub use model::{Compile, Model};
pub use predictor::Predictor;
pub use progress::{Progress, Verbosity};
pub use rate_finder::{RateFinder, RateSweep};
#[cfg(feature = "plot")]
pub use report::Report;
pub use report::{ClassificationReport, ConfusionMatrix};
