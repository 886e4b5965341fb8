//! Metrics that are weighted means of a value for each sample: losses, and accuracies.

use super::Measure;
use super::batch::{Batch, Fit};
use super::macros::metrics;
use super::state::{ALL, Average, number, weighted_sum};
use crate::losses::{self, Reduction};
use crate::range::Range;
use crate::{Error, Result};
use kiln_autograd::ops::prelude::*;
use kiln_autograd::{DType, Tensor};

metrics! {
    /// The mean of the predictions; targets do not count.
    Mean "mean" None Average {}
    /// The sum of the predictions; targets do not count.
    Sum "sum" None Average {}
    /// How often predictions equal targets.
    Accuracy "accuracy" Max Average {}
    /// How often predictions above the threshold meet targets of 1.
    BinaryAccuracy "binary_accuracy" Max Average {
        /// The largest prediction that still means 0: 0.5 for probabilities, 0 for logits.
        threshold: f64 = 0.5 => Range::Finite,
    }
    /// How often the largest prediction is that of the one-hot target.
    CategoricalAccuracy "categorical_accuracy" Max Average {}
    /// How often the largest prediction is that of the class id.
    ///
    /// ```
    /// use kiln_autograd::Tensor;
    /// use kiln_nn::metrics::{Metric, SparseCategoricalAccuracy};
    /// let mut accuracy = SparseCategoricalAccuracy::new();
    /// accuracy.update(&Tensor::new([2, 1]), &Tensor::new([[0.1, 0.6, 0.3], [0.1, 0.8, 0.1]]), None)?;
    /// assert_eq!(accuracy.result(), 0.5);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    SparseCategoricalAccuracy "sparse_categorical_accuracy" Max Average {}
    /// How often the prediction of the one-hot target is among the `k` largest.
    TopKCategoricalAccuracy "top_k_categorical_accuracy" Max Average {
        /// How many count.
        k: usize = 5 => 1..=usize::MAX,
    }
    /// How often the prediction of the class id is among the `k` largest.
    SparseTopKCategoricalAccuracy "sparse_top_k_categorical_accuracy" Max Average {
        /// How many count.
        k: usize = 5 => 1..=usize::MAX,
    }
    /// `mean((y_true - y_pred)²)`.
    MeanSquaredError "mean_squared_error" Min Average {}
    /// `√mean((y_true - y_pred)²)`.
    RootMeanSquaredError "root_mean_squared_error" Min Average {}
    /// `mean(|y_true - y_pred|)`.
    MeanAbsoluteError "mean_absolute_error" Min Average {}
    /// `100 · mean(|y_true - y_pred| / |y_true|)`.
    MeanAbsolutePercentageError "mean_absolute_percentage_error" Min Average {}
    /// `mean((ln(y_true + 1) - ln(y_pred + 1))²)`.
    MeanSquaredLogarithmicError "mean_squared_logarithmic_error" Min Average {}
    /// `mean(ln cosh(y_pred - y_true))`.
    LogCoshError "logcosh" Min Average {}
    /// The mean cosine of the angle between targets and predictions.
    CosineSimilarity "cosine_similarity" Max Average {
        /// The axis of the vectors.
        axis: isize = -1,
    }
    /// The mean correlation of targets and predictions, from -1 to 1 (Pearson 1895); 0 where either does not vary.
    ///
    /// ```
    /// use kiln_autograd::Tensor;
    /// use kiln_nn::metrics::{Metric, PearsonCorrelation};
    /// let mut correlation = PearsonCorrelation::new();
    /// correlation.update(&Tensor::new([[1.0, 2.0, 3.0]]), &Tensor::new([[30.0, 20.0, 10.0]]), None)?;
    /// assert!((correlation.result() + 1.0).abs() < 1e-12);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    PearsonCorrelation "pearson_correlation" Max Average {
        /// The axis of the vectors.
        axis: isize = -1,
    }
    /// The mean of `2 · cov / (var t + var p + (mean t - mean p)² + 1e-7)`: the correlation, less where the predictions have
    /// another mean or scale than the targets (Lin 1989).
    ConcordanceCorrelation "concordance_correlation" Max Average {
        /// The axis of the vectors.
        axis: isize = -1,
    }
    /// [`losses::Poisson`] as a metric.
    Poisson "poisson" Min Average {}
    /// [`losses::KLDivergence`] as a metric.
    KLDivergence "kl_divergence" Min Average {}
    /// [`losses::Hinge`] as a metric.
    Hinge "hinge" Min Average {}
    /// [`losses::SquaredHinge`] as a metric.
    SquaredHinge "squared_hinge" Min Average {}
    /// [`losses::CategoricalHinge`] as a metric.
    CategoricalHinge "categorical_hinge" Min Average {}
    /// [`losses::BinaryCrossentropy`] as a metric.
    BinaryCrossentropy "binary_crossentropy" Min Average {
        /// Whether predictions are logits.
        from_logits: bool = false,
        /// Moves labels towards 1/2.
        label_smoothing: f64 = 0.0 => Range::Fraction,
    }
    /// [`losses::CategoricalCrossentropy`] as a metric.
    CategoricalCrossentropy "categorical_crossentropy" Min Average {
        /// Whether predictions are logits.
        from_logits: bool = false,
        /// Moves labels towards 1 / classes.
        label_smoothing: f64 = 0.0 => Range::Fraction,
        /// The axis of the classes.
        axis: isize = -1,
    }
    /// [`losses::SparseCategoricalCrossentropy`] as a metric.
    SparseCategoricalCrossentropy "sparse_categorical_crossentropy" Min Average {
        /// Whether predictions are logits.
        from_logits: bool = false,
        /// A label whose samples do not count.
        ignore_class: Option<i64> = None,
    }
}

