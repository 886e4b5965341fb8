//! Products of `bf16` by the instructions that some processors with AVX-512 have for it: each multiplies pairs of neighbours
//! along the inner dimension and adds both products to a sum in single precision, twice the work of one in `f32`. What is
//! smaller than the smallest normal number counts as 0 there.
//!
//! `B` is packed into strips of two vectors of columns, pair after pair; each thread packs the rows of `A` that it multiplies.

#![cfg(target_arch = "x86_64")]
#![expect(clippy::needless_range_loop, reason = "loops over registers have constant bounds and are unrolled")]

use super::gemm::Strided;
use super::parallel;
use super::scratch::Scratch;
use super::simd::{self, Isa};
use crate::bf16;
use std::arch::x86_64::*;
use std::sync::LazyLock;

/// Columns of a strip: two vectors of sums.
const WIDTH: usize = 32;
/// Rows of a tile: with as many columns as a strip has, most of the registers.
const ROWS: usize = 12;
/// Pairs that are added one after the other, before their sum meets others.
const CHAIN: usize = 2048;
/// Rows that a thread takes at a time.
const BLOCK: usize = 4 * ROWS;

/// Whether this thread may use the instructions.
pub fn are_there() -> bool {
    static DETECTED: LazyLock<bool> = LazyLock::new(|| is_x86_feature_detected!("avx512bf16"));
    simd::isa() == Isa::Avx512 && *DETECTED
}

/// An operand that threads share.
#[derive(Clone, Copy)]
struct Operand(Strided<*const bf16>);

// SAFETY: it is only read, and lives as long as the product.
unsafe impl Sync for Operand {}

impl Operand {
    /// # Safety
    /// The element is there.
    unsafe fn bits(&self, row: usize, column: usize) -> u32 {
        let at = row as isize * self.0.row + column as isize * self.0.column;
        // SAFETY: the caller's promise.
        u32::from(unsafe { *self.0.pointer.offset(at) }.to_bits())
    }
}

/// `C = A·B` for `A` of `[m, k]` and `B` of `[k, n]` with any strides, and `C` of `[m, n]`, row after row.
///
/// # Safety
/// [`are_there`] says so. All elements of `a` and `b` are valid for reads, and `c` is nobody else's.
pub unsafe fn multiply([m, n, k]: [usize; 3], a: Strided<*const bf16>, b: Strided<*const bf16>, c: &mut [bf16]) {
    if k == 0 {
        return c.fill(bf16::ZERO);
    }
    let (a, b, c) = (Operand(a), Operand(b), parallel::Shared::new(&mut c[..m * n]));
    let pairs = k.div_ceil(2);
    let strips = n.div_ceil(WIDTH);
    let mut packed = Scratch::filled(strips * pairs * WIDTH, 0u32);
    let room = parallel::Shared::new(&mut packed);
    parallel::for_chunks(strips, 1, pairs * WIDTH, |start, end| {
        for strip in start..end {
            let columns = WIDTH.min(n - strip * WIDTH);
            // SAFETY: strips are disjoint parts of the buffer; the caller vouches for `B` and the instructions.
            unsafe {
                let to = room.slice(strip * pairs * WIDTH, (strip + 1) * pairs * WIDTH);
                pack_strip(&b, strip * WIDTH, columns, k, to);
            }
        }
    });
    // Both ways, so that few rows of many columns are shared out too.
    let across = if m.div_ceil(BLOCK) >= 4 { 1 } else { strips.div_ceil(4) };
    let tasks = m.div_ceil(BLOCK) * across;
    parallel::for_chunks(tasks, 1, BLOCK.min(m) * n.div_ceil(across) * pairs / 16, |start, end| {
        for task in start..end {
            let first = task / across * BLOCK;
            let rows = BLOCK.min(m - first);
            let mut block = Scratch::filled(rows * pairs, 0u32);
            // SAFETY: blocks of rows and strips are disjoint parts of `C`; the caller vouches for `A` and the instructions.
            unsafe {
                pack_rows(&a, first, rows, k, &mut block);
                for strip in parallel::part(strips, across, 1, task % across) {
                    let (left, b) = (strip * WIDTH, &packed[strip * pairs * WIDTH..][..pairs * WIDTH]);
                    for top in (0..rows).step_by(ROWS) {
                        let count = ROWS.min(rows - top);
                        let a = &block[top * pairs..(top + count) * pairs];
                        let to = c.get().add((first + top) * n + left);
                        tile(a, b, count, pairs, to, n, WIDTH.min(n - left));
                    }
                }
            }
        }
    });
}

/// Columns from `left` on, as pairs of rows: of each pair a row of [`WIDTH`].
///
/// # Safety
/// The columns are there, and the CPU has AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn pack_strip(b: &Operand, left: usize, columns: usize, k: usize, to: &mut [u32]) {
    let (rows, _) = to.as_chunks_mut::<WIDTH>();
    if b.0.column == 1 && columns == WIDTH {
        for (pair, to) in rows.iter_mut().enumerate().take(k / 2) {
            let row = |i: usize| b.0.pointer.wrapping_offset((2 * pair + i) as isize * b.0.row).wrapping_add(left);
            // SAFETY: the caller vouches for these columns of two rows.
            let [low, high] = [0, 1].map(|i| unsafe { &*row(i).cast::<[bf16; WIDTH]>() });
            for j in 0..WIDTH {
                to[j] = u32::from(low[j].to_bits()) | u32::from(high[j].to_bits()) << 16;
            }
        }
    } else {
        for j in 0..columns {
            for (pair, to) in rows.iter_mut().enumerate().take(k / 2) {
                // SAFETY: the caller's promise.
                to[j] = unsafe { b.bits(2 * pair, left + j) | b.bits(2 * pair + 1, left + j) << 16 };
            }
        }
    }
    if k % 2 == 1 {
        for j in 0..columns {
            // SAFETY: the caller's promise.
            rows[k / 2][j] = unsafe { b.bits(k - 1, left + j) };
        }
    }
}

