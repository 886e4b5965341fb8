//! Sorting, the top few, medians, quantiles, the different ones, running folds.

use super::Row;
use super::call::{Call, one, pair};
use crate::Stop;
use kiln::autograd::Var;
use kiln::autograd::ops::*;

pub(super) fn row(op: &str) -> Option<Row> {
    Some(match op {
        "sort" => |c| pair(c.x()?.sort(c.int_or("dim", -1)?, c.flag("descending"))?),
        "msort" => |c| one(c.x()?.sort(0, false).map(|sorted| sorted.0)),
        "argsort" => |c| one(c.x()?.argsort(c.int_or("dim", -1)?, c.flag("descending"))),
        "topk" => |c| {
            let largest = c.get("largest").is_none_or(|flag| flag == true);
            pair(c.x()?.top_k(c.int("k")? as usize, c.int_or("dim", -1)?, largest)?)
        },
        "kthvalue" => |c| pair(c.x()?.kthvalue(c.int("k")? as usize, c.axis()?)?),
        "mode" => |c| pair(c.x()?.mode(c.axis()?)?),
        "median" => |c| match c.get("dim") {
            Some(_) => pair(c.x()?.median(c.axis()?)?),
            None => one(c.x()?.median(..).map(|found| found.0)),
        },
        "nanmedian" => |c| match c.get("dim") {
            Some(_) => pair(c.x()?.nanmedian(c.axis()?)?),
            None => one(c.x()?.nanmedian(..).map(|found| found.0)),
        },
        "quantile" => |c| quantile(c, false),
        "nanquantile" => |c| quantile(c, true),
        "unique" => |c| {
            let found = match c.get("dim") {
                Some(_) => c.x()?.unique_along(c.int("dim")?)?,
                None => c.x()?.unique()?,
            };
            asked_for(c, found)
        },
        "unique_consecutive" => |c| asked_for(c, c.x()?.unique_consecutive()?),
        "cumsum" => |c| one(c.in_dtype(c.x()?)?.cumsum(c.int("dim")?)),
        "cumprod" => |c| one(c.in_dtype(c.x()?)?.cumprod(c.int("dim")?)),
        "cummax" => |c| pair(c.x()?.cummax(c.int("dim")?)?),
        "cummin" => |c| pair(c.x()?.cummin(c.int("dim")?)?),
        "logcumsumexp" => |c| one(c.x()?.logcumsumexp(c.int("dim")?)),
        _ => return None,
    })
}

fn quantile(c: &Call, without_nan: bool) -> Result<Vec<Var>, Stop> {
    let between = match c.word("interpolation") {
        "lower" => Interpolation::Lower,
        "higher" => Interpolation::Higher,
        "nearest" => Interpolation::Nearest,
        "midpoint" => Interpolation::Midpoint,
        _ => Interpolation::Linear,
    };
    let axis = if c.get("dim").is_some() { c.axis()? } else { Axes::of(..).keep_dims(c.flag("keepdim")) };
    let x = c.x()?;
    let at = |q: f64| {
        if without_nan { x.nanquantile(q, axis.clone(), between) } else { x.quantile(q, axis.clone(), between) }
    };
    match c.maybe("q")?.map(|q| (q.shape().rank(), q.tensor().to_vec_as::<f64>())) {
        Some((0, q)) => one(at(q[0])),
        Some((_, q)) if without_nan => {
            c.takes("a call for each quantile");
            let found = q.into_iter().map(at).collect::<kiln::autograd::Result<Vec<_>>>()?;
            one(stack(&found.iter().collect::<Vec<_>>(), 0))
        }
        Some((_, q)) => one(x.quantiles(&q, axis, between)),
        None => one(at(c.number("q")?)),
    }
}

/// The outputs that a call of `unique` asks for.
fn asked_for(c: &Call, found: Unique<Var>) -> Result<Vec<Var>, Stop> {
    let mut all = vec![found.values];
    all.extend(c.flag("return_inverse").then_some(found.inverse));
    all.extend(c.flag("return_counts").then_some(found.counts));
    Ok(all)
}
