//! Recording what is computed. A tensor that a [`Trace`] has been given carries it in its storage; an operation with such
//! an operand runs as always and is written down: forward and backward passes, updates, statistics and metrics alike,
//! with nothing global.

use crate::op::Outputs;
use crate::ops::Cast;
use crate::plan::{Graph, Operand, Origin, Plan, Step, Value};
use crate::run::run;
use crate::storage::Storage;
use crate::watch::{Origin as WatchedFrom, Watch};
use crate::{Device, Error, ErrorKind, Layout, Op, Result, Tensor, with_element};
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A recording of the operations on the tensors that it has been given.
///
/// ```
/// use kiln_tensor::{Tensor, Trace, ops::*};
/// let trace = Trace::new();
/// let x = trace.input(&Tensor::new([1.0, 2.0, 3.0]))?;
/// let y = x.mul(2.0)?.exp()?.sum(..)?;
/// let mut plan = trace.finish(&[&y])?;
/// let again = plan.run(&[&Tensor::new([0.0, 0.0, 0.0])])?;
/// assert_eq!(again[0].item()?, 3.0);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
///
/// Everything else that takes part, such as the 2 above, is a constant of the plan. So what changes from run to run has
/// to be an input, if only a number of rank 0: a learning rate, the [operands](crate::Key::operands) of a key.
#[derive(Clone, Default)]
pub struct Trace(Arc<Shared>);

#[derive(Default)]
struct Shared {
    recording: Mutex<Recording>,
    /// Whether the plan is made: what comes after is not part of it.
    is_finished: AtomicBool,
}

/// Elements whose use is followed, and by whom.
pub(crate) struct Traced {
    pub(crate) storage: Storage,
    pub(crate) by: By,
}

/// Who follows the use of a tensor.
pub(crate) enum By {
    /// A recording, of which it is this value.
    Trace(Trace, usize),
    /// A watch, which knows where it came from.
    Watch(Watch, WatchedFrom),
}

#[derive(Default)]
struct Recording {
    graph: Graph,
    /// A value was read on the host, at this line if it is known: what follows from it is not recorded.
    escape: Option<Option<&'static Location<'static>>>,
    /// Where the inputs are, those that are somewhere.
    inputs_on: Option<Device>,
    /// Where the steps ran: the first device, and another one if there was any.
    device: Option<Device>,
    other: Option<Device>,
}

impl Trace {
    /// An empty recording.
    pub fn new() -> Trace {
        Trace::default()
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        // Whoever panicked has not left half a step: steps are appended whole.
        self.0.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tensor with the elements of `x` whose use is recorded. It is the plan's next input: runs are given others of the
    /// same shape and type in its place. A strided view is copied: a sum along a dimension that does not lie dense may add
    /// in another order than one along the copy's.
    ///
    /// # Errors
    /// There is no memory for a copy of a strided view; the recording has ended.
    #[track_caller]
    pub fn input(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.untraced().dense()?;
        let mut recording = self.recording();
        if self.is_finished() {
            return Err(ended().at(Location::caller()));
        }
        if !x.storage.is_uniform() {
            recording.inputs_on.get_or_insert(x.device());
        }
        let graph = &mut recording.graph;
        let origin = Origin::Input(graph.inputs.len());
        graph.inputs.push(x.spec());
        let value = graph.add(Value { origin, shape: *x.shape(), dtype: x.dtype() });
        drop(recording);
        Ok(self.carried_by(x, value))
    }

    /// Whether it has ended: changed, and relied on, only while the recording is locked.
    fn is_finished(&self) -> bool {
        self.0.is_finished.load(Ordering::Relaxed)
    }

    fn carried_by(&self, x: Tensor, value: usize) -> Tensor {
        x.followed(By::Trace(self.clone(), value))
    }

    /// A plan of what leads from the inputs to `outputs`. The recording ends: what is computed of its tensors afterwards
    /// is computed as of any others.
    ///
    /// # Errors
    /// A value was read on the host while the recording went on: what followed from it is not known. The error names the
    /// line. The recording has ended already, by another handle. It ran on two devices.
    #[track_caller]
    pub fn finish(self, outputs: &[&Tensor]) -> Result<Plan> {
        let here = Location::caller();
        let (graph, outputs) = self.end(outputs, here)?;
        Plan::new(graph, outputs).map_err(|e| e.at(here))
    }

    /// Ends the recording; gives what was recorded, and what of it the results are.
    pub(crate) fn end(self, outputs: &[&Tensor], here: &'static Location<'static>) -> Result<(Graph, Vec<Operand>)> {
        let mut recording = self.recording();
        if self.0.is_finished.swap(true, Ordering::Relaxed) {
            return Err(ended().at(here));
        }
        let results: Result<Vec<Operand>> = outputs.iter().map(|x| self.operand(&mut recording.graph, x)).collect();
        let (mut graph, escape) = (std::mem::take(&mut recording.graph), recording.escape);
        graph.device = recording.device.or(recording.inputs_on).unwrap_or_default();
        if let Some(other) = recording.other {
            let text = format!("what was recorded ran on {} and on {other}, a plan runs on one device", graph.device);
            return Err(Error::new(ErrorKind::Escape, "trace", text)
                .help("record the part of each by itself")
                .at(here));
        }
        drop(recording);
        if let Some(at) = escape {
            // What prints a value does not say where it stands.
            let how = if at.is_some() { "read on the host" } else { "printed" };
            let text = format!("a recorded value was {how}, where no plan can follow it");
            let error = Error::new(ErrorKind::Escape, "trace", text);
            let error = error.help("keep it a tensor: .gt, .select and .clamp decide element by element");
            return Err(match at {
                Some(at) => error.at(at),
                None => error,
            });
        }
        Ok((graph, results?))
    }

    /// `x` as an operation of the recording reads it.
    fn operand(&self, graph: &mut Graph, x: &Tensor) -> Result<Operand> {
        let value = match x.storage.traced().map(|traced| &traced.by) {
            Some(By::Trace(trace, value)) if Arc::ptr_eq(&trace.0, &self.0) => *value,
            Some(by) if by.is_live() => return Err(two_followers("trace")),
            _ => graph.constant(x.storage.untraced(), x.dtype),
        };
        Ok(Operand { value, layout: x.layout, dtype: x.dtype, is_number: x.is_number() })
    }

    /// Runs `op`, one of whose operands is recorded, and records it.
    fn record(&self, op: &dyn Op, x: &[&Tensor], y: &mut Outputs, at: &'static Location<'static>) -> Result<()> {
        let plain: Vec<Tensor> = x.iter().map(|x| x.untraced()).collect();
        let first = y.len();
        run(op, &plain.iter().collect::<Vec<_>>(), &mut [], y, at)?;
        let mut recording = self.recording();
        if self.is_finished() {
            // By another thread, since this began: nobody follows.
            return Ok(());
        }
        let graph = &mut recording.graph;
        let operands = x.iter().map(|x| self.operand(graph, x)).collect::<Result<Vec<Operand>>>()?;
        let results = &mut y.as_mut_slice()[first..];
        if let ([x], [operand], [result]) = (&plain[..], &operands[..], &mut *results)
            && result.storage.is_same(&x.storage)
        {
            // A view is no step: what reads it reads the operand by another layout.
            *result = self.carried_by(result.clone(), operand.value);
            return Ok(());
        }
        let mut values = Vec::with_capacity(results.len());
        for result in results {
            let value = graph.add(Value { origin: Origin::Step, shape: *result.shape(), dtype: result.dtype() });
            *result = self.carried_by(result.clone(), value);
            values.push(value);
        }
        graph.steps.push(Step { op: op.to_arc(), x: operands, y: values, at });
        recording.ran_on(&y[first..]);
        Ok(())
    }
}

impl Recording {
    /// Takes note of where a step has run. What lives in no memory was computed of numbers, and is on every device.
    fn ran_on(&mut self, results: &[Tensor]) {
        for device in results.iter().filter(|y| !y.storage.is_uniform()).map(Tensor::device) {
            if *self.device.get_or_insert(device) != device {
                self.other = Some(device);
            }
        }
    }
}

impl By {
    /// Whether somebody still follows: a recording may have ended.
    pub(crate) fn is_live(&self) -> bool {
        match self {
            By::Trace(trace, _) => !trace.is_finished(),
            By::Watch(..) => true,
        }
    }

