//! Positions of the largest and smallest elements.

#![expect(clippy::needless_range_loop, reason = "an iterator's methods may not be inlined into an instruction set")]

use super::run::partition;
use crate::cpu::scratch::Scratch;
use crate::cpu::turned::{ROWS, SHORT, Turned, turn};
use crate::cpu::{parallel, simd};
use crate::layout::for_each_row;
use crate::ops::{Apply, Value};
use crate::tensor::scratch_room;
use crate::{
    Axes, BLOCK, CpuCall, CudaCall, DType, Element, Error, IntoAxes, Launch, Layout, MAX_RANK, Op, Result, Shape, Spec,
    Specs, with_element,
};

/// The index of the largest or smallest element along one axis, or in row-major order of all.
#[derive(Debug, Clone, PartialEq)]
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

/// On a GPU: so many blocks at least, if each has as many elements as make a long row.
const BLOCKS: usize = 512;
const LONG: usize = 1 << 12;

impl Op for ArgReduce {
    fn name(&self) -> &str {
        if self.largest { "argmax" } else { "argmin" }
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let shape = x[0].shape;
        if let Some(axis) = self.axis {
            shape.check_axis(self.name(), axis)?;
        }
        let flags = self.flags(shape.rank());
        let kept = (0..shape.rank()).filter(|&a| self.keep_dims || !flags[a]);
        let dims: Vec<usize> = kept.map(|a| if flags[a] { 1 } else { shape[a] }).collect();
        let y = Shape::from_slice(&dims);
        if (0..shape.rank()).any(|a| flags[a] && shape[a] == 0) {
            return Err(Error::shape(self.name(), format!("{shape} has no element to choose from")));
        }
        Ok(Spec::new(y, DType::I64).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        if self.largest { Best::<true>.find(self, call) } else { Best::<false>.find(self, call) }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        let (shape, dtype) = (*call.inputs()[0].shape(), call.inputs()[0].dtype());
        let rows = call.outputs()[0].shape.count();
        if rows == 0 {
            return Ok(());
        }
        let inner: usize = self.axis.map_or(1, |axis| shape.iter().skip(axis + 1).product());
        let length = shape.count() / rows;
        let compute = match dtype {
            DType::F64 => DType::F64,
            _ if dtype.is_float() => DType::F32,
            _ => DType::I64,
        };
        let lanes = match length {
            // Neighbouring threads read neighbouring elements, if each has its own row.
            _ if inner >= 32 && rows >= 4096 => 1,
            0..=1024 => length.next_power_of_two().clamp(1, 32),
            _ => BLOCK as usize,
        };
        // Few long rows are cut into parts, or most of the device would wait.
        let parts = (BLOCKS / rows).min(length / LONG).max(1);
        let launch = |entry: &'static str| {
            Launch::new(include_str!("arg.cu"), entry)
                .define_type("T", dtype)
                .define_type("C", compute)
                .define("LARGEST", if self.largest { "1" } else { "0" })
                .define("LANES", lanes.to_string())
                .arg([rows, length, inner])
                .arg(parts)
        };
        let (x, y) = (call.dense(0), call.output(0));
        let found = if parts > 1 { call.room(8 * rows * parts) } else { y };
        let blocks = rows.saturating_mul(parts).saturating_mul(lanes).div_ceil(BLOCK as usize);
        call.launch(launch("arg_reduce").blocks(blocks).arg(x).arg(found));
        if parts > 1 {
            call.launch(launch("arg_join").over(rows).arg(x).arg(found).arg(y));
        }
        Ok(())
    }
}

/// The larger of two elements, or the smaller: a constant, which loops over them need not ask for.
#[derive(Clone, Copy)]
struct Best<const LARGEST: bool>;

