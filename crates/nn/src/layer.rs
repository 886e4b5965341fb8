//! A layer: data that says what it is, what weights it has for an input of some shape, and how it maps a batch.

mod built;

pub use built::Built;

use crate::layers::DataFormat;
use crate::module::{Role, batch_of};
use crate::{Activation, Constraint, Error, Initializer, Parameter, Pass, Regularizer, Result, Signal, summary};
use kiln_autograd::ops::{ArithmeticOps, Value, ViewOps};
use kiln_autograd::{DType, Key, Shape, Tensor, Var, Watch};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::Index;

/// A weight that a layer has.
#[derive(Debug, Clone)]
pub struct Weight {
    /// Its name within the layer, such as `kernel`; parts of a layer come before it: `cell/kernel`.
    pub name: Cow<'static, str>,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it starts from.
    pub initializer: Initializer,
    /// What it starts from instead, where the layer knows the numbers.
    pub value: Option<Tensor>,
    /// Who changes it: the optimizer, or the layer itself.
    pub role: Role,
    /// What it adds to the loss.
    pub regularizer: Option<Regularizer>,
    /// What holds for it after each update.
    pub constraint: Option<Constraint>,
    /// The weight that it is, where it is none of its own.
    tied: Option<Tie>,
}

/// A weight that is another, or another transposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tie {
    /// The path of the other.
    pub(crate) to: String,
    pub(crate) transposed: bool,
}

impl Weight {
    /// A weight that the optimizer changes.
    pub fn new(name: impl Into<Cow<'static, str>>, shape: impl Into<Vec<usize>>, initializer: Initializer) -> Weight {
        Weight {
            name: name.into(),
            shape: shape.into(),
            initializer,
            value: None,
            role: Role::Weight,
            regularizer: None,
            constraint: None,
            tied: None,
        }
    }

    /// A statistic, which the layer itself changes with [`Pass::update`].
    pub fn statistic(
        name: impl Into<Cow<'static, str>>,
        shape: impl Into<Vec<usize>>,
        initializer: Initializer,
    ) -> Weight {
        Weight { role: Role::Statistic, ..Weight::new(name, shape, initializer) }
    }

    /// Adds a term to the loss.
    #[must_use]
    pub fn regularizer(mut self, regularizer: Option<Regularizer>) -> Weight {
        self.regularizer = regularizer;
        self
    }

    /// Holds the weight to something after each update.
    #[must_use]
    pub fn constraint(mut self, constraint: Option<Constraint>) -> Weight {
        self.constraint = constraint;
        self
    }

    /// Starts from these numbers.
    #[must_use]
    pub fn starting_from(mut self, value: Tensor) -> Weight {
        self.value = Some(value);
        self
    }

    /// Makes it another weight.
    pub(crate) fn tie(&mut self, tie: &Tie) {
        self.tied = Some(tie.clone());
    }

    /// Whether it is another weight.
    pub(crate) fn is_tied(&self) -> bool {
        self.tied.is_some()
    }

    /// The weight as one of a part of the layer: `part/kernel`.
    #[must_use]
    pub fn within(mut self, part: &str) -> Weight {
        self.name = format!("{part}/{}", self.name).into();
        if let Some(tie) = &mut self.tied {
            tie.to = format!("{part}/{}", tie.to);
        }
        self
    }

    fn draw(&self, key: Key, dtype: DType) -> Result<Parameter> {
        use kiln_autograd::ops::CastOps;
        if self.is_tied() {
            // Its shape, without the numbers.
            let zero = Tensor::scalar(0.0, dtype);
            return Ok(Parameter::frozen(zero.expand(&self.shape[..])?));
        }
        let tensor = match &self.value {
            Some(value) if value.shape()[..] != self.shape[..] => {
                let text = format!("`{}` is to start from a tensor of shape {}", self.name, value.shape());
                return Err(Error::config(text, format!("give one of shape {}", Shape::new(&self.shape)?)));
            }
            Some(value) => value.cast(dtype)?,
            None => self.initializer.init(key, &self.shape, dtype)?,
        };
        let parameter = match self.role {
            Role::Weight => Parameter::new(tensor),
            Role::Statistic => Parameter::statistic(tensor),
        };
        Ok(parameter.constraint(self.constraint))
    }
}

/// The weights that a layer is called with, in the order in which it asked for them.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    names: &'a [String],
    /// How much of each name stands for what the layer is part of.
    skip: usize,
    parameters: &'a [Parameter],
}

