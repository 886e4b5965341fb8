//! The operations on a GPU, or on the fake one of `cargo xtask fake-gpu`: every case of `tests/cases` beside the CPU, and
//! what the driver's side has to keep.

#[path = "../cases/mod.rs"]
mod cases;
#[path = "../programs.rs"]
mod programs;

mod attention;
mod beside;
mod convolutions;
mod driver;
mod gather;
mod normalization;
mod ops;
mod plan;
mod products;
mod recurrent;
mod scan;
mod softmax;
mod training;
mod windows;
