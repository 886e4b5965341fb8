//! Activation functions as layers of their own.

use super::to_config;
use crate::layer::Layer;
use crate::{Parameter, Pass, Result};
use kiln_autograd::{Shape, Var};
use serde::{Deserialize, Serialize};

/// Applies an activation function to its input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    activation: crate::Activation,
}

impl Activation {
    /// A layer for an activation: a name such as `"relu"`, or a [`crate::Activation`].
    pub fn new(activation: impl Into<crate::Activation>) -> Activation {
        Activation { activation: activation.into() }
    }
}

impl Layer for Activation {
    fn class(&self) -> &'static str {
        "Activation"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(*input)
    }

    fn call(&self, x: &Var, _weights: &[Parameter], _pass: &mut Pass) -> Result<Var> {
        Ok(x.clone())
    }

    fn activation(&self) -> crate::Activation {
        self.activation.clone()
    }

    fn config(&self) -> serde_json::Value {
        to_config(self)
    }
}

/// Layers that are one fixed activation function.
macro_rules! fixed {
    ($($(#[$doc:meta])* $name:ident => $activation:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name {}

        impl $name {
            /// The layer.
            pub fn new() -> $name {
                $name {}
            }
        }

        impl Layer for $name {
            fn class(&self) -> &'static str {
                stringify!($name)
            }

            fn output_shape(&self, input: &Shape) -> Result<Shape> {
                Ok(*input)
            }

            fn call(&self, x: &Var, _weights: &[Parameter], _pass: &mut Pass) -> Result<Var> {
                Ok(x.clone())
            }

            fn activation(&self) -> crate::Activation {
                $activation
            }

            fn config(&self) -> serde_json::Value {
                to_config(self)
            }
        }
    )*};
}

fixed! {
    /// `max(x, 0)`.
    ReLU => crate::Activation::Relu;
    /// `exp(x) / Σ exp(x)` along the last axis.
    Softmax => crate::Activation::Softmax;
    /// `x` where positive, else `0.3 · x`.
    LeakyReLU => crate::Activation::LeakyRelu(0.3);
}
