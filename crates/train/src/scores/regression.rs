//! Errors of numbers, and the share of the targets' spread that predictions explain.

use super::input::{Rows, Values, average, refuse, weights};
use super::options::{Multioutput, Outputs, RegressionOptions};
use crate::error::Result;

/// Targets, predictions and weights.
struct Numbers<A> {
    of: &'static str,
    truth: Rows,
    predicted: Rows,
    weights: Vec<f64>,
    options: RegressionOptions<A>,
}

impl<A: Outputs> Numbers<A> {
    fn read(
        of: &'static str,
        y_true: &(impl Values + ?Sized),
        y_pred: &(impl Values + ?Sized),
        options: impl Into<RegressionOptions<A>>,
    ) -> Result<Numbers<A>> {
        let options = options.into();
        let (truth, predicted) = pair(of, y_true, y_pred)?;
        let weights = weights(of, options.sample_weight.as_deref(), truth.rows)?;
        Ok(Numbers { of, truth, predicted, weights, options })
    }

    /// Each output's targets and predictions.
    fn outputs(&self) -> impl Iterator<Item = (Vec<f64>, Vec<f64>)> {
        (0..self.truth.columns).map(|column| (self.truth.column_at(column), self.predicted.column_at(column)))
    }

    /// The weighted mean of an error of each number, output by output.
    fn means(&self, error: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let mean = |(truth, predicted): (Vec<f64>, Vec<f64>)| {
            average(truth.iter().zip(&predicted).map(|(&t, &p)| error(t, p)), &self.weights)
        };
        self.outputs().map(mean).collect()
    }

    /// The errors of the outputs as what is returned.
    fn error(&self, errors: Vec<f64>) -> Result<A::Score> {
        if self.options.multioutput.rule() == Some(&Multioutput::VarianceWeighted) {
            let help = "take Multioutput::UniformAverage, Multioutput::Weights, or Each";
            return refuse(self.of, "Multioutput::VarianceWeighted is for shares of a variance, not for errors", help);
        }
        self.joined(errors, &[])
    }

    fn joined(&self, scores: Vec<f64>, spreads: &[f64]) -> Result<A::Score> {
        let mean = || scores.iter().sum::<f64>() / scores.len() as f64;
        let score = match self.options.multioutput.rule() {
            None => return Ok(self.options.multioutput.score(scores)),
            Some(Multioutput::VarianceWeighted) if spreads.iter().any(|&spread| spread != 0.0) => {
                average(scores.iter().copied(), spreads)
            }
            Some(Multioutput::UniformAverage | Multioutput::VarianceWeighted) => mean(),
            Some(Multioutput::Weights(weights)) => {
                if weights.len() != scores.len() || weights.iter().sum::<f64>() == 0.0 {
                    let what = format!("the weights {weights:?} are for {} outputs", scores.len());
                    return refuse(self.of, what, "give one weight for each output, not all of them 0");
                }
                average(scores.iter().copied(), weights)
            }
        };
        Ok(self.options.multioutput.score(vec![score]))
    }

    /// `1 - residual / spread` of each output, as what is returned.
    fn explained(&self, residuals: &[f64], spreads: &[f64]) -> Result<A::Score> {
        let share = |(&residual, &spread): (&f64, &f64)| match (residual == 0.0, spread == 0.0) {
            (true, _) if self.options.force_finite => 1.0,
            (false, true) if self.options.force_finite => 0.0,
            _ => 1.0 - residual / spread,
        };
        self.joined(residuals.iter().zip(spreads).map(share).collect(), spreads)
    }

    fn at_least_two(&self) -> Result<()> {
        match self.truth.rows < 2 {
            true => refuse(self.of, "there is one sample", "give two or more: the score compares with their spread"),
            false => Ok(()),
        }
    }
}

/// Targets and predictions of one shape.
pub(super) fn pair(of: &str, y_true: &(impl Values + ?Sized), y_pred: &(impl Values + ?Sized)) -> Result<(Rows, Rows)> {
    let (truth, predicted) = (Rows::read_finite(of, "y_true", y_true)?, Rows::read_finite(of, "y_pred", y_pred)?);
    predicted.same_rows(of, truth.rows)?;
    match truth.columns == predicted.columns {
        true => Ok((truth, predicted)),
        false => {
            let what = format!("y_true is of shape {}, and y_pred of {}", truth.shape(), predicted.shape());
            refuse(of, what, "give as many outputs as targets")
        }
    }
}

