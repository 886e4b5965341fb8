//! Metrics of right and wrong decisions: counts, precision, recall, F, the area under curves, the confusion matrix.

use super::Measure;
use super::batch::{Batch, Fit, Numbers, quotient};
use super::macros::metrics;
use crate::{Error, Result};
use kiln_autograd::Tensor;
use serde::{Deserialize, Serialize};

metrics! {
    /// Targets of 1 that were predicted.
    TruePositives "true_positives" None Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default(),
    }
    /// Targets of 0 that were not predicted.
    TrueNegatives "true_negatives" None Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default(),
    }
    /// Targets of 0 that were predicted.
    FalsePositives "false_positives" None Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default(),
    }
    /// Targets of 1 that were not predicted.
    FalseNegatives "false_negatives" None Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default(),
    }
    /// The part of the predicted that is right: `TP / (TP + FP)`, over all batches. For softmax outputs give `top_k` of 1.
    Precision "precision" Max Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default(),
        /// How many of the largest predictions of a row count as predicted.
        top_k: Option<usize> = None,
        /// The one class that counts.
        class_id: Option<usize> = None,
    }
    /// The part of the right that was predicted: `TP / (TP + FN)`, over all batches. For softmax outputs give `top_k` of 1.
    Recall "recall" Max Counts {
        /// The largest predictions that still mean 0.
        thresholds: Thresholds = Thresholds::default(),
        /// How many of the largest predictions of a row count as predicted.
        top_k: Option<usize> = None,
        /// The one class that counts.
        class_id: Option<usize> = None,
    }
    /// `2 · precision · recall / (precision + recall)` of each class, from one-hot targets.
    F1Score "f1_score" Max Counts {
        /// How the classes are averaged; not at all unless given.
        average: Option<Averaging> = None,
        /// The largest prediction that still means 0. Unless given, the largest of a row is the predicted one; in rows of
        /// one, a sigmoid unit's, it is 0.5.
        threshold: Option<f64> = None,
    }
    /// `(1 + β²) · precision · recall / (β² · precision + recall)` of each class, from one-hot targets.
    FBetaScore "fbeta_score" Max Counts {
        /// How the classes are averaged; not at all unless given.
        average: Option<Averaging> = None,
        /// How much more recall counts than precision.
        beta: f64 = 1.0,
        /// The largest prediction that still means 0. Unless given, the largest of a row is the predicted one; in rows of
        /// one, a sigmoid unit's, it is 0.5.
        threshold: Option<f64> = None,
    }
    /// The mean over the classes of the intersection over the union, from class ids or rows of scores.
    MeanIoU "mean_io_u" Max Vec<f64> {
        /// Number of classes.
        num_classes: usize = 2,
        /// A class whose samples do not count.
        ignore_class: Option<i64> = None,
        /// Whether targets are class ids, not rows.
        sparse_y_true: bool = true,
        /// Whether predictions are class ids, not rows.
        sparse_y_pred: bool = true,
    }
    /// How often each class (row) was taken for each (column), row by row.
    ConfusionMatrix "confusion_matrix" None Vec<f64> {
        /// Number of classes.
        num_classes: usize = 2,
    }
}

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

/// How the scores of classes make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Averaging {
    /// The score of all decisions together.
    Micro,
    /// The mean of the classes' scores.
    Macro,
    /// Their mean weighted by how many samples each class has.
    Weighted,
}

/// Weights of decisions: right and wrong, of both kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    tp: f64,
    fp: f64,
    tn: f64,
    fn_: f64,
}

/// One for each threshold or class.
type Counts = Vec<Count>;

