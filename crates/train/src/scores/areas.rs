//! The areas under ROC and precision-recall curves, of two classes, of several, and of several labels a sample.

use super::curves::{points, precision_recall, roc, trapezoids};
use super::input::{Rows, Values, average, classes, listed, refuse, unique, weights};
use super::options::{AverageOption, Averaging, MultiClass, PrecisionOptions, RocAucOptions};
use crate::error::Result;
use kiln_nn::metrics::roc_area;

/// A score of one column: truth, scores, weights. Nothing where it is not defined.
type Column<'a> = &'a dyn Fn(&[bool], &[f64], &[f64]) -> Option<f64>;

/// The area under the ROC curve: the probability that a positive is scored above a negative.
///
/// Of two classes the larger label is the positive one. More classes need [`RocAucOptions::multi_class`] and probabilities for
/// each; several labels a sample are averaged over their columns, or over the samples. [`Averaging`] is [`Averaging::Macro`] unless given.
///
/// # Shapes
/// `y_true`: labels `[N]`; `y_score`: `[N]` of two classes, `[N, K]` of `K`. Of several labels a sample, both `[N, K]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, scores that are not finite, samples of one class only (with
/// [`Each`](super::Each) such a class has a score of NaN), probabilities of several classes that do not sum to 1, and bad weights.
///
/// ```
/// use kiln_train::scores::{Each, MultiClass, RocAucOptions, roc_auc_score};
/// assert_eq!(roc_auc_score(&[0, 0, 1, 1], &[0.1, 0.4, 0.35, 0.8], ())?, 0.75);
/// let probabilities = [[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]];
/// let one_against_rest = RocAucOptions::new().multi_class(MultiClass::Ovr).average(Each);
/// assert_eq!(roc_auc_score(&[0, 1, 1, 2], &probabilities, one_against_rest)?, [1.0, 1.0, 1.0]);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn roc_auc_score<A: AverageOption>(
    y_true: &(impl Values + ?Sized),
    y_score: &(impl Values + ?Sized),
    options: impl Into<RocAucOptions<A>>,
) -> Result<A::Score> {
    let (of, options) = ("roc_auc_score", options.into());
    let truth = Rows::read(of, "y_true", y_true)?;
    let scores = Rows::read_finite(of, "y_score", y_score)?;
    scores.same_rows(of, truth.rows)?;
    let weights = weights(of, options.sample_weight.as_deref(), truth.rows)?;
    if let Some(rate) = options.max_fpr.filter(|rate| !(*rate > 0.0 && *rate <= 1.0)) {
        return refuse(of, format_args!("max_fpr is {rate}"), "it is a rate above 0, up to 1");
    }
    let area = |truth: &[bool], scores: &[f64], weights: &[f64]| area(truth, scores, weights, options.max_fpr);
    if truth.columns > 1 {
        return columns(of, &indicator(of, truth)?, &scores, &weights, options.average, &area);
    }
    let labels = truth.labels(of)?;
    let present = unique(labels.iter().copied());
    if present.len() > 2 || scores.columns > 2 {
        if options.max_fpr.is_some_and(|rate| rate < 1.0) {
            return refuse(
                of,
                "max_fpr is for two classes",
                "leave it out, or take one class against the others: y.eq(class)",
            );
        }
        return several(of, &labels, &scores, &weights, &options);
    }
    let positive = present.last().copied().unwrap_or(1.0);
    let truth: Vec<bool> = labels.iter().map(|&label| label == positive).collect();
    match area(&truth, &scores.column(of)?, &weights).filter(|_| present.len() == 2) {
        Some(area) => Ok(options.average.score(vec![area])),
        None => refuse(of, one_class(format_args!("y_true is {} everywhere", listed(&present))), BOTH),
    }
}

const BOTH: &str =
    "give samples of both classes: the area is the probability that one of them is scored above the other";

fn one_class(what: std::fmt::Arguments<'_>) -> String {
    format!("{what}, or all others have no weight: of one class there is no area")
}

/// The area under the ROC curve, or its standardized part up to a false positive rate.
fn area(truth: &[bool], scores: &[f64], weights: &[f64], max_fpr: Option<f64>) -> Option<f64> {
    let samples = (0..truth.len()).map(|at| (scores[at], truth[at], weights[at])).collect();
    let whole = roc_area(samples)?;
    let Some(limit) = max_fpr.filter(|&limit| limit < 1.0) else { return Some(whole) };
    let curve = roc(points(truth, scores, weights), true);
    let stop = curve.fpr.partition_point(|&rate| rate <= limit);
    let (mut x, mut y) = (curve.fpr[..stop].to_vec(), curve.tpr[..stop].to_vec());
    let share = (limit - curve.fpr[stop - 1]) / (curve.fpr[stop] - curve.fpr[stop - 1]);
    y.push(curve.tpr[stop - 1] + share * (curve.tpr[stop] - curve.tpr[stop - 1]));
    x.push(limit);
    let chance = limit * limit / 2.0;
    Some(0.5 * (1.0 + (trapezoids(&x, &y) - chance) / (limit - chance)))
}

