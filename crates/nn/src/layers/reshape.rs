//! Layers that only look at their input in another shape.

use super::to_config;
use crate::layer::Layer;
use crate::module::batch_of;
use crate::{Error, Parameter, Pass, Result};
use kiln_autograd::ops::{Value, ViewOps};
use kiln_autograd::{Shape, Var};
use serde::{Deserialize, Serialize};

/// All dimensions of a sample as one.
///
/// # Shapes
/// `[batch, a, b, …]` to `[batch, a · b · …]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Flatten {}

impl Flatten {
    /// The layer.
    pub fn new() -> Flatten {
        Flatten {}
    }
}

impl Layer for Flatten {
    fn class(&self) -> &'static str {
        "Flatten"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(Shape::new(&[input.count()])?)
    }

    fn call(&self, x: &Var, _weights: &[Parameter], _pass: &mut Pass) -> Result<Var> {
        let sample: usize = Value::shape(x)[1..].iter().product();
        Ok(x.reshape([batch_of(x), sample])?)
    }

    fn config(&self) -> serde_json::Value {
        to_config(self)
    }
}

/// Each sample in another shape of as many elements.
///
/// # Shapes
/// `[batch, …]` to `[batch, target…]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reshape {
    target_shape: Vec<usize>,
}

impl Reshape {
    /// A layer whose samples have shape `target`.
    pub fn new(target: impl Into<Vec<usize>>) -> Reshape {
        Reshape { target_shape: target.into() }
    }
}

impl Layer for Reshape {
    fn class(&self) -> &'static str {
        "Reshape"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let target = Shape::new(&self.target_shape)?;
        if target.count() != input.count() {
            let text =
                format!("Reshape: {target} has {} elements, the input {input} has {}", target.count(), input.count());
            return Err(Error::config(text, "the two must agree"));
        }
        Ok(target)
    }

    fn call(&self, x: &Var, _weights: &[Parameter], _pass: &mut Pass) -> Result<Var> {
        Ok(x.reshape([&[batch_of(x)], &self.target_shape[..]].concat())?)
    }

    fn config(&self) -> serde_json::Value {
        to_config(self)
    }
}