impl<'a> Weights<'a> {
    /// None.
    pub fn none() -> Weights<'a> {
        Weights { names: &[], skip: 0, parameters: &[] }
    }

    /// These, by name.
    pub(crate) fn of(names: &'a [String], parameters: &'a [Parameter]) -> Weights<'a> {
        Weights { names, skip: 0, parameters }
    }

    /// All of them.
    pub(crate) fn parameters(&self) -> &'a [Parameter] {
        self.parameters
    }

    /// What each is called.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        let skip = self.skip;
        self.names.iter().map(move |name| name.get(skip..).unwrap_or_default())
    }

    /// The weight of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> Result<&'a Parameter> {
        self.find(name).ok_or_else(|| {
            let known: Vec<&str> = self.names().collect();
            Error::unknown("weight", name, &known)
        })
    }

    /// The weight of this name, if the layer has it.
    pub fn find(&self, name: &str) -> Option<&'a Parameter> {
        self.names().zip(self.parameters).find(|(own, _)| *own == name).map(|(_, parameter)| parameter)
    }

    /// Those of a part of the layer, which asked for them with [`Weight::within`].
    #[must_use]
    pub fn within(&self, part: &str) -> Weights<'a> {
        let inside = |name: &str| name.strip_prefix(part).is_some_and(|rest| rest.starts_with('/'));
        let start = self.names().position(inside).unwrap_or(0);
        let count = self.names().skip(start).take_while(|name| inside(name)).count();
        let range = start..start + count;
        Weights {
            names: &self.names[range.clone()],
            skip: self.skip + part.len() + 1,
            parameters: &self.parameters[range],
        }
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.parameters.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }
}

impl Index<usize> for Weights<'_> {
    type Output = Parameter;
    fn index(&self, i: usize) -> &Parameter {
        &self.parameters[i]
    }
}

/// A layer of one input and one output. It is configuration: it says what weights it wants for an input and how they map a
/// batch, and holds none itself. The model that is built of it does.
///
/// A struct of your own that implements this is used like those of [`layers`](crate::layers):
///
/// ```
/// use kiln_nn::{Initializer, Layer, Pass, Result, Sequential, Shape, Var, Weight, Weights, layers::Dense, ops::*};
///
/// /// Multiplies each feature by a weight: samples `[…, features]` keep their shape.
/// #[derive(Debug)]
/// struct Scale;
///
/// impl Layer for Scale {
///     fn class(&self) -> &'static str { "Scale" }
///     fn output_shape(&self, input: &Shape) -> Result<Shape> { Ok(*input) }
///     fn weights(&self, input: &Shape) -> Vec<Weight> {
///         vec![Weight::new("factor", [input.last().copied().unwrap_or(1)], Initializer::Ones)]
///     }
///     fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
///         Ok(x.mul(&pass.parameter(&weights[0]))?)
///     }
///     fn config(&self) -> serde_json::Value { serde_json::Value::Null }
/// }
///
/// // 3 factors, and 3 · 2 + 2 numbers of the dense layer.
/// let summary = Sequential::new([3]).add(Scale).add(Dense::new(2)).summary()?;
/// assert!(summary.contains("scale (Scale)") && summary.contains("Total params: 11"));
/// # Ok::<(), kiln_nn::Error>(())
/// ```
///
/// A model file names its layers by class. One of your own is found when the file is loaded after
/// [`layers::register`](crate::layers::register).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no layer",
    note = "a layer of one input and one output implements `Layer`, one of several `AnyLayer`; a function is `Activation`, and a module of your own stands for a whole model"
)]
pub trait Layer: Debug + Send + Sync {
    /// The class name, as in Keras and in model files: `Dense`. In a model the layer is called after it: `dense`, `dense_1`.
    fn class(&self) -> &'static str;

    /// The shape of one output for one input, both without the batch dimension.
    ///
    /// # Errors
    /// An input that does not fit, or arguments without meaning.
    fn output_shape(&self, input: &Shape) -> Result<Shape>;

    /// The weights for an input of this shape.
    fn weights(&self, _input: &Shape) -> Vec<Weight> {
        Vec::new()
    }

    /// Maps a batch, without the activation that [`Layer::activation`] names. `weights` are those of
    /// [`Layer::weights`], in order.
    ///
    /// # Errors
    /// A batch that does not fit.
    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var>;

