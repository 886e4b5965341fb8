//! Losses: the value and the gradient of the predictions.

use super::{config, supported};
use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{Manifest, text};
use kiln::autograd::{Tape, Tensor, Var, gradients};
use kiln::nn::losses;
use serde_json::Value;

pub(super) fn run(manifest: &Manifest, entry: &Value) -> Result<(), Stop> {
    let loss = supported(text(entry, "loss"), losses::from_config(&config(entry, "loss")))?;
    let tensor = |field| manifest.field(entry, field)?.ok_or_else(|| Stop::Failed(format!("the entry has no {field}")));
    let tape = Tape::new();
    let y_pred = tape.watch(tensor("y_pred")?);
    let y_true = Var::new(tensor("y_true")?.clone());
    let weight = manifest.field(entry, "sample_weight")?.cloned().map(Var::new);
    let value = loss.call(&y_true, &y_pred, weight.as_ref())?;
    Tolerance::of(entry, "tol").tensors("value", value.tensor(), tensor("value")?)?;
    let cotangent = match manifest.field(entry, "cotangent")? {
        Some(cotangent) => cotangent.clone(),
        None => Tensor::filled(value.tensor().spec(), 1.0),
    };
    let gradient = gradients(&[(&value, &Var::new(cotangent))], &[&y_pred], false)?.swap_remove(0);
    let gradient = gradient.map_or_else(|| Tensor::filled(y_pred.tensor().spec(), 0.0), Var::into_tensor);
    Ok(Tolerance::of(entry, "grad_tol").tensors("gradient", &gradient, tensor("grad_y_pred")?)?)
}
