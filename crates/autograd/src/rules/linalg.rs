//! Linear algebra: what an equation or a factorization makes of a small change, read backwards (Giles 2008, "Collected matrix
//! derivative results"; Walter and Lehmann 2018 for `qr`; Golub and Pereyra 1973 for `pinv`).

use super::only;
use crate::ops::{
    Apply, ArithmeticOps, CastOps, Cholesky, Det, Eigh, LinalgOps, MatMulOps, MathOps, Pinv, Qr, SelectOps, SlogDet,
    Solve, SolveTriangular, Svd, Triangle, Value, ViewOps,
};
use crate::{Differentiable, Keep, Result, Tensor, Var};

/// The transposed matrices.
fn turned(x: &Var) -> Result<Var> {
    x.transpose(-1, -2)
}

/// Zeros where the mask does not hold, for each row and column.
fn masked(x: &Var, holds: impl Fn(usize, usize) -> bool) -> Result<Var> {
    let shape = *Value::shape(x);
    let [rows, columns] = [2, 1].map(|from_end| shape[shape.rank() - from_end]);
    let mask: Vec<bool> = (0..rows * columns).map(|at| holds(at / columns, at % columns)).collect();
    x.beside(Tensor::from_vec(mask, [rows, columns])?)?.select(x, 0.0)
}

fn triangle(x: &Var, triangle: Triangle, with_diagonal: bool) -> Result<Var> {
    masked(x, |i, j| (with_diagonal && i == j) || if triangle == Triangle::Lower { i > j } else { i < j })
}

/// The lower triangle with half of the diagonal: what a symmetric matrix is the sum of it and its transpose.
fn half(x: &Var) -> Result<Var> {
    triangle(x, Triangle::Lower, true)?.sub(&masked(x, |i, j| i == j)?.mul(0.5)?)
}

/// `x · diag(d)`.
fn columns_times(x: &Var, d: &Var) -> Result<Var> {
    x.mul(&d.unsqueeze(-2)?)
}

/// The vector as a diagonal.
fn diagonal(d: &Var) -> Result<Var> {
    let n = Value::shape(d).last().copied().unwrap_or(0);
    let one = Tensor::eye(n, n)?.cast(Value::dtype(d))?;
    columns_times(&d.beside(one)?, d)
}

/// `1 / (d[j] - d[i])` at row `i` and column `j`, and 0 on the diagonal.
fn gaps(d: &Var) -> Result<Var> {
    let gap = d.unsqueeze(-2)?.sub(&d.unsqueeze(-1)?)?;
    let n = Value::shape(d).last().copied().unwrap_or(0);
    let one = gap.beside(Tensor::eye(n, n)?.cast(Value::dtype(&gap))?)?;
    gap.add(&one)?.reciprocal()?.sub(&one)
}

impl Differentiable for Solve {
    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let db = Var::apply_one(Solve, &[&turned(&x[0])?, &only(dy)])?;
        let da = if need[0] { Some(db.matmul(&turned(&y[0])?)?.neg()?) } else { None };
        Ok(vec![da, Some(db)])
    }
}

impl Differentiable for SolveTriangular {
    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let op = SolveTriangular { triangle: self.triangle.transposed(), unit_diagonal: self.unit_diagonal };
        let db = Var::apply_one(op, &[&turned(&x[0])?, &only(dy)])?;
        let da = match need[0] {
            true => Some(triangle(&db.matmul(&turned(&y[0])?)?.neg()?, self.triangle, !self.unit_diagonal)?),
            false => None,
        };
        Ok(vec![da, Some(db)])
    }
}

/// `dy · a⁻ᵀ`, for a number `dy` of each matrix.
fn times_inverse(dy: &Var, a: &Var) -> Result<Vec<Option<Var>>> {
    Ok(vec![Some(turned(&a.inv()?)?.mul(&dy.unsqueeze(-1)?.unsqueeze(-1)?)?)])
}

impl Differentiable for Det {
    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        times_inverse(&only(dy).mul(&y[0])?, &x[0])
    }
}

impl Differentiable for SlogDet {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        dy[1].as_ref().map_or(Ok(vec![None]), |dy| times_inverse(dy, &x[0]))
    }
}

impl Differentiable for Cholesky {
    fn keeps(&self) -> Keep {
        Keep::OUTPUTS
    }

    fn vjp(&self, _x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let (l, up) = (&y[0], turned(&y[0])?);
        let middle = half(&up.matmul(&triangle(&only(dy), Triangle::Lower, true)?)?)?;
        // l⁻ᵀ · middle · l⁻¹, of which only the symmetric part can be told apart.
        let left = up.solve_triangular(&middle, Triangle::Upper, false)?;
        let both = turned(&up.solve_triangular(&turned(&left)?, Triangle::Upper, false)?)?;
        debug_assert_eq!(Value::shape(&both), Value::shape(l));
        Ok(vec![Some(both.add(&turned(&both)?)?.mul(0.5)?)])
    }
}

