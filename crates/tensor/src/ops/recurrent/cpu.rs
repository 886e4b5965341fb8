//! What the recurrent layers share on the CPU: the way of a batch through time, the product of each step, and pieces of
//! rows for what follows it. No layer's own arithmetic.
//!
//! A thread takes rows of the batch through the whole sequence, since the rows do not see each other: one hand-over of
//! work for all steps. Each element is then computed in the same order by whichever thread.

use super::Sizes;
use crate::cpu::gemm::{Strided, gemm, pack_strips, strip_width};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{self, Isa, dispatch_vectors};
use crate::cpu::single::Number;
use crate::cpu::tile::{Product, Row, TileKernel};
use crate::{Elements, Result, View, with_element};
use std::ops::Range;

/// The elements of an operand in whose place a result may lie: read through a pointer, or in a copy.
pub(super) struct Source<'a, T> {
    start: *const T,
    /// What keeps a copy alive.
    _copy: Option<Elements<'a, T>>,
}

impl<'a, T: Number> Source<'a, T> {
    /// To be called before anything is written.
    pub(super) fn new(x: &View<'a>) -> Result<Source<'a, T>> {
        if x.is_contiguous() && x.dtype() == T::DTYPE {
            return Ok(Source { start: x.as_ptr().cast(), _copy: None });
        }
        let copy = if x.is_contiguous() {
            let count = x.shape().count();
            with_element!(x.dtype(), H => {
                let start = x.as_ptr().cast::<H>();
                // SAFETY: the operand has so many elements of this type, and nothing has been written yet.
                let element = |i: usize| T::load(unsafe { *start.add(i) });
                (0..count).map(element).collect::<Scratch<T>>().into()
            })
        } else {
            // No result takes the place of an operand with gaps.
            T::read(x)?
        };
        Ok(Source { start: copy.as_ptr(), _copy: Some(copy) })
    }

    /// The first element, for threads that read no element that another has written before.
    pub(super) fn shared(&self) -> Shared<T> {
        Shared::from_ptr(self.start.cast_mut())
    }
}

/// Rows that go through the whole sequence together: those of the largest tile on every instruction set. What they need
/// of their own then lies in the first-level cache, and the weights stream from the second. Each row goes through memory from
/// one end to the other, so that what the next step needs can be asked for in time: it took a sixth off the time.
const MOST_ROWS: usize = 12;

/// Sequences of fewer operations than this stay on one thread.
const PARALLEL_FLOPS: usize = 1 << 20;

/// Calls `task` with ranges of a few rows that make up the batch.
pub(super) fn for_rows(sizes: &Sizes, task: impl Fn(Range<usize>) + Sync) {
    let flops = 2 * sizes.batch * sizes.time * sizes.units * sizes.width();
    let threads = if flops < PARALLEL_FLOPS { 1 } else { rayon::current_num_threads() };
    parallel::for_each(threads, threads > 1, |index| {
        let part = parallel::part(sizes.batch, threads, 4, index);
        // As few tiles as hold all rows, of one size as far as there is one.
        let groups = part.len().div_ceil(MOST_ROWS).max(1);
        let size = part.len().div_ceil(groups).next_multiple_of(4).max(1);
        for start in part.clone().step_by(size) {
            task(start..part.end.min(start + size));
        }
    });
}

/// A matrix that many products read, packed once.
pub(super) struct Packed<T> {
    isa: Isa,
    strips: Scratch<T>,
    /// Rows and columns.
    shape: [usize; 2],
}

impl<T: Number> Packed<T> {
    /// The matrix `[rows, columns]`, or the transpose of one of `[columns, rows]`. Neither is zero.
    pub(super) fn new(matrix: &[T], [rows, columns]: [usize; 2], transposed: bool) -> Packed<T> {
        assert_eq!(matrix.len(), rows * columns);
        let isa = simd::isa();
        let width = strip_width::<T>(isa);
        let mut strips = Scratch::arbitrary(columns.next_multiple_of(width) * rows);
        let (row, column) = if transposed { (1, rows) } else { (columns, 1) };
        let source = Strided { pointer: matrix.as_ptr(), row: row as isize, column: column as isize };
        // SAFETY: the strides are those of the matrix.
        unsafe { pack_strips([rows, columns, width], source, &mut strips) };
        Packed { isa, strips, shape: [rows, columns] }
    }

    /// `C = A · B + β · C` for this `B`.
    pub(super) fn multiply(&self, a: &Rows<T>, beta: T, c: &mut Rows<T>) {
        let ([rows, columns], width) = (self.shape, strip_width::<T>(self.isa));
        assert!(a.count() == c.count() && a.count() <= MOST_ROWS && a.stride >= rows && c.stride >= columns);
        let mut table = [Row { a: 0, c: 0 }; MOST_ROWS];
        for (i, row) in table[..a.count()].iter_mut().enumerate() {
            *row = Row { a: (i * a.stride) as isize, c: (i * c.stride) as isize };
        }
        for (index, left) in (0..columns).step_by(width).enumerate() {
            let product = Product {
                a: a.elements.as_ptr(),
                a_step: 1,
                taps: &[0],
                run: rows,
                b: self.strips[index * width * rows..].as_ptr(),
                b_step: width as isize,
                c: c.elements.as_mut_ptr().wrapping_add(left),
                c_step: 1,
                rows: &table[..a.count()],
                columns: width.min(columns - left),
                alpha: T::one(),
                beta,
            };
            // SAFETY: the rows are as long as was asserted, the strips hold all columns, and `c` is borrowed alone.
            dispatch_vectors(self.isa, unsafe { TileKernel::new(product) });
        }
    }
}

/// A few rows of numbers for one thread.
pub(super) struct Rows<T> {
    elements: Scratch<T>,
    stride: usize,
}

impl<T: Number> Rows<T> {
    /// Rows of zeros. They lie a cache line more than their length apart, or those of a power of two would share few
    /// sets of the cache.
    pub(super) fn zeros(count: usize, length: usize) -> Rows<T> {
        let line = 64 / size_of::<T>();
        let stride = length.next_multiple_of(line) + line;
        Rows { elements: Scratch::filled(count * stride, T::zero()), stride }
    }

