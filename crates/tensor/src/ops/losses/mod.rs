//! Losses as functions, by PyTorch's names and conventions: what is compared, and how it becomes one number. Written in
//! operations of other rooms. Losses with Keras's conventions, for training, are in the crate `nn`.
//!
//! ```
//! use kiln_tensor::{Tensor, ops::losses::{Reduction, mse_loss}};
//! let (x, target) = (Tensor::new([1.0, 2.0]), Tensor::new([1.0, 4.0]));
//! assert_eq!(mse_loss(&x, &target, Reduction::Mean)?.item()?, 2.0);
//! assert_eq!(mse_loss(&x, &target, Reduction::None)?.to_vec::<f64>()?, [0.0, 4.0]);
//! # Ok::<(), kiln_tensor::Error>(())
//! ```

mod classes;
mod ctc;
mod distances;
mod margins;
mod probabilities;

pub use classes::{ClassLoss, cross_entropy, kl_div, multi_margin_loss, multilabel_margin_loss, nll_loss};
pub use ctc::{CtcLoss, ctc_loss};
pub use distances::{
    cosine_embedding_loss, cosine_similarity, huber_loss, l1_loss, mse_loss, pairwise_distance, smooth_l1_loss,
};
pub use margins::{
    Triplet, hinge_embedding_loss, margin_ranking_loss, multilabel_soft_margin_loss, soft_margin_loss,
    triplet_margin_loss, triplet_margin_with_distance_loss,
};
pub use probabilities::{
    GaussianNll, PoissonNll, binary_cross_entropy, binary_cross_entropy_with_logits, gaussian_nll_loss,
    poisson_nll_loss,
};

use super::Ops;
use crate::{Error, Result};
use std::panic::Location;

/// How the losses of elements or samples become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Not at all.
    None,
    /// Their mean; where they have weights, mostly the mean by these.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum divided by the length of the first dimension.
    BatchMean,
}

impl Reduction {
    fn apply<V: Ops>(self, loss: V) -> Result<V> {
        match self {
            Reduction::None => Ok(loss),
            Reduction::Mean => loss.mean(..),
            Reduction::Sum => loss.sum(..),
            Reduction::BatchMean => {
                let batch = V::shape(&loss).first().copied().unwrap_or(1);
                loss.sum(..)?.mul(1.0 / batch as f64)
            }
        }
    }
}

/// A loss by its name: what `losses` gives, reduced, and errors at the caller's place.
fn reduced<V: Ops>(
    name: &str,
    at: &'static Location<'static>,
    reduction: Reduction,
    losses: impl FnOnce() -> Result<V>,
) -> Result<V> {
    losses().and_then(|loss| reduction.apply(loss)).map_err(|e: Error| e.within(name, at))
}

/// `max(x, 0)`, which at 0 has the slope 1 as in PyTorch's losses.
fn positive<V: Ops>(x: &V) -> Result<V> {
    x.clamp(0.0, f64::INFINITY)
}
