//! What training would miss of an optimizer: taken out and put back.

use super::{Entry, Optimizer, ParameterUpdate, twice, updated_in};
use crate::{Error, Result};
use kiln_autograd::{DType, Spec, Tensor};

impl Optimizer {
    /// Everything that training would miss: counters, and the tensors of each parameter as `parameter/slot`.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let counters = [
            ("iterations", self.iterations as f64),
            ("steps", self.steps as f64),
            ("product", self.product),
            ("rate_factor", self.factor),
            ("pending_weight", self.pending.0),
            ("pending_count", self.pending.1 as f64),
        ];
        let mut state: Vec<(String, Tensor)> =
            counters.map(|(name, value)| (name.to_owned(), Tensor::scalar(value, DType::F64))).into();
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
    /// A tensor of another shape or type than its parameter's, or one that is missing; a name that two parameters have.
    pub fn load_state(&mut self, parameters: &[ParameterUpdate<'_>], state: &[(String, Tensor)]) -> Result<()> {
        let find = |name: &str| state.iter().find(|(key, _)| key == name).map(|(_, tensor)| tensor);
        let number = |name: &str, most: f64| match find(name) {
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
        let mut entries: Vec<Entry> = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            if entries.iter().any(|entry| entry.name == parameter.name) {
                return Err(twice(self.name(), parameter.name));
            }
            let spec = parameter.value.spec();
            let kept = Spec::new(spec.shape, updated_in(spec.dtype));
            let mut slots = self.rule.slots(kept);
            let key = |slot: &str| format!("{}/{slot}", parameter.name);
            // A parameter without a slot in the state has never been updated.
            let fresh = !slots.iter().any(|slot| find(&key(slot.0)).is_some());
            for (name, tensor) in slots.iter_mut().filter(|_| !fresh) {
                let key = key(name);
                *tensor = saved(&key, tensor.spec())?.ok_or_else(|| missing(self.name(), &key))?;
            }
            let (average, accumulated) = (saved(&key("average"), kept)?, saved(&key("accumulated"), kept)?);
            let is_begun = accumulated.is_some();
            entries.push(Entry { name: parameter.name.to_owned(), spec, slots, average, accumulated, is_begun });
        }
        (self.iterations, self.steps, self.product) = (iterations as u64, steps as u64, product);
        (self.factor, self.pending, self.entries) = (factor, pending, entries);
        Ok(())
    }
}

fn missing(optimizer: &str, key: &str) -> Error {
    Error::config(
        format!("{optimizer}: the saved state has no `{key}`"),
        "load the state of an optimizer of the same type",
    )
}
