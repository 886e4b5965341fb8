//! Folds: the gradient goes to each element by the fold's own derivative, then through the function in front.

use super::{Pointwise, only};
use crate::ops::{
    Apply, ArithmeticOps, CastOps, ComparisonOps, ElementwiseOp, Fold, FoldOp, FoldSlope, Function, MathOps,
    ProductOfOthers, Reduce, ReduceOps, SelectOps, Value, ViewOps,
};
use crate::tape::Rule;
use crate::var::apply_elementwise;
use crate::{DType, Differentiable, Keep, MAX_RANK, Outputs, Result, Shape, Spec, Tensor, Var, keep};
use std::sync::Arc;

impl<F: Fold<STATE>, P: Function<IN>, const STATE: usize, const IN: usize> Differentiable for Reduce<F, P, STATE, IN> {
    fn keeps(&self) -> Keep {
        Folded(self.operation().to_shared()).keeps()
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        Folded(self.operation().to_shared()).vjp(x, y, dy, need)
    }
}

/// The rule of any fold of any function.
pub(crate) struct Folded(pub(crate) Arc<dyn FoldOp>);

impl Rule for Folded {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn keeps(&self) -> Keep {
        match (self.0.slope(1), self.0.front()) {
            (FoldSlope::Constant(_), None) => Keep::NOTHING,
            (FoldSlope::Constant(_), Some(_)) => Keep::INPUTS,
            _ => Keep::ALL,
        }
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let axes = self.0.axes();
        let specs: Vec<Spec> = x.iter().map(|x| x.tensor().spec()).collect();
        let shape = self.0.folded(&specs)?;
        // With the folded dimensions as ones, unless all are folded: a single number broadcasts as it is.
        let aligned = |v: &Var| match Value::shape(v).rank() {
            0 => Ok(v.clone()),
            _ => v.reshape((0..shape.rank()).map(|a| if axes[a] { 1 } else { shape[a] }).collect::<Vec<_>>()),
        };
        let (dy, y) = (aligned(&only(dy))?, || aligned(&y[0]));
        let front = self.0.front();
        // What was folded; computed again, since only the operands were kept.
        let elements = || match &front {
            None => Ok(x[0].clone()),
            Some(front) => elementwise(&**front, &x.iter().collect::<Vec<_>>()),
        };
        let dx = match self.0.slope(self.0.count(&shape)) {
            FoldSlope::Constant(1.0) => dy,
            FoldSlope::Constant(partial) => dy.mul(partial)?,
            FoldSlope::Partial(gradient) => elementwise(&*gradient, &[&elements()?, &y()?, &dy])?,
            FoldSlope::ShareTies => share_ties(&elements()?, &y()?, &dy, axes)?,
            FoldSlope::ProductOfOthers => dy.mul(&product_of_others(&elements()?, axes)?)?,
        };
        let dx = dx.expand(shape)?;
        let Some(front) = front.clone() else { return Ok(vec![Some(dx)]) };
        let result = if front.is_from_output() { elements()? } else { dx.detach() };
        Pointwise(front).vjp(x, &[result], &[Some(dx)], need)
    }
}

/// The only result of an elementwise operation.
fn elementwise(op: &dyn ElementwiseOp, x: &[&Var]) -> Result<Var> {
    let mut y = Outputs::default();
    apply_elementwise(op, x, &mut y)?;
    y.one()
}

/// The flagged axes as a list.
fn named(axes: &[bool; MAX_RANK], rank: usize) -> Vec<isize> {
    (0..rank).filter(|&a| axes[a]).map(|a| a as isize).collect()
}

/// The gradient of an extreme, in equal parts to all elements that are equal to it.
fn share_ties(x: &Var, y: &Var, dy: &Var, axes: &[bool; MAX_RANK]) -> Result<Var> {
    let axes = named(axes, Value::shape(x).rank());
    if axes.is_empty() {
        return Ok(dy.clone());
    }
    let same = ComparisonOps::eq(x.tensor(), y.tensor())?;
    // NaN equals nothing, itself included; where it is the extreme, the NaNs have reached it.
    let same = y.tensor().is_nan()?.select(&x.tensor().is_nan()?, &same)?;
    // Half precision counts to 65504.
    let dtype = Value::dtype(dy);
    let share = Var::new(same.cast(dtype.promote(DType::F32))?.sum(keep(&axes))?);
    Var::new(same).select(&dy.div(&share)?.cast(dtype)?, &Var::new(Tensor::filled(dy.tensor().spec(), 0.0)))
}

/// For each element the product of all others that are folded with it. One that is derived again is put together from
/// operations that can be, at the cost of memory for the square of the folded elements.
fn product_of_others(x: &Var, axes: &[bool; MAX_RANK]) -> Result<Var> {
    if !x.is_tracked() {
        return Ok(Var::new(Tensor::apply_one(ProductOfOthers { axes: *axes }, &[x.tensor()])?));
    }
    others_by_rows(x, &named(axes, Value::shape(x).rank()), Value::shape(x))
}

impl Differentiable for ProductOfOthers {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let create_graph = x[0].is_tracked();
        let own = crate::Tape::new();
        let x = if create_graph { x[0].clone() } else { own.watch(x[0].tensor()) };
        let others = others_by_rows(&x, &named(&self.axes, Value::shape(&x).rank()), Value::shape(&x))?;
        crate::gradients(&[(&others, &only(dy))], &[&x], create_graph)
    }
}

/// The folded elements in the last dimension, repeated once for each of them with that one replaced by 1.
fn others_by_rows(x: &Var, axes: &[isize], shape: &Shape) -> Result<Var> {
    let rank = shape.rank() as isize;
    let rest: Vec<isize> = (0..rank).filter(|a| !axes.contains(a)).collect();
    let order: Vec<isize> = rest.iter().chain(axes).copied().collect();
    let moved = x.permute(&order)?;
    let moved_shape = *Value::shape(&moved);
    let n: usize = axes.iter().map(|&a| shape[a as usize]).product();
    let lead: Vec<usize> = moved_shape[..rest.len()].to_vec();
    let flat = moved.reshape([&lead[..], &[1, n]].concat())?;
    let diagonal = x.beside(Tensor::eye(n, n)?.ne(0.0)?)?;
    let one = Var::new(Tensor::scalar(1.0, Value::dtype(x)));
    let others = diagonal.select(&one, &flat)?.prod(-1)?;
    let mut back = vec![0; rank as usize];
    order.iter().enumerate().for_each(|(to, &from)| back[from as usize] = to as isize);
    others.reshape(moved_shape)?.permute(&back)
}
