//! Optimizers: the parameters after each of the steps with given gradients.

use super::{schedules, supported};
use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{Manifest, number, text};
use kiln::autograd::Tensor;
use kiln::autograd::ops::ViewOps;
use kiln::nn::optimizers::{self, Optimizer, ParameterUpdate};
use serde_json::{Map, Value, json};

pub(super) fn run(manifest: &Manifest, entry: &Value) -> Result<(), Stop> {
    let mut optimizer = match text(entry, "library") {
        "torch" => torch(entry)?,
        _ => keras(entry)?,
    };
    let tensors = |field: &str| -> Result<Vec<&Tensor>, Stop> {
        let keys = entry.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        keys.iter().filter_map(Value::as_str).map(|key| manifest.tensor(key)).collect()
    };
    let (start, gradients, trajectory) = (tensors("params")?, tensors("grads")?, tensors("trajectory")?);
    let names: Vec<String> = (0..start.len()).map(|i| format!("p{i}")).collect();
    let mut values: Vec<Tensor> = start.iter().map(|&tensor| tensor.clone()).collect();
    let tolerance = Tolerance::of(entry, "tol");
    let steps = entry.get("steps").and_then(Value::as_i64).unwrap_or(0);
    for step in 0..steps as isize {
        let mut parameters = Vec::new();
        for ((name, value), gradient) in names.iter().zip(&mut values).zip(&gradients) {
            parameters.push(ParameterUpdate { name, value, gradient: Some(gradient.index(0, step)?) });
        }
        optimizer.apply(&mut parameters)?;
        for ((name, value), trajectory) in names.iter().zip(&values).zip(&trajectory) {
            tolerance.tensors(&format!("{name} after step {step}"), value, &trajectory.index(0, step)?)?;
        }
    }
    Ok(())
}

/// The optimizer that an entry's `optimizer` and `config` describe, in Keras's terms.
pub(crate) fn keras(entry: &Value) -> Result<Optimizer, Stop> {
    let mut config = entry.get("config").cloned().unwrap_or(json!({}));
    if let Some(rate) = config.get("learning_rate").filter(|rate| rate.is_object()) {
        let schedule = schedules::keras(text(rate, "schedule"), rate.get("config"))?;
        config["learning_rate"] = serde_json::to_value(schedule).unwrap_or_default();
    }
    build(text(entry, "optimizer"), config)
}

fn build(name: &str, config: Value) -> Result<Optimizer, Stop> {
    supported(name, optimizers::from_config(&json!({ "name": name, "config": config })))
}

/// PyTorch's names of arguments, and ours.
const TORCH: &[(&str, &str)] = &[
    ("lr", "learning_rate"),
    ("momentum", "momentum"),
    ("dampening", "dampening"),
    ("nesterov", "nesterov"),
    ("alpha", "rho"),
    ("rho", "rho"),
    ("eps", "epsilon"),
    ("centered", "centered"),
    ("amsgrad", "amsgrad"),
    ("initial_accumulator_value", "initial_accumulator_value"),
    ("beta2_decay", "beta_2_decay"),
    ("d", "clip_threshold"),
    ("lambd", "lambd"),
    ("t0", "t0"),
];

/// The same in PyTorch's terms.
pub(crate) fn torch(entry: &Value) -> Result<Optimizer, Stop> {
    let name = text(entry, "optimizer");
    let given = entry.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut config = Map::from_iter([("convention".to_owned(), json!("PyTorch"))]);
    for (argument, value) in &given {
        let float = number(value).unwrap_or(0.0);
        match argument.as_str() {
            "momentum_decay" if float == 0.004 => {}
            "betas" => {
                config.insert("beta_1".into(), value[0].clone());
                config.insert("beta_2".into(), value[1].clone());
            }
            "weight_decay" if name == "Adafactor" => {
                config.insert("weight_decay".into(), json!(float));
            }
            "weight_decay" => {
                config.insert("weight_decay".into(), json!(float));
                config.entry("weight_decay_in_gradient").or_insert(json!(true));
            }
            "decoupled_weight_decay" => {
                config.insert("weight_decay_in_gradient".into(), json!(value != &json!(true)));
            }
            "maximize" => {
                config.insert("maximize".into(), value.clone());
            }
            "alpha" if name == "ASGD" => {
                config.insert("alpha".into(), json!(float));
            }
            "etas" | "step_sizes" => {
                let pair =
                    if argument == "etas" { ["eta_minus", "eta_plus"] } else { ["step_size_min", "step_size_max"] };
                for (i, ours) in pair.into_iter().enumerate() {
                    config.insert(ours.into(), json!(number(&value[i])));
                }
            }
            "eps" if name == "Adafactor" => {
                // Unless it is given, it is the precision of the parameters.
                config.insert("epsilon_1".into(), json!(number(&value[0]).unwrap_or(f64::EPSILON)));
                config.insert("epsilon_2".into(), json!(number(&value[1])));
            }
            "lr_decay" if float == 0.0 => {}
            "lr_decay" => {
                let rate = given.get("lr").and_then(number).unwrap_or(0.0);
                let decay = json!({ "initial_learning_rate": rate, "decay_steps": 1, "decay_rate": float });
                config.insert("learning_rate".into(), json!({ "name": "InverseTimeDecay", "config": decay }));
            }
            // The decay of the rate, met later or before, has set it.
            "lr" if config.contains_key("learning_rate") => {}
            argument => match TORCH.iter().find(|(torch, _)| *torch == argument) {
                Some((_, ours)) => {
                    config.insert((*ours).into(), if value.is_boolean() { value.clone() } else { json!(float) });
                }
                None => return Stop::unsupported(format!("torch {name}: {argument}")),
            },
        }
    }
    build(name, Value::Object(config))
}
