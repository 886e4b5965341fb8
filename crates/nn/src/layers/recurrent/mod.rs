//! Layers that go through the steps of a sequence: a cell says what happens at one, [`through_time`] does the rest.

mod cells;
mod conv_lstm;
mod wrappers;

pub use cells::{GRU, GRUCell, LSTM, LSTMCell, SimpleRNN, SimpleRNNCell, StackedRNNCells};
pub use conv_lstm::{ConvLSTM1D, ConvLSTM1DCell, ConvLSTM2D, ConvLSTM2DCell, ConvLSTM3D, ConvLSTM3DCell};
pub use wrappers::{Bidirectional, Masking, MergeMode, TimeDistributed};

use super::format::DataFormat;
use super::settings::{Setting, Settings, settings};
use crate::layer::{Weight, Weights};
use crate::sequential::snake_case;
use crate::{Error, Pass, Regularizer, Result, Signal};
use kiln_autograd::ops::{CastOps, ComparisonOps, ScanOps, SelectOps, Value, ViewOps, stack};
use kiln_autograd::{DType, Shape, Tensor, Var};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};

/// What a recurrent layer does at one step. Implement it for a cell of your own, and [`RNN`] takes it through time.
///
/// ```
/// use kiln_nn::{Initializer, Pass, Result, Sequential, Shape, Var, Weight, Weights, layers::{Cell, Drawn, RNN}, ops::*};
///
/// /// A leaky sum of its input: `state · rate + x`.
/// #[derive(Debug)]
/// struct Leaky;
///
/// impl Cell for Leaky {
///     fn class(&self) -> &str { "Leaky" }
///     fn state_shapes(&self, input: &Shape) -> Result<Vec<Shape>> { Ok(vec![*input]) }
///     fn weights(&self, input: &Shape) -> Result<Vec<Weight>> {
///         Ok(vec![Weight::new("rate", input.to_vec(), Initializer::Constant { value: 0.5 })])
///     }
///     fn step(&self, x: &Var, states: &[Var], weights: Weights<'_>, _: &Drawn, pass: &mut Pass)
///         -> Result<(Var, Vec<Var>)> {
///         let y = states[0].mul(&pass.parameter(weights.get("rate")?))?.add(x)?;
///         Ok((y.clone(), vec![y]))
///     }
///     fn config(&self) -> serde_json::Value { serde_json::Value::Null }
/// }
///
/// let model = Sequential::new([3, 1]).add(RNN::new(Leaky)).build()?;
/// let x = Var::new(kiln_nn::Tensor::new([[[4.0f32], [2.0], [1.0]]]));
/// assert_eq!(kiln_nn::Module::forward(&model, &x, &mut Pass::inference())?.tensor().item()?, 3.0);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
pub trait Cell: Debug + Send + Sync {
    /// The class name.
    fn class(&self) -> &str;

    /// Where the steps, the states and the output have their channels outside of the cell; the other methods have them last.
    fn data_format(&self) -> DataFormat {
        DataFormat::ChannelsLast
    }

    /// The shapes of a sample of the states, for a step of a sample of this shape.
    ///
    /// # Errors
    /// An input that does not fit, arguments without meaning.
    fn state_shapes(&self, input: &Shape) -> Result<Vec<Shape>>;

