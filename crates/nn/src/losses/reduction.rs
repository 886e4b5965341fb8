//! From the values of a batch to the one number that is minimised: weights, masks, divisors.

use crate::{Error, Result};
use kiln_autograd::ops::{
    ArithmeticOps, BoundOps, CastOps, ComparisonOps, Function, MathOps, Ops, ReduceOps, SelectOps,
};
use kiln_autograd::{DType, Scalar, Shape, Spec, Tensor};
use serde::{Deserialize, Serialize};

/// How the losses of the samples become one number. The names are Keras's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// `Σ w·l / n` with the number `n` of samples (and time steps): the default. The weights do not count in the divisor.
    #[default]
    SumOverBatchSize,
    /// `Σ w·l`.
    Sum,
    /// The same as [`Reduction::SumOverBatchSize`].
    Mean,
    /// `Σ w·l / Σ w`.
    MeanWithSampleWeight,
    /// The weighted loss of each sample. `null` in a config, as in Keras.
    None,
}

/// Reads a reduction, which Keras also writes as `null`.
pub(super) fn read<'de, D: serde::Deserializer<'de>>(config: D) -> std::result::Result<Reduction, D::Error> {
    Ok(Option::<Reduction>::deserialize(config)?.unwrap_or(Reduction::None))
}

/// How the elements of a loss make the loss of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    /// Their mean along the last axis.
    Mean,
    /// Their sum along the last axis.
    Sum,
    /// They are it already.
    Done,
}

impl Fold {
    pub(crate) fn apply<V: Ops>(self, elements: &V) -> Result<V> {
        match self {
            Fold::Mean => Ok(elements.mean(-1)?),
            Fold::Sum => Ok(elements.sum(-1)?),
            Fold::Done => Ok(elements.clone()),
        }
    }

    /// Number of samples behind `elements`, and elements that the mean of one runs over.
    fn counts(self, elements: &Tensor) -> (usize, usize) {
        let last = elements.shape().last().copied().unwrap_or(1);
        match self {
            Fold::Mean => (elements.count() / last.max(1), last),
            Fold::Sum => (elements.count() / last.max(1), 1),
            Fold::Done => (elements.count(), 1),
        }
    }
}

/// What a loss computes before it is reduced.
pub(crate) struct Elements<V> {
    pub(crate) elements: V,
    pub(crate) fold: Fold,
    /// Which samples count.
    pub(crate) valid: Option<Tensor>,
}

impl<V> Elements<V> {
    pub(crate) fn new(elements: V, fold: Fold) -> Elements<V> {
        Elements { elements, fold, valid: None }
    }
}

impl Reduction {
    /// The loss of the batch.
    pub(crate) fn reduce<V: Ops>(self, name: &str, loss: &Elements<V>, weight: Option<&V>) -> Result<V> {
        let dtype = loss.elements.tensor().dtype();
        let wide = dtype.promote(DType::F32);
        if dtype == wide {
            return self.reduce_as_is(name, loss, weight);
        }
        // The sum behind a mean may lie beyond the numbers of half precision.
        let Elements { elements, fold, valid } = loss;
        let loss = Elements { elements: elements.cast(wide)?, fold: *fold, valid: valid.clone() };
        Ok(self.reduce_as_is(name, &loss, weight)?.cast(dtype)?)
    }

    fn reduce_as_is<V: Ops>(self, name: &str, loss: &Elements<V>, weight: Option<&V>) -> Result<V> {
        let Elements { elements, fold, valid } = loss;
        if weight.is_none() && valid.is_none() && self != Reduction::None {
            // One sum over all elements, whatever axis the samples are folded along.
            let (samples, each) = fold.counts(elements.tensor());
            let divisor = if self == Reduction::Sum { each } else { samples * each };
            return if divisor == elements.tensor().count() {
                mean(elements)
            } else {
                shared(&elements.sum(..)?, divisor)
            };
        }
        let values = fold.apply(elements)?;
        let given = weight.map(|weight| weight.tensor().shape());
        let weight = self.weights(name, values.tensor(), valid.as_ref(), weight)?;
        let weighted = match &weight {
            // 0 times an infinite loss, or one that is NaN, would be NaN. Compared by path, here and below: with the feature
            // `approx` tensors have a method of that name themselves, and the import would be unused.
            Some(weight) => {
                replace(&values, &V::constant(ComparisonOps::ne(weight.tensor(), 0.0)?), 0.0)?.mul(weight)?
            }
            None => values,
        };
        let sum = || weighted.sum(..);
        match (self, &weight) {
            (Reduction::None, _) => {
                let loss = shared(&weighted, 1)?;
                // A column of weights makes a column of losses, as in Keras.
                let is_column = |weight: &Shape| weight.rank() == 2 && weight[1] == 1 && loss.tensor().rank() == 1;
                match given {
                    Some(given) if is_column(given) => Ok(loss.unsqueeze(1)?),
                    _ => Ok(loss),
                }
            }
            (Reduction::Sum, _) => shared(&sum()?, 1),
            (Reduction::MeanWithSampleWeight, Some(weight)) => {
                // The weights as they were given: one that is stretched along an axis counts once.
                let total = weight.tensor().cast(DType::F64)?.sum(..)?;
                let share = ComparisonOps::eq(&total, 0.0)?.select(&Tensor::number(0.0), &total.reciprocal()?)?;
                share_of(&sum()?, &V::constant(share.cast(weighted.tensor().dtype())?))
            }
            _ => mean(&weighted),
        }
    }

