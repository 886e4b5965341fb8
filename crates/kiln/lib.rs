//! Tensors, automatic differentiation and training.
