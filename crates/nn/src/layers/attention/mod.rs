//! Attention: each step of one sequence takes what it needs from the steps of another. Masks hide steps: those of the values, and
//! with a causal mask those that come later.

use super::activation::{hidden, masked_softmax};
use super::noise::dropped;
use super::settings::{described, settings, words};
use crate::layer::{AnyLayer, Weight, Weights, activity};
use crate::{Constraint, Error, Initializer, Pass, Regularizer, Result, Signal};
use kiln_autograd::ops::{
    ArithmeticOps, CastOps, ComparisonOps, MatMulOps, MathOps, ReduceOps, SelectOps, Value, ViewOps,
};
use kiln_autograd::{DType, Shape, Tensor, Var};

/// Query, value and key of a call, and the mask of pairs that it may come with.
struct Inputs<'a> {
    query: &'a Signal,
    value: &'a Signal,
    key: &'a Signal,
    pairs: Option<&'a Signal>,
}

impl<'a> Inputs<'a> {
    fn of(class: &str, x: &'a [Signal], takes_mask: bool) -> Result<Inputs<'a>> {
        let (x, pairs) = match x.split_last() {
            Some((last, rest)) if takes_mask => (rest, Some(last)),
            _ => (x, None),
        };
        let [query, value, key] = roles(class, x)?;
        Ok(Inputs { query, value, key, pairs })
    }

    /// Which step of the value each step of the query may see: `[batch, query, value]` or what broadcasts to it.
    fn mask(&self, causal: bool) -> Result<Option<Var>> {
        let steps = |x: &Signal| x.mask.clone().filter(|mask| Value::shape(mask).rank() == 2);
        let mut all: Option<Var> = None;
        let mut and = |mask: Var| -> Result<()> {
            all = Some(match all.take() {
                Some(all) => all.logical_and(&mask)?,
                None => mask,
            });
            Ok(())
        };
        if let Some(pairs) = self.pairs {
            and(if Value::dtype(&pairs.value) == DType::Bool { pairs.value.clone() } else { pairs.value.ne(0)? })?;
        }
        if let Some(mask) = steps(self.query) {
            and(mask.unsqueeze(2)?)?;
        }
        if let Some(mask) = steps(self.value) {
            and(mask.unsqueeze(1)?)?;
        }
        if let Some(mask) = steps(self.key).filter(|_| !std::ptr::eq(self.key, self.value)) {
            and(mask.unsqueeze(1)?)?;
        }
        if causal {
            and(Var::new(earlier(self.query.shape()[1], self.value.shape()[1])?.unsqueeze(0)?))?;
        }
        Ok(all)
    }
}

/// Whether each step of `rows` may see each of `columns`: not those that come later.
fn earlier(rows: usize, columns: usize) -> Result<Tensor> {
    let row = Tensor::arange(0, rows as i64, 1)?.unsqueeze(1)?;
    let column = Tensor::arange(0, columns as i64, 1)?.unsqueeze(0)?;
    Ok(row.ge(&column)?)
}

/// What the shares are of a step that may see none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blind {
    /// 0.
    None,
    /// All the same.
    Even,
    /// Those of the scores, as if there were no mask.
    Unmasked,
}

/// The shares that scores `[…, rows, columns]` give each column, of what the masks let be seen.
fn shares(
    inputs: &Inputs<'_>,
    scores: &Var,
    causal: bool,
    blind: Blind,
    widen: impl Fn(Var) -> Result<Var>,
) -> Result<Var> {
    if let Some(mask) = inputs.mask(false)? {
        let mask = inputs.mask(causal)?.unwrap_or(mask);
        let mask = widen(mask)?.expand(*Value::shape(scores))?;
        let low = hidden(Value::dtype(scores));
        return match blind {
            Blind::None => masked_softmax(scores, &mask),
            Blind::Even => crate::Activation::Softmax.apply(&mask.select(scores, &low)?),
            Blind::Unmasked => crate::Activation::Softmax.apply(&mask.select(scores, &scores.add(&low)?)?),
        };
    }
    if !causal {
        return crate::Activation::Softmax.apply(scores);
    }
    // Each step sees itself: a sum hides the others, and no row is left without any.
    let shape = Value::shape(scores);
    let (rows, columns) = (shape[shape.rank() - 2], shape[shape.rank() - 1]);
    let dtype = Value::dtype(scores);
    let low = if dtype == DType::F16 { -3e4 } else { -1e9 };
    let hidden = earlier(rows, columns)?.cast(dtype)?.sub(1.0)?.mul(-low)?;
    crate::Activation::Softmax.apply(&scores.add(&Var::new(hidden))?)
}

