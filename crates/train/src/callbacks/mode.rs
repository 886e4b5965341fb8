//! Which direction of a logged value is better, and how it is found from a name. Holds no state.

use crate::error::{Error, Result};
use kiln_nn::metrics::Direction;
use serde::{Deserialize, Serialize};

/// What a user says about a monitored value: lower is better, higher is better, or find out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The direction that the metric declares, else the one its name tells (`loss` down, `accuracy` up).
    #[default]
    Auto,
    /// Lower is better.
    Min,
    /// Higher is better.
    Max,
}

impl Mode {
    /// The direction for `monitor`: this mode, else what the metric `declared`, else what its name tells.
    ///
    /// # Errors
    /// [`Error::Config`] where none of the three knows; the help is to say `Mode::Min` or `Mode::Max`.
    ///
    /// # Examples
    /// ```
    /// use kiln_train::{Direction, Mode};
    /// assert_eq!(Mode::Auto.resolve("val_loss", None)?, Direction::Min);
    /// assert_eq!(Mode::Auto.resolve("val_auc", None)?, Direction::Max);
    /// assert!(Mode::Auto.resolve("false_positives", None).is_err());
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    pub fn resolve(self, monitor: &str, declared: Option<Direction>) -> Result<Direction> {
        match self {
            Self::Min => Ok(Direction::Min),
            Self::Max => Ok(Direction::Max),
            Self::Auto => declared.or_else(|| direction_of(monitor)).ok_or_else(|| {
                Error::config(
                    format!("cannot tell whether a higher or a lower `{monitor}` is better"),
                    "say which with .mode(Mode::Min) or .mode(Mode::Max), if that is its name",
                )
            }),
        }
    }
}

/// The direction that a log name tells (with `val_`, an output's name in front or a number behind), if any.
fn direction_of(name: &str) -> Option<Direction> {
    const LOWER: [&str; 6] = ["loss", "error", "crossentropy", "divergence", "perplexity", "hinge"];
    const SHORT_LOWER: [&str; 6] = ["mse", "mae", "mape", "msle", "rmse", "kld"];
    const HIGHER: [&str; 12] = [
        "accuracy",
        "precision",
        "recall",
        "auc",
        "f1",
        "f_beta",
        "r2_score",
        "iou",
        "similarity",
        "sensitivity",
        "specificity",
        "correlation",
    ];
    let name = name.to_ascii_lowercase();
    let has_word = |words: &[&str]| name.split('_').any(|word| words.contains(&word));
    if LOWER.iter().any(|part| name.contains(part)) || has_word(&SHORT_LOWER) {
        Some(Direction::Min)
    } else if HIGHER.iter().any(|part| name.contains(part)) || has_word(&["acc"]) {
        Some(Direction::Max)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_directions() {
        for name in ["loss", "val_loss", "head_a_loss", "mean_squared_error", "val_mae", "rmse_1"] {
            assert_eq!(direction_of(name), Some(Direction::Min), "{name}");
        }
        for name in ["accuracy", "val_binary_accuracy", "auc_1", "acc", "head_f1_score"] {
            assert_eq!(direction_of(name), Some(Direction::Max), "{name}");
        }
        for name in ["true_positives", "mean", "learning_rate", "raccoon"] {
            assert_eq!(direction_of(name), None, "{name}");
        }
    }

    #[test]
    fn what_was_declared_beats_the_name() {
        let declared = Some(Direction::Max);
        assert_eq!(Mode::Auto.resolve("my_loss", declared).unwrap(), Direction::Max);
        assert_eq!(Mode::Min.resolve("my_loss", declared).unwrap(), Direction::Min);
    }
}