/// Scores of numbers that are a mean over samples of an error of each.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident $error:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Shapes
        /// Both `[N]` or `[N, K]` of `K` outputs.
        ///
        /// # Errors
        /// [`Error::Data`](crate::Error::Data) for shapes that differ, numbers that are not finite, and bad weights.
        pub fn $name<A: Outputs>(
            y_true: &(impl Values + ?Sized),
            y_pred: &(impl Values + ?Sized),
            options: impl Into<RegressionOptions<A>>,
        ) -> Result<A::Score> {
            let numbers = Numbers::read(stringify!($name), y_true, y_pred, options)?;
            let error: fn(f64, f64) -> f64 = $error;
            numbers.error(numbers.means(error))
        }
    )*};
}

errors! {
    /// The mean of `(t - p)²`.
    ///
    /// ```
    /// use kiln_train::scores::{Each, mean_squared_error};
    /// assert_eq!(mean_squared_error(&[1.0, 2.0], &[1.0, 4.0], ())?, 2.0);
    /// assert_eq!(mean_squared_error(&[[1.0, 0.0], [2.0, 0.0]], &[[1.0, 1.0], [4.0, 1.0]], Each)?, [2.0, 1.0]);
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    mean_squared_error |t, p| (t - p).powi(2);
    /// The mean of `|t - p|`.
    ///
    /// ```
    /// use kiln_train::scores::{RegressionOptions, mean_absolute_error};
    /// let weighted = RegressionOptions::new().sample_weight(&[3.0, 1.0]);
    /// assert_eq!(mean_absolute_error(&[1.0, 2.0], &[1.0, 4.0], weighted)?, 0.5);
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    mean_absolute_error |t, p| (t - p).abs();
    /// The mean of `|t - p| / |t|`, a share and not per cent.
    ///
    /// ```
    /// use kiln_train::scores::mean_absolute_percentage_error;
    /// assert_eq!(mean_absolute_percentage_error(&[1.0, 2.0], &[1.0, 4.0], ())?, 0.5);
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    mean_absolute_percentage_error |t, p| (p - t).abs() / t.abs().max(f64::EPSILON);
}

/// The root of the [`mean_squared_error`], of each output by itself.
///
/// # Shapes
/// Both `[N]` or `[N, K]` of `K` outputs.
///
/// # Errors
/// As [`mean_squared_error`].
///
/// ```
/// use kiln_train::scores::root_mean_squared_error;
/// assert_eq!(root_mean_squared_error(&[1.0, 2.0], &[4.0, 5.0], ())?, 3.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn root_mean_squared_error<A: Outputs>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<RegressionOptions<A>>,
) -> Result<A::Score> {
    let numbers = Numbers::read("root_mean_squared_error", y_true, y_pred, options)?;
    let roots = numbers.means(|t, p| (t - p).powi(2)).into_iter().map(f64::sqrt);
    numbers.error(roots.collect())
}

/// The mean of `(ln(1 + t) - ln(1 + p))²`.
///
/// # Shapes
/// Both `[N]` or `[N, K]` of `K` outputs.
///
/// # Errors
/// As [`mean_squared_error`], and numbers of -1 or less.
///
/// ```
/// use kiln_train::scores::mean_squared_log_error;
/// let e = std::f64::consts::E;
/// assert_eq!(mean_squared_log_error(&[0.0, e - 1.0], &[0.0, e * e - 1.0], ())?, 0.5);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn mean_squared_log_error<A: Outputs>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<RegressionOptions<A>>,
) -> Result<A::Score> {
    let numbers = Numbers::read("mean_squared_log_error", y_true, y_pred, options)?;
    let errors = log_errors(&numbers)?;
    numbers.error(errors)
}

/// The root of the [`mean_squared_log_error`], of each output by itself.
///
/// # Shapes
/// Both `[N]` or `[N, K]` of `K` outputs.
///
/// # Errors
/// As [`mean_squared_log_error`].
///
/// ```
/// use kiln_train::scores::root_mean_squared_log_error;
/// let e = std::f64::consts::E;
/// assert_eq!(root_mean_squared_log_error(&[0.0], &[e - 1.0], ())?, 1.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn root_mean_squared_log_error<A: Outputs>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<RegressionOptions<A>>,
) -> Result<A::Score> {
    let numbers = Numbers::read("root_mean_squared_log_error", y_true, y_pred, options)?;
    let roots = log_errors(&numbers)?.into_iter().map(f64::sqrt);
    numbers.error(roots.collect())
}

