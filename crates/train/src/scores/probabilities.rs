//! Scores of probabilities and of margins: how sure of what is right, how sure of what is wrong.

use super::curves::positive_label;
use super::input::{Rows, Values, average, classes, refuse, total, unique, weights};
use super::options::{BrierOptions, LabelOptions, LogLossOptions, TopKOptions};
use crate::error::Result;

/// The targets' place among the columns, the probabilities of two columns or more, and the samples' weights.
struct Predicted {
    truth: Vec<usize>,
    probabilities: Vec<Vec<f64>>,
    weights: Vec<f64>,
}

/// Rounding of half precision is no error; a sum this far off is.
const SUM_TOLERANCE: f64 = 0.01;

impl Predicted {
    fn read(
        of: &str,
        y_true: &(impl Values + ?Sized),
        y_proba: &(impl Values + ?Sized),
        labels: Option<&[f64]>,
        sample_weight: Option<&[f64]>,
    ) -> Result<Predicted> {
        let truth = Rows::read_labels(of, "y_true", y_true)?;
        let rows = probabilities(of, y_proba, truth.len())?;
        let weights = weights(of, sample_weight, truth.len())?;
        let classes = classes(of, labels, &truth)?;
        let columns = rows.columns.max(2);
        if classes.len() != columns {
            let what = format!("there are {} classes, and y_proba is of {columns}", classes.len());
            return refuse(
                of,
                what,
                "give a column for each class, and all classes by `labels` where some do not occur",
            );
        }
        if let Some(row) = (0..rows.rows)
            .find(|&row| rows.columns > 1 && (rows.row(row).iter().sum::<f64>() - 1.0).abs() > SUM_TOLERANCE)
        {
            let sum: f64 = rows.row(row).iter().sum();
            let help = "give probabilities of the classes: a softmax of scores that are none";
            return refuse(of, format_args!("the probabilities of row {row} sum to {sum}"), help);
        }
        let place = |label: &f64| classes.iter().position(|class| class == label).unwrap_or_default();
        let truth = truth.iter().map(place).collect();
        Ok(Predicted { truth, probabilities: (0..rows.rows).map(|row| two(rows.row(row))).collect(), weights })
    }

    /// The same for the probability of one class of two.
    fn of_one_class(
        of: &str,
        y_true: &(impl Values + ?Sized),
        y_proba: &(impl Values + ?Sized),
        options: &BrierOptions,
    ) -> Result<Predicted> {
        let truth = Rows::read_labels(of, "y_true", y_true)?;
        let rows = probabilities(of, y_proba, truth.len())?;
        let weights = weights(of, options.sample_weight.as_deref(), truth.len())?;
        let present = unique(truth.iter().copied());
        if present.len() > 2 {
            let what = format!("y_true is of {} classes, and y_proba is one column", present.len());
            return refuse(of, what, "give a column of probabilities for each class");
        }
        let larger = present.last().copied().unwrap_or(1.0);
        let positive = positive_label(of, &truth, options.pos_label).unwrap_or(larger);
        let truth = truth.iter().map(|&label| usize::from(label == positive)).collect();
        Ok(Predicted { truth, probabilities: (0..rows.rows).map(|row| two(rows.row(row))).collect(), weights })
    }

    fn brier(
        of: &str,
        y_true: &(impl Values + ?Sized),
        y_proba: &(impl Values + ?Sized),
        options: &BrierOptions,
    ) -> Result<Predicted> {
        match y_proba.numbers().1[..] {
            [] | [_] | [_, 1] => Predicted::of_one_class(of, y_true, y_proba, options),
            _ => Predicted::read(of, y_true, y_proba, options.labels.as_deref(), options.sample_weight.as_deref()),
        }
    }

    /// The frequency of each class, by weights.
    fn frequencies(&self) -> Vec<f64> {
        let share = |class| average(self.truth.iter().map(|&truth| f64::from(truth == class)), &self.weights);
        (0..self.probabilities[0].len()).map(share).collect()
    }

    /// `-ln p` of what is true, sample by sample.
    fn log_losses(&self) -> Vec<f64> {
        self.truth.iter().zip(&self.probabilities).map(|(&truth, p)| surprise(p[truth])).collect()
    }

    /// `Σ (p - t)²` over the classes, sample by sample.
    fn squares(&self) -> Vec<f64> {
        let rows = self.truth.iter().zip(&self.probabilities);
        rows.map(|(&truth, p)| distance(p, truth)).collect()
    }

    /// An error where there is one sample alone, which has no spread.
    fn at_least_two(&self, of: &str) -> Result<()> {
        match self.truth.len() < 2 {
            true => refuse(of, "there is one sample", "give two or more: the score compares with their mean"),
            false => Ok(()),
        }
    }
}

