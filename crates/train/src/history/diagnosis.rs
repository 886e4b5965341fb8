//! Reading a history: does the model fit too well, too little, not yet, or does the training go wrong; and how would one say it,
//! with the numbers that the table of the history has. Draws nothing.

use super::{History, Series, StopReason, from_1};
use crate::callbacks::Mode;
use crate::text::log_value;
use std::fmt;

/// A rise of the validation loss of less than this share of its best value is taken for noise.
const NOISE: f64 = 0.02;
/// So many of the last epochs after the best one must all lie above it by more than noise, so that a single odd epoch does not decide.
const RISEN_EPOCHS: usize = 2;
/// A validation loss this many times the training loss is worth a word although it does not rise.
const WIDE_GAP: f64 = 2.0;
/// Over the last third of the epochs a loss that falls by more than this share of its value is still on its way.
const STILL_FALLING: f64 = 0.05;
/// Of the training loss of the first epoch, a model that has stopped falling and keeps more than this share has learned little.
const LITTLE_LEARNED: f64 = 0.8;
/// A training loss this many times its lowest value, in the last two epochs, has gone astray.
const GONE_ASTRAY: f64 = 1.5;
/// With fewer epochs than this, nothing can be said.
const FEWEST_EPOCHS: usize = 3;

/// What a history says about how well the model fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FitVerdict {
    /// Fewer than three epochs, or no loss.
    Unknown,
    /// The losses have stopped falling, and the validation loss is at its best, or within 2 % of it.
    Good,
    /// The validation loss does not rise, but is more than twice the training loss.
    WideGap,
    /// The validation loss has risen by more than 2 % of its best value, in the last two epochs or more, while the training loss fell.
    Overfitting,
    /// The training loss has stopped falling, above 80 % of what it was in the first epoch.
    Underfitting,
    /// The loss that judges the model fell by more than 5 % over the last third of the epochs, to its lowest value.
    NotConverged,
    /// The training loss is more than half above its lowest value, or a loss is no longer finite, or both losses have risen: the
    /// training itself goes wrong.
    Diverged,
}

/// A loss in an epoch, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossAt {
    /// The epoch.
    pub epoch: usize,
    /// What was logged in it.
    pub value: f64,
}

impl fmt::Display for LossAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (epoch {})", log_value(self.value), from_1(self.epoch))
    }
}

/// What a history says about how well the model fits: a verdict, the numbers that it rests on, and (as `Display`) a sentence that has
/// them. Every number is one that was logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// The judgement.
    pub verdict: FitVerdict,
    /// The training loss of the first epoch that has one.
    pub first_loss: Option<LossAt>,
    /// The training loss in the best epoch.
    pub loss_at_best: Option<LossAt>,
    /// The last training loss.
    pub loss: Option<LossAt>,
    /// The lowest validation loss.
    pub best_val_loss: Option<LossAt>,
    /// The last validation loss.
    pub val_loss: Option<LossAt>,
    /// The loss that judges the model, where the last third of the epochs begins: the validation loss, if there is one.
    pub earlier: Option<LossAt>,
    /// Whether [`EarlyStopping`](crate::callbacks::EarlyStopping) ended the run.
    pub stopped_early: bool,
}

impl Diagnosis {
    /// Whether the validation loss has risen while the training loss fell.
    pub fn is_overfitting(&self) -> bool {
        self.verdict == FitVerdict::Overfitting
    }

    /// The loss that judges the model: the last validation loss, or the last training loss.
    fn judged(&self) -> Option<LossAt> {
        self.val_loss.or(self.loss)
    }
}

