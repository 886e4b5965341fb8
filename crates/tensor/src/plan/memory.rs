//! Where every value of a plan lies: in one arena, by lifetimes, which are known before anything runs.

use super::fuse::{Abreast, Chain};
use super::graph::{Graph, Operand, Origin, Step, Value};
use crate::Device;
use crate::cpu::buffer::ALIGNMENT;
use std::ops::Range;

/// Where the elements of a value are while the plan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the memory of an input, by number.
    Input(usize),
    /// In a constant's own memory.
    Constant,
    /// From this byte of the arena on.
    Arena(usize),
    /// Piece by piece, from this byte of the memory for a piece on.
    Piece(usize),
    /// In the memory of a result, by number.
    Result(usize),
    /// No step has it any more.
    Nowhere,
}

/// Memory that leaves the plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving {
    pub(super) value: usize,
    /// The input whose memory it takes, if nobody else holds that.
    pub(super) donor: Option<usize>,
}

/// The memory of a plan.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// For each value.
    pub(super) places: Vec<Place>,
    pub(super) results: Vec<Leaving>,
    /// For each step, the operand whose place each of its results takes.
    pub(super) shares: Vec<Vec<Option<usize>>>,
    /// For each step, the part of the arena that is its workspace.
    pub(super) workspaces: Vec<Range<usize>>,
    /// For each chain, the bytes that its values need in a piece.
    pub(super) pieces: Vec<usize>,
    /// Size of the arena in bytes.
    pub(super) bytes: usize,
    /// The bytes alive at once at most: no arena can be smaller.
    pub(super) least: usize,
    /// The bytes of all values that lie in the arena.
    pub(super) sum: usize,
}

/// A part of the arena, or of a chain's memory for a piece: its size, and the steps from the first to the last that need
/// it.
struct Block {
    chain: Option<usize>,
    bytes: usize,
    first: usize,
    last: usize,
    offset: usize,
}

impl Memory {
    /// The first `others` steps may not overwrite what came in; `workspaces` are the bytes that each step wants beside its
    /// results. What is `abreast` is launched at once.
    pub(super) fn new(
        graph: &Graph,
        (chains, abreast): (&[Chain], &[Abreast]),
        outputs: &[Operand],
        others: usize,
        workspaces: &[usize],
    ) -> Memory {
        let mut lives = Lives::new(graph, (chains, abreast), outputs, others);
        for (i, step) in graph.steps.iter().enumerate() {
            let mut shares = vec![None; step.y.len()];
            (0..step.y.len()).for_each(|output| lives.settle(i, output, &mut shares));
            lives.memory.shares.push(shares);
        }
        let workspaces: Vec<Block> = workspaces
            .iter()
            .enumerate()
            .map(|(i, &bytes)| {
                let at_once = lives.at_once(i);
                Block { chain: None, bytes, first: at_once.start, last: at_once.end - 1, offset: 0 }
            })
            .collect();
        let Lives { mut memory, mut blocks, block_of, .. } = lives;
        let of_values = blocks.len();
        blocks.extend(workspaces);
        memory.bytes = place(&mut blocks, None);
        memory.pieces = (0..chains.len()).map(|chain| place(&mut blocks, Some(chain))).collect();
        memory.least = least(&blocks, graph.steps.len());
        for (place, block) in memory.places.iter_mut().zip(&block_of) {
            if let Some(block) = block.map(|block| &blocks[block]) {
                *place = if block.chain.is_some() { Place::Piece(block.offset) } else { Place::Arena(block.offset) };
            }
        }
        let workspaces = blocks[of_values..].iter();
        memory.workspaces = workspaces.map(|block| block.offset..block.offset + block.bytes).collect();
        memory
    }
}

/// The lives of a graph's values, step by step: which block each gets, whose place it takes.
struct Lives<'a> {
    graph: &'a Graph,
    chains: &'a [Chain],
    abreast: &'a [Abreast],
    others: usize,
    /// For each value, whether it leaves the plan.
    leaves: Vec<bool>,
    /// For each value, the last step that has it.
    last: Vec<usize>,
    /// For each value, whether another has taken its place.
    given: Vec<bool>,
    /// For each value, its block. A result in the place of an operand is in the operand's.
    block_of: Vec<Option<usize>>,
    blocks: Vec<Block>,
    /// What is known of it so far: offsets are not.
    memory: Memory,
}

