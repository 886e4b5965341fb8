//! scikit-learn's scores, by its names and with its numbers: of whole arrays at once, in double precision. Scores that are
//! streamed over batches while a model is trained are [`kiln_nn::metrics`].
//!
//! ```
//! use kiln_nn::Tensor;
//! use kiln_train::scores::{Averaging, ClassOptions, Each, f1_score, roc_auc_score};
//! let (y_true, y_pred) = (Tensor::new([0, 1, 2, 2]), Tensor::new([0, 2, 2, 2]));
//! assert_eq!(f1_score(&y_true, &y_pred, Each)?, [1.0, 0.0, 0.8]);
//! assert_eq!(f1_score(&y_true, &y_pred, Averaging::Macro)?, 0.6);
//! let weighted = ClassOptions::new().average(Averaging::Micro).sample_weight(&[1.0, 1.0, 0.0, 0.0]);
//! assert_eq!(f1_score(&y_true, &y_pred, weighted)?, 0.5);
//! assert_eq!(roc_auc_score(&[0, 0, 1, 1], &[0.1, 0.4, 0.35, 0.8], ())?, 0.75);
//! # Ok::<(), kiln_train::Error>(())
//! ```
//!
//! Targets and predictions are [`Values`]: tensors, arrays, vectors. The last argument holds scikit-learn's keyword arguments: `()` for its
//! defaults, an average alone, or a struct of options. An [`Averaging`] gives a number, [`Each`] a list with the score of each
//! class or output. Labels may be any whole numbers; several labels a sample are columns of 0 and 1. Where scikit-learn warns and
//! returns NaN, there is an error that says why.
//!
//! | of | scores |
//! |---|---|
//! | labels | [`accuracy_score`] [`balanced_accuracy_score`] [`zero_one_loss`] [`hamming_loss`] [`confusion_matrix`] [`cohen_kappa_score`] [`matthews_corrcoef`] |
//! | decisions | [`precision_score`] [`recall_score`] [`f1_score`] [`fbeta_score`] [`jaccard_score`] [`precision_recall_fscore_support`] [`classification_report`] |
//! | scores | [`roc_auc_score`] [`average_precision_score`] [`roc_curve`] [`precision_recall_curve`] [`det_curve`] [`auc`] [`top_k_accuracy_score`] [`hinge_loss`] |
//! | probabilities | [`log_loss`] [`d2_log_loss_score`] [`brier_score_loss`] [`d2_brier_score`] |
//! | numbers | [`mean_squared_error`] [`root_mean_squared_error`] [`mean_absolute_error`] [`mean_absolute_percentage_error`] [`mean_squared_log_error`] [`root_mean_squared_log_error`] [`median_absolute_error`] [`max_error`] [`mean_pinball_loss`] [`r2_score`] [`explained_variance_score`] [`d2_pinball_score`] [`d2_absolute_error_score`] |
//! | numbers of a distribution | [`mean_tweedie_deviance`] [`mean_poisson_deviance`] [`mean_gamma_deviance`] [`d2_tweedie_score`] |

mod areas;
mod curves;
mod decisions;
mod deviance;
mod input;
mod labels;
mod options;
mod probabilities;
mod regression;
#[cfg(test)]
mod tests;

pub use areas::{average_precision_score, roc_auc_score};
pub use curves::{DetCurve, PrecisionRecallCurve, RocCurve, auc, det_curve, precision_recall_curve, roc_curve};
pub use decisions::{
    FscoreSupport, classification_report, f1_score, fbeta_score, jaccard_score, precision_recall_fscore_support,
    precision_score, recall_score,
};
pub(crate) use decisions::{Measure, Tally};
pub use deviance::{d2_tweedie_score, mean_gamma_deviance, mean_poisson_deviance, mean_tweedie_deviance};
pub use input::{Item, Values};
pub use labels::{
    accuracy_score, balanced_accuracy_score, cohen_kappa_score, confusion_matrix, hamming_loss, matthews_corrcoef,
    zero_one_loss,
};
pub use options::*;
pub use probabilities::{
    brier_score_loss, d2_brier_score, d2_log_loss_score, hinge_loss, log_loss, top_k_accuracy_score,
};
pub use regression::{
    d2_absolute_error_score, d2_pinball_score, explained_variance_score, max_error, mean_absolute_error,
    mean_absolute_percentage_error, mean_pinball_loss, mean_squared_error, mean_squared_log_error,
    median_absolute_error, r2_score, root_mean_squared_error, root_mean_squared_log_error,
};
