//! The arithmetic of a step, over all parameters: means of gradients, clipping, the rule, averages.

use super::record::{GroupNumbers, Numbers};
use super::rule::{Sealed, Step};
use super::{Optimizer, ParameterUpdate, each_one, global_norm, updated_in};
use crate::{Error, Result};
use kiln_autograd::ops::{ArithmeticOps, BoundOps, CastOps, ComparisonOps, Elementwise, Function, MathOps, SelectOps};
use kiln_autograd::{Abreast, DType, Outputs, Scalar, Spec, Tensor};

/// `a · old + b · new`, with two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Blend;

impl Function<2> for Blend {
    const NAME: &'static str = "blend";
    const NUMBERS: usize = 2;

    fn call<S: Scalar>(&self, x: [S; 2]) -> [S; 1] {
        self.call_with(x, &[S::lit(1.0), S::lit(1.0)])
    }

    #[inline(always)]
    fn call_with<S: Scalar>(&self, [old, new]: [S; 2], numbers: &[S]) -> [S; 1] {
        [numbers[0].clone() * old + numbers[1].clone() * new]
    }
}

/// `[mean, gradient]` to the mean of both: a sum of large gradients may be no number where their mean is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Accumulate;

impl Function<2> for Accumulate {
    const NAME: &'static str = "accumulate";
    /// How much of the new mean the old one makes, 0 where there is none, and how much the gradient.
    const NUMBERS: usize = 2;

    fn call<S: Scalar>(&self, x: [S; 2]) -> [S; 1] {
        self.call_with(x, &[S::lit(1.0), S::lit(1.0)])
    }

    #[inline(always)]
    fn call_with<S: Scalar>(&self, [mean, gradient]: [S; 2], numbers: &[S]) -> [S; 1] {
        // What there was before is not multiplied by 0: it may be no number.
        let old = numbers[0].clone() * mean;
        let old = S::select(S::lit(0.0).lt(numbers[0].clone()), old, S::lit(0.0));
        [old + numbers[1].clone() * gradient]
    }
}

fn blend(old: Tensor, a: Tensor, new: Tensor, b: f64) -> Result<Tensor> {
    let x = vec![old, new, a, Tensor::number(b)];
    Ok(Tensor::apply_owned(&Elementwise::<_, 2, 1>(Blend), x)?.one()?)
}

/// The factor that brings a norm down to the limit. One that is not finite makes the gradient NaN: it must not pass for a
/// small one.
fn shrink(norm: &Tensor, limit: f64) -> Result<Tensor> {
    let factor = norm.gt(limit)?.select(&norm.reciprocal()?.mul(limit)?, 1.0)?;
    Ok(norm.is_finite()?.select(&factor, f64::NAN)?)
}

