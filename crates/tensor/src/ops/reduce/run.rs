//! How any fold runs on a CPU. Rows that lie dense are folded in fixed lanes; where the kept dimension is the dense one,
//! whole rows are folded into a row of accumulators. Partial results of fixed size are combined in order, so that
//! neither the number of threads nor the instruction set changes a bit, and so that rounding errors of long sums stay
//! small.

use crate::View;
use crate::cpu::{parallel, simd};
use crate::run::for_each_row;
use crate::scalar::{Integer, Real};
use crate::{DType, Layout, MAX_RANK, Shape, ViewMut, with_element};
use smallvec::SmallVec;
use std::any::TypeId;
use std::ops::Range;

/// Independent accumulators along a row: two registers of the widest set.
const LANES: usize = 32;
/// Elements of a row folded into one partial result.
const PART: usize = 4096;
/// Accumulators side by side: a row of the result, or as many short ones as fit.
const COLUMNS: usize = 256;
/// Elements folded into one partial row.
const ROWS_PART: usize = 1 << 14;
/// Elements folded one after the other into the same accumulator at most, before its result meets others.
const CHAIN: usize = 128;

/// An associative fold.
pub(crate) trait Fold: Sync {
    /// The fold of nothing.
    fn empty<C: Real>(&self) -> C;
    /// One more element.
    fn step<C: Real>(&self, a: C, x: C) -> C;
}

/// Folds the flagged axes of `x` into `y`.
pub(crate) fn reduce<F: Fold>(f: &F, x: &View<'_>, axes: &[bool; MAX_RANK], y: &mut ViewMut<'_>) {
    match x.dtype() {
        DType::F64 => reduce_as::<F, f64>(f, x, axes, y),
        DType::F32 | DType::F16 | DType::BF16 => reduce_as::<F, f32>(f, x, axes, y),
        _ => reduce_as::<F, Integer>(f, x, axes, y),
    }
}

/// The flagged dimensions of a layout, and the others, as two layouts.
pub(crate) fn partition(layout: &Layout, flags: &[bool; MAX_RANK]) -> (Layout, Layout) {
    let pick = |flag: bool| {
        let chosen: Vec<usize> =
            (0..layout.shape.rank()).filter(|&a| flags[a] == flag && layout.shape[a] != 1).collect();
        let mut dims: Vec<usize> = Vec::new();
        let mut strides: Vec<isize> = Vec::new();
        for &axis in &chosen {
            let (length, stride) = (layout.shape[axis], layout.strides()[axis]);
            match (dims.last_mut(), strides.last_mut()) {
                (Some(dim), Some(step)) if *step == stride * length as isize => (*dim, *step) = (*dim * length, stride),
                _ => {
                    dims.push(length);
                    strides.push(stride);
                }
            }
        }
        Layout::new(Shape::from_slice(&dims), &strides, 0)
    };
    (pick(true), pick(false))
}

struct Job<'a, F, C> {
    f: &'a F,
    start: *const u8,
    folded: Layout,
    /// Already of the type that is computed in: read where it lies if dense.
    direct: bool,
    load: unsafe fn(*const u8, isize, isize, &mut [C]),
}

// SAFETY: the operand is only read, and lives as long as the operation.
unsafe impl<F: Sync, C> Sync for Job<'_, F, C> {}

fn reduce_as<F: Fold, C: Real>(f: &F, x: &View<'_>, axes: &[bool; MAX_RANK], y: &mut ViewMut<'_>) {
    let (folded, kept) = partition(x.layout(), axes);
    let load = with_element!(x.dtype(), T => super::super::elementwise::load::<T, C> as unsafe fn(_, _, _, &mut [C]));
    let direct = with_element!(x.dtype(), T => TypeId::of::<T>() == TypeId::of::<C>());
    let job = Job { f, start: x.as_ptr(), folded, direct, load };
    let mut results = vec![f.empty::<C>(); y.shape().count()];
    let columns_dense = kept.strides().last() == Some(&1) && folded.strides().last() != Some(&1);
    if columns_dense {
        job.columns(&kept, &mut results)
    } else {
        job.rows(&kept, &mut results)
    }
    with_element!(y.dtype(), T => {
        if let Ok(y) = y.slice::<T>() {
            y.iter_mut().zip(&results).for_each(|(y, r)| *y = r.store());
        }
    });
}

