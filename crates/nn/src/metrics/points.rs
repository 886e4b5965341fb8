//! Points of curves of decisions: the best of one rate where another is as high as it has to be.

use super::Measure;
use super::batch::{Batch, Fit};
use super::curves::Scores;
use super::macros::metrics;
use super::state::quotient;
use crate::range::Range;
use crate::{Error, Result};
use kiln_autograd::Tensor;
use kiln_autograd::ops::prelude::*;

metrics! {
    /// The highest sensitivity, `TP / (TP + FN)`, of the thresholds at which the specificity, `TN / (TN + FP)`, is at least
    /// the one asked for; 0 where there is none.
    ///
    /// ```
    /// use kiln_autograd::Tensor;
    /// use kiln_nn::metrics::{Metric, SensitivityAtSpecificity};
    /// let mut metric = SensitivityAtSpecificity::new().specificity(0.5);
    /// metric.update(&Tensor::new([0, 0, 0, 1, 1]), &Tensor::new([0.0, 0.3, 0.8, 0.3, 0.8]), None)?;
    /// // Above 0.3 lies one of two positives, and one of three negatives; below, two of three.
    /// assert_eq!(metric.result(), 0.5);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    SensitivityAtSpecificity "sensitivity_at_specificity" Max Scores {
        /// The least specificity.
        specificity: f64 = 0.5 => Range::Fraction,
        /// Number of thresholds, evenly spread over 0 … 1; one is 0.5.
        num_thresholds: usize = 200 => 1..=super::curves::MOST_THRESHOLDS,
        /// The one class that counts.
        class_id: Option<usize> = None,
    }
    /// The highest specificity, `TN / (TN + FP)`, of the thresholds at which the sensitivity, `TP / (TP + FN)`, is at least
    /// the one asked for; 0 where there is none.
    SpecificityAtSensitivity "specificity_at_sensitivity" Max Scores {
        /// The least sensitivity.
        sensitivity: f64 = 0.5 => Range::Fraction,
        /// Number of thresholds, evenly spread over 0 … 1; one is 0.5.
        num_thresholds: usize = 200 => 1..=super::curves::MOST_THRESHOLDS,
        /// The one class that counts.
        class_id: Option<usize> = None,
    }
    /// The highest precision, `TP / (TP + FP)`, of the thresholds at which the recall, `TP / (TP + FN)`, is at least the one
    /// asked for; 0 where there is none.
    PrecisionAtRecall "precision_at_recall" Max Scores {
        /// The least recall.
        recall: f64 = 0.5 => Range::Fraction,
        /// Number of thresholds, evenly spread over 0 … 1; one is 0.5.
        num_thresholds: usize = 200 => 1..=super::curves::MOST_THRESHOLDS,
        /// The one class that counts.
        class_id: Option<usize> = None,
    }
    /// The highest recall, `TP / (TP + FN)`, of the thresholds at which the precision, `TP / (TP + FP)`, is at least the one
    /// asked for; 0 where there is none.
    RecallAtPrecision "recall_at_precision" Max Scores {
        /// The least precision.
        precision: f64 = 0.5 => Range::Fraction,
        /// Number of thresholds, evenly spread over 0 … 1; one is 0.5.
        num_thresholds: usize = 200 => 1..=super::curves::MOST_THRESHOLDS,
        /// The one class that counts.
        class_id: Option<usize> = None,
    }
}

/// Thresholds from just below 0, which every probability is above, to just above 1; a single one lies in the middle.
fn bounds(number: usize) -> Vec<f64> {
    match number {
        1 => vec![0.5],
        _ => super::curves::spread(number),
    }
}

/// The one column of a class.
fn column(x: &Tensor, class: usize, classes: usize) -> Result<Tensor> {
    if class >= classes {
        let text = format!("class_id is {class}, but there are {classes} classes");
        return Err(Error::config(text, "classes count from 0"));
    }
    Ok(x.slice(-1, class as isize..class as isize + 1)?)
}

