//! Derivative rules: a file for each room of the tensor crate's `ops`, with the same name.

mod attention;
mod cast;
mod concat;
mod conv;
mod cross_entropy;
mod elementwise;
mod gather;
mod linalg;
mod matmul;
mod normalization;
mod pool;
mod random;
mod recurrent;
mod reduce;
mod scan;
mod softmax;
mod views;

pub(crate) use elementwise::Pointwise;
pub(crate) use reduce::Folded;

use crate::backward::gradients;
use crate::ops::{Apply, Reshape, Value};
use crate::{Result, Var};

/// The gradient of an operation's only result, which the walk back never leaves out.
pub(crate) fn only(dy: &[Option<Var>]) -> Var {
    dy[0].clone().expect("a step is visited when one of its results has a gradient, and this one has one result")
}

/// The gradients of `f`, made of ordinary operations, with respect to operands that may depend on each other.
pub(crate) fn derived_again(
    x: &[Var],
    dy: &[Option<Var>],
    need: &[bool],
    f: impl Fn(&[Var]) -> Result<Vec<Var>>,
) -> Result<Vec<Option<Var>>> {
    let outer = x.iter().chain(dy.iter().flatten()).find_map(Var::tape);
    let tape = outer.cloned().unwrap_or_default();
    let own = |(x, need): (&Var, &bool)| match (x.is_tracked(), need) {
        // A value of its own, behind which the walk does not go on into the other operands.
        (true, _) => Var::apply_one(Reshape { shape: *Value::shape(x) }, &[x]),
        (false, true) => Ok(tape.watch(x.tensor())),
        (false, false) => Ok(x.clone()),
    };
    let x: Vec<Var> = x.iter().zip(need).map(own).collect::<Result<_>>()?;
    let y = f(&x)?;
    let outputs: Vec<(&Var, &Var)> = y.iter().zip(dy).filter_map(|(y, dy)| Some((y, dy.as_ref()?))).collect();
    let wanted: Vec<&Var> = x.iter().zip(need).filter(|(_, need)| **need).map(|(x, _)| x).collect();
    let mut dx = gradients(&outputs, &wanted, outer.is_some())?.into_iter();
    Ok(need.iter().map(|need| if *need { dx.next().flatten() } else { None }).collect())
}
