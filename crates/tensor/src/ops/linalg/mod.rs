//! Linear algebra of small dense matrices and batches of them: what is solved, factorized and decomposed. How, in `cpu.rs`;
//! the methods, in `surface.rs`.

mod cpu;
mod cuda;
mod surface;

pub use surface::{LinalgOps, MatrixNorm};

use crate::{Arity, CpuCall, CudaCall, DType, Error, Op, Result, Shape, Spec, Specs};

/// Which part of a matrix counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triangle {
    /// On the diagonal and below.
    Lower,
    /// On the diagonal and above.
    Upper,
}

impl Triangle {
    /// That of the transposed matrix.
    #[must_use]
    pub fn transposed(self) -> Triangle {
        match self {
            Triangle::Lower => Triangle::Upper,
            Triangle::Upper => Triangle::Lower,
        }
    }
}

/// `a⁻¹ · b` for `a` of shape `[…, n, n]` and `b` of `[…, n, k]`, by elimination with row exchanges.
#[derive(Debug, Clone, PartialEq)]
pub struct Solve;

/// `a⁻¹ · b` for the triangle of `a`, by substitution. Of the other triangle nothing is read.
#[derive(Debug, Clone, PartialEq)]
pub struct SolveTriangular {
    /// Which part of `a`.
    pub triangle: Triangle,
    /// Whether the diagonal counts as ones, and is not read either.
    pub unit_diagonal: bool,
}

/// The determinants of `[…, n, n]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Det;

/// The signs of the determinants of `[…, n, n]`, and the logarithms of their magnitudes.
#[derive(Debug, Clone, PartialEq)]
pub struct SlogDet;

/// The lower triangular `l` with `l · lᵀ = a`, of the lower triangle of `a`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cholesky;

/// `q · r = a` with orthonormal columns of `q` and an upper triangular `r`, by reflections.
#[derive(Debug, Clone, PartialEq)]
pub struct Qr;

/// The eigenvalues of symmetric matrices, in ascending order, and their eigenvectors, in columns. The lower triangle is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigh;

/// `u · diag(s) · v = a` with orthonormal columns of `u` and rows of `v`, and `s` in descending order.
#[derive(Debug, Clone, PartialEq)]
pub struct Svd;

/// The pseudoinverses, in which singular values count that are larger than `rcond` times the largest.
#[derive(Debug, Clone, PartialEq)]
pub struct Pinv {
    /// The bound.
    pub rcond: f64,
}

/// The leading dimensions, rows and columns of floating-point matrices.
fn matrices(op: &str, x: Spec) -> Result<(Shape, usize, usize)> {
    if x.shape.rank() < 2 {
        return Err(Error::shape(op, format!("needs matrices [..., m, n], found {}", x.shape)));
    }
    if !x.dtype.is_float() {
        return Err(Error::dtype(op, format!("needs floating-point numbers, found {}", x.dtype)));
    }
    let (lead, last) = x.shape.split_at(x.shape.rank() - 2);
    Ok((Shape::from_slice(lead), last[0], last[1]))
}

/// The leading dimensions of square matrices, and how many rows they have.
fn squares(op: &str, x: Spec) -> Result<(Shape, usize)> {
    match matrices(op, x)? {
        (lead, m, n) if m == n => Ok((lead, n)),
        _ => Err(Error::shape(op, format!("needs square matrices [..., n, n], found {}", x.shape))),
    }
}

/// What `a` and `b` of an equation give.
fn solution(op: &str, x: &[Spec]) -> Result<Specs> {
    let (lead, n) = squares(op, x[0])?;
    let (other, rows, _) = matrices(op, x[1])?;
    if lead != other || n != rows {
        return Err(Error::shape(op, format!("matrices {} do not fit right sides {}", x[0].shape, x[1].shape)));
    }
    if x[0].dtype != x[1].dtype {
        return Err(Error::dtype(op, format!("the operands are {} and {}", x[0].dtype, x[1].dtype)));
    }
    Ok(x[1].into())
}

/// A batch of results: `[lead…, dims…]`.
fn results(lead: Shape, dims: &[usize], dtype: DType) -> Result<Spec> {
    Ok(Spec::new(Shape::new(&[&lead[..], dims].concat())?, dtype))
}

/// The error of matrix `number` of a batch.
fn fails(op: &str, number: usize, x: Shape, what: &str) -> Error {
    match x.rank() {
        2 => Error::argument(op, format!("the matrix {x} {what}")),
        _ => Error::argument(op, format!("matrix {number} of {x} {what}")),
    }
}

/// Whether the values of all matrices were found, or which the first is whose were not.
fn found(op: &str, x: Shape, failed: Option<usize>) -> Result<()> {
    match failed {
        None => Ok(()),
        Some(number) => Err(fails(op, number, x, "has values that were not found: rotations came to no end")),
    }
}

const SINGULAR: &str = "is singular: its columns depend on each other";

