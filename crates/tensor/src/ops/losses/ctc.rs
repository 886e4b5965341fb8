//! The loss of sequences of labels without places: over all ways to lay them along the steps of a prediction.

use super::Reduction;
use crate::ops::{ArithmeticOps, CastOps, ComparisonOps, GatherOps, Ops, SelectOps, Value, ViewOps, concat, stack};
use crate::{DType, Error, Result, Shape, Spec, Tensor};
use std::panic::Location;

/// The settings of [`ctc_loss`], with PyTorch's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CtcLoss {
    /// The class between labels.
    pub blank: usize,
    /// How the losses become one number. The mean is that of the losses divided by the numbers of labels.
    pub reduction: Reduction,
    /// Whether an infinite loss, of labels that do not fit into the steps, counts as 0.
    pub zero_infinity: bool,
}

impl Default for CtcLoss {
    fn default() -> CtcLoss {
        CtcLoss { blank: 0, reduction: Reduction::Mean, zero_infinity: false }
    }
}

/// The logarithm of a probability of 0: finite, so that no difference of it is NaN.
const NEVER: f64 = -1e30;

/// `-ln p(labels)`: over all ways to spread the labels over the steps, with blanks between them (Graves et al. 2006). Equal
/// labels in a row need a blank between them; labels that do not fit into the steps have an infinite loss, without a
/// gradient.
///
/// The gradient is that of probabilities which stay normalized, as they come out of a
/// [`log_softmax`](crate::ops::SoftmaxOps::log_softmax): `p` less the expected share of each class (PyTorch's convention).
///
/// # Shapes
/// Logarithms of probabilities `[T, N, C]`, labels `[N, S]`, filled up with anything, and the numbers of steps and of labels
/// of each sample, `[N]`, give `[N]`; the labels may be one after the other in one row. A lone sample has `[T, C]`, `[S]` and
/// two numbers, and gives a number.
///
/// # Errors
/// Shapes that do not fit; a label that is no class; a blank that is none.
#[track_caller]
pub fn ctc_loss<V: Ops>(log_probs: &V, labels: &V, steps: &V, counts: &V, options: &CtcLoss) -> Result<V> {
    let at = Location::caller();
    loss(log_probs, labels.tensor(), [steps.tensor(), counts.tensor()], options).map_err(|e| e.within("ctc_loss", at))
}

fn loss<V: Ops>(log_probs: &V, labels: &Tensor, lengths: [&Tensor; 2], options: &CtcLoss) -> Result<V> {
    let dtype = V::dtype(log_probs).to_float();
    let wide = dtype.promote(DType::F32);
    let is_alone = V::shape(log_probs).rank() == 2;
    let x = log_probs.cast(wide)?;
    let x = if is_alone { x.unsqueeze(1)? } else { x };
    let [steps, counts] = lengths.map(|x| x.reshape([x.count(), 1]));
    let (steps, counts) = (steps?, counts?);
    let labels = if is_alone && labels.rank() == 1 { labels.unsqueeze(0)? } else { labels.clone() };
    let &[most, batch, classes] = Value::shape(&x).dims() else {
        let text = format!("needs logarithms of probabilities [T, N, C], found {}", V::shape(log_probs));
        return Err(Error::shape("ctc_loss", text));
    };
    let fits = steps.count() == batch && counts.count() == batch && most > 0;
    if !fits || (labels.rank() == 2 && labels.shape()[0] != batch) || labels.rank() > 2 || labels.rank() == 0 {
        let text = format!(
            "labels {}, numbers of steps {} and of labels {} do not fit {}",
            labels.shape(),
            lengths[0].shape(),
            lengths[1].shape(),
            V::shape(log_probs)
        );
        return Err(Error::shape("ctc_loss", text).help("give labels [N, S] and numbers [N]"));
    }
    if options.blank >= classes {
        let text = format!("the blank {} is none of {classes} classes", options.blank);
        return Err(Error::argument("ctc_loss", text));
    }
    let labels = if labels.rank() == 1 { in_rows(&labels, &counts)? } else { labels };
    let states = States::of(&labels, &counts, options.blank as i64)?;
    let reached = states.walk(&x, &steps, wide)?;
    let loss = reached.add(&V::constant(states.last.cast(wide)?))?.logsumexp(-1)?.neg()?;

    // Adds nothing but the gradient of the sum of all probabilities.
    let place = steps.beside(Tensor::arange(0, most as i64, 1)?.unsqueeze(1)?)?;
    let counted = V::constant(place.lt(&steps.t()?)?.unsqueeze(-1)?);
    let all = counted.select(&x.exp()?, 0.0)?.sum([0, 2])?;
    let loss = loss.add(&all.sub(&all.detach())?)?;

    let beyond = if options.zero_infinity { 0.0 } else { f64::INFINITY };
    let loss = loss.detach().lt(-NEVER / 2.0)?.select(&loss, beyond)?.cast(dtype)?;
    let loss = match options.reduction {
        Reduction::Mean => loss.div(&V::constant(counts.reshape([batch])?.maximum(1)?.cast(dtype)?))?.mean(..)?,
        reduction => reduction.apply(loss)?,
    };
    if is_alone { loss.reshape(Shape::default()) } else { Ok(loss) }
}

