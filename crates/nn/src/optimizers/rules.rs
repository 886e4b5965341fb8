//! The rules that look at each element alone: one function each, so that an update is one pass over memory.

use super::Convention;
use super::rule::{Rule, Step, filled, zeros};
use super::settings::optimizers;
use crate::Result;
use kiln_autograd::ops::Function;
use kiln_autograd::{Scalar, Spec, Tensor};

optimizers! {
    /// Stochastic gradient descent: `p -= rate · g`; with momentum, `m = momentum · m - rate · g; p += m`.
    ///
    /// Convention PyTorch keeps the rate out of the velocity, `m = momentum · m + (1 - dampening) · g; p -= rate · m`, which
    /// differs when the rate changes.
    Sgd(rate 0.01) {
        /// How much of the last velocity stays.
        momentum: f64 = 0.0,
        /// Whether the gradient is taken as if the velocity had been applied already (Nesterov 1983).
        nesterov: bool = false,
        /// How much less of the gradient enters the velocity after the first step; for convention PyTorch.
        dampening: f64 = 0.0,
    }
    /// The gradient over the root of its mean square (Hinton 2012). Epsilon is inside the root; convention PyTorch: outside.
    RmsProp(rate 0.001) {
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

/// Defines the functions of `[parameter, gradient, slots…]` with their scalars.
macro_rules! functions {
    ($($name:ident<$in:literal, $out:literal> $label:literal { $($field:ident),* } |$self_:ident, $x:pat_param| $body:expr;)*) => {$(
        #[derive(Debug, Clone, Copy, PartialEq)]
        struct $name { $($field: f64),* }

        impl Function<$in, $out> for $name {
            const NAME: &'static str = $label;
            #[inline(always)]
            fn call<S: Scalar>(&$self_, $x: [S; $in]) -> [S; $out] {
                $body
            }
        }
    )*};
}

/// The number in the reading of `x`.
macro_rules! lit {
    ($value:expr) => {
        S::lit($value)
    };
}

functions! {
    Descend<2, 1> "sgd" { rate } |self, [p, g]| [p - lit!(self.rate) * g];
    Velocity<3, 2> "sgd" { momentum, into, out, look, ahead } |self, [p, g, m]| {
        // Keras: into = -rate, out = 1. PyTorch: into = 1 - dampening, out = -rate. Nesterov looks one step ahead.
        let m = lit!(self.momentum) * m + lit!(self.into) * g.clone();
        let step = lit!(self.look) * m.clone() + lit!(self.ahead) * g;
        [p + lit!(self.out) * step, m]
    };
    AdamStep<4, 3> "adam" { beta_1, beta_2, rate, epsilon } |self, [p, g, m, v]| {
        let m = m.clone() + (g.clone() - m) * lit!(1.0 - self.beta_1);
        let v = v.clone() + (g.clone() * g - v) * lit!(1.0 - self.beta_2);
        let step = lit!(self.rate) * m.clone() / (v.clone().sqrt() + lit!(self.epsilon));
        [p - step, m, v]
    };
    AmsGradStep<5, 4> "adam" { beta_1, beta_2, rate, epsilon } |self, [p, g, m, v, top]| {
        let m = m.clone() + (g.clone() - m) * lit!(1.0 - self.beta_1);
        let v = v.clone() + (g.clone() * g - v) * lit!(1.0 - self.beta_2);
        let top = top.max(v.clone());
        let step = lit!(self.rate) * m.clone() / (top.clone().sqrt() + lit!(self.epsilon));
        [p - step, m, v, top]
    };
    NadamStep<4, 3> "nadam" { beta_1, beta_2, mean, gradient, correction, epsilon } |self, [p, g, m, v]| {
        let m = m.clone() + (g.clone() - m) * lit!(1.0 - self.beta_1);
        let v = v.clone() + (g.clone() * g.clone() - v) * lit!(1.0 - self.beta_2);
        let ahead = lit!(self.mean) * m.clone() + lit!(self.gradient) * g;
        [p - ahead / ((v.clone() * lit!(self.correction)).sqrt() + lit!(self.epsilon)), m, v]
    };
    AdamaxStep<4, 3> "adamax" { beta_1, beta_2, rate, inside, outside } |self, [p, g, m, u]| {
        let m = m.clone() + (g.clone() - m) * lit!(1.0 - self.beta_1);
        let u = (lit!(self.beta_2) * u).max(g.abs() + lit!(self.inside));
        [p - lit!(self.rate) * m.clone() / (u.clone() + lit!(self.outside)), m, u]
    };
    RAdamStep<4, 3> "radam" { beta_1, beta_2, rate, adaptive, epsilon } |self, [p, g, m, v]| {
        let m = m.clone() + (g.clone() - m) * lit!(1.0 - self.beta_1);
        let v = v.clone() + (g.clone() * g - v) * lit!(1.0 - self.beta_2);
        // `adaptive` is 0 while the mean square cannot be trusted.
        let step = lit!(self.rate) * m.clone();
        let scaled = step.clone() * lit!(self.adaptive) / (v.clone().sqrt() + lit!(self.epsilon));
        [p - S::select(lit!(0.0).lt(lit!(self.adaptive)), scaled, step), m, v]
    };
    AdagradStep<3, 2> "adagrad" { rate, inside, outside } |self, [p, g, a]| {
        let a = a + g.clone() * g.clone();
        [p - lit!(self.rate) * g / ((a.clone() + lit!(self.inside)).sqrt() + lit!(self.outside)), a]
    };
    AdadeltaStep<4, 3> "adadelta" { rate, rho, epsilon } |self, [p, g, a, d]| {
        let a = lit!(self.rho) * a + lit!(1.0 - self.rho) * g.clone() * g.clone();
        let root = |x: S| (x + lit!(self.epsilon)).sqrt();
        let step = root(d.clone()) / root(a.clone()) * g;
        let d = lit!(self.rho) * d + lit!(1.0 - self.rho) * step.clone() * step.clone();
        [p - lit!(self.rate) * step, a, d]
    };
    LionStep<3, 2> "lion" { rate, beta_1, beta_2 } |self, [p, g, m]| {
        let blend = |beta: f64| lit!(beta) * m.clone() + lit!(1.0 - beta) * g.clone();
        [p - lit!(self.rate) * blend(self.beta_1).sign(), blend(self.beta_2)]
    };
    FtrlStep<4, 3> "ftrl" { rate, power, l1, l2, shrinkage } |self, [p, g, a, linear]| {
        let sum = a.clone() + g.clone() * g.clone();
        let root = |x: S| if self.power == -0.5 { x.sqrt() } else { x.pow(lit!(-self.power)) };
        let shrunk = g + lit!(2.0 * self.shrinkage) * p.clone();
        let linear = linear + shrunk - (root(sum.clone()) - root(a)) / lit!(self.rate) * p;
        let quadratic = root(sum.clone()) / lit!(self.rate) + lit!(2.0 * self.l2);
        let clipped = linear.clone().max(lit!(-self.l1)).min(lit!(self.l1));
        [(clipped - linear.clone()) / quadratic, sum, linear]
    };
}

/// RMSprop keeps two to four tensors: `[parameter, (gradient,) mean square, mean?, velocity?]`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct RmsStep {
    rate: f64,
    rho: f64,
    momentum: f64,
    inside: f64,
    outside: f64,
    centered: bool,
}

impl<const IN: usize, const OUT: usize> Function<IN, OUT> for RmsStep {
    const NAME: &'static str = "rmsprop";
    #[inline(always)]
    fn call<S: Scalar>(&self, x: [S; IN]) -> [S; OUT] {
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
        let mut step = lit!(self.rate) * g / ((power + lit!(self.inside)).sqrt() + lit!(self.outside));
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

impl Rule for Sgd {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        if self.momentum == 0.0 { Vec::new() } else { zeros(&["momentum"], parameter) }
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let (rate, momentum) = (step.rate, self.momentum);
        if momentum == 0.0 {
            return step.apply(Descend { rate }, x);
        }
        let first = if step.t == 1.0 { 0.0 } else { self.dampening };
        let (into, out, own) = match self.settings.convention {
            Convention::Keras => (-rate, 1.0, -rate),
            Convention::PyTorch => (1.0 - first, -rate, 1.0),
        };
        let (look, ahead) = if self.nesterov { (momentum, own) } else { (1.0, 0.0) };
        step.apply(Velocity { momentum, into, out, look, ahead }, x)
    }
}

impl Rule for RmsProp {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        match (self.centered, self.momentum > 0.0) {
            (false, false) => zeros(&["velocity"], parameter),
            (true, false) => zeros(&["velocity", "average_gradient"], parameter),
            (false, true) => zeros(&["velocity", "momentum"], parameter),
            (true, true) => zeros(&["velocity", "average_gradient", "momentum"], parameter),
        }
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let RmsProp { rho, momentum, centered, epsilon, .. } = *self;
        let (inside, outside) = self.settings.convention.places(epsilon);
        let f = RmsStep { rate: step.rate, rho, momentum, inside, outside, centered };
        match x.len() {
            3 => step.apply::<_, 3, 2>(f, x),
            4 => step.apply::<_, 4, 3>(f, x),
            _ => step.apply::<_, 5, 4>(f, x),
        }
    }
}

/// Adam's step from its settings, with the corrections folded into the rate and, for PyTorch, into epsilon.
fn adam(a: &Adam, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let Adam { beta_1, beta_2, epsilon, amsgrad, .. } = *a;
    let root = (1.0 - beta_2.powf(step.t)).sqrt();
    let rate = step.rate * root / (1.0 - beta_1.powf(step.t));
    let epsilon = if a.settings.convention == Convention::PyTorch { epsilon * root } else { epsilon };
    match amsgrad {
        true => step.apply(AmsGradStep { beta_1, beta_2, rate, epsilon }, x),
        false => step.apply(AdamStep { beta_1, beta_2, rate, epsilon }, x),
    }
}

impl Rule for Adam {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        match self.amsgrad {
            true => zeros(&["momentum", "velocity", "velocity_hat"], parameter),
            false => zeros(&["momentum", "velocity"], parameter),
        }
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        adam(self, step, x)
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
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        Rule::slots(&self.adam(), parameter)
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        adam(&self.adam(), step, x)
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
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum", "velocity"], parameter)
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let Nadam { beta_1, beta_2, epsilon, .. } = *self;
        let (now, next) = (self.momentum(step.t), self.momentum(step.t + 1.0));
        let mean = step.rate * next / (1.0 - step.product * next);
        let gradient = step.rate * (1.0 - now) / (1.0 - step.product);
        let correction = 1.0 / (1.0 - beta_2.powf(step.t));
        step.apply(NadamStep { beta_1, beta_2, mean, gradient, correction, epsilon }, x)
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
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum", "norm"], parameter)
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let Adamax { beta_1, beta_2, epsilon, .. } = *self;
        // What Keras has outside, PyTorch has beside the gradient.
        let (outside, inside) = self.settings.convention.places(epsilon);
        let rate = step.rate / (1.0 - beta_1.powf(step.t));
        step.apply(AdamaxStep { beta_1, beta_2, rate, inside, outside }, x)
    }
}

