//! Convolutions.

pub mod cpu;
mod windows;
