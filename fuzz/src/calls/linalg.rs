//! Products of matrices and what is made of them, and linear algebra.

use super::{Call, Called, Same, one, two};
use kiln::tensor::ops::*;
use kiln::tensor::{DType, Result};

pub fn run<V: Ops>(call: &mut Call<'_>, x: &[V; 3]) -> Called<V> {
    match call.choose.below(3) {
        0 => products(call, x),
        1 => many(call, x),
        _ => decompositions(call, x),
    }
}

impl Call<'_> {
    /// Up to two leading dimensions, before others.
    fn batch(&mut self, dims: &[usize]) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.choose.below(3)).map(|_| self.choose.of(&[1, 2, 3, 1, 0])).collect();
        all.extend(dims);
        all
    }

    fn float(&mut self) -> DType {
        self.choose.of(&[
            DType::F32,
            DType::F64,
            DType::F16,
            DType::BF16,
            DType::F32,
            DType::F64,
            DType::I64,
            DType::U8,
        ])
    }

    fn length(&mut self) -> usize {
        self.choose.of(&[2, 3, 1, 4, 0, 5, 7, 8, 16, 17, 33])
    }
}

fn products<V: Ops>(call: &mut Call<'_>, [x, a, _]: &[V; 3]) -> Called<V> {
    let dtype = call.float();
    let (m, k, n) = (call.length(), call.length(), call.length());
    let (left, right) = (call.batch(&[m, k]), call.batch(&[k, n]));
    let (p, q): (V, V) = (call.operand(&left, dtype), call.operand(&right, dtype));
    let (row, vector): (V, V) = (call.operand(&[m, n], dtype), call.operand(&[k], dtype));
    let (beta, alpha) = (call.choose.number(), call.choose.number());
    let axis = call.choose.axis(x.shape().rank());
    let (name, y) = match call.choose.below(16) {
        0 | 1 => ("matmul", p.matmul(&q)),
        2 => ("matmul with a vector", if call.choose.flag() { p.matmul(&vector) } else { vector.matmul(&q) }),
        3 => ("outer", p.flatten(0, -1).and_then(|p| p.outer(&vector))),
        4 => ("inner", p.inner(&vector)),
        5 => ("tensordot", p.tensordot(&q, &[-1], &[call.choose.axis(right.len())])),
        6 => ("vecdot", x.vecdot(x, axis)),
        7 => ("kron", row.kron(&vector)),
        8 => ("cross", x.cross(x, axis)),
        9 => ("cdist", p.cdist(&p, call.choose.amount())),
        10 => ("pdist", row.pdist(call.choose.amount())),
        11 => ("addmm", row.addmm(&p, &q, beta, alpha)),
        12 => ("addmv", row.addmv(&p, &vector, beta, alpha)),
        13 => (
            "baddbmm",
            if call.choose.flag() { row.baddbmm(&p, &q, beta, alpha) } else { row.addbmm(&p, &q, beta, alpha) },
        ),
        14 => ("addr", row.addr(&vector, &vector, beta, alpha)),
        _ => ("matmul of any", x.matmul(a)),
    };
    Called { name, same: Same::Sums, results: one(y) }
}

fn many<V: Ops>(call: &mut Call<'_>, [x, _, _]: &[V; 3]) -> Called<V> {
    let dtype = call.float();
    let (m, k, n, o) = (call.length(), call.length(), call.length(), call.choose.below(4));
    let left = call.batch(&[m, k]);
    let (p, q, r): (V, V, V) = (call.operand(&left, dtype), call.operand(&[k, n], dtype), call.operand(&[n, o], dtype));
    let bias: V = call.operand(&[n], dtype);
    let bias = call.choose.flag().then_some(&bias);
    let (name, y) = match call.choose.below(5) {
        0 => ("einsum", equation(call, &[&p, &q, &r])),
        1 => ("einsum of one", equation(call, &[x])),
        2 => ("linear", q.t().and_then(|q| p.linear(&q, bias))),
        3 => {
            let other = call.operand::<V>(&[m, o], dtype);
            let first = call.operand::<V>(&[m, k], dtype);
            let weight = call.operand::<V>(&[n, k, o], dtype);
            ("bilinear", first.bilinear(&other, &weight, bias))
        }
        _ => ("multi_dot", multi_dot(&[&p, &q, &r])),
    };
    Called { name, same: Same::Sums, results: one(y) }
}

