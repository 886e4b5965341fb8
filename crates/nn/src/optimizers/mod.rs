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

pub use muon::Muon;
pub use norms::*;
pub use record::RecordedUpdate;
use record::{GroupNumbers, Numbers};
pub use registry::{IntoOptimizer, from_config, from_name};
use rule::Sealed;
pub use rule::{Iteration, Step, UpdateRule};
pub use rules::*;
pub use scale::LossScale;
use scale::Scaling;
use settings::Treatment;
pub use settings::{Convention, Group, LearningRate, Settings};
pub use signs::*;
pub use step::{constrain, updates};

use crate::{Error, Result, config};
use kiln_autograd::ops::{
    ArithmeticOps, BoundOps, CastOps, ComparisonOps, Elementwise, Function, MathOps, ReduceOps, SelectOps,
    StatisticsOps, stack,
};
use kiln_autograd::{DType, Scalar, Spec, Tensor};
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

/// `a · old + b · new`, with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Blend;

impl Function<2> for Blend {
    const NAME: &'static str = "blend";
    const NUMBERS: usize = 2;

    fn call<S: Scalar>(&self, x: [S; 2]) -> [S; 1] {
        self.call_with(x, &[S::lit(1.0), S::lit(1.0)])
    }

    #[inline(always)]
    fn call_with<S: Scalar>(&self, [old, new]: [S; 2], numbers: &[S]) -> [S; 1] {
        [numbers[0].clone() * old + numbers[1].clone() * new]
    }
}

/// `[mean, gradient]` to the mean of both: a sum of large gradients may be no number where their mean is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Accumulate;

impl Function<2> for Accumulate {
    const NAME: &'static str = "accumulate";
    /// How much of the new mean the old one makes, 0 where there is none, and how much the gradient.
    const NUMBERS: usize = 2;

    fn call<S: Scalar>(&self, x: [S; 2]) -> [S; 1] {
        self.call_with(x, &[S::lit(1.0), S::lit(1.0)])
    }

    #[inline(always)]
    fn call_with<S: Scalar>(&self, [mean, gradient]: [S; 2], numbers: &[S]) -> [S; 1] {
        // What there was before is not multiplied by 0: it may be no number.
        let old = numbers[0].clone() * mean;
        let old = S::select(S::lit(0.0).lt(numbers[0].clone()), old, S::lit(0.0));
        [old + numbers[1].clone() * gradient]
    }
}

/// A mean of gradients of parameter `i` with one more, or with none.
fn accumulated(mean: Tensor, gradient: Option<Tensor>, i: usize, numbers: &Numbers<Tensor>) -> Result<Tensor> {
    let Some(gradient) = gradient else { return Ok(mean.mul(&numbers.old[i])?) };
    let x = vec![mean, gradient, numbers.old[i].clone(), numbers.new.clone()];
    Ok(Tensor::apply_owned(&Elementwise::<_, 2, 1>(Accumulate), x)?.one()?)
}

fn blend(old: Tensor, a: Tensor, new: Tensor, b: f64) -> Result<Tensor> {
    let x = vec![old, new, a, Tensor::number(b)];
    Ok(Tensor::apply_owned(&Elementwise::<_, 2, 1>(Blend), x)?.one()?)
}

