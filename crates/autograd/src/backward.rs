//! The walk back along a tape.

use crate::ops::{Add, CastOps, Elementwise, Function, ReduceOps, Value, ViewOps};
use crate::tape::{Step, TapeId};
use crate::{Error, ErrorKind, Result, Shape, Spec, Tape, Tensor, Var};
use std::panic::Location;

/// The gradients of one number with respect to the watched values of one tape.
#[derive(Debug)]
pub struct Gradients {
    tape: TapeId,
    /// In the order of the values' numbers; `None` once it has been taken out.
    by_id: Vec<(usize, Option<Tensor>)>,
}

impl Gradients {
    /// The gradient with respect to the watched value `x`, of its shape; zeros where the number does not depend on it.
    ///
    /// # Errors
    /// `x` is on no tape or on another one; it was computed and not watched, so that its gradient was not kept; its
    /// gradient has been taken out.
    #[track_caller]
    pub fn get(&self, x: &Var) -> Result<Tensor> {
        let at = Location::caller();
        let id = self.leaf(x).map_err(|e| e.at(at))?;
        match self.find(id).map(|place| &self.by_id[place].1) {
            Some(Some(gradient)) => Ok(gradient.clone()),
            Some(None) => Err(taken(x).at(at)),
            None => Ok(zeros(x.tensor().spec())),
        }
    }

    /// Takes the gradient with respect to the watched value `x` out; `None` where the number does not depend on it.
    ///
    /// # Errors
    /// As [`Gradients::get`].
    #[track_caller]
    pub fn take(&mut self, x: &Var) -> Result<Option<Tensor>> {
        let at = Location::caller();
        let id = self.leaf(x).map_err(|e| e.at(at))?;
        match self.find(id) {
            Some(place) => self.by_id[place].1.take().map(Some).ok_or_else(|| taken(x).at(at)),
            None => Ok(None),
        }
    }

    fn find(&self, id: usize) -> Option<usize> {
        self.by_id.binary_search_by_key(&id, |&(id, _)| id).ok()
    }

    /// The number of a watched value of this tape.
    fn leaf(&self, x: &Var) -> Result<usize> {
        let Some(place) = x.place() else { return Err(untracked("gradient", x)) };
        if place.tape.id() != self.tape {
            let text = format!("the value of shape {} is on another tape than these gradients", x.tensor().shape());
            return Err(Error::new(ErrorKind::Tape, "gradient", text)
                .help("ask for the values that the tape of .backward() watched"));
        }
        if !place.tape.is_leaf(place.id) {
            let text =
                format!("the value of shape {} was computed, and only watched ones keep theirs", x.tensor().shape());
            return Err(Error::new(ErrorKind::Tape, "gradient", text).help(
                "ask before the walk: gradients(&[(&y, &one)], &[&x], false), or watch it as a leaf of its own",
            ));
        }
        Ok(place.id)
    }
}

fn zeros(spec: Spec) -> Tensor {
    Tensor::filled(spec, 0.0)
}

fn taken(x: &Var) -> Error {
    let text = format!("that of the value of shape {} has been taken out already", x.tensor().shape());
    Error::new(ErrorKind::Tape, "gradient", text)
        .help("use .get(&x), which copies no numbers, to read it more than once")
}

fn untracked(op: &str, x: &Var) -> Error {
    let spec = x.tensor().spec();
    let text = format!("the value of shape {} ({}) is on no tape", spec.shape, spec.dtype);
    let help = if spec.dtype.is_float() {
        "put it there before computing with it: let x = tape.watch(&tensor)"
    } else {
        "only floating-point values have gradients"
    };
    Error::new(ErrorKind::Tape, op, text).help(help)
}

/// The error of a walk back from a value that is no single number.
pub(crate) fn single(op: &str, y: &Var) -> Result<()> {
    if y.tensor().count() == 1 {
        return Ok(());
    }
    let text = format!("gradients start from a single number, this value has shape {}", y.tensor().shape());
    Err(Error::shape(op, text).help("reduce it first: .sum(..) or .mean(..)"))
}