fn equation<V: Ops>(call: &mut Call<'_>, x: &[&V]) -> Result<V> {
    let given = call.choose.of(&[
        "...ij,jk,kl->...il",
        "...ij,jk,kl",
        "...ij,jk,kl->...l",
        "...ij,jk,kl->lkj...i",
        "i...j,jk,kl->...",
        "...,jj,kl->k",
        "...i->i...",
        "...ii->...i",
        "...",
        "ij->",
        "->",
    ]);
    let mut equation = given.to_owned();
    if call.choose.below(4) == 3 {
        let letters = b"ijkl.,->aZ ";
        equation = (0..call.choose.below(14)).map(|_| char::from(call.choose.of(letters))).collect();
    }
    einsum(&equation, &x[..if equation.contains(',') { x.len() } else { 1 }])
}

fn decompositions<V: Ops>(call: &mut Call<'_>, [x, _, _]: &[V; 3]) -> Called<V> {
    let dtype = call.float();
    let n = call.choose.of(&[2, 3, 1, 4, 0, 5, 9]);
    let m = if call.choose.flag() { n } else { call.choose.of(&[2, 3, 1, 4, 0, 5, 9]) };
    let (square, wide) = (call.batch(&[n, n]), call.batch(&[m, n]));
    let (a, w, b): (V, V, V) = (call.operand(&square, dtype), call.operand(&wide, dtype), call.operand(&[n, 2], dtype));
    let a = if call.choose.wild() { x.clone() } else { a };
    // Positive definite more often than not.
    let definite = |a: &V| a.matmul(&a.transpose(-1, -2)?)?.add(&V::constant(kiln::tensor::Tensor::eye(n, n)?));
    let a = if call.choose.flag() { definite(&a).unwrap_or(a) } else { a };
    let triangle = call.choose.of(&[Triangle::Lower, Triangle::Upper]);
    let norm = call.choose.of(&[
        MatrixNorm::Frobenius,
        MatrixNorm::Nuclear,
        MatrixNorm::Order(1.0),
        MatrixNorm::Order(-1.0),
        MatrixNorm::Order(2.0),
        MatrixNorm::Order(-2.0),
        MatrixNorm::Order(f64::INFINITY),
        MatrixNorm::Order(3.0),
    ]);
    let limit = call.choose.flag().then(|| call.choose.number());
    let (name, results) = match call.choose.below(22) {
        0 => ("solve", one(a.solve(&b))),
        1 => ("solve_triangular", one(a.solve_triangular(&b, triangle, call.choose.flag()))),
        2 => ("inv", one(a.inv())),
        3 => ("det", one(a.det())),
        4 => ("slogdet", two(a.slogdet())),
        5 => ("cholesky", one(a.cholesky(triangle))),
        6 => ("cholesky_solve", one(b.cholesky_solve(&a, triangle))),
        7 => ("cholesky_inverse", one(a.cholesky_inverse(triangle))),
        8 => ("logdet", one(a.logdet())),
        9 => ("qr", two(w.qr())),
        10 => ("eigh", two(a.eigh())),
        11 => ("svd", w.svd().map(|(u, s, v)| vec![u, s, v])),
        12 => ("pinv", one(w.pinv(limit))),
        13 => ("lstsq", one(w.lstsq(&call.operand(&[m, 2], dtype)))),
        14 => ("matrix_rank", one(w.matrix_rank(limit))),
        15 => ("cond", one(a.cond(norm))),
        16 => ("matrix_exp", one(a.matrix_exp())),
        17 => ("matrix_norm", one(w.matrix_norm(norm, call.choose.flag()))),
        18 => ("solve with a vector", one(a.solve(&call.operand(&[n], dtype)))),
        19 => ("qr of any", two(x.qr())),
        20 => ("svd of any", x.svd().map(|(u, s, v)| vec![u, s, v])),
        _ => {
            let power = call.choose.of(&[2, 0, 1, 3, -1, -2, 5, i32::MIN, i32::MAX]);
            ("matrix_power", one(a.matrix_power(power)))
        }
    };
    Called { name, same: Same::Specs, results }
}
