//! Views move elements; their gradients move back.

use super::only;
use crate::keep;
use crate::ops::{Apply, Embed, Expand, Permute, ReduceOps, Reshape, Slice, Value, ViewOps};
use crate::{Differentiable, Keep, Result, Var};

impl Differentiable for Reshape {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![Some(only(dy).reshape(Value::shape(&x[0]))?)])
    }
}

impl Differentiable for Permute {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    fn vjp(&self, _x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut axes = vec![0; self.axes.len()];
        self.axes.iter().enumerate().for_each(|(to, &from)| axes[from] = to);
        Ok(vec![Some(Var::apply_one(Permute { axes }, &[&only(dy)])?)])
    }
}

impl Differentiable for Expand {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    /// The sum over the repeated dimensions is the caller's, who undoes all broadcasting.
    fn vjp(&self, _x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![dy[0].clone()])
    }
}

impl Differentiable for Slice {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    /// What a step of 0 reads again and again is first summed: [`Embed`] has room for one element in each place.
    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let (mut dy, mut ranges) = (only(dy), self.ranges.clone());
        for (axis, range) in ranges.iter_mut().enumerate().filter(|(_, range)| range.step == 0) {
            if range.length > 1 {
                dy = dy.sum(keep(axis as isize))?;
                range.length = 1;
            }
            range.step = 1;
        }
        let op = Embed { shape: *Value::shape(&x[0]), ranges, fill: 0.0 };
        Ok(vec![Some(Var::apply_one(op, &[&dy])?)])
    }
}

impl Differentiable for Embed {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    fn vjp(&self, _x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![Some(Var::apply_one(Slice { ranges: self.ranges.clone() }, &[&only(dy)])?)])
    }
}