    /// Where its input and its output have their channels. The other methods have them last in any case, and what comes with
    /// the channels first is moved before them, and back after them.
    fn data_format(&self) -> DataFormat {
        DataFormat::ChannelsLast
    }

    /// What is applied to the result of [`Layer::call`].
    fn activation(&self) -> Activation {
        Activation::Linear
    }

    /// Whether the steps of the output are those of the input, so that its mask is the output's too.
    fn keeps_mask(&self) -> bool {
        true
    }

    /// What the output, after the activation, adds to the loss: the mean over the samples of a batch.
    fn activity_regularizer(&self) -> Option<Regularizer> {
        None
    }

    /// The arguments as JSON, for model files; null where there are none.
    fn config(&self) -> Json;
}

/// What any layer is to a model. Each [`Layer`] is one; a layer with several inputs or outputs, or that makes or reads masks,
/// implements this instead.
///
/// Shapes are those of single samples, without the batch dimension.
///
/// ```
/// use kiln_nn::{AnyLayer, Error, Pass, Result, Sequential, Shape, Signal, Weights, layers::Masking, ops::*};
///
/// /// The sum of the steps that count: `[batch, time, features]` to `[batch, features]`.
/// #[derive(Debug)]
/// struct SumOfSteps;
///
/// impl AnyLayer for SumOfSteps {
///     fn class_name(&self) -> &str { "SumOfSteps" }
///     fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
///         match inputs {
///             [input] if input.rank() == 2 => Ok(vec![Shape::new(&input[1..])?]),
///             _ => Err(Error::config("SumOfSteps: it takes one sequence", "give samples of shape [time, features]")),
///         }
///     }
///     fn run(&self, x: &[Signal], _weights: Weights<'_>, _pass: &mut Pass) -> Result<Vec<Signal>> {
///         let Signal { value, mask } = &x[0];
///         let counted = match mask {
///             Some(mask) => value.mul(&mask.unsqueeze(-1)?.cast(value.tensor().dtype())?)?,
///             None => value.clone(),
///         };
///         // What it gives has no steps, and so no mask; `.masked(mask.clone())` would hand it on.
///         Ok(vec![Signal::new(counted.sum(1)?)])
///     }
///     fn to_config(&self) -> serde_json::Value { serde_json::Value::Null }
/// }
///
/// let model = Sequential::new([3, 1]).add(Masking::new(9.0)).add(SumOfSteps).build()?;
/// # use kiln_nn::{Module, Tensor, Var};
/// let x = Var::new(Tensor::new([[[1.0], [2.0], [9.0]]]));
/// assert_eq!(model.forward(&x, &mut Pass::inference())?.tensor().item()?, 3.0);
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no layer",
    note = "a layer of one input and one output implements `Layer`, one of several `AnyLayer`"
)]
pub trait AnyLayer: Debug + Send + Sync {
    /// The class name: [`Layer::class`].
    fn class_name(&self) -> &str;

    /// The shape of each output for inputs of these shapes.
    ///
    /// # Errors
    /// Inputs that do not fit, too many or too few of them, or arguments without meaning.
    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>>;

    /// The weights for inputs of these shapes, which [`AnyLayer::infer`] has accepted.
    ///
    /// # Errors
    /// A part of the layer that does not fit.
    fn weights_for(&self, _inputs: &[Shape]) -> Result<Vec<Weight>> {
        Ok(Vec::new())
    }

    /// Maps a batch, without the activation that [`AnyLayer::final_activation`] names.
    ///
    /// # Errors
    /// A batch that does not fit.
    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>>;

    /// What is applied to the first result of [`AnyLayer::run`].
    fn final_activation(&self) -> Activation {
        Activation::Linear
    }

    /// What each output adds to the loss: the mean over the samples of a batch.
    fn penalty(&self) -> Option<Regularizer> {
        None
    }

    /// The arguments as JSON: [`Layer::config`].
    fn to_config(&self) -> Json;

    /// The layer as one that goes through time, if it does.
    fn as_recurrent(&self) -> Option<crate::layers::Recurrent> {
        None
    }

    /// The name that it goes by in a model that gives it none, with a number from the second on: that of its class.
    fn default_name(&self) -> String {
        crate::sequential::snake_case(self.class_name())
    }