impl<const LARGEST: bool> Best<LARGEST> {
    fn find(self, op: &ArgReduce, call: CpuCall<'_, ArgReduce>) -> Result<()> {
        let (x, y) = call.parts();
        let (folded, kept) = partition([&x[0].layout()], &op.flags(x[0].shape().rank()));
        let (folded, kept) = (folded.layout(0), kept.layout(0));
        let mut bases = scratch_room(op.name(), y[0].shape().count(), y[0].spec())?;
        for_each_row(&kept, |first, length, stride| bases.extend((0..length as isize).map(|i| first + i * stride)));
        let each = folded.shape.count();
        let results = parallel::Shared::new(y[0].slice::<i64>()?);
        with_element!(x[0].dtype(), T => {
            let operand = parallel::Shared::from_ptr(x[0].as_ptr().cast::<T>().cast_mut());
            let dense = matches!((folded.shape.dims(), folded.strides()), ([_], [1]));
            if side_by_side(&folded, &kept) {
                let each = Columns { op: self, operand: &operand, results: &results, folded: &folded };
                each.run(&kept);
                return Ok(());
            }
            parallel::for_chunks(bases.len(), (4096 / each.max(1)).max(1), each, |start, end| {
                // SAFETY: chunks are disjoint ranges of the results.
                let results = unsafe { results.slice(start, end) };
                let starts = bases[start..end].iter().map(|&base| operand.get().wrapping_offset(base));
                if let (true, [start]) = (dense && each > PART, &bases[start..end]) {
                    // SAFETY: the elements lie inside the operand's layout, and nobody writes them.
                    let row = unsafe { std::slice::from_raw_parts(operand.get().wrapping_offset(*start).cast_const(), each) };
                    results[0] = self.place_of_parts(row) as i64;
                } else if dense {
                    // SAFETY: a row lies inside the operand's layout, and nobody writes it.
                    let rows = starts.map(|row| unsafe { std::slice::from_raw_parts(row.cast_const(), each) });
                    simd::dispatch_for::<T, _>(DenseRows { op: self, rows, results });
                } else {
                    results.iter_mut().zip(starts).for_each(|(y, start)| *y = self.walk(start, &folded) as i64);
                }
            });
        });
        Ok(())
    }
}

/// Elements of a long row that are compared at a time.
const LANES: usize = 32;
/// Elements of a long row that one thread looks through.
const PART: usize = 1 << 15;
/// Results side by side that are looked for together.
const ABREAST: usize = 64;

/// Whether results lie side by side, and what each is chosen from does not.
fn side_by_side(folded: &Layout, kept: &Layout) -> bool {
    let is_countable = u32::try_from(folded.shape.count()).is_ok();
    kept.strides().last() == Some(&1) && folded.strides().last().is_some_and(|&step| step != 1) && is_countable
}

/// Positions of results that lie side by side, a block at a time.
struct Columns<'a, T, const LARGEST: bool> {
    op: Best<LARGEST>,
    operand: &'a parallel::Shared<T>,
    results: &'a parallel::Shared<i64>,
    folded: &'a Layout,
}

impl<T: Element, const LARGEST: bool> Columns<'_, T, LARGEST> {
    fn run(&self, kept: &Layout) {
        let mut blocks: Scratch<(isize, [usize; 2])> = Scratch::default();
        let mut at = 0;
        for_each_row(kept, |offset, length, _| {
            for first in (0..length).step_by(ABREAST) {
                let width = ABREAST.min(length - first);
                blocks.push((offset + first as isize, [at + first, at + first + width]));
            }
            at += length;
        });
        let mut rows: Scratch<(isize, usize, isize)> = Scratch::default();
        for_each_row(self.folded, |offset, length, stride| rows.push((offset, length, stride)));
        parallel::for_chunks(blocks.len(), 1, ABREAST * self.folded.shape.count(), |start, end| {
            for &(base, [first, end]) in &blocks[start..end] {
                // SAFETY: blocks are disjoint ranges of the results.
                let results = unsafe { self.results.slice(first, end) };
                simd::dispatch_for::<T, _>(Block { columns: self, base, rows: &rows, results });
            }
        });
    }
}

/// What belongs to results side by side, one row of elements after the other.
struct Block<'a, T, const LARGEST: bool> {
    columns: &'a Columns<'a, T, LARGEST>,
    base: isize,
    rows: &'a [(isize, usize, isize)],
    results: &'a mut [i64],
}

impl<T: Element, const LARGEST: bool> simd::Kernel for Block<'_, T, LARGEST> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let (op, width) = (self.columns.op, self.results.len().min(ABREAST));
        let (mut best, mut at, mut place) = ([T::default(); ABREAST], [0u32; ABREAST], 0u32);
        for &(offset, length, stride) in self.rows {
            for i in 0..length as isize {
                let start = self.columns.operand.get().wrapping_offset(self.base + offset + i * stride);
                // SAFETY: the elements lie inside the operand's layout, side by side, and nobody writes them.
                let x = unsafe { std::slice::from_raw_parts(start.cast_const(), width) };
                if place == 0 {
                    best[..width].copy_from_slice(x);
                }
                for lane in 0..width {
                    let (x, so_far) = (x[lane], best[lane]);
                    // The first NaN stays.
                    let beaten = op.better(x, so_far) | (is_nan(x) & !is_nan(so_far));
                    best[lane] = if beaten { x } else { so_far };
                    at[lane] = if beaten { place } else { at[lane] };
                }
                place += 1;
            }
        }
        for lane in 0..width {
            self.results[lane] = i64::from(at[lane]);
        }
    }
}

