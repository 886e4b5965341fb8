//! Layers: outputs, gradients of inputs and weights, statistics, penalties.

use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{Manifest, text};
use kiln::autograd::ops::{ArithmeticOps, CastOps, ReduceOps};
use kiln::autograd::{DType, Key, Shape, Tensor, Var, gradients};
use kiln::nn::layers::from_config;
use kiln::nn::{AnyLayer, Built, Module, Pass, Signal};
use serde_json::{Map, Value, json};

pub(super) fn run(manifest: &Manifest, entry: &Value) -> Result<(), Stop> {
    let class = text(entry, "class");
    let layer = layer(entry)?;
    let inputs = list(entry, "inputs").map(|input| tensor(manifest, input, "tensor")).collect::<Result<Vec<_>, _>>()?;
    let states = states(entry).map(|key| Ok(manifest.tensor(key)?.clone())).collect::<Result<Vec<_>, Stop>>()?;
    let pairs = manifest.field(&entry["extra"], "attention_mask")?;
    let all: Vec<Tensor> = inputs.iter().chain(&states).cloned().collect();
    let shapes: Vec<Shape> = all.iter().chain(pairs).map(|x| Shape::new(&x.shape()[1..])).collect::<Result<_, _>>()?;
    let mut built = Built::of(layer, &shapes, Key::new(0), DType::F64)?;
    let order = place_weights(manifest, entry, &mut built)?;

    let training = entry["call"]["training"].as_bool();
    // What is random in training was run without; only the layers that are told to train do.
    let mut pass = Pass::training(Key::new(0));
    if training != Some(true) {
        pass = pass.as_inference();
    }
    let watched: Vec<Var> =
        all.iter().map(|x| if x.dtype().is_float() { pass.watch(x) } else { Var::new(x.clone()) }).collect();
    let mut signals: Vec<Signal> = watched.iter().cloned().map(Signal::from).collect();
    for (i, name) in [(0, "mask"), (0, "query_mask"), (1, "value_mask"), (2, "key_mask")] {
        // Keras's layer overwrites this argument by the mask that the query itself has, which is none here.
        if (class, name) == ("MultiHeadAttention", "query_mask") {
            continue;
        }
        if let (Some(key), Some(signal)) = (entry["extra"][name].as_str(), signals.get_mut(i)) {
            signal.mask = Some(Var::new(manifest.tensor(key)?.clone()));
        }
    }
    signals.extend(pairs.cloned().map(Signal::from));
    let outputs = built.call(&signals, &mut pass)?;
    let bound = tolerance(entry, "tol");
    let wanted: Vec<&Value> = list(entry, "outputs").collect();
    if outputs.len() != wanted.len() {
        return Err(Stop::Failed(format!("{class}: {} outputs, expected {}", outputs.len(), wanted.len())));
    }
    let mut total = pass.penalties()?;
    let penalty = total.as_ref().map_or(Ok(0.0), |sum| sum.tensor().item())?;
    bound.tensors("losses", &Tensor::new(penalty), &Tensor::new(entry["losses"].as_f64().unwrap_or(0.0)))?;
    for (i, (y, wanted)) in outputs.iter().zip(wanted).enumerate() {
        let want = tensor(manifest, wanted, "tensor")?;
        let found = y.value.tensor().cast(want.dtype())?;
        bound.tensors(&format!("output {i}"), &found, &want)?;
        if let Some(key) = wanted["cotangent"].as_str() {
            let term = y.value.mul(&Var::new(manifest.tensor(key)?.clone()))?.sum(..)?;
            total = Some(match total {
                Some(total) => total.add(&term)?,
                None => term,
            });
        }
    }
    // Of what is no number there are no gradients.
    let total = total.unwrap_or_else(|| Var::new(Tensor::new(0.0)));
    let mut weights = Vec::new();
    built.parameters(&mut |path, parameter| weights.push((path.to_owned(), pass.parameter(parameter))));
    let bound = tolerance(entry, "grad_tol");
    for wanted in list(entry, "grads") {
        let of = text(wanted, "of");
        let var = match source(entry, of) {
            Some(Source::Input(i)) => &watched[i],
            Some(Source::State(i)) => &watched[inputs.len() + i],
            Some(Source::Weight(i)) => &weights[order[i]].1,
            None => return Err(Stop::Failed(format!("the gradient is of an unknown `{of}`"))),
        };
        let gradient = match total.is_tracked() && var.is_tracked() {
            true => gradients(&[(&total, &Var::new(Tensor::new(1.0)))], &[var], false)?.swap_remove(0),
            false => None,
        };
        let zeros = || Tensor::filled(var.tensor().spec(), 0.0);
        let found = gradient.map_or_else(zeros, Var::into_tensor);
        let want = match wanted["grad"].as_str() {
            Some(key) => manifest.tensor(key)?.clone(),
            None => zeros(),
        };
        bound.tensors(&format!("gradient of {of}"), &found, &want)?;
    }
    let loss = Var::new(Tensor::new(0.0));
    pass.finish(&loss, &mut built)?;
    let mut after = Vec::new();
    built.parameters(&mut |_, parameter| after.push(parameter.tensor.clone()));
    for wanted in list(entry, "after") {
        let of = text(wanted, "of");
        let Some(Source::Weight(i)) = source(entry, of) else {
            return Err(Stop::Failed(format!("the statistic is of an unknown `{of}`")));
        };
        tolerance(entry, "tol").tensors(
            &format!("{of} after"),
            &after[order[i]],
            &tensor(manifest, wanted, "tensor")?,
        )?;
    }
    Ok(())
}

