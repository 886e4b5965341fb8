//! The operations.

pub mod matmul;
