//! What all optimizers have in common: the rate, decay, clipping, averaging, accumulation.

use super::LossScale;
use crate::schedules::Schedule;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A learning rate: a number, or a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LearningRate {
    /// The same at every step.
    Constant(f64),
    /// A function of the step.
    Schedule(Schedule),
}

impl From<f64> for LearningRate {
    fn from(rate: f64) -> LearningRate {
        LearningRate::Constant(rate)
    }
}

impl<S: Into<Schedule>> From<S> for LearningRate {
    fn from(schedule: S) -> LearningRate {
        LearningRate::Schedule(schedule.into())
    }
}

/// Whose formula an optimizer follows where the two libraries differ: in the place of epsilon, in whether the rate is
/// part of a velocity, in Nadam's momentum schedule. Each optimizer's page says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Convention {
    /// Keras's.
    #[default]
    Keras,
    /// PyTorch's.
    PyTorch,
}

/// Parameters that are updated otherwise than the others. A parameter may be in several groups: their factors are multiplied, and
/// of their decays the last counts.
///
/// ```
/// use kiln_nn::optimizers::{AdamW, Group};
/// let groups = [Group::new("encoder/*").rate_factor(0.1), Group::new("*/bias").weight_decay(0.0)];
/// let optimizer = AdamW::new(1e-3).groups(groups);
/// # let _ = optimizer;
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The paths of its parameters, in which `*` stands for any characters: `encoder/*`, `*/bias`.
    pub pattern: String,
    /// What the learning rate is multiplied by.
    pub rate_factor: f64,
    /// The decay, where it is not that of the others; 0 for none.
    pub weight_decay: Option<f64>,
}

impl Group {
    /// The parameters whose paths match a pattern, updated as the others until it is told otherwise.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Group {
        Group { pattern: pattern.into(), rate_factor: 1.0, weight_decay: None }
    }

    /// Multiplies the learning rate.
    #[must_use]
    pub fn rate_factor(mut self, factor: f64) -> Group {
        self.rate_factor = factor;
        self
    }

    /// Another decay; 0 for none.
    #[must_use]
    pub fn weight_decay(mut self, decay: f64) -> Group {
        self.weight_decay = Some(decay);
        self
    }
}

/// How a parameter is updated otherwise: what its groups say together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Treatment {
    /// What the learning rate is multiplied by.
    pub(super) rate_factor: f64,
    /// The decay.
    pub(super) weight_decay: Option<f64>,
}

/// The settings that every optimizer has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The learning rate.
    pub learning_rate: LearningRate,
    /// Before each update, parameters shrink by this times the learning rate.
    pub weight_decay: Option<f64>,
    /// Adds the decay to the gradient instead (L2 regularisation, PyTorch's `weight_decay` except in AdamW).
    pub weight_decay_in_gradient: bool,
    /// Climbs instead of descending: the gradient counts with the other sign.
    pub maximize: bool,
    /// Parameters whose name contains one of these do not decay.
    pub exclude_from_weight_decay: Vec<String>,
    /// Parameters that are updated otherwise.
    pub groups: Vec<Group>,
    /// The largest norm of each gradient.
    pub clipnorm: Option<f64>,
    /// The largest size of each element of a gradient.
    pub clipvalue: Option<f64>,
    /// The largest norm of all gradients together.
    pub global_clipnorm: Option<f64>,
    /// Whether a moving average of the parameters is kept.
    pub use_ema: bool,
    /// How slowly the average moves.
    pub ema_momentum: f64,
    /// After every so many updates, the average replaces the parameters.
    pub ema_overwrite_frequency: Option<u64>,
    /// Averages the gradients of so many steps into one update.
    pub gradient_accumulation_steps: Option<u64>,
    /// What the loss is multiplied by before gradients are taken.
    pub loss_scale: Option<LossScale>,
    /// Whose formula counts where the libraries differ.
    pub convention: Convention,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            learning_rate: LearningRate::Constant(0.001),
            weight_decay: None,
            weight_decay_in_gradient: false,
            maximize: false,
            exclude_from_weight_decay: Vec::new(),
            groups: Vec::new(),
            clipnorm: None,
            clipvalue: None,
            global_clipnorm: None,
            use_ema: false,
            ema_momentum: 0.99,
            ema_overwrite_frequency: None,
            gradient_accumulation_steps: None,
            loss_scale: None,
            convention: Convention::Keras,
        }
    }
}

impl Settings {
    /// The groups that a parameter is in.
    pub(super) fn groups_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Group> {
        self.groups.iter().filter(move |group| crate::names::matches(&group.pattern, name))
    }

    /// How a parameter in no group is updated.
    pub(super) fn plain(&self) -> Treatment {
        Treatment { rate_factor: 1.0, weight_decay: self.weight_decay }
    }

