//! Losses of class scores: against class numbers, or against a share of each class.

use super::{Reduction, reduced};
use crate::ops::{Ops, one_hot};
use crate::{DType, Error, Result};
use std::panic::Location;

/// The settings of losses of classes, with PyTorch's defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassLoss<'a, V> {
    /// How much each class counts, `[C]`.
    pub weight: Option<&'a V>,
    /// The label of samples that do not count.
    pub ignore_index: i64,
    /// The share of each target that is spread over all classes evenly.
    pub label_smoothing: f64,
    /// How the losses become one number. The mean over samples with class numbers is that by the weights of their classes.
    pub reduction: Reduction,
}

impl<V> Default for ClassLoss<'_, V> {
    fn default() -> Self {
        ClassLoss { weight: None, ignore_index: -100, label_smoothing: 0.0, reduction: Reduction::Mean }
    }
}

/// `-Σ target · ln softmax(logits)` over classes, of integer class numbers or of a share of each class.
///
/// # Shapes
/// Logits `[C]`, `[N, C]` or `[N, C, …]` and class numbers of their shape without the classes, which is that of the losses;
/// or shares of the shape of the logits.
///
/// # Errors
/// Shapes that do not fit; a label that is no class.
#[track_caller]
pub fn cross_entropy<V: Ops>(logits: &V, target: &V, options: &ClassLoss<'_, V>) -> Result<V> {
    let at = Location::caller();
    let loss = || {
        let log = classes_last(logits)?.log_softmax(-1)?;
        match V::dtype(target).is_float() {
            true => options.reduction_of_shares(&log, target),
            false => options.of_labels(&log, target),
        }
    };
    loss().map_err(|e: Error| e.within("cross_entropy", at))
}

/// `-log_probabilities[target]`, weighted: what [`cross_entropy`] is after the logarithms.
///
/// # Shapes
/// As there.
///
/// # Errors
/// As there; a `label_smoothing`.
#[track_caller]
pub fn nll_loss<V: Ops>(log_probabilities: &V, target: &V, options: &ClassLoss<'_, V>) -> Result<V> {
    let at = Location::caller();
    let loss = || {
        if options.label_smoothing != 0.0 {
            return Err(Error::argument("nll_loss", "there is no label_smoothing: cross_entropy has it"));
        }
        options.of_labels(&classes_last(log_probabilities)?, target)
    };
    loss().map_err(|e: Error| e.within("nll_loss", at))
}

impl<V: Ops> ClassLoss<'_, V> {
    fn of_labels(&self, log: &V, target: &V) -> Result<V> {
        let shape = *V::shape(log);
        let classes = shape.last().copied().unwrap_or(1);
        if shape.rank() == 0 || V::shape(target)[..] != shape[..shape.rank() - 1] {
            let text =
                format!("labels of shape {} do not fit scores, with the classes last, of {shape}", V::shape(target));
            return Err(Error::shape("cross_entropy", text));
        }
        let kept = target.ne(self.ignore_index)?;
        let labels = kept.select(target, 0)?;
        let chosen = log.gather(-1, &labels.unsqueeze(-1)?)?.squeeze(-1)?;
        // How much each sample counts: not at all where it is ignored, whatever its scores are.
        let own = match self.weight {
            Some(weight) => kept.select(&weight.rows(&labels)?, 0.0)?,
            None => kept.cast(V::dtype(log))?,
        };
        let mut loss = kept.select(&chosen.mul(&own)?, 0.0)?.neg()?;
        if self.label_smoothing > 0.0 {
            let all = if let Some(weight) = self.weight { log.mul(weight)? } else { log.clone() };
            let all = kept.select(&all.sum(-1)?.neg()?, 0.0)?;
            loss = loss.mul(1.0 - self.label_smoothing)?.add(&all.mul(self.label_smoothing / classes as f64)?)?;
        }
        match self.reduction {
            Reduction::Mean => loss.sum(..)?.div(&own.sum(..)?),
            reduction => reduction.apply(loss),
        }
    }

    fn reduction_of_shares(&self, log: &V, target: &V) -> Result<V> {
        let target = classes_last(target)?;
        if V::shape(&target) != V::shape(log) {
            let text = format!("shares of shape {} do not fit scores {}", V::shape(&target), V::shape(log));
            return Err(Error::shape("cross_entropy", text));
        }
        let classes = V::shape(log).last().copied().unwrap_or(1);
        let target = match self.label_smoothing {
            0.0 => target,
            part => target.mul(1.0 - part)?.add(part / classes as f64)?,
        };
        let log = if let Some(weight) = self.weight { log.mul(weight)? } else { log.clone() };
        self.reduction.apply(log.mul(&target)?.sum(-1)?.neg()?)
    }
}

