//! Precision, recall, F and Jaccard scores of decisions: counted by class, by sample or all together, and averaged.

use super::input::{Rows, Values, average, listed, refuse, unique, weights};
use super::options::{AverageOption, Averaging, ClassOptions, ReportOptions};
use crate::error::Result;
use crate::report::ClassificationReport;

/// True and predicted decisions.
#[derive(Debug)]
pub(super) enum Targets {
    /// A class for each sample.
    Classes {
        truth: Vec<f64>,
        predicted: Vec<f64>,
        /// The labels that occur on either side.
        present: Vec<f64>,
    },
    /// For each sample a row of 0 and 1, a column for each label.
    Indicators { truth: Rows, predicted: Rows },
}

impl Targets {
    pub(super) fn read(of: &str, y_true: &(impl Values + ?Sized), y_pred: &(impl Values + ?Sized)) -> Result<Targets> {
        let (truth, predicted) = (Rows::read(of, "y_true", y_true)?, Rows::read(of, "y_pred", y_pred)?);
        predicted.same_rows(of, truth.rows)?;
        if truth.columns == 1 && predicted.columns == 1 {
            let (truth, predicted) = (truth.labels(of)?, predicted.labels(of)?);
            let present = unique(truth.iter().chain(&predicted).copied());
            return Ok(Targets::Classes { truth, predicted, present });
        }
        if truth.columns == predicted.columns && truth.is_indicator() && predicted.is_indicator() {
            return Ok(Targets::Indicators { truth, predicted });
        }
        let what = match truth.columns == predicted.columns {
            true => format!("y_true and y_pred have {} columns that are not all 0 and 1", truth.columns),
            false => format!("y_true is of shape {}, and y_pred of {}", truth.shape(), predicted.shape()),
        };
        refuse(
            of,
            what,
            "give classes on both sides, one-hot rows or probabilities as their `argmax(-1)`; or for several labels a sample \
             a column of 0 and 1 for each, probabilities as `gt(0.5)`",
        )
    }

    pub(super) fn rows(&self) -> usize {
        match self {
            Targets::Classes { truth, .. } => truth.len(),
            Targets::Indicators { truth, .. } => truth.rows,
        }
    }

    /// Whether all decisions on a sample are right, sample by sample.
    pub(super) fn exact(&self) -> Vec<bool> {
        match self {
            Targets::Classes { truth, predicted, .. } => truth.iter().zip(predicted).map(|(t, p)| t == p).collect(),
            Targets::Indicators { truth, predicted } => {
                (0..truth.rows).map(|row| truth.row(row) == predicted.row(row)).collect()
            }
        }
    }

    /// The labels that scores are of: those given or those that occur, which of indicators are all columns.
    pub(super) fn labels(&self, of: &str, given: Option<&[f64]>) -> Result<Vec<f64>> {
        let present = match self {
            Targets::Classes { present, .. } => present.clone(),
            Targets::Indicators { truth, .. } => (0..truth.columns).map(|column| column as f64).collect(),
        };
        let Some(given) = given else { return Ok(present) };
        if given.is_empty() || unique(given.iter().copied()).len() < given.len() {
            return refuse(of, format_args!("the labels are {}", listed(given)), "give at least one, and each once");
        }
        let is_multilabel = matches!(self, Targets::Indicators { .. });
        match given.iter().find(|label| is_multilabel && !present.contains(label)) {
            None => Ok(given.to_vec()),
            Some(label) => refuse(
                of,
                format_args!("there is no column {label} among {}", present.len()),
                "of several labels a sample, `labels` are numbers of columns, from 0",
            ),
        }
    }

