//! Reading at indices and adding at indices are each other's reverse.

use super::only;
use crate::ops::{Apply, Gather, IndexAdd, IndexSelect, ScatterAdd, Stride, Value};
use crate::{Differentiable, Keep, Result, Tensor, Var};

fn zeros(x: &Var) -> Var {
    Var::new(Tensor::filled(x.tensor().spec(), 0.0))
}

/// The indices, the only operand that a rule here reads.
const INDICES: Keep = Keep::only(&[1], &[]);

impl Differentiable for Gather {
    fn keeps(&self) -> Keep {
        INDICES
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dx = Var::apply_one(ScatterAdd { axis: self.axis }, &[&zeros(&x[0]), &x[1], &only(dy)])?;
        Ok(vec![Some(dx), None])
    }
}

impl Differentiable for ScatterAdd {
    fn keeps(&self) -> Keep {
        INDICES
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dy = only(dy);
        let source = match need[2] {
            false => None,
            true => {
                let read = Var::apply_one(Gather { axis: self.axis }, &[&dy, &x[1]])?;
                // The part of the source that the indices do not cover was never read.
                let corner = Value::shape(&read).iter().map(|&d| Stride::full(d)).collect();
                let embed = crate::ops::Embed { shape: *Value::shape(&x[2]), ranges: corner, fill: 0.0 };
                Some(if Value::shape(&read) == Value::shape(&x[2]) { read } else { Var::apply_one(embed, &[&read])? })
            }
        };
        Ok(vec![Some(dy), None, source])
    }
}

impl Differentiable for IndexSelect {
    fn keeps(&self) -> Keep {
        INDICES
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dx = Var::apply_one(IndexAdd { axis: self.axis }, &[&zeros(&x[0]), &x[1], &only(dy)])?;
        Ok(vec![Some(dx), None])
    }
}

impl Differentiable for IndexAdd {
    fn keeps(&self) -> Keep {
        INDICES
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dy = only(dy);
        let source = match need[2] {
            true => Some(Var::apply_one(IndexSelect { axis: self.axis }, &[&dy, &x[1]])?),
            false => None,
        };
        Ok(vec![Some(dy), None, source])
    }
}
