//! The list of what was computed.

use crate::var::Place;
use crate::{Differentiable, Keep, Outputs, Result, Tensor, Var};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the walk back needs of a recorded step: any [`Differentiable`], or a region to be computed anew.
pub(crate) trait Rule {
    fn name(&self) -> &str;
    fn keeps(&self) -> Keep;
    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>>;
}

impl<O: Differentiable> Rule for O {
    fn name(&self) -> &str {
        crate::Op::name(self)
    }
    fn keeps(&self) -> Keep {
        Differentiable::keeps(self)
    }
    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        Differentiable::vjp(self, x, y, dy, need)
    }
}

/// One recorded step. Operands and results that its rule does not read are stand-ins of the right shape.
pub(crate) struct Step {
    pub(crate) rule: Arc<dyn Rule>,
    /// The number of each operand on the tape, `None` for constants.
    pub(crate) inputs: SmallVec<[Option<usize>; 4]>,
    /// The operands, and then the results.
    values: Vec<Tensor>,
    /// The number of the first result; the others follow.
    pub(crate) first: usize,
}

impl Step {
    pub(crate) fn x(&self) -> &[Tensor] {
        &self.values[..self.inputs.len()]
    }

    pub(crate) fn y(&self) -> &[Tensor] {
        &self.values[self.inputs.len()..]
    }
}

/// What a tape is known by outside of it: never given twice, as an address would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TapeId(u64);

struct List {
    id: TapeId,
    steps: Vec<Rc<Step>>,
    values: usize,
    leaves: Vec<usize>,
}

/// A record of the operations on watched values, in the order in which they ran.
///
/// Cloning gives another handle on the same tape. When the last handle and the last [`Var`] on it are gone, so is all
/// it kept.
#[derive(Clone)]
pub struct Tape(Rc<RefCell<List>>);

impl Default for Tape {
    fn default() -> Tape {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = TapeId(NEXT.fetch_add(1, Ordering::Relaxed));
        Tape(Rc::new(RefCell::new(List { id, steps: Vec::new(), values: 0, leaves: Vec::new() })))
    }
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Tape {
        Tape::default()
    }

    /// The tensor as a value that this tape follows. Integers and booleans have no derivative and are not followed.
    #[must_use]
    pub fn watch(&self, tensor: &Tensor) -> Var {
        if !tensor.dtype().is_float() {
            return Var::new(tensor.clone());
        }
        let mut list = self.0.borrow_mut();
        let id = list.values;
        list.values += 1;
        list.leaves.push(id);
        drop(list);
        Var::on(self, id, tensor.clone())
    }

    /// Number of recorded operations.
    pub fn len(&self) -> usize {
        self.0.borrow().steps.len()
    }

    /// Whether nothing has been recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn is(&self, other: &Tape) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn id(&self) -> TapeId {
        self.0.borrow().id
    }

    pub(crate) fn values(&self) -> usize {
        self.0.borrow().values
    }

    pub(crate) fn is_leaf(&self, id: usize) -> bool {
        self.leaf_number(id).is_some()
    }

    /// Which of the watched values this is.
    pub(crate) fn leaf_number(&self, id: usize) -> Option<usize> {
        self.0.borrow().leaves.binary_search(&id).ok()
    }

    pub(crate) fn step(&self, i: usize) -> Rc<Step> {
        self.0.borrow().steps[i].clone()
    }

    /// Marks every value that depends on a marked one.
    pub(crate) fn spread(&self, marked: &mut [bool]) {
        for step in &self.0.borrow().steps {
            let depends = step.inputs.iter().flatten().any(|&i| marked.get(i) == Some(&true));
            if depends && let Some(results) = marked.get_mut(step.first..step.first + step.y().len()) {
                results.fill(true);
            }
        }
    }

    /// Shows the steps that computed a value below `end`, from the last to the first, with their numbers.
    pub(crate) fn for_each_step_back(&self, end: usize, mut visit: impl FnMut(usize, &Step)) {
        let steps = &self.0.borrow().steps;
        let before = steps.partition_point(|s| s.first < end);
        steps[..before].iter().enumerate().rev().for_each(|(i, step)| visit(i, step));
    }

    /// The last step that computed a value below `end`, counted from 1.
    pub(crate) fn steps_before(&self, end: usize) -> usize {
        self.0.borrow().steps.partition_point(|s| s.first < end)
    }

    /// Appends a step, and its results to `y`. Those that are no floats have no derivative and leave the tape.
    pub(crate) fn record(&self, rule: Arc<dyn Rule>, x: &[&Var], results: &mut Outputs, y: &mut Outputs<Var>) {
        let mut first = None;
        if results.iter().any(|y| y.dtype().is_float()) {
            let keep = rule.keeps();
            let mut values = Vec::with_capacity(x.len() + results.len());
            values.extend(x.iter().enumerate().map(|(i, x)| kept(x.tensor(), keep.input(i))));
            values.extend(results.iter().enumerate().map(|(i, y)| kept(y, keep.output(i))));
            let inputs = x.iter().map(|x| x.place().map(|p: &Place| p.id)).collect();
            let list = &mut *self.0.borrow_mut();
            list.steps.push(Rc::new(Step { rule, inputs, values, first: list.values }));
            first = Some(list.values);
            list.values += results.len();
        }
        for (i, result) in results.drain().enumerate() {
            y.push(match first {
                Some(first) if result.dtype().is_float() => Var::on(self, first + i, result),
                _ => Var::new(result),
            });
        }
    }
}