    /// Runs `op`, one of whose operands is followed by this.
    pub(crate) fn run(
        &self,
        op: &dyn Op,
        x: &[&Tensor],
        y: &mut Outputs,
        at: &'static Location<'static>,
    ) -> Result<()> {
        match self {
            By::Trace(trace, _) => trace.record(op, x, y, at),
            By::Watch(watch, _) => watch.run(op, x, y, at),
        }
    }
}

/// Of a recording that another handle has ended: its values are of no other.
fn ended() -> Error {
    Error::new(ErrorKind::Escape, "trace", "the recording has ended").help("begin another: Trace::new()")
}

/// Of an operation whose operands are followed by two that do not know of each other.
pub(crate) fn two_followers(op: &str) -> Error {
    let text = "the operands belong to two recordings, or to two watches, or to one of each";
    Error::new(ErrorKind::Escape, op, text).help("finish one before the other begins")
}

impl Tensor {
    /// The same elements, followed.
    pub(crate) fn followed(self, by: By) -> Tensor {
        let traced = Traced { storage: self.storage, by };
        Tensor { storage: Storage::Traced(Arc::new(traced)), layout: self.layout, dtype: self.dtype }
    }

    /// The same elements, off every recording and watch.
    #[must_use]
    pub fn untraced(&self) -> Tensor {
        Tensor { storage: self.storage.untraced().clone(), ..*self }
    }

    /// Takes note that the elements are read on the host.
    #[inline]
    #[track_caller]
    pub(crate) fn escape(&self) {
        self.escape_at(Some(Location::caller()));
    }

    /// [`Tensor::escape`] with the line that reads them.
    #[inline]
    pub(crate) fn escape_at(&self, at: Option<&'static Location<'static>>) {
        if let Some(By::Trace(trace, _)) = self.storage.traced().map(|traced| &traced.by) {
            trace.recording().escape.get_or_insert(at);
        }
    }

    /// The same elements in row-major order from the start of their memory.
    #[track_caller]
    pub(crate) fn dense(&self) -> Result<Tensor> {
        if self.layout.is_contiguous() && self.layout.offset == 0 {
            return Ok(Tensor { layout: Layout::contiguous(*self.shape()), ..self.clone() });
        }
        if self.storage.cuda().is_some() {
            // A conversion to its own type is a dense copy where it lies.
            return Tensor::apply(&Cast { to: self.dtype }, &[self])?.one();
        }
        with_element!(self.dtype, T => Tensor::build("contiguous", *self.shape(), |to: &mut [T]| {
            let mut at = 0;
            self.for_each_block(|block: &[T]| {
                to[at..at + block.len()].copy_from_slice(block);
                at += block.len();
            });
        }))
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace of {} operations", self.recording().graph.steps.len())
    }
}