fn log_errors<A: Outputs>(numbers: &Numbers<A>) -> Result<Vec<f64>> {
    for rows in [&numbers.truth, &numbers.predicted] {
        if let Some(at) = rows.values.iter().position(|&value| value <= -1.0) {
            let what = format!("there is a {} in row {}", rows.values[at], at / rows.columns);
            return refuse(numbers.of, what, "logarithms are of 1 + y: numbers must be above -1, such as counts");
        }
    }
    Ok(numbers.means(|t, p| (t.ln_1p() - p.ln_1p()).powi(2)))
}

/// The median of `|t - p|`, by weights where there are.
///
/// # Shapes
/// Both `[N]` or `[N, K]` of `K` outputs.
///
/// # Errors
/// As [`mean_squared_error`].
///
/// ```
/// use kiln_train::scores::median_absolute_error;
/// assert_eq!(median_absolute_error(&[0.0, 0.0, 0.0, 0.0], &[1.0, 2.0, 4.0, 100.0], ())?, 3.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn median_absolute_error<A: Outputs>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<RegressionOptions<A>>,
) -> Result<A::Score> {
    let numbers = Numbers::read("median_absolute_error", y_true, y_pred, options)?;
    let median = |(truth, predicted): (Vec<f64>, Vec<f64>)| {
        let errors: Vec<f64> = truth.iter().zip(&predicted).map(|(t, p)| (p - t).abs()).collect();
        percentile(&errors, &numbers.weights, 50.0)
    };
    let medians = numbers.outputs().map(median).collect();
    numbers.error(medians)
}

/// The value below which so many per cent of the weights lie, the mean of two where it is between them.
fn percentile(values: &[f64], weights: &[f64], rank: f64) -> f64 {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut sum = 0.0;
    let sums: Vec<f64> = order
        .iter()
        .map(|&at| {
            sum += weights[at];
            sum
        })
        .collect();
    let last = order.len() - 1;
    let wanted = (rank / 100.0 * sum).max(f64::from_bits(1));
    let at = sums.partition_point(|&sum| sum < wanted).min(last);
    let value = values[order[at]];
    if sums[at] - wanted > f64::EPSILON {
        return value;
    }
    let mut next = (at + 1).min(last);
    if weights[order[next]] == 0.0 {
        next = Some(sums.partition_point(|&sum| sum <= sums[at])).filter(|&next| next <= last).unwrap_or(at);
    }
    f64::midpoint(value, values[order[next]])
}

/// The largest `|t - p|`.
///
/// # Shapes
/// Both `[N]` or `[N, 1]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for shapes that differ, several outputs, and numbers that are not finite.
///
/// ```
/// use kiln_train::scores::max_error;
/// assert_eq!(max_error(&[1.0, 2.0], &[1.5, 4.0])?, 2.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn max_error(y_true: &(impl Values + ?Sized), y_pred: &(impl Values + ?Sized)) -> Result<f64> {
    let of = "max_error";
    let (truth, predicted) = pair(of, y_true, y_pred)?;
    let (truth, predicted) = (truth.column(of)?, predicted.column(of)?);
    Ok(truth.iter().zip(&predicted).map(|(t, p)| (t - p).abs()).fold(0.0, f64::max))
}

/// The mean of `α·(t - p)` where the target is above the prediction, and of `(1 - α)·(p - t)` where it is below: least for the
/// quantile `alpha`.
///
/// # Shapes
/// Both `[N]` or `[N, K]` of `K` outputs.
///
/// # Errors
/// As [`mean_squared_error`], and an `alpha` outside 0 … 1.
///
/// ```
/// use kiln_train::scores::mean_pinball_loss;
/// assert_eq!(mean_pinball_loss(&[1.0, 2.0], &[0.0, 4.0], 0.75, ())?, (0.75 + 0.25 * 2.0) / 2.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn mean_pinball_loss<A: Outputs>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    alpha: f64,
    options: impl Into<RegressionOptions<A>>,
) -> Result<A::Score> {
    let numbers = Numbers::read("mean_pinball_loss", y_true, y_pred, options)?;
    check_quantile(numbers.of, alpha)?;
    numbers.error(numbers.means(|t, p| pinball(t - p, alpha)))
}

fn pinball(difference: f64, alpha: f64) -> f64 {
    if difference >= 0.0 { alpha * difference } else { (alpha - 1.0) * difference }
}

fn check_quantile(of: &str, alpha: f64) -> Result<()> {
    match (0.0..=1.0).contains(&alpha) {
        true => Ok(()),
        false => refuse(of, format_args!("alpha is {alpha}"), "it is the quantile that is predicted, 0 to 1"),
    }
}

