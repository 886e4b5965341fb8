//! What can be computed: one room for each operation or family, holding its value, its kernels and its method.

mod cast;
mod elementwise;
mod matmul;
mod operators;
mod reduce;
mod value;
mod views;

pub use cast::*;
pub use elementwise::*;
pub use matmul::{MatMul, MatMulOps};
pub use reduce::*;
pub use value::{Apply, Operand, Value};
pub use views::*;
