//! What runs beside the training loop.

mod mode;

pub use mode::{Direction, Mode};
