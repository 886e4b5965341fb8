//! Running a plan: the addresses of this run, then one kernel after the other.

use super::fuse::{Chain, Piece, Pieces};
use super::memory::Place;
use super::{Call, Machine, Origin, Plan, Read};
use crate::cpu::parallel;
use crate::cpu::scratch::Scratch;
use crate::run::{Copies, FEW, View, ViewMut, call_kernel, no_memory};
use crate::storage::Storage;
use crate::{DType, Error, ErrorKind, Layout, Result, Spec, Tensor, Watch};
use smallvec::SmallVec;
use std::panic::Location;
use std::sync::{Mutex, PoisonError};

/// Where the arena and each value begin in the run that is going on; kept from run to run for its memory alone.
pub(super) struct Bases {
    arena: *mut u8,
    values: Vec<*mut u8>,
}

impl Default for Bases {
    fn default() -> Bases {
        Bases { arena: std::ptr::null_mut(), values: Vec::new() }
    }
}

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
    /// Runs the plan on other inputs. To a [`Watch`] over any of them the plan is one operation: what is not finite on the
    /// way is not seen, but what comes out is looked at and watched.
    ///
    /// # Errors
    /// Inputs of another number, shape or type than those that were recorded, or on another device; what an operation finds
    /// wrong with the values, at the line that asked for it (on a GPU whoever reads next is told); a watched result that is not
    /// finite; no memory for the results.
    #[track_caller]
    pub fn run(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let at = Location::caller();
        let mut tensors: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
        self.replay(&mut tensors, at).map_err(|e| e.at(at))?;
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
        self.replay(tensors, at).map_err(|e| e.at(at))?;
        tensors.drain(..inputs);
        Ok(())
    }

    /// Runs the plan on `tensors` and appends the results.
    fn replay(&mut self, tensors: &mut Vec<Tensor>, at: &'static Location<'static>) -> Result<()> {
        if let Some(watch) = tensors.iter().find_map(Watch::of) {
            return self.replay_watched(&watch, tensors, at);
        }
        // So it is at the start, where a kernel has panicked in the run before.
        self.results.storages.clear();
        let outcome = self.try_replay(tensors);
        // Whether it has worked or not, what an input has lent is the input's alone again.
        self.results.storages.clear();
        outcome
    }

    /// Runs the plan on copies of the handles, so that no result takes an input's place before it was looked at.
    fn replay_watched(
        &mut self,
        watch: &Watch,
        tensors: &mut Vec<Tensor>,
        at: &'static Location<'static>,
    ) -> Result<()> {
        let mut plain: Vec<Tensor> = tensors.iter().map(Tensor::untraced).collect();
        self.replay(&mut plain, at)?;
        let mut results = plain.split_off(tensors.len());
        watch.look("plan", &tensors.iter().collect::<Vec<_>>(), &mut results, at)?;
        tensors.append(&mut results);
        Ok(())
    }

    fn try_replay(&mut self, tensors: &mut Vec<Tensor>) -> Result<()> {
        let inputs = &mut **tensors;
        self.check(inputs)?;
        for input in inputs.iter_mut() {
            input.escape();
            *input = input.untraced().dense()?;
        }
        self.find_results(inputs)?;
        if let Machine::Cuda(recorded) = &mut self.machine {
            let storages = inputs.iter().map(|input| &input.storage).chain(&self.results.storages);
            recorded.run(&storages.collect::<Vec<_>>())?;
        } else {
            self.find_bases(inputs);
            self.run_steps()?;
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

    /// The memory of each result: an input's where nobody else holds that, that of the last run, or new memory.
    fn find_results(&mut self, inputs: &mut [Tensor]) -> Result<()> {
        let Results { storages: results, spare } = &mut self.results;
        spare.resize(self.memory.results.len(), None);
        for (result, spare) in self.memory.results.iter().zip(&mut **spare) {
            let value = &self.graph.values[result.value];
            let donated = result.donor.filter(|&input| inputs[input].storage.is_unique());
            let free = spare.take_if(|spare| spare.is_unique());
            let storage = match (donated, free) {
                (Some(input), _) => inputs[input].storage.clone(),
                (None, Some(free)) => free,
                (None, None) => Storage::on(self.graph.device, value.shape.count(), value.dtype)
                    .map_err(|error| error.renamed("cuda", "plan"))?
                    .ok_or_else(|| no_memory("plan", value.spec()))?,
            };
            // What may take an input's place will be an input of the next run, and has to be nobody else's then.
            *spare = result.donor.is_none().then(|| storage.clone());
            results.push(storage);
        }
        Ok(())
    }

    /// Where each value begins in this run, in the processor's memory.
    fn find_bases(&mut self, inputs: &[Tensor]) {
        let Machine::Cpu(arena) = &self.machine else { return };
        self.bases.arena = arena.as_ptr();
        self.bases.values.clear();
        for (value, place) in self.graph.values.iter().zip(&self.memory.places) {
            self.bases.values.push(match (*place, &value.origin) {
                (Place::Input(number), _) => inputs[number].storage.as_ptr().cast_mut(),
                (Place::Constant, Origin::Constant(storage)) => storage.as_ptr().cast_mut(),
                // SAFETY: offsets lie inside the arena.
                (Place::Arena(offset), _) => unsafe { arena.as_ptr().add(offset) },
                (Place::Result(number), _) => self.results.storages[number].as_ptr().cast_mut(),
                (Place::Constant | Place::Piece(_) | Place::Nowhere, _) => std::ptr::null_mut(),
            });
        }
    }

    fn run_steps(&self) -> Result<()> {
        let (mut i, mut chain) = (0, 0);
        while i < self.calls.len() {
            match self.chains.get(chain).filter(|chain| chain.steps.start == i) {
                Some(Chain { steps, .. }) => {
                    self.chain(chain)?;
                    (i, chain) = (steps.end, chain + 1);
                }
                None => {
                    self.step(i)?;
                    i += 1;
                }
            }
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
            let is_there = input.storage.is_uniform() || input.device() == self.graph.device;
            if !is_there && !self.graph.steps.is_empty() {
                let text = format!("input {i} is on {}, but the plan runs on {}", input.device(), self.graph.device);
                return Err(Error::new(ErrorKind::Device, "plan", text).help("move it with .to_device(…)"));
            }
        }
        Ok(())
    }

    /// Runs one kernel.
    fn step(&self, i: usize) -> Result<()> {
        let (step, Call { operands, results }, bases) = (&self.graph.steps[i], &self.calls[i], &self.bases.values);
        let mut x: SmallVec<[View<'_>; FEW]> = SmallVec::new();
        for Read { value, bytes, layout, spec } in operands {
            // SAFETY: `check` and `replay` have seen that an input lies dense and has the elements that were recorded;
            // constants, results and what lies in the arena have those that were recorded. When the recording ran, the
            // operand's layout lay inside of its value.
            x.push(unsafe { View::at(bases[*value].add(*bytes), layout, *spec) });
        }
        // SAFETY: a result lies in memory of its own, but for the operand whose place it takes as the operation allows;
        // buffers are aligned for every element.
        unsafe { self.call(i, &x, |output| (bases[step.y[output]], results[output])) }
    }

    /// Runs the kernels of a chain on one piece after the other.
    fn chain(&self, index: usize) -> Result<()> {
        let Chain { steps, pieces } = &self.chains[index];
        let parallel = pieces.elements().saturating_mul(steps.len()) > parallel::SERIAL_LIMIT;
        let failure = Mutex::new(None);
        parallel::for_each(pieces.count(), parallel, |number| {
            let piece = pieces.piece(number);
            let outcome = match Scratch::<u8>::room(self.memory.pieces[index]) {
                Some(mut room) => steps.clone().try_for_each(|i| self.in_piece(i, pieces, &piece, room.as_mut_ptr())),
                None => Err(no_memory("plan", Spec::new(pieces.dense(&piece).1, DType::U8))),
            };
            if let Err(error) = outcome {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Runs one kernel on a piece. What only its chain reads lies in `room`.
    fn in_piece(&self, i: usize, pieces: &Pieces, piece: &Piece, room: *mut u8) -> Result<()> {
        let (step, Call { operands, results }) = (&self.graph.steps[i], &self.calls[i]);
        let (first, shape) = pieces.dense(piece);
        // SAFETY: offsets lie inside the room, and the piece inside the value.
        let start = |value: usize, offset: isize| unsafe {
            match self.memory.places[value] {
                Place::Piece(at) => room.add(at),
                _ => self.bases.values[value].offset(offset),
            }
        };
        let mut layouts: SmallVec<[(isize, Layout); FEW]> = SmallVec::new();
        for Read { value, layout, .. } in operands {
            layouts.push(match self.memory.places[*value] {
                Place::Piece(_) => (0, Layout::contiguous(shape)),
                _ => pieces.narrow(layout, piece),
            });
        }
        let mut x: SmallVec<[View<'_>; FEW]> = SmallVec::new();
        for (Read { value, bytes, spec, .. }, (offset, layout)) in operands.iter().zip(&layouts) {
            let spec = if spec.is_number() { *spec } else { Spec::new(layout.shape, spec.dtype) };
            let start = start(*value, *bytes as isize + offset * spec.dtype.size() as isize);
            // SAFETY: as in `step`; a piece of an operand lies inside it. What lies in the room has been written by an
            // earlier step of the chain.
            x.push(unsafe { View::at(start, layout, spec) });
        }
        let target = |output: usize| {
            let spec = Spec::new(shape, results[output].dtype);
            (start(step.y[output], first * spec.dtype.size() as isize), spec)
        };
        // SAFETY: as in `step`; pieces are disjoint parts of a result, and the room is this thread's alone.
        unsafe { self.call(i, &x, target) }
    }

    /// Calls the kernel of a step with these operands and results, each at an address.
    ///
    /// # Safety
    /// There is room for the results, aligned and initialised for numbers, and nothing else lies there but an operand whose
    /// place one takes.
    unsafe fn call(&self, i: usize, x: &[View<'_>], y: impl Fn(usize) -> (*mut u8, Spec)) -> Result<()> {
        let step = &self.graph.steps[i];
        let copies = Copies::default();
        let mut x: SmallVec<[View<'_>; FEW]> = x.iter().copied().collect();
        for (output, share) in self.memory.shares[i].iter().enumerate() {
            let (start, spec) = y(output);
            match *share {
                Some(input) if x[input].as_ptr() == start.cast_const() => x[input].share(&copies),
                // A byte of the arena that is neither 0 nor 1 would not be a valid `bool`.
                // SAFETY: the result has this many bytes, and nothing else lies there now.
                _ if spec.dtype == DType::Bool => unsafe { start.write_bytes(0, spec.shape.count()) },
                _ => {}
            }
        }
        let target = |output: usize| {
            let (start, spec) = y(output);
            // SAFETY: the caller's promise.
            unsafe { ViewMut::at(start, spec) }
        };
        let workspace = &self.memory.workspaces[i];
        // SAFETY: this part of the arena is the step's alone; steps of a chain have none.
        let workspace =
            unsafe { std::slice::from_raw_parts_mut(self.bases.arena.add(workspace.start), workspace.len()) };
        // As many as the gradient of an LSTM has stay on the stack.
        let outcome = match step.y.len() {
            1 => call_kernel(&*step.op, &x, &mut [target(0)], workspace),
            2 => call_kernel(&*step.op, &x, &mut [0, 1].map(target), workspace),
            3 => call_kernel(&*step.op, &x, &mut [0, 1, 2].map(target), workspace),
            4 => call_kernel(&*step.op, &x, &mut [0, 1, 2, 3].map(target), workspace),
            n => call_kernel(&*step.op, &x, &mut (0..n).map(target).collect::<Vec<_>>(), workspace),
        };
        outcome.map_err(|e| e.at(step.at))
    }

    /// What the plan is given, in order.
    pub fn inputs(&self) -> &[Spec] {
        &self.graph.inputs
    }
}