/// The classes, dimension 1 of several, at the end.
fn classes_last<V: Ops>(x: &V) -> Result<V> {
    let rank = V::shape(x).rank() as isize;
    if rank < 3 {
        return Ok(x.clone());
    }
    x.permute(&[0].into_iter().chain(2..rank).chain([1]).collect::<Vec<_>>())
}

/// `target · (ln target - x)` of logarithms `x` of probabilities: Kullback's and Leibler's divergence. With `log_target` the
/// targets are logarithms too.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn kl_div<V: Ops>(x: &V, target: &V, log_target: bool, reduction: Reduction) -> Result<V> {
    reduced("kl_div", Location::caller(), reduction, || match log_target {
        true => target.exp()?.mul(&target.sub(x)?),
        false => target.xlogy(target)?.sub(&target.mul(x)?),
    })
}

/// The mean over the other classes of `max(margin - x[label] + x[class], 0)ᵖ`, by the weight of the label.
///
/// # Shapes
/// Scores `[N, C]` and class numbers `[N]`, or `[C]` and a number.
///
/// # Errors
/// Shapes that do not fit; a label that is no class; a `p` other than 1 and 2.
#[track_caller]
pub fn multi_margin_loss<V: Ops>(
    x: &V,
    target: &V,
    p: i32,
    margin: f64,
    weight: Option<&V>,
    reduction: Reduction,
) -> Result<V> {
    reduced("multi_margin_loss", Location::caller(), reduction, || {
        if p != 1 && p != 2 {
            return Err(Error::argument("multi_margin_loss", format!("p is {p}, it must be 1 or 2")));
        }
        let (x, labels) = rows_and_labels("multi_margin_loss", x, target, 0)?;
        let classes = V::shape(&x)[1];
        let gap = x.sub(&x.gather(1, &labels)?)?.add(margin)?;
        // At a gap of 0 the slope is 0.
        let gap = gap.gt(0.0)?.select(&gap, 0.0)?;
        let mut loss = if p == 2 { gap.square()? } else { gap };
        if let Some(weight) = weight {
            loss = loss.mul(&weight.rows(&labels)?)?;
        }
        let own = V::constant(one_hot(labels.squeeze(1)?.tensor(), classes, DType::Bool)?);
        let loss = own.select(0.0, &loss)?.sum(1)?.mul(1.0 / classes as f64)?;
        loss.reshape(*V::shape(target))
    })
}

/// `Σ max(1 - (x[label] - x[class]), 0) / C` over all labels of a sample and all classes that are none of them. The labels
/// of a sample come first, and after the last a -1.
///
/// # Shapes
/// Scores and labels `[N, C]`, or `[C]`.
///
/// # Errors
/// Shapes that do not fit; a label that is no class.
#[track_caller]
pub fn multilabel_margin_loss<V: Ops>(x: &V, target: &V, reduction: Reduction) -> Result<V> {
    reduced("multilabel_margin_loss", Location::caller(), reduction, || {
        let (x, labels) = rows_and_labels("multilabel_margin_loss", x, target, 1)?;
        let [count, classes] = [V::shape(&x)[0], V::shape(&x)[1]];
        // Labels count until the first that is negative.
        let counts = labels.lt(0)?.cumsum(1)?.eq(0)?;
        let valid = counts.select(&labels, 0)?;
        let seen = V::constant(one_hot(valid.tensor(), classes, DType::I64)?);
        let is_label = counts.unsqueeze(-1)?.cast(DType::I64)?.mul(&seen)?.sum(1)?.gt(0)?;
        let own = x.gather(1, &valid)?;
        // For each label the gaps to all classes.
        let gap = x.unsqueeze(1)?.sub(&own.unsqueeze(2)?)?.add(1.0)?;
        let gap = gap.gt(0.0)?.select(&gap, 0.0)?;
        let pairs = counts.unsqueeze(2)?.logical_and(&is_label.logical_not()?.unsqueeze(1)?)?;
        let loss = pairs.select(&gap, 0.0)?.sum([1, 2])?.mul(1.0 / classes.max(1) as f64)?;
        if V::shape(target).rank() < 2 { loss.reshape([0; 0]) } else { loss.reshape([count]) }
    })
}

/// Scores `[N, C]` and labels `[N, …]`, of a lone sample too; `more` dimensions of labels come after the first.
fn rows_and_labels<V: Ops>(name: &str, x: &V, target: &V, more: usize) -> Result<(V, V)> {
    let (shape, given) = (*V::shape(x), *V::shape(target));
    let classes = shape.last().copied().unwrap_or(1);
    let rows = if shape.rank() == 2 { shape[0] } else { 1 };
    let per_row = if more == 0 { 1 } else { classes };
    let fits = shape.rank() <= 2 && given.rank() <= shape.rank().max(1) && given.count() == rows * per_row;
    if !fits {
        return Err(Error::shape(name, format!("labels of shape {given} do not fit scores {shape}")));
    }
    Ok((x.reshape([rows, classes])?, target.reshape([rows, per_row])?))
}
