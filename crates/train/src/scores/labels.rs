//! Scores of labels: how many are right, what is taken for what, agreement beyond chance.

use super::decisions::{Targets, places};
use super::input::{Values, average, listed, refuse, total, weights};
use super::options::{AccuracyOptions, BalancedOptions, KappaOptions, LabelOptions, WeightOptions};
use crate::error::Result;
use crate::report::ConfusionMatrix;

/// The share of samples whose label is right, or all whose labels are.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`, or for several labels a sample columns of 0 and 1, `[N, K]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, labels that are no whole numbers, and bad weights.
///
/// ```
/// use kiln_train::scores::{AccuracyOptions, accuracy_score};
/// assert_eq!(accuracy_score(&[0, 1, 2, 2], &[0, 1, 2, 1], ())?, 0.75);
/// let weighted = AccuracyOptions::new().sample_weight(&[1.0, 1.0, 1.0, 5.0]);
/// assert_eq!(accuracy_score(&[0, 1, 2, 2], &[0, 1, 2, 1], weighted)?, 0.375);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn accuracy_score(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<AccuracyOptions>,
) -> Result<f64> {
    shared("accuracy_score", y_true, y_pred, &options.into(), true)
}

/// The share of samples whose label is wrong, or any whose labels are.
///
/// # Shapes
/// As [`accuracy_score`].
///
/// # Errors
/// As [`accuracy_score`].
///
/// ```
/// use kiln_train::scores::{AccuracyOptions, zero_one_loss};
/// assert_eq!(zero_one_loss(&[0, 1, 2, 2], &[0, 1, 2, 1], ())?, 0.25);
/// assert_eq!(zero_one_loss(&[0, 1, 2, 2], &[0, 1, 2, 1], AccuracyOptions::new().normalize(false))?, 1.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn zero_one_loss(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<AccuracyOptions>,
) -> Result<f64> {
    shared("zero_one_loss", y_true, y_pred, &options.into(), false)
}

/// The share, or the weight, of samples that are right or that are wrong.
fn shared(
    of: &str,
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: &AccuracyOptions,
    right: bool,
) -> Result<f64> {
    let targets = Targets::read(of, y_true, y_pred)?;
    let weights = weights(of, options.sample_weight.as_deref(), targets.rows())?;
    let hits = targets.exact().into_iter().map(|is_right| f64::from(is_right == right));
    Ok(if options.normalize { average(hits, &weights) } else { total(hits, &weights) })
}

/// The share of single labels that are wrong. Of one label a sample it is the [`zero_one_loss`].
///
/// # Shapes
/// As [`accuracy_score`].
///
/// # Errors
/// As [`accuracy_score`].
///
/// ```
/// use kiln_train::scores::hamming_loss;
/// assert_eq!(hamming_loss(&[[1, 0], [1, 1]], &[[1, 0], [0, 1]], ())?, 0.25);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn hamming_loss(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<WeightOptions>,
) -> Result<f64> {
    let of = "hamming_loss";
    let targets = Targets::read(of, y_true, y_pred)?;
    let weights = weights(of, options.into().sample_weight.as_deref(), targets.rows())?;
    let wrong: Vec<f64> = match &targets {
        Targets::Classes { .. } => targets.exact().into_iter().map(|is_right| f64::from(!is_right)).collect(),
        Targets::Indicators { truth, predicted } => {
            let wrong = |row| truth.row(row).iter().zip(predicted.row(row)).filter(|(t, p)| t != p).count();
            (0..truth.rows).map(|row| wrong(row) as f64 / truth.columns as f64).collect()
        }
    };
    Ok(average(wrong, &weights))
}

/// The mean of the classes' recalls, over the classes that occur in `y_true`: the accuracy if all were equally frequent.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`.
///
/// # Errors
/// As [`confusion_matrix`].
///
/// ```
/// use kiln_train::scores::{BalancedOptions, balanced_accuracy_score};
/// // Of three 0 all are found, of one 1 none.
/// assert_eq!(balanced_accuracy_score(&[0, 0, 0, 1], &[0, 0, 0, 0], ())?, 0.5);
/// assert_eq!(balanced_accuracy_score(&[0, 0, 0, 1], &[0, 0, 0, 0], BalancedOptions::new().adjusted(true))?, 0.0);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn balanced_accuracy_score(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<BalancedOptions>,
) -> Result<f64> {
    let options = options.into();
    let matrix = matrix("balanced_accuracy_score", y_true, y_pred, None, options.sample_weight.as_deref())?;
    let chance = 1.0 / matrix.recalls().len() as f64;
    let score = matrix.balanced_accuracy();
    Ok(if options.adjusted { (score - chance) / (1.0 - chance) } else { score })
}

