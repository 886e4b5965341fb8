//! A layer with its weights.

use super::{AnyLayer, Held, Weight, run_whole};
use crate::module::Module;
use crate::{Error, Parameter, Pass, Result, Signal};
use kiln_autograd::{DType, Key, Shape, Var};
use std::sync::Arc;

/// A layer with its weights: a [`Module`] of one layer, to be a part of one of your own.
///
/// ```
/// use kiln_nn::{Built, Key, Module, Parameter, Pass, Result, Tensor, Var, layers::{Dense, LayerNormalization}, ops::*};
///
/// /// `x + dense(norm(x))`, on samples of 8 features.
/// #[derive(Debug)]
/// struct Residual { norm: Built, dense: Built }
///
/// impl Residual {
///     fn new(key: Key) -> Result<Residual> {
///         let norm = Built::new(LayerNormalization::new(), [8], key.fold(0))?;
///         Ok(Residual { norm, dense: Built::new(Dense::new(8).activation("relu"), [8], key.fold(1))? })
///     }
/// }
///
/// impl Module for Residual {
///     fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
///         let y = self.norm.forward(x, pass)?;
///         Ok(x.add(&self.dense.forward(&y, pass)?)?)
///     }
///     kiln_nn::parameters!(norm, dense);
/// }
///
/// let model = Residual::new(Key::new(0))?;
/// let mut paths = Vec::new();
/// model.parameters(&mut |path, _| paths.push(path.to_owned()));
/// assert_eq!(paths, ["norm/gamma", "norm/beta", "dense/kernel", "dense/bias"]);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
///
/// It takes samples of other shapes than it was built for as long as they have the same weights: sequences of any length, say.
#[derive(Debug, Clone)]
pub struct Built {
    layer: Arc<dyn AnyLayer>,
    inputs: Vec<Shape>,
    outputs: Vec<Shape>,
    held: Held,
}

impl Built {
    /// Gives a layer `f32` weights for inputs of this shape, without the batch dimension.
    ///
    /// # Errors
    /// An input that does not fit, an unknown activation.
    pub fn new(layer: impl AnyLayer + 'static, input: impl kiln_autograd::IntoShape, key: Key) -> Result<Built> {
        Built::of(Box::new(layer), &[input.into_shape()?], key, DType::F32)
    }

    /// [`Built::new`] for a layer of several inputs, with weights of a type.
    ///
    /// # Errors
    /// As there.
    pub fn of(layer: Box<dyn AnyLayer>, inputs: &[Shape], key: Key, dtype: DType) -> Result<Built> {
        layer.final_activation().checked()?;
        let outputs = layer.infer(inputs)?;
        let mut held = Held::default();
        held.draw(&layer.weights_for(inputs)?, key, dtype)?;
        Ok(Built { layer: layer.into(), inputs: inputs.to_vec(), outputs, held })
    }

    /// The layer.
    pub fn layer(&self) -> &dyn AnyLayer {
        &*self.layer
    }

    /// The shapes of its results, without the batch dimension.
    pub fn output_shapes(&self) -> &[Shape] {
        &self.outputs
    }

    /// The results, and their masks.
    ///
    /// # Errors
    /// A batch that does not fit.
    pub fn call(&self, x: &[Signal], pass: &mut Pass) -> Result<Vec<Signal>> {
        self.held.tie(pass)?;
        let is_built_for = |(x, input): (&Signal, &Shape)| x.shape().get(1..) == Some(&input[..]);
        let y = match x.len() == self.inputs.len() && x.iter().zip(&self.inputs).all(is_built_for) {
            true => run_whole(&*self.layer, x, &self.outputs, self.held.weights(), pass)?,
            false => run_whole(&*self.layer, x, &self.outputs_for(x)?, self.held.weights(), pass)?,
        };
        self.held.penalize(pass)?;
        Ok(y)
    }

