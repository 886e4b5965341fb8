//! Running folds along one axis: sums, and positions of the extremes so far.

mod cuda;

use super::{Apply, CastOps, GatherOps, Value};
use crate::{CpuCall, CudaCall, DType, Element, Op, Result, Spec, Specs, Tensor, View, with_element};

/// The sum of all elements up to each, along one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct CumSum {
    /// The axis.
    pub axis: usize,
    /// From the end instead.
    pub reverse: bool,
}

/// The position of the largest or smallest element up to each, along one axis: the last of equal ones; NaN wins.
#[derive(Debug, Clone, PartialEq)]
pub struct CumArg {
    /// The axis.
    pub axis: usize,
    /// The largest, or the smallest.
    pub largest: bool,
}

impl Op for CumSum {
    fn name(&self) -> &str {
        "cumsum"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        x[0].shape.check_axis(self.name(), self.axis)?;
        let dtype = if x[0].dtype.is_float() { x[0].dtype } else { DType::I64 };
        Ok(Spec::new(x[0].shape, dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let rows = Rows::of(&x[0], self.axis);
        with_element!(x[0].dtype(), S => {
            let x = x[0].contiguous::<S>()?;
            with_element!(y[0].dtype(), T => {
                let y = y[0].slice::<T>()?;
                for start in rows.starts() {
                    let (mut sum, mut whole) = (0f64, 0i64);
                    for i in 0..rows.length {
                        let at = start + rows.inner * if self.reverse { rows.length - 1 - i } else { i };
                        // Sums of half and single precision are carried in double, and rounded once each.
                        if S::DTYPE.is_float() {
                            sum += x[at].to_f64();
                            y[at] = <T as Element>::from_f64(sum);
                        } else {
                            whole = whole.wrapping_add(x[at].to_i64());
                            y[at] = T::from_i64(whole);
                        }
                    }
                }
            });
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let compute = if call.inputs()[0].dtype().is_float() { DType::F64 } else { DType::I64 };
        cuda::scan(call, self.axis, compute, [("ARG", false), ("LARGEST", false), ("REVERSE", self.reverse)]);
        Ok(())
    }
}

impl Op for CumArg {
    fn name(&self) -> &str {
        if self.largest { "cummax" } else { "cummin" }
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        x[0].shape.check_axis(self.name(), self.axis)?;
        Ok(Spec::new(x[0].shape, DType::I64).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let rows = Rows::of(&x[0], self.axis);
        let y = y[0].slice::<i64>()?;
        with_element!(x[0].dtype(), T => {
            let x = x[0].contiguous::<T>()?;
            for start in rows.starts() {
                let mut best = 0;
                for i in 0..rows.length {
                    if self.reaches(x[start + i * rows.inner], x[start + best * rows.inner]) {
                        best = i;
                    }
                    y[start + i * rows.inner] = best as i64;
                }
            }
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let compute = match call.inputs()[0].dtype() {
            DType::F64 => DType::F64,
            dtype if dtype.is_float() => DType::F32,
            _ => DType::I64,
        };
        cuda::scan(call, self.axis, compute, [("ARG", true), ("LARGEST", self.largest), ("REVERSE", false)]);
        Ok(())
    }
}

impl CumArg {
    fn reaches<T: Element>(&self, x: T, best: T) -> bool {
        if !T::DTYPE.is_float() {
            let (x, best) = (x.to_i64(), best.to_i64());
            return if self.largest { x >= best } else { x <= best };
        }
        let (x, best) = (x.to_f64(), best.to_f64());
        x.is_nan() || if self.largest { x >= best } else { x <= best }
    }
}

/// The rows of a dense tensor along an axis.
struct Rows {
    outer: usize,
    length: usize,
    inner: usize,
}

impl Rows {
    fn of(x: &View<'_>, axis: usize) -> Rows {
        let shape = x.shape();
        let (outer, inner) = (shape.iter().take(axis).product(), shape.iter().skip(axis + 1).product());
        Rows { outer, length: shape.get(axis).copied().unwrap_or(1), inner }
    }

    /// The first element of each; none where rows are empty.
    fn starts(&self) -> impl Iterator<Item = usize> {
        let (step, inner) = (self.length * self.inner, self.inner);
        (0..if step == 0 { 0 } else { self.outer }).flat_map(move |o| (0..inner).map(move |i| o * step + i))
    }
}

/// Running folds.
pub trait ScanOps: Value + CastOps + GatherOps + Apply<CumSum> {
    /// The sum of all elements up to and with each, along `axis`. Integers and booleans are summed as `i64`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// assert_eq!(Tensor::new([1, 2, 3]).cumsum(0)?.to_vec::<i64>()?, [1, 3, 6]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn cumsum(&self, axis: isize) -> Result<Self> {
        let axis = Value::shape(self).axis("cumsum", axis)?;
        Self::apply_one(CumSum { axis, reverse: false }, &[self])
    }

    /// The largest element up to each along `axis`, and its position: the last of equal ones; NaN wins.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn cummax(&self, axis: isize) -> Result<(Self, Self)> {
        extremes(self, axis, true)
    }

    /// The smallest element up to each along `axis`, and its position: the last of equal ones; NaN wins.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn cummin(&self, axis: isize) -> Result<(Self, Self)> {
        extremes(self, axis, false)
    }
}
impl<V: Value + CastOps + GatherOps + Apply<CumSum>> ScanOps for V {}

#[track_caller]
fn extremes<V: ScanOps>(x: &V, axis: isize, largest: bool) -> Result<(V, V)> {
    let index = Value::shape(x).axis(if largest { "cummax" } else { "cummin" }, axis)?;
    let at = V::constant(Tensor::apply_one(CumArg { axis: index, largest }, &[x.tensor()])?);
    Ok((x.gather(axis, &at)?, at))
}
