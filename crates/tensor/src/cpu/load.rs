//! Elements of any type as numbers of the type that a kernel computes in.

use super::simd::{self, Kernel};
use crate::Element;
use crate::scalar::Real;

/// Runs shorter than this are over before the instruction set is known: the rows of a narrow image, say.
const SHORT: usize = 64;

/// Converts a run of elements.
///
/// # Safety
/// `start` points to elements of type T, and the indices `offset + i · stride` for the length of `out` are among them.
pub(crate) unsafe fn load<T: Element, C: Real>(start: *const u8, offset: isize, stride: isize, out: &mut [C]) {
    let from = start.cast::<T>().wrapping_offset(offset);
    match stride {
        // SAFETY: the caller's promise.
        0 if !out.is_empty() => out.fill(C::load(unsafe { *from })),
        1 => {
            // SAFETY: the caller's promise.
            let convert = Convert { from: unsafe { std::slice::from_raw_parts(from, out.len()) }, to: out };
            if convert.from.len() < SHORT { convert.run() } else { simd::dispatch(convert) }
        }
        _ => out.iter_mut().enumerate().for_each(|(i, out)| {
            // SAFETY: the caller's promise.
            *out = C::load(unsafe { *from.wrapping_offset(i as isize * stride) });
        }),
    }
}

struct Convert<'a, T, C> {
    from: &'a [T],
    to: &'a mut [C],
}

impl<T: Element, C: Real> Kernel for Convert<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for i in 0..self.to.len().min(self.from.len()) {
            self.to[i] = C::load(self.from[i]);
        }
    }
}
