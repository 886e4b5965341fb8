//! Each operand's gradient is the slice where it stood.

use super::only;
use crate::ops::{Concat, Value, ViewOps};
use crate::{Differentiable, Keep, Result, Var};

impl Differentiable for Concat {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let sizes: Vec<usize> = x.iter().map(|x| Value::shape(x)[self.axis]).collect();
        Ok(only(dy).split(&sizes, self.axis as isize)?.into_iter().map(Some).collect())
    }
}
