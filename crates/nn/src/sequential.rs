//! Layers in a row: the description, and the network built from it.

use crate::layer::{Built, Layer};
use crate::layers;
use crate::module::{IntoModule, Module};
use crate::{Activation, Error, Parameter, Pass, Result, summary};
use kiln_autograd::ops::Value;
use kiln_autograd::{DType, IntoShape, Key, MAX_RANK, Shape, Spec, Var};
use serde_json::{Value as Json, json};
use std::collections::HashSet;

/// A model of layers in a row, before it has weights.
///
/// ```
/// use kiln_nn::{Sequential, layers::{Dense, Flatten}};
/// let model = Sequential::new([28, 28])
///     .add(Flatten::new())
///     .add(Dense::new(128).activation("relu"))
///     .add(Dense::new(10).activation("softmax"));
/// assert!(model.summary()?.contains("101,770"));
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Sequential {
    name: String,
    input: Result<Shape>,
    layers: Vec<(String, Box<dyn Layer>)>,
    seed: u64,
    dtype: DType,
}

/// A layer in its place, with the shapes of one sample before and after it.
struct Place<'a> {
    name: &'a str,
    layer: &'a dyn Layer,
    input: Shape,
    output: Shape,
}

/// The lower-case name with underscores that a class name stands for: `MaxPooling2D` is `max_pooling2d`.
fn snake_case(class: &str) -> String {
    let mut out = String::new();
    let mut previous_lower = false;
    for c in class.chars() {
        if c.is_uppercase() && previous_lower {
            out.push('_');
        }
        previous_lower = c.is_lowercase();
        out.extend(c.to_lowercase());
    }
    out
}

impl Sequential {
    /// A model for inputs of this shape, without the batch dimension.
    pub fn new(input: impl IntoShape) -> Sequential {
        let input = input.into_shape().map_err(Error::from);
        Sequential { name: "sequential".into(), input, layers: Vec::new(), seed: 0, dtype: DType::F32 }
    }

    /// Appends a layer. It is named after its class, with a number from the second of a class on.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "Keras's name; a model is no number")]
    pub fn add(self, layer: impl Layer + 'static) -> Sequential {
        self.add_boxed(Box::new(layer))
    }

    /// [`Sequential::add`] for a layer chosen at run time.
    #[must_use]
    pub fn add_boxed(mut self, layer: Box<dyn Layer>) -> Sequential {
        let base = snake_case(layer.class());
        let taken = |name: &str| self.layers.iter().any(|(n, _)| n == name);
        let name = match taken(&base) {
            false => base,
            true => (1..).map(|i| format!("{base}_{i}")).find(|n| !taken(n)).unwrap_or(base),
        };
        self.layers.push((name, layer));
        self
    }

    /// Appends a layer under a name of your own.
    #[must_use]
    pub fn add_named(mut self, name: impl Into<String>, layer: impl Layer + 'static) -> Sequential {
        self.layers.push((name.into(), Box::new(layer)));
        self
    }