/// Columns of 0 and 1.
fn indicator(of: &str, rows: Rows) -> Result<Rows> {
    if rows.is_indicator() {
        return Ok(rows);
    }
    refuse(
        of,
        format_args!("y_true has {} columns that are not all 0 and 1", rows.columns),
        "give labels, one for each sample, or for several labels a sample a column of 0 and 1 for each",
    )
}

/// A row of 0 and 1 for each label.
fn binarized(of: &str, labels: &[f64], classes: &[f64]) -> Result<Rows> {
    let rows = labels.iter().flat_map(|label| classes.iter().map(move |class| f64::from(label == class)));
    let tensor = kiln_nn::Tensor::from_vec(rows.collect::<Vec<f64>>(), [labels.len(), classes.len()])?;
    Rows::read(of, "y_true", &tensor)
}

/// The score of columns, by an average.
fn columns<A: AverageOption>(
    of: &str,
    truth: &Rows,
    scores: &Rows,
    weights: &[f64],
    averaging: A,
    score: Column<'_>,
) -> Result<A::Score> {
    if scores.columns != truth.columns {
        let what = format!("y_true is of shape {}, and y_score of {}", truth.shape(), scores.shape());
        return refuse(of, what, "give one column of scores for each label");
    }
    let is = |values: &[f64]| values.iter().map(|&value| value == 1.0).collect::<Vec<bool>>();
    let of_column = |column| score(&is(&truth.column_at(column)), &scores.column_at(column), weights);
    let all = || (0..truth.columns).map(of_column);
    let undefined = |what: &str, at: usize| {
        let what = format!("{what} {at} of y_true is all of one class");
        refuse(of, what, "leave it out, or take Each, which gives NaN for it")
    };
    let counts: Vec<f64> = (0..truth.columns)
        .map(|column| truth.column_at(column).iter().zip(weights).map(|(positive, weight)| positive * weight).sum())
        .collect();
    Ok(averaging.score(match averaging.average() {
        None => all().map(|score| score.unwrap_or(f64::NAN)).collect(),
        Some(Averaging::Micro) => {
            let weights: Vec<f64> = weights.iter().flat_map(|&weight| vec![weight; truth.columns]).collect();
            match score(&is(&truth.values), &scores.values, &weights) {
                Some(score) => vec![score],
                None => return refuse(of, "y_true is all of one class", BOTH),
            }
        }
        Some(Averaging::Macro) => {
            let scores: Vec<Option<f64>> = all().collect();
            if let Some(column) = scores.iter().position(Option::is_none) {
                return undefined("column", column);
            }
            vec![scores.iter().flatten().sum::<f64>() / truth.columns as f64]
        }
        Some(Averaging::Weighted) if counts.iter().all(|&count| count == 0.0) => vec![0.0],
        Some(Averaging::Weighted) => {
            let scores: Vec<Option<f64>> = all().collect();
            if let Some(column) = (0..scores.len()).find(|&at| scores[at].is_none() && counts[at] > 0.0) {
                return undefined("column", column);
            }
            vec![average(scores.into_iter().map(|score| score.unwrap_or(0.0)), &counts)]
        }
        Some(Averaging::Samples) => {
            let ones = vec![1.0; truth.columns];
            let scores: Vec<Option<f64>> =
                (0..truth.rows).map(|row| score(&is(truth.row(row)), scores.row(row), &ones)).collect();
            if let Some(row) = scores.iter().position(Option::is_none) {
                return undefined("row", row);
            }
            vec![average(scores.into_iter().flatten(), weights)]
        }
        Some(Averaging::Binary) => {
            let what = format!("Averaging::Binary is for two classes, and there are {} columns", truth.columns);
            return refuse(
                of,
                what,
                "take Averaging::Macro, which is the default, Averaging::Weighted, Averaging::Micro or Each",
            );
        }
    }))
}

/// The area of several classes.
fn several<A: AverageOption>(
    of: &str,
    labels: &[f64],
    scores: &Rows,
    weights: &[f64],
    options: &RocAucOptions<A>,
) -> Result<A::Score> {
    let classes = classes(of, options.labels.as_deref(), labels)?;
    if classes.len() != scores.columns {
        let what = format!("there are {} classes, and y_score has {} columns", classes.len(), scores.columns);
        return refuse(of, what, "give a column for each class, and all classes by `labels` where some do not occur");
    }
    if let Some(row) = (0..scores.rows).find(|&row| (scores.row(row).iter().sum::<f64>() - 1.0).abs() > 1.001e-5) {
        let sum: f64 = scores.row(row).iter().sum();
        let help = "give probabilities of the classes: a softmax of scores that are none";
        return refuse(of, format_args!("the scores of row {row} sum to {sum}"), help);
    }
    match options.multi_class {
        Some(MultiClass::Ovr) => {
            if options.average.average() == Some(Averaging::Samples) {
                return refuse(of, "Averaging::Samples is for several labels a sample", "take Averaging::Macro");
            }
            let area = |truth: &[bool], scores: &[f64], weights: &[f64]| area(truth, scores, weights, None);
            columns(of, &binarized(of, labels, &classes)?, scores, weights, options.average, &area)
        }
        Some(MultiClass::Ovo) => {
            let is_weighted = match options.average.average() {
                Some(Averaging::Macro) => false,
                Some(Averaging::Weighted) => true,
                _ => {
                    let help = "take Averaging::Macro or Averaging::Weighted, or MultiClass::Ovr";
                    return refuse(of, "pairs of classes have no such average", help);
                }
            };
            if options.sample_weight.is_some() {
                return refuse(
                    of,
                    "pairs of classes take no sample weights",
                    "leave them out, or take MultiClass::Ovr",
                );
            }
            Ok(options.average.score(vec![one_against_one(of, labels, &classes, scores, is_weighted)?]))
        }
        None => refuse(
            of,
            format_args!("there are {} classes, and no word how to compare them", classes.len()),
            "RocAucOptions::new().multi_class(MultiClass::Ovr) takes each against all others, MultiClass::Ovo against each other",
        ),
    }
}

