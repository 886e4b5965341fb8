//! A plan on a GPU. What its steps ask for is asked once, every value has its place, and each run puts in where its inputs
//! and results lie. When these lie where they lay before, the launches are a graph of the driver's, which takes one call.

use super::driver::check;
use super::execute::Ready;
use super::gpu::{Gpu, gpu};
use super::joined::abreast;
use super::launch::{Place, PlannedCall, Source, Tell};
use super::memory::Buffer;
use crate::storage::Storage;
use crate::{Op, Result, Spec};
use cudarc::driver::sys::{self, CUdeviceptr};
use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;

/// Graphs that are kept, and runs that are remembered, of different addresses.
const KEPT: usize = 4;

/// Bytes that an input without memory takes.
const SLOT: usize = 8;

/// The launches of a plan.
pub(crate) struct Recorded {
    gpu: &'static Gpu,
    steps: Vec<Step>,
    /// What lies in memory of the plan's own, which the steps have the addresses of.
    _owned: Vec<Buffer>,
    numbers: Numbers,
    /// Where inputs and results lay in the last runs that no graph was made of, the latest last.
    seen: VecDeque<Vec<CUdeviceptr>>,
    /// Graphs by where inputs and results lie, that of the latest run last.
    graphs: VecDeque<(Vec<CUdeviceptr>, Graph)>,
    /// The addresses of the run that goes on; kept for its memory alone.
    addresses: Vec<CUdeviceptr>,
}

/// Inputs that live in no memory: numbers, which each run copies to the device together.
struct Numbers {
    /// For each input, where it lies if it has one element.
    slots: Vec<Option<usize>>,
    /// Of all, as the host puts them together.
    bytes: Vec<u8>,
    buffer: Buffer,
}

struct Step {
    op: Arc<dyn Op>,
    at: &'static Location<'static>,
    work: Vec<Ready>,
    x: Vec<Address>,
    y: Vec<Address>,
    rooms: Vec<CUdeviceptr>,
    faults: [u64; 2],
    /// Who tells what they mean, for as long as the plan lives.
    tell: Option<Tell>,
}

#[derive(Clone, Copy)]
enum Address {
    /// From what a run is given, so many bytes on.
    Given(usize, CUdeviceptr),
    Fixed(CUdeviceptr),
}

/// A graph of the driver's that can be launched.
struct Graph {
    gpu: &'static Gpu,
    executable: sys::CUgraphExec,
}

// SAFETY: a handle of the driver's, which any thread may use; it is launched through `&mut Recorded` alone.
unsafe impl Send for Graph {}
// SAFETY: as above.
unsafe impl Sync for Graph {}

impl Recorded {
    /// The launches of `calls` with an arena of so many bytes, for inputs of these specs. Calls of one list run abreast.
    pub(crate) fn new(number: usize, arena: usize, inputs: &[Spec], calls: Vec<Vec<PlannedCall>>) -> Result<Recorded> {
        let gpu = gpu(number)?;
        let arena = Buffer::new(gpu, arena)?;
        let mut owned = Vec::new();
        let mut steps = Vec::with_capacity(calls.len());
        gpu.enter()?;
        for call in calls.into_iter().filter_map(abreast) {
            let at = call.at;
            let name = call.op.clone();
            let step = Step::new(gpu, &arena, &mut owned, call);
            steps.push(step.map_err(|error| error.renamed("cuda", name.name()).at(at))?);
        }
        owned.push(arena);
        let numbers = Numbers::new(gpu, inputs)?;
        let (seen, graphs) = (VecDeque::new(), VecDeque::new());
        Ok(Recorded { gpu, steps, _owned: owned, numbers, seen, graphs, addresses: Vec::new() })
    }

    /// How many kernels a run launches.
    pub(crate) fn launches(&self) -> usize {
        self.steps.iter().flat_map(|step| &step.work).map(Ready::launches).sum()
    }

