//! Elements of any type as numbers of the type that a kernel computes in; and memory that is asked for early.

use super::simd::{self, Kernel};
use crate::Element;
use crate::scalar::Real;

/// Runs shorter than this are over before the instruction set is known: the rows of a narrow image, say.
const SHORT: usize = 64;

/// Converts a run of elements.
///
/// # Safety
/// `start` points to elements of type T, and the indices `offset + i · stride` for the length of `out` are among them.
#[inline]
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

/// Asks for the start of a slice that is needed soon: what follows, up to the end of a page, the processor asks for itself.
#[inline]
pub(crate) fn prefetch<T>(slice: &[T]) {
    const LINE: usize = 64;
    const MOST: usize = 16 * LINE;
    #[cfg(target_arch = "x86_64")]
    for at in (0..size_of_val(slice).min(MOST)).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address lies inside the slice, and a prefetch changes no memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(slice.as_ptr().cast::<i8>().add(at)) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, LINE, MOST);
}