impl Rule for RAdam {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum", "velocity"], parameter)
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let RAdam { beta_1, beta_2, epsilon, .. } = *self;
        let power = beta_2.powf(step.t);
        let full = 2.0 / (1.0 - beta_2) - 1.0;
        let length = full - 2.0 * step.t * power / (1.0 - power);
        let adaptive = if length > 5.0 {
            let ratio = (length - 4.0) * (length - 2.0) * full / ((full - 4.0) * (full - 2.0) * length);
            (ratio * (1.0 - power)).sqrt()
        } else {
            0.0
        };
        let rate = step.rate / (1.0 - beta_1.powf(step.t));
        step.apply(RAdamStep { beta_1, beta_2, rate, adaptive, epsilon }, x)
    }
}

impl Rule for Adagrad {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        filled(&["accumulator"], parameter, self.initial_accumulator_value)
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let (inside, outside) = self.settings.convention.places(self.epsilon);
        step.apply(AdagradStep { rate: step.rate, inside, outside }, x)
    }
}

impl Rule for Adadelta {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["accumulated_gradient", "accumulated_delta"], parameter)
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        step.apply(AdadeltaStep { rate: step.rate, rho: self.rho, epsilon: self.epsilon }, x)
    }
}

impl Rule for Lion {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        zeros(&["momentum"], parameter)
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        step.apply(LionStep { rate: step.rate, beta_1: self.beta_1, beta_2: self.beta_2 }, x)
    }
}

impl Rule for Ftrl {
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        let mut slots = filled(&["accumulator"], parameter, self.initial_accumulator_value);
        slots.extend(zeros(&["linear"], parameter));
        slots
    }

    fn update(&self, step: &Step, x: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let f = FtrlStep {
            rate: step.rate,
            power: self.learning_rate_power,
            l1: self.l1_regularization_strength,
            l2: self.l2_regularization_strength + self.beta / (2.0 * step.rate),
            shrinkage: self.l2_shrinkage_regularization_strength,
        };
        step.apply(f, x)
    }
}