/// `-ln p`, with p kept as far from 0 and 1 as a rounding of 1.
fn surprise(p: f64) -> f64 {
    -p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

fn distance(p: &[f64], truth: usize) -> f64 {
    p.iter().enumerate().map(|(class, p)| (f64::from(class == truth) - p).powi(2)).sum()
}

/// Of one probability, that of the other class too.
fn two(row: &[f64]) -> Vec<f64> {
    match row {
        [p] => vec![1.0 - p, *p],
        _ => row.to_vec(),
    }
}

fn probabilities(of: &str, y_proba: &(impl Values + ?Sized), rows: usize) -> Result<Rows> {
    let proba = Rows::read_finite(of, "y_proba", y_proba)?;
    proba.same_rows(of, rows)?;
    match proba.values.iter().position(|p| !(0.0..=1.0).contains(p)) {
        None => Ok(proba),
        Some(at) => {
            let what = format!("y_proba is {} in row {}", proba.values[at], at / proba.columns);
            refuse(of, what, "probabilities lie in 0 … 1: of logits take the softmax, or the sigmoid of one column")
        }
    }
}

/// The mean of `-ln p` of what is true: the cross-entropy of probabilities.
///
/// # Shapes
/// `y_true`: labels `[N]`; `y_proba`: `[N]` or `[N, 1]`, of the larger of two labels, or `[N, K]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, what is no probability, rows that do not sum to 1, as many classes as
/// there are not columns, and bad weights.
///
/// ```
/// use kiln_train::scores::{LogLossOptions, log_loss};
/// let probabilities = [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]];
/// let loss = log_loss(&[0, 1], &probabilities, LogLossOptions::new().labels(&[0, 1, 2]))?;
/// assert!((loss - 1.5 * 2.0_f64.ln()).abs() < 1e-15);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn log_loss(
    y_true: &(impl Values + ?Sized),
    y_proba: &(impl Values + ?Sized),
    options: impl Into<LogLossOptions>,
) -> Result<f64> {
    let options = options.into();
    let (labels, weight) = (options.labels.as_deref(), options.sample_weight.as_deref());
    let predicted = Predicted::read("log_loss", y_true, y_proba, labels, weight)?;
    let (losses, weights) = (predicted.log_losses(), &predicted.weights);
    Ok(if options.normalize { average(losses, weights) } else { total(losses, weights) })
}

/// The share of the [`log_loss`] of predicting each class's frequency that is explained: 1 is perfect, 0 is no better.
///
/// # Shapes
/// As [`log_loss`].
///
/// # Errors
/// As [`log_loss`], and fewer than two samples.
///
/// ```
/// use kiln_train::scores::d2_log_loss_score;
/// assert_eq!(d2_log_loss_score(&[0, 1], &[0.5, 0.5], ())?, 0.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn d2_log_loss_score(
    y_true: &(impl Values + ?Sized),
    y_proba: &(impl Values + ?Sized),
    options: impl Into<LabelOptions>,
) -> Result<f64> {
    let (of, options) = ("d2_log_loss_score", options.into());
    let predicted = Predicted::read(of, y_true, y_proba, options.labels.as_deref(), options.sample_weight.as_deref())?;
    predicted.at_least_two(of)?;
    let frequencies = predicted.frequencies();
    let without = predicted.truth.iter().map(|&truth| surprise(frequencies[truth]));
    let without = total(without, &predicted.weights);
    Ok(1.0 - total(predicted.log_losses(), &predicted.weights) / without)
}

/// The mean of `Σ (p - t)²` over the classes, of two classes half of it: `(p - t)²`.
///
/// # Shapes
/// `y_true`: labels `[N]`; `y_proba`: `[N]` or `[N, 1]`, of one of two labels, or `[N, K]`.
///
/// # Errors
/// As [`log_loss`].
///
/// ```
/// use kiln_train::scores::brier_score_loss;
/// assert_eq!(brier_score_loss(&[0, 1], &[0.25, 0.5], ())?, (0.0625 + 0.25) / 2.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn brier_score_loss(
    y_true: &(impl Values + ?Sized),
    y_proba: &(impl Values + ?Sized),
    options: impl Into<BrierOptions>,
) -> Result<f64> {
    let options = options.into();
    let predicted = Predicted::brier("brier_score_loss", y_true, y_proba, &options)?;
    let is_halved = options.scale_by_half.unwrap_or(predicted.probabilities[0].len() < 3);
    let score = average(predicted.squares(), &predicted.weights);
    Ok(if is_halved { score / 2.0 } else { score })
}

/// The share of the [`brier_score_loss`] of predicting each class's frequency that is explained: 1 is perfect, 0 is no better.
///
/// # Shapes
/// As [`brier_score_loss`].
///
/// # Errors
/// As [`log_loss`], and fewer than two samples.
///
/// ```
/// use kiln_train::scores::d2_brier_score;
/// assert_eq!(d2_brier_score(&[0, 1], &[0.25, 0.75], ())?, 0.75);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn d2_brier_score(
    y_true: &(impl Values + ?Sized),
    y_proba: &(impl Values + ?Sized),
    options: impl Into<BrierOptions>,
) -> Result<f64> {
    let (of, options) = ("d2_brier_score", options.into());
    let predicted = Predicted::brier(of, y_true, y_proba, &options)?;
    predicted.at_least_two(of)?;
    let frequencies = predicted.frequencies();
    let without = average(predicted.truth.iter().map(|&truth| distance(&frequencies, truth)), &predicted.weights);
    Ok(1.0 - average(predicted.squares(), &predicted.weights) / without)
}