/// Positives and negatives of a column, those above a threshold and all.
struct Decisions {
    tp: f64,
    fp: f64,
    positives: f64,
    negatives: f64,
}

impl Decisions {
    fn sensitivity(&self) -> f64 {
        quotient(self.tp, self.positives)
    }

    fn specificity(&self) -> f64 {
        quotient(self.negatives - self.fp, self.negatives)
    }

    fn precision(&self) -> f64 {
        quotient(self.tp, self.tp + self.fp)
    }
}

/// Metrics of the best at a rate: what has to be how high, and what is to be the highest.
macro_rules! at_points {
    ($($metric:ident $least:ident: $rate:ident, $best:ident;)*) => {$(
        impl Measure for $metric {
            fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
                let batch = Batch::new(&self.name, y_true, y_pred, weight, Fit::Same)?;
                let (mut t, mut p) = (batch.t.clone(), batch.p.clone());
                let mut weights = batch.weights()?;
                if let Some(class) = self.class_id {
                    weights = weights.expand(p.shape())?;
                    [t, p, weights] = [column(&t, class, batch.classes())?, column(&p, class, batch.classes())?,
                        column(&weights, class, batch.classes())?];
                }
                self.state.count(&self.name, bounds(self.num_thresholds), [&t, &p, &weights], 1)
            }

            fn report(&self) -> Vec<f64> {
                let [tp, fp] = self.state.above();
                let (Some(&positives), Some(&negatives)) = (tp.first(), fp.first()) else { return vec![0.0] };
                let points = tp[1..].iter().zip(&fp[1..]);
                let points = points.map(|(&tp, &fp)| Decisions { tp, fp, positives, negatives });
                let allowed = points.filter(|point| point.$rate() >= self.$least);
                vec![allowed.map(|point| point.$best()).fold(0.0, f64::max)]
            }
        }
    )*};
}

at_points! {
    SensitivityAtSpecificity specificity: specificity, sensitivity;
    SpecificityAtSensitivity sensitivity: sensitivity, specificity;
    PrecisionAtRecall recall: sensitivity, precision;
    RecallAtPrecision precision: precision, sensitivity;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;

    #[test]
    fn the_best_where_the_other_rate_is_high_enough() {
        // Above the thresholds there are 2 positives of 2 and 3 negatives of 3, then 2 and 2, 1 and 1, none.
        let (t, p) = (Tensor::new([0, 0, 0, 1, 1]), Tensor::new([0.0, 0.3, 0.8, 0.3, 0.8]));
        let all: [(Box<dyn Metric>, f64); 5] = [
            (Box::new(SensitivityAtSpecificity::new()), 1.0 / 2.0),
            (Box::new(SpecificityAtSensitivity::new()), 2.0 / 3.0),
            (Box::new(PrecisionAtRecall::new().recall(1.0)), 1.0 / 2.0),
            (Box::new(RecallAtPrecision::new()), 1.0),
            (Box::new(RecallAtPrecision::new().precision(0.75)), 0.0),
        ];
        for (mut metric, best) in all {
            assert_eq!(metric.result(), 0.0, "{metric:?}");
            metric.update(&t, &p, None).unwrap();
            assert!((metric.result() - best).abs() < 1e-12, "{metric:?}");
            metric.update(&t, &p, Some(&Tensor::new([2.0; 5]))).unwrap();
            assert!((metric.result() - best).abs() < 1e-12, "{metric:?}");
        }
        // One column of several, and one that there is not.
        let rows = |x: &Tensor| stack(&[&x.eq(9).unwrap().cast(x.dtype()).unwrap(), x], 1).unwrap();
        let mut metric = SpecificityAtSensitivity::new().class_id(Some(1));
        metric.update(&rows(&t), &rows(&p), Some(&Tensor::ones([5]).unwrap())).unwrap();
        assert!((metric.result() - 2.0 / 3.0).abs() < 1e-12);
        let text = metric.class_id(Some(2)).update(&rows(&t), &rows(&p), None).unwrap_err().to_string();
        assert!(text.contains("class_id is 2, but there are 2 classes"), "{text}");
    }
}
