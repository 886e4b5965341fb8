//! Normalization: its gradient is an operation of its own; what that one's gradient is follows from the same formula in ordinary
//! operations. With `z = (x - mean) · r`, `r = 1 / √(variance + ε)` and `s = w · dy`: `dx = r · (s - mean of s - z · mean of s·z)`.

use super::derived_again;
use crate::ops::{Apply, ArithmeticOps, MathOps, Normalize, NormalizeGrad, ReduceOps, StatisticsOps, Value, ViewOps};
use crate::{Differentiable, Keep, Result, Var, keep};

impl Differentiable for Normalize {
    fn keeps(&self) -> Keep {
        Keep::only(&[0, 1], &[1, 2])
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut all = vec![None; x.len()];
        if let Some(dy) = &dy[0] {
            let op = NormalizeGrad { of: self.clone(), has_bias: x.len() > 2 };
            let operands: Vec<&Var> = [&x[0], &y[1], &y[2], dy].into_iter().chain(x.get(1)).collect();
            all = Var::apply_op(op, &operands)?.into_iter().map(Some).collect();
        }
        // What becomes of the mean and of the variance themselves: `dy / n`, and `2 · (x - mean) · dy / n`.
        let axes = self.named(Value::shape(&x[0]));
        let count: f64 = axes.iter().map(|&axis| Value::shape(&x[0])[axis as usize] as f64).product();
        let mut also = |dx: Var| -> Result<()> {
            all[0] = Some(match all[0].take() {
                Some(before) => before.add(&dx)?,
                None => dx,
            });
            Ok(())
        };
        if let Some(dy) = dy[1].as_ref().filter(|_| need[0] && self.centered) {
            also(dy.div(count)?.expand(*Value::shape(&x[0]))?)?;
        }
        if let Some(dy) = dy[2].as_ref().filter(|_| need[0]) {
            let apart = if self.centered { x[0].sub(&y[1])? } else { x[0].clone() };
            also(apart.mul(&dy.mul(2.0 / count)?)?)?;
        }
        Ok(all)
    }
}

impl Differentiable for NormalizeGrad {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    /// The means and variances count as operands, which is what they are.
    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        derived_again(x, dy, need, |x| {
            let (of, axes) = (&self.of, self.of.named(Value::shape(&x[0])));
            let apart = if of.centered { x[0].sub(&x[1])? } else { x[0].clone() };
            let r = x[2].add(of.eps)?.rsqrt()?;
            let z = apart.mul(&r)?;
            let along = x[3].mul(&z)?;
            let weight = x.get(4);
            let s = weight.map_or(Ok(x[3].clone()), |w| x[3].mul(w))?;
            let mean = |s: &Var| s.mean(keep(&axes));
            let mut rest = s.sub(&z.mul(&mean(&s.mul(&z)?)?)?)?;
            if of.centered {
                rest = rest.sub(&mean(&s)?)?;
            }
            let mut all = vec![rest.mul(&r)?];
            if let Some(weight) = weight {
                let shape = Value::shape(weight);
                let folded: Vec<isize> =
                    (0..shape.rank()).filter(|&axis| shape[axis] == 1).map(|axis| axis as isize).collect();
                all.push(along.sum(keep(&folded))?);
                if self.has_bias {
                    all.push(x[3].sum(keep(&folded))?);
                }
            }
            Ok(all)
        })
    }
}
