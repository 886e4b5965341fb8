//! An update that is recorded as part of a step of training: its numbers, which change from step to step, become inputs of
//! the recording, and later steps ask for them alone.

use super::{Entry, Optimizer, ParameterUpdate};
use crate::Result;
use kiln_autograd::{Tensor, Trace};

/// An update as [`Optimizer::record`] has seen it.
#[derive(Debug)]
pub struct RecordedUpdate {
    kind: Kind,
    /// The entries whose parameters had a gradient.
    with_gradient: Vec<usize>,
}

/// What a step does: steps of the same kind are the same operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// Whether it updates the parameters, or accumulates their gradients only.
    pub(super) updates: bool,
    /// Whether averages replace the parameters after it.
    pub(super) overwrites: bool,
}

/// The numbers of a step, which are operands of its operations.
#[derive(Debug)]
pub(super) struct Numbers<T> {
    /// The learning rate.
    pub(super) rate: T,
    /// What decay leaves of a parameter.
    pub(super) keep: T,
    /// How often the gradients count in an accumulation.
    pub(super) weight: T,
    /// What makes a mean of accumulated gradients.
    pub(super) share: T,
    /// The rule's own.
    pub(super) rule: Vec<T>,
    /// For each entry whether gradients have been accumulated for it, 1 or 0; none where none ever are.
    pub(super) begun: Vec<T>,
}

impl<T> Numbers<T> {
    /// `f` of each, always in the same order.
    pub(super) fn try_map<U>(self, mut f: impl FnMut(T) -> Result<U>) -> Result<Numbers<U>> {
        Ok(Numbers {
            rate: f(self.rate)?,
            keep: f(self.keep)?,
            weight: f(self.weight)?,
            share: f(self.share)?,
            rule: self.rule.into_iter().map(&mut f).collect::<Result<_>>()?,
            begun: self.begun.into_iter().map(&mut f).collect::<Result<_>>()?,
        })
    }

    fn into_vec(self) -> Vec<T> {
        let mut all = Vec::with_capacity(4 + self.rule.len() + self.begun.len());
        all.extend([self.rate, self.keep, self.weight, self.share]);
        all.extend(self.rule);
        all.extend(self.begun);
        all
    }
}

impl Optimizer {
    /// Whether [`Optimizer::record`] can: every tensor that is kept from step to step exists. Averages begin with the
    /// first update.
    pub fn can_record(&self) -> bool {
        let accumulates = self.window() > 1;
        let is_complete = |entry: &Entry| {
            (entry.accumulated.is_some() || !accumulates) && (entry.average.is_some() || !self.settings.use_ema)
        };
        self.entries.iter().all(is_complete)
    }

    /// [`Optimizer::apply`] on parameters that `trace` records. What changes from step to step, the learning rate and the
    /// corrections of moments, becomes its next inputs; [`Optimizer::numbers`] gives them for another step that
    /// [`Optimizer::repeats`].
    ///
    /// # Errors
    /// As there.
    pub fn record(&mut self, parameters: &mut [ParameterUpdate<'_>], trace: &Trace) -> Result<RecordedUpdate> {
        let with_gradient = (0..parameters.len()).filter(|&i| parameters[i].gradient.is_some()).collect();
        let update = RecordedUpdate { kind: self.kind(), with_gradient };
        self.apply_with(parameters, 1.0, |number| Ok(trace.input(&Tensor::number(number))?))?;
        Ok(update)
    }

    /// Whether the next step is the operations of a recorded one: with accumulated gradients, and averages that replace
    /// parameters now and then, not each is.
    pub fn repeats(&self, update: &RecordedUpdate) -> bool {
        update.kind == self.kind()
    }

    /// The numbers of the next step, in the order of the inputs that [`Optimizer::record`] has made.
    pub fn numbers(&self) -> Vec<f64> {
        self.upcoming(1.0).into_vec()
    }

    /// What the numbers are, for readers.
    pub fn number_names(&self) -> Vec<String> {
        let numbers = self.upcoming(1.0);
        let named = ["rate", "decay", "weight of the gradients", "share of a gradient"].map(str::to_owned);
        let own = (1..=numbers.rule.len()).map(|n| format!("number {n}"));
        let begun = self.entries.iter().take(numbers.begun.len());
        named.into_iter().chain(own).chain(begun.map(|entry| format!("is begun of {}", entry.name))).collect()
    }

    /// Counts a step that a recording has done in this optimizer's place.
    pub fn count_step(&mut self, update: &RecordedUpdate) {
        if self.window() > 1 {
            for &entry in &update.with_gradient {
                self.entries[entry].is_begun = true;
            }
            self.pending = (self.pending.0 + 1.0, self.pending.1 + 1);
        }
        if update.kind.updates {
            self.released();
            self.updated();
        }
        self.steps += 1;
    }

    /// What the next step does.
    fn kind(&self) -> Kind {
        let updates = self.pending.1 + 1 >= self.window();
        Kind { updates, overwrites: updates && self.overwrites() }
    }

    /// The numbers of the next step, whose gradients count `weight` times.
    pub(super) fn upcoming(&self, weight: f64) -> Numbers<f64> {
        let iteration = self.iteration();
        let is_begun = |entry: &Entry| f64::from(u8::from(entry.is_begun));
        let decay = self.settings.weight_decay.filter(|_| !self.settings.weight_decay_in_gradient);
        Numbers {
            rate: iteration.rate,
            keep: 1.0 - decay.unwrap_or(0.0) * iteration.rate,
            weight,
            share: 1.0 / (self.pending.0 + weight),
            rule: self.rule.numbers(&iteration),
            begun: if self.window() > 1 { self.entries.iter().map(is_begun).collect() } else { Vec::new() },
        }
    }

    /// Shows each tensor that is kept for a parameter, with the names of the parameter and of the slot.
    ///
    /// # Errors
    /// The visitor's.
    pub fn visit(&mut self, f: &mut dyn FnMut(&str, &str, &mut Tensor) -> Result<()>) -> Result<()> {
        for entry in &mut self.entries {
            for (slot, tensor) in &mut entry.slots {
                f(&entry.name, slot, tensor)?;
            }
            for (slot, tensor) in [("average", &mut entry.average), ("accumulated", &mut entry.accumulated)] {
                if let Some(tensor) = tensor {
                    f(&entry.name, slot, tensor)?;
                }
            }
        }
        Ok(())
    }
}
