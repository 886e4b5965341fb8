//! What a recording holds: values, and the steps between them; and its simplification.

use super::fuse::{Chain, gather};
use crate::storage::Storage;
use crate::{DType, Device, Layout, Op, Shape, Spec};
use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;

/// A list of operations from inputs to results.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) inputs: Vec<Spec>,
    pub(crate) values: Vec<Value>,
    pub(crate) steps: Vec<Step>,
    /// Where they run.
    pub(crate) device: Device,
    /// Which values are constants.
    constants: Vec<usize>,
}

/// A block of elements that operations read or write.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) origin: Origin,
    /// As its elements lie, dense; what reads it may do so by another layout.
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
}

impl Value {
    pub(crate) fn spec(&self) -> Spec {
        Spec::new(self.shape, self.dtype)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.shape.count() * self.dtype.size()
    }
}

/// Where a value comes from.
#[derive(Clone)]
pub(crate) enum Origin {
    /// What the plan is given, by number.
    Input(usize),
    /// A tensor that the recording does not know: the same in every run.
    Constant(Storage),
    /// A step's result.
    Step,
}

/// A value as an operation reads it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Operand {
    pub(crate) value: usize,
    pub(crate) layout: Layout,
    pub(crate) dtype: DType,
    pub(crate) is_number: bool,
}

impl Operand {
    pub(crate) fn spec(&self) -> Spec {
        if self.is_number { Spec::number(self.dtype) } else { Spec::new(self.layout.shape, self.dtype) }
    }

    /// Whether it reads `value` as the value lies.
    pub(crate) fn is_whole(&self, value: &Value) -> bool {
        self.layout == Layout::contiguous(value.shape) && self.dtype == value.dtype
    }
}

/// An operation that was run.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) op: Arc<dyn Op>,
    pub(crate) x: Vec<Operand>,
    /// The values of its results.
    pub(crate) y: Vec<usize>,
    /// The line that asked for it.
    pub(crate) at: &'static Location<'static>,
}

impl Step {
    /// Whether another does the like to other values, of the same types and any shape: which kernels these are is seen when
    /// they are known.
    pub(super) fn is_alike(&self, other: &Step, values: &[Value]) -> bool {
        let x = |step: &Step| step.x.iter().map(|x| (x.dtype, x.is_number)).collect::<Vec<_>>();
        let y = |step: &Step| step.y.iter().map(|&y| values[y].dtype).collect::<Vec<_>>();
        self.op.name() == other.op.name() && x(self) == x(other) && y(self) == y(other)
    }

    /// Whether it is run for its errors: it has a result, and the result is empty.
    fn is_check(&self, values: &[Value]) -> bool {
        self.y.iter().any(|&y| values[y].shape.count() == 0)
    }
}

impl Graph {
    pub(crate) fn add(&mut self, value: Value) -> usize {
        self.values.push(value);
        self.values.len() - 1
    }

    /// The value of a tensor that is the same in every run.
    pub(crate) fn constant(&mut self, storage: &Storage, dtype: DType) -> usize {
        let known = |&&value: &&usize| match &self.values[value].origin {
            Origin::Constant(known) => known.is_same(storage),
            _ => false,
        };
        if let Some(&value) = self.constants.iter().find(known) {
            return value;
        }
        let value = self.add(Value { origin: Origin::Constant(storage.clone()), shape: Shape::default(), dtype });
        self.constants.push(value);
        value
    }

    /// What each step works in on the CPU, in bytes. Pieces of a chain run on several threads at once: its steps have asked for
    /// nothing, and get nothing if they ask now.
    pub(super) fn workspaces(&self, chains: &[Chain]) -> Vec<usize> {
        let asks = |(i, step): (usize, &Step)| {
            let specs: Vec<Spec> = step.x.iter().map(Operand::spec).collect();
            if chains.iter().any(|chain| chain.steps.contains(&i)) { 0 } else { step.op.workspace(&specs) }
        };
        self.steps.iter().enumerate().map(asks).collect()
    }

    /// Removes steps that compute what an earlier one has; returns how many.
    pub(crate) fn remove_repeats(&mut self, outputs: &mut [Operand]) -> usize {
        let before = self.steps.len();
        let mut stands_for: Vec<usize> = (0..self.values.len()).collect();
        let mut known: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut kept: Vec<Step> = Vec::with_capacity(before);
        for mut step in std::mem::take(&mut self.steps) {
            step.x.iter_mut().for_each(|x| x.value = stands_for[x.value]);
            let alike = known.entry(step.op.digest()).or_default();
            // A user's operations may call themselves equal and still give other results.
            let spec = |y: &usize| self.values[*y].spec();
            let same = |&&i: &&usize| {
                let first = &kept[i];
                first.x == step.x && first.op.same(&*step.op) && first.y.iter().map(spec).eq(step.y.iter().map(spec))
            };
            match alike.iter().find(same) {
                Some(&i) => step.y.iter().zip(&kept[i].y).for_each(|(&y, &first)| stands_for[y] = first),
                None => {
                    alike.push(kept.len());
                    kept.push(step);
                }
            }
        }
        outputs.iter_mut().for_each(|output| output.value = stands_for[output.value]);
        self.steps = kept;
        before - self.steps.len()
    }

    /// Puts the steps last whose results only leave and that cannot fail, being pointwise: they may overwrite what came in,
    /// and a step that fails before has changed nothing. Returns how many others there are; among these, those come
    /// together that can run together, on at least so many elements.
    pub(crate) fn put_leaving_last(&mut self, least: usize) -> usize {
        let mut is_read = vec![false; self.values.len()];
        self.steps.iter().flat_map(|step| &step.x).for_each(|x| is_read[x.value] = true);
        let leaves = |step: &Step| {
            let specs: Vec<Spec> = step.x.iter().map(Operand::spec).collect();
            !step.y.iter().any(|&y| is_read[y]) && step.op.pointwise(&specs).is_some()
        };
        let (last, first): (Vec<Step>, Vec<Step>) = std::mem::take(&mut self.steps).into_iter().partition(leaves);
        let others = first.len();
        self.steps = gather(first, &self.values, least).into_iter().chain(last).collect();
        others
    }

    /// Puts those of the steps from `others` on side by side that do the like to different values: of these none reads what
    /// another gives.
    pub(crate) fn put_alike_together(&mut self, others: usize) {
        let mut kinds: Vec<Vec<Step>> = Vec::new();
        for step in self.steps.split_off(others) {
            match kinds.iter_mut().find(|kind| kind[0].is_alike(&step, &self.values)) {
                Some(kind) => kind.push(step),
                None => kinds.push(vec![step]),
            }
        }
        self.steps.extend(kinds.into_iter().flatten());
    }

    /// Removes steps that no output needs, but not those that check something; returns how many.
    pub(crate) fn remove_dead(&mut self, outputs: &[Operand]) -> usize {
        let mut needed = vec![false; self.values.len()];
        outputs.iter().for_each(|output| needed[output.value] = true);
        let mut alive = vec![false; self.steps.len()];
        for (step, alive) in self.steps.iter().zip(&mut alive).rev() {
            *alive = step.is_check(&self.values) || step.y.iter().any(|&y| needed[y]);
            if *alive {
                step.x.iter().for_each(|x| needed[x.value] = true);
            }
        }
        let before = self.steps.len();
        let mut alive = alive.into_iter();
        self.steps.retain(|_| alive.next() == Some(true));
        before - self.steps.len()
    }
}
