//! Losses of margins: targets are -1 and 1, or 0 and 1.

use super::Targets;
use super::macros::{losses, pair_functions};
use super::reduction::{Elements, Fold, align};
use crate::Result;
use kiln_autograd::ops::{ComparisonOps, Ops, StatisticsOps};

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

/// Targets as -1 and 1, if every one is 0 or 1.
fn signed<V: Ops>(y_true: &V) -> Result<V> {
    let t = y_true.cast(y_true.tensor().dtype().to_float())?;
    let zero_or_one = t.tensor().eq(0.0)?.logical_or(&t.tensor().eq(1.0)?)?.all(..)?;
    Ok(V::constant(zero_or_one).select(&t.mul(2.0)?.sub(1.0)?, &t)?)
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
