//! The cells of Keras, and the layers named after them.

use super::{Cell, Drawn, recurrent_settings, stepped};
use crate::layer::{Weight, Weights};
use crate::layers::format::DataFormat;
use crate::layers::noise::silence;
use crate::layers::settings::{Settings, settings, write};
use crate::{Activation, Constraint, Error, Initializer, Pass, Regularizer, Result};
use kiln_autograd::ops::{ArithmeticOps, CastOps, MatMulOps, RecurrentOps, Value, ViewOps, concat};
use kiln_autograd::{Shape, Spec, Tensor, Var};
use serde_json::Value as Json;
use std::sync::Arc;

/// [`recurrent_settings!`] for a cell with a kernel, a recurrent kernel and a bias: Keras's arguments for these come after its
/// own.
macro_rules! gated_settings {
    ($(#[$cell_doc:meta])* $cell:ident, $(#[$doc:meta])* $layer:ident { $($own:tt)* }) => {
        recurrent_settings! {
            $(#[$cell_doc])* $cell, $(#[$doc])* $layer {
                units: usize = 0, new;
                /// What is applied to the new state.
                activation: Activation = Activation::Tanh, into;
                /// Whether a bias is added.
                use_bias: bool = true;
                /// What the kernel starts from.
                kernel_initializer: Initializer = Initializer::GlorotUniform;
                /// What the recurrent kernel starts from.
                recurrent_initializer: Initializer = Initializer::Orthogonal { gain: 1.0 };
                /// What the bias starts from.
                bias_initializer: Initializer = Initializer::Zeros;
                /// What the kernel adds to the loss.
                kernel_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What the recurrent kernel adds to the loss.
                recurrent_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What the bias adds to the loss.
                bias_regularizer: Option<Regularizer> = None, some Regularizer;
                /// What holds for the kernel after each update.
                kernel_constraint: Option<Constraint> = None, some Constraint;
                /// What holds for the recurrent kernel after each update.
                recurrent_constraint: Option<Constraint> = None, some Constraint;
                /// What holds for the bias after each update.
                bias_constraint: Option<Constraint> = None, some Constraint;
                /// The part of the input that training leaves out, the same at all steps.
                dropout: f64 = 0.0;
                /// The part of the state that training leaves out, the same at all steps.
                recurrent_dropout: f64 = 0.0;
                $($own)*
            }
        }

        impl $cell {
            /// A cell of this many units, with Keras's defaults.
            pub fn new(units: usize) -> $cell {
                $cell { units, ..$cell::default() }
            }

            /// The states, `count` of them.
            fn states(&self, input: &Shape, count: usize) -> Result<Vec<Shape>> {
                if input.rank() != 1 {
                    let text = format!("{}: a step of {input} is no vector", stringify!($cell));
                    return Err(Error::config(text, "give sequences of shape [time, features], or see ConvLSTM2D"));
                }
                if self.units == 0 {
                    let text = concat!(stringify!($cell), ": 0 units give no output");
                    return Err(Error::config(text, "ask for at least one unit"));
                }
                for (name, rate) in [("dropout", self.dropout), ("recurrent_dropout", self.recurrent_dropout)] {
                    let holds = (0.0..1.0).contains(&rate);
                    crate::layers::require(holds, stringify!($cell), name, rate, "a number from 0 to below 1")?;
                }
                Ok(vec![Shape::new(&[self.units])?; count])
            }

            /// The weights for so many gates, with a bias of this shape.
            fn kernels(&self, input: &Shape, gates: usize, bias: Vec<usize>) -> Vec<Weight> {
                let features = input.last().copied().unwrap_or(1);
                let width = self.units.saturating_mul(gates);
                let kernel = Weight::new("kernel", [features, width], self.kernel_initializer)
                    .regularizer(self.kernel_regularizer)
                    .constraint(self.kernel_constraint);
                let recurrent = Weight::new("recurrent_kernel", [self.units, width], self.recurrent_initializer)
                    .regularizer(self.recurrent_regularizer)
                    .constraint(self.recurrent_constraint);
                let bias = self.use_bias.then(|| {
                    Weight::new("bias", bias, self.bias_initializer)
                        .regularizer(self.bias_regularizer)
                        .constraint(self.bias_constraint)
                });
                [kernel, recurrent].into_iter().chain(bias).collect()
            }

            /// What dropout leaves of the input and of the state.
            fn left(&self, x: &Var, pass: &mut Pass) -> Result<Drawn> {
                let shape = Value::shape(x);
                let mut draw = |rate: f64, shape: &[usize]| -> Result<Option<Var>> {
                    let drops = pass.is_training() && rate > 0.0;
                    drops.then(|| silence(shape, x, rate, pass)).transpose()
                };
                let input = draw(self.dropout, &[shape[0], 1, shape[2]])?;
                let state = draw(self.recurrent_dropout, &[shape[0], self.units])?;
                Ok(Drawn { own: vec![input, state], parts: Vec::new() })
            }

            /// `x · kernel + bias` for all steps, as far as there is a bias.
            fn product(
                &self,
                x: &Var,
                weights: Weights<'_>,
                drawn: &Drawn,
                bias: Option<Var>,
                pass: &mut Pass,
            ) -> Result<Var> {
                let x = match &drawn.own[0] {
                    Some(left) => x.mul(left)?,
                    None => x.clone(),
                };
                let z = x.matmul(&pass.parameter(weights.get("kernel")?))?;
                bias.map_or(Ok(z.clone()), |bias| Ok(z.add(&bias)?))
            }

            /// The recurrent kernel for an operation on the product `z`, which data of a wider type have widened.
            fn recurrent_kernel(&self, z: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
                Ok(pass.parameter(weights.get("recurrent_kernel")?).cast(Value::dtype(z))?)
            }

            /// The state, less what dropout leaves out.
            fn state(&self, h: &Var, drawn: &Drawn) -> Result<Var> {
                match &drawn.own[1] {
                    Some(left) => Ok(h.mul(left)?),
                    None => Ok(h.clone()),
                }
            }
        }

        impl $layer {
            /// A layer of this many units, with Keras's defaults.
            pub fn new(units: usize) -> $layer {
                $layer { units, ..$layer::default() }
            }
        }
    };
}

/// What cells have that [`gated_settings!`] has made.
macro_rules! gated {
    () => {
        fn class(&self) -> &str {
            <Self as Settings>::CLASS
        }
        fn draw(&self, x: &Var, pass: &mut Pass) -> Result<Drawn> {
            self.left(x, pass)
        }
        fn config(&self) -> Json {
            write(&self.settings())
        }
    };
}

/// The part of a gate number `i` in the last dimension.
fn gate(z: &Var, i: usize, units: usize) -> Result<Var> {
    Ok(z.slice(-1, (i * units) as isize..((i + 1) * units) as isize)?)
}

gated_settings! {
    /// A step of [`SimpleRNN`].
    SimpleRNNCell,
    /// `h = activation(x · kernel + bias + h · recurrent_kernel)` at each step.
    SimpleRNN {}
}

impl Cell for SimpleRNNCell {
    gated!();

    fn state_shapes(&self, input: &Shape) -> Result<Vec<Shape>> {
        self.activation.checked_within(self.class())?;
        self.states(input, 1)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<Weight>> {
        Ok(self.kernels(input, 1, vec![self.units]))
    }

    fn project(&self, x: &Var, weights: Weights<'_>, drawn: &Drawn, pass: &mut Pass) -> Result<Var> {
        let bias = weights.find("bias").map(|bias| pass.parameter(bias));
        self.product(x, weights, drawn, bias, pass)
    }

    fn step(
        &self,
        x: &Var,
        states: &[Var],
        weights: Weights<'_>,
        drawn: &Drawn,
        pass: &mut Pass,
    ) -> Result<(Var, Vec<Var>)> {
        let inner = self.state(&states[0], drawn)?.matmul(&pass.parameter(weights.get("recurrent_kernel")?))?;
        let h = self.activation.apply(&x.add(&inner)?)?;
        Ok((h.clone(), vec![h]))
    }

    fn sequence(
        &self,
        x: &Var,
        states: &[Var],
        weights: Weights<'_>,
        drawn: &Drawn,
        mask: Option<&Var>,
        pass: &mut Pass,
    ) -> Result<Option<(Var, Vec<Var>)>> {
        if self.activation != Activation::Tanh || drawn.own[1].is_some() {
            return Ok(None);
        }
        let h = x.simple_rnn(&self.recurrent_kernel(x, weights, pass)?, &states[0], mask)?;
        let last = h.index(1, -1)?;
        Ok(Some((h, vec![last])))
    }
}

gated_settings! {
    /// A step of [`LSTM`].
    LSTMCell,
    /// The long short-term memory (Hochreiter and Schmidhuber 1997), with gates `i`, `f`, `c`, `o` in this order:
    /// `c = σ(f) · c + σ(i) · tanh(c')`, `h = σ(o) · tanh(c)`. The states are `h` and `c`.
    LSTM {
        /// What is applied to the gates.
        recurrent_activation: Activation = Activation::Sigmoid, into;
        /// Whether the bias of the gate that forgets starts from 1.
        unit_forget_bias: bool = true;
    }
}

impl Cell for LSTMCell {
    gated!();

    fn state_shapes(&self, input: &Shape) -> Result<Vec<Shape>> {
        self.activation.checked_within(self.class())?;
        self.recurrent_activation.checked_within(self.class())?;
        self.states(input, 2)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<Weight>> {
        let mut weights = self.kernels(input, 4, vec![self.units.saturating_mul(4)]);
        if let Some(bias) =
            weights.get_mut(2).filter(|_| self.unit_forget_bias && self.bias_initializer == Initializer::Zeros)
        {
            bias.value = Some(forget_first(self.units)?);
        }
        Ok(weights)
    }

    fn project(&self, x: &Var, weights: Weights<'_>, drawn: &Drawn, pass: &mut Pass) -> Result<Var> {
        let bias = weights.find("bias").map(|bias| pass.parameter(bias));
        self.product(x, weights, drawn, bias, pass)
    }

    fn step(
        &self,
        x: &Var,
        states: &[Var],
        weights: Weights<'_>,
        drawn: &Drawn,
        pass: &mut Pass,
    ) -> Result<(Var, Vec<Var>)> {
        let (h, c) = (self.state(&states[0], drawn)?, &states[1]);
        let z = x.add(&h.matmul(&pass.parameter(weights.get("recurrent_kernel")?))?)?;
        let opened = |i: usize| self.recurrent_activation.apply(&gate(&z, i, self.units)?);
        let new = self.activation.apply(&gate(&z, 2, self.units)?)?;
        let c = opened(1)?.mul(c)?.add(&opened(0)?.mul(&new)?)?;
        let h = opened(3)?.mul(&self.activation.apply(&c)?)?;
        Ok((h.clone(), vec![h, c]))
    }

    fn sequence(
        &self,
        x: &Var,
        states: &[Var],
        weights: Weights<'_>,
        drawn: &Drawn,
        mask: Option<&Var>,
        pass: &mut Pass,
    ) -> Result<Option<(Var, Vec<Var>)>> {
        let is_plain = self.activation == Activation::Tanh && self.recurrent_activation == Activation::Sigmoid;
        if !is_plain || drawn.own[1].is_some() {
            return Ok(None);
        }
        let kernel = self.recurrent_kernel(x, weights, pass)?;
        let (h, c) = x.lstm(&kernel, &states[0], &states[1], mask)?;
        let last = vec![h.index(1, -1)?, c.index(1, -1)?];
        Ok(Some((h, last)))
    }
}

/// The bias of an LSTM: 1 for the gate that forgets, 0 for the others.
pub(super) fn forget_first(units: usize) -> Result<Tensor> {
    let zeros = Tensor::zeros([units])?;
    Ok(concat(&[&zeros, &Tensor::ones([units])?, &zeros, &zeros], 0)?)
}

gated_settings! {
    /// A step of [`GRU`].
    GRUCell,
    /// The gated recurrent unit (Cho et al. 2014), with gates `z`, `r` and the candidate in this order:
    /// `h = σ(z) · h + (1 - σ(z)) · tanh(x' + σ(r) · h')`.
    GRU {
        /// What is applied to the gates.
        recurrent_activation: Activation = Activation::Sigmoid, into;
        /// Whether `r` is applied after the product with the recurrent kernel, as in cuDNN, and there are two biases.
        reset_after: bool = true;
    }
}

impl GRUCell {
    /// A row of the bias: that of the input, or that of the state.
    fn bias(&self, row: isize, weights: Weights<'_>, pass: &mut Pass) -> Result<Option<Var>> {
        let Some(bias) = weights.find("bias") else { return Ok(None) };
        let bias = pass.parameter(bias);
        Ok(match (self.reset_after, row) {
            (true, row) => Some(bias.index(0, row)?),
            (false, 0) => Some(bias),
            (false, _) => None,
        })
    }
}

impl Cell for GRUCell {
    gated!();

    fn state_shapes(&self, input: &Shape) -> Result<Vec<Shape>> {
        self.activation.checked_within(self.class())?;
        self.recurrent_activation.checked_within(self.class())?;
        self.states(input, 1)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<Weight>> {
        let width = self.units.saturating_mul(3);
        let bias = if self.reset_after { vec![2, width] } else { vec![width] };
        Ok(self.kernels(input, 3, bias))
    }

    fn project(&self, x: &Var, weights: Weights<'_>, drawn: &Drawn, pass: &mut Pass) -> Result<Var> {
        let bias = self.bias(0, weights, pass)?;
        self.product(x, weights, drawn, bias, pass)
    }

    fn step(
        &self,
        x: &Var,
        states: &[Var],
        weights: Weights<'_>,
        drawn: &Drawn,
        pass: &mut Pass,
    ) -> Result<(Var, Vec<Var>)> {
        let u = self.units;
        let (h, whole) = (&states[0], self.state(&states[0], drawn)?);
        let kernel = pass.parameter(weights.get("recurrent_kernel")?);
        let opened = |x: Var| self.recurrent_activation.apply(&x);
        let (z, candidate) = if self.reset_after {
            let mut inner = whole.matmul(&kernel)?;
            if let Some(bias) = self.bias(1, weights, pass)? {
                inner = inner.add(&bias)?;
            }
            let sum = |i: usize| -> Result<Var> { Ok(gate(x, i, u)?.add(&gate(&inner, i, u)?)?) };
            let (z, r) = (opened(sum(0)?)?, opened(sum(1)?)?);
            (z, gate(x, 2, u)?.add(&r.mul(&gate(&inner, 2, u)?)?)?)
        } else {
            let part = |i: usize| gate(&kernel, i, u);
            let sum = |i: usize| -> Result<Var> { Ok(gate(x, i, u)?.add(&whole.matmul(&part(i)?)?)?) };
            let (z, r) = (opened(sum(0)?)?, opened(sum(1)?)?);
            (z, gate(x, 2, u)?.add(&r.mul(&whole)?.matmul(&part(2)?)?)?)
        };
        let new = self.activation.apply(&candidate)?;
        // z · h + (1 - z) · new.
        let y = new.add(&z.mul(&h.sub(&new)?)?)?;
        Ok((y.clone(), vec![y]))
    }

    fn sequence(
        &self,
        x: &Var,
        states: &[Var],
        weights: Weights<'_>,
        drawn: &Drawn,
        mask: Option<&Var>,
        pass: &mut Pass,
    ) -> Result<Option<(Var, Vec<Var>)>> {
        let is_plain = self.activation == Activation::Tanh && self.recurrent_activation == Activation::Sigmoid;
        if !is_plain || !self.reset_after || drawn.own[1].is_some() {
            return Ok(None);
        }
        let bias = match self.bias(1, weights, pass)? {
            Some(bias) => bias.cast(Value::dtype(x))?,
            None => Var::new(Tensor::filled(Spec::new(Shape::new(&[3 * self.units])?, Value::dtype(x)), 0.0)),
        };
        let h = x.gru(&self.recurrent_kernel(x, weights, pass)?, &bias, &states[0], mask)?;
        let last = h.index(1, -1)?;
        Ok(Some((h, vec![last])))
    }
}

settings! {
    /// Cells one above the other: each sees the output of the one below.
    StackedRNNCells {
        cells: Vec<Arc<dyn Cell>> = Vec::new(), new;
    }
}

impl StackedRNNCells {
    /// No cell yet.
    pub fn new() -> StackedRNNCells {
        StackedRNNCells::default()
    }

    /// Puts a cell above the others.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "as layers are added to a model")]
    pub fn add(mut self, cell: impl Cell + 'static) -> StackedRNNCells {
        self.cells.push(Arc::new(cell));
        self
    }

    /// The cells with what each sees and is called: its class, with a number from the second of a class on.
    fn places(&self, input: &Shape) -> Result<Vec<(&dyn Cell, Shape, String)>> {
        let mut names = crate::functional::Names::default();
        let mut input = *input;
        let mut places = Vec::new();
        for cell in &self.cells {
            let output = cell.output_shape(&input)?;
            places.push((&**cell, std::mem::replace(&mut input, output), names.fresh(cell.class())));
        }
        Ok(places)
    }
}

impl Cell for StackedRNNCells {
    fn class(&self) -> &str {
        "StackedRNNCells"
    }

    fn data_format(&self) -> DataFormat {
        self.cells.first().map_or(DataFormat::ChannelsLast, |cell| cell.data_format())
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.state_shapes(input)?;
        self.cells.iter().try_fold(*input, |input, cell| cell.output_shape(&input))
    }

    fn state_shapes(&self, input: &Shape) -> Result<Vec<Shape>> {
        if self.cells.is_empty() {
            return Err(Error::config("StackedRNNCells: there is no cell", "give at least one"));
        }
        let states = self.places(input)?.into_iter().map(|(cell, input, _)| cell.state_shapes(&input));
        Ok(states.collect::<Result<Vec<_>>>()?.concat())
    }

    fn weights(&self, input: &Shape) -> Result<Vec<Weight>> {
        let mut all = Vec::new();
        for (cell, input, name) in self.places(input)? {
            all.extend(cell.weights(&input)?.into_iter().map(|weight| weight.within(&name)));
        }
        Ok(all)
    }

    fn draw(&self, x: &Var, pass: &mut Pass) -> Result<Drawn> {
        let shape = Value::shape(x);
        let mut parts = Vec::new();
        for (cell, input, _) in self.places(&Shape::new(&shape[2..])?)? {
            // Only the shape counts.
            let seen = Spec::new(Shape::new(&[&shape[..2], &input[..]].concat())?, Value::dtype(x));
            parts.push(cell.draw(&Var::new(Tensor::filled(seen, 0.0)), pass)?);
        }
        Ok(Drawn { own: Vec::new(), parts })
    }

    fn step(
        &self,
        x: &Var,
        states: &[Var],
        weights: Weights<'_>,
        drawn: &Drawn,
        pass: &mut Pass,
    ) -> Result<(Var, Vec<Var>)> {
        let (mut y, mut rest, mut all) = (x.clone(), states, Vec::new());
        let places = self.places(&Shape::new(&Value::shape(x)[1..])?)?;
        for ((cell, input, name), drawn) in places.into_iter().zip(&drawn.parts) {
            let (own, others) = rest.split_at(cell.state_shapes(&input)?.len());
            let weights = weights.within(&name);
            let x = cell.project(&y.unsqueeze(1)?, weights, drawn, pass)?.squeeze(1)?;
            let (output, next) = stepped(cell, &x, own, weights, drawn, pass)?;
            all.extend(next);
            (y, rest) = (output, others);
        }
        Ok((y, all))
    }

    fn config(&self) -> Json {
        write(&self.settings())
    }
}
