//! Parameters, layers, initializers, losses, metrics and optimizers.
#![forbid(unsafe_code)]

mod config;
mod error;
pub mod init;
pub mod losses;
pub mod metrics;
pub mod names;
pub mod optimizers;
pub mod schedules;

pub use error::{Error, Result};
pub use init::Initializer;
pub use losses::{IntoLoss, Loss};
pub use metrics::{IntoMetric, Metric};
pub use optimizers::{IntoOptimizer, Optimizer, ParameterUpdate};
pub use schedules::Schedule;
