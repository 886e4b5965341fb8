//! A pass of a batch through a module: the tape, the random numbers, and what layers report besides their output.

use super::{Module, Parameter};
use crate::{Error, Result};
use kiln_autograd::ops::{CastOps, Value};
use kiln_autograd::{DType, Key, Tape, Tensor, Var};

/// One pass of a batch through a model: whether it trains, the tape, the random numbers, and what the layers report
/// back besides their output.
///
/// Nothing outlives the pass: parameters are bound to its tape and released with it.
#[derive(Debug)]
pub struct Pass {
    training: bool,
    tape: Option<Tape>,
    key: Key,
    draws: u64,
    bound: Vec<(u64, Var)>,
    /// What parameters are that are not their own tensors.
    assumed: Vec<(u64, Var)>,
    updates: Vec<(u64, Tensor)>,
    replaced: Vec<(u64, Tensor)>,
    /// The type that parameters are computed with, where it is not their own.
    compute: Option<DType>,
    penalties: Vec<Var>,
}

/// What layers report to a [`Pass`] besides their output.
pub(crate) struct Reported {
    /// Terms of the loss.
    pub(crate) penalties: Vec<Var>,
    updates: Vec<(u64, Tensor)>,
    /// Whether weights have been given other values.
    pub(crate) replaces: bool,
    /// How many keys have been drawn, from the first of the whole pass.
    pub(crate) draws: u64,
}

impl Reported {
    /// The new value of a statistic.
    pub(crate) fn update_of(&self, parameter: &Parameter) -> Option<&Tensor> {
        self.updates.iter().rev().find(|(id, _)| *id == parameter.id).map(|(_, value)| value)
    }
}

impl Pass {
    /// A pass that predicts: no tape, dropout off, statistics used and not changed.
    pub fn inference() -> Pass {
        Pass::with(false, None, Key::new(0))
    }

    /// A pass that trains, with gradients on a tape of its own. Equal keys give equal dropout.
    pub fn training(key: Key) -> Pass {
        Pass::with(true, Some(Tape::new()), key)
    }

    /// The same with layers as in inference: for gradients of what a model predicts.
    #[must_use]
    pub fn as_inference(self) -> Pass {
        Pass { training: false, ..self }
    }

    /// An input whose gradient is wanted, on the tape of a pass that has one.
    pub fn watch(&self, input: &Tensor) -> Var {
        self.tape.as_ref().map_or_else(|| Var::new(input.clone()), |tape| tape.watch(input))
    }

    fn with(training: bool, tape: Option<Tape>, key: Key) -> Pass {
        Pass {
            training,
            tape,
            key,
            draws: 0,
            bound: Vec::new(),
            assumed: Vec::new(),
            updates: Vec::new(),
            replaced: Vec::new(),
            compute: None,
            penalties: Vec::new(),
        }
    }

    /// Whether the model is being trained: dropout drops, batch normalization uses the batch.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// A parameter as a value of this pass. One that is used twice is bound once, and its gradients add up; one whose
    /// tensor has changed in between is bound again.
    pub fn parameter(&mut self, parameter: &Parameter) -> Var {
        let var = self.bind(parameter);
        match self.compute.filter(|dtype| *dtype != Value::dtype(&var) && Value::dtype(&var).is_float()) {
            // One cast of a float to another: it cannot fail.
            Some(dtype) => var.cast(dtype).unwrap_or(var),
            None => var,
        }
    }

    /// Runs a part of the pass with parameters in another type, into which they are cast; they stay what they are.
    pub(crate) fn computing_in<T>(&mut self, dtype: Option<DType>, part: impl FnOnce(&mut Pass) -> T) -> T {
        let before = self.compute;
        self.compute = dtype.or(before);
        let result = part(self);
        self.compute = before;
        result
    }

    /// Takes a value for a parameter from here on, instead of its tensor.
    pub(crate) fn assume(&mut self, parameter: &Parameter, value: Var) {
        self.assumed.retain(|(id, _)| *id != parameter.id);
        self.assumed.push((parameter.id, value));
    }

    /// The parameter in its own type.
    pub(crate) fn bind(&mut self, parameter: &Parameter) -> Var {
        if let Some((_, var)) = self.assumed.iter().find(|(id, _)| *id == parameter.id) {
            return var.clone();
        }
        let replaced = self.replaced.iter().rev().find(|(id, _)| *id == parameter.id);
        let tensor = replaced.map_or(&parameter.tensor, |(_, tensor)| tensor);
        let Some(tape) = self.tape.as_ref().filter(|_| parameter.is_trained()) else {
            return Var::new(tensor.clone());
        };
        let is_bound = |(id, var): &&(u64, Var)| *id == parameter.id && var.tensor().is_same(tensor);
        if let Some((_, var)) = self.bound.iter().find(is_bound) {
            return var.clone();
        }
        let var = tape.watch(tensor);
        self.bound.push((parameter.id, var.clone()));
        var
    }

