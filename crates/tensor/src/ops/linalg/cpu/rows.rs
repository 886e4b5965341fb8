//! Products of the rows of a matrix with vectors, compiled for wide vectors, and of its blocks with each other: what
//! factorizations spend their time on. The order of a sum over a row is that of eight numbers side by side, whatever the
//! instruction set.

use crate::cpu::gemm::{Strided, gemm};
use crate::cpu::simd::{Kernel, dispatch_up_to_avx2};

/// Numbers as a matrix: how far its rows are apart, and its columns.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) numbers: &'a [f64],
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a> Matrix<'a> {
    /// Whole rows, which begin `stride` apart.
    pub(super) fn rows(numbers: &'a [f64], stride: usize) -> Self {
        Self { numbers, row: stride, column: 1 }
    }

    pub(super) fn transposed(self) -> Self {
        Self { numbers: self.numbers, row: self.column, column: self.row }
    }

    fn strided(self, [rows, columns]: [usize; 2]) -> Strided<*const f64> {
        assert!(rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.numbers.len());
        Strided { pointer: self.numbers.as_ptr(), row: self.row as isize, column: self.column as isize }
    }
}

/// `y = factor · a · b + beta · y` for `a` of `[m, k]`, `b` of `[k, n]` and rows of `y` that begin `stride` apart.
pub(super) fn multiply(
    [m, n, k]: [usize; 3],
    factor: f64,
    a: Matrix<'_>,
    b: Matrix<'_>,
    beta: f64,
    y: &mut [f64],
    stride: usize,
) {
    let (a, b) = (a.strided([m, k]), b.strided([k, n]));
    assert!(m == 0 || n == 0 || (n <= stride && (m - 1) * stride + n <= y.len()));
    let y = Strided { pointer: y.as_mut_ptr(), row: stride as isize, column: 1 };
    // SAFETY: all elements lie in the slices; those of the result are different ones, and borrowed alone.
    unsafe { gemm([m, n, k], factor, a, b, beta, y, true) }
}

/// `y += factor · x`.
#[inline(always)]
pub(super) fn add(y: &mut [f64], factor: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// The sum of products.
#[inline(always)]
pub(super) fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (xs, ys) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in xs.zip(ys) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// `y += scale · Σ factors[i] · row i`, of rows that begin `stride` apart.
pub(super) fn add_rows(y: &mut [f64], scale: f64, factors: &[f64], rows: &[f64], stride: usize) {
    struct AddRows<'a>(&'a mut [f64], f64, &'a [f64], &'a [f64], usize);
    impl Kernel for AddRows<'_> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let AddRows(y, scale, factors, rows, stride) = self;
            for (row, factor) in rows.chunks(stride).zip(factors) {
                add(y, scale * factor, row);
            }
        }
    }
    dispatch_up_to_avx2(AddRows(y, scale, factors, rows, stride));
}

/// `row i += scale · factors[i] · x`, of rows that begin `stride` apart.
pub(super) fn add_to_rows(rows: &mut [f64], stride: usize, scale: f64, factors: &[f64], x: &[f64]) {
    struct AddToRows<'a>(&'a mut [f64], usize, f64, &'a [f64], &'a [f64]);
    impl Kernel for AddToRows<'_> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let AddToRows(rows, stride, scale, factors, x) = self;
            for (row, factor) in rows.chunks_mut(stride).zip(factors) {
                add(row, scale * factor, x);
            }
        }
    }
    dispatch_up_to_avx2(AddToRows(rows, stride, scale, factors, x));
}

/// `y[i] = row i · x`, of rows that begin `stride` apart.
pub(super) fn dots(y: &mut [f64], rows: &[f64], stride: usize, x: &[f64]) {
    struct Dots<'a>(&'a mut [f64], &'a [f64], usize, &'a [f64]);
    impl Kernel for Dots<'_> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let Dots(y, rows, stride, x) = self;
            for (y, row) in y.iter_mut().zip(rows.chunks(stride)) {
                *y = dot(&row[..x.len()], x);
            }
        }
    }
    dispatch_up_to_avx2(Dots(y, rows, stride, x));
}

/// `y = a · x` for the symmetric `a` whose lower triangle begins at `rows`.
pub(super) fn symmetric_product(y: &mut [f64], rows: &[f64], stride: usize, x: &[f64]) {
    struct SymmetricProduct<'a>(&'a mut [f64], &'a [f64], usize, &'a [f64]);
    impl Kernel for SymmetricProduct<'_> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let SymmetricProduct(y, rows, stride, x) = self;
            y.fill(0.0);
            for (i, row) in rows.chunks(stride).enumerate() {
                y[i] += dot(&row[..=i], &x[..=i]);
                add(&mut y[..i], x[i], row);
            }
        }
    }
    dispatch_up_to_avx2(SymmetricProduct(y, rows, stride, x));
}

/// `a -= x · yᵀ + y · xᵀ` for the symmetric `a` whose lower triangle begins at `rows`.
pub(super) fn subtract_products(rows: &mut [f64], stride: usize, x: &[f64], y: &[f64]) {
    struct SubtractProducts<'a>(&'a mut [f64], usize, &'a [f64], &'a [f64]);
    impl Kernel for SubtractProducts<'_> {
        type Out = ();
        #[inline(always)]
        fn run(self) {
            let SubtractProducts(rows, stride, x, y) = self;
            for (i, row) in rows.chunks_mut(stride).enumerate() {
                for ((a, x_j), y_j) in row.iter_mut().zip(&x[..=i]).zip(&y[..=i]) {
                    *a -= x[i] * y_j + y[i] * x_j;
                }
            }
        }
    }
    dispatch_up_to_avx2(SubtractProducts(rows, stride, x, y));
}
