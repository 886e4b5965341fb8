//! Ctrl-C while a model trains: the first one asks the loop to stop, the second one ends the program.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs that listen at the moment. Without one, Ctrl-C ends the program as it would without Kiln.
static LISTENERS: AtomicUsize = AtomicUsize::new(0);
/// Interrupts since the first listener came.
static REQUESTS: AtomicUsize = AtomicUsize::new(0);

/// A run's ear for Ctrl-C, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Interrupt(());

/// The exit status of a program that Ctrl-C ended, by the convention of shells: 128 and the signal's number.
const STATUS: i32 = 130;

impl Interrupt {
    pub(crate) fn listen() -> Interrupt {
        static HANDLER: OnceLock<()> = OnceLock::new();
        HANDLER.get_or_init(|| {
            // A program that handles Ctrl-C itself keeps its handler; the run then does not hear it.
            let _ = ctrlc::try_set_handler(|| {
                if LISTENERS.load(Ordering::SeqCst) == 0 || REQUESTS.fetch_add(1, Ordering::SeqCst) > 0 {
                    std::process::exit(STATUS);
                }
            });
        });
        if LISTENERS.fetch_add(1, Ordering::SeqCst) == 0 {
            REQUESTS.store(0, Ordering::SeqCst);
        }
        Interrupt(())
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn requested(&self) -> bool {
        REQUESTS.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Ordering::SeqCst);
    }
}
