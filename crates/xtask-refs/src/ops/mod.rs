//! Single operations: outputs, what the call changed, and the gradients of the inputs from given cotangents.
//!
//! Each family has a table from PyTorch's name to the call that does the same here.

mod activations;
mod call;
mod convolutions;
mod elementwise;
mod indexing;
mod losses;
mod matrices;
mod normalization;
mod ordering;
mod reductions;
mod resizing;
mod shapes;

use super::compare::Tolerance;
use super::files::{Manifest, text};
use super::{Category, Outcome, Report, Stop};
use call::Call;
use kiln::autograd::ops::Value as _;
use kiln::autograd::{Tensor, Var, gradients};
use serde_json::Value;

/// What a row of a table does: the outputs, in order.
type Row = fn(&Call) -> Result<Vec<Var>, Stop>;

/// Whether a gradient is less exact than its type: PyTorch computes that of CELU with alpha in single precision, of doubles too.
fn is_rounded(op: &str, sample: &Value) -> bool {
    let alpha = || sample.get("bound")?.get("alpha")?.as_f64();
    let rounded = |x: f64| f64::from(x as f32) != x;
    op == "nn.functional.celu" && alpha().is_some_and(|a| rounded(1.0 / a) || rounded(a))
}

fn row(op: &str) -> Option<Row> {
    let tables: [fn(&str) -> Option<Row>; 11] = [
        elementwise::row,
        activations::row,
        reductions::row,
        matrices::row,
        shapes::row,
        indexing::row,
        ordering::row,
        convolutions::row,
        normalization::row,
        losses::row,
        resizing::row,
    ];
    tables.iter().find_map(|table| table(op))
}

pub(crate) fn run(manifest: &Manifest, report: &mut Report) {
    let op = manifest.text("op");
    for sample in manifest.list("samples") {
        let id = text(sample, "id");
        let outcome = match row(op) {
            None => Outcome::Unsupported(op.to_owned()),
            Some(row) => check(manifest, sample, row, report),
        };
        report.add(Category::Ops, id, outcome);
    }
}

fn check(manifest: &Manifest, sample: &Value, row: Row, report: &mut Report) -> Outcome {
    let outputs = || -> Result<(Call, Vec<Var>), Stop> {
        let call = Call::new(manifest, sample)?;
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| row(&call)));
        let y = caught.map_err(|_| Stop::Failed("panicked".to_owned()))??;
        compare_outputs(manifest, sample, &y)?;
        compare_mutated(manifest, sample, &call)?;
        Ok((call, y))
    };
    let (call, y) = match outputs() {
        Ok(both) => both,
        Err(stop) => return Err(stop).into(),
    };
    if let Some(more) = call.more() {
        report.add_more(Category::Ops, more);
    }
    match compare_gradients(manifest, sample, &call, &y) {
        Err(Stop::Failed(text)) if sample.get("nonsmooth").is_some_and(|flag| flag == true) => {
            Outcome::FailedNonsmooth(text)
        }
        result => result.into(),
    }
}

fn list<'a>(sample: &'a Value, key: &str) -> &'a [Value] {
    sample.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn compare_outputs(manifest: &Manifest, sample: &Value, y: &[Var]) -> Result<(), Stop> {
    let outputs = list(sample, "outputs");
    if outputs.len() != y.len() {
        return Err(Stop::Failed(format!("{} outputs, expected {}", y.len(), outputs.len())));
    }
    let tolerance = Tolerance::of(sample, "tol");
    for (i, (output, y)) in outputs.iter().zip(y).enumerate() {
        tolerance.tensors(&format!("output {i}"), y.tensor(), manifest.tensor(text(output, "tensor"))?)?;
    }
    Ok(())
}

/// Inputs that the call changes in PyTorch, and returns here.
fn compare_mutated(manifest: &Manifest, sample: &Value, call: &Call) -> Result<(), Stop> {
    for mutated in list(sample, "mutated") {
        let key = text(mutated, "of");
        let Some(got) = call.mutated(key) else { return Stop::unsupported(format!("the new value of `{key}`")) };
        Tolerance::of(sample, "tol").tensors(&format!("new {key}"), &got, manifest.tensor(text(mutated, "after"))?)?;
    }
    Ok(())
}

fn compare_gradients(manifest: &Manifest, sample: &Value, call: &Call, y: &[Var]) -> Result<(), Stop> {
    let wanted = list(sample, "grads");
    if wanted.is_empty() {
        return Ok(());
    }
    let mut pairs = Vec::new();
    for (output, y) in list(sample, "outputs").iter().zip(y) {
        if let Some(cotangent) = manifest.field(output, "cotangent")? {
            pairs.push((y, Var::new(cotangent.clone())));
        }
    }
    let wrt: Vec<Var> = wanted.iter().map(|w| call.input(text(w, "of"))).collect::<Result<_, Stop>>()?;
    let tracked: Vec<(&Var, &Var)> = pairs.iter().filter(|(y, _)| y.is_tracked()).map(|(y, c)| (*y, c)).collect();
    let got = match tracked.is_empty() {
        true => vec![None; wrt.len()],
        false => gradients(&tracked, &wrt.iter().collect::<Vec<_>>(), false)?,
    };
    let tolerance = match is_rounded(manifest.text("op"), sample) {
        true => Tolerance { rtol: f64::from(f32::EPSILON), atol: f64::from(f32::EPSILON) },
        false => Tolerance::of(sample, "grad_tol"),
    };
    for ((wanted, x), got) in wanted.iter().zip(&wrt).zip(got) {
        let zeros = || Tensor::filled(x.tensor().spec(), 0.0);
        let got = got.map_or_else(zeros, Var::into_tensor);
        let want = manifest.field(wanted, "grad")?.cloned().unwrap_or_else(zeros);
        tolerance.tensors(&format!("gradient of {}", text(wanted, "of")), &got, &want)?;
    }
    debug_assert!(wrt.iter().all(|x| x.dtype().is_float()));
    Ok(())
}
