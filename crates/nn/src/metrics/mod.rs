//! Metrics: what is reported. All are accumulated state, so that the value of an epoch is the metric of its samples and
//! not a mean of the batches' metrics.

mod batch;
mod checks;
mod confusion;
mod curves;
mod custom;
mod iou;
mod macros;
mod means;
mod points;
mod several;
mod state;

pub use confusion::*;
pub use curves::*;
pub use custom::MetricFn;
pub use iou::*;
pub use means::*;
pub use points::*;
pub use several::IntoMetrics;

use crate::losses::{Loss, Targets};
use crate::{Result, config, names};
use kiln_autograd::{Shape, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Which values of a metric are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Lower ones.
    Min,
    /// Higher ones.
    Max,
}

impl Direction {
    /// Whether `value` beats `reference` by more than `min_delta`; a NaN never does, and any number beats a NaN.
    ///
    /// The arithmetic is Keras's early stopping (`value + min_delta < reference`), so that ties round the same way.
    pub fn improves(self, value: f64, reference: f64, min_delta: f64) -> bool {
        if value.is_nan() {
            return false;
        }
        let delta = min_delta.abs();
        reference.is_nan()
            || match self {
                Direction::Min => value + delta < reference,
                Direction::Max => value - delta > reference,
            }
    }
}

/// A number that tells how good predictions are, gathered over batches.
///
/// Make your own of a closure with [`MetricFn`], or implement this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no metric",
    note = "give a name such as \"mae\" or a metric such as `metrics::AUC::new()`; one of your own implements `Metric`, or is made of a closure by `metrics::MetricFn::new`"
)]
pub trait Metric: fmt::Debug + Send + Sync {
    /// The key in logs.
    fn name(&self) -> &str;

    /// Changes the key in logs.
    fn rename(&mut self, name: &str);

    /// The name of its type, as in a config.
    fn type_name(&self) -> &str;

    /// Takes in a batch: operations on tensors, which read no value on the host.
    ///
    /// # Errors
    /// Shapes that do not fit; a setting out of its range; what only an operation's kernel sees, such as a class that is none.
    fn update(&mut self, y_true: &Tensor, y_pred: &Tensor, sample_weight: Option<&Tensor>) -> Result<()>;

    /// The metric of all batches since the last reset: one number, or one for each class or threshold. This reads the
    /// state.
    fn values(&self) -> Vec<f64>;

    /// The metric as one number: the mean where there are several.
    fn result(&self) -> f64 {
        let values = self.values();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    }

    /// Forgets all batches.
    fn reset(&mut self);

    /// Shows each tensor of the state with its name, to be saved or replaced: a metric of the same settings that is given
    /// another's tensors goes on where that one stood. The shapes may be those of the batches so far.
    ///
    /// ```
    /// use kiln_autograd::Tensor;
    /// use kiln_nn::metrics::{Mean, Metric};
    /// let mut mean = Mean::new();
    /// mean.update(&Tensor::new([0.0, 0.0]), &Tensor::new([3.0, 4.0]), None)?;
    /// let mut state = Vec::new();
    /// mean.visit(&mut |name, tensor| {
    ///     state.push(format!("{name} {}", tensor.item()?));
    ///     Ok(())
    /// })?;
    /// assert_eq!(state, ["total 7", "weight 2"]);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// The visitor's.
    fn visit(&mut self, f: &mut dyn FnMut(&str, &mut Tensor) -> Result<()>) -> Result<()>;

    /// Which values are better, where that can be said.
    fn direction(&self) -> Option<Direction> {
        None
    }

    /// Checks the settings, when a model is compiled with it.
    ///
    /// # Errors
    /// A setting that cannot work, with its range.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The settings, as in a config.
    fn arguments(&self) -> Value;

    /// A copy with its state.
    fn boxed(&self) -> Box<dyn Metric>;
}

impl dyn Metric {
    /// The metric as `{"name": …, "config": …}`, without its state; [`from_config`] reads it back.
    pub fn to_config(&self) -> Value {
        config::write(self.type_name(), self.arguments())
    }
}

impl Clone for Box<dyn Metric> {
    fn clone(&self) -> Self {
        self.boxed()
    }
}

/// What the macro makes a [`Metric`] of.
trait Measure {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()>;
    fn report(&self) -> Vec<f64>;
}

