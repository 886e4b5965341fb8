//! Layers in a row: the description of a model that is not more than that.

use crate::functional::{Functional, Names, Network};
use crate::layer::{AnyLayer, Weight, Weights};
use crate::module::IntoModule;
use crate::{Activation, Error, Pass, Result, Signal};
use kiln_autograd::{DType, IntoShape, Shape, Spec};
use serde_json::Value as Json;
use std::sync::{Arc, OnceLock};

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
///
/// It is the simplest [`Functional`] model, and can be a part of one.
#[derive(Debug)]
pub struct Sequential {
    name: String,
    input: Result<Shape>,
    layers: Vec<(String, Arc<dyn AnyLayer>)>,
    taken: Names,
    seed: u64,
    dtype: DType,
    compute: Option<DType>,
    ties: Vec<(String, String, bool)>,
    /// The graph of all of it, once it has been asked for as a layer.
    whole: OnceLock<Functional>,
}

/// The lower-case name with underscores that a class name stands for, as in Keras: `MaxPooling2D` is `max_pooling2d`,
/// `LSTMCell` `lstm_cell`.
pub(crate) fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().collect();
    let mut out = String::new();
    for (i, c) in letters.iter().enumerate() {
        let begins_word = letters.get(i + 1).is_some_and(|next| next.is_lowercase());
        let ends_word = i > 0 && letters[i - 1].is_lowercase();
        if i > 0 && c.is_uppercase() && (begins_word || ends_word) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

impl Sequential {
    /// A model for inputs of this shape, without the batch dimension.
    pub fn new(input: impl IntoShape) -> Sequential {
        Sequential {
            name: "sequential".into(),
            input: input.into_shape().map_err(Error::from),
            layers: Vec::new(),
            taken: Names::default(),
            seed: 0,
            dtype: DType::F32,
            compute: None,
            ties: Vec::new(),
            whole: OnceLock::new(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Sequential)) -> Sequential {
        change(&mut self);
        self.whole = OnceLock::new();
        self
    }

    /// Appends a layer. It is named after its class, a model by its own name, with a number from the second on.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "Keras's name; a model is no number")]
    pub fn add(self, layer: impl AnyLayer + 'static) -> Sequential {
        self.add_boxed(Box::new(layer))
    }

    /// [`Sequential::add`] for a layer chosen at run time.
    #[must_use]
    pub fn add_boxed(self, layer: Box<dyn AnyLayer>) -> Sequential {
        self.with(|model| {
            let name = model.taken.numbered(&layer.default_name());
            model.layers.push((name, layer.into()));
        })
    }

    /// Appends a layer under a name of your own.
    #[must_use]
    pub fn add_named(self, name: impl Into<String>, layer: impl AnyLayer + 'static) -> Sequential {
        let name = name.into();
        self.with(|model| {
            model.taken.reserve([name.as_str()].into_iter());
            model.layers.push((name, Arc::new(layer)));
        })
    }

    /// The model's name in its summary.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Sequential {
        self.with(|model| model.name = name.into())
    }

    /// The seed of the initial weights; 0 unless set.
    #[must_use]
    pub fn seed(self, seed: u64) -> Sequential {
        self.with(|model| model.seed = seed)
    }

    /// The type of the weights; `f32` unless set.
    #[must_use]
    pub fn dtype(self, dtype: DType) -> Sequential {
        self.with(|model| model.dtype = dtype)
    }

    /// Computes in `bf16`, with weights of the type they have: [`Functional::mixed_bfloat16`].
    #[must_use]
    pub fn mixed_bfloat16(self) -> Sequential {
        self.with(|model| model.compute = Some(DType::BF16))
    }

    /// Computes in `f16`, with weights of the type they have and a scaled loss: [`Functional::mixed_float16`].
    #[must_use]
    pub fn mixed_float16(self) -> Sequential {
        self.with(|model| model.compute = Some(DType::F16))
    }

    /// Makes a weight another one: [`Functional::tie`].
    #[must_use]
    pub fn tie(self, weight: impl Into<String>, to: impl Into<String>) -> Sequential {
        self.with(|model| model.ties.push((weight.into(), to.into(), false)))
    }

    /// Makes a matrix another one with its rows and columns exchanged: [`Functional::tie_transposed`].
    #[must_use]
    pub fn tie_transposed(self, weight: impl Into<String>, to: impl Into<String>) -> Sequential {
        self.with(|model| model.ties.push((weight.into(), to.into(), true)))
    }

    /// The model as a graph.
    ///
    /// # Errors
    /// An input without a shape, a layer that does not fit the one before it, two layers of one name, weights that cannot be
    /// tied.
    pub fn graph(&self) -> Result<Functional> {
        let input = match &self.input {
            Ok(shape) => *shape,
            Err(error) => {
                let text = format!("Sequential: {error}");
                return Err(Error::config(text, "give the shape of one sample, such as [28, 28]"));
            }
        };
        let mut graph = Functional::row(&self.name).seed(self.seed).dtype(self.dtype);
        let mut value = graph.input("input".into(), input)?;
        for (name, layer) in &self.layers {
            let at = graph.place(name.clone(), layer.clone())?;
            value = graph.call_one(at, value)?;
        }
        graph.end_with(vec![value]);
        self.ties.iter().try_fold(graph.computing_in(self.compute), |graph, (weight, to, transposed)| {
            if *transposed { graph.tie_transposed(weight, to) } else { graph.tie(weight, to) }
        })
    }

    /// The graph, made once.
    fn whole(&self) -> Result<&Functional> {
        match self.whole.get() {
            Some(graph) => Ok(graph),
            None => {
                let graph = self.graph()?;
                Ok(self.whole.get_or_init(|| graph))
            }
        }
    }

    /// The table of layers, output shapes and parameter counts, before any weight exists.
    ///
    /// # Errors
    /// As [`Sequential::graph`]; a weight with more elements than memory can hold.
    pub fn summary(&self) -> Result<String> {
        self.graph()?.summary()
    }

    /// The path, the shape and the type of each parameter that [`Sequential::build`] makes, before any exists.
    ///
    /// # Errors
    /// As [`Sequential::graph`]; a weight with more elements than memory can hold.
    pub fn parameter_specs(&self) -> Result<Vec<(String, Spec)>> {
        self.graph()?.parameter_specs()
    }

    /// Builds the network: every layer with weights drawn from the seed.
    ///
    /// # Errors
    /// As [`Sequential::graph`]; an unknown activation.
    pub fn build(self) -> Result<Network> {
        self.graph()?.build()
    }
}

/// As a layer, the model is its graph.
impl AnyLayer for Sequential {
    fn class_name(&self) -> &str {
        "Sequential"
    }

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        self.whole()?.infer(inputs)
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<Weight>> {
        self.whole()?.weights_for(inputs)
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        self.whole()?.run(x, weights, pass)
    }

    fn final_activation(&self) -> Activation {
        self.whole().map_or(Activation::Linear, AnyLayer::final_activation)
    }

    fn to_config(&self) -> Json {
        self.whole().map_or(Json::Null, AnyLayer::to_config)
    }

    fn default_name(&self) -> String {
        self.name.clone()
    }
}

impl IntoModule for Sequential {
    type Module = Network;
    fn into_module(self) -> Result<Network> {
        self.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Module;
    use crate::layers::{Dense, Flatten};

    #[test]
    fn names_are_per_model() {
        let names = ["MaxPooling2D", "LSTMCell", "Conv2DTranspose", "ReLU", "SimpleRNN", "GRU"].map(snake_case);
        assert_eq!(names, ["max_pooling2d", "lstm_cell", "conv2d_transpose", "re_lu", "simple_rnn", "gru"]);
        let model = || Sequential::new([4]).add(Dense::new(3)).add(Dense::new(2)).build().unwrap();
        for _ in 0..2 {
            let mut names = Vec::new();
            model().parameters(&mut |path, _| names.push(path.to_owned()));
            assert_eq!(names, ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]);
        }
    }

    #[test]
    fn config_round_trip() {
        let model = Sequential::new([2, 3]).add(Flatten::new()).add(Dense::new(4).activation("tanh"));
        let model = model.seed(3).build().unwrap();
        let again = Functional::from_config(&model.config().unwrap()).unwrap().seed(3).build().unwrap();
        assert_eq!(model.config(), again.config());
        assert_eq!(model.summary(), again.summary());
    }
}
