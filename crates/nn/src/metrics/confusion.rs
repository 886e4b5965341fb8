//! Metrics of right and wrong decisions: counts, precision, recall, F, the area under curves, the confusion matrix.

use super::Measure;
use super::batch::{Batch, Fit, same_columns};
use super::checks::Cell;
use super::macros::metrics;
use super::means::check_weights;
use super::state::{leading, quotient, states, weighted_sum};
use crate::range::{Allow, Range};
use crate::{Error, Result};
use kiln_autograd::ops::prelude::*;
use kiln_autograd::{DType, Tensor};
use serde::{Deserialize, Serialize};

metrics! {
    /// Targets of 1 that were predicted.
    TruePositives "true_positives" None Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default() => Range::Fraction,
    }
    /// Targets of 0 that were not predicted.
    TrueNegatives "true_negatives" None Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default() => Range::Fraction,
    }
    /// Targets of 0 that were predicted.
    FalsePositives "false_positives" None Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default() => Range::Fraction,
    }
    /// Targets of 1 that were not predicted.
    FalseNegatives "false_negatives" None Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default() => Range::Fraction,
    }
    /// The part of the predicted that is right: `TP / (TP + FP)`, over all batches and classes; 0 where nothing was predicted.
    /// One number, or one for each threshold.
    ///
    /// Targets have the shape of the predictions: of classes they are one-hot. For softmax outputs give `top_k` of 1; without
    /// it, what is above 0.5 counts as predicted. Precision, recall and F1 of every class are `kiln_train::ClassificationReport`.
    ///
    /// ```
    /// use kiln_autograd::Tensor;
    /// use kiln_nn::metrics::{Metric, Precision};
    /// let y_true = Tensor::new([[1, 0, 0], [0, 1, 0], [0, 0, 1]]);
    /// let y_pred = Tensor::new([[0.4, 0.3, 0.3], [0.1, 0.7, 0.2], [0.2, 0.6, 0.2]]);
    /// let of = |mut precision: Precision| -> kiln_nn::Result<f64> {
    ///     precision.update(&y_true, &y_pred, None)?;
    ///     Ok(precision.result())
    /// };
    /// assert_eq!(of(Precision::new())?, 1.0 / 2.0);
    /// assert_eq!(of(Precision::new().top_k(Some(1)))?, 2.0 / 3.0);
    /// assert_eq!(of(Precision::new().top_k(Some(1)).class_id(Some(0)))?, 1.0);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    Precision "precision" Max Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default() => Range::Fraction,
        /// How many of the largest predictions of a row count as predicted.
        top_k: Option<usize> = None => 1..=usize::MAX,
        /// The one class that counts.
        class_id: Option<usize> = None,
    }
    /// The part of the right that was predicted: `TP / (TP + FN)`, over all batches and classes; 0 where nothing is right. One
    /// number, or one for each threshold.
    ///
    /// Targets have the shape of the predictions: of classes they are one-hot. For softmax outputs give `top_k` of 1; without
    /// it, what is above 0.5 counts as predicted.
    Recall "recall" Max Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default() => Range::Fraction,
        /// How many of the largest predictions of a row count as predicted.
        top_k: Option<usize> = None => 1..=usize::MAX,
        /// The one class that counts.
        class_id: Option<usize> = None,
    }
    /// `2 · precision · recall / (precision + recall)` of each class, from one-hot targets.
    ///
    /// [`values`](super::Metric::values) are one score for each class, or with an [`Averaging`] one number;
    /// [`result`](super::Metric::result), which is logged, is their mean. So without an average, the default as in Keras, the
    /// logs have what [`Averaging::Macro`] gives.
    ///
    /// ```
    /// use kiln_autograd::Tensor;
    /// use kiln_nn::metrics::{Averaging, F1Score, Metric};
    /// // Of class 0 one of two is found, of class 1 both, and one too many: F1 of 2/3 and 4/5.
    /// let y_true = Tensor::new([[1, 0], [1, 0], [0, 1], [0, 1]]);
    /// let y_pred = Tensor::new([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]]);
    /// let of = |mut f1: F1Score| -> kiln_nn::Result<Vec<f64>> {
    ///     f1.update(&y_true, &y_pred, None)?;
    ///     Ok(f1.values().iter().map(|score| (score * 1000.0).round() / 1000.0).collect())
    /// };
    /// assert_eq!(of(F1Score::new())?, [0.667, 0.8]);
    /// assert_eq!(of(F1Score::new().average(Some(Averaging::Macro)))?, [0.733]);
    /// assert_eq!(of(F1Score::new().average(Some(Averaging::Micro)))?, [0.75]);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    F1Score "f1_score" Max Counts {
        /// How the classes' scores make one; unless given, as in Keras, they do not: each class has its own.
        average: Option<Averaging> = None,
        /// The largest prediction that still means 0. Unless given, the largest of a row is the predicted one; in rows of
        /// one, a sigmoid unit's, it is 0.5.
        threshold: Option<f64> = None => Range::Fraction,
    }
    /// `(1 + β²) · precision · recall / (β² · precision + recall)` of each class, from one-hot targets; averaged as [`F1Score`].
    FBetaScore "fbeta_score" Max Counts {
        /// How the classes' scores make one; unless given, as in Keras, they do not: each class has its own.
        average: Option<Averaging> = None,
        /// How much more recall counts than precision.
        beta: f64 = 1.0 => Range::Positive,
        /// The largest prediction that still means 0. Unless given, the largest of a row is the predicted one; in rows of
        /// one, a sigmoid unit's, it is 0.5.
        threshold: Option<f64> = None => Range::Fraction,
    }
    /// How often each class (row) was taken for each (column), row by row.
    ConfusionMatrix "confusion_matrix" None Table {
        /// Number of classes.
        num_classes: usize = 2 => 1..=MOST_CLASSES,
    }
}