    /// The decisions by label.
    pub(super) fn tally(&self, labels: &[f64], weights: &[f64]) -> Tally {
        let mut tally = Tally::none(labels.len());
        match self {
            Targets::Classes { truth, predicted, .. } => {
                let place = places(labels);
                for ((&truth, &predicted), weight) in truth.iter().zip(predicted).zip(weights) {
                    tally.add(place(truth), place(predicted), *weight);
                }
            }
            Targets::Indicators { truth, predicted } => {
                for (row, weight) in weights.iter().enumerate() {
                    let (truth, predicted) = (truth.row(row), predicted.row(row));
                    for (place, &label) in labels.iter().enumerate() {
                        let is = |row: &[f64]| (row[label as usize] == 1.0).then_some(place);
                        tally.add(is(truth), is(predicted), *weight);
                    }
                }
            }
        }
        tally
    }

    /// The decisions by sample; of classes there are none.
    fn tally_by_sample(&self, labels: &[f64]) -> Option<Tally> {
        let Targets::Indicators { truth, predicted } = self else { return None };
        let mut tally = Tally::none(truth.rows);
        for row in 0..truth.rows {
            for &label in labels {
                let is = |rows: &Rows| (rows.row(row)[label as usize] == 1.0).then_some(row);
                tally.add(is(truth), is(predicted), 1.0);
            }
        }
        Some(tally)
    }

    /// What [`Averaging::Binary`] is about: the one positive class.
    fn positive(&self, of: &str, pos_label: f64) -> Result<Vec<f64>> {
        let help =
            "give an average for several classes: Averaging::Macro, Averaging::Micro, Averaging::Weighted, or Each";
        match self {
            Targets::Indicators { truth, .. } => refuse(
                of,
                format_args!("Averaging::Binary is for two classes, and there are {} columns", truth.columns),
                help,
            ),
            Targets::Classes { present, .. } if present.len() > 2 => {
                let what = format!("Averaging::Binary is for two classes, and there are {}", present.len());
                refuse(of, format_args!("{what}: {}", listed(present)), help)
            }
            Targets::Classes { present, .. } if present.len() == 2 && !present.contains(&pos_label) => refuse(
                of,
                format_args!("the positive class {pos_label} does not occur, only {}", listed(present)),
                "say by `pos_label` which of them is the positive one",
            ),
            Targets::Classes { .. } => Ok(vec![pos_label]),
        }
    }
}

/// From a label to its place in a list.
pub(super) fn places(labels: &[f64]) -> impl Fn(f64) -> Option<usize> {
    let mut sorted: Vec<(f64, usize)> = labels.iter().copied().zip(0..).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    move |label| sorted.binary_search_by(|other| other.0.total_cmp(&label)).ok().map(|at| sorted[at].1)
}

/// A quotient of counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Measure {
    Precision,
    Recall,
    F(f64),
    Jaccard,
}

/// Weights of decisions for something, class by class or sample by sample.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Of those that are both.
    pub(crate) right: Vec<f64>,
    pub(crate) predicted: Vec<f64>,
    pub(crate) truth: Vec<f64>,
}

impl Tally {
    fn none(count: usize) -> Tally {
        Tally { right: vec![0.0; count], predicted: vec![0.0; count], truth: vec![0.0; count] }
    }

    fn add(&mut self, truth: Option<usize>, predicted: Option<usize>, weight: f64) {
        if let Some(place) = truth {
            self.truth[place] += weight;
            self.right[place] += if predicted == truth { weight } else { 0.0 };
        }
        if let Some(place) = predicted {
            self.predicted[place] += weight;
        }
    }

    /// All decisions together.
    fn together(&self) -> Tally {
        let sum = |counts: &[f64]| vec![counts.iter().sum()];
        Tally { right: sum(&self.right), predicted: sum(&self.predicted), truth: sum(&self.truth) }
    }

    /// The measure of each class or sample.
    pub(crate) fn measure(&self, measure: Measure, zero_division: f64) -> Vec<f64> {
        let quotient = |at: usize| {
            let (right, predicted, truth) = (self.right[at], self.predicted[at], self.truth[at]);
            let (part, whole) = match measure {
                Measure::F(beta) if beta == f64::INFINITY => (right, truth),
                Measure::Precision => (right, predicted),
                Measure::Recall => (right, truth),
                Measure::F(beta) => ((1.0 + beta * beta) * right, beta * beta * truth + predicted),
                Measure::Jaccard => (right, predicted + truth - right),
            };
            if whole == 0.0 { zero_division } else { part / whole }
        };
        (0..self.right.len()).map(quotient).collect()
    }

