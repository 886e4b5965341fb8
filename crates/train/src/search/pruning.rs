//! Giving up trials that are worse than most were at their age (the median rule of Golovin et al. 2017).

use crate::callbacks::{Callback, Control};
use crate::history::{History, Logs, StopReason};
use crate::{Direction, Result};
use std::sync::Arc;

/// Trials to compare with before any is given up.
const STARTUP: usize = 5;

/// What the reason of a stop begins with.
const PRUNED: &str = "search: ";

/// Compares a trial after each epoch with those before it.
pub(super) struct Pruner {
    objective: String,
    direction: Direction,
    /// The best value up to each epoch of each trial before.
    before: Arc<Vec<Vec<f64>>>,
    best: f64,
}

impl Pruner {
    pub(super) fn new(objective: &str, direction: Direction, before: Arc<Vec<Vec<f64>>>) -> Pruner {
        Pruner { objective: objective.to_owned(), direction, before, best: f64::NAN }
    }
}

impl Callback for Pruner {
    fn name(&self) -> &str {
        "Pruner"
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, control: &mut dyn Control) -> Result<()> {
        let Some(value) = logs.get(&self.objective) else { return Ok(()) };
        if self.direction.improves(value, self.best, 0.0) {
            self.best = value;
        }
        let mut others: Vec<f64> = self.before.iter().filter_map(|curve| curve.get(epoch).copied()).collect();
        if others.len() < STARTUP {
            return Ok(());
        }
        others.sort_by(|a, b| super::better_first(self.direction, *a, *b));
        let median = others[others.len() / 2];
        if self.best.is_nan() || self.direction.improves(median, self.best, 0.0) {
            let message = format!("{PRUNED}{} was worse than in half of the trials before", self.objective);
            control.stop(StopReason::Callback { message });
        }
        Ok(())
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!(self.best)
    }

    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        self.best = state.as_f64().unwrap_or(f64::NAN);
        Ok(())
    }
}

/// Whether a run was ended by a [`Pruner`].
pub(super) fn was_pruned(history: &History) -> bool {
    matches!(&history.stopped, Some(StopReason::Callback { message }) if message.starts_with(PRUNED))
}
