//! Losses of margins: targets are -1 and 1, or 0 and 1.

use super::Targets;
use super::macros::{losses, pair_functions};
use super::reduction::{Elements, Fold, align};
use crate::Result;
use kiln_autograd::Tensor;
use kiln_autograd::ops::Ops;

losses! {
    /// `mean(max(1 - y_true · y_pred, 0))` along the last axis. Targets of 0 and 1 are taken as -1 and 1.
    Hinge "hinge" (targets: Targets::Binary) {}
    /// `mean(max(1 - y_true · y_pred, 0)²)` along the last axis. Targets of 0 and 1 are taken as -1 and 1.
    SquaredHinge "squared_hinge" (targets: Targets::Binary) {}
    /// `max(1 + max((1 - y_true) · y_pred) - Σ y_true · y_pred, 0)`: the margin of the right class over the best other.
    CategoricalHinge "categorical_hinge" (targets: Targets::OneHot) {}
}

pair_functions! {
    Margin "hinge" |self, t, p| (S::lit(1.0) - t * p).max(S::lit(0.0));
    SquaredMargin "squared_hinge" |self, t, p| {
        let margin = (S::lit(1.0) - t * p).max(S::lit(0.0));
        margin.clone() * margin
    };
    Other "categorical_hinge" |self, t, p| (S::lit(1.0) - t) * p;
    Gap "categorical_hinge" |self, right, other| (other - right + S::lit(1.0)).max(S::lit(0.0));
}

/// Whether every target is 0 or 1.
fn zero_or_one(y_true: &Tensor) -> bool {
    y_true.to_vec_as::<f64>().iter().all(|&t| t == 0.0 || t == 1.0)
}

fn signed<V: Ops>(y_true: &V) -> Result<V> {
    if !zero_or_one(y_true.tensor()) {
        return Ok(y_true.clone());
    }
    Ok(y_true.cast(y_true.tensor().dtype().to_float())?.mul(2.0)?.sub(1.0)?)
}

impl Hinge {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (y_true, y_pred) = align("hinge", y_true, y_pred)?;
        let [elements] = V::elementwise(Margin {}, [&signed(&y_true)?, &y_pred])?;
        Ok(Elements::new(elements, Fold::Mean))
    }
}

impl SquaredHinge {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (y_true, y_pred) = align("squared_hinge", y_true, y_pred)?;
        let [elements] = V::elementwise(SquaredMargin {}, [&signed(&y_true)?, &y_pred])?;
        Ok(Elements::new(elements, Fold::Mean))
    }
}

impl CategoricalHinge {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (y_true, y_pred) = align("categorical_hinge", y_true, y_pred)?;
        let right = y_true.mul(&y_pred)?.sum(-1)?;
        let [other] = V::elementwise(Other {}, [&y_true, &y_pred])?;
        let [elements] = V::elementwise(Gap {}, [&right, &other.amax(-1)?])?;
        Ok(Elements::new(elements, Fold::Done))
    }
}
