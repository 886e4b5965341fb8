//! The kernels of [`Attend`]: products of tiles, and what is done to a tile of scores while it is in the cache.

use super::tiled::{Attend, Sizes};
use crate::cpu::gemm::{Strided, gemm};
use crate::cpu::load::load;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd;
use crate::cpu::single::Number;
use crate::layout::for_each_row;
use crate::ops::matmul::split;
use crate::scalar::Scalar;
use crate::{DType, Elements, Layout, Result, Shape, View, ViewMut, with_element};
use std::ops::Range;

/// Queries and keys of a tile: its scores fill the first-level cache.
const ROWS: usize = 64;
const COLUMNS: usize = 128;
/// Numbers of a row that are summed side by side.
const LANES: usize = 32;

/// Matrices of an operand, one for each attention.
struct Matrices<'a, C> {
    start: Shared<C>,
    offsets: Scratch<isize>,
    row: isize,
    column: isize,
    /// What keeps a converted copy alive.
    _copy: Option<Elements<'a, C>>,
}

fn offsets(layout: &Layout) -> Scratch<isize> {
    let mut all = Scratch::default();
    for_each_row(layout, |offset, length, stride| all.extend((0..length as isize).map(|i| offset + i * stride)));
    all
}

impl<'a, C: Number> Matrices<'a, C> {
    fn new(x: &View<'a>, lead: Shape) -> Result<Matrices<'a, C>> {
        let of = |layout: &Layout, start: *const C, copy| {
            let (batch, [row, column]) = split(layout, lead);
            Matrices { start: Shared::from_ptr(start.cast_mut()), offsets: offsets(&batch), row, column, _copy: copy }
        };
        if x.dtype() == C::DTYPE {
            return Ok(of(&x.layout(), x.as_ptr().cast(), None));
        }
        let copy = C::read(x)?;
        Ok(of(&Layout::contiguous(*x.shape()), copy.as_ptr(), Some(copy)))
    }

    /// Rows from number `row` on of matrix `i`.
    fn at(&self, i: usize, row: usize) -> Strided<*const C> {
        let offset = self.offsets[i] + row as isize * self.row;
        Strided { pointer: self.start.get().wrapping_offset(offset).cast_const(), row: self.row, column: self.column }
    }
}

/// A tile that is dense, with rows of so many elements.
fn dense<C>(pointer: *const C, width: usize) -> Strided<*const C> {
    Strided { pointer, row: width as isize, column: 1 }
}

fn dense_mut<C>(pointer: *mut C, width: usize) -> Strided<*mut C> {
    Strided { pointer, row: width as isize, column: 1 }
}

fn turned<C>(x: Strided<*const C>) -> Strided<*const C> {
    Strided { row: x.column, column: x.row, ..x }
}

/// `C = α·A·B + β·C` on the thread that calls.
///
/// # Safety
/// That of [`gemm`].
unsafe fn multiply<C: Number>(
    shape: [usize; 3],
    alpha: f64,
    a: Strided<*const C>,
    b: Strided<*const C>,
    beta: f64,
    c: Strided<*mut C>,
) {
    // SAFETY: the caller's promise.
    unsafe { gemm(shape, C::lit(alpha), a, b, C::lit(beta), c, false) }
}

/// Which keys a query sees, and what is added to its scores.
struct Mask {
    start: Shared<u8>,
    dtype: DType,
    offsets: Scratch<isize>,
    row: isize,
    column: isize,
}

impl Mask {
    fn new(view: &View<'_>, sizes: &Sizes) -> Result<Mask> {
        let scores = sizes.with(&[sizes.rows, sizes.columns])?;
        let (batch, [row, column]) = split(&view.layout().broadcast_to(scores), sizes.lead);
        Ok(Mask {
            start: Shared::from_ptr(view.as_ptr().cast_mut()),
            dtype: view.dtype(),
            offsets: offsets(&batch),
            row,
            column,
        })
    }