/// What `compile` takes for a metric: a name, or a metric with its settings.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no metric",
    note = "give a name such as \"mae\" or a metric such as `metrics::AUC::new()`; one of your own implements `Metric`, or is made of a closure by `metrics::MetricFn::new`"
)]
pub trait IntoMetric {
    /// Converts. A name becomes the key in logs as it was given.
    ///
    /// # Errors
    /// A name that is none; a setting out of its range.
    fn into_metric(self) -> Result<Box<dyn Metric>>;
}

impl IntoMetric for &str {
    fn into_metric(self) -> Result<Box<dyn Metric>> {
        from_name(self)
    }
}

impl IntoMetric for String {
    fn into_metric(self) -> Result<Box<dyn Metric>> {
        from_name(&self)
    }
}

impl<M: Metric + 'static> IntoMetric for M {
    fn into_metric(self) -> Result<Box<dyn Metric>> {
        (Box::new(self) as Box<dyn Metric>).into_metric()
    }
}

impl IntoMetric for Box<dyn Metric> {
    fn into_metric(self) -> Result<Box<dyn Metric>> {
        self.check().map(|()| self)
    }
}

type Build = fn(Value) -> Result<Box<dyn Metric>>;

macro_rules! table {
    ($($($name:literal)+ => $metric:ident;)*) => {
        /// Every spelling of every metric.
        const TABLE: &[(&[&str], Build)] =
            &[$((&[$($name),+], |arguments| Ok(Box::new(config::read::<$metric>(stringify!($metric), arguments)?)))),*];
    };
}

table! {
    "mean" => Mean;
    "sum" => Sum;
    "accuracy" "acc" => Accuracy;
    "binary_accuracy" => BinaryAccuracy;
    "categorical_accuracy" => CategoricalAccuracy;
    "sparse_categorical_accuracy" => SparseCategoricalAccuracy;
    "top_k_categorical_accuracy" => TopKCategoricalAccuracy;
    "sparse_top_k_categorical_accuracy" => SparseTopKCategoricalAccuracy;
    "true_positives" => TruePositives;
    "true_negatives" => TrueNegatives;
    "false_positives" => FalsePositives;
    "false_negatives" => FalseNegatives;
    "precision" => Precision;
    "recall" => Recall;
    "f1_score" "f1" => F1Score;
    "fbeta_score" "f_beta_score" => FBetaScore;
    "auc" => AUC;
    "sensitivity_at_specificity" => SensitivityAtSpecificity;
    "specificity_at_sensitivity" => SpecificityAtSensitivity;
    "precision_at_recall" => PrecisionAtRecall;
    "recall_at_precision" => RecallAtPrecision;
    "io_u" "iou" => IoU;
    "binary_io_u" "binary_iou" => BinaryIoU;
    "mean_io_u" "mean_iou" => MeanIoU;
    "one_hot_io_u" "one_hot_iou" => OneHotIoU;
    "one_hot_mean_io_u" "one_hot_mean_iou" => OneHotMeanIoU;
    "confusion_matrix" => ConfusionMatrix;
    "r2_score" "r2" => R2Score;
    "mean_squared_error" "mse" => MeanSquaredError;
    "root_mean_squared_error" "rmse" => RootMeanSquaredError;
    "mean_absolute_error" "mae" => MeanAbsoluteError;
    "mean_absolute_percentage_error" "mape" => MeanAbsolutePercentageError;
    "mean_squared_logarithmic_error" "msle" => MeanSquaredLogarithmicError;
    "log_cosh_error" "log_cosh" => LogCoshError;
    "cosine_similarity" => CosineSimilarity;
    "pearson_correlation" => PearsonCorrelation;
    "concordance_correlation" => ConcordanceCorrelation;
    "poisson" => Poisson;
    "kl_divergence" "kld" => KLDivergence;
    "hinge" => Hinge;
    "squared_hinge" => SquaredHinge;
    "categorical_hinge" => CategoricalHinge;
    "binary_crossentropy" "bce" => BinaryCrossentropy;
    "categorical_crossentropy" "cce" => CategoricalCrossentropy;
    "sparse_categorical_crossentropy" "scce" => SparseCategoricalCrossentropy;
}

/// The metric of a name with its default settings, logged under the name as given: `"mse"`, `"f1_score"`.
///
/// # Errors
/// The name is none; the error has the nearest.
pub fn from_name(name: &str) -> Result<Box<dyn Metric>> {
    let mut metric = names::find("metric", name, TABLE)?(Value::Null)?;
    metric.rename(name);
    Ok(metric)
}

