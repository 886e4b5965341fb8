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
        0 if !out.is_empty() => {
            // SAFETY: the caller's promise.
            let fill = Fill { value: C::load(unsafe { *from }), to: out };
            if fill.to.len() < SHORT { fill.run() } else { simd::dispatch(fill) }
        }
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

struct Fill<'a, C> {
    value: C,
    to: &'a mut [C],
}

impl<C: Real> Kernel for Fill<'_, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        self.to.fill(self.value);
    }
}

/// Asks for the start of a slice that is needed soon: what follows, up to the end of a page, the processor asks for itself.
#[inline]
pub(crate) fn prefetch<T>(slice: &[T]) {
    const LINE: usize = 64;
    const MOST: usize = 16 * LINE;
    for at in (0..size_of_val(slice).min(MOST)).step_by(LINE) {
        prefetch_line(slice.as_ptr().cast::<u8>().wrapping_add(at));
    }
}

/// Asks for the cache line of an address, which need not be valid: where a loop goes through memory in more streams than
/// the processor follows by itself.
#[inline(always)]
pub(crate) fn prefetch_line<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, which changes no memory and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
