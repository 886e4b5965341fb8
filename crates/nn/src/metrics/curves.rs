//! The area under a curve of decisions, and the coefficient of determination.

use super::Measure;
use super::batch::{Batch, Fit, same_columns};
use super::checks::BoundsBelow;
use super::macros::metrics;
use super::state::{State, Visitor, leading, number, quotient, states, weighted_sum};
use crate::range::Range;
use crate::{Error, Result};
use kiln_autograd::ops::prelude::*;
use kiln_autograd::{DType, Shape, Tensor};
use serde::{Deserialize, Serialize};

metrics! {
    /// The area under the curve of true against false positive rates, or of precision against recall.
    ///
    /// Scores are counted between thresholds, as in Keras; `exact` keeps every score instead and is the probability that a
    /// positive is scored above a negative (ROC).
    AUC "auc" Max Scores {
        /// Number of thresholds, evenly spread over 0 … 1.
        num_thresholds: usize = 200 => 2..=MOST_THRESHOLDS,
        /// Which curve.
        curve: Curve = Curve::Roc,
        /// How the area between two points is taken.
        summation_method: Summation = Summation::Interpolation,
        /// The thresholds between 0 and 1, instead of evenly spread ones.
        thresholds: Option<Vec<f64>> = None => Range::Fraction,
        /// Whether the area is that of each column of predictions, averaged.
        multi_label: bool = false,
        /// The weights of that average.
        label_weights: Option<Vec<f64>> = None => Range::NotNegative,
        /// Whether predictions are logits.
        from_logits: bool = false,
        /// Whether every score is kept and the area is exact; for the ROC curve.
        exact: bool = false,
    }
    /// The part of the targets' variance that the predictions explain: `1 - Σ(t - p)² / Σ(t - mean t)²` of each column of
    /// predictions. A column whose targets are all the same has a score of 0.
    ///
    /// ```
    /// use kiln_autograd::Tensor;
    /// use kiln_nn::metrics::{Metric, R2Score};
    /// let mut r2 = R2Score::new();
    /// r2.update(&Tensor::new([[1.0], [2.0], [3.0]]), &Tensor::new([[1.0], [2.0], [4.0]]), None)?;
    /// assert_eq!(r2.result(), 0.5);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    R2Score "r2_score" Max Moments {
        /// How the columns' scores make one; not at all when null.
        class_aggregation: Option<Aggregation> = Some(Aggregation::UniformAverage),
        /// Number of variables behind the predictions, for the adjusted score `1 - (1 - r2)·(n - 1)/(n - num - 1)`, where
        /// `n` counts every target of every column, as in Keras. With too few of them the score is not adjusted.
        num_regressors: usize = 0,
    }
}

/// More thresholds than anybody spreads over the scores, half of the numbers that single precision has there: `exact` takes
/// every score.
pub(super) const MOST_THRESHOLDS: usize = 1 << 24;

/// So many thresholds, two or more, evenly from 0 to 1; the outer ones a little outside, so that all lies above the first and
/// nothing above the last.
pub(super) fn spread(number: usize) -> Vec<f64> {
    let inner = (1..number.saturating_sub(1)).map(|i| i as f64 / (number - 1) as f64);
    [-1e-7].into_iter().chain(inner).chain([1.0 + 1e-7]).collect()
}

/// Which curve an [`AUC`] is the area under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Curve {
    /// True positive rate against false positive rate.
    Roc,
    /// Precision against recall.
    Pr,
}

/// How the area between two points of a curve is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Summation {
    /// The mean height; for precision and recall the curve between the points (Davis and Goadrich 2006).
    Interpolation,
    /// The smaller height.
    Minoring,
    /// The larger height.
    Majoring,
}

/// How the scores of columns make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Their mean.
    UniformAverage,
    /// Their mean weighted by the targets' variances.
    VarianceWeightedAverage,
}

/// Scores, counted between thresholds or every one.
#[derive(Debug, Clone)]
pub(super) struct Scores {
    /// Weights of positives by how many bounds their score is above: `[columns · (bounds + 1)]`.
    positives: Tensor,
    /// Those of negatives.
    negatives: Tensor,
    /// Of each batch, `[3, N, columns]`: score, target, weight. They are joined only when somebody asks for the state:
    /// joining at each batch would copy all that came before.
    exact: Vec<Tensor>,
}

