//! What a pass over data has measured so far.

use crate::Result;
use crate::data::Batch;
use crate::history::Logs;
use crate::model::{Objective, Prediction, StepOutput, Tracked};
use kiln_nn::metrics::{Accuracy, Mean, Metric};
use kiln_nn::ops::{ArithmeticOps, CastOps, ComparisonOps, ReduceOps, ViewOps};
use kiln_nn::{DType, Device, Tensor, Var};

/// What logs call the mean norm of all gradients together, before any of them is clipped.
const GRADIENT_NORM: &str = "gradient_norm";

/// The weights of steps: those of their samples, and 0 where the mask does not count.
pub(crate) fn counted<V: ArithmeticOps + CastOps + ViewOps>(mask: &V, weights: Option<&V>) -> Result<V> {
    let counts = mask.cast(DType::F32)?;
    let Some(weights) = weights else { return Ok(counts) };
    let mut weights = weights.clone();
    while weights.shape().rank() < counts.shape().rank() {
        weights = weights.unsqueeze(-1)?;
    }
    Ok(counts.mul(&weights)?)
}

/// Running values of a pass over data: the loss weighted by how many of a batch count, and the metrics' accumulated state.
#[derive(Debug, Clone)]
pub(crate) struct MetricState {
    loss: Mean,
    /// Those of the outputs, with their names, where there are several.
    losses: Vec<(String, Mean)>,
    /// That of the norms of gradients, where they are measured.
    gradient_norm: Option<Mean>,
    /// Whether there was no batch yet.
    is_fresh: bool,
    metrics: Vec<Tracked>,
    weighted: Vec<Tracked>,
    /// The losses, which tell what "accuracy" means.
    objectives: Vec<Objective>,
}

impl MetricState {
    /// Empty metrics.
    pub(crate) fn new(metrics: &[Tracked], weighted: &[Tracked], objectives: &[Objective]) -> MetricState {
        let fresh = |metrics: &[Tracked]| -> Vec<Tracked> {
            let mut all = metrics.to_vec();
            all.iter_mut().for_each(|tracked| tracked.metric.reset());
            all
        };
        MetricState {
            loss: Mean::new(),
            losses: objectives.iter().filter_map(Objective::log_name).map(|name| (name, Mean::new())).collect(),
            gradient_norm: None,
            is_fresh: true,
            metrics: fresh(metrics),
            weighted: fresh(weighted),
            objectives: objectives.to_vec(),
        }
    }

    /// The same with the norm of all gradients of a step, if that is wanted.
    pub(crate) fn with_gradient_norm(self, yes: bool) -> MetricState {
        MetricState { gradient_norm: yes.then(Mean::new), ..self }
    }

    /// Whether the norms of gradients are measured.
    pub(crate) fn measures_norm(&self) -> bool {
        self.gradient_norm.is_some()
    }

    /// Takes a batch in. `weights` are those that the loss used.
    pub(crate) fn update(&mut self, batch: &Batch, output: &StepOutput, weights: Option<&Tensor>) -> Result<()> {
        let n = batch.len();
        if std::mem::take(&mut self.is_fresh) {
            for Tracked { output: i, metric } in self.metrics.iter_mut().chain(&mut self.weighted) {
                let (y, p) = (batch.targets[*i].shape(), output.predictions[*i].value.shape());
                if metric.type_name() == "Accuracy" {
                    *metric = Accuracy::resolve(metric.name(), Some(&*self.objectives[*i].loss), y, p);
                }
            }
        }
        let mut sizes = Vec::with_capacity(self.objectives.len());
        for (objective, targets) in self.objectives.iter().zip(&batch.targets) {
            sizes.push(match objective.loss.ignored() {
                Some(label) => ComparisonOps::ne(targets, label as f64)?.cast(DType::F64)?.sum(..)?,
                None => Tensor::scalar(n as f64, DType::F64),
            });
        }
        // That of several outputs is of the samples: of each output others may count.
        let all = Tensor::scalar(n as f64, DType::F64);
        let weight = if let [one] = &sizes[..] { one } else { &all };
        self.loss.update(&output.loss, &output.loss, Some(weight))?;
        for (((_, mean), loss), weight) in self.losses.iter_mut().zip(&output.losses).zip(&sizes) {
            mean.update(loss, loss, Some(weight))?;
        }
        if let Some((mean, norm)) = self.gradient_norm.as_mut().zip(output.gradient_norm.as_ref()) {
            let [norm, counts] = norm;
            mean.update(norm, norm, Some(counts))?;
        }
        let plain = self.metrics.iter_mut().map(|tracked| (tracked, None));
        for (Tracked { output: i, metric }, weights) in plain.chain(self.weighted.iter_mut().map(|one| (one, weights)))
        {
            let Prediction { value, mask } = &output.predictions[*i];
            let counted = mask.as_ref().map(|mask| counted(mask, weights)).transpose()?;
            let updated = metric.update(&batch.targets[*i], value, counted.as_ref().or(weights));
            self.objectives[*i].named(updated)?;
        }
        Ok(())
    }