    /// Masks the scores of a row, the first of which is that of `column`.
    fn apply<C: Number>(&self, i: usize, row: usize, column: usize, scores: &mut [C], buffer: &mut [C]) {
        let at = self.offsets[i] + row as isize * self.row + column as isize * self.column;
        let buffer = &mut buffer[..scores.len()];
        // SAFETY: the mask broadcasts to the scores, so these are elements of it.
        with_element!(self.dtype, T => unsafe { load::<T, C>(self.start.get().cast_const(), at, self.column, buffer) });
        if self.dtype == DType::Bool {
            let zero = C::lit(0.0);
            scores
                .iter_mut()
                .zip(buffer)
                .filter(|(_, sees)| **sees == zero)
                .for_each(|(s, _)| *s = C::lit(f64::NEG_INFINITY));
        } else {
            scores.iter_mut().zip(buffer).for_each(|(s, more)| *s += *more);
        }
    }
}

/// The operands that scores are made of.
struct Scores<'a, C> {
    op: Attend,
    sizes: Sizes,
    q: Matrices<'a, C>,
    k: Matrices<'a, C>,
    mask: Option<Mask>,
}

impl<'a, C: Number> Scores<'a, C> {
    fn new(op: Attend, sizes: Sizes, x: &[View<'a>], mask: Option<&View<'a>>) -> Result<Scores<'a, C>> {
        let (q, k) = (Matrices::new(&x[0], sizes.lead)?, Matrices::new(&x[1], sizes.lead)?);
        let mask = mask.map(|mask| Mask::new(mask, &sizes)).transpose()?;
        Ok(Scores { op, sizes, q, k, mask })
    }

    /// How many keys the queries before `end` see at most.
    fn seen(&self, end: usize) -> usize {
        if self.op.causal { end.min(self.sizes.columns) } else { self.sizes.columns }
    }

    /// The scores of some queries for some keys, in rows of [`COLUMNS`].
    fn tile(&self, i: usize, rows: &Range<usize>, columns: &Range<usize>, s: &mut [C]) {
        let shape = [rows.len(), columns.len(), self.sizes.inner];
        assert!(s.len() >= rows.len() * COLUMNS && columns.len() <= COLUMNS);
        let (q, k) = (self.q.at(i, rows.start), turned(self.k.at(i, columns.start)));
        // SAFETY: the matrices have these rows, and the tile has room for them.
        unsafe { multiply(shape, self.op.scale, q, k, 0.0, dense_mut(s.as_mut_ptr(), COLUMNS)) };
        let mut buffer = [C::lit(0.0); COLUMNS];
        for (row, s) in rows.clone().zip(s.chunks_mut(COLUMNS)) {
            let s = &mut s[..columns.len()];
            if let Some(mask) = &self.mask {
                mask.apply(i, row, columns.start, s, &mut buffer);
            }
            if self.op.causal && columns.end > row + 1 {
                let first = (row + 1).saturating_sub(columns.start);
                s[first..].fill(C::lit(f64::NEG_INFINITY));
            }
        }
    }
}

/// Pieces of so many that make up a range.
fn pieces(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size).map(move |start| start..range.end.min(start + size))
}

/// [`Attend`].
pub(super) fn attend<C: Number>(op: Attend, x: &[View<'_>], y: &mut [ViewMut<'_>]) -> Result<()> {
    let Some(sizes) = Sizes::of(x[0].shape(), x[1].shape(), x[2].shape()) else { return Ok(()) };
    let scores = Scores::<C>::new(op, sizes, x, x.get(3))?;
    let v = Matrices::<C>::new(&x[2], sizes.lead)?;
    let [y, sums] = y else { return Ok(()) };
    let sums = Shared::new(sums.slice::<C>()?);
    C::write(y, |y| {
        let y = Shared::new(y);
        let blocks = sizes.rows.div_ceil(ROWS);
        let cost = ROWS.min(sizes.rows) * sizes.columns * (sizes.inner + sizes.width) / 8;
        parallel::for_chunks(sizes.lead.count() * blocks, 1, cost, |start, end| {
            let mut s = Scratch::arbitrary(ROWS * COLUMNS);
            for job in start..end {
                let (i, first) = (job / blocks, job % blocks * ROWS);
                let rows = first..sizes.rows.min(first + ROWS);
                let at = i * sizes.rows + first;
                // SAFETY: jobs write disjoint rows of the results.
                let (y, sums) = unsafe {
                    let to = at * sizes.width..(at + rows.len()) * sizes.width;
                    (y.slice(to.start, to.end), sums.slice(at, at + rows.len()))
                };
                attend_rows(&scores, &v, i, rows, &mut s, y, sums);
            }
        });
        Ok(())
    })
}