/// Query, value and key of one, two or three inputs: one attends to itself, and the value is the key unless there is another.
fn roles<'a, T>(class: &str, x: &'a [T]) -> Result<[&'a T; 3]> {
    match x {
        [query] => Ok([query, query, query]),
        [query, value] => Ok([query, value, value]),
        [query, value, key] => Ok([query, value, key]),
        _ => {
            let text = format!("{class} takes a query, a value and a key, found {} values", x.len());
            Err(Error::config(text, format!("{class}::new(…).on([&query, &value])")))
        }
    }
}

/// Steps and features of the query, the value and the key; the mask of pairs, if there is one, covers their steps.
fn sequences(class: &str, inputs: &[Shape], takes_mask: bool) -> Result<[[usize; 2]; 3]> {
    let (inputs, pairs) = match inputs.split_last() {
        Some((last, rest)) if takes_mask => (rest, Some(last)),
        _ => (inputs, None),
    };
    let mut all = [[0; 2]; 3];
    for (at, shape) in all.iter_mut().zip(roles(class, inputs)?) {
        *at = <[usize; 2]>::try_from(&shape[..]).map_err(|_| {
            let text = format!("{class}: the input {shape} is no sequence of vectors");
            Error::config(text, "give samples of shape [time, features]")
        })?;
    }
    let [[rows, _], [values, _], [keys, _]] = all;
    if values != keys {
        let text = format!("{class}: {values} steps of values and {keys} of keys");
        return Err(Error::config(text, "there must be a key for each value"));
    }
    let covers = |mask: &Shape| matches!(mask[..], [r, c] if [1, rows].contains(&r) && [1, values].contains(&c));
    if let Some(mask) = pairs.filter(|mask| !covers(mask)) {
        let text = format!("{class}: the mask {mask} does not cover {rows} steps of queries and {values} of values");
        return Err(Error::config(text, format!("give a mask of samples [{rows}, {values}], the last of the inputs")));
    }
    Ok(all)
}

/// The result and, where asked for, the scores.
fn results(y: Var, scores: Var, returns_scores: bool, mask: Option<Var>) -> Vec<Signal> {
    let scores = returns_scores.then(|| Signal::new(scores));
    [Signal::new(y).masked(mask)].into_iter().chain(scores).collect()
}

/// Layers whose scores are made of queries and keys without projections.
macro_rules! plain_attention {
    ($name:ident) => {
        impl AnyLayer for $name {
            described!(any);

            fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
                let class = stringify!($name);
                let [[rows, features], [columns, width], [_, others]] = sequences(class, inputs, false)?;
                if features != others {
                    let text = format!("{class}: queries of {features} features and keys of {others}");
                    return Err(Error::config(text, "they must be equal; MultiHeadAttention projects them"));
                }
                let mut all = vec![Shape::new(&[rows, width])?];
                if self.return_attention_scores {
                    all.push(Shape::new(&[rows, columns])?);
                }
                Ok(all)
            }

            fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
                let [[_, features], ..] = sequences(stringify!($name), inputs, false)?;
                Ok(self.own_weights(features))
            }

            fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
                let inputs = Inputs::of(stringify!($name), x, false)?;
                let scores = self.scores(&inputs.query.value, &inputs.key.value, weights, pass)?;
                // The query's mask is applied to the result.
                let hidden = Signal::new(inputs.query.value.clone());
                let seen = Inputs { query: &hidden, ..inputs };
                let scores = shares(&seen, &scores, self.use_causal_mask, Blind::Unmasked, Ok)?;
                let scores = dropped(&scores, self.dropout, pass)?;
                let mut y = scores.matmul(&inputs.value.value)?;
                let mask = x[0].mask.clone();
                if let Some(mask) = &mask {
                    y = y.mul(&mask.unsqueeze(-1)?.cast(Value::dtype(&y))?)?;
                }
                Ok(results(y, scores, self.return_attention_scores, mask))
            }
        }
    };
}

/// How [`Attention`] compares a query and a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScoreMode {
    /// Their product.
    #[default]
    Dot,
    /// The sum of `tanh(query + key)`.
    Concat,
}

words!("score mode" ScoreMode { "dot" => ScoreMode::Dot, "concat" => ScoreMode::Concat });

