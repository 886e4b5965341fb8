//! Curves of decisions, a point for each threshold, and the area under one.

use super::input::{Rows, Values, listed, refuse, unique, weights};
use super::options::CurveOptions;
use crate::error::Result;

/// What [`roc_curve`] gives, from the highest threshold to the lowest.
#[derive(Clone, Debug, PartialEq)]
pub struct RocCurve {
    /// The share of the negatives whose score is at least the threshold.
    pub fpr: Vec<f64>,
    /// The share of the positives whose score is.
    pub tpr: Vec<f64>,
    /// The thresholds, the first of them infinite.
    pub thresholds: Vec<f64>,
}

/// What [`precision_recall_curve`] gives, from the lowest threshold to the highest.
#[derive(Clone, Debug, PartialEq)]
pub struct PrecisionRecallCurve {
    /// The share of positives among the scores that are at least the threshold; behind the last a 1.
    pub precision: Vec<f64>,
    /// The share of the positives whose score is; behind the last a 0.
    pub recall: Vec<f64>,
    /// The thresholds, one less than there are points.
    pub thresholds: Vec<f64>,
}

/// What [`det_curve`] gives, from the lowest threshold to the highest.
#[derive(Clone, Debug, PartialEq)]
pub struct DetCurve {
    /// The share of the negatives whose score is at least the threshold.
    pub fpr: Vec<f64>,
    /// The share of the positives whose score is not.
    pub fnr: Vec<f64>,
    /// The thresholds.
    pub thresholds: Vec<f64>,
}

/// Weights of positives and negatives whose scores are at least a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) threshold: f64,
    pub(super) tp: f64,
    pub(super) fp: f64,
}

/// A point for each different score, from the highest. Samples without weight make none.
pub(super) fn points(truth: &[bool], scores: &[f64], weights: &[f64]) -> Vec<Point> {
    let mut samples: Vec<usize> = (0..truth.len()).filter(|&at| weights[at] != 0.0).collect();
    samples.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut tp, mut fp) = (0.0, 0.0);
    let tied = samples.chunk_by(|&a, &b| scores[a] == scores[b]);
    let point = |tied: &[usize]| {
        for &at in tied {
            *if truth[at] { &mut tp } else { &mut fp } += weights[at];
        }
        Point { threshold: scores[tied[0]], tp, fp }
    };
    tied.map(point).collect()
}

/// Keeps the first, the last and those inside for which `is_kept`, given both neighbours, is true.
fn thinned(points: Vec<Point>, is_kept: impl Fn(&Point, &Point, &Point) -> bool) -> Vec<Point> {
    let last = points.len().saturating_sub(1);
    let kept = |&at: &usize| at == 0 || at == last || is_kept(&points[at - 1], &points[at], &points[at + 1]);
    (0..points.len()).filter(kept).map(|at| points[at]).collect()
}

/// A step in the weight of positives on either side; what lies between two points without one is a line.
fn has_step(before: &Point, point: &Point, after: &Point) -> bool {
    before.tp != point.tp || point.tp != after.tp
}

/// The points of labels and scores, as options say, and whether drawn ones are left out.
fn read(
    of: &str,
    y_true: &(impl Values + ?Sized),
    y_score: &(impl Values + ?Sized),
    options: &CurveOptions,
) -> Result<Vec<Point>> {
    let labels = Rows::read_labels(of, "y_true", y_true)?;
    let scores = Rows::read_finite(of, "y_score", y_score)?;
    scores.same_rows(of, labels.len())?;
    let scores = scores.column(of)?;
    let weights = weights(of, options.sample_weight.as_deref(), labels.len())?;
    let positive = positive_label(of, &labels, options.pos_label)?;
    let truth: Vec<bool> = labels.iter().map(|&label| label == positive).collect();
    Ok(points(&truth, &scores, &weights))
}