    /// The measure by an average; of classes.
    pub(crate) fn average(&self, measure: Measure, zero_division: f64, average: Averaging) -> f64 {
        match average {
            Averaging::Micro => self.together().measure(measure, zero_division)[0],
            Averaging::Weighted => mean_of_numbers(&self.measure(measure, zero_division), Some(&self.truth)),
            Averaging::Binary | Averaging::Macro | Averaging::Samples => {
                mean_of_numbers(&self.measure(measure, zero_division), None)
            }
        }
    }
}

/// The mean by weights of what is a number; where these have no weight, all count alike.
fn mean_of_numbers(values: &[f64], weights: Option<&[f64]>) -> f64 {
    let weight = |at: usize| weights.map_or(1.0, |weights| weights[at]);
    let numbers: Vec<usize> = (0..values.len()).filter(|&at| !values[at].is_nan()).collect();
    let whole: f64 = numbers.iter().map(|&at| weight(at)).sum();
    match whole == 0.0 {
        false => numbers.iter().map(|&at| values[at] * weight(at)).sum::<f64>() / whole,
        true => numbers.iter().map(|&at| values[at]).sum::<f64>() / numbers.len() as f64,
    }
}

/// Decisions, counted as options say.
struct Counted<A> {
    average: A,
    zero_division: f64,
    tally: Tally,
    /// Of [`Averaging::Samples`], by sample, with the samples' weights.
    by_sample: Option<(Tally, Vec<f64>)>,
}

impl<A: AverageOption> Counted<A> {
    fn read(
        of: &str,
        y_true: &(impl Values + ?Sized),
        y_pred: &(impl Values + ?Sized),
        options: impl Into<ClassOptions<A>>,
    ) -> Result<Counted<A>> {
        let options = options.into();
        let targets = Targets::read(of, y_true, y_pred)?;
        let weights = weights(of, options.sample_weight.as_deref(), targets.rows())?;
        let labels = match options.average.average() {
            Some(Averaging::Binary) => targets.positive(of, options.pos_label)?,
            _ => targets.labels(of, options.labels.as_deref())?,
        };
        let by_sample = match options.average.average() {
            Some(Averaging::Samples) => match targets.tally_by_sample(&labels) {
                Some(tally) => Some((tally, weights.clone())),
                None => {
                    let help = "give columns of 0 and 1, or take Averaging::Macro";
                    return refuse(of, "Averaging::Samples is for several labels a sample, and there is one", help);
                }
            },
            _ => None,
        };
        let tally = targets.tally(&labels, &weights);
        Ok(Counted { average: options.average, zero_division: options.zero_division, tally, by_sample })
    }

    fn score(&self, measure: Measure) -> A::Score {
        self.average.score(match (self.average.average(), &self.by_sample) {
            (Some(_), Some((tally, weights))) => {
                vec![mean_of_numbers(&tally.measure(measure, self.zero_division), Some(weights))]
            }
            (Some(average), None) => vec![self.tally.average(measure, self.zero_division, average)],
            (None, _) => self.tally.measure(measure, self.zero_division),
        })
    }
}

/// The share of what is predicted that is right: `TP / (TP + FP)`.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`, or for several labels a sample columns of 0 and 1, `[N, K]`.
///
/// # Errors
/// As [`f1_score`].
///
/// ```
/// use kiln_train::scores::{Averaging, Each, precision_score};
/// let (y_true, y_pred) = ([0, 1, 2, 2], [0, 2, 2, 2]);
/// assert_eq!(precision_score(&y_true, &y_pred, Each)?, [1.0, 0.0, 2.0 / 3.0]);
/// assert_eq!(precision_score(&y_true, &y_pred, Averaging::Micro)?, 0.75);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn precision_score<A: AverageOption>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<ClassOptions<A>>,
) -> Result<A::Score> {
    Ok(Counted::read("precision_score", y_true, y_pred, options)?.score(Measure::Precision))
}

