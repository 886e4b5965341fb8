//! Products of matrices and vectors.

use super::Row;
use super::call::{Call, one};
use crate::Stop;
use kiln::autograd::Var;
use kiln::autograd::ops::*;

pub(super) fn row(op: &str) -> Option<Row> {
    products(op).or_else(|| sums(op)).or_else(|| layers(op))
}

fn products(op: &str) -> Option<Row> {
    Some(match op {
        "matmul" | "__rmatmul__" => |c| one(c.x()?.matmul(&c.var("other")?)),
        "mm" | "bmm" => |c| one(c.x()?.matmul(&c.var("mat2")?)),
        "mv" => |c| one(c.x()?.matmul(&c.var("vec")?)),
        "dot" | "vdot" => |c| one(c.x()?.matmul(&c.maybe("tensor")?.map_or_else(|| c.var("other"), Ok)?)),
        "outer" | "ger" => |c| one(c.x()?.unsqueeze(1)?.mul(&c.var("vec2")?)),
        "inner" => |c| {
            let (a, b) = (c.x()?, c.var("other")?);
            match a.shape().rank().min(b.shape().rank()) {
                0 => one(a.mul(&b)),
                _ if b.shape().rank() == 1 => one(a.matmul(&b)),
                // Every row of the one with every row of the other.
                _ => {
                    let (rows, columns) = (*a.shape(), *b.shape());
                    let n = rows[rows.rank() - 1];
                    let flat = |x: &Var, dims: &[usize]| x.reshape([dims[..dims.len() - 1].iter().product(), n]);
                    let y = flat(&a, &rows)?.matmul(&flat(&b, &columns)?.t()?)?;
                    one(y.reshape([&rows[..rows.rank() - 1], &columns[..columns.rank() - 1]].concat()))
                }
            }
        },
        "linalg.multi_dot" => |c| {
            let all = c.vars("tensors")?;
            let mut y = all[0].clone();
            for x in &all[1..] {
                y = y.matmul(x)?;
            }
            Ok(vec![y])
        },
        "kron" => |c| {
            let (a, b) = (c.x()?, c.var("other")?);
            let rank = a.shape().rank().max(b.shape().rank());
            let dims = |x: &Var| [vec![1; rank - x.shape().rank()], x.shape().to_vec()].concat();
            let (p, q) = (dims(&a), dims(&b));
            let between = |d: &[usize], first: bool| -> Vec<usize> {
                d.iter().flat_map(|&d| if first { [d, 1] } else { [1, d] }).collect()
            };
            let y = a.reshape(between(&p, true))?.mul(&b.reshape(between(&q, false))?)?;
            one(y.reshape(p.iter().zip(&q).map(|(p, q)| p * q).collect::<Vec<_>>()))
        },
        "cross" | "linalg.cross" => |c| {
            let (a, b) = (c.x()?, c.var("other")?);
            let dim = match c.get("dim") {
                Some(_) => c.int("dim")?,
                None => a.shape().iter().position(|&d| d == 3).unwrap_or(0) as isize,
            };
            let turned = |x: &Var, by: usize| -> Result<Var, Stop> {
                Ok(x.index_select(dim, &super::call::positions((0..3).map(|i| (i + by) % 3))?)?)
            };
            one(turned(&a, 1)?.mul(&turned(&b, 2)?)?.sub(&turned(&a, 2)?.mul(&turned(&b, 1)?)?))
        },
        "cdist" => |c| {
            let (a, b) = (c.var("x1")?.unsqueeze(-2)?, c.var("x2")?.unsqueeze(-3)?);
            one(a.sub(&b)?.norm(c.number_or("p", 2.0)?, -1))
        },
        _ => return None,
    })
}

/// `beta · input + alpha · product`.
fn plus(c: &Call, product: Var) -> Result<Vec<Var>, Stop> {
    let scaled = |x: Var, name: &str| -> Result<Var, Stop> {
        let factor = c.number_or(name, 1.0)?;
        Ok(if factor == 1.0 { x } else { x.mul(factor)? })
    };
    one(scaled(c.x()?, "beta")?.add(&scaled(product, "alpha")?))
}

fn sums(op: &str) -> Option<Row> {
    Some(match op {
        "addmm" => |c| plus(c, c.var("mat1")?.matmul(&c.var("mat2")?)?),
        "addmv" => |c| plus(c, c.var("mat")?.matmul(&c.var("vec")?)?),
        "baddbmm" => |c| plus(c, c.var("batch1")?.matmul(&c.var("batch2")?)?),
        "addbmm" => |c| plus(c, c.var("batch1")?.matmul(&c.var("batch2")?)?.sum(0)?),
        "addr" => |c| plus(c, c.var("vec1")?.unsqueeze(1)?.mul(&c.var("vec2")?)?),
        "einsum" => |c| {
            let operands = c.vars("operands")?;
            one(einsum(c.word("equation"), &operands.iter().collect::<Vec<_>>()))
        },
        _ => return None,
    })
}

fn layers(op: &str) -> Option<Row> {
    Some(match op {
        "nn.functional.linear" => |c| {
            let w = c.var("weight")?;
            let y = if w.shape().rank() == 2 { c.x()?.matmul(&w.t()?)? } else { c.x()?.matmul(&w)? };
            match c.maybe("bias")? {
                Some(bias) => one(y.add(&bias)),
                None => Ok(vec![y]),
            }
        },
        "nn.functional.bilinear" => |c| {
            let (a, b, w) = (c.var("input1")?, c.var("input2")?, c.var("weight")?);
            // For each output the sum over all pairs of features.
            let products = a.unsqueeze(-2)?.unsqueeze(-1)?.mul(&b.unsqueeze(-2)?.unsqueeze(-3)?.mul(&w)?)?;
            let y = products.sum([-2, -1])?;
            match c.maybe("bias")? {
                Some(bias) => one(y.add(&bias)),
                None => Ok(vec![y]),
            }
        },
        _ => return None,
    })
}
