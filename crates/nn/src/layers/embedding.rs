//! Vectors for tokens.

use super::settings::{described, settings};
use crate::layer::{AnyLayer, Weight, Weights, arity};
use crate::{Constraint, Error, Initializer, Pass, Regularizer, Result, Signal};
use kiln_autograd::Shape;
use kiln_autograd::ops::{ComparisonOps, EmbeddingOps, Value};

settings! {
    /// A learned vector for each of `input_dim` integers.
    ///
    /// # Shapes
    /// Integers `[batch, …]` to `[batch, …, output_dim]`; `embeddings` is `[input_dim, output_dim]`.
    Embedding {
        input_dim: usize = 0, new;
        output_dim: usize = 0, new;
        /// What the vectors start from.
        embeddings_initializer: Initializer = Initializer::RandomUniform { minval: -0.05, maxval: 0.05 };
        /// What the vectors add to the loss.
        embeddings_regularizer: Option<Regularizer> = None, some Regularizer;
        /// What the vectors that are looked up add to the loss.
        activity_regularizer: Option<Regularizer> = None, some Regularizer;
        /// What holds for the vectors after each update.
        embeddings_constraint: Option<Constraint> = None, some Constraint;
        /// Whether 0 is filling, which layers that heed masks pass over.
        mask_zero: bool = false;
    }
}

impl Embedding {
    /// Vectors of length `output_dim` for the integers below `input_dim`, starting from ±0.05 uniformly.
    pub fn new(input_dim: usize, output_dim: usize) -> Embedding {
        Embedding { input_dim, output_dim, ..Embedding::default() }
    }
}

impl AnyLayer for Embedding {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [input] = arity("Embedding", inputs)?;
        if self.input_dim == 0 || self.output_dim == 0 {
            let text = format!("Embedding: a table of {} by {} is empty", self.input_dim, self.output_dim);
            return Err(Error::config(text, "both sizes must be positive"));
        }
        Ok(vec![Shape::new(&[&input[..], &[self.output_dim]].concat())?])
    }

    fn weights_for(&self, _inputs: &[Shape]) -> Result<Vec<Weight>> {
        let weight = Weight::new("embeddings", [self.input_dim, self.output_dim], self.embeddings_initializer);
        Ok(vec![weight.regularizer(self.embeddings_regularizer).constraint(self.embeddings_constraint)])
    }

    fn run(&self, x: &[Signal], weights: Weights<'_>, pass: &mut Pass) -> Result<Vec<Signal>> {
        let [Signal { value: x, mask }] = arity("Embedding", x)?;
        if !Value::dtype(x).is_integer() {
            let text = format!("Embedding looks up integers, found {}", Value::dtype(x));
            return Err(Error::config(text, "convert the tokens: .cast(DType::I64)"));
        }
        let rows = pass.parameter(&weights[0]).embedding(x, None).map_err(|e| {
            e.unplaced().help(format!(
                "tokens count from 0 to {}: make input_dim the size of the vocabulary",
                self.input_dim - 1
            ))
        })?;
        let mask = if self.mask_zero { Some(x.ne(0)?) } else { mask.clone() };
        Ok(vec![Signal::new(rows).masked(mask)])
    }

    fn penalty(&self) -> Option<Regularizer> {
        self.activity_regularizer
    }
}
