//! Linear algebra as methods.

use super::{Cholesky, Det, Eigh, Pinv, Qr, SlogDet, Solve, SolveTriangular, Svd, Triangle};
use crate::ops::{
    Apply, ArithmeticOps, CastOps, ComparisonOps, MatMulOps, MathOps, ReduceOps, SelectOps, StatisticsOps, Value,
    ViewOps, keep,
};
use crate::{Axes, DType, Error, Result, Shape, Tensor};
use std::panic::Location;

/// How large a matrix is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MatrixNorm {
    /// The square root of the sum of squares.
    Frobenius,
    /// The sum of the singular values.
    Nuclear,
    /// The most that the matrix makes a vector longer, in this norm: 1 is the largest sum of magnitudes of a column, ∞ that of
    /// a row, 2 the largest singular value. The negative orders are the smallest instead.
    Order(f64),
}

/// Linear algebra. Everything is computed in double precision, whatever the element type, and each matrix of a batch by
/// itself. On a GPU there are no kernels for `qr`, `svd`, `eigh` and `pinv`, which is an error that names them.
pub trait LinalgOps:
    Value
    + ViewOps
    + CastOps
    + MatMulOps
    + StatisticsOps
    + Apply<Solve>
    + Apply<SolveTriangular>
    + Apply<Det>
    + Apply<SlogDet>
    + Apply<Cholesky>
    + Apply<Qr>
    + Apply<Eigh>
    + Apply<Svd>
    + Apply<Pinv>
{
    /// The `x` with `self · x = b`.
    ///
    /// # Shapes
    /// Matrices `[…, n, n]` and right sides `[…, n, k]` give `[…, n, k]`; the leading dimensions broadcast. A `b` of the shape
    /// of the matrices without their last dimension, or of rank 1, is one of vectors and so is the result.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let a = Tensor::new([[2.0, 1.0], [0.0, 4.0]]);
    /// assert_eq!(a.solve(&Tensor::new([4.0, 8.0]))?.to_vec::<f64>()?, [1.0, 2.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Matrices that are not square, or do not fit the right sides; a singular one, with its number.
    #[track_caller]
    fn solve(&self, b: &Self) -> Result<Self> {
        let at = Location::caller();
        solved(self, b, "solve", Solve).map_err(|e| e.unplaced().at(at))
    }

    /// The `x` with `self · x = b` for the triangle of the matrices, whose other elements are not read. With `unit_diagonal`
    /// the diagonal counts as ones.
    ///
    /// # Shapes
    /// As [`LinalgOps::solve`].
    ///
    /// # Errors
    /// As there; a diagonal with a 0.
    #[track_caller]
    fn solve_triangular(&self, b: &Self, triangle: Triangle, unit_diagonal: bool) -> Result<Self> {
        let at = Location::caller();
        let op = SolveTriangular { triangle, unit_diagonal };
        solved(self, b, "solve_triangular", op).map_err(|e| e.unplaced().at(at))
    }

    /// The inverses of `[…, n, n]`. To solve an equation, [`LinalgOps::solve`] is faster and more accurate.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let a = Tensor::new([[2.0, 1.0], [0.0, 4.0]]);
    /// assert_eq!(a.inv()?.to_vec::<f64>()?, [0.5, -0.125, 0.0, 0.25]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Matrices that are not square; a singular one.
    #[track_caller]
    fn inv(&self) -> Result<Self> {
        let at = Location::caller();
        let invert = || {
            let x = floating(self)?;
            let shape = *Value::shape(&x);
            let (_, n) = super::squares("inv", x.tensor().spec())?;
            let one = Tensor::eye(n, n)?.cast(Value::dtype(&x))?;
            Self::apply_one(Solve, &[&x, &x.beside(one)?.expand(shape)?])
        };
        invert().map_err(|e| e.renamed("solve", "inv").renamed("eye", "inv").unplaced().at(at))
    }

    /// The determinants of `[…, n, n]`, of shape `[…]`; 1 for matrices without rows. The gradient is that of matrices with an
    /// inverse, and an error for others.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// assert_eq!(Tensor::new([[1.0, 2.0], [3.0, 4.0]]).det()?.item()?, -2.0);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Matrices that are not square.
    #[track_caller]
    fn det(&self) -> Result<Self> {
        Self::apply_one(Det, &[&floating(self)?])
    }

    /// The signs of the determinants, and the logarithms of their magnitudes: for determinants too large or small for a
    /// number. Of singular matrices they are 0 and -∞. Only the logarithms have a gradient, for the signs are constant
    /// wherever they can be derived.
    ///
    /// # Errors
    /// As [`LinalgOps::det`].
    #[track_caller]
    fn slogdet(&self) -> Result<(Self, Self)> {
        Ok(two(Self::apply_op(SlogDet, &[&floating(self)?])?))
    }

    /// The lower triangular `l` with `l · lᵀ` the positive definite matrices, or the upper triangular `lᵀ`. Of the matrices
    /// the lower triangle is read.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let a = Tensor::new([[4.0, 2.0], [2.0, 5.0]]);
    /// assert_eq!(a.cholesky(Triangle::Lower)?.to_vec::<f64>()?, [2.0, 0.0, 1.0, 2.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Matrices that are not square; one that is not positive definite, with its number.
    #[track_caller]
    fn cholesky(&self, triangle: Triangle) -> Result<Self> {
        let l = Self::apply_one(Cholesky, &[&floating(self)?])?;
        if triangle == Triangle::Lower { Ok(l) } else { l.transpose(-1, -2) }
    }

    /// The `x` with `l · lᵀ · x = b` for the triangle of these matrices that [`LinalgOps::cholesky`] gave.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let a = Tensor::new([[4.0, 2.0], [2.0, 5.0]]);
    /// let l = a.cholesky(Triangle::Lower)?;
    /// assert_eq!(l.cholesky_solve(&Tensor::new([2.0, 5.0]), Triangle::Lower)?.to_vec::<f64>()?, [0.0, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`LinalgOps::solve_triangular`].
    #[track_caller]
    fn cholesky_solve(&self, b: &Self, triangle: Triangle) -> Result<Self> {
        let at = Location::caller();
        let solve = || {
            let (l, up) = match triangle {
                Triangle::Lower => (self.clone(), self.transpose(-1, -2)?),
                Triangle::Upper => (self.transpose(-1, -2)?, self.clone()),
            };
            let middle = l.solve_triangular(b, Triangle::Lower, false)?;
            up.solve_triangular(&middle, Triangle::Upper, false)
        };
        solve().map_err(|e: Error| e.within("cholesky_solve", at))
    }

    /// The inverse of `l · lᵀ` for the triangle of these matrices that [`LinalgOps::cholesky`] gave.
    ///
    /// # Errors
    /// As [`LinalgOps::solve_triangular`].
    #[track_caller]
    fn cholesky_inverse(&self, triangle: Triangle) -> Result<Self> {
        let at = Location::caller();
        let invert = || {
            let x = floating(self)?;
            let (_, n) = super::squares("cholesky_inverse", x.tensor().spec())?;
            let one = x.beside(Tensor::eye(n, n)?.cast(Value::dtype(&x))?)?.expand(*Value::shape(&x))?;
            x.cholesky_solve(&one, triangle)
        };
        invert().map_err(|e: Error| e.within("cholesky_inverse", at))
    }

    /// The logarithms of the determinants; NaN for negative ones, -∞ for 0.
    ///
    /// # Errors
    /// As [`LinalgOps::det`].
    #[track_caller]
    fn logdet(&self) -> Result<Self> {
        let at = Location::caller();
        let log = || {
            let (sign, log) = self.slogdet()?;
            sign.lt(0.0)?.select(f64::NAN, &log)
        };
        log().map_err(|e: Error| e.within("logdet", at))
    }

    /// `q` and `r` with `q · r` these matrices, orthonormal columns of `q`, and an upper triangular `r`. The gradient is that of
    /// matrices whose first columns are independent, and an error for others.
    ///
    /// # Shapes
    /// `[…, m, n]` gives `[…, m, k]` and `[…, k, n]` for `k` the smaller of `m` and `n`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let (q, r) = Tensor::new([[3.0, 1.0], [4.0, 2.0]]).qr()?;
    /// assert!(r.index(0, 0)?.sub(&Tensor::new([-5.0, -2.2]))?.norm(2.0, ..)?.item()? < 1e-12);
    /// assert!(q.matmul(&r)?.sub(&Tensor::new([[3.0, 1.0], [4.0, 2.0]]))?.norm(2.0, ..)?.item()? < 1e-12);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// No matrices.
    #[track_caller]
    fn qr(&self) -> Result<(Self, Self)> {
        Ok(two(Self::apply_op(Qr, &[&floating(self)?])?))
    }

    /// The eigenvalues of symmetric matrices, in ascending order, and their eigenvectors of length 1, in columns, the first of
    /// the largest elements of each positive. The lower triangle is read. Eigenvectors of equal eigenvalues can be any of
    /// many: their gradient is not finite.
    ///
    /// # Shapes
    /// `[…, n, n]` gives `[…, n]` and `[…, n, n]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let (values, _) = Tensor::new([[2.0, 1.0], [1.0, 2.0]]).eigh()?;
    /// assert!(values.sub(&Tensor::new([1.0, 3.0]))?.norm(2.0, ..)?.item()? < 1e-12);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Matrices that are not square; one whose values the rotations do not find, with its number.
    #[track_caller]
    fn eigh(&self) -> Result<(Self, Self)> {
        Ok(two(Self::apply_op(Eigh, &[&floating(self)?])?))
    }

    /// `u`, `s` and `v` with `u · diag(s) · v` these matrices: orthonormal columns of `u` and rows of `v` (that others call
    /// `vᵀ`), and the singular values `s` in descending order. Vectors of equal singular values, or of 0, can be any of many:
    /// their gradient is not finite.
    ///
    /// # Shapes
    /// `[…, m, n]` gives `[…, m, k]`, `[…, k]` and `[…, k, n]` for `k` the smaller of `m` and `n`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let (_, s, _) = Tensor::new([[0.0, 2.0], [3.0, 0.0]]).svd()?;
    /// assert_eq!(s.to_vec::<f64>()?, [3.0, 2.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// No matrices; one whose values the rotations do not find, with its number.
    #[track_caller]
    fn svd(&self) -> Result<(Self, Self, Self)> {
        match Self::apply_op(Svd, &[&floating(self)?])?.into_array() {
            Some([u, s, v]) => Ok((u, s, v)),
            None => unreachable!("a decomposition has three parts"),
        }
    }

    /// The pseudoinverses (Moore and Penrose): of matrices with an inverse these, and otherwise what makes of a right side the
    /// solution of least squares, the shortest one. Singular values count that are larger than `rcond` times the largest;
    /// without one, than the precision of the element type times the larger of `m` and `n`. The gradient takes their number
    /// as constant.
    ///
    /// # Shapes
    /// `[…, m, n]` gives `[…, n, m]`.
    ///
    /// # Errors
    /// As [`LinalgOps::svd`]; an `rcond` that is negative or no number.
    #[track_caller]
    fn pinv(&self, rcond: Option<f64>) -> Result<Self> {
        let at = Location::caller();
        let x = floating(self)?;
        let rcond = rcond.unwrap_or_else(|| precision(&x));
        if rcond.is_nan() || rcond < 0.0 {
            return Err(Error::argument("pinv", format!("rcond is {rcond}, and no share of a value")).at(at));
        }
        Self::apply_one(Pinv { rcond }, &[&x]).map_err(|e| e.unplaced().at(at))
    }

    /// The `x` for which the norm of `self · x - b` is smallest; where there are many, the shortest.
    ///
    /// # Shapes
    /// Matrices `[…, m, n]` and right sides `[…, m, k]` give `[…, n, k]`; the leading dimensions broadcast. A `b` of rank 1 is a
    /// vector and so is the result.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let line = Tensor::new([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]);
    /// let fit = line.lstsq(&Tensor::new([1.0, 3.0, 5.0]))?;
    /// assert!(fit.sub(&Tensor::new([2.0, 1.0]))?.norm(2.0, ..)?.item()? < 1e-12);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Matrices that do not fit the right sides.
    #[track_caller]
    fn lstsq(&self, b: &Self) -> Result<Self> {
        let at = Location::caller();
        let solve = || {
            // In single precision the inverse's rounding would count as often as it is added up.
            let (x, dtype) = (floating(self)?, Value::dtype(self).promote(Value::dtype(b)).to_float());
            let inverse = x.cast(DType::F64)?.pinv(Some(precision(&x)))?;
            inverse.matmul(&b.cast(DType::F64)?)?.cast(dtype)
        };
        solve().map_err(|e: Error| e.renamed("pinv", "lstsq").renamed("matmul", "lstsq").unplaced().at(at))
    }

    /// How many singular values are larger than `rcond` times the largest, as `i64`; by default as in [`LinalgOps::pinv`]. A
    /// count has no derivative.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// assert_eq!(Tensor::new([[1.0, 2.0], [2.0, 4.0]]).matrix_rank(None)?.to_vec::<i64>()?, [1]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// No matrices.
    #[track_caller]
    fn matrix_rank(&self, rcond: Option<f64>) -> Result<Self> {
        let at = Location::caller();
        let rank = || {
            let x = floating(&self.detach())?;
            let rcond = rcond.unwrap_or_else(|| precision(&x));
            let (_, s, _) = x.svd()?;
            if Value::shape(&s).last() == Some(&0) {
                return s.sum(-1)?.cast(DType::I64);
            }
            s.gt(&s.amax(keep(-1))?.mul(rcond)?)?.sum(-1)
        };
        rank().map_err(|e: Error| e.within("matrix_rank", at))
    }

    /// How much an equation with these matrices makes errors grow: the norm of the matrix times that of its inverse, for the
    /// order 2 the largest singular value divided by the smallest.
    ///
    /// # Errors
    /// As [`LinalgOps::matrix_norm`]; for other orders than 2, matrices that are not square, or singular.
    #[track_caller]
    fn cond(&self, norm: MatrixNorm) -> Result<Self> {
        let at = Location::caller();
        let number = || match norm {
            MatrixNorm::Order(2.0) => {
                let (_, s, _) = self.svd()?;
                let least = s.amin(-1)?;
                // Of zeros too it is infinite.
                least.detach().eq(0)?.select(f64::INFINITY, &s.amax(-1)?.div(&least)?)
            }
            MatrixNorm::Order(-2.0) => {
                let (_, s, _) = self.svd()?;
                s.amin(-1)?.div(&s.amax(-1)?)
            }
            norm => self.matrix_norm(norm, false)?.mul(&self.inv()?.matrix_norm(norm, false)?),
        };
        number().map_err(|e: Error| e.within("cond", at))
    }

    /// The exponentials of matrices, `Σ xⁿ / n!`: by the series of a matrix that is halved until it is small, and squares
    /// (Moler and Van Loan 2003, method 3). How large each matrix is decides how often it is halved, and is read.
    ///
    /// # Shapes
    /// `[…, n, n]` gives the same.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([[0.0, 1.0], [0.0, 0.0]]).matrix_exp()?;
    /// assert_eq!(y.to_vec::<f64>()?, [1.0, 1.0, 0.0, 1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Matrices that are not square.
    #[track_caller]
    fn matrix_exp(&self) -> Result<Self> {
        let at = Location::caller();
        exponential(self).map_err(|e| e.within("matrix_exp", at))
    }

    /// The norms of matrices, of the last two dimensions; with `keep_dims` these stay, with length 1.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([[1.0, -2.0], [3.0, 4.0]]);
    /// assert_eq!(x.matrix_norm(MatrixNorm::Order(1.0), false)?.item()?, 6.0);
    /// assert_eq!(x.matrix_norm(MatrixNorm::Order(f64::INFINITY), false)?.item()?, 7.0);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// No matrices; an order other than ±1, ±2 and ±∞; the largest or smallest of nothing.
    #[track_caller]
    fn matrix_norm(&self, norm: MatrixNorm, keep_dims: bool) -> Result<Self> {
        let at = Location::caller();
        matrix_norm(self, norm, keep_dims).map_err(|e| {
            ["amax", "amin", "svd", "norm"]
                .into_iter()
                .fold(e, |e, part| e.renamed(part, "matrix_norm"))
                .unplaced()
                .at(at)
        })
    }

    /// The product of `n` times the matrices `[…, m, m]`; of the inverse for a negative `n`, and the unit matrix for 0.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let fibonacci = Tensor::new([[1, 1], [1, 0]]);
    /// assert_eq!(fibonacci.matrix_power(10)?.to_vec::<i32>()?, [89, 55, 55, 34]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Matrices that are not square; a singular one to a negative power.
    #[track_caller]
    fn matrix_power(&self, n: i32) -> Result<Self> {
        let at = Location::caller();
        let inner = || {
            let shape = *Value::shape(self);
            let size = match shape.dims() {
                [.., m, n] if m == n => *n,
                _ => return Err(Error::shape("matrix_power", format!("needs square matrices, found {shape}"))),
            };
            let (mut left, mut square) = (n.unsigned_abs(), if n < 0 { self.inv()? } else { self.clone() });
            let mut power: Option<Self> = None;
            while left > 0 {
                if left % 2 == 1 {
                    power = Some(if let Some(power) = &power { power.matmul(&square)? } else { square.clone() });
                }
                left /= 2;
                if left > 0 {
                    square = square.matmul(&square)?;
                }
            }
            match power {
                Some(power) => Ok(power),
                None => self.beside(Tensor::eye(size, size)?.cast(Value::dtype(self))?)?.expand(shape),
            }
        };
        inner().map_err(|e: Error| e.renamed("inv", "matrix_power").unplaced().at(at))
    }
}
impl<V> LinalgOps for V where
    V: Value
        + ViewOps
        + CastOps
        + MatMulOps
        + StatisticsOps
        + Apply<Solve>
        + Apply<SolveTriangular>
        + Apply<Det>
        + Apply<SlogDet>
        + Apply<Cholesky>
        + Apply<Qr>
        + Apply<Eigh>
        + Apply<Svd>
        + Apply<Pinv>
{
}