    /// Takes in what a model of one output has said of some samples, and what was right.
    pub(crate) fn judge(&mut self, labels: &Tensor, predictions: &Tensor) -> Result<()> {
        let objective = &self.objectives[0];
        let (y, p) = (Var::new(labels.clone()), Var::new(predictions.clone()));
        let loss = objective.named(objective.loss.call(&y, &p, None))?.into_tensor();
        let batch = Batch { inputs: vec![predictions.clone()], targets: vec![labels.clone()], sample_weight: None };
        let predictions = vec![Prediction { value: predictions.clone(), mask: None }];
        let output = StepOutput { loss, losses: Vec::new(), predictions, gradient_norm: None, update: None };
        self.update(&batch, &output, None)
    }

    /// Forgets the batches, and keeps the tensors that they have made.
    pub(crate) fn reset(&mut self) {
        self.loss.reset();
        self.losses.iter_mut().for_each(|(_, mean)| mean.reset());
        self.gradient_norm.iter_mut().for_each(Mean::reset);
        self.metrics.iter_mut().chain(&mut self.weighted).for_each(|tracked| tracked.metric.reset());
    }

    /// Whether there was no batch yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Whether a metric shows no tensor: what it keeps is elsewhere.
    pub(crate) fn hides(&mut self) -> bool {
        self.metrics.iter_mut().chain(&mut self.weighted).any(|Tracked { metric, .. }| {
            let mut shown = 0;
            let visited = metric.visit(&mut |_, _| {
                shown += 1;
                Ok(())
            });
            visited.is_err() || shown == 0
        })
    }

    /// Calls `f` with every tensor that a batch changes, always in the same order.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(&mut Tensor)) -> Result<()> {
        self.visit_named(&mut |_, _, tensor| f(tensor))
    }

    /// [`MetricState::visit`] with the names of the metric and of what it keeps there.
    pub(crate) fn visit_named(&mut self, f: &mut dyn FnMut(&str, &str, &mut Tensor)) -> Result<()> {
        let mut visit = |name: &str, metric: &mut dyn Metric| {
            metric.visit(&mut |slot, tensor| {
                f(name, slot, tensor);
                Ok(())
            })
        };
        visit("loss", &mut self.loss)?;
        for (name, mean) in &mut self.losses {
            visit(name, mean)?;
        }
        if let Some(mean) = &mut self.gradient_norm {
            visit(GRADIENT_NORM, mean)?;
        }
        for Tracked { metric, .. } in self.metrics.iter_mut().chain(&mut self.weighted) {
            let name = metric.name().to_owned();
            visit(&name, &mut **metric)?;
        }
        Ok(())
    }

    /// Puts tensors in the place of those that [`MetricState::visit`] shows.
    pub(crate) fn set(&mut self, tensors: &[Tensor]) -> Result<()> {
        let mut tensors = tensors.iter();
        self.visit(&mut |tensor| {
            if let Some(other) = tensors.next() {
                *tensor = other.clone();
            }
        })
    }

    /// Moves what has been measured so far to a device.
    pub(crate) fn to(&mut self, device: Device) -> Result<()> {
        let mut outcome = Ok(());
        self.visit(&mut |tensor| match tensor.to_device(device) {
            Ok(there) => *tensor = there,
            Err(error) => outcome = Err(error),
        })?;
        Ok(outcome?)
    }

    /// The values so far, each name with `prefix` before it. This reads them: nothing before does.
    pub(crate) fn logs(&self, prefix: &str) -> Logs {
        let mut logs = Logs::new();
        logs.set(format!("{prefix}loss"), self.loss.result());
        for (name, mean) in &self.losses {
            logs.set(format!("{prefix}{name}"), mean.result());
        }
        if let Some(mean) = &self.gradient_norm {
            logs.set(format!("{prefix}{GRADIENT_NORM}"), mean.result());
        }
        for Tracked { metric, .. } in self.metrics.iter().chain(&self.weighted) {
            logs.set(format!("{prefix}{}", metric.name()), metric.result());
        }
        logs
    }
}
