//! The rules that look at each element alone: one function each, so that an update is one pass over memory.

use super::functions::{functions, lit};
use super::rule::{Iteration, Rule, Step, filled, zeros};
use super::settings::optimizers;
use super::{Convention, LearningRate};
use crate::Result;
use crate::range::Range;
use kiln_autograd::ops::Function;
use kiln_autograd::{Abreast, DType, Scalar, Spec, Tensor};

optimizers! {
    /// Stochastic gradient descent: `p -= rate · g`; with momentum, `m = momentum · m - rate · g; p += m`.
    ///
    /// Convention PyTorch keeps the rate out of the velocity, `m = momentum · m + (1 - dampening) · g; p -= rate · m`, which
    /// differs when the rate changes.
    SGD(rate 0.01) {
        /// How much of the last velocity stays.
        momentum: f64 = 0.0,
        /// Whether the gradient is taken as if the velocity had been applied already (Nesterov 1983).
        nesterov: bool = false,
        /// How much less of the gradient enters the velocity after the first step; for convention PyTorch.
        dampening: f64 = 0.0,
    }
    /// The gradient over the root of its mean square (Hinton 2012). Epsilon is inside the root; convention PyTorch: outside.
    RMSprop(rate 0.001) {
        /// How slowly the mean square moves.
        rho: f64 = 0.9,
        /// How much of the last step stays.
        momentum: f64 = 0.0,
        /// Keeps the quotient finite.
        epsilon: f64 = 1e-7,
        /// Whether the variance takes the place of the mean square.
        centered: bool = false,
    }
    /// Adam (Kingma and Ba 2014): the mean of the gradient over the root of its mean square, both corrected for their start at 0.
    ///
    /// Epsilon is added to the uncorrected root, the paper's "epsilon hat"; convention PyTorch: to the corrected one.
    Adam(rate 0.001) {
        /// How slowly the mean moves.
        beta_1: f64 = 0.9,
        /// How slowly the mean square moves.
        beta_2: f64 = 0.999,
        /// Keeps the quotient finite.
        epsilon: f64 = 1e-7,
        /// Whether the largest mean square so far counts (Reddi et al. 2018).
        amsgrad: bool = false,
    }
    /// [`Adam`] with weight decay apart from the gradient (Loshchilov and Hutter 2019); by default 0.004.
    AdamW(rate 0.001, decay 0.004) {
        /// How slowly the mean moves.
        beta_1: f64 = 0.9,
        /// How slowly the mean square moves.
        beta_2: f64 = 0.999,
        /// Keeps the quotient finite.
        epsilon: f64 = 1e-7,
        /// Whether the largest mean square so far counts (Reddi et al. 2018).
        amsgrad: bool = false,
    }
    /// Adam with Nesterov's momentum (Dozat 2016). Convention PyTorch lets the momentum rise 250 times more slowly.
    Nadam(rate 0.001) {
        /// How slowly the mean moves.
        beta_1: f64 = 0.9,
        /// How slowly the mean square moves.
        beta_2: f64 = 0.999,
        /// Keeps the quotient finite.
        epsilon: f64 = 1e-7,
    }
    /// Adam with the largest decayed gradient in place of the root (Kingma and Ba 2014). Epsilon is added to it; convention
    /// PyTorch: to the gradient's size.
    Adamax(rate 0.001) {
        /// How slowly the mean moves.
        beta_1: f64 = 0.9,
        /// How slowly the size moves.
        beta_2: f64 = 0.999,
        /// Keeps the quotient finite.
        epsilon: f64 = 1e-7,
    }
    /// Adam that waits until its mean square can be trusted (Liu et al. 2020), as PyTorch computes it.
    RAdam(rate 0.001) {
        /// How slowly the mean moves.
        beta_1: f64 = 0.9,
        /// How slowly the mean square moves.
        beta_2: f64 = 0.999,
        /// Keeps the quotient finite.
        epsilon: f64 = 1e-8,
    }
    /// The gradient over the root of the sum of its squares (Duchi et al. 2011). Epsilon is inside the root; convention
    /// PyTorch: outside.
    Adagrad(rate 0.001) {
        /// What the sum starts from.
        initial_accumulator_value: f64 = 0.1,
        /// Keeps the quotient finite.
        epsilon: f64 = 1e-7,
    }
    /// The gradient over the root of its mean square, times that of the last steps (Zeiler 2012).
    Adadelta(rate 0.001) {
        /// How slowly the mean squares move.
        rho: f64 = 0.95,
        /// Keeps the quotient finite.
        epsilon: f64 = 1e-7,
    }
    /// The sign of a mean of the gradient (Chen et al. 2023).
    Lion(rate 0.001) {
        /// The mean's part in the step.
        beta_1: f64 = 0.9,
        /// How slowly the mean moves.
        beta_2: f64 = 0.99,
    }
    /// Follow the regularised leader (McMahan et al. 2013).
    Ftrl(rate 0.001) {
        /// The power of the sum of squares that divides the rate; not above 0.
        learning_rate_power: f64 = -0.5,
        /// What the sum of squares starts from.
        initial_accumulator_value: f64 = 0.1,
        /// The L1 penalty.
        l1_regularization_strength: f64 = 0.0,
        /// The L2 penalty.
        l2_regularization_strength: f64 = 0.0,
        /// The L2 penalty of large weights alone.
        l2_shrinkage_regularization_strength: f64 = 0.0,
        /// The `beta` of the paper.
        beta: f64 = 0.0,
    }
}