    /// The shapes of its results for samples of other shapes than it was built for.
    fn outputs_for(&self, x: &[Signal]) -> Result<Vec<Shape>> {
        let sample = |x: &Signal| match x.shape().get(1..) {
            Some(sample) => Ok(Shape::new(sample)?),
            None => {
                let text = format!("{}: the input is a single number", self.layer.class_name());
                Err(Error::config(text, "the first dimension is the batch"))
            }
        };
        let samples = x.iter().map(sample).collect::<Result<Vec<_>>>()?;
        let outputs = self.layer.infer(&samples)?;
        let weights = self.layer.weights_for(&samples)?;
        let differs = |(weight, held): (&Weight, &Parameter)| weight.shape[..] != held.tensor.shape()[..];
        let all = || weights.iter().zip(&self.held.parameters);
        if weights.len() == self.held.parameters.len() && !all().any(differs) {
            return Ok(outputs);
        }
        let (class, built_for) = (self.layer.class_name(), crate::summary::shapes(&self.inputs));
        let text =
            format!("{class} has weights for samples of shape {built_for}, found {}", crate::summary::shapes(&samples));
        let help = match all().find(|pair| differs(*pair)) {
            Some((weight, held)) => {
                let (name, wanted) = (&weight.name, Shape::new(&weight.shape)?);
                format!("build it for this shape: `{name}` would be {wanted} and is {}", held.tensor.shape())
            }
            None => "build it for this shape".to_owned(),
        };
        Err(Error::config(text, help))
    }
}

impl Module for Built {
    fn forward(&self, x: &Var, pass: &mut Pass) -> Result<Var> {
        let mut y = self.call(&[Signal::new(x.clone())], pass)?;
        match y.len() {
            1 => Ok(y.swap_remove(0).value),
            n => {
                let text = format!("{} gives {n} values", self.layer.class_name());
                Err(Error::config(text, "ask for all of them: forward_all"))
            }
        }
    }

    fn forward_all(&self, x: &[Signal], pass: &mut Pass) -> Result<Vec<Signal>> {
        self.call(x, pass)
    }

    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        self.held.visit(visit);
    }

    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        self.held.visit_mut(visit);
    }

    fn tied_weights(&self) -> Vec<(String, String)> {
        self.held.tied().map(|(path, to)| (path.to_owned(), to.to_owned())).collect()
    }

    fn input_shapes(&self) -> Option<Vec<Shape>> {
        Some(self.inputs.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Dense, LSTM, PositionEmbedding};
    use kiln_autograd::Tensor;
    use kiln_autograd::ops::Value;

    #[test]
    fn what_is_built_takes_what_its_weights_are_for() {
        let call = |layer: &Built, shape: &[usize]| {
            let x = Var::new(Tensor::ones(shape).unwrap());
            layer.forward(&x, &mut Pass::inference()).map(|y| *Value::shape(&y))
        };
        let dense = Built::new(Dense::new(2), [3], Key::new(0)).unwrap();
        assert_eq!(call(&dense, &[4, 3]).unwrap().dims(), [4, 2]);
        assert_eq!(call(&dense, &[4, 5, 3]).unwrap().dims(), [4, 5, 2]);
        let error = call(&dense, &[4, 7]).unwrap_err().to_string();
        assert!(error.contains("Dense has weights for samples of shape [3], found [7]"), "{error}");
        assert!(error.contains("`kernel` would be [7, 2] and is [3, 2]"), "{error}");
        assert!(call(&dense, &[]).unwrap_err().to_string().contains("a single number"));

        let lstm = Built::new(LSTM::new(2), [5, 3], Key::new(0)).unwrap();
        assert_eq!(call(&lstm, &[4, 9, 3]).unwrap().dims(), [4, 2]);
        let positions = Built::new(PositionEmbedding::new(5), [5, 3], Key::new(0)).unwrap();
        assert_eq!(call(&positions, &[4, 2, 3]).unwrap().dims(), [4, 2, 3]);
        assert!(call(&positions, &[4, 6, 3]).unwrap_err().to_string().contains("6 steps, and vectors for 5"));
    }
}
