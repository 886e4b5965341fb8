//! A PyTorch model as a module: its `forward` is written in the manifest as a chain, `conv1 -> bn1 -> relu -> fc`.

use super::call::Call;
use crate::Stop;
use crate::files::Manifest;
use kiln::autograd::ops::*;
use kiln::autograd::{Tensor, Var};
use kiln::nn::{Activation, Module, Parameter, Pass, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// One link of the chain.
#[derive(Debug)]
enum Link {
    /// `x · weightᵀ + bias`.
    Linear(String),
    Conv2d {
        name: String,
        options: Conv2dOptions,
    },
    BatchNorm {
        name: String,
        eps: f64,
        momentum: f64,
    },
    MaxPool(Pool2dOptions),
    AveragePool(Pool2dOptions),
    Flatten,
    Function(Activation),
    Nothing,
}

/// The model: links in a row, and parameters and buffers under PyTorch's names.
#[derive(Debug)]
pub(super) struct Torch {
    links: Vec<Link>,
    parameters: BTreeMap<String, Parameter>,
}

impl Torch {
    /// The model of a manifest, with its initial weights.
    pub(super) fn read(manifest: &Manifest) -> std::result::Result<Torch, Stop> {
        let id = manifest.text("id");
        let mut parameters = BTreeMap::new();
        for (list, trainable) in [("parameters", true), ("buffers", false)] {
            for name in names(manifest, list) {
                let tensor = manifest.tensor(&format!("init.{name}"))?.clone();
                parameters.insert(
                    name.to_owned(),
                    if trainable { Parameter::new(tensor) } else { Parameter::statistic(tensor) },
                );
            }
        }
        let model = manifest.json.get("model").unwrap_or(&Value::Null);
        let layers = model.get("layers").and_then(Value::as_object);
        let chain = model.get("forward").and_then(Value::as_str).unwrap_or_default();
        let link = |text: &str| -> std::result::Result<Link, Stop> {
            let described = layers.and_then(|layers| layers.get(text)).and_then(Value::as_str);
            match described {
                Some(description) => layer(text, Call::read(description)?),
                // A chain of sizes has linear layers only, which need no description.
                None if parameters.contains_key(&format!("{text}.weight")) && layers.is_none() => {
                    Ok(Link::Linear(text.to_owned()))
                }
                None => function(Call::read(text)?),
            }
        };
        let links = chain.split("->").map(|text| link(text.trim())).collect::<std::result::Result<_, _>>();
        let links = links.map_err(|stop| match stop {
            Stop::Unsupported(what) => {
                Stop::Unsupported(format!("{id}: {}", what.chars().take(40).collect::<String>()))
            }
            failed => failed,
        })?;
        Ok(Torch { links, parameters })
    }

    fn get(&self, layer: &str, name: &str) -> Option<&Parameter> {
        self.parameters.get(&format!("{layer}.{name}"))
    }

    /// A parameter of a layer that cannot do without.
    fn need(&self, layer: &str, name: &str) -> Result<&Parameter> {
        let missing = || kiln::nn::Error::config(format!("`{layer}` has no {name}"), "");
        self.get(layer, name).ok_or_else(missing)
    }

    /// `x` plus the bias along the second dimension, where there is one.
    fn biased(&self, x: Var, layer: &str, pass: &mut Pass) -> Result<Var> {
        match self.get(layer, "bias") {
            Some(bias) => Ok(x.add(&along_channels(&pass.parameter(bias), &x)?)?),
            None => Ok(x),
        }
    }

    fn batch_norm(&self, x: &Var, name: &str, eps: f64, momentum: f64, pass: &mut Pass) -> Result<Var> {
        let (mean, variance) = (self.need(name, "running_mean")?, self.need(name, "running_var")?);
        let (batch_mean, batch_variance) = if pass.is_training() {
            let axes: Vec<isize> = (0..x.tensor().shape().rank() as isize).filter(|&axis| axis != 1).collect();
            let moved = |running: &Tensor, batch: &Tensor| running.mul(1.0 - momentum)?.add(&batch.mul(momentum)?);
            let unbiased = x.tensor().var(&axes, 1.0)?;
            let (m, v) = (x.mean(&axes)?, x.var(&axes, 0.0)?);
            pass.update(mean, moved(&mean.tensor, m.tensor())?);
            pass.update(variance, moved(&variance.tensor, &unbiased)?);
            (m, v)
        } else {
            (pass.parameter(mean), pass.parameter(variance))
        };
        let scale = batch_variance.add(eps)?.rsqrt()?;
        let y = x.sub(&along_channels(&batch_mean, x)?)?.mul(&along_channels(&scale, x)?)?;
        let y = match self.get(name, "weight") {
            Some(weight) => y.mul(&along_channels(&pass.parameter(weight), x)?)?,
            None => y,
        };
        self.biased(y, name, pass)
    }
}

/// A vector of a number for each channel, in the shape that broadcasts along the second dimension of `x`.
fn along_channels(vector: &Var, x: &Var) -> Result<Var> {
    let mut dims = vec![1; x.tensor().shape().rank()];
    dims[1] = vector.tensor().shape().count();
    Ok(vector.reshape(dims)?)
}

impl Module for Torch {
    fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
        let mut x = x.clone();
        for link in &self.links {
            x = match link {
                Link::Linear(name) => {
                    let weight = pass.parameter(self.need(name, "weight")?);
                    self.biased(x.matmul(&weight.t()?)?, name, pass)?
                }
                Link::Conv2d { name, options } => {
                    let weight = pass.parameter(self.need(name, "weight")?);
                    self.biased(x.conv2d(&weight, options)?, name, pass)?
                }
                Link::BatchNorm { name, eps, momentum } => self.batch_norm(&x, name, *eps, *momentum, pass)?,
                Link::MaxPool(options) => x.max_pool2d(options)?,
                Link::AveragePool(options) => x.average_pool2d(options)?,
                Link::Flatten => x.flatten(1, -1)?,
                Link::Function(function) => function.apply(&x)?,
                Link::Nothing => x,
            };
        }
        Ok(x)
    }

    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        self.parameters.iter().for_each(|(name, parameter)| visit(name, parameter));
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        self.parameters.iter_mut().for_each(|(name, parameter)| visit(name, parameter));
    }
}

