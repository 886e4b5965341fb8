//! Attention: each step of one sequence takes what it needs from the steps of another. Masks hide steps: those of the values, and
//! with a causal mask those that come later. What has heads, and projections for them, is in `heads.rs`.

mod heads;

pub use heads::{GroupQueryAttention, Lengths, MultiHeadAttention};

use super::activation::{hidden, masked_softmax};
use super::noise::dropped;
use super::settings::{described, settings, words};
use crate::layer::{AnyLayer, Weight, Weights};
use crate::{Error, Initializer, Pass, Result, Signal};
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
        let (x, pairs) = apart(x, takes_mask);
        let [query, value, key] = roles(class, x)?;
        Ok(Inputs { query, value, key, pairs })
    }

    /// Which steps of the key and the value count, where one of them has a mask.
    fn of_values(&self) -> impl Iterator<Item = &'a Signal> {
        let key = Some(self.key).filter(|key| !std::ptr::eq(*key, self.value));
        [self.value].into_iter().chain(key)
    }
}

/// The inputs, and the mask of pairs that is the last of them.
fn apart<T>(x: &[T], takes_mask: bool) -> (&[T], Option<&T>) {
    match x.split_last() {
        Some((last, rest)) if takes_mask => (rest, Some(last)),
        _ => (x, None),
    }
}

/// What both masks count.
fn both(all: Option<Var>, mask: Var) -> Result<Option<Var>> {
    Ok(Some(match all {
        Some(all) => all.logical_and(&mask)?,
        None => mask,
    }))
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

/// The shares that scores `[…, rows, columns]` give each column, of what a mask that broadcasts to them lets be seen.
fn shares(mask: Option<Var>, scores: &Var, causal: bool, blind: Blind) -> Result<Var> {
    let shape = *Value::shape(scores);
    let (rows, columns) = (shape[shape.rank() - 2], shape[shape.rank() - 1]);
    let dtype = Value::dtype(scores);
    if let Some(mut mask) = mask {
        if causal {
            mask = mask.logical_and(&scores.beside(earlier(rows, columns)?)?)?;
        }
        let mask = mask.expand(shape)?;
        let low = hidden(dtype);
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
    let low = if dtype == DType::F16 { -3e4 } else { -1e9 };
    let hidden = earlier(rows, columns)?.cast(dtype)?.sub(1.0)?.mul(-low)?;
    crate::Activation::Softmax.apply(&scores.add(&scores.beside(hidden)?)?)
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

/// Steps and features of the query, the value and the key.
fn sequences(class: &str, inputs: &[Shape]) -> Result<[[usize; 2]; 3]> {
    let mut all = [[0; 2]; 3];
    for (at, shape) in all.iter_mut().zip(roles(class, inputs)?) {
        *at = <[usize; 2]>::try_from(&shape[..]).map_err(|_| {
            let text = format!("{class}: the input {shape} is no sequence of vectors");
            Error::config(text, "give samples of shape [time, features]")
        })?;
    }
    let [_, [values, _], [keys, _]] = all;
    if values != keys {
        let text = format!("{class}: {values} steps of values and {keys} of keys");
        return Err(Error::config(text, "there must be a key for each value"));
    }
    Ok(all)
}

/// The result and, where asked for, the scores.
fn results(y: Var, scores: Option<Var>, mask: Option<Var>) -> Vec<Signal> {
    [Signal::new(y).masked(mask)].into_iter().chain(scores.map(Signal::new)).collect()
}

/// Layers whose scores are made of queries and keys without projections.
macro_rules! plain_attention {
    ($name:ident) => {
        impl AnyLayer for $name {
            described!(any);

            fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
                let class = stringify!($name);
                let holds = (0.0..1.0).contains(&self.dropout);
                crate::layers::require(holds, class, "dropout", self.dropout, "a number from 0 to below 1")?;
                let [[rows, features], [columns, width], [_, others]] = sequences(class, inputs)?;
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
                let [[_, features], ..] = sequences(stringify!($name), inputs)?;
                Ok(self.own_weights(features))
            }

            fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
                let inputs = Inputs::of(stringify!($name), x, false)?;
                let scores = self.scores(&inputs.query.value, &inputs.key.value, weights, pass)?;
                // The query's mask is applied to the result.
                let masks = inputs.of_values().filter_map(|x| x.mask.clone());
                let masks = masks.filter(|mask| Value::shape(mask).rank() == 2);
                let mask = masks
                    .map(|mask| Ok(mask.unsqueeze(1)?))
                    .try_fold(None, |all, mask: Result<Var>| both(all, mask?))?;
                let scores = shares(mask, &scores, self.use_causal_mask, Blind::Unmasked)?;
                let scores = dropped(&scores, self.dropout, pass)?;
                let mut y = scores.matmul(&inputs.value.value)?;
                let mask = x[0].mask.clone();
                if let Some(mask) = &mask {
                    y = y.mul(&mask.unsqueeze(-1)?.cast(Value::dtype(&y))?)?;
                }
                Ok(results(y, Some(scores).filter(|_| self.return_attention_scores), mask))
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
