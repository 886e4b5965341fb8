//! Cross-entropy between logits and class labels, fused: the probabilities are never stored.

mod cuda;

use super::softmax;
use super::{Apply, Value};
use crate::cpu::parallel;
use crate::cpu::scratch::Scratch;
use crate::scalar::Real;
use crate::{Arity, CpuCall, CudaCall, DType, Element, Error, Op, Result, Spec, Specs, View, ViewMut};

/// `ln Σ exp(logits) - logits[label]` for each row of logits `[…, C]` and its integer label `[…]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossEntropy;

/// The gradient of [`CrossEntropy`] with respect to the logits: `dy · (softmax(logits) - one_hot(label))`, from logits,
/// labels and `dy`.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossEntropyGrad;

fn check(x: &[Spec]) -> Result<()> {
    let (logits, labels) = (x[0], x[1]);
    let rank = logits.shape.rank();
    if rank == 0 || logits.shape[..rank - 1] != labels.shape[..] {
        let text = format!(
            "logits of shape {} need labels of their shape without the last dimension, found {}",
            logits.shape, labels.shape
        );
        return Err(Error::shape("cross_entropy", text).help("one-hot labels: use the categorical cross-entropy"));
    }
    if !labels.dtype.is_integer() {
        return Err(Error::dtype("cross_entropy", format!("labels must be integers, found {}", labels.dtype)));
    }
    if !logits.dtype.is_float() {
        return Err(Error::dtype(
            "cross_entropy",
            format!("logits must be floating-point numbers, found {}", logits.dtype),
        ));
    }
    Ok(())
}

/// The error of a label, that of one of `count` rows.
fn no_class(label: i64, row: usize, classes: usize, count: usize) -> Error {
    let text = format!("label {label} at position {row} is not below {classes}, the number of classes");
    Error::index("cross_entropy", text)
        .of_element(row, count)
        .help("labels count from 0; the last layer needs one unit for each class")
}

/// The labels, each checked to be one of `classes`.
fn checked_labels(labels: &View<'_>, classes: usize) -> Result<Scratch<usize>> {
    let labels = labels.indices("cross_entropy")?;
    let count = labels.len();
    let valid = |(row, &label): (usize, &i64)| match usize::try_from(label) {
        Ok(label) if label < classes => Ok(label),
        _ => Err(no_class(label, row, classes, count)),
    };
    labels.iter().enumerate().map(valid).collect()
}

impl Op for CrossEntropy {
    fn name(&self) -> &str {
        "cross_entropy"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check(x)?;
        Ok(Spec::new(x[1].shape, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        match x[0].dtype() {
            DType::F64 => forward::<f64, f64>(x, &mut y[0]),
            DType::F32 => forward::<f32, f32>(x, &mut y[0]),
            DType::F16 => forward::<crate::f16, f32>(x, &mut y[0]),
            _ => forward::<crate::bf16, f32>(x, &mut y[0]),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::forward(call);
        Ok(())
    }
}

impl Op for CrossEntropyGrad {
    fn name(&self) -> &str {
        "cross_entropy_grad"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(3)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check(x)?;
        if x[2] != Spec::new(x[1].shape, x[0].dtype) {
            let text = format!("the gradient is {:?}, the loss {} {}", x[2], x[0].dtype, x[1].shape);
            return Err(Error::shape("cross_entropy_grad", text));
        }
        Ok(x[0].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        match x[0].dtype() {
            DType::F64 => backward::<f64, f64>(x, &mut y[0]),
            DType::F32 => backward::<f32, f32>(x, &mut y[0]),
            DType::F16 => backward::<crate::f16, f32>(x, &mut y[0]),
            _ => backward::<crate::bf16, f32>(x, &mut y[0]),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::backward(call);
        Ok(())
    }
}

fn classes(logits: &View<'_>) -> usize {
    logits.shape()[logits.shape().rank() - 1]
}

fn forward<T: Element, C: Real>(x: &[View<'_>], y: &mut ViewMut<'_>) -> Result<()> {
    let n = classes(&x[0]);
    let labels = checked_labels(&x[1], n)?;
    let logits = x[0].contiguous::<T>()?;
    let losses = Losses { labels: &labels, y: parallel::Shared::new(y.slice::<T>()?) };
    softmax::for_rows::<T, C>(&logits, n, true, &losses);
    Ok(())
}

/// From the logarithm of a row's shares to its loss.
struct Losses<'a, T> {
    labels: &'a [usize],
    y: parallel::Shared<T>,
}

impl<T: Element, C: Real> softmax::Finish<C> for Losses<'_, T> {
    #[inline(always)]
    fn row(&self, number: usize, row: softmax::Row<'_, C>) {
        // Not negated: of a certain label the loss is 0 and not -0.
        let loss = C::lit(0.0) - row.get(self.labels[number]);
        // SAFETY: each row has one element of the result.
        unsafe { *self.y.get().add(number) = loss.store() }
    }
}

fn backward<T: Element, C: Real>(x: &[View<'_>], y: &mut ViewMut<'_>) -> Result<()> {
    let n = classes(&x[0]);
    let labels = checked_labels(&x[1], n)?;
    let (logits, dy) = (x[0].contiguous::<T>()?, x[2].contiguous::<T>()?);
    let gradients = Gradients { labels: &labels, dy: &dy, n, y: parallel::Shared::new(y.slice::<T>()?) };
    softmax::for_rows::<T, C>(&logits, n, false, &gradients);
    Ok(())
}

/// From a row's shares to the gradient of its logits.
struct Gradients<'a, T> {
    labels: &'a [usize],
    dy: &'a [T],
    n: usize,
    y: parallel::Shared<T>,
}

impl<T: Element, C: Real> softmax::Finish<C> for Gradients<'_, T> {
    #[inline(always)]
    fn row(&self, number: usize, row: softmax::Row<'_, C>) {
        let (label, scale) = (self.labels[number], C::load(self.dy[number]));
        // SAFETY: rows are disjoint ranges of the result.
        let y = unsafe { self.y.slice(number * self.n, (number + 1) * self.n) };
        row.store(y, |share| share * scale);
        y[label] = ((row.get(label) - C::lit(1.0)) * scale).store();
    }
}

/// Cross-entropy against integer labels.
pub trait CrossEntropyOps: Value + Apply<CrossEntropy> {
    /// `ln Σ exp(logits) - logits[label]` for each row.
    ///
    /// # Shapes
    /// Logits `[…, C]`, labels `[…]` of an integer type; the result is `[…]`.
    ///
    /// # Errors
    /// Shapes that do not fit; a label that is no class, with its position.
    #[track_caller]
    fn cross_entropy(&self, labels: &Self) -> Result<Self> {
        Self::apply_one(CrossEntropy, &[self, labels])
    }
}
impl<V: Value + Apply<CrossEntropy>> CrossEntropyOps for V {}
