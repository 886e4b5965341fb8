//! What every metric has besides its formula: a struct of settings and state, setters, a config.

/// Defines metrics. Each is a struct with the settings given, behind `=>` what they can be, a name and a state; the formula is
/// `impl Measure for $name`.
macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident $label:literal $direction:ident $state:ty {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr $(=> $allowed:expr)?),* $(,)?
    })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[must_use]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// The key in logs.
            pub name: String,
            #[serde(skip)]
            state: $state,
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default,)* name: $label.to_owned(), state: Default::default() }
            }
        }

        impl $name {
            /// The metric with Keras's defaults.
            pub fn new() -> $name {
                $name::default()
            }

            $($(#[$field_doc])*
            pub fn $field(mut self, $field: $type) -> $name {
                self.$field = $field;
                self
            })*
        }

        impl $crate::metrics::Metric for $name {
            fn name(&self) -> &str {
                &self.name
            }

            fn rename(&mut self, name: &str) {
                self.name = name.to_owned();
            }

            fn type_name(&self) -> &str {
                stringify!($name)
            }

            fn update(
                &mut self,
                y_true: &kiln_autograd::Tensor,
                y_pred: &kiln_autograd::Tensor,
                sample_weight: Option<&kiln_autograd::Tensor>,
            ) -> $crate::Result<()> {
                $crate::metrics::Metric::check(self)?;
                $crate::metrics::Measure::take_in(self, y_true, y_pred, sample_weight)
            }

            fn values(&self) -> Vec<f64> {
                $crate::metrics::Measure::report(self)
            }

            fn visit(
                &mut self,
                f: &mut dyn FnMut(&str, &mut kiln_autograd::Tensor) -> $crate::Result<()>,
            ) -> $crate::Result<()> {
                $crate::metrics::state::State::visit(&mut self.state, f)
            }

            fn reset(&mut self) {
                self.state = Default::default();
            }

            fn direction(&self) -> Option<$crate::metrics::Direction> {
                $crate::metrics::macros::direction!($direction)
            }

            fn check(&self) -> $crate::Result<()> {
                $($($crate::range::Allow::check(&$allowed, &self.name, stringify!($field), &self.$field)?;)?)*
                Ok(())
            }

            fn arguments(&self) -> serde_json::Value {
                serde_json::to_value(self).unwrap_or_default()
            }

            fn boxed(&self) -> Box<dyn $crate::metrics::Metric> {
                Box::new(self.clone())
            }
        }
    )*};
}
pub(super) use metrics;

macro_rules! direction {
    (Max) => {
        Some($crate::metrics::Direction::Max)
    };
    (Min) => {
        Some($crate::metrics::Direction::Min)
    };
    (None) => {
        None
    };
}
pub(super) use direction;