impl History {
    /// What `loss` and `val_loss` say about how well the model fits: overfitting, underfitting, not converged yet, diverged, or a good
    /// fit. Thresholds are with the [verdicts](FitVerdict).
    ///
    /// # Examples
    /// ```
    /// use kiln_train::{FitVerdict, History, Logs};
    /// let mut history = History::new();
    /// for (epoch, (loss, val_loss)) in
    ///     [(1.0, 1.1), (0.6, 0.8), (0.4, 0.9), (0.2, 1.0)].into_iter().enumerate()
    /// {
    ///     history.push(epoch, &Logs::from([("loss", loss), ("val_loss", val_loss)]), 0.1);
    /// }
    /// let diagnosis = history.diagnosis();
    /// assert_eq!(diagnosis.verdict, FitVerdict::Overfitting);
    /// assert!(diagnosis.to_string().starts_with(
    ///     "overfitting: the validation loss was lowest at 0.8000 (epoch 2) and is 1.0000 (epoch 4), 25.0 % above"
    /// ));
    /// ```
    pub fn diagnosis(&self) -> Diagnosis {
        let at = |series: &Series, row: usize| series.at(row).map(|value| LossAt { epoch: self.epochs()[row], value });
        let logged = |name: &str| -> Vec<LossAt> {
            let series = self.series(name);
            series.map_or(Vec::new(), |series| (0..self.len()).filter_map(|row| at(series, row)).collect())
        };
        let (losses, val_losses) = (logged("loss"), logged("val_loss"));
        let best_row = self.best_row("val_loss", Mode::Min);
        let judged = if val_losses.is_empty() { &losses } else { &val_losses };
        let mut diagnosis = Diagnosis {
            verdict: FitVerdict::Unknown,
            first_loss: losses.first().copied(),
            loss_at_best: best_row.and_then(|row| at(self.series("loss")?, row)),
            loss: losses.last().copied(),
            best_val_loss: best_row.and_then(|row| at(self.series("val_loss")?, row)),
            val_loss: val_losses.last().copied(),
            earlier: judged.len().checked_sub(1 + judged.len().div_ceil(3)).map(|row| judged[row]),
            stopped_early: matches!(self.stopped, Some(StopReason::EarlyStopping { .. })),
        };
        diagnosis.verdict = judge(&diagnosis, &losses, &val_losses);
        diagnosis
    }
}

fn judge(diagnosis: &Diagnosis, losses: &[LossAt], val_losses: &[LossAt]) -> FitVerdict {
    let is_lost = |loss: Option<LossAt>| loss.is_some_and(|loss| !loss.value.is_finite());
    if is_lost(diagnosis.loss) || is_lost(diagnosis.val_loss) {
        return FitVerdict::Diverged;
    }
    let Some(now) = diagnosis.judged().filter(|_| losses.len().max(val_losses.len()) >= FEWEST_EPOCHS) else {
        return FitVerdict::Unknown;
    };
    let lowest = |losses: &[LossAt]| losses.iter().map(|loss| loss.value).fold(f64::INFINITY, f64::min);
    let last_two = losses.len().saturating_sub(2);
    if losses.len() >= FEWEST_EPOCHS
        && lowest(losses) > 0.0
        && losses[last_two..].iter().all(|loss| loss.value > GONE_ASTRAY * lowest(losses))
    {
        return FitVerdict::Diverged;
    }
    if let Some(best) = diagnosis.best_val_loss {
        let after: Vec<&LossAt> = val_losses.iter().filter(|loss| loss.epoch > best.epoch).collect();
        let recent = &after[after.len().saturating_sub(RISEN_EPOCHS)..];
        let has_risen = recent.iter().all(|loss| loss.value > best.value + NOISE * best.value.abs());
        if recent.len() == RISEN_EPOCHS && has_risen {
            let falls = diagnosis.loss.zip(diagnosis.loss_at_best).is_none_or(|(now, then)| now.value < then.value);
            return if falls { FitVerdict::Overfitting } else { FitVerdict::Diverged };
        }
    }
    let is_falling = |earlier: f64, now: f64| earlier - now > STILL_FALLING * earlier.abs();
    let judged = if val_losses.is_empty() { losses } else { val_losses };
    if diagnosis.earlier.is_some_and(|earlier| is_falling(earlier.value, now.value)) && now.value <= lowest(judged) {
        return FitVerdict::NotConverged;
    }
    if let Some((first, last)) = diagnosis.first_loss.zip(diagnosis.loss)
        && losses.len() >= FEWEST_EPOCHS
        && first.value > 0.0
        && last.value > LITTLE_LEARNED * first.value
    {
        return FitVerdict::Underfitting;
    }
    match diagnosis.loss.zip(diagnosis.val_loss) {
        Some((loss, val_loss)) if loss.value > 0.0 && val_loss.value > WIDE_GAP * loss.value => FitVerdict::WideGap,
        _ => FitVerdict::Good,
    }
}

/// A loss as text; a dash where there is none.
fn told(loss: Option<LossAt>) -> String {
    loss.map_or("-".to_owned(), |loss| loss.to_string())
}

/// How far a loss is above another, in per cent.
fn above(now: Option<LossAt>, then: Option<LossAt>) -> f64 {
    now.zip(then).map_or(f64::NAN, |(now, then)| (now.value - then.value) / then.value.abs() * 100.0)
}

