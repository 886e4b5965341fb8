//! Learning rates as functions of the step. Knows nothing of epochs or metrics: a plateau is the business of a callback.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Defines schedules: a struct of required and optional settings each, and the enum of all.
macro_rules! schedules {
    ($($(#[$doc:meta])* $name:ident (
        $($(#[$required_doc:meta])* $required:ident: $required_type:ty),* $(,)?
    ) { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr),* $(,)? })*) => {
        /// A learning rate that is a function of the step, counted from 0.
        ///
        /// ```
        /// use kiln_nn::schedules::{ExponentialDecay, Schedule};
        /// let schedule = Schedule::from(ExponentialDecay::new(0.1, 10, 0.5).staircase(true));
        /// assert_eq!([schedule.rate(0), schedule.rate(9), schedule.rate(20)], [0.1, 0.1, 0.025]);
        /// ```
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name", content = "config")]
        pub enum Schedule {
            $($(#[$doc])* $name($name),)*
        }

        impl Schedule {
            /// The rate at a step. One that grows beyond all numbers stays at the largest.
            pub fn rate(&self, step: u64) -> f64 {
                let rate = match self { $(Schedule::$name(schedule) => schedule.rate(step as f64),)* };
                if rate == f64::INFINITY { f64::MAX } else { rate }
            }

            /// Checks the settings.
            ///
            /// # Errors
            /// A setting that describes no schedule, such as a decay over 0 steps.
            pub fn check(&self) -> Result<()> {
                match self { $(Schedule::$name(schedule) => schedule.check(stringify!($name)),)* }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[serde(default, deny_unknown_fields)]
            #[must_use]
            pub struct $name {
                $($(#[$required_doc])* pub $required: $required_type,)*
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl Default for $name {
                /// The optional settings' defaults; the required ones are empty, which [`Schedule::check`] refuses.
                fn default() -> $name {
                    $name { $($required: Default::default(),)* $($field: $default,)* }
                }
            }

            impl $name {
                /// The schedule with the settings that have no default.
                pub fn new($($required: $required_type),*) -> $name {
                    $name { $($required,)* $($field: $default,)* }
                }

                $($(#[$field_doc])*
                pub fn $field(mut self, $field: $type) -> $name {
                    self.$field = $field;
                    self
                })*
            }

            impl From<$name> for Schedule {
                fn from(schedule: $name) -> Schedule {
                    Schedule::$name(schedule)
                }
            }
        )*
    };
}

schedules! {
    /// `initial · rate^(step / steps)`.
    ExponentialDecay(
        /// The rate at step 0.
        initial_learning_rate: f64,
        /// Steps for one factor.
        decay_steps: u32,
        /// The factor.
        decay_rate: f64,
    ) {
        /// Whether the rate falls in steps.
        staircase: bool = false,
    }
    /// `initial / (1 + rate · step / steps)`.
    InverseTimeDecay(
        /// The rate at step 0.
        initial_learning_rate: f64,
        /// Steps for one unit of `decay_rate`.
        decay_steps: u32,
        /// How fast it falls.
        decay_rate: f64,
    ) {
        /// Whether the rate falls in steps.
        staircase: bool = false,
    }
    /// `values[i]` up to and including step `boundaries[i]`, the last value after.
    PiecewiseConstantDecay(
        /// The last steps of all values but the last.
        boundaries: Vec<u64>,
        /// The rates: one more than boundaries.
        values: Vec<f64>,
    ) {}
    /// `(initial - end) · (1 - step / steps)^power + end`.
    PolynomialDecay(
        /// The rate at step 0.
        initial_learning_rate: f64,
        /// Steps until the end.
        decay_steps: u32,
    ) {
        /// The rate at the end.
        end_learning_rate: f64 = 1e-4,
        /// 1 is a straight line.
        power: f64 = 1.0,
        /// Whether it starts anew, over as many steps again, when the end is reached.
        cycle: bool = false,
    }
    /// Half a cosine from the peak to `alpha` times the peak, after a linear warm-up if there is one.
    CosineDecay(
        /// The rate at step 0.
        initial_learning_rate: f64,
        /// Steps of the decay, without the warm-up.
        decay_steps: u32,
    ) {
        /// The rate at the end, as a fraction of the peak.
        alpha: f64 = 0.0,
        /// The peak, after the warm-up.
        warmup_target: Option<f64> = None,
        /// Steps of the warm-up.
        warmup_steps: u32 = 0,
    }
    /// Half cosines, each `t_mul` times as long and `m_mul` times as high as the one before (Loshchilov and Hutter 2017).
    CosineDecayRestarts(
        /// The rate at step 0.
        initial_learning_rate: f64,
        /// Steps of the first.
        first_decay_steps: u32,
    ) {
        /// The growth of their lengths.
        t_mul: f64 = 2.0,
        /// The growth of their heights.
        m_mul: f64 = 1.0,
        /// The rate at the end of each, as a fraction of the initial one.
        alpha: f64 = 0.0,
    }
    /// `initial · gamma^(step / size)`, rounded down: PyTorch's `StepLR`.
    StepDecay(
        /// The rate at step 0.
        initial_learning_rate: f64,
        /// Steps between falls.
        step_size: u32,
    ) {
        /// The factor of a fall.
        gamma: f64 = 0.1,
    }
    /// One factor at each milestone: PyTorch's `MultiStepLR`.
    MultiStepDecay(
        /// The rate at step 0.
        initial_learning_rate: f64,
        /// The steps from which on the rate is lower.
        milestones: Vec<u64>,
    ) {
        /// The factor of a fall.
        gamma: f64 = 0.1,
    }
    /// A cosine between two rates: PyTorch's `CosineAnnealingLR`, which rises again after `period` steps.
    CosineAnnealing(
        /// The rate at step 0.
        initial_learning_rate: f64,
        /// Steps from the one to the other.
        period: u32,
    ) {
        /// The lower rate.
        minimum: f64 = 0.0,
    }
    /// Half cosines, each `growth` times as long as the one before: PyTorch's `CosineAnnealingWarmRestarts`.
    CosineWarmRestarts(
        /// The rate at step 0 and at each restart.
        initial_learning_rate: f64,
        /// Steps of the first.
        period: u32,
    ) {
        /// The growth of their lengths.
        growth: u32 = 1,
        /// The lower rate.
        minimum: f64 = 0.0,
    }
    /// A straight line between two factors of the rate: a warm-up. PyTorch's `LinearLR`.
    Linear(
        /// The rate that the factors multiply.
        initial_learning_rate: f64,
    ) {
        /// The factor at step 0.
        start_factor: f64 = 1.0 / 3.0,
        /// The factor from the last step on.
        end_factor: f64 = 1.0,
        /// Steps of the line.
        total_steps: u32 = 5,
    }
    /// A factor of the rate for the first steps: PyTorch's `ConstantLR`.
    Constant(
        /// The rate after.
        initial_learning_rate: f64,
    ) {
        /// The factor.
        factor: f64 = 1.0 / 3.0,
        /// Steps that it holds for.
        total_steps: u32 = 5,
    }
    /// Up to a peak and down to almost nothing (Smith and Topin 2018): PyTorch's `OneCycleLR`.
    OneCycle(
        /// The peak.
        max_learning_rate: f64,
        /// Steps of the whole.
        total_steps: u32,
    ) {
        /// The part of the steps that the rise takes.
        pct_start: f64 = 0.3,
        /// The peak over the first rate.
        div_factor: f64 = 25.0,
        /// The first rate over the last.
        final_div_factor: f64 = 1e4,
        /// Whether it first falls as it rose, and then to the last rate.
        three_phase: bool = false,
        /// Whether the pieces are straight, not cosines.
        linear: bool = false,
    }
    /// Up and down in straight lines again and again (Smith 2017): PyTorch's `CyclicLR`.
    Cyclic(
        /// The lower rate.
        base_learning_rate: f64,
        /// The upper rate.
        max_learning_rate: f64,
    ) {
        /// Steps of a rise.
        step_size_up: u32 = 2000,
        /// Steps of a fall; as many as a rise unless given.
        step_size_down: Option<u32> = None,
        /// The factor of the height from one cycle to the next.
        cycle_decay: f64 = 1.0,
        /// The factor of the height from one step to the next.
        gamma: f64 = 1.0,
    }
    /// One schedule after another; each counts its steps from 0.
    SequentialSchedule(
        /// The schedules.
        schedules: Vec<Schedule>,
        /// The first steps of all but the first.
        milestones: Vec<u64>,
    ) {}
}

/// The error of a setting that describes no schedule, unless `holds`.
fn require(holds: bool, name: &str, what: &str, help: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::config(format!("{name}: {what}"), help)) }
}

fn require_steps(steps: u32, name: &str, setting: &str) -> Result<()> {
    require(steps > 0, name, &format!("{setting} is 0"), "give the number of steps, at least 1")
}

/// Checks rates and factors: finite numbers from 0.
fn require_positive(name: &str, settings: &[(&str, f64)]) -> Result<()> {
    settings.iter().try_for_each(|(setting, value)| {
        let help = "give a finite number from 0";
        require(value.is_finite() && *value >= 0.0, name, &format!("{setting} is {value}"), help)
    })
}

/// Checks a part of a whole.
fn require_fraction(name: &str, setting: &str, value: f64) -> Result<()> {
    let help = "give a fraction from 0 to 1";
    require((0.0..=1.0).contains(&value), name, &format!("{setting} is {value}"), help)
}

/// A number of decay periods, whole ones where the rate falls in steps.
fn periods(step: f64, steps: u32, staircase: bool) -> f64 {
    let periods = step / f64::from(steps);
    if staircase { periods.floor() } else { periods }
}

/// `factor^exponent`, but never infinite: 0 times it is 0.
fn power(factor: f64, exponent: f64) -> f64 {
    factor.powf(exponent).min(f64::MAX)
}

/// The number of the cycle that a step is in, its first step and its length, where the first has `first` steps and each is
/// `growth` times as long as the one before, at least 1.
fn cycle(step: f64, first: f64, growth: f64) -> [f64; 3] {
    if growth == 1.0 {
        let number = (step / first).floor();
        return [number, number * first, first];
    }
    // Exact where the growth is a whole number.
    let power = |n: f64| if growth.fract() == 0.0 { growth.powi(n as i32) } else { growth.powf(n) };
    let start = |n: f64| first * ((power(n) - 1.0) / (growth - 1.0));
    let mut number = ((1.0 + step / first * (growth - 1.0)).ln() / growth.ln()).floor();
    // A logarithm is rounded, and a cycle begins at its first step, not after.
    if start(number + 1.0) <= step {
        number += 1.0;
    } else if start(number) > step {
        number -= 1.0;
    }
    [number, start(number), first * power(number)]
}

/// From 1 at 0 to 0 at 1.
fn half_cosine(fraction: f64) -> f64 {
    0.5 * (1.0 + (PI * fraction).cos())
}

impl ExponentialDecay {
    fn rate(&self, step: f64) -> f64 {
        self.initial_learning_rate * power(self.decay_rate, periods(step, self.decay_steps, self.staircase))
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(
            name,
            &[("initial_learning_rate", self.initial_learning_rate), ("decay_rate", self.decay_rate)],
        )?;
        require_steps(self.decay_steps, name, "decay_steps")
    }
}

impl InverseTimeDecay {
    fn rate(&self, step: f64) -> f64 {
        self.initial_learning_rate / (1.0 + self.decay_rate * periods(step, self.decay_steps, self.staircase))
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(
            name,
            &[("initial_learning_rate", self.initial_learning_rate), ("decay_rate", self.decay_rate)],
        )?;
        require_steps(self.decay_steps, name, "decay_steps")
    }
}

impl PiecewiseConstantDecay {
    fn rate(&self, step: f64) -> f64 {
        let piece = self.boundaries.iter().take_while(|&&boundary| step > boundary as f64).count();
        self.values.get(piece).or(self.values.last()).copied().unwrap_or(0.0)
    }
    fn check(&self, name: &str) -> Result<()> {
        self.values.iter().try_for_each(|&value| require_positive(name, &[("a value", value)]))?;
        let text = format!("{} boundaries and {} values", self.boundaries.len(), self.values.len());
        require(self.values.len() == self.boundaries.len() + 1, name, &text, "give one value more than boundaries")?;
        require(
            self.boundaries.is_sorted(),
            name,
            "the boundaries are not in order",
            "sort them from the first step to the last",
        )
    }
}

impl PolynomialDecay {
    fn rate(&self, step: f64) -> f64 {
        let mut steps = f64::from(self.decay_steps);
        let step = if self.cycle {
            steps *= (step / steps).ceil().max(1.0);
            step
        } else {
            step.min(steps)
        };
        (self.initial_learning_rate - self.end_learning_rate) * (1.0 - step / steps).max(0.0).powf(self.power)
            + self.end_learning_rate
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(
            name,
            &[
                ("initial_learning_rate", self.initial_learning_rate),
                ("end_learning_rate", self.end_learning_rate),
                ("power", self.power),
            ],
        )?;
        require_steps(self.decay_steps, name, "decay_steps")
    }
}

impl CosineDecay {
    fn rate(&self, step: f64) -> f64 {
        let (initial, warmup) = (self.initial_learning_rate, f64::from(self.warmup_steps));
        let decayed = |peak: f64, step: f64| {
            let steps = f64::from(self.decay_steps);
            peak * ((1.0 - self.alpha) * half_cosine(step.min(steps) / steps) + self.alpha)
        };
        match self.warmup_target {
            None => decayed(initial, step),
            Some(peak) if step < warmup => initial + (peak - initial) * step / warmup,
            Some(peak) => decayed(peak, step - warmup),
        }
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(name, &[("initial_learning_rate", self.initial_learning_rate)])?;
        require_positive(name, &[("warmup_target", self.warmup_target.unwrap_or(0.0))])?;
        require_fraction(name, "alpha", self.alpha)?;
        require_steps(self.decay_steps, name, "decay_steps")
    }
}

impl CosineDecayRestarts {
    fn rate(&self, step: f64) -> f64 {
        let [restart, start, length] = cycle(step, f64::from(self.first_decay_steps), self.t_mul);
        let height = power(self.m_mul, restart) * half_cosine((step - start) / length);
        self.initial_learning_rate * ((1.0 - self.alpha) * height + self.alpha)
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(
            name,
            &[("initial_learning_rate", self.initial_learning_rate), ("t_mul", self.t_mul), ("m_mul", self.m_mul)],
        )?;
        require_fraction(name, "alpha", self.alpha)?;
        require_steps(self.first_decay_steps, name, "first_decay_steps")?;
        require(
            self.t_mul >= 1.0,
            name,
            &format!("t_mul is {}", self.t_mul),
            "give 1 or more: the cosines must not become shorter",
        )
    }
}

impl StepDecay {
    fn rate(&self, step: f64) -> f64 {
        self.initial_learning_rate * power(self.gamma, periods(step, self.step_size, true))
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(name, &[("initial_learning_rate", self.initial_learning_rate), ("gamma", self.gamma)])?;
        require_steps(self.step_size, name, "step_size")
    }
}

impl MultiStepDecay {
    fn rate(&self, step: f64) -> f64 {
        let falls = self.milestones.iter().filter(|&&milestone| step >= milestone as f64).count();
        self.initial_learning_rate * self.gamma.powi(falls as i32).min(f64::MAX)
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(name, &[("initial_learning_rate", self.initial_learning_rate), ("gamma", self.gamma)])?;
        require(!self.milestones.is_empty(), name, "there is no milestone", "give the steps at which the rate falls")
    }
}

impl CosineAnnealing {
    fn rate(&self, step: f64) -> f64 {
        self.minimum + (self.initial_learning_rate - self.minimum) * half_cosine(step / f64::from(self.period))
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(name, &[("initial_learning_rate", self.initial_learning_rate), ("minimum", self.minimum)])?;
        require_steps(self.period, name, "period")
    }
}

impl CosineWarmRestarts {
    fn rate(&self, step: f64) -> f64 {
        let [_, start, length] = cycle(step, f64::from(self.period), f64::from(self.growth));
        self.minimum + (self.initial_learning_rate - self.minimum) * half_cosine((step - start) / length)
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(name, &[("initial_learning_rate", self.initial_learning_rate), ("minimum", self.minimum)])?;
        require_steps(self.period, name, "period")?;
        require_steps(self.growth, name, "growth")
    }
}

impl Linear {
    fn rate(&self, step: f64) -> f64 {
        let fraction = step.min(f64::from(self.total_steps)) / f64::from(self.total_steps);
        self.initial_learning_rate * (self.start_factor + (self.end_factor - self.start_factor) * fraction)
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(
            name,
            &[
                ("initial_learning_rate", self.initial_learning_rate),
                ("start_factor", self.start_factor),
                ("end_factor", self.end_factor),
            ],
        )?;
        require_steps(self.total_steps, name, "total_steps")
    }
}

impl Constant {
    fn rate(&self, step: f64) -> f64 {
        self.initial_learning_rate * if step < f64::from(self.total_steps) { self.factor } else { 1.0 }
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(name, &[("initial_learning_rate", self.initial_learning_rate), ("factor", self.factor)])
    }
}

impl OneCycle {
    fn rate(&self, step: f64) -> f64 {
        let (total, peak) = (f64::from(self.total_steps), self.max_learning_rate);
        let first = peak / self.div_factor;
        let last = first / self.final_div_factor;
        let rise = self.pct_start * total - 1.0;
        let mut phases = vec![(0.0, rise, first, peak)];
        if self.three_phase {
            let fall = 2.0 * self.pct_start * total - 2.0;
            phases.extend([(rise, fall, peak, first), (fall, total - 1.0, first, last)]);
        } else {
            phases.push((rise, total - 1.0, peak, last));
        }
        let phase = phases.iter().find(|phase| step <= phase.1);
        let Some(&(start, end, from, to)) = phase else { return last };
        // A phase without steps is over at once.
        let fraction = if end > start { (step - start) / (end - start) } else { 1.0 };
        let left = if self.linear { 1.0 - fraction } else { half_cosine(fraction) };
        to + (from - to) * left
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(name, &[("max_learning_rate", self.max_learning_rate)])?;
        for (setting, value) in [("div_factor", self.div_factor), ("final_div_factor", self.final_div_factor)] {
            let text = format!("{setting} is {value}");
            require(value.is_finite() && value > 0.0, name, &text, "give a finite number above 0, such as 25")?;
        }
        require_steps(self.total_steps, name, "total_steps")?;
        require_fraction(name, "pct_start", self.pct_start)
    }
}

impl Cyclic {
    fn rate(&self, step: f64) -> f64 {
        let up = f64::from(self.step_size_up);
        let whole = up + f64::from(self.step_size_down.unwrap_or(self.step_size_up));
        let cycle = (step / whole).floor();
        let at = step - cycle * whole;
        let height = if at <= up { at / up } else { (whole - at) / (whole - up) };
        let scale = (power(self.cycle_decay, cycle) * power(self.gamma, step)).min(f64::MAX);
        self.base_learning_rate + (self.max_learning_rate - self.base_learning_rate) * height * scale
    }
    fn check(&self, name: &str) -> Result<()> {
        require_positive(
            name,
            &[
                ("base_learning_rate", self.base_learning_rate),
                ("max_learning_rate", self.max_learning_rate),
                ("cycle_decay", self.cycle_decay),
                ("gamma", self.gamma),
            ],
        )?;
        require_steps(self.step_size_up, name, "step_size_up")?;
        require_steps(self.step_size_down.unwrap_or(1), name, "step_size_down")
    }
}

impl SequentialSchedule {
    fn rate(&self, step: f64) -> f64 {
        let part = self.milestones.iter().take_while(|&&milestone| step >= milestone as f64).count();
        let start = part.checked_sub(1).map_or(0, |before| self.milestones[before]);
        let schedule = self.schedules.get(part).or(self.schedules.last());
        schedule.map_or(0.0, |schedule| schedule.rate(step as u64 - start))
    }
    fn check(&self, name: &str) -> Result<()> {
        let text = format!("{} schedules and {} milestones", self.schedules.len(), self.milestones.len());
        require(
            self.schedules.len() == self.milestones.len() + 1,
            name,
            &text,
            "give one schedule more than milestones",
        )?;
        require(
            self.milestones.is_sorted(),
            name,
            "the milestones are not in order",
            "sort them from the first step to the last",
        )?;
        self.schedules.iter().try_for_each(Schedule::check)
    }
}

#[cfg(test)]
mod tests;
