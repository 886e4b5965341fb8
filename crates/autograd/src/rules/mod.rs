//! Derivative rules: a file for each room of the tensor crate's `ops`, with the same name.

mod cast;
mod concat;
mod conv;
mod cross_entropy;
mod elementwise;
mod gather;
mod linalg;
mod matmul;
mod pool;
mod random;
mod recurrent;
mod reduce;
mod scan;
mod softmax;
mod views;

pub(crate) use elementwise::Pointwise;
pub(crate) use reduce::Folded;

use crate::Var;

/// The gradient of an operation's only result, which the walk back never leaves out.
pub(crate) fn only(dy: &[Option<Var>]) -> Var {
    dy[0].clone().expect("a step is visited when one of its results has a gradient, and this one has one result")
}