/// The classes of the largest table whose cells memory could have addresses for.
pub(super) const MOST_CLASSES: usize = 1 << 29;

/// One threshold or several. In a config, `null`, a number or a list.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Thresholds {
    /// 0.5.
    #[default]
    Default,
    /// One.
    One(f64),
    /// Several: a result each.
    Many(Vec<f64>),
}

/// How the scores of classes make one. Without an average there is a score for each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Averaging {
    /// The score of all decisions together: of the sums of all classes' counts.
    Micro,
    /// The mean of the classes' scores.
    Macro,
    /// Their mean weighted by how many samples each class has.
    Weighted,
}

states! {
    /// Weights of decisions, right and wrong, of both kinds: one for each threshold or class.
    Counts {
        /// Targets of 1 that were predicted.
        true_positives,
        /// Targets of 0 that were predicted.
        false_positives,
        /// Targets of 0 that were not predicted.
        true_negatives,
        /// Targets of 1 that were not predicted.
        false_negatives,
    }
    /// How often each class (row) was taken for each (column).
    Table {
        /// The cells `[classes · classes]`, row by row.
        cells,
    }
}

impl Counts {
    /// Adds decisions `[…, K]`: what is, what was predicted, and weights, which broadcast together.
    fn add(&mut self, name: &str, actual: &Tensor, predicted: &Tensor, weights: &Tensor) -> Result<()> {
        let last = |x: &Tensor| x.shape().last().copied();
        same_columns(name, last(&self.true_positives), last(predicted).unwrap_or(1))?;
        let rejected = predicted.logical_not()?;
        let positives = actual.select(weights, 0.0)?;
        let negatives = actual.select(0.0, weights)?;
        for (count, decisions, weights) in [
            (&mut self.true_positives, predicted, &positives),
            (&mut self.false_positives, predicted, &negatives),
            (&mut self.true_negatives, &rejected, &negatives),
            (&mut self.false_negatives, &rejected, &positives),
        ] {
            *count = count.add(&weighted_sum(decisions, weights, leading(decisions))?)?;
        }
        Ok(())
    }

    /// The counts of each threshold or class, read.
    fn read(&self) -> Vec<Count> {
        let [tp, fp, tn, fn_] =
            [&self.true_positives, &self.false_positives, &self.true_negatives, &self.false_negatives]
                .map(Tensor::to_vec_as::<f64>);
        let counts = tp.into_iter().zip(fp).zip(tn).zip(fn_);
        counts.map(|(((tp, fp), tn), fn_)| Count { tp, fp, tn, fn_ }).collect()
    }
}

/// The counts of one threshold or class.
#[derive(Clone, Copy, Default)]
struct Count {
    tp: f64,
    fp: f64,
    tn: f64,
    fn_: f64,
}

impl Allow<Thresholds> for Range {
    fn check(&self, owner: &str, name: &str, thresholds: &Thresholds) -> Result<()> {
        match thresholds {
            Thresholds::Default => Ok(()),
            Thresholds::One(threshold) => self.check(owner, name, threshold),
            Thresholds::Many(thresholds) => self.check(owner, name, thresholds),
        }
    }
}