/// The share of samples whose label is among the `k` with the highest scores; of equal scores the later column counts as higher.
///
/// # Shapes
/// `y_true`: labels `[N]`; `y_score`: `[N, K]`, or `[N]` of two classes.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, scores that are not finite, as many classes as there are not columns, a `k`
/// of 0, and bad weights.
///
/// ```
/// use kiln_train::scores::{TopKOptions, top_k_accuracy_score};
/// let scores = [[0.5, 0.2, 0.3], [0.3, 0.4, 0.3], [0.2, 0.4, 0.4], [0.7, 0.2, 0.1]];
/// assert_eq!(top_k_accuracy_score(&[0, 1, 2, 2], &scores, ())?, 0.75);
/// assert_eq!(top_k_accuracy_score(&[0, 1, 2, 2], &scores, TopKOptions::new().k(1).normalize(false))?, 3.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn top_k_accuracy_score(
    y_true: &(impl Values + ?Sized),
    y_score: &(impl Values + ?Sized),
    options: impl Into<TopKOptions>,
) -> Result<f64> {
    let (of, options) = ("top_k_accuracy_score", options.into());
    let truth = Rows::read_labels(of, "y_true", y_true)?;
    let scores = Rows::read_finite(of, "y_score", y_score)?;
    scores.same_rows(of, truth.len())?;
    let weights = weights(of, options.sample_weight.as_deref(), truth.len())?;
    let classes = classes(of, options.labels.as_deref(), &truth)?;
    if classes.len() != scores.columns.max(2) {
        let what = format!("there are {} classes, and y_score is of {}", classes.len(), scores.columns.max(2));
        return refuse(of, what, "give a column for each class, and all classes by `labels` where some do not occur");
    }
    if options.k == 0 {
        return refuse(of, "k is 0", "one score at least must be able to hold the true class");
    }
    let place = |label: &f64| classes.iter().position(|class| class == label).unwrap_or_default();
    // A single score is compared with the middle of probabilities, or of margins.
    let middle = if scores.values.iter().all(|score| (0.0..=1.0).contains(score)) { 0.5 } else { 0.0 };
    let is_hit = |(row, label): (usize, &f64)| match scores.row(row) {
        [score] => options.k > 1 || usize::from(*score > middle) == place(label),
        row => {
            let place = place(label);
            let higher = row
                .iter()
                .enumerate()
                .filter(|&(at, &score)| score > row[place] || (score == row[place] && at > place));
            higher.count() < options.k
        }
    };
    let hits: Vec<f64> = truth.iter().enumerate().map(|sample| f64::from(is_hit(sample))).collect();
    Ok(if options.normalize { average(hits, &weights) } else { total(hits, &weights) })
}

/// The mean of `max(0, 1 - margin)`. The margin of two classes is the score, with its sign turned for the smaller label; of several it is how far the
/// true class's score is above the highest other one (Crammer and Singer 2001).
///
/// # Shapes
/// `y_true`: labels `[N]`; `pred_decision`: `[N]` of two classes, `[N, K]` of more.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, scores that are not finite, as many classes as there are not columns, and
/// bad weights.
///
/// ```
/// use kiln_train::scores::hinge_loss;
/// assert_eq!(hinge_loss(&[-1, 1, 1], &[-2.0, 0.5, -0.5], ())?, (0.0 + 0.5 + 1.5) / 3.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn hinge_loss(
    y_true: &(impl Values + ?Sized),
    pred_decision: &(impl Values + ?Sized),
    options: impl Into<LabelOptions>,
) -> Result<f64> {
    let (of, options) = ("hinge_loss", options.into());
    let truth = Rows::read_labels(of, "y_true", y_true)?;
    let scores = Rows::read_finite(of, "pred_decision", pred_decision)?;
    scores.same_rows(of, truth.len())?;
    let weights = weights(of, options.sample_weight.as_deref(), truth.len())?;
    let classes = classes(of, options.labels.as_deref(), &truth)?;
    let columns = if classes.len() > 2 { classes.len() } else { 1 };
    if scores.columns != columns {
        let what = format!("of {} classes pred_decision has {} columns", classes.len(), scores.columns);
        return refuse(
            of,
            what,
            "give one column of two classes, a column for each of more, and all classes by `labels`",
        );
    }
    let larger = if classes.len() == 2 { classes[1] } else { 1.0 };
    let margin = |(row, label): (usize, &f64)| match scores.row(row) {
        [score] if *label == larger => *score,
        [score] => -score,
        row => {
            let place = classes.iter().position(|class| class == label).unwrap_or_default();
            let others = row.iter().enumerate().filter(|&(at, _)| at != place).map(|(_, &score)| score);
            row[place] - others.fold(f64::NEG_INFINITY, f64::max)
        }
    };
    Ok(average(truth.iter().enumerate().map(|sample| (1.0 - margin(sample)).max(0.0)), &weights))
}
