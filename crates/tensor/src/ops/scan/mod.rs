//! Running folds along one axis: sums, recurrences and what is made of them, and positions of the extremes so far.

mod cuda;

use super::{Apply, ArithmeticOps, CastOps, ComparisonOps, GatherOps, MathOps, SelectOps, Stride, Value, ViewOps};
use crate::cpu::{parallel, simd};
use crate::{Arity, CpuCall, CudaCall, DType, Element, Error, Op, Result, Spec, Specs, Tensor, View, with_element};

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

/// `h[i] = a[i] · h[i - 1] + b[i]` along one axis, from `h = b` at the first place on: a recurrence of first order. Its
/// gradient is one too, from the other end, and so are products and sums of exponentials that run along.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrence {
    /// The axis.
    pub axis: usize,
    /// From the end instead.
    pub reverse: bool,
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
        let rows = Rows::of(&x[0], self.axis, self.reverse);
        with_element!(x[0].dtype(), T => {
            let x = [&*x[0].contiguous::<T>()?];
            // Sums of half and single precision are carried in double, and rounded once each.
            if const { T::DTYPE.is_float() } {
                rows.scan(x, y[0].slice::<T>()?, 0.0, |_, [x]: [T; 1], sum: f64| {
                    let sum = sum + x.to_f64();
                    (sum, <T as Element>::from_f64(sum))
                });
            } else {
                rows.scan(x, y[0].slice::<i64>()?, 0, |_, [x]: [T; 1], sum: i64| {
                    let sum = sum.wrapping_add(x.to_i64());
                    (sum, sum)
                });
            }
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let compute = if call.inputs()[0].dtype().is_float() { DType::F64 } else { DType::I64 };
        cuda::scan(call, self.axis, compute, &[("REVERSE", self.reverse)]);
        Ok(())
    }
}