impl Default for Scores {
    fn default() -> Scores {
        let zero = Tensor::scalar(0.0, DType::F64);
        Scores { positives: zero.clone(), negatives: zero, exact: Vec::new() }
    }
}

impl State for Scores {
    fn visit(&mut self, f: &mut Visitor<'_>) -> Result<()> {
        let mut exact = match &self.exact[..] {
            [] => Tensor::full([3, 0, 1], 0.0)?,
            batches => concat(&batches.iter().collect::<Vec<_>>(), 1)?,
        };
        f("positives", &mut self.positives)?;
        f("negatives", &mut self.negatives)?;
        f("exact", &mut exact)?;
        self.exact = if exact.count() > 0 { vec![exact] } else { Vec::new() };
        Ok(())
    }
}

states! {
    /// What the score of each column needs.
    Moments {
        /// The weighted mean of the targets.
        mean,
        /// `Σ w·(t - mean)²`.
        spread,
        /// `Σ w·(t - p)²`.
        residual,
        /// `Σ w`.
        weight,
        /// The number of targets in all columns.
        samples,
    }
}

impl Moments {
    /// Takes in targets and predictions `[…, K]` with weights that broadcast to them.
    ///
    /// Nothing large is ever subtracted from something large, which `Σ t² - (Σ t)²/n` does: the moments of a batch are taken
    /// around its smallest target, so that a column of equal ones has a spread of exactly 0, and are joined with those
    /// before by Chan, Golub and LeVeque 1979.
    fn add(&mut self, t: &Tensor, p: &Tensor, w: &Tensor) -> Result<()> {
        if t.count() == 0 {
            return Ok(());
        }
        let axes = leading(t);
        let w = w.expand(t.shape())?;
        let weight = weighted_sum(&Tensor::scalar(1.0, DType::F64), &w, axes)?;
        let empty = weight.eq(0)?;
        let counts = w.ne(0)?;
        let base = (0..t.rank() - 1).try_fold(counts.select(t, f64::MAX)?, |least, _| least.amin(0))?;
        let base = empty.select(0.0, &base)?;
        // What does not count may be anything: finite, it makes nothing on the way that is not.
        let (t, p) = (&counts.select(t, &base)?, &counts.select(p, &base)?);
        let offsets = t.sub(&base)?;
        let offset = ratio(&weighted_sum(&offsets, &w, axes)?, &weight)?;
        let spread = weighted_sum(&offsets.sub(&offset)?.square()?, &w, axes)?;
        let residual = weighted_sum(&t.sub(p)?.square()?, &w, axes)?;

        let total = self.weight.add(&weight)?;
        let step = empty.select(0.0, &base.add(&offset)?.sub(&self.mean)?)?;
        let share = ratio(&weight, &total)?;
        self.spread = self.spread.add(&spread)?.add(&step.square()?.mul(&self.weight)?.mul(&share)?)?;
        self.mean = self.mean.add(&step.mul(&share)?)?;
        self.residual = self.residual.add(&residual)?;
        self.weight = total;
        self.samples = self.samples.add(t.count() as f64)?;
        Ok(())
    }
}

/// `a / b`, and 0 where `b` is.
fn ratio(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let none = b.eq(0)?;
    Ok(none.select(0.0, &a.div(&none.select(1.0, b)?)?)?)
}

/// The score of a column from its residual and spread.
fn determination(residual: f64, spread: f64) -> f64 {
    let score = 1.0 - residual / spread;
    if spread == 0.0 || score.is_infinite() { 0.0 } else { score }
}

impl AUC {
    fn bounds(&self) -> Vec<f64> {
        match &self.thresholds {
            Some(inner) => {
                let mut inner = inner.clone();
                inner.sort_by(f64::total_cmp);
                [-1e-7].into_iter().chain(inner).chain([1.0 + 1e-7]).collect()
            }
            None => spread(self.num_thresholds),
        }
    }

