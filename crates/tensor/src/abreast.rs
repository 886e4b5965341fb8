//! Calls abreast: operations that read nothing of each other, which a GPU can start together. How launches become one:
//! `cuda/joined.rs`.

use crate::op::{Outputs, Specs};
use crate::run::{Donors, FEW, donors, infer, place, run};
use crate::{Device, Op, Result, Spec, Tensor, cuda};
use smallvec::SmallVec;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// Calls of which none reads what another gives, such as the update of each parameter.
///
/// On the CPU each runs when it is added, as by [`Tensor::apply_owned`]. A GPU starts those of one kernel by one launch when all are
/// known, because to start a kernel takes longer than to update a small layer. What each computes is the same, to the bit.
///
/// ```
/// use kiln_tensor::{Abreast, Tensor, ops::{Elementwise, Square}};
/// let mut calls = Abreast::with_capacity(2);
/// for x in [Tensor::new([1.0, 2.0]), Tensor::new([3.0])] {
///     calls.apply_owned(&Elementwise::<_, 1, 1>(Square), vec![x])?;
/// }
/// let squares = calls.finish()?;
/// assert_eq!(squares[0][0].to_vec::<f64>()?, [1.0, 4.0]);
/// assert_eq!(squares[1][0].to_vec::<f64>()?, [9.0]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
#[derive(Default)]
pub struct Abreast {
    /// Of each call, in order; of one that waits none yet.
    results: Vec<Outputs>,
    /// With the place of its results.
    waiting: Vec<(usize, Waiting)>,
}

/// A call that has been checked and not yet been run.
pub(crate) struct Waiting {
    pub(crate) op: Arc<dyn Op>,
    pub(crate) x: Vec<Tensor>,
    /// What of their memory it may write to.
    pub(crate) donors: Donors,
    /// What it infers.
    pub(crate) out: Specs,
    device: usize,
    at: &'static Location<'static>,
}

impl Abreast {
    /// Of none yet, with room for the results of so many.
    pub fn with_capacity(calls: usize) -> Abreast {
        Abreast { results: Vec::with_capacity(calls), waiting: Vec::new() }
    }

    /// Adds a call on tensors that the caller no longer needs, whose memory its results may take over.
    ///
    /// # Errors
    /// As [`Tensor::apply`].
    #[track_caller]
    pub fn apply_owned(&mut self, op: &(impl Op + ?Sized), x: Vec<Tensor>) -> Result<()> {
        let at = Location::caller();
        self.add(op.as_op(), x, at).map_err(|error| error.at(at))
    }

    /// Adds results that are there already.
    pub fn push(&mut self, results: impl IntoIterator<Item = Tensor>) {
        self.results.push(results.into_iter().collect());
    }

    fn add(&mut self, op: &dyn Op, mut x: Vec<Tensor>, at: &'static Location<'static>) -> Result<()> {
        let mut donors = donors(op, &mut x);
        let mut y = Outputs::default();
        match can_wait(op, &x)? {
            Some((device, out)) => {
                let waiting = Waiting { op: op.to_arc(), x, donors, out, device, at };
                self.waiting.push((self.results.len(), waiting));
            }
            None => run(op, &references(&x), &mut donors, &mut y, at)?,
        }
        self.results.push(y);
        Ok(())
    }

    /// The results of each call, in the order in which they were added.
    ///
    /// # Errors
    /// A device has no memory for them, or cannot run a kernel. What the calls were given is lost then.
    pub fn finish(self) -> Result<Vec<Outputs>> {
        let Abreast { mut results, mut waiting } = self;
        for calls in waiting.chunk_by_mut(|(_, a), (_, b)| a.device == b.device) {
            // Alone it has a kernel of its own, and there is nothing to join.
            let joined = if calls.len() > 1 { run_abreast(calls)? } else { None };
            match joined {
                Some(joined) => calls.iter().zip(joined).for_each(|((place, _), y)| results[*place] = y),
                None => calls.iter_mut().try_for_each(|(place, call)| call.run(&mut results[*place]))?,
            }
        }
        Ok(results)
    }
}

fn run_abreast(calls: &[(usize, Waiting)]) -> Result<Option<Vec<Outputs>>> {
    let calls: Vec<&Waiting> = calls.iter().map(|(_, call)| call).collect();
    let first = calls[0];
    cuda::run_abreast(first.device, &calls).map_err(|error| error.renamed("cuda", first.op.name()).at(first.at))
}

impl Waiting {
    /// Runs it alone.
    fn run(&mut self, y: &mut Outputs) -> Result<()> {
        let outcome = cuda::run(self.device, &*self.op, &references(&self.x), &mut self.donors, &self.out, y);
        outcome.map_err(|error| error.at(self.at))
    }
}

fn references(x: &[Tensor]) -> SmallVec<[&Tensor; FEW]> {
    x.iter().collect()
}

/// The device that would run it together with others, and what it gives. What is followed has to be run at once, and the CPU gains
/// nothing.
fn can_wait(op: &dyn Op, x: &[Tensor]) -> Result<Option<(usize, Specs)>> {
    let is_followed = |x: &Tensor| x.storage.traced().is_some_and(|traced| traced.by.is_live());
    if x.iter().all(|x| x.storage.cuda().is_none()) || x.iter().any(is_followed) {
        return Ok(None);
    }
    let specs: SmallVec<[Spec; FEW]> = x.iter().map(Tensor::spec).collect();
    let out = infer(op, &specs)?;
    match place(op, &references(x))? {
        (Device::Cuda(number), _) if !matches!(x, [x] if op.view(&x.layout).is_some()) => Ok(Some((number, out))),
        _ => Ok(None),
    }
}

impl fmt::Debug for Abreast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Abreast of {} calls, of which {} wait", self.results.len(), self.waiting.len())
    }
}
