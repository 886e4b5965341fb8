//! Sums along a row in lanes of a fixed number, which vectorize and round alike on every instruction set.

use super::simd::{self, Kernel};
use crate::scalar::Real;
use std::hint::black_box;
use std::marker::PhantomData;

/// Two registers of the widest set.
const LANES: usize = 32;

/// Elements from which on all lanes are worth it.
const SHORT: usize = 2 * LANES;

/// Elements that are summed one after the other, lane by lane.
const PART: usize = 4096;

/// The sums of what `f` makes of the elements of two runs of the same length: those of parts, joined by halves, so that the
/// rounding error of a long one is small.
#[inline(always)]
pub(crate) fn totals<A: Copy, B: Copy, C: Real, const N: usize>(
    a: &[A],
    b: &[B],
    f: impl Fn(A, B) -> [C; N],
) -> [C; N] {
    let length = a.len().min(b.len());
    if length < SHORT {
        return few(a, b, f);
    }
    if length <= PART {
        return long(a, b, f);
    }
    // Each part in a function of its own: beside another loop the compiler would find no wide registers for its lanes.
    let parts = (0..length).step_by(PART).map(|first| {
        let end = length.min(first + PART);
        simd::dispatch(Part { a: &a[first..end], b: &b[first..end], f: &f, sums: PhantomData })
    });
    by_halves(parts, |a, b| std::array::from_fn(|i| a[i] + b[i])).unwrap_or([C::lit(0.0); N])
}

struct Part<'a, A, B, C, F, const N: usize> {
    a: &'a [A],
    b: &'a [B],
    f: &'a F,
    sums: PhantomData<[C; N]>,
}

impl<A: Copy, B: Copy, C: Real, F: Fn(A, B) -> [C; N], const N: usize> Kernel for Part<'_, A, B, C, F, N> {
    type Out = [C; N];
    #[inline(always)]
    fn run(self) -> [C; N] {
        long(self.a, self.b, self.f)
    }
}

/// What comes joined as a tree: each part meets one of about as many elements, which keeps the rounding error of a long sum
/// logarithmic. `None` of nothing.
pub(crate) fn by_halves<T: Copy>(parts: impl Iterator<Item = T>, join: impl Fn(T, T) -> T) -> Option<T> {
    // Of 2^i parts each, the earlier ones further up.
    let mut waiting = [None; usize::BITS as usize];
    for mut part in parts {
        for place in &mut waiting {
            match place.take() {
                Some(before) => part = join(before, part),
                None => {
                    *place = Some(part);
                    break;
                }
            }
        }
    }
    waiting.into_iter().flatten().reduce(|later, before| join(before, later))
}

/// The sums of so few elements that most lanes of a long row would stay empty.
#[inline(always)]
fn few<A: Copy, B: Copy, C: Real, const N: usize>(a: &[A], b: &[B], f: impl Fn(A, B) -> [C; N]) -> [C; N] {
    const { assert!(N == 1 || N == 2) };
    let mut sums = [C::lit(0.0); N];
    // One sum after the other: two of them in the same loop would be taken apart into single lanes.
    sums[0] = short(a, b, |a, b| f(a, b)[0]);
    if N > 1 {
        sums[N - 1] = short(a, b, |a, b| f(a, b)[N - 1]);
    }
    sums
}

/// In lanes that are added in pairs at the end, and what is left lane by lane.
#[inline(always)]
fn long<A: Copy, B: Copy, C: Real, const N: usize>(a: &[A], b: &[B], f: impl Fn(A, B) -> [C; N]) -> [C; N] {
    let mut lanes = [[C::lit(0.0); LANES]; N];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            let x = f(a[lane], b[lane]);
            for i in 0..N {
                lanes[i][lane] = lanes[i][lane] + x[i];
            }
        }
    }
    // As if they were stored here: what follows picks single lanes, for which the compiler would split the registers above.
    let mut lanes = black_box(lanes);
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        let x = f(a, b);
        for i in 0..N {
            lanes[i][lane] = lanes[i][lane] + x[i];
        }
    }
    lanes.map(in_pairs)
}

/// In no more lanes than there are elements.
#[inline(always)]
fn short<A: Copy, B: Copy, C: Real>(a: &[A], b: &[B], f: impl Fn(A, B) -> C) -> C {
    let b = &b[..a.len()];
    match a.len() {
        0 => C::lit(0.0),
        16.. => overlapping::<16, _, _, _>(a, b, f),
        8.. => overlapping::<8, _, _, _>(a, b, f),
        4.. => overlapping::<4, _, _, _>(a, b, f),
        _ => overlapping::<1, _, _, _>(a, b, f),
    }
}

/// The last elements are taken with some that were seen, which do not count again: so there are no single ones.
#[inline(always)]
fn overlapping<const W: usize, A: Copy, B: Copy, C: Real>(a: &[A], b: &[B], f: impl Fn(A, B) -> C) -> C {
    let mut lanes = [C::lit(0.0); W];
    for first in (0..a.len()).step_by(W) {
        let start = first.min(a.len() - W);
        let (seen, a, b) = (first - start, &a[start..start + W], &b[start..start + W]);
        for lane in 0..W {
            let x = f(a[lane], b[lane]);
            lanes[lane] = lanes[lane] + if lane >= seen { x } else { C::lit(0.0) };
        }
    }
    in_pairs(black_box(lanes))
}

/// The sum of lanes, the halves of them first.
#[inline(always)]
fn in_pairs<C: Real, const W: usize>(mut lanes: [C; W]) -> C {
    let mut width = W;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] = lanes[lane] + lanes[lane + width];
        }
    }
    lanes[0]
}
