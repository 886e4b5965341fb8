//! A maximum pool reads at the positions that it found: its gradient writes there, and that one's reads there again. A
//! mean pool is linear.

use super::only;
use crate::ops::{Apply, AveragePool2d, AveragePool2dGrad, MaxPool2d, MaxPool2dGrad, MaxPool2dPick, Value};
use crate::{Differentiable, Keep, Result, Var};

/// Height and width.
fn sides(x: &Var) -> [usize; 2] {
    let shape = Value::shape(x);
    [shape[1], shape[2]]
}

impl Differentiable for MaxPool2d {
    fn keeps(&self) -> Keep {
        Keep::only(&[], &[1])
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let op = MaxPool2dGrad { window: self.window, input: sides(&x[0]) };
        Ok(vec![Some(Var::apply_one(op, &[&only(dy), &y[1].detach()])?)])
    }
}

impl Differentiable for MaxPool2dGrad {
    fn keeps(&self) -> Keep {
        Keep::only(&[1], &[])
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![Some(Var::apply_one(MaxPool2dPick { window: self.window }, &[&only(dy), &x[1]])?), None])
    }
}

impl Differentiable for MaxPool2dPick {
    fn keeps(&self) -> Keep {
        Keep::only(&[1], &[])
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let op = MaxPool2dGrad { window: self.window, input: sides(&x[0]) };
        Ok(vec![Some(Var::apply_one(op, &[&only(dy), &x[1]])?), None])
    }
}

impl Differentiable for AveragePool2d {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let op = AveragePool2dGrad { pool: *self, input: sides(&x[0]) };
        Ok(vec![Some(Var::apply_one(op, &[&only(dy)])?)])
    }
}

impl Differentiable for AveragePool2dGrad {
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }

    fn vjp(&self, _x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![Some(Var::apply_one(self.pool, &[&only(dy)])?)])
    }
}
