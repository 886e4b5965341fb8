//! Folds, statistics, running results, order, searches.

use super::{Call, Called, Same, one, two};
use kiln::tensor::ops::*;
use kiln::tensor::{DType, Result};

pub fn run<V: Ops>(call: &mut Call<'_>, [x, a, _]: &[V; 3]) -> Called<V> {
    let (name, same, results) = match call.choose.below(4) {
        0 => fold(call, x, a),
        1 => scan(call, x),
        2 => order(call, x),
        _ => search(call, x, a),
    };
    Called { name, same, results }
}

type Named<V> = (&'static str, Same, Result<Vec<V>>);

fn fold<V: Ops>(call: &mut Call<'_>, x: &V, a: &V) -> Named<V> {
    use Same::{Bits, Sums};
    let axes = call.axes(x.shape().rank());
    let p = call.choose.of(&[2.0, 1.0, 0.0, f64::INFINITY, f64::NEG_INFINITY, 3.0, 0.5, -1.0, f64::NAN]);
    let correction = call.choose.of(&[1.0, 0.0, 2.0, -1.0, 1e9, f64::NAN]);
    match call.choose.below(24) {
        0 | 1 => ("sum", Sums, one(x.sum(axes))),
        2 => ("prod", Sums, one(x.prod(axes))),
        3 => ("amax", Bits, one(x.amax(axes))),
        4 => ("amin", Bits, one(x.amin(axes))),
        5 => ("mean", Sums, one(x.mean(axes))),
        6 => ("var", Sums, one(x.var(axes, correction))),
        7 => ("std", Sums, one(x.std(axes, correction))),
        8 => ("var_mean", Sums, two(x.var_mean(axes, correction))),
        9 => ("std_mean", Sums, two(x.std_mean(axes, correction))),
        10 => ("nansum", Sums, one(x.nansum(axes))),
        11 => ("nanmean", Sums, one(x.nanmean(axes))),
        12 => ("nanmax", Bits, one(x.nanmax(axes))),
        13 => ("nanmin", Bits, one(x.nanmin(axes))),
        14 => ("dist", Sums, one(x.dist(a, p))),
        15 => ("logsumexp", Sums, one(x.logsumexp(axes))),
        16 => ("norm", Sums, one(x.norm(p, axes))),
        17 => ("any", Bits, one(x.any(axes))),
        18 => ("all", Bits, one(x.all(axes))),
        19 => ("count_nonzero", Bits, one(x.count_nonzero(axes))),
        20 => ("argmax", Bits, one(x.argmax(axes))),
        21 => ("argmin", Bits, one(x.argmin(axes))),
        22 => ("trace", Sums, one(x.trace())),
        _ => ("softmax", Sums, one(softmax(call, x))),
    }
}

fn softmax<V: Ops>(call: &mut Call<'_>, x: &V) -> Result<V> {
    let axis = call.choose.axis(x.shape().rank());
    match call.choose.below(4) {
        0 => x.softmax(axis),
        1 => x.log_softmax(axis),
        2 => x.softmin(axis),
        _ => x.sparsemax(axis),
    }
}

fn scan<V: Ops>(call: &mut Call<'_>, x: &V) -> Named<V> {
    use Same::{Bits, Sums};
    let axis = call.choose.axis(x.shape().rank());
    match call.choose.below(8) {
        0 => ("cumsum", Sums, one(x.cumsum(axis))),
        1 => ("cumprod", Sums, one(x.cumprod(axis))),
        2 => ("logcumsumexp", Sums, one(x.logcumsumexp(axis))),
        3 => {
            let factors = call.operand::<V>(x.shape().dims(), x.dtype());
            ("recurrence", Sums, one(x.recurrence(&factors, axis)))
        }
        4 => ("cummax", Bits, two(x.cummax(axis))),
        5 => ("cummin", Bits, two(x.cummin(axis))),
        6 => {
            let n = call.choose.below(4);
            let mut dims = x.shape().to_vec();
            if let Some(d) = dims.last_mut() {
                *d = call.choose.below(3);
            }
            let ends: V = call.operand(&dims, x.dtype());
            let (before, behind) = (call.choose.flag(), call.choose.flag());
            let axis = if before || behind { -1 } else { axis };
            ("diff", Bits, one(x.diff(n, axis, before.then_some(&ends), behind.then_some(&ends))))
        }
        _ => ("argsort", Bits, one(x.argsort(axis, call.choose.flag()))),
    }
}

fn order<V: Ops>(call: &mut Call<'_>, x: &V) -> Named<V> {
    use Same::{Bits, Sums};
    let rank = x.shape().rank();
    let axis = call.choose.axis(rank);
    let along = call.axes(rank);
    let k = call.choose.size(5);
    let q = call.choose.of(&[0.5, 0.0, 1.0, 0.25, 0.9, 0.1, -0.1, 1.5, f64::NAN]);
    let between = call.choose.of(&[
        Interpolation::Linear,
        Interpolation::Lower,
        Interpolation::Higher,
        Interpolation::Nearest,
        Interpolation::Midpoint,
    ]);
    match call.choose.below(16) {
        0 => ("sort", Bits, two(x.sort(axis, call.choose.flag()))),
        1 => ("top_k", Bits, two(x.top_k(k, axis, call.choose.flag()))),
        2 => ("max", Bits, two(x.max(along))),
        3 => ("min", Bits, two(x.min(along))),
        4 => ("aminmax", Bits, two(x.aminmax(along))),
        5 => ("kthvalue", Bits, two(x.kthvalue(k, along))),
        6 => ("median", Bits, two(x.median(along))),
        7 => ("nanmedian", Bits, two(x.nanmedian(along))),
        8 => ("mode", Bits, two(x.mode(along))),
        9 => ("quantile", Sums, one(x.quantile(q, along, between))),
        10 => ("quantiles", Sums, one(x.quantiles(&[q, 0.5, 0.3][..call.choose.below(4)], along, between))),
        11 => ("nanquantile", Sums, one(x.nanquantile(q, along, between))),
        12 => ("unique", Bits, x.unique().map(|u| vec![u.values, u.inverse, u.counts])),
        13 => ("unique_along", Bits, x.unique_along(axis).map(|u| vec![u.values, u.inverse, u.counts])),
        14 => ("unique_consecutive", Bits, x.unique_consecutive().map(|u| vec![u.values, u.inverse, u.counts])),
        _ => {
            ("renorm", Sums, one(x.renorm(call.choose.of(&[2.0, 1.0, f64::INFINITY, 0.0]), axis, call.choose.number())))
        }
    }
}

fn search<V: Ops>(call: &mut Call<'_>, x: &V, a: &V) -> Named<V> {
    use Same::{Bits, Specs, Sums};
    let right = call.choose.flag();
    match call.choose.below(6) {
        0 => {
            let row = call.choose.below(9);
            let sorted: V = call.operand(&[row], x.dtype());
            let sorted = sorted.sort(-1, false).map_or(sorted, |(sorted, _)| sorted);
            ("bucketize", Bits, one(x.bucketize(&sorted, right)))
        }
        1 => {
            let mut dims = x.shape().to_vec();
            if let Some(d) = dims.last_mut() {
                *d = call.choose.below(5);
            }
            let values: V = call.operand(&dims, x.dtype());
            ("searchsorted", Bits, one(x.searchsorted(&values, right)))
        }
        2 => ("isin", Bits, one(x.isin(a, right))),
        3 => {
            let at = call.indices::<V>(x.shape().dims(), 20).and_then(|at| at.flatten(0, -1));
            let weights = call.choose.flag().then(|| x.flatten(0, -1)).transpose();
            let length = call.choose.size(30);
            let bounded = |at: &V| {
                // The largest number is the length of what is asked for.
                let most = at.tensor().clamp(-2, 300)?.cast(DType::I64)?;
                V::constant(most).bincount(weights?.as_ref(), length)
            };
            ("bincount", Sums, one(at.and_then(|at| bounded(&at))))
        }
        4 => {
            let range = call.choose.flag().then(|| [call.choose.number(), call.choose.number()]);
            let weights: V = call.operand(x.shape().dims(), DType::F64);
            let weights = call.choose.flag().then_some(&weights);
            let same = if weights.is_some() { Sums } else { Bits };
            ("histogram", same, two(x.histogram(call.choose.size(20), range, weights)))
        }
        _ => ("random", Specs, one(random(call, x))),
    }
}

fn random<V: Ops>(call: &mut Call<'_>, x: &V) -> Result<V> {
    let key = kiln::tensor::Key::new(call.choose.any());
    let (low, high) = (call.choose.number(), call.choose.number());
    let mut dims = x.shape().to_vec();
    if call.choose.wild() {
        dims.push(call.choose.size(3));
    }
    let dtype = call.choose.of(&[DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::Bool]);
    let y = match call.choose.below(4) {
        0 => key.uniform_as(&dims[..], low, high, dtype)?,
        1 => key.normal_as(&dims[..], low, high, dtype)?,
        2 => key.truncated_normal_as(&dims[..], low, high, dtype)?,
        _ => key.bernoulli(&dims[..], low)?,
    };
    Ok(V::constant(y))
}