    /// How a parameter is updated whose decay is `own` unless its groups have another.
    pub(super) fn treatment(&self, name: &str, own: Option<f64>) -> Treatment {
        let plain = Treatment { rate_factor: 1.0, weight_decay: own };
        self.groups_of(name).fold(plain, |treatment, group| Treatment {
            rate_factor: treatment.rate_factor * group.rate_factor,
            weight_decay: group.weight_decay.or(treatment.weight_decay),
        })
    }

    /// The names of the settings, to tell them from an optimizer's own.
    pub(super) fn names() -> Vec<String> {
        match serde_json::to_value(Settings::default()) {
            Ok(serde_json::Value::Object(map)) => map.into_iter().map(|(name, _)| name).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether a rate can be one.
    pub(super) fn check_rate(name: &str, rate: f64) -> Result<()> {
        match rate.is_finite() && rate >= 0.0 {
            true => Ok(()),
            false => {
                let what = format!("{name}: the learning rate is {rate}");
                Err(Error::config(what, "give a small positive number, such as 0.001"))
            }
        }
    }

    /// Checks the settings.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let wrong = |what: String, help: &str| Err(Error::config(format!("{name}: {what}"), help));
        match &self.learning_rate {
            LearningRate::Constant(rate) => Settings::check_rate(name, *rate)?,
            LearningRate::Schedule(schedule) => schedule.check()?,
        }
        let ways =
            [("clipnorm", self.clipnorm), ("clipvalue", self.clipvalue), ("global_clipnorm", self.global_clipnorm)];
        let given: Vec<(&str, f64)> = ways.into_iter().filter_map(|(way, clip)| Some((way, clip?))).collect();
        if given.len() > 1 {
            let names: Vec<&str> = given.iter().map(|(way, _)| *way).collect();
            return wrong(format!("gradients are clipped by {}", names.join(" and by ")), "give one of them");
        }
        if let Some((way, clip)) = given.iter().find(|(_, clip)| clip.is_nan() || *clip <= 0.0) {
            return wrong(format!("{way} is {clip}"), "give a positive number");
        }
        if !(0.0..=1.0).contains(&self.ema_momentum) {
            return wrong(
                format!("ema_momentum is {}", self.ema_momentum),
                "give a number between 0 and 1, such as 0.99",
            );
        }
        if self.ema_overwrite_frequency == Some(0) || self.gradient_accumulation_steps == Some(0) {
            return wrong("a number of steps is 0".into(), "give at least 1, or leave it out");
        }
        if let Some(scale) = self.loss_scale {
            scale.check(name)?;
        }
        for Group { pattern, rate_factor, weight_decay } in &self.groups {
            let fits = |value: f64| value.is_finite() && value >= 0.0;
            if !fits(*rate_factor) || !weight_decay.is_none_or(fits) {
                let what = match weight_decay {
                    Some(decay) if fits(*rate_factor) => format!("weight_decay {decay}"),
                    _ => format!("rate_factor {rate_factor}"),
                };
                return wrong(format!("the group `{pattern}` has the {what}"), "give a finite number from 0");
            }
        }
        if self.weight_decay.is_some_and(|decay| !decay.is_finite() || decay < 0.0) {
            return wrong(
                format!("weight_decay is {:?}", self.weight_decay.unwrap_or_default()),
                "give a number from 0, such as 0.004",
            );
        }
        Ok(())
    }
}

/// Defines optimizers: a struct with the fields given and the common settings, setters for all, and the plumbing of
/// [`UpdateRule`](super::UpdateRule); the rule itself is `impl Rule for $name`.
macro_rules! optimizers {
    ($($(#[$doc:meta])* $name:ident (rate $rate:expr $(, decay $decay:expr)?) {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr),* $(,)?
    })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[must_use]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// What it has in common with the others.
            #[serde(skip)]
            pub settings: $crate::optimizers::Settings,
        }

        impl Default for $name {
            fn default() -> $name {
                let settings = $crate::optimizers::Settings {
                    learning_rate: $crate::optimizers::LearningRate::Constant($rate),
                    $(weight_decay: Some($decay),)?
                    ..$crate::optimizers::Settings::default()
                };
                $name { $($field: $default,)* settings }
            }
        }

        impl $name {
            /// The optimizer with a learning rate, a number or a schedule, and Keras's defaults.
            pub fn new(learning_rate: impl Into<$crate::optimizers::LearningRate>) -> $name {
                let mut optimizer = $name::default();
                optimizer.settings.learning_rate = learning_rate.into();
                optimizer
            }

            $($(#[$field_doc])*
            pub fn $field(mut self, $field: $type) -> $name {
                self.$field = $field;
                self
            })*

            $crate::optimizers::settings::common_setters!();
        }

        impl $crate::optimizers::UpdateRule for $name {
            fn name(&self) -> &str {
                stringify!($name)
            }

            fn settings(&self) -> &$crate::optimizers::Settings {
                &self.settings
            }

            fn arguments(&self) -> serde_json::Value {
                serde_json::to_value(self).unwrap_or_default()
            }

            fn boxed(&self) -> Box<dyn $crate::optimizers::UpdateRule> {
                Box::new(self.clone())
            }

            fn slots(&self, parameter: kiln_autograd::Spec) -> Vec<(&'static str, kiln_autograd::Tensor)> {
                $crate::optimizers::rule::Rule::slots(self, parameter)
            }

            fn slots_of(&self, name: &str, parameter: kiln_autograd::Spec) -> Vec<(&'static str, kiln_autograd::Tensor)> {
                $crate::optimizers::rule::Rule::slots_of(self, name, parameter)
            }

            fn decay_of(&self, name: &str, parameter: kiln_autograd::Spec) -> Option<f64> {
                $crate::optimizers::rule::Rule::decay_of(self, name, parameter, self.settings.weight_decay)
            }

            fn decays(&self, _: $crate::optimizers::rule::Sealed) -> bool {
                $crate::optimizers::rule::Rule::decays(self)
            }

            fn numbers(&self, iteration: &$crate::optimizers::Iteration) -> Vec<f64> {
                $crate::optimizers::rule::Rule::numbers(self, iteration)
            }

            fn update(&self, step: &$crate::optimizers::Step, x: Vec<kiln_autograd::Tensor>) -> $crate::Result<Vec<kiln_autograd::Tensor>> {
                $crate::optimizers::rule::alone(|to| $crate::optimizers::rule::Rule::add(self, step, x, to))
            }

            fn add(
                &self,
                step: &$crate::optimizers::Step,
                x: Vec<kiln_autograd::Tensor>,
                to: &mut kiln_autograd::Abreast,
                _: $crate::optimizers::rule::Sealed,
            ) -> $crate::Result<()> {
                $crate::optimizers::rule::Rule::add(self, step, x, to)
            }

            fn is_in_place(&self, _: $crate::optimizers::rule::Sealed) -> bool {
                $crate::optimizers::rule::Rule::is_in_place(self)
            }

            fn check(&self) -> $crate::Result<()> {
                let ranges = $crate::optimizers::rule::Rule::ranges(self);
                ranges.into_iter().try_for_each(|(name, value, range)| {
                    $crate::range::Allow::check(&range, stringify!($name), name, &value)
                })
            }

            fn product(&self, t: f64, before: f64) -> f64 {
                $crate::optimizers::rule::Rule::product(self, t, before)
            }
        }
    )*};
}
pub(super) use optimizers;

