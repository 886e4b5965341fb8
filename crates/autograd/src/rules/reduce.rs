//! Folds: a sum spreads its gradient, an extreme gives it to the elements that reach it, a product multiplies the others.

use super::only;
use crate::ops::{
    ArithmeticOps, CastOps, ComparisonOps, Folding, MathOps, Reduce, ReduceOps, SelectOps, Value, ViewOps,
};
use crate::{Differentiable, Keep, Result, Shape, Tensor, Var};

impl Differentiable for Reduce {
    fn keeps(&self) -> Keep {
        if self.fold == Folding::Sum { Keep::NOTHING } else { Keep::ALL }
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let x = &x[0];
        let shape = *Value::shape(x);
        let kept: Vec<usize> = (0..shape.rank()).map(|a| if self.axes[a] { 1 } else { shape[a] }).collect();
        let dy = only(dy).reshape(&kept)?;
        let y = y[0].reshape(&kept)?;
        let axes: Vec<isize> = (0..shape.rank()).filter(|&a| self.axes[a]).map(|a| a as isize).collect();
        let dx = match self.fold {
            Folding::Sum => dy.expand(shape)?,
            Folding::Max | Folding::Min if axes.is_empty() => dy,
            Folding::Max | Folding::Min => share_ties(x, &y, &dy, &axes)?,
            Folding::Prod if axes.is_empty() => dy,
            Folding::Prod => match x.tensor().eq(0.0)?.sum(&[])?.item()? {
                0.0 => dy.mul(&y)?.div(x)?,
                _ => dy.mul(&product_of_others(x, &axes, &shape)?)?,
            },
        };
        Ok(vec![Some(dx)])
    }
}

/// The gradient of an extreme, in equal parts to all elements that are equal to it.
fn share_ties(x: &Var, y: &Var, dy: &Var, axes: &[isize]) -> Result<Var> {
    let same = ComparisonOps::eq(x.tensor(), y.tensor())?;
    // NaN equals nothing, itself included; where it is the extreme, the NaNs have reached it.
    let same = y.tensor().is_nan()?.select(&x.tensor().is_nan()?, &same)?;
    let mask = same.cast(Value::dtype(x))?;
    let weights = mask.div(&mask.sum_keep(axes)?)?;
    dy.mul(&Var::new(weights))
}

/// For each element the product of all others that are folded with it, right also where some are zero, to any order:
/// the folded elements in the last dimension, repeated once for each of them with that one replaced by 1.
fn product_of_others(x: &Var, axes: &[isize], shape: &Shape) -> Result<Var> {
    let rank = shape.rank() as isize;
    let rest: Vec<isize> = (0..rank).filter(|a| !axes.contains(a)).collect();
    let order: Vec<isize> = rest.iter().chain(axes).copied().collect();
    let moved = x.permute(&order)?;
    let moved_shape = *Value::shape(&moved);
    let n: usize = axes.iter().map(|&a| shape[a as usize]).product();
    let lead: Vec<usize> = moved_shape[..rest.len()].to_vec();
    let flat = moved.reshape([&lead[..], &[1, n]].concat())?;
    let diagonal = Var::new(Tensor::eye(n, n)?.ne(0.0)?);
    let one = Var::new(Tensor::scalar(1.0, Value::dtype(x)));
    let others = diagonal.select(&one, &flat)?.prod(&[-1])?;
    let mut back = vec![0; rank as usize];
    order.iter().enumerate().for_each(|(to, &from)| back[from as usize] = to as isize);
    others.reshape(moved_shape)?.permute(&back)
}