fn list<'a>(entry: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    entry.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn tensor(manifest: &Manifest, entry: &Value, field: &str) -> Result<Tensor, Stop> {
    Ok(manifest.tensor(text(entry, field))?.clone())
}

/// The keys of the initial states.
fn states(entry: &Value) -> impl Iterator<Item = &str> {
    (0..).map_while(|i| entry["extra"][format!("state{i}")].as_str())
}

/// What a gradient or a statistic is of.
enum Source {
    Input(usize),
    State(usize),
    Weight(usize),
}

fn source(entry: &Value, key: &str) -> Option<Source> {
    let at = |field: &str| list(entry, field).position(|item| text(item, "tensor") == key);
    let state = states(entry).position(|state| state == key);
    let weight = || list(entry, "weights").position(|item| text(item, "tensor") == key || text(item, "name") == key);
    at("inputs").map(Source::Input).or(state.map(Source::State)).or_else(|| weight().map(Source::Weight))
}

/// The layer of an entry.
fn layer(entry: &Value) -> Result<Box<dyn AnyLayer>, Stop> {
    let class = text(entry, "class");
    let mut config = entry["given"].as_object().cloned().unwrap_or_default();
    let described = |class: &str, config: &Value| json!({ "class": class, "config": config });
    let inner = &entry["inner"];
    match (class, inner.as_array()) {
        ("RNN", Some(cells)) => {
            let cells: Vec<Value> = cells
                .iter()
                .map(|cell| described(cell[0].as_str().unwrap_or_default(), &json!({ "units": cell[1] })))
                .collect();
            let stacked = described("StackedRNNCells", &json!({ "cells": cells }));
            config.insert("cell".into(), if cells.len() == 1 { cells[0].clone() } else { stacked });
        }
        (_, Some(inner)) => {
            let mut own = inner[1].as_object().cloned().unwrap_or_default();
            as_computed(&mut own);
            // The steps run inside of a loop, and what they add to the loss does not leave it.
            if class == "TimeDistributed" {
                own.remove("activity_regularizer");
            }
            let layer = described(inner[0].as_str().unwrap_or_default(), &Value::Object(own));
            config.insert("layer".into(), layer);
        }
        (_, None) => {}
    }
    // What Keras says in the call is said of the layer here.
    for name in ["use_causal_mask", "return_attention_scores"] {
        if entry["call"][name].as_bool() == Some(true) {
            config.insert(name.into(), json!(true));
        }
    }
    if entry["extra"]["attention_mask"].is_string() {
        config.insert("takes_attention_mask".into(), json!(true));
    }
    if class == "Dot"
        && let Some(axis) = config.get("axes").filter(|axes| axes.is_number()).cloned()
    {
        config.insert("axes".into(), json!([axis, axis]));
    }
    as_computed(&mut config);
    if class == "Rescaling" {
        for (_, value) in config.iter_mut().filter(|(name, _)| ["scale", "offset"].contains(&name.as_str())) {
            // Lists are taken as they are.
            *value = value.as_f64().map_or(value.clone(), |number| json!(f64::from(number as f32)));
        }
    }
    if class == "RandomFlip"
        && let Some(mode) = config.remove("mode")
    {
        for direction in ["horizontal", "vertical"] {
            config.insert(direction.into(), json!(mode.as_str().is_some_and(|mode| mode.contains(direction))));
        }
    }
    // Keras takes this argument of these and does nothing with it.
    if class == "SimpleRNN" {
        config.remove("activity_regularizer");
    }
    if config.get("activation") == Some(&json!("sparsemax")) {
        return Stop::unsupported("sparsemax (skipped: Keras's values do not add up to 1 where more than one is left)");
    }
    if class == "RandomCrop" {
        return Stop::unsupported("RandomCrop (skipped: outside of training Keras leaves images as large as they are)");
    }
    from_config(class, &Value::Object(config)).map_err(|error| {
        let what = error.to_string();
        Stop::Unsupported(format!("{class}: {}", what.lines().next().unwrap_or_default()))
    })
}

