//! Arrays: strided tensors with run-time type, rank and device; the operations on them; random numbers; array files.
//!
//! ```
//! use kiln_tensor::{Key, Tensor, keep, ops::*};
//! let x = Tensor::new([[1.0f32, 2.0], [3.0, 5.0]]);
//! assert_eq!(x.sub(&x.mean(keep(-1))?)?.to_vec::<f32>()?, [-0.5, 0.5, -1.0, 1.0]);
//! let noise = Key::new(7).normal([2, 2], 0.0, 0.1)?;
//! println!("{}", (&x + &noise)?);
//! # Ok::<(), kiln_tensor::Error>(())
//! ```
//!
//! | to | see |
//! |---|---|
//! | make a tensor and read it | [`Tensor`] |
//! | compute | the methods of the traits in [`ops`], and its functions `concat`, `stack` and `one_hot` |
//! | draw random numbers | [`Key`] |
//! | read and write npy, npz and safetensors files | [`io`] |
//! | run a function again and again | [`Plan`] |
//! | find where numbers stop being finite | [`Watch`] |
//! | write an operation | [`Op`], or for a function of each element [`ops::Function`], for a reduction [`ops::Fold`] |
//!
//! Knows nothing of gradients or layers.

mod abreast;
#[cfg(feature = "approx")]
mod approx;
mod axes;
mod cpu;
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "what operations ask of a GPU is written in every build"))]
mod cuda;
mod device;
mod display;
mod dtype;
mod error;
pub mod io;
mod layout;
mod op;
pub mod ops;
mod plan;
mod random;
mod read;
mod run;
mod scalar;
mod shape;
mod storage;
mod tensor;
mod trace;
mod watch;

pub use abreast::Abreast;
pub use axes::{Axes, IntoAxes, keep};
pub use cpu::buffer::release_cached;
pub use cpu::simd::{Isa, with_isa};
pub use cuda::{BLOCK, CudaCall, CudaOperand, Fault, Launch, LaunchArgument, Pointer};
pub use device::{Device, DeviceMemory};
pub use dtype::{DType, Element};
pub use error::{Error, ErrorKind, Result};
pub use half::{bf16, f16};
pub use layout::Layout;
pub use op::{Aliases, Arity, DynOp, Op, Outputs, Spec, Specs};
pub use plan::{Plan, PlanMemory};
pub use random::Key;
pub use run::{CpuCall, Elements, View, ViewMut};
pub use scalar::{Argument, Dual, Expr, ExprMask, Mask, Pointwise, Scalar};
pub use shape::{IntoShape, MAX_RANK, Shape};
pub use tensor::{IntoTensor, Number, Tensor};
pub use trace::Trace;
pub use watch::Watch;

/// Whether the kernels were compiled with optimization, at any level. Without it they take up to a hundred times as long.
pub const IS_OPTIMIZED: bool = !cfg!(unoptimized);
