//! Pools over windows of images, sequences and volumes: the largest element, or the mean; and the operations behind their
//! gradients. A pool over all of an image is a mean or an [`amax`](super::ReduceOps::amax) over its axes.

mod adaptive;
pub(crate) mod cpu;
mod cuda;
mod ops;
mod options;
mod surface;
mod volumes;

pub use adaptive::AdaptivePoolOps;
pub use cpu::Divisor;
pub use ops::{AveragePool2d, AveragePool2dGrad, MaxPool2d, MaxPool2dGrad, MaxPool2dPick, Window2d};
pub use options::{Pool1dOptions, Pool2dOptions, Pool3dOptions, PoolOptions};
pub use surface::PoolOps;