/// The setters of the common settings.
macro_rules! common_setters {
    ($($(#[$doc:meta])* $name:ident($argument:ident: $type:ty) $value:expr;)+) => {
        $($(#[$doc])*
        pub fn $name(mut self, $argument: $type) -> Self {
            self.settings.$name = $value;
            self
        })+
    };
    () => {
        $crate::optimizers::settings::common_setters! {
            /// Before each update, parameters shrink by this times the learning rate.
            weight_decay(decay: f64) Some(decay);
            /// Whether the decay is added to the gradient instead (L2 regularisation).
            weight_decay_in_gradient(yes: bool) yes;
            /// Whether the loss is made large instead of small.
            maximize(yes: bool) yes;
            /// Parameters whose name contains one of these do not decay: `["bias", "gamma", "beta"]`.
            exclude_from_weight_decay(names: impl IntoIterator<Item = impl Into<String>>) names.into_iter().map(Into::into).collect();
            /// Updates some parameters otherwise than the others.
            groups(groups: impl IntoIterator<Item = $crate::optimizers::Group>) groups.into_iter().collect();
            /// The largest norm of each gradient.
            clipnorm(norm: f64) Some(norm);
            /// The largest size of each element of a gradient.
            clipvalue(size: f64) Some(size);
            /// The largest norm of all gradients together.
            global_clipnorm(norm: f64) Some(norm);
            /// Whether a moving average of the parameters is kept, which replaces them when training ends.
            use_ema(yes: bool) yes;
            /// How slowly the average moves.
            ema_momentum(momentum: f64) momentum;
            /// After every so many updates, the average replaces the parameters.
            ema_overwrite_frequency(updates: u64) Some(updates);
            /// Averages the gradients of so many steps into one update.
            gradient_accumulation_steps(steps: u64) Some(steps);
            /// Multiplies the loss before gradients are taken and divides them again, so that small ones are not lost in half
            /// precision.
            loss_scale(scale: $crate::optimizers::LossScale) Some(scale);
            /// Whose formula counts where Keras and PyTorch differ.
            convention(convention: $crate::optimizers::Convention) convention;
        }
    };
}
pub(super) use common_setters;
