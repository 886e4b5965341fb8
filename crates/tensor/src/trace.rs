//! Recording what is computed. A tensor that a [`Trace`] has been given carries it in its storage; an operation with such
//! an operand runs as always and is written down: forward and backward passes, updates, statistics and metrics alike,
//! with nothing global.

use crate::op::Outputs;
use crate::plan::{Graph, Operand, Origin, Plan, Step, Value};
use crate::run::run;
use crate::storage::Storage;
use crate::watch::{self, Watching};
use crate::{Error, ErrorKind, Layout, Op, Result, Tensor, with_element};
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
    /// Of a [`Watch`](crate::Watch), which looks at results and records nothing.
    watching: Option<Watching>,
}

/// A value of a recording, and where its elements are now.
pub(crate) struct Traced {
    trace: Trace,
    value: usize,
    pub(crate) storage: Storage,
    /// Where a value that is watched came from.
    pub(crate) origin: Option<watch::Origin>,
}

#[derive(Default)]
struct Recording {
    graph: Graph,
    /// A value was read on the host, at this line if it is known: what follows from it is not recorded.
    escape: Option<Option<&'static Location<'static>>>,
}

impl Trace {
    /// An empty recording.
    pub fn new() -> Trace {
        Trace::default()
    }

    /// One that watches instead.
    pub(crate) fn watching(watching: Watching) -> Trace {
        Trace(Arc::new(Shared { watching: Some(watching), ..Shared::default() }))
    }

    pub(crate) fn is(&self, other: &Trace) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn watch(&self) -> Option<&Watching> {
        self.0.watching.as_ref()
    }

    /// `x` with a watch over its use.
    pub(crate) fn watched(&self, x: Tensor, origin: watch::Origin) -> Tensor {
        self.carried(x, 0, Some(origin))
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
    /// There is no memory for a copy of a strided view.
    #[track_caller]
    pub fn input(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.untraced().dense()?;
        let graph = &mut self.recording().graph;
        let origin = Origin::Input(graph.inputs.len());
        graph.inputs.push(x.spec());
        let value = graph.add(Value { origin, shape: *x.shape(), dtype: x.dtype() });
        Ok(self.carried_by(x, value))
    }

    fn carried_by(&self, x: Tensor, value: usize) -> Tensor {
        self.carried(x, value, None)
    }

    fn carried(&self, x: Tensor, value: usize, origin: Option<watch::Origin>) -> Tensor {
        let traced = Traced { trace: self.clone(), value, storage: x.storage, origin };
        Tensor { storage: Storage::Traced(Arc::new(traced)), layout: x.layout, dtype: x.dtype }
    }

    /// A plan of what leads from the inputs to `outputs`. The recording ends: what is computed of its tensors afterwards
    /// is computed as of any others.
    ///
    /// # Errors
    /// A value was read on the host while the recording went on: what followed from it is not known. The error names the
    /// line.
    #[track_caller]
    pub fn finish(self, outputs: &[&Tensor]) -> Result<Plan> {
        let here = Location::caller();
        let mut recording = self.recording();
        self.0.is_finished.store(true, Ordering::Relaxed);
        let results: Result<Vec<Operand>> = outputs.iter().map(|x| self.operand(&mut recording.graph, x)).collect();
        let (graph, escape) = (std::mem::take(&mut recording.graph), recording.escape);
        drop(recording);
        if let Some(at) = escape {
            let text = "a recorded value was read on the host, where no plan can follow it";
            let error = Error::new(ErrorKind::Escape, "trace", text);
            let error = error.help("keep it a tensor: .gt, .select and .clamp decide element by element");
            return Err(error.at(at.unwrap_or(here)));
        }
        Plan::new(graph, results?).map_err(|e| e.at(here))
    }

    /// `x` as an operation of the recording reads it.
    fn operand(&self, graph: &mut Graph, x: &Tensor) -> Result<Operand> {
        let value = match x.storage.traced() {
            Some(traced) if Arc::ptr_eq(&traced.trace.0, &self.0) => traced.value,
            Some(traced) if traced.is_live() => {
                let text = "the operands belong to two recordings";
                return Err(Error::new(ErrorKind::Escape, "trace", text).help("finish one before the other begins"));
            }
            _ => graph.constant(x.storage.untraced(), x.dtype),
        };
        Ok(Operand { value, layout: x.layout, dtype: x.dtype, is_number: x.is_number() })
    }
}

impl Traced {
    /// Whether the recording goes on.
    pub(crate) fn is_live(&self) -> bool {
        !self.trace.0.is_finished.load(Ordering::Relaxed)
    }

    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Runs `op`, one of whose operands is recorded or watched, and records it or looks at its results.
    pub(crate) fn record(
        &self,
        op: &dyn Op,
        x: &[&Tensor],
        y: &mut Outputs,
        at: &'static Location<'static>,
    ) -> Result<()> {
        if let Some(watching) = self.trace.watch() {
            return watching.run(&self.trace, op, x, y, at);
        }
        let plain: Vec<Tensor> = x.iter().map(|x| x.untraced()).collect();
        let first = y.len();
        run(op, &plain.iter().collect::<Vec<_>>(), &mut [], y, at)?;
        let mut recording = self.trace.recording();
        let graph = &mut recording.graph;
        let operands = x.iter().map(|x| self.trace.operand(graph, x)).collect::<Result<Vec<Operand>>>()?;
        let results = &mut y.as_mut_slice()[first..];
        if let ([x], [operand], [result]) = (&plain[..], &operands[..], &mut *results)
            && result.storage.is_same(&x.storage)
        {
            // A view is no step: what reads it reads the operand by another layout.
            *result = self.trace.carried_by(result.clone(), operand.value);
            return Ok(());
        }
        let mut values = Vec::with_capacity(results.len());
        for result in results {
            let value = graph.add(Value { origin: Origin::Step, shape: *result.shape(), dtype: result.dtype() });
            *result = self.trace.carried_by(result.clone(), value);
            values.push(value);
        }
        graph.steps.push(Step { op: op.to_arc(), x: operands, y: values, at });
        Ok(())
    }
}

impl Tensor {
    /// The same elements, off every recording.
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
        if let Some(traced) = self.storage.traced() {
            traced.trace.recording().escape.get_or_insert(at);
        }
    }

    /// The same elements in row-major order from the start of their memory.
    #[track_caller]
    pub(crate) fn dense(&self) -> Result<Tensor> {
        if self.layout.is_contiguous() && self.layout.offset == 0 {
            return Ok(Tensor { layout: Layout::contiguous(*self.shape()), ..self.clone() });
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