/// The part of the targets' variance that predictions explain, `1 - Σ (t - p)² / Σ (t - mean t)²`: 1 is perfect, 0 is no better than their
/// mean.
///
/// # Shapes
/// Both `[N]` or `[N, K]` of `K` outputs.
///
/// # Errors
/// As [`mean_squared_error`], and fewer than two samples.
///
/// ```
/// use kiln_train::scores::r2_score;
/// assert_eq!(r2_score(&[1.0, 2.0, 3.0], &[1.0, 2.0, 4.0], ())?, 0.5);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn r2_score<A: Outputs>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<RegressionOptions<A>>,
) -> Result<A::Score> {
    let numbers = Numbers::read("r2_score", y_true, y_pred, options)?;
    numbers.at_least_two()?;
    let residuals = numbers.means(|t, p| (t - p).powi(2));
    let spreads: Vec<f64> = numbers.outputs().map(|(truth, _)| variance(&truth, &numbers.weights)).collect();
    numbers.explained(&residuals, &spreads)
}

/// As [`r2_score`], but that a constant offset of the predictions costs nothing: `1 - Var(t - p) / Var(t)`.
///
/// # Shapes
/// Both `[N]` or `[N, K]` of `K` outputs.
///
/// # Errors
/// As [`mean_squared_error`].
///
/// ```
/// use kiln_train::scores::explained_variance_score;
/// assert_eq!(explained_variance_score(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0], ())?, 1.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn explained_variance_score<A: Outputs>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<RegressionOptions<A>>,
) -> Result<A::Score> {
    let numbers = Numbers::read("explained_variance_score", y_true, y_pred, options)?;
    let difference = |(truth, predicted): &(Vec<f64>, Vec<f64>)| -> Vec<f64> {
        truth.iter().zip(predicted).map(|(t, p)| t - p).collect()
    };
    let residuals: Vec<f64> =
        numbers.outputs().map(|output| variance(&difference(&output), &numbers.weights)).collect();
    let spreads: Vec<f64> = numbers.outputs().map(|(truth, _)| variance(&truth, &numbers.weights)).collect();
    numbers.explained(&residuals, &spreads)
}

/// The weighted mean square distance from the weighted mean.
fn variance(values: &[f64], weights: &[f64]) -> f64 {
    let mean = average(values.iter().copied(), weights);
    average(values.iter().map(|value| (value - mean).powi(2)), weights)
}

/// The share of the [`mean_pinball_loss`] of predicting the targets' own quantile that is explained: 1 is perfect, 0 is no better.
///
/// # Shapes
/// Both `[N]` or `[N, K]` of `K` outputs.
///
/// # Errors
/// As [`mean_pinball_loss`], and fewer than two samples.
///
/// ```
/// use kiln_train::scores::d2_pinball_score;
/// assert_eq!(d2_pinball_score(&[1.0, 2.0, 3.0], &[1.0, 2.0, 2.0], 0.5, ())?, 0.5);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn d2_pinball_score<A: Outputs>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    alpha: f64,
    options: impl Into<RegressionOptions<A>>,
) -> Result<A::Score> {
    quantile_score(Numbers::read("d2_pinball_score", y_true, y_pred, options)?, alpha)
}

/// [`d2_pinball_score`] of the median: the share of the [`mean_absolute_error`] of predicting it that is explained.
///
/// # Shapes
/// Both `[N]` or `[N, K]` of `K` outputs.
///
/// # Errors
/// As [`d2_pinball_score`].
///
/// ```
/// use kiln_train::scores::d2_absolute_error_score;
/// assert_eq!(d2_absolute_error_score(&[1.0, 2.0, 3.0], &[1.0, 2.0, 2.0], ())?, 0.5);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn d2_absolute_error_score<A: Outputs>(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<RegressionOptions<A>>,
) -> Result<A::Score> {
    quantile_score(Numbers::read("d2_absolute_error_score", y_true, y_pred, options)?, 0.5)
}

fn quantile_score<A: Outputs>(mut numbers: Numbers<A>, alpha: f64) -> Result<A::Score> {
    check_quantile(numbers.of, alpha)?;
    numbers.at_least_two()?;
    // These scores are always finite.
    numbers.options.force_finite = true;
    let residuals = numbers.means(|t, p| pinball(t - p, alpha));
    let spread = |(truth, _): (Vec<f64>, Vec<f64>)| {
        let quantile = percentile(&truth, &numbers.weights, alpha * 100.0);
        average(truth.iter().map(|t| pinball(t - quantile, alpha)), &numbers.weights)
    };
    let spreads: Vec<f64> = numbers.outputs().map(spread).collect();
    numbers.explained(&residuals, &spreads)
}
