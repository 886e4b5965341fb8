//! Statistics composed of other operations, written once for tensors and for tracked values.

use super::fold::is_infinite_or_nan;
use super::{Fold, LogSumExp, Max, Mean, Min, Norm, Reduce, ReduceOps, Sum, compiled_here};
use crate::ops::{
    ArithmeticOps, CastOps, ComparisonOps, Function, Itself, MathOps, NegationOps, PowOps, SelectOps, Sub, Value,
    ViewOps,
};
use crate::{Axes, DType, Error, IntoAxes, Mask, Result, Scalar, Tensor, keep};
use std::panic::Location;

/// Means, variances, norms. Each takes the axes to fold, as [`ReduceOps`] does.
pub trait StatisticsOps: Value + ReduceOps + ViewOps + CastOps {
    /// The arithmetic mean; of integers, as `f32`. The mean of nothing is NaN.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn mean(&self, axes: impl IntoAxes) -> Result<Self> {
        self.reduce(Mean, axes)
    }

    /// The variance: the sum of squared deviations over `n - correction` (1: unbiased, PyTorch's default; 0: of the
    /// whole population, Keras's).
    ///
    /// # Errors
    /// An axis that does not exist or is named twice; a correction that is not finite.
    #[track_caller]
    fn var(&self, axes: impl IntoAxes, correction: f64) -> Result<Self> {
        spread(self, "var", axes.into_axes(), Spread { correction, root: false })
    }

    /// The square root of [`StatisticsOps::var`]. Where it is 0, so is its derivative.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn std(&self, axes: impl IntoAxes, correction: f64) -> Result<Self> {
        spread(self, "std", axes.into_axes(), Spread { correction, root: true })
    }

    /// The variance and the mean: [`StatisticsOps::var`] and [`StatisticsOps::mean`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn var_mean(&self, axes: impl IntoAxes, correction: f64) -> Result<(Self, Self)> {
        let axes = axes.into_axes();
        Ok((self.var(axes.clone(), correction)?, self.mean(axes)?))
    }

    /// The standard deviation and the mean: [`StatisticsOps::std`] and [`StatisticsOps::mean`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn std_mean(&self, axes: impl IntoAxes, correction: f64) -> Result<(Self, Self)> {
        let axes = axes.into_axes();
        Ok((self.std(axes.clone(), correction)?, self.mean(axes)?))
    }

    /// The sum of the elements that are not NaN.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn nansum(&self, axes: impl IntoAxes) -> Result<Self> {
        in_place_of_nan(self, 0.0)?.sum(axes)
    }

    /// The mean of the elements that are not NaN; NaN where there is no other.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// assert_eq!(Tensor::new([1.0, f64::NAN, 3.0]).nanmean(..)?.item()?, 2.0);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn nanmean(&self, axes: impl IntoAxes) -> Result<Self> {
        let axes = axes.into_axes();
        in_single(self, |x| {
            let count = x.detach().is_nan()?.logical_not()?.reduce(Sum, axes.clone())?.cast(Value::dtype(x))?;
            in_place_of_nan(x, 0.0)?.reduce(Sum, axes.clone())?.div(&count)
        })
    }

    /// The largest of the elements that are not NaN; NaN where there is no other. Equal ones share the gradient.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice, or one of length 0.
    #[track_caller]
    fn nanmax(&self, axes: impl IntoAxes) -> Result<Self> {
        let axes = axes.into_axes();
        let y = in_place_of_nan(self, f64::NEG_INFINITY)?
            .reduce(Max, axes.clone())
            .map_err(|e| e.renamed("amax", "nanmax"))?;
        or_nan(self, &y, axes)
    }

    /// The smallest of the elements that are not NaN, as [`StatisticsOps::nanmax`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn nanmin(&self, axes: impl IntoAxes) -> Result<Self> {
        let axes = axes.into_axes();
        let y =
            in_place_of_nan(self, f64::INFINITY)?.reduce(Min, axes.clone()).map_err(|e| e.renamed("amin", "nanmin"))?;
        or_nan(self, &y, axes)
    }

    /// The `p`-norm of the difference of two values that broadcast together: their distance.
    ///
    /// # Errors
    /// As [`StatisticsOps::norm`]; shapes that do not broadcast together.
    #[track_caller]
    fn dist(&self, other: &Self, p: f64) -> Result<Self> {
        self.sub(other)?.norm(p, ..)
    }

    /// `ln Σ exp(x)` without overflow.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn logsumexp(&self, axes: impl IntoAxes) -> Result<Self> {
        self.reduce(LogSumExp, axes)
    }

    /// The `p`-norm `(Σ |x|^p)^(1/p)`: 2 is Euclid's, 1 the sum of magnitudes, ±∞ the largest or smallest magnitude,
    /// 0 the count of elements that are not 0. Where it is 0, so is its derivative, and with `p` below 1 that with respect
    /// to an element which is 0. Neither very large nor very small numbers are lost in it.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice; the infinite norms of nothing.
    #[track_caller]
    fn norm(&self, p: f64, axes: impl IntoAxes) -> Result<Self> {
        let axes = axes.into_axes();
        let flags = axes.flags("norm", Value::shape(self))?;
        if p.is_nan() {
            return Err(Error::argument("norm", "the order is not a number").at(Location::caller()));
        }
        if p == 2.0 && Value::dtype(self) != DType::F64 {
            return self.reduce(Norm, axes);
        }
        in_single(self, |x| {
            let magnitude = x.abs()?;
            if p == f64::INFINITY {
                return magnitude.reduce(Max, axes);
            }
            if p == f64::NEG_INFINITY {
                return magnitude.reduce(Min, axes);
            }
            if p == 0.0 {
                let counted = Self::constant(x.tensor().ne(0)?.cast(Value::dtype(x))?);
                return counted.reduce(Sum, axes);
            }
            if p == 1.0 {
                return magnitude.reduce(Sum, axes);
            }
            // Powers of numbers near the largest: the norm is taken of their shares of it.
            let empty = (0..Value::shape(x).rank()).any(|a| flags[a] && Value::shape(x)[a] == 0);
            if empty {
                return x.reduce(Sum, axes);
            }
            let largest = magnitude.tensor().reduce(Max, keep(axes.clone()))?;
            let usable = largest.gt(0)?.mul(&largest.is_finite()?)?.ne(0)?;
            let scale = usable.select(&largest, &Tensor::filled(largest.spec(), 1.0))?;
            let scale = Self::constant(scale);
            let shares = x.div(&scale)?;
            let norm = if p == 2.0 {
                shares.reduce(Norm, axes)?
            } else {
                let powers = shares.abs()?.pow(p)?;
                // A power below 1 is infinitely steep at 0.
                let powers = if (0.0..1.0).contains(&p) {
                    Self::constant(x.tensor().ne(0)?).select(&powers, 0.0)?
                } else {
                    powers
                };
                Self::elementwise(FlatRoot { p }, [&powers.reduce(Sum, axes)?]).map(|[y]| y)?
            };
            norm.mul(&scale.reshape(*Value::shape(&norm))?)
        })
    }

    /// Whether any element is true (not zero).
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn any(&self, axes: impl IntoAxes) -> Result<Self> {
        truths(self, "any", axes)?.gt(0)
    }

    /// Whether all elements are true (not zero).
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn all(&self, axes: impl IntoAxes) -> Result<Self> {
        truths(&self.detach().logical_not()?, "all", axes)?.eq(0)
    }

    /// How many elements are not zero.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn count_nonzero(&self, axes: impl IntoAxes) -> Result<Self> {
        truths(self, "count_nonzero", axes)
    }
}
impl<V: Value + ReduceOps + ViewOps + CastOps> StatisticsOps for V {}

