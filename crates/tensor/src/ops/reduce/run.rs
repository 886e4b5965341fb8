//! How any fold runs on a CPU. Rows that lie dense are folded in fixed lanes; where the kept dimension is the dense one,
//! whole rows are folded into a row of accumulators. Partial results of fixed size are combined in order, so that
//! neither the number of threads nor the instruction set changes a bit, and so that rounding errors of long sums stay
//! small.

use crate::cpu::{parallel, simd};
use crate::op::{View, for_each_row};
use crate::scalar::{Integer, Real};
use crate::{DType, Layout, MAX_RANK, Shape, ViewMut, with_element};

/// Independent accumulators along a row: two registers of the widest set.
const LANES: usize = 32;
/// Elements of a row folded into one partial result.
const PART: usize = 4096;
/// Columns folded side by side.
const COLUMNS: usize = 256;
/// Rows folded before the accumulators are combined with the total.
const ROWS: usize = 128;

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
    load: unsafe fn(*const u8, isize, isize, &mut [C]),
}

// SAFETY: the operand is only read, and lives as long as the operation.
unsafe impl<F: Sync, C> Sync for Job<'_, F, C> {}

fn reduce_as<F: Fold, C: Real>(f: &F, x: &View<'_>, axes: &[bool; MAX_RANK], y: &mut ViewMut<'_>) {
    let (folded, kept) = partition(x.layout(), axes);
    let load = with_element!(x.dtype(), T => super::super::elementwise::load::<T, C> as unsafe fn(_, _, _, &mut [C]));
    let job = Job { f, start: x.as_ptr(), folded, load };
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
        let mut block = [C::default(); PART];
        let block = &mut block[..length];
        // SAFETY: the run lies inside the operand's layout.
        unsafe { (self.load)(self.start, offset, stride, block) };
        simd::dispatch(RowKernel { f: self.f, x: block })
    }

    /// Folds rows into a row of accumulators, for results that lie side by side.
    fn columns(&self, kept: &Layout, results: &mut [C]) {
        let mut rows = Vec::with_capacity(self.folded.shape.count());
        for_each_row(&self.folded, |offset, length, stride| {
            rows.extend((0..length as isize).map(|i| offset + i * stride))
        });
        // Blocks of adjacent results, none of them across the end of a dense run.
        let mut blocks: Vec<(isize, usize, usize)> = Vec::new();
        let mut at = 0;
        for_each_row(kept, |offset, length, _| {
            for first in (0..length).step_by(COLUMNS) {
                blocks.push((offset + first as isize, at + first, COLUMNS.min(length - first)));
            }
            at += length;
        });
        let shared = parallel::Shared::new(results);
        parallel::for_chunks(blocks.len(), 1, rows.len() * COLUMNS, |start, end| {
            for &(offset, at, width) in &blocks[start..end] {
                // SAFETY: blocks are disjoint ranges of the results.
                self.block(offset, &rows, unsafe { shared.slice(at, at + width) });
            }
        });
    }

    fn block(&self, offset: isize, rows: &[isize], results: &mut [C]) {
        let mut row = [C::default(); COLUMNS];
        let row = &mut row[..results.len()];
        let mut partial = [self.f.empty::<C>(); COLUMNS];
        let partial = &mut partial[..results.len()];
        for group in rows.chunks(ROWS) {
            partial.fill(self.f.empty());
            for &r in group {
                // SAFETY: a row of the block lies inside the operand's layout.
                unsafe { (self.load)(self.start, offset + r, 1, row) };
                simd::dispatch(ColumnKernel { f: self.f, x: row, a: partial });
            }
            simd::dispatch(ColumnKernel { f: self.f, x: partial, a: results });
        }
    }
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
