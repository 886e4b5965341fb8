//! A running sum's gradient is the running sum from the other end, and likewise that of a recurrence.

use super::only;
use crate::ops::{Apply, ArithmeticOps, CumSum, Recurrence, Value, ViewOps};
use crate::{Differentiable, Keep, Result, Tensor, Var};

impl Differentiable for CumSum {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    fn vjp(&self, _x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let op = CumSum { axis: self.axis, reverse: !self.reverse };
        Ok(vec![Some(Var::apply_one(op, &[&only(dy)])?)])
    }
}

impl Differentiable for Recurrence {
    fn keeps(&self) -> Keep {
        Keep::only(&[0], &[0])
    }

    /// With `g[i] = dy[i] + a[i + 1] · g[i + 1]`, the term's gradient is `g[i]` and the factor's `g[i] · h[i - 1]`.
    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let shifted = |x: &Var, by: isize| {
            let by = if self.reverse { -by } else { by };
            let mut padding = vec![(0, 0); Value::shape(x).rank()];
            padding.iter_mut().skip(self.axis).take(1).for_each(|pair| *pair = (by, -by));
            x.pad(&padding, 0.0)
        };
        let is_number = Value::shape(&x[0]).rank() == 0;
        let factors = if is_number { x[0].clone() } else { shifted(&x[0], -1)? };
        let back = Recurrence { axis: self.axis, reverse: !self.reverse };
        let terms = Var::apply_one(back, &[&factors, &only(dy)])?;
        let factors = match need[0] {
            false => None,
            // Nothing comes before a single number.
            true if is_number => Some(Var::new(Tensor::filled(x[0].tensor().spec(), 0.0))),
            true => Some(terms.mul(&shifted(&y[0], 1)?)?),
        };
        Ok(vec![factors, Some(terms)])
    }
}