impl Optimizer {
    /// Takes gradients into the means that wait for an update.
    pub(super) fn accumulate(
        &mut self,
        parameters: &mut [ParameterUpdate<'_>],
        numbers: &Numbers<Tensor>,
    ) -> Result<()> {
        let own = self.entries.iter_mut().zip(&*parameters).zip(&numbers.old);
        // First, because there may be no memory for them, and what the others are made of is given away.
        for ((entry, _), old) in own.filter(|((entry, p), _)| entry.is_begun && p.gradient.is_none()) {
            entry.accumulated = entry.accumulated.as_ref().map(|mean| mean.mul(old)).transpose()?;
        }
        let (mut calls, mut waiting) = (Abreast::with_capacity(parameters.len()), Vec::new());
        let own = self.entries.iter_mut().zip(parameters).zip(&numbers.old);
        for ((entry, parameter), old) in own {
            let Some(gradient) = parameter.gradient.take() else { continue };
            if let Some(mean) = entry.accumulated.take() {
                let x = vec![mean, gradient, old.clone(), numbers.new.clone()];
                calls.apply_owned(&Elementwise::<_, 2, 1>(Accumulate), x)?;
                waiting.push(&mut entry.accumulated);
            }
        }
        waiting.into_iter().zip(each_one(calls)?).for_each(|(mean, new)| *mean = Some(new));
        Ok(())
    }

    /// Hands the means of the accumulated gradients and these to the parameters. What is kept stays as it is: an update
    /// may fail.
    pub(super) fn release(&self, parameters: &mut [ParameterUpdate<'_>], numbers: &Numbers<Tensor>) -> Result<()> {
        let (mut calls, mut waiting) = (Abreast::with_capacity(parameters.len()), Vec::new());
        // Without accumulation there is no mean, nor a number for it.
        for ((parameter, entry), old) in parameters.iter_mut().zip(&self.entries).zip(&numbers.old) {
            match (&entry.accumulated, parameter.gradient.take()) {
                (Some(mean), Some(gradient)) => {
                    let x = vec![mean.clone(), gradient, old.clone(), numbers.new.clone()];
                    calls.apply_owned(&Elementwise::<_, 2, 1>(Accumulate), x)?;
                    waiting.push(&mut parameter.gradient);
                }
                (Some(mean), None) if entry.is_begun => parameter.gradient = Some(mean.mul(old)?),
                (_, gradient) => parameter.gradient = gradient,
            }
        }
        waiting.into_iter().zip(each_one(calls)?).for_each(|(gradient, mean)| *gradient = Some(mean));
        Ok(())
    }

    /// Updates the parameters with their gradients, and what is kept for them. What is done to all of them alike runs abreast.
    pub(super) fn update(&mut self, parameters: &mut [ParameterUpdate<'_>], numbers: Numbers<Tensor>) -> Result<()> {
        let one = Tensor::number(1.0);
        let Numbers { groups, .. } = numbers;
        let step = |group: GroupNumbers<Tensor>| {
            let step = Step { rate: group.rate, numbers: group.rule, keep: one.clone(), scale: one.clone() };
            (step, group.keep)
        };
        let mut groups: Vec<(Step, Tensor)> = groups.into_iter().map(step).collect();
        let whole = match self.settings.global_clipnorm {
            Some(limit) => {
                let norm = global_norm(parameters.iter().filter_map(|p| p.gradient.as_ref()))?;
                let factor = shrink(&norm, limit)?;
                // Once for all parameters.
                Some([factor.cast(DType::F32)?, factor.cast(DType::F64)?])
            }
            None => None,
        };
        let mut clipped = Vec::with_capacity(parameters.len());
        for parameter in &mut *parameters {
            let gradient = parameter.gradient.take();
            clipped.push(gradient.map(|gradient| self.clipped(whole.as_ref(), parameter, gradient)).transpose()?);
        }
        let (mut calls, mut asked) = (Abreast::with_capacity(parameters.len()), Vec::with_capacity(parameters.len()));
        for is_last in [false, true] {
            for (i, parameter) in parameters.iter_mut().enumerate() {
                let in_place = self.is_in_place(i, parameter);
                // What is updated in place is given away, so all that may fail comes before.
                let Some((scale, gradient)) = clipped[i].take_if(|_| is_last || !in_place) else { continue };
                let decays = self.decay(parameter).is_some() && !self.settings.weight_decay_in_gradient;
                let (step, keep) = &mut groups[self.entries[i].treatment];
                step.scale = scale;
                step.keep = if decays { keep.clone() } else { one.clone() };
                let mut x = self.operands(i, parameter, gradient, in_place)?;
                if !self.rule.decays(Sealed) {
                    if decays {
                        x[0] = x[0].mul(&std::mem::replace(&mut step.keep, one.clone()))?;
                    }
                    if self.settings.maximize || self.settings.clipnorm.or(self.settings.global_clipnorm).is_some() {
                        x[1] = x[1].mul(&std::mem::replace(&mut step.scale, one.clone()))?;
                    }
                }
                asked.push((i, in_place));
                self.rule.add(step, x, &mut calls, Sealed)?;
            }
        }
        // What is not in place, until nothing can fail any more.
        let mut made = Vec::new();
        for ((i, in_place), y) in asked.into_iter().zip(calls.finish()?).rev() {
            if in_place {
                self.take_over(i, &mut parameters[i], y);
            } else {
                let y = self.checked(i, &parameters[i], y)?;
                made.push((i, y));
            }
        }
        made.into_iter().for_each(|(i, y)| self.take_over(i, &mut parameters[i], y));
        if self.settings.use_ema {
            self.average(parameters)?;
        }
        Ok(())
    }

    /// Whether parameter `i` is updated where it lies, with what is kept for it.
    fn is_in_place(&mut self, i: usize, parameter: &mut ParameterUpdate<'_>) -> bool {
        let dtype = parameter.value.dtype();
        self.rule.is_in_place(Sealed)
            && dtype == updated_in(dtype)
            && parameter.value.is_exclusive()
            && self.entries[i].slots.iter_mut().all(|slot| slot.1.is_exclusive())
    }

    /// `[parameter, gradient, slots…]` as a rule takes them: the only handles, or others.
    fn operands(
        &mut self,
        i: usize,
        parameter: &mut ParameterUpdate<'_>,
        gradient: Tensor,
        in_place: bool,
    ) -> Result<Vec<Tensor>> {
        let handle = |tensor: &mut Tensor| match in_place {
            true => std::mem::replace(tensor, self.nothing.clone()),
            false => tensor.clone(),
        };
        // With room for a rule's numbers.
        let mut x = Vec::with_capacity(16);
        let dtype = updated_in(parameter.value.dtype());
        x.extend([handle(parameter.value).cast(dtype)?, gradient]);
        x.extend(self.entries[i].slots.iter_mut().map(|slot| handle(&mut slot.1)));
        Ok(x)
    }

    /// What a rule gives for parameter `i` and what is kept for it, if it has their shapes and types; the parameter in its own.
    fn checked(&self, i: usize, parameter: &ParameterUpdate<'_>, mut y: Outputs) -> Result<Outputs> {
        let value = Spec::new(*parameter.value.shape(), updated_in(parameter.value.dtype()));
        let slots = self.entries[i].slots.iter().map(|slot| slot.1.spec());
        let wanted: Vec<Spec> = std::iter::once(value).chain(slots).collect();
        let found: Vec<Spec> = y.iter().map(Tensor::spec).collect();
        if found != wanted {
            let text = format!(
                "{}: the update of `{}` gives {found:?} for {wanted:?}, the parameter and what is kept for it",
                self.rule.name(),
                parameter.name
            );
            return Err(Error::config(text, "return the new parameter, then each slot, of the same shapes and types"));
        }
        let mut all = y.drain();
        let value = all.next().map(|value| value.cast(parameter.value.dtype())).transpose()?;
        Ok(value.into_iter().chain(all).collect())
    }

    fn take_over(&mut self, i: usize, parameter: &mut ParameterUpdate<'_>, y: Outputs) {
        let slots = self.entries[i].slots.iter_mut().map(|slot| &mut slot.1);
        std::iter::once(&mut *parameter.value).chain(slots).zip(y).for_each(|(old, new)| *old = new);
    }

    /// A gradient clipped, and decayed where it has the decay; and a factor that is left for the rule. All gradients
    /// together are clipped by the factor `whole`, which is given in single and in double precision.
    fn clipped(
        &self,
        whole: Option<&[Tensor; 2]>,
        parameter: &ParameterUpdate<'_>,
        mut gradient: Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let settings = &self.settings;
        let mut scale = match (settings.clipnorm, whole) {
            (Some(limit), _) => shrink(&global_norm([&gradient])?, limit)?.cast(gradient.dtype())?,
            (None, Some([single, double])) => if gradient.dtype() == DType::F64 { double } else { single }.clone(),
            (None, None) => Tensor::number(1.0),
        };
        if let Some(limit) = settings.clipvalue {
            gradient = gradient.clamp(-limit, limit)?;
        }
        if settings.maximize {
            scale = scale.mul(-1.0)?;
        }
        let decay = self.decay(parameter).filter(|_| settings.weight_decay_in_gradient);
        if let Some(decay) = decay {
            let scaled = std::mem::replace(&mut scale, Tensor::number(1.0));
            let value = parameter.value.cast(gradient.dtype())?;
            gradient = blend(gradient, scaled, value, decay)?;
        }
        Ok((scale, gradient))
    }

    fn average(&mut self, parameters: &mut [ParameterUpdate<'_>]) -> Result<()> {
        // The first average is that of one value, not of it and the initial one.
        let momentum = if self.iterations == 0 { 0.0 } else { self.settings.ema_momentum };
        let cast = |parameter: &ParameterUpdate<'_>| parameter.value.cast(updated_in(parameter.value.dtype()));
        let values = parameters.iter().map(cast).collect::<Result<Vec<_>, _>>()?;
        let (mut calls, mut waiting) = (Abreast::with_capacity(values.len()), Vec::with_capacity(values.len()));
        for (value, entry) in values.into_iter().zip(&mut self.entries) {
            let Some(average) = entry.average.take() else { continue };
            let x = vec![average, value, Tensor::number(momentum), Tensor::number(1.0 - momentum)];
            calls.apply_owned(&Elementwise::<_, 2, 1>(Blend), x)?;
            waiting.push(&mut entry.average);
        }
        waiting.into_iter().zip(each_one(calls)?).for_each(|(kept, average)| *kept = Some(average));
        if self.overwrites() {
            for (parameter, entry) in parameters.iter_mut().zip(&self.entries) {
                if let Some(average) = &entry.average {
                    *parameter.value = average.cast(parameter.value.dtype())?;
                }
            }
        }
        Ok(())
    }
}
