//! Matrix products on the CPU: blocking, packing and tasks around the tile of [`crate::cpu::tile`].

use crate::cpu::float::Float;
use crate::cpu::simd::{self, Isa, VectorKernel, dispatch_vectors};
use crate::cpu::tile::{Product, Row, TileKernel};
use crate::cpu::vector::{MOST_LANES, Vector};
use crate::cpu::{parallel, scratch};
use std::mem::MaybeUninit;
use std::ops::Range;

/// A matrix in memory: its first element and the distances, in elements, between rows and between columns.
///
/// Either distance may be zero (a broadcast operand) or negative.
#[derive(Clone, Copy, Debug)]
pub struct Strided<P> {
    /// The element `[0, 0]`.
    pub pointer: P,
    /// From a row to the next.
    pub row: isize,
    /// From a column to the next.
    pub column: isize,
}

impl<P> Strided<P> {
    fn transposed(self) -> Self {
        Self { pointer: self.pointer, row: self.column, column: self.row }
    }
}

impl<T> Strided<*const T> {
    fn at(self, row: usize, column: usize) -> Self {
        let offset = row as isize * self.row + column as isize * self.column;
        Self { pointer: self.pointer.wrapping_offset(offset), ..self }
    }
}

impl<T> Strided<*mut T> {
    fn at(self, row: usize, column: usize) -> Self {
        let offset = row as isize * self.row + column as isize * self.column;
        Self { pointer: self.pointer.wrapping_offset(offset), ..self }
    }
}

/// Most rows that one call of the tile kernel takes: their table lives on the stack.
const MOST_ROWS: usize = 252;

/// Below this many rows `A` and `C` are small beside `B`.
const FEW_ROWS: usize = 48;

/// Products below this many operations stay on one thread: about 20 µs of one core, where handing a half over costs 1 µs
/// to a thread that is awake, 10 to 30 µs to one that sleeps, and the other core's cache has to fetch what it needs.
const PARALLEL_FLOPS: usize = 4_000_000;

/// `C = α·A·B + β·C` for `A` of `[m, k]`, `B` of `[k, n]` and `C` of `[m, n]`, any strides.
///
/// `C` is not read where `beta` is zero; `A` and `B` are not read where `alpha` is zero (the BLAS convention, which
/// keeps NaN out of a product that counts for nothing). With `parallel`, large products are cut into tasks for rayon;
/// the bits are the same either way, and for any number of threads.
///
/// # Safety
/// All elements of the three matrices are valid: for reads in `A` and `B`, for reads and writes in `C`. No two elements
/// of `C` share an address, and none is shared with `A` or `B`.
pub unsafe fn gemm<T: Float>(
    shape: [usize; 3],
    alpha: T,
    a: Strided<*const T>,
    b: Strided<*const T>,
    beta: T,
    c: Strided<*mut T>,
    parallel: bool,
) {
    let [m, n, k] = shape;
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 || alpha.is_zero() {
        // SAFETY: the caller vouches for the elements of `C`.
        return unsafe { scale(m, n, beta, c) };
    }
    // Packing a transposed B costs more than packing A and scattering C where the rows are few.
    let turn = b.column != 1 && b.row == 1 && c.column == 1 && m > 1 && m * (k + n) < n * k;
    if (c.column != 1 && c.row == 1) || (n == 1 && m > 1) || turn {
        let (a, b, c) = (b.transposed(), a.transposed(), c.transposed());
        // SAFETY: Cᵀ = Bᵀ·Aᵀ reads and writes the same elements.
        return unsafe { oriented([n, m, k], alpha, a, b, beta, c, parallel) };
    }
    // SAFETY: the caller's duties are the callee's.
    unsafe { oriented(shape, alpha, a, b, beta, c, parallel) }
}

/// # Safety
/// As [`gemm`].
unsafe fn scale<T: Float>(m: usize, n: usize, beta: T, c: Strided<*mut T>) {
    for i in 0..m {
        for j in 0..n {
            let c = c.at(i, j).pointer;
            // SAFETY: the caller vouches for the elements of `C`.
            unsafe { *c = if beta.is_zero() { T::zero() } else { beta * *c } };
        }
    }
}

