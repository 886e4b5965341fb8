//! A running sum's gradient is the running sum from the other end.

use super::only;
use crate::ops::{Apply, CumSum};
use crate::{Differentiable, Keep, Result, Var};

impl Differentiable for CumSum {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    fn vjp(&self, _x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let op = CumSum { axis: self.axis, reverse: !self.reverse };
        Ok(vec![Some(Var::apply_one(op, &[&only(dy)])?)])
    }
}