functions! {
    Descend<2, 1> "sgd" {} [rate] |self, [p, g]| [p - rate * g];
    Velocity<3, 2> "sgd" { momentum, look } [into, out, ahead] |self, [p, g, m]| {
        // Keras: into = -rate, out = 1. PyTorch: into = 1 - dampening, out = -rate. Nesterov looks one step ahead.
        let m = lit!(self.momentum) * m + into * g.clone();
        let step = lit!(self.look) * m.clone() + ahead * g;
        [p + out * step, m]
    };
    AdamStep<4, 3> "adam" { beta_1, beta_2 } [rate, epsilon] |self, [p, g, m, v]| {
        let m = m.clone() + (g.clone() - m) * lit!(1.0 - self.beta_1);
        let v = v.clone() + (g.clone() * g - v) * lit!(1.0 - self.beta_2);
        let step = rate * m.clone() / (v.clone().sqrt() + epsilon);
        [p - step, m, v]
    };
    AmsGradStep<5, 4> "adam" { beta_1, beta_2 } [rate, epsilon] |self, [p, g, m, v, top]| {
        let m = m.clone() + (g.clone() - m) * lit!(1.0 - self.beta_1);
        let v = v.clone() + (g.clone() * g - v) * lit!(1.0 - self.beta_2);
        let top = top.max(v.clone());
        let step = rate * m.clone() / (top.clone().sqrt() + epsilon);
        [p - step, m, v, top]
    };
    NadamStep<4, 3> "nadam" { beta_1, beta_2, epsilon } [mean, gradient, correction] |self, [p, g, m, v]| {
        let m = m.clone() + (g.clone() - m) * lit!(1.0 - self.beta_1);
        let v = v.clone() + (g.clone() * g.clone() - v) * lit!(1.0 - self.beta_2);
        let ahead = mean * m.clone() + gradient * g;
        [p - ahead / ((v.clone() * correction).sqrt() + lit!(self.epsilon)), m, v]
    };
    AdamaxStep<4, 3> "adamax" { beta_1, beta_2, inside, outside } [rate] |self, [p, g, m, u]| {
        let m = m.clone() + (g.clone() - m) * lit!(1.0 - self.beta_1);
        let u = (lit!(self.beta_2) * u).max(g.abs() + lit!(self.inside));
        [p - rate * m.clone() / (u.clone() + lit!(self.outside)), m, u]
    };
    RAdamStep<4, 3> "radam" { beta_1, beta_2, epsilon } [rate, adaptive] |self, [p, g, m, v]| {
        let m = m.clone() + (g.clone() - m) * lit!(1.0 - self.beta_1);
        let v = v.clone() + (g.clone() * g - v) * lit!(1.0 - self.beta_2);
        // `adaptive` is 0 while the mean square cannot be trusted.
        let step = rate * m.clone();
        let scaled = step.clone() * adaptive.clone() / (v.clone().sqrt() + lit!(self.epsilon));
        [p - S::select(lit!(0.0).lt(adaptive), scaled, step), m, v]
    };
    AdagradStep<3, 2> "adagrad" { inside, outside } [rate] |self, [p, g, a]| {
        let a = a + g.clone() * g.clone();
        [p - rate * g / ((a.clone() + lit!(self.inside)).sqrt() + lit!(self.outside)), a]
    };
    AdadeltaStep<4, 3> "adadelta" { rho, epsilon } [rate] |self, [p, g, a, d]| {
        let a = lit!(self.rho) * a + lit!(1.0 - self.rho) * g.clone() * g.clone();
        let root = |x: S| (x + lit!(self.epsilon)).sqrt();
        let step = root(d.clone()) / root(a.clone()) * g;
        let d = lit!(self.rho) * d + lit!(1.0 - self.rho) * step.clone() * step.clone();
        [p - rate * step, a, d]
    };
    LionStep<3, 2> "lion" { beta_1, beta_2 } [rate] |self, [p, g, m]| {
        let blend = |beta: f64| lit!(beta) * m.clone() + lit!(1.0 - beta) * g.clone();
        let look = blend(self.beta_1);
        // The sign of NaN is 0: it would pass for a step.
        [p - rate * (look.clone().sign() + (look.clone() - look)), blend(self.beta_2)]
    };
    FtrlStep<4, 3> "ftrl" { power, l1, shrinkage, most } [rate, l2] |self, [p, g, a, linear]| {
        // A sum that overflows would make the next step the difference of two infinities.
        let sum = (a.clone() + g.clone() * g.clone()).min(lit!(self.most));
        let root = |x: S| if self.power == -0.5 { x.sqrt() } else { x.pow(lit!(-self.power)) };
        let shrunk = g + lit!(2.0 * self.shrinkage) * p.clone();
        let next = linear.clone() + shrunk - (root(sum.clone()) - root(a.clone())) / rate.clone() * p.clone();
        let quadratic = root(sum.clone()) / rate.clone() + lit!(2.0) * l2;
        let clipped = next.clone().max(lit!(-self.l1)).min(lit!(self.l1));
        // A schedule may end at a rate of 0, which divides: such a step is none.
        let still = rate.equals(lit!(0.0));
        let stays = |old: S, new: S| S::select(still.clone(), old, new);
        [stays(p, (clipped - next.clone()) / quadratic), stays(a, sum), stays(linear, next)]
    };
}

