//! Layers around layers of sequences, and the mask that they heed.

use super::{Course, Recurrent};
use crate::layer::{AnyLayer, Weight, Weights, arity};
use crate::layers::Dense;
use crate::layers::settings::{described, settings, words};
use crate::module::Role;
use crate::{Error, Parameter, Pass, Regularizer, Result, Signal};
use kiln_autograd::ops::{ArithmeticOps, CastOps, ComparisonOps, StatisticsOps, Value, ViewOps, concat, stack};
use kiln_autograd::{Shape, Var};
use std::sync::Arc;

/// How [`Bidirectional`] makes one value of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MergeMode {
    /// One after the other.
    #[default]
    Concat,
    /// The sum.
    Sum,
    /// The mean.
    Ave,
    /// The product.
    Mul,
    /// Not at all: it has two outputs.
    Apart,
}

words!("merge mode" MergeMode {
    "concat" => MergeMode::Concat, "sum" => MergeMode::Sum, "ave" => MergeMode::Ave, "mul" => MergeMode::Mul,
    null => MergeMode::Apart,
});

settings! {
    /// A recurrent layer that goes through the sequence in both directions, each with weights of its own.
    ///
    /// # Shapes
    /// Those of the layer; with [`MergeMode::Concat`] the last dimension is twice as long. Initial states are those of the layer that
    /// goes forwards and then those of the one that goes backwards, and so are the last states.
    Bidirectional {
        layer: Arc<dyn AnyLayer> = Arc::new(Dense::new(0)), new;
        /// How one value is made of two.
        merge_mode: MergeMode = MergeMode::Concat;
        backward_layer: Option<Arc<dyn AnyLayer>> = None, new;
    }
}

impl Bidirectional {
    /// Wraps a recurrent layer.
    pub fn new(layer: impl AnyLayer + 'static) -> Bidirectional {
        Bidirectional { layer: Arc::new(layer), ..Bidirectional::default() }
    }

    /// Goes backwards with another layer than forwards.
    #[must_use]
    pub fn backward_layer(mut self, layer: impl AnyLayer + 'static) -> Bidirectional {
        self.backward_layer = Some(Arc::new(layer));
        self
    }

    /// Both directions, forwards first.
    fn both(&self) -> Result<[Recurrent; 2]> {
        let recurrent = |layer: &Arc<dyn AnyLayer>| {
            layer.as_recurrent().ok_or_else(|| {
                let text = format!("Bidirectional: {} does not go through time", layer.class_name());
                Error::config(text, "wrap a recurrent layer, such as LSTM")
            })
        };
        let forward = recurrent(&self.layer)?;
        let backward = match &self.backward_layer {
            Some(layer) => recurrent(layer)?,
            None => Recurrent {
                course: Course { go_backwards: !forward.course.go_backwards, ..forward.course },
                ..forward.clone()
            },
        };
        let same = |a: &Course, b: &Course| {
            (a.return_sequences, a.return_state, !a.go_backwards)
                == (b.return_sequences, b.return_state, b.go_backwards)
        };
        if !same(&forward.course, &backward.course) {
            let text = "Bidirectional: the two layers must go in two directions and return the same";
            return Err(Error::config(text, "set go_backwards(true) on the backward layer"));
        }
        // Steps that do not count give 0 in both, as in Keras.
        Ok([forward, backward].map(|one| Recurrent {
            course: Course { zero_output_for_mask: one.course.return_sequences, ..one.course },
            ..one
        }))
    }

    /// The inputs of the two directions.
    fn split<T: Clone>(inputs: &[T]) -> Result<[Vec<T>; 2]> {
        let states = inputs.len().saturating_sub(1);
        if inputs.is_empty() || !states.is_multiple_of(2) {
            let text =
                format!("Bidirectional takes a sequence and the states of both directions, found {states} states");
            return Err(Error::config(text, "give the states of one direction, and then those of the other"));
        }
        let (sequence, states) = inputs.split_at(1);
        let (forward, backward) = states.split_at(states.len() / 2);
        Ok([[sequence, forward].concat(), [sequence, backward].concat()])
    }
}

