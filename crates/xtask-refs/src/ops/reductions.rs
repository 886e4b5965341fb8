//! Folds, statistics, norms, positions of extremes.

use super::Row;
use super::call::{Call, all_or, one, pair};
use crate::Stop;
use kiln::autograd::Var;
use kiln::autograd::ops::*;

pub(super) fn row(op: &str) -> Option<Row> {
    folds(op).or_else(|| statistics(op)).or_else(|| norms(op)).or_else(|| extremes(op))
}

fn fold(c: &Call, x: &Var, folding: impl Fold) -> Result<Vec<Var>, Stop> {
    one(x.reduce(folding, c.axes()?))
}

fn folds(op: &str) -> Option<Row> {
    Some(match op {
        "sum" => |c| fold(c, &c.in_dtype(c.x()?)?, Sum),
        "prod" => |c| fold(c, &c.in_dtype(c.x()?)?, Prod),
        "amax" => |c| fold(c, &c.x()?, Max),
        "amin" => |c| fold(c, &c.x()?, Min),
        // Without an axis the extreme is shared evenly among ties.
        "max.reduction_no_dim" => |c| one(c.x()?.amax(..)),
        "min.reduction_no_dim" => |c| one(c.x()?.amin(..)),
        "nansum" => |c| one(c.in_dtype(c.x()?)?.nansum(c.axes()?)),
        "nanmean" => |c| one(c.in_dtype(c.x()?)?.nanmean(c.axes()?)),
        "any" => |c| one(c.x()?.any(c.axes()?)),
        "all" => |c| one(c.x()?.all(c.axes()?)),
        "count_nonzero" => |c| one(c.x()?.count_nonzero(all_or(&c.ints("dim")?))),
        "logsumexp" => |c| one(c.x()?.logsumexp(c.axes()?)),
        "aminmax" => |c| pair(c.x()?.aminmax(c.axes()?)?),
        _ => return None,
    })
}

/// `n - 1` unless the call says otherwise, in one of PyTorch's two ways.
fn correction(c: &Call) -> Result<f64, Stop> {
    match c.get("unbiased") {
        Some(flag) => Ok(f64::from(u8::from(flag == true))),
        None => c.number_or("correction", 1.0),
    }
}

fn statistics(op: &str) -> Option<Row> {
    Some(match op {
        "mean" => |c| one(c.in_dtype(c.x()?)?.mean(c.axes()?)),
        "var" => |c| one(c.x()?.var(c.axes()?, correction(c)?)),
        "std" => |c| one(c.x()?.std(c.axes()?, correction(c)?)),
        "var_mean" => |c| pair(c.x()?.var_mean(c.axes()?, correction(c)?)?),
        "std_mean" => |c| pair(c.x()?.std_mean(c.axes()?, correction(c)?)?),
        _ => return None,
    })
}

fn norms(op: &str) -> Option<Row> {
    Some(match op {
        "norm" | "norm.fro" | "norm.inf" => |c| {
            let p = if c.word("p") == "fro" { 2.0 } else { c.number_or("p", 2.0)? };
            one(c.in_dtype(c.x()?)?.norm(p, c.axes()?))
        },
        "linalg.vector_norm" => |c| one(c.in_dtype(c.x()?)?.norm(c.number_or("ord", 2.0)?, c.axes()?)),
        "dist" => |c| one(c.x()?.dist(&c.var("other")?, c.number_or("p", 2.0)?)),
        _ => return None,
    })
}

fn extremes(op: &str) -> Option<Row> {
    Some(match op {
        "argmax" => |c| one(c.x()?.argmax(c.axes()?)),
        "argmin" => |c| one(c.x()?.argmin(c.axes()?)),
        "max.reduction_with_dim" => |c| pair(c.x()?.max(c.axis()?)?),
        "min.reduction_with_dim" => |c| pair(c.x()?.min(c.axis()?)?),
        _ => return None,
    })
}
