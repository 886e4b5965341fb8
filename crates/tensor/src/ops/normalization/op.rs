//! The operation behind most normalizations, and its gradient.

use super::{cpu, cuda};
use crate::{Arity, CpuCall, CudaCall, DType, Error, MAX_RANK, Op, Result, Shape, Spec, Specs, bf16, f16};

/// `(x - mean) / √(variance + eps) · weight + bias` over some axes, with the means and the variances (the squares' mean, without
/// a correction) as further results, in single precision at least.
///
/// The operands are `x`, and if wanted a weight, and a bias of its shape: the shape of `x` with length 1 along either the axes
/// or the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalize {
    /// Over which axes; see [`Normalize::runs`].
    pub axes: [bool; MAX_RANK],
    /// Whether the mean is subtracted. If not it counts as 0: the variance is the mean of the squares.
    pub centered: bool,
    /// What is added to the variances.
    pub eps: f64,
}

/// The gradients of [`Normalize`] from `x`, its means, its variances, the result's gradient and, if there was one, the weight:
/// those of `x`, of the weight and of the bias.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalizeGrad {
    /// The operation.
    pub of: Normalize,
    /// Whether there was a bias.
    pub has_bias: bool,
}

/// Dimensions as `[groups, folded, groups, folded]`, of which any may be 1; each group of elements that are normalized
/// together lies along the folded ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Form {
    pub outer: usize,
    pub far: usize,
    pub inner: usize,
    pub near: usize,
}

impl Form {
    /// The form of a shape; `None` where the axes alternate more often.
    pub(super) fn of(shape: &Shape, axes: &[bool; MAX_RANK]) -> Option<Form> {
        let mut dims = [1; 4];
        let mut slot = 3usize;
        for axis in (0..shape.rank()).rev().filter(|&axis| shape[axis] != 1) {
            // Every second slot is folded.
            while (slot % 2 == 1) != axes[axis] {
                slot = slot.checked_sub(1)?;
            }
            dims[slot] *= shape[axis];
        }
        let [outer, far, inner, near] = dims;
        Some(Form { outer, far, inner, near })
    }

    /// How many elements are normalized together.
    pub(super) fn count(self) -> usize {
        self.far * self.near
    }

    pub(super) fn groups(self) -> usize {
        self.outer * self.inner
    }

    /// Whether the elements of each group lie one after the other.
    pub(super) fn is_rows(self) -> bool {
        self.far == 1
    }
}

/// What a weight belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    /// A group of elements that are normalized together: a channel of batch normalization.
    Groups,
    /// A place among such elements: a feature of layer normalization.
    Places,
}

impl Normalize {
    /// Whether the operation can do it where `x` lies: the axes are one or two runs of neighbours, and with a weight of each place
    /// the last ones.
    pub fn runs(&self, shape: &Shape, weight: Option<&Shape>) -> bool {
        let form = Form::of(shape, &self.axes);
        form.is_some_and(|form| {
            form.is_rows() || weight.is_none_or(|w| self.weights(shape, w) != Some(Weights::Places))
        })
    }

    /// The axes by number.
    pub fn named(&self, shape: &Shape) -> Vec<isize> {
        (0..shape.rank()).filter(|&axis| self.axes[axis]).map(|axis| axis as isize).collect()
    }

    /// `shape` with length 1 along the axes, or along the others.
    pub(super) fn ones_along(&self, shape: &Shape, axes: bool) -> Shape {
        let ones = (0..shape.rank()).filter(|&axis| self.axes[axis] == axes);
        ones.fold(*shape, |shape, axis| shape.with(axis, 1))
    }

    /// What a weight of this shape belongs to; `None` if it does not fit.
    pub(super) fn weights(&self, shape: &Shape, weight: &Shape) -> Option<Weights> {
        match *weight {
            weight if weight == self.ones_along(shape, true) => Some(Weights::Groups),
            weight if weight == self.ones_along(shape, false) => Some(Weights::Places),
            _ => None,
        }
    }

    /// The sizes, and what a weight belongs to, of operands that have been checked.
    pub(super) fn form(&self, shape: &Shape, weight: Option<&Shape>) -> (Form, Option<Weights>) {
        let form = Form::of(shape, &self.axes).unwrap_or_else(|| unreachable!("the shapes have been checked"));
        (form, weight.and_then(|weight| self.weights(shape, weight)))
    }

    fn check(&self, name: &str, x: Spec, weights: &[Spec]) -> Result<Spec> {
        if !x.dtype.is_float() {
            return Err(Error::dtype(name, format!("needs floating-point numbers, found {}", x.dtype)));
        }
        if self.axes[x.shape.rank()..].contains(&true) {
            return Err(Error::shape(name, format!("{} has not so many axes", x.shape)));
        }
        let [groups, places] = [true, false].map(|axes| self.ones_along(&x.shape, axes));
        if let Some(w) = weights.iter().find(|w| w.dtype != x.dtype || (w.shape != groups && w.shape != places)) {
            let text = format!("weights and biases must be {} of shape {groups} or {places}, found {w:?}", x.dtype);
            return Err(Error::shape(name, text));
        }
        if let [weight, bias] = weights
            && weight != bias
        {
            return Err(Error::shape(name, format!("the weight is {weight:?}, but the bias {bias:?}")));
        }
        if !self.runs(&x.shape, weights.first().map(|w| &w.shape)) {
            let text = format!("the axes of {} are not one or two runs of neighbours, or not the last", x.shape);
            return Err(Error::shape(name, text).help("permute them to the end"));
        }
        Ok(Spec::new(groups, computed_in(x.dtype)))
    }
}

/// Half precision is computed in single.
pub(super) fn computed_in(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

impl Op for Normalize {
    fn name(&self) -> &str {
        "normalize"
    }

    fn arity(&self) -> Arity {
        Arity::AtLeast(1)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        if x.len() > 3 {
            return Err(Error::argument(self.name(), format!("takes at most 3 operands, found {}", x.len())));
        }
        let moments = self.check(self.name(), x[0], &x[1..])?;
        Ok([x[0], moments, moments].into_iter().collect())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        match x[0].dtype() {
            DType::F64 => cpu::normalize::<f64, f64>(self, x, y),
            DType::F32 => cpu::normalize::<f32, f32>(self, x, y),
            DType::F16 => cpu::normalize::<f16, f32>(self, x, y),
            _ => cpu::normalize::<bf16, f32>(self, x, y),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::normalize(self, call);
        Ok(())
    }
}

impl Op for NormalizeGrad {
    fn name(&self) -> &str {
        "normalize_grad"
    }

    fn arity(&self) -> Arity {
        Arity::AtLeast(4)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let weights = &x[4..];
        let moments = self.of.check(self.name(), x[0], weights)?;
        if weights.len() > 1 || x[1] != moments || x[2] != moments || x[3] != x[0] {
            let text = format!("the means are {moments:?} and the result {:?}, found {:?}", x[0], &x[1..]);
            return Err(Error::shape(self.name(), text));
        }
        let biases = if self.has_bias { weights } else { &[] };
        Ok([x[0]].iter().chain(weights).chain(biases).copied().collect())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        match x[0].dtype() {
            DType::F64 => cpu::gradients::<f64, f64>(&self.of, x, y),
            DType::F32 => cpu::gradients::<f32, f32>(&self.of, x, y),
            DType::F16 => cpu::gradients::<f16, f32>(&self.of, x, y),
            _ => cpu::gradients::<bf16, f32>(&self.of, x, y),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::gradients(&self.of, call);
        Ok(())
    }
}
