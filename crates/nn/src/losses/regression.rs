//! Losses between numbers: differences, ratios, directions.

use super::macros::{losses, pair_functions};
use super::reduction::{EPSILON, Elements, Fold, align};
use crate::Result;
use crate::range::Range;
use kiln_autograd::ops::{Function, Ops};
use kiln_autograd::{Scalar, keep};

losses! {
    /// `mean((y_true - y_pred)²)` along the last axis.
    ///
    /// ```
    /// use kiln_nn::losses::{Loss, MeanSquaredError};
    /// use kiln_autograd::{Tensor, Var};
    /// let y_true = Var::new(Tensor::new([[0.0, 1.0], [0.0, 0.0]]));
    /// let y_pred = Var::new(Tensor::new([[1.0, 1.0], [1.0, 0.0]]));
    /// let loss = MeanSquaredError::new().call(&y_true, &y_pred, None)?;
    /// assert_eq!(loss.tensor().item()?, 0.5);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    MeanSquaredError "mean_squared_error" {}
    /// `mean(|y_true - y_pred|)` along the last axis.
    MeanAbsoluteError "mean_absolute_error" {}
    /// `100 · mean(|y_true - y_pred| / max(|y_true|, 1e-7))` along the last axis.
    MeanAbsolutePercentageError "mean_absolute_percentage_error" {}
    /// `mean((ln(y_true + 1) - ln(y_pred + 1))²)` along the last axis, with values below 1e-7 raised to it.
    MeanSquaredLogarithmicError "mean_squared_logarithmic_error" {}
    /// Squared near 0, linear beyond `delta`: `e²/2` or `delta·|e| - delta²/2`, averaged along the last axis.
    Huber "huber" {
        /// Where the square ends.
        delta: f64 = 1.0 => Range::Positive,
    }
    /// `mean(ln cosh(y_pred - y_true))` along the last axis.
    LogCosh "log_cosh" {}
    /// `mean(y_pred - y_true · ln(y_pred + 1e-7))` along the last axis.
    Poisson "poisson" {}
    /// `Σ y_true · ln(y_true / y_pred)` along the last axis, with both limited to 1e-7 … 1.
    KLDivergence "kl_divergence" {}
    /// `-Σ ŷ_true · ŷ_pred`: the negative cosine of the angle between the two, -1 where they point the same way,
    /// 0 with a gradient of 0 where one of them is 0.
    CosineSimilarity "cosine_similarity" over axis {
        /// The axis of the vectors.
        axis: isize = -1,
    }
}

pair_functions! {
    SquaredError "squared_error" |self, t, p| { let e = p - t; e.clone() * e };
    AbsoluteError "absolute_error" |self, t, p| (p - t).abs();
    PercentageError "percentage_error" |self, t, p| {
        S::lit(100.0) * ((t.clone() - p) / t.abs().max(S::lit(EPSILON))).abs()
    };
    LogarithmicError "logarithmic_error" |self, t, p| {
        // The 1 is added after the bound, as in Keras: at 0 this is ln(1 + 1e-7).
        let log = |x: S| (x.max(S::lit(EPSILON)) + S::lit(1.0)).ln();
        let e = log(p) - log(t);
        e.clone() * e
    };
    HuberError "huber" { delta } |self, t, p| {
        let e = (p - t).abs();
        let square = S::lit(0.5) * e.clone() * e.clone();
        S::select(e.clone().le(S::lit(self.delta)), square, S::lit(self.delta) * e - S::lit(0.5 * self.delta * self.delta))
    };
    LogCoshError "log_cosh" |self, t, p| {
        let e = p - t;
        let far = e.clone() + (S::lit(-2.0) * e.clone()).softplus() - S::lit(std::f64::consts::LN_2);
        // Near 0 that takes almost equal numbers from each other. `1 - 1 / cosh e` has every digit, of `e^-e - 1`.
        let v = clip(e.clone(), -1.0, 1.0).exp_m1();
        let w = v.clone() + S::lit(1.0);
        let near = -(-(v.clone() * v) / (S::lit(1.0) + w.clone() * w)).ln_1p();
        S::select(e.abs().lt(S::lit(1.0)), near, far)
    };
    PoissonError "poisson" |self, t, p| p.clone() - t * (p + S::lit(EPSILON)).ln();
    Divergence "kl_divergence" |self, t, p| {
        let t = clip(t, EPSILON, 1.0);
        t.clone() * (t / clip(p, EPSILON, 1.0)).ln()
    };
}

