//! Folds, statistics, norms, positions of extremes.

use super::Row;
use super::call::{Call, all_or, constant, one};
use crate::Stop;
use kiln::autograd::ops::*;
use kiln::autograd::{DType, Var};

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
        "nansum" => |c| {
            let x = c.in_dtype(c.x()?)?;
            fold(c, &without_nan(&x)?, Sum)
        },
        "nanmean" => |c| {
            let x = c.in_dtype(c.x()?)?;
            let (axes, keep) = (c.ints("dim")?, c.flag("keepdim"));
            let count = x.is_nan()?.logical_not()?.count_nonzero(all_or(&axes).keep_dims(keep))?.cast(x.dtype())?;
            one(without_nan(&x)?.reduce(Sum, all_or(&axes).keep_dims(keep))?.div(&count))
        },
        "any" => |c| one(c.x()?.any(c.axes()?)),
        "all" => |c| one(c.x()?.all(c.axes()?)),
        "count_nonzero" => |c| one(c.x()?.count_nonzero(all_or(&c.ints("dim")?))),
        "logsumexp" => |c| one(c.x()?.logsumexp(c.axes()?)),
        "aminmax" => |c| {
            let (axes, keep) = (c.ints("dim")?, c.flag("keepdim"));
            Ok(vec![
                c.x()?.reduce(Min, all_or(&axes).keep_dims(keep))?,
                c.x()?.reduce(Max, all_or(&axes).keep_dims(keep))?,
            ])
        },
        _ => return None,
    })
}

fn without_nan(x: &Var) -> Result<Var, Stop> {
    Ok(x.is_nan()?.select(&constant(0.0, x), x)?)
}

/// `n - 1` unless the call says otherwise, in one of PyTorch's two ways.
fn correction(c: &Call) -> Result<f64, Stop> {
    match c.get("unbiased") {
        Some(flag) => Ok(f64::from(u8::from(flag == true))),
        None => c.number_or("correction", 1.0),
    }
}

fn mean(c: &Call) -> Result<Var, Stop> {
    let (x, axes) = (c.in_dtype(c.x()?)?, c.ints("dim")?);
    Ok(if c.flag("keepdim") { x.mean(keep(all_or(&axes)))? } else { x.mean(all_or(&axes))? })
}

fn statistics(op: &str) -> Option<Row> {
    Some(match op {
        "mean" => |c| Ok(vec![mean(c)?]),
        "var" => |c| one(c.x()?.var(c.axes()?, correction(c)?)),
        "std" => |c| one(c.x()?.std(c.axes()?, correction(c)?)),
        "var_mean" => |c| Ok(vec![c.x()?.var(c.axes()?, correction(c)?)?, mean(c)?]),
        "std_mean" => |c| Ok(vec![c.x()?.std(c.axes()?, correction(c)?)?, mean(c)?]),
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
        "dist" => |c| one(c.x()?.sub(&c.var("other")?)?.norm(c.number_or("p", 2.0)?, ..)),
        _ => return None,
    })
}

fn extremes(op: &str) -> Option<Row> {
    Some(match op {
        "argmax" => |c| one(c.x()?.argmax(c.axes()?)),
        "argmin" => |c| one(c.x()?.argmin(c.axes()?)),
        "max.reduction_with_dim" => |c| chosen(c, true),
        "min.reduction_with_dim" => |c| chosen(c, false),
        _ => return None,
    })
}

/// The extreme along an axis and its position; the gradient goes to that position alone.
fn chosen(c: &Call, largest: bool) -> Result<Vec<Var>, Stop> {
    let (x, dim) = (c.x()?, c.int("dim")?);
    let at = if largest { x.argmax(keep(dim)) } else { x.argmin(keep(dim)) }?;
    let (at, y) = (at.cast(DType::I64)?, x.gather(dim, &at)?);
    if c.flag("keepdim") || x.shape().rank() == 0 {
        return Ok(vec![y, at]);
    }
    Ok(vec![y.squeeze(dim)?, at.squeeze(dim)?])
}