impl Lives<'_> {
    fn new<'a>(
        graph: &'a Graph,
        (chains, abreast): (&'a [Chain], &'a [Abreast]),
        outputs: &[Operand],
        others: usize,
    ) -> Lives<'a> {
        let count = graph.values.len();
        let (mut leaves, mut last) = (vec![false; count], vec![0; count]);
        outputs.iter().for_each(|output| leaves[output.value] = true);
        for (i, step) in graph.steps.iter().enumerate() {
            step.x.iter().map(|x| x.value).chain(step.y.iter().copied()).for_each(|value| last[value] = i);
        }
        let place = |value: &Value| match value.origin {
            Origin::Input(number) => Place::Input(number),
            Origin::Constant(_) => Place::Constant,
            Origin::Step => Place::Nowhere,
        };
        let memory = Memory { places: graph.values.iter().map(place).collect(), ..Memory::default() };
        let (given, block_of) = (vec![false; count], vec![None; count]);
        Lives { graph, chains, abreast, others, leaves, last, given, block_of, blocks: Vec::new(), memory }
    }

    /// The chain that a step is of.
    fn chain(&self, step: usize) -> Option<usize> {
        self.chains.iter().position(|chain| chain.steps.contains(&step))
    }

    /// The steps that take turns with this one: what one of them reads or writes is needed from the first to the last.
    fn together(&self, step: usize) -> Range<usize> {
        self.chain(step).map_or(step..step + 1, |chain| self.chains[chain].steps.clone())
    }

    /// The steps that are started before any of them has ended: those that take turns, and what is abreast of them.
    fn at_once(&self, step: usize) -> Range<usize> {
        let abreast = self.abreast.iter().find(|abreast| abreast.steps.contains(&step));
        abreast.map_or_else(|| self.together(step), |abreast| abreast.steps.clone())
    }

    /// Whether a step abreast of this one reads a value, which must not be overwritten meanwhile.
    fn is_read_abreast(&self, step: usize, value: usize) -> bool {
        let together = self.together(step);
        let beside = self.at_once(step).filter(|i| !together.contains(i));
        beside.flat_map(|i| &self.graph.steps[i].x).any(|x| x.value == value)
    }

    /// The chain in which the result `y` of a step stays: it has it only piece by piece.
    fn inside(&self, step: usize, y: usize) -> Option<usize> {
        self.chain(step).filter(|_| !self.leaves[y] && self.together(step).contains(&self.last[y]))
    }

    /// Whether one of the steps around this one reads other parts of a value than those of the piece.
    fn is_cut(&self, step: usize, value: usize) -> bool {
        let together = self.together(step);
        let mut reads = self.graph.steps[together.clone()].iter().flat_map(|step| &step.x);
        together.len() > 1 && reads.any(|x| x.value == value && !x.is_whole(&self.graph.values[value]))
    }

    /// The operand whose place a result can take; those of the results before it are taken.
    fn donor(&self, i: usize, output: usize, taken: &[Option<usize>]) -> Option<usize> {
        let step = &self.graph.steps[i];
        let y = step.y[output];
        (0..step.x.len()).find(|&input| {
            let value = step.x[input].value;
            !taken.contains(&Some(input))
                && can_share(self.graph, step, input, output)
                && self.last[value] == i
                && !self.leaves[value]
                // What leaves may take the place of what came in, and what stays that of what stays.
                && match self.memory.places[value] {
                    Place::Input(_) => self.leaves[y] && i >= self.others,
                    Place::Arena(_) => !self.leaves[y] && self.inside(i, y).is_none(),
                    Place::Piece(_) => self.inside(i, y).is_some(),
                    _ => false,
                }
                && !self.is_cut(i, value)
                && !self.is_read_abreast(i, value)
        })
    }

    /// A value that an earlier step of the chain was the last to read: it makes room for `y` piece by piece as well.
    fn predecessor(&self, i: usize, y: usize) -> Option<usize> {
        if self.leaves[y] || self.inside(i, y).is_some() {
            return None;
        }
        let values = &self.graph.values;
        let mut read = self.graph.steps[self.together(i).start..i].iter().flat_map(|step| &step.x).map(|x| x.value);
        read.find(|&value| {
            let fits = (values[value].shape, values[value].dtype) == (values[y].shape, values[y].dtype);
            let is_over = self.last[value] < i && !self.given[value] && !self.leaves[value];
            let is_free = !self.is_cut(i, value) && !self.is_read_abreast(i, value);
            fits && is_over && matches!(self.memory.places[value], Place::Arena(_)) && is_free
        })
    }

    /// Finds a place for a result of a step: `shares` learns whose it takes, if it is an operand's.
    fn settle(&mut self, i: usize, output: usize, shares: &mut [Option<usize>]) {
        let step = &self.graph.steps[i];
        let y = step.y[output];
        shares[output] = self.donor(i, output, shares);
        let donor = shares[output].map(|input| step.x[input].value).or_else(|| self.predecessor(i, y));
        donor.into_iter().for_each(|value| self.given[value] = true);
        if self.leaves[y] {
            let donor = donor.and_then(|value| match self.memory.places[value] {
                Place::Input(number) => Some(number),
                _ => None,
            });
            self.memory.places[y] = Place::Result(self.memory.results.len());
            self.memory.results.push(Leaving { value: y, donor });
            return;
        }
        let inside = self.inside(i, y);
        let block = donor.and_then(|value| self.block_of[value]).unwrap_or(self.blocks.len());
        if block == self.blocks.len() {
            let value = &self.graph.values[y];
            let (bytes, first) = match inside {
                Some(chain) => (self.chains[chain].pieces.largest() * value.dtype.size(), i),
                None => (value.bytes(), self.at_once(i).start),
            };
            self.blocks.push(Block { chain: inside, bytes, first, last: i, offset: 0 });
        }
        let last = self.last[y];
        let end = if inside.is_some() { last } else { self.at_once(last).end - 1 };
        self.blocks[block].last = self.blocks[block].last.max(end);
        self.block_of[y] = Some(block);
        self.memory.places[y] = if inside.is_some() { Place::Piece(0) } else { Place::Arena(0) };
        if inside.is_none() {
            self.memory.sum += self.graph.values[y].bytes();
        }
    }
}

