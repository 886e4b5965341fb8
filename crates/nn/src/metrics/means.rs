//! Metrics that are weighted means of a value for each sample: losses, and accuracies.

use super::Measure;
use super::batch::{Average, Batch, Fit, Numbers};
use super::macros::metrics;
use crate::losses::{self, Reduction};
use crate::{Error, Result};
use kiln_autograd::Tensor;

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
        threshold: f64 = 0.5,
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
        k: usize = 5,
    }
    /// How often the prediction of the class id is among the `k` largest.
    SparseTopKCategoricalAccuracy "sparse_top_k_categorical_accuracy" Max Average {
        /// How many count.
        k: usize = 5,
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
        label_smoothing: f64 = 0.0,
    }
    /// [`losses::CategoricalCrossentropy`] as a metric.
    CategoricalCrossentropy "categorical_crossentropy" Min Average {
        /// Whether predictions are logits.
        from_logits: bool = false,
        /// Moves labels towards 1 / classes.
        label_smoothing: f64 = 0.0,
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
fn add_values(state: &mut Average, values: &Tensor, weight: Option<&Tensor>) -> Result<()> {
    let (values, weight) = (Numbers::of(values), weight.map(Numbers::of));
    if let Some(weight) = weight.as_ref().filter(|w| w.len() == 0 || !values.len().is_multiple_of(w.len())) {
        let text = format!("{} sample weights do not fit {} values", weight.len(), values.len());
        return Err(Error::config(text, "give one weight for each sample"));
    }
    state.add(values.len(), |i| values.at(i), weight.as_ref());
    Ok(())
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

impl Measure for SparseCategoricalCrossentropy {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let loss =
            losses::SparseCategoricalCrossentropy::new().from_logits(self.from_logits).ignore_class(self.ignore_class);
        let (y_true, y_pred) = &loss.counted(y_true, y_pred, weight)?;
        let values = loss.reduction(Reduction::None).values(y_true, y_pred)?;
        let Some(ignored) = self.ignore_class else { return add_values(&mut self.state, &values, weight) };
        let (values, labels, weight) = (Numbers::of(&values), Numbers::of(y_true), weight.map(Numbers::of));
        // Keras's mean: beside weights, ignored samples have weight 0; without, they have no loss and yet count.
        let counts = |i: usize| labels.at(i) != ignored as f64;
        let Some(weight) = weight else {
            self.state.add(values.len(), |i| if counts(i) { values.at(i) } else { 0.0 }, None);
            return Ok(());
        };
        for i in (0..values.len()).filter(|&i| counts(i)) {
            let weight = weight.at(i * weight.len() / values.len());
            self.state.total += weight * values.at(i);
            self.state.weight += weight;
        }
        Ok(())
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

impl Measure for Sum {
    fn take_in(&mut self, _: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let (values, weight) = (Numbers::of(y_pred), weight.map(Numbers::of));
        for i in 0..values.len() {
            let weight = weight.as_ref().map_or(1.0, |w| w.at(i * w.len() / values.len()));
            self.state.total += if weight == 0.0 { 0.0 } else { values.at(i) * weight };
        }
        Ok(())
    }

    fn report(&self) -> Vec<f64> {
        vec![self.state.total]
    }
}

/// Metrics that count rows or elements: how targets must fit, how many values there are, and value `i`.
macro_rules! counted {
    ($($metric:ident $fit:ident |$self_:ident, $batch:ident| $n:expr, |$i:ident| $holds:expr;)*) => {$(
        impl Measure for $metric {
            fn take_in(&mut $self_, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
                let $batch = &Batch::new(&$self_.name, y_true, y_pred, weight, Fit::$fit)?;
                let mut state = $self_.state;
                state.add($n, |$i| f64::from(u8::from($holds)), $batch.w.as_ref());
                $self_.state = state;
                Ok(())
            }

            fn report(&self) -> Vec<f64> {
                vec![self.state.mean()]
            }
        }
    )*};
}

counted! {
    Accuracy Same |self, batch| batch.p.len(), |i| batch.t.at(i) == batch.p.at(i);
    BinaryAccuracy Same |self, batch| batch.p.len(), |i| {
        batch.t.at(i) == f64::from(u8::from(batch.p.at(i) > self.threshold))
    };
    CategoricalAccuracy Same |self, batch| batch.rows(), |i| {
        let start = i * batch.classes;
        batch.t.argmax(start, batch.classes) == batch.p.argmax(start, batch.classes)
    };
    SparseCategoricalAccuracy Ids |self, batch| batch.rows(), |i| {
        batch.t.at(i) == batch.p.argmax(i * batch.classes, batch.classes) as f64
    };
    TopKCategoricalAccuracy Same |self, batch| batch.rows(), |i| {
        among(batch, i, batch.t.argmax(i * batch.classes, batch.classes) as f64, self.k)
    };
    SparseTopKCategoricalAccuracy Ids |self, batch| batch.rows(), |i| among(batch, i, batch.t.at(i), self.k);
}

/// Whether fewer than `k` predictions of a row are larger than that of `class`.
fn among(batch: &Batch<'_>, row: usize, class: f64, k: usize) -> bool {
    if !(0.0..batch.classes as f64).contains(&class) {
        return false;
    }
    let start = row * batch.classes;
    let own = batch.p.at(start + class as usize);
    own.is_finite() && (0..batch.classes).filter(|&c| batch.p.at(start + c) > own).count() < k
}