/// Rows from `first` on, as pairs.
///
/// # Safety
/// The rows are there, and the CPU has AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn pack_rows(a: &Operand, first: usize, rows: usize, k: usize, to: &mut [u32]) {
    let pairs = k.div_ceil(2);
    let put = |row: usize, pair: usize, to: &mut u32| {
        // SAFETY: the caller's promise.
        *to = unsafe { a.bits(first + row, 2 * pair) | a.bits(first + row, 2 * pair + 1) << 16 };
    };
    if a.0.row == 1 {
        // Along the columns, which lie dense.
        for pair in 0..k / 2 {
            (0..rows).for_each(|row| put(row, pair, &mut to[row * pairs + pair]));
        }
    } else {
        for (row, to) in to.chunks_exact_mut(pairs).enumerate() {
            to[..k / 2].iter_mut().enumerate().for_each(|(pair, to)| put(row, pair, to));
        }
    }
    if k % 2 == 1 {
        for row in 0..rows {
            // SAFETY: the caller's promise.
            to[row * pairs + k / 2] = unsafe { a.bits(first + row, k - 1) };
        }
    }
}

/// At most [`ROWS`] rows of `C` and `columns` of a strip.
///
/// # Safety
/// `a` has `rows` rows of `pairs`, `b` as many of [`WIDTH`]; so many rows and columns at `c`, `step` apart, are nobody else's. The
/// CPU has the instructions.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn tile(a: &[u32], b: &[u32], rows: usize, pairs: usize, c: *mut bf16, step: usize, columns: usize) {
    // SAFETY: the caller's promise; rows beyond the last repeat it.
    unsafe {
        let mut totals = [[_mm512_setzero_ps(); 2]; ROWS];
        let mut from = [a.as_ptr(); ROWS];
        for i in 0..ROWS {
            from[i] = a.as_ptr().add(i.min(rows - 1) * pairs);
        }
        for first in (0..pairs).step_by(CHAIN) {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            for pair in first..pairs.min(first + CHAIN) {
                let b: [__m512bh; 2] = [0, 1].map(|j| {
                    let b = b.as_ptr().add(pair * WIDTH + 16 * j);
                    core::mem::transmute(_mm512_loadu_si512(b.cast()))
                });
                for i in 0..ROWS {
                    let a: __m512bh = core::mem::transmute(_mm512_set1_epi32(*from[i].add(pair) as i32));
                    for j in 0..2 {
                        sums[i][j] = _mm512_dpbf16_ps(sums[i][j], a, b[j]);
                    }
                }
            }
            for i in 0..ROWS {
                for j in 0..2 {
                    totals[i][j] = _mm512_add_ps(totals[i][j], sums[i][j]);
                }
            }
        }
        for i in 0..ROWS {
            if i < rows {
                let c = c.add(i * step);
                for j in 0..2 {
                    let rounded: __m256i = core::mem::transmute(_mm512_cvtneps_pbh(totals[i][j]));
                    let left = columns.saturating_sub(16 * j).min(16);
                    let mask = ((1u32 << left) - 1) as u16;
                    _mm256_mask_storeu_epi16(c.wrapping_add(16 * j).cast(), mask, rounded);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_shapes_and_all_strides() {
        if !are_there() {
            return;
        }
        let number = |i: usize| bf16::from_f32((i * 37 % 61) as f32 / 32.0 - 1.0);
        for shape in
            [[1, 1, 1], [1, 70, 33], [35, 1, 40], [5, 17, 9], [60, 33, 4], [27, 100, 71], [200, 40, 2], [3, 4, 0]]
        {
            for kinds in 0..9 {
                let [m, n, k] = shape;
                let matrix = |kind: usize, rows: usize, columns: usize| {
                    let (row, column) = match kind {
                        0 => (columns, 1),
                        1 => (1, rows),
                        _ => (2 * columns + 3, 2),
                    };
                    let all: Vec<bf16> = (0..rows * (2 * columns + 3) + 2 * columns + rows).map(number).collect();
                    (all, row, column)
                };
                let ((a, a_row, a_column), (b, b_row, b_column)) = (matrix(kinds % 3, m, k), matrix(kinds / 3, k, n));
                let mut c = vec![bf16::NAN; m * n];
                let [a_strided, b_strided] = [(&a, a_row, a_column), (&b, b_row, b_column)].map(|(x, row, column)| {
                    Strided { pointer: x.as_ptr(), row: row as isize, column: column as isize }
                });
                // SAFETY: the vectors hold so many elements.
                unsafe { multiply(shape, a_strided, b_strided, &mut c) };
                for (at, c) in c.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let product =
                        |l: usize| a[i * a_row + l * a_column].to_f64() * b[l * b_row + j * b_column].to_f64();
                    let want = (0..k).map(product).sum::<f64>();
                    let apart = (c.to_f64() - want).abs();
                    assert!(
                        apart <= want.abs() / 256.0 + 1e-5 * k as f64,
                        "{shape:?} {kinds} [{i}, {j}]: {c} for {want}"
                    );
                }
            }
        }
    }
}
