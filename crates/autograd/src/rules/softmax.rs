//! Softmax: its gradient is an operation of its own, and what that one's gradient is follows from the same formula in ordinary
//! operations. With `y = softmax(x)`: `dx = y · (dy - Σ y·dy)`. With `y = log_softmax(x)`: `dx = dy - exp(y) · Σ dy`.

use super::{derived_again, only};
use crate::ops::{Apply, ArithmeticOps, MathOps, ReduceOps, Softmax, SoftmaxGrad};
use crate::{Differentiable, Keep, Result, Var, keep};

impl Differentiable for Softmax {
    fn keeps(&self) -> Keep {
        Keep::OUTPUTS
    }

    fn vjp(&self, _x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![Some(Var::apply_one(SoftmaxGrad { of: self.clone() }, &[&y[0], &only(dy)])?)])
    }
}

impl Differentiable for SoftmaxGrad {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        derived_again(x, dy, need, |x| {
            let (y, dy, axis) = (&x[0], &x[1], self.of.axis as isize);
            Ok(vec![match self.of.log {
                true => dy.sub(&y.exp()?.mul(&dy.sum(keep(axis))?)?)?,
                false => y.mul(&dy.sub(&y.mul(dy)?.sum(keep(axis))?)?)?,
            }])
        })
    }
}