/// [`gemm`] for sizes above zero, best where the columns of `C` are adjacent.
///
/// # Safety
/// As [`gemm`].
unsafe fn oriented<T: Float>(
    shape: [usize; 3],
    alpha: T,
    a: Strided<*const T>,
    b: Strided<*const T>,
    beta: T,
    c: Strided<*mut T>,
    parallel: bool,
) {
    let [m, n, k] = shape;
    let isa = simd::isa();
    let dots = m == 1 && b.row == 1 && b.column != 1;
    let depth = depth(m, n, k);
    let whole = Block { isa, shape, a, b, c, alpha, beta, depth, dots };
    let (down, across) = if parallel { grid(m, n, k) } else { (1, 1) };
    // SAFETY: the caller's duties are the callees'.
    unsafe {
        if down * across == 1 {
            whole.run();
        } else if (2..FEW_ROWS).contains(&m) && depth < k {
            whole.run_slices();
        } else {
            whole.run_grid(down, across);
        }
    }
}

/// Into how many tasks rows and columns are cut: blocks near to squares, of at least half of [`PARALLEL_FLOPS`].
///
/// The number of threads may have a say here because no cut of rows or columns changes a bit: each element of `C` is
/// one chain of multiply-adds, in an order that [`depth`] alone decides. Sixty-four fixed blocks cost a fifth of the
/// speed of 512³ on two threads: small blocks read their operands too often.
fn grid(m: usize, n: usize, k: usize) -> (usize, usize) {
    // A row times a matrix waits for memory and runs at a quarter of the speed.
    let cost = if m == 1 { 8 } else { 2usize };
    let flops = cost.saturating_mul(m).saturating_mul(n).saturating_mul(k);
    let (mut down, mut across) = (1, 1);
    if flops < PARALLEL_FLOPS {
        return (down, across);
    }
    let most = (2 * flops / PARALLEL_FLOPS).min(2 * rayon::current_num_threads());
    while 2 * down * across <= most {
        if m / down >= n / across && m / down >= 24 {
            down *= 2;
        } else if n / across >= 64 {
            across *= 2;
        } else {
            break;
        }
    }
    (down, across)
}

/// How much of the inner dimension is multiplied in one go.
///
/// Packed or in place, a strip of `B` of this depth stays near while the rows of `A` pass. One long row times a matrix
/// reads `B` once: there it is best to go through few of its rows at a time, from end to end.
fn depth(m: usize, n: usize, k: usize) -> usize {
    let most = match m {
        1 if n >= 1024 => 8,
        2..FEW_ROWS => 512,
        FEW_ROWS.. if n >= 256 => 256,
        _ => 1024,
    };
    k.div_ceil(k.div_ceil(most))
}

/// Columns of a tile two vectors wide.
pub(crate) fn strip_width<T>(isa: Isa) -> usize {
    let bytes = match isa {
        Isa::Baseline => 16,
        Isa::Avx2 => 32,
        Isa::Avx512 => 64,
    };
    2 * bytes / size_of::<T>()
}

/// A block of `C`, and what it is made of.
#[derive(Clone, Copy)]
struct Block<T> {
    isa: Isa,
    shape: [usize; 3],
    a: Strided<*const T>,
    b: Strided<*const T>,
    c: Strided<*mut T>,
    alpha: T,
    beta: T,
    /// How much of the inner dimension is multiplied in one go. The only blocking that shows in the bits, hence not
    /// the block's own choice.
    depth: usize,
    /// A single row times columns whose elements are adjacent.
    dots: bool,
}

// SAFETY: tasks only read the operands, and the parts of `C` that they write are disjoint.
unsafe impl<T: Sync> Sync for Block<T> {}

impl<T: Float> Block<T> {
    /// The part of these rows and columns that a range of the inner dimension contributes.
    fn part(&self, rows: Range<usize>, columns: Range<usize>, inner: Range<usize>) -> Block<T> {
        Block {
            shape: [rows.len(), columns.len(), inner.len()],
            a: self.a.at(rows.start, inner.start),
            b: self.b.at(inner.start, columns.start),
            c: self.c.at(rows.start, columns.start),
            ..*self
        }
    }

    /// A task for each cell of a grid over `C`.
    ///
    /// # Safety
    /// As [`gemm`], for this block's matrices.
    unsafe fn run_grid(&self, down: usize, across: usize) {
        let [m, n, k] = self.shape;
        let width = strip_width::<T>(self.isa);
        parallel::for_each(down * across, true, |index| {
            let rows = parallel::part(m, down, 1, index / across);
            let columns = parallel::part(n, across, width, index % across);
            if !rows.is_empty() && !columns.is_empty() {
                // SAFETY: the cells are disjoint parts of `C`, whose elements the caller vouches for.
                unsafe { self.part(rows, columns, 0..k).run() };
            }
        });
    }