fn floating<V: CastOps>(x: &V) -> Result<V> {
    x.cast(Value::dtype(x).to_float())
}

/// The precision of the element type times the longer side of a matrix.
fn precision<V: Value>(x: &V) -> f64 {
    let longest = Value::shape(x).iter().rev().take(2).max().copied().unwrap_or(1);
    // The distance from 1 to the next number.
    let epsilon = match Value::dtype(x) {
        DType::F64 => f64::EPSILON,
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => f64::from(f32::EPSILON),
    };
    longest as f64 * epsilon
}

fn exponential<V: LinalgOps>(x: &V) -> Result<V> {
    let x = floating(x)?;
    let (lead, n) = super::squares("matrix_exp", x.tensor().spec())?;
    if Value::shape(&x).count() == 0 {
        return Ok(x);
    }
    // Matrices that sum up to at most a half need no more terms for double precision.
    const TERMS: usize = 16;
    let dtype = Value::dtype(&x);
    let x = x.cast(DType::F64)?;
    let sizes = x.tensor().abs()?.sum(-1)?.amax(-1)?.to_vec::<f64>()?;
    // Each matrix has its own; of one that is not finite nothing can be told.
    let halvings = |size: &f64| if size.is_finite() { (size.max(0.5).log2() + 1.0).ceil() } else { 0.0 };
    let halvings: Vec<f64> = sizes.iter().map(halvings).collect();
    let most = halvings.iter().fold(0f64, |most, x| most.max(*x)) as usize;
    let halvings = x.beside(Tensor::from_vec(halvings, [&lead[..], &[1, 1]].concat())?)?;
    let small = x.mul(&halvings.mul(-1.0)?.exp2()?)?;
    let one = x.beside(Tensor::eye(n, n)?.cast(DType::F64)?)?;
    let mut sum = small.mul(1.0 / TERMS as f64)?.add(&one)?;
    for term in (1..TERMS).rev() {
        sum = small.matmul(&sum)?.mul(1.0 / term as f64)?.add(&one)?;
    }
    for step in 0..most {
        // Squares of what is finished could grow beyond all numbers, and its gradient with them.
        let goes_on = halvings.gt(step as f64)?;
        let root = goes_on.select(&sum, &one)?;
        sum = goes_on.select(&root.matmul(&root)?, &sum)?;
    }
    sum.cast(dtype)
}