/// The names of the manifest's `parameters` or `buffers`.
pub(super) fn names<'a>(manifest: &'a Manifest, list: &str) -> Vec<&'a str> {
    manifest.list(list).iter().filter_map(|entry| entry.get("name").and_then(Value::as_str)).collect()
}

fn layer(name: &str, call: Call) -> std::result::Result<Link, Stop> {
    let name = name.to_owned();
    let float = |key: &str, default: f64| call.named.get(key).map_or(Some(default), Value::as_f64);
    // Each class with the arguments that are understood; weights know their own sizes.
    let allowed: &[&str] = match call.name.as_str() {
        "Linear" => &["bias"],
        "Conv2d" => &["padding", "stride", "dilation", "groups", "bias"],
        "BatchNorm2d" | "BatchNorm1d" => &["eps", "momentum"],
        "Dropout" => &[],
        other => return Stop::unsupported(other),
    };
    if let Some(argument) = call.named.keys().find(|key| !allowed.contains(&key.as_str())) {
        return Stop::unsupported(format!("{}: {argument}", call.name));
    }
    match call.name.as_str() {
        "Linear" => Ok(Link::Linear(name)),
        "Conv2d" => {
            let get =
                |key: &str, default| call.named.get(key).map_or(Ok([default; 2]), |value| pair(&call.name, value));
            let [groups, _] = get("groups", 1)?;
            let options = Conv2dOptions::new().channels_first().groups(groups);
            let options = options.stride(get("stride", 1)?).dilation(get("dilation", 1)?);
            Ok(Link::Conv2d { name, options: options.padding(Padding::symmetric(get("padding", 0)?)) })
        }
        "Dropout" if call.positional.first().and_then(Value::as_f64) == Some(0.0) => Ok(Link::Nothing),
        "Dropout" => Stop::unsupported("Dropout with random numbers"),
        class => match (float("eps", 1e-5), float("momentum", 0.1)) {
            (Some(eps), Some(momentum)) => Ok(Link::BatchNorm { name, eps, momentum }),
            _ => Stop::unsupported(format!("{class}: its momentum")),
        },
    }
}

fn function(call: Call) -> std::result::Result<Link, Stop> {
    let pool = || match (&call.positional[..], call.named.is_empty()) {
        ([size], true) => Ok(Pool2dOptions::new(pair(&call.name, size)?).channels_first()),
        _ => Stop::unsupported(format!("{} with these arguments", call.name)),
    };
    match (call.name.as_str(), call.positional.first().and_then(Value::as_i64)) {
        ("max_pool2d", _) => Ok(Link::MaxPool(pool()?)),
        ("avg_pool2d", _) => Ok(Link::AveragePool(pool()?)),
        ("flatten", Some(1)) => Ok(Link::Flatten),
        // The functions that have the same defaults in both libraries.
        (name @ ("relu" | "tanh" | "sigmoid" | "gelu" | "silu" | "elu" | "selu" | "softplus"), None) => {
            Ok(Link::Function(name.into()))
        }
        (name, _) => Stop::unsupported(format!("`{name}`")),
    }
}

/// One number for both dimensions, or one for each.
fn pair(name: &str, value: &Value) -> std::result::Result<[usize; 2], Stop> {
    let number = |value: &Value| value.as_u64().map(|n| n as usize);
    match value.as_array().map(Vec::as_slice) {
        Some([a, b]) => number(a).zip(number(b)).map(|(a, b)| [a, b]),
        Some(_) => None,
        None => number(value).map(|n| [n; 2]),
    }
    .ok_or_else(|| Stop::Unsupported(format!("{name}: {value}")))
}
