//! How one parameter is updated: the rule's own arithmetic, in one pass over memory with what is common to all rules.

use super::Settings;
use crate::Result;
use crate::range::Range;
use kiln_autograd::ops::{Elementwise, Function};
use kiln_autograd::{Abreast, DType, Scalar, Spec, Tensor};
use serde_json::Value;
use std::fmt;

/// The rule by which an optimizer updates a parameter. Implement it for an optimizer of your own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no optimizer",
    note = "give a name such as \"adam\" or an optimizer such as `optimizers::Adam::new(1e-3)`; one of your own implements `UpdateRule`"
)]
pub trait UpdateRule: fmt::Debug + Send + Sync {
    /// The name of its type, as in a config.
    fn name(&self) -> &str;

    /// What it has in common with the others.
    fn settings(&self) -> &Settings;

    /// Its own settings, as in a config.
    fn arguments(&self) -> Value;

    /// A copy.
    fn boxed(&self) -> Box<dyn UpdateRule>;

    /// The tensors it keeps for a parameter, by name, as they are before the first update. For parameters of half
    /// precision it is asked with `f32`, and updates them in it: squares of gradients need its range.
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)>;

    /// [`UpdateRule::slots`] of the parameter of a name, for a rule that updates some parameters otherwise than others.
    fn slots_of(&self, _name: &str, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        self.slots(parameter)
    }

    /// The decay of the parameter of a name, where groups do not say otherwise: that of the settings.
    fn decay_of(&self, _name: &str, _parameter: Spec) -> Option<f64> {
        self.settings().weight_decay
    }

    /// The numbers beside the rate that change from update to update, which [`UpdateRule::update`] finds in
    /// [`Step::numbers`]. Only these and what it is given may change between updates: a step of `fit` is recorded, and run
    /// again with other numbers.
    fn numbers(&self, _iteration: &Iteration) -> Vec<f64> {
        Vec::new()
    }

    /// From `[parameter, gradient, slots…]`, the new `[parameter, slots…]`, of the same shapes and types. The parameter has
    /// been decayed and the gradient clipped already.
    ///
    /// # Errors
    /// Those of the operations used.
    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>>;

    /// Checks its own settings, when an optimizer is made of it.
    ///
    /// # Errors
    /// A setting that cannot work, with its range.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// [`UpdateRule::update`], with its results among those of other parameters: for the rules here, whose calls can run abreast.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast, _: Sealed) -> Result<()> {
        to.push(self.update(step, x)?);
        Ok(())
    }

    /// Whether [`UpdateRule::update`] is a single [`Step::apply`] with what [`UpdateRule::slots`] gives, which cannot fail
    /// where every tensor may be written where it lies: for the rules here, which are given the only handles. Others are
    /// given copies of them, so that the tensors stay what they were when a rule fails; and decay and clipping, which
    /// [`Step::apply`] has in the same pass over memory, are done before.
    #[doc(hidden)]
    fn is_in_place(&self, _: Sealed) -> bool {
        false
    }

    /// Whether [`Step::keep`] and [`Step::scale`] are left to the rule, which has them in its [`Step::apply`].
    #[doc(hidden)]
    fn decays(&self, sealed: Sealed) -> bool {
        self.is_in_place(sealed)
    }

    /// One number that is kept for all parameters together, updated before step `t`; 1 before the first.
    fn product(&self, _t: f64, before: f64) -> f64 {
        before
    }
}

/// What is known of an update before it: what a rule computes its numbers from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Iteration {
    /// Its number, from 1.
    pub number: f64,
    /// The learning rate.
    pub rate: f64,
    /// [`UpdateRule::product`] for it.
    pub product: f64,
}

/// What nobody else can name.
#[derive(Debug, Clone, Copy)]
pub struct Sealed;

/// What the built-in rules fill in; the rest of [`UpdateRule`] is the macro's.
pub(super) trait Rule {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)>;
    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        vec![iteration.rate]
    }
    /// [`UpdateRule::update`], whose results are put with others.
    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()>;
    /// Each setting with what it can be.
    fn ranges(&self) -> Vec<(&'static str, f64, Range)>;
    fn product(&self, _t: f64, before: f64) -> f64 {
        before
    }
    fn is_in_place(&self) -> bool {
        true
    }
    fn decays(&self) -> bool {
        self.is_in_place()
    }
    /// What only rules that tell parameters apart say otherwise.
    fn slots_of(&self, _name: &str, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        self.slots(parameter)
    }
    fn decay_of(&self, _name: &str, _parameter: Spec, decay: Option<f64>) -> Option<f64> {
        decay
    }
}

