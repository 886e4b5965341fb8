//! Reading a batch without copies: numbers of any type by index, rows of classes, weights.

use crate::{Error, Result};
use kiln_autograd::{DType, Tensor};

/// The numbers of a tensor, where they lie if they can be read there.
pub(super) enum Numbers<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I64(&'a [i64]),
    Owned(Vec<f64>),
}

impl<'a> Numbers<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Numbers<'a> {
        let lying = match tensor.dtype() {
            DType::F32 => tensor.as_slice().map(Numbers::F32),
            DType::F64 => tensor.as_slice().map(Numbers::F64),
            DType::I64 => tensor.as_slice().map(Numbers::I64),
            _ => None,
        };
        lying.unwrap_or_else(|| Numbers::Owned(tensor.to_vec_as()))
    }

    #[inline]
    pub(super) fn at(&self, i: usize) -> f64 {
        match self {
            Numbers::F32(x) => f64::from(x[i]),
            Numbers::F64(x) => x[i],
            Numbers::I64(x) => x[i] as f64,
            Numbers::Owned(x) => x[i],
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Numbers::F32(x) => x.len(),
            Numbers::F64(x) => x.len(),
            Numbers::I64(x) => x.len(),
            Numbers::Owned(x) => x.len(),
        }
    }

    /// The index of the largest number of a row; the first of equal ones.
    pub(super) fn argmax(&self, start: usize, length: usize) -> usize {
        let mut best = 0;
        for i in 1..length {
            if self.at(start + i) > self.at(start + best) {
                best = i;
            }
        }
        best
    }
}

/// Targets, predictions and weights of one update, with their shapes checked.
pub(super) struct Batch<'a> {
    pub(super) t: Numbers<'a>,
    pub(super) p: Numbers<'a>,
    pub(super) w: Option<Numbers<'a>>,
    /// The length of the predictions' last axis.
    pub(super) classes: usize,
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
    pub(super) fn new(
        name: &str,
        y_true: &'a Tensor,
        y_pred: &'a Tensor,
        weight: Option<&'a Tensor>,
        fit: Fit,
    ) -> Result<Batch<'a>> {
        let (t, p) = (y_true.shape(), y_pred.shape());
        let classes = match fit {
            // One number for each sample: one class, not one sample with a class for each number.
            Fit::OneHot if p.rank() < 2 => 1,
            _ => p.last().copied().unwrap_or(1),
        };
        let trim = |shape: &'a [usize]| shape.strip_suffix(&[1]).unwrap_or(shape);
        let fits = match fit {
            Fit::Same | Fit::OneHot => t == p || trim(t) == trim(p),
            Fit::Ids => {
                p.rank() > 0
                    && (t[..] == p[..p.rank() - 1] || (t.last() == Some(&1) && t[..t.rank() - 1] == p[..p.rank() - 1]))
            }
        };
        if !fits {
            let text = format!("targets of shape {t} do not fit predictions of shape {p}");
            let help = match fit {
                Fit::Same if t.rank() < p.rank() || t.last() == Some(&1) => {
                    "the targets look like class ids: use the sparse metric, such as sparse_categorical_accuracy"
                }
                Fit::OneHot if t.rank() < p.rank() || t.last() == Some(&1) => {
                    "the targets look like class ids: give them one-hot, a column for each class"
                }
                Fit::Same | Fit::OneHot => "give one target for each prediction",
                Fit::Ids if t == p => {
                    "the targets look one-hot: use the categorical metric, such as categorical_accuracy"
                }
                Fit::Ids => "give one class id for each row of predictions",
            };
            return Err(kiln_autograd::Error::shape(name, text).help(help).into());
        }
        if let Some(weight) = weight {
            let (w, samples) = (trim(weight.shape()), trim(p));
            if !(w.is_empty() || samples.starts_with(w)) {
                let text =
                    format!("{name}: sample weights of shape {} do not fit predictions of shape {p}", weight.shape());
                return Err(Error::config(text, "give one weight for each sample: shape [N]"));
            }
        }
        Ok(Batch { t: Numbers::of(y_true), p: Numbers::of(y_pred), w: weight.map(Numbers::of), classes })
    }

    /// Number of rows of predictions.
    pub(super) fn rows(&self) -> usize {
        self.p.len() / self.classes.max(1)
    }

    /// The weight of value `i` of `n`: that of its sample.
    pub(super) fn weight(&self, i: usize, n: usize) -> f64 {
        match &self.w {
            Some(w) if w.len() == n => w.at(i),
            Some(w) if w.len() > 0 => w.at(i / (n / w.len()).max(1)),
            _ => 1.0,
        }
    }
}

/// A weighted mean of what it has been given.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Average {
    pub(super) total: f64,
    pub(super) weight: f64,
}

impl Average {
    /// Adds `n` values. Values that share a weight count together as much as it says.
    pub(super) fn add(&mut self, n: usize, value: impl Fn(usize) -> f64, w: Option<&Numbers<'_>>) {
        let Some(w) = w else {
            self.total += (0..n).map(value).sum::<f64>();
            self.weight += n as f64;
            return;
        };
        let each = n / w.len().max(1);
        for sample in 0..w.len() {
            // 0 times a value that is NaN would be NaN.
            if w.at(sample) == 0.0 {
                continue;
            }
            let sum: f64 = (sample * each..(sample + 1) * each).map(&value).sum();
            self.total += w.at(sample) * sum / each.max(1) as f64;
            self.weight += w.at(sample);
        }
    }

    /// The mean; 0 of nothing.
    pub(super) fn mean(&self) -> f64 {
        quotient(self.total, self.weight)
    }
}

/// `a / b`, and 0 where `b` is.
pub(super) fn quotient(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}
