//! What training would miss of an optimizer: taken out and put back.

use super::{Entry, LearningRate, Optimizer, ParameterUpdate, twice, updated_in};
use crate::{Error, Result};
use kiln_autograd::{DType, Spec, Tensor};

impl Optimizer {
    /// Everything that training would miss: counters, and the tensors of each parameter as `parameter/slot`. Counters of parts
    /// come below their patterns.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = self.own_state("");
        for (pattern, part) in &self.parts {
            state.extend(part.own_state(&below(pattern)));
        }
        state
    }

    /// The learning rate, where no schedule gives it.
    fn constant_rate(&self) -> Option<f64> {
        match self.settings.learning_rate {
            LearningRate::Constant(rate) => Some(rate),
            _ => None,
        }
    }

    fn own_state(&self, prefix: &str) -> Vec<(String, Tensor)> {
        let scaling = self.scaling.as_ref();
        let counters = [
            ("iterations", Some(self.iterations as f64)),
            ("steps", Some(self.steps as f64)),
            ("product", Some(self.product)),
            ("rate_factor", Some(self.factor)),
            ("learning_rate", self.constant_rate()),
            ("pending_weight", Some(self.pending.0)),
            ("pending_count", Some(self.pending.1 as f64)),
            ("loss_scale", scaling.map(|scaling| scaling.scale)),
            ("loss_scale_steps", scaling.map(|scaling| scaling.good as f64)),
        ];
        let counter =
            |(name, value): (&str, Option<f64>)| Some((format!("{prefix}{name}"), Tensor::scalar(value?, DType::F64)));
        let mut state: Vec<(String, Tensor)> = counters.into_iter().filter_map(counter).collect();
        for entry in &self.entries {
            let slots = entry.slots.iter().map(|(name, tensor)| (*name, tensor));
            let average = entry.average.iter().map(|tensor| ("average", tensor));
            let accumulated = entry.accumulated.iter().filter(|_| entry.is_begun).map(|tensor| ("accumulated", tensor));
            let all = slots.chain(average).chain(accumulated);
            state.extend(all.map(|(name, tensor)| (format!("{}/{name}", entry.name), tensor.clone())));
        }
        state
    }

    /// Takes the state that [`Optimizer::state`] gave, for the parameters of which value and name are given.
    ///
    /// # Errors
    /// A tensor of another shape or type than its parameter's, or one that is missing; a name that two parameters have. Nothing
    /// is changed then.
    pub fn load_state(&mut self, parameters: &[ParameterUpdate<'_>], state: &[(String, Tensor)]) -> Result<()> {
        let mut loaded = self.clone();
        let of = |part: usize| -> Vec<(&str, Spec)> {
            let own = parameters.iter().filter(|parameter| self.part_of(parameter.name) == part);
            own.map(|parameter| (parameter.name, parameter.value.spec())).collect()
        };
        loaded.load_own("", &of(0), state)?;
        for (i, (pattern, part)) in loaded.parts.iter_mut().enumerate() {
            part.load_own(&below(pattern), &of(i + 1), state)?;
        }
        *self = loaded;
        Ok(())
    }

    fn load_own(&mut self, prefix: &str, parameters: &[(&str, Spec)], state: &[(String, Tensor)]) -> Result<()> {
        let find = |name: &str| state.iter().find(|(key, _)| key == name).map(|(_, tensor)| tensor);
        let number = |name: &str, most: f64| match find(&format!("{prefix}{name}")) {
            Some(tensor) => match tensor.item()? {
                number if (0.0..=most).contains(&number) => Ok(number),
                number => {
                    let text = format!("{}: the saved `{name}` is {number}", self.name());
                    Err(Error::config(text, "load the state of an optimizer of the same type"))
                }
            },
            None => Err(missing(self.name(), name)),
        };
        // As many as a double counts.
        let counter = |name: &str| number(name, 2f64.powi(53));
        let saved = |key: &str, wanted: Spec| match find(key) {
            Some(tensor) if tensor.spec() != wanted => {
                let text = format!("{}: the saved `{key}` is {:?}, not {wanted:?}", self.name(), tensor.spec());
                Err(Error::config(text, "load the state into the model it was saved from"))
            }
            found => Ok::<_, Error>(found.cloned()),
        };
        let (iterations, steps, product) = (counter("iterations")?, counter("steps")?, counter("product")?);
        let (factor, pending) =
            (counter("rate_factor")?, (number("pending_weight", f64::MAX)?, counter("pending_count")? as u64));
        let scale = self
            .scaling
            .is_some()
            .then(|| Ok::<_, Error>((number("loss_scale", f64::MAX)?, counter("loss_scale_steps")?)));
        let scale = scale.transpose()?;
        // Files from before rates were part of the state have none.
        let key = format!("{prefix}learning_rate");
        let rate = self.constant_rate().filter(|_| find(&key).is_some()).map(|_| number("learning_rate", f64::MAX));
        let rate = rate.transpose()?;
        let mut entries: Vec<Entry> = Vec::with_capacity(parameters.len());
        for &(name, spec) in parameters {
            if entries.iter().any(|entry| entry.name == name) {
                return Err(twice(self.name(), name));
            }
            let kept = Spec::new(spec.shape, updated_in(spec.dtype));
            let mut slots = self.rule.slots_of(name, kept);
            let key = |slot: &str| format!("{name}/{slot}");
            // A parameter without a slot in the state has never been updated.
            let fresh = !slots.iter().any(|slot| find(&key(slot.0)).is_some());
            for (slot, tensor) in slots.iter_mut().filter(|_| !fresh) {
                let key = key(slot);
                *tensor = saved(&key, tensor.spec())?.ok_or_else(|| missing(self.name(), &key))?;
            }
            let (average, accumulated) = (saved(&key("average"), kept)?, saved(&key("accumulated"), kept)?);
            let is_begun = accumulated.is_some();
            entries.push(Entry { name: name.to_owned(), spec, slots, average, accumulated, is_begun, treatment: 0 });
        }
        entries.iter_mut().for_each(|entry| entry.treatment = self.treatment(&entry.name, entry.spec));
        (self.iterations, self.steps, self.product) = (iterations as u64, steps as u64, product);
        (self.factor, self.pending, self.entries) = (factor, pending, entries);
        if let Some(rate) = rate {
            self.settings.learning_rate = LearningRate::Constant(rate);
        }
        if let (Some(scaling), Some((scale, good))) = (&mut self.scaling, scale) {
            (scaling.scale, scaling.good) = (scale, good as u64);
        }
        Ok(())
    }
}

/// Where the counters of a part are.
fn below(pattern: &str) -> String {
    format!("{pattern}: ")
}

fn missing(optimizer: &str, key: &str) -> Error {
    Error::config(
        format!("{optimizer}: the saved state has no `{key}`"),
        "load the state of an optimizer of the same type",
    )
}