    /// These rows of a matrix; zeros where there is none.
    pub(super) fn of(matrix: Option<&[T]>, rows: &Range<usize>, length: usize) -> Rows<T> {
        let mut all = Rows::zeros(rows.len(), length);
        if let Some(matrix) = matrix {
            for (i, row) in rows.clone().enumerate() {
                all.elements[i * all.stride..][..length].copy_from_slice(&matrix[row * length..][..length]);
            }
        }
        all
    }

    fn count(&self) -> usize {
        self.elements.len() / self.stride
    }

    /// The start of row `i`.
    #[inline(always)]
    pub(super) fn row(&mut self, i: usize) -> *mut T {
        self.elements[i * self.stride..].as_mut_ptr()
    }

    /// Writes them to these rows of a matrix.
    pub(super) fn store(&self, matrix: Shared<T>, rows: &Range<usize>, length: usize) {
        for (i, row) in rows.clone().enumerate() {
            // SAFETY: each task has rows of its own, which lie inside.
            let to = unsafe { matrix.slice(row * length, (row + 1) * length) };
            to.copy_from_slice(&self.elements[i * self.stride..][..length]);
        }
    }
}

/// The states before each step, `[batch · time, units]`: those after it one step later, and the first.
pub(super) fn copy_previous<T: Number>(sizes: &Sizes, rows: &Range<usize>, h: &[T], first: &[T], previous: Shared<T>) {
    let (units, sequence) = (sizes.units, sizes.time * sizes.units);
    for row in rows.clone() {
        // SAFETY: each task has rows of its own, which lie inside.
        let to = unsafe { previous.slice(row * sequence, (row + 1) * sequence) };
        to[..units].copy_from_slice(&first[row * units..][..units]);
        to[units..].copy_from_slice(&h[row * sequence..][..sequence - units]);
    }
}

/// The gradient of the recurrent kernel's `columns` from `first` on: one product over all steps of all sequences, of
/// the states before them and the gradients of what they were multiplied into, rows of `stride`.
pub(super) fn kernel_gradient<T: Number>(
    sizes: &Sizes,
    previous: &[T],
    (dz, stride): (&[T], usize),
    [first, columns]: [usize; 2],
    du: &mut [T],
) {
    let (units, steps) = (sizes.units, sizes.batch * sizes.time);
    assert!(previous.len() == steps * units && dz.len() >= (steps - 1) * stride + columns);
    assert!(du.len() == units * sizes.width() && first + columns <= sizes.width());
    let a = Strided { pointer: previous.as_ptr(), row: 1, column: units as isize };
    let b = Strided { pointer: dz.as_ptr(), row: stride as isize, column: 1 };
    let c = Strided { pointer: du.as_mut_ptr().wrapping_add(first), row: sizes.width() as isize, column: 1 };
    // SAFETY: the strides are those of matrices whose sizes were asserted, and `du` is borrowed alone.
    unsafe { gemm([units, columns, steps], T::one(), a, b, T::zero(), c, true) }
}

/// Elements of a row that are worked on together: a register of the widest set.
pub(super) const LANES: usize = 16;
/// A piece of a row.
pub(super) type Piece<T> = [T; LANES];

/// The `count` elements from `from`, at most [`LANES`], then zeros.
///
/// # Safety
/// They are there.
#[inline(always)]
pub(super) unsafe fn load<T: Number>(from: *const T, count: usize) -> Piece<T> {
    if count == LANES {
        // SAFETY: the caller's promise; an array is aligned as its elements are.
        return unsafe { from.cast::<Piece<T>>().read() };
    }
    let mut piece = [T::zero(); LANES];
    let mut i = 0;
    while i < count {
        // SAFETY: the caller's promise.
        piece[i] = unsafe { *from.add(i) };
        i += 1;
    }
    piece
}

/// Writes the first `count` elements of a piece.
///
/// # Safety
/// They may be written.
#[inline(always)]
pub(super) unsafe fn store<T: Number>(piece: &Piece<T>, to: *mut T, count: usize) {
    if count == LANES {
        // SAFETY: the caller's promise; an array is aligned as its elements are.
        return unsafe { to.cast::<Piece<T>>().write(*piece) };
    }
    let mut i = 0;
    while i < count {
        // SAFETY: the caller's promise.
        unsafe { *to.add(i) = piece[i] }
        i += 1;
    }
}

/// Adds a piece to another.
#[inline(always)]
pub(super) fn add<T: Number>(sum: &mut Piece<T>, more: &Piece<T>) {
    for lane in 0..LANES {
        sum[lane] += more[lane];
    }
}
