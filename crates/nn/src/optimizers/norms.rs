//! The rules that look at a whole tensor: its norm, or the means of its rows and columns.

use super::Convention;
use super::rule::{Iteration, Rule, Step, alone, zeros};
use super::settings::optimizers;
use crate::Result;
use crate::range::Range;
use kiln_autograd::ops::{
    ArithmeticOps, BoundOps, ComparisonOps, Elementwise, Fold, FoldKind, Function, MathOps, Norm, SelectOps,
    StatisticsOps, ViewOps,
};
use kiln_autograd::{Abreast, Scalar, Shape, Spec, Tensor, keep};

/// [`Norm`] as `f64`: that of gradients near the largest number of their type is beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WideNorm;

impl Fold for WideNorm {
    const NAME: &'static str = Norm::NAME;
    const KIND: FoldKind = FoldKind::Double;
    #[inline(always)]
    fn start<S: Scalar>(&self) -> [S; 1] {
        Norm.start()
    }
    #[inline(always)]
    fn take<S: Scalar>(&self, state: [S; 1], x: S) -> [S; 1] {
        Norm.take(state, x)
    }
    #[inline(always)]
    fn join<S: Scalar>(&self, a: [S; 1], b: [S; 1]) -> [S; 1] {
        Norm.join(a, b)
    }
    #[inline(always)]
    fn finish<S: Scalar>(&self, state: [S; 1], count: f64) -> S {
        Norm.finish(state, count)
    }
    fn partial<S: Scalar>(&self, x: S, y: S, count: f64) -> S {
        Norm.partial(x, y, count)
    }
    #[inline(always)]
    fn is_doubtful<S: Scalar>(&self, y: S) -> S::Mask {
        Norm.is_doubtful(y)
    }
}

optimizers! {
    /// Adam with each tensor's step as long as the tensor times the rate (You et al. 2020).
    Lamb(rate 0.001) {
        /// How slowly the mean moves.
        beta_1: f64 = 0.9,
        /// How slowly the mean square moves.
        beta_2: f64 = 0.999,
        /// Keeps the quotient finite.
        epsilon: f64 = 1e-7,
    }
    /// Adam without a mean, and with a mean square kept as row and column means (Shazeer and Stern 2018).
    ///
    /// Convention PyTorch has `epsilon_1` as the least root of the mean square, and as the least mean of the rows' means, and adds it
    /// to nothing; and it sizes a step by the parameter as it was before its decay.
    Adafactor(rate 0.001) {
        /// How the decay of the mean square approaches 1: as `1 - t^this`.
        beta_2_decay: f64 = -0.8,
        /// Added to the squares; in convention PyTorch, the least root.
        epsilon_1: f64 = 1e-30,
        /// The least size of a parameter that its step is scaled by.
        epsilon_2: f64 = 1e-3,
        /// The largest root mean square of a step.
        clip_threshold: f64 = 1.0,
        /// Whether the rate is at most `1 / √t`.
        relative_step: bool = true,
    }
}

/// `[parameter, gradient, mean, mean square]` to `[parameter, direction, mean, mean square]`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Direction {
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
}

impl Function<4, 4> for Direction {
    const NAME: &'static str = "lamb";
    /// What corrects the mean and the mean square for their start from 0.
    const NUMBERS: usize = 2;

    fn call<S: Scalar>(&self, x: [S; 4]) -> [S; 4] {
        self.call_with(x, &[S::lit(1.0), S::lit(1.0)])
    }

    #[inline(always)]
    fn call_with<S: Scalar>(&self, [p, g, m, v]: [S; 4], numbers: &[S]) -> [S; 4] {
        let m = m.clone() + (g.clone() - m) * S::lit(1.0 - self.beta_1);
        let v = v.clone() + (g.clone() * g - v) * S::lit(1.0 - self.beta_2);
        let root = (v.clone() * numbers[1].clone()).sqrt() + S::lit(self.epsilon);
        [p, m.clone() * numbers[0].clone() / root, m, v]
    }
}

/// `p - rate · direction`, with a rate of rank 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Descend;

impl Function<3> for Descend {
    const NAME: &'static str = "descend";
    #[inline(always)]
    fn call<S: Scalar>(&self, [p, direction, rate]: [S; 3]) -> [S; 1] {
        [p - rate * direction]
    }
}

pub(super) fn descend(parameter: Tensor, direction: Tensor, rate: Tensor) -> Result<Tensor> {
    Ok(Tensor::apply_owned(&Elementwise::<_, 3, 1>(Descend), vec![parameter, direction, rate])?.one()?)
}

