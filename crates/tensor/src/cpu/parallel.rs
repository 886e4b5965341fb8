//! Splitting work over threads so that the bits do not depend on how many there are: chunks have a fixed size that
//! follows from the problem alone, and whoever combines them does so in their order.

use super::{handover, simd};
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Work below this many elementary steps (about 20 µs) stays on the caller's thread: waking another costs as much.
pub const SERIAL_LIMIT: usize = 1 << 16;

// What these call is behind a pointer: compiled for each kernel, they took a fifth of the time that the crate took to
// compile.

/// Calls `body(start, end)` for the chunks of `0..n`, each `chunk` long (the last may be shorter).
/// `cost` is the work per index in elementary steps (an addition is 1).
pub fn for_chunks(n: usize, chunk: usize, cost: usize, body: impl Fn(usize, usize) + Sync) {
    chunks(n, chunk.max(1), cost, &body);
}

fn chunks(n: usize, chunk: usize, cost: usize, body: &(dyn Fn(usize, usize) + Sync)) {
    let parallel = n.saturating_mul(cost) > SERIAL_LIMIT;
    each(n.div_ceil(chunk), parallel, &|i| body(i * chunk, ((i + 1) * chunk).min(n)));
}

/// Calls `body` with ranges that make up `0..n`, in multiples of `align`, of which there may be any number: for work
/// whose bits do not depend on where it is cut. `cost` is as for [`for_chunks`].
///
/// There are as many as threads as long as they fit a cache, and always the same for the same `n`: then a thread mostly
/// finds the part of a tensor that it has worked on before in its own cache.
pub fn for_ranges(n: usize, align: usize, cost: usize, body: impl Fn(Range<usize>) + Sync) {
    ranges(n, align, cost, &body);
}

fn ranges(n: usize, align: usize, cost: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
    const LONGEST: usize = 1 << 18;
    let threads = rayon::current_num_threads();
    let count = match n.saturating_mul(cost) <= SERIAL_LIMIT {
        true => 1,
        false => n.div_ceil(threads * LONGEST) * threads,
    };
    each(count, true, &|index| {
        let range = part(n, count, align, index);
        if !range.is_empty() {
            body(range);
        }
    });
}

/// Runs `task(0)` to `task(count - 1)`, on rayon's threads where `parallel`, in order on this thread otherwise.
pub fn for_each(count: usize, parallel: bool, task: impl Fn(usize) + Sync) {
    each(count, parallel, &task);
}

fn each(count: usize, parallel: bool, task: &(dyn Fn(usize) + Sync)) {
    let threads = rayon::current_num_threads().min(count);
    // A helper does the parts of its part alone. While it waited for others it would take up whatever the pool has to do,
    // and the thread that it helps would have to wait for that.
    match !parallel || threads <= 1 || HELPING.get() {
        true => (0..count).for_each(task),
        false => spread(count, threads, task),
    }
}

/// [`for_each`] on so many threads.
fn spread(count: usize, threads: usize, task: &(dyn Fn(usize) + Sync)) {
    // Few enough to cost nothing, enough for a thread that was held up to be helped out.
    let parts = count.min(8 * threads);
    // Whoever runs a part does so on the instruction set of the thread that it belongs to.
    let limit = simd::limit();
    let run = |index: usize| simd::with_isa(limit, || part(count, parts, 1, index).for_each(task));
    if rayon::current_thread_index().is_some() {
        attend_all(threads - 1 + usize::from(ATTENDING.get()));
        let _inside = Inside::enter();
        (0..parts).into_par_iter().with_max_len(1).for_each(run);
    } else if is_crowded() {
        (0..parts).for_each(run);
    } else {
        attend_all(threads - 1);
        from_outside(parts, threads - 1, &run);
    }
}

/// [`spread`] for a thread that is none of the pool's. It takes part, which rayon's iterators do not let it: they move
/// all work into the pool, put the caller to sleep and wake it at the end.
///
/// It goes from the first part upwards and the others from the last downwards, so that everybody meets the same data
/// the next time.
fn from_outside(count: usize, helpers: usize, task: &(dyn Fn(usize) + Sync)) {
    let (taken, from_end) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let is_left = || taken.fetch_add(1, Ordering::Relaxed) < count;
    let help = || {
        while is_left() {
            task(count - 1 - from_end.fetch_add(1, Ordering::Relaxed));
        }
    };
    let start = Instant::now();
    let waited = handover::with_help(helpers, LINGER, &help, || (0..).take_while(|_| is_left()).for_each(task));
    if 2 * waited > start.elapsed() + LINGER {
        // The others took twice as long and more for the same work: perhaps something else has their cores.
        note_delay();
    }
}

/// How long threads work alone once it has shown that other processes take the cores from under their helpers. One that
/// lost its core in the middle of a part may get it back after milliseconds: beside one busy process a small step took
/// two and a half times as long with help as without.
const ALONE: Duration = Duration::from_millis(100);

/// Two delays as close as this are no accident.
const CLOSE: Duration = Duration::from_millis(20);

static CLOCK: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When the last delay ended, and until when to work alone, in microseconds of [`CLOCK`]; 0 for never.
static LAST_DELAY: AtomicU64 = AtomicU64::new(0);
static CROWDED_UNTIL: AtomicU64 = AtomicU64::new(0);

