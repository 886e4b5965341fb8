//! The project's own commands, as functions that tests can call too.
#![forbid(unsafe_code)]

pub mod fake_gpu;
pub mod new_op;
