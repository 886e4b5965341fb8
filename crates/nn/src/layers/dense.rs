//! The fully connected layer.

use super::to_config;
use crate::layer::{Layer, Weight};
use crate::{Activation, Error, Initializer, Parameter, Pass, Result};
use kiln_autograd::ops::{ArithmeticOps, MatMulOps, Value};
use kiln_autograd::{Shape, Var};
use serde::{Deserialize, Serialize};

/// `activation(x · kernel + bias)`: every unit sees all of the input's last dimension.
///
/// # Shapes
/// `[batch, …, n]` to `[batch, …, units]`; `kernel` is `[n, units]`, `bias` `[units]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dense {
    units: usize,
    activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
}

impl Dense {
    /// A layer of `units` outputs, linear, with a bias; the kernel starts from Glorot's uniform distribution, the bias
    /// from 0.
    pub fn new(units: usize) -> Dense {
        Dense {
            units,
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
        }
    }

    /// What is applied to the output: a name such as `"relu"`, or an [`Activation`].
    #[must_use]
    pub fn activation(mut self, activation: impl Into<Activation>) -> Dense {
        self.activation = activation.into();
        self
    }

    /// Whether a bias is added.
    #[must_use]
    pub fn use_bias(mut self, use_bias: bool) -> Dense {
        self.use_bias = use_bias;
        self
    }

    /// What the kernel starts from.
    #[must_use]
    pub fn kernel_initializer(mut self, initializer: Initializer) -> Dense {
        self.kernel_initializer = initializer;
        self
    }

    /// What the bias starts from.
    #[must_use]
    pub fn bias_initializer(mut self, initializer: Initializer) -> Dense {
        self.bias_initializer = initializer;
        self
    }
}

impl Layer for Dense {
    fn class(&self) -> &'static str {
        "Dense"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let Some(last) = input.rank().checked_sub(1) else {
            return Err(Error::config(
                "Dense: the input has no dimension to connect to",
                "give samples of at least one dimension",
            ));
        };
        if self.units == 0 {
            return Err(Error::config("Dense: 0 units give no output", "ask for at least one unit"));
        }
        Ok(Shape::new(&input.with(last, self.units))?)
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        let inputs = input.last().copied().unwrap_or(1);
        let mut weights = vec![Weight::new("kernel", [inputs, self.units], self.kernel_initializer)];
        if self.use_bias {
            weights.push(Weight::new("bias", [self.units], self.bias_initializer));
        }
        weights
    }

    fn call(&self, x: &Var, weights: &[Parameter], pass: &mut Pass) -> Result<Var> {
        let kernel = &weights[0];
        let (inputs, expected) = (Value::shape(x).last().copied(), kernel.tensor.shape()[0]);
        if inputs != Some(expected) {
            let text = format!("Dense expects its input's last dimension to be {expected}, found {}", Value::shape(x));
            return Err(Error::config(text, "did you forget Flatten?"));
        }
        let y = x.matmul(&pass.parameter(kernel))?;
        match weights.get(1) {
            Some(bias) => Ok(y.add(&pass.parameter(bias))?),
            None => Ok(y),
        }
    }

    fn activation(&self) -> Activation {
        self.activation.clone()
    }

    fn config(&self) -> serde_json::Value {
        to_config(self)
    }
}
