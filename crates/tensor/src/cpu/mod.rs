//! How a CPU works: memory, threads, instruction sets, vectors. Names no operation.

pub mod buffer;
pub mod float;
pub mod parallel;
pub mod scratch;
pub mod simd;
pub mod tile;
pub mod vector;
