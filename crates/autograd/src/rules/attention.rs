//! Attention: its gradient is an operation of its own, which computes the shares again; what that one's gradient is follows
//! from the same formula in ordinary operations, with the shares `p` in memory: `dv = pᵀ · dy`, and for the scores
//! `ds = p · (dp - Σ p·dp)` with `dp = dy · vᵀ`.

use super::derived_again;
use crate::ops::{
    Apply, ArithmeticOps, Attend, AttendGrad, AttentionOps, AttentionOptions, CastOps, MatMulOps, ReduceOps, Value,
    ViewOps,
};
use crate::{Differentiable, Keep, Result, Var, keep};

impl Differentiable for Attend {
    fn keeps(&self) -> Keep {
        Keep::ALL
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let mask = x.get(3);
        let of_mask = mask.is_some() && need.get(3) == Some(&true);
        let zeros;
        let along = match &dy[0] {
            Some(dy) => dy,
            None => {
                zeros = Var::constant(y[0].tensor().filled_like(0.0)?);
                &zeros
            }
        };
        if dy[1].is_some() || of_mask {
            let all = back(*self, &x[..3], mask, along, dy[1].as_ref())?;
            return Ok(all.into_iter().zip(need).map(|(dx, need)| need.then_some(dx)).collect());
        }
        let operands: Vec<&Var> = x[..3].iter().chain(y).chain([along]).chain(mask).collect();
        let dx = Var::apply_op(AttendGrad { of: *self }, &operands)?;
        Ok(dx.into_iter().map(Some).chain(mask.map(|_| None)).collect())
    }
}

impl Differentiable for AttendGrad {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    /// The results of the attention count as made of its operands, which is what they are.
    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        derived_again(x, dy, need, |x| {
            let mut all = back(self.of, &x[..3], x.get(6), &x[5], None)?;
            all.truncate(3);
            Ok(all)
        })
    }
}

/// The gradients of queries, keys, values and, where there is one, the mask.
fn back(of: Attend, x: &[Var], mask: Option<&Var>, dy: &Var, d_sums: Option<&Var>) -> Result<Vec<Var>> {
    let [q, k, v] = x else { unreachable!("its first operands are three") };
    let options = AttentionOptions { mask, causal: of.causal, scale: Some(of.scale) };
    let p = q.attention_shares(k, &options)?;
    let dp = dy.matmul(&v.transpose(-1, -2)?)?;
    let mut ds = p.mul(&dp.sub(&dp.mul(&p)?.sum(keep(-1))?)?)?;
    if let Some(d_sums) = d_sums {
        ds = ds.add(&p.mul(&d_sums.cast(Value::dtype(&p))?.unsqueeze(-1)?)?)?;
    }
    let scaled = ds.mul(of.scale)?;
    let mut all = vec![scaled.matmul(k)?, scaled.transpose(-1, -2)?.matmul(q)?, p.transpose(-1, -2)?.matmul(dy)?];
    all.extend(mask.map(|_| ds));
    Ok(all)
}
