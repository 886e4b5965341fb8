//! The tape: which operation came from which, and derivatives of any order.
//!
//! A [`Var`] is a value that may live on a [`Tape`]. Everything computed from one that does is recorded; nothing else
//! is. There is no switch to turn recording off and no global state: drop the tape, and all it kept is gone.
//!
//! ```
//! use kiln_autograd::{Tape, Tensor, ops::*};
//! let tape = Tape::new();
//! let x = tape.watch(&Tensor::new([1.0, 2.0, 3.0]));
//! let y = x.square()?.sum(..)?;
//! assert_eq!(y.backward()?.get(&x)?.to_vec::<f64>()?, [2.0, 4.0, 6.0]);
//! # Ok::<(), kiln_autograd::Error>(())
//! ```
#![forbid(unsafe_code)]

mod backward;
mod differentiable;
mod functional;
mod gradcheck;
mod recompute;
mod rules;
mod tape;
mod var;

pub use backward::{Gradients, gradients};
pub use differentiable::{Differentiable, Keep};
pub use functional::{grad, hvp, jvp, value_and_grad, vjp};
pub use gradcheck::GradCheck;
pub use recompute::checkpoint;
pub use tape::Tape;
pub use var::Var;

pub use kiln_tensor::{
    Abreast, Aliases, Arity, Axes, CpuCall, CudaCall, CudaOperand, DType, Device, DeviceMemory, Dual, DynOp, Element,
    Error, ErrorKind, Expr, Fault, IS_OPTIMIZED, IntoAxes, IntoShape, Isa, Key, Launch, LaunchArgument, Layout,
    MAX_RANK, Mask, Number, Op, Outputs, Plan, PlanMemory, Pointer, Result, Scalar, Shape, Spec, Specs, Tensor, Trace,
    View, ViewMut, Watch, bf16, f16, io, keep, ops, s, with_element, with_isa,
};