    /// Whether there is a weight for each column, if there are weights.
    fn check_label_weights(&self, columns: usize) -> Result<()> {
        match self.label_weights.as_ref().map(Vec::len).filter(|&n| n != columns) {
            None => Ok(()),
            Some(n) => {
                let text = format!("{}: {n} label_weights for {columns} columns", self.name);
                let help = match self.multi_label {
                    true => "give one weight for each column of the predictions",
                    false => "set multi_label: without it all predictions are one column",
                };
                Err(Error::config(text, help))
            }
        }
    }

    /// The area under the curve of each column.
    fn areas(&self) -> Vec<f64> {
        let counts = self.bounds().len() + 1;
        let [positives, negatives] = [&self.state.positives, &self.state.negatives].map(Tensor::to_vec_as::<f64>);
        let columns = positives.chunks_exact(counts).zip(negatives.chunks_exact(counts));
        columns.map(|(positives, negatives)| self.area(positives, negatives)).collect()
    }

    /// The area under the curve of a column, from its weights of positives and negatives by bounds.
    fn area(&self, positives: &[f64], negatives: &[f64]) -> f64 {
        let (tp, fp) = (above(positives), above(negatives));
        let (Some(&positives), Some(&negatives)) = (tp.first(), fp.first()) else { return 0.0 };
        let (tp, fp) = (&tp[1..], &fp[1..]);
        match (self.curve, self.summation_method) {
            (Curve::Pr, Summation::Interpolation) => interpolated(tp, fp, positives),
            (curve, method) => {
                let recall: Vec<f64> = tp.iter().map(|tp| quotient(*tp, positives)).collect();
                let (x, y): (Vec<f64>, Vec<f64>) = match curve {
                    Curve::Roc => (fp.iter().map(|fp| quotient(*fp, negatives)).collect(), recall),
                    Curve::Pr => (recall, tp.iter().zip(fp).map(|(tp, fp)| quotient(*tp, tp + fp)).collect()),
                };
                let height = |a: f64, b: f64| match method {
                    Summation::Interpolation => (a + b) / 2.0,
                    Summation::Minoring => a.min(b),
                    Summation::Majoring => a.max(b),
                };
                (1..x.len()).map(|i| (x[i - 1] - x[i]) * height(y[i - 1], y[i])).sum()
            }
        }
    }
}

/// The weights above each threshold, behind the weight of all, from weights by how many thresholds a score is above.
fn above(counts: &[f64]) -> Vec<f64> {
    let add = |sum: &mut f64, count: &f64| {
        *sum += count;
        Some(*sum)
    };
    let mut sums: Vec<f64> = counts.iter().rev().scan(0.0, add).collect();
    sums.reverse();
    sums
}

impl Scores {
    /// Counts targets, probabilities and weights of `columns` columns between the bounds.
    pub(super) fn count(
        &mut self,
        name: &str,
        bounds: Vec<f64>,
        [t, p, weights]: [&Tensor; 3],
        columns: usize,
    ) -> Result<()> {
        let scores = p.cast(DType::F64)?;
        let weights = weights.expand(scores.shape())?;
        let is_positive = t.ne(0)?;
        let counts = bounds.len() + 1;
        let before = self.positives.shape().first().map(|cells| cells / counts);
        same_columns(name, before, columns)?;
        let below = BoundsBelow { name: name.to_owned(), bounds };
        let mut cell = Tensor::apply_one(below, &[&scores, &weights]).map_err(kiln_autograd::Error::unplaced)?;
        if columns > 1 {
            let starts = cell.beside(Tensor::arange(0, columns as i64, 1)?.mul(counts as i64)?)?;
            cell = cell.add(&starts)?;
        }
        let cell = cell.reshape([scores.count()])?;
        for (sums, weights) in [
            (&mut self.positives, is_positive.select(&weights, 0.0)?),
            (&mut self.negatives, is_positive.select(0.0, &weights)?),
        ] {
            let source = weights.reshape([scores.count()])?;
            *sums = sums.expand([Shape::new(&[columns, counts])?.count()])?.scatter_add(0, &cell, &source)?;
        }
        Ok(())
    }

