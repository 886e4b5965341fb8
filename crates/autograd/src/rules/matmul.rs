//! `y = a · b`: `da = dy · bᵀ` and `db = aᵀ · dy`.

use super::only;
use crate::ops::{Apply, MatMul, ViewOps};
use crate::{Differentiable, Keep, Result, Var};

impl Differentiable for MatMul {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let dy = only(dy);
        let product = |need: bool, a: &dyn Fn() -> Result<Var>, b: &dyn Fn() -> Result<Var>| {
            if need { Var::apply_one(MatMul, &[&a()?, &b()?]).map(Some) } else { Ok(None) }
        };
        Ok(vec![
            product(need[0], &|| Ok(dy.clone()), &|| x[1].transpose(-1, -2))?,
            product(need[1], &|| x[0].transpose(-1, -2), &|| Ok(dy.clone()))?,
        ])
    }
}
