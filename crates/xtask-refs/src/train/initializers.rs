//! Initializers: the parameters of their distributions exactly, and what they draw from statistics.

use super::supported;
use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{Manifest, number, numbers, text};
use kiln::autograd::{DType, Key, Tensor};
use kiln::nn::init::{Distribution, Initializer, fans, gain};
use serde_json::{Value, json};

pub(super) fn run(manifest: &Manifest, entry: &Value) -> Result<(), Stop> {
    let own = if entry.get("tol").is_some() { entry } else { &manifest.json };
    let tolerance = Tolerance::of(own, "tol");
    let config = entry.get("config").cloned().unwrap_or(json!({}));
    if text(entry, "distribution") == "gain" {
        let got = supported("gain", gain(text(&config, "nonlinearity"), config.get("param").and_then(number)))?;
        return Ok(tolerance.numbers("gain", &[got], &[field(entry, "gain")])?);
    }
    let mut shape: Vec<usize> =
        numbers(entry.get("shape").unwrap_or(&Value::Null)).unwrap_or_default().iter().map(|&d| d as usize).collect();
    let initializer = match text(entry, "library") {
        "torch" => {
            // PyTorch's kernels are (out, in, …), ours (…, in, out).
            if shape.len() >= 2 {
                shape[..].rotate_left(2);
                let n = shape.len();
                shape.swap(n - 1, n - 2);
            }
            torch(text(entry, "initializer"), &config)?
        }
        _ => supported(
            text(entry, "initializer"),
            Initializer::from_config(&json!({ "name": text(entry, "initializer"), "config": config })),
        )?,
    };
    if entry.get("fan_in").is_some() {
        let (inputs, outputs) = fans(&shape);
        tolerance.numbers(
            "fans",
            &[inputs as f64, outputs as f64],
            &[field(entry, "fan_in"), field(entry, "fan_out")],
        )?;
    }
    let distribution = initializer.distribution(&shape)?;
    match (text(entry, "distribution"), distribution) {
        ("exact", _) => {
            let drawn = initializer.init(Key::new(1), &shape, DType::F64)?;
            let want = numbers(entry.get("values").unwrap_or(&Value::Null)).unwrap_or_default();
            Ok(tolerance.numbers("values", &drawn.to_vec_as::<f64>(), &want)?)
        }
        ("orthogonal", _) => orthogonal(entry, &initializer.init(Key::new(1), &shape, DType::F64)?, tolerance),
        ("uniform", Distribution::Uniform { low, high }) => {
            tolerance.numbers("bounds", &[low, high], &[field(entry, "low"), field(entry, "high")])?;
            draws(entry, &initializer, &shape)
        }
        ("normal", Distribution::Normal { mean, deviation })
        | ("truncated_normal", Distribution::TruncatedNormal { mean, deviation }) => {
            let want = [field(entry, "mean"), field(entry, "stddev_parameter")];
            tolerance.numbers("mean and deviation", &[mean, deviation], &want)?;
            draws(entry, &initializer, &shape)
        }
        (want, got) => Err(Stop::Failed(format!("the distribution is {got:?}, expected {want}"))),
    }
}

fn field(entry: &Value, key: &str) -> f64 {
    entry.get(key).and_then(number).unwrap_or(f64::NAN)
}

/// Bounds, mean and deviation of a large sample: the same shape drawn with many keys.
fn draws(entry: &Value, initializer: &Initializer, shape: &[usize]) -> Result<(), Stop> {
    let mut sample = Vec::new();
    for seed in 0.. {
        sample.extend(initializer.init(Key::new(seed), shape, DType::F64)?.to_vec_as::<f64>());
        if sample.len() >= 100_000 {
            break;
        }
    }
    let n = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / n;
    let deviation = (sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    let (low, high, want) = (field(entry, "low"), field(entry, "high"), field(entry, "std"));
    if sample.iter().any(|x| *x < low || *x > high) {
        return Err(Stop::Failed(format!("a draw is outside of {low} … {high}")));
    }
    let near = Tolerance { rtol: 0.0, atol: 0.015 * want };
    Ok(near.numbers("mean and deviation of a sample", &[mean, deviation], &[field(entry, "mean"), want])?)
}

fn orthogonal(entry: &Value, drawn: &Tensor, tolerance: Tolerance) -> Result<(), Stop> {
    let flattened = numbers(entry.get("flattened").unwrap_or(&Value::Null)).unwrap_or_default();
    let [rows, columns] = flattened[..] else { return Err(Stop::Failed("the entry has no flattened shape".into())) };
    let (rows, columns, w) = (rows as usize, columns as usize, drawn.to_vec_as::<f64>());
    let by_columns = text(entry, "gram") == "columns";
    let (n, length) = if by_columns { (columns, rows) } else { (rows, columns) };
    let at = |i: usize, k: usize| if by_columns { w[k * columns + i] } else { w[i * columns + k] };
    let mut gram = Vec::new();
    let mut want = Vec::new();
    for i in 0..n {
        for j in 0..n {
            gram.push((0..length).map(|k| at(i, k) * at(j, k)).sum::<f64>());
            want.push(if i == j { field(entry, "gram_diagonal") } else { 0.0 });
        }
    }
    Ok(tolerance.numbers("gram", &gram, &want)?)
}

/// PyTorch's functions in terms of ours.
fn torch(name: &str, config: &Value) -> Result<Initializer, Stop> {
    let argument = |key: &str, default: f64| config.get(key).and_then(number).unwrap_or(default);
    let scaling = |scale: f64, mode: &str, distribution: &str| {
        let config = json!({ "scale": scale, "mode": mode, "distribution": distribution });
        supported(name, Initializer::from_config(&json!({ "name": "VarianceScaling", "config": config })))
    };
    let kaiming = |distribution: &str| {
        let activation = config.get("nonlinearity").and_then(Value::as_str).unwrap_or("leaky_relu");
        let factor = supported(name, gain(activation, Some(argument("a", 0.0))))?;
        let mode = config.get("mode").and_then(Value::as_str).unwrap_or("fan_in");
        scaling(factor * factor, mode, distribution)
    };
    match name {
        "xavier_uniform_" => scaling(argument("gain", 1.0).powi(2), "fan_avg", "uniform"),
        "xavier_normal_" => scaling(argument("gain", 1.0).powi(2), "fan_avg", "untruncated_normal"),
        "kaiming_uniform_" => kaiming("uniform"),
        "kaiming_normal_" => kaiming("untruncated_normal"),
        "uniform_" => Ok(Initializer::RandomUniform { minval: argument("a", 0.0), maxval: argument("b", 1.0) }),
        "normal_" => Ok(Initializer::RandomNormal { mean: argument("mean", 0.0), stddev: argument("std", 1.0) }),
        _ => Stop::unsupported(format!("torch {name}")),
    }
}