/// The factor that brings a norm down to the limit. One that is not finite makes the gradient NaN: it must not pass for a
/// small one.
fn shrink(norm: &Tensor, limit: f64) -> Result<Tensor> {
    let factor = norm.gt(limit)?.select(&norm.reciprocal()?.mul(limit)?, 1.0)?;
    Ok(norm.is_finite()?.select(&factor, f64::NAN)?)
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

    /// Takes gradients into the means that wait for an update.
    fn accumulate(&mut self, parameters: &mut [ParameterUpdate<'_>], numbers: &Numbers<Tensor>) -> Result<()> {
        for (i, parameter) in parameters.iter_mut().enumerate() {
            let gradient = parameter.gradient.take();
            let entry = &mut self.entries[i];
            if let Some(mean) = entry.accumulated.take_if(|_| gradient.is_some() || entry.is_begun) {
                entry.accumulated = accumulated(mean, gradient, i, numbers)?.into();
            }
        }
        Ok(())
    }

    /// Hands the means of the accumulated gradients and these to the parameters. What is kept stays as it is: an update
    /// may fail.
    fn release(&self, parameters: &mut [ParameterUpdate<'_>], numbers: &Numbers<Tensor>) -> Result<()> {
        for (i, (parameter, entry)) in parameters.iter_mut().zip(&self.entries).enumerate() {
            let gradient = parameter.gradient.take();
            parameter.gradient = match entry.accumulated.as_ref().filter(|_| gradient.is_some() || entry.is_begun) {
                Some(mean) => Some(accumulated(mean.clone(), gradient, i, numbers)?),
                None => gradient,
            };
        }
        Ok(())
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

    fn update(&mut self, parameters: &mut [ParameterUpdate<'_>], numbers: Numbers<Tensor>) -> Result<()> {
        let one = Tensor::number(1.0);
        let Numbers { groups, .. } = numbers;
        let step = |group: GroupNumbers<Tensor>| {
            let step = Step { rate: group.rate, numbers: group.rule, keep: one.clone(), scale: one.clone() };
            (step, group.keep)
        };
        let mut groups: Vec<(Step, Tensor)> = groups.into_iter().map(step).collect();
        let whole = match self.settings.global_clipnorm {
            Some(limit) => Some(shrink(&global_norm(parameters.iter().filter_map(|p| p.gradient.as_ref()))?, limit)?),
            None => None,
        };
        // What the rules that may fail have made, until none can any more.
        let mut made = Vec::new();
        for (i, parameter) in parameters.iter_mut().enumerate() {
            let Some(gradient) = parameter.gradient.take() else { continue };
            let (scale, mut gradient) = self.clipped(whole.as_ref(), parameter, gradient)?;
            let decays = self.decay(parameter).is_some() && !self.settings.weight_decay_in_gradient;
            let (step, keep) = &mut groups[self.entries[i].treatment];
            step.scale = scale;
            step.keep = if decays { keep.clone() } else { one.clone() };
            let entry = &mut self.entries[i];
            let dtype = parameter.value.dtype();
            let slots = entry.slots.iter_mut().map(|slot| &mut slot.1);
            let mut held: Vec<&mut Tensor> = std::iter::once(&mut *parameter.value).chain(slots).collect();
            let in_place = self.rule.is_in_place(Sealed)
                && dtype == updated_in(dtype)
                && held.iter_mut().all(|tensor| tensor.is_exclusive());
            let mut x = Vec::with_capacity(16);
            x.extend(held.iter_mut().map(|tensor| match in_place {
                true => std::mem::replace(*tensor, self.nothing.clone()),
                false => tensor.clone(),
            }));
            x[0] = x[0].cast(updated_in(dtype))?;
            if !self.rule.decays(Sealed) {
                if decays {
                    x[0] = x[0].mul(&std::mem::replace(&mut step.keep, one.clone()))?;
                }
                if self.settings.maximize || self.settings.clipnorm.or(self.settings.global_clipnorm).is_some() {
                    gradient = gradient.mul(&std::mem::replace(&mut step.scale, one.clone()))?;
                }
            }
            let wanted: Vec<Spec> = x.iter().map(Tensor::spec).collect();
            x.insert(1, gradient);
            let mut y = self.rule.update(step, x)?;
            if y.len() != wanted.len() || y.iter().zip(&wanted).any(|(y, wanted)| y.spec() != *wanted) {
                let found: Vec<Spec> = y.iter().map(Tensor::spec).collect();
                let text = format!(
                    "{}: the update of `{}` gives {found:?} for {wanted:?}, the parameter and what is kept for it",
                    self.rule.name(),
                    parameter.name
                );
                return Err(Error::config(
                    text,
                    "return the new parameter, then each slot, of the same shapes and types",
                ));
            }
            y[0] = y[0].cast(dtype)?;
            match in_place {
                true => held.into_iter().zip(y).for_each(|(old, new)| *old = new),
                false => made.push((i, y)),
            }
        }
        for (i, y) in made {
            let slots = self.entries[i].slots.iter_mut().map(|slot| &mut slot.1);
            std::iter::once(&mut *parameters[i].value).chain(slots).zip(y).for_each(|(old, new)| *old = new);
        }
        if self.settings.use_ema {
            self.average(parameters)?;
        }
        Ok(())
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

    /// A gradient clipped, and decayed where it has the decay; and a factor that is left for the rule. All gradients
    /// together are clipped by the factor `whole`.
    fn clipped(
        &self,
        whole: Option<&Tensor>,
        parameter: &ParameterUpdate<'_>,
        mut gradient: Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let settings = &self.settings;
        let mut scale = match (settings.clipnorm, whole) {
            (Some(limit), _) => shrink(&global_norm([&gradient])?, limit)?.cast(gradient.dtype())?,
            (None, Some(whole)) => whole.cast(gradient.dtype())?,
            (None, None) => Tensor::number(1.0),
        };
        if let Some(limit) = settings.clipvalue {
            gradient = gradient.clamp(-limit, limit)?;
        }
        if settings.maximize {
            scale = scale.mul(-1.0)?;
        }
        let decay = self.decay(parameter).filter(|_| settings.weight_decay_in_gradient);
        if let Some(decay) = decay {
            let scaled = std::mem::replace(&mut scale, Tensor::number(1.0));
            let value = parameter.value.cast(gradient.dtype())?;
            gradient = blend(gradient, scaled, value, decay)?;
        }
        Ok((scale, gradient))
    }

    fn average(&mut self, parameters: &mut [ParameterUpdate<'_>]) -> Result<()> {
        // The first average is that of one value, not of it and the initial one.
        let momentum = if self.iterations == 0 { 0.0 } else { self.settings.ema_momentum };
        let overwrites = self.overwrites();
        for (parameter, entry) in parameters.iter_mut().zip(&mut self.entries) {
            let dtype = parameter.value.dtype();
            let value = parameter.value.cast(updated_in(dtype))?;
            let Some(average) = entry.average.take() else { continue };
            let average = blend(average, Tensor::number(momentum), value, 1.0 - momentum)?;
            if overwrites {
                *parameter.value = average.cast(dtype)?;
            }
            entry.average = Some(average);
        }
        Ok(())
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
    let norm = |gradient: &Tensor| match gradient.dtype() {
        // No wider type holds its squares.
        DType::F64 => gradient.norm(2.0, ..),
        _ => gradient.reduce(WideNorm, ..),
    };
    let norms = gradients.into_iter().map(norm).collect::<Result<Vec<_>, _>>()?;
    match &norms[..] {
        [] => Ok(Tensor::scalar(0.0, DType::F64)),
        [norm] => Ok(norm.clone()),
        norms => Ok(stack(&norms.iter().collect::<Vec<_>>(), 0)?.norm(2.0, ..)?),
    }
}
