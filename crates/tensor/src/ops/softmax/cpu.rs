//! Softmax along rows: long ones one at a time, short ones side by side.

#![expect(clippy::needless_range_loop, reason = "the same lane of several arrays")]

use super::Softmax;
use crate::cpu::lanes::totals;
use crate::cpu::scratch::Scratch;
use crate::cpu::turned::{ROWS, SHORT, Turned, turn};
use crate::cpu::{parallel, simd};
use crate::scalar::Real;
use crate::{Element, Result, View, ViewMut};
use std::hint::black_box;
use std::marker::PhantomData;

/// Lanes of the sum over one row. Of a short row each element has one to itself, whichever way it is summed.
const LANES: usize = 32;
const _: () = assert!(SHORT <= LANES);
/// Rows side by side that are worked on together.
const ABREAST: usize = 32;
/// Rows side by side that are not worth a block.
const FEW: usize = 8;
/// Elements that a thread takes at a time.
const CHUNK: usize = 2048;
/// Additions that an element costs: most of it is the exponential.
const COST: usize = 8;

/// Softmax of every row along the op's axis, computed in `C`.
pub(super) fn softmax<T: Element, C: Real>(op: &Softmax, x: &View<'_>, y: &mut ViewMut<'_>) -> Result<()> {
    let shape = *x.shape();
    let n = shape.get(op.axis).copied().unwrap_or(1);
    let inner: usize = shape.iter().skip(op.axis + 1).product();
    let x = x.contiguous::<T>()?;
    let shared = parallel::Shared::new(y.slice::<T>()?);
    if inner == 1 {
        for_rows::<T, C>(&x, n, op.log, &Stored { y: shared, n });
        return Ok(());
    }
    if inner < FEW {
        let rows = x.len().checked_div(n).unwrap_or(0);
        parallel::for_chunks(rows, (CHUNK / n.max(1)).max(1), COST * n, |start, end| {
            let mut buffer = Scratch::filled(n, C::default());
            for row in start..end {
                let first = row / inner * n * inner + row % inner;
                buffer.iter_mut().enumerate().for_each(|(i, b)| *b = C::load(x[first + i * inner]));
                let rest = simd::dispatch(RowKernel { row: &mut buffer, log: op.log });
                for (i, &b) in buffer.iter().enumerate() {
                    // SAFETY: the indices of different rows are disjoint and lie inside the result.
                    unsafe { *shared.get().add(first + i * inner) = rest.of(b).store() }
                }
            }
        });
        return Ok(());
    }
    // Rows that lie side by side, a block of them at a time.
    let (outer, blocks) = (x.len().checked_div(n * inner).unwrap_or(0), inner.div_ceil(ABREAST));
    parallel::for_chunks(outer * blocks, 1, COST * n * ABREAST.min(inner), |start, end| {
        let buffer = &mut Scratch::filled(n, [C::default(); ABREAST]);
        for task in start..end {
            let column = task % blocks * ABREAST;
            let (first, width) = (task / blocks * n * inner + column, ABREAST.min(inner - column));
            let log = op.log;
            simd::dispatch_for::<T, _>(Columns { x: &x, y: &shared, first, inner, width, buffer, log });
        }
    });
    Ok(())
}

/// [`SoftmaxGrad`](super::SoftmaxGrad), computed in `C`.
pub(super) fn gradient<T: Element, C: Real>(op: &Softmax, x: &[View<'_>], dx: &mut ViewMut<'_>) -> Result<()> {
    let shape = *x[0].shape();
    let n = shape.get(op.axis).copied().unwrap_or(1);
    let inner: usize = shape.iter().skip(op.axis + 1).product();
    let (y, dy) = (x[0].contiguous::<T>()?, x[1].contiguous::<T>()?);
    let dx = parallel::Shared::new(dx.slice::<T>()?);
    let outer = y.len().checked_div(n * inner).unwrap_or(0);
    if inner == 1 {
        parallel::for_chunks(outer, (CHUNK / n.max(1)).max(1), COST * n, |start, end| {
            let [y, dy] = [&y, &dy].map(|of| &of[start * n..end * n]);
            // SAFETY: rows are disjoint ranges of the result.
            let dx = unsafe { dx.slice(start * n, end * n) };
            simd::dispatch_for::<T, _>(RowsBack { y, dy, dx, n, log: op.log, to: PhantomData::<C> });
        });
        return Ok(());
    }
    let blocks = inner.div_ceil(ABREAST);
    parallel::for_chunks(outer * blocks, 1, COST * n * ABREAST.min(inner), |start, end| {
        for task in start..end {
            let column = task % blocks * ABREAST;
            let (first, width) = (task / blocks * n * inner + column, ABREAST.min(inner - column));
            let back = ColumnsBack { y: &y, dy: &dy, dx, first, n, inner, width, log: op.log, to: PhantomData::<C> };
            simd::dispatch_for::<T, _>(back);
        }
    });
    Ok(())
}

/// What is added up for a gradient.
#[inline(always)]
fn part<C: Real>(y: C, dy: C, log: bool) -> C {
    if log { dy } else { y * dy }
}

/// An element of the gradient.
#[inline(always)]
fn slope<C: Real>(y: C, dy: C, total: C, log: bool) -> C {
    if log { dy - y.exp() * total } else { y * (dy - total) }
}

struct RowsBack<'a, T, C> {
    y: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    n: usize,
    log: bool,
    to: PhantomData<C>,
}

