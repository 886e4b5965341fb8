//! Vectors for tokens.

use super::to_config;
use crate::layer::{Layer, Weight};
use crate::{Error, Initializer, Parameter, Pass, Result};
use kiln_autograd::ops::{GatherOps, Value};
use kiln_autograd::{Shape, Var};
use serde::{Deserialize, Serialize};

/// A learned vector for each of `input_dim` integers.
///
/// # Shapes
/// Integers `[batch, …]` to `[batch, …, output_dim]`; `embeddings` is `[input_dim, output_dim]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    input_dim: usize,
    output_dim: usize,
    embeddings_initializer: Initializer,
}

impl Embedding {
    /// Vectors of length `output_dim` for the integers below `input_dim`, starting from ±0.05 uniformly.
    pub fn new(input_dim: usize, output_dim: usize) -> Embedding {
        let embeddings_initializer = Initializer::RandomUniform { minval: -0.05, maxval: 0.05 };
        Embedding { input_dim, output_dim, embeddings_initializer }
    }

    /// What the vectors start from.
    #[must_use]
    pub fn embeddings_initializer(mut self, initializer: Initializer) -> Embedding {
        self.embeddings_initializer = initializer;
        self
    }
}

impl Layer for Embedding {
    fn class(&self) -> &'static str {
        "Embedding"
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.input_dim == 0 || self.output_dim == 0 {
            let text = format!("Embedding: a table of {} by {} is empty", self.input_dim, self.output_dim);
            return Err(Error::config(text, "both sizes must be positive"));
        }
        Ok(Shape::new(&[&input[..], &[self.output_dim]].concat())?)
    }

    fn weights(&self, _input: &Shape) -> Vec<Weight> {
        vec![Weight::new("embeddings", [self.input_dim, self.output_dim], self.embeddings_initializer)]
    }

    fn call(&self, x: &Var, weights: &[Parameter], pass: &mut Pass) -> Result<Var> {
        if !Value::dtype(x).is_integer() {
            let text = format!("Embedding looks up integers, found {}", Value::dtype(x));
            return Err(Error::config(text, "convert the tokens: .cast(DType::I64)"));
        }
        let rows = pass.parameter(&weights[0]).rows(x);
        Ok(rows.map_err(|e| {
            e.unplaced().help(format!(
                "tokens count from 0 to {}: make input_dim the size of the vocabulary",
                self.input_dim - 1
            ))
        })?)
    }

    fn config(&self) -> serde_json::Value {
        to_config(self)
    }
}