    /// The shape of a sample of the output; that of the first state unless it says otherwise.
    ///
    /// # Errors
    /// As [`Cell::state_shapes`].
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let states = self.state_shapes(input)?;
        let none = || Error::config(format!("{}: a cell has a state", self.class()), "give the shape of at least one");
        states.first().copied().ok_or_else(none)
    }

    /// The weights.
    ///
    /// # Errors
    /// As [`Cell::state_shapes`].
    fn weights(&self, input: &Shape) -> Result<Vec<Weight>>;

    /// What is drawn once for a whole sequence `x` of shape `[batch, time, …]`, such as what a dropout leaves out at each step.
    ///
    /// # Errors
    /// None beyond those of memory.
    fn draw(&self, x: &Var, pass: &mut Pass) -> Result<Drawn> {
        let _ = (x, pass);
        Ok(Drawn::default())
    }

    /// The part of the work that needs no state, for all steps at once: what it gives, `[batch, time, …]`, is what
    /// [`Cell::step`] sees a step of.
    ///
    /// # Errors
    /// A sequence that does not fit.
    fn project(&self, x: &Var, weights: Weights<'_>, drawn: &Drawn, pass: &mut Pass) -> Result<Var> {
        let _ = (weights, drawn, pass);
        Ok(x.clone())
    }

    /// The output and the new states for a step of the projected input.
    ///
    /// # Errors
    /// An input that does not fit.
    fn step(
        &self,
        x: &Var,
        states: &[Var],
        weights: Weights<'_>,
        drawn: &Drawn,
        pass: &mut Pass,
    ) -> Result<(Var, Vec<Var>)>;

    /// All steps as one operation, if there is one: the first state after each step, `[batch, time, …]`, and the last states. Steps
    /// where `mask`, `[batch, time]`, is false change no state.
    ///
    /// # Errors
    /// As [`Cell::step`].
    fn sequence(
        &self,
        x: &Var,
        states: &[Var],
        weights: Weights<'_>,
        drawn: &Drawn,
        mask: Option<&Var>,
        pass: &mut Pass,
    ) -> Result<Option<(Var, Vec<Var>)>> {
        let _ = (x, states, weights, drawn, mask, pass);
        Ok(None)
    }

    /// The arguments as JSON, for model files.
    fn config(&self) -> Json;
}

/// What a cell has drawn for a sequence: what dropout leaves of the input and of the state.
#[derive(Debug, Clone, Default)]
pub struct Drawn {
    /// The cell's own.
    pub own: Vec<Option<Var>>,
    /// That of the cells it is made of.
    pub parts: Vec<Drawn>,
}

/// What of a sequence a recurrent layer gives, and in which order it takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Course {
    /// Whether the output of each step is given, rather than that of the last.
    pub return_sequences: bool,
    /// Whether the last states are given too, after the output.
    pub return_state: bool,
    /// Whether the last step comes first.
    pub go_backwards: bool,
    /// Whether the output of masked steps is 0, rather than that of the step before.
    pub zero_output_for_mask: bool,
}

/// What a layer that goes through time is made of: for [`Bidirectional`].
#[derive(Debug, Clone)]
pub struct Recurrent {
    /// What happens at a step.
    pub cell: Arc<dyn Cell>,
    /// What is given.
    pub course: Course,
}

impl Recurrent {
    fn infer(&self, class: &str, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let Some((x, states)) = inputs.split_first() else {
            return Err(Error::config(format!("{class} takes a sequence"), format!("{class}::new(…).on(&x)")));
        };
        let format = self.cell.data_format();
        let step = format.computed(&step_of(class, x)?, 0)?;
        let wanted = self.cell.state_shapes(&step)?;
        let wanted = wanted.iter().map(|state| format.given(state, 0)).collect::<Result<Vec<_>>>()?;
        if !states.is_empty() && states != wanted {
            let text = format!(
                "{class}: the initial state has shapes {}, found {}",
                crate::summary::shapes(&wanted),
                crate::summary::shapes(states)
            );
            return Err(Error::config(text, "give all states of a cell of this size, after the sequence, or none"));
        }
        let output = format.given(&self.cell.output_shape(&step)?, 0)?;
        let mut all = vec![match self.course.return_sequences {
            true => Shape::new(&[&x[..1], &output[..]].concat())?,
            false => output,
        }];
        if self.course.return_state {
            all.extend(wanted);
        }
        Ok(all)
    }

    fn weights(&self, class: &str, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let step = step_of(class, inputs.first().unwrap_or(&Shape::default()))?;
        let step = self.cell.data_format().computed(&step, 0)?;
        let name = snake_case(self.cell.class());
        Ok(self.cell.weights(&step)?.into_iter().map(|weight| weight.within(&name)).collect())
    }