    /// A task for each run of the inner dimension; their products are then added in order, to the bits of one task.
    ///
    /// This cuts `B` by rows, as the gradient of a layer's weights and their update are cut: each thread stays at its
    /// own part of the weights. A thread that writes what another has just read waits for every line of it.
    ///
    /// # Safety
    /// As [`gemm`], for this block's matrices.
    unsafe fn run_slices(&self) {
        let [m, n, k] = self.shape;
        let slices = k.div_ceil(self.depth);
        scratch::with((slices - 1) * m * n, |products: &mut [T]| {
            let shared = parallel::Shared::new(products);
            parallel::for_each(slices, true, |slice| {
                let start = slice * self.depth;
                let mut part = self.part(0..m, 0..n, start..k.min(start + self.depth));
                if slice > 0 {
                    let pointer = shared.get().wrapping_add((slice - 1) * m * n);
                    part.c = Strided { pointer, row: n as isize, column: 1 };
                    part.beta = T::zero();
                }
                // SAFETY: the first slice alone writes `C`, each other a part of the buffer of its own.
                unsafe { part.run() };
            });
            for (i, row) in products.chunks_exact(n).enumerate() {
                let c = self.c.at(i % m, 0);
                for (j, element) in row.iter().enumerate() {
                    // SAFETY: the caller vouches for `C`, and the tasks are done.
                    unsafe { *c.pointer.wrapping_offset(j as isize * c.column) += *element };
                }
            }
        });
    }

    /// # Safety
    /// As [`gemm`], for this block's matrices.
    unsafe fn run(&self) {
        let [m, n, k] = self.shape;
        if self.dots {
            // SAFETY: the caller's duties are the callee's.
            return unsafe { self.dot_products() };
        }
        let (depth, width) = (self.depth, strip_width::<T>(self.isa));
        let (pack_a, pack_b) = self.packing();
        // A whole strip of B against as many rows of A as stay in the cache beside it.
        let row_block = if pack_a { MOST_ROWS } else { MOST_ROWS.min((128 * T::PER_KIB / depth).max(48) / 12 * 12) };
        let packed_b = if pack_b { n.next_multiple_of(width) * depth } else { 0 };
        let packed_a = if pack_a { packed_len::<T>(row_block.min(m), depth, self.a.row == 1) } else { 0 };
        scratch::with(packed_b + packed_a, |buffer: &mut [T]| {
            let (for_b, for_a) = buffer.split_at_mut(packed_b);
            for start in (0..k).step_by(depth) {
                let run = depth.min(k - start);
                let beta = if start == 0 { self.beta } else { T::one() };
                let mut b = self.b.at(start, 0);
                if pack_b {
                    // SAFETY: the caller vouches for `B`; the buffer holds all strips.
                    unsafe { pack_strips([run, n, width], b, for_b) };
                }
                let columns = if pack_b { width } else { n };
                for top in (0..m).step_by(row_block) {
                    let rows = row_block.min(m - top);
                    let mut a = self.a.at(top, start);
                    if pack_a {
                        // SAFETY: the caller vouches for `A`; the buffer holds the block.
                        a = unsafe { pack_block(rows, run, a, for_a) };
                    }
                    for (index, left) in (0..n).step_by(columns).enumerate() {
                        if pack_b {
                            let strip = for_b[index * run * width..].as_ptr();
                            b = Strided { pointer: strip, row: width as isize, column: 1 };
                        }
                        let (shape, c) = ([rows, columns.min(n - left), run], self.c.at(top, left));
                        // SAFETY: the caller vouches for the matrices; packed strips hold these rows and columns.
                        unsafe { self.multiply(shape, a, b, beta, c) };
                    }
                }
            }
        });
    }

    /// Whether blocks of `A` and strips of `B` are worth a copy.
    ///
    /// Columns of `B` must be adjacent. Rows further apart than half a page miss the TLB and share few sets of the
    /// cache: that costs more than a copy where the copy is used often enough.
    fn packing(&self) -> (bool, bool) {
        let [m, n, k] = self.shape;
        let far = 2 * T::PER_KIB;
        let stride = self.a.row.unsigned_abs().max(self.a.column.unsigned_abs());
        let scattered = self.a.row != 1 && self.a.column != 1;
        let pack_a = m >= 24 && n >= 128 && k >= 64 && (stride >= far || scattered);
        let many = m >= 48 && k * n >= 64 * T::PER_KIB;
        (pack_a, self.b.column != 1 || (many && self.b.row.unsigned_abs() >= far))
    }

