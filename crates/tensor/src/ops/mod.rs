//! What can be computed: one room for each operation or family, holding its value, its kernels and its method.

mod elementwise;
mod value;
mod views;

pub use elementwise::*;
pub use value::{Apply, Operand, Value};
pub use views::*;
