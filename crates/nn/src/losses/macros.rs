//! What every loss has besides its formula: a struct of settings, setters, a config, and its place behind [`Loss`].

/// Defines losses. Each is a struct with the fields given, behind `=>` what they can be, and `reduction`; the formula is its
/// method `elements(&self, y_true, y_pred) -> Result<Elements<V>>`, written beside. `over` names the field with the axes that
/// the loss of a sample is folded along; without it, that is the last one.
macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident $label:literal $(($($key:ident: $value:tt $(:: $rest:ident)*),*))? $(over $axis:ident)? {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr $(=> $allowed:expr)?),* $(,)?
    })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[must_use]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// How the losses of the samples become one number.
            #[serde(deserialize_with = "crate::losses::reduction::read")]
            pub reduction: $crate::losses::Reduction,
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default,)* reduction: $crate::losses::Reduction::default() }
            }
        }

        impl $name {
            /// The loss with Keras's defaults.
            pub fn new() -> $name {
                $name::default()
            }

            $($(#[$field_doc])*
            pub fn $field(mut self, $field: impl Into<$type>) -> $name {
                self.$field = $field.into();
                self
            })*

            /// How the losses of the samples become one number.
            pub fn reduction(mut self, reduction: $crate::losses::Reduction) -> $name {
                self.reduction = reduction;
                self
            }

            /// The loss of each sample, unweighted, of tensors or of tracked values.
            ///
            /// # Errors
            /// Shapes or labels that do not fit; a setting out of its range.
            pub fn values<V: kiln_autograd::ops::Ops>(&self, y_true: &V, y_pred: &V) -> $crate::Result<V> {
                $crate::losses::Loss::check(self)?;
                let loss = self.elements(y_true, y_pred)?;
                Ok(loss.fold.apply(&loss.elements)?.add(0.0)?)
            }

            /// Targets and predictions with harmless ones in place of those that weigh nothing.
            pub(crate) fn counted<V: kiln_autograd::ops::Ops>(
                &self,
                y_true: &V,
                y_pred: &V,
                weight: Option<&V>,
            ) -> $crate::Result<(V, V)> {
                let [folded, ..] =
                    [$($crate::AxisList::from(self.$axis.clone()),)? $crate::AxisList::from(-1)];
                // Of one loss for the whole batch no sample can be left out: weights multiply it.
                if folded.is_empty() || $crate::losses::Loss::is_of_pairs(self) {
                    return Ok((y_true.clone(), y_pred.clone()));
                }
                let (counted, y_pred) = $crate::losses::reduction::counted(y_true, y_pred, weight, &folded)?;
                match $crate::losses::Loss::ignored(self).filter(|_| weight.is_some()) {
                    Some(label) => {
                        Ok(($crate::losses::reduction::ignored_as_before(y_true, counted, label)?, y_pred))
                    }
                    None => Ok((counted, y_pred)),
                }
            }
        }

        impl $crate::losses::Loss for $name {
            fn name(&self) -> &str {
                stringify!($name)
            }

            fn call(
                &self,
                y_true: &kiln_autograd::Var,
                y_pred: &kiln_autograd::Var,
                sample_weight: Option<&kiln_autograd::Var>,
            ) -> $crate::Result<kiln_autograd::Var> {
                $crate::losses::Loss::check(self)?;
                let (y_true, y_pred) = self.counted(y_true, y_pred, sample_weight)?;
                self.reduction.reduce($label, &self.elements(&y_true, &y_pred)?, sample_weight)
            }

            fn reduction(&self) -> $crate::losses::Reduction {
                self.reduction
            }

            fn check(&self) -> $crate::Result<()> {
                $($($crate::range::Allow::check(&$allowed, $label, stringify!($field), &self.$field)?;)?)*
                Ok(())
            }

            fn arguments(&self) -> serde_json::Value {
                serde_json::to_value(self).unwrap_or_default()
            }

            fn boxed(&self) -> Box<dyn $crate::losses::Loss> {
                Box::new(self.clone())
            }

            $($($crate::losses::macros::loss_trait!($key: $value $(:: $rest)*);)*)?
        }
    )*};
}
pub(super) use losses;

/// What a loss says about the predictions and targets it takes.
macro_rules! loss_trait {
    (link: $link:expr) => {
        fn link(&self) -> Option<&'static str> {
            Some($link)
        }

        fn takes_logits(&self) -> bool {
            self.from_logits
        }

        fn with_logits(&self) -> Option<Box<dyn $crate::losses::Loss>> {
            Some(Box::new(Self { from_logits: true, ..self.clone() }))
        }
    };
    (is_of_pairs: $yes:expr) => {
        fn is_of_pairs(&self) -> bool {
            $yes
        }
    };
    (takes_logits: $yes:expr) => {
        fn takes_logits(&self) -> bool {
            $yes
        }
    };
    (ignores: $label:ident) => {
        fn ignored(&self) -> Option<i64> {
            self.$label
        }
    };
    (targets: $targets:expr) => {
        fn targets(&self) -> $crate::losses::Targets {
            $targets
        }
    };
}
pub(super) use loss_trait;

/// Defines elementwise functions of targets and predictions.
macro_rules! pair_functions {
    ($($(#[$doc:meta])* $name:ident $label:literal $({ $($field:ident),* })? |$self_:ident, $t:ident, $p:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        struct $name { $($($field: f64),*)? }

        impl kiln_autograd::ops::Function<2> for $name {
            const NAME: &'static str = $label;
            #[inline(always)]
            fn call<S: kiln_autograd::Scalar>(&$self_, [$t, $p]: [S; 2]) -> [S; 1] {
                [$body]
            }
        }
    )*};
}
pub(super) use pair_functions;