    /// Takes the cell through time, with the channels where they are given.
    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let format = self.cell.data_format();
        if format == DataFormat::ChannelsLast {
            return self.run_through(x, weights, pass);
        }
        // Before the channels of a sequence come its steps.
        let moved = x.iter().enumerate().map(|(i, x)| {
            let value = format.computed_batch(&x.value, usize::from(i == 0))?;
            Ok(Signal::new(value).masked(x.mask.clone()))
        });
        let mut y = self.run_through(&moved.collect::<Result<Vec<_>>>()?, weights, pass)?;
        for (i, y) in y.iter_mut().enumerate() {
            y.value = format.given_batch(&y.value, usize::from(i == 0 && self.course.return_sequences))?;
        }
        Ok(y)
    }

    fn run_through(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let weights = weights.within(&snake_case(self.cell.class()));
        let (Signal { value: x, mask }, initial) = (&x[0], &x[1..]);
        let flipped = |x: &Var| if self.course.go_backwards { x.flip(1) } else { Ok(x.clone()) };
        let x = flipped(x)?;
        let mask = mask.as_ref().map(flipped).transpose()?;
        let batch = Value::shape(&x)[0];
        let drawn = self.cell.draw(&x, pass)?;
        let projected = self.cell.project(&x, weights, &drawn, pass)?;
        // The data may be of another type than the weights.
        let dtype = Some(Value::dtype(&projected)).filter(|dtype| dtype.is_float()).unwrap_or(DType::F32);
        let states: Vec<Var> = match initial.is_empty() {
            false => initial.iter().map(|state| state.value.cast(dtype)).collect::<Result<_, _>>()?,
            true => {
                let shapes = self.cell.state_shapes(&Shape::new(&Value::shape(&x)[2..])?)?;
                let zeros = |shape: &Shape| -> Result<Var> {
                    Ok(projected.beside(Tensor::zeros([&[batch], &shape[..]].concat())?.cast(dtype)?)?)
                };
                shapes.iter().map(zeros).collect::<Result<_>>()?
            }
        };
        let (output, states) = match self.cell.sequence(&projected, &states, weights, &drawn, mask.as_ref(), pass)? {
            Some((all, states)) => {
                let all = self.outputs_of_states(all, mask.as_ref(), !initial.is_empty())?;
                (if self.course.return_sequences { all } else { all.index(1, -1)? }, states)
            }
            None => self.step_by_step(&projected, states, weights, &drawn, mask.as_ref(), pass)?,
        };
        let mask = if self.course.return_sequences { mask } else { None };
        let mut all = vec![Signal::new(output).masked(mask)];
        if self.course.return_state {
            all.extend(states.into_iter().map(Signal::new));
        }
        Ok(all)
    }

    /// What is given where states are carried over masked steps.
    fn outputs_of_states(&self, all: Var, mask: Option<&Var>, has_initial: bool) -> Result<Var> {
        use kiln_autograd::ops::ArithmeticOps;
        let Some(mask) = mask else { return Ok(all) };
        let shown = match (self.course.zero_output_for_mask, has_initial) {
            (true, _) => mask.clone(),
            // Before the first step that counts, the output is 0 and not the initial state.
            (false, true) => mask.cast(DType::I64)?.cumsum(1)?.gt(0)?,
            (false, false) => return Ok(all),
        };
        Ok(all.mul(&beside(&shown, &all)?.cast(Value::dtype(&all))?)?)
    }

    fn step_by_step(
        &self,
        x: &Var,
        mut states: Vec<Var>,
        weights: Weights<'_>,
        drawn: &Drawn,
        mask: Option<&Var>,
        pass: &mut Pass,
    ) -> Result<(Var, Vec<Var>)> {
        let mut outputs: Vec<Var> = Vec::new();
        for t in 0..Value::shape(x)[1] as isize {
            let (mut output, mut next) = stepped(&*self.cell, &x.index(1, t)?, &states, weights, drawn, pass)?;
            if let Some(mask) = mask {
                let counts = mask.index(1, t)?;
                let kept = |new: &Var, old: &Var| beside(&counts, new)?.select(new, old).map_err(Error::from);
                let zeros = || Var::new(Tensor::filled(output.tensor().spec(), 0.0));
                let before = match outputs.last() {
                    Some(last) if !self.course.zero_output_for_mask => last.clone(),
                    _ => zeros(),
                };
                output = kept(&output, &before)?;
                next = next.iter().zip(&states).map(|(new, old)| kept(new, old)).collect::<Result<_>>()?;
            }
            states = next;
            match self.course.return_sequences {
                true => outputs.push(output),
                false => outputs = vec![output],
            }
        }
        let output = match self.course.return_sequences {
            true => stack(&outputs.iter().collect::<Vec<_>>(), 1)?,
            false => outputs.swap_remove(0),
        };
        Ok((output, states))
    }
}