/// How often, or with what weight, each class (row) was taken for each (column); the classes are named by their labels.
/// [`ConfusionMatrix::normalized_by`] is scikit-learn's `normalize`.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for lengths that differ, labels that are no whole numbers, bad weights, and labels of
/// which none occurs in `y_true`.
///
/// ```
/// use kiln_train::scores::{LabelOptions, confusion_matrix};
/// let matrix = confusion_matrix(&[2, 0, 2, 2], &[2, 0, 0, 2], ())?;
/// assert_eq!(matrix.names(), ["0", "2"]);
/// assert_eq!(matrix.counts(), [1.0, 0.0, 1.0, 2.0]);
/// let options = LabelOptions::new().labels(&[0, 1, 2]).sample_weight(&[0.5, 1.0, 1.0, 1.0]);
/// assert_eq!(confusion_matrix(&[2, 0, 2, 2], &[2, 0, 0, 2], options)?.count(2, 2), Some(1.5));
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn confusion_matrix(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<LabelOptions>,
) -> Result<ConfusionMatrix> {
    let options = options.into();
    matrix("confusion_matrix", y_true, y_pred, options.labels.as_deref(), options.sample_weight.as_deref())
}

fn matrix(
    of: &str,
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    labels: Option<&[f64]>,
    sample_weight: Option<&[f64]>,
) -> Result<ConfusionMatrix> {
    let targets = Targets::read(of, y_true, y_pred)?;
    let weights = weights(of, sample_weight, targets.rows())?;
    let labels = targets.labels(of, labels)?;
    let Targets::Classes { truth, predicted, .. } = &targets else {
        return refuse(
            of,
            "several labels a sample have no classes that one is taken for another",
            "give one class for each sample, one-hot rows as their `argmax(-1)`",
        );
    };
    if !truth.iter().any(|label| labels.contains(label)) {
        let help = "give labels that occur, or leave them out";
        return refuse(of, format_args!("none of the labels {} occurs in y_true", listed(&labels)), help);
    }
    let mut matrix = ConfusionMatrix::empty(labels.len(), labels.iter().map(f64::to_string))?;
    let place = places(&labels);
    for ((&truth, &predicted), &weight) in truth.iter().zip(predicted).zip(&weights) {
        if let Some((truth, predicted)) = place(truth).zip(place(predicted)) {
            matrix.add(truth, predicted, weight);
        }
    }
    Ok(matrix)
}

/// Agreement of two judges beyond what chance gives, `1 - Σ distance·count / Σ distance·chance` (Cohen 1960, 1968): 1 is perfect,
/// 0 is chance.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`.
///
/// # Errors
/// As [`confusion_matrix`].
///
/// ```
/// use kiln_train::scores::{KappaOptions, KappaWeights, cohen_kappa_score};
/// // Right are 3 of 4, by chance it would be 2 of 4.
/// assert_eq!(cohen_kappa_score(&[0, 0, 1, 1], &[0, 1, 1, 1], ())?, 0.5);
/// let quadratic = KappaOptions::new().weights(KappaWeights::Quadratic);
/// // One is off by 1; by chance the squares would sum to 5.
/// assert!((cohen_kappa_score(&[0, 1, 2, 2], &[0, 1, 2, 1], quadratic)? - 0.8).abs() < 1e-15);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn cohen_kappa_score(
    y1: &(impl Values + ?Sized),
    y2: &(impl Values + ?Sized),
    options: impl Into<KappaOptions>,
) -> Result<f64> {
    let options = options.into();
    let matrix = matrix("cohen_kappa_score", y1, y2, options.labels.as_deref(), options.sample_weight.as_deref())?;
    Ok(matrix.weighted_kappa(options.weights, options.replace_undefined_by))
}

/// Matthews' correlation of true and predicted classes, of any number (Gorodkin 2004): 1 is perfect, 0 is chance, and 0 where one side is of one
/// class.
///
/// # Shapes
/// Labels `[N]` or `[N, 1]`.
///
/// # Errors
/// As [`confusion_matrix`].
///
/// ```
/// use kiln_train::scores::matthews_corrcoef;
/// // (TP·TN - FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN)) = (2·1 - 1·0) / √(3·2·2·1)
/// assert!((matthews_corrcoef(&[0, 0, 1, 1], &[0, 1, 1, 1], ())? - 2.0 / 12.0_f64.sqrt()).abs() < 1e-15);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub fn matthews_corrcoef(
    y_true: &(impl Values + ?Sized),
    y_pred: &(impl Values + ?Sized),
    options: impl Into<WeightOptions>,
) -> Result<f64> {
    let weights = options.into().sample_weight;
    Ok(matrix("matthews_corrcoef", y_true, y_pred, None, weights.as_deref())?.matthews_correlation())
}
