//! What the compiler makes of a function, and where it does so.
//!
//! Generic code is compiled in the crate that uses it: every crate that calls `x.exp()` would compile its loops once more
//! for each element type and instruction set, and an unoptimized program would run them unoptimized. A function of
//! Kiln's own is therefore reached through pointers to code that was compiled with it.

use super::function::{Elementwise, ElementwiseGrad, Formula, Function};
use super::run::run;
use crate::scalar::Program;
use crate::{DType, View, ViewMut};

/// The code of a function: what [`Function::compiled`] gives.
#[derive(Debug)]
pub struct Compiled<F, const IN: usize, const OUT: usize> {
    pub(super) run: fn(&Elementwise<F, IN, OUT>, DType, &[View<'_>], &mut [ViewMut<'_>]),
    pub(super) program: fn(&F) -> Program,
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> Compiled<F, IN, OUT> {
    pub(crate) fn here() -> Self {
        Compiled { run, program: Elementwise::<F, IN, OUT>::program }
    }
}

/// The code of a function's derivative: what [`Function::compiled_gradient`] gives.
#[derive(Debug)]
pub struct CompiledGradient<F, const IN: usize, const OUT: usize> {
    pub(super) run: fn(&ElementwiseGrad<F, IN, OUT>, DType, &[View<'_>], &mut [ViewMut<'_>]),
    pub(super) program: fn(&ElementwiseGrad<F, IN, OUT>) -> Program,
    pub(super) formula: fn(&ElementwiseGrad<F, IN, OUT>) -> Formula,
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> CompiledGradient<F, IN, OUT> {
    pub(crate) fn here() -> Self {
        CompiledGradient { run, program: ElementwiseGrad::program, formula: ElementwiseGrad::derive_formula }
    }
}

/// Among the items of a [`Function`]'s implementation: has its code compiled there.
macro_rules! compiled_here {
    ($inputs:literal) => {
        #[inline(never)]
        fn compiled() -> $crate::ops::Compiled<Self, $inputs, 1> {
            $crate::ops::Compiled::here()
        }
        #[inline(never)]
        fn compiled_gradient() -> $crate::ops::CompiledGradient<Self, $inputs, 1> {
            $crate::ops::CompiledGradient::here()
        }
    };
}
pub(crate) use compiled_here;
