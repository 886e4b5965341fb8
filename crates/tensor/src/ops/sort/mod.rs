//! Order along one axis: positions sorted by value, from which sorted values, their gradients and the top few follow.

mod cuda;

pub(crate) use cuda::{PAIR, PAIRS, RANK, sort_pairs};

use super::{Apply, ArgReduceOps, GatherOps, Value, ViewOps};
use crate::cpu::parallel;
use crate::cpu::scratch::Scratch;
use crate::{CpuCall, CudaCall, DType, Element, Op, Result, Spec, Specs, Tensor, with_element};

/// The positions along one axis in the order of the values. Equal values keep their order; NaN is the largest.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgSort {
    /// The axis.
    pub axis: usize,
    /// The largest first.
    pub descending: bool,
}

impl Op for ArgSort {
    fn name(&self) -> &str {
        "argsort"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        x[0].shape.check_axis(self.name(), self.axis)?;
        Ok(Spec::new(x[0].shape, DType::I64).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let shape = *x[0].shape();
        let length = shape.get(self.axis).copied().unwrap_or(1);
        let inner: usize = shape.iter().skip(self.axis + 1).product();
        if shape.count() == 0 {
            return Ok(());
        }
        let flip = if self.descending { u64::MAX } else { 0 };
        let y = parallel::Shared::new(y[0].slice::<i64>()?);
        with_element!(x[0].dtype(), T => {
            let x = x[0].contiguous::<T>()?;
            parallel::for_chunks(shape.count() / length, 1, 16 * length, |row, _| {
                let start = row / inner * length * inner + row % inner;
                let mut order: Scratch<(u64, usize)> =
                    (0..length).map(|i| (rank(x[start + i * inner]) ^ flip, i)).collect();
                // Positions are part of what is compared, so equal values keep their order.
                order.sort_unstable();
                for (i, &(_, position)) in order.iter().enumerate() {
                    // SAFETY: the elements of one row of the result, which is this task's alone.
                    unsafe { *y.get().add(start + i * inner) = position as i64 };
                }
            });
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::argsort(self, call);
        Ok(())
    }
}

/// A number in the order of the elements, whatever their type: the two zeros have the same, and NaN the largest.
pub(crate) fn rank<T: Element>(x: T) -> u64 {
    const SIGN: u64 = 1 << 63;
    if !T::DTYPE.is_float() {
        return x.to_i64() as u64 ^ SIGN;
    }
    // The sum with 0 is the positive zero of both.
    let x = x.to_f64() + 0.0;
    match (x.is_nan(), x.to_bits()) {
        (true, _) => u64::MAX,
        (_, bits) if bits & SIGN != 0 => !bits,
        (_, bits) => bits | SIGN,
    }
}

/// Sorting.
pub trait SortOps: Value + ViewOps + GatherOps + ArgReduceOps {
    /// The positions along `axis` in ascending order of the values, or descending. Equal values keep their order; NaN
    /// is the largest.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn argsort(&self, axis: isize, descending: bool) -> Result<Self> {
        let axis = Value::shape(self).axis("argsort", axis)?;
        Ok(Self::constant(Tensor::apply_one(ArgSort { axis, descending }, &[self.tensor()])?))
    }

    /// The values along `axis` in ascending order, or descending, and the position of each. A gradient goes back to
    /// where each value stood.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let (y, at) = Tensor::new([3.0, 1.0, 2.0]).sort(0, false)?;
    /// assert_eq!((y.to_vec::<f64>()?, at.to_vec::<i64>()?), (vec![1.0, 2.0, 3.0], vec![1, 2, 0]));
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn sort(&self, axis: isize, descending: bool) -> Result<(Self, Self)> {
        Value::shape(self).axis("sort", axis)?;
        let order = self.argsort(axis, descending)?;
        Ok((self.gather(axis, &order)?, order))
    }

    /// The `k` largest or smallest values along `axis`, the most extreme first, and the position of each.
    ///
    /// # Errors
    /// An axis that does not exist, or that has fewer than `k` elements.
    #[track_caller]
    fn top_k(&self, k: usize, axis: isize, largest: bool) -> Result<(Self, Self)> {
        let index = Value::shape(self).axis("top_k", axis)?;
        let order = self.argsort(axis, largest)?;
        let length = Value::shape(self).get(index).copied().unwrap_or(1);
        if k > length {
            let text = format!("{k} elements were asked for, axis {axis} of {} has {length}", Value::shape(self));
            return Err(crate::Error::index("top_k", text).at(std::panic::Location::caller()));
        }
        let order = if Value::shape(self).rank() == 0 { order } else { order.slice(axis, ..k as isize)? };
        Ok((self.gather(axis, &order)?, order))
    }
}
impl<V: Value + ViewOps + GatherOps + ArgReduceOps> SortOps for V {}