settings! {
    /// Attention by products of queries and keys, without weights of its own unless it is told to have them (Luong et al. 2015).
    ///
    /// # Shapes
    /// A query `[batch, rows, n]`, a value `[batch, columns, m]` and, if it is another, a key `[batch, columns, n]` to
    /// `[batch, rows, m]`; the scores are `[batch, rows, columns]`.
    Attention {
        /// Whether scores are multiplied by a learned number.
        use_scale: bool = false;
        /// How a query and a key are compared.
        score_mode: ScoreMode = ScoreMode::Dot;
        /// The part of the scores that training leaves out.
        dropout: f64 = 0.0;
        /// Whether no step sees a later one.
        use_causal_mask: bool = false;
        /// Whether the scores are given too.
        return_attention_scores: bool = false;
    }
}

impl Attention {
    /// Products, unscaled.
    pub fn new() -> Attention {
        Attention::default()
    }

    fn own_weights(&self, _features: usize) -> Vec<Weight> {
        let number = |name: &'static str| Weight::new(name, [] as [usize; 0], Initializer::Ones);
        let scale = self.use_scale.then(|| number("scale"));
        let concat = (self.score_mode == ScoreMode::Concat).then(|| number("concat_score_weight"));
        scale.into_iter().chain(concat).collect()
    }

    fn scores(&self, query: &Var, key: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let scale = weights.find("scale").map(|scale| pass.parameter(scale));
        match self.score_mode {
            ScoreMode::Dot => {
                let scores = query.matmul(&key.transpose(-1, -2)?)?;
                scale.map_or(Ok(scores.clone()), |scale| Ok(scores.mul(&scale)?))
            }
            ScoreMode::Concat => {
                let mut sum = query.unsqueeze(2)?.add(&key.unsqueeze(1)?)?;
                if let Some(scale) = scale {
                    sum = sum.mul(&scale)?;
                }
                Ok(sum.tanh()?.sum(-1)?.mul(&pass.parameter(weights.get("concat_score_weight")?))?)
            }
        }
    }
}

plain_attention!(Attention);

settings! {
    /// Attention by `Σ scale · tanh(query + key)` (Bahdanau et al. 2015).
    ///
    /// # Shapes
    /// Those of [`Attention`]; `scale` is `[n]`.
    AdditiveAttention {
        /// Whether features are weighted by a learned scale.
        use_scale: bool = true;
        /// The part of the scores that training leaves out.
        dropout: f64 = 0.0;
        /// Whether no step sees a later one.
        use_causal_mask: bool = false;
        /// Whether the scores are given too.
        return_attention_scores: bool = false;
    }
}

impl AdditiveAttention {
    /// With a scale.
    pub fn new() -> AdditiveAttention {
        AdditiveAttention::default()
    }

    fn own_weights(&self, features: usize) -> Vec<Weight> {
        self.use_scale.then(|| Weight::new("scale", [features], Initializer::GlorotUniform)).into_iter().collect()
    }

    fn scores(&self, query: &Var, key: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let mut sum = query.unsqueeze(2)?.add(&key.unsqueeze(1)?)?.tanh()?;
        if let Some(scale) = weights.find("scale") {
            sum = sum.mul(&pass.parameter(scale))?;
        }
        Ok(sum.sum(-1)?)
    }
}

plain_attention!(AdditiveAttention);

/// What the layers with heads have in common.
struct Heads {
    class: &'static str,
    /// Heads of queries.
    queries: usize,
    /// Heads of keys and values, each shared by some of the queries.
    keys: usize,
    /// Features of a key.
    key_dim: usize,
    /// Features of a value.
    value_dim: usize,
    output: Option<usize>,
    use_bias: bool,
    dropout: f64,
    causal: bool,
    takes_mask: bool,
    returns_scores: bool,
    kernel: Initializer,
    bias: Initializer,
    regularizers: [Option<Regularizer>; 2],
    activity: Option<Regularizer>,
    constraints: [Option<Constraint>; 2],
}