impl Count {
    fn add(&mut self, actual: bool, predicted: bool, weight: f64) {
        *match (actual, predicted) {
            (true, true) => &mut self.tp,
            (false, true) => &mut self.fp,
            (false, false) => &mut self.tn,
            (true, false) => &mut self.fn_,
        } += weight;
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
    let classes = batch.classes;
    if let Some(class) = class.filter(|&class| class >= classes) {
        let text = format!("class_id is {class}, but there are {classes} classes");
        return Err(Error::config(text, "classes count from 0"));
    }
    state.resize(thresholds.len(), Count::default());
    let n = batch.p.len();
    for i in (0..n).filter(|i| class.is_none_or(|class| i % classes == class)) {
        let score = batch.p.at(i);
        let start = i - i % classes;
        // Of equal scores the first come first.
        let ahead = |j: &usize| batch.p.at(*j) > score || (batch.p.at(*j) == score && *j < i);
        let top = top_k.is_none_or(|k| (start..start + classes).filter(ahead).count() < k);
        for (count, threshold) in state.iter_mut().zip(thresholds) {
            count.add(batch.t.at(i) != 0.0, top && score > *threshold, batch.weight(i, n));
        }
    }
    Ok(())
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
                let mut counts = $self_.state.clone();
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
fn count_classes(state: &mut Counts, batch: &Batch<'_>, threshold: Option<f64>) {
    let (n, classes) = (batch.p.len(), batch.classes);
    // The largest of one is always predicted, which would say nothing of the model.
    let threshold = threshold.or((classes == 1).then_some(0.5));
    state.resize(classes, Count::default());
    for row in 0..batch.rows() {
        let start = row * classes;
        let top = batch.p.at(start + batch.p.argmax(start, classes));
        for (class, count) in state.iter_mut().enumerate() {
            let score = batch.p.at(start + class);
            let predicted = threshold.map_or(score == top && score.abs() > 1e-12, |threshold| score > threshold);
            count.add(batch.t.at(start + class) != 0.0, predicted, batch.weight(start + class, n));
        }
    }
}

/// Keras's small number, added to every divisor so that 0 over 0 is 0.
const EPSILON: f64 = 1e-7;

fn f_score(c: &Count, beta: f64) -> f64 {
    let precision = c.tp / (c.tp + c.fp + EPSILON);
    let recall = c.tp / (c.tp + c.fn_ + EPSILON);
    (1.0 + beta * beta) * precision * recall / (beta * beta * precision + recall + EPSILON)
}

fn f_scores(state: &Counts, beta: f64, average: Option<Averaging>) -> Vec<f64> {
    let scores: Vec<f64> = state.iter().map(|c| f_score(c, beta)).collect();
    match average {
        None if scores.is_empty() => vec![0.0],
        None => scores,
        Some(Averaging::Macro) => vec![quotient(scores.iter().sum(), scores.len() as f64)],
        Some(Averaging::Weighted) => {
            let support: Vec<f64> = state.iter().map(|c| c.tp + c.fn_).collect();
            let total = support.iter().sum::<f64>() + EPSILON;
            vec![scores.iter().zip(support).map(|(score, support)| score * support / total).sum()]
        }
        Some(Averaging::Micro) => {
            let all = state.iter().fold(Count::default(), |a, c| Count {
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
        count_classes(&mut self.state, &batch, self.threshold);
        Ok(())
    }

    fn report(&self) -> Vec<f64> {
        f_scores(&self.state, 1.0, self.average)
    }
}

impl Measure for FBetaScore {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let batch = Batch::new(&self.name, y_true, y_pred, weight, Fit::OneHot)?;
        count_classes(&mut self.state, &batch, self.threshold);
        Ok(())
    }

    fn report(&self) -> Vec<f64> {
        f_scores(&self.state, self.beta, self.average)
    }
}

/// The class of sample `i`: the number itself, or the largest of a row.
fn class_of(x: &Numbers<'_>, i: usize, classes: usize, ids: bool) -> i64 {
    if ids { x.at(i) as i64 } else { x.argmax(i * classes, classes) as i64 }
}

/// Counts which class was taken for which; `ids` tells which of targets and predictions are class ids, not rows.
fn tabulate(
    name: &str,
    state: &mut Vec<f64>,
    classes: usize,
    x: [&Tensor; 2],
    weight: Option<&Tensor>,
    ids: [bool; 2],
    ignored: Option<i64>,
) -> Result<()> {
    state.resize(classes * classes, 0.0);
    let [t, p] = x.map(Numbers::of);
    let samples = |x: &Numbers<'_>, ids: bool| if ids { x.len() } else { x.len() / classes.max(1) };
    let n = samples(&t, ids[0]);
    if n != samples(&p, ids[1]) {
        let text = format!("targets of shape {} do not fit predictions of shape {}", x[0].shape(), x[1].shape());
        return Err(kiln_autograd::Error::shape(name, text)
            .help("give one class id, or one row of scores, for each sample")
            .into());
    }
    let weight = weight.map(Numbers::of);
    for i in 0..n {
        let weight = weight.as_ref().filter(|w| w.len() > 0).map_or(1.0, |w| w.at(i * w.len() / n));
        let (actual, predicted) = (class_of(&t, i, classes, ids[0]), class_of(&p, i, classes, ids[1]));
        if weight == 0.0 || ignored == Some(actual) {
            continue;
        }
        if [actual, predicted].iter().any(|&class| class < 0 || class >= classes as i64) {
            let text = format!("sample {i} has class {actual}, predicted {predicted}, but there are {classes} classes");
            return Err(kiln_autograd::Error::index(name, text).help("classes count from 0; set num_classes").into());
        }
        state[actual as usize * classes + predicted as usize] += weight;
    }
    Ok(())
}

impl Measure for MeanIoU {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let ids = [self.sparse_y_true, self.sparse_y_pred];
        tabulate(&self.name, &mut self.state, self.num_classes, [y_true, y_pred], weight, ids, self.ignore_class)
    }

    fn report(&self) -> Vec<f64> {
        let n = self.num_classes;
        let cell = |row: usize, column: usize| self.state.get(row * n + column).copied().unwrap_or(0.0);
        let classes = (0..n).filter_map(|class| {
            let both = cell(class, class);
            let either = (0..n).map(|other| cell(class, other) + cell(other, class)).sum::<f64>() - both;
            // A class that neither side has does not count.
            (either > 0.0).then(|| both / either)
        });
        let ious: Vec<f64> = classes.collect();
        vec![quotient(ious.iter().sum(), ious.len() as f64)]
    }
}

impl Measure for ConfusionMatrix {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        // Rows of scores are told by their length.
        let ids = [y_true, y_pred].map(|x| x.rank() < 2 || x.shape().last() == Some(&1));
        tabulate(&self.name, &mut self.state, self.num_classes, [y_true, y_pred], weight, ids, None)
    }

    fn report(&self) -> Vec<f64> {
        let mut cells = self.state.clone();
        cells.resize(self.num_classes * self.num_classes, 0.0);
        cells
    }
}