/// Whether a result may lie in the place of an operand, as far as the operation and the shapes go.
fn can_share(graph: &Graph, step: &Step, input: usize, output: usize) -> bool {
    let (x, y) = (&step.x[input], &graph.values[step.y[output]]);
    let value = &graph.values[x.value];
    // The promise behind aliases is that of a kernel for the CPU; on a GPU only pointwise ones keep it.
    let can_alias = || match graph.device {
        Device::Cpu => true,
        Device::Cuda(_) => step.op.pointwise(&step.x.iter().map(Operand::spec).collect::<Vec<_>>()).is_some(),
    };
    step.op.aliases().allow(input, output)
        && can_alias()
        && x.is_whole(value)
        && (value.shape, value.dtype) == (y.shape, y.dtype)
        && step.x.iter().filter(|other| other.value == x.value).count() == 1
}

/// Bytes that a block takes up.
pub(super) fn rounded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Gives every block of the chain, or of the arena, its offset, the largest first, each in the smallest gap that it fits
/// between those that are needed at the same time; returns where the last one ends.
fn place(blocks: &mut [Block], chain: Option<usize>) -> usize {
    let mut order: Vec<usize> =
        (0..blocks.len()).filter(|&i| blocks[i].bytes > 0 && blocks[i].chain == chain).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(blocks[i].bytes), blocks[i].first));
    let (mut placed, mut end): (Vec<usize>, usize) = (Vec::new(), 0);
    for i in order {
        let bytes = rounded(blocks[i].bytes);
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .map(|&other| &blocks[other])
            .filter(|other| other.first <= blocks[i].last && blocks[i].first <= other.last)
            .map(|other| (other.offset, other.offset + rounded(other.bytes)))
            .collect();
        taken.sort_unstable();
        let (mut free, mut best) = (0, None);
        for (start, end) in taken {
            let gap = start.saturating_sub(free);
            if gap >= bytes && best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, free));
            }
            free = free.max(end);
        }
        blocks[i].offset = best.map_or(free, |(_, offset)| offset);
        end = end.max(blocks[i].offset + bytes);
        placed.push(i);
    }
    end
}

/// The most bytes of the arena that are needed at one time.
fn least(blocks: &[Block], steps: usize) -> usize {
    let mut change = vec![0isize; steps + 1];
    for block in blocks.iter().filter(|block| block.chain.is_none()) {
        change[block.first] += rounded(block.bytes) as isize;
        change[block.last + 1] -= rounded(block.bytes) as isize;
    }
    let mut alive = 0;
    change.iter().fold(0, |most, change| {
        alive += change;
        most.max(alive)
    }) as usize
}