/// Adds the loss of each sample.
pub(super) fn add_values(state: &mut Average, values: &Tensor, weight: Option<&Tensor>) -> Result<()> {
    check_weights(values, weight)?;
    state.add(values, weight)
}

/// A weight for each value, or for each so many.
pub(super) fn check_weights(values: &Tensor, weight: Option<&Tensor>) -> Result<()> {
    match weight {
        Some(weight) if weight.count() == 0 || !values.count().is_multiple_of(weight.count()) => {
            let text = format!("{} sample weights do not fit {} values", weight.count(), values.count());
            Err(Error::config(text, "give one weight for each sample"))
        }
        _ => Ok(()),
    }
}

/// Metrics whose values are those of a loss; the last item makes of the mean what is reported.
macro_rules! of_losses {
    ($($metric:ident |$self_:ident| $loss:expr, |$mean:ident| $result:expr;)*) => {$(
        impl Measure for $metric {
            fn take_in(&mut $self_, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
                let loss = $loss;
                let (y_true, y_pred) = loss.counted(y_true, y_pred, weight)?;
                let values = loss.values(&y_true, &y_pred)?;
                add_values(&mut $self_.state, &values, weight)
            }

            fn report(&self) -> Vec<f64> {
                let $mean = self.state.mean();
                vec![$result]
            }
        }
    )*};
}

of_losses! {
    MeanSquaredError |self| losses::MeanSquaredError::new(), |mean| mean;
    RootMeanSquaredError |self| losses::MeanSquaredError::new(), |mean| mean.sqrt();
    MeanAbsoluteError |self| losses::MeanAbsoluteError::new(), |mean| mean;
    MeanAbsolutePercentageError |self| losses::MeanAbsolutePercentageError::new(), |mean| mean;
    MeanSquaredLogarithmicError |self| losses::MeanSquaredLogarithmicError::new(), |mean| mean;
    LogCoshError |self| losses::LogCosh::new(), |mean| mean;
    CosineSimilarity |self| losses::CosineSimilarity::new().axis(self.axis), |mean| 0.0 - mean;
    Poisson |self| losses::Poisson::new(), |mean| mean;
    KLDivergence |self| losses::KLDivergence::new(), |mean| mean;
    Hinge |self| losses::Hinge::new(), |mean| mean;
    SquaredHinge |self| losses::SquaredHinge::new(), |mean| mean;
    CategoricalHinge |self| losses::CategoricalHinge::new(), |mean| mean;
    BinaryCrossentropy |self|
        losses::BinaryCrossentropy::new().from_logits(self.from_logits).label_smoothing(self.label_smoothing), |mean| mean;
    CategoricalCrossentropy |self|
        losses::CategoricalCrossentropy::new().from_logits(self.from_logits).label_smoothing(self.label_smoothing).axis(self.axis),
        |mean| mean;
}

/// Metrics of how vectors vary together.
macro_rules! correlations {
    ($($metric:ident |$cov:ident, $t:ident, $p:ident, $apart:ident| $value:expr;)*) => {$(
        impl Measure for $metric {
            fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
                let batch = Batch::new(&self.name, y_true, y_pred, weight, Fit::Same)?;
                let [[t, t_mean], [p, p_mean]] = [deviations(&batch.t, self.axis)?, deviations(&batch.p, self.axis)?];
                let $cov = t.mul(&p)?.mean(self.axis)?;
                let ($t, $p) = (t.square()?.mean(self.axis)?, p.square()?.mean(self.axis)?);
                let $apart = t_mean.sub(&p_mean)?.square()?;
                add_values(&mut self.state, &$value?, weight)
            }

            fn report(&self) -> Vec<f64> {
                vec![self.state.mean()]
            }
        }
    )*};
}

