//! Running a plan: the addresses of this run, then one kernel after the other.

use super::memory::Place;
use super::{Call, Origin, Plan, Read};
use crate::run::{Copies, FEW, View, ViewMut, call_kernel, no_memory};
use crate::storage::Storage;
use crate::{DType, Error, Result, Spec, Tensor};
use smallvec::SmallVec;
use std::panic::Location;

/// Where each value begins in the run that is going on; kept from run to run for its memory alone.
#[derive(Default)]
pub(super) struct Bases(Vec<*mut u8>);

/// The memory of results.
#[derive(Default)]
pub(super) struct Results {
    /// Of the run that is going on.
    storages: Vec<Storage>,
    /// Of the last run, for results that take no input's place: used again once nobody looks at them.
    spare: Vec<Option<Storage>>,
}

// SAFETY: between runs, when a plan can move to another thread, nobody reads the addresses.
unsafe impl Send for Bases {}
// SAFETY: they are read and written through `&mut Plan` alone.
unsafe impl Sync for Bases {}

impl Plan {
    /// Runs the plan on other inputs.
    ///
    /// # Errors
    /// Inputs of another number, shape or type than those that were recorded; what an operation finds wrong with the
    /// values, at the line that asked for it; no memory for the results.
    #[track_caller]
    pub fn run(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let at = Location::caller();
        let mut tensors: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
        self.replay(&mut tensors).map_err(|e| e.at(at))?;
        Ok(tensors.split_off(inputs.len()))
    }

    /// Runs the plan on the tensors of a list and puts the results in their place: a result takes the memory of an input
    /// where it can, so that what is updated lies where it lay. Nothing is allocated when the list has been used before and
    /// nobody else holds its tensors or the results of the last run.
    ///
    /// # Errors
    /// As [`Plan::run`]; the inputs are all there then, as they were.
    #[track_caller]
    pub fn run_in_place(&mut self, tensors: &mut Vec<Tensor>) -> Result<()> {
        let at = Location::caller();
        let inputs = tensors.len();
        self.replay(tensors).map_err(|e| e.at(at))?;
        tensors.drain(..inputs);
        Ok(())
    }

    /// Runs the plan on `tensors` and appends the results.
    fn replay(&mut self, tensors: &mut Vec<Tensor>) -> Result<()> {
        // So it is at the start, where a kernel has panicked in the run before.
        self.results.storages.clear();
        let outcome = self.try_replay(tensors);
        // Whether it has worked or not, what an input has lent is the input's alone again.
        self.results.storages.clear();
        outcome
    }

    fn try_replay(&mut self, tensors: &mut Vec<Tensor>) -> Result<()> {
        let inputs = &mut **tensors;
        self.check(inputs)?;
        for input in inputs.iter_mut() {
            input.escape();
            *input = input.untraced().dense()?;
        }
        let Results { storages: results, spare } = &mut self.results;
        spare.resize(self.memory.results.len(), None);
        for (result, spare) in self.memory.results.iter().zip(&mut **spare) {
            let value = &self.graph.values[result.value];
            let donated = result.donor.filter(|&input| inputs[input].storage.is_unique());
            let free = spare.take_if(|spare| spare.is_unique());
            let storage = match (donated, free) {
                (Some(input), _) => inputs[input].storage.clone(),
                (None, Some(free)) => free,
                (None, None) => {
                    Storage::cpu(value.shape.count(), value.dtype).ok_or_else(|| no_memory("plan", value.spec()))?
                }
            };
            // What may take an input's place will be an input of the next run, and has to be nobody else's then.
            *spare = result.donor.is_none().then(|| storage.clone());
            results.push(storage);
        }
        self.bases.0.clear();
        for (value, place) in self.graph.values.iter().zip(&self.memory.places) {
            self.bases.0.push(match (*place, &value.origin) {
                (Place::Input(number), _) => inputs[number].storage.as_ptr().cast_mut(),
                (Place::Constant, Origin::Constant(storage)) => storage.as_ptr().cast_mut(),
                // SAFETY: offsets lie inside the arena.
                (Place::Arena(offset), _) => unsafe { self.arena.as_ptr().add(offset) },
                (Place::Result(number), _) => results[number].as_ptr().cast_mut(),
                (Place::Constant | Place::Nowhere, _) => std::ptr::null_mut(),
            });
        }
        for i in 0..self.calls.len() {
            self.step(i).map_err(|e| e.at(self.graph.steps[i].at))?;
        }
        for output in &self.outputs {
            let storage = match (self.memory.places[output.value], &self.graph.values[output.value].origin) {
                (Place::Input(number), _) => tensors[number].storage.clone(),
                (Place::Result(number), _) => self.results.storages[number].clone(),
                (_, Origin::Constant(storage)) => storage.clone(),
                _ => unreachable!("a result lies in no arena"),
            };
            tensors.push(Tensor { storage, layout: output.layout, dtype: output.dtype });
        }
        Ok(())
    }