/// The tensor, or its shape and type where it is not kept: a rule that reads what it does not keep is an error.
fn kept(tensor: &Tensor, keep: bool) -> Tensor {
    if keep { tensor.clone() } else { Tensor::withheld(tensor.spec()) }
}

impl fmt::Debug for Tape {
    /// The listing: a line for each step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.0.borrow();
        writeln!(f, "tape of {} steps, {} watched values", list.steps.len(), list.leaves.len())?;
        for step in &list.steps {
            let inputs: Vec<String> =
                step.inputs.iter().map(|i| i.map_or("const".into(), |i| format!("#{i}"))).collect();
            let shape = step.y().first().map(|y| format!("{} {}", y.dtype(), y.shape())).unwrap_or_default();
            writeln!(f, "#{} = {}({})  {shape}", step.first, step.rule.name(), inputs.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::ops::{ComparisonOps, SelectOps, ViewOps};

    /// A rule that gives what it is told to, whatever its operands.
    struct Gives(fn() -> Vec<Option<Var>>);

    impl Rule for Gives {
        fn name(&self) -> &str {
            "gives"
        }
        fn keeps(&self) -> Keep {
            Keep::NOTHING
        }
        fn vjp(&self, _x: &[Var], _y: &[Var], _dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
            Ok((self.0)())
        }
    }

    /// What a rule gives on the tape for a result 0.
    fn recorded(tape: &Tape, rule: Arc<dyn Rule>, x: &[&Var]) -> Var {
        let mut y = Outputs::default();
        tape.record(rule, x, &mut Tensor::new(0.0).into(), &mut y);
        y.one().unwrap()
    }

    /// The gradient of the first of two operands, of shapes `[2]` and `[1]`.
    fn gradient_of(rule: fn() -> Vec<Option<Var>>) -> Result<Vec<f64>> {
        let tape = Tape::new();
        let (a, b) = (tape.watch(&Tensor::new([1.0, 2.0])), tape.watch(&Tensor::new([3.0])));
        let y = recorded(&tape, Arc::new(Gives(rule)), &[&a, &b]);
        y.backward()?.get(&a)?.to_vec()
    }

    /// A rule that reads what it does not keep.
    struct Reads;

    impl Rule for Reads {
        fn name(&self) -> &str {
            "reads"
        }
        fn keeps(&self) -> Keep {
            Keep::only(&[1], &[0])
        }
        fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
            let Some(dy) = &dy[0] else { return Ok(vec![None, None]) };
            // A view is no reading; a comparison with NaN would be a plausible mask.
            let x = x[0].reshape([2, 1])?.reshape([2])?;
            let mask = x.gt(&y[0])?;
            Ok(vec![Some(mask.select(dy, 0.0)?), None])
        }
    }

    #[test]
    fn a_rule_that_reads_what_it_does_not_keep_is_named() {
        for again in [false, true] {
            let tape = Tape::new();
            let (a, b) = (tape.watch(&Tensor::new([1.0, 2.0])), tape.watch(&Tensor::new([3.0])));
            let y = recorded(&tape, Arc::new(Reads), &[&a, &b]);
            let one = Var::new(Tensor::new(1.0));
            let error = crate::gradients(&[(&y, &one)], &[&a], again).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Tape);
            let text = error.to_string();
            assert!(text.starts_with("gt: the elements of operand 0, f64 [2], were not kept"), "{text}");
            assert!(text.contains("in the gradient of `reads`") && text.contains("Keep::ALL"), "{text}");
        }
    }

    #[test]
    fn a_rule_that_breaks_its_word_is_named() {
        assert_eq!(gradient_of(|| vec![None, None]).unwrap(), [0.0, 0.0]);
        let stretched = gradient_of(|| vec![Some(Var::new(Tensor::new([[1.0, 2.0], [3.0, 4.0]]))), None]);
        assert_eq!(stretched.unwrap(), [4.0, 6.0]);
        let wrong: [fn() -> Vec<Option<Var>>; 7] = [
            Vec::new,
            || vec![None],
            || vec![None, None, None],
            || vec![Some(Var::new(Tensor::new(1.0))), None],
            || vec![Some(Var::new(Tensor::new([1.0, 2.0, 3.0]))), None],
            || vec![Some(Var::new(Tensor::new([[1.0], [2.0]]))), None],
            || vec![Some(Var::new(Tensor::new([1, 2]))), None],
        ];
        for rule in wrong {
            let error = gradient_of(rule).unwrap_err();
            assert!(error.kind() == ErrorKind::Argument && error.to_string().starts_with("gives: its vjp"), "{error}");
        }
    }
}