    /// Whether gradients are followed.
    pub(crate) fn is_recorded(&self) -> bool {
        self.tape.is_some()
    }

    /// Makes passes through a part whose parameters are given it as values: without a tape, in the same mode and type, and all
    /// with the random numbers that would be drawn here.
    pub(crate) fn part(&mut self) -> impl Fn() -> Pass + use<> {
        let (training, compute, key, draws) = (self.training, self.compute, self.key.clone(), self.draws);
        move || Pass { compute, draws, ..Pass::with(training, None, key.clone()) }
    }

    /// What a pass through a part reports.
    pub(crate) fn reported(self) -> Reported {
        let replaces = !self.replaced.is_empty();
        Reported { penalties: self.penalties, updates: self.updates, replaces, draws: self.draws }
    }

    /// Goes on after what a part has drawn.
    pub(crate) fn draw_after(&mut self, draws: u64) {
        self.draws = draws;
    }

    /// A fresh key for random numbers: another at every call, the same in every pass with the same key.
    pub fn key(&mut self) -> Key {
        self.draws += 1;
        self.key.fold(self.draws)
    }

    /// Sets a statistic, such as a moving mean, when the pass has succeeded; one that is frozen stays.
    pub fn update(&mut self, parameter: &Parameter, value: Tensor) {
        if parameter.trainable {
            self.updates.push((parameter.id, value));
        }
    }

    /// What a statistic is after what this pass has set so far: a layer that is called twice moves it twice.
    pub fn current<'a>(&'a self, parameter: &'a Parameter) -> &'a Tensor {
        let set = self.updates.iter().rev().find(|(id, _)| *id == parameter.id);
        set.map_or(&parameter.tensor, |(_, value)| value)
    }

    /// Gives a weight another value, for what is left of this pass and when it has succeeded; the optimizer's update comes
    /// after. One that is frozen stays.
    pub fn replace(&mut self, parameter: &Parameter, value: Tensor) {
        if parameter.trainable {
            self.replaced.push((parameter.id, value.clone()));
            self.updates.push((parameter.id, value));
        }
    }

    /// Adds a term to the loss, such as a weight penalty.
    pub fn penalty(&mut self, term: Var) {
        self.penalties.push(term);
    }

    /// The sum of the terms that the layers added to the loss.
    ///
    /// # Errors
    /// Terms that are no single numbers.
    pub fn penalties(&self) -> Result<Option<Var>> {
        use kiln_autograd::ops::ArithmeticOps;
        let mut terms = self.penalties.iter();
        let Some(first) = terms.next() else { return Ok(None) };
        let mut total = first.clone();
        for term in terms {
            total = total.add(term)?;
        }
        Ok(Some(total))
    }

    /// The gradients of `loss` with respect to every bound parameter, by [`Module::parameters_mut`] order, and the new
    /// statistics stored in the module.
    ///
    /// # Errors
    /// A loss that is no single number; a parameter that was trained or a statistic that was set, but that the module
    /// does not show: it would be lost.
    #[track_caller]
    pub fn finish(self, loss: &Var, module: &mut (impl Module + ?Sized)) -> Result<Vec<Option<Tensor>>> {
        let mut gradients = if loss.is_tracked() { Some(loss.backward()?) } else { None };
        let (mut bound, mut updates) = (self.bound, self.updates);
        let mut found = Vec::new();
        module.parameters_mut(&mut |_, parameter| {
            let own = bound.extract_if(.., |(id, _)| *id == parameter.id).map(|(_, var)| var);
            found.push(match &mut gradients {
                Some(gradients) => sum_of(own.map(|var| gradients.take(&var))),
                None => own.map(|_| Ok(None)).last().unwrap_or(Ok(None)),
            });
            if let Some((_, value)) = updates.extract_if(.., |(id, _)| *id == parameter.id).last() {
                parameter.tensor = value;
            }
        });
        if let Some((_, var)) = bound.first() {
            return Err(hidden("a parameter that was used", var.tensor()));
        }
        if let Some((_, value)) = updates.first() {
            return Err(hidden("a statistic that was set", value));
        }
        found.into_iter().collect()
    }
}

/// The sum of the gradients that there are.
fn sum_of(gradients: impl Iterator<Item = Result<Option<Tensor>, kiln_autograd::Error>>) -> Result<Option<Tensor>> {
    use kiln_autograd::ops::ArithmeticOps;
    let mut total: Option<Tensor> = None;
    for gradient in gradients {
        total = match (total, gradient?) {
            (Some(total), Some(gradient)) => Some(total.add(&gradient)?),
            (total, gradient) => total.or(gradient),
        };
    }
    Ok(total)
}

fn hidden(what: &str, tensor: &Tensor) -> Error {
    Error::config(
        format!("the module does not show {what}, of shape {}: what it has learned would be lost", tensor.shape()),
        "name its field in `parameters!(…)`, or visit it in Module::parameters and Module::parameters_mut",
    )
}