/// [`Cell::step`], whose states must be of the kind that it was given.
fn stepped(
    cell: &dyn Cell,
    x: &Var,
    states: &[Var],
    weights: Weights<'_>,
    drawn: &Drawn,
    pass: &mut Pass,
) -> Result<(Var, Vec<Var>)> {
    let (output, next) = cell.step(x, states, weights, drawn, pass)?;
    let shapes = |states: &[Var]| states.iter().map(|state| *Value::shape(state)).collect::<Vec<_>>();
    let (given, found) = (shapes(states), shapes(&next));
    if given == found {
        return Ok((output, next));
    }
    let text = format!(
        "{}: a step makes states of {} from {}",
        cell.class(),
        crate::summary::shapes(&found),
        crate::summary::shapes(&given)
    );
    Err(Error::config(text, "give as many states as `state_shapes` names, each of its shape"))
}

/// A mask with as many dimensions as what it is for.
fn beside(mask: &Var, x: &Var) -> Result<Var> {
    let rank = Value::shape(x).rank();
    let mut mask = mask.clone();
    while Value::shape(&mask).rank() < rank {
        mask = mask.unsqueeze(-1)?;
    }
    Ok(mask)
}

/// The shape of one step of a sample.
fn step_of(class: &str, input: &Shape) -> Result<Shape> {
    match &input[..] {
        [time, step @ ..] if *time > 0 && !step.is_empty() => Ok(Shape::new(step)?),
        _ => {
            let text = format!("{class}: the input {input} is no sequence: it needs steps, and what is at each");
            let help = match &input[..] {
                [steps] => format!(
                    "after a recurrent layer: .return_sequences(true) on that; a series has one feature: \
                     Reshape::new([{steps}, 1]) before this layer"
                ),
                _ => "give samples of shape [time, features]".to_owned(),
            };
            Err(Error::config(text, help))
        }
    }
}