impl<T: Element, C: Real> simd::Kernel for RowsBack<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let RowsBack { y, dy, dx, n, log, .. } = self;
        for ((y, dy), dx) in y.chunks_exact(n).zip(dy.chunks_exact(n)).zip(dx.chunks_exact_mut(n)) {
            let [total] = totals(y, dy, |y, dy| [part(C::load(y), C::load(dy), log)]);
            for i in 0..n {
                dx[i] = slope(C::load(y[i]), C::load(dy[i]), total, log).store();
            }
        }
    }
}

/// Rows side by side, from the element `first` on.
struct ColumnsBack<'a, T, C> {
    y: &'a [T],
    dy: &'a [T],
    dx: parallel::Shared<T>,
    first: usize,
    n: usize,
    inner: usize,
    width: usize,
    log: bool,
    to: PhantomData<C>,
}

impl<T: Element, C: Real> simd::Kernel for ColumnsBack<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let ColumnsBack { y, dy, dx, first, n, inner, width, log, .. } = self;
        let mut total = [C::lit(0.0); ABREAST];
        let total = &mut total[..width];
        for i in 0..n {
            let [y, dy] = [y, dy].map(|of| &of[first + i * inner..][..width]);
            for lane in 0..width {
                total[lane] = total[lane] + part(C::load(y[lane]), C::load(dy[lane]), log);
            }
        }
        for i in 0..n {
            let [y, dy] = [y, dy].map(|of| &of[first + i * inner..][..width]);
            // SAFETY: blocks are disjoint parts of the result.
            let dx = unsafe { dx.slice(first + i * inner, first + i * inner + width) };
            for lane in 0..width {
                dx[lane] = slope(C::load(y[lane]), C::load(dy[lane]), total[lane], log).store();
            }
        }
    }
}

/// Rows side by side, to the bits of [`softmax_row`].
struct Columns<'a, T, C> {
    x: &'a [T],
    y: &'a parallel::Shared<T>,
    /// Of the first row, its first element.
    first: usize,
    /// From one element of a row to the next.
    inner: usize,
    /// How many rows there are.
    width: usize,
    buffer: &'a mut [[C; ABREAST]],
    log: bool,
}

impl<T: Element, C: Real> simd::Kernel for Columns<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Columns { x, y, first, inner, width, buffer, log } = self;
        for i in 0..buffer.len() {
            let x = &x[first + i * inner..][..width];
            for lane in 0..width {
                buffer[i][lane] = C::load(x[lane]);
            }
        }
        let top = fold_columns(buffer, C::lit(f64::NEG_INFINITY), |_, x| x, larger);
        let exponential = |lane: usize, x: C| (x - top[lane]).exp();
        let total = if log {
            fold_columns(buffer, C::lit(0.0), exponential, |a, x| a + x)
        } else {
            for i in 0..buffer.len() {
                for lane in 0..ABREAST {
                    buffer[i][lane] = exponential(lane, buffer[i][lane]);
                }
            }
            fold_columns(buffer, C::lit(0.0), |_, x| x, |a, x| a + x)
        };
        let mut rest = total;
        for lane in 0..width {
            rest[lane] = if log { total[lane].ln() } else { C::lit(1.0) / total[lane] };
        }
        for i in 0..buffer.len() {
            // SAFETY: blocks are disjoint parts of the result.
            let y = unsafe { y.slice(first + i * inner, first + i * inner + width) };
            if log {
                for lane in 0..width {
                    y[lane] = Rest::Below(top[lane], rest[lane]).of(buffer[i][lane]).store();
                }
            } else {
                for lane in 0..width {
                    y[lane] = Rest::Share(rest[lane]).of(buffer[i][lane]).store();
                }
            }
        }
    }
}

/// What becomes of the rows of [`for_rows`]: not a closure, for these are not always compiled for the instruction set of their caller.
pub(crate) trait Finish<C>: Sync {
    /// The row of this number.
    fn row(&self, number: usize, row: Row<'_, C>);
}

/// Rows as they are.
struct Stored<T> {
    y: parallel::Shared<T>,
    n: usize,
}

impl<T: Element, C: Real> Finish<C> for Stored<T> {
    #[inline(always)]
    fn row(&self, number: usize, row: Row<'_, C>) {
        // SAFETY: rows are disjoint ranges of the result.
        row.store(unsafe { self.y.slice(number * self.n, (number + 1) * self.n) }, |y| y);
    }
}

/// The softmax of a row or its logarithm.
pub(crate) struct Row<'a, C> {
    values: &'a [C],
    stride: usize,
    rest: Rest<C>,
}

