//! Pooling.

pub mod cpu;
