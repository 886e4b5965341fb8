//! The multiply-accumulate tile under matrix products and convolutions: `C = α·A·B + β·C`, with operands left in place.
//!
//! Rows of `A` are given by a table of offsets, and its inner dimension by taps (a table again) times a run of equal
//! steps. A plain matrix has one tap; a convolution's window has a tap per kernel row or per kernel element, which
//! makes its matrix of windows a matter of addresses: nothing is copied. Columns of `B` are adjacent; its rows follow
//! each other in the order of taps and runs.
//!
//! A tile keeps up to `ROWS × WIDTH` vectors of `C` in registers. Each step loads `WIDTH` vectors of `B` and broadcasts
//! `ROWS` elements of `A` from memory, so no operand needs packing for speed unless its stride is unkind to the cache.
//!
//! Every element of `C` is one chain of multiply-adds in the order of the inner dimension, whatever tile it falls
//! into: cutting rows or columns into tasks changes no bit.

#![expect(
    clippy::needless_range_loop,
    reason = "loops over registers have constant bounds and are unrolled; an index per register reads as arithmetic does"
)]

use num_traits::{One, Zero};

use super::float::Float;
use super::simd::VectorKernel;
use super::vector::{MOST_LANES, Vector};

/// Where a row of the product lies, in elements from the base pointers.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Offset of the row's first element in `A`, before a tap is added.
    pub a: isize,
    /// Offset of the row's first element in `C`.
    pub c: isize,
}

/// One product for one thread. See the module's introduction.
#[derive(Clone, Copy, Debug)]
pub struct Product<'t, T> {
    /// Base of `A`.
    pub a: *const T,
    /// Distance in `A` between consecutive steps of a run.
    pub a_step: isize,
    /// Offset in `A` of each tap.
    pub taps: &'t [isize],
    /// Steps per tap; the inner dimension is `taps.len() · run`.
    pub run: usize,
    /// Base of `B`.
    pub b: *const T,
    /// Distance in `B` between consecutive rows.
    pub b_step: isize,
    /// Base of `C`.
    pub c: *mut T,
    /// Distance in `C` between columns.
    pub c_step: isize,
    /// The rows.
    pub rows: &'t [Row],
    /// The number of columns.
    pub columns: usize,
    /// Factor of the product.
    pub alpha: T,
    /// Factor of the former `C`, which is not read where this is zero.
    pub beta: T,
}

/// How a tile walks `A`: rows anywhere, with steps of any length; rows next to each other, where one pointer does for
/// all; steps of one element, which are displacements in the instruction.
///
/// The last is for tiles one vector wide, which need an element of `A` per multiplication and have no time to compute
/// its address: 27 steps by 16 columns ran at 156 GFLOP/s with it and at 127 without. Wider tiles gained nothing.
const ANY: u8 = 0;
const ADJACENT: u8 = 1;
const UNIT_STEP: u8 = 2;

/// A `B` of this size stays in the first-level cache. Then tiles go through `C` row by row, [`GROUP`] at a time, and not
/// strip by strip. The prefetcher takes going down a strip for a stride and fetches a hundred rows beyond the last; where
/// these are another thread's, that thread waits for each line to come back.
const NEAR_BYTES: usize = 24 << 10;
/// Rows of whole tiles on every instruction set.
const GROUP: usize = 12;

/// A [`Product`] whose pointers the constructor's caller has vouched for.
#[derive(Clone, Copy, Debug)]
pub struct TileKernel<'t, T>(Product<'t, T>);

impl<'t, T> TileKernel<'t, T> {
    /// Wraps a product for [`dispatch_vectors`](super::simd::dispatch_vectors).
    ///
    /// # Safety
    /// All addresses that the product names are valid while the kernel exists: for reads in `A` and `B`, for reads
    /// and writes in `C`, and nobody else accesses those of `C`, nor do they overlap those of `A` and `B`.
    pub unsafe fn new(product: Product<'t, T>) -> Self {
        Self(product)
    }
}

impl<T: Float> VectorKernel<T> for TileKernel<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let whole = self.0;
        let b_bytes = whole.taps.len() * whole.run * whole.columns * size_of::<T>();
        let strips_stay_near = whole.columns > 2 * V::LANES && b_bytes <= NEAR_BYTES;
        let group = if strips_stay_near { GROUP } else { whole.rows.len().max(1) };
        for rows in whole.rows.chunks(group) {
            let p = &Product { rows, ..whole };
            let mut column = 0;
            while column < p.columns {
                let left = p.columns - column;
                // SAFETY: the constructor's caller vouches for the addresses, ours for the instruction set; a strip
                // reaches `width` vectors of columns, or to the last column where fewer are left.
                let width = unsafe {
                    if rows.len() == 1 && left >= 4 * V::LANES {
                        tile::<V, 1, 4, ANY>(p, rows, column, V::LANES);
                        4
                    } else if left >= 2 * V::LANES {
                        strip_of_two::<V>(p, column);
                        2
                    } else {
                        strip_of_one::<V>(p, column, left.min(V::LANES));
                        1
                    }
                };
                column += width * V::LANES;
            }
        }
    }
}

