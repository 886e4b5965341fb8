//! Arrays: strided tensors, devices, kernels, random numbers and array files.