    /// Of one column, the weights of positives and of negatives above each threshold, behind those of all. Reads the state.
    pub(super) fn above(&self) -> [Vec<f64>; 2] {
        [&self.positives, &self.negatives].map(|counts| above(&counts.to_vec_as::<f64>()))
    }

    /// The exact area of each column.
    fn exact_areas(&self) -> Vec<f64> {
        let columns = self.exact.last().and_then(|batch| batch.shape().last().copied()).unwrap_or(1);
        let mut scores = vec![Vec::new(); columns];
        for batch in &self.exact {
            let numbers: Vec<f64> = batch.to_vec_as();
            let n = numbers.len() / 3;
            for i in (0..n).filter(|i| numbers[2 * n + i] != 0.0) {
                scores[i % columns].push((numbers[i], numbers[n + i] != 0.0, numbers[2 * n + i]));
            }
        }
        scores.into_iter().map(|scores| roc_area(scores).unwrap_or(0.0)).collect()
    }
}

/// The area under precision against recall, with true and false positives in proportion between two thresholds.
fn interpolated(tp: &[f64], fp: &[f64], positives: f64) -> f64 {
    (1..tp.len())
        .map(|i| {
            let (before, after) = (tp[i - 1] + fp[i - 1], tp[i] + fp[i]);
            let slope = quotient(tp[i - 1] - tp[i], (before - after).max(0.0));
            let intercept = tp[i] - slope * after;
            let ratio = if before > 0.0 && after > 0.0 { before / after } else { 1.0 };
            quotient(slope * (tp[i - 1] - tp[i] + intercept * ratio.ln()), positives)
        })
        .sum()
}

/// The exact area under the ROC curve, from scores, whether they are of positives, and weights: the weight of pairs of a positive and a
/// negative in the right order, ties half, over the weight of all pairs. Nothing where there are no pairs.
///
/// ```
/// use kiln_nn::metrics::roc_area;
/// // Of the pairs (0.8, 0.1), (0.8, 0.4), (0.35, 0.1), (0.35, 0.4) the last alone is in the wrong order.
/// let scores = [(0.1, false, 1.0), (0.4, false, 1.0), (0.35, true, 1.0), (0.8, true, 1.0)];
/// assert_eq!(roc_area(scores.to_vec()), Some(0.75));
/// ```
pub fn roc_area(mut scores: Vec<(f64, bool, f64)>) -> Option<f64> {
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut ordered, mut positives) = (0.0, 0.0, 0.0);
    for tied in scores.chunk_by(|a, b| a.0 == b.0) {
        let weight = |positive: bool| tied.iter().filter(|s| s.1 == positive).map(|s| s.2).sum::<f64>();
        let (positive, negative) = (weight(true), weight(false));
        ordered += positive * (below + negative / 2.0);
        below += negative;
        positives += positive;
    }
    let pairs = positives * below;
    (pairs > 0.0).then(|| ordered / pairs)
}

impl Measure for AUC {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        if self.exact && (self.curve != Curve::Roc) {
            return Err(Error::config(
                format!("{}: only the ROC curve has an exact area", self.name),
                "leave `exact` out, or take Curve::Roc",
            ));
        }
        let batch = Batch::new(&self.name, y_true, y_pred, weight, Fit::Same)?;
        let scores = batch.p.cast(DType::F64)?;
        let scores = if self.from_logits { scores.sigmoid()? } else { scores };
        let weights = batch.weights()?.expand(scores.shape())?;
        let is_positive = batch.t.ne(0)?;
        let columns = if self.multi_label { batch.classes() } else { 1 };
        self.check_label_weights(columns)?;
        if self.exact {
            same_columns(&self.name, self.state.exact.last().and_then(|x| x.shape().last().copied()), columns)?;
            let row = |x: &Tensor| x.cast(DType::F64)?.reshape([1, x.count() / columns.max(1), columns]);
            let rows = [row(&scores)?, row(&is_positive)?, row(&weights)?];
            self.state.exact.push(concat(&rows.each_ref(), 0)?);
            return Ok(());
        }
        self.state.count(&self.name, self.bounds(), [&batch.t, &scores, &weights], columns)
    }

    fn report(&self) -> Vec<f64> {
        let areas = if self.exact { self.state.exact_areas() } else { self.areas() };
        let weights = self.label_weights.as_ref().filter(|w| w.len() == areas.len());
        let weight = |i: usize| weights.map_or(1.0, |w| w[i]);
        let total: f64 = (0..areas.len()).map(weight).sum();
        vec![quotient(areas.iter().enumerate().map(|(i, area)| area * weight(i)).sum(), total)]
    }
}