/// The share of what is right that is predicted: `TP / (TP + FN)`.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`, or for several labels a sample columns of 0 and 1, `[N, K]`.
///
/// # Errors
/// As [`f1_score`].
///
/// ```
/// use kiln_train::scores::recall_score;
/// assert_eq!(recall_score(&[0, 1, 1, 1], &[0, 1, 0, 0], ())?, 1.0 / 3.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn recall_score<A: AverageOption>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<ClassOptions<A>>,
) -> Result<A::Score> {
    Ok(Counted::read("recall_score", y_true, y_pred, options)?.score(Measure::Recall))
}

/// The harmonic mean of precision and recall: `2·TP / (2·TP + FP + FN)`.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`, or for several labels a sample columns of 0 and 1, `[N, K]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, labels that are no whole numbers, bad weights, and more than two classes
/// with [`Averaging::Binary`], the default.
///
/// ```
/// use kiln_train::scores::{Averaging, ClassOptions, f1_score};
/// // Of class 1 two are found of three, and nothing else is taken for it: 2·2 / (2·2 + 0 + 1).
/// assert_eq!(f1_score(&[0, 1, 1, 1], &[0, 1, 1, 0], ())?, 0.8);
/// let options = ClassOptions::new().average(Averaging::Macro).labels(&[1, 2]).zero_division(1.0);
/// assert_eq!(f1_score(&[0, 1, 1, 1], &[0, 1, 1, 0], options)?, 0.9);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn f1_score<A: AverageOption>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<ClassOptions<A>>,
) -> Result<A::Score> {
    Ok(Counted::read("f1_score", y_true, y_pred, options)?.score(Measure::F(1.0)))
}

/// `(1 + β²)·TP / ((1 + β²)·TP + β²·FN + FP)`: recall counts `beta` times as much as precision.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`, or for several labels a sample columns of 0 and 1, `[N, K]`.
///
/// # Errors
/// As [`f1_score`], and a `beta` that is negative or NaN.
///
/// ```
/// use kiln_train::scores::fbeta_score;
/// assert_eq!(fbeta_score(&[0, 1, 1, 1], &[0, 1, 1, 0], 2.0, ())?, 10.0 / 14.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn fbeta_score<A: AverageOption>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    beta: f64,
    options: impl Into<ClassOptions<A>>,
) -> Result<A::Score> {
    check_beta("fbeta_score", beta)?;
    Ok(Counted::read("fbeta_score", y_true, y_pred, options)?.score(Measure::F(beta)))
}

/// The intersection of what is right and what is predicted over their union: `TP / (TP + FP + FN)`.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`, or for several labels a sample columns of 0 and 1, `[N, K]`.
///
/// # Errors
/// As [`f1_score`].
///
/// ```
/// use kiln_train::scores::{Each, jaccard_score};
/// assert_eq!(jaccard_score(&[0, 0, 1, 1], &[0, 1, 1, 1], Each)?, [1.0 / 2.0, 2.0 / 3.0]);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn jaccard_score<A: AverageOption>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<ClassOptions<A>>,
) -> Result<A::Score> {
    Ok(Counted::read("jaccard_score", y_true, y_pred, options)?.score(Measure::Jaccard))
}

fn check_beta(of: &str, beta: f64) -> Result<()> {
    if beta >= 0.0 { Ok(()) } else { refuse(of, format_args!("beta is {beta}"), "it is 0 or more: 1 weighs alike") }
}