/// RMSprop keeps two to four tensors: `[parameter, (gradient,) mean square, mean?, velocity?]`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct RmsStep {
    rho: f64,
    momentum: f64,
    inside: f64,
    outside: f64,
    centered: bool,
}

impl<const IN: usize, const OUT: usize> Function<IN, OUT> for RmsStep {
    const NAME: &'static str = "rmsprop";
    const NUMBERS: usize = 1;

    fn call<S: Scalar>(&self, x: [S; IN]) -> [S; OUT] {
        self.call_with(x, &[lit!(f64::NAN)])
    }

    #[inline(always)]
    fn call_with<S: Scalar>(&self, x: [S; IN], numbers: &[S]) -> [S; OUT] {
        let g = x[1].clone();
        let blend = |mean: S, x: S| lit!(self.rho) * mean + lit!(1.0 - self.rho) * x;
        let mut y: [S; OUT] = std::array::from_fn(|i| x[if i == 0 { 0 } else { i + 1 }].clone());
        y[1] = blend(y[1].clone(), g.clone() * g.clone());
        let mut power = y[1].clone();
        let mut velocity = 2;
        if self.centered {
            y[2] = blend(y[2].clone(), g.clone());
            // Rounding can make the variance of equal gradients negative.
            power = (power - y[2].clone() * y[2].clone()).max(lit!(0.0));
            velocity = 3;
        }
        let mut step = numbers[0].clone() * g / ((power + lit!(self.inside)).sqrt() + lit!(self.outside));
        if velocity < OUT {
            step = lit!(self.momentum) * y[velocity].clone() + step;
            y[velocity] = step.clone();
        }
        y[0] = y[0].clone() - step;
        y
    }
}

impl Convention {
    /// An epsilon inside the root and one outside, of which one is 0.
    fn places(self, epsilon: f64) -> (f64, f64) {
        match self {
            Convention::Keras => (epsilon, 0.0),
            Convention::PyTorch => (0.0, epsilon),
        }
    }
}

impl Rule for SGD {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![("momentum", self.momentum, Range::Fraction), ("dampening", self.dampening, Range::Fraction)]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        if self.momentum == 0.0 { Vec::new() } else { zeros(&["momentum"], parameter) }
    }

    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        let rate = iteration.rate;
        if self.momentum == 0.0 {
            return vec![rate];
        }
        let first = if iteration.number == 1.0 { 0.0 } else { self.dampening };
        let (into, out, own) = match self.settings.convention {
            Convention::Keras => (-rate, 1.0, -rate),
            Convention::PyTorch => (1.0 - first, -rate, 1.0),
        };
        vec![into, out, if self.nesterov { own } else { 0.0 }]
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        let momentum = self.momentum;
        if momentum == 0.0 {
            return step.add(Descend {}, x, &step.numbers, to);
        }
        let look = if self.nesterov { momentum } else { 1.0 };
        step.add(Velocity { momentum, look }, x, &step.numbers, to)
    }
}

