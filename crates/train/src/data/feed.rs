//! Where a run takes its batches from, whatever kind of data it was given, and which of them comes next.

use super::stream::Pass;
use super::{Batch, Dataset, Stream};
use crate::{Error, Result};
use kiln_nn::Key;
use serde::{Deserialize, Serialize};

/// Where a model takes batches from, to be fitted to them or evaluated on them: a [`Dataset`] in memory or a [`Stream`].
#[diagnostic::on_unimplemented(
    message = "a model takes no batches from `{Self}`",
    note = "give a reference to a `Dataset`, made by `Dataset::new(x, y)`, or to a `Stream` of batches"
)]
pub trait BatchSource: sealed::Sealed {
    /// Which of them it is.
    #[doc(hidden)]
    fn kind(&self) -> Kind<'_>;
}

/// Data of either kind.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// In memory.
    Whole(&'a Dataset),
    /// One batch after the other.
    Stream(&'a Stream),
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Dataset {}
    impl Sealed for super::Stream {}
}

impl BatchSource for Dataset {
    fn kind(&self) -> Kind<'_> {
        Kind::Whole(self)
    }
}

impl BatchSource for Stream {
    fn kind(&self) -> Kind<'_> {
        Kind::Stream(self)
    }
}

/// The batch that comes next: which pass over the data, and which batch of it. Both count from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) pass: usize,
    pub(crate) batch: usize,
}

/// The batches of a run.
pub(crate) enum Feed {
    Whole {
        data: Box<Dataset>,
        batch_size: usize,
        /// What shuffles; a pass has the order of its number.
        order: Option<Key>,
        /// The order of the pass that is under way.
        current: Option<(usize, Vec<usize>)>,
    },
    Stream {
        stream: Stream,
        /// The names of the model's inputs and outputs.
        names: [Vec<String>; 2],
        /// The place of the next batch of a pass, and the pass.
        current: Option<(Place, Pass)>,
        /// How many batches a pass has.
        steps: Option<usize>,
    },
}

impl Feed {
    pub(crate) fn whole(data: Dataset, batch_size: usize, order: Option<Key>) -> Feed {
        Feed::Whole { data: Box::new(data), batch_size, order, current: None }
    }

    pub(crate) fn stream(stream: &Stream, names: [Vec<String>; 2]) -> Feed {
        Feed::Stream { stream: stream.clone(), names, current: None, steps: stream.known_steps() }
    }

    /// How many batches a pass has, where that is known.
    pub(crate) fn steps(&self) -> Option<usize> {
        match self {
            Feed::Whole { data, batch_size, .. } => Some(data.len().div_ceil(*batch_size)),
            Feed::Stream { steps, .. } => *steps,
        }
    }

    /// The batch at a place, which then is that of the one after; none where the pass has ended.
    pub(crate) fn next(&mut self, place: &mut Place) -> Result<Option<Batch>> {
        let batch = match self {
            Feed::Whole { data, batch_size, order, current } => {
                let start = place.batch.saturating_mul(*batch_size);
                if start >= data.len() {
                    return Ok(None);
                }
                let end = start.saturating_add(*batch_size).min(data.len());
                match order {
                    None => data.batch_range(start, end)?,
                    Some(key) => {
                        let order = match current {
                            Some((pass, order)) if *pass == place.pass => order,
                            _ => {
                                &mut current
                                    .insert((place.pass, key.fold(place.pass as u64).permutation(data.len())?))
                                    .1
                            }
                        };
                        data.batch(&order[start..end])?
                    }
                }
            }
            Feed::Stream { stream, names, current, steps } => {
                let (_, pass) = match current {
                    Some((at, _)) if *at == *place => current.as_mut().unwrap_or_else(|| unreachable!("it is there")),
                    _ => current.insert((*place, stream.pass(place.pass, place.batch))),
                };
                let Some(batch) = pass.next() else {
                    *current = None;
                    *steps = Some(place.batch);
                    return Ok(None);
                };
                let of = |e: Error| e.note(format_args!("in batch {} of pass {}", place.batch + 1, place.pass + 1));
                let batch = batch.and_then(|batch| batch.arranged(&names[0], &names[1])).map_err(of)?;
                batch.batch_range(0, batch.len())?
            }
        };
        place.batch += 1;
        if let Feed::Stream { current: Some((at, _)), .. } = self {
            *at = *place;
        }
        Ok(Some(batch))
    }

    /// The number in the data, from 0, of a sample of the batch before `place`; none for a stream.
    pub(crate) fn number(&self, sample: usize, place: Place) -> Option<usize> {
        let Feed::Whole { data, batch_size, order, current } = self else { return None };
        let at = (place.batch.checked_sub(1)?).checked_mul(*batch_size)? + sample;
        let at = match order {
            None => at,
            Some(_) => *current.as_ref()?.1.get(at)?,
        };
        Some(data.number(at))
    }

    /// [`Feed::next`], and the first batch of the next pass where one has ended.
    ///
    /// # Errors
    /// A pass without a batch.
    pub(crate) fn next_of_any(&mut self, place: &mut Place) -> Result<Option<Batch>> {
        if let Some(batch) = self.next(place)? {
            return Ok(Some(batch));
        }
        if place.batch == 0 {
            return Ok(None);
        }
        *place = Place { pass: place.pass + 1, batch: 0 };
        self.next(place)
    }
}