/// What [`precision_recall_fscore_support`] gives: numbers of an average, lists of [`Each`](super::Each).
#[derive(Clone, Debug, PartialEq)]
pub struct FscoreSupport<S> {
    /// As [`precision_score`].
    pub precision: S,
    /// As [`recall_score`].
    pub recall: S,
    /// As [`fbeta_score`].
    pub fscore: S,
    /// How often, or with what weight, each class is true. scikit-learn has none for averages; here it is the list of the classes that
    /// were averaged.
    pub support: Vec<f64>,
}

/// [`precision_score`], [`recall_score`] and [`fbeta_score`] at once. Of each class with [`Each`](super::Each), scikit-learn's default;
/// `()` is the positive class of two, as elsewhere.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`, or for several labels a sample columns of 0 and 1, `[N, K]`.
///
/// # Errors
/// As [`fbeta_score`].
///
/// ```
/// use kiln_train::scores::{Each, precision_recall_fscore_support};
/// let scores = precision_recall_fscore_support(&[0, 0, 1, 1], &[0, 1, 1, 1], 1.0, Each)?;
/// assert_eq!(scores.precision, [1.0, 2.0 / 3.0]);
/// assert_eq!(scores.recall, [0.5, 1.0]);
/// assert_eq!(scores.fscore, [2.0 / 3.0, 0.8]);
/// assert_eq!(scores.support, [2.0, 2.0]);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn precision_recall_fscore_support<A: AverageOption>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    beta: f64,
    options: impl Into<ClassOptions<A>>,
) -> Result<FscoreSupport<A::Score>> {
    let of = "precision_recall_fscore_support";
    check_beta(of, beta)?;
    let counted = Counted::read(of, y_true, y_pred, options)?;
    Ok(FscoreSupport {
        precision: counted.score(Measure::Precision),
        recall: counted.score(Measure::Recall),
        fscore: counted.score(Measure::F(beta)),
        support: counted.tally.truth,
    })
}

/// Precision, recall, F1 and support of each class and their averages, as a value that prints as scikit-learn's report. Its
/// names are the labels, unless [`ClassificationReport::with_names`] gives others.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`, or for several labels a sample columns of 0 and 1, `[N, K]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, labels that are no whole numbers, and bad weights.
///
/// ```
/// use kiln_train::scores::classification_report;
/// let report = classification_report(&[0, 0, 1, 1], &[0, 1, 1, 1], ())?.with_names(["cat", "dog"])?;
/// assert_eq!(report.get("dog").map(|dog| dog.recall), Some(1.0));
/// assert!(report.to_string().contains("         dog       0.67      1.00      0.80         2"));
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn classification_report(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<ReportOptions>,
) -> Result<ClassificationReport> {
    let (of, options) = ("classification_report", options.into());
    let targets = Targets::read(of, y_true, y_pred)?;
    let weights = weights(of, options.sample_weight.as_deref(), targets.rows())?;
    let labels = targets.labels(of, options.labels.as_deref())?;
    let names = labels.iter().map(f64::to_string).collect();
    let accuracy = average(targets.exact().into_iter().map(f64::from), &weights);
    let tally = targets.tally(&labels, &weights);
    let mut report =
        ClassificationReport::of(names, &tally, accuracy, options.zero_division).with_digits(options.digits);
    let is_accuracy = match &targets {
        Targets::Classes { present, .. } => present.iter().all(|label| labels.contains(label)),
        Targets::Indicators { .. } => false,
    };
    if !is_accuracy {
        report.micro_average = Some(ClassificationReport::averaged(&tally, options.zero_division, Averaging::Micro));
    }
    if let Some(by_sample) = targets.tally_by_sample(&labels) {
        let mean = |measure| mean_of_numbers(&by_sample.measure(measure, options.zero_division), Some(&weights));
        report.samples_average = Some(crate::report::Scores {
            precision: mean(Measure::Precision),
            recall: mean(Measure::Recall),
            f1: mean(Measure::F(1.0)),
            support: tally.truth.iter().sum(),
        });
    }
    Ok(report)
}