impl Differentiable for Qr {
    fn keeps(&self) -> Keep {
        Keep::OUTPUTS
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let (q, r) = (&y[0], &y[1]);
        let zeros = |like: &Var| -> Result<Var> { like.detach().mul(0.0) };
        let dq = dy[0].clone().map_or_else(|| zeros(q), Ok)?;
        let dr = dy[1].clone().map_or_else(|| zeros(r), Ok)?;
        let shape = *Value::shape(&x[0]);
        let [m, n] = [2, 1].map(|from_end| shape[shape.rank() - from_end] as isize);
        if m >= n {
            return Ok(vec![Some(square_qr(q, r, &dq, &dr)?)]);
        }
        // The first m columns alone give q; the others are q times the rest of r.
        let (first, rest) = (0..m, m..n);
        let (dq, rest) = {
            let dr = dr.slice(-1, rest.clone())?;
            // The other columns of the matrices are q · r.
            let columns = q.matmul(&r.slice(-1, rest)?)?;
            (dq.add(&columns.matmul(&turned(&dr)?)?)?, q.matmul(&dr)?)
        };
        let first = square_qr(q, &r.slice(-1, first.clone())?, &dq, &dr.slice(-1, first)?)?;
        Ok(vec![Some(crate::ops::concat(&[&first, &rest], -1)?)])
    }
}

/// The gradient of `q · r` with a square `r`.
fn square_qr(q: &Var, r: &Var, dq: &Var, dr: &Var) -> Result<Var> {
    let dr = triangle(dr, Triangle::Upper, true)?;
    let m = r.matmul(&turned(&dr)?)?.sub(&turned(dq)?.matmul(q)?)?;
    let symmetric = {
        let half = half(&m)?;
        half.add(&turned(&half)?)?
    };
    // (dq + q · symmetric) · r⁻ᵀ.
    let left = turned(&dq.add(&q.matmul(&symmetric)?)?)?;
    turned(&r.solve_triangular(&left, Triangle::Upper, false)?)
}

impl Differentiable for Eigh {
    fn keeps(&self) -> Keep {
        Keep::OUTPUTS
    }

    fn vjp(&self, _x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let (w, v) = (&y[0], &y[1]);
        let mut middle = dy[0].as_ref().map(diagonal).transpose()?;
        if let Some(dv) = &dy[1] {
            let turn = turned(v)?.matmul(dv)?.mul(&gaps(w)?)?;
            middle = Some(if let Some(middle) = middle { middle.add(&turn)? } else { turn });
        }
        let Some(middle) = middle else { return Ok(vec![None]) };
        let dx = v.matmul(&middle)?.matmul(&turned(v)?)?;
        Ok(vec![Some(dx.add(&turned(&dx)?)?.mul(0.5)?)])
    }
}

impl Differentiable for Svd {
    fn keeps(&self) -> Keep {
        Keep::OUTPUTS
    }

    fn vjp(&self, _x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let (u, s, v) = (&y[0], &y[1], &y[2]);
        let right = turned(v)?;
        let skew = |x: Var| -> Result<Var> { x.sub(&turned(&x)?) };
        let mut middle = dy[1].as_ref().map(diagonal).transpose()?;
        let mut plus = |part: Var| -> Result<()> {
            middle = Some(if let Some(middle) = &middle { middle.add(&part)? } else { part });
            Ok(())
        };
        let turns = if dy[0].is_some() || dy[2].is_some() { Some(gaps(&s.square()?)?) } else { None };
        let (mut left_over, mut right_over) = (None, None);
        if let (Some(du), Some(turns)) = (&dy[0], &turns) {
            let inner = turned(u)?.matmul(du)?;
            plus(columns_times(&skew(inner.clone())?.mul(turns)?, s)?)?;
            // What of du does not lie in the columns of u.
            left_over = Some(columns_times(&du.sub(&u.matmul(&inner)?)?, &s.reciprocal()?)?.matmul(v)?);
        }
        if let (Some(dv), Some(turns)) = (&dy[2], &turns) {
            let dv = turned(dv)?;
            let inner = v.matmul(&dv)?;
            plus(skew(inner.clone())?.mul(turns)?.mul(&s.unsqueeze(-1)?)?)?;
            let over = turned(&dv.sub(&right.matmul(&inner)?)?)?;
            right_over = Some(columns_times(u, &s.reciprocal()?)?.matmul(&over)?);
        }
        let Some(middle) = middle else { return Ok(vec![None]) };
        let mut dx = u.matmul(&middle)?.matmul(v)?;
        for over in [left_over, right_over].into_iter().flatten() {
            dx = dx.add(&over)?;
        }
        Ok(vec![Some(dx)])
    }
}

impl Differentiable for Pinv {
    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let (a, p, dy) = (&x[0], &y[0], turned(&only(dy))?);
        let turn = turned(p)?;
        let inner = dy.matmul(p)?;
        let outer = inner.matmul(&turn)?;
        let dx = outer.sub(&turned(&p.matmul(&inner)?)?)?;
        let dx = dx.sub(&a.matmul(p)?.matmul(&outer)?)?;
        Ok(vec![Some(dx.add(&turn.matmul(p)?.matmul(&dy.sub(&inner.matmul(a)?)?)?)?)])
    }
}
