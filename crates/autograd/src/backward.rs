//! The walk back along a tape.

use crate::ops::{Add, CastOps, Elementwise, ReduceOps, Value, ViewOps};
use crate::tape::Step;
use crate::{Error, ErrorKind, Result, Shape, Spec, Tape, Tensor, Var};
use std::collections::HashMap;
use std::panic::Location;

/// The gradients of one number with respect to watched values.
#[derive(Debug, Default)]
pub struct Gradients {
    by_id: HashMap<usize, Tensor>,
}

impl Gradients {
    /// The gradient with respect to `x`, of its shape; zeros where the number does not depend on it.
    ///
    /// # Errors
    /// `x` is on no tape.
    #[track_caller]
    pub fn get(&self, x: &Var) -> Result<Tensor> {
        match x.place() {
            Some(place) => Ok(self.by_id.get(&place.id).cloned().unwrap_or_else(|| zeros(x.tensor().spec()))),
            None => Err(untracked("gradient", x).at(Location::caller())),
        }
    }

    /// Takes the gradient with respect to `x` out; `None` where the number does not depend on it.
    pub fn take(&mut self, x: &Var) -> Option<Tensor> {
        x.place().and_then(|place| self.by_id.remove(&place.id))
    }
}

fn zeros(spec: Spec) -> Tensor {
    Tensor::filled(spec, 0.0)
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

impl Var {
    /// The gradients of this number with respect to every watched value of its tape.
    ///
    /// # Errors
    /// It is no single number, or on no tape.
    #[track_caller]
    pub fn backward(&self) -> Result<Gradients> {
        let at = Location::caller();
        let Some(place) = self.place() else { return Err(untracked("backward", self).at(at)) };
        if self.tensor().count() != 1 {
            let text = format!("gradients start from a single number, this value has shape {}", self.tensor().shape());
            return Err(Error::shape("backward", text).help("reduce it first: .sum(..) or .mean(..)").at(at));
        }
        let seed = Var::new(Tensor::filled(self.tensor().spec(), 1.0));
        let tape = place.tape.clone();
        let end = place.id + 1;
        let mut walk = Walk::new(tape.clone(), end, false, vec![true; end]);
        walk.contribute(place.id, seed)?;
        walk.run(&|id| tape.is_leaf(id)).map_err(|e| e.at(at))?;
        let by_id = walk.gradients.into_iter().enumerate().filter_map(|(id, g)| Some((id, g?.into_tensor()))).collect();
        Ok(Gradients { by_id })
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
        if let Some(place) = y.place() {
            walk.contribute(place.id, (*dy).clone())?;
        }
    }
    walk.run(&|id| wanted[id]).map_err(|e| e.at(at))?;
    Ok(wrt.iter().map(|x| x.place().and_then(|p| walk.gradients.get(p.id).cloned().flatten())).collect())
}

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
                Var::new(Tensor::apply_owned(&Elementwise::<_, 2, 1>(Add), both)?.one()?)
            }
        });
        Ok(())
    }

    /// Visits the steps from the last to the first; `keep` says which gradients stay when they have been passed on.
    fn run(&mut self, keep: &dyn Fn(usize) -> bool) -> Result<()> {
        for i in (0..self.tape.steps_before(self.gradients.len())).rev() {
            let step = self.tape.step(i);
            let outputs = step.first..(step.first + step.y.len()).min(self.gradients.len());
            let need: Vec<bool> = step.inputs.iter().map(|i| i.is_some_and(|i| self.needed[i])).collect();
            if outputs.clone().all(|o| self.gradients[o].is_none()) || !need.contains(&true) {
                continue;
            }
            let mut dy: Vec<Option<Var>> =
                outputs.map(|o| if keep(o) { self.gradients[o].clone() } else { self.gradients[o].take() }).collect();
            dy.resize(step.y.len(), None);
            self.step(&step, &dy, &need)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, dy: &[Option<Var>], need: &[bool]) -> Result<()> {
        // Recording follows the data: on the tape, what the rule computes from these is recorded; off it, nothing is.
        let value = |id: Option<usize>, tensor: &Tensor| match id {
            Some(id) if self.create_graph => Var::on(&self.tape, id, tensor.clone()),
            _ => Var::new(tensor.clone()),
        };
        let x: Vec<Var> = step.inputs.iter().zip(&step.x).map(|(id, x)| value(*id, x)).collect();
        let y: Vec<Var> = step.y.iter().enumerate().map(|(i, y)| value(Some(step.first + i), y)).collect();
        let dx = step.rule.vjp(&x, &y, dy, need)?;
        debug_assert_eq!(dx.len(), x.len(), "{}: one gradient, or None, for each operand", step.rule.name());
        for ((dx, x), (&input, &need)) in dx.into_iter().zip(&x).zip(step.inputs.iter().zip(need)) {
            if let (Some(dx), Some(input), true) = (dx, input, need) {
                let dx = sum_to(&dx, Value::shape(x))?.cast(Value::dtype(x))?;
                self.contribute(input, dx)?;
            }
        }
        Ok(())
    }
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
