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
        let mut inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
        self.replay(&mut inputs).map_err(|e| e.at(at))
    }

    /// Runs the plan on inputs that the caller no longer needs, and takes them away: a result takes the memory of one
    /// where it can, so that what is updated lies where it lay.
    ///
    /// # Errors
    /// As [`Plan::run`]; the inputs are all there then, as they were.
    #[track_caller]
    pub fn run_owned(&mut self, inputs: &mut Vec<Tensor>) -> Result<Vec<Tensor>> {
        let at = Location::caller();
        let results = self.replay(inputs).map_err(|e| e.at(at))?;
        inputs.clear();
        Ok(results)
    }

    fn replay(&mut self, inputs: &mut [Tensor]) -> Result<Vec<Tensor>> {
        self.check(inputs)?;
        for input in inputs.iter_mut() {
            input.escape();
            *input = input.untraced().dense()?;
        }
        let mut results: Vec<Storage> = Vec::with_capacity(self.memory.results.len());
        for result in &self.memory.results {
            let value = &self.graph.values[result.value];
            let donated = result.donor.filter(|&input| inputs[input].storage.is_unique());
            results.push(match donated {
                Some(input) => inputs[input].storage.clone(),
                None => {
                    Storage::cpu(value.shape.count(), value.dtype).ok_or_else(|| no_memory("plan", value.spec()))?
                }
            });
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
        let outputs = self.outputs.iter().map(|output| {
            let storage = match (self.memory.places[output.value], &self.graph.values[output.value].origin) {
                (Place::Input(number), _) => inputs[number].storage.clone(),
                (Place::Result(number), _) => results[number].clone(),
                (_, Origin::Constant(storage)) => storage.clone(),
                _ => unreachable!("a result lies in no arena"),
            };
            Tensor { storage, layout: output.layout, dtype: output.dtype }
        });
        Ok(outputs.collect())
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
        let target = |(&value, spec): (&usize, &Spec)| unsafe { ViewMut::at(bases[value], *spec) };
        let workspace = &self.memory.workspaces[i];
        // SAFETY: this part of the arena is the step's alone.
        let workspace =
            unsafe { std::slice::from_raw_parts_mut(self.arena.as_ptr().add(workspace.start), workspace.len()) };
        let mut y = step.y.iter().zip(results).map(target);
        // One, as nearly always, stays on the stack.
        match (y.next(), y.next()) {
            (Some(one), None) => call_kernel(&*step.op, &x, &mut [one], workspace),
            (one, two) => {
                call_kernel(&*step.op, &x, &mut one.into_iter().chain(two).chain(y).collect::<Vec<_>>(), workspace)
            }
        }
    }

    /// What the plan is given, in order.
    pub fn inputs(&self) -> &[Spec] {
        &self.graph.inputs
    }
}