/// The `p`-th root, whose infinite slope at 0 is taken as 0: what is a distance there is one in every direction.
#[derive(Debug, Clone, Copy, PartialEq)]
struct FlatRoot {
    p: f64,
}

impl Function<1> for FlatRoot {
    const NAME: &'static str = "root";
    const FROM_OUTPUT: bool = true;
    #[inline(always)]
    fn call<S: Scalar>(&self, [x]: [S; 1]) -> [S; 1] {
        [x.pow(S::lit(1.0 / self.p))]
    }
    #[inline(always)]
    fn slope<S: Scalar>(&self, y: S) -> S {
        let slope = y.clone().pow(S::lit(1.0 - self.p)) * S::lit(1.0 / self.p);
        S::select(y.equals(S::lit(0.0)), S::lit(0.0), slope)
    }
}

/// Runs `f` on numbers of at least single precision, integers as `f32`, and rounds its result once to the type of `x`.
#[track_caller]
fn in_single<V: StatisticsOps>(x: &V, f: impl FnOnce(&V) -> Result<V>) -> Result<V> {
    let dtype = Value::dtype(x).to_float();
    match dtype {
        DType::F16 | DType::BF16 => f(&x.cast(DType::F32)?)?.cast(dtype),
        _ => f(&x.cast(dtype)?),
    }
}

