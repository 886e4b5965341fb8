//! The rule that makes the update of a matrix orthogonal.

use super::Adam;
use super::norms::descend;
use super::rule::{Iteration, Rule, Step, zeros};
use super::settings::optimizers;
use crate::Result;
use crate::range::Range;
use kiln_autograd::ops::{ArithmeticOps, Elementwise, Function, MatMulOps, StatisticsOps, ViewOps};
use kiln_autograd::{Abreast, Scalar, Spec, Tensor};

optimizers! {
    /// Momentum whose step is made orthogonal, for the weights of hidden layers, which are matrices (Jordan et al. 2024); all other
    /// parameters, and those of embeddings, are updated as by [`AdamW`](super::AdamW).
    ///
    /// A step of `[r, c]` is as long as one of AdamW by a factor of `rms_rate · √max(r, c)` (Liu et al. 2025). The last layer's
    /// matrix is a matrix too: leave it out with [`exclude_layers`](Self::exclude_layers).
    Muon(rate 0.001, decay 0.004) {
        /// How slowly the mean of the others moves.
        adam_beta_1: f64 = 0.9,
        /// How slowly their mean square moves.
        adam_beta_2: f64 = 0.999,
        /// Their weight decay.
        adam_weight_decay: Option<f64> = Some(0.004),
        /// What their learning rate is multiplied by.
        adam_lr_ratio: f64 = 1.0,
        /// Keeps their quotient finite.
        epsilon: f64 = 1e-7,
        /// Parameters whose path contains one of these are among the others.
        exclude_layers: Vec<String> = Vec::new(),
        /// Whether parameters with "embedding" in their path are among the others.
        exclude_embeddings: bool = true,
        /// The first coefficient of the iteration that makes a matrix orthogonal.
        muon_a: f64 = 3.4445,
        /// The second.
        muon_b: f64 = -4.7750,
        /// The third.
        muon_c: f64 = 2.0315,
        /// How much of the last velocity stays.
        momentum: f64 = 0.95,
        /// How often the iteration is done.
        ns_steps: usize = 5,
        /// Whether the gradient is taken as if the velocity had been applied already.
        nesterov: bool = true,
        /// What makes a step as long as one of AdamW; none leaves it as it is.
        rms_rate: Option<f64> = Some(0.2),
    }
}

/// `[parameter, gradient, velocity]` to `[parameter, direction, velocity]`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Direction {
    momentum: f64,
    nesterov: bool,
}

impl Function<3, 3> for Direction {
    const NAME: &'static str = "muon";
    #[inline(always)]
    fn call<S: Scalar>(&self, [p, g, m]: [S; 3]) -> [S; 3] {
        let m = S::lit(self.momentum) * m + g.clone();
        let direction = if self.nesterov { g + S::lit(self.momentum) * m.clone() } else { m.clone() };
        [p, direction, m]
    }
}

impl Muon {
    /// Whether a parameter is one of the others.
    fn is_other(&self, name: &str, parameter: Spec) -> bool {
        parameter.shape.rank() != 2
            || (self.exclude_embeddings && name.to_lowercase().contains("embedding"))
            || self.exclude_layers.iter().any(|part| name.contains(part.as_str()))
    }

    fn adam(&self) -> Adam {
        let (beta_1, beta_2, epsilon) = (self.adam_beta_1, self.adam_beta_2, self.epsilon);
        Adam { beta_1, beta_2, epsilon, amsgrad: false, settings: self.settings.clone() }
    }

    /// A matrix with its singular values brought towards 1, by a polynomial of it (Newton and Schulz).
    fn orthogonal(&self, x: &Tensor) -> Result<Tensor> {
        let is_tall = x.shape()[0] > x.shape()[1];
        let mut x = if is_tall { x.transpose(0, 1)? } else { x.clone() };
        // No singular value is above the norm of all elements.
        x = x.div(&x.norm(2.0, ..)?.add(1e-7)?)?;
        for _ in 0..self.ns_steps {
            let square = x.matmul(&x.transpose(0, 1)?)?;
            let factor = square.mul(self.muon_b)?.add(&square.mul(self.muon_c)?.matmul(&square)?)?;
            x = x.mul(self.muon_a)?.add(&factor.matmul(&x)?)?;
        }
        Ok(if is_tall { x.transpose(0, 1)? } else { x })
    }
}