correlations! {
    PearsonCorrelation |cov, t, p, _apart| {
        let scale = t.mul(&p)?.sqrt()?;
        // What does not vary goes with nothing.
        scale.eq(0.0)?.select(0.0, &cov.div(&scale)?)
    };
    ConcordanceCorrelation |cov, t, p, apart| cov.mul(2.0)?.div(&t.add(&p)?.add(&apart)?.add(1e-7)?);
}

/// What numbers differ from their mean along an axis, and that mean.
fn deviations(x: &Tensor, axis: isize) -> Result<[Tensor; 2]> {
    let x = x.cast(DType::F64)?;
    let mean = x.mean(keep(axis))?;
    Ok([x.sub(&mean)?, mean.squeeze(axis)?])
}

impl Measure for SparseCategoricalCrossentropy {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let loss =
            losses::SparseCategoricalCrossentropy::new().from_logits(self.from_logits).ignore_class(self.ignore_class);
        let (y_true, y_pred) = &loss.counted(y_true, y_pred, weight)?;
        let values = loss.reduction(Reduction::None).values(y_true, y_pred)?;
        let Some(ignored) = self.ignore_class else { return add_values(&mut self.state, &values, weight) };
        check_weights(&values, weight)?;
        // Keras's mean: beside weights, ignored samples have weight 0; without, they have no loss and yet count.
        let counts = y_true.reshape(values.shape())?.ne(ignored)?;
        match weight {
            None => self.state.add(&counts.select(&values, 0.0)?, None),
            Some(weight) => self.state.add(&values, Some(&counts.select(&for_each(&values, weight)?, 0.0)?)),
        }
    }

    fn report(&self) -> Vec<f64> {
        vec![self.state.mean()]
    }
}

impl Measure for Mean {
    fn take_in(&mut self, _: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        add_values(&mut self.state, y_pred, weight)
    }

    fn report(&self) -> Vec<f64> {
        vec![self.state.mean()]
    }
}

/// The weight of each of the values, as `f64` and in their shape.
fn for_each(values: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (n, each) = (weight.count(), values.count() / weight.count().max(1));
    Ok(weight.cast(DType::F64)?.reshape([n, 1])?.expand([n, each])?.reshape(values.shape())?)
}

impl Measure for Sum {
    fn take_in(&mut self, _: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        check_weights(y_pred, weight)?;
        let weights = weight.map_or(Ok(Tensor::scalar(1.0, DType::F64)), |weight| for_each(y_pred, weight))?;
        self.state.add_sum(&weighted_sum(y_pred, &weights, ALL)?, &weights.sum(..)?)
    }

    fn report(&self) -> Vec<f64> {
        vec![number(&self.state.total)]
    }
}

/// Metrics that count rows or elements: how targets must fit, and which of them hold.
macro_rules! counted {
    ($($metric:ident $fit:ident |$self_:ident, $batch:ident| $holds:expr;)*) => {$(
        impl Measure for $metric {
            fn take_in(&mut $self_, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
                let $batch = &Batch::new(&$self_.name, y_true, y_pred, weight, Fit::$fit)?;
                add_values(&mut $self_.state, &$holds?, weight)
            }

            fn report(&self) -> Vec<f64> {
                vec![self.state.mean()]
            }
        }
    )*};
}

counted! {
    Accuracy Same |self, batch| batch.t.eq(&batch.p);
    BinaryAccuracy Same |self, batch| batch.t.eq(&batch.p.gt(self.threshold)?);
    CategoricalAccuracy Same |self, batch| batch.t.argmax(-1)?.eq(&batch.p.argmax(-1)?);
    SparseCategoricalAccuracy Ids |self, batch| exact(&batch.t)?.eq(&batch.p.argmax(-1)?);
    TopKCategoricalAccuracy Same |self, batch| among(batch, &batch.t.argmax(-1)?, self.k);
    SparseTopKCategoricalAccuracy Ids |self, batch| among(batch, &exact(&batch.t)?, self.k);
}

/// Class ids in a type in which all integers up to a large one differ: half precision takes 2049 for 2048.
fn exact(ids: &Tensor) -> Result<Tensor> {
    Ok(if ids.dtype().is_float() { ids.cast(DType::F64)? } else { ids.clone() })
}

/// Whether fewer than `k` predictions of a row are larger than that of its class, which is finite: `[…]` of class ids.
fn among(batch: &Batch<'_>, ids: &Tensor, k: usize) -> Result<Tensor> {
    // Of more than there can be, all are among them.
    let k = i64::try_from(k).unwrap_or(i64::MAX);
    let is_class = ids.ge(0)?.logical_and(&ids.lt(batch.classes() as i64)?)?;
    let index = is_class.select(ids, 0)?.cast(DType::I64)?.unsqueeze(-1)?;
    let own = batch.p.gather(-1, &index)?;
    let larger = batch.p.gt(&own)?.sum(-1)?;
    Ok(larger.lt(k)?.logical_and(&own.is_finite()?.squeeze(-1)?)?.logical_and(&is_class)?)
}
