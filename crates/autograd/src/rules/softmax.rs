//! With `y = softmax(x)`: `dx = y · (dy - Σ y·dy)`. With `y = log_softmax(x)`: `dx = dy - exp(y) · Σ dy`.

use super::only;
use crate::ops::{ArithmeticOps, MathOps, ReduceOps, Softmax};
use crate::{Differentiable, Keep, Result, Var, keep};

impl Differentiable for Softmax {
    fn keeps(&self) -> Keep {
        Keep::OUTPUTS
    }

    fn vjp(&self, _x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let (y, dy, axis) = (&y[0], only(dy), self.axis as isize);
        let dx = match self.log {
            true => dy.sub(&y.exp()?.mul(&dy.sum(keep(axis))?)?)?,
            false => y.mul(&dy.sub(&y.mul(&dy)?.sum(keep(axis))?)?)?,
        };
        Ok(vec![Some(dx)])
    }
}
