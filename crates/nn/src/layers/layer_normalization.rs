//! Normalization within each sample.

use super::{require_epsilon, to_config};
use crate::layer::{Layer, Weight};
use crate::{Error, Initializer, Parameter, Pass, Result};
use kiln_autograd::ops::{ArithmeticOps, MathOps, StatisticsOps};
use kiln_autograd::{Shape, Var, keep};
use serde::{Deserialize, Serialize};

/// Normalizes the last dimension of each position to mean 0 and variance 1, then scales by `gamma` and shifts by
/// `beta`, which are learned (Ba et al. 2016).
///
/// # Shapes
/// `[batch, …, n]` to the same; both weights are `[n]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerNormalization {
    epsilon: f64,
    center: bool,
    scale: bool,
}

impl Default for LayerNormalization {
    fn default() -> Self {
        LayerNormalization { epsilon: 1e-3, center: true, scale: true }
    }
}

impl LayerNormalization {
    /// Keras's default: epsilon 0.001.
    pub fn new() -> LayerNormalization {
        LayerNormalization::default()
    }

    /// What is added to the variance, from 0.
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> LayerNormalization {
        self.epsilon = epsilon;
        self
    }

    /// Whether `beta` is added.
    #[must_use]
    pub fn center(mut self, center: bool) -> LayerNormalization {
        self.center = center;
        self
    }

    /// Whether the result is multiplied by `gamma`.
    #[must_use]
    pub fn scale(mut self, scale: bool) -> LayerNormalization {
        self.scale = scale;
        self
    }
}

impl Layer for LayerNormalization {
    fn class(&self) -> &'static str {
        "LayerNormalization"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        require_epsilon("LayerNormalization", self.epsilon)?;
        match input.rank() {
            0 => Err(Error::config(
                "LayerNormalization: the input has no dimension to normalize",
                "give samples of at least one dimension",
            )),
            _ => Ok(*input),
        }
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        let n = [input.last().copied().unwrap_or(1)];
        let gamma = self.scale.then(|| Weight::new("gamma", n, Initializer::Ones));
        let beta = self.center.then(|| Weight::new("beta", n, Initializer::Zeros));
        gamma.into_iter().chain(beta).collect()
    }

    fn call(&self, x: &Var, weights: &[Parameter], pass: &mut Pass) -> Result<Var> {
        let deviation = x.sub(&x.mean(keep(-1))?)?;
        let variance = deviation.square()?.mean(keep(-1))?;
        let mut y = deviation.mul(&variance.add(self.epsilon)?.rsqrt()?)?;
        let mut weights = weights.iter();
        if self.scale
            && let Some(gamma) = weights.next()
        {
            y = y.mul(&pass.parameter(gamma))?;
        }
        match weights.next() {
            Some(beta) => Ok(y.add(&pass.parameter(beta))?),
            None => Ok(y),
        }
    }

    fn config(&self) -> serde_json::Value {
        to_config(self)
    }
}
