//! Optimizers: from gradients to new parameters. A rule is an elementwise function where it can be, so that an update
//! is one pass over memory, in place.

mod functions;
mod muon;
mod norms;
mod parts;
mod record;
mod registry;
mod rule;
mod rules;
mod scale;
mod settings;
mod signs;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod update;

pub use muon::Muon;
pub use norms::*;
pub use record::RecordedUpdate;
pub use registry::{IntoOptimizer, from_config, from_name};
pub use rule::{Iteration, Step, UpdateRule};
pub use rules::*;
pub use scale::LossScale;
use scale::Scaling;
use settings::Treatment;
pub use settings::{Convention, Group, LearningRate, Settings};
pub use signs::*;
pub use step::{constrain, updates};

use crate::{Error, Result, config};
use kiln_autograd::ops::{CastOps, Itself, Reduce, StatisticsOps, stack};
use kiln_autograd::{Abreast, DType, Outputs, Spec, Tensor};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// Where a config has the optimizers of parts: a list of patterns with them.
const PARTS: &str = "parts";

/// A parameter to update.
#[derive(Debug)]
pub struct ParameterUpdate<'a> {
    /// Its name: what its state is kept under, and what is excluded from decay.
    pub name: &'a str,
    /// Its value. When nobody else holds the tensor, it is updated where it lies.
    pub value: &'a mut Tensor,
    /// Its gradient; without one it stays as it is.
    pub gradient: Option<Tensor>,
}

/// An update rule with its settings and state.
///
/// ```
/// use kiln_autograd::Tensor;
/// use kiln_nn::optimizers::{IntoOptimizer, ParameterUpdate, SGD};
/// let mut optimizer = SGD::new(0.1).into_optimizer()?;
/// let mut weight = Tensor::new([1.0, 2.0]);
/// let gradient = Some(Tensor::new([1.0, -1.0]));
/// optimizer.apply(&mut [ParameterUpdate { name: "weight", value: &mut weight, gradient }])?;
/// assert_eq!(weight.to_vec::<f64>()?, [0.9, 2.1]);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Optimizer {
    rule: Box<dyn UpdateRule>,
    settings: Settings,
    /// What a callback multiplies the rate by.
    factor: f64,
    /// Updates done.
    iterations: u64,
    /// Calls of `apply`: the steps that a schedule counts.
    steps: u64,
    product: f64,
    /// Weight of the gradients accumulated so far, and how many there are.
    pending: (f64, u64),
    entries: Vec<Entry>,
    /// In how many ways parameters are updated, first that of those in no group.
    treatments: Vec<Treatment>,
    /// Where the scale of the loss stands.
    scaling: Option<Scaling>,
    /// Optimizers of some parameters, by a pattern of their paths.
    parts: Vec<(String, Optimizer)>,
    /// Stands in for a tensor while it is being updated.
    nothing: Tensor,
}

/// What is kept for a parameter.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    /// The parameter's.
    spec: Spec,
    slots: Vec<(&'static str, Tensor)>,
    average: Option<Tensor>,
    /// The mean of the gradients that wait for an update.
    accumulated: Option<Tensor>,
    /// Whether there are any in the mean, or it is that of the last update.
    is_begun: bool,
    /// The number of the way in which it is updated.
    treatment: usize,
}

impl Clone for Optimizer {
    fn clone(&self) -> Optimizer {
        Optimizer {
            rule: self.rule.boxed(),
            settings: self.settings.clone(),
            entries: self.entries.clone(),
            treatments: self.treatments.clone(),
            scaling: self.scaling.clone(),
            parts: self.parts.clone(),
            nothing: self.nothing.clone(),
            ..*self
        }
    }
}

/// The type that a parameter is updated in, and that what is kept for it has.
fn updated_in(parameter: DType) -> DType {
    parameter.promote(DType::F32)
}

impl Optimizer {
    /// An optimizer with a rule.
    ///
    /// # Errors
    /// Settings that cannot work, such as two ways to clip.
    pub fn new(rule: impl UpdateRule + 'static) -> Result<Optimizer> {
        let settings = rule.settings().clone();
        settings.check(rule.name())?;
        rule.check()?;
        Ok(Optimizer {
            rule: Box::new(rule),
            scaling: settings.loss_scale.map(Scaling::new),
            treatments: vec![settings.plain()],
            settings,
            factor: 1.0,
            iterations: 0,
            steps: 0,
            product: 1.0,
            pending: (0.0, 0),
            entries: Vec::new(),
            parts: Vec::new(),
            nothing: Tensor::scalar(0.0, DType::Bool),
        })
    }