/// Limits to a range; NaN stays.
#[inline(always)]
pub(super) fn clip<S: Scalar>(x: S, low: f64, high: f64) -> S {
    let x = S::select(x.clone().lt(S::lit(low)), S::lit(low), x);
    S::select(S::lit(high).lt(x.clone()), S::lit(high), x)
}

/// An elementwise loss of targets and predictions of one shape.
pub(super) fn elementwise<V: Ops>(
    name: &str,
    f: impl Function<2>,
    y_true: &V,
    y_pred: &V,
    fold: Fold,
) -> Result<Elements<V>> {
    let (y_true, y_pred) = align(name, y_true, y_pred)?;
    let [elements] = V::elementwise(f, [&y_true, &y_pred])?;
    Ok(Elements::new(elements, fold))
}

/// The formulas that are one function of a target and a prediction.
macro_rules! elementwise_losses {
    ($($loss:ident $label:literal $fold:ident |$self_:ident| $function:expr;)*) => {$(
        impl $loss {
            fn elements<V: Ops>(&$self_, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
                elementwise($label, $function, y_true, y_pred, Fold::$fold)
            }
        }
    )*};
}

elementwise_losses! {
    MeanSquaredError "mean_squared_error" Mean |self| SquaredError {};
    MeanAbsoluteError "mean_absolute_error" Mean |self| AbsoluteError {};
    MeanAbsolutePercentageError "mean_absolute_percentage_error" Mean |self| PercentageError {};
    MeanSquaredLogarithmicError "mean_squared_logarithmic_error" Mean |self| LogarithmicError {};
    Huber "huber" Mean |self| HuberError { delta: self.delta };
    LogCosh "log_cosh" Mean |self| LogCoshError {};
    Poisson "poisson" Mean |self| PoissonError {};
    KLDivergence "kl_divergence" Sum |self| Divergence {};
}

impl CosineSimilarity {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (y_true, y_pred) = align("cosine_similarity", y_true, y_pred)?;
        let y_true = y_true.cast(y_pred.tensor().dtype())?;
        let product = unit(&y_true, self.axis)?.mul(&unit(&y_pred, self.axis)?)?;
        Ok(Elements::new(product.sum(self.axis)?.neg()?, Fold::Done))
    }
}

/// `x / max(‖x‖, 1e-7)` along an axis, Keras's rule; where `x` is 0, and has no direction, with a gradient of 0.
fn unit<V: Ops>(x: &V, axis: isize) -> Result<V> {
    // Divided by its largest number, no square overflows or vanishes. The quotient is the same function of x whatever
    // that number is, so no gradient flows through it.
    let largest = V::constant(x.tensor().clone()).abs()?.amax(keep(axis))?;
    let zero = largest.eq(0.0)?;
    let scale = zero.select(1.0, &largest)?;
    let scaled = x.div(&scale)?;
    let square = zero.select(1.0, &scaled.square()?.sum(keep(axis))?)?;
    let unit = scaled.mul(&square.rsqrt()?)?;
    // Beyond 1 the scale says nothing about a norm below 1e-7, but could make it infinite.
    let norm = V::constant(square.tensor().clone()).sqrt()?.mul(&scale.clamp(0.0, 1.0)?)?;
    let short = norm.lt(EPSILON)?;
    let stretched = x.div(&short.select(EPSILON, &scale)?)?;
    Ok(zero.select(0.0, &short.select(&stretched, &unit)?)?)
}
