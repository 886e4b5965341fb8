//! Lowers the learning rate when a monitored value stalls. Stops nothing.

use super::{Callback, Control, Direction, Mode, read_state};
use crate::error::{Error, Result};
use crate::history::Logs;
use crate::json;
use serde::{Deserialize, Serialize};

/// Multiplies the learning rate by `factor` when a monitored value has not improved for `patience` epochs.
///
/// Follows `keras.callbacks.ReduceLROnPlateau`, but for [`ReduceLROnPlateau::cooldown`]. A NaN is never an improvement; an epoch
/// in which the value was not logged does not count.
///
/// # Examples
/// ```
/// use kiln_train::callbacks::ReduceLROnPlateau;
/// let plateau = ReduceLROnPlateau::new().factor(0.2).patience(5).min_lr(1e-3);
/// ```
#[derive(Clone, Debug)]
pub struct ReduceLROnPlateau {
    monitor: String,
    factor: f64,
    patience: usize,
    mode: Mode,
    min_delta: f64,
    cooldown: usize,
    min_lr: f64,
    is_relative: bool,
    min_change: f64,
    verbose: bool,
    direction: Direction,
    state: State,
}

/// What changes from epoch to epoch, and what a checkpoint keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    wait: usize,
    cooldown: usize,
    #[serde(with = "json::maybe")]
    best: Option<f64>,
}

impl Default for ReduceLROnPlateau {
    fn default() -> Self {
        Self::new()
    }
}

impl ReduceLROnPlateau {
    /// Watches `val_loss`: factor 0.1, patience 10, min_delta 0.0001, no cooldown, no lower bound.
    pub fn new() -> Self {
        Self {
            monitor: "val_loss".to_owned(),
            factor: 0.1,
            patience: 10,
            mode: Mode::Auto,
            min_delta: 1e-4,
            cooldown: 0,
            min_lr: 0.0,
            is_relative: false,
            min_change: 0.0,
            verbose: false,
            direction: Direction::Min,
            state: State::default(),
        }
    }

    /// The log key to watch; the default is `val_loss`.
    #[must_use]
    pub fn monitor(mut self, log_key: impl Into<String>) -> Self {
        self.monitor = log_key.into();
        self
    }

    /// What the learning rate is multiplied by, between 0 and 1; the default is 0.1.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// How many epochs without improvement are borne before the rate falls; the default is 10.
    #[must_use]
    pub fn patience(mut self, epochs: usize) -> Self {
        self.patience = epochs;
        self
    }

    /// Whether lower or higher is better; the default finds out.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// How much better a value must be to count as an improvement, from 0; the default is 0.0001.
    #[must_use]
    pub fn min_delta(mut self, min_delta: f64) -> Self {
        self.min_delta = min_delta;
        self
    }

    /// Whether [`min_delta`](ReduceLROnPlateau::min_delta) is a part of the best value, as PyTorch's `threshold_mode="rel"`; the default is no.
    #[must_use]
    pub fn relative(mut self, yes: bool) -> Self {
        self.is_relative = yes;
        self
    }

    /// The smallest change of the rate that is worth making, PyTorch's `eps`; the default is 0.
    #[must_use]
    pub fn min_change(mut self, change: f64) -> Self {
        self.min_change = change;
        self
    }

    /// How many epochs after a reduction do not count towards patience; the default is 0. Keras counts the last of them, so its
    /// `cooldown=n` is one of `n - 1` epochs.
    #[must_use]
    pub fn cooldown(mut self, epochs: usize) -> Self {
        self.cooldown = epochs;
        self
    }

    /// The lowest learning rate; the default is 0.
    #[must_use]
    pub fn min_lr(mut self, min_lr: f64) -> Self {
        self.min_lr = min_lr;
        self
    }

    /// Whether a reduction is reported; the default is no.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Keras's rule here compares with `best - min_delta`, not `value + min_delta`: the two round differently.
    fn improves(&self, value: f64) -> bool {
        let Some(best) = self.state.best else { return !value.is_nan() };
        match (self.direction, self.is_relative) {
            (Direction::Min, false) => value < best - self.min_delta,
            (Direction::Max, false) => value > best + self.min_delta,
            (Direction::Min, true) => value < best * (1.0 - self.min_delta),
            (Direction::Max, true) => value > best * (1.0 + self.min_delta),
        }
    }

    fn check(&self) -> Result<()> {
        let (what, help) = if !(self.factor > 0.0 && self.factor < 1.0) {
            (format!("factor is {}", self.factor), "give a factor between 0 and 1, such as 0.1")
        } else if !(self.min_delta.is_finite() && self.min_delta >= 0.0) {
            (format!("min_delta is {}", self.min_delta), "give a finite number from 0, such as 0.0001")
        } else if !(self.min_lr.is_finite() && self.min_lr >= 0.0) {
            (format!("min_lr is {}", self.min_lr), "give 0 or a small positive number")
        } else if !(self.min_change.is_finite() && self.min_change >= 0.0) {
            (format!("min_change is {}", self.min_change), "give 0 or a small positive number, such as 1e-8")
        } else {
            return Ok(());
        };
        Err(Error::config(format!("ReduceLROnPlateau: {what}"), help))
    }
}

impl Callback for ReduceLROnPlateau {
    fn name(&self) -> &str {
        "ReduceLROnPlateau"
    }