impl Thresholds {
    fn list(&self, top_k: Option<usize>) -> Vec<f64> {
        match self {
            Thresholds::Default if top_k.is_some() => vec![f64::NEG_INFINITY],
            Thresholds::Default => vec![0.5],
            Thresholds::One(threshold) => vec![*threshold],
            Thresholds::Many(thresholds) => thresholds.clone(),
        }
    }
}

/// Counts the decisions of a batch at each threshold.
fn count(
    state: &mut Counts,
    thresholds: &[f64],
    batch: &Batch<'_>,
    top_k: Option<usize>,
    class: Option<usize>,
) -> Result<()> {
    let classes = batch.classes();
    if let Some(class) = class.filter(|&class| class >= classes) {
        let text = format!("class_id is {class}, but there are {classes} classes");
        return Err(Error::config(text, "classes count from 0"));
    }
    let thresholds = batch.p.beside(Tensor::from_slice(thresholds, [thresholds.len()])?)?;
    let mut predicted = batch.p.cast(DType::F64)?.unsqueeze(-1)?.gt(&thresholds)?;
    if let Some(k) = top_k {
        predicted = predicted.logical_and(&among_largest(&batch.p, k)?.unsqueeze(-1)?)?;
    }
    let mut actual = batch.t.ne(0)?.unsqueeze(-1)?;
    if let Some(class) = class {
        let one = class as isize..class as isize + 1;
        (predicted, actual) = (predicted.slice(-2, one.clone())?, actual.slice(-2, one)?);
    }
    state.add(batch.name, &actual, &predicted, &batch.weights()?.unsqueeze(-1)?)
}

/// Whether each score is among the `k` largest of its row; of equal ones the first come first.
fn among_largest(scores: &Tensor, k: usize) -> Result<Tensor> {
    // Of more than there can be, all are among them.
    let k = i64::try_from(k).unwrap_or(i64::MAX);
    let comparable = scores.is_nan()?.select(f64::NEG_INFINITY, scores)?;
    // The place of each in the order is the order's own order.
    Ok(comparable.argsort(-1, true)?.argsort(-1, false)?.lt(k)?)
}

/// Metrics of the counts at thresholds.
macro_rules! at_thresholds {
    ($($metric:ident |$self_:ident| ($top_k:expr, $class:expr), |$count:ident| $result:expr;)*) => {$(
        impl Measure for $metric {
            fn take_in(&mut $self_, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
                let thresholds = $self_.thresholds.list($top_k);
                let batch = Batch::new(&$self_.name, y_true, y_pred, weight, Fit::Same)?;
                count(&mut $self_.state, &thresholds, &batch, $top_k, $class)
            }

            fn report(&$self_) -> Vec<f64> {
                let mut counts = $self_.state.read();
                counts.resize($self_.thresholds.list($top_k).len(), Count::default());
                counts.iter().map(|$count| $result).collect()
            }
        }
    )*};
}

at_thresholds! {
    TruePositives |self| (None, None), |c| c.tp;
    TrueNegatives |self| (None, None), |c| c.tn;
    FalsePositives |self| (None, None), |c| c.fp;
    FalseNegatives |self| (None, None), |c| c.fn_;
    Precision |self| (self.top_k, self.class_id), |c| quotient(c.tp, c.tp + c.fp);
    Recall |self| (self.top_k, self.class_id), |c| quotient(c.tp, c.tp + c.fn_);
}

/// Counts the decisions of a batch for each class.
fn count_classes(state: &mut Counts, batch: &Batch<'_>, threshold: Option<f64>) -> Result<()> {
    // The largest of one is always predicted, which would say nothing of the model.
    let threshold = threshold.or((batch.classes() == 1).then_some(0.5));
    let scores = batch.p.cast(DType::F64)?;
    let predicted = match threshold {
        Some(threshold) => scores.gt(threshold)?,
        None => scores.eq(&scores.amax(keep(-1))?)?.logical_and(&scores.abs()?.gt(1e-12)?)?,
    };
    state.add(batch.name, &batch.t.ne(0)?, &predicted, &batch.weights()?)
}

/// Keras's small number, added to every divisor so that 0 over 0 is 0.
const EPSILON: f64 = 1e-7;

fn f_score(c: &Count, beta: f64) -> f64 {
    let precision = c.tp / (c.tp + c.fp + EPSILON);
    let recall = c.tp / (c.tp + c.fn_ + EPSILON);
    (1.0 + beta * beta) * precision * recall / (beta * beta * precision + recall + EPSILON)
}

