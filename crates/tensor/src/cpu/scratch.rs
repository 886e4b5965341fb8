//! Scratch memory: buffers of each thread that grow to the largest use and stay warm in the cache.
//!
//! A fresh allocation of megabytes costs a page fault per 4 KiB: milliseconds in a convolution of large weights.

use core::cell::Cell;

use super::float::Float;

/// A cache line, so that the buffer is aligned for the widest vectors.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

thread_local! {
    /// The buffers that are not in use; the outermost use of a thread finds its own on top.
    static BUFFERS: Cell<Vec<Vec<Line>>> = const { Cell::new(Vec::new()) };
}

/// Runs `f` with `len` elements of a buffer of this thread's, whose contents are arbitrary numbers.
///
/// A nested call on the same thread (rayon may run another task inside one that waits) gets a buffer of its own.
pub fn with<T: Float, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    const { assert!(align_of::<T>() <= align_of::<Line>()) };
    let mut buffers = BUFFERS.take();
    let mut buffer = buffers.pop().unwrap_or_default();
    BUFFERS.set(buffers);
    let bytes = len.checked_mul(size_of::<T>()).expect("scratch memory for part of a tensor is addressable");
    let lines = bytes.div_ceil(size_of::<Line>());
    if buffer.len() < lines {
        buffer.resize(lines, Line([0; 8]));
    }
    // SAFETY: the lines are initialised, cover `len` elements, are aligned for `T`, and are borrowed by nobody else:
    // the buffer was taken out of the list. `Float` is sealed, and all bits are valid for f32 and f64.
    let elements = unsafe { core::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<T>(), len) };
    let result = f(elements);
    let mut buffers = BUFFERS.take();
    buffers.push(buffer);
    BUFFERS.set(buffers);
    result
}

#[cfg(test)]
mod tests {
    #[test]
    fn nested_calls_do_not_share() {
        super::with::<f32, _>(3, |outer| {
            outer.fill(1.0);
            super::with::<f64, _>(9, |inner| inner.fill(2.0));
            assert_eq!(outer, [1.0; 3]);
        });
    }
}
