//! The operations.

pub mod conv;
pub mod matmul;
pub mod pool;