/// A sentence or two, with the numbers and what to try.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, loss, best, val_loss) =
            (told(self.first_loss), told(self.loss), told(self.best_val_loss), told(self.val_loss));
        let which = if self.val_loss.is_some() { "validation" } else { "training" };
        let judged = told(self.judged());
        match self.verdict {
            FitVerdict::Unknown => {
                write!(f, "nothing can be said yet: it takes at least {FEWEST_EPOCHS} epochs with a loss")
            }
            FitVerdict::Good if self.val_loss.is_none() => write!(
                f,
                "the training loss has stopped falling at {loss}, from {first}; without validation data nothing is known of new samples"
            ),
            FitVerdict::Good => write!(
                f,
                "good fit: the validation loss is {val_loss}, within {:.0} % of its lowest value {best}, and the training loss {loss}",
                NOISE * 100.0
            ),
            FitVerdict::WideGap => write!(
                f,
                "wide gap: the validation loss {val_loss} is {:.1} times the training loss {loss}; its lowest value was {best}: more data, dropout or \
                 weight decay may close the gap",
                self.val_loss.zip(self.loss).map_or(f64::NAN, |(val_loss, loss)| val_loss.value / loss.value)
            ),
            FitVerdict::Overfitting => write!(
                f,
                "overfitting: the validation loss was lowest at {best} and is {val_loss}, {:.1} % above, while the training loss fell from {} to \
                 {loss}; {}",
                above(self.val_loss, self.best_val_loss),
                told(self.loss_at_best),
                match self.stopped_early {
                    false => "stop there (EarlyStopping), or try dropout, weight decay or more data",
                    true => "early stopping has ended the run for it: dropout, weight decay or more data may lower it further",
                }
            ),
            FitVerdict::Underfitting => write!(
                f,
                "underfitting: the training loss has stopped falling at {loss}, {:.0} % of its {first}; a larger model, another learning rate or \
                 less regularization may learn more",
                100.0 + above(self.loss, self.first_loss)
            ),
            FitVerdict::NotConverged => write!(
                f,
                "not converged: the {which} loss still falls, from {} to {judged}, {:.1} % less; more epochs may lower it further",
                told(self.earlier),
                -above(self.judged(), self.earlier)
            ),
            FitVerdict::Diverged if self.first_loss.is_some_and(|loss| !loss.value.is_finite()) => f.write_str(
                "diverged: the training loss was no number from the first epoch on; the learning rate may be far too high, or NaN or infinite \
                 numbers are in the data: `Fit::check_finite` names the place, and the sample if it is one",
            ),
            FitVerdict::Diverged => {
                write!(f, "diverged: the training loss went from {first} to {loss}")?;
                if self.val_loss.is_some() {
                    write!(f, ", the validation loss from {best} to {val_loss}")?;
                }
                f.write_str("; a lower learning rate or gradient clipping may help, and `Fit::check_finite` names the place of a NaN")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Logs;

    fn diagnosis(losses: &[(f64, f64)]) -> Diagnosis {
        let mut history = History::new();
        for (epoch, &(loss, val_loss)) in losses.iter().enumerate() {
            history.push(epoch, &Logs::from([("loss", loss), ("val_loss", val_loss)]), 0.1);
        }
        history.diagnosis()
    }

    fn trained(losses: &[f64]) -> Diagnosis {
        let mut history = History::new();
        losses.iter().enumerate().for_each(|(epoch, &loss)| history.push(epoch, &Logs::from([("loss", loss)]), 0.1));
        history.diagnosis()
    }

    #[test]
    fn a_rising_validation_loss_is_told_with_numbers_of_the_table() {
        let report = diagnosis(&[(1.0, 1.0), (0.5, 0.75), (0.25, 0.875), (0.125, 1.0)]);
        assert!(report.is_overfitting());
        assert_eq!(report.best_val_loss, Some(LossAt { epoch: 1, value: 0.75 }));
        assert_eq!(
            report.to_string(),
            "overfitting: the validation loss was lowest at 0.7500 (epoch 2) and is 1.0000 (epoch 4), 33.3 % above, while the \
             training loss fell from 0.5000 (epoch 2) to 0.1250 (epoch 4); stop there (EarlyStopping), or try dropout, weight \
             decay or more data"
        );
    }

    #[test]
    fn who_stopped_early_is_not_told_to() {
        let mut history = History::new();
        for (epoch, (loss, val_loss)) in [(1.0, 1.0), (0.5, 0.75), (0.25, 0.875), (0.125, 1.0)].into_iter().enumerate()
        {
            history.push(epoch, &Logs::from([("loss", loss), ("val_loss", val_loss)]), 0.1);
        }
        history.stopped = Some(StopReason::EarlyStopping { monitor: "val_loss".into(), epoch: 3, best_epoch: Some(1) });
        let report = history.diagnosis();
        assert!(report.is_overfitting() && report.stopped_early);
        let text = report.to_string();
        assert!(
            text.ends_with(
                "early stopping has ended the run for it: dropout, weight decay or more data may lower it further"
            ),
            "{text}"
        );
    }

    #[test]
    fn one_odd_epoch_and_noise_are_no_sign() {
        assert_ne!(diagnosis(&[(1.0, 1.0), (0.5, 0.6), (0.4, 0.7)]).verdict, FitVerdict::Overfitting);
        assert_ne!(diagnosis(&[(1.0, 1.0), (0.5, 0.6), (0.4, 0.7), (0.3, 0.605)]).verdict, FitVerdict::Overfitting);
        let noisy = diagnosis(&[(1.0, 1.0), (0.5, 0.6), (0.45, 0.603), (0.44, 0.605), (0.44, 0.604)]);
        assert_eq!(noisy.verdict, FitVerdict::Good);
        assert!(
            noisy.to_string().starts_with("good fit: the validation loss is 0.6040 (epoch 5), within 2 %"),
            "{noisy}"
        );
    }

    #[test]
    fn a_wide_gap_does_not_claim_that_nothing_rises() {
        let rows = [(0.5, 0.4), (0.3, 0.2742), (0.1, 0.275), (0.09, 0.2787)];
        let gap = diagnosis(&rows);
        assert_eq!(gap.verdict, FitVerdict::WideGap);
        let text = gap.to_string();
        assert!(
            text.contains("0.2787 (epoch 4) is 3.1 times") && text.contains("lowest value was 0.2742 (epoch 2)"),
            "{text}"
        );
    }

    #[test]
    fn what_learns_little_and_what_still_learns() {
        let little = diagnosis(&[(2.3, 2.31), (2.2, 2.21), (2.19, 2.2), (2.19, 2.2), (2.19, 2.2), (2.19, 2.2)]);
        assert_eq!(little.verdict, FitVerdict::Underfitting);
        assert!(little.to_string().contains("2.1900 (epoch 6), 95 % of its 2.3000 (epoch 1)"), "{little}");
        let falling = diagnosis(&[(1.0, 1.0), (0.8, 0.8), (0.6, 0.6), (0.4, 0.4)]);
        assert_eq!(falling.verdict, FitVerdict::NotConverged);
        let text = falling.to_string();
        assert!(
            text.contains("the validation loss still falls, from 0.8000 (epoch 2) to 0.4000 (epoch 4), 50.0 % less"),
            "{text}"
        );
        assert_eq!(trained(&[1.0, 0.8, 0.6]).verdict, FitVerdict::NotConverged);
        let flat = trained(&[1.0, 0.4, 0.4, 0.4]);
        assert_eq!(flat.verdict, FitVerdict::Good);
        assert!(flat.to_string().contains("without validation data"), "{flat}");
    }

    #[test]
    fn what_goes_wrong() {
        assert_eq!(diagnosis(&[]).verdict, FitVerdict::Unknown);
        assert_eq!(diagnosis(&[(1.0, 1.0), (0.5, 0.5)]).verdict, FitVerdict::Unknown);
        let rising = diagnosis(&[(1.0, 1.0), (0.5, 0.6), (0.9, 1.2), (2.0, 3.0)]);
        assert_eq!(rising.verdict, FitVerdict::Diverged);
        assert!(rising.to_string().contains("from 1.0000 (epoch 1) to 2.0000 (epoch 4)"), "{rising}");
        assert_eq!(trained(&[1.0, 0.5, 0.9, 2.0]).verdict, FitVerdict::Diverged);
        for lost in [
            diagnosis(&[(1.0, 1.0), (0.5, 0.6), (f64::NAN, f64::INFINITY)]),
            diagnosis(&[(f64::NAN, f64::NAN)]),
            diagnosis(&[(1.0, 1.0), (0.5, 0.6), (0.4, f64::NAN)]),
        ] {
            assert_eq!(lost.verdict, FitVerdict::Diverged);
            assert!(lost.to_string().contains("check_finite"), "{lost}");
        }
        assert!(diagnosis(&[]).to_string().starts_with("nothing can be said"));
    }

    #[test]
    fn a_negative_loss_has_no_gap() {
        let steady = [(-1.0, -0.9), (-3.0, -2.9), (-3.0, -2.9), (-3.0, -2.9), (-3.0, -2.9)];
        assert_eq!(diagnosis(&steady).verdict, FitVerdict::Good);
    }
}
