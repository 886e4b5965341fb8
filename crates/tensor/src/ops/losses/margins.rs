//! Losses that are content with a margin.

use super::{Reduction, positive, reduced};
use crate::Result;
use crate::ops::Ops;
use std::panic::Location;

/// `x` for a target of 1, and `max(margin - x, 0)` for -1; both for any other.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn hinge_embedding_loss<V: Ops>(x: &V, target: &V, margin: f64, reduction: Reduction) -> Result<V> {
    reduced("hinge_embedding_loss", Location::caller(), reduction, || {
        let apart = positive(&x.neg()?.add(margin)?)?;
        target.ne(1.0)?.select(&apart, 0.0)?.add(&target.ne(-1.0)?.select(x, 0.0)?)
    })
}

/// `max(-target · (x - y) + margin, 0)`: whether `x` is ranked before `y` (target 1) or after (-1).
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn margin_ranking_loss<V: Ops>(x: &V, y: &V, target: &V, margin: f64, reduction: Reduction) -> Result<V> {
    reduced("margin_ranking_loss", Location::caller(), reduction, || {
        positive(&target.neg()?.mul(&x.sub(y)?)?.add(margin)?)
    })
}

/// `ln(1 + exp(-target · x))` for targets of 1 and -1.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn soft_margin_loss<V: Ops>(x: &V, target: &V, reduction: Reduction) -> Result<V> {
    reduced("soft_margin_loss", Location::caller(), reduction, || target.mul(x)?.neg()?.softplus())
}

/// The mean over classes of the binary cross-entropy of logits, each class weighted.
///
/// # Shapes
/// Logits and targets `[…, C]` give `[…]`; the weights broadcast.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn multilabel_soft_margin_loss<V: Ops>(x: &V, target: &V, weight: Option<&V>, reduction: Reduction) -> Result<V> {
    reduced("multilabel_soft_margin_loss", Location::caller(), reduction, || {
        let no = target.neg()?.add(1.0)?;
        let loss = target.mul(&x.log_sigmoid()?)?.add(&no.mul(&x.neg()?.log_sigmoid()?)?)?.neg()?;
        let loss = if let Some(weight) = weight { loss.mul(weight)? } else { loss };
        loss.mean(-1)
    })
}

/// The settings of [`triplet_margin_loss`], with PyTorch's defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Triplet {
    /// How much farther the negative shall be.
    pub margin: f64,
    /// The order of the norm.
    pub p: f64,
    /// What is added to each difference.
    pub eps: f64,
    /// Whether the distance of the negative is that from the anchor or from the positive, whichever is smaller.
    pub swap: bool,
    /// How the losses become one number.
    pub reduction: Reduction,
}

impl Default for Triplet {
    fn default() -> Triplet {
        Triplet { margin: 1.0, p: 2.0, eps: 1e-6, swap: false, reduction: Reduction::Mean }
    }
}

/// `max(d(anchor, positive) - d(anchor, negative) + margin, 0)` of distances along the last dimension.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn triplet_margin_loss<V: Ops>(anchor: &V, near: &V, far: &V, options: &Triplet) -> Result<V> {
    reduced("triplet_margin_loss", Location::caller(), options.reduction, || {
        triplet([anchor, near, far], options, |a, b| a.sub(b)?.add(options.eps)?.norm(options.p, -1))
    })
}

/// [`triplet_margin_loss`] with a distance of one's own, instead of a norm.
///
/// # Errors
/// Those of the distance; distances whose shapes do not broadcast together.
#[track_caller]
pub fn triplet_margin_with_distance_loss<V: Ops>(
    anchor: &V,
    near: &V,
    far: &V,
    distance: impl Fn(&V, &V) -> Result<V>,
    options: &Triplet,
) -> Result<V> {
    reduced("triplet_margin_with_distance_loss", Location::caller(), options.reduction, || {
        triplet([anchor, near, far], options, distance)
    })
}

fn triplet<V: Ops>(
    [anchor, near, far]: [&V; 3],
    options: &Triplet,
    distance: impl Fn(&V, &V) -> Result<V>,
) -> Result<V> {
    let mut other = distance(anchor, far)?;
    if options.swap {
        other = other.minimum(&distance(near, far)?)?;
    }
    positive(&distance(anchor, near)?.sub(&other)?.add(options.margin)?)
}
