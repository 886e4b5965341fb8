//! Deviances of the Tweedie family: normal, Poisson, gamma and what lies between.

use super::input::{Rows, Values, average, refuse, weights};
use super::options::WeightOptions;
use super::regression::pair;
use crate::error::Result;

/// The mean Tweedie deviance: `(t - p)²` for a `power` of 0, [Poisson's](mean_poisson_deviance) for 1, [gamma's](mean_gamma_deviance) for 2, the inverse
/// Gaussian's for 3; the higher, the less large targets count.
///
/// # Shapes
/// Both `[N]` or `[N, 1]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for shapes that differ, numbers that are not finite or that the power does not allow (predictions must be
/// positive but for 0, targets not negative from 1 on and positive from 2 on), a power between 0 and 1, and bad weights.
///
/// ```
/// use kiln_train::scores::mean_tweedie_deviance;
/// assert_eq!(mean_tweedie_deviance(&[2.0, 0.0], &[1.0, 1.0], 0.0, ())?, 1.0);
/// assert_eq!(mean_tweedie_deviance(&[1.0], &[4.0], 1.5, ())?, 2.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn mean_tweedie_deviance(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    power: f64,
    options: impl Into<WeightOptions>,
) -> Result<f64> {
    Ok(read("mean_tweedie_deviance", y_true, y_pred, power, &options.into())?.mean(power))
}

/// The mean of `2·(t·ln(t / p) - t + p)`, of counts.
///
/// # Shapes
/// Both `[N]` or `[N, 1]`.
///
/// # Errors
/// As [`mean_tweedie_deviance`], for a power of 1.
///
/// ```
/// use kiln_train::scores::mean_poisson_deviance;
/// assert_eq!(mean_poisson_deviance(&[0.0, 1.0], &[2.0, 1.0], ())?, 2.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn mean_poisson_deviance(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<WeightOptions>,
) -> Result<f64> {
    Ok(read("mean_poisson_deviance", y_true, y_pred, 1.0, &options.into())?.mean(1.0))
}

/// The mean of `2·(ln(p / t) + t / p - 1)`, of positive numbers whose spread grows with them.
///
/// # Shapes
/// Both `[N]` or `[N, 1]`.
///
/// # Errors
/// As [`mean_tweedie_deviance`], for a power of 2.
///
/// ```
/// use kiln_train::scores::mean_gamma_deviance;
/// assert!((mean_gamma_deviance(&[1.0], &[2.0], ())? - (2.0 * 2.0_f64.ln() - 1.0)).abs() < 1e-15);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn mean_gamma_deviance(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<WeightOptions>,
) -> Result<f64> {
    Ok(read("mean_gamma_deviance", y_true, y_pred, 2.0, &options.into())?.mean(2.0))
}

/// The share of the [`mean_tweedie_deviance`] of predicting the targets' mean that is explained: 1 is perfect, 0 is no better.
///
/// # Shapes
/// Both `[N]` or `[N, 1]`.
///
/// # Errors
/// As [`mean_tweedie_deviance`], and fewer than two samples.
///
/// ```
/// use kiln_train::scores::d2_tweedie_score;
/// assert_eq!(d2_tweedie_score(&[1.0, 2.0, 3.0], &[1.0, 2.0, 4.0], 0.0, ())?, 0.5);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn d2_tweedie_score(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    power: f64,
    options: impl Into<WeightOptions>,
) -> Result<f64> {
    let of = "d2_tweedie_score";
    let numbers = read(of, y_true, y_pred, power, &options.into())?;
    if numbers.truth.len() < 2 {
        return refuse(of, "there is one sample", "give two or more: the score compares with their mean");
    }
    let mean = average(numbers.truth.iter().copied(), &numbers.weights);
    let without = Numbers { predicted: vec![mean; numbers.truth.len()], ..numbers.clone() };
    Ok(1.0 - numbers.mean(power) / without.mean(power))
}

#[derive(Clone)]
struct Numbers {
    truth: Vec<f64>,
    predicted: Vec<f64>,
    weights: Vec<f64>,
}

fn read(
    of: &str,
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    power: f64,
    options: &WeightOptions,
) -> Result<Numbers> {
    let (truth, predicted) = pair(of, y_true, y_pred)?;
    let weights = weights(of, options.sample_weight.as_deref(), truth.rows)?;
    if power.is_nan() || (power > 0.0 && power < 1.0) {
        return refuse(
            of,
            format_args!("the power is {power}"),
            "there is no such distribution: take 0 or less, or 1 or more",
        );
    }
    let refused = |rows: &Rows, name: &str, is_refused: fn(f64) -> bool, wanted: &str| match rows
        .values
        .iter()
        .position(|&value| is_refused(value))
    {
        None => Ok(()),
        Some(row) => {
            let what =
                format!("{name} is {} in row {row}, and for a power of {power} it is {wanted}", rows.values[row]);
            refuse(of, what, "end the model in `exponential` or `softplus`, or take a power of 0 for any number")
        }
    };
    if power != 0.0 {
        refused(&predicted, "y_pred", |p| p <= 0.0, "above 0")?;
    }
    if power >= 2.0 {
        refused(&truth, "y_true", |t| t <= 0.0, "above 0")?;
    } else if power >= 1.0 {
        refused(&truth, "y_true", |t| t < 0.0, "0 or more")?;
    }
    Ok(Numbers { truth: truth.column(of)?, predicted: predicted.column(of)?, weights })
}

impl Numbers {
    fn mean(&self, power: f64) -> f64 {
        let deviations = self.truth.iter().zip(&self.predicted).map(|(&t, &p)| deviance(t, p, power));
        average(deviations, &self.weights)
    }
}

fn deviance(t: f64, p: f64, power: f64) -> f64 {
    if power == 0.0 {
        return (t - p).powi(2);
    }
    if power == 1.0 {
        let surprise = if t == 0.0 { 0.0 } else { t * (t / p).ln() };
        return 2.0 * (surprise - t + p);
    }
    if power == 2.0 {
        return 2.0 * ((p / t).ln() + t / p - 1.0);
    }
    let (one, two) = (1.0 - power, 2.0 - power);
    let base = if power < 0.0 { t.max(0.0) } else { t };
    2.0 * (base.powf(two) / (one * two) - t * p.powf(one) / one + p.powf(two) / two)
}
