//! Arrays: strided tensors, devices, kernels, random numbers and array files.

pub mod cpu;
pub mod ops;
