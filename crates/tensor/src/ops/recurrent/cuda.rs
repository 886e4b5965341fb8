//! Recurrent layers on a GPU: a launch for each step, and the gradients of what all steps share at the end.

use super::Sizes;
use crate::{CudaCall, DType, Launch, LaunchArgument, Pointer};

const SOURCE: &str = include_str!("recurrent.cu");

/// Blocks that keep a large device busy.
const ENOUGH_BLOCKS: usize = 512;
/// Steps of all sequences below which a sum over them is not worth a room of its own.
const FEW_STEPS: usize = 128;
/// Elements of all rooms for parts of sums.
const MOST_ROOM: usize = 1 << 24;

#[derive(Clone, Copy)]
pub(super) enum Layer {
    Simple,
    Gru,
    Lstm,
}

/// The launches of a layer's call.
pub(super) struct Steps<'c, 'a> {
    pub(super) call: &'c mut CudaCall<'a>,
    pub(super) sizes: Sizes,
    pub(super) layer: Layer,
    pub(super) masked: bool,
    /// Whether all cells of an LSTM have a gradient.
    pub(super) cell: bool,
}

/// Where the states of a forward pass are kept between steps.
struct States {
    h: [Pointer; 2],
    c: Option<Pointer>,
}

impl Steps<'_, '_> {
    fn dtype(&self) -> DType {
        self.call.inputs()[0].dtype()
    }

    fn compute(&self) -> DType {
        if self.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
    }

    fn launch(&self, entry: &'static str) -> Launch {
        let flag = |on: bool| if on { "1" } else { "0" };
        let layer = match self.layer {
            Layer::Simple => "0",
            Layer::Gru => "1",
            Layer::Lstm => "2",
        };
        Launch::new(SOURCE, entry)
            .define_type("T", self.dtype())
            .define_type("C", self.compute())
            .define("LAYER", layer)
            .define("UNIT_GATES", self.sizes.gates.to_string())
            .define("MASKED", flag(self.masked))
            .define("CELL", flag(self.cell))
    }

    /// A launch over units and rows of the batch, which begins with the sizes.
    fn over_states(&self, entry: &'static str) -> Launch {
        let Sizes { batch, time, units, .. } = self.sizes;
        let blocks = |count: usize, each: usize| count.div_ceil(each).clamp(1, 1 << 15) as u32;
        let launch = self.launch(entry).grid(units.div_ceil(32) as u32, blocks(batch, 4), 1).block(32, 8, 1);
        launch.arg([batch, time, units])
    }

    fn room(&mut self, elements: usize) -> Pointer {
        let size = self.compute().size();
        self.call.room(elements * size)
    }

    /// The last operand where there is a mask.
    fn mask(&mut self) -> Option<Pointer> {
        let last = self.call.inputs().len() - 1;
        self.masked.then(|| self.call.dense(last))
    }

    /// A first state, as it is computed with.
    fn begin(&mut self, operand: usize) -> Pointer {
        let count = self.sizes.batch * self.sizes.units;
        let (from, to) = (self.call.dense(operand), self.room(count));
        self.call.launch(self.launch("begin").over(count).arg(count).arg(from).arg(to));
        to
    }

    /// The steps of a layer with the first states at these operands; what is read and written besides the states, in the
    /// kernel's order, before and after the cells.
    pub(super) fn forward(&mut self, h: usize, c: Option<usize>, bias: Option<usize>) {
        if self.sizes.is_nothing() {
            return;
        }
        let (x, kernel) = (self.call.dense(0), self.call.dense(1));
        let bias = bias.map(|bias| self.call.dense(bias));
        let mask = self.mask();
        let first = self.begin(h);
        let states = States { h: [first, self.room(self.sizes.batch * self.sizes.units)], c: c.map(|c| self.begin(c)) };
        let y: Vec<Pointer> = (0..self.call.outputs().len()).map(|i| self.call.output(i)).collect();
        let more: Vec<Pointer> = [bias, states.c].into_iter().flatten().chain(y[1..].iter().copied()).collect();
        for t in 0..self.sizes.time {
            let [before, after] = [states.h[t % 2], states.h[(t + 1) % 2]];
            let launch = self.over_states("step").arg(t).arg(kernel).arg(x).arg(before).arg(after).arg(y[0]);
            let launch = more.iter().chain(&mask).fold(launch, |launch, &pointer| launch.arg(pointer));
            self.call.launch(launch);
        }
    }