    /// Its type, by which a class of Kiln's is known from another of that name.
    #[doc(hidden)]
    fn type_name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

impl<L: Layer> AnyLayer for L {
    fn class_name(&self) -> &str {
        self.class()
    }

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [input] = arity(self.class(), inputs)?;
        let format = self.data_format();
        Ok(vec![format.given(&self.output_shape(&format.computed(input, 0)?)?, 0)?])
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        let [input] = arity(self.class(), inputs)?;
        Ok(self.weights(&self.data_format().computed(input, 0)?))
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let [x] = arity(self.class(), x)?;
        let format = self.data_format();
        let y = self.call(&format.computed_batch(&x.value, 0)?, weights, pass)?;
        let mask = if self.keeps_mask() { x.mask_for(Value::shape(&y)) } else { None };
        Ok(vec![Signal::new(format.given_batch(&y, 0)?).masked(mask)])
    }

    fn final_activation(&self) -> Activation {
        self.activation()
    }

    fn penalty(&self) -> Option<Regularizer> {
        self.activity_regularizer()
    }

    fn to_config(&self) -> Json {
        self.config()
    }
}

/// The inputs of a layer that takes `N`.
///
/// # Errors
/// More or fewer.
pub(crate) fn arity<'a, T, const N: usize>(class: &str, inputs: &'a [T]) -> Result<&'a [T; N]> {
    inputs.try_into().map_err(|_| {
        let plural = if N == 1 { "" } else { "s" };
        Error::config(
            format!("{class} takes {N} input{plural}, found {}", inputs.len()),
            "layers such as Concatenate and Add make one value of several",
        )
    })
}

/// Runs a layer with its activation and its penalty, and checks what it gives against what it has promised.
pub(crate) fn run_whole(
    layer: &dyn AnyLayer,
    x: &[Signal],
    promised: &[Shape],
    weights: Weights<'_>,
    pass: &mut Pass,
) -> Result<Vec<Signal>> {
    let y = run_before_activation(layer, x, promised, weights, pass)?;
    finish(layer, y, pass)
}

/// The results of [`run_before_activation`] with the activation, and the penalty noted.
pub(crate) fn finish(layer: &dyn AnyLayer, mut y: Vec<Signal>, pass: &mut Pass) -> Result<Vec<Signal>> {
    if let Some(first) = y.first_mut() {
        first.value = layer.final_activation().apply(&first.value)?;
    }
    if let Some(regularizer) = layer.penalty() {
        for signal in &y {
            activity(regularizer, &signal.value, pass)?;
        }
    }
    Ok(y)
}

/// Notes what a batch of outputs adds to the loss: the mean over samples, as in Keras, so that it weighs as much in batches of
/// any size.
pub(crate) fn activity(regularizer: Regularizer, y: &Var, pass: &mut Pass) -> Result<()> {
    let samples = Value::shape(y).first().copied().unwrap_or(1).max(1);
    pass.penalty(regularizer.of(y)?.div(samples as f64)?);
    Ok(())
}

/// Runs a layer without its activation.
pub(crate) fn run_before_activation(
    layer: &dyn AnyLayer,
    x: &[Signal],
    promised: &[Shape],
    weights: Weights<'_>,
    pass: &mut Pass,
) -> Result<Vec<Signal>> {
    check_masks(layer, "input", x)?;
    let y = layer.run(x, weights, pass)?;
    check_masks(layer, "output", &y)?;
    if let Some(mask) = y.iter().find_map(|y| y.mask.as_ref().filter(|mask| Value::dtype(*mask) != DType::Bool)) {
        let text = format!("{}: the mask of its output is {}", layer.class_name(), Value::dtype(mask));
        return Err(Error::config(text, "a mask is bool, true where a step counts: x.ne(0.0)?"));
    }
    let batch = x.first().and_then(|x| x.shape().first());
    let keeps =
        |(y, promised): (&Signal, &Shape)| y.shape().first() == batch && y.shape().get(1..) == Some(&promised[..]);
    if y.len() == promised.len() && y.iter().zip(promised).all(keeps) {
        return Ok(y);
    }
    let text = |shapes: &[String]| shapes.join(", ");
    let found: Vec<String> = y.iter().map(|y| y.shape().to_string()).collect();
    let found = if found.is_empty() { vec!["nothing".to_owned()] } else { found };
    let given: Vec<String> = x.iter().map(|x| x.shape().to_string()).collect();
    let promised: Vec<String> = promised.iter().map(summary::batch_shape).collect();
    let text = format!(
        "{}: it gives {} for {}, and promises {}",
        layer.class_name(),
        text(&found),
        text(&given),
        text(&promised)
    );
    Err(Error::config(
        text,
        "make `call` and `output_shape`, or `run` and `infer`, agree: what follows is built for what is promised",
    ))
}