    /// The same optimizer before its first step: with its settings, and its learning rate as it is.
    #[must_use]
    pub fn anew(&self) -> Optimizer {
        let parts = self.parts.iter().map(|(pattern, part)| (pattern.clone(), part.anew())).collect();
        Optimizer {
            iterations: 0,
            steps: 0,
            product: 1.0,
            pending: (0.0, 0),
            entries: Vec::new(),
            scaling: self.settings.loss_scale.map(Scaling::new),
            parts,
            ..self.clone()
        }
    }

    /// The name of its type: "Adam".
    pub fn name(&self) -> &str {
        self.rule.name()
    }

    /// The settings that every optimizer has.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Number of updates done.
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// The rate of the next step: the schedule's or the constant one, times [`Optimizer::rate_factor`].
    pub fn learning_rate(&self) -> f64 {
        self.factor * self.scheduled_rate()
    }

    fn scheduled_rate(&self) -> f64 {
        match &self.settings.learning_rate {
            LearningRate::Constant(rate) => *rate,
            LearningRate::Schedule(schedule) => schedule.rate(self.steps),
        }
    }

    /// Sets a constant rate. Those of [parts](Optimizer::part) change by the same factor.
    ///
    /// # Errors
    /// A schedule drives the rate; it can be scaled with [`Optimizer::set_rate_factor`].
    pub fn set_learning_rate(&mut self, rate: f64) -> Result<()> {
        if let LearningRate::Schedule(_) = self.settings.learning_rate {
            let text = format!("{}: a schedule drives the learning rate, so it cannot be set to {rate}", self.name());
            return Err(Error::config(
                text,
                "give the optimizer a number instead of the schedule, or scale the schedule with set_rate_factor",
            ));
        }
        Settings::check_rate(self.name(), rate)?;
        self.scale_parts(rate / self.learning_rate())?;
        self.settings.learning_rate = LearningRate::Constant(rate);
        self.factor = 1.0;
        Ok(())
    }

    /// What the rate is multiplied by.
    pub fn rate_factor(&self) -> f64 {
        self.factor
    }

    /// Multiplies the rate, whatever drives it: how a plateau lowers the rate of a schedule.
    ///
    /// # Errors
    /// A factor that makes no rate of the next step's.
    pub fn set_rate_factor(&mut self, factor: f64) -> Result<()> {
        Settings::check_rate(self.name(), factor)?;
        Settings::check_rate(self.name(), factor * self.scheduled_rate())?;
        self.scale_parts(factor / self.factor)?;
        self.factor = factor;
        Ok(())
    }

    /// Has the rates of parts follow this one's; from and to 0 there is no way back.
    fn scale_parts(&mut self, by: f64) -> Result<()> {
        let mut parts = self.parts.iter_mut().filter(|_| by.is_finite() && by > 0.0);
        parts.try_for_each(|(_, part)| part.set_rate_factor(part.factor * by))
    }

