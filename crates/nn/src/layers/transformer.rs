//! Blocks of transformers, and what tells their steps apart: positions.

use super::attention::MultiHeadAttention;
use super::noise::dropped;
use super::settings::{described, settings};
use super::{Dense, LayerNormalization, require};
use crate::layer::{AnyLayer, Layer, Weight, Weights, arity};
use crate::{Activation, Error, Initializer, Pass, Result, Signal};
use kiln_autograd::ops::{ArithmeticOps, CastOps, MathOps, Value, ViewOps, concat};
use kiln_autograd::{Shape, Tensor, Var};

/// Steps and features of a sample.
fn sequence(class: &str, input: &Shape) -> Result<[usize; 2]> {
    <[usize; 2]>::try_from(&input[..]).map_err(|_| {
        let text = format!("{class}: the input {input} is no sequence of vectors");
        Error::config(text, "give samples of shape [time, features]")
    })
}

/// Checks the longest wave.
fn require_wavelength(class: &str, wavelength: f64) -> Result<()> {
    let holds = wavelength.is_finite() && wavelength > 0.0;
    require(holds, class, "max_wavelength", wavelength, "a positive number, such as 10000")
}

settings! {
    /// Adds a learned vector for each position to the step there.
    ///
    /// # Shapes
    /// `[batch, time, n]` to the same; `embeddings` is `[sequence_length, n]`.
    PositionEmbedding {
        sequence_length: usize = 0, new;
        /// What the vectors start from.
        initializer: Initializer = Initializer::GlorotUniform;
    }
}

impl PositionEmbedding {
    /// For sequences of at most this length.
    pub fn new(sequence_length: usize) -> PositionEmbedding {
        PositionEmbedding { sequence_length, ..PositionEmbedding::default() }
    }
}

impl Layer for PositionEmbedding {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let [time, _] = sequence("PositionEmbedding", input)?;
        if time > self.sequence_length {
            let text = format!("PositionEmbedding: {time} steps, and vectors for {}", self.sequence_length);
            return Err(Error::config(text, "make sequence_length as long as the longest sequence"));
        }
        Ok(*input)
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        let features = input.last().copied().unwrap_or(1);
        vec![Weight::new("embeddings", [self.sequence_length, features], self.initializer)]
    }

    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let time = Value::shape(x)[1];
        let all = pass.parameter(weights.get("embeddings")?);
        Ok(x.add(&if time == self.sequence_length { all } else { all.slice(0, ..time as isize)? })?)
    }
}

settings! {
    /// Adds sines and cosines of different wave lengths to the steps (Vaswani et al. 2017): feature `2i` of step `t` gets
    /// `sin(t · max_wavelength^(-2i/n))`, feature `2i + 1` the cosine.
    ///
    /// # Shapes
    /// `[batch, time, n]` to the same.
    SinePositionEncoding {
        /// The longest wave, in steps.
        max_wavelength: f64 = 10_000.0;
    }
}

impl SinePositionEncoding {
    /// Waves of up to 10,000 steps.
    pub fn new() -> SinePositionEncoding {
        SinePositionEncoding::default()
    }
}

impl Layer for SinePositionEncoding {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        require_wavelength("SinePositionEncoding", self.max_wavelength)?;
        sequence("SinePositionEncoding", input).map(|_| *input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let [time, n] = sequence("SinePositionEncoding", &Shape::new(&Value::shape(x)[1..])?)?;
        let mut table = Vec::with_capacity(time * n);
        for t in 0..time {
            table.extend((0..n).map(|i| {
                let angle = t as f64 * self.max_wavelength.powf(-((i / 2 * 2) as f64) / n as f64);
                if i % 2 == 0 { angle.sin() } else { angle.cos() }
            }));
        }
        let table = Tensor::from_vec(table, [time, n])?.cast(Value::dtype(x))?;
        Ok(x.add(&x.beside(table)?)?)
    }
}

settings! {
    /// Turns pairs of features by angles that grow with the position, so that products of two steps depend on their distance (Su et
    /// al. 2021). A pair is a feature of the first half and the one of the second half in the same place.
    ///
    /// # Shapes
    /// `[batch, time, …, n]` to the same, `n` even.
    RotaryEmbedding {
        /// The longest wave, in steps.
        max_wavelength: f64 = 10_000.0;
        /// What positions are divided by.
        scaling_factor: f64 = 1.0;
    }
}

impl RotaryEmbedding {
    /// Waves of up to 10,000 steps.
    pub fn new() -> RotaryEmbedding {
        RotaryEmbedding::default()
    }
}