impl Var {
    /// The gradients of this number with respect to every watched value of its tape.
    ///
    /// # Errors
    /// It is no single number, or on no tape; a rule that errs.
    #[track_caller]
    pub fn backward(&self) -> Result<Gradients> {
        let at = Location::caller();
        let Some(place) = self.place() else { return Err(untracked("backward", self).at(at)) };
        let mut by_id = Vec::new();
        self.walk_back(&mut |id, gradient| {
            by_id.push((id, Some(gradient)));
            Ok(())
        })
        .map_err(|e| e.at(at))?;
        by_id.sort_unstable_by_key(|&(id, _)| id);
        Ok(Gradients { tape: place.tape.id(), by_id })
    }

    /// Walks back as [`Var::backward`] does and gives `leaf` the gradient of each watched value as soon as it is final,
    /// which is after the last step that may add to it: to send it elsewhere while the walk goes on. With it comes the
    /// value's number, [`Var::leaf`].
    ///
    /// The order is that of the walk and the same in every run: the values that were used late come early, and of one
    /// step the operands in order. Each comes once, and those on which the number does not depend never.
    ///
    /// ```
    /// use kiln_autograd::{Tape, Tensor, ops::*};
    /// let tape = Tape::new();
    /// let (a, b) = (tape.watch(&Tensor::new(2.0)), tape.watch(&Tensor::new(3.0)));
    /// let mut seen = Vec::new();
    /// a.exp()?.mul(&b)?.backward_with(|leaf, _gradient| {
    ///     seen.push(leaf);
    ///     Ok(())
    /// })?;
    /// assert_eq!(seen, [b.leaf().unwrap(), a.leaf().unwrap()]);
    /// # Ok::<(), kiln_autograd::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Var::backward`]; an error of `leaf` ends the walk.
    #[track_caller]
    pub fn backward_with(&self, mut leaf: impl FnMut(usize, Tensor) -> Result<()>) -> Result<()> {
        let at = Location::caller();
        let Some(place) = self.place() else { return Err(untracked("backward", self).at(at)) };
        self.walk_back(&mut |id, gradient| match place.tape.leaf_number(id) {
            Some(number) => leaf(number, gradient),
            None => Ok(()),
        })
        .map_err(|e| e.at(at))
    }

    /// The number of this value among those that its tape watches, from 0 in the order of [`Tape::watch`]; `None` for
    /// what was computed, and for what is on no tape.
    pub fn leaf(&self) -> Option<usize> {
        self.place().and_then(|place| place.tape.leaf_number(place.id))
    }

    /// The walk of both: `leaf` gets the place of each watched value on the tape, and its gradient.
    fn walk_back(&self, leaf: &mut dyn FnMut(usize, Tensor) -> Result<()>) -> Result<()> {
        let Some(place) = self.place() else { return Err(untracked("backward", self)) };
        single("backward", self)?;
        let end = place.id + 1;
        let mut walk = Walk::new(place.tape.clone(), end, false, vec![true; end]);
        walk.contribute(place.id, Var::new(self.tensor().filled_like(1.0)?))?;
        let last = walk.last_steps(place.id);
        walk.run(&|_| false, &mut |walk, step, inputs| {
            for id in inputs.iter().flatten().copied().filter(|&id| last[id] == step && place.tape.is_leaf(id)) {
                if let Some(gradient) = walk.gradients[id].take() {
                    leaf(id, gradient.into_tensor())?;
                }
            }
            Ok(())
        })?;
        // The number may itself be watched.
        match walk.gradients[place.id].take().filter(|_| place.tape.is_leaf(place.id)) {
            Some(gradient) => leaf(place.id, gradient.into_tensor()),
            None => Ok(()),
        }
    }
}

