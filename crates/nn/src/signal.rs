//! What flows through a model: a value, and which of its steps count.

use kiln_autograd::ops::Value;
use kiln_autograd::{Shape, Tensor, Var};

/// A value on its way from layer to layer, with an optional mask.
///
/// The mask is `bool` and covers the first dimensions of the value, as a rule `[batch, time]`: where it is false, a step is
/// filling and nothing that is learned should depend on it. [`layers::Masking`](crate::layers::Masking) and
/// [`layers::Embedding::mask_zero`](crate::layers::Embedding::mask_zero) make masks, recurrent layers and attention heed
/// them, and layers that keep the steps pass them on.
#[derive(Debug, Clone)]
pub struct Signal {
    /// The value.
    pub value: Var,
    /// Which of its steps count; all where there is none.
    pub mask: Option<Var>,
}

impl Signal {
    /// A value of which all counts.
    pub fn new(value: Var) -> Signal {
        Signal { value, mask: None }
    }

    /// The same value with a mask.
    #[must_use]
    pub fn masked(self, mask: impl Into<Option<Var>>) -> Signal {
        Signal { mask: mask.into(), ..self }
    }

    /// The value's shape.
    pub fn shape(&self) -> &Shape {
        Value::shape(&self.value)
    }

    /// The mask, if it covers the first dimensions of `shape`.
    pub(crate) fn mask_for(&self, shape: &Shape) -> Option<Var> {
        self.mask.clone().filter(|mask| shape.starts_with(Value::shape(mask)))
    }
}

impl From<Var> for Signal {
    fn from(value: Var) -> Signal {
        Signal::new(value)
    }
}

impl From<Tensor> for Signal {
    fn from(value: Tensor) -> Signal {
        Signal::new(Var::new(value))
    }
}