    /// One product without further blocking; the columns of `b` are adjacent, and at most [`MOST_ROWS`] rows.
    ///
    /// # Safety
    /// As [`gemm`].
    unsafe fn multiply(
        &self,
        [m, n, k]: [usize; 3],
        a: Strided<*const T>,
        b: Strided<*const T>,
        beta: T,
        c: Strided<*mut T>,
    ) {
        // Not filled first: that takes as long as a small product.
        let mut table = [const { MaybeUninit::uninit() }; MOST_ROWS];
        for (i, row) in table[..m].iter_mut().enumerate() {
            row.write(Row { a: i as isize * a.row, c: i as isize * c.row });
        }
        // SAFETY: the first `m` have been written.
        let rows = unsafe { core::slice::from_raw_parts(table.as_ptr().cast(), m) };
        let product = Product {
            a: a.pointer,
            a_step: a.column,
            taps: &[0],
            run: k,
            b: b.pointer,
            b_step: b.row,
            c: c.pointer,
            c_step: c.column,
            rows,
            columns: n,
            alpha: self.alpha,
            beta,
        };
        // SAFETY: the caller vouches for the matrices.
        dispatch_vectors(self.isa, unsafe { TileKernel::new(product) });
    }
}

/// Copies `B` of `[k, n]` into strips of `width` columns, each strip row after row.
///
/// # Safety
/// `b` is valid for reads.
pub(crate) unsafe fn pack_strips<T: Float>([k, n, width]: [usize; 3], b: Strided<*const T>, strips: &mut [T]) {
    for (left, strip) in (0..n).step_by(width).zip(strips.chunks_exact_mut(k * width)) {
        let columns = width.min(n - left);
        if b.column == 1 {
            for (i, row) in strip.chunks_exact_mut(width).enumerate() {
                // SAFETY: the caller vouches for `columns` adjacent elements of row `i`.
                let source = unsafe { core::slice::from_raw_parts(b.at(i, left).pointer, columns) };
                row[..columns].copy_from_slice(source);
            }
            continue;
        }
        // Eight columns at a time: a cache line of the strip takes its neighbours while it is near.
        let whole = columns / 8 * 8;
        for j in (0..whole).step_by(8) {
            let sources: [_; 8] = core::array::from_fn(|l| b.at(0, left + j + l).pointer);
            for (i, row) in strip.chunks_exact_mut(width).enumerate() {
                let row: &mut [T; 8] = (&mut row[j..j + 8]).try_into().expect("eight columns");
                // SAFETY: the caller vouches for row `i` of these columns.
                *row = sources.map(|source| unsafe { *source.wrapping_offset(i as isize * b.row) });
            }
        }
        for j in whole..columns {
            for (i, row) in strip.chunks_exact_mut(width).enumerate() {
                // SAFETY: the caller vouches for the element.
                row[j] = unsafe { *b.at(i, left + j).pointer };
            }
        }
    }
}

/// Rows of a packed block lie one cache line more than their length apart, or rows of 1 KiB would share few sets.
fn packed_stride<T>(len: usize) -> usize {
    len + 64 / size_of::<T>()
}

/// Elements of a packed block of `A`.
fn packed_len<T: Float>(m: usize, k: usize, by_columns: bool) -> usize {
    if by_columns { k * packed_stride::<T>(m) } else { m * packed_stride::<T>(k) }
}

/// Copies a block of `A` together, in the orientation that it has, and returns where it now lies.
///
/// # Safety
/// `a` is valid for reads.
unsafe fn pack_block<T: Float>(m: usize, k: usize, a: Strided<*const T>, block: &mut [T]) -> Strided<*const T> {
    let by_columns = a.row == 1;
    let (outer, inner, source) = if by_columns { (k, m, a.transposed()) } else { (m, k, a) };
    let stride = packed_stride::<T>(inner);
    for (i, row) in block.chunks_exact_mut(stride).enumerate().take(outer) {
        let row = &mut row[..inner];
        if source.column == 1 {
            // SAFETY: the caller vouches for `inner` adjacent elements.
            row.copy_from_slice(unsafe { core::slice::from_raw_parts(source.at(i, 0).pointer, inner) });
            continue;
        }
        for (j, element) in row.iter_mut().enumerate() {
            // SAFETY: the caller vouches for the element.
            *element = unsafe { *source.at(i, j).pointer };
        }
    }
    let packed = Strided { pointer: block.as_ptr(), row: stride as isize, column: 1 };
    if by_columns { packed.transposed() } else { packed }
}