impl<C: Real> Row<'_, C> {
    /// One element of it.
    #[inline(always)]
    pub(crate) fn get(&self, i: usize) -> C {
        self.rest.of(self.values[i * self.stride])
    }

    /// Each element to `y`, as `map` makes it.
    #[inline(always)]
    pub(crate) fn store<T: Element>(&self, y: &mut [T], map: impl Fn(C) -> C) {
        if self.stride == 1 {
            y.iter_mut().zip(self.values).for_each(|(y, &x)| *y = map(self.rest.of(x)).store());
            return;
        }
        for i in 0..y.len() {
            y[i] = map(self.get(i)).store();
        }
    }
}

/// What is left to be done to an element of a row when it is asked for, so that a row is not gone through once more.
#[derive(Clone, Copy)]
enum Rest<C> {
    /// It is done.
    Nothing,
    /// An exponential is multiplied by one over the sum of all.
    Share(C),
    /// Two subtractions: the sum of a large maximum and a small logarithm would lose the logarithm.
    Below(C, C),
}

impl<C: Real> Rest<C> {
    #[inline(always)]
    fn of(self, x: C) -> C {
        match self {
            Rest::Nothing => x,
            Rest::Share(share) => x * share,
            Rest::Below(top, total) => (x - top) - total,
        }
    }
}

/// Gives `finish` the softmax, or its logarithm, of each row of `n` elements of `x`.
pub(crate) fn for_rows<T: Element, C: Real>(x: &[T], n: usize, log: bool, finish: &impl Finish<C>) {
    let rows = x.len().checked_div(n).unwrap_or(0);
    let chunk = (CHUNK / n.max(1)).max(1).next_multiple_of(if n <= SHORT { ROWS } else { 1 });
    parallel::for_chunks(rows, chunk, COST * n, |start, end| {
        let rows = &x[start * n..end * n];
        match n <= SHORT {
            true => simd::dispatch_for::<T, _>(ShortRows { rows, n, log, start, finish, to: PhantomData }),
            false => {
                let buffer = &mut Scratch::arbitrary(n);
                simd::dispatch_for::<T, _>(LongRows { rows, buffer, log, start, finish });
            }
        }
    });
}

struct LongRows<'a, T, C, F> {
    rows: &'a [T],
    buffer: &'a mut [C],
    log: bool,
    start: usize,
    finish: &'a F,
}

impl<T: Element, C: Real, F: Finish<C>> simd::Kernel for LongRows<'_, T, C, F> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (number, row) in self.rows.chunks_exact(self.buffer.len()).enumerate() {
            for i in 0..row.len() {
                self.buffer[i] = C::load(row[i]);
            }
            let rest = softmax_row(self.buffer, self.log);
            self.finish.row(self.start + number, Row { values: self.buffer, stride: 1, rest });
        }
    }
}

struct ShortRows<'a, T, C, F> {
    rows: &'a [T],
    n: usize,
    log: bool,
    start: usize,
    finish: &'a F,
    to: PhantomData<C>,
}

impl<T: Element, C: Real, F: Finish<C>> simd::Kernel for ShortRows<'_, T, C, F> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let n = self.n.min(SHORT);
        let mut turned: Turned<C> = [[C::default(); ROWS]; SHORT];
        for (group, rows) in self.rows.chunks(n * ROWS).enumerate() {
            turn(rows.len() / n, |lane| &rows[lane * n..][..n], C::load, &mut turned);
            softmax_turned(&mut turned[..n], self.log);
            for lane in 0..rows.len() / n {
                let values = &turned.as_flattened()[lane..];
                self.finish.row(self.start + group * ROWS + lane, Row { values, stride: ROWS, rest: Rest::Nothing });
            }
        }
    }
}

struct RowKernel<'a, C> {
    row: &'a mut [C],
    log: bool,
}

impl<C: Real> simd::Kernel for RowKernel<'_, C> {
    type Out = Rest<C>;
    #[inline(always)]
    fn run(self) -> Rest<C> {
        softmax_row(self.row, self.log)
    }
}

/// The arithmetic, for the caller's instruction set, but for what is left.
#[inline(always)]
fn softmax_row<C: Real>(row: &mut [C], log: bool) -> Rest<C> {
    let top = fold(row, C::lit(f64::NEG_INFINITY), |x| *x, larger);
    if log {
        let total = fold(row, C::lit(0.0), |x| (*x - top).exp(), |a, x| a + x);
        return Rest::Below(top, total.ln());
    }
    let exponential = |x: &mut C| {
        *x = (*x - top).exp();
        *x
    };
    Rest::Share(C::lit(1.0) / fold(row, C::lit(0.0), exponential, |a, x| a + x))
}