/// The results of some queries.
fn attend_rows<C: Number>(
    scores: &Scores<'_, C>,
    v: &Matrices<'_, C>,
    i: usize,
    rows: Range<usize>,
    s: &mut [C],
    y: &mut [C],
    sums: &mut [C],
) {
    let width = scores.sizes.width;
    y.fill(C::lit(0.0));
    sums.fill(C::lit(0.0));
    let mut tops = [C::lit(f64::NEG_INFINITY); ROWS];
    for columns in pieces(0..scores.seen(rows.end), COLUMNS) {
        scores.tile(i, &rows, &columns, s);
        let shape = [rows.len(), width, columns.len()];
        simd::dispatch(TakeKernel { s, columns: columns.len(), tops: &mut tops, sums, y, width });
        let (p, v) = (dense(s.as_ptr(), COLUMNS), v.at(i, columns.start));
        // SAFETY: the tile has these rows, the values have these columns of it, and the result has room for its rows.
        unsafe { multiply(shape, 1.0, p, v, 1.0, dense_mut(y.as_mut_ptr(), width)) };
    }
    simd::dispatch(FinishKernel { tops: &tops, sums, y, width });
}

/// Turns scores into exponentials below the maximum so far, and shrinks what was summed below an earlier one.
struct TakeKernel<'a, C> {
    s: &'a mut [C],
    columns: usize,
    tops: &'a mut [C; ROWS],
    sums: &'a mut [C],
    y: &'a mut [C],
    width: usize,
}

impl<C: Number> simd::Kernel for TakeKernel<'_, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (row, sum) in self.sums.iter_mut().enumerate() {
            let s = &mut self.s[row * COLUMNS..][..self.columns];
            let top = maximum(s, self.tops[row]);
            // Where nothing is seen yet, exponentials of anything are of minus infinity, which is 0; NaN stays NaN.
            let base = if top == C::lit(f64::NEG_INFINITY) { C::lit(0.0) } else { top };
            let shrink = Scalar::exp(self.tops[row] - base);
            let total = exponentials(s, base);
            *sum = *sum * shrink + total;
            if shrink != C::lit(1.0) {
                let y = &mut self.y[row * self.width..][..self.width];
                y.iter_mut().for_each(|y| *y *= shrink);
            }
            self.tops[row] = top;
        }
    }
}

/// The largest number of a row, and of what was before; NaN is none.
#[inline(always)]
fn maximum<C: Number>(s: &[C], before: C) -> C {
    let (runs, rest) = s.as_chunks::<LANES>();
    let mut lanes = [before; LANES];
    for run in runs {
        for lane in 0..LANES {
            lanes[lane] = if run[lane] > lanes[lane] { run[lane] } else { lanes[lane] };
        }
    }
    let larger = |a: C, b: C| if b > a { b } else { a };
    lanes.into_iter().chain(rest.iter().copied()).fold(before, larger)
}

/// `exp(s - base)` in place, and the sum.
#[inline(always)]
fn exponentials<C: Number>(s: &mut [C], base: C) -> C {
    let (runs, rest) = s.as_chunks_mut::<LANES>();
    let mut lanes = [C::lit(0.0); LANES];
    for run in runs {
        for lane in 0..LANES {
            run[lane] = Scalar::exp(run[lane] - base);
            lanes[lane] += run[lane];
        }
    }
    for (lane, s) in rest.iter_mut().enumerate() {
        *s = Scalar::exp(*s - base);
        lanes[lane] += *s;
    }
    sum(lanes)
}

/// By halves, which is the same on every instruction set.
#[inline(always)]
fn sum<C: Number>(mut lanes: [C; LANES]) -> C {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Divides by the sums, and turns these into logarithms. A query that sees nothing gives 0.
struct FinishKernel<'a, C> {
    tops: &'a [C; ROWS],
    sums: &'a mut [C],
    y: &'a mut [C],
    width: usize,
}

impl<C: Number> simd::Kernel for FinishKernel<'_, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (row, sum) in self.sums.iter_mut().enumerate() {
            let y = &mut self.y[row * self.width..][..self.width];
            if *sum == C::lit(0.0) {
                y.fill(C::lit(0.0));
                *sum = C::lit(f64::NEG_INFINITY);
            } else {
                let share = C::lit(1.0) / *sum;
                y.iter_mut().for_each(|y| *y *= share);
                *sum = self.tops[row] + Scalar::ln(*sum);
            }
        }
    }
}

