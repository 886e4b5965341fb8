//! Tasks: a fixed list of independent pieces of work, run on rayon's threads or on the caller's.
//!
//! What a task does depends on its index alone, and the number of tasks on the problem's size alone; so the bits of a
//! result never depend on how many threads there are.

use rayon::prelude::*;

/// Runs `task(0)` to `task(count - 1)`, on rayon's threads where `parallel`, in order on this thread otherwise.
pub fn for_each(count: usize, parallel: bool, task: impl Fn(usize) + Sync + Send) {
    if parallel && count > 1 && rayon::current_num_threads() > 1 {
        (0..count).into_par_iter().with_max_len(1).for_each(task);
    } else {
        (0..count).for_each(task);
    }
}

/// The bounds of part `index` when `len` is cut into `count` parts that differ by one unit of `align` at most.
pub fn part(len: usize, count: usize, align: usize, index: usize) -> core::ops::Range<usize> {
    let units = len.div_ceil(align);
    let bound = |i: usize| (units * i / count * align).min(len);
    bound(index)..bound(index + 1)
}

/// A pointer that tasks share while each writes elements of its own.
#[derive(Clone, Copy, Debug)]
pub struct Shared<T>(pub *mut T);

impl<T> Shared<T> {
    /// The pointer; a method, so that closures capture the whole wrapper.
    pub fn get(self) -> *mut T {
        self.0
    }
}

// SAFETY: the wrapper only carries an address; whoever dereferences it argues that tasks write disjoint elements.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_range_once() {
        for (len, count, align) in [(10, 3, 1), (33, 4, 16), (5, 8, 2), (0, 3, 4)] {
            let mut next = 0;
            for index in 0..count {
                let range = part(len, count, align, index);
                assert_eq!(range.start, next);
                next = range.end;
            }
            assert_eq!(next, len);
        }
    }
}
