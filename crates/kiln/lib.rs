//! Tensors, automatic differentiation and training.

pub use kiln_autograd as autograd;
pub use kiln_nn as nn;
pub use kiln_train as train;