/// What the gradient is made of.
struct Back<'a, C> {
    scores: Scores<'a, C>,
    v: Matrices<'a, C>,
    dy: Matrices<'a, C>,
    /// The logarithm of the sum of each query's exponentials.
    sums: Elements<'a, C>,
    /// `Σ y · dy` of each query.
    dots: Scratch<C>,
}

/// Memory for a tile of shares and one of their gradients.
struct Tiles<C> {
    p: Scratch<C>,
    ds: Scratch<C>,
}

impl<C: Number> Tiles<C> {
    fn new() -> Tiles<C> {
        Tiles { p: Scratch::arbitrary(ROWS * COLUMNS), ds: Scratch::arbitrary(ROWS * COLUMNS) }
    }
}

/// [`AttendGrad`](super::AttendGrad).
pub(super) fn attend_grad<C: Number>(op: Attend, x: &[View<'_>], y: &mut [ViewMut<'_>]) -> Result<()> {
    let Some(sizes) = Sizes::of(x[0].shape(), x[1].shape(), x[2].shape()) else { return Ok(()) };
    let scores = Scores::<C>::new(op, sizes, x, x.get(6))?;
    let (v, dy) = (Matrices::new(&x[2], sizes.lead)?, Matrices::new(&x[5], sizes.lead)?);
    let dots = dots(&Matrices::new(&x[3], sizes.lead)?, &dy, &sizes);
    let back = Back { scores, v, dy, sums: x[4].contiguous::<C>()?, dots };
    let [dq, dk, dv] = y else { return Ok(()) };
    C::write(dq, |dq| {
        C::write(dk, |dk| {
            C::write(dv, |dv| {
                [&mut *dq, &mut *dk, &mut *dv].into_iter().for_each(|d| d.fill(C::lit(0.0)));
                back.run(Shared::new(dq), Shared::new(dk), Shared::new(dv));
                Ok(())
            })
        })
    })
}

fn dots<C: Number>(y: &Matrices<'_, C>, dy: &Matrices<'_, C>, sizes: &Sizes) -> Scratch<C> {
    let mut all = Scratch::filled(sizes.lead.count() * sizes.rows, C::lit(0.0));
    let shared = Shared::new(&mut all);
    parallel::for_chunks(sizes.lead.count() * sizes.rows, ROWS, sizes.width, |start, end| {
        // SAFETY: chunks are disjoint.
        let dots = unsafe { shared.slice(start, end) };
        for (at, dot) in (start..end).zip(dots) {
            let [a, b] = [y, dy].map(|x| x.at(at / sizes.rows, at % sizes.rows));
            for j in 0..sizes.width as isize {
                // SAFETY: the row is one of the operand's.
                let [a, b] = [a, b].map(|x| unsafe { *x.pointer.offset(j * x.column) });
                *dot += a * b;
            }
        }
    });
    all
}