fn f_scores(state: &Counts, beta: f64, average: Option<Averaging>) -> Vec<f64> {
    let counts = state.read();
    let scores: Vec<f64> = counts.iter().map(|c| f_score(c, beta)).collect();
    match average {
        None => scores,
        Some(Averaging::Macro) => vec![quotient(scores.iter().sum(), scores.len() as f64)],
        Some(Averaging::Weighted) => {
            let support: Vec<f64> = counts.iter().map(|c| c.tp + c.fn_).collect();
            let total = support.iter().sum::<f64>() + EPSILON;
            vec![scores.iter().zip(support).map(|(score, support)| score * support / total).sum()]
        }
        Some(Averaging::Micro) => {
            let all = counts.iter().fold(Count::default(), |a, c| Count {
                tp: a.tp + c.tp,
                fp: a.fp + c.fp,
                tn: a.tn + c.tn,
                fn_: a.fn_ + c.fn_,
            });
            vec![f_score(&all, beta)]
        }
    }
}

impl Measure for F1Score {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let batch = Batch::new(&self.name, y_true, y_pred, weight, Fit::OneHot)?;
        count_classes(&mut self.state, &batch, self.threshold)
    }

    fn report(&self) -> Vec<f64> {
        f_scores(&self.state, 1.0, self.average)
    }
}

impl Measure for FBetaScore {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let batch = Batch::new(&self.name, y_true, y_pred, weight, Fit::OneHot)?;
        count_classes(&mut self.state, &batch, self.threshold)
    }

    fn report(&self) -> Vec<f64> {
        f_scores(&self.state, self.beta, self.average)
    }
}

/// What a confusion matrix takes of targets or predictions.
pub(super) struct Labels<'a> {
    pub(super) x: &'a Tensor,
    /// Whether they are class ids, not rows of scores.
    pub(super) are_ids: bool,
}

impl Labels<'_> {
    /// The class of each sample: the number itself, or the largest of a row of one score for each of the classes.
    fn classes(&self, name: &str, classes: usize) -> Result<Tensor> {
        let shape = self.x.shape();
        if self.are_ids {
            return Ok(self.x.cast(DType::I64)?.reshape([shape.count()])?);
        }
        if shape.last() != Some(&classes) {
            let text = format!("rows of scores of shape {shape} are not of {classes} classes");
            return Err(kiln_autograd::Error::shape(name, text).help("set num_classes to the length of a row").into());
        }
        Ok(self.x.reshape([shape.count() / classes.max(1), classes])?.argmax(-1)?)
    }
}

impl Table {
    /// Counts which class was taken for which.
    pub(super) fn add(
        &mut self,
        name: &str,
        classes: usize,
        [t, p]: [Labels<'_>; 2],
        weight: Option<&Tensor>,
        ignored: Option<i64>,
    ) -> Result<()> {
        let (actual, predicted) = (t.classes(name, classes)?, p.classes(name, classes)?);
        let n = actual.count();
        if n != predicted.count() {
            let text = format!("targets of shape {} do not fit predictions of shape {}", t.x.shape(), p.x.shape());
            return Err(kiln_autograd::Error::shape(name, text)
                .help("give one class id, or one row of scores, for each sample")
                .into());
        }
        let weight = weight.filter(|weight| n + weight.count() > 0);
        check_weights(&actual, weight)?;
        let weights = match weight.map(|weight| (weight, weight.count())).filter(|(_, count)| *count > 0) {
            Some((weight, m)) => weight.cast(DType::F64)?.reshape([m, 1])?.expand([m, n / m])?.reshape([n])?,
            None => actual.beside(Tensor::full([n], 1.0)?)?,
        };
        let weights = match ignored {
            Some(ignored) => actual.eq(ignored)?.select(0.0, &weights)?,
            None => weights,
        };
        let cell = Tensor::apply_one(Cell { name: name.to_owned(), classes }, &[&actual, &predicted, &weights]);
        let cell = cell.map_err(kiln_autograd::Error::unplaced)?;
        self.cells = self.cells.expand([classes * classes])?.scatter_add(0, &cell, &weights)?;
        Ok(())
    }
}

impl Measure for ConfusionMatrix {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        // Rows of scores are told by their length.
        let labels = [y_true, y_pred].map(|x| Labels { x, are_ids: x.rank() < 2 || x.shape().last() == Some(&1) });
        self.state.add(&self.name, self.num_classes, labels, weight, None)
    }

    fn report(&self) -> Vec<f64> {
        let mut cells = self.state.cells.to_vec_as::<f64>();
        // Before the first batch there is no table; one that there is no memory for stays out.
        let missing = self.num_classes.saturating_mul(self.num_classes).saturating_sub(cells.len());
        if cells.try_reserve_exact(missing).is_ok() {
            cells.resize(cells.len() + missing, 0.0);
        }
        cells
    }
}