    fn check(&self, inputs: &[Tensor]) -> Result<()> {
        if inputs.len() != self.graph.inputs.len() {
            let text = format!("it was made for {} inputs, {} were given", self.graph.inputs.len(), inputs.len());
            return Err(Error::argument("plan", text));
        }
        for (i, (input, spec)) in inputs.iter().zip(&self.graph.inputs).enumerate() {
            if input.spec() != *spec || input.is_number() != spec.is_number() {
                let kind = |spec: &Spec| match spec.is_number() {
                    true => format!("a number ({})", spec.dtype),
                    false => format!("{spec:?}"),
                };
                let text = format!("input {i} is {}, but the plan was made for {}", kind(&input.spec()), kind(spec));
                return Err(Error::shape("plan", text).help("record another plan for other shapes or types"));
            }
        }
        Ok(())
    }

    /// Runs one kernel.
    fn step(&self, i: usize) -> Result<()> {
        let (step, Call { operands, results }, bases) = (&self.graph.steps[i], &self.calls[i], &self.bases.0);
        let copies = Copies::default();
        let mut x: SmallVec<[View<'_>; FEW]> = SmallVec::new();
        for Read { value, bytes, layout, spec } in operands {
            // SAFETY: `check` and `replay` have seen that an input lies dense and has the elements that were recorded;
            // constants, results and what lies in the arena have those that were recorded. When the recording ran, the
            // operand's layout lay inside of its value.
            x.push(unsafe { View::at(bases[*value].add(*bytes), layout, *spec) });
        }
        for (output, (&value, spec)) in step.y.iter().zip(results).enumerate() {
            match self.memory.shares[i][output] {
                Some(input) if bases[operands[input].value] == bases[value] => x[input].share(&copies),
                // A byte of the arena that is neither 0 nor 1 would not be a valid `bool`.
                // SAFETY: the value has this many bytes, and nothing else lies there now.
                _ if spec.dtype == DType::Bool => unsafe { bases[value].write_bytes(0, spec.shape.count()) },
                _ => {}
            }
        }
        // SAFETY: a result lies in memory of its own, but for the operand whose place it takes as the operation allows;
        // buffers are initialised, and aligned for every element.
        let target = |output: usize| unsafe { ViewMut::at(bases[step.y[output]], results[output]) };
        let workspace = &self.memory.workspaces[i];
        // SAFETY: this part of the arena is the step's alone.
        let workspace =
            unsafe { std::slice::from_raw_parts_mut(self.arena.as_ptr().add(workspace.start), workspace.len()) };
        // As many as an optimizer's rule has stay on the stack.
        match step.y.len() {
            1 => call_kernel(&*step.op, &x, &mut [target(0)], workspace),
            2 => call_kernel(&*step.op, &x, &mut [0, 1].map(target), workspace),
            3 => call_kernel(&*step.op, &x, &mut [0, 1, 2].map(target), workspace),
            n => call_kernel(&*step.op, &x, &mut (0..n).map(target).collect::<Vec<_>>(), workspace),
        }
    }

    /// What the plan is given, in order.
    pub fn inputs(&self) -> &[Spec] {
        &self.graph.inputs
    }
}
