//! Stops a run whose monitored value no longer improves, and gives back the best weights. Saves no file.

use super::{Callback, Control, Direction, Mode, Snapshot, read_state};
use crate::error::{Error, Result};
use crate::history::{Logs, StopReason};
use crate::json;
use serde::{Deserialize, Serialize};

/// Stops training when a monitored value has not improved for `patience` epochs.
///
/// Follows `keras.callbacks.EarlyStopping` in every count, and differs in what its users trip over: the weights of the
/// best epoch are restored unless [`EarlyStopping::restore_best_weights`] says no, this is reported, a NaN is never an
/// improvement, and a monitored value that the run does not log is refused before the first step. An epoch in which
/// the value was not logged (validation every second epoch) does not count. A value of training, such as `loss`, is measured
/// before the weights are updated: the weights that come back for it are those that the best epoch began with.
///
/// # Examples
/// ```
/// use kiln_train::Mode;
/// use kiln_train::callbacks::EarlyStopping;
/// let stopping = EarlyStopping::new().monitor("val_accuracy").mode(Mode::Max).patience(5);
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    monitor: String,
    min_delta: f64,
    patience: usize,
    mode: Mode,
    baseline: Option<f64>,
    restore_best_weights: bool,
    start_from_epoch: usize,
    verbose: bool,
    direction: Direction,
    state: State,
    best_weights: Option<Snapshot>,
    /// Whether the value is measured while the weights change: then it is of those that the epoch began with.
    is_of_training: bool,
    begun_with: Option<Snapshot>,
}

/// What changes from epoch to epoch, and what a checkpoint keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    wait: usize,
    #[serde(with = "json::maybe")]
    best: Option<f64>,
    best_epoch: Option<usize>,
    stopped_epoch: Option<usize>,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self::new()
    }
}

impl EarlyStopping {
    /// Watches `val_loss` with patience 0 and restores the best weights.
    pub fn new() -> Self {
        Self {
            monitor: "val_loss".to_owned(),
            min_delta: 0.0,
            patience: 0,
            mode: Mode::Auto,
            baseline: None,
            restore_best_weights: true,
            start_from_epoch: 0,
            verbose: true,
            direction: Direction::Min,
            state: State::default(),
            best_weights: None,
            is_of_training: false,
            begun_with: None,
        }
    }

    /// The log key to watch; the default is `val_loss`.
    #[must_use]
    pub fn monitor(mut self, log_key: impl Into<String>) -> Self {
        self.monitor = log_key.into();
        self
    }

    /// How much better a value must be to count as an improvement, from 0; the default is 0 (strictly better).
    #[must_use]
    pub fn min_delta(mut self, min_delta: f64) -> Self {
        self.min_delta = min_delta;
        self
    }

    /// How many epochs without improvement are borne; with 0, the default, the first one stops the run.
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

    /// A value that must be beaten for patience to start anew.
    #[must_use]
    pub fn baseline(mut self, value: f64) -> Self {
        self.baseline = Some(value);
        self
    }

    /// Whether the weights of the best epoch come back at the end of the run, stopped early or not; the default is yes.
    #[must_use]
    pub fn restore_best_weights(mut self, restore: bool) -> Self {
        self.restore_best_weights = restore;
        self
    }

    /// The first epoch (from 0) that counts; earlier ones are a warm-up.
    #[must_use]
    pub fn start_from_epoch(mut self, epoch: usize) -> Self {
        self.start_from_epoch = epoch;
        self
    }

    /// Whether stopping and restoring are reported; the default is yes.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// The best value so far.
    pub fn best(&self) -> Option<f64> {
        self.state.best
    }

    /// The epoch (from 0) of the best value so far.
    pub fn best_epoch(&self) -> Option<usize> {
        self.state.best_epoch
    }

    fn check(&self) -> Result<()> {
        let (what, help) = match self.baseline {
            _ if !(self.min_delta.is_finite() && self.min_delta >= 0.0) => {
                (format!("min_delta is {}", self.min_delta), "give a finite number from 0, such as 0.001")
            }
            Some(baseline) if !baseline.is_finite() => {
                (format!("baseline is {baseline}"), "give the finite value that is to be beaten, or leave it out")
            }
            _ => return Ok(()),
        };
        Err(Error::config(format!("EarlyStopping: {what}"), help))
    }

    fn improves_on(&self, value: f64, reference: Option<f64>) -> bool {
        self.direction.improves(value, reference.unwrap_or(f64::NAN), self.min_delta)
    }
}

impl Callback for EarlyStopping {
    fn name(&self) -> &str {
        "EarlyStopping"
    }

    fn monitors(&self) -> Vec<&str> {
        vec![&self.monitor]
    }