/// A mask says of the first dimensions of its value which positions count. Of another shape it would be heeded by no layer.
fn check_masks(layer: &dyn AnyLayer, what: &str, values: &[Signal]) -> Result<()> {
    let fits = |x: &Signal| {
        let Some(mask) = &x.mask else { return true };
        // Where the channels come first, the steps are behind them.
        let behind =
            || DataFormat::ChannelsFirst.computed(x.shape(), 1).is_ok_and(|x| x.starts_with(Value::shape(mask)));
        x.mask_for(x.shape()).is_some() || behind()
    };
    let Some(wrong) = values.iter().find(|x| !fits(x)) else { return Ok(()) };
    let (value, mask) = (wrong.shape(), wrong.mask.as_ref().map(|mask| *Value::shape(mask)).unwrap_or_default());
    let text = format!("{}: the mask of its {what} is {mask}, the value {value}", layer.class_name());
    let steps = Shape::new(&value[..value.rank().min(2)])?;
    Err(Error::config(text, format!("a mask has the first dimensions of its value: {steps}")))
}

/// Runs a part of a model on `x`, under its name in errors.
pub(crate) fn within<T>(name: &str, x: &[Signal], part: impl FnOnce() -> Result<T>) -> Result<T> {
    let y = match x.first().and_then(|x| Watch::of(x.value.tensor())) {
        Some(watch) => watch.within(name, part),
        None => part(),
    };
    y.map_err(|e| e.in_layer(name))
}

/// Weights with their names, which of them are others, and what some of them add to the loss.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    paths: Vec<String>,
    parameters: Vec<Parameter>,
    ties: Vec<(usize, Tie)>,
    regularizers: Vec<(usize, Regularizer)>,
}

impl Held {
    /// Draws the weights of a layer.
    pub(crate) fn draw(&mut self, weights: &[Weight], key: Key, dtype: DType) -> Result<()> {
        for (i, weight) in weights.iter().enumerate() {
            let at = self.parameters.len();
            self.regularizers.extend(weight.regularizer.map(|regularizer| (at, regularizer)));
            self.ties.extend(weight.tied.clone().map(|tie| (at, tie)));
            self.parameters.push(weight.draw(key.fold(i as u64), dtype)?);
            self.paths.push(weight.name.to_string());
        }
        Ok(())
    }

    /// Tells a pass what the tied ones are; before the layers are called.
    pub(crate) fn tie(&self, pass: &mut Pass) -> Result<()> {
        for (at, tie) in &self.ties {
            let value = pass.bind(self.weights().get(&tie.to)?);
            pass.assume(&self.parameters[*at], if tie.transposed { value.t()? } else { value });
        }
        Ok(())
    }

    /// The paths of those that are others, and of these.
    pub(crate) fn tied(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ties.iter().map(|(at, tie)| (self.paths[*at].as_str(), tie.to.as_str()))
    }

    /// All of them.
    pub(crate) fn weights(&self) -> Weights<'_> {
        Weights::of(&self.paths, &self.parameters)
    }

    /// Adds the terms of the regularizers to the loss of a pass.
    pub(crate) fn penalize(&self, pass: &mut Pass) -> Result<()> {
        for (i, regularizer) in &self.regularizers {
            let weight = pass.parameter(&self.parameters[*i]);
            pass.penalty(regularizer.of(&weight)?);
        }
        Ok(())
    }

    pub(crate) fn visit<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        let all = self.paths.iter().zip(&self.parameters).enumerate();
        all.filter(|(i, _)| !self.ties.iter().any(|(at, _)| at == i)).for_each(|(_, (path, p))| visit(path, p));
    }

    pub(crate) fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        let ties = &self.ties;
        let all = self.paths.iter().zip(&mut self.parameters).enumerate();
        all.filter(|(i, _)| !ties.iter().any(|(at, _)| at == i)).for_each(|(_, (path, p))| visit(path, p));
    }
}

/// The batch dimension of the first input.
pub(crate) fn batch(x: &[Signal]) -> usize {
    x.first().map_or(1, |x| batch_of(&x.value))
}