impl Op for Recurrence {
    fn name(&self) -> &str {
        "recurrence"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        x[0].shape.check_axis(self.name(), self.axis)?;
        match (x[0].shape == x[1].shape, x[0].dtype == x[1].dtype && x[0].dtype != DType::Bool) {
            (true, true) => Ok(x[0].into()),
            (false, _) => {
                let text = format!("factors {} and terms {} differ in shape", x[0].shape, x[1].shape);
                Err(Error::shape(self.name(), text))
            }
            (true, false) => {
                let text = format!("needs numbers of one type, found factors {} and terms {}", x[0].dtype, x[1].dtype);
                Err(Error::dtype(self.name(), text))
            }
        }
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let rows = Rows::of(&x[0], self.axis, self.reverse);
        with_element!(x[0].dtype(), T => {
            let (a, b) = (x[0].contiguous::<T>()?, x[1].contiguous::<T>()?);
            let y = y[0].slice::<T>()?;
            // As for sums, in double, and rounded once each. Nothing comes before the first.
            if const { T::DTYPE.is_float() } {
                rows.scan([&*a, &*b], y, 0.0, |place, [a, b]: [T; 2], h: f64| {
                    let h = if place == 0 { b.to_f64() } else { a.to_f64() * h + b.to_f64() };
                    (h, <T as Element>::from_f64(h))
                });
            } else {
                rows.scan([&*a, &*b], y, 0, |place, [a, b]: [T; 2], h: i64| {
                    let carried = if place == 0 { 0 } else { a.to_i64().wrapping_mul(h) };
                    let h = carried.wrapping_add(b.to_i64());
                    (h, T::from_i64(h))
                });
            }
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let compute = if call.inputs()[0].dtype().is_float() { DType::F64 } else { DType::I64 };
        cuda::scan(call, self.axis, compute, &[("RECURRENCE", true), ("REVERSE", self.reverse)]);
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
        let rows = Rows::of(&x[0], self.axis, false);
        with_element!(x[0].dtype(), T => {
            let start = (T::default(), 0);
            rows.scan([&*x[0].contiguous::<T>()?], y[0].slice::<i64>()?, start, |place, [x]: [T; 1], (best, at)| {
                let reaches = place == 0 || self.reaches(x, best);
                let (best, at) = if reaches { (x, place as i64) } else { (best, at) };
                ((best, at), at)
            });
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let compute = match call.inputs()[0].dtype() {
            DType::F64 => DType::F64,
            dtype if dtype.is_float() => DType::F32,
            _ => DType::I64,
        };
        cuda::scan(call, self.axis, compute, &[("ARG", true), ("LARGEST", self.largest)]);
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

/// The rows of a dense tensor along an axis, from one end to the other.
struct Rows {
    outer: usize,
    length: usize,
    inner: usize,
    reverse: bool,
}

/// Rows that lie side by side and are gone through together.
const ABREAST: usize = 64;
/// Elements that a thread takes at a time.
const CHUNK: usize = 4096;

impl Rows {
    fn of(x: &View<'_>, axis: usize, reverse: bool) -> Rows {
        let shape = x.shape();
        let (outer, inner) = (shape.iter().take(axis).product(), shape.iter().skip(axis + 1).product());
        Rows { outer, length: shape.get(axis).copied().unwrap_or(1), inner, reverse }
    }

    /// Makes `y` of `x`, which lie alike: of its place in the row, counted from the end that comes first, the elements there and
    /// what was carried so far, `step` makes what is carried on and the result.
    fn scan<S: Element, T: Element, C: Copy + Sync, const IN: usize>(
        &self,
        x: [&[S]; IN],
        y: &mut [T],
        start: C,
        step: impl Fn(usize, [S; IN], C) -> (C, T) + Sync,
    ) {
        if y.is_empty() {
            return;
        }
        let width = ABREAST.min(self.inner);
        let blocks = self.inner.div_ceil(width);
        let y = &parallel::Shared::new(y);
        let each = (self.length * width).max(1);
        parallel::for_chunks(self.outer * blocks, (CHUNK / each).max(1), each, |begin, end| {
            for task in begin..end {
                let first = task % blocks * width;
                let (at, width) = (task / blocks * self.length * self.inner + first, width.min(self.inner - first));
                simd::dispatch_up_to_avx2(Scan { rows: self, x, y, at, width, start, step: &step });
            }
        });
    }
}

/// A block of rows side by side, of which the first begins at `at`.
struct Scan<'a, S, T, C, F, const IN: usize> {
    rows: &'a Rows,
    x: [&'a [S]; IN],
    y: &'a parallel::Shared<T>,
    at: usize,
    width: usize,
    start: C,
    step: &'a F,
}

impl<S: Element, T: Element, C: Copy, F: Fn(usize, [S; IN], C) -> (C, T), const IN: usize> simd::Kernel
    for Scan<'_, S, T, C, F, IN>
{
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Scan { rows: &Rows { length, inner, reverse, .. }, x, width, .. } = self;
        if inner == 1 {
            let (x, mut carried) = (x.map(|x| &x[self.at..self.at + length]), self.start);
            // SAFETY: rows are disjoint parts of the result.
            let y = unsafe { self.y.slice(self.at, self.at + length) };
            let mut one = |place: usize, at: usize| {
                (carried, y[at]) = (self.step)(place, x.map(|x| x[at]), carried);
            };
            match reverse {
                false => (0..length).for_each(|at| one(at, at)),
                true => (0..length).for_each(|place| one(place, length - 1 - place)),
            }
            return;
        }
        let mut carried = [self.start; ABREAST];
        for place in 0..length {
            let at = self.at + inner * if reverse { length - 1 - place } else { place };
            let x = x.map(|x| &x[at..at + width]);
            // SAFETY: blocks are disjoint parts of the result.
            let y = unsafe { self.y.slice(at, at + width) };
            for (lane, (y, carried)) in y.iter_mut().zip(&mut carried).enumerate() {
                (*carried, *y) = (self.step)(place, x.map(|x| x[lane]), *carried);
            }
        }
    }
}

/// Running folds.
pub trait ScanOps: Value + CastOps + GatherOps + Apply<CumSum> + Apply<Recurrence> {
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

    /// The product of all elements up to and with each, along `axis`. Integers and booleans are multiplied as `i64`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// assert_eq!(Tensor::new([2, 3, 4]).cumprod(0)?.to_vec::<i64>()?, [2, 6, 24]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn cumprod(&self, axis: isize) -> Result<Self> {
        let shape = *Value::shape(self);
        let at = shape.axis("cumprod", axis)?;
        let x = if Value::dtype(self).is_float() { self.clone() } else { self.cast(DType::I64)? };
        if shape.count() == 0 || shape.rank() == 0 {
            return Ok(x);
        }
        // All but the first are factors of what came before.
        let mut rest = vec![(0, 0); shape.rank()];
        rest[at].1 = shape[at] as isize - 1;
        let first = x.stride(at as isize, Stride::full(1))?.pad(&rest, 0.0)?;
        Self::apply_one(Recurrence { axis: at, reverse: false }, &[&x, &first])
    }

    /// `ln Σ exp(x)` over all elements up to and with each along `axis`, without overflow and in one pass.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn logcumsumexp(&self, axis: isize) -> Result<Self> {
        let shape = *Value::shape(self);
        let at = shape.axis("logcumsumexp", axis)?;
        let dtype = Value::dtype(self).to_float();
        if shape.count() == 0 || shape.rank() == 0 {
            return self.cast(dtype);
        }
        match dtype {
            DType::F16 | DType::BF16 => log_sums(&self.cast(DType::F32)?, at)?.cast(dtype),
            _ => log_sums(&self.cast(dtype)?, at),
        }
    }

    /// `h[i] = factors[i] · h[i - 1] + self[i]` along `axis`, from `h[0] = self[0]` on: a moving average that forgets, a
    /// discounted sum. Sums are kept in double precision.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([1.0, 1.0, 1.0]).recurrence(&Tensor::new([0.0, 0.5, 0.5]), 0)?;
    /// assert_eq!(y.to_vec::<f64>()?, [1.0, 1.5, 1.75]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Shapes or types that differ; booleans; an axis that does not exist.
    #[track_caller]
    fn recurrence(&self, factors: &Self, axis: isize) -> Result<Self> {
        let axis = Value::shape(self).axis("recurrence", axis)?;
        Self::apply_one(Recurrence { axis, reverse: false }, &[factors, self])
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
impl<V: Value + CastOps + GatherOps + Apply<CumSum> + Apply<Recurrence>> ScanOps for V {}

/// The logarithm of a running sum of exponentials: each is taken relative to the largest so far, and what was summed before
/// it is scaled down when that grows.
#[track_caller]
fn log_sums<V: ScanOps>(x: &V, axis: usize) -> Result<V> {
    let largest = extremes(&x.detach(), axis as isize, true)?.0;
    // Relative to infinity there is no number; nothing at all has a logarithm of -∞ whatever it is relative to.
    let finite = largest.is_finite()?.logical_or(&largest.is_nan()?)?;
    let top = finite.select(&largest, 0.0)?.cast(Value::dtype(x))?;
    let before = |x: &V, fill: f64| shifted(x, axis, 1, fill);
    let nothing = before(&largest, f64::NEG_INFINITY)?.eq(f64::NEG_INFINITY)?;
    let shrink = nothing.select(0.0, &before(&top, 0.0)?.sub(&top)?.exp()?)?.cast(Value::dtype(x))?;
    let sums = V::apply_one(Recurrence { axis, reverse: false }, &[&shrink, &x.sub(&top)?.exp()?])?;
    // What is no sum yet is kept from the logarithm, whose slope there would be infinite.
    let none = sums.detach().eq(0.0)?;
    none.select(f64::NEG_INFINITY, &none.select(1.0, &sums)?.log()?.add(&top)?)?.cast(Value::dtype(x))
}

/// The elements moved along an axis, by places that are filled: to the end, or to the beginning.
#[track_caller]
fn shifted<V: ViewOps>(x: &V, axis: usize, by: isize, fill: f64) -> Result<V> {
    let mut padding = vec![(0, 0); Value::shape(x).rank()];
    padding[axis] = (by, -by);
    x.pad(&padding, fill)
}

#[track_caller]
fn extremes<V: ScanOps>(x: &V, axis: isize, largest: bool) -> Result<(V, V)> {
    let index = Value::shape(x).axis(if largest { "cummax" } else { "cummin" }, axis)?;
    let at = V::constant(Tensor::apply_one(CumArg { axis: index, largest }, &[x.tensor()])?);
    Ok((x.gather(axis, &at)?, at))
}
