//! The operations.

pub mod conv;
pub mod matmul;
