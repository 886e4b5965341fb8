//! Convolutions.

mod correlation;
pub mod cpu;
mod depthwise;
mod windows;
