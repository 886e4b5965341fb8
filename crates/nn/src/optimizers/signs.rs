//! The rules that PyTorch has and Keras has not: by signs, and with an average of the parameters.

use super::LearningRate;
use super::functions::{functions, lit};
use super::rule::{Iteration, Rule, Step, filled, zeros};
use super::settings::optimizers;
use crate::Result;
use crate::range::Range;
use kiln_autograd::{Abreast, Spec, Tensor};

optimizers! {
    /// Steps by the sign of the gradient alone, with a size for each element: it grows while the sign stays, and shrinks where it
    /// changes, and that step is left out (Riedmiller and Braun 1993). For gradients of all data, not of batches.
    ///
    /// The learning rate is the size of the first step.
    Rprop(rate 0.01) {
        /// What a size is multiplied by where the sign has changed.
        eta_minus: f64 = 0.5,
        /// What it is multiplied by where the sign is the same.
        eta_plus: f64 = 1.2,
        /// The smallest size.
        step_size_min: f64 = 1e-6,
        /// The largest size.
        step_size_max: f64 = 50.0,
    }
    /// Gradient descent with a falling rate, `rate / (1 + lambd · rate · t)^alpha`, beside an average of the parameters (Polyak and
    /// Juditsky 1992), as PyTorch computes it. The average is state, `averaged`, and changes no parameter.
    ASGD(rate 0.01) {
        /// How fast parameters decay, and the rate falls.
        lambd: f64 = 1e-4,
        /// The power by which the rate falls.
        alpha: f64 = 0.75,
        /// The update from which on the average is one.
        t0: f64 = 1e6,
    }
}

functions! {
    RpropStep<4, 3> "rprop" { minus, plus, least, most } [] |self, [p, g, before, size]| {
        let sign = (g.clone() * before).sign();
        let (turns, stays) = (sign.clone().lt(lit!(0.0)), lit!(0.0).lt(sign));
        let grown = S::select(stays, size.clone() * lit!(self.plus), size.clone());
        let size = S::select(turns.clone(), size * lit!(self.minus), grown).max(lit!(self.least)).min(lit!(self.most));
        let g = S::select(turns, lit!(0.0), g);
        // The sign of NaN is 0: it would pass for a step.
        [p - g.clone().sign() * size.clone() + (g.clone() - g.clone()), g, size]
    };
    AsgdStep<3, 2> "asgd" { } [rate, keep, share] |self, [p, g, mean]| {
        let p = keep * p - rate * g;
        [p.clone(), mean.clone() + (p - mean) * share]
    };
}

impl Rule for Rprop {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("eta_minus", self.eta_minus, Range::Inside),
            ("eta_plus", self.eta_plus, Range::Positive),
            ("step_size_min", self.step_size_min, Range::NotNegative),
            ("step_size_max", self.step_size_max, Range::Positive),
        ]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        let rate = match &self.settings.learning_rate {
            LearningRate::Constant(rate) => *rate,
            LearningRate::Schedule(schedule) => schedule.rate(0),
        };
        let mut slots = zeros(&["previous"], parameter);
        slots.extend(filled(&["step_size"], parameter, rate));
        slots
    }

    fn numbers(&self, _: &Iteration) -> Vec<f64> {
        Vec::new()
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        let f = RpropStep {
            minus: self.eta_minus,
            plus: self.eta_plus,
            least: self.step_size_min,
            most: self.step_size_max,
        };
        step.add(f, x, &step.numbers, to)
    }
}

impl Rule for ASGD {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("lambd", self.lambd, Range::NotNegative),
            ("alpha", self.alpha, Range::NotNegative),
            ("t0", self.t0, Range::NotNegative),
        ]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["averaged"], parameter)
    }

    /// Those that PyTorch has computed after the update before.
    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        let before = iteration.number - 1.0;
        let rate = match before {
            0.0 => iteration.rate,
            t => iteration.rate / (1.0 + self.lambd * iteration.rate * t).powf(self.alpha),
        };
        // It keeps the rate in single precision, whatever the parameters' type.
        let rate = f64::from(rate as f32);
        vec![rate, 1.0 - self.lambd * rate, 1.0 / (before - self.t0).max(1.0)]
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        step.add(AsgdStep {}, x, &step.numbers, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizers::{Adafactor, Convention, IntoOptimizer, ParameterUpdate};

    /// Where `[1, 2]` is after each of three steps.
    fn course(optimizer: impl IntoOptimizer, wanted: [[f64; 2]; 3]) {
        let mut optimizer = optimizer.into_optimizer().unwrap();
        let mut value = Tensor::new([[1.0, 2.0]]);
        for (gradient, wanted) in [[1.0, -1.0], [2.0, 3.0], [1.0, 1.0]].into_iter().zip(wanted) {
            let gradient = Some(Tensor::new([gradient]));
            optimizer.apply(&mut [ParameterUpdate { name: "w", value: &mut value, gradient }]).unwrap();
            for (found, wanted) in value.to_vec_as::<f64>().into_iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-9, "{}: {found}, expected {wanted}", optimizer.name());
            }
        }
    }

    #[test]
    fn courses_are_those_of_pytorch() {
        course(Rprop::new(0.5), [[0.5, 2.5], [-0.1, 2.5], [-0.82, 2.25]]);
        let asgd = ASGD::new(0.5).lambd(0.25).alpha(1.0).t0(0.0);
        course(asgd, [[0.375, 2.25], [-0.555_555_562_5, 0.666_666_654_9], [-0.900_000_011_4, 0.199_999_982_4]]);
        let adafactor =
            Adafactor::new(0.5).convention(Convention::PyTorch).epsilon_1(1e-6).weight_decay(0.5).maximize(true);
        course(
            adafactor,
            [
                [1.540_569_415_0, 0.709_430_585_0],
                [1.741_310_000_6, 1.145_181_942_7],
                [1.826_032_904_5, 1.242_640_707_5],
            ],
        );
    }
}