    /// Does one step. With gradient accumulation, only every k-th updates the parameters.
    ///
    /// # Errors
    /// A gradient of another shape than its parameter; a name that two parameters have.
    pub fn apply(&mut self, parameters: &mut [ParameterUpdate<'_>]) -> Result<()> {
        self.apply_weighted(parameters, 1.0)
    }

    /// [`Optimizer::apply`] with gradients that count `weight` times in the average of an accumulation: the number of
    /// samples behind them, where batches differ. Those that count 0 times are none, and no step.
    ///
    /// # Errors
    /// As there.
    pub fn apply_weighted(&mut self, parameters: &mut [ParameterUpdate<'_>], weight: f64) -> Result<()> {
        if !(weight.is_finite() && weight >= 0.0) {
            let text = format!("{}: gradients cannot count {weight} times", self.name());
            return Err(Error::config(text, "give the number of samples behind them"));
        }
        if weight == 0.0 {
            return self.check(parameters);
        }
        self.apply_with(parameters, weight, &mut |number| Ok(Tensor::number(number))).map(drop)
    }

    /// [`Optimizer::apply_weighted`] with the numbers as what `operand` makes of them.
    fn apply_with(
        &mut self,
        parameters: &mut [ParameterUpdate<'_>],
        weight: f64,
        operand: &mut dyn FnMut(f64) -> Result<Tensor>,
    ) -> Result<RecordedUpdate> {
        self.check(parameters)?;
        let mut split = self.split(parameters);
        self.prepare(&mut split)?;
        let update = self.upcoming_update(&split);
        let before = self.held_back(&mut split)?;
        self.each(&mut split, &mut |optimizer, parameters| {
            let numbers = optimizer.upcoming(weight).try_map(&mut *operand)?;
            match optimizer.kind().updates {
                true => {
                    optimizer.release(parameters, &numbers)?;
                    optimizer.update(parameters, numbers)
                }
                false => optimizer.accumulate(parameters, &numbers),
            }
        })?;
        if let Some(before) = before {
            self.hold_back(&mut split, &before)?;
        }
        self.count_step(&update, weight)?;
        Ok(update)
    }

    /// Updates with the gradients accumulated so far, if there are any: at the end of an epoch, so that none is lost.
    ///
    /// # Errors
    /// As [`Optimizer::apply`].
    pub fn flush(&mut self, parameters: &mut [ParameterUpdate<'_>]) -> Result<()> {
        let mut split = self.split(parameters);
        self.prepare(&mut split)?;
        self.each(&mut split, &mut |optimizer, parameters| {
            if optimizer.pending.1 == 0 {
                return Ok(());
            }
            let numbers = optimizer.upcoming(0.0).try_map(&mut |number| Ok(Tensor::number(number)))?;
            parameters.iter_mut().for_each(|parameter| parameter.gradient = None);
            optimizer.release(parameters, &numbers)?;
            optimizer.update(parameters, numbers)?;
            optimizer.updated();
            Ok(())
        })
    }

    /// Replaces the parameters by their moving averages, where these are kept: the end of training.
    ///
    /// # Errors
    /// There is no memory for one in the parameter's type.
    pub fn finalize(&mut self, parameters: &mut [ParameterUpdate<'_>]) -> Result<()> {
        let mut split = self.split(parameters);
        self.prepare(&mut split)?;
        self.each(&mut split, &mut |optimizer, parameters| {
            for (parameter, entry) in parameters.iter_mut().zip(&optimizer.entries) {
                if let Some(average) = &entry.average {
                    *parameter.value = average.cast(parameter.value.dtype())?;
                }
            }
            Ok(())
        })
    }

    fn check(&self, parameters: &mut [ParameterUpdate<'_>]) -> Result<()> {
        for ParameterUpdate { name, value, gradient } in parameters {
            let Some(gradient) = gradient else { continue };
            // Nothing else keeps an update from being finished, in which the parameter's only handle is lent to the rule.
            if !value.dtype().is_float() {
                let text = format!("the parameter `{name}` has elements of type {}", value.dtype());
                let error = kiln_autograd::Error::dtype(self.rule.name(), text);
                return Err(error.help("only floating-point parameters can be trained: .cast(DType::F32)").into());
            }
            if gradient.shape() != value.shape() {
                let text =
                    format!("the gradient of `{name}` has shape {}, the parameter {}", gradient.shape(), value.shape());
                let error = kiln_autograd::Error::shape(self.rule.name(), text);
                return Err(error.help("give each parameter the gradient of its own").into());
            }
            *gradient = gradient.cast(updated_in(value.dtype()))?;
        }
        Ok(())
    }

    /// Makes what is kept for the parameters, of this optimizer and of its parts.
    fn prepare(&mut self, split: &mut [Vec<ParameterUpdate<'_>>]) -> Result<()> {
        self.each(split, &mut |optimizer, parameters| optimizer.prepare_own(parameters))
    }

    /// Brings the entries into the order of the parameters; in a training loop they are in it already.
    fn prepare_own(&mut self, parameters: &[ParameterUpdate<'_>]) -> Result<()> {
        let is_same = |(entry, p): (&Entry, &ParameterUpdate<'_>)| entry.name == p.name && entry.spec == p.value.spec();
        if self.entries.len() < parameters.len() || !self.entries.iter().zip(parameters).all(is_same) {
            self.check_names(parameters)?;
            for (i, parameter) in parameters.iter().enumerate() {
                let (name, spec) = (parameter.name, parameter.value.spec());
                if let Some(after) = self.entries.iter().skip(i).position(|entry| entry.name == name) {
                    self.entries.swap(i, i + after);
                    continue;
                }
                let slots = self.rule.slots_of(name, Spec::new(spec.shape, updated_in(spec.dtype)));
                let treatment = self.treatment(name, spec);
                let name = name.to_owned();
                let entry = Entry { name, spec, slots, average: None, accumulated: None, is_begun: false, treatment };
                self.entries.insert(i, entry);
            }
        }
        if self.window() > 1 {
            for entry in &mut self.entries[..parameters.len()] {
                let mean = Spec::new(entry.spec.shape, updated_in(entry.spec.dtype));
                entry.accumulated.get_or_insert_with(|| Tensor::filled(mean, 0.0));
            }
        }
        if self.settings.use_ema {
            for (parameter, entry) in parameters.iter().zip(&mut self.entries).filter(|(_, e)| e.average.is_none()) {
                entry.average = Some(parameter.value.cast(updated_in(parameter.value.dtype()))?);
            }
        }
        Ok(())
    }

    /// Refuses names that do not tell parameters apart, before anything is kept for one.
    fn check_names(&self, parameters: &[ParameterUpdate<'_>]) -> Result<()> {
        let known: HashMap<&str, Spec> = self.entries.iter().map(|entry| (entry.name.as_str(), entry.spec)).collect();
        let mut seen = HashSet::new();
        for ParameterUpdate { name, value, .. } in parameters {
            if !seen.insert(*name) {
                return Err(twice(self.name(), name));
            }
            if let Some(known) = known.get(name).filter(|known| **known != value.spec()) {
                let text = format!("{}: the parameter `{name}` is {:?} and was {known:?}", self.name(), value.spec());
                return Err(Error::config(text, "make an optimizer for each model, and names that differ"));
            }
        }
        Ok(())
    }

    /// Of how many steps one update is made.
    fn window(&self) -> u64 {
        self.settings.gradient_accumulation_steps.unwrap_or(1)
    }

    /// What is known of the next update.
    fn iteration(&self) -> Iteration {
        let number = (self.iterations + 1) as f64;
        Iteration { number, rate: self.learning_rate(), product: self.rule.product(number, self.product) }
    }

    /// Whether averages replace the parameters after the next update.
    fn overwrites(&self) -> bool {
        let every = self.settings.ema_overwrite_frequency.filter(|_| self.settings.use_ema);
        every.is_some_and(|every| (self.iterations + 1).is_multiple_of(every))
    }

    /// Counts an update. No gradients wait for one any more.
    fn updated(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.is_begun = false);
        self.pending = (0.0, 0);
        self.product = self.iteration().product;
        self.iterations += 1;
    }

    /// The number of the way in which a parameter is updated.
    fn treatment(&mut self, name: &str, spec: Spec) -> usize {
        let treatment = self.settings.treatment(name, self.rule.decay_of(name, spec));
        let known = self.treatments.iter().position(|known| *known == treatment);
        known.unwrap_or_else(|| {
            self.treatments.push(treatment);
            self.treatments.len() - 1
        })
    }

    /// How much a parameter decays, if it does.
    fn decay(&self, parameter: &ParameterUpdate<'_>) -> Option<f64> {
        let (settings, name) = (&self.settings, parameter.name);
        let own = self.rule.decay_of(name, parameter.value.spec());
        let decay = settings.treatment(name, own).weight_decay.filter(|decay| *decay != 0.0);
        decay.filter(|_| !settings.exclude_from_weight_decay.iter().any(|part| name.contains(part.as_str())))
    }

    /// The optimizer as `{"name": …, "config": …}`, without its state; [`from_config`] reads it back.
    pub fn to_config(&self) -> Value {
        let mut arguments = match serde_json::to_value(&self.settings) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        };
        if let Value::Object(own) = self.rule.arguments() {
            arguments.extend(own);
        }
        if !self.parts.is_empty() {
            let part = |(pattern, part): &(String, Optimizer)| serde_json::json!([pattern, part.to_config()]);
            arguments.insert(PARTS.to_owned(), self.parts.iter().map(part).collect());
        }
        config::write(self.name(), Value::Object(arguments))
    }
}

/// The error of a name that two parameters have.
fn twice(optimizer: &str, name: &str) -> Error {
    let text = format!("{optimizer}: there are two parameters `{name}`");
    Error::config(text, "give each a name of its own: what is kept for it is kept by name")
}

/// The norm of all gradients together, as one vector, of rank 0: what `global_clipnorm` limits.
///
/// # Errors
/// Gradients that have no norm: they are no floats.
pub fn global_norm<'a>(gradients: impl IntoIterator<Item = &'a Tensor>) -> Result<Tensor> {
    let mut norms = Abreast::default();
    for gradient in gradients {
        match gradient.dtype() {
            // No wider type holds its squares.
            DType::F64 => norms.push([gradient.norm(2.0, ..)?]),
            _ => {
                let axes = std::array::from_fn(|axis| axis < gradient.rank());
                let norm = Reduce { fold: WideNorm, front: Itself, axes, keep_dims: false };
                norms.apply_owned(&norm, vec![gradient.clone()])?;
            }
        }
    }
    match &each_one(norms)?[..] {
        [] => Ok(Tensor::scalar(0.0, DType::F64)),
        [norm] => Ok(norm.clone()),
        norms => Ok(stack(&norms.iter().collect::<Vec<_>>(), 0)?.norm(2.0, ..)?),
    }
}

/// The one result of each call.
fn each_one(calls: Abreast) -> Result<Vec<Tensor>> {
    let results = calls.finish()?.into_iter().map(Outputs::one);
    Ok(results.collect::<Result<_, _>>()?)
}