impl Rule for RMSprop {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("rho", self.rho, Range::Fraction),
            ("momentum", self.momentum, Range::Fraction),
            ("epsilon", self.epsilon, Range::NotNegative),
        ]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        match (self.centered, self.momentum > 0.0) {
            (false, false) => zeros(&["velocity"], parameter),
            (true, false) => zeros(&["velocity", "average_gradient"], parameter),
            (false, true) => zeros(&["velocity", "momentum"], parameter),
            (true, true) => zeros(&["velocity", "average_gradient", "momentum"], parameter),
        }
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        let RMSprop { rho, momentum, centered, epsilon, .. } = *self;
        let (inside, outside) = self.settings.convention.places(epsilon);
        let f = RmsStep { rho, momentum, inside, outside, centered };
        match x.len() {
            3 => step.add_squaring::<_, 3, 2>(f, x, &step.numbers, to),
            4 => step.add_squaring::<_, 4, 3>(f, x, &step.numbers, to),
            _ => step.add_squaring::<_, 5, 4>(f, x, &step.numbers, to),
        }
    }
}

/// Adam's rate and epsilon, with the corrections folded into them.
fn adam_numbers(a: &Adam, iteration: &Iteration) -> Vec<f64> {
    let root = (1.0 - a.beta_2.powf(iteration.number)).sqrt();
    let rate = iteration.rate * root / (1.0 - a.beta_1.powf(iteration.number));
    vec![rate, if a.settings.convention == Convention::PyTorch { a.epsilon * root } else { a.epsilon }]
}

/// Adam's step from its settings.
fn adam(a: &Adam, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
    let Adam { beta_1, beta_2, amsgrad, .. } = *a;
    match amsgrad {
        true => step.add_squaring(AmsGradStep { beta_1, beta_2 }, x, &step.numbers, to),
        false => step.add_squaring(AdamStep { beta_1, beta_2 }, x, &step.numbers, to),
    }
}

impl Rule for Adam {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("beta_1", self.beta_1, Range::Share),
            ("beta_2", self.beta_2, Range::Share),
            ("epsilon", self.epsilon, Range::NotNegative),
        ]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        match self.amsgrad {
            true => zeros(&["momentum", "velocity", "velocity_hat"], parameter),
            false => zeros(&["momentum", "velocity"], parameter),
        }
    }

    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        adam_numbers(self, iteration)
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        adam(self, step, x, to)
    }
}

impl AdamW {
    fn adam(&self) -> Adam {
        let AdamW { beta_1, beta_2, epsilon, amsgrad, .. } = *self;
        let settings = super::Settings { convention: self.settings.convention, ..super::Settings::default() };
        Adam { beta_1, beta_2, epsilon, amsgrad, settings }
    }
}

impl Rule for AdamW {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("beta_1", self.beta_1, Range::Share),
            ("beta_2", self.beta_2, Range::Share),
            ("epsilon", self.epsilon, Range::NotNegative),
        ]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        Rule::slots(&self.adam(), parameter)
    }

    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        adam_numbers(&self.adam(), iteration)
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        adam(&self.adam(), step, x, to)
    }
}

impl Nadam {
    /// The momentum of step `t`: it rises from half of `beta_1`.
    fn momentum(&self, t: f64) -> f64 {
        let pace = if self.settings.convention == Convention::PyTorch { 0.004 } else { 1.0 };
        self.beta_1 * (1.0 - 0.5 * 0.96f64.powf(t * pace))
    }
}

impl Rule for Nadam {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("beta_1", self.beta_1, Range::Share),
            ("beta_2", self.beta_2, Range::Share),
            ("epsilon", self.epsilon, Range::NotNegative),
        ]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum", "velocity"], parameter)
    }

    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        let Iteration { number, rate, product } = *iteration;
        let (now, next) = (self.momentum(number), self.momentum(number + 1.0));
        let mean = rate * next / (1.0 - product * next);
        let gradient = rate * (1.0 - now) / (1.0 - product);
        vec![mean, gradient, 1.0 / (1.0 - self.beta_2.powf(number))]
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        let Nadam { beta_1, beta_2, epsilon, .. } = *self;
        step.add_squaring(NadamStep { beta_1, beta_2, epsilon }, x, &step.numbers, to)
    }

    fn product(&self, t: f64, before: f64) -> f64 {
        match self.settings.convention {
            Convention::Keras => before * self.momentum(t),
            // PyTorch keeps this number in single precision, whatever the parameters' type.
            Convention::PyTorch => f64::from(before as f32 * self.momentum(t) as f32),
        }
    }
}