    /// The steps back, and then the gradients of the recurrent kernel and the first states. Operands by their numbers: the
    /// kernel, all states `h` and the first, the gradients of all, and what a step back reads besides, in the kernel's order.
    pub(super) fn backward(&mut self, [kernel, h, first, dh]: [usize; 4], reads: &[usize], cell: Option<usize>) {
        if self.sizes.is_nothing() {
            return self.zeros();
        }
        let Sizes { batch, time, units, .. } = self.sizes;
        let width = self.sizes.width();
        let operands = [kernel, h, first, dh].map(|i| self.call.dense(i));
        let [kernel, h, first, dh] = operands;
        let reads: Vec<Pointer> = reads.iter().map(|&i| self.call.dense(i)).collect();
        let cell = cell.map(|i| self.call.dense(i));
        let mask = self.mask();
        let (turned, into) = (self.room(units * width), self.room(batch * time * width));
        let carried_h = self.room(batch * units);
        let carried_c = matches!(self.layer, Layer::Lstm).then(|| self.room(batch * units));
        let turn = self.launch("turn").over(units * width);
        self.call.launch(turn.arg(units).arg(width).arg(kernel).arg(turned));
        let dz = self.call.output(0);
        let more: Vec<Pointer> = reads.into_iter().chain(carried_c).chain(cell).chain(mask).collect();
        for t in (0..time).rev() {
            let launch = self.over_states("step_back").arg(t).arg(turned).arg(into).arg(carried_h).arg(dh).arg(dz);
            self.call.launch(more.iter().fold(launch, |launch, &pointer| launch.arg(pointer)));
        }
        let is_gru = matches!(self.layer, Layer::Gru);
        let (du, dh0) = (self.call.output(1), self.call.output(if is_gru { 3 } else { 2 }));
        let mut launch = self.over_states("first_states").arg(turned).arg(into).arg(carried_h).arg(dh0);
        if let Some(carried_c) = carried_c {
            launch = launch.arg(carried_c).arg(self.call.output(3));
        }
        self.call.launch(launch);
        let tiles = units.div_ceil(32) * width.div_ceil(32);
        let reads = [h, first, into].map(LaunchArgument::from);
        self.in_parts("kernel_grad", units * width, tiles, |launch, splits| launch.blocks(tiles * splits), &reads, du);
        if is_gru {
            let (blocks, db) = (width.div_ceil(256), self.call.output(2));
            let over = |launch: Launch, splits: usize| launch.over(width * splits);
            self.in_parts("bias_grad", width, blocks, over, &[into.into()], db);
        }
    }

    /// A sum over all steps of `count` elements, for which `blocks` blocks work on each part of the steps.
    fn in_parts(
        &mut self,
        entry: &'static str,
        count: usize,
        blocks: usize,
        grid: impl Fn(Launch, usize) -> Launch,
        reads: &[LaunchArgument],
        y: Pointer,
    ) {
        let Sizes { batch, time, units, .. } = self.sizes;
        let steps = batch * time;
        let splits = (ENOUGH_BLOCKS / blocks).min(steps / FEW_STEPS).min(MOST_ROOM / count).max(1);
        let parts = self.room(splits * count);
        let launch = grid(self.launch(entry), splits).arg([batch, time, units]).arg(splits).arg(steps.div_ceil(splits));
        let launch = reads.iter().fold(launch, |launch, read| launch.arg(read.clone()));
        self.call.launch(launch.arg(parts));
        let sum = self.launch("sum").over(count).arg(count).arg(splits);
        self.call.launch(sum.arg(parts).arg(y));
    }

    /// Sums of nothing.
    fn zeros(&mut self) {
        for (i, spec) in self.call.outputs().iter().enumerate() {
            let (count, y) = (spec.shape.count(), self.call.output(i));
            if count > 0 {
                self.call.launch(self.launch("zeros").over(count).arg(count).arg(y));
            }
        }
    }
}