/// The label of positives: the one given, or 1 where the labels leave no doubt.
pub(super) fn positive_label(of: &str, labels: &[f64], given: Option<f64>) -> Result<f64> {
    if let Some(given) = given {
        return Ok(given);
    }
    let present = unique(labels.iter().copied());
    match present[..] {
        [0.0 | -1.0, 1.0] | [0.0 | -1.0 | 1.0] => Ok(1.0),
        _ => refuse(
            of,
            format_args!("the labels are {}", listed(&present)),
            "say by `pos_label` which of them is the positive one, or compare one of several classes with the rest: \
             y.eq(class) with the column of its scores",
        ),
    }
}

/// The weights of all positives and negatives; an error where there are none of one.
fn both(of: &str, points: &[Point]) -> Result<(f64, f64)> {
    let last = points.last().map_or((0.0, 0.0), |point| (point.tp, point.fp));
    let missing = match last {
        (0.0, _) => "positives",
        (_, 0.0) => "negatives",
        _ => return Ok(last),
    };
    refuse(
        of,
        format_args!("there are no {missing} in y_true"),
        "a rate of none is not defined: give samples of both classes",
    )
}

/// The receiver operating characteristic: true against false positive rate, for each threshold.
///
/// # Shapes
/// `y_true` and `y_score`: `[N]` or `[N, 1]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, scores that are not finite, samples of one class only, bad weights, and
/// labels other than 0 or -1 and 1 without `pos_label`.
///
/// ```
/// use kiln_train::scores::roc_curve;
/// let curve = roc_curve(&[0, 0, 1, 1], &[0.1, 0.4, 0.35, 0.8], ())?;
/// assert_eq!(curve.fpr, [0.0, 0.0, 0.5, 0.5, 1.0]);
/// assert_eq!(curve.tpr, [0.0, 0.5, 0.5, 1.0, 1.0]);
/// assert_eq!(curve.thresholds, [f64::INFINITY, 0.8, 0.4, 0.35, 0.1]);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn roc_curve(
    y_true: &(impl Values + ?Sized),
    y_score: &(impl Values + ?Sized),
    options: impl Into<CurveOptions>,
) -> Result<RocCurve> {
    let (of, options) = ("roc_curve", options.into());
    let points = read(of, y_true, y_score, &options)?;
    both(of, &points)?;
    Ok(roc(points, options.drop_intermediate.unwrap_or(true)))
}

/// The curve through points of both classes.
pub(super) fn roc(mut points: Vec<Point>, is_thinned: bool) -> RocCurve {
    if is_thinned && points.len() > 2 {
        let bends = |a: f64, b: f64, c: f64| c - b != b - a;
        points = thinned(points, |a, b, c| bends(a.fp, b.fp, c.fp) || bends(a.tp, b.tp, c.tp));
    }
    let (positives, negatives) = points.last().map_or((0.0, 0.0), |point| (point.tp, point.fp));
    points.insert(0, Point { threshold: f64::INFINITY, tp: 0.0, fp: 0.0 });
    RocCurve {
        fpr: points.iter().map(|point| point.fp / negatives).collect(),
        tpr: points.iter().map(|point| point.tp / positives).collect(),
        thresholds: points.iter().map(|point| point.threshold).collect(),
    }
}

/// Precision against recall, for each threshold. Without positives recall is 1 everywhere, as in scikit-learn.
///
/// # Shapes
/// `y_true` and `y_score`: `[N]` or `[N, 1]`.
///
/// # Errors
/// As [`roc_curve`], but for one class.
///
/// ```
/// use kiln_train::scores::precision_recall_curve;
/// let curve = precision_recall_curve(&[0, 0, 1, 1], &[0.1, 0.4, 0.35, 0.8], ())?;
/// assert_eq!(curve.precision, [0.5, 2.0 / 3.0, 0.5, 1.0, 1.0]);
/// assert_eq!(curve.recall, [1.0, 1.0, 0.5, 0.5, 0.0]);
/// assert_eq!(curve.thresholds, [0.1, 0.35, 0.4, 0.8]);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn precision_recall_curve(
    y_true: &(impl Values + ?Sized),
    y_score: &(impl Values + ?Sized),
    options: impl Into<CurveOptions>,
) -> Result<PrecisionRecallCurve> {
    let options = options.into();
    let points = read("precision_recall_curve", y_true, y_score, &options)?;
    Ok(precision_recall(points, options.drop_intermediate.unwrap_or(false)))
}

