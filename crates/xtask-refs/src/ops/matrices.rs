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
            Ok(vec![einsum(c.word("equation"), &operands)?])
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

/// A sum of products by its index letters: each operand with a dimension for each letter, multiplied, summed.
fn einsum(equation: &str, operands: &[Var]) -> Result<Var, Stop> {
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs.to_owned(), Some(output.to_owned())),
        None => (equation.clone(), None),
    };
    // An ellipsis stands for as many dimensions as the longest needs, named by digits from the right.
    let rest = |term: &str, rank: usize| rank - term.chars().filter(|c| *c != '.').count();
    let terms: Vec<&str> = inputs.split(',').collect();
    let most = terms
        .iter()
        .zip(operands)
        .filter(|(t, _)| t.contains("..."))
        .map(|(t, x)| rest(t, x.shape().rank()))
        .max()
        .unwrap_or(0);
    let digits = |n: usize| -> String { (0..n).rev().map(|i| char::from(b'0' + i as u8)).collect() };
    let terms: Vec<Vec<char>> = terms
        .iter()
        .zip(operands)
        .map(|(t, x)| t.replace("...", &digits(rest(t, x.shape().rank()))).chars().collect())
        .collect();
    let output: Vec<char> = match output {
        Some(output) => output.replace("...", &digits(most)).chars().collect(),
        None => {
            let all: Vec<char> = terms.concat();
            let mut once: Vec<char> = all
                .iter()
                .copied()
                .filter(|c| c.is_alphabetic() && all.iter().filter(|d| *d == c).count() == 1)
                .collect();
            once.sort_unstable();
            digits(most).chars().chain(once).collect()
        }
    };
    let mut order = output.clone();
    for &letter in terms.iter().flatten() {
        if !order.contains(&letter) {
            order.push(letter);
        }
    }
    let mut product: Option<Var> = None;
    for (term, x) in terms.iter().zip(operands) {
        let x = spread(x, term, &order)?;
        product = Some(match product {
            Some(product) => product.mul(&x)?,
            None => x,
        });
    }
    let product = product.ok_or_else(|| Stop::Failed("no operands".into()))?;
    let summed: Vec<isize> = (output.len()..order.len()).map(|a| a as isize).collect();
    Ok(if summed.is_empty() { product } else { product.sum(&summed)? })
}

/// An operand with one dimension for each letter of `order`, of length 1 where it does not have the letter.
fn spread(x: &Var, term: &[char], order: &[char]) -> Result<Var, Stop> {
    let (mut x, mut letters) = (x.clone(), term.to_vec());
    while let Some((i, j)) =
        (0..letters.len()).flat_map(|j| (0..j).map(move |i| (i, j))).find(|&(i, j)| letters[i] == letters[j])
    {
        x = super::shapes::diagonal(&x, 0, i as isize, j as isize)?;
        let letter = letters[i];
        letters.remove(j);
        letters.remove(i);
        letters.push(letter);
    }
    let own: Vec<isize> =
        order.iter().filter_map(|c| letters.iter().position(|l| l == c)).map(|i| i as isize).collect();
    let x = if own.is_empty() { x } else { x.permute(&own)? };
    let mut lengths = x.shape().to_vec().into_iter();
    let dims: Vec<usize> =
        order.iter().map(|c| if letters.contains(c) { lengths.next().unwrap_or(1) } else { 1 }).collect();
    Ok(x.reshape(dims)?)
}