/// The larger of two. Where `x` is NaN it is passed over: the sum of the exponentials is NaN all the same.
#[inline(always)]
fn larger<C: Real>(a: C, x: C) -> C {
    C::select(a.lt(x), x, a)
}

/// A fold of mapped elements in fixed lanes, so that it vectorizes and every instruction set rounds alike.
#[inline(always)]
fn fold<C: Real>(x: &mut [C], empty: C, map: impl Fn(&mut C) -> C, step: impl Fn(C, C) -> C) -> C {
    let mut lanes = [empty; LANES];
    let mut width = LANES.min(x.len().next_power_of_two());
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = step(lanes[lane], map(&mut chunk[lane]));
        }
    }
    // As if they were stored here: what follows picks single lanes, for which the compiler would split the registers above.
    let mut lanes = black_box(lanes);
    for (lane, x) in rest.iter_mut().enumerate() {
        lanes[lane] = step(lanes[lane], map(x));
    }
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] = step(lanes[lane], lanes[lane + width]);
        }
    }
    lanes[0]
}

/// [`fold`] of columns, each in the same order.
#[inline(always)]
fn fold_columns<C: Real>(
    x: &[[C; ABREAST]],
    empty: C,
    map: impl Fn(usize, C) -> C,
    step: impl Fn(C, C) -> C,
) -> [C; ABREAST] {
    let mut lanes = [[empty; ABREAST]; LANES];
    for i in 0..x.len() {
        let to = &mut lanes[i % LANES];
        for lane in 0..ABREAST {
            to[lane] = step(to[lane], map(lane, x[i][lane]));
        }
    }
    let mut width = LANES.min(x.len().next_power_of_two());
    while width > 1 {
        width /= 2;
        for i in 0..width {
            for lane in 0..ABREAST {
                lanes[i][lane] = step(lanes[i][lane], lanes[i + width][lane]);
            }
        }
    }
    lanes[0]
}

/// [`softmax_row`] of turned rows, to the same bits.
#[inline(always)]
fn softmax_turned<C: Real>(x: &mut [[C; ROWS]], log: bool) {
    let top = fold_turned(x, larger);
    for x in &mut *x {
        for lane in 0..ROWS {
            x[lane] = x[lane] - top[lane];
        }
    }
    let mut exponentials = [[C::default(); ROWS]; SHORT];
    let exponentials = &mut exponentials[..x.len()];
    for i in 0..x.len() {
        for lane in 0..ROWS {
            exponentials[i][lane] = x[i][lane].exp();
        }
    }
    let mut total = fold_turned(exponentials, |a, x| a + x);
    if log {
        total.iter_mut().for_each(|total| *total = total.ln());
        for x in x {
            for lane in 0..ROWS {
                x[lane] = x[lane] - total[lane];
            }
        }
        return;
    }
    total.iter_mut().for_each(|total| *total = C::lit(1.0) / *total);
    for i in 0..x.len() {
        for lane in 0..ROWS {
            x[i][lane] = exponentials[i][lane] * total[lane];
        }
    }
}

/// [`fold`] of turned rows in the same order: of a short row each element is in a lane of its own.
#[inline(always)]
fn fold_turned<C: Real>(x: &[[C; ROWS]], step: impl Fn(C, C) -> C) -> [C; ROWS] {
    let mut folded = [[C::default(); ROWS]; SHORT];
    folded[..x.len()].copy_from_slice(x);
    let (mut count, mut width) = (x.len(), x.len().next_power_of_two());
    while width > 1 {
        width /= 2;
        for i in width..count {
            for lane in 0..ROWS {
                folded[i - width][lane] = step(folded[i - width][lane], folded[i][lane]);
            }
        }
        count = count.min(width);
    }
    folded[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::{Isa, with_isa};

    #[test]
    fn short_rows_have_the_bits_of_long_ones() {
        for (n, log) in (1..=SHORT).flat_map(|n| [(n, false), (n, true)]) {
            let x: Vec<f32> = (0..n * 37).map(|i| ((i * 7919) % 1013) as f32 * 0.03 - 9.0).collect();
            let mut expected = x.clone();
            for row in expected.chunks_mut(n) {
                let rest = softmax_row(row, log);
                row.iter_mut().for_each(|x| *x = rest.of(*x));
            }
            for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
                let mut found = vec![0f32; x.len()];
                let shared = parallel::Shared::new(&mut found);
                with_isa(isa, || {
                    for_rows::<f32, f32>(&x, n, log, &Stored { y: shared, n });
                });
                assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{n} {log} {isa:?}");
            }
        }
    }
}