pub(super) fn precision_recall(mut points: Vec<Point>, is_thinned: bool) -> PrecisionRecallCurve {
    if is_thinned && points.len() > 2 {
        points = thinned(points, has_step);
    }
    let positives = points.last().map_or(0.0, |point| point.tp);
    let recall = |point: &Point| if positives == 0.0 { 1.0 } else { point.tp / positives };
    let descending = || points.iter().rev();
    PrecisionRecallCurve {
        precision: descending().map(|point| point.tp / (point.tp + point.fp)).chain([1.0]).collect(),
        recall: descending().map(recall).chain([0.0]).collect(),
        thresholds: descending().map(|point| point.threshold).collect(),
    }
}

/// The detection error tradeoff: false negative against false positive rate, for each threshold that trades one for the other.
///
/// # Shapes
/// `y_true` and `y_score`: `[N]` or `[N, 1]`.
///
/// # Errors
/// As [`roc_curve`].
///
/// ```
/// use kiln_train::scores::det_curve;
/// let curve = det_curve(&[0, 0, 1, 1], &[0.1, 0.4, 0.35, 0.8], ())?;
/// assert_eq!((curve.fpr, curve.fnr), (vec![0.5, 0.5, 0.0], vec![0.0, 0.5, 0.5]));
/// assert_eq!(curve.thresholds, [0.35, 0.4, 0.8]);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn det_curve(
    y_true: &(impl Values + ?Sized),
    y_score: &(impl Values + ?Sized),
    options: impl Into<CurveOptions>,
) -> Result<DetCurve> {
    let (of, options) = ("det_curve", options.into());
    let mut points = read(of, y_true, y_score, &options)?;
    let (positives, negatives) = both(of, &points)?;
    points.insert(0, Point { threshold: f64::INFINITY, tp: 0.0, fp: 0.0 });
    if options.drop_intermediate == Some(true) && points.len() > 2 {
        points = thinned(points, has_step);
    }
    let first = points.partition_point(|point| point.fp == 0.0) - 1;
    let last = points.iter().position(|point| point.tp == positives).unwrap_or(points.len() - 1);
    // A classifier that has found all positives before the first negative trades nothing: the curve is its one point.
    let kept = || points.get(first..=last).unwrap_or_default().iter().rev();
    Ok(DetCurve {
        fpr: kept().map(|point| point.fp / negatives).collect(),
        fnr: kept().map(|point| (positives - point.tp) / positives).collect(),
        thresholds: kept().map(|point| point.threshold).collect(),
    })
}

/// The area under a curve, by the trapezoidal rule.
///
/// # Shapes
/// `x` and `y`: `[N]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, fewer than two points, numbers that are not finite, and an `x` that
/// goes up and down.
///
/// ```
/// use kiln_train::scores::auc;
/// assert_eq!(auc(&[0.0, 0.5, 1.0], &[0.0, 1.0, 1.0])?, 0.75);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn auc(x: &(impl Values + ?Sized), y: &(impl Values + ?Sized)) -> Result<f64> {
    let of = "auc";
    let (x, y) = (Rows::read_finite(of, "x", x)?.column(of)?, Rows::read_finite(of, "y", y)?.column(of)?);
    if x.len() != y.len() || x.len() < 2 {
        let help = "give as many heights as places, at least two";
        return refuse(of, format_args!("x has {} points, y {}", x.len(), y.len()), help);
    }
    let is_sorted = |direction: f64| x.windows(2).all(|pair| direction * (pair[1] - pair[0]) >= 0.0);
    match (is_sorted(1.0), is_sorted(-1.0)) {
        (true, _) => Ok(trapezoids(&x, &y)),
        (false, true) => Ok(-trapezoids(&x, &y)),
        (false, false) => refuse(of, "x goes up and down", "sort the points by x"),
    }
}

pub(super) fn trapezoids(x: &[f64], y: &[f64]) -> f64 {
    x.windows(2).zip(y.windows(2)).map(|(x, y)| (x[1] - x[0]) * (y[0] + y[1]) / 2.0).sum()
}
