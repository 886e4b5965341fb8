//! What metrics keep from batch to batch, as tensors, and the sums that every update is made of.

use crate::Result;
use kiln_autograd::ops::prelude::*;
use kiln_autograd::ops::{Reduce, Sum};
use kiln_autograd::{DType, MAX_RANK, Scalar, Tensor};

/// What is told the name of each tensor of a state, and may replace it.
pub(super) type Visitor<'a> = dyn FnMut(&str, &mut Tensor) -> Result<()> + 'a;

/// Tensors that a metric keeps.
pub(super) trait State: Default {
    /// Shows each tensor with its name.
    fn visit(&mut self, f: &mut Visitor<'_>) -> Result<()>;
}

/// Defines states whose tensors all begin as the number 0. Where a state is a vector, the first batch gives it its length
/// by broadcasting.
macro_rules! states {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(super) struct $name {
            $($(#[$field_doc])* pub(super) $field: kiln_autograd::Tensor,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: kiln_autograd::Tensor::scalar(0.0, kiln_autograd::DType::F64),)* }
            }
        }

        impl $crate::metrics::state::State for $name {
            fn visit(&mut self, f: &mut $crate::metrics::state::Visitor<'_>) -> $crate::Result<()> {
                $(f(stringify!($field), &mut self.$field)?;)*
                Ok(())
            }
        }
    )*};
}
pub(super) use states;

states! {
    /// A weighted mean of what it has been given.
    Average {
        /// `Σ w·v`.
        total,
        /// `Σ w`.
        weight,
    }
}

impl Average {
    /// Adds values `[…]`. Values that share a weight count together as much as it says: `Σ w·mean(v)` of those.
    ///
    /// # Errors
    /// Weights of another number than one for each value, or for each so many.
    pub(super) fn add(&mut self, values: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let Some(weight) = weight else {
            // Whole numbers are counted exactly as they are.
            let sum = match values.dtype().is_float() {
                true => weighted_sum(values, &Tensor::scalar(1.0, DType::F64), ALL)?,
                false => values.sum(..)?,
            };
            return self.add_sum(&sum, &Tensor::scalar(values.count() as f64, DType::F64));
        };
        let weight = weight.cast(DType::F64)?;
        if values.rank() == 0 && weight.rank() == 0 {
            let x = [&self.total, &self.weight, values, &weight];
            [self.total, self.weight] = Tensor::elementwise(AddWeighted, x)?;
            return Ok(());
        }
        let each = values.count() / weight.count().max(1);
        let sum = match weight.rank() {
            0 => weighted_sum(values, &weight, ALL)?,
            _ => weighted_sum(&values.reshape([weight.count(), each])?, &weight.reshape([weight.count(), 1])?, ALL)?,
        };
        let sum = if each > 1 { sum.div(each as f64)? } else { sum };
        self.add_sum(&sum, &if weight.rank() == 0 { weight } else { weight.sum(..)? })
    }

    /// Adds a sum of weighted values and the sum of their weights, both numbers.
    pub(super) fn add_sum(&mut self, sum: &Tensor, weight: &Tensor) -> Result<()> {
        [self.total, self.weight] = Tensor::elementwise(AddBoth, [&self.total, &self.weight, sum, weight])?;
        Ok(())
    }

    /// The mean; 0 of nothing. Reads the state.
    pub(super) fn mean(&self) -> f64 {
        quotient(number(&self.total), number(&self.weight))
    }
}

/// The one number of a state, read.
pub(super) fn number(x: &Tensor) -> f64 {
    x.to_vec_as().first().copied().unwrap_or(0.0)
}

/// `a / b`, and 0 where `b` is.
pub(super) fn quotient(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

/// Two sums at once: `[a + c, b + d]` of `[a, b, c, d]`.
#[derive(Debug, Clone, PartialEq)]
struct AddBoth;

impl Function<4, 2> for AddBoth {
    const NAME: &'static str = "add_both";
    const KIND: Kind = Kind::Arithmetic;
    #[inline(always)]
    fn call<S: Scalar>(&self, [a, b, c, d]: [S; 4]) -> [S; 2] {
        [a + c, b + d]
    }
}

/// `w·v`, and 0 where `w` is, whatever `v`.
#[derive(Debug, Clone, PartialEq)]
struct Weighted;

impl Function<2> for Weighted {
    const NAME: &'static str = "weighted";
    const KIND: Kind = Kind::Arithmetic;
    #[inline(always)]
    fn call<S: Scalar>(&self, [v, w]: [S; 2]) -> [S; 1] {
        [S::select(w.clone().equals(S::lit(0.0)), S::lit(0.0), w * v)]
    }
}

/// Both sums with one more value: `[a + w·v, b + w]` of `[a, b, v, w]`.
#[derive(Debug, Clone, PartialEq)]
struct AddWeighted;

impl Function<4, 2> for AddWeighted {
    const NAME: &'static str = "add_weighted";
    const KIND: Kind = Kind::Arithmetic;
    #[inline(always)]
    fn call<S: Scalar>(&self, [a, b, v, w]: [S; 4]) -> [S; 2] {
        let [weighted] = Weighted.call([v, w.clone()]);
        [a + weighted, b + w]
    }
}

/// All axes of a tensor of any rank.
pub(super) const ALL: [bool; MAX_RANK] = [true; MAX_RANK];

/// All axes of `x` but the last.
pub(super) fn leading(x: &Tensor) -> [bool; MAX_RANK] {
    std::array::from_fn(|axis| axis + 1 < x.rank())
}

/// `Σ w·v` along some axes, as `f64` because the weights are. A value of weight 0 does not count, even a NaN.
pub(super) fn weighted_sum(values: &Tensor, weights: &Tensor, axes: [bool; MAX_RANK]) -> Result<Tensor> {
    Ok(Tensor::fold(Reduce { fold: Sum, front: Weighted, axes, keep_dims: false }, [values, weights])?)
}
