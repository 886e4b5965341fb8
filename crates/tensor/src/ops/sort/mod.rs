//! Order along one axis: positions sorted by value, from which sorted values, their gradients and the top few follow.

mod cuda;

pub(crate) use cuda::{PAIR, PAIRS, RANK, sort_pairs};

use super::{Apply, ArgReduceOps, GatherOps, Value, ViewOps};
use crate::cpu::scratch::Scratch;
use crate::cpu::{parallel, simd};
use crate::{CpuCall, CudaCall, DType, Element, Error, Op, Result, Spec, Specs, Tensor, with_element};

/// The positions along one axis in the order of the values. Equal values keep their order; NaN is the largest.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgSort {
    /// The axis.
    pub axis: usize,
    /// The largest first.
    pub descending: bool,
    /// How many of the positions, from the first on; `None` for all.
    pub count: Option<usize>,
}

/// So many positions at most are looked for one by one.
const FEW: usize = 64;

impl Op for ArgSort {
    fn name(&self) -> &str {
        "argsort"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let shape = x[0].shape;
        shape.check_axis(self.name(), self.axis)?;
        let length = shape.get(self.axis).copied().unwrap_or(1);
        match self.count {
            None => Ok(Spec::new(shape, DType::I64).into()),
            Some(count) if count > length => {
                let text = format!("{count} elements were asked for, axis {} of {shape} has {length}", self.axis);
                Err(Error::index(self.name(), text))
            }
            Some(_) if shape.rank() == 0 => Ok(Spec::new(shape, DType::I64).into()),
            Some(count) => Ok(Spec::new(shape.with(self.axis, count), DType::I64).into()),
        }
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let shape = *x[0].shape();
        let length = shape.get(self.axis).copied().unwrap_or(1);
        let inner: usize = shape.iter().skip(self.axis + 1).product();
        let count = self.count.unwrap_or(length).min(length);
        if shape.count() == 0 || count == 0 {
            return Ok(());
        }
        let y = parallel::Shared::new(y[0].slice::<i64>()?);
        with_element!(x[0].dtype(), T => {
            let x = x[0].contiguous::<T>()?;
            let rows = Rows { x: &x, y: &y, length, inner, count };
            let (short, flip) = (u32::try_from(length).is_ok(), self.descending);
            // Positions are part of what is compared, so equal values keep their order.
            if const { T::DTYPE.size() <= 4 } && short {
                let flip = if flip { u64::MAX << 32 } else { 0 };
                rows.sort(|x, i| (u64::from(rank32(x)) << 32 | i as u64) ^ flip, |key| key as u32 as usize);
            } else {
                let flip = if flip { u128::MAX << 64 } else { 0 };
                rows.sort(|x, i| (u128::from(rank(x)) << 64 | i as u128) ^ flip, |key| key as u64 as usize);
            }
        });
        Ok(())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::argsort(self, call);
        Ok(())
    }
}

/// Rows along an axis, and where the first `count` positions of each go.
struct Rows<'a, T> {
    x: &'a [T],
    y: &'a parallel::Shared<i64>,
    length: usize,
    inner: usize,
    count: usize,
}

impl<T: Element> Rows<'_, T> {
    /// Puts each row in the order of the keys, which `key` makes of elements and their positions and `position` takes apart again.
    fn sort<K: Ord + Copy + Default + Send>(
        &self,
        key: impl Fn(T, usize) -> K + Sync,
        position: impl Fn(K) -> usize + Sync,
    ) {
        let (length, inner, count) = (self.length, self.inner, self.count);
        parallel::for_chunks(self.x.len() / length, 1, 16 * length, |row, _| {
            let start = row / inner * length * inner + row % inner;
            let keys = Keys { x: &self.x[start..], inner, length, count, key: &key };
            let order = if count < length.min(FEW + 1) { simd::dispatch_up_to_avx2(keys) } else { keys.sorted() };
            let start = row / inner * count * inner + row % inner;
            for (i, &key) in order[..count].iter().enumerate() {
                // SAFETY: the elements of one row of the result, which is this task's alone.
                unsafe { *self.y.get().add(start + i * inner) = position(key) as i64 };
            }
        });
    }
}

