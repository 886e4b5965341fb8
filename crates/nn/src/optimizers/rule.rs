//! How one parameter is updated: the rule's own arithmetic, in one pass over memory with what is common to all rules.

use super::Settings;
use crate::Result;
use kiln_autograd::ops::{Elementwise, Function};
use kiln_autograd::{DType, Scalar, Spec, Tensor};
use serde_json::Value;
use std::fmt;

/// The rule by which an optimizer updates a parameter. Implement it for an optimizer of your own.
pub trait UpdateRule: fmt::Debug + Send + Sync {
    /// The name of its type, as in a config.
    fn name(&self) -> &str;

    /// What it has in common with the others.
    fn settings(&self) -> &Settings;

    /// Its own settings, as in a config.
    fn arguments(&self) -> Value;

    /// A copy.
    fn boxed(&self) -> Box<dyn UpdateRule>;

    /// The tensors it keeps for a parameter, by name, as they are before the first update.
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)>;

    /// From `[parameter, gradient, slots…]`, the new `[parameter, slots…]`. The tensors are nobody else's:
    /// [`Step::apply`] updates them where they lie.
    ///
    /// # Errors
    /// Those of the operations used.
    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>>;

    /// One number that is kept for all parameters together, updated before step `t`; 1 before the first.
    fn product(&self, _t: f64, before: f64) -> f64 {
        before
    }
}

/// What the built-in rules fill in; the rest of [`UpdateRule`] is the macro's.
pub(super) trait Rule {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)>;
    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>>;
    fn product(&self, _t: f64, before: f64) -> f64 {
        before
    }
}

/// Zeros, one slot for each name.
pub(super) fn zeros(names: &[&'static str], parameter: Spec) -> Vec<(&'static str, Tensor)> {
    filled(names, parameter, 0.0)
}

pub(super) fn filled(names: &[&'static str], parameter: Spec, value: f64) -> Vec<(&'static str, Tensor)> {
    names.iter().map(|&name| (name, Tensor::filled(parameter, value))).collect()
}

/// One update of one parameter: its number, its rate, and what happens to parameter and gradient before the rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The number of the update, from 1.
    pub t: f64,
    /// The learning rate.
    pub rate: f64,
    /// [`UpdateRule::product`] for this update.
    pub product: f64,
    /// What the parameter is multiplied by first: 1 minus its decay.
    pub keep: f64,
    /// How much of the parameter is added to the gradient.
    pub coupled: f64,
    /// What the gradient is multiplied by: less than 1 where its norm is clipped.
    pub scale: f64,
    /// The largest size of an element of the gradient.
    pub limit: f64,
}

impl Step {
    /// Applies an elementwise rule of `[parameter, gradient, slots…]` in one pass and in place, after decay and clipping.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn apply<F: Function<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        rule: F,
        x: Vec<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let smallest = match x.first().map(Tensor::dtype) {
            Some(DType::F64) => f64::MIN_POSITIVE,
            _ => f64::from(f32::MIN_POSITIVE),
        };
        Ok(Tensor::apply_owned(&Elementwise::<_, IN, OUT>(Prepared { rule, step: *self, smallest }), x)?
            .into_iter()
            .collect())
    }
}

/// A rule after the decay of the parameter and the clipping of the gradient.
#[derive(Debug, Clone, PartialEq)]
struct Prepared<F> {
    rule: F,
    step: Step,
    /// The smallest normal number of the type that is computed in.
    smallest: f64,
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> Function<IN, OUT> for Prepared<F> {
    const NAME: &'static str = F::NAME;
    #[inline(always)]
    fn call<S: Scalar>(&self, mut x: [S; IN]) -> [S; OUT] {
        let step = &self.step;
        let gradient = x[1].clone() * S::lit(step.scale);
        let limit = S::lit(step.limit);
        let gradient = S::select(limit.clone().lt(gradient.clone()), limit.clone(), gradient);
        let gradient = S::select(gradient.clone().lt(-limit.clone()), -limit, gradient);
        x[1] = gradient + S::lit(step.coupled) * x[0].clone();
        x[0] = x[0].clone() * S::lit(step.keep);
        let mut y = self.rule.call(x);
        // A moving average whose input stays zero sinks into the subnormal numbers and never leaves them, because what
        // decay would take away rounds to zero. With them arithmetic is several times slower, and no step depends on
        // them: an image's dark border tripled the time of Adam.
        for slot in y.iter_mut().skip(1) {
            let tiny = slot.clone().abs().lt(S::lit(self.smallest));
            *slot = S::select(tiny, S::lit(0.0), slot.clone());
        }
        y
    }
}

/// Σ x², in double precision, without a copy where the tensor is dense.
pub(super) fn sum_of_squares(x: &Tensor) -> f64 {
    // Eight sums side by side: one alone would wait for each addition.
    fn sum(x: impl Iterator<Item = f64>) -> f64 {
        let mut lanes = [0.0; 8];
        x.enumerate().for_each(|(i, x)| lanes[i % 8] += x * x);
        lanes.iter().sum()
    }
    match (x.as_slice::<f32>(), x.as_slice::<f64>()) {
        (Some(x), _) => sum(x.iter().map(|&x| f64::from(x))),
        (_, Some(x)) => sum(x.iter().copied()),
        _ => sum(x.to_vec_as::<f64>().into_iter()),
    }
}
