//! Normalization over the batch.

use super::{require, require_epsilon, to_config};
use crate::layer::{Layer, Weight};
use crate::{Error, Initializer, Parameter, Pass, Result};
use kiln_autograd::ops::{ArithmeticOps, MathOps, StatisticsOps, Value};
use kiln_autograd::{Shape, Tensor, Var};
use serde::{Deserialize, Serialize};

/// Normalizes each channel (the last dimension) to mean 0 and variance 1 over the batch, then scales by `gamma` and
/// shifts by `beta`, which are learned (Ioffe and Szegedy 2015).
///
/// While training it uses the batch's mean and biased variance, and moves its running ones towards them:
/// `moving = moving · momentum + batch · (1 - momentum)`. Otherwise it uses the running ones.
///
/// # Shapes
/// `[batch, …, channels]` to the same; all four weights are `[channels]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchNormalization {
    momentum: f64,
    epsilon: f64,
    center: bool,
    scale: bool,
}

impl Default for BatchNormalization {
    fn default() -> Self {
        BatchNormalization { momentum: 0.99, epsilon: 1e-3, center: true, scale: true }
    }
}

impl BatchNormalization {
    /// Keras's defaults: momentum 0.99 (the part that is kept), epsilon 0.001.
    pub fn new() -> BatchNormalization {
        BatchNormalization::default()
    }

    /// The part of the running statistics that each batch keeps, from 0 to 1.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> BatchNormalization {
        self.momentum = momentum;
        self
    }

    /// What is added to the variance, from 0.
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> BatchNormalization {
        self.epsilon = epsilon;
        self
    }

    /// Whether `beta` is added.
    #[must_use]
    pub fn center(mut self, center: bool) -> BatchNormalization {
        self.center = center;
        self
    }

    /// Whether the result is multiplied by `gamma`.
    #[must_use]
    pub fn scale(mut self, scale: bool) -> BatchNormalization {
        self.scale = scale;
        self
    }
}

impl Layer for BatchNormalization {
    fn class(&self) -> &'static str {
        "BatchNormalization"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        require_epsilon("BatchNormalization", self.epsilon)?;
        let range = "the part that is kept, from 0 to 1, such as 0.99";
        require((0.0..=1.0).contains(&self.momentum), "BatchNormalization", "momentum", self.momentum, range)?;
        match input.rank() {
            0 => Err(Error::config(
                "BatchNormalization: the input has no channels",
                "give samples of at least one dimension",
            )),
            _ => Ok(*input),
        }
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        let channels = [input.last().copied().unwrap_or(1)];
        let mut weights = Vec::new();
        if self.scale {
            weights.push(Weight::new("gamma", channels, Initializer::Ones));
        }
        if self.center {
            weights.push(Weight::new("beta", channels, Initializer::Zeros));
        }
        weights.push(Weight::statistic("moving_mean", channels, Initializer::Zeros));
        weights.push(Weight::statistic("moving_variance", channels, Initializer::Ones));
        weights
    }

    fn call(&self, x: &Var, weights: &[Parameter], pass: &mut Pass) -> Result<Var> {
        let (learned, statistics) = weights.split_at(weights.len() - 2);
        let (moving_mean, moving_variance) = (&statistics[0], &statistics[1]);
        let (mean, variance) = if pass.is_training() {
            let axes: Vec<isize> = (0..Value::shape(x).rank() as isize - 1).collect();
            let (mean, variance) = (x.mean(&axes)?, x.var(&axes, 0.0)?);
            let moved = |moving: &Tensor, batch: &Var| {
                let kept = moving.mul(self.momentum)?;
                kept.add(&batch.tensor().mul(1.0 - self.momentum)?)
            };
            pass.update(moving_mean, moved(&moving_mean.tensor, &mean)?);
            pass.update(moving_variance, moved(&moving_variance.tensor, &variance)?);
            (mean, variance)
        } else {
            (pass.parameter(moving_mean), pass.parameter(moving_variance))
        };
        let mut scale = variance.add(self.epsilon)?.rsqrt()?;
        let mut learned = learned.iter();
        if self.scale
            && let Some(gamma) = learned.next()
        {
            scale = scale.mul(&pass.parameter(gamma))?;
        }
        let y = x.sub(&mean)?.mul(&scale)?;
        match learned.next() {
            Some(beta) => Ok(y.add(&pass.parameter(beta))?),
            None => Ok(y),
        }
    }

    fn config(&self) -> serde_json::Value {
        to_config(self)
    }
}