impl Op for Solve {
    fn name(&self) -> &str {
        "solve"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        solution(self.name(), x)
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let n = x[0].shape()[x[0].shape().rank() - 1];
        match cpu::each(x, y, n * n * n, |[a, b], [y]| cpu::solve(n, a, b, y))? {
            None => Ok(()),
            Some(number) => {
                Err(fails("solve", number, *x[0].shape(), SINGULAR).help("lstsq gives a solution of least squares"))
            }
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::solve(call, None);
        Ok(())
    }
}

impl Op for SolveTriangular {
    fn name(&self) -> &str {
        "solve_triangular"
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        solution(self.name(), x)
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let n = x[0].shape()[x[0].shape().rank() - 1];
        let solve = |[a, b]: [&[f64]; 2], [y]: [&mut [f64]; 1]| {
            y.copy_from_slice(b);
            cpu::substitute(n, a, y, self.triangle, self.unit_diagonal)
        };
        match cpu::each(x, y, n * n * n, solve)? {
            None => Ok(()),
            Some(number) => Err(fails(self.name(), number, *x[0].shape(), "is singular: its diagonal has a 0")),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::solve(call, Some(self));
        Ok(())
    }
}

impl Op for Det {
    fn name(&self) -> &str {
        "det"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (lead, _) = squares(self.name(), x[0])?;
        Ok(Spec::new(lead, x[0].dtype).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let n = x[0].shape()[x[0].shape().rank() - 1];
        cpu::each(x, y, n * n * n, |[a], [y]| cpu::determinant(n, a, |pivots| y[0] = pivots.product())).map(|_| ())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::determinant(call);
        Ok(())
    }
}

impl Op for SlogDet {
    fn name(&self) -> &str {
        "slogdet"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (lead, _) = squares(self.name(), x[0])?;
        let each = Spec::new(lead, x[0].dtype);
        Ok([each, each].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let n = x[0].shape()[x[0].shape().rank() - 1];
        let signed = |[a]: [&[f64]; 1], [sign, log]: [&mut [f64]; 2]| {
            cpu::determinant(n, a, |pivots| {
                (sign[0], log[0]) = pivots.fold((1.0, 0.0), |(sign, log), p| {
                    (if p == 0.0 { 0.0 } else { sign * p.signum() }, log + p.abs().ln())
                });
            })
        };
        cpu::each(x, y, n * n * n, signed).map(|_| ())
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::determinant(call);
        Ok(())
    }
}

impl Op for Cholesky {
    fn name(&self) -> &str {
        "cholesky"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        squares(self.name(), x[0])?;
        Ok(x[0].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let n = x[0].shape()[x[0].shape().rank() - 1];
        match cpu::each(x, y, n * n * n / 3, |[a], [l]| cpu::cholesky(n, a, l))? {
            None => Ok(()),
            Some(number) => Err(fails("cholesky", number, *x[0].shape(), "is not positive definite")
                .help("of rounded covariances: add a small number to the diagonal")),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::cholesky(call);
        Ok(())
    }
}

impl Op for Qr {
    fn name(&self) -> &str {
        "qr"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (lead, m, n) = matrices(self.name(), x[0])?;
        let dtype = x[0].dtype;
        Ok([results(lead, &[m, m.min(n)], dtype)?, results(lead, &[m.min(n), n], dtype)?].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let (_, m, n) = matrices("qr", x[0].spec())?;
        cpu::each(x, y, 4 * m * n * m.min(n), |[a], [q, r]| cpu::qr([m, n], a, q, r)).map(|_| ())
    }
}

impl Op for Eigh {
    fn name(&self) -> &str {
        "eigh"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (lead, n) = squares(self.name(), x[0])?;
        Ok([results(lead, &[n], x[0].dtype)?, x[0]].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let n = x[0].shape()[x[0].shape().rank() - 1];
        found("eigh", *x[0].shape(), cpu::each(x, y, 10 * n * n * n, |[a], [w, v]| cpu::eigh(n, a, w, v))?)
    }
}

impl Op for Svd {
    fn name(&self) -> &str {
        "svd"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (lead, m, n) = matrices(self.name(), x[0])?;
        let (dtype, k) = (x[0].dtype, m.min(n));
        Ok([results(lead, &[m, k], dtype)?, results(lead, &[k], dtype)?, results(lead, &[k, n], dtype)?]
            .into_iter()
            .collect())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let (_, m, n) = matrices("svd", x[0].spec())?;
        let svd = |[a]: [&[f64]; 1], [u, s, v]: [&mut [f64]; 3]| cpu::svd([m, n], a, u, s, v);
        found("svd", *x[0].shape(), cpu::each(x, y, 20 * m * n * m.min(n), svd)?)
    }
}

impl Op for Pinv {
    fn name(&self) -> &str {
        "pinv"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let (lead, m, n) = matrices(self.name(), x[0])?;
        Ok(results(lead, &[n, m], x[0].dtype)?.into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let (_, m, n) = matrices("pinv", x[0].spec())?;
        let pinv = |[a]: [&[f64]; 1], [y]: [&mut [f64]; 1]| cpu::pinv([m, n], a, self.rcond, y);
        found("pinv", *x[0].shape(), cpu::each(x, y, 20 * m * n * m.min(n), pinv)?)
    }
}
