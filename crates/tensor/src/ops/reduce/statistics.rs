//! Statistics composed of other operations, written once for tensors and for tracked values.

use super::{LogSumExp, Max, Mean, Min, Norm, Reduce, ReduceOps, Sum};
use crate::ops::{
    ArithmeticOps, CastOps, ComparisonOps, Function, Itself, MathOps, NegationOps, PowOps, SelectOps, Value, ViewOps,
};
use crate::{DType, IntoAxes, Result, Scalar, Tensor, keep};

/// Means, variances, norms. Each takes the axes to fold, as [`ReduceOps`] does.
pub trait StatisticsOps: Value + ReduceOps + ViewOps + CastOps {
    /// The arithmetic mean; of integers, as `f32`. The mean of nothing is NaN.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn mean(&self, axes: impl IntoAxes) -> Result<Self> {
        self.reduce(MEAN, axes)
    }

    /// The variance: the sum of squared deviations over `n - correction` (1: unbiased, PyTorch's default; 0: of the
    /// whole population, Keras's).
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn var(&self, axes: impl IntoAxes, correction: f64) -> Result<Self> {
        let axes = axes.into_axes();
        let keep_dims = axes.are_kept();
        let axes = axes.flags("var", Value::shape(self))?;
        in_single(self, |x| {
            let mean = Self::fold(Reduce { fold: MEAN, front: Itself, axes, keep_dims: true }, [x])?;
            let fold = Mean { correction };
            Self::fold(Reduce { fold, front: SquaredDifference, axes, keep_dims }, [x, &mean])
        })
    }

    /// The square root of [`StatisticsOps::var`]. Where it is 0, so is its derivative.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn std(&self, axes: impl IntoAxes, correction: f64) -> Result<Self> {
        let axes = axes.into_axes();
        axes.flags("std", Value::shape(self))?;
        in_single(self, |x| {
            let [root] = Self::elementwise(FlatSqrt, [&x.var(axes, correction)?])?;
            Ok(root)
        })
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
    /// 0 the count of elements that are not 0. Where it is 0, so is its derivative. Neither very large nor very small
    /// numbers are lost in it.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice; the infinite norms of nothing.
    #[track_caller]
    fn norm(&self, p: f64, axes: impl IntoAxes) -> Result<Self> {
        let axes = axes.into_axes();
        let flags = axes.flags("norm", Value::shape(self))?;
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
                let powers = shares.abs()?.pow(p)?.reduce(Sum, axes)?;
                Self::elementwise(FlatRoot { p }, [&powers]).map(|[y]| y)?
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
        truths(self)?.reduce(Sum, axes)?.gt(0)
    }

    /// Whether all elements are true (not zero).
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn all(&self, axes: impl IntoAxes) -> Result<Self> {
        truths(&truths(self)?.logical_not()?)?.reduce(Sum, axes)?.eq(0)
    }

    /// How many elements are not zero.
    ///
    /// # Errors
    /// An axis that does not exist or is named twice.
    #[track_caller]
    fn count_nonzero(&self, axes: impl IntoAxes) -> Result<Self> {
        truths(self)?.reduce(Sum, axes)
    }
}
impl<V: Value + ReduceOps + ViewOps + CastOps> StatisticsOps for V {}

const MEAN: Mean = Mean { correction: 0.0 };

/// `(a - b)²`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SquaredDifference;

impl Function<2> for SquaredDifference {
    const NAME: &'static str = "squared_difference";
    #[inline(always)]
    fn call<S: Scalar>(&self, [a, b]: [S; 2]) -> [S; 1] {
        let difference = a - b;
        [difference.clone() * difference]
    }
}

/// The square root, whose infinite slope at 0 is taken as 0: what is a distance there is one in every direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FlatSqrt;

impl Function<1> for FlatSqrt {
    const NAME: &'static str = "sqrt";
    const FROM_OUTPUT: bool = true;
    #[inline(always)]
    fn call<S: Scalar>(&self, [x]: [S; 1]) -> [S; 1] {
        [x.sqrt()]
    }
    #[inline(always)]
    fn slope<S: Scalar>(&self, y: S) -> S {
        S::select(y.clone().equals(S::lit(0.0)), S::lit(0.0), S::lit(0.5) / y)
    }
}

/// The `p`-th root, whose slope at 0 is taken as 0.
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

#[track_caller]
fn truths<V: Value + ArithmeticOps>(x: &V) -> Result<V> {
    if Value::dtype(x) == DType::Bool { Ok(x.clone()) } else { x.detach().ne(0) }
}