impl Measure for R2Score {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let batch = Batch::new(&self.name, y_true, y_pred, weight, Fit::Same)?.into_columns()?;
        let (t, p) = (batch.t.cast(DType::F64)?, batch.p.cast(DType::F64)?);
        same_columns(&self.name, self.state.mean.shape().last().copied(), batch.classes())?;
        self.state.add(&t, &p, &batch.weights()?)
    }

    fn report(&self) -> Vec<f64> {
        let state = &self.state;
        let [residual, spread] = [&state.residual, &state.spread].map(Tensor::to_vec_as::<f64>);
        let raw: Vec<f64> =
            residual.iter().zip(&spread).map(|(residual, spread)| determination(*residual, *spread)).collect();
        let scores = match self.class_aggregation {
            None => raw,
            Some(Aggregation::UniformAverage) => vec![raw.iter().sum::<f64>() / raw.len() as f64],
            Some(Aggregation::VarianceWeightedAverage) => {
                let weighted = spread.iter().zip(&raw).map(|(spread, score)| spread * score).sum();
                vec![quotient(weighted, spread.iter().sum())]
            }
        };
        let samples = number(&state.samples);
        let free = samples - self.num_regressors as f64 - 1.0;
        if self.num_regressors == 0 || free <= 0.0 {
            return scores;
        }
        scores.iter().map(|r2| 1.0 - (1.0 - r2) * (samples - 1.0) / free).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;
    use kiln_autograd::Watch;

    /// The scores of a metric that has seen the rows one batch after another.
    fn scores(mut metric: R2Score, t: &[[f64; 2]], p: &[[f64; 2]], w: Option<&[f64]>, batch: usize) -> Vec<f64> {
        for start in (0..t.len()).step_by(batch) {
            let rows = start..(start + batch).min(t.len());
            let tensor = |x: &[[f64; 2]]| Tensor::from_vec(x[rows.clone()].concat(), [rows.len(), 2]).unwrap();
            let weight = w.map(|w| Tensor::from_vec(w[rows.clone()].to_vec(), [rows.len()]).unwrap());
            metric.update(&tensor(t), &tensor(p), weight.as_ref()).unwrap();
        }
        metric.values()
    }

    fn assert_close(have: &[f64], want: &[f64]) {
        assert!(
            have.len() == want.len() && have.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9),
            "{have:?} {want:?}"
        );
    }

    #[test]
    fn r2_of_targets_far_from_0_keeps_its_digits() {
        for offset in [0.0, 1e8, -1e8] {
            let t = [0.0, 0.0, 1.0].map(|x: f64| x + offset);
            let p = [t[0] + 0.4, t[1] + 0.1, t[2] - 0.5];
            let (mut whole, mut parts) = (R2Score::new(), R2Score::new());
            whole.update(&Tensor::new(t), &Tensor::new(p), None).unwrap();
            for i in 0..3 {
                parts.update(&Tensor::new([t[i]]), &Tensor::new([p[i]]), None).unwrap();
            }
            for score in [whole.result(), parts.result()] {
                assert!((score - 0.37).abs() < 1e-6, "{offset}: {score}");
            }
        }
    }

    #[test]
    fn r2_of_several_columns_is_aggregated_as_keras_does() {
        // Column 0: residual 1, spread 5; column 1: residual 4·2² = 16, spread 20.
        let t = [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, 8.0]];
        let p = [[1.0, 4.0], [2.0, 6.0], [3.0, 8.0], [5.0, 10.0]];
        let raw = [1.0 - 1.0 / 5.0, 1.0 - 16.0 / 20.0];
        let each = || R2Score::new().class_aggregation(None);
        let weighted = || R2Score::new().class_aggregation(Some(Aggregation::VarianceWeightedAverage));
        let mean = (raw[0] + raw[1]) / 2.0;
        let by_variance = (5.0 * raw[0] + 20.0 * raw[1]) / 25.0;
        for batch in [1, 3, 4] {
            assert_close(&scores(each(), &t, &p, None, batch), &raw);
            assert_close(&scores(R2Score::new(), &t, &p, None, batch), &[mean]);
            assert_close(&scores(weighted(), &t, &p, None, batch), &[by_variance]);
            // Keras counts all 8 targets.
            let adjust = |r2: f64, regressors: f64| 1.0 - (1.0 - r2) * 7.0 / (7.0 - regressors);
            assert_close(&scores(R2Score::new().num_regressors(2), &t, &p, None, batch), &[adjust(mean, 2.0)]);
            assert_close(&scores(weighted().num_regressors(3), &t, &p, None, batch), &[adjust(by_variance, 3.0)]);
            let adjusted = raw.map(|r2| adjust(r2, 2.0));
            assert_close(&scores(each().num_regressors(2), &t, &p, None, batch), &adjusted);
            for too_many in [7, 8, 100] {
                assert_close(&scores(R2Score::new().num_regressors(too_many), &t, &p, None, batch), &[mean]);
            }
        }
    }

    #[test]
    fn r2_weights_count_rows_and_a_weight_of_0_leaves_them_out() {
        let t = [[1.0, 2.0], [2.0, 4.0], [f64::NAN, f64::INFINITY], [4.0, 8.0]];
        let p = [[1.0, 4.0], [2.0, 6.0], [3.0, f64::NAN], [5.0, 9.0]];
        let each = || R2Score::new().class_aggregation(None);
        let twice: Vec<usize> = vec![0, 1, 3, 3];
        let rows = |x: &[[f64; 2]]| twice.iter().map(|&i| x[i]).collect::<Vec<_>>();
        let want = scores(each(), &rows(&t), &rows(&p), None, 4);
        for batch in [1, 2, 4] {
            assert_close(&scores(each(), &t, &p, Some(&[1.0, 1.0, 0.0, 2.0]), batch), &want);
        }
        assert_close(&scores(each(), &[[3.0, 1.0]; 3], &[[3.0, 2.0]; 3], None, 2), &[0.0, 0.0]);
    }

    #[test]
    fn r2_makes_nothing_that_is_not_finite_on_the_way() {
        let watch = Watch::new();
        let given = |x: &[f64]| watch.input("x", &Tensor::from_slice(x, [x.len(), 1]).unwrap());
        let weight = |w: [f64; 3]| watch.input("w", &Tensor::new(w));
        let mut metric = R2Score::new();
        // Batches without weight, also the first, and samples without.
        for w in [[0.0; 3], [1.0, 1.0, 0.0], [0.0; 3], [0.0, 0.0, 2.0]] {
            metric.update(&given(&[1.0, 2.0, 4.0]), &given(&[1.0, 3.0, 4.0]), Some(&weight(w))).unwrap();
        }
        // Residual 1; around the mean 11/4 a spread of (7² + 3² + 2·5²)/16.
        assert_close(&metric.values(), &[1.0 - 16.0 / 108.0]);
        metric.reset();
        let t = given(&[1.0, f64::NAN, 4.0]);
        metric.update(&t, &given(&[f64::INFINITY, 3.0, 4.0]), Some(&weight([0.0, 0.0, 1.0]))).unwrap();
        assert_eq!(metric.values(), [0.0]);
    }

    #[test]
    fn r2_refuses_other_columns() {
        let mut metric = R2Score::new();
        metric.update(&Tensor::new([[1.0, 2.0]]), &Tensor::new([[1.0, 2.0]]), None).unwrap();
        let text = metric.update(&Tensor::new([[1.0]]), &Tensor::new([[1.0]]), None).unwrap_err().to_string();
        assert!(text.contains("1 columns after some of 2"), "{text}");
    }
}
