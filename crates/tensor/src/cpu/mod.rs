//! How a CPU works: memory, threads, instruction sets. Names no operation.

pub mod buffer;
pub mod parallel;
pub mod simd;