fn two<V>(y: crate::Outputs<V>) -> (V, V) {
    match y.into_array() {
        Some([a, b]) => (a, b),
        None => unreachable!("the operation has two results"),
    }
}

/// An equation with operands of one type whose leading dimensions are those that both broadcast to.
fn solved<V: ViewOps + CastOps + Apply<O>, O: crate::Op>(a: &V, b: &V, name: &str, op: O) -> Result<V> {
    let dtype = Value::dtype(a).promote(Value::dtype(b)).to_float();
    let (a, b) = (a.cast(dtype)?, b.cast(dtype)?);
    let (shape, right) = (*Value::shape(&a), *Value::shape(&b));
    let (lead, _) = super::squares(name, a.tensor().spec())?;
    let is_vector = right.rank() == 1 || (right.rank() > 0 && right[..] == shape[..shape.rank() - 1]);
    let b = if is_vector { b.unsqueeze(-1)? } else { b };
    let sides = *Value::shape(&b);
    if sides.rank() < 2 {
        return Err(Error::shape(name, format!("matrices {shape} need right sides of rank 1 or more, found {right}")));
    }
    let split = |s: &Shape| (Shape::from_slice(&s[..s.rank() - 2]), [s[s.rank() - 2], s[s.rank() - 1]]);
    let ((rows, size), (others, size_of_sides)) = (split(&shape), split(&sides));
    debug_assert_eq!(rows, lead);
    let lead = rows.broadcast(&others).map_err(|_| {
        Error::shape(
            name,
            format!("matrices {shape} do not fit right sides {right}: the leading dimensions do not broadcast"),
        )
    })?;
    let a = a.expand([&lead[..], &size].concat())?;
    let y = V::apply_one(op, &[&a, &b.expand([&lead[..], &size_of_sides].concat())?])?;
    if is_vector { y.squeeze(-1) } else { Ok(y) }
}

