//! PyTorch's runs: so many steps over given batches, each number of the first one and those at the end.

use super::tolerance;
use super::torch::{Torch, names};
use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{Manifest, number, numbers, text};
use crate::train::optimizers;
use kiln::autograd::ops::*;
use kiln::autograd::{Key, Tensor, Var};
use kiln::nn::module::named_parameters;
use kiln::nn::{Module, Optimizer, ParameterUpdate, Pass};
use serde_json::{Value, json};

pub(super) fn run(manifest: &Manifest) -> Result<(), Stop> {
    let mut model = Torch::read(manifest)?;
    let given = manifest.json.get("optimizer").unwrap_or(&Value::Null);
    let mut optimizer = optimizers::torch(&json!({ "optimizer": text(given, "name"), "config": given.get("config") }))?;
    let loss = Objective::read(manifest.json.get("loss").unwrap_or(&Value::Null))?;
    let size = |key: &str| manifest.json.get(key).and_then(Value::as_u64).unwrap_or(0) as isize;
    let (steps, batches) = (size("steps"), size("batches").max(1));
    let rates = manifest.json.get("lr_at_step").and_then(numbers).unwrap_or_default();
    let limit = manifest.json.get("clip_grad_norm").and_then(number);
    let batch = |i: isize| -> Result<(Var, Var), Stop> {
        Ok((Var::new(manifest.tensor("x")?.index(0, i)?), Var::new(manifest.tensor("y")?.index(0, i)?)))
    };
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let (x, y) = batch(step % batches)?;
        let mut pass = Pass::training(Key::new(0));
        let output = model.forward(&x, &mut pass)?;
        let value = loss.call(&output, &y)?;
        losses.push(value.tensor().item()?);
        let mut gradients = pass.finish(&value, &mut model)?;
        if step == 0 {
            first_step(manifest, &model, output.tensor(), &gradients)?;
        }
        norms.push(clip(&mut gradients, limit)?);
        if let Some(&rate) = rates.get(step as usize) {
            optimizer.set_learning_rate(rate)?;
        }
        apply(&mut optimizer, &mut model, gradients)?;
    }
    let close = tolerance(manifest, "loss");
    let want = |key: &str| manifest.json.get(key).and_then(numbers).ok_or_else(|| Stop::Failed(format!("no `{key}`")));
    close.numbers("losses", &losses, &want("losses")?)?;
    close.numbers("grad_norm_before_clip", &norms, &want("grad_norm_before_clip")?)?;
    let (x, y) = batch(0)?;
    let output = model.forward(&x, &mut Pass::inference())?;
    let value = loss.call(&output, &y)?.tensor().item()?;
    close.numbers("final_eval_loss_on_batch_0", &[value], &want("final_eval_loss_on_batch_0")?)?;
    let close = tolerance(manifest, "weights");
    close.tensors("final.eval_output", output.tensor(), manifest.tensor("final.eval_output")?)?;
    compare(
        manifest,
        close,
        "final",
        &named_parameters(&model),
        &[names(manifest, "parameters"), names(manifest, "buffers")].concat(),
    )
}

/// What the model is trained for: a loss of PyTorch's, as a mean over all elements or as their sum.
struct Objective {
    kind: Kind,
    sums: bool,
}

enum Kind {
    CrossEntropy {
        smoothing: f64,
    },
    SquaredError,
    AbsoluteError,
    /// The absolute error with a round foot of this width; PyTorch's smooth loss is Huber's divided by it.
    Huber {
        delta: f64,
        smooth: bool,
    },
    BinaryCrossEntropy,
}

impl Objective {
    fn read(loss: &Value) -> Result<Objective, Stop> {
        let given = |key: &str, default: f64| loss.get(key).and_then(number).unwrap_or(default);
        let (kind, argument) = match text(loss, "name") {
            "cross_entropy" => (Kind::CrossEntropy { smoothing: given("label_smoothing", 0.0) }, "label_smoothing"),
            "mse_loss" | "mse" => (Kind::SquaredError, ""),
            "l1_loss" => (Kind::AbsoluteError, ""),
            "huber_loss" => (Kind::Huber { delta: given("delta", 1.0), smooth: false }, "delta"),
            "smooth_l1_loss" => (Kind::Huber { delta: given("beta", 1.0), smooth: true }, "beta"),
            "binary_cross_entropy_with_logits" => (Kind::BinaryCrossEntropy, ""),
            _ => return Stop::unsupported(format!("the loss {loss}")),
        };
        let known = |key: &str| matches!(key, "name" | "reduction" | "over") || key == argument;
        let sums = text(loss, "reduction") == "sum";
        if loss.as_object().is_some_and(|all| all.keys().any(|key| !known(key)))
            || !(sums || matches!(text(loss, "reduction"), "mean" | ""))
        {
            return Stop::unsupported(format!("the loss {loss}"));
        }
        Ok(Objective { kind, sums })
    }

