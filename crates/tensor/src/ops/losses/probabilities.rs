//! Losses that are negative logarithms of probabilities: of yes and no, of counts, of numbers with a variance.

use super::{Reduction, reduced};
use crate::Result;
use crate::ops::Ops;
use std::panic::Location;

fn weighted<V: Ops>(loss: V, weight: Option<&V>) -> Result<V> {
    if let Some(weight) = weight { loss.mul(weight) } else { Ok(loss) }
}

/// `-(y · ln x + (1 - y) · ln(1 - x))` of probabilities `x`. Logarithms end at -100, so that a sure mistake costs a finite
/// amount.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn binary_cross_entropy<V: Ops>(x: &V, y: &V, weight: Option<&V>, reduction: Reduction) -> Result<V> {
    reduced("binary_cross_entropy", Location::caller(), reduction, || {
        let log = |x: &V| x.log()?.clamp(-100.0, f64::INFINITY);
        let no = |x: &V| x.neg()?.add(1.0);
        let loss = y.mul(&log(x)?)?.add(&no(y)?.mul(&log(&no(x)?)?)?)?;
        weighted(loss.neg()?, weight)
    })
}

/// [`binary_cross_entropy`] of the sigmoid of `x`, without its loss of precision. `pos_weight` counts the part of `y`.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn binary_cross_entropy_with_logits<V: Ops>(
    x: &V,
    y: &V,
    weight: Option<&V>,
    pos_weight: Option<&V>,
    reduction: Reduction,
) -> Result<V> {
    reduced("binary_cross_entropy_with_logits", Location::caller(), reduction, || {
        let no = y.neg()?.add(1.0)?;
        let surely = x.neg()?.softplus()?;
        let surely = match pos_weight {
            Some(w) => w.sub(1.0)?.mul(y)?.add(1.0)?.mul(&surely)?,
            None => surely,
        };
        weighted(no.mul(x)?.add(&surely)?, weight)
    })
}

/// The settings of [`gaussian_nll_loss`], with PyTorch's defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaussianNll {
    /// Whether the constant part counts too.
    pub full: bool,
    /// The smallest variance; smaller ones still get the gradient of this one.
    pub eps: f64,
    /// How the losses become one number.
    pub reduction: Reduction,
}

impl Default for GaussianNll {
    fn default() -> GaussianNll {
        GaussianNll { full: false, eps: 1e-6, reduction: Reduction::Mean }
    }
}

/// `(ln variance + (x - y)² / variance) / 2`: of numbers `y` that are spread around `x`.
///
/// # Shapes
/// The variances broadcast to `x`; they may lack its last dimension.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn gaussian_nll_loss<V: Ops>(x: &V, y: &V, variance: &V, options: &GaussianNll) -> Result<V> {
    reduced("gaussian_nll_loss", Location::caller(), options.reduction, || {
        let (shape, given) = (*V::shape(x), *V::shape(variance));
        let is_short = shape.rank() == given.rank() + 1 && shape[..given.rank()] == given[..];
        let variance = if is_short { variance.unsqueeze(-1)? } else { variance.clone() };
        // The bound is no part of the function that is derived.
        let raised = variance.detach().clamp(options.eps, f64::INFINITY)?.sub(&variance.detach())?;
        let bounded = variance.add(&raised)?;
        let loss = bounded.log()?.add(&x.sub(y)?.square()?.div(&bounded)?)?.mul(0.5)?;
        if options.full { loss.add(0.5 * std::f64::consts::TAU.ln()) } else { Ok(loss) }
    })
}

/// The settings of [`poisson_nll_loss`], with PyTorch's defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoissonNll {
    /// Whether `x` is the logarithm of the expected count.
    pub log_input: bool,
    /// Whether Stirling's approximation of `ln y!` counts too, for `y` above 1.
    pub full: bool,
    /// What is added to the expected count before its logarithm is taken.
    pub eps: f64,
    /// How the losses become one number.
    pub reduction: Reduction,
}

impl Default for PoissonNll {
    fn default() -> PoissonNll {
        PoissonNll { log_input: true, full: false, eps: 1e-8, reduction: Reduction::Mean }
    }
}

/// `x - y · ln x` of counts `y` where `x` are expected; `exp x - y · x` where `x` is a logarithm.
///
/// # Errors
/// Shapes that do not broadcast together.
#[track_caller]
pub fn poisson_nll_loss<V: Ops>(x: &V, y: &V, options: &PoissonNll) -> Result<V> {
    reduced("poisson_nll_loss", Location::caller(), options.reduction, || {
        let loss = match options.log_input {
            true => x.exp()?.sub(&y.mul(x)?)?,
            false => x.sub(&y.mul(&x.add(options.eps)?.log()?)?)?,
        };
        if !options.full {
            return Ok(loss);
        }
        let stirling = y.mul(&y.log()?)?.sub(y)?.add(&y.mul(std::f64::consts::TAU)?.log()?.mul(0.5)?)?;
        loss.add(&y.gt(1.0)?.select(&stirling, 0.0)?)
    })
}
