//! A plan on a GPU: what its steps ask for, and where in memory it is. Pointwise steps that follow on each other are one
//! kernel, and so are steps that do the same to different values.

use super::Machine;
use super::fuse::{self, Abreast, Chain};
use super::graph::{Graph, Operand, Origin, Step};
use super::memory::{Memory, Place, rounded};
use crate::cuda::{Asked, CudaOperand, Group, GroupOperand, PlannedCall, Recorded, Source, Work};
use crate::storage::Uniform;
use crate::{Error, Result, Spec};
use std::ops::Range;

impl Machine {
    /// The steps of a plan that are one kernel on the GPU of this number, those that are launched together, where its values lie,
    /// and its launches.
    pub(super) fn on_gpu(
        graph: &Graph,
        number: usize,
        outputs: &[Operand],
        others: usize,
    ) -> Result<(Vec<Chain>, Vec<Abreast>, Memory, Machine)> {
        let groups = fuse::groups(graph);
        let mut units = units(graph, &groups)?;
        let kinds: Vec<_> = units.iter().map(|unit| (unit.steps.clone(), unit.is_joinable(graph))).collect();
        let abreast = fuse::abreast(graph, &kinds);
        let mut workspaces = vec![0; graph.steps.len()];
        units.iter().for_each(|unit| workspaces[unit.steps.start] = unit.room);
        let memory = Memory::new(graph, (&groups, &abreast), outputs, others, &workspaces);
        let (mut calls, mut joined) = (Vec::with_capacity(units.len()), abreast.iter().peekable());
        for (i, unit) in units.iter_mut().enumerate() {
            joined.next_if(|abreast| abreast.units.end == i);
            let beside = joined.peek().filter(|abreast| abreast.units.contains(&i));
            let call = unit.call(graph, &memory, beside.is_some())?;
            match calls.last_mut() {
                Some(calls) if beside.is_some_and(|abreast| abreast.units.start < i) => Vec::push(calls, call),
                _ => calls.push(vec![call]),
            }
        }
        let recorded = Recorded::new(number, memory.bytes, &graph.inputs, calls)?;
        Ok((groups, abreast, memory, Machine::Cuda(recorded)))
    }
}

/// Steps that are run together: a group, or one.
struct Unit {
    steps: Range<usize>,
    /// What one step asks for; what a group does is known when its values have their places.
    asked: Option<Asked>,
    /// Where in its part of the arena each room lies, and how large that is.
    rooms: Vec<usize>,
    room: usize,
}

fn units(graph: &Graph, groups: &[Chain]) -> Result<Vec<Unit>> {
    let (mut units, mut start, mut groups) = (Vec::new(), 0, groups.iter().peekable());
    while start < graph.steps.len() {
        if let Some(group) = groups.next_if(|group| group.steps.start == start) {
            units.push(Unit { steps: group.steps.clone(), asked: None, rooms: Vec::new(), room: 0 });
            start = group.steps.end;
            continue;
        }
        let step = &graph.steps[start];
        let x: Vec<CudaOperand<'_>> = step.x.iter().map(|x| operand(graph, x)).collect();
        let y: Vec<Spec> = step.y.iter().map(|&y| graph.values[y].spec()).collect();
        let asked = Asked::of(&*step.op, &x, &y, false).map_err(|error| error.at(step.at))?;
        let (mut rooms, mut room) = (Vec::with_capacity(asked.rooms.len()), 0);
        for asked in &asked.rooms {
            rooms.push(room);
            // One with a content lies in memory of its own.
            if asked.content.is_empty() {
                room += rounded(asked.bytes);
            }
        }
        units.push(Unit { steps: start..start + 1, asked: Some(asked), rooms, room });
        start += 1;
    }
    Ok(units)
}

impl Unit {
    /// Whether it can be launched together with others of its kind.
    fn is_joinable(&self, graph: &Graph) -> bool {
        let is_pointwise = || graph.steps[self.steps.start].pointwise_size(&graph.values).is_some();
        is_pointwise() || self.asked.as_ref().is_some_and(Asked::is_joinable)
    }