fn note_delay() {
    let micros = |time: Duration| time.as_micros() as u64;
    let (now, last) = (CLOCK.elapsed(), LAST_DELAY.load(Ordering::Relaxed));
    let mut end = micros(now);
    if last > 0 && end < last + micros(CLOSE) {
        end = micros(now + ALONE);
        CROWDED_UNTIL.store(end, Ordering::Relaxed);
    }
    LAST_DELAY.store(end, Ordering::Relaxed);
}

fn is_crowded() -> bool {
    let until = CROWDED_UNTIL.load(Ordering::Relaxed);
    until > 0 && (CLOCK.elapsed().as_micros() as u64) < until
}

/// How long a thread that has helped stays awake for more: longer than the serial work between the parallel operations
/// of a training step, short enough to cost nothing that matters.
const LINGER: Duration = Duration::from_micros(200);

/// How often a thread that attends looks for help that is wanted before it looks for other work of the pool's.
const POLLS: usize = 64;

/// Threads that stay awake now.
static ATTENDANTS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Parallel operations that this thread is in, one inside the other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Whether this thread does a part of another's operation.
    static HELPING: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread is among [`ATTENDANTS`], and has perhaps found work of any kind to do.
    static ATTENDING: Cell<bool> = const { Cell::new(false) };
}

/// A thread of the pool inside a parallel operation.
struct Inside;

impl Inside {
    fn enter() -> Inside {
        DEPTH.set(DEPTH.get() + 1);
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Asks threads of the pool to attend until there are so many.
///
/// An idle thread of rayon's goes to sleep after some 20 µs, and to wake it takes as long as a step of a small model has
/// for all its products. One that attends looks for work without sleeping until there has been none for [`LINGER`].
fn attend_all(wanted: usize) {
    for _ in ATTENDANTS.load(Ordering::Relaxed)..wanted {
        ATTENDANTS.fetch_add(1, Ordering::Relaxed);
        rayon::spawn(attend);
    }
}

fn attend() {
    // A thread that comes by this while it waits for parts of its own operation must not stay.
    if DEPTH.get() == 0 && !ATTENDING.get() {
        ATTENDING.set(true);
        let mut idle = Instant::now();
        while idle.elapsed() < LINGER {
            HELPING.set(true);
            for _ in 0..POLLS {
                if handover::lend_a_hand() {
                    idle = Instant::now();
                }
                std::hint::spin_loop();
            }
            HELPING.set(false);
            // Whatever else the pool has to do.
            if rayon::yield_now() == Some(rayon::Yield::Executed) {
                idle = Instant::now();
            }
        }
        ATTENDING.set(false);
    }
    ATTENDANTS.fetch_sub(1, Ordering::Relaxed);
}

/// The bounds of part `index` when `len` is cut into `count` parts that differ by one unit of `align` at most.
pub fn part(len: usize, count: usize, align: usize, index: usize) -> Range<usize> {
    let units = len.div_ceil(align);
    let bound = |i: usize| (units * i / count * align).min(len);
    bound(index)..bound(index + 1)
}

/// A pointer that the chunks of one operation share, each writing a part of its own.
#[derive(Clone, Copy)]
pub struct Shared<T>(*mut T);

// SAFETY: whoever dereferences it owes that threads touch disjoint elements; the pointer itself is plain data.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Shares the elements of a slice.
    pub fn new(slice: &mut [T]) -> Shared<T> {
        Shared(slice.as_mut_ptr())
    }

    /// Shares what lies behind a pointer.
    pub fn from_ptr(pointer: *mut T) -> Shared<T> {
        Shared(pointer)
    }

    /// The pointer (a method, so that closures capture the wrapper and not the bare pointer).
    pub fn get(self) -> *mut T {
        self.0
    }

    /// The elements `start..end` for the calling thread.
    ///
    /// # Safety
    /// The range lies inside the slice given to [`Shared::new`], which is still borrowed, and no other thread touches it.
    pub unsafe fn slice<'a>(self, start: usize, end: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), end - start) }
    }
}

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

    /// How often each task ran.
    fn counts(count: usize, run: impl Fn(&(dyn Fn(usize) + Sync))) -> Vec<usize> {
        let counts: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        run(&|i| _ = counts[i].fetch_add(1, Ordering::Relaxed));
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn each_task_runs_once_from_anywhere() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for count in [0, 1, 2, 3, 50] {
            let once = vec![1; count];
            let nested = |task: &(dyn Fn(usize) + Sync)| {
                for_each(4, true, |i| {
                    for_each(count, true, |j| {
                        if i == j % 4 {
                            task(j)
                        }
                    })
                });
            };
            assert_eq!(counts(count, |task| for_each(count, true, task)), once);
            assert_eq!(counts(count, nested), once);
            assert_eq!(counts(count, |task| pool.install(|| for_each(count, true, task))), once);
            assert_eq!(counts(count, |task| pool.install(|| nested(task))), once);
        }
        let n = 3 << 18;
        assert_eq!(counts(n, |task| for_ranges(n, 64, 1, |range| range.for_each(task))), vec![1; n]);
    }

    #[test]
    fn two_close_delays_make_a_crowd() {
        // A busy machine may hold this thread up between the two, which are then not close.
        let close = || {
            note_delay();
            note_delay();
            is_crowded()
        };
        assert!((0..50).any(|_| close()));
        assert_eq!(counts(50, |task| for_each(50, true, task)), [1; 50]);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
        for _ in 0..3 {
            let result = std::panic::catch_unwind(|| for_each(8, true, |i| assert_ne!(i, 5)));
            assert!(result.is_err());
            assert_eq!(counts(8, |task| for_each(8, true, task)), [1; 8]);
        }
    }
}
