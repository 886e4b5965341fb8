//! How a CPU works: memory, threads, instruction sets, vectors. Names no operation.

pub mod buffer;
pub mod dense;
pub mod float;
pub mod gemm;
mod handover;
pub mod lanes;
pub mod load;
pub mod pairs;
pub mod parallel;
pub mod scratch;
pub mod simd;
pub mod single;
pub mod tile;
pub mod turned;
pub mod vector;
