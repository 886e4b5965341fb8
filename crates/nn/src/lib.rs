//! Parameters, layers, initializers, losses, metrics and optimizers.
//!
//! Knows nothing of data loaders, loops, clocks or files.
#![forbid(unsafe_code)]

mod activation;
mod config;
mod error;
pub mod init;
pub mod layer;
pub mod layers;
pub mod losses;
pub mod metrics;
pub mod module;
pub mod names;
pub mod optimizers;
pub mod schedules;
mod sequential;
mod summary;
pub mod table;

pub use activation::Activation;
pub use error::{Error, Result};
pub use init::Initializer;
pub use layer::{Built, Layer, Weight};
pub use losses::{IntoLoss, Loss};
pub use metrics::{IntoMetric, IntoMetrics, Metric};
pub use module::{IntoModule, Module, Parameter, Pass};
pub use optimizers::{IntoOptimizer, Optimizer, ParameterUpdate};
pub use schedules::Schedule;
pub use sequential::{Network, Sequential};

pub use kiln_autograd::Error as TensorError;
pub use kiln_autograd::{
    DType, Device, Differentiable, Dual, Element, Expr, GradCheck, Gradients, IntoShape, Keep, Key, Layout, Mask, Op,
    Scalar, Shape, Spec, Tape, Tensor, Var, View, ViewMut, bf16, checkpoint, cpu, f16, grad, gradients, hvp, io, jvp,
    ops, value_and_grad, vjp,
};