    /// What is launched for it, alone or together with others, and where it finds its values.
    fn call(&mut self, graph: &Graph, memory: &Memory, is_abreast: bool) -> Result<PlannedCall> {
        let (step, first) = (&graph.steps[self.steps.start], memory.workspaces[self.steps.start].start);
        let rooms = self.rooms.iter().map(|room| first + room).collect();
        let is_pointwise = is_abreast && step.pointwise_size(&graph.values).is_some();
        let (asked, x, y) = match self.asked.take().filter(|_| !is_pointwise) {
            Some(asked) => (asked, step.x.clone(), step.y.clone()),
            None => group(graph, &graph.steps[self.steps.clone()], memory, is_abreast)?,
        };
        let x = x.iter().map(|x| source(graph, memory, x.value, x.layout.offset * x.dtype.size()));
        let y = y.iter().map(|&y| source(graph, memory, y, 0));
        let (x, y) = (x.collect::<Result<_>>()?, y.collect::<Result<_>>()?);
        Ok(PlannedCall { op: step.op.clone(), at: step.at, asked, x, y, rooms })
    }
}

/// The one kernel of several steps, the operands that it reads, and the values that it leaves.
fn group(
    graph: &Graph,
    steps: &[Step],
    memory: &Memory,
    is_abreast: bool,
) -> Result<(Asked, Vec<Operand>, Vec<usize>)> {
    let shape = graph.values[steps[0].y[0]].shape;
    let mut group = Group::new(shape);
    let (mut outside, mut given): (Vec<Operand>, Vec<usize>) = (Vec::new(), Vec::new());
    for step in steps {
        let specs: Vec<Spec> = step.x.iter().map(Operand::spec).collect();
        let program = step.op.pointwise(&specs).ok_or_else(|| unknown().at(step.at))?;
        let operands = step.x.iter().map(|x| {
            if let Some(number) = given.iter().position(|&value| value == x.value) {
                return GroupOperand::Given(number);
            }
            let known = outside.iter().position(|known| known == x);
            GroupOperand::Outside(known.unwrap_or_else(|| {
                outside.push(*x);
                outside.len() - 1
            }))
        });
        let operands = operands.collect();
        group.step(program, operands);
        given.extend(&step.y);
    }
    let mut leaving = Vec::new();
    for (number, &value) in given.iter().enumerate() {
        // What only the group reads has no memory.
        if !matches!(memory.places[value], Place::Piece(_) | Place::Nowhere) {
            group.leave(number);
            leaving.push(value);
        }
    }
    group.operands = outside.iter().map(|x| operand(graph, x)).collect();
    let work = vec![Work::Kernel(group.launch(is_abreast))];
    let asked = Asked { rooms: Vec::new(), work, tell: None, is_pointwise: true };
    Ok((asked, outside, leaving))
}

fn operand<'a>(graph: &Graph, x: &'a Operand) -> CudaOperand<'a> {
    CudaOperand::new(x.spec(), &x.layout, value(graph, x))
}

/// The value of a constant that lies in no memory.
fn value(graph: &Graph, x: &Operand) -> Option<Uniform> {
    match &graph.values[x.value].origin {
        Origin::Constant(storage) => storage.uniform().copied(),
        _ => None,
    }
}

/// So many bytes from where a value begins.
fn source(graph: &Graph, memory: &Memory, value: usize, bytes: usize) -> Result<Source> {
    match (memory.places[value], &graph.values[value].origin) {
        (Place::Input(number), _) => Ok(Source::Given(number, bytes)),
        (Place::Result(number), _) => Ok(Source::Given(graph.inputs.len() + number, bytes)),
        (Place::Arena(at), _) => Ok(Source::Arena(at + bytes)),
        (Place::Constant, Origin::Constant(storage)) => Ok(Source::Constant(storage.clone(), bytes)),
        _ => Err(unknown()),
    }
}

/// Of a recording that contradicts itself.
fn unknown() -> Error {
    Error::argument("plan", "a step reads what none has computed")
}