impl Rule for Lamb {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("beta_1", self.beta_1, Range::Share),
            ("beta_2", self.beta_2, Range::Share),
            ("epsilon", self.epsilon, Range::NotNegative),
        ]
    }

    fn is_in_place(&self) -> bool {
        false
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum", "velocity"], parameter)
    }

    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        [self.beta_1, self.beta_2].map(|beta| 1.0 / (1.0 - beta.powf(iteration.number))).into()
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        let Lamb { beta_1, beta_2, epsilon, .. } = *self;
        let f = Direction { beta_1, beta_2, epsilon };
        let mut y = alone(|to| step.add_squaring(f, x, &step.numbers, to))?;
        let direction = y.remove(1);
        let (size, length) = (y[0].norm(2.0, ..)?, direction.norm(2.0, ..)?);
        // Of a parameter or a direction that is 0, the quotient says nothing.
        let usable = size.gt(0)?.logical_and(&length.gt(0)?)?;
        let ratio = usable.select(&size.div(&length)?, 1.0)?;
        let parameter = y.remove(0);
        y.insert(0, descend(parameter, direction, ratio.mul(&step.rate)?)?);
        to.push(y);
        Ok(())
    }
}

/// Decay and clipping alone.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Same;

impl Function<2, 2> for Same {
    const NAME: &'static str = "adafactor";
    #[inline(always)]
    fn call<S: Scalar>(&self, [p, g]: [S; 2]) -> [S; 2] {
        [p, g]
    }
}

impl Rule for Adafactor {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("beta_2_decay", self.beta_2_decay, Range::NotPositive),
            ("epsilon_1", self.epsilon_1, Range::NotNegative),
            ("epsilon_2", self.epsilon_2, Range::NotNegative),
            ("clip_threshold", self.clip_threshold, Range::Positive),
        ]
    }

    fn is_in_place(&self) -> bool {
        false
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        let dims = parameter.shape.dims();
        let slot = |dims: &[usize]| {
            Tensor::filled(Spec::new(Shape::new(dims).unwrap_or(parameter.shape), parameter.dtype), 0.0)
        };
        match dims {
            [outer @ .., _, columns] => {
                let across = [outer, &[*columns]].concat();
                vec![("rows", slot(&dims[..dims.len() - 1])), ("columns", slot(&across))]
            }
            _ => zeros(&["velocity"], parameter),
        }
    }

    /// The share of the old mean square, the share of the new one, and the rate.
    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        let Iteration { number, rate, .. } = *iteration;
        let beta = 1.0 - number.powf(self.beta_2_decay);
        vec![beta, 1.0 - beta, if self.relative_step { rate.min(1.0 / number.sqrt()) } else { rate }]
    }

    fn decays(&self) -> bool {
        true
    }

    fn add(&self, step: &Step, mut x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        let slots = x.split_off(2);
        let root_mean_square = |x: &Tensor| x.norm(2.0, ..)?.div((x.count().max(1) as f64).sqrt());
        let is_torch = self.settings.convention == Convention::PyTorch;
        let before = if is_torch { Some(root_mean_square(&x[0])?) } else { None };
        let mut both = alone(|to| step.add_squaring::<_, 2, 2>(Same, x, &[], to))?;
        let (gradient, parameter) = (both.remove(1), both.remove(0));
        let [old_share, new_share, rate] = &step.numbers[..] else { unreachable!("three numbers") };
        let square = gradient.square()?;
        let square = if is_torch { square } else { square.add(self.epsilon_1)? };
        let least = |x: Tensor, least: f64| if is_torch { x.clamp(least, f64::INFINITY) } else { Ok(x) };
        let blend = |old: &Tensor, new: &Tensor| old.mul(old_share)?.add(&new.mul(new_share)?);
        let (slots, power) = match &slots[..] {
            [rows, columns] => {
                let rows = blend(rows, &square.mean(-1)?)?;
                let columns = blend(columns, &square.mean(-2)?)?;
                let share = rows.div(&least(rows.mean(keep(-1))?, self.epsilon_1)?)?;
                let power = share.unsqueeze(-1)?.mul(&columns.unsqueeze(-2)?)?;
                (vec![rows, columns], power)
            }
            _ => {
                let power = blend(&slots[0], &square)?;
                (vec![power.clone()], power)
            }
        };
        let direction = gradient.mul(&least(power, self.epsilon_1 * self.epsilon_1)?.rsqrt()?)?;
        let size = before.map_or_else(|| root_mean_square(&parameter), Ok)?.clamp(self.epsilon_2, f64::INFINITY)?;
        let excess = root_mean_square(&direction)?.div(self.clip_threshold)?.clamp(1.0, f64::INFINITY)?;
        let y = descend(parameter, direction, size.mul(rate)?.div(&excess)?)?;
        to.push([vec![y], slots].concat());
        Ok(())
    }
}