/// The mean over all pairs of classes that occur.
fn one_against_one(of: &str, labels: &[f64], classes: &[f64], scores: &Rows, is_weighted: bool) -> Result<f64> {
    let occur: Vec<usize> = (0..classes.len()).filter(|&class| labels.contains(&classes[class])).collect();
    let (mut areas, mut shares) = (Vec::new(), Vec::new());
    for (at, &a) in occur.iter().enumerate() {
        for &b in &occur[at + 1..] {
            let rows: Vec<usize> =
                (0..labels.len()).filter(|&row| labels[row] == classes[a] || labels[row] == classes[b]).collect();
            let area = |class: usize| {
                let samples = rows.iter().map(|&row| (scores.row(row)[class], labels[row] == classes[class], 1.0));
                roc_area(samples.collect()).unwrap_or(f64::NAN)
            };
            areas.push(f64::midpoint(area(a), area(b)));
            shares.push(if is_weighted { rows.len() as f64 } else { 1.0 });
        }
    }
    if areas.is_empty() {
        return refuse(of, "y_true is all of one class", BOTH);
    }
    Ok(average(areas, &shares))
}

/// The mean of precision over the steps of recall, `Σ (Rₙ - Rₙ₋₁)·Pₙ`: the area under the precision-recall curve, not
/// interpolated. A class without positives has 0, as in scikit-learn. [`Averaging`] is [`Averaging::Macro`] unless given.
///
/// # Shapes
/// `y_true`: labels `[N]`; `y_score`: `[N]` of two classes, `[N, K]` of `K`. Of several labels a sample, both `[N, K]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, scores that are not finite, a `pos_label` that does not occur, and bad
/// weights.
///
/// ```
/// use kiln_train::scores::average_precision_score;
/// // Half of the positives are found at a precision of 1, the rest at 2/3.
/// let score = average_precision_score(&[0, 0, 1, 1], &[0.1, 0.4, 0.35, 0.8], ())?;
/// assert!((score - 5.0 / 6.0).abs() < 1e-15);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn average_precision_score<A: AverageOption>(
    y_true: &(impl Values + ?Sized),
    y_score: &(impl Values + ?Sized),
    options: impl Into<PrecisionOptions<A>>,
) -> Result<A::Score> {
    let (of, options) = ("average_precision_score", options.into());
    let truth = Rows::read(of, "y_true", y_true)?;
    let scores = Rows::read_finite(of, "y_score", y_score)?;
    scores.same_rows(of, truth.rows)?;
    let weights = weights(of, options.sample_weight.as_deref(), truth.rows)?;
    let mean = |truth: &[bool], scores: &[f64], weights: &[f64]| {
        let curve = precision_recall(points(truth, scores, weights), false);
        let steps = curve.recall.windows(2).zip(&curve.precision);
        // Without positives recall is 1 throughout, and the one step down to 0 has a precision of 0.
        Some(steps.map(|(recall, precision)| (recall[0] - recall[1]) * precision).sum::<f64>().max(0.0))
    };
    if truth.columns > 1 {
        return columns(of, &indicator(of, truth)?, &scores, &weights, options.average, &mean);
    }
    let labels = truth.labels(of)?;
    let present = unique(labels.iter().copied());
    if present.len() > 2 {
        if options.pos_label != 1.0 {
            let help = "leave it out, or take one class against the others: y.eq(class)";
            return refuse(of, format_args!("pos_label is for two classes, and there are {}", present.len()), help);
        }
        return columns(of, &binarized(of, &labels, &present)?, &scores, &weights, options.average, &mean);
    }
    if present.len() == 2 && !present.contains(&options.pos_label) {
        let what = format!("the positive class {} does not occur, only {}", options.pos_label, listed(&present));
        return refuse(of, what, "say by `pos_label` which of them is the positive one");
    }
    let truth: Vec<bool> = labels.iter().map(|&label| label == options.pos_label).collect();
    let score = mean(&truth, &scores.column(of)?, &weights).unwrap_or(f64::NAN);
    Ok(options.average.score(vec![score]))
}