/// Rows whose elements are adjacent.
struct DenseRows<'a, R, const LARGEST: bool> {
    op: Best<LARGEST>,
    rows: R,
    results: &'a mut [i64],
}

impl<'a, T: Element, R: Iterator<Item = &'a [T]>, const LARGEST: bool> simd::Kernel for DenseRows<'_, R, LARGEST> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let mut rows = self.rows;
        for results in self.results.chunks_mut(ROWS) {
            let mut group: [&[T]; ROWS] = [&[]; ROWS];
            for slot in &mut group[..results.len()] {
                *slot = rows.next().unwrap_or_default();
            }
            if group[0].len() <= SHORT {
                self.op.places(&group[..results.len()], results);
                continue;
            }
            for i in 0..results.len() {
                results[i] = self.op.place(group[i]) as i64;
            }
        }
    }
}

#[inline(always)]
fn is_nan<T: Element>(x: T) -> bool {
    T::DTYPE.is_float() && x.to_f64().is_nan()
}

/// The position of the first element that holds, 0 where none does. A run is asked as a whole, then its elements.
#[inline(always)]
fn first_that<T: Element>(row: &[T], holds: impl Fn(T) -> bool) -> usize {
    let mut at = 0;
    for run in row.as_chunks::<LANES>().0 {
        let mut any = false;
        for lane in 0..LANES {
            any |= holds(run[lane]);
        }
        if any {
            break;
        }
        at += LANES;
    }
    while at < row.len() {
        if holds(row[at]) {
            return at;
        }
        at += 1;
    }
    0
}

impl<const LARGEST: bool> Best<LARGEST> {
    /// The positions of the best elements of short rows of one length, each row in a lane of its own.
    #[inline(always)]
    fn places<T: Element>(self, rows: &[&[T]], places: &mut [i64]) {
        let n = rows[0].len().min(SHORT);
        let mut turned: Turned<T> = [[T::default(); ROWS]; SHORT];
        turn(rows.len(), |lane| rows[lane], |x| x, &mut turned);
        let (mut best, mut at) = (turned[0], [0u32; ROWS]);
        for i in 1..n {
            for lane in 0..ROWS {
                let (x, so_far) = (turned[i][lane], best[lane]);
                // The first NaN stays.
                let beaten = self.better(x, so_far) | (is_nan(x) & !is_nan(so_far));
                best[lane] = if beaten { x } else { so_far };
                at[lane] = if beaten { i as u32 } else { at[lane] };
            }
        }
        for lane in 0..places.len().min(ROWS) {
            places[lane] = i64::from(at[lane]);
        }
    }

    /// The position of the best element of a row.
    #[inline(always)]
    fn place<T: Element>(self, row: &[T]) -> usize {
        let (chunks, rest) = row.as_chunks::<LANES>();
        let Some(&first) = row.first() else { return 0 };
        // The best value first, then where it is: neither loop has to carry a position along.
        let (mut best, mut nan) = (first, false);
        if !chunks.is_empty() {
            let (mut lanes, mut nans) = ([first; LANES], [0u32; LANES]);
            for chunk in chunks {
                for lane in 0..LANES {
                    let x = chunk[lane];
                    lanes[lane] = if self.better(x, lanes[lane]) { x } else { lanes[lane] };
                    nans[lane] |= u32::from(is_nan(x));
                }
            }
            best = lanes.into_iter().fold(best, |a, x| if self.better(x, a) { x } else { a });
            nan = nans.iter().any(|&nan| nan != 0);
        }
        for &x in rest {
            best = if self.better(x, best) { x } else { best };
            nan |= is_nan(x);
        }
        match nan {
            true => first_that(row, |x| is_nan(x)),
            false => first_that(row, |x| !self.better(best, x)),
        }
    }

    /// [`ArgReduce::place`] of a row that threads share.
    fn place_of_parts<T: Element>(self, row: &[T]) -> usize {
        let mut places = Scratch::filled(row.len().div_ceil(PART), 0);
        let shared = parallel::Shared::new(&mut places);
        parallel::for_chunks(row.len(), PART, 1, |start, end| {
            // SAFETY: each part has a place of its own.
            let place = unsafe { shared.slice(start / PART, start / PART + 1) };
            let rows = std::iter::once(&row[start..end]);
            simd::dispatch_for::<T, _>(DenseRows { op: self, rows, results: place });
            place[0] += start as i64;
        });
        let better = |at: usize, best: usize| {
            let (x, best) = (row[at], row[best]);
            // The first NaN stays.
            self.better(x, best) || (is_nan(x) && !is_nan(best))
        };
        places.iter().map(|&at| at as usize).reduce(|best, at| if better(at, best) { at } else { best }).unwrap_or(0)
    }

