//! What a plan does, to be read.

use super::memory::Place;
use super::{Abreast, Machine, Operand, Origin, Plan};
use crate::error::short_path;
use crate::{Device, Layout, Op};
use std::fmt::{self, Write};

/// What a plan needs of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanMemory {
    /// The one block in which all values lie that do not leave the plan, and the workspaces of the operations.
    pub arena: usize,
    /// What is alive at once at most: no arena can be smaller.
    pub least: usize,
    /// All these values, were each to have memory of its own.
    pub sum: usize,
}

impl Plan {
    /// What the plan needs of memory.
    pub fn memory(&self) -> PlanMemory {
        PlanMemory { arena: self.memory.bytes, least: self.memory.least, sum: self.memory.sum }
    }

    /// A line for each step, with where its results lie and the line of the program that asked for it; which steps run
    /// together; and what the plan needs of memory.
    pub fn explain(&self) -> String {
        self.explain_with(&[])
    }

    /// [`Plan::explain`] with names for the inputs, in their order; what has none is `input 0` and so on.
    ///
    /// ```
    /// use kiln_tensor::{Plan, Tensor, ops::*};
    /// let inputs = [Tensor::new([1.0f32, 2.0]), Tensor::new([3.0f32, 4.0])];
    /// let plan = Plan::of(|x| Ok(vec![x[0].mul(&x[1])?.sum(..)?]), &inputs)?;
    /// let text = plan.explain_with(&["signal".to_owned(), "weights".to_owned()]);
    /// assert!(text.starts_with("plan of 2 steps, 2 inputs, 1 result (2 operations recorded, 0 not needed, 0 repeated)"));
    /// assert!(text.contains("#2 = mul(signal, weights)  f32 [2] at byte 0 of the arena  "));
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    pub fn explain_with(&self, names: &[String]) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = Explained { plan: self, names }.write(&mut text);
        text
    }
}

/// A plan with the names of its inputs.
struct Explained<'a> {
    plan: &'a Plan,
    names: &'a [String],
}

impl Explained<'_> {
    fn write(&self, f: &mut impl Write) -> fmt::Result {
        let Plan { graph, calls, outputs, memory, dead, repeated, .. } = self.plan;
        let (steps, inputs) = (Counted(graph.steps.len(), "step"), Counted(graph.inputs.len(), "input"));
        write!(f, "plan of {steps}, {inputs}, {}", Counted(outputs.len(), "result"))?;
        let recorded = Counted(graph.steps.len() + dead + repeated, "operation");
        writeln!(f, " ({recorded} recorded, {dead} not needed, {repeated} repeated)")?;
        let PlanMemory { arena, least, sum } = self.plan.memory();
        writeln!(
            f,
            "memory: an arena of {} for {} of values, of which {} are needed at once",
            Size(arena),
            Size(sum),
            Size(least)
        )?;
        if let Machine::Cuda(recorded) = &self.plan.machine {
            let kernels = Counted(recorded.launches(), "kernel");
            writeln!(f, "on {}: {kernels}, started by one call from the second run on", graph.device)?;
        }
        for (i, (step, call)) in graph.steps.iter().zip(calls).enumerate() {
            let chain = self.plan.chains.iter().find(|chain| chain.steps.contains(&i));
            let abreast = self.plan.abreast.iter().position(|abreast| abreast.steps.contains(&i));
            if let Some(first) = abreast.filter(|&first| self.plan.abreast[first].steps.start == i) {
                self.head(f, first)?;
            } else if let Some(chain) = chain.filter(|chain| chain.steps.start == i && abreast.is_none()) {
                let steps = Counted(chain.steps.len(), "step");
                let (pieces, most) = (Counted(chain.pieces.count(), "piece"), chain.pieces.largest());
                match graph.device {
                    Device::Cpu => writeln!(f, "{steps} together, in {pieces} of {most} elements at most:")?,
                    Device::Cuda(_) => writeln!(f, "{steps} together, in one kernel:")?,
                }
            }
            f.write_str(if chain.is_some() || abreast.is_some() { "  " } else { "" })?;
            let names = |values: &[usize]| values.iter().map(|&value| self.name(value)).collect::<Vec<_>>().join(", ");
            let operands: Vec<String> = step.x.iter().map(|x| self.operand(x)).collect();
            write!(f, "{} = {}({})", names(&step.y), title(&*step.op), operands.join(", "))?;
            for (output, (&y, spec)) in step.y.iter().zip(&call.results).enumerate() {
                write!(f, "  {spec:?}")?;
                match (memory.places[y], memory.shares[i][output]) {
                    (_, Some(input)) => write!(f, " in place of {}", self.name(step.x[input].value))?,
                    (Place::Arena(offset), None) => write!(f, " at byte {offset} of the arena")?,
                    (Place::Piece(_), None) if graph.device == Device::Cpu => f.write_str(" in pieces alone")?,
                    (Place::Piece(_), None) => f.write_str(" in registers alone")?,
                    _ => {}
                }
            }
            writeln!(f, "  {}:{}", short_path(step.at.file()), step.at.line())?;
        }
        let outputs: Vec<String> = outputs.iter().map(|output| self.operand(output)).collect();
        writeln!(f, "results: {}", outputs.join(", "))
    }

    /// The line above steps that are launched together.
    fn head(&self, f: &mut impl Write, number: usize) -> fmt::Result {
        let Machine::Cuda(recorded) = &self.plan.machine else { return Ok(()) };
        let Abreast { steps, units } = &self.plan.abreast[number];
        // What is abreast before is one call each.
        let before: usize = self.plan.abreast[..number].iter().map(|before| before.units.len() - 1).sum();
        match (recorded.launches_of(units.start - before), Counted(steps.len(), "step")) {
            (1, steps) => writeln!(f, "{steps} abreast, in one kernel:"),
            (kernels, steps) => writeln!(f, "{steps} abreast, in {kernels} kernels:"),
        }
    }

    fn name(&self, value: usize) -> String {
        match self.plan.graph.values[value].origin {
            Origin::Input(number) => self.names.get(number).cloned().unwrap_or_else(|| format!("input {number}")),
            Origin::Constant(_) => "constant".to_owned(),
            Origin::Step => format!("#{value}"),
        }
    }

    /// An operand, with the shape of a view.
    fn operand(&self, x: &Operand) -> String {
        let name = self.name(x.value);
        let values = &self.plan.graph.values;
        match values[x.value].origin {
            Origin::Constant(_) if x.layout.shape.rank() == 0 => name,
            Origin::Constant(_) => format!("{name} {}", x.layout.shape),
            _ if x.layout == Layout::contiguous(values[x.value].shape) => name,
            _ => format!("{name} as {}", x.layout.shape),
        }
    }
}

/// The name of an operation. The gradient of a function goes by the function's name, for the sake of errors; here they stand
/// side by side.
fn title(op: &dyn Op) -> String {
    const GRADIENTS: [&str; 3] = ["ElementwiseGrad ", "Formula ", "Elementwise(FoldGradient "];
    let printed = format!("{op:?}");
    let suffix = if GRADIENTS.iter().any(|kind| printed.starts_with(kind)) { "_grad" } else { "" };
    format!("{}{suffix}", op.name())
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain())
    }
}

/// So many of something.
struct Counted(usize, &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// A number of bytes for readers.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 1_000 => write!(f, "{bytes} B"),
            bytes if bytes < 1_000_000 => write!(f, "{:.1} kB", bytes as f64 / 1e3),
            bytes => write!(f, "{:.1} MB", bytes as f64 / 1e6),
        }
    }
}
