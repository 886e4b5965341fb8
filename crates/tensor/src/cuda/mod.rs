//! NVIDIA GPUs: what operations ask of them ([`launch`]), CUDA C++ made of programs ([`source`]), and, with the feature
//! `cuda`, the driver, memory, compiled kernels and the running of them. Names no operation.

mod launch;
mod source;

#[cfg(not(feature = "cuda"))]
mod absent;
#[cfg(feature = "cuda")]
mod compile;
#[cfg(feature = "cuda")]
mod convolution;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "cuda")]
mod execute;
#[cfg(feature = "cuda")]
mod faults;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "cuda")]
mod joined;
#[cfg(feature = "cuda")]
mod known;
#[cfg(feature = "cuda")]
mod library;
#[cfg(feature = "cuda")]
mod memory;
#[cfg(feature = "cuda")]
mod product;
#[cfg(feature = "cuda")]
mod recorded;
#[cfg(feature = "cuda")]
mod staging;

#[cfg(not(feature = "cuda"))]
pub(crate) use absent::*;
#[cfg(feature = "cuda")]
pub(crate) use execute::*;
#[cfg(feature = "cuda")]
pub(crate) use gpu::count;
#[cfg(feature = "cuda")]
pub(crate) use memory::Buffer;
#[cfg(feature = "cuda")]
pub(crate) use recorded::Recorded;

pub(crate) use launch::{
    Asked, Convolution, ConvolutionPass, LIBRARY_ALIGNMENT, PlannedCall, Source, Work, allow_tf32, no_kernel,
    tf32_is_allowed,
};
pub use launch::{BLOCK, CudaCall, CudaOperand, Fault, Launch, LaunchArgument, Pointer};
pub(crate) use source::{FoldProgram, Group, GroupOperand, fold, pointwise};
