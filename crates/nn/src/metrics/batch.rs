//! One batch as a metric sees it: targets, predictions and weights in shapes that fit each other. No value is read.

use crate::{Error, Result};
use kiln_autograd::ops::prelude::*;
use kiln_autograd::{DType, Shape, Tensor};

/// Targets, predictions and weights of one update, with their shapes checked.
pub(super) struct Batch<'a> {
    /// The metric, for errors.
    pub(super) name: &'a str,
    /// The targets: of the predictions' shape, or of that without the last axis where they are class ids.
    pub(super) t: Tensor,
    /// The predictions `[…, classes]`.
    pub(super) p: Tensor,
    /// The sample weights as they were given.
    pub(super) weight: Option<&'a Tensor>,
}

/// What a metric takes for targets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// One for each prediction.
    Same,
    /// One for each prediction: rows of classes, for a metric that has no sparse sister.
    OneHot,
    /// One for each row of predictions: class ids.
    Ids,
}

impl<'a> Batch<'a> {
    /// # Errors
    /// Targets or weights whose shapes do not fit the predictions.
    pub(super) fn new(
        name: &'a str,
        y_true: &Tensor,
        y_pred: &Tensor,
        weight: Option<&'a Tensor>,
        fit: Fit,
    ) -> Result<Batch<'a>> {
        let (t, p) = (y_true.shape(), y_pred.shape());
        let fits = match fit {
            Fit::Same | Fit::OneHot => t == p || trim(t) == trim(p),
            Fit::Ids => {
                p.rank() > 0
                    && (t[..] == p[..p.rank() - 1] || (t.last() == Some(&1) && t[..t.rank() - 1] == p[..p.rank() - 1]))
            }
        };
        if !fits {
            return Err(misfit(name, t, p, fit));
        }
        if let Some(weight) = weight
            && !trim(p).starts_with(trim(weight.shape()))
        {
            let text =
                format!("{name}: sample weights of shape {} do not fit predictions of shape {p}", weight.shape());
            return Err(Error::config(text, "give one weight for each sample: shape [N]"));
        }
        let p = if y_pred.rank() == 0 { y_pred.reshape([1])? } else { y_pred.clone() };
        let rows = p.rank() - usize::from(fit == Fit::Ids);
        let t = if y_true.shape()[..] == p.shape()[..rows] {
            y_true.clone()
        } else {
            y_true.reshape(&p.shape()[..rows])?
        };
        let batch = Batch { name, t, p, weight };
        if fit == Fit::OneHot { batch.into_columns() } else { Ok(batch) }
    }

    /// The batch with a vector as one column: a number for each sample is one class, not one sample with a class for each
    /// number.
    pub(super) fn into_columns(mut self) -> Result<Batch<'a>> {
        if self.p.rank() == 1 {
            let column = [self.p.count(), 1];
            (self.t, self.p) = (self.t.reshape(column)?, self.p.reshape(column)?);
        }
        Ok(self)
    }

    /// The length of the predictions' last axis.
    pub(super) fn classes(&self) -> usize {
        self.p.shape()[self.p.rank() - 1]
    }

    /// The weights as `f64` in a shape that broadcasts to the predictions': `[N, 1, …]`, or one number for all.
    pub(super) fn weights(&self) -> Result<Tensor> {
        let Some(weight) = self.weight else { return Ok(Tensor::scalar(1.0, DType::F64)) };
        let mut dims = trim(weight.shape()).to_vec();
        dims.resize(self.p.rank(), 1);
        Ok(weight.cast(DType::F64)?.reshape(dims)?)
    }
}

/// The error of predictions with other columns than those that a state, if there is one yet, is made of.
pub(super) fn same_columns(name: &str, before: Option<usize>, columns: usize) -> Result<()> {
    match before.filter(|&before| before != columns) {
        None => Ok(()),
        Some(before) => {
            let text = format!("predictions of {columns} columns after some of {before}");
            Err(kiln_autograd::Error::shape(name, text).help("reset the metric before other data").into())
        }
    }
}

/// A shape without a last dimension of 1.
fn trim(shape: &[usize]) -> &[usize] {
    shape.strip_suffix(&[1]).unwrap_or(shape)
}

fn misfit(name: &str, t: &Shape, p: &Shape, fit: Fit) -> Error {
    let are_ids = t.rank() < p.rank() || t.last() == Some(&1);
    let help = match fit {
        Fit::Same if are_ids => {
            "the targets look like class ids: make them one-hot, one_hot(&labels, classes, DType::F32), or use a sparse \
             metric, such as sparse_categorical_accuracy"
        }
        Fit::OneHot if are_ids => {
            "the targets look like class ids: make them one-hot, one_hot(&labels, classes, DType::F32)"
        }
        Fit::Same | Fit::OneHot => "give one target for each prediction",
        Fit::Ids if t == p => "the targets look one-hot: use the categorical metric, such as categorical_accuracy",
        Fit::Ids => "give one class id for each row of predictions",
    };
    let text = format!("targets of shape {t} do not fit predictions of shape {p}");
    kiln_autograd::Error::shape(name, text).help(help).into()
}
