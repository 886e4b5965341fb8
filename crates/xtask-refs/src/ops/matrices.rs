//! Products of matrices and vectors, and linear algebra.

use super::Row;
use super::call::{Call, one};
use kiln::autograd::ops::*;

pub(super) fn row(op: &str) -> Option<Row> {
    products(op).or_else(|| sums(op)).or_else(|| algebra(op))
}

fn products(op: &str) -> Option<Row> {
    Some(match op {
        "matmul" | "__rmatmul__" => |c| one(c.x()?.matmul(&c.var("other")?)),
        "mm" | "bmm" => |c| one(c.x()?.matmul(&c.var("mat2")?)),
        "mv" => |c| one(c.x()?.matmul(&c.var("vec")?)),
        "dot" | "vdot" => |c| one(c.x()?.matmul(&c.maybe("tensor")?.map_or_else(|| c.var("other"), Ok)?)),
        "outer" | "ger" => |c| one(c.x()?.outer(&c.var("vec2")?)),
        "inner" => |c| one(c.x()?.inner(&c.var("other")?)),
        "tensordot" => |c| one(c.var("a")?.tensordot(&c.var("b")?, &met(c, 0)?, &met(c, 1)?)),
        "linalg.multi_dot" => |c| one(multi_dot(&c.vars("tensors")?.iter().collect::<Vec<_>>())),
        "kron" => |c| one(c.x()?.kron(&c.var("other")?)),
        "cross" | "linalg.cross" => |c| {
            let a = c.x()?;
            let first = a.shape().iter().position(|&d| d == 3).unwrap_or(0) as isize;
            one(a.cross(&c.var("other")?, c.int_or("dim", first)?))
        },
        "corrcoef" => |c| one(c.x()?.corrcoef()),
        "cov" => |c| one(c.x()?.cov(c.number_or("correction", 1.0)?)),
        "cdist" => |c| one(c.var("x1")?.cdist(&c.var("x2")?, c.number_or("p", 2.0)?)),
        "pdist" | "nn.functional.pdist" => |c| one(c.x()?.pdist(c.number_or("p", 2.0)?)),
        "linalg.vecdot" => |c| one(c.var("x")?.vecdot(&c.var("y")?, c.int_or("dim", -1)?)),
        "matrix_power" | "linalg.matrix_power" => |c| one(matrix(c)?.matrix_power(c.int("n")? as i32)),
        _ => return None,
    })
}

/// The axes of the first or second operand that meet: from a list for each, or so many last and first ones.
fn met(c: &Call, operand: usize) -> Result<Vec<isize>, crate::Stop> {
    if let Some(lists) = c.get("dims").and_then(|dims| dims.as_array()).map(Vec::as_slice) {
        let list = lists.get(operand).and_then(crate::files::numbers).unwrap_or_default();
        return Ok(list.into_iter().map(|axis| axis as isize).collect());
    }
    let count = c.int_or("dims", 2)?;
    Ok(if operand == 0 { (-count..0).collect() } else { (0..count).collect() })
}

/// The factors of a sum with a product.
fn factors(c: &Call) -> Result<(f64, f64), crate::Stop> {
    Ok((c.number_or("beta", 1.0)?, c.number_or("alpha", 1.0)?))
}