    /// The position of the best element of those that belong to one result and begin at `start`, in row-major order.
    fn walk<T: Element>(self, start: *const T, folded: &Layout) -> usize {
        let (mut best, mut best_at, mut at) = (None, 0, 0);
        for_each_row(folded, |offset, length, stride| {
            for j in 0..length as isize {
                // SAFETY: the element lies inside the operand's layout.
                let x = unsafe { *start.offset(offset + j * stride) };
                // The first NaN stays.
                if best.is_none_or(|best| !is_nan(best) && (self.better(x, best) || is_nan(x))) {
                    (best, best_at) = (Some(x), at);
                }
                at += 1;
            }
        });
        best_at
    }

    /// Whether `x` is strictly larger than `y`, or smaller where that is asked for; never with a NaN.
    #[inline(always)]
    fn better<T: Element>(self, x: T, y: T) -> bool {
        match (T::DTYPE.is_float(), LARGEST) {
            (true, true) => x.to_f64() > y.to_f64(),
            (true, false) => x.to_f64() < y.to_f64(),
            (false, true) => x.to_i64() > y.to_i64(),
            (false, false) => x.to_i64() < y.to_i64(),
        }
    }
}

/// Positions of extremes. Integers, so no gradient passes.
pub trait ArgReduceOps: Value {
    /// The index of the first largest element along an axis, or in row-major order of all; the first NaN, where there is
    /// one.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1, 9, 3], [7, 7, 2]]);
    /// assert_eq!(x.argmax(-1)?.to_vec::<i64>()?, [1, 0]);
    /// assert_eq!(x.argmax(..)?.to_vec::<i64>()?, [1]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist, or has length 0; more than one axis.
    #[track_caller]
    fn argmax(&self, axis: impl IntoAxes) -> Result<Self> {
        arg_reduce(self, true, axis.into_axes())
    }

    /// The index of the first smallest element, as [`ArgReduceOps::argmax`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn argmin(&self, axis: impl IntoAxes) -> Result<Self> {
        arg_reduce(self, false, axis.into_axes())
    }
}
impl<V: Value> ArgReduceOps for V {}

#[track_caller]
fn arg_reduce<V: Value>(x: &V, largest: bool, axes: Axes) -> Result<V> {
    let (name, rank) = (if largest { "argmax" } else { "argmin" }, Value::shape(x).rank());
    // A scalar has the one axis in name only.
    let axis = axes.single(name, Value::shape(x))?.filter(|_| rank > 0);
    let y = crate::Tensor::apply_one(ArgReduce { largest, axis, keep_dims: axes.are_kept() }, &[x.tensor()])?;
    Ok(V::constant(y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::ops::ViewOps;

    /// The first of equals and the first NaN, wherever parts of a row and blocks of columns end.
    #[test]
    fn long_rows_and_wide_columns() {
        let count = 3 * PART + 5;
        let mut x: Vec<f32> = (0..count).map(|i| (i % 1000) as f32).collect();
        let at = |x: &[f32], largest: bool| {
            let x = Tensor::from_slice(x, [count]).unwrap();
            let place = if largest { x.argmax(..) } else { x.argmin(..) };
            place.unwrap().item().unwrap() as usize
        };
        assert_eq!((at(&x, true), at(&x, false)), (999, 0));
        (x[PART + 7], x[2 * PART + 1], x[3 * PART + 2]) = (5000.0, 5000.0, -1.0);
        assert_eq!((at(&x, true), at(&x, false)), (PART + 7, 3 * PART + 2));
        (x[2 * PART + 3], x[3 * PART + 4]) = (f32::NAN, f32::NAN);
        assert_eq!((at(&x, true), at(&x, false)), (2 * PART + 3, 2 * PART + 3));

        let (rows, columns) = (7, 2 * ABREAST + 3);
        let table: Vec<f32> =
            (0..rows * columns).map(|i| if i == 200 { f32::NAN } else { (i * 31 % 17) as f32 }).collect();
        let table = Tensor::from_slice(&table, [rows, columns]).unwrap();
        // Turned into rows that lie dense, each is looked through by itself.
        let turned = table.t().unwrap();
        let alone = Tensor::from_vec(turned.to_vec::<f32>().unwrap(), *turned.shape()).unwrap();
        for largest in [true, false] {
            let of = |x: &Tensor, axis: isize| if largest { x.argmax(axis) } else { x.argmin(axis) };
            let (blocks, rows) = (of(&table, 0).unwrap(), of(&alone, 1).unwrap());
            assert_eq!(blocks.to_vec::<i64>().unwrap(), rows.to_vec::<i64>().unwrap());
        }
    }
}