impl AnyLayer for Bidirectional {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let ([forward, backward], [x, y]) = (self.both()?, Bidirectional::split(inputs)?);
        let (a, b) = (forward.infer("Bidirectional", &x)?, backward.infer("Bidirectional", &y)?);
        let mut all = match self.merge_mode {
            MergeMode::Apart => vec![a[0], b[0]],
            _ if a[0][..a[0].rank() - 1] != b[0][..b[0].rank() - 1] => {
                return Err(Error::config(
                    format!("Bidirectional: outputs of {} and {} do not go together", a[0], b[0]),
                    "give both layers the same number of units",
                ));
            }
            MergeMode::Concat => {
                let last = a[0].rank() - 1;
                vec![Shape::new(&a[0].with(last, a[0][last] + b[0][last]))?]
            }
            _ if a[0] == b[0] => vec![a[0]],
            _ => {
                let text = format!("Bidirectional: outputs of {} and {} do not go together", a[0], b[0]);
                return Err(Error::config(text, "give both layers the same number of units, or concatenate"));
            }
        };
        all.extend(a[1..].iter().chain(&b[1..]));
        Ok(all)
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let ([forward, backward], [x, y]) = (self.both()?, Bidirectional::split(inputs)?);
        let mut all = Vec::new();
        for (name, one, inputs) in [("forward", forward, x), ("backward", backward, y)] {
            all.extend(one.weights("Bidirectional", &inputs)?.into_iter().map(|weight| weight.within(name)));
        }
        Ok(all)
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let ([forward, backward], [x, y]) = (self.both()?, Bidirectional::split(x)?);
        let mask = x[0].mask.clone().filter(|_| forward.course.return_sequences);
        let mut a = forward.run(&x, weights.within("forward"), pass)?.into_iter().map(|signal| signal.value);
        let mut b = backward.run(&y, weights.within("backward"), pass)?.into_iter().map(|signal| signal.value);
        // Each gives its steps in its own order.
        let in_order = |one: &Recurrent, y: Var| {
            if one.course.return_sequences && one.course.go_backwards { y.flip(1) } else { Ok(y) }
        };
        let none = || Error::config("Bidirectional: a layer gave nothing", "");
        let p = in_order(&forward, a.next().ok_or_else(none)?)?;
        let q = in_order(&backward, b.next().ok_or_else(none)?)?;
        let merged = match self.merge_mode {
            MergeMode::Concat => vec![concat(&[&p, &q], -1)?],
            MergeMode::Sum => vec![p.add(&q)?],
            MergeMode::Ave => vec![p.add(&q)?.mul(0.5)?],
            MergeMode::Mul => vec![p.mul(&q)?],
            MergeMode::Apart => vec![p, q],
        };
        let merged = merged.into_iter().map(|value| Signal::new(value).masked(mask.clone()));
        Ok(merged.chain(a.chain(b).map(Signal::new)).collect())
    }
}

settings! {
    /// A layer for each step of a sequence by itself, with the same weights.
    ///
    /// # Shapes
    /// `[batch, time, …]` to `[batch, time, …]` with what the layer makes of the rest.
    TimeDistributed {
        layer: Arc<dyn AnyLayer> = Arc::new(Dense::new(0)), new;
    }
}

impl TimeDistributed {
    /// Wraps a layer of one input and one output.
    pub fn new(layer: impl AnyLayer + 'static) -> TimeDistributed {
        TimeDistributed { layer: Arc::new(layer) }
    }

    /// The number of steps, and the shape of one.
    fn step(&self, inputs: &[Shape]) -> Result<(usize, Shape)> {
        let [input] = arity("TimeDistributed", inputs)?;
        match &input[..] {
            [time, step @ ..] if !step.is_empty() => Ok((*time, Shape::new(step)?)),
            _ => {
                let text = format!("TimeDistributed: the input {input} is no sequence");
                Err(Error::config(text, "give samples of shape [time, …]"))
            }
        }
    }
}