impl<C: Number> Back<'_, C> {
    /// Adds up all gradients, which are 0.
    fn run(&self, dq: Shared<C>, dk: Shared<C>, dv: Shared<C>) {
        let Sizes { rows, columns, inner, width, lead } = self.scores.sizes;
        let (count, cost) = (lead.count(), rows * columns * (3 * inner + 2 * width) / 8);
        // Either way gives the same bits. A task for each attention computes its shares once, which are five products; tasks for
        // parts of it compute them twice, seven in all, and no thread is without work.
        let threads = rayon::current_num_threads();
        if 5 * count.div_ceil(threads) * threads <= 7 * count {
            return parallel::for_chunks(count, 1, cost, |start, end| {
                let mut tiles = Tiles::new();
                for i in start..end {
                    for part in pieces(0..columns, COLUMNS) {
                        self.columns(i, part, &mut tiles, Some(dq), dk, dv);
                    }
                }
            });
        }
        let (across, down) = (columns.div_ceil(COLUMNS), rows.div_ceil(ROWS));
        parallel::for_chunks(count * across, 1, cost / across.max(1), |start, end| {
            let mut tiles = Tiles::new();
            for job in start..end {
                let first = job % across * COLUMNS;
                let part = first..columns.min(first + COLUMNS);
                self.columns(job / across, part, &mut tiles, None, dk, dv);
            }
        });
        parallel::for_chunks(count * down, 1, cost / down.max(1), |start, end| {
            let mut tiles = Tiles::new();
            for job in start..end {
                let (i, first) = (job / down, job % down * ROWS);
                let part = first..rows.min(first + ROWS);
                for columns in pieces(0..self.scores.seen(part.end), COLUMNS) {
                    self.tile(i, &part, &columns, &mut tiles);
                    self.to_queries(i, &part, &columns, &tiles, dq);
                }
            }
        });
    }

    /// What some keys and values get from all queries that see them; and, where `dq` is given, these from them.
    fn columns(
        &self,
        i: usize,
        columns: Range<usize>,
        tiles: &mut Tiles<C>,
        dq: Option<Shared<C>>,
        dk: Shared<C>,
        dv: Shared<C>,
    ) {
        let Sizes { rows, columns: all, inner, width, .. } = self.scores.sizes;
        let first = if self.scores.op.causal { columns.start / ROWS * ROWS } else { 0 };
        for part in pieces(first.min(rows)..rows, ROWS) {
            let columns = columns.start..columns.end.min(self.scores.seen(part.end));
            self.tile(i, &part, &columns, tiles);
            let transposed = |tile: &Scratch<C>| turned(dense(tile.as_ptr(), COLUMNS));
            let at = i * all + columns.start;
            // SAFETY: tiles and operands have these rows and columns; of the results, these rows of attention `i` are this
            // task's alone.
            unsafe {
                let to = dense_mut(dv.get().add(at * width), width);
                let shape = [columns.len(), width, part.len()];
                multiply(shape, 1.0, transposed(&tiles.p), self.dy.at(i, part.start), 1.0, to);
                let to = dense_mut(dk.get().add(at * inner), inner);
                let shape = [columns.len(), inner, part.len()];
                multiply(shape, self.scores.op.scale, transposed(&tiles.ds), self.scores.q.at(i, part.start), 1.0, to);
            }
            if let Some(dq) = dq {
                self.to_queries(i, &part, &columns, tiles, dq);
            }
        }
    }

    /// What queries get from the gradients of their scores.
    fn to_queries(&self, i: usize, rows: &Range<usize>, columns: &Range<usize>, tiles: &Tiles<C>, dq: Shared<C>) {
        let Sizes { rows: all, inner, .. } = self.scores.sizes;
        let (ds, k) = (dense(tiles.ds.as_ptr(), COLUMNS), self.scores.k.at(i, columns.start));
        // SAFETY: the tile and the keys have these rows and columns; these rows of the result are this task's alone.
        unsafe {
            let to = dense_mut(dq.get().add((i * all + rows.start) * inner), inner);
            multiply([rows.len(), inner, columns.len()], self.scores.op.scale, ds, k, 1.0, to);
        }
    }

    /// The shares that some queries give some keys, and the gradients of their scores.
    fn tile(&self, i: usize, rows: &Range<usize>, columns: &Range<usize>, tiles: &mut Tiles<C>) {
        let Sizes { rows: all, width, .. } = self.scores.sizes;
        self.scores.tile(i, rows, columns, &mut tiles.p);
        let (dy, v) = (self.dy.at(i, rows.start), turned(self.v.at(i, columns.start)));
        let shape = [rows.len(), columns.len(), width];
        // SAFETY: the operands have these rows, and the tile has room for them.
        unsafe { multiply(shape, 1.0, dy, v, 0.0, dense_mut(tiles.ds.as_mut_ptr(), COLUMNS)) };
        let at = i * all + rows.start..i * all + rows.end;
        let (sums, dots) = (&self.sums[at.clone()], &self.dots[at]);
        simd::dispatch(ShareKernel { p: &mut tiles.p, ds: &mut tiles.ds, columns: columns.len(), sums, dots });
    }
}

/// Scores as shares, and gradients of shares as those of scores.
struct ShareKernel<'a, C> {
    p: &'a mut [C],
    ds: &'a mut [C],
    columns: usize,
    sums: &'a [C],
    dots: &'a [C],
}

impl<C: Number> simd::Kernel for ShareKernel<'_, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (row, (&sum, &dot)) in self.sums.iter().zip(self.dots).enumerate() {
            let p = &mut self.p[row * COLUMNS..][..self.columns];
            let ds = &mut self.ds[row * COLUMNS..][..self.columns];
            // A query that sees nothing has no shares.
            if sum == C::lit(f64::NEG_INFINITY) {
                p.fill(C::lit(0.0));
                ds.fill(C::lit(0.0));
                continue;
            }
            for j in 0..self.columns.min(p.len()).min(ds.len()) {
                let share = Scalar::exp(p[j] - sum);
                p[j] = share;
                ds[j] = share * (ds[j] - dot);
            }
        }
    }
}
