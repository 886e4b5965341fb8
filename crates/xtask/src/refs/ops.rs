//! Single operations: outputs, and the gradients of the inputs from given cotangents. An operation that is missing in
//! `table.rs` is unsupported; to add one, add its row there.

mod table;

use super::compare::Tolerance;
use super::files::{Manifest, number, text};
use super::{Category, Outcome, Report, Stop};
use kiln::autograd::{Tape, Tensor, Var, gradients};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;

pub(crate) fn run(manifest: &Manifest, report: &mut Report) {
    let op = manifest.text("op").trim_start_matches("nn.functional.");
    for sample in manifest.list("samples") {
        report.add(Category::Ops, text(sample, "id"), outcome(manifest, op, sample));
    }
}

fn outcome(manifest: &Manifest, op: &str, sample: &Value) -> Outcome {
    let call = match Call::new(manifest, sample) {
        Ok(call) => call,
        Err(stop) => return Outcome::from(Err(stop)),
    };
    match call.outputs(op).and_then(|outputs| call.compare(&outputs).map(|()| outputs)) {
        Err(stop) => Outcome::from(Err(stop)),
        Ok(outputs) => match call.compare_gradients(&outputs) {
            Err(Stop::Failed(text)) if sample.get("nonsmooth") == Some(&Value::Bool(true)) => Outcome::FailedNonsmooth(text),
            result => Outcome::from(result),
        },
    }
}

/// The arguments of one call, by the names of PyTorch's parameters. Arguments that an operation does not ask for make
/// the sample unsupported, unless they have the value that stands for nothing.
pub(crate) struct Call<'a> {
    manifest: &'a Manifest,
    sample: &'a Value,
    /// Inputs that want a gradient, on the tape.
    watched: HashMap<String, Var>,
    asked: RefCell<Vec<String>>,
}

impl<'a> Call<'a> {
    fn new(manifest: &'a Manifest, sample: &'a Value) -> Result<Call<'a>, Stop> {
        let tape = Tape::new();
        let mut watched = HashMap::new();
        for gradient in list(sample, "grads") {
            let key = text(gradient, "of");
            watched.insert(key.to_owned(), tape.watch(manifest.tensor(key)?));
        }
        Ok(Call { manifest, sample, watched, asked: RefCell::default() })
    }

    fn outputs(&self, op: &str) -> Result<Vec<Var>, Stop> {
        if !self.sample.get("bound").is_some_and(Value::is_object) {
            return Stop::unsupported(format!("{op}: arguments without names"));
        }
        let outputs = table::call(op, self)?;
        let asked = self.asked.borrow();
        let bound = self.sample.get("bound").and_then(Value::as_object);
        let ignored = bound.into_iter().flatten().find(|(name, value)| !asked.contains(name) && !says_nothing(name, value));
        match ignored {
            Some((name, _)) => Stop::unsupported(format!("{op}: {name}")),
            None => Ok(outputs),
        }
    }

    fn argument(&self, name: &str) -> &'a Value {
        self.asked.borrow_mut().push(name.to_owned());
        self.sample.get("bound").and_then(|bound| bound.get(name)).unwrap_or(&Value::Null)
    }

    /// A tensor, on the tape where it wants a gradient.
    pub(crate) fn tensor(&self, name: &str) -> Result<Var, Stop> {
        self.optional_tensor(name)?.map_or_else(|| Stop::unsupported(format!("`{name}` is no tensor")), Ok)
    }

    /// A tensor, or `None` where the argument is something else.
    pub(crate) fn optional_tensor(&self, name: &str) -> Result<Option<Var>, Stop> {
        let Some(key) = self.argument(name).get("tensor").and_then(Value::as_str) else { return Ok(None) };
        match self.watched.get(key) {
            Some(var) => Ok(Some(var.clone())),
            None => Ok(Some(Var::new(self.manifest.tensor(key)?.clone()))),
        }
    }

    /// A number, or `None` where the argument is something else.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        number(self.argument(name))
    }

    /// A whole number, or `None`.
    pub(crate) fn integer(&self, name: &str) -> Option<isize> {
        self.argument(name).as_i64().map(|x| x as isize)
    }

    /// Whether a flag is set.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.argument(name) == &Value::Bool(true)
    }

    /// Axes: a number or a list; none where the argument is null.
    pub(crate) fn axes(&self, name: &str) -> Vec<isize> {
        match self.argument(name) {
            Value::Array(items) => items.iter().filter_map(Value::as_i64).map(|x| x as isize).collect(),
            value => value.as_i64().map(|x| x as isize).into_iter().collect(),
        }
    }

    fn compare(&self, outputs: &[Var]) -> Result<(), Stop> {
        let (want, tolerance) = (list(self.sample, "outputs"), Tolerance::of(self.sample, "tol"));
        if outputs.len() != want.len() {
            return Err(Stop::Failed(format!("{} outputs, expected {}", outputs.len(), want.len())));
        }
        for (i, (got, want)) in outputs.iter().zip(want).enumerate() {
            tolerance.tensors(&format!("output {i}"), got.tensor(), self.manifest.tensor(text(want, "tensor"))?)?;
        }
        Ok(())
    }

    fn compare_gradients(&self, outputs: &[Var]) -> Result<(), Stop> {
        let wanted = list(self.sample, "grads");
        let mut seeds = Vec::new();
        for (output, entry) in outputs.iter().zip(list(self.sample, "outputs")) {
            if let Some(cotangent) = self.manifest.field(entry, "cotangent")? {
                seeds.push((output, Var::new(cotangent.clone())));
            }
        }
        let seeds: Vec<(&Var, &Var)> = seeds.iter().map(|(output, cotangent)| (*output, cotangent)).collect();
        let inputs: Vec<&Var> = wanted.iter().filter_map(|entry| self.watched.get(text(entry, "of"))).collect();
        if inputs.is_empty() || seeds.is_empty() {
            return Ok(());
        }
        let got = gradients(&seeds, &inputs, false)?;
        let tolerance = Tolerance::of(self.sample, "grad_tol");
        for ((entry, input), got) in wanted.iter().zip(inputs).zip(got) {
            let zeros = || Tensor::filled(input.tensor().spec(), 0.0);
            let got = got.map_or_else(zeros, Var::into_tensor);
            let want = self.manifest.field(entry, "grad")?.cloned().unwrap_or_else(zeros);
            tolerance.tensors(&format!("gradient of {}", text(entry, "of")), &got, &want)?;
        }
        Ok(())
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Arguments that only say where a result goes, or that nothing is asked for.
fn says_nothing(name: &str, value: &Value) -> bool {
    value.is_null() || value == &Value::Bool(false) || matches!(name, "out" | "inplace" | "_stacklevel")
}