impl Rule for Adamax {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("beta_1", self.beta_1, Range::Share),
            ("beta_2", self.beta_2, Range::Share),
            ("epsilon", self.epsilon, Range::NotNegative),
        ]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum", "norm"], parameter)
    }

    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        vec![iteration.rate / (1.0 - self.beta_1.powf(iteration.number))]
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        let Adamax { beta_1, beta_2, epsilon, .. } = *self;
        // What Keras has outside, PyTorch has beside the gradient.
        let (outside, inside) = self.settings.convention.places(epsilon);
        step.add_held(AdamaxStep { beta_1, beta_2, inside, outside }, x, &step.numbers, to)
    }
}

impl Rule for RAdam {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("beta_1", self.beta_1, Range::Share),
            ("beta_2", self.beta_2, Range::Share),
            ("epsilon", self.epsilon, Range::NotNegative),
        ]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum", "velocity"], parameter)
    }

    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        let RAdam { beta_1, beta_2, .. } = *self;
        let t = iteration.number;
        let power = beta_2.powf(t);
        let full = 2.0 / (1.0 - beta_2) - 1.0;
        let length = full - 2.0 * t * power / (1.0 - power);
        let adaptive = if length > 5.0 {
            let ratio = (length - 4.0) * (length - 2.0) * full / ((full - 4.0) * (full - 2.0) * length);
            (ratio * (1.0 - power)).sqrt()
        } else {
            0.0
        };
        vec![iteration.rate / (1.0 - beta_1.powf(t)), adaptive]
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        let RAdam { beta_1, beta_2, epsilon, .. } = *self;
        step.add_squaring(RAdamStep { beta_1, beta_2, epsilon }, x, &step.numbers, to)
    }
}

impl Rule for Adagrad {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![
            ("initial_accumulator_value", self.initial_accumulator_value, Range::NotNegative),
            ("epsilon", self.epsilon, Range::NotNegative),
        ]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        filled(&["accumulator"], parameter, self.initial_accumulator_value)
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        let (inside, outside) = self.settings.convention.places(self.epsilon);
        step.add_squaring(AdagradStep { inside, outside }, x, &step.numbers, to)
    }
}

impl Rule for Adadelta {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![("rho", self.rho, Range::Share), ("epsilon", self.epsilon, Range::NotNegative)]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["accumulated_gradient", "accumulated_delta"], parameter)
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        step.add_squaring(AdadeltaStep { rho: self.rho, epsilon: self.epsilon }, x, &step.numbers, to)
    }
}

impl Rule for Lion {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        vec![("beta_1", self.beta_1, Range::Fraction), ("beta_2", self.beta_2, Range::Fraction)]
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum"], parameter)
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        step.add(LionStep { beta_1: self.beta_1, beta_2: self.beta_2 }, x, &step.numbers, to)
    }
}

impl Rule for Ftrl {
    fn ranges(&self) -> Vec<(&'static str, f64, Range)> {
        let mut ranges = vec![
            ("learning_rate_power", self.learning_rate_power, Range::NotPositive),
            ("initial_accumulator_value", self.initial_accumulator_value, Range::NotNegative),
            ("l1_regularization_strength", self.l1_regularization_strength, Range::NotNegative),
            ("l2_regularization_strength", self.l2_regularization_strength, Range::NotNegative),
            ("l2_shrinkage_regularization_strength", self.l2_shrinkage_regularization_strength, Range::NotNegative),
            ("beta", self.beta, Range::NotNegative),
        ];
        // The rate divides.
        if let LearningRate::Constant(rate) = self.settings.learning_rate {
            ranges.push(("learning_rate", rate, Range::Positive));
        }
        ranges
    }

    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        let mut slots = filled(&["accumulator"], parameter, self.initial_accumulator_value);
        slots.extend(zeros(&["linear"], parameter));
        slots
    }

    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        vec![iteration.rate, self.l2_regularization_strength + self.beta / (2.0 * iteration.rate)]
    }

    fn add(&self, step: &Step, x: Vec<Tensor>, to: &mut Abreast) -> Result<()> {
        let f = FtrlStep {
            power: self.learning_rate_power,
            l1: self.l1_regularization_strength,
            shrinkage: self.l2_shrinkage_regularization_strength,
            most: if x[0].dtype() == DType::F64 { f64::MAX } else { f64::from(f32::MAX) },
        };
        step.add_squaring(f, x, &step.numbers, to)
    }
}