/// The metric that `to_config` wrote.
///
/// # Errors
/// A config of another form, an unknown name or setting, a setting out of its range.
pub fn from_config(config: &Value) -> Result<Box<dyn Metric>> {
    let (name, arguments) = config::parts("metric", config)?;
    names::find("metric", name, TABLE)?(arguments)?.into_metric()
}

impl Accuracy {
    /// The accuracy that "accuracy" stands for beside a loss: the loss says what targets are; where it does not, shapes do.
    pub fn resolve(name: &str, loss: Option<&dyn Loss>, y_true: &Shape, y_pred: &Shape) -> Box<dyn Metric> {
        let columns = y_pred.last().copied().unwrap_or(1);
        let targets = match loss.map_or(Targets::Values, Loss::targets) {
            Targets::Values if columns == 1 => Targets::Binary,
            Targets::Values if y_true.rank() < y_pred.rank() || y_true.last() == Some(&1) => Targets::ClassIds,
            Targets::Values => Targets::OneHot,
            known => known,
        };
        let logits = loss.is_some_and(Loss::takes_logits);
        let mut metric: Box<dyn Metric> = match targets {
            Targets::ClassIds => Box::new(SparseCategoricalAccuracy::new()),
            Targets::OneHot => Box::new(CategoricalAccuracy::new()),
            _ => Box::new(BinaryAccuracy::new().threshold(if logits { 0.0 } else { 0.5 })),
        };
        metric.rename(name);
        metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses;

    #[test]
    fn improvement_is_strict_and_nan_never_improves() {
        assert!(!Direction::Min.improves(0.5, 0.5, 0.0));
        assert!(Direction::Min.improves(0.4, 0.5, 0.0));
        assert!(!Direction::Min.improves(0.4, 0.5, 0.1));
        assert!(Direction::Max.improves(0.61, 0.5, -0.1));
        assert!(!Direction::Max.improves(f64::NAN, 0.5, 0.0));
        assert!(Direction::Max.improves(0.1, f64::NAN, 0.0));
    }

    #[test]
    fn accuracy_follows_the_loss_then_the_shapes() {
        let shape = |dims: &[usize]| Shape::new(dims).unwrap();
        let resolve = |loss: Option<&str>, t: &[usize], p: &[usize]| {
            let loss = loss.map(|name| losses::from_name(name).unwrap());
            Accuracy::resolve("acc", loss.as_deref(), &shape(t), &shape(p)).type_name().to_owned()
        };
        assert_eq!(resolve(Some("binary_crossentropy"), &[8, 3], &[8, 3]), "BinaryAccuracy");
        assert_eq!(resolve(Some("sparse_categorical_crossentropy"), &[8], &[8, 3]), "SparseCategoricalAccuracy");
        assert_eq!(resolve(Some("mse"), &[8, 3], &[8, 3]), "CategoricalAccuracy");
        assert_eq!(resolve(None, &[8], &[8, 1]), "BinaryAccuracy");
        assert_eq!(resolve(None, &[8, 1], &[8, 3]), "SparseCategoricalAccuracy");
    }

    #[test]
    fn configs_come_back() {
        for (names, _) in TABLE {
            let metric = from_name(names[0]).unwrap();
            let config = metric.to_config();
            assert_eq!(from_config(&config).unwrap().to_config(), config, "{config}");
        }
        assert!(from_name("acuracy").unwrap_err().to_string().contains("did you mean `accuracy`?"));
    }

    #[test]
    fn batches_add_up_to_the_whole() {
        let t = Tensor::new([[1.0], [0.0], [1.0], [1.0]]);
        let p = Tensor::new([[0.9], [0.8], [0.4], [0.7]]);
        use kiln_autograd::ops::ViewOps;
        for name in ["precision", "recall", "auc", "mse", "binary_accuracy"] {
            let (mut whole, mut parts) = (from_name(name).unwrap(), from_name(name).unwrap());
            whole.update(&t, &p, None).unwrap();
            for range in [0..1, 1..4] {
                parts.update(&t.slice(0, range.clone()).unwrap(), &p.slice(0, range).unwrap(), None).unwrap();
            }
            assert!((whole.result() - parts.result()).abs() < 1e-12, "{name}");
        }
        let mut auc = AUC::new().exact(true);
        auc.update(&t, &p, None).unwrap();
        assert!((auc.result() - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn batches_count_by_their_samples_and_masked_ones_not_at_all() {
        let values = |n: usize, value: f64| Tensor::full([n], value).unwrap();
        let mut mean = Mean::new();
        for (n, value) in [(2, 10.0), (1, 9.0)] {
            mean.update(&values(n, 0.0), &values(n, value), None).unwrap();
        }
        assert!((mean.result() - 29.0 / 3.0).abs() < 1e-12);
        // One valid and right of ten, then ten valid and wrong: 1 of 11. A batch with none changes nothing.
        let batches = [(0.75, 1, 1.0), (0.25, 10, 1.0), (f64::NAN, 10, 0.0)];
        for name in ["binary_accuracy", "sparse_categorical_accuracy"] {
            let mut metric = from_name(name).unwrap();
            for (score, valid, weight) in batches {
                let weights: Vec<f64> = (0..10).map(|i| if i < valid { weight } else { 0.0 }).collect();
                let scores: Vec<f64> = match name {
                    "binary_accuracy" => vec![score; 10],
                    _ => [1.0 - score, score].repeat(10),
                };
                let p = Tensor::from_vec(scores.clone(), [10, scores.len() / 10]).unwrap();
                let weights = Tensor::from_vec(weights, [10]).unwrap();
                metric.update(&Tensor::ones([10, 1]).unwrap(), &p, Some(&weights)).unwrap();
            }
            assert!((metric.result() - 1.0 / 11.0).abs() < 1e-12, "{name}: {}", metric.result());
        }
    }

    #[test]
    fn a_metric_goes_on_from_the_state_of_another() {
        let (t, p) =
            (Tensor::new([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), Tensor::new([[0.9, 0.1], [0.75, 0.2], [0.4, 0.8]]));
        let ids = Tensor::new([0, 1, 1]);
        let metrics = TABLE.iter().map(|(names, _)| from_name(names[0]).unwrap());
        for metric in metrics.chain([Box::new(AUC::new().exact(true)) as Box<dyn Metric>]) {
            let (t, p) = match metric.name() {
                name if name.starts_with("sparse_") => (&ids, &p),
                "mean_io_u" | "confusion_matrix" => (&ids, &ids),
                _ => (&t, &p),
            };
            let (mut whole, mut first, mut second) = (metric.boxed(), metric.boxed(), metric.boxed());
            whole.update(t, p, None).unwrap();
            whole.update(t, p, None).unwrap();
            first.update(t, p, None).unwrap();
            let mut state = Vec::new();
            let mut save = |name: &str, tensor: &mut Tensor| {
                state.push((name.to_owned(), tensor.clone()));
                Ok(())
            };
            first.visit(&mut save).unwrap();
            let mut saved = state.into_iter();
            let mut load = |name: &str, tensor: &mut Tensor| {
                let (of, value) = saved.next().unwrap();
                assert_eq!(of, name);
                *tensor = value;
                Ok(())
            };
            second.visit(&mut load).unwrap();
            assert_eq!(second.values(), first.values(), "{}", metric.name());
            second.update(t, p, None).unwrap();
            assert_eq!(second.values(), whole.values(), "{}", metric.name());
        }
    }

    #[test]
    fn f1_of_one_unit_asks_whether_it_is_above_a_half() {
        let (t, p) = (Tensor::new([[1.0], [0.0], [1.0], [0.0]]), Tensor::new([[0.9], [0.8], [0.4], [0.1]]));
        for name in ["f1_score", "fbeta_score"] {
            let mut metric = from_name(name).unwrap();
            metric.update(&t, &p, None).unwrap();
            assert!((metric.result() - 0.5).abs() < 1e-6, "{name}: {}", metric.result());
            let vector = |x: &Tensor| Tensor::from_vec(x.to_vec_as::<f64>(), [4]).unwrap();
            metric.reset();
            metric.update(&vector(&t), &p, None).unwrap();
            metric.update(&vector(&t), &vector(&p), None).unwrap();
            assert!((metric.result() - 0.5).abs() < 1e-6, "{name}: {}", metric.result());
            let text = metric.update(&Tensor::new([0, 1]), &Tensor::new([[0.5, 0.5]; 2]), None).unwrap_err();
            assert!(text.to_string().contains("one-hot"), "{text}");
        }
    }

    #[test]
    fn a_sample_of_weight_0_spoils_no_metric() {
        let weight = Tensor::new([1.0, 1.0, 0.0]);
        for (names, _) in TABLE {
            let ids = names[0].starts_with("sparse_") || ["mean_io_u", "confusion_matrix"].contains(&names[0]);
            let run = |bad: f64, label: f64| {
                let (t, p) = match ids {
                    true if names[0].starts_with("sparse_") => {
                        (Tensor::new([1.0, 0.0, label]), Tensor::new([[0.25, 0.75], [0.5, 0.5], [bad, bad]]))
                    }
                    true => {
                        (Tensor::new([1.0, 0.0, label]), Tensor::new([0.0, 0.0, if bad.is_nan() { 9.0 } else { 1.0 }]))
                    }
                    false => (
                        Tensor::new([[0.0, 1.0], [1.0, 0.0], [label, label]]),
                        Tensor::new([[0.25, 0.75], [0.5, 0.5], [bad, bad]]),
                    ),
                };
                let mut metric = from_name(names[0]).unwrap();
                metric.update(&t, &p, Some(&weight)).unwrap();
                metric.values()
            };
            assert_eq!(run(f64::NAN, 7.0), run(0.5, 0.0), "{}", names[0]);
        }
    }

    /// What a metric says of its settings when a model is compiled with it, and when it is given a batch.
    fn refusals(metric: impl Metric + Clone + 'static) -> [String; 2] {
        let x = Tensor::new([[0.25, 0.5], [0.5, 0.25]]);
        let batch = metric.clone().update(&x, &x, None).expect_err("a setting out of its range");
        [metric.into_metric().expect_err("a setting out of its range"), batch].map(|error| error.to_string())
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let many = |list: &[f64]| Thresholds::Many(list.to_vec());
        for bad in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
            for text in [
                refusals(TruePositives::new().thresholds(Thresholds::One(bad))),
                refusals(FalseNegatives::new().thresholds(many(&[0.5, bad]))),
                refusals(Precision::new().thresholds(many(&[bad]))),
                refusals(Recall::new().thresholds(Thresholds::One(bad))),
                refusals(F1Score::new().threshold(Some(bad))),
                refusals(FBetaScore::new().threshold(Some(bad))),
                refusals(AUC::new().thresholds(Some(vec![0.5, bad]))),
                refusals(BinaryCrossentropy::new().label_smoothing(bad)),
                refusals(CategoricalCrossentropy::new().label_smoothing(bad)),
            ]
            .as_flattened()
            {
                assert!(text.contains(&format!(" is {bad}\n  help: give a number from 0 to 1")), "{text}");
            }
        }
        for bad in [f64::NAN, f64::INFINITY, 0.0, -1.0] {
            for text in refusals(FBetaScore::new().beta(bad)) {
                assert_eq!(text, format!("fbeta_score: beta is {bad}\n  help: give a number above 0"));
            }
        }
        for (text, what) in [
            (refusals(BinaryAccuracy::new().threshold(f64::NAN)), "threshold is NaN"),
            (refusals(Recall::new().thresholds(many(&[]))), "thresholds is an empty list"),
            (refusals(AUC::new().thresholds(Some(Vec::new()))), "thresholds is an empty list"),
            (refusals(AUC::new().num_thresholds(1)), "num_thresholds is 1"),
            (refusals(AUC::new().num_thresholds(usize::MAX)), "from 2 to 16777216"),
            (refusals(AUC::new().multi_label(true).label_weights(Some(vec![1.0, f64::NAN]))), "label_weights is NaN"),
            (refusals(Precision::new().top_k(Some(0))), "top_k is 0"),
            (refusals(TopKCategoricalAccuracy::new().k(0)), "k is 0"),
            (refusals(SparseTopKCategoricalAccuracy::new().k(0)), "k is 0"),
            (refusals(ConfusionMatrix::new().num_classes(1 << 33)), "num_classes is 8589934592"),
            (refusals(MeanIoU::new().num_classes(1 << 32)), "num_classes is 4294967296"),
            (refusals(MeanIoU::new().num_classes(0)), "num_classes is 0"),
        ] {
            assert!(text.iter().all(|text| text.contains(what) && text.contains("help: give")), "{text:?}");
        }
        let config = serde_json::json!({"name": "f1_score", "config": {"threshold": 2.0}});
        assert!(from_config(&config).unwrap_err().to_string().contains("threshold is 2"));
    }

    #[test]
    fn every_number_of_every_metric_has_a_range() {
        for (names, build) in TABLE {
            let config = from_name(names[0]).unwrap().to_config()["config"].clone();
            let numbers = config.as_object().unwrap().iter().filter(|(_, value)| value.is_f64());
            for (setting, _) in numbers {
                // Neither a threshold nor a share.
                let mut wrong = config.clone();
                wrong[setting] = serde_json::json!(-1e300);
                let metric = build(wrong).unwrap();
                let is_free = ["binary_accuracy", "binary_io_u"].contains(&names[0]) && setting == "threshold";
                assert!(is_free || metric.into_metric().is_err(), "{names:?} {setting}");
            }
        }
    }

    #[test]
    fn more_than_there_are_is_all_of_them() {
        let (t, p) = (Tensor::new([[0.0, 1.0], [1.0, 0.0]]), Tensor::new([[0.75, 0.25], [0.9, 0.6]]));
        let all: [(Box<dyn Metric>, _); 4] = [
            (Box::new(SparseTopKCategoricalAccuracy::new().k(usize::MAX)), Tensor::new([1, 0])),
            (Box::new(TopKCategoricalAccuracy::new().k(usize::MAX)), t.clone()),
            (Box::new(Recall::new().top_k(Some(usize::MAX))), t.clone()),
            (Box::new(Recall::new().top_k(Some(2))), t),
        ];
        for (mut metric, t) in all {
            metric.update(&t, &p, None).unwrap();
            assert_eq!(metric.result(), 1.0, "{metric:?}");
        }
    }

    #[test]
    fn tables_without_memory_are_errors() {
        let ids = Tensor::new([0, 1]);
        for classes in [1 << 20, 1 << 29] {
            for mut metric in [
                Box::new(ConfusionMatrix::new().num_classes(classes)) as Box<dyn Metric>,
                Box::new(MeanIoU::new().num_classes(classes)),
            ] {
                let error = metric.update(&ids, &ids, None).unwrap_err().to_string();
                assert!(error.contains("memory"), "{error}");
                assert!(metric.values().len() <= 1);
            }
        }
        assert!(ConfusionMatrix::new().num_classes(1 << 33).values().len() <= 1);
        assert_eq!(MeanIoU::new().num_classes(1 << 33).values(), [0.0]);
        assert_eq!(ConfusionMatrix::new().values(), [0.0; 4]);
    }

    #[test]
    fn batches_of_other_columns_are_refused() {
        let x = |columns: usize| Tensor::full([2, columns], 0.5).unwrap();
        let all: [Box<dyn Metric>; 6] = [
            Box::new(F1Score::new()),
            Box::new(FBetaScore::new()),
            Box::new(AUC::new().multi_label(true)),
            Box::new(AUC::new().multi_label(true).exact(true)),
            Box::new(AUC::new().multi_label(true).num_thresholds(2)),
            Box::new(R2Score::new()),
        ];
        for metric in all {
            for (before, after) in [(1, 3), (3, 1), (3, 2), (2, 4)] {
                let mut metric = metric.boxed();
                metric.update(&x(before), &x(before), None).unwrap();
                let values = metric.values();
                let text = metric.update(&x(after), &x(after), None).unwrap_err().to_string();
                let what = format!("{}: predictions of {after} columns after some of {before}", metric.name());
                assert!(text.starts_with(&what) && text.contains("help: reset"), "{text}");
                assert_eq!(metric.values(), values);
                metric.reset();
                metric.update(&x(after), &x(after), None).unwrap();
            }
        }
    }

    #[test]
    fn rows_of_scores_have_a_score_for_each_class() {
        let mut matrix = ConfusionMatrix::new();
        let text = matrix.update(&Tensor::new([0, 1]), &Tensor::new([[0.1; 4]; 2]), None).unwrap_err().to_string();
        assert!(text.contains("[2, 4] are not of 2 classes") && text.contains("set num_classes"), "{text}");
        let rows = Tensor::new([[0.25, 0.75], [0.75, 0.25]]);
        let text = matrix.update(&Tensor::new([0, 1, 1]), &rows, None).unwrap_err().to_string();
        assert!(text.contains("do not fit"), "{text}");
        for weight in [Tensor::new([1.0, 1.0, 1.0]), Tensor::from_vec(Vec::<f64>::new(), [0]).unwrap()] {
            let text = matrix.update(&Tensor::new([1, 0]), &rows, Some(&weight)).unwrap_err().to_string();
            assert!(text.contains("sample weights do not fit 2 values"), "{text}");
        }
        let mut weighted = AUC::new().label_weights(Some(vec![1.0, 2.0]));
        let text = weighted.update(&rows, &rows, None).unwrap_err().to_string();
        assert!(text.contains("2 label_weights for 1 columns") && text.contains("set multi_label"), "{text}");
        weighted.multi_label(true).update(&rows, &rows, None).unwrap();
    }
}
