//! Reading a history: does it show overfitting, from which epoch, and how would one say it. Draws nothing.

use super::{History, Series, from_1};
use crate::callbacks::Mode;
use crate::text::log_value;
use std::fmt;

/// A rise of the validation loss of less than this share of its best value is taken for noise.
const NOISE: f64 = 0.02;
/// A validation loss this many times the training loss is worth a word although both still fall.
const WIDE_GAP: f64 = 2.0;
/// With fewer epochs than this, nothing can be said.
const FEWEST_EPOCHS: usize = 3;

/// What a history says about how well the model fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FitVerdict {
    /// No validation loss, or fewer than three epochs with one.
    Unknown,
    /// The validation loss is at, or within noise of, its best.
    Healthy,
    /// As healthy, but the validation loss is more than twice the training loss.
    WideGap,
    /// The validation loss has risen while the training loss still fell.
    Overfitting,
    /// Both losses have risen, or stopped being finite: the training itself goes wrong.
    Diverging,
}

/// The signs of overfitting in a history: numbers, a verdict and (as `Display`) a sentence.
///
/// Losses are those of `loss` and `val_loss`; "now" is the mean of the last (at most three) epochs after the best
/// one, so that a single odd epoch does not decide; but a last value that is not finite is what it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Overfitting {
    /// The judgement.
    pub verdict: FitVerdict,
    /// The epoch (from 0) of the lowest validation loss.
    pub best_epoch: Option<usize>,
    /// The lowest validation loss.
    pub best_val_loss: f64,
    /// The validation loss now.
    pub val_loss: f64,
    /// The training loss in the best epoch.
    pub loss_at_best: f64,
    /// The training loss now.
    pub loss: f64,
}

impl Overfitting {
    /// Whether there are signs of overfitting.
    pub fn is_overfitting(&self) -> bool {
        self.verdict == FitVerdict::Overfitting
    }
}

impl History {
    /// Looks for signs of overfitting in `loss` and `val_loss`.
    ///
    /// # Examples
    /// ```
    /// use kiln_train::{History, Logs};
    /// let mut history = History::new();
    /// for (epoch, (loss, val_loss)) in
    ///     [(1.0, 1.1), (0.6, 0.8), (0.4, 0.9), (0.2, 1.0)].into_iter().enumerate()
    /// {
    ///     history.push(epoch, &Logs::from([("loss", loss), ("val_loss", val_loss)]), 0.1);
    /// }
    /// let report = history.overfitting();
    /// assert!(report.is_overfitting());
    /// assert!(report.to_string().starts_with("validation loss has risen since epoch 2"));
    /// ```
    pub fn overfitting(&self) -> Overfitting {
        let unknown = Overfitting {
            verdict: FitVerdict::Unknown,
            best_epoch: None,
            best_val_loss: f64::NAN,
            val_loss: f64::NAN,
            loss_at_best: f64::NAN,
            loss: f64::NAN,
        };
        let (Some(losses), Some(val_losses)) = (self.series("loss"), self.series("val_loss")) else {
            return unknown;
        };
        let lost = |series: &Series| series.iter().rev().flatten().next().filter(|value| !value.is_finite());
        let (loss, val_loss) = (losses.values(), val_losses.values());
        let Some(best) = self.best_row("val_loss", Mode::Min) else {
            // Every validation loss is NaN.
            return Overfitting { verdict: FitVerdict::Diverging, ..unknown };
        };
        let (lost_loss, lost_val_loss) = (lost(losses), lost(val_losses));
        let logged: Vec<usize> = (0..self.len()).filter(|&row| val_losses.at(row).is_some()).collect();
        let after: Vec<usize> = logged.iter().copied().filter(|&row| row > best).collect();
        // With nothing after the best epoch, "now" is the best epoch itself.
        let recent = if after.is_empty() { vec![best] } else { tail(&after, 3).to_vec() };
        let mut report = Overfitting {
            verdict: FitVerdict::Unknown,
            best_epoch: Some(self.epochs()[best]),
            best_val_loss: val_loss[best],
            val_loss: lost_val_loss.unwrap_or_else(|| mean(val_loss, &recent)),
            loss_at_best: loss[best],
            loss: lost_loss.unwrap_or_else(|| mean(loss, &recent)),
        };
        if lost_loss.is_some() || !report.val_loss.is_finite() {
            report.verdict = FitVerdict::Diverging;
        } else if logged.len() >= FEWEST_EPOCHS {
            report.verdict = judge(&report, after.len());
        }
        report
    }
}

/// The verdict on finite losses, `epochs_since` the best one.
fn judge(report: &Overfitting, epochs_since: usize) -> FitVerdict {
    let noise = NOISE * report.best_val_loss.abs();
    if epochs_since >= 2 && report.val_loss > report.best_val_loss + noise {
        if report.loss < report.loss_at_best {
            return FitVerdict::Overfitting;
        }
        return FitVerdict::Diverging;
    }
    if report.loss > 0.0 && report.val_loss > WIDE_GAP * report.loss {
        FitVerdict::WideGap
    } else {
        FitVerdict::Healthy
    }
}

