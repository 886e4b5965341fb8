//! Sorting, the top few, medians, running folds.

use super::Row;
use super::call::{Call, constant, one};
use super::shapes::axis;
use crate::Stop;
use kiln::autograd::ops::*;
use kiln::autograd::{Tensor, Var};

pub(super) fn row(op: &str) -> Option<Row> {
    Some(match op {
        "sort" | "msort" => |c| pair(c.x()?.sort(c.int_or("dim", -1)?, c.flag("descending"))?),
        "argsort" => |c| one(c.x()?.argsort(c.int_or("dim", -1)?, c.flag("descending"))),
        "topk" => |c| {
            let largest = c.get("largest").is_none_or(|flag| flag == true);
            pair(c.x()?.top_k(c.int("k")? as usize, c.int_or("dim", -1)?, largest)?)
        },
        "kthvalue" => |c| place(c, |_| c.int("k").map(|k| k as usize - 1)),
        "median" => |c| match c.get("dim") {
            Some(_) => place(c, |n| Ok(n.saturating_sub(1) / 2)),
            None => {
                let x = c.x()?.flatten(0, -1)?;
                let middle = x.tensor().count().saturating_sub(1) / 2;
                one(x.sort(0, false)?.0.index(0, middle as isize))
            }
        },
        "cumsum" => |c| one(c.in_dtype(c.x()?)?.cumsum(c.int("dim")?)),
        "cummax" => |c| pair(c.x()?.cummax(c.int("dim")?)?),
        "cummin" => |c| pair(c.x()?.cummin(c.int("dim")?)?),
        "logcumsumexp" => |c| {
            let (x, dim) = (c.x()?, c.int("dim")?);
            if x.shape().rank() == 0 {
                return Ok(vec![x]);
            }
            let n = x.shape()[axis(&x, dim)];
            let mask = Tensor::from_vec((0..n * n).map(|i| i % n <= i / n).collect::<Vec<bool>>(), [n, n])?;
            let rows = x.transpose(dim, -1)?.unsqueeze(-2)?;
            let upto = Var::new(mask).select(&rows, &constant(f64::NEG_INFINITY, &x))?;
            one(upto.logsumexp(-1)?.transpose(dim, -1))
        },
        _ => return None,
    })
}

fn pair((values, positions): (Var, Var)) -> Result<Vec<Var>, Stop> {
    Ok(vec![values, positions])
}

/// The element at some place of the order along an axis.
fn place(c: &Call, at: impl Fn(usize) -> Result<usize, Stop>) -> Result<Vec<Var>, Stop> {
    let (x, dim) = (c.x()?, c.int_or("dim", -1)?);
    let (values, positions) = x.sort(dim, false)?;
    if x.shape().rank() == 0 {
        return Ok(vec![values, positions]);
    }
    let at = at(x.shape()[axis(&x, dim)])?;
    let stride = Stride { start: at, length: 1, step: 1 };
    let kept = [values.stride(dim, stride)?, positions.stride(dim, stride)?];
    if c.flag("keepdim") {
        return Ok(kept.to_vec());
    }
    kept.iter().map(|y| Ok(y.squeeze(dim)?)).collect()
}
