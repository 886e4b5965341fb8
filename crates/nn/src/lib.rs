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
mod range;
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
    Aliases, Arity, Axes, CpuCall, DType, Device, Differentiable, Dual, DynOp, Element, Expr, GradCheck, Gradients,
    IS_OPTIMIZED, IntoShape, Isa, Keep, Key, Layout, Mask, Number, Op, Outputs, Plan, PlanMemory, Scalar, Shape, Spec,
    Specs, Tape, Tensor, Trace, Var, View, ViewMut, Watch, bf16, checkpoint, f16, grad, gradients, hvp, io, jvp, keep,
    ops, value_and_grad, vjp, with_isa,
};