impl Rule for Muon {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        let mut ranges = vec![
            ("adam_beta_1", self.adam_beta_1, Range::Share),
            ("adam_beta_2", self.adam_beta_2, Range::Share),
            ("adam_lr_ratio", self.adam_lr_ratio, Range::NotNegative),
            ("epsilon", self.epsilon, Range::NotNegative),
            ("muon_a", self.muon_a, Range::Finite),
            ("muon_b", self.muon_b, Range::Finite),
            ("muon_c", self.muon_c, Range::Finite),
            ("momentum", self.momentum, Range::Fraction),
        ];
        ranges.extend(self.adam_weight_decay.map(|decay| ("adam_weight_decay", decay, Range::NotNegative)));
        ranges.extend(self.rms_rate.map(|rate| ("rms_rate", rate, Range::NotNegative)));
        ranges
    }

    fn is_in_place(&self) -> bool {
        false
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum"], parameter)
    }

    fn slots_of(&self, name: &str, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        match self.is_other(name, parameter) {
            true => zeros(&["momentum", "velocity"], parameter),
            false => Rule::slots(self, parameter),
        }
    }

    fn decay_of(&self, name: &str, parameter: Spec, decay: Option<f64>) -> Option<f64> {
        if self.is_other(name, parameter) { self.adam_weight_decay } else { decay }
    }

    /// The rate, and what Adam wants.
    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        let adam = Iteration { rate: iteration.rate * self.adam_lr_ratio, ..*iteration };
        [vec![iteration.rate], Rule::numbers(&self.adam(), &adam)].concat()
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        // Only the others have a mean square.
        if x.len() == 4 {
            let step = Step { numbers: step.numbers[1..].to_vec(), ..step.clone() };
            return Rule::add(&self.adam(), &step, x, to);
        }
        let f = Direction { momentum: self.momentum, nesterov: self.nesterov };
        let [parameter, direction, velocity] = <[Tensor; 3]>::try_from(
            Tensor::apply_owned(&Elementwise::<_, 3, 3>(f), x)?.into_iter().collect::<Vec<_>>(),
        )
        .map_err(|_| crate::Error::config("Muon: an update of three values", ""))?;
        let longest = parameter.shape().iter().copied().max().unwrap_or(1) as f64;
        // A number times a number would have a type of its own, and the parameter then that.
        let direction = self.orthogonal(&direction)?.mul(self.rms_rate.map_or(1.0, |rate| rate * longest.sqrt()))?;
        let parameter = descend(parameter, direction, step.numbers[0].clone())?;
        to.push([parameter, velocity]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizers::{IntoOptimizer, Optimizer, ParameterUpdate, from_config};

    fn step(optimizer: &mut Optimizer, name: &str, value: &mut Tensor, gradient: Tensor) -> Vec<f64> {
        optimizer.apply(&mut [ParameterUpdate { name, value, gradient: Some(gradient) }]).unwrap();
        value.to_vec_as()
    }

    /// Keras's numbers.
    #[test]
    fn a_matrix_steps_along_an_orthogonal_one() {
        let mut optimizer = Muon::new(0.125).weight_decay(0.25).into_optimizer().unwrap();
        let mut weight = Tensor::new([[1.0, 2.0], [3.0, 4.0], [0.5, -1.0]]);
        step(&mut optimizer, "dense/kernel", &mut weight, Tensor::new([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]));
        let gradient = Tensor::new([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]);
        let found = step(&mut optimizer, "dense/kernel", &mut weight, gradient);
        let wanted = [0.918_110_310, 1.862_286_445, 2.813_323_630, 3.695_955_367, 0.409_162_144, -0.940_193_277];
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-8, "{found}, expected {wanted}");
        }
    }

    #[test]
    fn a_matrix_keeps_its_type() {
        use kiln_autograd::DType;
        use kiln_autograd::ops::CastOps;
        let [gradient, weight] = [[[1.0, 0.0], [0.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]].map(Tensor::new);
        for rms_rate in [None, Some(0.2)] {
            let mut optimizer = Muon::new(0.125).rms_rate(rms_rate).into_optimizer().unwrap();
            let wanted = step(&mut optimizer, "w", &mut weight.clone(), gradient.clone());
            for (dtype, error) in [(DType::F32, 1e-6), (DType::BF16, 0.1)] {
                let mut optimizer = Muon::new(0.125).rms_rate(rms_rate).into_optimizer().unwrap();
                let mut weight = weight.cast(dtype).unwrap();
                let found = step(&mut optimizer, "w", &mut weight, gradient.cast(dtype).unwrap());
                assert_eq!(weight.dtype(), dtype);
                assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < error), "{found:?} {wanted:?}");
            }
        }
    }

    #[test]
    fn others_are_updated_as_by_adam() {
        let muon =
            || Muon::new(0.1).weight_decay(0.5).adam_weight_decay(Some(0.25)).exclude_layers(vec!["head".into()]);
        let start = || Tensor::new([[1.0, -2.0]]);
        let gradient = || Tensor::new([[0.5, 3.0]]);
        let mut adam = Adam::new(0.1).weight_decay(0.25).into_optimizer().unwrap();
        let wanted = step(&mut adam, "w", &mut start(), gradient());
        for name in ["head/kernel", "Embedding/table"] {
            // Read back from a file, it is the same.
            let again = from_config(&muon().into_optimizer().unwrap().to_config()).unwrap();
            for mut optimizer in [muon().into_optimizer().unwrap(), again] {
                assert_eq!(step(&mut optimizer, name, &mut start(), gradient()), wanted, "{name}");
            }
        }
        let mut optimizer = muon().into_optimizer().unwrap();
        assert_ne!(step(&mut optimizer, "dense/kernel", &mut start(), gradient()), wanted);
    }
}
