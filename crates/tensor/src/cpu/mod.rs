//! How a CPU works: instruction sets, vectors, tasks and the multiply-accumulate tile. No operation is named here.

pub mod float;
pub mod scratch;
pub mod simd;
pub mod tasks;
pub mod tile;
pub mod vector;