/// Defines a cell's arguments and those of the layer that takes it through time, which are the same and a [`Course`].
macro_rules! recurrent_settings {
    ($(#[$cell_doc:meta])* $cell:ident, $(#[$doc:meta])* $layer:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr $(, $how:ident $($of:ty)?)?;)* }) => {
        $crate::layers::settings::settings! {
            $(#[$cell_doc])*
            $cell { $($(#[$field_doc])* $field: $type = $default $(, $how $($of)?)?;)* }
        }

        $crate::layers::settings::settings! {
            $(#[$doc])*
            ///
            /// # Shapes
            /// A sequence `[batch, time, …]` to the output of the last step, or with `return_sequences` of each; with `return_state`
            /// the last states follow. Called on several values, it takes those after the first as initial states.
            $layer {
                $($(#[$field_doc])* $field: $type = $default $(, $how $($of)?)?;)*
                /// Whether the output of each step is given, rather than that of the last.
                return_sequences: bool = false;
                /// Whether the last states are given too, after the output.
                return_state: bool = false;
                /// Whether the last step comes first. The outputs of all steps are then in that order.
                go_backwards: bool = false;
                /// Whether the output of masked steps is 0, rather than that of the step before.
                zero_output_for_mask: bool = false;
                /// What the output adds to the loss.
                activity_regularizer: Option<Regularizer> = None, some Regularizer;
            }
        }

        impl $layer {
            fn recurrent(&self) -> $crate::layers::recurrent::Recurrent {
                let cell = $cell { $($field: self.$field.clone(),)* };
                $crate::layers::recurrent::Recurrent {
                    cell: std::sync::Arc::new(cell),
                    course: $crate::layers::recurrent::Course {
                        return_sequences: self.return_sequences,
                        return_state: self.return_state,
                        go_backwards: self.go_backwards,
                        zero_output_for_mask: self.zero_output_for_mask,
                    },
                }
            }
        }

        $crate::layers::recurrent::goes_through_time!($layer);
    };
}
use recurrent_settings;

/// A layer that has a method `recurrent`.
macro_rules! goes_through_time {
    ($layer:ident) => {
        impl $crate::AnyLayer for $layer {
            $crate::layers::settings::described!(any);

            fn infer(&self, inputs: &[kiln_autograd::Shape]) -> $crate::Result<Vec<kiln_autograd::Shape>> {
                self.recurrent().infer(stringify!($layer), inputs)
            }

            fn weights_for(&self, inputs: &[kiln_autograd::Shape]) -> $crate::Result<Vec<$crate::Weight>> {
                self.recurrent().weights(stringify!($layer), inputs)
            }

            fn run(
                &self,
                x: &[$crate::Signal],
                weights: $crate::Weights<'_>,
                pass: &mut $crate::Pass,
            ) -> $crate::Result<Vec<$crate::Signal>> {
                self.recurrent().run(x, weights, pass)
            }

            fn penalty(&self) -> Option<$crate::Regularizer> {
                self.activity_regularizer
            }

            fn as_recurrent(&self) -> Option<$crate::layers::Recurrent> {
                Some(self.recurrent())
            }
        }
    };
}
use goes_through_time;

settings! {
    /// Takes a cell through time.
    ///
    /// # Shapes
    /// A sequence `[batch, time, …]` to the output of the last step, or with `return_sequences` of each; with `return_state`
    /// the last states follow. Called on several values, it takes those after the first as initial states.
    RNN {
        cell: Arc<dyn Cell> = Arc::new(SimpleRNNCell::new(0)), new;
        /// Whether the output of each step is given, rather than that of the last.
        return_sequences: bool = false;
        /// Whether the last states are given too, after the output.
        return_state: bool = false;
        /// Whether the last step comes first. The outputs of all steps are then in that order.
        go_backwards: bool = false;
        /// Whether the output of masked steps is 0, rather than that of the step before.
        zero_output_for_mask: bool = false;
        /// What the output adds to the loss.
        activity_regularizer: Option<Regularizer> = None, some Regularizer;
    }
}

impl RNN {
    /// Of a cell; several one above the other are [`StackedRNNCells`].
    pub fn new(cell: impl Cell + 'static) -> RNN {
        RNN { cell: Arc::new(cell), ..RNN::default() }
    }

    fn recurrent(&self) -> Recurrent {
        let course = Course {
            return_sequences: self.return_sequences,
            return_state: self.return_state,
            go_backwards: self.go_backwards,
            zero_output_for_mask: self.zero_output_for_mask,
        };
        Recurrent { cell: self.cell.clone(), course }
    }
}

goes_through_time!(RNN);

/// Makes a cell of what a file says of it.
type ReadCell = fn(&Json) -> Result<Arc<dyn Cell>>;

const KNOWN: &[(&str, ReadCell)] = &[
    ("ConvLSTM1DCell", read_cell::<ConvLSTM1DCell>),
    ("ConvLSTM2DCell", read_cell::<ConvLSTM2DCell>),
    ("ConvLSTM3DCell", read_cell::<ConvLSTM3DCell>),
    ("GRUCell", read_cell::<GRUCell>),
    ("LSTMCell", read_cell::<LSTMCell>),
    ("SimpleRNNCell", read_cell::<SimpleRNNCell>),
    ("StackedRNNCells", read_cell::<StackedRNNCells>),
];

static OWN: RwLock<BTreeMap<String, ReadCell>> = RwLock::new(BTreeMap::new());

fn read_cell<C: Cell + Settings + 'static>(config: &Json) -> Result<Arc<dyn Cell>> {
    let mut cell = C::default();
    super::settings::read(C::CLASS, cell.settings_mut(), config)?;
    Ok(Arc::new(cell))
}

/// Lets model files name a cell of your own: `read` makes it of what its [`Cell::config`] wrote. Of two for one class, the later
/// counts.
///
/// # Errors
/// The class is one of Kiln's.
pub fn register_cell(class: &str, read: ReadCell) -> Result<()> {
    if KNOWN.iter().any(|(known, _)| *known == class) {
        return Err(Error::config(format!("register_cell: `{class}` is Kiln's"), "give your cell another class"));
    }
    OWN.write().unwrap_or_else(PoisonError::into_inner).insert(class.to_owned(), read);
    Ok(())
}

impl Setting for Arc<dyn Cell> {
    fn blank() -> Self {
        Arc::new(SimpleRNNCell::new(0))
    }
    fn write(&self) -> Json {
        json!({ "class": self.class(), "config": self.config() })
    }
    fn read(&mut self, json: &Json) -> Result<()> {
        let class = json["class"].as_str().unwrap_or_default();
        let own = OWN.read().unwrap_or_else(PoisonError::into_inner).clone();
        let known = KNOWN.iter().find(|(known, _)| *known == class).map(|(_, read)| read);
        let Some(read) = known.or_else(|| own.get(class)) else {
            let names: Vec<&str> =
                KNOWN.iter().map(|(known, _)| *known).chain(own.keys().map(String::as_str)).collect();
            return Err(Error::unknown("cell", class, &names));
        };
        *self = read(&json["config"])?;
        Ok(())
    }
}
