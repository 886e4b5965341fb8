//! A recorded computation as a plan: simplified, every value placed in memory, and run again as often as wanted.

mod elsewhere;
mod explain;
mod fuse;
mod graph;
mod memory;
mod run;

pub use explain::PlanMemory;
pub(crate) use graph::{Graph, Operand, Origin, Step, Value};

use crate::cpu::buffer::Buffer;
use crate::{Device, Error, ErrorKind, Layout, Result, Spec, Tensor, Trace, cuda};
use fuse::{Abreast, Chain};
use memory::Memory;
use run::{Bases, Results};

/// A computation that was recorded: a fixed list of operations from inputs to results. What it gives has the bits that
/// the same operations give when each is run by itself on inputs that lie dense; an operation that no result needs is left
/// out, and so are its errors. But shapes are inferred, errors about them found and memory laid
/// out once, when the plan is made. It runs where the recording ran.
///
/// ```
/// use kiln_tensor::{Plan, Tensor, ops::*};
/// let f = |x: &[Tensor]| Ok(vec![x[0].sub(&x[1])?.square()?.mean(..)?]);
/// let inputs = [Tensor::new([1.0, 2.0]), Tensor::new([1.0, 4.0])];
/// let mut plan = Plan::of(f, &inputs)?;
/// assert_eq!(plan.run(&[&inputs[0], &Tensor::new([0.0, 0.0])])?[0].item()?, 2.5);
/// println!("{}", plan.explain());
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub struct Plan {
    graph: Graph,
    /// What each step is asked with.
    calls: Vec<Call>,
    /// Steps that run together.
    chains: Vec<Chain>,
    /// Steps that are launched together.
    abreast: Vec<Abreast>,
    outputs: Vec<Operand>,
    memory: Memory,
    machine: Machine,
    bases: Bases,
    results: Results,
    /// Operations that were left out because nothing needs them, or because an earlier one is the same.
    dead: usize,
    repeated: usize,
}

/// What runs the steps.
enum Machine {
    /// The processor, with the arena.
    Cpu(Buffer),
    /// A GPU, with the launches.
    Cuda(cuda::Recorded),
}

/// The operands and results of a step as its kernel sees them.
struct Call {
    operands: Vec<Read>,
    results: Vec<Spec>,
}

/// One operand.
struct Read {
    value: usize,
    /// From the value's first byte to the operand's.
    bytes: usize,
    layout: Layout,
    spec: Spec,
}

impl Plan {
    /// The plan of a function, recorded on `inputs`.
    ///
    /// # Errors
    /// Those of the function, and of [`Trace::finish`].
    #[track_caller]
    pub fn of(f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>, inputs: &[Tensor]) -> Result<Plan> {
        let trace = Trace::new();
        let mut traced = Vec::with_capacity(inputs.len());
        for input in inputs {
            traced.push(trace.input(input)?);
        }
        let outputs = f(&traced)?;
        trace.finish(&outputs.iter().collect::<Vec<_>>())
    }

    pub(crate) fn new(graph: Graph, outputs: Vec<Operand>) -> Result<Plan> {
        Plan::in_pieces(graph, outputs, fuse::PIECE, fuse::LEAST)
    }

    /// A plan in which chains of at least so many elements run in pieces of `piece` at most.
    fn in_pieces(mut graph: Graph, mut outputs: Vec<Operand>, piece: usize, least: usize) -> Result<Plan> {
        let repeated = graph.remove_repeats(&mut outputs);
        let dead = graph.remove_dead(&outputs);
        // To a GPU a kernel less is always a gain.
        let least = if graph.device == Device::Cpu { least } else { 1 };
        let others = graph.put_leaving_last(least);
        let (chains, abreast, memory, machine);
        match graph.device {
            Device::Cpu => {
                (chains, abreast) = (fuse::chains(&graph, piece, least), Vec::new());
                memory = Memory::new(&graph, (&chains, &[]), &outputs, others, &graph.workspaces(&chains));
                machine = Machine::on_cpu(&memory)?;
            }
            Device::Cuda(number) => {
                graph.put_alike_together(others);
                (chains, abreast, memory, machine) = Machine::on_gpu(&graph, number, &outputs, others)?;
            }
        }
        let calls = graph.steps.iter().map(|step| Call::new(step, &graph.values)).collect();
        let (bases, results) = (Bases::default(), Results::default());
        Ok(Plan { graph, calls, chains, abreast, outputs, memory, machine, bases, results, dead, repeated })
    }
}

impl Machine {
    fn on_cpu(memory: &Memory) -> Result<Machine> {
        match Buffer::new(memory.bytes) {
            Some(arena) => Ok(Machine::Cpu(arena)),
            None => {
                let text = format!("there is no memory for intermediate results: {:.1} GB", memory.bytes as f64 / 1e9);
                Err(Error::new(ErrorKind::Memory, "plan", text).help("use a smaller batch"))
            }
        }
    }
}

impl Call {
    fn new(step: &Step, values: &[Value]) -> Call {
        let read = |x: &Operand| Read {
            value: x.value,
            bytes: x.layout.offset * x.dtype.size(),
            layout: Layout { offset: 0, ..x.layout },
            spec: x.spec(),
        };
        Call {
            operands: step.x.iter().map(read).collect(),
            results: step.y.iter().map(|&y| values[y].spec()).collect(),
        }
    }
}
