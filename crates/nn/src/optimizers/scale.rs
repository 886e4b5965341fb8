//! Scales of the loss: gradients that half precision would lose as zeros are computed larger, and made small again.

use super::{Optimizer, ParameterUpdate, global_norm};
use crate::{Error, Result};
use kiln_autograd::ops::{MathOps, SelectOps};
use kiln_autograd::{DType, Tensor};
use serde::{Deserialize, Serialize};

/// What the loss is multiplied by before gradients are taken, which are divided by it again before anything else is done with
/// them. Half precision (`f16`) has nothing between 0 and 6·10⁻⁸, where most gradients of a large model are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum LossScale {
    /// Always the same.
    Fixed(f64),
    /// As large as goes: it is halved whenever a gradient is not finite, and that step changes nothing and does not count; it is
    /// doubled after so many steps without.
    Dynamic {
        /// What it starts from.
        initial: f64,
        /// The steps until it is doubled.
        growth_steps: u64,
    },
}

impl Default for LossScale {
    /// Keras's: from 2¹⁵, doubled every 2000 steps.
    fn default() -> LossScale {
        LossScale::Dynamic { initial: 32768.0, growth_steps: 2000 }
    }
}

impl LossScale {
    pub(super) fn check(self, optimizer: &str) -> Result<()> {
        let (scale, steps) = match self {
            LossScale::Fixed(scale) => (scale, 1),
            LossScale::Dynamic { initial, growth_steps } => (initial, growth_steps),
        };
        if scale.is_finite() && scale > 0.0 && steps > 0 {
            return Ok(());
        }
        let text = format!("{optimizer}: the loss scale is {scale}, doubled after {steps} steps");
        Err(Error::config(text, "give a positive number, such as 32768, and at least 1 step"))
    }
}

/// Under this the scale is not what is wrong: no gradient is so large that `f16` could not hold this part of it.
const LEAST: f64 = 1.0 / 16_777_216.0;
/// Above this single precision cannot hold a loss times the scale.
const MOST: f64 = 1e30;

/// Where a scale stands.
#[derive(Debug, Clone)]
pub(super) struct Scaling {
    how: LossScale,
    pub(super) scale: f64,
    /// Steps since it has last changed.
    pub(super) good: u64,
    /// Whether the gradients of the last step were finite.
    pub(super) finite: Tensor,
}

impl Scaling {
    pub(super) fn new(how: LossScale) -> Scaling {
        let (LossScale::Fixed(scale) | LossScale::Dynamic { initial: scale, .. }) = how;
        Scaling { how, scale, good: 0, finite: Tensor::scalar(1.0, DType::Bool) }
    }

    pub(super) fn is_dynamic(&self) -> bool {
        matches!(self.how, LossScale::Dynamic { .. })
    }

    /// Whether the last step counts; the scale is that of the next one then.
    pub(super) fn settle(&mut self, optimizer: &str) -> Result<bool> {
        let LossScale::Dynamic { growth_steps, .. } = self.how else { return Ok(true) };
        let is_finite = self.finite.untraced().item()? != 0.0;
        self.good += 1;
        match is_finite {
            true if self.good >= growth_steps => (self.scale, self.good) = ((self.scale * 2.0).min(MOST), 0),
            true => {}
            false => (self.scale, self.good) = (self.scale / 2.0, 0),
        }
        if self.scale >= LEAST {
            return Ok(is_finite);
        }
        let text = format!("{optimizer}: the gradients are not finite, however small the loss scale ({})", self.scale);
        let help = "a loss that is NaN or infinite itself is no matter of scale: look for its cause with \
                    Fit::check_finite, in single precision";
        Err(Error::config(text, help))
    }
}

impl Optimizer {
    /// What the next step's loss is to be multiplied by before gradients are taken, and these divided by before they are applied,
    /// in single precision or better. `None` where losses are not scaled. `Model::fit` does it by itself.
    pub fn loss_scale(&self) -> Option<f64> {
        self.scaling.as_ref().map(|scaling| scaling.scale)
    }

    /// The optimizer with a scale of the loss, if it has none yet.
    ///
    /// # Errors
    /// A scale that is no positive number.
    pub fn scaling_loss(mut self, scale: LossScale) -> Result<Optimizer> {
        scale.check(self.name())?;
        if self.scaling.is_none() {
            self.settings.loss_scale = Some(scale);
            self.scaling = Some(Scaling::new(scale));
        }
        Ok(self)
    }

    /// Everything that a step changes as it is before it, where a step may turn out to be none.
    pub(super) fn held_back(&mut self, split: &mut [Vec<ParameterUpdate<'_>>]) -> Result<Option<Vec<Tensor>>> {
        let Some(scaling) = self.scaling.as_mut().filter(|scaling| scaling.is_dynamic()) else { return Ok(None) };
        let gradients = split.iter().flatten().filter_map(|parameter| parameter.gradient.as_ref());
        scaling.finite = global_norm(gradients)?.is_finite()?;
        let mut before = Vec::new();
        self.changed(split, &mut |tensor| {
            before.push(tensor.clone());
            Ok(())
        })?;
        Ok(Some(before))
    }

    /// Puts it back if the gradients were not finite, without reading whether they were.
    pub(super) fn hold_back(&mut self, split: &mut [Vec<ParameterUpdate<'_>>], before: &[Tensor]) -> Result<()> {
        let Some(finite) = self.scaling.as_ref().map(|scaling| scaling.finite.clone()) else { return Ok(()) };
        let mut before = before.iter();
        self.changed(split, &mut |tensor| {
            if let Some(before) = before.next() {
                *tensor = finite.select(&*tensor, before)?;
            }
            Ok(())
        })
    }

    /// Calls `f` with every tensor that a step changes, always in the same order.
    fn changed(
        &mut self,
        split: &mut [Vec<ParameterUpdate<'_>>],
        f: &mut dyn FnMut(&mut Tensor) -> Result<()>,
    ) -> Result<()> {
        self.each(split, &mut |optimizer, parameters| {
            parameters.iter_mut().try_for_each(|parameter| f(&mut *parameter.value))?;
            optimizer.visit_own(&mut |_, _, tensor| f(tensor))
        })
    }
}
