//! Folds: the gradient goes to each element by the fold's own derivative, then through the function in front.

use super::only;
use crate::ops::{
    Apply, ArithmeticOps, CastOps, ComparisonOps, Elementwise, Fold, FoldRule, Function, Kind, MathOps,
    ProductOfOthers, Reduce, ReduceOps, SelectOps, Value, ViewOps,
};
use crate::{DType, Differentiable, Keep, MAX_RANK, Result, Scalar, Shape, Spec, Tensor, Var, keep};

impl<F: Fold<STATE>, P: Function<IN>, const STATE: usize, const IN: usize> Differentiable for Reduce<F, P, STATE, IN> {
    fn keeps(&self) -> Keep {
        match (self.fold.constant_partial(1.0), Self::is_plain()) {
            (Some(_), true) => Keep::NOTHING,
            (Some(_), false) => Keep::INPUTS,
            (None, _) => Keep::ALL,
        }
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let specs: [Spec; IN] = std::array::from_fn(|i| x[i].tensor().spec());
        let shape = self.folded(&specs)?;
        // With the folded dimensions as ones, unless all are folded: a single number broadcasts as it is.
        let aligned = |v: &Var| match Value::shape(v).rank() {
            0 => Ok(v.clone()),
            _ => v.reshape((0..shape.rank()).map(|a| if self.axes[a] { 1 } else { shape[a] }).collect::<Vec<_>>()),
        };
        let (dy, y) = (aligned(&only(dy))?, || aligned(&y[0]));
        let operands: [&Var; IN] = std::array::from_fn(|i| &x[i]);
        // What was folded; computed again, since only the operands were kept.
        let elements = || match Self::is_plain() {
            true => Ok(x[0].clone()),
            false => Var::elementwise(self.front.clone(), operands).map(|[elements]| elements),
        };
        let count = self.count(&shape) as f64;
        let dx = match (F::RULE, self.fold.constant_partial(count)) {
            (FoldRule::Partial, Some(1.0)) => dy,
            (FoldRule::Partial, Some(partial)) => dy.mul(partial)?,
            (FoldRule::Partial, None) => {
                let op = FoldGradient::<F, STATE> { fold: self.fold.clone(), count };
                Var::elementwise(op, [&elements()?, &y()?, &dy]).map(|[dx]| dx)?
            }
            (FoldRule::ShareTies, _) => share_ties(&elements()?, &y()?, &dy, &self.axes)?,
            (FoldRule::ProductOfOthers, _) => dy.mul(&product_of_others(&elements()?, &self.axes)?)?,
        };
        let dx = dx.expand(shape)?;
        if Self::is_plain() {
            return Ok(vec![Some(dx)]);
        }
        let front = Elementwise::<P, IN, 1>(self.front.clone());
        let result = if P::FROM_OUTPUT { elements()? } else { dx.detach() };
        front.vjp(x, &[result], &[Some(dx)], need)
    }
}

/// `dy · ∂y/∂x` for an element, the result and the result's gradient.
#[derive(Debug, Clone, PartialEq)]
struct FoldGradient<F, const STATE: usize> {
    fold: F,
    count: f64,
}

impl<F: Fold<STATE>, const STATE: usize> Function<3> for FoldGradient<F, STATE> {
    const NAME: &'static str = F::NAME;
    const KIND: Kind = Kind::Float;
    #[inline(always)]
    fn call<S: Scalar>(&self, [x, y, dy]: [S; 3]) -> [S; 1] {
        [self.fold.partial(x, y, self.count).times_tangent(dy)]
    }
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
    let diagonal = Var::new(Tensor::eye(n, n)?.ne(0.0)?);
    let one = Var::new(Tensor::scalar(1.0, Value::dtype(x)));
    let others = diagonal.select(&one, &flat)?.prod(-1)?;
    let mut back = vec![0; rank as usize];
    order.iter().enumerate().for_each(|(to, &from)| back[from as usize] = to as isize);
    others.reshape(moved_shape)?.permute(&back)
}