/// The keys of a row, of which the first `count` are wanted in order.
struct Keys<'a, T, F> {
    x: &'a [T],
    inner: usize,
    length: usize,
    count: usize,
    key: &'a F,
}

impl<T: Element, K: Ord + Copy, F: Fn(T, usize) -> K> Keys<'_, T, F> {
    fn sorted(self) -> Scratch<K> {
        let mut keys: Scratch<K> = (0..self.length).map(|i| (self.key)(self.x[i * self.inner], i)).collect();
        if self.count < self.length {
            keys.select_nth_unstable(self.count);
        }
        keys[..self.count].sort_unstable();
        keys
    }
}

/// Of few, each that comes is put among those so far.
impl<T: Element, K: Ord + Copy + Default, F: Fn(T, usize) -> K> simd::Kernel for Keys<'_, T, F> {
    type Out = Scratch<K>;
    #[inline(always)]
    fn run(self) -> Scratch<K> {
        const RUN: usize = 32;
        let Keys { x, inner, length, count, key } = self;
        let mut few: Scratch<K> = (0..count).map(|i| key(x[i * inner], i)).collect();
        few.sort_unstable();
        let Some(&(mut last)) = few.last() else { return few };
        let mut at = count;
        while at < length {
            // A run is asked as a whole whether one of it belongs there.
            let width = RUN.min(length - at);
            let mut run = [K::default(); RUN];
            if inner == 1 {
                for (lane, x) in x[at..at + width].iter().enumerate() {
                    run[lane] = key(*x, at + lane);
                }
            } else {
                for lane in 0..width {
                    run[lane] = key(x[(at + lane) * inner], at + lane);
                }
            }
            let (run, mut any) = (&run[..width], false);
            run.iter().for_each(|&new| any |= new < last);
            at += width;
            if !any {
                continue;
            }
            for &new in run {
                if new < last {
                    let at = few.partition_point(|other| *other < new);
                    few[at..].rotate_right(1);
                    few[at] = new;
                    last = few[count - 1];
                }
            }
        }
        few
    }
}

/// A number in the order of the elements, whatever their type: the two zeros have the same, and NaN the largest.
#[inline(always)]
pub(crate) fn rank<T: Element>(x: T) -> u64 {
    const SIGN: u64 = 1 << 63;
    if !T::DTYPE.is_float() {
        return x.to_i64() as u64 ^ SIGN;
    }
    // The sum with 0 is the positive zero of both.
    let x = x.to_f64() + 0.0;
    let bits = x.to_bits();
    let ordered = bits ^ (((bits as i64) >> 63) as u64 | SIGN);
    if x.is_nan() { u64::MAX } else { ordered }
}

/// [`rank`] of an element of at most four bytes.
#[inline(always)]
fn rank32<T: Element>(x: T) -> u32 {
    const SIGN: u32 = 1 << 31;
    if !T::DTYPE.is_float() {
        return x.to_i64() as u32 ^ SIGN;
    }
    let x = x.to_f64() as f32 + 0.0;
    let bits = x.to_bits();
    let ordered = bits ^ (((bits as i32) >> 31) as u32 | SIGN);
    if x.is_nan() { u32::MAX } else { ordered }
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
        Ok(Self::constant(Tensor::apply_one(ArgSort { axis, descending, count: None }, &[self.tensor()])?))
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
        let order = ArgSort { axis: index, descending: largest, count: Some(k) };
        let order = Tensor::apply_one(order, &[self.tensor()]).map_err(|e| e.renamed("argsort", "top_k"))?;
        let order = Self::constant(order);
        Ok((self.gather(axis, &order)?, order))
    }
}
impl<V: Value + ViewOps + GatherOps + ArgReduceOps> SortOps for V {}