/// All rows of two whole vectors of columns.
///
/// The sizes of tiles are few because each is compiled for two types and three instruction sets, in up to two ways.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn strip_of_two<V: Vector>(p: &Product<V::Elem>, column: usize) {
    let mut rows = p.rows;
    while !rows.is_empty() {
        // SAFETY: the caller's duties are the callees'; no tile gets more rows than its size.
        unsafe {
            if V::REGISTERS >= 32 {
                let now = take(&mut rows, [4, 8, 12]);
                match now.len() {
                    0..=4 => tile::<V, 4, 2, ANY>(p, now, column, V::LANES),
                    5..=8 => walk::<V, 8, 2>(p, now, column, V::LANES),
                    _ => walk::<V, 12, 2>(p, now, column, V::LANES),
                }
            } else {
                let now = take(&mut rows, [3, 3, 6]);
                match now.len() {
                    0..=3 => tile::<V, 3, 2, ANY>(p, now, column, V::LANES),
                    _ => walk::<V, 6, 2>(p, now, column, V::LANES),
                }
            }
        }
    }
}

/// All rows of one vector of columns with `last` lanes.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn strip_of_one<V: Vector>(p: &Product<V::Elem>, column: usize, last: usize) {
    let mut rows = p.rows;
    while !rows.is_empty() {
        // SAFETY: the caller's duties are the callees'; no tile gets more rows than its size.
        unsafe {
            if V::REGISTERS >= 32 {
                let now = take(&mut rows, [4, 8, 14]);
                match now.len() {
                    0..=4 => tile::<V, 4, 1, ANY>(p, now, column, last),
                    5..=8 => walk::<V, 8, 1>(p, now, column, last),
                    _ => walk::<V, 14, 1>(p, now, column, last),
                }
            } else {
                let now = take(&mut rows, [4, 4, 8]);
                match now.len() {
                    0..=4 => tile::<V, 4, 1, ANY>(p, now, column, last),
                    _ => walk::<V, 8, 1>(p, now, column, last),
                }
            }
        }
    }
}

/// Splits off the next tile's rows: as few tiles of the largest size as hold all, the rows spread evenly over them,
/// each in the smallest size that fits.
#[inline(always)]
fn take<'t>(rows: &mut &'t [Row], sizes: [usize; 3]) -> &'t [Row] {
    let want = rows.len().div_ceil(rows.len().div_ceil(sizes[2]));
    let size = if want <= sizes[0] {
        sizes[0]
    } else if want <= sizes[1] {
        sizes[1]
    } else {
        sizes[2]
    };
    let (now, later) = rows.split_at(size.min(rows.len()));
    *rows = later;
    now
}

/// Picks the tile's way through `A`.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn walk<V: Vector, const ROWS: usize, const WIDTH: usize>(
    p: &Product<V::Elem>,
    rows: &[Row],
    column: usize,
    last: usize,
) {
    let first = rows[0].a;
    let adjacent = rows.len() == ROWS && rows.iter().zip(first..).all(|(row, a)| row.a == a);
    // SAFETY: the caller's duties are the callees'; the mode says what was just found.
    unsafe {
        if adjacent {
            tile::<V, ROWS, WIDTH, ADJACENT>(p, rows, column, last)
        } else if WIDTH == 1 && p.a_step == 1 {
            tile::<V, ROWS, WIDTH, UNIT_STEP>(p, rows, column, last)
        } else {
            tile::<V, ROWS, WIDTH, ANY>(p, rows, column, last)
        }
    }
}

