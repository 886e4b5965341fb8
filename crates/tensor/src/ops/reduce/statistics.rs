//! Statistics composed of other operations, written once for tensors and for tracked values.

use super::{Folding, ReduceOps};
use crate::ops::{ArithmeticOps, BoundOps, ComparisonOps, MathOps, NegationOps, SelectOps, Value, ViewOps};
use crate::{DType, Result, Tensor};

/// Means, variances, norms. Each takes the axes to fold (all when none is named) and whether they stay, with length 1.
pub trait StatisticsOps: Value + ReduceOps + ViewOps {
    /// The arithmetic mean; of integers, as `f32`. The mean of nothing is NaN.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn mean(&self, axes: &[isize]) -> Result<Self> {
        mean(self, axes, false)
    }

    /// [`StatisticsOps::mean`] with the dimensions kept.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn mean_keep(&self, axes: &[isize]) -> Result<Self> {
        mean(self, axes, true)
    }

    /// The variance: the sum of squared deviations over `n - correction` (1: unbiased, PyTorch's default; 0: of the
    /// whole population, Keras's).
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn var(&self, axes: &[isize], correction: f64, keep_dims: bool) -> Result<Self> {
        let n = folded_count(self, axes)? as f64;
        let deviation = self.sub(&self.mean_keep(axes)?)?;
        let total = deviation.square()?.reduce(Folding::Sum, axes, keep_dims)?;
        total.mul(1.0 / (n - correction).max(0.0))
    }

    /// The square root of [`StatisticsOps::var`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn std(&self, axes: &[isize], correction: f64, keep_dims: bool) -> Result<Self> {
        self.var(axes, correction, keep_dims)?.sqrt()
    }

    /// `ln Σ exp(x)` without overflow.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn logsumexp(&self, axes: &[isize], keep_dims: bool) -> Result<Self> {
        let x = &as_float(self)?;
        let folded = Value::shape(x).axes("logsumexp", axes)?;
        if (0..Value::shape(x).rank()).any(|a| folded[a] && Value::shape(x)[a] == 0) {
            return x.exp()?.reduce(Folding::Sum, axes, keep_dims)?.log();
        }
        let top = x.detach().amax_keep(axes)?;
        // An infinite maximum would turn `x - top` into NaN; nothing needs scaling then.
        let top = top.is_finite()?.select(&top, &top.detach().mul(0.0)?.nan_to_num(0.0, 0.0, 0.0)?)?;
        let total = x.sub(&top)?.exp()?.reduce(Folding::Sum, axes, keep_dims)?.log()?;
        let top = if keep_dims { top } else { top.reshape(*Value::shape(&total))? };
        total.add(&top)
    }

    /// The `p`-norm `(Σ |x|^p)^(1/p)`: 2 is Euclid's, 1 the sum of magnitudes, ±∞ the largest or smallest magnitude,
    /// 0 the count of elements that are not 0. Where it is 0, so is its derivative.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice; an infinite norm of nothing.
    #[track_caller]
    fn norm(&self, p: f64, axes: &[isize], keep_dims: bool) -> Result<Self> {
        let x = &as_float(self)?;
        let magnitude = x.abs()?;
        if p == f64::INFINITY {
            return magnitude.reduce(Folding::Max, axes, keep_dims);
        }
        if p == f64::NEG_INFINITY {
            return magnitude.reduce(Folding::Min, axes, keep_dims);
        }
        if p == 0.0 {
            let one = Self::constant(Tensor::scalar(1.0, Value::dtype(x)));
            return x.ne(0.0)?.select(&one, &x.detach().mul(0.0)?.nan_to_num(0.0, 0.0, 0.0)?)?.reduce(
                Folding::Sum,
                axes,
                keep_dims,
            );
        }
        if p == 1.0 {
            return magnitude.reduce(Folding::Sum, axes, keep_dims);
        }
        let powers = if p == 2.0 { x.square()? } else { magnitude.pow(p)? };
        let total = powers.reduce(Folding::Sum, axes, keep_dims)?;
        // The root is infinitely steep at 0: step around it, to 0.
        let zero = total.detach().eq(0.0)?;
        let root = |t: &Self| if p == 2.0 { t.sqrt() } else { t.pow(1.0 / p) };
        let safe = zero.select(&Self::constant(Tensor::scalar(1.0, Value::dtype(x))), &total)?;
        zero.select(&Self::constant(root(&total.detach())?.tensor().clone()), &root(&safe)?)
    }

    /// Whether any element is true (not zero).
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn any(&self, axes: &[isize], keep_dims: bool) -> Result<Self> {
        truths(self)?.reduce(Folding::Sum, axes, keep_dims)?.gt(0)
    }

    /// Whether all elements are true (not zero).
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn all(&self, axes: &[isize], keep_dims: bool) -> Result<Self> {
        truths(&truths(self)?.logical_not()?)?.reduce(Folding::Sum, axes, keep_dims)?.eq(0)
    }

    /// How many elements are not zero.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn count_nonzero(&self, axes: &[isize], keep_dims: bool) -> Result<Self> {
        truths(self)?.reduce(Folding::Sum, axes, keep_dims)
    }
}
impl<V: Value + ReduceOps + ViewOps> StatisticsOps for V {}

/// Number of elements behind each element of the result.
#[track_caller]
fn folded_count<V: Value>(x: &V, axes: &[isize]) -> Result<usize> {
    let shape = Value::shape(x);
    let flags = shape.axes("mean", axes)?;
    Ok((0..shape.rank()).filter(|&a| flags[a]).map(|a| shape[a]).product())
}

#[track_caller]
fn mean<V: StatisticsOps>(x: &V, axes: &[isize], keep_dims: bool) -> Result<V> {
    let n = folded_count(x, axes)?;
    let x = as_float(x)?;
    x.reduce(Folding::Sum, axes, keep_dims)?.mul(1.0 / n as f64)
}

/// Integers as `f32`.
#[track_caller]
fn as_float<V: Value>(x: &V) -> Result<V> {
    if Value::dtype(x).is_float() {
        return Ok(x.clone());
    }
    let target = DType::F32;
    Ok(V::constant(Tensor::apply(&crate::ops::Cast { to: target }, &[x.tensor()])?.one()?))
}

#[track_caller]
fn truths<V: Value + ArithmeticOps>(x: &V) -> Result<V> {
    if Value::dtype(x) == DType::Bool { Ok(x.clone()) } else { x.detach().ne(0) }
}
