//! A value that a tape may follow.

use crate::ops::{Apply, Elementwise, ElementwiseOp, Fold, FoldOp, Function, Reduce, Value};
use crate::rules::{Folded, Pointwise};
use crate::tape::Rule;
use crate::{Differentiable, Error, ErrorKind, Op, Outputs, Result, Tape, Tensor};
use smallvec::SmallVec;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// A tensor, and its place on a tape if it has one; it prints as its tensor does. The operations are methods of the traits in [`crate::ops`].
#[derive(Clone)]
pub struct Var {
    tensor: Tensor,
    place: Option<Place>,
}

/// A value's number on its tape.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) tape: Tape,
    pub(crate) id: usize,
}

impl Var {
    /// A value that no tape follows: input data, labels.
    pub fn new(tensor: Tensor) -> Var {
        Var { tensor, place: None }
    }

    pub(crate) fn on(tape: &Tape, id: usize, tensor: Tensor) -> Var {
        Var { tensor, place: Some(Place { tape: tape.clone(), id }) }
    }

    /// The numbers.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The numbers, taken out.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// The number of a value that has only one, such as a loss: [`Tensor::item`].
    ///
    /// # Errors
    /// A value of several numbers, or of none.
    #[track_caller]
    pub fn item(&self) -> Result<f64> {
        self.tensor.item()
    }

    /// Whether a tape follows this value.
    pub fn is_tracked(&self) -> bool {
        self.place.is_some()
    }

    /// The tape that follows this value.
    pub fn tape(&self) -> Option<&Tape> {
        self.place.as_ref().map(|p| &p.tape)
    }

    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Runs an operation and records it, if an operand is on a tape.
    #[track_caller]
    pub(crate) fn run<O: Differentiable>(op: O, x: &[&Var]) -> Result<Outputs<Var>> {
        let (mut results, mut y) = (Outputs::default(), Outputs::default());
        let tape = apply(op.as_op(), x, &mut results)?;
        record(tape, || Arc::new(op), x, &mut results, &mut y);
        Ok(y)
    }
}

/// Runs an operation that is known behind a pointer alone, and records it with this rule, if an operand is on a tape. The
/// results are added to `y`, where they stay: to move a list of them costs as much as a small tensor's kernel.
#[track_caller]
pub(crate) fn run(op: &dyn Op, x: &[&Var], rule: impl FnOnce() -> Arc<dyn Rule>, y: &mut Outputs<Var>) -> Result<()> {
    let mut results = Outputs::default();
    let tape = apply(op, x, &mut results)?;
    record(tape, rule, x, &mut results, y);
    Ok(())
}

#[track_caller]
pub(crate) fn apply_elementwise(op: &dyn ElementwiseOp, x: &[&Var], y: &mut Outputs<Var>) -> Result<()> {
    run(op, x, || Arc::new(Pointwise(op.to_shared())), y)
}

#[track_caller]
fn apply_fold(op: &dyn FoldOp, x: &[&Var], y: &mut Outputs<Var>) -> Result<()> {
    run(op, x, || Arc::new(Folded(op.to_shared())), y)
}

/// Adds the results to `results`, and says which tape is to follow them. Not generic, as it would be compiled for each
/// operation in each crate.
#[track_caller]
fn apply(op: &dyn Op, x: &[&Var], results: &mut Outputs) -> Result<Option<Tape>> {
    let at = Location::caller();
    let tape = common_tape(op.name(), x).map_err(|e| e.at(at))?;
    let tensors: SmallVec<[&Tensor; 4]> = x.iter().map(|x| &x.tensor).collect();
    Tensor::apply_to(op, &tensors, results).map_err(|e| e.at(at))?;
    Ok(tape)
}

/// Makes values of the results, which the tape follows if there is one.
fn record(
    tape: Option<Tape>,
    rule: impl FnOnce() -> Arc<dyn Rule>,
    x: &[&Var],
    results: &mut Outputs,
    y: &mut Outputs<Var>,
) {
    match tape {
        Some(tape) => tape.record(rule(), x, results, y),
        None => results.drain().for_each(|tensor| y.push(Var::new(tensor))),
    }
}

/// The one tape that the operands are on, if any.
pub(crate) fn common_tape(op: &str, x: &[&Var]) -> Result<Option<Tape>> {
    let mut tapes = x.iter().filter_map(|x| x.tape());
    let Some(first) = tapes.next() else { return Ok(None) };
    match tapes.all(|t| t.is(first)) {
        true => Ok(Some(first.clone())),
        false => Err(Error::new(ErrorKind::Tape, op, "the operands are on different tapes")
            .help("watch all of them on one tape, or cut one off with .detach()")),
    }
}

impl Value for Var {
    fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    fn constant(tensor: Tensor) -> Var {
        Var::new(tensor)
    }

    #[track_caller]
    fn elementwise<F: Function<IN, OUT>, const IN: usize, const OUT: usize>(f: F, x: [&Var; IN]) -> Result<[Var; OUT]> {
        let mut y = Outputs::default();
        apply_elementwise(F::operation(&Elementwise(f)), &x, &mut y)?;
        Ok(y.take_array().unwrap_or_else(|| unreachable!("an elementwise operation has OUT results")))
    }

    #[track_caller]
    fn fold<F: Fold<STATE>, P: Function<IN>, const STATE: usize, const IN: usize>(
        op: Reduce<F, P, STATE, IN>,
        x: [&Var; IN],
    ) -> Result<Var> {
        let mut y = Outputs::default();
        apply_fold(op.operation(), &x, &mut y)?;
        y.one()
    }
}

impl<O: Differentiable> Apply<O> for Var {
    #[track_caller]
    fn apply_op(op: O, x: &[&Var]) -> Result<Outputs<Var>> {
        Var::run(op, x)
    }
}

impl From<Tensor> for Var {
    fn from(tensor: Tensor) -> Var {
        Var::new(tensor)
    }
}

impl fmt::Display for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tensor.fmt(f)
    }
}

impl fmt::Debug for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "Var(#{}, {:?})", place.id, self.tensor),
            None => write!(f, "Var({:?})", self.tensor),
        }
    }
}

// The operators return this crate's `Result`, which is the tensor crate's.
use kiln_tensor::value_operators;
value_operators!(Var);