/// One tile: at most `ROWS` rows (fewer repeat the last one and drop it), `WIDTH` vectors from `column`.
///
/// # Safety
/// The CPU has the instruction set of `V`; the product's addresses are valid as [`TileKernel::new`] says, for these
/// rows and the columns up to `column + (WIDTH - 1) · LANES + last`; `rows` is not empty; `WALK` tells the truth.
#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const WIDTH: usize, const WALK: u8>(
    p: &Product<V::Elem>,
    rows: &[Row],
    column: usize,
    last: usize,
) {
    // SAFETY: every address below is one that the caller vouches for: row `i` is clamped to the rows given, a step
    // advances `a` within its run and `b` to its next row, and the last vector touches `last` lanes where partial.
    unsafe {
        let mut sums = [[V::splat(V::Elem::zero()); WIDTH]; ROWS];
        let mut b = p.b.add(column);
        for &tap in p.taps {
            // One pointer moves and the rows keep their distances from it: there are not registers enough to move all.
            let mut a = p.a.wrapping_offset(tap);
            let mut distances = [0; ROWS];
            for i in 0..ROWS {
                distances[i] = rows[i.min(rows.len() - 1)].a;
            }
            let step = if WALK == UNIT_STEP { 1 } else { p.a_step };
            let mut left = p.run;
            // Four steps at a time where the tile is narrow. In a wide one the compiler then holds eight vectors of B at
            // once and spills sums: f64 lost a third of its speed, AVX2 half.
            let pairs = if WIDTH == 1 { 2 } else { 1 };
            while left >= 2 * pairs as usize {
                for pair in 0..pairs {
                    let (a, b) = (a.wrapping_offset(2 * pair * step), b.wrapping_offset(2 * pair * p.b_step));
                    accumulate::<V, ROWS, WIDTH, WALK>(&mut sums, a, &distances, b, last);
                    let (a, b) = (a.wrapping_offset(step), b.offset(p.b_step));
                    accumulate::<V, ROWS, WIDTH, WALK>(&mut sums, a, &distances, b, last);
                }
                a = a.wrapping_offset(2 * pairs * step);
                b = b.wrapping_offset(2 * pairs * p.b_step);
                left -= 2 * pairs as usize;
            }
            while left > 0 {
                accumulate::<V, ROWS, WIDTH, WALK>(&mut sums, a, &distances, b, last);
                a = a.wrapping_offset(step);
                b = b.wrapping_offset(p.b_step);
                left -= 1;
            }
        }
        finish::<V, ROWS, WIDTH>(p, sums, rows, column, last);
    }
}

/// One step of the inner dimension: `sums[i][j] += a[distances[i]] · b[j]`.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn accumulate<V: Vector, const ROWS: usize, const WIDTH: usize, const WALK: u8>(
    sums: &mut [[V; WIDTH]; ROWS],
    a: *const V::Elem,
    distances: &[isize; ROWS],
    b: *const V::Elem,
    last: usize,
) {
    // SAFETY: the caller vouches for the addresses; adjacent rows lie at the first one's plus `i`.
    unsafe {
        let mut vectors = [V::splat(V::Elem::zero()); WIDTH];
        for j in 0..WIDTH {
            vectors[j] =
                if WIDTH == 1 { V::load_first(b.add(j * V::LANES), last) } else { V::load(b.add(j * V::LANES)) };
        }
        for i in 0..ROWS {
            // The pointer that moves may lie outside: where windows reach over an edge, only its sum with a distance is inside.
            let row = if WALK == ADJACENT { distances[0] + i as isize } else { distances[i] };
            let element = *a.wrapping_offset(row);
            let element = V::splat(element);
            for j in 0..WIDTH {
                sums[i][j] = element.mul_add(vectors[j], sums[i][j]);
            }
        }
    }
}

/// Writes a tile: `c = α·sums + β·c`.
///
/// The loops over `sums` have bodies of a few instructions on purpose: one that the compiler does not unroll would
/// index `sums` at run time, which keeps it in memory through the whole product, three times slower.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn finish<V: Vector, const ROWS: usize, const WIDTH: usize>(
    p: &Product<V::Elem>,
    mut sums: [[V; WIDTH]; ROWS],
    rows: &[Row],
    column: usize,
    last: usize,
) {
    let plain = p.beta.is_zero();
    // SAFETY: the caller vouches for the elements of `C`: rows below `rows.len()`, and `last` lanes of the last vector
    // where partial; the buffer holds all vectors of the tile.
    unsafe {
        if p.alpha != V::Elem::one() {
            let alpha = V::splat(p.alpha);
            for i in 0..ROWS {
                for j in 0..WIDTH {
                    sums[i][j] = sums[i][j].mul(alpha);
                }
            }
        }
        if p.c_step != 1 {
            let mut lanes = [[[V::Elem::zero(); MOST_LANES]; WIDTH]; ROWS];
            for i in 0..ROWS {
                for j in 0..WIDTH {
                    sums[i][j].store(lanes[i][j].as_mut_ptr());
                }
            }
            let columns = (WIDTH - 1) * V::LANES + last;
            // Rows innermost: the usual reason for a step is a transposed C, where rows are adjacent.
            for j in 0..columns {
                for (row, lanes) in rows.iter().zip(&lanes) {
                    let (lane, c) = (lanes[j / V::LANES][j % V::LANES], row.c + (column + j) as isize * p.c_step);
                    let c = p.c.offset(c);
                    *c = if plain { lane } else { p.beta * *c + lane };
                }
            }
            return;
        }
        let beta = V::splat(p.beta);
        for i in 0..ROWS {
            if i < rows.len() {
                let c = p.c.offset(rows.get_unchecked(i).c).add(column);
                for j in 0..WIDTH {
                    let c = c.add(j * V::LANES);
                    let partial = WIDTH == 1;
                    if !plain {
                        let former = if partial { V::load_first(c, last) } else { V::load(c) };
                        sums[i][j] = former.mul_add(beta, sums[i][j]);
                    }
                    if partial { sums[i][j].store_first(c, last) } else { sums[i][j].store(c) }
                }
            }
        }
    }
}
