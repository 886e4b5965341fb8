//! Attention in several heads, each with its own projections of query, key and value.

use super::{Blind, Inputs, apart, both, dropped, results, roles, shares};
use crate::layer::{AnyLayer, Weight, Weights, activity};
use crate::layers::merge::sample_axis;
use crate::layers::settings::{Setting, described, settings};
use crate::{Activation, AxisList, Constraint, Error, Initializer, Pass, Regularizer, Result, Signal};
use kiln_autograd::ops::{
    ArithmeticOps, AttentionOps, AttentionOptions, ComparisonOps, MatMulOps, MathOps, Value, ViewOps,
};
use kiln_autograd::{DType, Shape, Tensor, Var};
use serde_json::Value as Json;

/// The lengths of one dimension or of several: `7`, `[7, 2]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lengths(Vec<usize>);

impl From<usize> for Lengths {
    fn from(length: usize) -> Lengths {
        Lengths(vec![length])
    }
}

impl<const N: usize> From<[usize; N]> for Lengths {
    fn from(lengths: [usize; N]) -> Lengths {
        Lengths(lengths.to_vec())
    }
}

impl From<Vec<usize>> for Lengths {
    fn from(lengths: Vec<usize>) -> Lengths {
        Lengths(lengths)
    }
}

impl Setting for Lengths {
    fn blank() -> Self {
        Lengths::default()
    }
    fn write(&self) -> Json {
        self.0.write()
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        self.0.read(json)
    }
}

/// The dimensions of samples before the features: those that are attended over, and those that are apart, each position of which
/// is an attention of its own.
struct Axes {
    free: Vec<usize>,
    attended: Vec<usize>,
}

impl Axes {
    /// The lengths of these dimensions.
    fn of(axes: &[usize], sample: &Shape) -> Vec<usize> {
        axes.iter().map(|axis| sample[*axis]).collect()
    }

    /// `[batch, …, heads, features]` as `[batch, free…, heads, steps, features]`.
    fn by_heads(&self, x: &Var) -> Result<Var> {
        let shape = *Value::shape(x);
        let rank = shape.rank();
        let batched = |axes: &[usize]| axes.iter().map(|axis| *axis as isize + 1).collect::<Vec<_>>();
        let heads = [rank as isize - 2];
        let order = [&[0], &batched(&self.free)[..], &heads, &batched(&self.attended), &[rank as isize - 1]].concat();
        let x = x.permute(&order)?;
        if self.attended.len() == 1 {
            return Ok(x);
        }
        let shape = *Value::shape(&x);
        let before = self.free.len() + 2;
        let steps: usize = shape[before..rank - 1].iter().product();
        Ok(x.reshape([&shape[..before], &[steps, shape[rank - 1]]].concat())?)
    }

    /// What [`Axes::by_heads`] made, back in the order of `sample`: `[batch, …, heads · features]`.
    fn side_by_side(&self, y: &Var, sample: &Shape) -> Result<Var> {
        let shape = *Value::shape(y);
        let (free, steps) = (Axes::of(&self.free, sample), Axes::of(&self.attended, sample));
        let (heads, features) = (shape[free.len() + 1], shape[free.len() + 3]);
        let y = y.reshape([&shape[..1], &free, &[heads], &steps, &[features]].concat())?;
        // Where each dimension of the result is now.
        let place = |axis: usize| match self.free.iter().position(|free| *free == axis) {
            Some(i) => i + 1,
            None => self.attended.iter().position(|own| *own == axis).map_or(0, |i| free.len() + 2 + i),
        };
        let dims = free.len() + steps.len();
        let order: Vec<isize> = [0]
            .into_iter()
            .chain((0..dims).map(place))
            .chain([free.len() + 1, dims + 2])
            .map(|axis| axis as isize)
            .collect();
        Ok(y.permute(&order)?.reshape([&shape[..1], &sample[..dims], &[heads * features]].concat())?)
    }

    /// Scores `[batch, free…, heads, rows, columns]` with the dimensions of both samples.
    fn apart(&self, scores: &Var, [rows, columns]: [&Shape; 2]) -> Result<Var> {
        let before = self.free.len() + 2;
        let pairs = [Axes::of(&self.attended, rows), Axes::of(&self.attended, columns)].concat();
        Ok(scores.reshape([&Value::shape(scores)[..before], &pairs].concat())?)
    }

