//! Positions of the largest and smallest elements.

use super::run::partition;
use crate::op::for_each_row;
use crate::ops::{Apply, Value};
use crate::{DType, Element, Error, MAX_RANK, Op, Result, Shape, Spec, View, ViewMut, with_element};

/// The index of the largest or smallest element along one axis, or in row-major order of all.
#[derive(Debug, Clone)]
pub struct ArgReduce {
    /// The largest, or the smallest.
    pub largest: bool,
    /// The axis, or `None` for the whole tensor.
    pub axis: Option<usize>,
    /// Whether the dimension stays, with length 1.
    pub keep_dims: bool,
}

impl ArgReduce {
    fn flags(&self, rank: usize) -> [bool; MAX_RANK] {
        std::array::from_fn(|a| a < rank && self.axis.is_none_or(|axis| axis == a))
    }
}

impl Op for ArgReduce {
    fn name(&self) -> &str {
        if self.largest { "argmax" } else { "argmin" }
    }

    fn infer(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        let shape = x[0].shape;
        let flags = self.flags(shape.rank());
        let kept = (0..shape.rank()).filter(|&a| self.keep_dims || !flags[a]);
        let dims: Vec<usize> = kept.map(|a| if flags[a] { 1 } else { shape[a] }).collect();
        let y = Shape::from_slice(&dims);
        if y.count() > 0 && (0..shape.rank()).any(|a| flags[a] && shape[a] == 0) {
            return Err(Error::shape(self.name(), format!("{shape} has no element to choose from")));
        }
        Ok(vec![Spec::new(y, DType::I64)])
    }

    fn cpu(&self, x: &[View<'_>], y: &mut [ViewMut<'_>]) -> Result<()> {
        let (folded, kept) = partition(x[0].layout(), &self.flags(x[0].shape().rank()));
        let mut results = y[0].slice::<i64>()?.iter_mut();
        with_element!(x[0].dtype(), T => {
            let start = x[0].as_ptr().cast::<T>();
            for_each_row(&kept, |first, length, stride| {
                for (i, result) in (0..length as isize).zip(&mut results) {
                    let base = first + i * stride;
                    let (mut best, mut best_at, mut at) = (None, 0, 0);
                    for_each_row(&folded, |offset, length, stride| {
                        for j in 0..length as isize {
                            // SAFETY: the element lies inside the operand's layout.
                            let value = unsafe { *start.offset(base + offset + j * stride) };
                            if self.beats(value, best) {
                                (best, best_at) = (Some(value), at);
                            }
                            at += 1;
                        }
                    });
                    *result = best_at;
                }
            });
        });
        Ok(())
    }
}

impl ArgReduce {
    /// Whether `x` takes the place of the best so far: strictly better, or the first NaN.
    fn beats<T: Element>(&self, x: T, best: Option<T>) -> bool {
        let Some(best) = best else { return true };
        if !T::DTYPE.is_float() {
            return if self.largest { x.to_i64() > best.to_i64() } else { x.to_i64() < best.to_i64() };
        }
        let (x, best) = (x.to_f64(), best.to_f64());
        (if self.largest { x > best } else { x < best }) || (x.is_nan() && !best.is_nan())
    }
}

/// Positions of extremes. Integers, so no gradient passes.
pub trait ArgReduceOps: Value {
    /// The index of the first largest element along `axis`; the first NaN, where there is one.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1, 9, 3], [7, 7, 2]]);
    /// assert_eq!(x.argmax(-1)?.to_vec::<i64>()?, [1, 0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist, or has length 0.
    #[track_caller]
    fn argmax(&self, axis: isize) -> Result<Self> {
        arg_reduce(self, true, Some(axis), false)
    }

    /// The index of the first smallest element along `axis`; the first NaN, where there is one.
    ///
    /// # Errors
    /// An axis that does not exist, or has length 0.
    #[track_caller]
    fn argmin(&self, axis: isize) -> Result<Self> {
        arg_reduce(self, false, Some(axis), false)
    }

    /// [`ArgReduceOps::argmax`] or [`ArgReduceOps::argmin`] with all options: `None` looks at all elements in
    /// row-major order.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn arg_reduce(&self, largest: bool, axis: Option<isize>, keep_dims: bool) -> Result<Self> {
        arg_reduce(self, largest, axis, keep_dims)
    }
}
impl<V: Value> ArgReduceOps for V {}

#[track_caller]
fn arg_reduce<V: Value>(x: &V, largest: bool, axis: Option<isize>, keep_dims: bool) -> Result<V> {
    // A match, not a closure: an error tells the caller's line.
    let axis = match axis {
        Some(axis) => Some(Value::shape(x).axis(if largest { "argmax" } else { "argmin" }, axis)?),
        None => None,
    };
    // A scalar has the one axis in name only.
    let axis = axis.filter(|_| Value::shape(x).rank() > 0);
    let y = crate::Tensor::apply_one(ArgReduce { largest, axis, keep_dims }, &[x.tensor()])?;
    Ok(V::constant(y))
}
