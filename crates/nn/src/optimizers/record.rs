//! An update that is recorded as part of a step of training: its numbers, which change from step to step, become inputs of
//! the recording, and later steps ask for them alone.

use super::{Entry, Iteration, Optimizer, ParameterUpdate};
use crate::Result;
use kiln_autograd::{Tensor, Trace};

/// An update as [`Optimizer::record`] has seen it.
#[derive(Debug)]
pub struct RecordedUpdate {
    kind: Kind,
    /// The entries whose parameters had a gradient.
    with_gradient: Vec<usize>,
    /// The others for which gradients had been accumulated.
    waiting: Vec<usize>,
    /// What the optimizers of parts did.
    parts: Vec<RecordedUpdate>,
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
    /// Those of each way in which parameters are updated, and first of those in no group.
    pub(super) groups: Vec<GroupNumbers<T>>,
    /// How much of the mean of accumulated gradients the new ones make.
    pub(super) new: T,
    /// For each entry how much of that mean the accumulated ones make, 0 where there are none; nothing where none ever
    /// are.
    pub(super) old: Vec<T>,
}

/// The numbers of parameters that are updated in one way.
#[derive(Debug)]
pub(super) struct GroupNumbers<T> {
    /// The learning rate.
    pub(super) rate: T,
    /// What decay leaves of a parameter.
    pub(super) keep: T,
    /// The rule's own.
    pub(super) rule: Vec<T>,
}

impl<T> Numbers<T> {
    /// `f` of each, always in the same order.
    pub(super) fn try_map<U>(self, f: &mut dyn FnMut(T) -> Result<U>) -> Result<Numbers<U>> {
        let mut group = |group: GroupNumbers<T>| {
            let (rate, keep) = (f(group.rate)?, f(group.keep)?);
            Ok(GroupNumbers { rate, keep, rule: group.rule.into_iter().map(&mut *f).collect::<Result<_>>()? })
        };
        Ok(Numbers {
            groups: self.groups.into_iter().map(&mut group).collect::<Result<_>>()?,
            new: f(self.new)?,
            old: self.old.into_iter().map(f).collect::<Result<_>>()?,
        })
    }

    fn into_vec(self) -> Vec<T> {
        let mut all = Vec::with_capacity(1 + 8 * self.groups.len() + self.old.len());
        for group in self.groups {
            all.extend([group.rate, group.keep]);
            all.extend(group.rule);
        }
        all.push(self.new);
        all.extend(self.old);
        all
    }
}

impl RecordedUpdate {
    /// The optimizer's own, and those of its parts.
    fn all(&self) -> impl Iterator<Item = &RecordedUpdate> {
        [self].into_iter().chain(&self.parts)
    }
}

impl Optimizer {
    /// Whether [`Optimizer::record`] can: every tensor that is kept from step to step exists, and an average is begun.
    pub fn can_record(&self) -> bool {
        self.all().all(|one| {
            let is_complete = |entry: &Entry| {
                (entry.accumulated.is_some() || one.window() == 1) && (entry.average.is_some() || !one.settings.use_ema)
            };
            // The first update makes the average what it is, as no later one does; a step that was skipped is none.
            one.entries.iter().all(is_complete) && (one.iterations > 0 || !one.settings.use_ema)
        })
    }