    fn on_train_begin(&mut self, control: &mut dyn Control) -> Result<()> {
        self.check()?;
        self.direction = self.mode.resolve(&self.monitor, control.direction(&self.monitor))?;
        self.state = State::default();
        (self.best_weights, self.begun_with) = (None, None);
        self.is_of_training = control.is_of_training(&self.monitor);
        Ok(())
    }

    fn on_epoch_begin(&mut self, _: usize, control: &mut dyn Control) -> Result<()> {
        if self.restore_best_weights && self.is_of_training {
            self.begun_with = Some(control.snapshot_weights()?);
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, control: &mut dyn Control) -> Result<()> {
        let Some(current) = logs.get(&self.monitor) else { return Ok(()) };
        if epoch < self.start_from_epoch {
            return Ok(());
        }
        self.state.wait += 1;
        if self.improves_on(current, self.state.best) {
            self.state.best = Some(current);
            self.state.best_epoch = Some(epoch);
            if self.restore_best_weights {
                self.best_weights = match self.begun_with.take() {
                    Some(weights) => Some(weights),
                    None => Some(control.snapshot_weights()?),
                };
            }
            // Patience starts anew only for a value that also beats the baseline.
            if self.baseline.is_none() || self.improves_on(current, self.baseline) {
                self.state.wait = 0;
            }
            return Ok(());
        }
        if self.state.wait >= self.patience && epoch > 0 {
            self.state.stopped_epoch = Some(epoch);
            control.stop(StopReason::EarlyStopping {
                monitor: self.monitor.clone(),
                epoch,
                best_epoch: self.state.best_epoch,
            });
        }
        Ok(())
    }

    fn on_train_end(&mut self, control: &mut dyn Control) -> Result<()> {
        if let (Some(epoch), true) = (self.state.stopped_epoch, self.verbose) {
            control.message(&format!("Epoch {}: early stopping", epoch + 1));
        }
        let (Some(weights), Some(epoch)) = (&self.best_weights, self.state.best_epoch) else {
            return Ok(());
        };
        if self.verbose {
            let moment = if self.is_of_training { "beginning" } else { "end" };
            control.message(&format!("Restoring model weights from the {moment} of the best epoch: {}.", epoch + 1));
        }
        control.restore_weights(weights)
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({
            "min_delta": self.min_delta,
            "patience": self.patience,
            "mode": format!("{:?}", self.mode),
            "baseline": self.baseline,
            "restore_best_weights": self.restore_best_weights,
            "start_from_epoch": self.start_from_epoch,
        })
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.state)
    }

    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        self.state = read_state(self.name(), state)?;
        Ok(())
    }

    fn snapshots(&self) -> Vec<(&str, &Snapshot)> {
        let all = [("best", &self.best_weights), ("begun_with", &self.begun_with)];
        all.into_iter().filter_map(|(name, snapshot)| Some((name, snapshot.as_ref()?))).collect()
    }

    fn load_snapshot(&mut self, name: &str, snapshot: Snapshot) {
        match name {
            "best" => self.best_weights = Some(snapshot),
            _ => self.begun_with = Some(snapshot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::*;

    const VEE: [f64; 14] =
        [0.9033, 0.8261, 0.7177, 0.5833, 0.5147, 0.429, 0.2914, 0.1828, 0.0799, 0.0104, 0.066, 0.2041, 0.2903, 0.3833];

    /// (epochs run, best epoch, weights at the end) for a series of `val_loss`.
    fn replay(mut callback: EarlyStopping, monitored: &[f64]) -> (usize, Option<usize>, i64) {
        let mut fake = Fake::default();
        let (epochs, _) = fake.run(&mut callback, "val_loss", monitored);
        (epochs, callback.best_epoch(), fake.weights)
    }

    #[test]
    fn an_infinite_best_comes_back_from_a_checkpoint() {
        for best in [Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(0.1 + 0.2), None] {
            let stored = EarlyStopping { state: State { best, ..State::default() }, ..EarlyStopping::new() }.state();
            let mut other = EarlyStopping::new();
            other.load_state(&serde_json::from_str(&stored.to_string()).unwrap()).unwrap();
            assert_eq!(other.state.best, best);
        }
    }

    #[test]
    fn counts_like_keras() {
        let plain = || EarlyStopping::new().restore_best_weights(false);
        assert_eq!(replay(plain().patience(3), &VEE), (13, Some(9), 12));
        assert_eq!(replay(EarlyStopping::new().patience(4), &VEE), (14, Some(9), 9));
        assert_eq!(replay(plain().patience(3).start_from_epoch(8), &VEE), (13, Some(9), 12));
        assert_eq!(replay(plain().patience(2).baseline(0.4), &VEE), (12, Some(9), 11));
        assert_eq!(replay(plain().patience(3), &[0.5; 30]), (4, Some(0), 3));
        assert_eq!(replay(plain(), &[0.5; 30]), (2, Some(0), 1));
        let accuracy = [0.0171, 0.1758, 0.6578, 0.7741, 0.8549, 0.8388, 0.8573, 0.8812];
        let max = plain().mode(Mode::Max).patience(1).min_delta(0.01);
        assert_eq!(replay(max, &accuracy), (6, Some(4), 5));
    }

    #[test]
    fn a_baseline_that_is_never_beaten_stops_at_the_first_bad_epoch_after_patience() {
        let callback = EarlyStopping::new().patience(2).baseline(0.1);
        assert_eq!(replay(callback, &[0.9, 0.8, 0.7, 0.75, 0.6]), (4, Some(2), 2));
    }

    #[test]
    fn the_best_weights_come_back_without_an_early_stop() {
        let mut callback = EarlyStopping::new().patience(9);
        let mut fake = Fake::default();
        fake.run(&mut callback, "val_loss", &[0.9, 0.2, 0.3]);
        assert_eq!((fake.weights, fake.stopped), (1, None));
        assert_eq!(fake.messages, ["Restoring model weights from the end of the best epoch: 2."]);
    }

    #[test]
    fn a_nan_is_no_improvement_and_no_best() {
        let callback = EarlyStopping::new().patience(2);
        assert_eq!(replay(callback, &[f64::NAN, 0.5, f64::NAN, f64::NAN, 0.1]), (4, Some(1), 1));
        let hopeless = EarlyStopping::new().patience(1);
        assert_eq!(replay(hopeless, &[f64::NAN; 5]), (2, None, 1));
    }

    #[test]
    fn an_epoch_without_the_value_does_not_count() {
        let mut callback = EarlyStopping::new().patience(1);
        let mut fake = Fake::default();
        callback.on_train_begin(&mut fake).unwrap();
        callback.on_epoch_end(0, &mut Logs::from([("val_loss", 0.5)]), &mut fake).unwrap();
        for epoch in 1..5 {
            callback.on_epoch_end(epoch, &mut Logs::new(), &mut fake).unwrap();
        }
        assert_eq!(fake.stopped, None);
    }

    #[test]
    fn what_training_measures_is_of_the_weights_that_the_epoch_began_with() {
        let mut callback = EarlyStopping::new().monitor("loss").patience(9);
        let mut fake = Fake { weights: -1, ..Fake::default() };
        fake.run(&mut callback, "loss", &[0.9, 0.2, 0.3]);
        assert_eq!(fake.weights, 0, "the weights of epoch 1 are 0 before it and 1 after it");
        assert_eq!(fake.messages, ["Restoring model weights from the beginning of the best epoch: 2."]);
    }

    #[test]
    fn a_resumed_run_goes_on_waiting() {
        let mut fake = Fake::default();
        let mut first = EarlyStopping::new().patience(2);
        fake.run(&mut first, "val_loss", &[0.5, 0.6]);
        let mut second = EarlyStopping::new().patience(2);
        second.on_train_begin(&mut fake).unwrap();
        second.load_state(&first.state()).unwrap();
        for (name, snapshot) in first.snapshots() {
            second.load_snapshot(name, snapshot.clone());
        }
        fake.weights = 2;
        second.on_epoch_end(2, &mut Logs::from([("val_loss", 0.7)]), &mut fake).unwrap();
        assert!(matches!(fake.stopped, Some(StopReason::EarlyStopping { epoch: 2, .. })));
        second.on_train_end(&mut fake).unwrap();
        assert_eq!(fake.weights, 0);
        assert!(second.load_state(&serde_json::json!("nonsense")).is_err());
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for min_delta in [-0.01, f64::NAN, f64::INFINITY] {
            let error = EarlyStopping::new().min_delta(min_delta).on_train_begin(&mut Fake::default()).unwrap_err();
            assert!(error.to_string().contains("EarlyStopping: min_delta is"), "{error}");
        }
        for baseline in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = EarlyStopping::new().baseline(baseline).on_train_begin(&mut Fake::default()).unwrap_err();
            assert!(error.to_string().contains("EarlyStopping: baseline is"), "{error}");
        }
    }

    #[test]
    fn a_direction_that_nobody_knows_is_refused() {
        let mut callback = EarlyStopping::new().monitor("val_false_positives");
        let error = callback.on_train_begin(&mut Fake::default()).unwrap_err();
        assert!(error.to_string().contains("Mode::Min"), "{error}");
    }
}