/// The gradients of `Σ outputs · cotangents` with respect to `wrt`: `None` where nothing flows.
///
/// With `create_graph` the computation of the gradients is recorded too, and they can be differentiated again.
///
/// # Errors
/// A value of `wrt` that is on no tape, outputs on different tapes, a cotangent of another shape than its output.
#[track_caller]
pub fn gradients(outputs: &[(&Var, &Var)], wrt: &[&Var], create_graph: bool) -> Result<Vec<Option<Var>>> {
    let at = Location::caller();
    let vars: Vec<&Var> = outputs.iter().map(|o| o.0).chain(wrt.iter().copied()).collect();
    let Some(tape) = crate::var::common_tape("gradients", &vars).map_err(|e| e.at(at))? else {
        return Ok(vec![None; wrt.len()]);
    };
    let mut wanted = vec![false; tape.values()];
    for x in wrt {
        let Some(place) = x.place() else { return Err(untracked("gradients", x).at(at)) };
        wanted[place.id] = true;
    }
    let mut needed = wanted.clone();
    tape.spread(&mut needed);
    let end = outputs.iter().filter_map(|(y, _)| y.place()).map(|p| p.id + 1).max().unwrap_or(0);
    let mut walk = Walk::new(tape, end, create_graph, needed);
    for (y, dy) in outputs {
        if Value::shape(*y) != Value::shape(*dy) {
            let text = format!("the cotangent has shape {}, the output {}", Value::shape(*dy), Value::shape(*y));
            return Err(Error::shape("gradients", text).at(at));
        }
        if !Value::dtype(*dy).is_float() {
            let text = format!("the cotangent is of type {}, which no gradient has", Value::dtype(*dy));
            return Err(Error::dtype("gradients", text).help("convert it: .cast(DType::F32)").at(at));
        }
        if let Some(place) = y.place() {
            walk.contribute(place.id, (*dy).clone())?;
        }
    }
    walk.run(&|id| wanted[id], &mut |_, _, _| Ok(())).map_err(|e| e.at(at))?;
    Ok(wrt.iter().map(|x| x.place().and_then(|p| walk.gradients.get(p.id).cloned().flatten())).collect())
}

/// What is told of a step that has been passed: the walk, the step's number, its operands.
type Passed<'a> = dyn FnMut(&mut Walk, usize, &[Option<usize>]) -> Result<()> + 'a;

struct Walk {
    tape: Tape,
    create_graph: bool,
    /// Values through which a gradient must pass.
    needed: Vec<bool>,
    /// The gradient of each value so far.
    gradients: Vec<Option<Var>>,
}

impl Walk {
    fn new(tape: Tape, end: usize, create_graph: bool, needed: Vec<bool>) -> Walk {
        Walk { tape, create_graph, needed, gradients: vec![None; end] }
    }

    /// Adds to the gradient of a value. The first contribution moves in; later ones are added in place.
    fn contribute(&mut self, id: usize, gradient: Var) -> Result<()> {
        let slot = &mut self.gradients[id];
        *slot = Some(match slot.take() {
            None => gradient,
            Some(sum) if self.create_graph => Var::elementwise(Add, [&sum, &gradient]).map(|[sum]| sum)?,
            Some(sum) => {
                let both = vec![sum.into_tensor(), gradient.into_tensor()];
                Var::new(Tensor::apply_owned(Add::operation(&Elementwise(Add)), both)?.one()?)
            }
        });
        Ok(())
    }

    /// For each value, the last step of a walk from `root` that may add to its gradient.
    fn last_steps(&self, root: usize) -> Vec<usize> {
        let end = self.gradients.len();
        let (mut reached, mut last) = (vec![false; end], vec![usize::MAX; end]);
        reached[root] = true;
        self.tape.for_each_step_back(end, |i, step| {
            if reached[step.first..(step.first + step.y().len()).min(end)].contains(&true) {
                for &input in step.inputs.iter().flatten() {
                    (reached[input], last[input]) = (true, i);
                }
            }
        });
        last
    }