    /// [`Optimizer::apply_weighted`] on parameters that `trace` records. What changes from step to step, the learning rate and
    /// the corrections of moments, becomes its next inputs; [`Optimizer::numbers`] gives them for another step that
    /// [`Optimizer::repeats`].
    ///
    /// # Errors
    /// As there.
    pub fn record(
        &mut self,
        parameters: &mut [ParameterUpdate<'_>],
        weight: f64,
        trace: &Trace,
    ) -> Result<RecordedUpdate> {
        self.apply_with(parameters, weight, &mut |number| Ok(trace.input(&Tensor::number(number))?))
    }

    /// Whether the next step is the operations of a recorded one: with accumulated gradients, and averages that replace
    /// parameters now and then, not each is.
    pub fn repeats(&self, update: &RecordedUpdate) -> bool {
        let mut pairs = self.all().zip(update.all());
        pairs.all(|(one, update)| {
            update.kind == one.kind() && one.waiting(&update.with_gradient).eq(update.waiting.iter().copied())
        })
    }

    /// What the next step on these parameters does.
    pub(super) fn upcoming_update(&self, split: &[Vec<ParameterUpdate<'_>>]) -> RecordedUpdate {
        let of = |(one, parameters): (&Optimizer, &Vec<ParameterUpdate<'_>>)| {
            let with_gradient: Vec<usize> =
                (0..parameters.len()).filter(|&i| parameters[i].gradient.is_some()).collect();
            let waiting = one.waiting(&with_gradient).collect();
            RecordedUpdate { kind: one.kind(), with_gradient, waiting, parts: Vec::new() }
        };
        let mut all = self.all().zip(split).map(of);
        match all.next() {
            Some(own) => RecordedUpdate { parts: all.collect(), ..own },
            None => {
                RecordedUpdate { kind: self.kind(), with_gradient: Vec::new(), waiting: Vec::new(), parts: Vec::new() }
            }
        }
    }

    /// The entries for which gradients have been accumulated, but for some.
    fn waiting(&self, but: &[usize]) -> impl Iterator<Item = usize> {
        let begun = self.entries.iter().enumerate().filter(|(_, entry)| entry.is_begun);
        begun.map(|(i, _)| i).filter(|i| !but.contains(i))
    }

    /// The numbers of the next step, whose gradients count `weight` times, in the order of the inputs that
    /// [`Optimizer::record`] has made.
    pub fn numbers(&self, weight: f64) -> Vec<f64> {
        self.all().flat_map(|one| one.upcoming(weight).into_vec()).collect()
    }

    /// What the numbers are, for readers.
    pub fn number_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (part, one) in self.all().enumerate() {
            let part = part.checked_sub(1).map_or("", |i| &self.parts[i].0);
            let numbers = one.upcoming(1.0);
            for (i, group) in numbers.groups.iter().enumerate() {
                let patterns = |entry: &Entry| {
                    let patterns = one.settings.groups_of(&entry.name).map(|group| group.pattern.as_str());
                    patterns.collect::<Vec<_>>().join(" and ")
                };
                let entry = one.entries.iter().find(|entry| i > 0 && entry.treatment == i);
                let of = entry.map_or_else(|| part.to_owned(), patterns);
                let of = if of.is_empty() { String::new() } else { format!(" of {of}") };
                names.extend(["rate", "decay"].map(|name| format!("{name}{of}")));
                names.extend((1..=group.rule.len()).map(|n| format!("number {n}{of}")));
            }
            names.push("share of the gradients".to_owned());
            let old = one.entries.iter().take(numbers.old.len());
            names.extend(old.map(|entry| format!("share of accumulated {}", entry.name)));
        }
        names
    }

    /// Counts a step that a recording has done in this optimizer's place, with gradients that count `weight` times.
    ///
    /// # Errors
    /// With a dynamic loss scale, gradients that are not finite at any.
    pub fn count_step(&mut self, update: &RecordedUpdate, weight: f64) -> Result<()> {
        let name = self.rule.name();
        if let Some(scaling) = &mut self.scaling
            && !scaling.settle(name)?
        {
            return Ok(());
        }
        self.count_own(update, weight);
        self.parts.iter_mut().zip(&update.parts).for_each(|((_, part), update)| part.count_own(update, weight));
        Ok(())
    }

    fn count_own(&mut self, update: &RecordedUpdate, weight: f64) {
        match update.kind.updates {
            true => self.updated(),
            false => {
                update.with_gradient.iter().for_each(|&i| self.entries[i].is_begun = true);
                self.pending = ((self.pending.0 + weight).min(f64::MAX), self.pending.1 + 1);
            }
        }
        self.steps += 1;
    }

    /// What the next step does.
    pub(super) fn kind(&self) -> Kind {
        let updates = self.pending.1 + 1 >= self.window();
        Kind { updates, overwrites: updates && self.overwrites() }
    }

    /// The numbers of the next step, whose gradients count `weight` times.
    pub(super) fn upcoming(&self, weight: f64) -> Numbers<f64> {
        let iteration = self.iteration();
        // As quotients of the weights, whose sum may be no number. What counts nothing leaves everything as it is.
        let (old, new) = match (self.pending.0, weight) {
            (_, 0.0) => (1.0, 0.0),
            (pending, weight) => (1.0 / (1.0 + weight / pending), 1.0 / (1.0 + pending / weight)),
        };
        let share = |entry: &Entry| if entry.is_begun { old } else { 0.0 };
        let group = |factor: f64, decay: Option<f64>| {
            let iteration = Iteration { rate: iteration.rate * factor, ..iteration };
            let decay = decay.filter(|_| !self.settings.weight_decay_in_gradient).unwrap_or(0.0);
            let keep = 1.0 - decay * iteration.rate;
            GroupNumbers { rate: iteration.rate, keep, rule: self.rule.numbers(&iteration) }
        };
        Numbers {
            groups: self.treatments.iter().map(|way| group(way.rate_factor, way.weight_decay)).collect(),
            new,
            old: if self.window() > 1 { self.entries.iter().map(share).collect() } else { Vec::new() },
        }
    }

    /// Shows each tensor that is kept for a parameter, with the names of the parameter and of the slot.
    ///
    /// # Errors
    /// The visitor's.
    pub fn visit(&mut self, f: &mut dyn FnMut(&str, &str, &mut Tensor) -> Result<()>) -> Result<()> {
        self.visit_own(f)?;
        self.parts.iter_mut().try_for_each(|(_, part)| part.visit_own(f))?;
        match self.scaling.as_mut().filter(|scaling| scaling.is_dynamic()) {
            Some(scaling) => f("the gradients", "finiteness", &mut scaling.finite),
            None => Ok(()),
        }
    }

    pub(super) fn visit_own(&mut self, f: &mut dyn FnMut(&str, &str, &mut Tensor) -> Result<()>) -> Result<()> {
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
