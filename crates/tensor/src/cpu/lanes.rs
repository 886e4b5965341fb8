//! Sums along a row in lanes of a fixed number, which vectorize and round alike on every instruction set.

#![expect(clippy::needless_range_loop, reason = "the same lane of several arrays")]

use crate::scalar::Real;

/// Two registers of the widest set.
const LANES: usize = 32;

/// The sums of what `f` makes of the elements of two runs of the same length.
#[inline(always)]
pub(crate) fn totals<A: Copy, B: Copy, C: Real, const N: usize>(
    a: &[A],
    b: &[B],
    f: impl Fn(A, B) -> [C; N],
) -> [C; N] {
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
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        let x = f(a, b);
        for i in 0..N {
            lanes[i][lane] = lanes[i][lane] + x[i];
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..N {
            for lane in 0..width {
                lanes[i][lane] = lanes[i][lane] + lanes[i][lane + width];
            }
        }
    }
    let mut sums = [C::lit(0.0); N];
    for i in 0..N {
        sums[i] = lanes[i][0];
    }
    sums
}