/// Labels that are one after the other as rows, filled up with the last.
fn in_rows(labels: &Tensor, counts: &Tensor) -> Result<Tensor> {
    let counts = counts.to_vec_as::<i64>();
    let longest = counts.iter().copied().max().unwrap_or(0).max(0);
    let all = counts.iter().fold(0i64, |all, &count| all.saturating_add(count.max(0)));
    if all != labels.count() as i64 {
        let text = format!("{} labels in a row, {all} by their numbers", labels.count());
        return Err(Error::shape("ctc_loss", text));
    }
    let mut places = Vec::with_capacity(counts.len() * longest as usize);
    let mut start = 0;
    for &count in &counts {
        places.extend((0..longest).map(|i| (start + i).min(all - 1)));
        start += count.max(0);
    }
    let places = labels.beside(Tensor::from_vec(places, [counts.len(), longest as usize])?)?;
    if all == 0 { labels.reshape([counts.len(), 0]) } else { labels.rows(&places) }
}

/// What a path goes through: a blank, the first label, a blank, the second … a blank. What may not be adds [`NEVER`].
struct States {
    /// The label of each, `[N, states]`.
    labels: Tensor,
    /// Where a path may begin.
    first: Tensor,
    /// Where the blank before may be left out.
    skip: Tensor,
    /// Where a path may end.
    last: Tensor,
}

impl States {
    fn of(labels: &Tensor, counts: &Tensor, blank: i64) -> Result<States> {
        let (batch, length) = (labels.shape()[0], labels.shape()[1]);
        let count = 2 * length + 1;
        let row = |n: usize| -> Result<Tensor> { counts.beside(Tensor::arange(0, n as i64, 1)?.unsqueeze(0)?) };
        let labels = row(length)?.lt(counts)?.select(&labels.cast(DType::I64)?, blank)?;
        let blanks = |n: usize| -> Result<Tensor> {
            let spec = Spec::new(Shape::new(&[batch, n])?, DType::I64);
            labels.beside(Tensor::filled(spec, blank as f64))
        };
        let pairs = stack(&[&blanks(length)?, &labels], -1)?.reshape([batch, count - 1])?;
        let labels = concat(&[&pairs, &blanks(1)?], 1)?;
        let index = row(count)?;
        let penalty = |allowed: &Tensor| -> Result<Tensor> { allowed.cast(DType::F64)?.sub(1.0)?.mul(-NEVER) };
        let first = index.lt(2)?.expand([batch, count])?;
        // A blank stands before each label but one that follows another than itself.
        let before = concat(&[&blanks(2)?, &labels], 1)?.slice(1, 0..count as isize)?;
        let skip = ComparisonOps::ne(&labels, blank)?.logical_and(&ComparisonOps::ne(&labels, &before)?)?;
        let end = counts.cast(DType::I64)?.mul(2)?;
        let last = ComparisonOps::eq(&index, &end)?.logical_or(&ComparisonOps::eq(&index, &end.sub(1)?)?)?;
        Ok(States { labels, first: penalty(&first)?, skip: penalty(&skip)?, last: penalty(&last)? })
    }

    /// The logarithm of the probability of all paths to each state after the last step.
    fn walk<V: Ops>(&self, x: &V, steps: &Tensor, dtype: DType) -> Result<V> {
        let [batch, count] = [self.labels.shape()[0], self.labels.shape()[1]];
        let most = V::shape(x)[0];
        let at = self.labels.unsqueeze(0)?.expand([most, batch, count])?;
        let emitted = x.gather(-1, &V::constant(at))?;
        let constant = |x: &Tensor| -> Result<V> { Ok(V::constant(x.cast(dtype)?)) };
        let never = |n: usize| -> Result<V> {
            x.beside(Tensor::filled(Spec::new(Shape::new(&[batch, n.min(count)])?, dtype), NEVER))
        };
        let (one, two, skip) = (never(1)?, never(2)?, constant(&self.skip)?);
        let mut reached = constant(&self.first)?.add(&emitted.index(0, 0)?)?;
        for t in 1..most as isize {
            let before =
                |never: &V, by: isize| concat(&[never, &reached.slice(1, 0..(count as isize - by).max(0))?], 1);
            let from = [&reached, &before(&one, 1)?, &before(&two, 2)?.add(&skip)?];
            let next = stack(&from, -1)?.logsumexp(-1)?.add(&emitted.index(0, t)?)?;
            // What has no more steps stays where it is.
            reached = V::constant(steps.gt(t as i64)?).select(&next, &reached)?;
        }
        Ok(reached)
    }
}
