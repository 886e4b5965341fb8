//! Losses of overlapping regions: segmentation.

use super::macros::losses;
use super::reduction::{EPSILON, Elements, Fold, align};
use crate::range::Range;
use crate::{AxisList, Result};
use kiln_autograd::ops::Ops;

losses! {
    /// `1 - 2·Σ t·p / (Σ t + Σ p + 1e-7)` over the axes named, or over the whole batch (Dice 1945).
    Dice "dice" over axis {
        /// The axes that make up one region; empty for all.
        axis: AxisList = AxisList::default(),
    }
    /// `1 - Σ t·p / (Σ t·p + alpha · Σ t·(1-p) + beta · Σ (1-t)·p + 1e-7)` over the axes named, or over the whole batch
    /// (Salehi et al. 2017). `alpha` weights what was missed, `beta` what was claimed wrongly, as Keras computes it; its
    /// documentation says the reverse.
    Tversky "tversky" over axis {
        /// The weight of false negatives.
        alpha: f64 = 0.5 => Range::NotNegative,
        /// The weight of false positives.
        beta: f64 = 0.5 => Range::NotNegative,
        /// The axes that make up one region; empty for all.
        axis: AxisList = AxisList::default(),
    }
}

/// The sum over the axes named, over all where none is.
fn sum<V: Ops>(x: &V, axes: &AxisList) -> Result<V> {
    Ok(if axes.is_empty() { x.sum(..)? } else { x.sum(&axes[..])? })
}

impl Dice {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (y_true, y_pred) = align("dice", y_true, y_pred)?;
        let y_true = y_true.cast(y_pred.tensor().dtype())?;
        let axes = &self.axis;
        let both = sum(&y_true.mul(&y_pred)?, axes)?.mul(2.0)?;
        let total = sum(&y_true, axes)?.add(&sum(&y_pred, axes)?)?.add(EPSILON)?;
        Ok(Elements::new(both.div(&total)?.neg()?.add(1.0)?, Fold::Done))
    }
}

impl Tversky {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (y_true, y_pred) = align("tversky", y_true, y_pred)?;
        let y_true = y_true.cast(y_pred.tensor().dtype())?;
        let axes = &self.axis;
        let both = y_true.mul(&y_pred)?;
        let missed = sum(&y_true.sub(&both)?, axes)?;
        let wrong = sum(&y_pred.sub(&both)?, axes)?;
        let both = sum(&both, axes)?;
        let total = both.add(&missed.mul(self.alpha)?)?.add(&wrong.mul(self.beta)?)?.add(EPSILON)?;
        Ok(Elements::new(both.div(&total)?.neg()?.add(1.0)?, Fold::Done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::{Loss, Reduction};
    use kiln_autograd::{Tensor, Var};

    /// One loss of the whole batch is multiplied by each weight, as in Keras.
    #[test]
    fn weights_of_samples_multiply_the_loss_of_a_batch() {
        let t = Var::new(Tensor::new([[1.0, 0.0], [0.0, 1.0]]));
        let p = Var::new(Tensor::new([[0.75, 0.25], [0.5, 0.5]]));
        let weights = Var::new(Tensor::new([0.0, 3.0]));
        let call =
            |loss: &dyn Loss, weights: Option<&Var>| loss.call(&t, &p, weights).unwrap().tensor().to_vec_as::<f64>();
        for loss in [&Dice::new() as &dyn Loss, &Tversky::new()] {
            let plain = call(loss, None)[0];
            // 2 · 1.25 of 4.
            assert!((plain - 0.375).abs() < 1e-6, "{plain}");
            assert!((call(loss, Some(&weights))[0] - plain * 1.5).abs() < 1e-12);
        }
        let each = call(&Dice::new().reduction(Reduction::None), Some(&weights));
        assert!(each.len() == 2 && each[0] == 0.0 && (each[1] - 3.0 * 0.375).abs() < 1e-6, "{each:?}");
    }
}
