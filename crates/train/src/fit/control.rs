//! What callbacks may do to a run.

use super::run::Run;
use crate::Result;
use crate::callbacks::{Control, Direction, Snapshot};
use crate::error::Error;
use crate::history::StopReason;
use kiln_nn::module::{load_parameters, named_parameters};
use kiln_nn::{Module, Tensor};
use std::path::Path;

/// A copy of all parameters by path.
pub(super) struct Copied(pub(super) Vec<(String, Tensor)>);

impl<M: Module> Control for Run<'_, '_, M> {
    fn stop(&mut self, reason: StopReason) {
        self.stop.get_or_insert(reason);
    }

    fn learning_rate(&self) -> f64 {
        self.model.optimizer.learning_rate()
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<()> {
        self.cursor.logs_rate = true;
        self.model.force_rate(rate)
    }

    fn log_learning_rate(&mut self) {
        self.cursor.logs_rate = true;
    }

    fn snapshot_weights(&mut self) -> Result<Snapshot> {
        Ok(Snapshot::new(Copied(named_parameters(&self.model.module))))
    }

    fn restore_weights(&mut self, snapshot: &Snapshot) -> Result<()> {
        let Some(Copied(saved)) = snapshot.get::<Copied>() else {
            return Err(Error::data("the snapshot is of another kind of model", ""));
        };
        load_parameters(&mut self.model.module, |path| saved.iter().find(|(p, _)| p == path).map(|(_, t)| t.clone()))?;
        self.model.stay()
    }

    fn save_model(&mut self, path: &Path) -> Result<()> {
        self.model.save(path)
    }

    fn save_weights(&mut self, path: &Path) -> Result<()> {
        self.model.save_weights(path)
    }

    fn message(&mut self, text: &str) {
        self.progress.message(text);
    }

    fn is_of_training(&self, log_key: &str) -> bool {
        self.model.metric_state().with_gradient_norm(true).logs("").get(log_key).is_some()
    }

    fn direction(&self, log_key: &str) -> Option<Direction> {
        let name = log_key.strip_prefix("val_").unwrap_or(log_key);
        if name == "loss" || self.model.objectives.iter().any(|one| one.log_name().as_deref() == Some(name)) {
            return Some(Direction::Min);
        }
        let metrics = self.model.metrics.iter().chain(&self.model.weighted_metrics);
        metrics.into_iter().find(|m| m.metric.name() == name).and_then(|m| m.metric.direction())
    }
}
