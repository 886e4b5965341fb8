//! Random silence, against overfitting.

use super::to_config;
use crate::layer::Layer;
use crate::{Error, Parameter, Pass, Result};
use kiln_autograd::ops::DropoutOps;
use kiln_autograd::{Shape, Var};
use serde::{Deserialize, Serialize};

/// While training, sets each element to 0 with probability `rate` and multiplies the others by `1 / (1 - rate)`, which
/// keeps the mean (Srivastava et al. 2014). Otherwise passes its input on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dropout {
    rate: f64,
}

impl Dropout {
    /// A layer that drops this fraction.
    pub fn new(rate: f64) -> Dropout {
        Dropout { rate }
    }
}

impl Layer for Dropout {
    fn class(&self) -> &'static str {
        "Dropout"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        match (0.0..=1.0).contains(&self.rate) {
            true => Ok(*input),
            false => Err(Error::config(
                format!("Dropout: the rate {} is no fraction", self.rate),
                "give a number from 0 to 1, such as 0.5",
            )),
        }
    }

    fn call(&self, x: &Var, _weights: &[Parameter], pass: &mut Pass) -> Result<Var> {
        if !pass.is_training() || self.rate == 0.0 {
            return Ok(x.clone());
        }
        Ok(x.dropout(pass.key(), self.rate)?)
    }

    fn config(&self) -> serde_json::Value {
        to_config(self)
    }
}