    fn monitors(&self) -> Vec<&str> {
        vec![&self.monitor]
    }

    fn on_train_begin(&mut self, control: &mut dyn Control) -> Result<()> {
        self.check()?;
        self.direction = self.mode.resolve(&self.monitor, control.direction(&self.monitor))?;
        self.state = State::default();
        control.log_learning_rate();
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, control: &mut dyn Control) -> Result<()> {
        let Some(current) = logs.get(&self.monitor) else { return Ok(()) };
        let is_cooling = self.state.cooldown > 0;
        self.state.cooldown = self.state.cooldown.saturating_sub(1);
        if self.improves(current) {
            self.state.best = Some(current);
            self.state.wait = 0;
            return Ok(());
        }
        if is_cooling {
            return Ok(());
        }
        self.state.wait += 1;
        let old = control.learning_rate();
        if self.state.wait >= self.patience && old > self.min_lr {
            let new = (old * self.factor).max(self.min_lr);
            if old - new > self.min_change {
                control.set_learning_rate(new)?;
                if self.verbose {
                    control
                        .message(&format!("Epoch {}: ReduceLROnPlateau reducing learning rate to {new}.", epoch + 1));
                }
            }
            self.state.cooldown = self.cooldown;
            self.state.wait = 0;
        }
        Ok(())
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({
            "factor": self.factor,
            "patience": self.patience,
            "mode": format!("{:?}", self.mode),
            "min_delta": self.min_delta,
            "is_relative": self.is_relative,
            "cooldown": self.cooldown,
            "min_lr": self.min_lr,
            "min_change": self.min_change,
        })
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.state)
    }

    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        self.state = read_state(self.name(), state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::*;

    fn rates(mut callback: ReduceLROnPlateau, rate: f64, monitored: &[f64]) -> Vec<f64> {
        Fake { rate, ..Fake::default() }.run(&mut callback, "val_loss", monitored).1
    }

    #[test]
    fn reduces_like_keras() {
        let vee = [0.9, 0.5, 0.1, 0.2, 0.3, 0.4, 0.5];
        assert_eq!(
            rates(ReduceLROnPlateau::new().factor(0.5).patience(2), 0.1, &vee),
            [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.025]
        );
        let rested = ReduceLROnPlateau::new().factor(0.5).patience(3).cooldown(3).min_lr(0.01);
        assert_eq!(
            rates(rested, 0.1, &[0.5; 24])[..],
            [
                0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.025, 0.025, 0.025, 0.0125,
                0.0125, 0.0125, 0.0125, 0.0125, 0.0125, 0.01, 0.01, 0.01
            ]
        );
        let max = ReduceLROnPlateau::new().mode(Mode::Max).factor(0.2).patience(1);
        assert_eq!(rates(max, 0.1, &[0.5, 0.6, 0.55]), [0.1, 0.1, 0.1 * 0.2]);
        let eager = ReduceLROnPlateau::new().patience(0).min_delta(0.01);
        assert_eq!(rates(eager, 0.1, &[0.5, 0.495]), [0.1, 0.1 * 0.1]);
    }

    #[test]
    fn a_cooldown_of_n_epochs_is_n_epochs() {
        let during = |n| {
            let rates = rates(ReduceLROnPlateau::new().patience(2).cooldown(n), 0.1, &[1.0; 12]);
            rates.windows(2).enumerate().filter(|(_, pair)| pair[0] != pair[1]).map(|(i, _)| i + 1).collect::<Vec<_>>()
        };
        assert_eq!(during(0), [2, 4, 6, 8, 10], "the epochs after which the rate falls");
        assert_eq!(during(2), [2, 6, 10]);
    }

    #[test]
    fn a_nan_counts_as_no_improvement() {
        let callback = ReduceLROnPlateau::new().factor(0.5).patience(1);
        assert_eq!(rates(callback, 1.0, &[f64::NAN, 0.5, f64::NAN]), [0.5, 0.5, 0.25]);
    }

    #[test]
    fn reports_when_asked() {
        let mut callback = ReduceLROnPlateau::new().patience(1).verbose(true);
        let mut fake = Fake { rate: 0.5, ..Fake::default() };
        fake.run(&mut callback, "val_loss", &[0.5, 0.5]);
        assert_eq!(fake.messages, ["Epoch 2: ReduceLROnPlateau reducing learning rate to 0.05."]);
    }

    #[test]
    fn a_factor_that_cannot_reduce_is_refused() {
        for factor in [1.0, 0.0, -1.0, f64::NAN] {
            let mut callback = ReduceLROnPlateau::new().factor(factor);
            let error = callback.on_train_begin(&mut Fake::default()).unwrap_err();
            assert!(error.to_string().contains("between 0 and 1"), "{error}");
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for bad in [-1e-4, f64::NAN, f64::INFINITY] {
            for (setting, mut callback) in [
                ("min_delta is", ReduceLROnPlateau::new().min_delta(bad)),
                ("min_lr is", ReduceLROnPlateau::new().min_lr(bad)),
                ("min_change is", ReduceLROnPlateau::new().min_change(bad)),
            ] {
                let error = callback.on_train_begin(&mut Fake::default()).unwrap_err();
                assert!(error.to_string().contains(setting), "{error}");
            }
        }
    }
}