    /// How many of them there are for the calls of one list.
    pub(crate) fn launches_of(&self, list: usize) -> usize {
        self.steps[list].work.iter().map(Ready::launches).sum()
    }

    /// Puts a run into the device's stream; `given` is where its inputs and its results lie.
    pub(crate) fn run(&mut self, given: &[&Storage]) -> Result<()> {
        self.gpu.enter()?;
        let mut addresses = std::mem::take(&mut self.addresses);
        addresses.clear();
        self.numbers.find(given, &mut addresses)?;
        let outcome = self.run_at(&addresses);
        self.addresses = addresses;
        outcome
    }

    fn run_at(&mut self, addresses: &[CUdeviceptr]) -> Result<()> {
        if self.steps.is_empty() {
            return Ok(());
        }
        let gpu = self.gpu;
        // Held until the launches are in the stream: whoever looks for reports waits for what came before.
        let mut reports = self.steps.iter().any(|step| step.tell.is_some()).then(|| gpu.faults());
        if let Some(faults) = &mut reports {
            faults.replayed();
        }
        self.launch(addresses)
    }

    fn launch(&mut self, addresses: &[CUdeviceptr]) -> Result<()> {
        if let Some(known) = self.graphs.iter().position(|(at, _)| at == addresses) {
            // That of the latest run last.
            let known = self.graphs.remove(known);
            self.graphs.extend(known);
        } else if let Some(seen) = self.seen.iter().position(|at| at == addresses) {
            let at = self.seen.remove(seen).unwrap_or_default();
            if self.graphs.len() == KEPT {
                self.graphs.pop_front();
            }
            self.graphs.push_back((at, Graph::new(self.gpu, |stream| self.start(stream, addresses))?));
        } else {
            if self.seen.len() == KEPT {
                self.seen.pop_front();
            }
            self.seen.push_back(addresses.to_vec());
            return self.start(self.gpu.stream, addresses);
        }
        match self.graphs.back() {
            Some((_, graph)) => graph.launch(),
            None => Ok(()),
        }
    }

    /// Puts the launches into a stream, one by one.
    fn start(&self, stream: sys::CUstream, given: &[CUdeviceptr]) -> Result<()> {
        let find = |address: Address| match address {
            Address::Given(number, bytes) => given[number] + bytes,
            Address::Fixed(address) => address,
        };
        for step in &self.steps {
            let address = |place: Place| match place {
                Place::Input(i) => find(step.x[i]),
                Place::Output(i) => find(step.y[i]),
                Place::Room(i) => step.rooms[i],
            };
            for ready in &step.work {
                self.gpu
                    .start(stream, ready, &address, &step.faults)
                    .map_err(|error| error.renamed("cuda", step.op.name()).at(step.at))?;
            }
        }
        Ok(())
    }
}

impl Step {
    fn new(gpu: &'static Gpu, arena: &Buffer, owned: &mut Vec<Buffer>, call: PlannedCall) -> Result<Step> {
        let PlannedCall { op, at, asked, x, y, rooms } = call;
        let find = |source: Source| match source {
            Source::Given(number, bytes) => Address::Given(number, bytes as CUdeviceptr),
            Source::Arena(bytes) => Address::Fixed(arena.address() + bytes as CUdeviceptr),
            // One that lies in no memory is an argument by value.
            Source::Constant(storage, bytes) => {
                Address::Fixed(storage.cuda().map_or(0, |buffer| buffer.address() + bytes as CUdeviceptr))
            }
        };
        let mut places = Vec::with_capacity(asked.rooms.len());
        for (room, place) in asked.rooms.iter().zip(rooms) {
            if room.content.is_empty() {
                places.push(arena.address() + place as CUdeviceptr);
            } else {
                let buffer = Buffer::new(gpu, room.bytes)?;
                buffer.write(&room.content)?;
                places.push(buffer.address());
                owned.push(buffer);
            }
        }
        let work = gpu.ready(asked.work)?;
        let faults = asked.tell.as_ref().map_or([0; 2], |tell| gpu.faults().of_step(tell));
        let (x, y) = (x.into_iter().map(find).collect(), y.into_iter().map(find).collect());
        Ok(Step { op, at, work, x, y, rooms: places, faults, tell: asked.tell })
    }
}

