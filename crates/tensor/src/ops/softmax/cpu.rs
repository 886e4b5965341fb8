//! Softmax a row at a time.

use super::Softmax;
use crate::cpu::{parallel, simd};
use crate::scalar::Real;
use crate::{Element, Result, View, ViewMut};

/// Softmax of every row along the op's axis, computed in `C`.
pub(super) fn softmax<T: Element, C: Real>(op: &Softmax, x: &View<'_>, y: &mut ViewMut<'_>) -> Result<()> {
    let shape = *x.shape();
    let n = shape.get(op.axis).copied().unwrap_or(1);
    let inner: usize = shape.iter().skip(op.axis + 1).product();
    let x = x.contiguous::<T>()?;
    let shared = parallel::Shared::new(y.slice::<T>()?);
    let rows = x.len().checked_div(n).unwrap_or(0);
    parallel::for_chunks(rows, (4096 / n.max(1)).max(1), 4 * n, |start, end| {
        let mut buffer = vec![C::default(); n];
        for row in start..end {
            let first = row / inner * n * inner + row % inner;
            if inner == 1 {
                // SAFETY: rows are disjoint ranges of the result.
                let y = unsafe { shared.slice(first, first + n) };
                simd::dispatch(DenseRow { x: &x[first..first + n], y, buffer: &mut buffer, log: op.log });
                continue;
            }
            buffer.iter_mut().enumerate().for_each(|(i, b)| *b = C::load(x[first + i * inner]));
            softmax_in_place(&mut buffer, op.log);
            for (i, b) in buffer.iter().enumerate() {
                // SAFETY: the indices of different rows are disjoint and lie inside the result.
                unsafe { *shared.get().add(first + i * inner) = b.store() }
            }
        }
    });
    Ok(())
}

/// A row whose elements are adjacent.
struct DenseRow<'a, T, C> {
    x: &'a [T],
    y: &'a mut [T],
    buffer: &'a mut [C],
    log: bool,
}

impl<T: Element, C: Real> simd::Kernel for DenseRow<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        self.buffer.iter_mut().zip(self.x).for_each(|(b, &x)| *b = C::load(x));
        softmax_row(self.buffer, self.log);
        self.y.iter_mut().zip(self.buffer).for_each(|(y, b)| *y = b.store());
    }
}

struct RowKernel<'a, C> {
    row: &'a mut [C],
    log: bool,
}

impl<C: Real> simd::Kernel for RowKernel<'_, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        softmax_row(self.row, self.log);
    }
}

/// Softmax of one row in place, or its logarithm.
pub(crate) fn softmax_in_place<C: Real>(row: &mut [C], log: bool) {
    simd::dispatch(RowKernel { row, log });
}

/// The arithmetic, for the caller's instruction set.
#[inline(always)]
fn softmax_row<C: Real>(row: &mut [C], log: bool) {
    let top = fold(row, C::lit(f64::NEG_INFINITY), |x| x, |a, x| x.max(a));
    if log {
        let total = fold(row, C::lit(0.0), |x| (x - top).exp(), |a, x| a + x);
        // Two subtractions: the sum of a large maximum and a small logarithm would lose the logarithm.
        let total = total.ln();
        row.iter_mut().for_each(|x| *x = (*x - top) - total);
        return;
    }
    row.iter_mut().for_each(|x| *x = (*x - top).exp());
    let total = fold(row, C::lit(0.0), |x| x, |a, x| a + x);
    let share = C::lit(1.0) / total;
    row.iter_mut().for_each(|x| *x = *x * share);
}

/// A fold of mapped elements in fixed lanes, so that it vectorizes and every instruction set rounds alike.
#[inline(always)]
fn fold<C: Real>(x: &[C], empty: C, map: impl Fn(C) -> C, step: impl Fn(C, C) -> C) -> C {
    const LANES: usize = 32;
    let mut lanes = [empty; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = step(lanes[lane], map(chunk[lane]));
        }
    }
    for (lane, &x) in rest.iter().enumerate() {
        lanes[lane] = step(lanes[lane], map(x));
    }
    let mut width = LANES.min(x.len().next_power_of_two());
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] = step(lanes[lane], lanes[lane + width]);
        }
    }
    lanes[0]
}