impl Layer for RotaryEmbedding {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        require_wavelength("RotaryEmbedding", self.max_wavelength)?;
        let holds = self.scaling_factor.is_finite() && self.scaling_factor > 0.0;
        require(holds, "RotaryEmbedding", "scaling_factor", self.scaling_factor, "a positive number, such as 1")?;
        match &input[..] {
            [_, .., n] if n.is_multiple_of(2) => Ok(*input),
            _ => {
                let text = format!("RotaryEmbedding: the input {input}");
                Err(Error::config(text, "give samples of shape [time, …, n] with an even n"))
            }
        }
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        let shape = *Value::shape(x);
        let (time, half) = (shape[1], shape[shape.rank() - 1] / 2);
        let angle =
            |t: usize, i: usize| t as f64 / self.scaling_factor * self.max_wavelength.powf(-(i as f64) / half as f64);
        let angles: Vec<f64> = (0..time).flat_map(|t| (0..half).map(move |i| angle(t, i))).collect();
        let mut dims = vec![1; shape.rank()];
        (dims[1], dims[shape.rank() - 1]) = (time, half);
        let angles = Tensor::from_vec(angles, dims)?;
        let of = |f: Tensor| -> Result<Var> { Ok(x.beside(f.cast(Value::dtype(x))?)?) };
        let (sin, cos) = (of(angles.sin()?)?, of(angles.cos()?)?);
        let (a, b) = (x.slice(-1, ..half as isize)?, x.slice(-1, half as isize..)?);
        let first = a.mul(&cos)?.sub(&b.mul(&sin)?)?;
        let second = b.mul(&cos)?.add(&a.mul(&sin)?)?;
        Ok(concat(&[&first, &second], -1)?)
    }
}

/// A part of a block with its name.
type Part = (&'static str, Box<dyn AnyLayer>);

/// Blocks of attention and a network of each step, with residual connections and normalization.
macro_rules! blocks {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        settings! {
            $(#[$doc])*
            $name {
                intermediate_dim: usize = 0, new;
                num_heads: usize = 0, new;
                /// The part that training leaves out, of scores and of what each part adds.
                dropout: f64 = 0.0;
                /// What is applied between the two layers of the network.
                activation: Activation = Activation::Relu, into;
                /// What is added to variances.
                layer_norm_epsilon: f64 = 1e-5;
                /// What kernels start from.
                kernel_initializer: Initializer = Initializer::GlorotUniform;
                /// What biases start from.
                bias_initializer: Initializer = Initializer::Zeros;
                /// Whether each part normalizes what it gets, rather than the sum of that and what it gives.
                normalize_first: bool = false;
            }
        }

        impl $name {
            /// With a network of `intermediate_dim` units, and so many heads, which divide the features.
            pub fn new(intermediate_dim: usize, num_heads: usize) -> $name {
                $name { intermediate_dim, num_heads, ..$name::default() }
            }

            fn block(&self) -> Block<'_> {
                Block {
                    class: stringify!($name),
                    units: self.intermediate_dim,
                    heads: self.num_heads,
                    dropout: self.dropout,
                    activation: &self.activation,
                    epsilon: self.layer_norm_epsilon,
                    initializers: [self.kernel_initializer, self.bias_initializer],
                    first: self.normalize_first,
                }
            }
        }
    )*};
}

blocks! {
    /// A block of a transformer that sees all of its sequence: attention to itself, and a network of each step (Vaswani et al. 2017).
    ///
    /// # Shapes
    /// `[batch, time, n]` to the same.
    TransformerEncoder;
    /// A block of a transformer in which no step sees a later one; called on a second sequence, it attends to that too.
    ///
    /// # Shapes
    /// `[batch, time, n]`, and a second sequence `[batch, others, m]`, to `[batch, time, n]`.
    TransformerDecoder;
}

/// The settings of a block.
struct Block<'a> {
    class: &'static str,
    units: usize,
    heads: usize,
    dropout: f64,
    activation: &'a Activation,
    epsilon: f64,
    initializers: [Initializer; 2],
    first: bool,
}

