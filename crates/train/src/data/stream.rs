//! Batches that come from a function, one after the other: read from files, or made up as they are needed. Where a run takes
//! its batches from, be it this or a dataset in memory, is `feed.rs`.

use super::Dataset;
use crate::Result;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

/// The batches of one pass.
type Batches = Box<dyn Iterator<Item = Result<Dataset>> + Send>;

/// Batches to train on that come from an iterator, each a small [`Dataset`]. They are made by a thread of their own, some ahead
/// of the training, and used in the order in which they come.
///
/// ```
/// use kiln_nn::{Key, Sequential, layers::Dense, ops::*};
/// use kiln_train::{Compile, Dataset, Fit, Stream, Verbosity};
/// let stream = Stream::new(|pass| {
///     (0..20).map(move |batch| {
///         let x = Key::new(pass as u64).fold(batch).normal([32, 3], 0.0, 1.0)?;
///         Dataset::new(x.clone(), x.sum(-1)?.reshape([32, 1])?)
///     })
/// });
/// let mut model = Sequential::new([3]).add(Dense::new(1)).compile("adam", "mse", ())?;
/// let history = model.fit(&stream, Fit::new().epochs(3).verbose(Verbosity::Silent))?;
/// assert_eq!(history.params.steps, Some(20));
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Clone)]
pub struct Stream {
    start: Arc<dyn Fn(usize) -> Batches + Send + Sync>,
    steps: Option<usize>,
    prefetch: usize,
}

/// Batches that are ready before they are asked for, unless set.
const PREFETCH: usize = 2;
/// Batches that are made ahead at most.
const MOST_PREFETCHED: usize = 1 << 12;

impl Stream {
    /// Batches that `start` begins anew for each pass over the data, whose number (from 0) it is given. A run that is taken up
    /// again passes over those that it has had: the same number must begin the same batches.
    pub fn new<I>(start: impl Fn(usize) -> I + Send + Sync + 'static) -> Stream
    where
        I: IntoIterator<Item = Result<Dataset>>,
        I::IntoIter: Send + 'static,
    {
        let start = move |pass| -> Batches { Box::new(start(pass).into_iter()) };
        Stream { start: Arc::new(start), steps: None, prefetch: PREFETCH }
    }

    /// How many batches a pass has: it ends after so many, and the progress bar knows of them; else they are known after the first
    /// pass.
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Stream {
        self.steps = Some(steps);
        self
    }

    /// How many batches are made ahead, 2 unless set and 4096 at most; with 0 each is made when it is needed, by the thread that trains.
    #[must_use]
    pub fn prefetch(mut self, batches: usize) -> Stream {
        self.prefetch = batches;
        self
    }

    pub(crate) fn known_steps(&self) -> Option<usize> {
        self.steps
    }

    /// The batches of a pass from number `batch` on.
    pub(crate) fn pass(&self, pass: usize, batch: usize) -> Pass {
        let (start, most) = (self.start.clone(), self.steps.unwrap_or(usize::MAX));
        if self.prefetch == 0 {
            return Pass::Here(Box::new(start(pass).take(most).skip(batch)));
        }
        // Room is made for all of them at once.
        let (sender, receiver) = sync_channel(self.prefetch.min(MOST_PREFETCHED) - 1);
        let produce = move || {
            for item in start(pass).take(most).skip(batch) {
                // Nobody listens any more: the run has ended.
                if sender.send(item).is_err() {
                    return;
                }
            }
        };
        Pass::Ahead { receiver: Some(receiver), thread: Some(thread::spawn(produce)) }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("steps", &self.steps).field("prefetch", &self.prefetch).finish_non_exhaustive()
    }
}

/// A pass that is under way.
pub(crate) enum Pass {
    Here(Batches),
    Ahead { receiver: Option<Receiver<Result<Dataset>>>, thread: Option<JoinHandle<()>> },
}

impl Iterator for Pass {
    type Item = Result<Dataset>;

    fn next(&mut self) -> Option<Result<Dataset>> {
        match self {
            Pass::Here(batches) => batches.next(),
            Pass::Ahead { receiver, thread } => {
                let next = receiver.as_ref().and_then(|receiver| receiver.recv().ok());
                // It has ended; a panic there goes on here.
                if next.is_none()
                    && let Some(Err(panic)) = thread.take().map(JoinHandle::join)
                {
                    resume_unwind(panic);
                }
                next
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Pass::Ahead { receiver, thread } = self {
            // First the ear, so that the thread sees that it can go.
            drop(receiver.take());
            if let Some(thread) = thread.take() {
                // Of a run that has ended nobody wants to hear.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use kiln_nn::Tensor;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn numbered(i: usize) -> Result<Dataset> {
        Dataset::new(Tensor::from_vec(vec![i as f32], [1, 1])?, Tensor::zeros([1, 1])?)
    }

    fn numbers(pass: Pass) -> Vec<f64> {
        pass.map(|batch| batch.unwrap().x().unwrap().item().unwrap()).collect()
    }

    #[test]
    fn batches_come_in_order_from_where_a_run_was() {
        for prefetch in [0, 1, 2, 7, usize::MAX] {
            let stream = Stream::new(|pass| (0..50).map(move |i| numbered(100 * pass + i))).prefetch(prefetch);
            assert_eq!(numbers(stream.pass(0, 0)), (0..50).map(f64::from).collect::<Vec<_>>());
            assert_eq!(numbers(stream.pass(2, 47)), [247.0, 248.0, 249.0]);
            assert!(numbers(stream.pass(0, 99)).is_empty());
        }
    }

    #[test]
    fn a_pass_of_an_endless_stream_ends_where_it_was_told_to() {
        for prefetch in [0, 2] {
            let stream = Stream::new(|_| (0..).map(numbered)).steps(3).prefetch(prefetch);
            assert_eq!(numbers(stream.pass(0, 0)), [0.0, 1.0, 2.0]);
            assert_eq!(numbers(stream.pass(4, 2)), [2.0]);
        }
    }

    #[test]
    fn no_more_is_made_than_asked_for_and_the_thread_ends_with_the_run() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let stream = Stream::new(move |_| {
            let count = count.clone();
            (0..).map(move |i| {
                count.fetch_add(1, Ordering::SeqCst);
                numbered(i)
            })
        });
        let mut pass = stream.prefetch(3).pass(0, 0);
        pass.next().unwrap().unwrap();
        drop(pass);
        let after = made.load(Ordering::SeqCst);
        assert!((1..=5).contains(&after), "{after}");
    }

    #[test]
    fn errors_and_panics_reach_who_trains() {
        let stream = Stream::new(|_| (0..3).map(|i| if i == 1 { Err(Error::data("odd", "")) } else { numbered(i) }));
        let all: Vec<bool> = stream.pass(0, 0).map(|batch| batch.is_ok()).collect();
        assert_eq!(all, [true, false, true]);
        let stream = Stream::new(|_| (0..3).map(|i| if i == 1 { panic!("of the maker") } else { numbered(i) }));
        let panic = thread::spawn(move || stream.pass(0, 0).count()).join().unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"of the maker"));
    }
}
