//! A conversion passes its gradient on; the walk back converts it to the operand's type.

use crate::ops::Cast;
use crate::{Differentiable, Keep, Result, Var};

impl Differentiable for Cast {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    fn vjp(&self, _x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dy[0].clone()])
    }
}