fn tail(rows: &[usize], count: usize) -> &[usize] {
    &rows[rows.len().saturating_sub(count)..]
}

fn mean(values: &[f64], rows: &[usize]) -> f64 {
    rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64
}

/// One plain sentence, with the numbers and what to try.
impl fmt::Display for Overfitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best_epoch = self.best_epoch.map_or(0, from_1);
        let best = log_value(self.best_val_loss);
        let now = log_value(self.val_loss);
        let train_then = log_value(self.loss_at_best);
        let train = log_value(self.loss);
        match self.verdict {
            FitVerdict::Unknown => write!(
                f,
                "nothing can be said about overfitting: it takes at least {FEWEST_EPOCHS} epochs with a validation loss"
            ),
            FitVerdict::Healthy => write!(
                f,
                "no sign of overfitting: validation loss is {now} (best {best}, epoch {best_epoch}), training loss {train}"
            ),
            FitVerdict::WideGap => write!(
                f,
                "validation loss ({now}) does not rise, but is {:.1} times the training loss ({train}): more data, \
                 dropout or weight decay may close the gap",
                self.val_loss / self.loss
            ),
            FitVerdict::Overfitting => write!(
                f,
                "validation loss has risen since epoch {best_epoch} while training loss still falls: {best} to {now}, \
                 against {train_then} to {train}; stop there (EarlyStopping), or try dropout, weight decay or more data"
            ),
            FitVerdict::Diverging if !(self.loss.is_finite() && self.val_loss.is_finite()) => {
                write!(
                    f,
                    "the training diverges: a loss is no longer finite; a lower learning rate or gradient clipping may help"
                )
            }
            FitVerdict::Diverging => write!(
                f,
                "the training diverges: since epoch {best_epoch} validation loss went from {best} to {now} and \
                 training loss from {train_then} to {train}; a lower learning rate or gradient clipping may help"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Logs;

    fn report(losses: &[(f64, f64)]) -> Overfitting {
        let mut history = History::new();
        for (epoch, &(loss, val_loss)) in losses.iter().enumerate() {
            history.push(epoch, &Logs::from([("loss", loss), ("val_loss", val_loss)]), 0.1);
        }
        history.overfitting()
    }

    #[test]
    fn a_rising_validation_loss_is_told_with_its_epoch() {
        let report = report(&[(1.0, 1.0), (0.5, 0.75), (0.25, 0.875), (0.125, 1.0)]);
        assert_eq!(report.verdict, FitVerdict::Overfitting);
        assert_eq!(report.best_epoch, Some(1));
        assert_eq!(
            report.to_string(),
            "validation loss has risen since epoch 2 while training loss still falls: 0.7500 to 0.9375, against \
             0.5000 to 0.1875; stop there (EarlyStopping), or try dropout, weight decay or more data"
        );
    }

    #[test]
    fn one_odd_epoch_and_noise_are_no_sign() {
        assert_eq!(report(&[(1.0, 1.0), (0.5, 0.6), (0.4, 0.7)]).verdict, FitVerdict::Healthy);
        let noisy = report(&[(1.0, 1.0), (0.5, 0.6), (0.45, 0.603), (0.4, 0.605)]);
        assert_eq!(noisy.verdict, FitVerdict::Healthy);
    }

    #[test]
    fn other_verdicts() {
        assert_eq!(report(&[]).verdict, FitVerdict::Unknown);
        assert_eq!(report(&[(1.0, 1.0), (0.5, 0.5)]).verdict, FitVerdict::Unknown);
        assert_eq!(report(&[(1.0, 1.0), (0.5, 0.9), (0.1, 0.8)]).verdict, FitVerdict::WideGap);
        let rising = report(&[(1.0, 1.0), (0.5, 0.6), (0.9, 1.2), (2.0, 3.0)]);
        assert_eq!(rising.verdict, FitVerdict::Diverging);
        let lost = report(&[(1.0, 1.0), (0.5, 0.6), (f64::NAN, f64::INFINITY)]);
        assert!(lost.to_string().contains("no longer finite"), "{lost}");
        assert_eq!(lost.verdict, FitVerdict::Diverging);
        let never = report(&[(f64::NAN, f64::NAN)]);
        assert!(never.to_string().contains("no longer finite"), "{never}");
        assert_eq!((never.verdict, never.best_epoch), (FitVerdict::Diverging, None));
        let now = report(&[(1.0, 1.0), (0.5, 0.6), (0.4, f64::NAN)]);
        assert_eq!((now.verdict, now.best_epoch), (FitVerdict::Diverging, Some(1)));
        assert!(report(&[]).to_string().starts_with("nothing can be said"));
    }

    #[test]
    fn a_negative_loss_is_not_a_gap() {
        let report = report(&[(-1.0, -0.9), (-2.0, -1.9), (-3.0, -2.9)]);
        assert_eq!(report.verdict, FitVerdict::Healthy);
    }
}