fn sums(op: &str) -> Option<Row> {
    Some(match op {
        "addmm" => |c| {
            let (beta, alpha) = factors(c)?;
            one(c.x()?.addmm(&c.var("mat1")?, &c.var("mat2")?, beta, alpha))
        },
        "addmv" => |c| {
            let (beta, alpha) = factors(c)?;
            one(c.x()?.addmv(&c.var("mat")?, &c.var("vec")?, beta, alpha))
        },
        "baddbmm" => |c| {
            let (beta, alpha) = factors(c)?;
            one(c.x()?.baddbmm(&c.var("batch1")?, &c.var("batch2")?, beta, alpha))
        },
        "addbmm" => |c| {
            let (beta, alpha) = factors(c)?;
            one(c.x()?.addbmm(&c.var("batch1")?, &c.var("batch2")?, beta, alpha))
        },
        "addr" => |c| {
            let (beta, alpha) = factors(c)?;
            one(c.x()?.addr(&c.var("vec1")?, &c.var("vec2")?, beta, alpha))
        },
        "einsum" => |c| one(einsum(c.word("equation"), &c.vars("operands")?.iter().collect::<Vec<_>>())),
        "nn.functional.linear" => |c| one(c.x()?.linear(&c.var("weight")?, c.maybe("bias")?.as_ref())),
        "nn.functional.bilinear" => |c| {
            let bias = c.maybe("bias")?;
            one(c.var("input1")?.bilinear(&c.var("input2")?, &c.var("weight")?, bias.as_ref()))
        },
        _ => return None,
    })
}

fn algebra(op: &str) -> Option<Row> {
    let op = op.strip_prefix("linalg.").unwrap_or(op);
    Some(match op {
        "solve" => |c| one(c.var("A")?.solve(&c.var("B")?)),
        "solve_triangular" => |c| one(matrix(c)?.solve_triangular(&c.var("B")?, triangle(c), c.flag("unitriangular"))),
        "inv" | "inverse" => |c| one(matrix(c)?.inv()),
        "det" => |c| one(matrix(c)?.det()),
        "slogdet" => |c| Ok(<[_; 2]>::from(matrix(c)?.slogdet()?).to_vec()),
        "logdet" => |c| one(matrix(c)?.logdet()),
        "cholesky_solve" => |c| one(c.var("input2").or_else(|_| c.var("L"))?.cholesky_solve(&c.x()?, triangle(c))),
        "cholesky_inverse" => |c| one(c.x()?.cholesky_inverse(triangle(c))),
        "matrix_exp" => |c| one(matrix(c)?.matrix_exp()),
        "matrix_rank" => |c| one(matrix(c)?.matrix_rank(c.get("rtol").and_then(|value| value.as_f64()))),
        "cond" => |c| one(matrix(c)?.cond(if c.get("p").is_none() { MatrixNorm::Order(2.0) } else { norm(c, "p")? })),
        "cholesky" => |c| one(matrix(c)?.cholesky(if c.flag("upper") { Triangle::Upper } else { Triangle::Lower })),
        "qr" => |c| Ok(<[_; 2]>::from(matrix(c)?.qr()?).to_vec()),
        "eigh" => |c| Ok(<[_; 2]>::from(matrix(c)?.eigh()?).to_vec()),
        "eigvalsh" => |c| Ok(vec![matrix(c)?.eigh()?.0]),
        "svd" => |c| Ok(<[_; 3]>::from(matrix(c)?.svd()?).to_vec()),
        "svdvals" => |c| Ok(vec![matrix(c)?.svd()?.1]),
        "pinv" => |c| one(matrix(c)?.pinv(c.get("rtol").or(c.get("rcond")).and_then(|value| value.as_f64()))),
        "lstsq" => |c| one(matrix(c)?.lstsq(&c.var("B")?)),
        "matrix_norm" => |c| {
            let norm = norm(c, "ord")?;
            one(matrix(c)?.matrix_norm(norm, c.flag("keepdim")))
        },
        _ => return None,
    })
}

fn triangle(c: &Call) -> Triangle {
    if c.flag("upper") { Triangle::Upper } else { Triangle::Lower }
}

fn norm(c: &Call, name: &str) -> Result<MatrixNorm, crate::Stop> {
    Ok(match c.get(name) {
        Some(order) if order == "nuc" => MatrixNorm::Nuclear,
        None => MatrixNorm::Frobenius,
        Some(order) if order.is_string() => MatrixNorm::Frobenius,
        Some(_) => MatrixNorm::Order(c.number(name)?),
    })
}

/// The only matrix of a call: `A`, or `input`.
fn matrix(c: &Call) -> Result<kiln::autograd::Var, crate::Stop> {
    c.maybe("A")?.map_or_else(|| c.x(), Ok)
}
