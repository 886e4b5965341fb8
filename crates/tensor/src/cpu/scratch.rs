//! Scratch memory: buffers of each thread that grow to the largest use and stay warm in the cache.
//!
//! A fresh allocation of megabytes costs a page fault per 4 KiB: milliseconds in a convolution of large weights. And a
//! plan that is run again and again should not allocate at all.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use super::float::Float;
use crate::scalar::Real;

/// A cache line, so that a buffer is aligned for the widest vectors.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

thread_local! {
    /// The buffers that are not in use.
    static BUFFERS: Cell<Vec<Vec<Line>>> = const { Cell::new(Vec::new()) };
}

/// The list of buffers; none where the thread is ending and has given them up already.
fn waiting() -> Vec<Vec<Line>> {
    BUFFERS.try_with(Cell::take).unwrap_or_default()
}

fn put_back(buffers: Vec<Vec<Line>>) {
    let _ = BUFFERS.try_with(|list| list.set(buffers));
}

/// So many buffers wait on a thread at most, and none that is larger.
const MOST: usize = 16;
const LARGEST: usize = 32 << 20;

/// A vector in a buffer of this thread's, which takes it back when the vector is dropped.
pub struct Scratch<T> {
    lines: Vec<Line>,
    len: usize,
    elements: PhantomData<T>,
}

impl<T: Copy> Scratch<T> {
    /// No element yet, and room for `len`; `None` where there is no memory.
    pub fn room(len: usize) -> Option<Scratch<T>> {
        const { assert!(align_of::<T>() <= align_of::<Line>() && size_of::<T>() > 0) };
        let count = len.checked_mul(size_of::<T>())?.div_ceil(size_of::<Line>());
        let mut buffers = waiting();
        // The smallest that is large enough, else the largest, which grows: so everybody finds his own again, and nearly
        // always among the last.
        let fit = |lines: &Vec<Line>| (lines.len() < count, lines.len().abs_diff(count));
        let own = buffers.iter().rposition(|lines| lines.len() == count);
        let best = own.or_else(|| (0..buffers.len()).min_by_key(|&i| fit(&buffers[i])));
        let lines = best.map(|i| buffers.swap_remove(i)).unwrap_or_default();
        put_back(buffers);
        let mut scratch = Scratch { lines, len: 0, elements: PhantomData };
        scratch.grow(count).then_some(scratch)
    }

    /// The first byte of the buffer, aligned to a cache line.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.lines.as_mut_ptr().cast()
    }

    /// Says that so many elements are there.
    ///
    /// # Safety
    /// There is room for them, and they have been written.
    pub unsafe fn set_len(&mut self, len: usize) {
        self.len = len;
    }

    /// `len` elements, each `value`, as `vec![value; len]`.
    pub fn filled(len: usize, value: T) -> Scratch<T> {
        let mut scratch: Scratch<T> = Scratch::room(len).expect("there is no memory for part of an operation");
        for i in 0..len {
            // SAFETY: there is room for so many, and the lines are aligned for them.
            unsafe { scratch.as_mut_ptr().add(i).write(value) }
        }
        scratch.len = len;
        scratch
    }

    /// Appends an element.
    #[inline]
    pub fn push(&mut self, value: T) {
        let bytes = (self.len + 1) * size_of::<T>();
        if bytes > size_of_val(&*self.lines) {
            self.make_room(bytes.div_ceil(size_of::<Line>()));
        }
        // SAFETY: there is room for one more element, and the lines are aligned for it.
        unsafe { self.lines.as_mut_ptr().cast::<T>().add(self.len).write(value) }
        self.len += 1;
    }

    /// At least so many lines, for one element more.
    #[cold]
    fn make_room(&mut self, count: usize) {
        let has_room = match self.lines.len() {
            0 => Scratch::room(count * size_of::<Line>() / size_of::<T>()).map(|room| *self = room).is_some(),
            now => self.grow(count.max(2 * now)),
        };
        assert!(has_room, "there is no memory for part of an operation");
    }

    /// Whether there are so many lines now.
    fn grow(&mut self, count: usize) -> bool {
        let more = count.saturating_sub(self.lines.len());
        if self.lines.try_reserve_exact(more).is_err() {
            return false;
        }
        self.lines.extend(std::iter::repeat_n(Line([0; 8]), more));
        true
    }
}

#[expect(private_bounds, reason = "the crate's own types")]
impl<C: Real> Scratch<C> {
    /// `len` numbers, whatever they are: for a block that is about to be written.
    pub fn arbitrary(len: usize) -> Scratch<C> {
        let mut scratch = Scratch::room(len).expect("there is no memory for part of an operation");
        // All bits are valid for the types that are computed in, and `room` has initialised so many.
        scratch.len = len;
        scratch
    }
}

impl<T> Deref for Scratch<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the lines are aligned for elements, and the first `len` have been written, or are numbers, of which all
        // bits are valid, in lines that are initialised.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T> DerefMut for Scratch<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<T> Drop for Scratch<T> {
    fn drop(&mut self) {
        let mut buffers = waiting();
        if (1..=LARGEST).contains(&size_of_val(&*self.lines)) && buffers.len() < MOST {
            buffers.push(core::mem::take(&mut self.lines));
        }
        put_back(buffers);
    }
}

impl<T> Default for Scratch<T> {
    /// Empty, and without a buffer until something is appended.
    fn default() -> Scratch<T> {
        Scratch { lines: Vec::new(), len: 0, elements: PhantomData }
    }
}

impl<T: Copy> Extend<T> for Scratch<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

impl<T: Copy> FromIterator<T> for Scratch<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Scratch<T> {
        let values = values.into_iter();
        let mut all = Scratch::room(values.size_hint().0).expect("there is no memory for part of an operation");
        all.extend(values);
        all
    }
}

/// Runs `f` with `len` elements whose contents are arbitrary numbers.
///
/// A nested call on the same thread (rayon may run another task inside one that waits) gets a buffer of its own.
pub fn with<T: Float, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    if len == 0 {
        // A small product packs nothing, and would feel the way to the thread's list and back.
        return f(&mut []);
    }
    let mut scratch = Scratch::room(len).expect("there is no memory for part of an operation");
    // `Float` is sealed: all bits are valid for f32 and f64, and `room` has made so many of them.
    scratch.len = len;
    f(&mut scratch)
}

#[cfg(test)]
mod tests {
    use super::{Scratch, with};

    #[test]
    fn a_thread_that_ends_has_memory_too() {
        struct OnExit;
        impl Drop for OnExit {
            fn drop(&mut self) {
                assert_eq!(*Scratch::filled(3, 2u8), [2; 3]);
            }
        }
        thread_local!(static LAST: OnExit = const { OnExit });
        let thread = std::thread::spawn(|| {
            LAST.with(|_| ());
            drop(Scratch::filled(3, 1u8));
        });
        assert!(thread.join().is_ok());
    }

    #[test]
    fn nested_calls_do_not_share() {
        with::<f32, _>(3, |outer| {
            outer.fill(1.0);
            with::<f64, _>(9, |inner| inner.fill(2.0));
            let mut filled = Scratch::filled(5, true);
            filled[0] = false;
            assert_eq!(*filled, [false, true, true, true, true]);
            assert_eq!((0..1000).filter(|i| i % 3 == 0).collect::<Scratch<_>>()[333], 999);
            assert_eq!(outer, [1.0; 3]);
        });
    }
}
