//! The tests of the library as a whole: one binary, so that they link once.

mod cases;
mod contract;
mod errors;
mod layers;
mod models;
mod ops;
mod plan;
mod programs;
mod properties;
mod reported;
mod resume;
mod runs;
mod steps;
mod tape;
mod training;
mod traps;
mod values;
