//! Parameters, layers, initializers, losses, metrics and optimizers.