/// The arguments that say what a layer computes, as Keras reads them.
fn as_computed(config: &mut Map<String, Value>) {
    let says_how = [
        "seed",
        "name",
        "dtype",
        "unroll",
        "use_cudnn",
        "implementation",
        "flash_attention",
        "autocast",
        "trainable",
        "synchronized",
    ];
    let defaults =
        [("data_format", json!("channels_last")), ("stateful", json!(false)), ("fill_mode", json!("constant"))];
    config.retain(|name, value| {
        !says_how.contains(&name.as_str()) && !defaults.iter().any(|(known, default)| known == name && default == value)
    });
    in_single(config);
}

/// TensorFlow takes these settings in single precision, whatever the type of the values.
fn in_single(config: &mut Map<String, Value>) {
    for (name, value) in config {
        let factor = |value: f64| json!(f64::from(value as f32));
        match (name.as_str(), value.as_f64(), value.as_str()) {
            ("negative_slope" | "l1" | "l2", Some(number), _) => *value = factor(number),
            (_, None, None) if name.ends_with("regularizer") => {
                if let Some(own) = value.get_mut("config").and_then(Value::as_object_mut) {
                    in_single(own);
                }
            }
            (_, _, Some("l1" | "L1")) if name.ends_with("regularizer") => {
                *value = json!({ "name": "L1", "config": { "l1": factor(0.01) } })
            }
            (_, _, Some("l2" | "L2")) if name.ends_with("regularizer") => {
                *value = json!({ "name": "L2", "config": { "l2": factor(0.01) } })
            }
            _ => {}
        }
    }
}

/// The tolerance of an entry, or what is left of it where TensorFlow computes with a constant in single precision.
fn tolerance(entry: &Value, field: &str) -> Tolerance {
    let own = Tolerance::of(entry, field);
    if ["MultiHeadAttention", "GroupQueryAttention"].contains(&text(entry, "class")) {
        // 1/√key_dim.
        return Tolerance { rtol: own.rtol.max(1e-6), atol: own.atol.max(1e-7) };
    }
    if entry["given"]["interpolation"] == "bicubic" {
        // The weights are from a table of 1024 positions between two pixels.
        return Tolerance { rtol: own.rtol.max(1e-3), atol: own.atol.max(3e-3) };
    }
    if ["Resizing", "CenterCrop", "UpSampling2D"].contains(&text(entry, "class")) {
        // Images are resized in single precision.
        return Tolerance { rtol: own.rtol.max(1e-5), atol: own.atol.max(1e-6) };
    }
    if ["ReLU", "LeakyReLU"].contains(&text(entry, "class")) {
        // Slope and threshold.
        return Tolerance { rtol: own.rtol.max(1e-7), atol: own.atol.max(1e-7) };
    }
    // √2, and the slope of 0.2; a sum over steps has several of such errors.
    let activations = [&entry["given"]["activation"], &entry["inner"][1]["activation"]];
    if activations.iter().any(|name| matches!(name.as_str(), Some("gelu" | "leaky_relu"))) {
        return Tolerance { rtol: own.rtol.max(1e-7), atol: own.atol.max(1e-7) };
    }
    own
}

/// Puts the weights of the entry in place; for each of them, its number among the layer's own.
fn place_weights(manifest: &Manifest, entry: &Value, built: &mut Built) -> Result<Vec<usize>, Stop> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut own: Vec<(String, bool)> = Vec::new();
    built.parameters(&mut |path, _| own.push((path.to_owned(), false)));
    let mut order = Vec::new();
    let mut values = Vec::new();
    for weight in list(entry, "weights") {
        let name = last(text(weight, "name"));
        let found = own.iter().position(|(path, taken)| !taken && last(path) == name);
        let Some(found) = found else {
            let have: Vec<&str> = own.iter().map(|(path, _)| path.as_str()).collect();
            return Err(Stop::Failed(format!("no weight for `{}` among {have:?}", text(weight, "name"))));
        };
        own[found].1 = true;
        order.push(found);
        values.push(tensor(manifest, weight, "tensor")?);
    }
    if let Some((path, _)) = own.iter().find(|(_, taken)| !taken) {
        return Err(Stop::Failed(format!("Keras has no weight `{path}`")));
    }
    let (mut i, mut problem) = (0, None);
    built.parameters_mut(&mut |path, parameter| {
        if let Some(at) = order.iter().position(|own| *own == i) {
            if parameter.tensor.shape() != values[at].shape() {
                problem = Some(format!("`{path}` is {}, Keras's {}", parameter.tensor.shape(), values[at].shape()));
            }
            parameter.tensor = values[at].clone();
        }
        i += 1;
    });
    problem.map_or(Ok(order), |problem| Err(Stop::Failed(problem)))
}
