//! Handing a part of an operation to a thread that is awake, without locks, queues or allocations: from one core to
//! another it takes the time that a cache line takes to travel, twice.
//!
//! An offer lies on the stack of the thread that makes it. Its address lies in a slot, from which either a helper or the
//! one who offered takes it; only whoever has taken it may look at the offer, and the one who offered stays until all
//! that was taken is done.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A slot has a cache line of its own: others are written while this one is watched.
#[derive(Default)]
#[repr(align(64))]
struct Slot(AtomicPtr<Offer<'static>>);

/// As many as threads of the pool could take.
static SLOTS: LazyLock<Box<[Slot]>> =
    LazyLock::new(|| (0..rayon::current_num_threads()).map(|_| Slot::default()).collect());

struct Offer<'a> {
    help: &'a (dyn Fn() + Sync),
    /// Helpers that have returned from `help` and look at this no more.
    done: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Runs `own` here while up to `helpers` threads that come by [`lend_a_hand`] run `help`, and returns when all are through.
/// The time from the end of `own` is spent spinning for so long, and beyond that asleep; it is returned.
///
/// A panic of any of them goes on here, when all are through.
pub(super) fn with_help(helpers: usize, spin: Duration, help: &(dyn Fn() + Sync), own: impl FnOnce()) -> Duration {
    let offer = Offer { help, done: AtomicUsize::new(0), panic: Mutex::new(None) };
    let address = (&raw const offer).cast::<Offer<'static>>().cast_mut();
    let free =
        |slot: &&Slot| slot.0.compare_exchange(null_mut(), address, Ordering::Release, Ordering::Relaxed).is_ok();
    let given = SLOTS.iter().filter(free).take(helpers).count();
    let outcome = catch_unwind(AssertUnwindSafe(own));
    let end = Instant::now();
    let left =
        |slot: &&Slot| slot.0.compare_exchange(address, null_mut(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
    let taken = given - SLOTS.iter().filter(left).count();
    while offer.done.load(Ordering::Acquire) < taken {
        match end.elapsed() < spin {
            true => std::hint::spin_loop(),
            // Not even then is the offer left: a helper looks at it.
            false => std::thread::sleep(spin / 4),
        }
    }
    let waited = end.elapsed();
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
    if let Some(panic) = offer.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(panic);
    }
    waited
}

/// Takes an offer, if there is one, and helps until nothing is left to do. Returns whether there was one.
pub(super) fn lend_a_hand() -> bool {
    for slot in &**SLOTS {
        let address = slot.0.load(Ordering::Relaxed);
        if address.is_null()
            || slot.0.compare_exchange(address, null_mut(), Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            continue;
        }
        // SAFETY: whoever made the offer has not found it in the slot, and so waits until `done` has counted this helper.
        let offer = unsafe { &*address };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(offer.help)) {
            *offer.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        offer.done.fetch_add(1, Ordering::Release);
        return true;
    }
    false
}