/// `c[j] = α Σ a[i]·b[i, j] + β·c[j]` where each column of `b` is adjacent in memory: a row times a transposed matrix.
///
/// Vectors run along the sum, four columns at a time with two sums each, which hides the latency of the additions.
struct Dots<T> {
    shape: [usize; 2],
    a: *const T,
    b: Strided<*const T>,
    c: Strided<*mut T>,
    alpha: T,
    beta: T,
}

impl<T: Float> Block<T> {
    /// # Safety
    /// As [`gemm`], with one row, and columns of `B` whose elements are adjacent.
    unsafe fn dot_products(&self) {
        let [_, n, k] = self.shape;
        scratch::with(k, |adjacent: &mut [T]| {
            let mut a = self.a.pointer;
            if self.a.column != 1 {
                for (i, element) in adjacent.iter_mut().enumerate() {
                    // SAFETY: the caller vouches for the row of `A`.
                    *element = unsafe { *self.a.at(0, i).pointer };
                }
                a = adjacent.as_ptr();
            }
            let dots = Dots { shape: [n, k], a, b: self.b, c: self.c, alpha: self.alpha, beta: self.beta };
            dispatch_vectors(self.isa, dots);
        });
    }
}

impl<T: Float> VectorKernel<T> for Dots<T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let [n, k] = self.shape;
        let whole = k / (2 * V::LANES) * (2 * V::LANES);
        for left in (0..n).step_by(4) {
            // SAFETY: only `Block::dot_products` makes this kernel, whose caller vouches for all elements of the
            // three matrices: columns are clamped to the last, and `load_first` stops at element `k`.
            unsafe {
                let mut sums = [[V::splat(T::zero()); 2]; 4];
                let mut columns = [self.b.pointer; 4];
                for (j, column) in columns.iter_mut().enumerate() {
                    *column = self.b.at(0, (left + j).min(n - 1)).pointer;
                }
                for i in (0..whole).step_by(2 * V::LANES) {
                    let (a0, a1) = (V::load(self.a.add(i)), V::load(self.a.add(i + V::LANES)));
                    for j in 0..4 {
                        sums[j][0] = a0.mul_add(V::load(columns[j].add(i)), sums[j][0]);
                        sums[j][1] = a1.mul_add(V::load(columns[j].add(i + V::LANES)), sums[j][1]);
                    }
                }
                for i in (whole..k).step_by(V::LANES) {
                    let count = (k - i).min(V::LANES);
                    let a = V::load_first(self.a.add(i), count);
                    for j in 0..4 {
                        sums[j][0] = a.mul_add(V::load_first(columns[j].add(i), count), sums[j][0]);
                    }
                }
                let mut lanes = [[T::zero(); MOST_LANES]; 4];
                for j in 0..4 {
                    sums[j][0].add(sums[j][1]).store(lanes[j].as_mut_ptr());
                }
                for (j, lanes) in lanes.iter().enumerate().take(n - left) {
                    let sum = lanes.iter().fold(T::zero(), |sum, &lane| sum + lane) * self.alpha;
                    let c = self.c.at(0, left + j).pointer;
                    *c = if self.beta.is_zero() { sum } else { self.beta * *c + sum };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::with_isa;

    const ISAS: [Isa; 3] = [Isa::Baseline, Isa::Avx2, Isa::Avx512];

    /// Small numbers that are exact in f32, different at each place.
    fn numbers<T: Float>(len: usize, seed: usize) -> Vec<T> {
        (0..len).map(|i| T::from((i * 37 + seed * 11) % 61).unwrap() / T::from(32).unwrap() - T::one()).collect()
    }

    /// Strides of `[rows, columns]`: by rows, by columns, or with gaps in both.
    fn strides(kind: usize, rows: usize, columns: usize) -> [isize; 2] {
        match kind {
            0 => [columns as isize, 1],
            1 => [1, rows as isize],
            _ => [2 * columns as isize + 3, 2],
        }
    }

    fn matrix<P>(pointer: P, [row, column]: [isize; 2]) -> Strided<P> {
        Strided { pointer, row, column }
    }

    /// Runs `gemm` on numbers with the given kinds of strides, compares it with a loop in f64, and returns `C`.
    fn check<T: Float>([m, n, k]: [usize; 3], kinds: [usize; 3], alpha: f64, beta: f64, parallel: bool) -> Vec<T> {
        let room = |rows: usize, columns: usize| rows * (2 * columns + 3) + 2 * columns + 1;
        let (a, b) = (numbers::<T>(room(m, k), 1), numbers::<T>(room(k, n), 2));
        let before = numbers::<T>(room(m, n), 3);
        let mut c = before.clone();
        let (sa, sb, sc) = (strides(kinds[0], m, k), strides(kinds[1], k, n), strides(kinds[2], m, n));
        let (ma, mb, mc) = (matrix(a.as_ptr(), sa), matrix(b.as_ptr(), sb), matrix(c.as_mut_ptr(), sc));
        // SAFETY: the vectors have room for every kind of strides.
        unsafe { gemm([m, n, k], T::from(alpha).unwrap(), ma, mb, T::from(beta).unwrap(), mc, parallel) };
        let at =
            |v: &[T], s: [isize; 2], i: usize, j: usize| v[i * s[0] as usize + j * s[1] as usize].to_f64().unwrap();
        let mut untouched = before.clone();
        for i in 0..m {
            for j in 0..n {
                let sum: f64 = (0..k).map(|l| at(&a, sa, i, l) * at(&b, sb, l, j)).sum();
                let expected = alpha * sum + beta * at(&before, sc, i, j);
                let got = at(&c, sc, i, j);
                let tolerance = T::epsilon().to_f64().unwrap() * 8.0 * (k as f64 + 1.0);
                assert!((got - expected).abs() <= tolerance, "{m} {n} {k} {kinds:?} [{i}, {j}]: {got} for {expected}");
                untouched[i * sc[0] as usize + j * sc[1] as usize] = c[i * sc[0] as usize + j * sc[1] as usize];
            }
        }
        assert_eq!(untouched, c, "an element outside of C was written");
        c
    }

    #[test]
    fn odd_shapes_and_all_strides_on_each_isa() {
        let shapes =
            [[1, 1, 1], [1, 70, 33], [35, 1, 40], [5, 17, 9], [13, 33, 4], [27, 16, 70], [9, 50, 130], [2, 100, 20]];
        for isa in ISAS {
            with_isa(isa, || {
                for shape in shapes {
                    for kinds in 0..27 {
                        let kinds = [kinds % 3, kinds / 3 % 3, kinds / 9];
                        check::<f32>(shape, kinds, 1.0, 0.0, false);
                        check::<f64>(shape, kinds, 0.5, -2.0, false);
                    }
                }
            });
        }
    }

    #[test]
    fn large_strides_are_packed() {
        for kinds in [[0, 0, 0], [1, 1, 0], [2, 2, 0]] {
            check::<f32>([50, 600, 300], kinds, 1.0, 1.0, false);
        }
        check::<f32>([1, 1500, 50], [0, 0, 0], 1.0, 0.0, false);
    }

    #[test]
    fn empty_dimensions() {
        check::<f32>([0, 3, 4], [0, 0, 0], 1.0, 0.0, true);
        check::<f32>([3, 0, 4], [0, 0, 0], 1.0, 0.0, true);
        assert!(check::<f32>([3, 4, 0], [0, 0, 0], 1.0, 0.0, true)[..12].iter().all(|&x| x == 0.0));
        check::<f64>([3, 4, 0], [0, 0, 1], 1.0, 2.0, true);
    }

    #[test]
    fn nan_spreads_from_operands_but_not_from_an_unread_c() {
        let (a, b, mut c) = ([1.0f32, f32::NAN, 2.0, 3.0], [0.0f32, 1.0, 0.0, 1.0], [f32::NAN; 4]);
        let (a, b) = (matrix(a.as_ptr(), [2, 1]), matrix(b.as_ptr(), [2, 1]));
        // SAFETY: all are 2 × 2.
        unsafe { gemm([2, 2, 2], 1.0, a, b, 0.0, matrix(c.as_mut_ptr(), [2, 1]), false) };
        assert!(c[0].is_nan() && c[1].is_nan());
        assert_eq!(c[2..], [0.0, 5.0]);
    }

    #[test]
    fn threads_change_no_bit() {
        for (shape, kinds) in [([130, 170, 400], [0, 0, 0]), ([300, 65, 310], [1, 1, 1]), ([1, 4100, 1000], [0, 1, 0])]
        {
            let alone = check::<f32>(shape, kinds, 1.0, 0.5, false);
            for threads in [1, 2, 3, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert_eq!(alone, pool.install(|| check::<f32>(shape, kinds, 1.0, 0.5, true)), "{threads} threads");
            }
        }
    }
}