    /// The weight of each value: the sample's, and 0 where the value does not count.
    fn weights<V: Ops>(
        self,
        name: &str,
        values: &Tensor,
        valid: Option<&Tensor>,
        weight: Option<&V>,
    ) -> Result<Option<V>> {
        let weight = match weight {
            Some(weight) => Some(align_weight(name, values, weight)?.cast(values.dtype())?),
            None => None,
        };
        let Some(valid) = valid else { return Ok(weight) };
        let mut mask = valid.cast(values.dtype())?;
        if matches!(self, Reduction::SumOverBatchSize | Reduction::Mean) {
            // Values that do not count must not dilute a mean over the number of values.
            let counted = valid.cast(DType::F64)?.sum(..)?.clamp(1.0, f64::INFINITY)?;
            mask = mask.mul(&counted.reciprocal()?.mul(valid.count() as f64)?.cast(values.dtype())?)?;
        }
        let mask = V::constant(mask);
        Ok(Some(match weight {
            Some(weight) => weight.mul(&mask)?,
            None => mask,
        }))
    }
}

/// The small number of Keras: keeps logarithms and quotients finite.
pub(crate) const EPSILON: f64 = 1e-7;

/// A loss times a factor.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Share;

impl Function<2> for Share {
    const NAME: &'static str = "share";
    #[inline(always)]
    fn call<S: Scalar>(&self, [loss, factor]: [S; 2]) -> [S; 1] {
        // A loss that vanishes is 0, not -0, whatever signs its terms had.
        [loss * factor + S::lit(0.0)]
    }
}

fn share_of<V: Ops>(loss: &V, factor: &V) -> Result<V> {
    Ok(V::elementwise(Share, [loss, factor]).map(|[loss]| loss)?)
}

/// A loss among `n`, or the whole where there is none.
fn shared<V: Ops>(loss: &V, n: usize) -> Result<V> {
    share_of(loss, &V::constant(Tensor::number(1.0 / n.max(1) as f64)))
}

/// The mean, of which the sum may lie beyond the numbers of its type; 0 of nothing.
fn mean<V: Ops>(losses: &V) -> Result<V> {
    shared(&if losses.tensor().count() == 0 { losses.sum(..)? } else { losses.mean(..)? }, 1)
}

/// What stands for a prediction that does not count: every loss is finite there, as a probability, a logit or a number.
pub(super) const FILLER: f64 = 0.5;

/// `x` where `counts` holds, else a number.
pub(super) fn replace<V: Ops>(x: &V, counts: &V, number: f64) -> Result<V> {
    let number = Tensor::filled(Spec::new(Shape::default(), x.tensor().dtype()), number);
    Ok(counts.select(x, &V::constant(number))?)
}

/// Targets and predictions with 0 and [`FILLER`] in place of those that weigh nothing. A weight of 0 takes a sample out
/// whatever its numbers are: NaN, infinite, a label that is none. Leaving out its loss alone would not do: the gradient
/// of that loss, however it is multiplied by 0, may be NaN.
///
/// `folded` are the axes of the predictions that the values, which the weights belong to, are without; all if empty.
pub(super) fn counted<V: Ops>(y_true: &V, y_pred: &V, weight: Option<&V>, folded: &[isize]) -> Result<(V, V)> {
    match weight {
        Some(weight) => where_counted(y_true, y_pred, &ComparisonOps::ne(weight.tensor(), 0.0)?, folded),
        None => Ok((y_true.clone(), y_pred.clone())),
    }
}

/// Targets of [`counted`] as they were where they are the label that is ignored, and nowhere else that label: samples without
/// weight are among those that a mean is divided by, and ignored ones are not.
pub(super) fn ignored_as_before<V: Ops>(before: &V, counted: V, label: i64) -> Result<V> {
    let ignored = ComparisonOps::eq(before.tensor(), label as f64)?;
    let others = match label {
        0 => replace(&counted, &V::constant(ComparisonOps::ne(counted.tensor(), 0.0)?), 1.0)?,
        _ => counted,
    };
    Ok(V::constant(ignored).select(before, &others)?)
}