/// Zeros, one slot for each name.
pub(super) fn zeros(names: &[&'static str], parameter: Spec) -> Vec<(&'static str, Tensor)> {
    filled(names, parameter, 0.0)
}

pub(super) fn filled(names: &[&'static str], parameter: Spec, value: f64) -> Vec<(&'static str, Tensor)> {
    names.iter().map(|&name| (name, Tensor::filled(parameter, value))).collect()
}

/// One update of one parameter: its numbers, and what parameter and gradient are multiplied by before the rule.
///
/// What changes from step to step is tensors of rank 0 without a type of their own, as `2.0` in `x.mul(2.0)`, so that every
/// step is the same operation.
#[derive(Debug, Clone)]
pub struct Step {
    /// The learning rate.
    pub rate: Tensor,
    /// [`UpdateRule::numbers`] of this update.
    pub numbers: Vec<Tensor>,
    /// What [`Step::apply`] multiplies the parameter by first: 1 minus its decay.
    pub keep: Tensor,
    /// What [`Step::apply`] multiplies the gradient by first: less than 1 where its norm is clipped.
    pub scale: Tensor,
}

impl Step {
    /// Applies an elementwise rule of `[parameter, gradient, slots…]` and its numbers in one pass and in place, with
    /// [`Step::keep`] and [`Step::scale`].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn apply<F: Function<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        rule: F,
        x: Vec<Tensor>,
        numbers: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        alone(|to| self.add::<_, IN, OUT>(rule, x, numbers, to))
    }

    /// [`Step::apply`], whose results are put with others.
    pub(super) fn add<F: Function<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        rule: F,
        x: Vec<Tensor>,
        numbers: &[Tensor],
        to: &mut Abreast,
    ) -> Result<()> {
        self.add_prepared::<_, IN, OUT, false>(Prepared::new(rule, f64::INFINITY, &x), x, numbers, to)
    }

    /// [`Step::add`] for a rule that squares the gradient. Beyond 10¹⁸ of single precision (10¹⁵³ of double) the square
    /// is no number, and a mean square that has become infinite makes every later step 0 / 0: such a gradient counts
    /// as 10¹⁸. One that is infinite or NaN itself becomes NaN, to be seen.
    pub(super) fn add_squaring<F: Function<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        rule: F,
        x: Vec<Tensor>,
        numbers: &[Tensor],
        to: &mut Abreast,
    ) -> Result<()> {
        let most = if x.first().map(Tensor::dtype) == Some(DType::F64) { 1e153 } else { 1e18 };
        self.add_prepared::<_, IN, OUT, true>(Prepared::new(rule, most, &x), x, numbers, to)
    }

    /// [`Step::add`] for a rule that subtracts from the gradient what may have the other sign: one near the largest number
    /// counts as a third of it.
    pub(super) fn add_held<F: Function<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        rule: F,
        x: Vec<Tensor>,
        numbers: &[Tensor],
        to: &mut Abreast,
    ) -> Result<()> {
        let most = if x.first().map(Tensor::dtype) == Some(DType::F64) { f64::MAX / 3.0 } else { 1e38 };
        self.add_prepared::<_, IN, OUT, true>(Prepared::new(rule, most, &x), x, numbers, to)
    }

    fn add_prepared<F: Function<IN, OUT>, const IN: usize, const OUT: usize, const HELD: bool>(
        &self,
        rule: Prepared<F, HELD>,
        mut x: Vec<Tensor>,
        numbers: &[Tensor],
        to: &mut Abreast,
    ) -> Result<()> {
        x.reserve(2 + numbers.len());
        x.extend([&self.keep, &self.scale].into_iter().chain(numbers).cloned());
        Ok(to.apply_owned(&Elementwise::<_, IN, OUT>(rule), x)?)
    }
}

/// What is given by the one call that `add` adds.
pub(super) fn alone(add: impl FnOnce(&mut Abreast) -> Result<()>) -> Result<Vec<Tensor>> {
    let mut calls = Abreast::with_capacity(1);
    add(&mut calls)?;
    Ok(calls.finish()?.into_iter().flatten().collect())
}

/// A rule of the parameter and the gradient times a number each. Whether the gradient is held is part of the type: asked for
/// each element, it would keep the loop from being vectorized.
#[derive(Debug, Clone, PartialEq)]
struct Prepared<F, const HELD: bool> {
    rule: F,
    /// The size that the gradient is held to.
    most: f64,
    /// The smallest normal number of the type that is computed in.
    smallest: f64,
}

impl<F, const HELD: bool> Prepared<F, HELD> {
    /// The rule for operands of which the first has the type that is computed in.
    fn new(rule: F, most: f64, x: &[Tensor]) -> Prepared<F, HELD> {
        let smallest = match x.first().map(Tensor::dtype) {
            Some(DType::F64) => f64::MIN_POSITIVE,
            _ => f64::from(f32::MIN_POSITIVE),
        };
        Prepared { rule, most, smallest }
    }
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize, const HELD: bool> Function<IN, OUT>
    for Prepared<F, HELD>
{
    const NAME: &'static str = F::NAME;
    const NUMBERS: usize = 2 + F::NUMBERS;

    #[inline(always)]
    fn call<S: Scalar>(&self, x: [S; IN]) -> [S; OUT] {
        self.rule.call(x)
    }

    #[inline(always)]
    fn call_with<S: Scalar>(&self, mut x: [S; IN], numbers: &[S]) -> [S; OUT] {
        x[0] = x[0].clone() * numbers[0].clone();
        x[1] = x[1].clone() * numbers[1].clone();
        if HELD {
            x[1] = held(x[1].clone(), self.most);
        }
        let mut y = self.rule.call_with(x, &numbers[2..]);
        // A moving average whose input stays zero sinks into the subnormal numbers and never leaves them, because what
        // decay would take away rounds to zero. With them arithmetic is several times slower, and no step depends on
        // them: an image's dark border tripled the time of Adam.
        #[expect(
            clippy::needless_range_loop,
            reason = "an iterator is seen through too late for the loop around this one to be vectorized"
        )]
        for i in 1..OUT {
            let tiny = y[i].clone().abs().lt(S::lit(self.smallest));
            y[i] = S::select(tiny, S::lit(0.0), y[i].clone());
        }
        y
    }
}

/// `g` between `-most` and `most`, and NaN where it is not finite.
#[inline(always)]
fn held<S: Scalar>(g: S, most: f64) -> S {
    let most = || S::lit(most);
    let held = S::select(most().lt(g.clone()), most(), g.clone());
    let held = S::select(held.clone().lt(-most()), -most(), held);
    held + (g.clone() - g)
}
