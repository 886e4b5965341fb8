//! A PyTorch model as a module: its `forward` is written in the manifest as a chain, `conv1 -> bn1 -> relu -> fc`, or it is a
//! transformer of given sizes.

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
    LayerNorm {
        name: String,
        eps: f64,
    },
    GroupNorm {
        name: String,
        groups: usize,
        eps: f64,
    },
    Embedding(String),
    Recurrent {
        name: String,
        kind: Kind,
    },
    /// What a recurrent layer gives at the last step.
    LastStep,
    /// What it gives where each of its directions ends.
    Ends,
    MeanOverTime,
    MaxOverTime,
    MeanOverSpace,
    MaxPool(Pool2dOptions),
    AveragePool(Pool2dOptions),
    Flatten,
    Function(Activation),
    Nothing,
}

/// A recurrent layer; its parameters say how many layers there are, and whether they go both ways.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Rnn,
    ReluRnn,
    Lstm,
    Gru,
}

/// What a model does with its parameters.
#[derive(Debug)]
enum Body {
    Chain(Vec<Link>),
    Transformer(Transformer),
}

/// The model: what it does, and parameters and buffers under PyTorch's names.
#[derive(Debug)]
pub(super) struct Torch {
    body: Body,
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
        if model.get("kind").and_then(Value::as_str) == Some("transformer") {
            return Ok(Torch { body: Body::Transformer(Transformer::read(model)?), parameters });
        }
        let layers = model.get("layers").and_then(Value::as_object);
        let chain = model.get("forward").and_then(Value::as_str).unwrap_or_default();
        let link = |text: &str| -> std::result::Result<Link, Stop> {
            if let Some(link) = over_time(text) {
                return Ok(link);
            }
            // Remarks stand in brackets: `lstm (zero initial state)`.
            let bare = text.split_once(" (").map_or(text, |(name, _)| name);
            let text = if layers.is_some_and(|layers| layers.contains_key(bare)) { bare } else { text };
            let described = layers.and_then(|layers| layers.get(text)).and_then(Value::as_str);
            // As do those about the order of gates, behind a semicolon.
            match described.map(|text| text.split(';').next().unwrap_or(text)) {
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
        Ok(Torch { body: Body::Chain(links), parameters })
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

    /// `x · weightᵀ + bias`.
    fn linear(&self, x: &Var, name: &str, pass: &mut Pass) -> Result<Var> {
        let y = x.matmul(&pass.parameter(self.need(name, "weight")?).t()?)?;
        match self.get(name, "bias") {
            Some(bias) => Ok(y.add(&pass.parameter(bias))?),
            None => Ok(y),
        }
    }

    fn layer_norm(&self, x: &Var, name: &str, eps: f64, pass: &mut Pass) -> Result<Var> {
        let deviation = x.sub(&x.mean(keep(-1))?)?;
        let scale = deviation.square()?.mean(keep(-1))?.add(eps)?.rsqrt()?;
        let y = deviation.mul(&scale)?.mul(&pass.parameter(self.need(name, "weight")?))?;
        Ok(y.add(&pass.parameter(self.need(name, "bias")?))?)
    }

    /// Channels, the second dimension, in groups that each have mean 0 and variance 1.
    fn group_norm(&self, x: &Var, name: &str, groups: usize, eps: f64, pass: &mut Pass) -> Result<Var> {
        let shape = *x.tensor().shape();
        let apart = x.reshape([shape[0], groups, shape[1..].iter().product::<usize>() / groups])?;
        let deviation = apart.sub(&apart.mean(keep(-1))?)?;
        let scale = deviation.square()?.mean(keep(-1))?.add(eps)?.rsqrt()?;
        let y = deviation.mul(&scale)?.reshape(shape)?;
        let y = match self.get(name, "weight") {
            Some(weight) => y.mul(&along_channels(&pass.parameter(weight), &y)?)?,
            None => y,
        };
        self.biased(y, name, pass)
    }

    /// The last step of what goes forwards beside the first of what goes backwards, if there is such.
    fn ends(&self, x: &Var) -> Result<Var> {
        let (last, first) = (x.index(1, -1)?, x.index(1, 0)?);
        if !self.parameters.keys().any(|name| name.ends_with("_reverse")) {
            return Ok(last);
        }
        let half = (last.tensor().shape()[1] / 2) as isize;
        Ok(concat(&[&last.slice(1, ..half)?, &first.slice(1, half..)?], -1)?)
    }

    /// All layers of a recurrent module, each direction of the last side by side.
    fn recurrent(&self, x: &Var, name: &str, kind: Kind, pass: &mut Pass) -> Result<Var> {
        let mut x = x.clone();
        for layer in 0.. {
            let mut both = Vec::new();
            for (direction, suffix) in ["", "_reverse"].into_iter().enumerate() {
                let part = |what: &str| format!("{what}_l{layer}{suffix}");
                if self.get(name, &part("weight_hh")).is_none() {
                    continue;
                }
                let own =
                    |what: &str, pass: &mut Pass| -> Result<Var> { Ok(pass.parameter(self.need(name, &part(what))?)) };
                let seen = if direction == 1 { x.flip(1)? } else { x.clone() };
                let (input, state) = (own("weight_ih", pass)?, own("weight_hh", pass)?);
                let biases = ["bias_ih", "bias_hh"].map(|what| match self.get(name, &part(what)) {
                    Some(bias) => Ok(pass.parameter(bias)),
                    None => Ok(Var::new(Tensor::zeros([state.tensor().shape()[0]])?.cast(state.tensor().dtype())?)),
                });
                let [input_bias, state_bias]: [Result<Var>; 2] = biases;
                let y = direction_of(kind, &seen, [input, state, input_bias?, state_bias?])?;
                both.push(if direction == 1 { y.flip(1)? } else { y });
            }
            x = match &both[..] {
                [] => break,
                [one] => one.clone(),
                both => concat(&both.iter().collect::<Vec<_>>(), -1)?,
            };
        }
        Ok(x)
    }

    fn transformed(&self, x: &Var, how: &Transformer, pass: &mut Pass) -> Result<Var> {
        let tokens = pass.parameter(self.need("tok", "weight")?);
        let time = x.tensor().shape()[1] as isize;
        let positions = pass.parameter(self.need("pos", "weight")?).slice(0, ..time)?;
        let mut h = tokens.rows(x)?.add(&positions)?;
        for i in 0..how.layers {
            let name = |part: &str| format!("blocks.{i}.{part}");
            let normed = |x: &Var, which: &str, pass: &mut Pass| self.layer_norm(x, &name(which), how.eps, pass);
            let seen = if how.pre { normed(&h, "norm1", pass)? } else { h.clone() };
            h = h.add(&self.attention(&seen, &name("self_attn"), how, pass)?)?;
            if !how.pre {
                h = normed(&h, "norm1", pass)?;
            }
            let seen = if how.pre { normed(&h, "norm2", pass)? } else { h.clone() };
            let inner = how.activation.apply(&self.linear(&seen, &name("linear1"), pass)?)?;
            h = h.add(&self.linear(&inner, &name("linear2"), pass)?)?;
            if !how.pre {
                h = normed(&h, "norm2", pass)?;
            }
        }
        if self.get("ln", "weight").is_some() {
            h = self.layer_norm(&h, "ln", how.eps, pass)?;
        }
        match self.get("head", "weight") {
            Some(_) => self.linear(&h, "head", pass),
            // Tied to the embedding.
            None => Ok(h.matmul(&tokens.t()?)?),
        }
    }

    fn attention(&self, x: &Var, name: &str, how: &Transformer, pass: &mut Pass) -> Result<Var> {
        let weight = pass.parameter(self.need(name, "in_proj_weight")?);
        let all = x.matmul(&weight.t()?)?.add(&pass.parameter(self.need(name, "in_proj_bias")?))?;
        let [batch, time, wide] = [0, 1, 2].map(|i| all.tensor().shape()[i]);
        let size = wide / 3 / how.heads;
        let heads = all.reshape([batch, time, 3, how.heads, size])?.permute(&[2, 0, 3, 1, 4])?;
        let [q, k, v] = [heads.index(0, 0)?, heads.index(0, 1)?, heads.index(0, 2)?];
        let mut scores = q.matmul(&k.transpose(-1, -2)?)?.mul(1.0 / (size as f64).sqrt())?;
        if how.causal {
            let steps = Tensor::arange(0, time as i64, 1)?;
            let sees = steps.unsqueeze(1)?.ge(&steps.unsqueeze(0)?)?.expand(*scores.tensor().shape())?;
            scores = Var::new(sees).select(&scores, f64::NEG_INFINITY)?;
        }
        let y = scores.softmax(-1)?.matmul(&v)?.permute(&[0, 2, 1, 3])?.reshape([batch, time, wide / 3])?;
        self.linear(&y, &format!("{name}.out_proj"), pass)
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

/// The sizes of a transformer whose blocks are as PyTorch's `TransformerEncoderLayer` names them.
#[derive(Debug)]
struct Transformer {
    layers: usize,
    heads: usize,
    eps: f64,
    /// Whether norms come before what they are for.
    pre: bool,
    causal: bool,
    activation: Activation,
}

impl Transformer {
    fn read(model: &Value) -> std::result::Result<Transformer, Stop> {
        let size = |key: &str| model.get(key).and_then(Value::as_u64).unwrap_or(0) as usize;
        let text = |key: &str| model.get(key).and_then(Value::as_str).unwrap_or_default();
        let activation = match text("activation") {
            "gelu (tanh)" => "gelu_tanh",
            name => name.split_whitespace().next().unwrap_or_default(),
        };
        let pre = match text("norm") {
            "pre" => true,
            "post" => false,
            other => return Stop::unsupported(format!("transformer: norms `{other}`")),
        };
        Ok(Transformer {
            layers: size("layers"),
            heads: size("heads").max(1),
            eps: model.get("layer_norm_eps").and_then(Value::as_f64).unwrap_or(1e-5),
            pre,
            causal: text("forward").contains("causal"),
            activation: activation.into(),
        })
    }
}

/// What a chain says of the outputs of a recurrent layer.
fn over_time(text: &str) -> Option<Link> {
    let says = |word: &str| text.contains(word);
    match () {
        () if text.contains('(') && !text.contains(' ') => None,
        () if says("time") && says("mean") => Some(Link::MeanOverTime),
        () if says("time") && says("max") => Some(Link::MaxOverTime),
        () if says("last time step") || says("last step") => Some(Link::LastStep),
        () if says("hidden") || says("both directions") => Some(Link::Ends),
        () => None,
    }
}

/// One direction of one layer over a sequence.
fn direction_of(kind: Kind, x: &Var, [input, state, input_bias, state_bias]: [Var; 4]) -> Result<Var> {
    let units = state.tensor().shape()[1];
    let zeros = Var::new(Tensor::zeros([x.tensor().shape()[0], units])?.cast(x.tensor().dtype())?);
    // PyTorch's order of a GRU's gates is r, z, n.
    let ordered = |x: &Var| -> Result<Var> {
        if kind != Kind::Gru {
            return Ok(x.clone());
        }
        let parts = x.chunk(3, 0)?;
        Ok(concat(&[&parts[1], &parts[0], &parts[2]], 0)?)
    };
    let (input, state) = (ordered(&input)?, ordered(&state)?);
    let (input_bias, state_bias) = (ordered(&input_bias)?, ordered(&state_bias)?);
    let z = x.matmul(&input.t()?)?.add(&input_bias)?;
    Ok(match kind {
        Kind::Rnn => z.add(&state_bias)?.simple_rnn(&state.t()?, &zeros, None)?,
        Kind::ReluRnn => return relu_steps(&z.add(&state_bias)?, &state.t()?, zeros),
        Kind::Lstm => z.add(&state_bias)?.lstm(&state.t()?, &zeros, &zeros, None)?.0,
        Kind::Gru => z.gru(&state.t()?, &state_bias, &zeros, None)?,
    })
}

/// A recurrent layer whose activation is `relu`, step by step.
fn relu_steps(z: &Var, state: &Var, mut h: Var) -> Result<Var> {
    let mut all = Vec::new();
    for t in 0..z.tensor().shape()[1] as isize {
        h = z.index(1, t)?.add(&h.matmul(state)?)?.relu()?;
        all.push(h.clone());
    }
    Ok(stack(&all.iter().collect::<Vec<_>>(), 1)?)
}

impl Module for Torch {
    fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
        let links = match &self.body {
            Body::Chain(links) => links,
            Body::Transformer(how) => return self.transformed(x, how, pass),
        };
        let mut x = x.clone();
        for link in links {
            x = match link {
                Link::Linear(name) => self.linear(&x, name, pass)?,
                Link::LayerNorm { name, eps } => self.layer_norm(&x, name, *eps, pass)?,
                Link::Embedding(name) => pass.parameter(self.need(name, "weight")?).rows(&x)?,
                Link::Recurrent { name, kind } => self.recurrent(&x, name, *kind, pass)?,
                Link::LastStep => x.index(1, -1)?,
                Link::Ends => self.ends(&x)?,
                Link::MaxOverTime => x.amax(1)?,
                Link::MeanOverSpace => x.mean(keep([2, 3]))?,
                Link::GroupNorm { name, groups, eps } => self.group_norm(&x, name, *groups, *eps, pass)?,
                Link::MeanOverTime => x.mean(1)?,
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
        "Dropout" | "Embedding" => &[],
        "LayerNorm" => &["eps"],
        "GroupNorm" => &["eps", "num_groups", "num_channels"],
        "RNN" | "LSTM" | "GRU" => &["batch_first", "num_layers", "bidirectional", "nonlinearity", "dropout", "bias"],
        other => return Stop::unsupported(other),
    };
    if let Some(argument) = call.named.keys().find(|key| !allowed.contains(&key.as_str())) {
        return Stop::unsupported(format!("{}: {argument}", call.name));
    }
    match call.name.as_str() {
        "Linear" => Ok(Link::Linear(name)),
        "Embedding" => Ok(Link::Embedding(name)),
        "LayerNorm" => Ok(Link::LayerNorm { name, eps: float("eps", 1e-5).unwrap_or(1e-5) }),
        class @ ("RNN" | "LSTM" | "GRU") => {
            if call.named.get("batch_first").and_then(Value::as_bool) != Some(true) {
                return Stop::unsupported(format!("{class} with time first"));
            }
            let kinds = [("RNN", Kind::Rnn), ("LSTM", Kind::Lstm), ("GRU", Kind::Gru)];
            let kind = kinds.into_iter().find(|(known, _)| *known == class).map_or(Kind::Rnn, |(_, kind)| kind);
            match call.named.get("nonlinearity").and_then(Value::as_str) {
                None | Some("tanh") => Ok(Link::Recurrent { name, kind }),
                Some("relu") => Ok(Link::Recurrent { name, kind: Kind::ReluRnn }),
                Some(other) => Stop::unsupported(format!("{class}: {other}")),
            }
        }
        "GroupNorm" => {
            let groups = call.named.get("num_groups").or(call.positional.first()).and_then(Value::as_u64);
            let eps = float("eps", 1e-5).unwrap_or(1e-5);
            Ok(Link::GroupNorm { name, groups: groups.unwrap_or(1) as usize, eps })
        }
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
    let pool = || {
        let mut given: Vec<(&str, &Value)> =
            ["kernel_size", "stride", "padding"].into_iter().zip(&call.positional).collect();
        given.extend(call.named.iter().map(|(name, value)| (name.as_str(), value)));
        let Some((_, size)) = given.iter().find(|(name, _)| *name == "kernel_size") else {
            return Stop::unsupported(format!("{} without a size", call.name));
        };
        given.iter().try_fold(Pool2dOptions::new(pair(&call.name, size)?).channels_first(), |pool, (name, value)| {
            Ok(match *name {
                "kernel_size" => pool,
                "stride" => pool.stride(pair(&call.name, value)?),
                "padding" => pool.padding(Padding::symmetric(pair(&call.name, value)?)),
                _ => return Stop::unsupported(format!("{}: {name}", call.name)),
            })
        })
    };
    match (call.name.as_str(), call.positional.first().and_then(Value::as_i64)) {
        ("max_pool2d", _) => Ok(Link::MaxPool(pool()?)),
        ("avg_pool2d", _) => Ok(Link::AveragePool(pool()?)),
        ("flatten", Some(1)) => Ok(Link::Flatten),
        ("adaptive_avg_pool2d", Some(1)) => Ok(Link::MeanOverSpace),
        ("leaky_relu", _) => {
            let slope = call.named.get("negative_slope").or(call.positional.first()).and_then(Value::as_f64);
            Ok(Link::Function(Activation::LeakyRelu(slope.unwrap_or(0.01))))
        }
        // The functions that have the same defaults in both libraries.
        (
            name @ ("relu" | "relu6" | "tanh" | "sigmoid" | "gelu" | "silu" | "mish" | "elu" | "selu" | "celu"
            | "softplus" | "softsign" | "hardswish" | "hardsigmoid" | "hardtanh" | "logsigmoid" | "tanhshrink"),
            None,
        ) => Ok(Link::Function(name.into())),
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