impl Heads {
    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [[rows, width], [columns, _], _] = sequences(self.class, inputs, self.takes_mask)?;
        if [self.queries, self.keys, self.key_dim, self.value_dim].contains(&0) || self.output == Some(0) {
            let text = format!("{}: {} heads of {} features", self.class, self.queries, self.key_dim);
            return Err(Error::config(text, "ask for at least one of each"));
        }
        if !self.queries.is_multiple_of(self.keys) {
            let text = format!("{}: {} heads of keys do not divide {} of queries", self.class, self.keys, self.queries);
            return Err(Error::config(text, "each head of keys serves as many heads of queries"));
        }
        let range = "a number from 0 to below 1";
        super::require((0.0..1.0).contains(&self.dropout), self.class, "the dropout", self.dropout, range)?;
        let mut all = vec![Shape::new(&[rows, self.output.unwrap_or(width)])?];
        if self.returns_scores {
            all.push(Shape::new(&[self.queries, rows, columns])?);
        }
        Ok(all)
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let [[_, query], [_, value], [_, key]] = sequences(self.class, inputs, self.takes_mask)?;
        let output = self.output.unwrap_or(query);
        let parts = [
            ("query", vec![query, self.queries, self.key_dim], vec![self.queries, self.key_dim]),
            ("key", vec![key, self.keys, self.key_dim], vec![self.keys, self.key_dim]),
            ("value", vec![value, self.keys, self.value_dim], vec![self.keys, self.value_dim]),
            ("attention_output", vec![self.queries, self.value_dim, output], vec![output]),
        ];
        let mut all = Vec::new();
        for (name, kernel, bias) in parts {
            let kernel = Weight::new("kernel", kernel, self.kernel);
            all.push(kernel.regularizer(self.regularizers[0]).constraint(self.constraints[0]).within(name));
            if self.use_bias {
                let bias = Weight::new("bias", bias, self.bias);
                all.push(bias.regularizer(self.regularizers[1]).constraint(self.constraints[1]).within(name));
            }
        }
        Ok(all)
    }

    /// `x · kernel + bias` by heads: `[batch, heads, time, features]`.
    fn projected(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let kernel = pass.parameter(weights.get("kernel")?);
        let shape = *Value::shape(&kernel);
        let (heads, features) = (shape[1], shape[2]);
        let mut y = x.matmul(&kernel.reshape([shape[0], heads * features])?)?;
        if let Some(bias) = weights.find("bias") {
            y = y.add(&pass.parameter(bias).reshape([heads * features])?)?;
        }
        self.note(&y, pass)?;
        let (batch, time) = (Value::shape(x)[0], Value::shape(x)[1]);
        Ok(y.reshape([batch, time, heads, features])?.permute(&[0, 2, 1, 3])?)
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let inputs = Inputs::of(self.class, x, self.takes_mask)?;
        let query = self.projected(&inputs.query.value, weights.within("query"), pass)?;
        let key = self.shared(self.projected(&inputs.key.value, weights.within("key"), pass)?)?;
        let value = self.shared(self.projected(&inputs.value.value, weights.within("value"), pass)?)?;
        let query = query.mul(1.0 / (self.key_dim as f64).sqrt())?;
        let scores = query.matmul(&key.transpose(-1, -2)?)?;
        // Keras has two ways to the result, which differ where a step sees none; the one with scores in hand gives 0.
        let blind = if self.dropout > 0.0 || self.returns_scores { Blind::None } else { Blind::Even };
        let scores = shares(&inputs, &scores, self.causal, blind, |mask| Ok(mask.unsqueeze(1)?))?;
        let scores = dropped(&scores, self.dropout, pass)?;
        // Heads side by side, and one product for all.
        let y = scores.matmul(&value)?.permute(&[0, 2, 1, 3])?;
        let [batch, time] = [Value::shape(&y)[0], Value::shape(&y)[1]];
        let y = y.reshape([batch, time, self.queries * self.value_dim])?;
        let kernel = pass.parameter(weights.within("attention_output").get("kernel")?);
        let output = Value::shape(&kernel)[2];
        let mut y = y.matmul(&kernel.reshape([self.queries * self.value_dim, output])?)?;
        if let Some(bias) = weights.within("attention_output").find("bias") {
            y = y.add(&pass.parameter(bias))?;
        }
        self.note(&y, pass)?;
        Ok(results(y, scores, self.returns_scores, x[0].mask.clone()))
    }

    /// Notes what the result of a projection adds to the loss.
    fn note(&self, y: &Var, pass: &mut Pass) -> Result<()> {
        self.activity.map_or(Ok(()), |regularizer| activity(regularizer, y, pass))
    }

    /// Each head of keys or values as often as there are heads of queries for it.
    fn shared(&self, x: Var) -> Result<Var> {
        let times = self.queries / self.keys;
        if times == 1 {
            return Ok(x);
        }
        let [batch, heads, time, features] = [0, 1, 2, 3].map(|i| Value::shape(&x)[i]);
        let wide = x.unsqueeze(2)?.expand([batch, heads, times, time, features])?;
        Ok(wide.reshape([batch, heads * times, time, features])?)
    }
}

