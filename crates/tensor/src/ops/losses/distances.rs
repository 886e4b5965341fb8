//! Losses of numbers and vectors: how far they are apart.

use super::{Reduction, positive, reduced};
use crate::ops::{Axes, NormalizationOps, Ops};
use crate::{Error, Result};
use std::panic::Location;

/// `(x - y)²`.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn mse_loss<V: Ops>(x: &V, y: &V, reduction: Reduction) -> Result<V> {
    reduced("mse_loss", Location::caller(), reduction, || x.sub(y)?.square())
}

/// `|x - y|`.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn l1_loss<V: Ops>(x: &V, y: &V, reduction: Reduction) -> Result<V> {
    reduced("l1_loss", Location::caller(), reduction, || x.sub(y)?.abs())
}

/// Of the distance `d = |x - y|` the half of `d² / beta` below `beta`, and `d - beta / 2` from there on (Girshick 2015).
///
/// # Errors
/// Shapes that do not broadcast together; a negative `beta`.
#[track_caller]
pub fn smooth_l1_loss<V: Ops>(x: &V, y: &V, beta: f64, reduction: Reduction) -> Result<V> {
    reduced("smooth_l1_loss", Location::caller(), reduction, || {
        let d = x.sub(y)?.abs()?;
        match beta {
            0.0 => Ok(d),
            beta if beta > 0.0 => d.lt(beta)?.select(&d.square()?.mul(0.5 / beta)?, &d.sub(0.5 * beta)?),
            _ => Err(Error::argument("smooth_l1_loss", format!("beta is {beta}, it must not be negative"))),
        }
    })
}

/// Of the distance `d = |x - y|` the half of `d²` up to `delta`, and `delta · (d - delta / 2)` beyond (Huber 1964).
///
/// # Errors
/// Shapes that do not broadcast together; a `delta` that is not positive.
#[track_caller]
pub fn huber_loss<V: Ops>(x: &V, y: &V, delta: f64, reduction: Reduction) -> Result<V> {
    reduced("huber_loss", Location::caller(), reduction, || {
        if delta.is_nan() || delta <= 0.0 {
            return Err(Error::argument("huber_loss", format!("delta is {delta}, it must be positive")));
        }
        let d = x.sub(y)?.abs()?;
        d.le(delta)?.select(&d.square()?.mul(0.5)?, &d.sub(0.5 * delta)?.mul(delta)?)
    })
}

/// The `p`-norm of `x - y + eps` along the last dimension, which stays with length 1 where `keep_dims` says so.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn pairwise_distance<V: Ops>(x: &V, y: &V, p: f64, eps: f64, keep_dims: bool) -> Result<V> {
    let at = Location::caller();
    let distance = || x.sub(y)?.add(eps)?.norm(p, Axes::of(-1).keep_dims(keep_dims));
    distance().map_err(|e: Error| e.within("pairwise_distance", at))
}

/// The cosine of the angle between vectors along `axis`, whose lengths count as at least `eps`.
///
/// # Errors
/// Shapes that do not broadcast together; an axis that does not exist.
#[track_caller]
pub fn cosine_similarity<V: Ops>(x: &V, y: &V, axis: isize, eps: f64) -> Result<V> {
    let at = Location::caller();
    let cosine = || {
        let shape = V::shape(x).broadcast(V::shape(y))?;
        let unit = |x: &V| x.expand(shape)?.normalize(2.0, axis, eps);
        unit(x)?.mul(&unit(y)?)?.sum(axis)
    };
    cosine().map_err(|e: Error| e.within("cosine_similarity", at))
}

/// `1 - c` for a target of 1, and `max(c - margin, 0)` for -1, of the cosine `c` of the angle between vectors.
///
/// # Shapes
/// Vectors `[N, D]` and targets `[N]`, or `[D]` and a number.
///
/// # Errors
/// Shapes that do not fit.
#[track_caller]
pub fn cosine_embedding_loss<V: Ops>(x: &V, y: &V, target: &V, margin: f64, reduction: Reduction) -> Result<V> {
    reduced("cosine_embedding_loss", Location::caller(), reduction, || {
        let squares = |x: &V| x.square()?.sum(-1)?.add(1e-12);
        let cosine = x.mul(y)?.sum(-1)?.div(&squares(x)?.mul(&squares(y)?)?.sqrt()?)?;
        let together = target.eq(1.0)?.select(&cosine.neg()?.add(1.0)?, 0.0)?;
        let apart = target.eq(-1.0)?.select(&positive(&cosine.sub(margin)?)?, 0.0)?;
        together.add(&apart)
    })
}
