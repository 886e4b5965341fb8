//! A layer: data that says what it is, what weights it has for an input of some shape, and how it maps a batch.

use crate::module::Module;
use crate::{Activation, Error, Initializer, Parameter, Pass, Result, summary};
use kiln_autograd::ops::Value;
use kiln_autograd::{DType, Key, Shape, Var, Watch};
use std::fmt::Debug;

/// A weight that a layer has.
#[derive(Debug, Clone)]
pub struct Weight {
    /// Its name within the layer, such as `kernel`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it starts from.
    pub initializer: Initializer,
    /// Whether the optimizer changes it.
    pub trainable: bool,
}

impl Weight {
    /// A trainable weight.
    pub fn new(name: &'static str, shape: impl Into<Vec<usize>>, initializer: Initializer) -> Weight {
        Weight { name, shape: shape.into(), initializer, trainable: true }
    }

    /// A statistic that the optimizer leaves alone.
    pub fn statistic(name: &'static str, shape: impl Into<Vec<usize>>, initializer: Initializer) -> Weight {
        Weight { trainable: false, ..Weight::new(name, shape, initializer) }
    }
}

/// A layer is configuration: it says what weights it wants for an input and how they map a batch, and holds none itself. The
/// model that is built of it does.
///
/// A struct of your own that implements this is used like those of [`layers`](crate::layers):
///
/// ```
/// use kiln_nn::{Initializer, Layer, Parameter, Pass, Result, Sequential, Shape, Var, Weight, layers::Dense, ops::*};
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
///     fn call(&self, x: &Var, weights: &[Parameter], pass: &mut Pass) -> Result<Var> {
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
/// A model file names its layers by class, and only Kiln's are known when it is loaded. A model with a layer of your own is
/// built by your code again and goes on with the `load_state` of `kiln_train::Model`.
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
    fn call(&self, x: &Var, weights: &[Parameter], pass: &mut Pass) -> Result<Var>;

    /// What is applied to the result of [`Layer::call`].
    fn activation(&self) -> Activation {
        Activation::Linear
    }

    /// The arguments as JSON, for model files; null where there are none.
    fn config(&self) -> serde_json::Value;
}

/// A layer with its weights, under its name in the model.
#[derive(Debug)]
pub struct Built {
    name: String,
    layer: Box<dyn Layer>,
    /// The shape of a result, without the batch dimension.
    output: Shape,
    paths: Vec<String>,
    weights: Vec<Parameter>,
}

impl Built {
    /// Gives a layer weights for inputs of shape `input` (without the batch dimension).
    ///
    /// # Errors
    /// An input that does not fit, an unknown activation.
    pub fn new(name: String, layer: Box<dyn Layer>, input: &Shape, key: Key, dtype: DType) -> Result<Built> {
        let build = || -> Result<(Shape, Vec<String>, Vec<Parameter>)> {
            layer.activation().checked()?;
            let output = layer.output_shape(input)?;
            let weights = layer.weights(input);
            let paths = weights.iter().map(|w| format!("{name}/{}", w.name)).collect();
            let parameter = |(i, w): (usize, &Weight)| {
                let tensor = w.initializer.init(key.fold(i as u64), &w.shape, dtype)?;
                Ok(if w.trainable { Parameter::new(tensor) } else { Parameter::frozen(tensor) })
            };
            Ok((output, paths, weights.iter().enumerate().map(parameter).collect::<Result<_>>()?))
        };
        let (output, paths, weights) = build().map_err(|e| e.in_layer(&name))?;
        Ok(Built { name, layer, output, paths, weights })
    }

    /// Its name in the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layer.
    pub fn layer(&self) -> &dyn Layer {
        &*self.layer
    }

    /// The shape of its results, without the batch dimension.
    pub fn output_shape(&self) -> &Shape {
        &self.output
    }

    /// Its weights.
    pub fn weights(&self) -> &[Parameter] {
        &self.weights
    }

    /// The result before the activation.
    ///
    /// # Errors
    /// A batch that does not fit, or a layer that gives another shape than its `output_shape`; the error names the layer.
    pub fn call(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
        self.within(x, || {
            let y = self.layer.call(x, &self.weights, pass)?;
            let (shape, batch) = (Value::shape(&y), Value::shape(x).first());
            if shape.first() == batch && shape.get(1..) == Some(&self.output[..]) {
                return Ok(y);
            }
            let text = format!(
                "{}: `call` gives {shape} for {}, `output_shape` promises {}",
                self.layer.class(),
                Value::shape(x),
                summary::batch_shape(&self.output)
            );
            Err(Error::config(text, "make both agree: the layers that follow are built for what is promised"))
        })
    }

    /// Runs a part of the layer on `x`, under its name in errors.
    fn within(&self, x: &Var, part: impl FnOnce() -> Result<Var>) -> Result<Var> {
        let y = match Watch::of(x.tensor()) {
            Some(watch) => watch.within(&self.name, part),
            None => part(),
        };
        y.map_err(|e| e.in_layer(&self.name))
    }
}

impl Module for Built {
    fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
        let y = self.call(x, pass)?;
        self.within(&y, || self.layer.activation().apply(&y))
    }

    fn logits(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
        self.call(x, pass)
    }

    fn output_activation(&self) -> Activation {
        self.layer.activation()
    }

    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        self.paths.iter().zip(&self.weights).for_each(|(path, p)| visit(path, p));
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        self.paths.iter().zip(&mut self.weights).for_each(|(path, p)| visit(path, p));
    }
}
