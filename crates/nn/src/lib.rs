//! Parameters, layers, initializers, losses, metrics and optimizers.
//!
//! ```
//! use kiln_nn::{Key, Module, Pass, Sequential, Tensor, Var, layers::Dense, losses::{Loss, MeanSquaredError}};
//! use kiln_nn::module::count_parameters;
//! let mut model = Sequential::new([3]).add(Dense::new(4).activation("relu")).add(Dense::new(1)).build()?;
//! assert_eq!(count_parameters(&model), (3 * 4 + 4 + 4 + 1, 0));
//!
//! // One step by hand: the loss of a batch, and a gradient for each parameter.
//! let (x, y) = (Var::new(Tensor::ones([2, 3])?), Var::new(Tensor::zeros([2, 1])?));
//! let mut pass = Pass::training(Key::new(0));
//! let loss = MeanSquaredError::new().call(&y, &model.forward(&x, &mut pass)?, None)?;
//! assert_eq!(pass.finish(&loss, &mut model)?.len(), 4);
//! # Ok::<(), kiln_nn::Error>(())
//! ```
//!
//! | room | what it holds |
//! |---|---|
//! | [`layers`], [`Sequential`], [`Functional`] | layers, and models of them in a row and as graphs; [`Layer`] is for one of your own |
//! | [`module`] | [`Module`], which any model is, its parameters, and a [`Pass`] through it |
//! | [`init`] | what weights start from |
//! | [`losses`], [`metrics`] | what is made small, and what is reported |
//! | [`optimizers`], [`schedules`] | how parameters are updated, and the learning rate by the step |
//! | [`text`] | words as numbers |
//! | [`table`], [`names`] | how models are printed, and what a misspelt name meant |
//!
//! Knows nothing of data loaders, loops, clocks or files.
#![forbid(unsafe_code)]

mod activation;
mod axis;
mod config;
mod drawing;
mod error;
mod functional;
pub mod init;
pub mod layer;
pub mod layers;
pub mod losses;
pub mod metrics;
pub mod module;
pub mod names;
mod numbers;
pub mod optimizers;
mod penalty;
mod range;
pub mod schedules;
mod sequential;
mod signal;
mod summary;
mod symbol;
pub mod table;
pub mod text;

pub use activation::Activation;
pub use axis::AxisList;
pub use error::{Error, Result};
pub use functional::{Functional, Network};
pub use init::Initializer;
pub use layer::{AnyLayer, Built, Layer, Weight, Weights};
pub use losses::{IntoLoss, Loss};
pub use metrics::{IntoMetric, IntoMetrics, Metric};
pub use module::{IntoModule, Module, Parameter, Pass, Role};
pub use numbers::Numbers;
pub use optimizers::{IntoOptimizer, Optimizer, ParameterUpdate};
pub use penalty::{Constraint, Regularizer};
pub use schedules::Schedule;
pub use sequential::Sequential;
pub use signal::Signal;
pub use symbol::{Connect, Input, IntoSymbols, Shared, Symbol};

pub use kiln_autograd::Error as TensorError;
pub use kiln_autograd::{
    Aliases, Arity, Axes, CpuCall, CudaCall, CudaOperand, DType, Device, DeviceMemory, Differentiable, Dual, DynOp,
    Element, Expr, Fault, GradCheck, Gradients, IS_OPTIMIZED, IntoShape, Isa, Keep, Key, Launch, LaunchArgument,
    Layout, Mask, Number, Op, Outputs, Plan, PlanMemory, Pointer, Scalar, Shape, Spec, Specs, Tape, Tensor, Trace, Var,
    View, ViewMut, Watch, bf16, checkpoint, f16, grad, gradients, hvp, io, jvp, keep, ops, value_and_grad, vjp,
    with_isa,
};
/// Settings of layers, losses, metrics and optimizers are its values: parts of your own need no dependency for them.
pub use serde_json;