    /// Visits the steps from the last to the first; `keep` says which gradients stay when they have been passed on, and
    /// `passed` learns of every step, visited or not, with its operands.
    fn run(&mut self, keep: &dyn Fn(usize) -> bool, passed: &mut Passed<'_>) -> Result<()> {
        for i in (0..self.tape.steps_before(self.gradients.len())).rev() {
            let step = self.tape.step(i);
            let outputs = step.first..(step.first + step.y().len()).min(self.gradients.len());
            let need: Vec<bool> = step.inputs.iter().map(|i| i.is_some_and(|i| self.needed[i])).collect();
            if outputs.clone().any(|o| self.gradients[o].is_some()) && need.contains(&true) {
                let mut dy: Vec<Option<Var>> = outputs
                    .map(|o| if keep(o) { self.gradients[o].clone() } else { self.gradients[o].take() })
                    .collect();
                dy.resize(step.y().len(), None);
                self.step(&step, &dy, &need).map_err(|e| match e.kind() {
                    ErrorKind::NotFinite | ErrorKind::Tape => {
                        e.note(format_args!("in the gradient of `{}`", step.rule.name()))
                    }
                    _ => e,
                })?;
            }
            passed(self, i, &step.inputs)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, dy: &[Option<Var>], need: &[bool]) -> Result<()> {
        // Recording follows the data: on the tape, what the rule computes from these is recorded; off it, nothing is.
        let value = |id: Option<usize>, tensor: &Tensor| match id {
            Some(id) if self.create_graph => Var::on(&self.tape, id, tensor.clone()),
            _ => Var::new(tensor.clone()),
        };
        let x: Vec<Var> = step.inputs.iter().zip(step.x()).map(|(id, x)| value(*id, x)).collect();
        let y: Vec<Var> = step.y().iter().enumerate().map(|(i, y)| value(Some(step.first + i), y)).collect();
        let dx = step.rule.vjp(&x, &y, dy, need)?;
        if dx.len() != x.len() {
            let text = format!("its vjp gives {} gradients for {} operands", dx.len(), x.len());
            return Err(broken_rule(step, text).help("give one for each operand: Some, or None where nothing flows"));
        }
        for (operand, ((dx, x), (&input, &need))) in
            dx.into_iter().zip(&x).zip(step.inputs.iter().zip(need)).enumerate()
        {
            if let (Some(dx), Some(input), true) = (dx, input, need) {
                check_gradient(step, operand, &dx, x)?;
                let dx = sum_to(&dx, Value::shape(x))?.cast(Value::dtype(x))?;
                self.contribute(input, dx)?;
            }
        }
        Ok(())
    }
}

fn broken_rule(step: &Step, text: String) -> Error {
    Error::new(ErrorKind::Argument, step.rule.name(), text)
}

/// A gradient is a float, and of the operand's shape or one that the operand broadcasts to.
fn check_gradient(step: &Step, operand: usize, dx: &Var, x: &Var) -> Result<()> {
    let (from, to) = (Value::shape(dx), Value::shape(x));
    if !Value::dtype(dx).is_float() {
        let text = format!("its vjp gives a gradient of type {} for operand {operand}", Value::dtype(dx));
        return Err(broken_rule(step, text).help("gradients are floating-point numbers"));
    }
    if from != to && !to.broadcast(from).is_ok_and(|both| both == *from) {
        let text = format!("its vjp gives a gradient of shape {from} for operand {operand} of shape {to}");
        return Err(broken_rule(step, text).help("give it the operand's shape, or one that the operand broadcasts to"));
    }
    Ok(())
}

/// The one place where broadcasting is undone: sums over the dimensions that `shape` was stretched along.
pub(crate) fn sum_to<V>(x: &V, shape: &Shape) -> Result<V>
where
    V: ReduceOps + ViewOps,
{
    let from = *Value::shape(x);
    if from == *shape {
        return Ok(x.clone());
    }
    let lead = from.rank() - shape.rank();
    let axes: Vec<isize> =
        (0..from.rank()).filter(|&a| a < lead || (shape[a - lead] == 1 && from[a] != 1)).map(|a| a as isize).collect();
    let summed = if axes.is_empty() { x.clone() } else { x.sum(&axes)? };
    summed.reshape(shape)
}
