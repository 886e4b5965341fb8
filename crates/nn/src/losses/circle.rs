//! A loss of pairs of samples: which lie near each other, and which should.

use super::Targets;
use super::macros::losses;
use super::reduction::{Elements, Fold};
use crate::Result;
use crate::range::Range;
use kiln_autograd::ops::{CastOps, ComparisonOps, Ops, Value, ViewOps};
use kiln_autograd::{DType, Tensor};

losses! {
    /// `softplus(ln Σ exp(gamma · w⁺ · d⁺) + ln Σ exp(gamma · w⁻ · d⁻))` of each sample: of the distances `d = 1 - cos` to the others
    /// of its class, which should be below `margin`, and to those of other classes, which should be above `1 - margin`; each
    /// weighs more the further it is from there (Sun et al. 2020). Samples without one of their class, or without one of another, do
    /// not count.
    ///
    /// # Shapes
    /// Classes `[N]` or `[N, 1]`, and vectors of length 1 `[N, D]`: end the model in `UnitNormalization`.
    Circle "circle" (targets: Targets::ClassIds, is_of_pairs: true) {
        /// How sharply the worst pairs count before the others.
        gamma: f64 = 80.0 => Range::Positive,
        /// How near is near enough.
        margin: f64 = 0.4 => Range::Fraction,
        /// Whether a sample is no pair with itself.
        remove_diagonal: bool = true,
    }
}

/// So far below all others that nothing of it is left in a sum of exponentials, and finite, with a gradient of 0.
const NEVER: f64 = -1e30;

impl Circle {
    fn elements<V: Ops>(&self, y_true: &V, y_pred: &V) -> Result<Elements<V>> {
        let (same, other) = self.pairs(y_true.tensor(), y_pred.tensor())?;
        let wide = y_pred.tensor().dtype().promote(DType::F32);
        let vectors = y_pred.cast(wide)?;
        let distance = vectors.matmul(&vectors.transpose(-1, -2)?)?.mul(-1.0)?.add(1.0)?.clamp(0.0, f64::INFINITY)?;
        let near = distance.add(self.margin)?.mul(&distance.sub(self.margin)?)?;
        let gap = distance.mul(-1.0)?;
        let weight = gap.add(1.0 + self.margin)?.clamp(0.0, f64::INFINITY)?;
        let far = weight.mul(&gap.add(1.0 - self.margin)?)?;
        let never = V::constant(Tensor::scalar(NEVER, wide));
        let worst = |pairs: Tensor, terms: &V| -> Result<V> {
            Ok(V::constant(pairs).select(&terms.mul(self.gamma)?, &never)?.logsumexp(1)?)
        };
        let loss = worst(same, &near)?.add(&worst(other, &far)?)?.softplus()?;
        let valid = Some(ComparisonOps::gt(loss.tensor(), 0.0)?);
        Ok(Elements { elements: loss, fold: Fold::Done, valid })
    }

    /// Which samples are of one class, and which are not.
    fn pairs(&self, labels: &Tensor, vectors: &Tensor) -> Result<(Tensor, Tensor)> {
        let [samples, _] = vectors.shape()[..] else {
            let text = format!("predictions of shape {} are no vectors", vectors.shape());
            let help = "give one vector for each sample: Flatten, Dense and UnitNormalization at the end of the model";
            return Err(kiln_autograd::Error::shape("circle", text).help(help).into());
        };
        if labels.shape()[..] != [samples] && labels.shape()[..] != [samples, 1] {
            let text = format!("labels of shape {} for {samples} vectors", labels.shape());
            return Err(kiln_autograd::Error::shape("circle", text).help("give one class id for each sample").into());
        }
        let labels = labels.cast(DType::I64)?.reshape([samples, 1])?;
        let equal = ComparisonOps::eq(&labels, &labels.transpose(0, 1)?)?;
        let other = ComparisonOps::ne(&labels, &labels.transpose(0, 1)?)?;
        if !self.remove_diagonal {
            return Ok((equal, other));
        }
        let index = labels.beside(Tensor::arange(0, samples as i64, 1)?)?;
        let apart = ComparisonOps::ne(&index.unsqueeze(0)?, &index.unsqueeze(1)?)?;
        Ok((equal.logical_and(&apart)?, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::{Loss, Reduction};
    use kiln_autograd::Var;

    /// Keras's numbers.
    #[test]
    fn samples_of_one_class_are_brought_together() {
        let vectors = Var::new(Tensor::new([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]]));
        let labels = |ids: [i64; 4]| Var::new(Tensor::new(ids));
        let loss = Circle::new().gamma(2.0).margin(0.25).reduction(Reduction::None);
        let found = loss.call(&labels([0, 0, 1, 1]), &vectors, None).unwrap().tensor().to_vec_as::<f64>();
        for (found, wanted) in found.iter().zip(CIRCLE) {
            assert!((found - wanted).abs() < 1e-8, "{found}, expected {wanted}");
        }
        // Alone in its class, a sample has no loss, and is not among those that the mean is of.
        let alone = labels([0, 0, 0, 1]);
        let each = loss.call(&alone, &vectors, None).unwrap().tensor().to_vec_as::<f64>();
        let mean = loss.reduction(Reduction::Mean).call(&alone, &vectors, None).unwrap().tensor().item().unwrap();
        assert_eq!(each[3], 0.0);
        assert!((mean - (each[0] + each[1] + each[2]) / 3.0).abs() < 1e-12);
    }

    const CIRCLE: [f64; 4] = [1.190_224_478, 1.803_809_330, 3.312_433_024, 2.642_027_076];

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let text = |labels: Tensor, vectors: Tensor| {
            Circle::new().call(&Var::new(labels), &Var::new(vectors), None).unwrap_err().to_string()
        };
        assert!(text(Tensor::new([0, 1]), Tensor::new([0.5, 0.5])).contains("are no vectors"));
        assert!(text(Tensor::new([0, 1, 2]), Tensor::new([[1.0, 0.0], [0.0, 1.0]])).contains("for 2 vectors"));
    }
}