/// A layer that is made of [`Heads`].
macro_rules! with_heads {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* } |$self:ident| [$queries:expr, $keys:expr, $key_dim:expr, $value_dim:expr, $output:expr], $penalty:expr) => {
        settings! {
            $(#[$doc])*
            ///
            /// Called on one value, it attends to itself; with [`takes_attention_mask`](Self::takes_attention_mask) the last value
            /// says of each pair of steps whether the first sees the second: `[batch, rows, columns]`.
            ///
            /// # Shapes
            /// A query `[batch, rows, n]`, a value `[batch, columns, m]` and, if it is another, a key to `[batch, rows, n]`;
            /// the scores are `[batch, heads, rows, columns]`.
            $name {
                $($own)*
                /// Whether the projections have biases.
                use_bias: bool = true;
                /// The part of the scores that training leaves out.
                dropout: f64 = 0.0;
                /// Whether no step sees a later one.
                use_causal_mask: bool = false;
                /// Whether the last value it is called on is a mask of pairs.
                takes_attention_mask: bool = false;
                /// Whether the scores are given too.
                return_attention_scores: bool = false;
                /// What the kernels start from.
                kernel_initializer: Initializer = Initializer::GlorotUniform;
                /// What the biases start from.
                bias_initializer: Initializer = Initializer::Zeros;
                /// What the kernels add to the loss.
                kernel_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What the biases add to the loss.
                bias_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What the results of the projections add to the loss.
                activity_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What holds for the kernels after each update.
                kernel_constraint: Option<Constraint> = None, some Constraint;
                /// What holds for the biases after each update.
                bias_constraint: Option<Constraint> = None, some Constraint;
            }
        }

        impl $name {
            fn heads(&$self) -> Heads {
                Heads {
                    class: stringify!($name),
                    queries: $queries,
                    keys: $keys,
                    key_dim: $key_dim,
                    value_dim: $value_dim,
                    output: $output,
                    use_bias: $self.use_bias,
                    dropout: $self.dropout,
                    causal: $self.use_causal_mask,
                    takes_mask: $self.takes_attention_mask,
                    returns_scores: $self.return_attention_scores,
                    kernel: $self.kernel_initializer,
                    bias: $self.bias_initializer,
                    regularizers: [$self.kernel_regularizer, $self.bias_regularizer],
                    activity: $self.activity_regularizer,
                    constraints: [$self.kernel_constraint, $self.bias_constraint],
                }
            }
        }

        impl AnyLayer for $name {
            described!(any);

            fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
                self.heads().infer(inputs)
            }

            fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
                self.heads().weights(inputs)
            }

            fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
                self.heads().run(x, weights, pass)
            }

            fn penalty(&$self) -> Option<Regularizer> {
                $penalty
            }
        }
    };
}

with_heads! {
    /// Several attentions side by side, each with its own projections of query, key and value (Vaswani et al. 2017).
    MultiHeadAttention {
        num_heads: usize = 0, new;
        key_dim: usize = 0, new;
        /// Features of a value; those of a key unless set.
        value_dim: Option<usize> = None, some usize;
        /// Features of the output; those of the query unless set.
        output_shape: Option<usize> = None, some usize;
    }
    |self| [self.num_heads, self.num_heads, self.key_dim, self.value_dim.unwrap_or(self.key_dim), self.output_shape],
    None
}

impl MultiHeadAttention {
    /// So many heads of so many features.
    pub fn new(num_heads: usize, key_dim: usize) -> MultiHeadAttention {
        MultiHeadAttention { num_heads, key_dim, ..MultiHeadAttention::default() }
    }
}

with_heads! {
    /// [`MultiHeadAttention`] in which several heads of queries share one of keys and values (Ainslie et al. 2023).
    GroupQueryAttention {
        head_dim: usize = 0, new;
        num_query_heads: usize = 0, new;
        num_key_value_heads: usize = 0, new;
    }
    |self| [self.num_query_heads, self.num_key_value_heads, self.head_dim, self.head_dim, None],
    // In Keras it counts for the layer too, and not for its projections alone.
    self.activity_regularizer
}

impl GroupQueryAttention {
    /// Heads of `head_dim` features: so many of queries, and so many, which divide them, of keys and values.
    pub fn new(head_dim: usize, num_query_heads: usize, num_key_value_heads: usize) -> GroupQueryAttention {
        GroupQueryAttention { head_dim, num_query_heads, num_key_value_heads, ..GroupQueryAttention::default() }
    }
}