impl<F: Fold, C: Real> Job<'_, F, C> {
    /// Folds one element of the result after the other.
    fn rows(&self, kept: &Layout, results: &mut [C]) {
        let mut bases = Vec::with_capacity(results.len());
        for_each_row(kept, |offset, length, stride| bases.extend((0..length as isize).map(|i| offset + i * stride)));
        let each = self.folded.shape.count();
        if results.len() == 1 {
            results[0] = self.one(bases[0]);
            return;
        }
        let group = (PART / each.max(1)).max(1);
        let shared = parallel::Shared::new(results);
        parallel::for_chunks(bases.len(), group, each, |start, end| {
            // SAFETY: chunks are disjoint ranges of the results.
            let results = unsafe { shared.slice(start, end) };
            results.iter_mut().zip(&bases[start..end]).for_each(|(r, &base)| *r = self.one(base));
        });
    }

    /// The fold of all elements that belong to the one result whose first element is at `base`.
    fn one(&self, base: isize) -> C {
        if let (&[length], &[stride]) = (self.folded.shape.dims(), self.folded.strides())
            && length <= PART
        {
            return self.part(base, length, stride);
        }
        let mut parts: Vec<(isize, usize, isize)> = Vec::new();
        for_each_row(&self.folded, |offset, length, stride| {
            for first in (0..length).step_by(PART) {
                parts.push((base + offset + first as isize * stride, PART.min(length - first), stride));
            }
        });
        let mut partial = vec![self.f.empty::<C>(); parts.len()];
        let shared = parallel::Shared::new(&mut partial);
        let group = (PART / parts.first().map_or(1, |p| p.1)).max(1);
        parallel::for_chunks(parts.len(), group, PART / group, |start, end| {
            // SAFETY: chunks are disjoint ranges of the partial results.
            let partial = unsafe { shared.slice(start, end) };
            for (partial, &(offset, length, stride)) in partial.iter_mut().zip(&parts[start..end]) {
                *partial = self.part(offset, length, stride);
            }
        });
        pairwise(self.f, &partial)
    }

    /// The fold of a run of at most [`PART`] elements.
    fn part(&self, offset: isize, length: usize, stride: isize) -> C {
        if self.direct && stride == 1 {
            // SAFETY: as below; the elements are of type C.
            let run = unsafe { std::slice::from_raw_parts(self.start.cast::<C>().offset(offset), length) };
            return simd::dispatch(RowKernel { f: self.f, x: run });
        }
        let mut block: SmallVec<[C; 64]> = SmallVec::from_elem(C::default(), length);
        // SAFETY: the run lies inside the operand's layout.
        unsafe { (self.load)(self.start, offset, stride, &mut block) };
        simd::dispatch(RowKernel { f: self.f, x: &block })
    }

    /// Folds rows into a row of accumulators, for results that lie side by side.
    fn columns(&self, kept: &Layout, results: &mut [C]) {
        let mut runs: Vec<(isize, usize, isize)> = Vec::new();
        for_each_row(&self.folded, |offset, length, stride| runs.push((offset, length, stride)));
        // Blocks of adjacent results, none of them across the end of a dense run.
        let mut blocks: Vec<(isize, Range<usize>)> = Vec::new();
        let mut at = 0;
        for_each_row(kept, |offset, length, _| {
            for first in (0..length).step_by(COLUMNS) {
                let width = COLUMNS.min(length - first);
                blocks.push((offset + first as isize, at + first..at + first + width));
            }
            at += length;
        });
        let shared = parallel::Shared::new(results);
        parallel::for_chunks(blocks.len(), 1, self.folded.shape.count() * COLUMNS, |start, end| {
            for (offset, range) in &blocks[start..end] {
                // SAFETY: blocks are disjoint ranges of the results.
                self.block(*offset, &runs, unsafe { shared.slice(range.start, range.end) });
            }
        });
    }

    /// Folds runs of rows, each from an offset at a stride, into adjacent results that begin at `base`.
    fn block(&self, base: isize, runs: &[(isize, usize, isize)], results: &mut [C]) {
        let width = results.len();
        // Rows that follow each other without a gap are folded several at a time, each into accumulators of its own.
        let abreast = |stride: isize| if stride == width as isize { COLUMNS / width } else { 1 };
        let mut pieces: Vec<Piece> = Vec::new();
        for &(offset, length, stride) in runs {
            let most = (ROWS_PART / width).min(CHAIN * abreast(stride)).next_multiple_of(abreast(stride));
            for first in (0..length).step_by(most) {
                let offset = base + offset + first as isize * stride;
                pieces.push(Piece { offset, rows: most.min(length - first), stride });
            }
        }
        if pieces.is_empty() {
            return results.fill(self.f.empty());
        }
        // Short runs are collected: a partial row is made of pieces with about as many rows as one alone may have.
        let longest = pieces.iter().map(|piece| piece.rows).max().unwrap_or(1);
        let together = ((ROWS_PART / width).min(CHAIN) / longest).max(1);
        let count = pieces.len().div_ceil(together);
        let mut partial = vec![self.f.empty::<C>(); count * width];
        let shared = parallel::Shared::new(&mut partial);
        let chunk = (ROWS_PART / (together * longest * width)).max(1);
        parallel::for_chunks(count, chunk, together * longest * width, |start, end| {
            for index in start..end {
                let pieces = &pieces[index * together..pieces.len().min((index + 1) * together)];
                // SAFETY: each partial row belongs to one index.
                let partial = unsafe { shared.slice(index * width, (index + 1) * width) };
                let mut accumulators = [self.f.empty::<C>(); COLUMNS];
                for piece in pieces {
                    self.piece(piece, width, abreast(piece.stride), &mut accumulators);
                }
                for row in accumulators.chunks_exact(width).take(COLUMNS / width) {
                    simd::dispatch(ColumnKernel { f: self.f, x: row, a: partial });
                }
            }
        });
        // By halves, which keeps the rounding error of a long sum logarithmic.
        let mut apart = width;
        while apart < partial.len() {
            for pair in partial.chunks_mut(2 * apart).filter(|pair| pair.len() > apart) {
                let (a, b) = pair.split_at_mut(apart);
                simd::dispatch(ColumnKernel { f: self.f, x: &b[..width], a: &mut a[..width] });
            }
            apart *= 2;
        }
        results.copy_from_slice(&partial[..width]);
    }

    /// Folds the rows of a piece, `abreast` of them at a time.
    fn piece(&self, piece: &Piece, width: usize, abreast: usize, accumulators: &mut [C; COLUMNS]) {
        let mut row = [C::default(); COLUMNS];
        for first in (0..piece.rows).step_by(abreast) {
            let (length, offset) =
                (width * abreast.min(piece.rows - first), piece.offset + first as isize * piece.stride);
            let row = match self.direct {
                // SAFETY: these rows lie inside the operand's layout, and the elements are of type C.
                true => unsafe { std::slice::from_raw_parts(self.start.cast::<C>().offset(offset), length) },
                false => {
                    // SAFETY: as above.
                    unsafe { (self.load)(self.start, offset, 1, &mut row[..length]) };
                    &row[..length]
                }
            };
            simd::dispatch(ColumnKernel { f: self.f, x: row, a: &mut accumulators[..length] });
        }
    }
}