    /// The model's name in its summary.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Sequential {
        self.name = name.into();
        self
    }

    /// The seed of the initial weights; 0 unless set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Sequential {
        self.seed = seed;
        self
    }

    /// The type of the weights; `f32` unless set.
    #[must_use]
    pub fn dtype(mut self, dtype: DType) -> Sequential {
        self.dtype = dtype;
        self
    }

    fn input(&self) -> Result<Shape> {
        match &self.input {
            Ok(shape) if shape.contains(&0) => Err(Error::config(
                format!("Sequential: a sample of shape {shape} has no elements"),
                "give the shape of one sample, such as [28, 28]",
            )),
            Ok(shape) if shape.rank() == MAX_RANK => Err(Error::config(
                format!("Sequential: a sample of {MAX_RANK} dimensions leaves none for the batch"),
                "give the shape of one sample, without the batch dimension",
            )),
            Ok(shape) => Ok(*shape),
            Err(error) => {
                Err(Error::config(format!("Sequential: {error}"), "give the shape of one sample, such as [28, 28]"))
            }
        }
    }

    /// The layers in order, each with the shapes it maps between.
    fn places(&self) -> Result<Vec<Place<'_>>> {
        let mut shape = self.input()?;
        let mut names = HashSet::new();
        let mut all = Vec::new();
        for (name, layer) in &self.layers {
            if !names.insert(name.as_str()) {
                return Err(Error::config(format!("Sequential: two layers are named `{name}`"), "names must differ"));
            }
            if name.is_empty() || name.contains('/') {
                return Err(Error::config(
                    format!("Sequential: `{name}` is no layer name"),
                    "names must not be empty or contain `/`",
                ));
            }
            let output = layer.output_shape(&shape).map_err(|e| e.in_layer(name))?;
            all.push(Place { name, layer: &**layer, input: shape, output });
            shape = output;
        }
        Ok(all)
    }

    /// The table of layers, output shapes and parameter counts, before any weight exists.
    ///
    /// # Errors
    /// A layer that does not fit the one before it; a weight with more elements than memory can hold.
    pub fn summary(&self) -> Result<String> {
        let mut rows = Vec::new();
        for Place { name, layer, input, output } in self.places()? {
            let (mut trainable, mut frozen) = (0, 0);
            for weight in layer.weights(&input) {
                let shape = Shape::new(&weight.shape).map_err(|e| Error::from(e).in_layer(name))?;
                *(if weight.trainable { &mut trainable } else { &mut frozen }) += shape.count();
            }
            let layer = format!("{name} ({})", layer.class());
            rows.push(summary::Row { layer, output: summary::batch_shape(&output), trainable, frozen });
        }
        Ok(summary::table(&self.name, &rows, self.dtype.size()))
    }

    /// The path, the shape and the type of each parameter that [`Sequential::build`] makes, before any exists.
    ///
    /// # Errors
    /// A layer that does not fit the one before it; a weight with more elements than memory can hold.
    pub fn parameter_specs(&self) -> Result<Vec<(String, Spec)>> {
        let mut all = Vec::new();
        for Place { name, layer, input, .. } in self.places()? {
            for weight in layer.weights(&input) {
                let shape = Shape::new(&weight.shape).map_err(|e| Error::from(e).in_layer(name))?;
                all.push((format!("{name}/{}", weight.name), Spec::new(shape, self.dtype)));
            }
        }
        Ok(all)
    }

    /// Builds the network: every layer with weights drawn from the seed.
    ///
    /// # Errors
    /// A layer that does not fit the one before it, an unknown activation.
    pub fn build(self) -> Result<Network> {
        let inputs: Vec<Shape> = self.places()?.into_iter().map(|place| place.input).collect();
        let input = self.input()?;
        let key = Key::new(self.seed);
        let mut layers = Vec::with_capacity(inputs.len());
        for (i, ((name, layer), input)) in self.layers.into_iter().zip(inputs).enumerate() {
            layers.push(Built::new(name, layer, &input, key.fold(i as u64), self.dtype)?);
        }
        Ok(Network { name: self.name, input, layers, dtype: self.dtype })
    }

    /// The model that [`Network::config`] describes.
    ///
    /// # Errors
    /// JSON that is no such description, or names a layer that is not known.
    pub fn from_config(config: &Json) -> Result<Sequential> {
        let broken = |what: &str| {
            Error::config(
                format!("the model's architecture has no valid `{what}`"),
                "the file is damaged or of another program",
            )
        };
        let dims: Option<Vec<usize>> =
            config["input_shape"].as_array().and_then(|a| a.iter().map(|d| d.as_u64().map(|d| d as usize)).collect());
        let dtype = config["dtype"].as_str().unwrap_or("f32");
        let dtype =
            DType::ALL.into_iter().find(|d| d.to_string() == dtype && d.is_float()).ok_or_else(|| broken("dtype"))?;
        let mut model = Sequential::new(dims.ok_or_else(|| broken("input_shape"))?).dtype(dtype);
        model.name = config["name"].as_str().unwrap_or("sequential").to_owned();
        for layer in config["layers"].as_array().ok_or_else(|| broken("layers"))? {
            let name = layer["name"].as_str().ok_or_else(|| broken("name"))?;
            let class = layer["class"].as_str().ok_or_else(|| broken("class"))?;
            model.layers.push((name.to_owned(), layers::from_config(class, &layer["config"])?));
        }
        Ok(model)
    }
}