impl Block<'_> {
    fn features(&self, inputs: &[Shape]) -> Result<usize> {
        let [first, ..] = inputs else { return Err(Error::config(format!("{}: no input", self.class), "")) };
        let [_, features] = sequence(self.class, first)?;
        if self.heads == 0 || self.units == 0 || !features.is_multiple_of(self.heads) {
            let text = format!("{}: {} heads and {} units for {features} features", self.class, self.heads, self.units);
            return Err(Error::config(text, "give numbers from 1, and heads that divide the features"));
        }
        let holds = self.epsilon.is_finite() && self.epsilon >= 0.0;
        require(holds, self.class, "layer_norm_epsilon", self.epsilon, "a finite number from 0, such as 1e-5")?;
        Ok(features)
    }

    fn attention(&self, features: usize, causal: bool) -> MultiHeadAttention {
        MultiHeadAttention::new(self.heads, features / self.heads)
            .dropout(self.dropout)
            .kernel_initializer(self.initializers[0])
            .bias_initializer(self.initializers[1])
            .use_causal_mask(causal)
    }

    fn norm(&self) -> LayerNormalization {
        LayerNormalization::new().epsilon(self.epsilon)
    }

    fn dense(&self, units: usize) -> Dense {
        Dense::new(units).kernel_initializer(self.initializers[0]).bias_initializer(self.initializers[1])
    }

    /// The parts of an attention named so.
    fn attending(&self, [attention, norm]: [&'static str; 2], features: usize, causal: bool) -> [Part; 2] {
        [(attention, Box::new(self.attention(features, causal))), (norm, Box::new(self.norm()))]
    }

    fn network(&self, features: usize) -> [Part; 3] {
        [
            ("feedforward_intermediate", Box::new(self.dense(self.units).activation(self.activation.clone()))),
            ("feedforward_output", Box::new(self.dense(features))),
            ("feedforward_norm", Box::new(self.norm())),
        ]
    }

    /// `x + part(x)`, normalized before or after.
    fn residual(
        &self,
        x: &Signal,
        norm: &str,
        weights: Weights<'_>,
        pass: &mut Pass,
        part: impl FnOnce(&Signal, &mut Pass) -> Result<Var>,
    ) -> Result<Signal> {
        let normed = |x: &Var, pass: &mut Pass| self.norm().call(x, weights.within(norm), pass);
        let seen = if self.first { normed(&x.value, pass)? } else { x.value.clone() };
        let y = part(&Signal::new(seen).masked(x.mask.clone()), pass)?;
        let sum = x.value.add(&dropped(&y, self.dropout, pass)?)?;
        Ok(Signal::new(if self.first { sum } else { normed(&sum, pass)? }).masked(x.mask.clone()))
    }

    fn attend(&self, layer: &dyn AnyLayer, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let y = layer.run(x, weights, pass)?;
        let [y] = arity(self.class, &y)?;
        Ok(y.value.clone())
    }

    fn through_network(&self, x: &Signal, features: usize, weights: Weights<'_>, pass: &mut Pass) -> Result<Signal> {
        let [(first, _), (second, _), (norm, _)] = self.network(features);
        self.residual(x, norm, weights, pass, |x, pass| {
            let h = self.dense(self.units).call(&x.value, weights.within(first), pass)?;
            self.dense(features).call(&self.activation.apply(&h)?, weights.within(second), pass)
        })
    }
}

/// The weights of parts, each below its name.
fn weights_of(parts: impl IntoIterator<Item = Part>, inputs: impl Fn(&str) -> Vec<Shape>) -> Result<Vec<Weight>> {
    let mut all = Vec::new();
    for (name, layer) in parts {
        all.extend(layer.weights_for(&inputs(name))?.into_iter().map(|weight| weight.within(name)));
    }
    Ok(all)
}

impl AnyLayer for TransformerEncoder {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [input] = arity("TransformerEncoder", inputs)?;
        self.activation.checked_within(self.class_name())?;
        let features = self.block().features(inputs)?;
        self.block().attention(features, false).infer(inputs)?;
        Ok(vec![*input])
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let block = self.block();
        let features = block.features(inputs)?;
        let parts = block.attending(["self_attention", "self_attention_norm"], features, false);
        let wide = inputs[0].with(1, self.intermediate_dim);
        weights_of(parts.into_iter().chain(block.network(features)), |name| match name {
            "feedforward_output" => vec![wide],
            _ => vec![inputs[0]],
        })
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let [x] = arity("TransformerEncoder", x)?;
        let block = self.block();
        let features = x.shape()[2];
        let attention = block.attention(features, false);
        let y = block.residual(x, "self_attention_norm", weights, pass, |x, pass| {
            block.attend(&attention, std::slice::from_ref(x), weights.within("self_attention"), pass)
        })?;
        Ok(vec![block.through_network(&y, features, weights, pass)?])
    }
}

impl AnyLayer for TransformerDecoder {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        if inputs.len() > 2 {
            arity::<_, 2>("TransformerDecoder", inputs)?;
        }
        self.activation.checked_within(self.class_name())?;
        let features = self.block().features(inputs)?;
        self.block().attention(features, true).infer(&inputs[..1])?;
        if let Some(other) = inputs.get(1) {
            sequence("TransformerDecoder", other)?;
        }
        Ok(vec![inputs[0]])
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let block = self.block();
        let features = block.features(inputs)?;
        let own = block.attending(["self_attention", "self_attention_norm"], features, true);
        let cross =
            inputs.get(1).map(|_| block.attending(["cross_attention", "cross_attention_norm"], features, false));
        let parts = own.into_iter().chain(cross.into_iter().flatten()).chain(block.network(features));
        let wide = inputs[0].with(1, self.intermediate_dim);
        weights_of(parts, |name| match name {
            "feedforward_output" => vec![wide],
            "cross_attention" => inputs.to_vec(),
            _ => vec![inputs[0]],
        })
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let block = self.block();
        let features = x[0].shape()[2];
        let attention = block.attention(features, true);
        let mut y = block.residual(&x[0], "self_attention_norm", weights, pass, |x, pass| {
            block.attend(&attention, std::slice::from_ref(x), weights.within("self_attention"), pass)
        })?;
        if let Some(other) = x.get(1) {
            let attention = block.attention(features, false);
            y = block.residual(&y, "cross_attention_norm", weights, pass, |y, pass| {
                block.attend(&attention, &[y.clone(), other.clone()], weights.within("cross_attention"), pass)
            })?;
        }
        Ok(vec![block.through_network(&y, features, weights, pass)?])
    }
}