impl Numbers {
    fn new(gpu: &'static Gpu, inputs: &[Spec]) -> Result<Numbers> {
        let mut bytes = 0;
        let slot = |spec: &Spec| {
            (spec.shape.count() == 1).then(|| {
                bytes += SLOT;
                bytes - SLOT
            })
        };
        let slots: Vec<Option<usize>> = inputs.iter().map(slot).collect();
        Ok(Numbers { slots, bytes: vec![0; bytes], buffer: Buffer::new(gpu, bytes)? })
    }

    /// Where what a run is given lies; those that live in no memory are copied first.
    fn find(&mut self, given: &[&Storage], addresses: &mut Vec<CUdeviceptr>) -> Result<()> {
        let mut is_any = false;
        for (i, storage) in given.iter().enumerate() {
            let slot = self.slots.get(i).copied().flatten();
            addresses.push(match (storage.cuda(), storage.uniform(), slot) {
                (Some(buffer), ..) => buffer.address(),
                (None, Some(value), Some(slot)) => {
                    self.bytes[slot..slot + SLOT].copy_from_slice(value.bytes(SLOT));
                    is_any = true;
                    self.buffer.address() + slot as CUdeviceptr
                }
                _ => unreachable!("the plan has seen that its inputs are on the device"),
            });
        }
        if is_any { self.buffer.write(&self.bytes) } else { Ok(()) }
    }
}

impl Graph {
    /// What `put` puts into the stream that it is given.
    fn new(gpu: &'static Gpu, put: impl FnOnce(sys::CUstream) -> Result<()>) -> Result<Graph> {
        // A stream of its own: what other threads put into the device's meanwhile is none of this.
        let stream = Capture::begin()?;
        let outcome = put(stream.0);
        let graph = stream.end();
        outcome?;
        let graph = graph?;
        let mut executable = std::ptr::null_mut();
        // SAFETY: the graph was made above, and is not used after. What its kernels are given is copied into it.
        let result = unsafe {
            let result = sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0);
            _ = sys::cuGraphDestroy(graph);
            result
        };
        check(result, "no graph can be made of the launches")?;
        Ok(Graph { gpu, executable })
    }

    fn launch(&self) -> Result<()> {
        // SAFETY: the graph is alive; the addresses that it has were compared with those of this run, whose memory lives until
        // later work in the stream reuses it.
        check(unsafe { sys::cuGraphLaunch(self.executable, self.gpu.stream) }, "the graph cannot be started")
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.gpu.enter().is_ok() {
            // SAFETY: nobody launches it any more; a run that goes on ends before it goes.
            _ = unsafe { sys::cuGraphExecDestroy(self.executable) };
        }
    }
}

/// A stream that takes note of what it is given instead of doing it.
struct Capture(sys::CUstream);

impl Capture {
    fn begin() -> Result<Capture> {
        let mut stream = std::ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the target is a variable here.
        check(unsafe { sys::cuStreamCreate(&mut stream, flags) }, "there is no stream")?;
        let capture = Capture(stream);
        // What other threads do meanwhile, such as allocate, is none of this.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream was made above.
        check(unsafe { sys::cuStreamBeginCapture_v2(stream, mode) }, "launches cannot be recorded")?;
        Ok(capture)
    }

    fn end(self) -> Result<sys::CUgraph> {
        let mut graph = std::ptr::null_mut();
        // SAFETY: the stream is alive and records; the target is a variable here.
        check(unsafe { sys::cuStreamEndCapture(self.0, &mut graph) }, "launches cannot be recorded")?;
        Ok(graph)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // SAFETY: the stream was made by `begin`, and does nothing any more.
        _ = unsafe { sys::cuStreamDestroy_v2(self.0) };
    }
}