    /// A mask of the first dimensions of a value as one of its steps: `[batch, free…, steps]`.
    fn steps(&self, mask: &Var, sample: &Shape) -> Result<Option<Var>> {
        let have = Value::shape(mask).rank();
        let dims = self.free.len() + self.attended.len();
        if have > dims + 1 {
            return Ok(None);
        }
        let mut mask = mask.clone();
        for _ in have..dims + 1 {
            mask = mask.unsqueeze(-1)?;
        }
        let batch = Value::shape(&mask)[0];
        let mask = mask.expand([&[batch], &sample[..dims]].concat())?;
        let order: Vec<isize> =
            [0].into_iter().chain(self.free.iter().chain(&self.attended).map(|axis| *axis as isize + 1)).collect();
        let steps: usize = Axes::of(&self.attended, sample).iter().product();
        Ok(Some(mask.permute(&order)?.reshape([&[batch], &Axes::of(&self.free, sample)[..], &[steps]].concat())?))
    }
}

/// Whether two steps lie less than `window` apart: `[rows, columns]`.
fn near(rows: usize, columns: usize, window: usize) -> Result<Tensor> {
    let row = Tensor::arange(0, rows as i64, 1)?.unsqueeze(1)?;
    let column = Tensor::arange(0, columns as i64, 1)?.unsqueeze(0)?;
    Ok(row.sub(&column)?.abs()?.lt(window as f64)?)
}

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
    /// The dimensions of the output's features; those of the query if there is none.
    output: Option<Lengths>,
    /// The axes of batches that are attended over; all if there is none.
    axes: AxisList,
    /// How near a step must be to be seen.
    window: Option<usize>,
    gate: bool,
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
    /// The axes of samples of this shape.
    fn axes(&self, sample: &Shape) -> Result<Axes> {
        let dims = sample.rank() - 1;
        if self.axes.is_empty() {
            return Ok(Axes { free: Vec::new(), attended: (0..dims).collect() });
        }
        let attended: Vec<usize> = self
            .axes
            .iter()
            .map(|axis| sample_axis(self.class, *axis, sample.rank()).map(|at| (*axis, at)))
            .map(|axis| match axis? {
                (axis, at) if at == dims => {
                    let text = format!("{}: axis {axis} of attention_axes is that of the features", self.class);
                    Err(Error::config(text, format!("name axes of the steps: 1 to {dims}")))
                }
                (_, at) => Ok(at),
            })
            .collect::<Result<_>>()?;
        if (1..attended.len()).any(|i| attended[..i].contains(&attended[i])) {
            let text = format!("{}: attention_axes {:?} name an axis twice", self.class, &self.axes[..]);
            return Err(Error::config(text, "name each once"));
        }
        Ok(Axes { free: (0..dims).filter(|axis| !attended.contains(axis)).collect(), attended })
    }

    /// The query, the value and the key, which fit each other.
    fn sequences(&self, inputs: &[Shape]) -> Result<([Shape; 3], Axes)> {
        let class = self.class;
        let (inputs, pairs) = apart(inputs, self.takes_mask);
        let [query, value, key] = roles(class, inputs)?.map(|shape| *shape);
        for shape in [query, value, key] {
            if shape.rank() < 2 || shape.rank() != query.rank() {
                let text = format!("{class}: the input {shape} is no sequence of vectors");
                let help =
                    "give samples of shape [time, features], or with more dimensions of steps, as many in all inputs";
                return Err(Error::config(text, help));
            }
        }
        let axes = self.axes(&query)?;
        let dims = query.rank() - 1;
        if value[..dims] != key[..dims] {
            let text = format!("{class}: values {value} and keys {key} of other steps");
            return Err(Error::config(text, "there must be a key for each value"));
        }
        if Axes::of(&axes.free, &query) != Axes::of(&axes.free, &value) {
            let text = format!("{class}: the query {query} and the value {value} differ where no attention goes");
            return Err(Error::config(text, "dimensions that attention_axes do not name must be equal"));
        }
        let (rows, columns) = (Axes::of(&axes.attended, &query), Axes::of(&axes.attended, &value));
        let wanted = [Axes::of(&axes.free, &query), rows.clone(), columns.clone()].concat();
        let of_heads = [&Axes::of(&axes.free, &query)[..], &[self.queries], &rows, &columns].concat();
        let covers = |mask: &Shape| {
            let least = if axes.free.is_empty() { wanted.len() } else { wanted.len() - axes.free.len() };
            let fits =
                |want: &[usize]| mask.rank() == want.len() && mask.iter().zip(want).all(|(d, n)| *d == 1 || d == n);
            fits(&wanted) || fits(&wanted[wanted.len() - least..]) || fits(&of_heads)
        };
        if let Some(mask) = pairs.filter(|mask| !covers(mask)) {
            let [rows, columns]: [usize; 2] = [rows.iter().product(), columns.iter().product()];
            let text =
                format!("{class}: the mask {mask} does not cover {rows} steps of queries and {columns} of values");
            let help = format!("give a mask of samples {}, the last of the inputs", Shape::new(&wanted)?);
            return Err(Error::config(text, help));
        }
        Ok(([query, value, key], axes))
    }

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let ([query, value, _], axes) = self.sequences(inputs)?;
        let output = self.output(&query);
        if [self.queries, self.keys, self.key_dim, self.value_dim].contains(&0)
            || output.contains(&0)
            || output.is_empty()
        {
            let text = format!("{}: {} heads of {} features", self.class, self.queries, self.key_dim);
            return Err(Error::config(text, "ask for at least one of each"));
        }
        if !self.queries.is_multiple_of(self.keys) {
            let text = format!("{}: {} heads of keys do not divide {} of queries", self.class, self.keys, self.queries);
            return Err(Error::config(text, "each head of keys serves as many heads of queries"));
        }
        let range = "a number from 0 to below 1";
        crate::layers::require((0.0..1.0).contains(&self.dropout), self.class, "the dropout", self.dropout, range)?;
        if self.window == Some(0) {
            let text = format!("{}: in a sliding_window of 0 no step sees any", self.class);
            return Err(Error::config(text, "1 is the step itself"));
        }
        if axes.attended.len() > 1 && (self.causal || self.window.is_some()) {
            let text = format!("{}: which of {} axes of attention is time?", self.class, axes.attended.len());
            return Err(Error::config(text, "a causal mask or a window needs one: .attention_axes(1)"));
        }
        let scores = if self.returns_scores { 2 + axes.free.len() + 2 * axes.attended.len() } else { 0 };
        if Shape::new(&vec![1; scores.max(query.rank() + 2)]).is_err() {
            let text = format!("{}: heads or scores of samples {query} have too many dimensions", self.class);
            return Err(Error::config(text, "make one dimension of the steps: Reshape before this layer"));
        }
        let mut all = vec![Shape::new(&[&query[..query.rank() - 1], &output].concat())?];
        if self.returns_scores {
            let (rows, columns) = (Axes::of(&axes.attended, &query), Axes::of(&axes.attended, &value));
            all.push(Shape::new(&[&Axes::of(&axes.free, &query)[..], &[self.queries], &rows, &columns].concat())?);
        }
        Ok(all)
    }

    /// The lengths of the output's features.
    fn output(&self, query: &Shape) -> Vec<usize> {
        let own = self.output.as_ref().map(|lengths| lengths.0.clone());
        own.unwrap_or_else(|| query.last().copied().into_iter().collect())
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let ([query, value, key], _) = self.sequences(inputs)?;
        let output = self.output(&query);
        let [query, value, key] = [query, value, key].map(|shape| shape.last().copied().unwrap_or(1));
        let projection = |name, from, heads, features| (name, vec![from, heads, features], vec![heads, features]);
        let gate = self.gate.then(|| projection("gate", query, self.queries, self.value_dim));
        let whole = [&[self.queries, self.value_dim], &output[..]].concat();
        let parts =
            [projection("query", query, self.queries, self.key_dim), projection("key", key, self.keys, self.key_dim)]
                .into_iter()
                .chain(gate)
                .chain([projection("value", value, self.keys, self.value_dim), ("attention_output", whole, output)]);
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

    /// `x · kernel + bias`, the last `bound` dimensions of the kernel being those of the result.
    fn projected(&self, x: &Var, bound: usize, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let kernel = pass.parameter(weights.get("kernel")?);
        let shape = *Value::shape(&kernel);
        let (from, to) = shape.split_at(bound);
        let (inner, outer): (usize, usize) = (from.iter().product(), to.iter().product());
        let mut y = x.matmul(&kernel.reshape([inner, outer])?)?;
        if let Some(bias) = weights.find("bias") {
            y = y.add(&pass.parameter(bias).reshape([outer])?)?;
        }
        let before = Value::shape(x).rank() - 1;
        Ok(y.reshape([&Value::shape(x)[..before], to].concat())?)
    }

    /// A projection by heads: `[batch, free…, heads, steps, features]`.
    fn by_heads(&self, axes: &Axes, x: &Signal, name: &str, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let mut y = self.projected(&x.value, 1, weights.within(name), pass)?;
        if name == "gate" {
            y = Activation::Sigmoid.apply(&y)?;
        }
        self.note(&y, pass)?;
        axes.by_heads(&y)
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let inputs = Inputs::of(self.class, x, self.takes_mask)?;
        let sample = |x: &Signal| Ok::<_, Error>(Shape::new(&x.shape()[1..])?);
        let (rows, columns) = (sample(inputs.query)?, sample(inputs.value)?);
        let axes = self.axes(&rows)?;
        let gate = self.gate.then(|| self.by_heads(&axes, inputs.query, "gate", weights, pass)).transpose()?;
        let query = self.by_heads(&axes, inputs.query, "query", weights, pass)?;
        let key = self.shared(self.by_heads(&axes, inputs.key, "key", weights, pass)?)?;
        let value = self.shared(self.by_heads(&axes, inputs.value, "value", weights, pass)?)?;
        let query = query.mul(1.0 / (self.key_dim as f64).sqrt())?;
        // Keras has two ways to the result, which differ where a step sees none; the one with scores in hand gives 0.
        let has_scores = self.dropout > 0.0 || self.returns_scores || rows.rank() != 2;
        let blind = if has_scores { Blind::None } else { Blind::Even };
        let mask = self.mask(&inputs, &axes, [&rows, &columns])?;
        let drops = self.dropout > 0.0 && pass.is_training();
        let (mut y, scores) = if drops || self.returns_scores || (mask.is_some() && blind != Blind::None) {
            let scores = query.matmul(&key.transpose(-1, -2)?)?;
            let scores = dropped(&shares(mask, &scores, self.causal, blind)?, self.dropout, pass)?;
            (scores.matmul(&value)?, Some(scores))
        } else {
            let options = AttentionOptions { mask: mask.as_ref(), causal: self.causal, scale: Some(1.0) };
            (query.scaled_dot_product_attention(&key, &value, &options)?, None)
        };
        if let Some(gate) = gate {
            y = y.mul(&gate)?;
        }
        // Heads side by side, and one product for all.
        let y = axes.side_by_side(&y, &rows)?;
        let y = self.projected(&y, 2, weights.within("attention_output"), pass)?;
        self.note(&y, pass)?;
        let scores = scores.filter(|_| self.returns_scores);
        let scores = scores.map(|scores| axes.apart(&scores, [&rows, &columns])).transpose()?;
        Ok(results(y, scores, x[0].mask.clone()))
    }

    /// Which step of the value each step of the query may see, as what broadcasts to the scores.
    fn mask(&self, inputs: &Inputs<'_>, axes: &Axes, [rows, columns]: [&Shape; 2]) -> Result<Option<Var>> {
        let mut all = None;
        let heads = axes.free.len() as isize + 1;
        if let Some(pairs) = inputs.pairs {
            let mask = &pairs.value;
            let mask = if Value::dtype(mask) == DType::Bool { mask.clone() } else { mask.ne(0)? };
            let (steps, keys) = (Axes::of(&axes.attended, rows), Axes::of(&axes.attended, columns));
            let shape = *Value::shape(&mask);
            let before = shape.rank() - steps.len() - keys.len();
            let missing = vec![1; axes.free.len() + 2 - before];
            let wide = mask.expand([&shape[..before], &steps, &keys].concat())?;
            let [steps, keys]: [usize; 2] = [steps.iter().product(), keys.iter().product()];
            all = both(all, wide.reshape([&shape[..before], &missing, &[steps, keys]].concat())?)?;
        }
        if let Some(mask) = &inputs.query.mask
            && let Some(mask) = axes.steps(mask, rows)?
        {
            all = both(all, mask.unsqueeze(heads)?.unsqueeze(-1)?)?;
        }
        for mask in inputs.of_values().filter_map(|x| x.mask.as_ref()) {
            if let Some(mask) = axes.steps(mask, columns)? {
                all = both(all, mask.unsqueeze(heads)?.unsqueeze(-2)?)?;
            }
        }
        if let Some(window) = self.window {
            let length = |sample: &Shape| Axes::of(&axes.attended, sample).iter().product();
            all = both(all, inputs.query.value.beside(near(length(rows), length(columns), window)?)?)?;
        }
        Ok(all)
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
        let shape = *Value::shape(&x);
        let (before, rest) = shape.split_at(shape.rank() - 3);
        let (heads, steps) = (rest[0], &rest[1..]);
        let wide = x.unsqueeze(-3)?.expand([before, &[heads, times], steps].concat())?;
        Ok(wide.reshape([before, &[heads * times], steps].concat())?)
    }
}