/// The elements, and a number where they are NaN. Integers never are.
#[track_caller]
fn in_place_of_nan<V: StatisticsOps>(x: &V, number: f64) -> Result<V> {
    if Value::dtype(x).is_float() { x.detach().is_nan()?.select(number, x) } else { Ok(x.clone()) }
}

/// The result, and NaN where no element is a number.
#[track_caller]
fn or_nan<V: StatisticsOps>(x: &V, y: &V, axes: Axes) -> Result<V> {
    if Value::dtype(x).is_float() { x.detach().is_nan()?.all(axes)?.select(f64::NAN, y) } else { Ok(y.clone()) }
}

/// How many elements are not 0.
#[track_caller]
fn truths<V: StatisticsOps>(x: &V, op: &str, axes: impl IntoAxes) -> Result<V> {
    let axes = axes.into_axes();
    axes.flags(op, Value::shape(x))?;
    let truths = if Value::dtype(x) == DType::Bool { x.clone() } else { x.detach().ne(0)? };
    truths.reduce(Sum, axes)
}

/// A variance or its root.
#[track_caller]
fn spread<V: StatisticsOps>(x: &V, op: &str, axes: Axes, fold: Spread) -> Result<V> {
    let keep_dims = axes.are_kept();
    let axes = axes.flags(op, Value::shape(x))?;
    if !fold.correction.is_finite() {
        let text = format!("the correction is {}", fold.correction);
        return Err(Error::argument(op, text).at(Location::caller()).help("give a finite number, such as 0 or 1"));
    }
    let spread = |x: &V| {
        let mean = V::fold(Reduce { fold: Mean, front: Itself, axes, keep_dims: true }, [x])?;
        V::fold(Reduce { fold, front: Sub, axes, keep_dims }, [x, &mean])
    };
    match Value::dtype(x).is_float() {
        true => in_single(x, spread),
        // Single precision cannot tell neighbours beyond 2^24 apart.
        false => spread(&x.cast(DType::F64)?)?.cast(DType::F32),
    }
}

/// The variance of numbers from which about their mean has been taken, or its root: `(Σ d² - (Σ d)² / n) / (n - correction)`,
/// in which what was rounded off the mean does not count (Chan, Golub and LeVeque 1983).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// 0 for the variance of these numbers, 1 for that of what they are a sample of.
    pub correction: f64,
    /// Whether the root is taken: the standard deviation. Where it is 0, so is its derivative.
    pub root: bool,
}

impl Spread {
    fn divisor<S: Scalar>(&self, count: f64) -> S {
        S::lit((count - self.correction).max(0.0))
    }
}

impl Fold<2> for Spread {
    const NAME: &'static str = "var";
    compiled_here!(2);
    #[inline(always)]
    fn start<S: Scalar>(&self) -> [S; 2] {
        [S::lit(0.0), S::lit(0.0)]
    }
    #[inline(always)]
    fn take<S: Scalar>(&self, [sum, squares]: [S; 2], d: S) -> [S; 2] {
        [sum + d.clone(), squares + d.clone() * d]
    }
    #[inline(always)]
    fn join<S: Scalar>(&self, [a, b]: [S; 2], [c, d]: [S; 2]) -> [S; 2] {
        [a + c, b + d]
    }
    #[inline(always)]
    fn finish<S: Scalar>(&self, [sum, squares]: [S; 2], count: f64) -> S {
        let spread = squares - sum.clone() * sum / S::lit(count);
        // Rounding may leave less than nothing.
        let variance = spread.max(S::lit(0.0)) / self.divisor(count);
        if self.root { variance.sqrt() } else { variance }
    }
    /// Without the part of the sum, which has no effect: the mean moves with the elements.
    fn partial<S: Scalar>(&self, d: S, y: S, count: f64) -> S {
        if !self.root {
            return S::lit(2.0) * d / self.divisor(count);
        }
        let flat = y.clone().equals(S::lit(0.0));
        S::select(flat, S::lit(0.0), d / (y * self.divisor(count)))
    }
    #[inline(always)]
    fn is_doubtful<S: Scalar>(&self, y: S) -> S::Mask {
        // The square of a small deviation vanishes in single precision.
        let smallest = if self.root { 1e-15 } else { 0.0 };
        y.clone().lt(S::lit(smallest)).or(is_infinite_or_nan(y))
    }
}