/// Rows at equal distances, folded by one thread.
struct Piece {
    offset: isize,
    rows: usize,
    stride: isize,
}

struct RowKernel<'a, F, C> {
    f: &'a F,
    x: &'a [C],
}

impl<F: Fold, C: Real> simd::Kernel for RowKernel<'_, F, C> {
    type Out = C;
    #[inline(always)]
    fn run(self) -> C {
        let mut lanes = [self.f.empty::<C>(); LANES];
        let (chunks, rest) = self.x.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] = self.f.step(lanes[lane], chunk[lane]);
            }
        }
        for (lane, &x) in rest.iter().enumerate() {
            lanes[lane] = self.f.step(lanes[lane], x);
        }
        let mut width = LANES;
        while width > 1 {
            width /= 2;
            for lane in 0..width {
                lanes[lane] = self.f.step(lanes[lane], lanes[lane + width]);
            }
        }
        lanes[0]
    }
}

struct ColumnKernel<'a, F, C> {
    f: &'a F,
    x: &'a [C],
    a: &'a mut [C],
}

impl<F: Fold, C: Real> simd::Kernel for ColumnKernel<'_, F, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (a, &x) in self.a.iter_mut().zip(self.x) {
            *a = self.f.step(*a, x);
        }
    }
}

/// Folds partial results by halves, which keeps the rounding error of a long sum logarithmic.
fn pairwise<F: Fold, C: Real>(f: &F, x: &[C]) -> C {
    match x {
        [] => f.empty(),
        [x] => *x,
        _ => {
            let (a, b) = x.split_at(x.len() / 2);
            f.step(pairwise(f, a), pairwise(f, b))
        }
    }
}
