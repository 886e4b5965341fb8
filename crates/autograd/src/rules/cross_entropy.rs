//! `d logits = dy · (softmax(logits) - one_hot(label))`, fused in first order.

use super::only;
use crate::ops::{
    Apply, ArithmeticOps, CrossEntropy, CrossEntropyGrad, ReduceOps, SoftmaxOps, Value, ViewOps, one_hot,
};
use crate::{Differentiable, Keep, Result, Var, keep};

impl Differentiable for CrossEntropy {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![Some(Var::apply_one(CrossEntropyGrad, &[&x[0], &x[1], &only(dy)])?), None])
    }
}

impl Differentiable for CrossEntropyGrad {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let (logits, labels, weight, dy) = (&x[0], &x[1], x[2].unsqueeze(-1)?, only(dy));
        let p = logits.softmax(-1)?;
        let classes = Value::shape(logits).last().copied().unwrap_or(1);
        let target = Var::new(one_hot(labels.tensor(), classes, Value::dtype(logits))?);
        let d_weight = dy.mul(&p.sub(&target)?)?.sum(-1)?;
        let weighted = dy.mul(&weight)?;
        let d_logits = p.mul(&weighted.sub(&p.mul(&weighted)?.sum(keep(-1))?)?)?;
        Ok(vec![Some(d_logits), None, Some(d_weight)])
    }
}