/// A layer that is made of [`Heads`].
macro_rules! with_heads {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* } |$self:ident| [$queries:expr, $keys:expr, $key_dim:expr, $value_dim:expr], $output:expr, $axes:expr, $penalty:expr) => {
        settings! {
            $(#[$doc])*
            ///
            /// Called on one value, it attends to itself; with [`takes_attention_mask`](Self::takes_attention_mask) the last value
            /// says of each pair of steps whether the first sees the second: `[batch, rows, columns]`, or of each head by itself:
            /// `[batch, heads, rows, columns]`.
            ///
            /// # Shapes
            /// A query `[batch, rows, n]`, a value `[batch, columns, m]` and, if it is another, a key to `[batch, rows, n]`;
            /// the scores are `[batch, heads, rows, columns]`. `kernel` of the projections `query`, `key`, `value` (and `gate`) is
            /// `[n, heads, features]`, of `attention_output` `[heads, features, n]`.
            $name {
                $($own)*
                /// How near another step must be to be seen: less than this apart. All are unless set.
                sliding_window: Option<usize> = None, just usize;
                /// Whether each number of each head is multiplied by a `sigmoid` that a projection of the query gives (Qiu et al. 2025).
                use_gate: bool = false;
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
                    axes: $axes,
                    window: $self.sliding_window,
                    gate: $self.use_gate,
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
    ///
    /// With more dimensions of steps, `[batch, a, b, …, n]`, all of them are attended over together, or those that
    /// [`attention_axes`](Self::attention_axes) names, at each position of the others; the scores are then
    /// `[batch, others…, heads, rows…, columns…]`.
    MultiHeadAttention {
        num_heads: usize = 0, new;
        key_dim: usize = 0, new;
        /// Features of a value; those of a key unless set.
        value_dim: Option<usize> = None, just usize;
        /// Features of the output, in one dimension or in several; those of the query unless set.
        output_shape: Option<Lengths> = None, some Lengths;
        /// The axes of the steps that are attended over, counted with the batch; all unless set.
        attention_axes: AxisList = AxisList::default(), into;
    }
    |self| [self.num_heads, self.num_heads, self.key_dim, self.value_dim.unwrap_or(self.key_dim)],
    self.output_shape.clone(),
    self.attention_axes.clone(),
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
    |self| [self.num_query_heads, self.num_key_value_heads, self.head_dim, self.head_dim],
    None,
    AxisList::default(),
    // In Keras it counts for the layer too, and not for its projections alone.
    self.activity_regularizer
}

impl GroupQueryAttention {
    /// Heads of `head_dim` features: so many of queries, and so many, which divide them, of keys and values.
    pub fn new(head_dim: usize, num_query_heads: usize, num_key_value_heads: usize) -> GroupQueryAttention {
        GroupQueryAttention { head_dim, num_query_heads, num_key_value_heads, ..GroupQueryAttention::default() }
    }
}
