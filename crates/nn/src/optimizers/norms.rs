//! The rules that look at a whole tensor: its norm, or the means of its rows and columns.

use super::rule::{Rule, Step, sum_of_squares, zeros};
use super::settings::optimizers;
use crate::Result;
use kiln_autograd::ops::{ArithmeticOps, Elementwise, Function, MathOps, StatisticsOps, ViewOps};
use kiln_autograd::{Scalar, Shape, Spec, Tensor, keep};

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
    Adafactor(rate 0.001) {
        /// How the decay of the mean square approaches 1: as `1 - t^this`.
        beta_2_decay: f64 = -0.8,
        /// Added to the squares.
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
    mean: f64,
    square: f64,
    epsilon: f64,
}

impl Function<4, 4> for Direction {
    const NAME: &'static str = "lamb";
    #[inline(always)]
    fn call<S: Scalar>(&self, [p, g, m, v]: [S; 4]) -> [S; 4] {
        let m = m.clone() + (g.clone() - m) * S::lit(1.0 - self.beta_1);
        let v = v.clone() + (g.clone() * g - v) * S::lit(1.0 - self.beta_2);
        let root = (v.clone() * S::lit(self.square)).sqrt() + S::lit(self.epsilon);
        [p, m.clone() * S::lit(self.mean) / root, m, v]
    }
}

/// `p - rate · direction`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Descend {
    rate: f64,
}

impl Function<2> for Descend {
    const NAME: &'static str = "descend";
    #[inline(always)]
    fn call<S: Scalar>(&self, [p, direction]: [S; 2]) -> [S; 1] {
        [p - S::lit(self.rate) * direction]
    }
}

impl Rule for Lamb {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum", "velocity"], parameter)
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let Lamb { beta_1, beta_2, epsilon, .. } = *self;
        let (mean, square) = (1.0 / (1.0 - beta_1.powf(step.t)), 1.0 / (1.0 - beta_2.powf(step.t)));
        let mut y = step.apply(Direction { beta_1, beta_2, mean, square, epsilon }, x)?;
        let direction = y.remove(1);
        let (size, length) = (sum_of_squares(&y[0]).sqrt(), sum_of_squares(&direction).sqrt());
        let ratio = if size > 0.0 && length > 0.0 { size / length } else { 1.0 };
        let parameter = y.remove(0);
        let f = Elementwise::<_, 2, 1>(Descend { rate: step.rate * ratio });
        y.insert(0, Tensor::apply_owned(&f, vec![parameter, direction])?.one()?);
        Ok(y)
    }
}

/// Decay and clipping alone.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Same;

impl Function<2, 2> for Same {
    const NAME: &'static str = "adafactor";
    #[inline(always)]
    fn call<S: Scalar>(&self, x: [S; 2]) -> [S; 2] {
        x
    }
}

impl Rule for Adafactor {
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

    fn update(&self, step: &Step, mut x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let slots = x.split_off(2);
        let mut both = step.apply::<_, 2, 2>(Same, x)?;
        let (gradient, parameter) = (both.remove(1), both.remove(0));
        let beta = 1.0 - step.t.powf(self.beta_2_decay);
        let square = gradient.square()?.add(self.epsilon_1)?;
        let blend = |old: &Tensor, new: &Tensor| old.mul(beta)?.add(&new.mul(1.0 - beta)?);
        let (slots, power) = match &slots[..] {
            [rows, columns] => {
                let rows = blend(rows, &square.mean(-1)?)?;
                let columns = blend(columns, &square.mean(-2)?)?;
                let share = rows.div(&rows.mean(keep(-1))?)?;
                let power = share.unsqueeze(-1)?.mul(&columns.unsqueeze(-2)?)?;
                (vec![rows, columns], power)
            }
            _ => {
                let power = blend(&slots[0], &square)?;
                (vec![power.clone()], power)
            }
        };
        let direction = gradient.mul(&power.rsqrt()?)?;
        let root_mean_square = |x: &Tensor| (sum_of_squares(x) / x.count().max(1) as f64).sqrt();
        let rate = if self.relative_step { step.rate.min(1.0 / step.t.sqrt()) } else { step.rate };
        let rate = rate * root_mean_square(&parameter).max(self.epsilon_2);
        let rate = rate / (root_mean_square(&direction) / self.clip_threshold).max(1.0);
        let f = Elementwise::<_, 2, 1>(Descend { rate });
        let y = Tensor::apply_owned(&f, vec![parameter, direction])?;
        Ok(y.into_iter().chain(slots).collect())
    }
}