    fn call(&self, output: &Var, y: &Var) -> Result<Var, Stop> {
        let each = match self.kind {
            Kind::CrossEntropy { smoothing } => {
                let own = output.cross_entropy(y)?.mul(1.0 - smoothing)?;
                let all = MathOps::neg(&output.log_softmax(-1)?.mean(-1)?)?;
                if smoothing == 0.0 { own } else { own.add(&all.mul(smoothing)?)? }
            }
            Kind::SquaredError => output.sub(y)?.square()?,
            Kind::AbsoluteError => output.sub(y)?.abs()?,
            Kind::Huber { delta, smooth } => {
                let far = output.sub(y)?.abs()?;
                let loss = far.le(delta)?.select(&far.square()?.mul(0.5)?, &far.sub(0.5 * delta)?.mul(delta)?)?;
                if smooth { loss.div(delta)? } else { loss }
            }
            // −log σ(x) where y is 1, −log σ(−x) where it is 0.
            Kind::BinaryCrossEntropy => output.softplus()?.sub(&output.mul(y)?)?,
        };
        Ok(if self.sums { each.sum(..)? } else { each.mean(..)? })
    }
}

/// The output and the gradients of the first step, which show the layer that is off.
fn first_step(manifest: &Manifest, model: &Torch, output: &Tensor, gradients: &[Option<Tensor>]) -> Result<(), Stop> {
    let close = tolerance(manifest, "step0");
    close.tensors("step0.output", output, manifest.tensor("step0.output")?)?;
    let named = named_parameters(model).into_iter().zip(gradients);
    let named: Vec<(String, Tensor)> =
        named.filter_map(|((name, _), gradient)| Some((name, gradient.clone()?))).collect();
    compare(manifest, close, "step0.grad", &named, &names(manifest, "parameters"))
}

/// Compares the tensors of these names with those under `prefix.name` of the file.
fn compare(
    manifest: &Manifest,
    close: Tolerance,
    prefix: &str,
    got: &[(String, Tensor)],
    names: &[&str],
) -> Result<(), Stop> {
    for name in names {
        let key = format!("{prefix}.{name}");
        let Some((_, tensor)) = got.iter().find(|(n, _)| n == name) else {
            return Err(Stop::Failed(format!("there is no {key}")));
        };
        close.tensors(&key, tensor, manifest.tensor(&key)?)?;
    }
    Ok(())
}

/// Scales the gradients down to a total norm of `limit`; returns the norm before.
fn clip(gradients: &mut [Option<Tensor>], limit: Option<f64>) -> Result<f64, Stop> {
    let mut total = 0.0;
    for gradient in gradients.iter().flatten() {
        total += gradient.square()?.sum(..)?.item()?;
    }
    let norm = total.sqrt();
    if let Some(limit) = limit {
        let factor = (limit / (norm + 1e-6)).min(1.0);
        for gradient in gradients.iter_mut().flatten() {
            *gradient = gradient.mul(factor)?;
        }
    }
    Ok(norm)
}

fn apply(optimizer: &mut Optimizer, model: &mut Torch, gradients: Vec<Option<Tensor>>) -> Result<(), Stop> {
    let names: Vec<String> = named_parameters(model).into_iter().map(|(name, _)| name).collect();
    let mut named = names.iter().zip(gradients);
    let mut updates = Vec::new();
    model.parameters_mut(&mut |_, parameter| {
        if let Some((name, gradient)) = named.next()
            && parameter.is_trained()
        {
            updates.push(ParameterUpdate { name, value: &mut parameter.tensor, gradient });
        }
    });
    Ok(optimizer.apply(&mut updates)?)
}