impl TimeDistributed {
    /// Each step by itself: what a layer measures of a batch is of the samples' steps at one time, as in Keras.
    fn one_by_one(&self, x: &Signal, weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let mut all = Vec::new();
        for t in 0..x.shape()[1] as isize {
            let mask = x.mask.as_ref().map(|mask| mask.index(1, t)).transpose()?;
            let step = Signal::new(x.value.index(1, t)?).masked(mask);
            let y = self.layer.run(&[step], weights.within("layer"), pass)?;
            let [y] = arity("TimeDistributed", &y)?;
            all.push(y.value.clone());
        }
        let y = stack(&all.iter().collect::<Vec<_>>(), 1)?;
        Ok(vec![Signal::new(y).masked(x.mask.clone().filter(|mask| Value::shape(mask).rank() == 2))])
    }
}

impl AnyLayer for TimeDistributed {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let (time, step) = self.step(inputs)?;
        let outputs = self.layer.infer(&[step])?;
        let [output] = arity("TimeDistributed", &outputs)?;
        Ok(vec![Shape::new(&[&[time], &output[..]].concat())?])
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let (_, step) = self.step(inputs)?;
        let weights = self.layer.weights_for(&[step])?;
        Ok(weights.into_iter().map(|weight| weight.within("layer")).collect())
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let [x] = arity("TimeDistributed", x)?;
        let shape = *x.shape();
        let (batch, time) = (shape[0], shape[1]);
        let moves = |parameter: &Parameter| parameter.role() == Role::Statistic && parameter.trainable;
        if pass.is_training() && weights.parameters().iter().any(moves) {
            return self.one_by_one(x, weights, pass);
        }
        // Steps as samples.
        let flat = |x: &Var| x.reshape([&[batch * time], &Value::shape(x)[2..]].concat());
        let apart = |x: &Var| x.reshape([&[batch, time], &Value::shape(x)[1..]].concat());
        // A mask of what is within a step is the layer's.
        let within = x.mask.as_ref().filter(|mask| Value::shape(*mask).rank() > 2).map(flat).transpose()?;
        let y = self.layer.run(&[Signal::new(flat(&x.value)?).masked(within)], weights.within("layer"), pass)?;
        let [y] = arity("TimeDistributed", &y)?;
        let mask = match (&y.mask, &x.mask) {
            (Some(mask), _) => Some(apart(mask)?),
            // A step counts if any of it does.
            (None, Some(mask)) => match Value::shape(mask).rank() {
                rank @ 3.. => Some(mask.any((2..rank as isize).collect::<Vec<_>>())?),
                _ => Some(mask.clone()),
            },
            (None, None) => None,
        };
        Ok(vec![Signal::new(apart(&y.value)?).masked(mask)])
    }

    fn final_activation(&self) -> crate::Activation {
        self.layer.final_activation()
    }

    fn penalty(&self) -> Option<Regularizer> {
        self.layer.penalty()
    }
}

settings! {
    /// Marks steps in which every feature is `mask_value` as filling, which layers that heed masks pass over.
    ///
    /// # Shapes
    /// `[batch, time, features]` to the same; the mask is `[batch, time]`.
    Masking {
        mask_value: f64 = 0.0, new;
    }
}

impl Masking {
    /// Steps of this value are filling.
    pub fn new(mask_value: f64) -> Masking {
        Masking { mask_value }
    }
}

impl AnyLayer for Masking {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [input] = arity("Masking", inputs)?;
        let is_number = !self.mask_value.is_nan();
        crate::layers::require(is_number, "Masking", "mask_value", self.mask_value, "a number: NaN equals nothing")?;
        super::step_of("Masking", input)?;
        Ok(vec![*input])
    }

    fn run(&self, x: &[Signal], _weights: Weights<'_>, _pass: &mut Pass) -> Result<Vec<Signal>> {
        let [Signal { value: x, .. }] = arity("Masking", x)?;
        let mask = x.ne(self.mask_value)?.any(-1)?;
        let y = x.mul(&mask.unsqueeze(-1)?.cast(Value::dtype(x))?)?;
        Ok(vec![Signal::new(y).masked(mask)])
    }
}
