//! What a plan does, to be read.

use super::memory::Place;
use super::{Operand, Origin, Plan};
use crate::Layout;
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

    /// A line for each step, with where its results lie and the line of the program that asked for it; and what the plan
    /// needs of memory.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, f: &mut impl Write) -> fmt::Result {
        let recorded = self.graph.steps.len() + self.dead + self.repeated;
        write!(
            f,
            "plan of {} steps, {} inputs, {} results",
            self.graph.steps.len(),
            self.graph.inputs.len(),
            self.outputs.len()
        )?;
        writeln!(f, " ({recorded} operations recorded, {} not needed, {} repeated)", self.dead, self.repeated)?;
        let PlanMemory { arena, least, sum } = self.memory();
        writeln!(
            f,
            "memory: {} for {} of values, of which {} are needed at once",
            Size(arena),
            Size(sum),
            Size(least)
        )?;
        for (i, (step, call)) in self.graph.steps.iter().zip(&self.calls).enumerate() {
            let names = |values: &[usize]| values.iter().map(|&value| self.name(value)).collect::<Vec<_>>().join(", ");
            let operands: Vec<String> = step.x.iter().map(|x| self.operand(x)).collect();
            write!(f, "{} = {}({})", names(&step.y), step.op.name(), operands.join(", "))?;
            for (output, (&y, spec)) in step.y.iter().zip(&call.results).enumerate() {
                write!(f, "  {spec:?}")?;
                match (self.memory.places[y], self.memory.shares[i][output]) {
                    (_, Some(input)) => write!(f, " in place of {}", self.name(step.x[input].value))?,
                    (Place::Arena(offset), None) => write!(f, " at {offset}")?,
                    _ => {}
                }
            }
            writeln!(f, "  {}:{}", step.at.file(), step.at.line())?;
        }
        let outputs: Vec<String> = self.outputs.iter().map(|output| self.operand(output)).collect();
        writeln!(f, "results: {}", outputs.join(", "))
    }

    fn name(&self, value: usize) -> String {
        match self.graph.values[value].origin {
            Origin::Input(number) => format!("input {number}"),
            Origin::Constant(_) => "constant".to_owned(),
            Origin::Step => format!("#{value}"),
        }
    }

    /// An operand, with the shape of a view.
    fn operand(&self, x: &Operand) -> String {
        let name = self.name(x.value);
        match self.graph.values[x.value].origin {
            Origin::Constant(_) if x.layout.shape.rank() == 0 => name,
            Origin::Constant(_) => format!("{name} {}", x.layout.shape),
            _ if x.layout == Layout::contiguous(self.graph.values[x.value].shape) => name,
            _ => format!("{name} as {}", x.layout.shape),
        }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain())
    }
}

/// A number of bytes for readers.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 10_000 => write!(f, "{bytes} B"),
            bytes if bytes < 10_000_000 => write!(f, "{:.1} kB", bytes as f64 / 1e3),
            bytes => write!(f, "{:.1} MB", bytes as f64 / 1e6),
        }
    }
}