fn matrix_norm<V: LinalgOps>(x: &V, norm: MatrixNorm, keep_dims: bool) -> Result<V> {
    let x = floating(x)?;
    super::matrices("matrix_norm", x.tensor().spec())?;
    let kept = |axes: &[isize]| Axes::of(axes).keep_dims(keep_dims);
    // One axis is folded before the other: without those that stay the second is the last one then.
    let other = if keep_dims { -2 } else { -1 };
    let values = |x: &V| -> Result<V> { Ok(x.svd()?.1) };
    let as_matrix = |y: V| if keep_dims { y.unsqueeze(-1)?.unsqueeze(-1) } else { Ok(y) };
    match norm {
        MatrixNorm::Frobenius => x.norm(2.0, kept(&[-2, -1])),
        MatrixNorm::Nuclear => as_matrix(values(&x)?.sum(-1)?),
        MatrixNorm::Order(2.0) => as_matrix(values(&x)?.amax(-1)?),
        MatrixNorm::Order(-2.0) => as_matrix(values(&x)?.amin(-1)?),
        MatrixNorm::Order(1.0) => x.norm(1.0, kept(&[-2]))?.amax(kept(&[-1])),
        MatrixNorm::Order(-1.0) => x.norm(1.0, kept(&[-2]))?.amin(kept(&[-1])),
        MatrixNorm::Order(f64::INFINITY) => x.norm(1.0, kept(&[-1]))?.amax(kept(&[other])),
        MatrixNorm::Order(f64::NEG_INFINITY) => x.norm(1.0, kept(&[-1]))?.amin(kept(&[other])),
        MatrixNorm::Order(order) => {
            let error = Error::argument("matrix_norm", format!("there is no norm of order {order}"));
            Err(error.help("orders are 1, 2 and infinity, and their negatives"))
        }
    }
}
