//! Dropout is linear: its gradient is dropped out at the same places, which the same key finds again.

use super::only;
use crate::ops::{Apply, Dropout};
use crate::{Differentiable, Keep, Result, Var};

impl Differentiable for Dropout {
    fn keeps(&self) -> Keep {
        Keep::only(&[1, 2, 3, 4], &[])
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dx = Var::apply_one(Dropout, &[&only(dy), &x[1], &x[2], &x[3], &x[4]])?;
        Ok(vec![Some(dx), None, None, None, None])
    }
}
