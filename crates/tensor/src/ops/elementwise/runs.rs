//! What is done to runs of elements around every function. It is compiled for each type and number of operands, and not
//! for each function.

#![expect(clippy::needless_range_loop, reason = "an iterator's methods may not be inlined into an instruction set")]

use super::run::LANES;
use super::signature::{MOST_INPUTS, MOST_NUMBERS};
use crate::scalar::Real;
use crate::{Dual, Expr, Scalar};

/// The first `count` of the pointers from `from` on, and `null` for the rest. In an array of their own the compiler knows
/// that nothing written through one changes another.
///
/// # Safety
/// There are so many.
#[inline(always)]
pub(super) unsafe fn pointers<P: Copy, const N: usize>(from: *const P, count: usize, null: P) -> [P; N] {
    let mut pointers = [null; N];
    for i in 0..count {
        // SAFETY: the caller's promise.
        pointers[i] = unsafe { *from.add(i) };
    }
    pointers
}

/// A run of each of the first `count` operands.
///
/// # Safety
/// These operands have these elements.
#[inline(always)]
pub(super) unsafe fn read_runs<C: Real, const N: usize>(
    x: &[*const C; N],
    count: usize,
    start: usize,
) -> [[C; LANES]; N] {
    let mut runs = [[C::default(); LANES]; N];
    for i in 0..count {
        // SAFETY: the caller's promise.
        runs[i] = unsafe { x[i].add(start).cast::<[C; LANES]>().read_unaligned() };
    }
    runs
}

/// # Safety
/// The result has these elements.
#[inline(always)]
pub(super) unsafe fn write_run<C: Real>(y: *mut C, start: usize, run: &[C; LANES]) {
    // SAFETY: the caller's promise.
    unsafe { y.add(start).cast::<[C; LANES]>().write_unaligned(*run) }
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