impl IntoModule for Sequential {
    type Module = Network;
    fn into_module(self) -> Result<Network> {
        self.build()
    }
}

/// A [`Sequential`] with weights.
#[derive(Debug)]
pub struct Network {
    name: String,
    input: Shape,
    layers: Vec<Built>,
    dtype: DType,
}

impl Network {
    /// The layers.
    pub fn layers(&self) -> &[Built] {
        &self.layers
    }

    /// Checks the shape of a batch before any layer sees it.
    fn check(&self, x: &Var) -> Result<()> {
        let shape = Value::shape(x);
        if shape.rank() == self.input.rank() + 1 && shape[1..] == self.input[..] {
            return Ok(());
        }
        let is_sample = shape[..] == self.input[..];
        let help = match self.input.get(1..).filter(|rest| shape.get(1..) == Some(rest)) {
            Some(rest) if is_sample && !rest.is_empty() => format!(
                "add the batch dimension to a single sample: x.unsqueeze(0); or leave it out of the model's input: \
                 Sequential::new({rest:?})"
            ),
            _ if is_sample => "this is a single sample; add the batch dimension: x.unsqueeze(0)".to_owned(),
            Some(rest) => {
                format!(
                    "the model's input is the shape of one sample, without the batch dimension: Sequential::new({rest:?})"
                )
            }
            None => "reshape the data, or build the model for this shape: Sequential::new(…)".to_owned(),
        };
        Err(Error::config(
            format!("the model expects batches of shape {}, found {shape}", summary::batch_shape(&self.input)),
            help,
        ))
    }
}

impl Module for Network {
    fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
        self.check(x)?;
        self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, pass))
    }

    fn logits(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
        self.check(x)?;
        let Some((last, body)) = self.layers.split_last() else { return Ok(x.clone()) };
        let x = body.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, pass))?;
        last.call(&x, pass)
    }

    fn output_activation(&self) -> Activation {
        self.layers.last().map_or(Activation::Linear, |l| l.layer().activation())
    }

    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        self.layers.iter().for_each(|layer| layer.parameters(visit));
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        self.layers.iter_mut().for_each(|layer| layer.parameters_mut(visit));
    }

    fn config(&self) -> Option<Json> {
        let layer = |built: &Built| json!({ "name": built.name(), "class": built.layer().class(), "config": built.layer().config() });
        Some(json!({
            "name": self.name,
            "input_shape": self.input.dims(),
            "dtype": self.dtype.to_string(),
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
        }))
    }

    fn input_shape(&self) -> Option<Shape> {
        Some(self.input)
    }

    fn summary(&self) -> String {
        let rows = self.layers.iter().map(|built| {
            let (trainable, frozen) = crate::module::count_parameters(built);
            let layer = format!("{} ({})", built.name(), built.layer().class());
            summary::Row { layer, output: summary::batch_shape(built.output_shape()), trainable, frozen }
        });
        summary::table(&self.name, &rows.collect::<Vec<_>>(), self.dtype.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Dense, Flatten};

    #[test]
    fn names_are_per_model() {
        assert_eq!(snake_case("MaxPooling2D"), "max_pooling2d");
        let model = || Sequential::new([4]).add(Dense::new(3)).add(Dense::new(2)).build().unwrap();
        for _ in 0..2 {
            let mut names = Vec::new();
            model().parameters(&mut |path, _| names.push(path.to_owned()));
            assert_eq!(names, ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]);
        }
    }

    #[test]
    fn config_round_trip() {
        let build = |s: Sequential| s.seed(3).build().unwrap();
        let model = build(Sequential::new([2, 3]).add(Flatten::new()).add(Dense::new(4).activation("tanh")));
        let again = build(Sequential::from_config(&model.config().unwrap()).unwrap());
        assert_eq!(model.config(), again.config());
        assert_eq!(model.summary(), again.summary());
    }
}
