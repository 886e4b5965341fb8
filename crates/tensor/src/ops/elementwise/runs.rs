//! What is done to runs of elements around every function. It is compiled for each type and number of operands, and not
//! for each function.

#![expect(clippy::needless_range_loop, reason = "an iterator's methods may not be inlined into an instruction set")]

use super::function::{MOST_INPUTS, MOST_NUMBERS};
use super::run::LANES;
use crate::scalar::Real;
use crate::{Dual, Expr, Scalar};

/// A run of each operand.
///
/// # Safety
/// There are so many operands, which have these elements.
#[inline(always)]
pub(super) unsafe fn read_runs<C: Real>(x: *const *const C, start: usize, runs: &mut [[C; LANES]]) {
    for i in 0..runs.len() {
        // SAFETY: the caller's promise.
        runs[i] = unsafe { (*x.add(i)).add(start).cast::<[C; LANES]>().read_unaligned() };
    }
}

/// # Safety
/// There are `N` results, which have these elements.
#[inline(always)]
pub(super) unsafe fn write_runs<C: Real, const N: usize>(y: *const *mut C, start: usize, runs: &[[C; LANES]; N]) {
    for i in 0..N {
        // SAFETY: the caller's promise.
        unsafe { (*y.add(i)).add(start).cast::<[C; LANES]>().write_unaligned(runs[i]) }
    }
}

/// Element `lane` of each run.
#[inline(always)]
pub(super) fn lane_of<C: Real, const N: usize>(runs: &[[C; LANES]; N], lane: usize) -> [C; N] {
    let mut values = [C::default(); N];
    for i in 0..N {
        values[i] = runs[i][lane];
    }
    values
}

#[inline(always)]
pub(super) fn set_lane<C: Real, const N: usize>(runs: &mut [[C; LANES]; N], lane: usize, values: [C; N]) {
    for i in 0..N {
        runs[i][lane] = values[i];
    }
}

/// The single numbers from `x` on.
///
/// # Safety
/// There are `count` of them, one element each.
#[inline(always)]
pub(super) unsafe fn numbers<C: Real>(x: *const *const C, count: usize) -> [C; MOST_NUMBERS] {
    let mut numbers = [C::default(); MOST_NUMBERS];
    for i in 0..count {
        // SAFETY: the caller's promise.
        numbers[i] = unsafe { **x.add(i) };
    }
    numbers
}

/// An operand, and whether it is the one that moves.
#[inline(always)]
pub(super) fn dual<S: Scalar>(value: S, moves: bool) -> Dual<S> {
    Dual { value, tangent: S::lit(if moves { 1.0 } else { 0.0 }) }
}

/// The inputs of a gradient at one point: the operands (or the result) and the gradients of the results.
pub(super) trait Point<S> {
    fn input(&self, i: usize) -> S;

    /// The first `N` inputs, of which number `wrt` moves.
    fn duals<const N: usize>(&self, wrt: usize) -> [Dual<S>; N];
}

/// Element `lane` of each run.
pub(super) struct Lane<'a, C> {
    pub(super) runs: &'a [[C; LANES]; MOST_INPUTS],
    pub(super) lane: usize,
}

impl<C: Real> Point<C> for Lane<'_, C> {
    #[inline(always)]
    fn input(&self, i: usize) -> C {
        self.runs[i][self.lane]
    }

    #[inline(always)]
    fn duals<const N: usize>(&self, wrt: usize) -> [Dual<C>; N] {
        let mut x = [dual(C::default(), false); N];
        for i in 0..N {
            x[i] = dual(self.runs[i][self.lane], i == wrt);
        }
        x
    }
}

/// Operands of a formula.
pub(super) struct Symbols;

impl<const DERIVED: bool> Point<Expr<DERIVED>> for Symbols
where
    Expr<DERIVED>: Scalar,
{
    fn input(&self, i: usize) -> Expr<DERIVED> {
        Expr::input(i)
    }

    fn duals<const N: usize>(&self, wrt: usize) -> [Dual<Expr<DERIVED>>; N] {
        std::array::from_fn(|i| dual(Expr::input(i), i == wrt))
    }
}