/// [`counted`] with the samples that count.
pub(super) fn where_counted<V: Ops>(y_true: &V, y_pred: &V, counts: &Tensor, folded: &[isize]) -> Result<(V, V)> {
    let number = |x: &V, number| match spread(counts.shape(), x.tensor().shape(), y_pred.tensor().rank(), folded) {
        Some(dims) => replace(x, &V::constant(counts.clone()).reshape(dims)?, number),
        None => Ok(x.clone()),
    };
    Ok((number(y_true, 0.0)?, number(y_pred, FILLER)?))
}

/// The shape in which weights of shape `have` broadcast to `shape`, that of targets or predictions; nothing where they do
/// not fit, which [`align_weight`] will tell.
fn spread(have: &Shape, shape: &Shape, rank: usize, folded: &[isize]) -> Option<Vec<usize>> {
    let axes: Vec<usize> = folded.iter().map(|&a| if a < 0 { a + rank as isize } else { a } as usize).collect();
    let mut dims = have.to_vec();
    if !folded.is_empty() && shape.rank() == rank && dims.len() + axes.len() == rank {
        // A weight for each value: the folded axes are put back.
        let mut left = dims.into_iter();
        dims = (0..rank).map(|a| if axes.contains(&a) { 1 } else { left.next().unwrap_or(1) }).collect();
    }
    if dims.len() > shape.rank() && dims.last() == Some(&1) {
        dims.pop();
    }
    dims.resize(dims.len().max(shape.rank()), 1);
    let fits = dims.len() == shape.rank() && dims.iter().zip(&shape[..]).all(|(&d, &n)| d == n || d == 1);
    fits.then_some(dims)
}

/// The weights in a shape that broadcasts to the values': a weight a sample, or one for each value.
fn align_weight<V: Ops>(name: &str, values: &Tensor, weight: &V) -> Result<V> {
    let (have, want) = (*weight.tensor().shape(), *values.shape());
    // One loss for the whole batch takes any weights: each sample has it times its own.
    if have == want || have.rank() == 0 || (want.rank() == 0 && have.count() != 1) {
        return Ok(weight.clone());
    }
    if want.rank() == 0 {
        return Ok(weight.reshape([] as [usize; 0])?);
    }
    let trimmed = if have.rank() == want.rank() + 1 && have.last() == Some(&1) { have.rank() - 1 } else { have.rank() };
    let fits =
        trimmed <= want.rank() && (0..trimmed).all(|a| have[a] == want[a] || (have[a] == 1 && trimmed == want.rank()));
    if !fits {
        let text = format!("sample weights of shape {have} do not fit losses of shape {want}");
        return Err(kiln_autograd::Error::shape(name, text).help("give one weight for each sample: shape [N]").into());
    }
    let mut dims = have[..trimmed].to_vec();
    dims.resize(want.rank(), 1);
    Ok(weight.reshape(dims)?)
}

/// The targets in the shape of the predictions, and both with a last axis. `(N)` fits `(N, 1)`; nothing else is
/// stretched, because a loss between `(N, 1)` and `(N)` broadcast to `(N, N)` is a number that means nothing.
pub(crate) fn align<V: Ops>(name: &str, y_true: &V, y_pred: &V) -> Result<(V, V)> {
    let (t, p) = (*y_true.tensor().shape(), *y_pred.tensor().shape());
    let (mut y_true, mut y_pred) = (y_true.clone(), y_pred.clone());
    if t != p {
        let column = |long: &[usize], short: &[usize]| {
            long.len() == short.len() + 1 && long[long.len() - 1] == 1 && long[..short.len()] == *short
        };
        match () {
            () if column(&p, &t) => y_true = y_true.reshape(p)?,
            () if column(&t, &p) => y_pred = y_pred.reshape(t)?,
            () => return Err(mismatch(name, y_true.tensor(), y_pred.tensor())),
        }
    } else if p.rank() == 1 {
        y_true = y_true.reshape([p[0], 1])?;
        y_pred = y_pred.reshape([p[0], 1])?;
    }
    // Labels of another type meet the predictions in theirs; integers do so element by element, without a copy.
    if y_true.tensor().dtype().is_float() {
        y_true = y_true.cast(y_pred.tensor().dtype())?;
    }
    Ok((y_true, y_pred))
}

fn mismatch(name: &str, y_true: &Tensor, y_pred: &Tensor) -> Error {
    let (t, p) = (*y_true.shape(), *y_pred.shape());
    let text = format!("targets of shape {t} do not fit predictions of shape {p}");
    let classes = p.last().copied().unwrap_or(0);
    let ids = classes > 1 && (t[..] == p[..p.rank() - 1] || (t.rank() == p.rank() && t.last() == Some(&1)));
    let help = match ids && y_true.dtype().is_integer() {
        true => "the targets look like class ids: use sparse_categorical_crossentropy".to_owned(),
        false => format!(
            "the last layer must have as many units as a target has values ({})",
            t.get(1).copied().unwrap_or(1)
        ),
    };
    kiln_autograd::Error::shape(name, text).help(help).into()
}
