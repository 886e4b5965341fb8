//! Where every value of a plan lies: in one arena, by lifetimes, which are known before anything runs.

use super::fuse::Chain;
use super::graph::{Graph, Operand, Origin, Step};
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
    /// The first `others` steps may not overwrite what came in.
    pub(super) fn new(graph: &Graph, chains: &[Chain], outputs: &[Operand], others: usize) -> Memory {
        let Graph { values, steps, .. } = graph;
        // What a chain reads or writes is needed from its first step to its last, for its steps take turns.
        let chain_of = |i: usize| chains.iter().position(|chain| chain.steps.contains(&i));
        let together = |i: usize| chain_of(i).map_or(i..i + 1, |chain| chains[chain].steps.clone());
        let mut leaves = vec![false; values.len()];
        outputs.iter().for_each(|output| leaves[output.value] = true);
        let mut last = vec![0; values.len()];
        for (i, step) in steps.iter().enumerate() {
            step.x.iter().map(|x| x.value).chain(step.y.iter().copied()).for_each(|value| last[value] = i);
        }
        let mut memory = Memory { places: vec![Place::Nowhere; values.len()], ..Memory::default() };
        for (value, place) in values.iter().zip(&mut memory.places) {
            match value.origin {
                Origin::Input(number) => *place = Place::Input(number),
                Origin::Constant(_) => *place = Place::Constant,
                Origin::Step => {}
            }
        }
        // Blocks of values, then of workspaces. A result in the place of an operand is in its block.
        let mut blocks: Vec<Block> = Vec::new();
        let mut block_of = vec![None; values.len()];
        // Whose place another value has taken.
        let mut given = vec![false; values.len()];
        for (i, step) in steps.iter().enumerate() {
            let mut shares = vec![None; step.y.len()];
            let (chain, steps_together) = (chain_of(i), together(i));
            for (output, &y) in step.y.iter().enumerate() {
                let inside = chain.filter(|_| !leaves[y] && steps_together.contains(&last[y]));
                // Where another step of the chain would still read other parts of it than those of the piece.
                let is_cut = |value: usize| {
                    let mut reads = steps[steps_together.clone()].iter().flat_map(|step| &step.x);
                    steps_together.len() > 1 && reads.any(|x| x.value == value && !x.is_whole(&values[value]))
                };
                let donor = (0..step.x.len()).find(|&input| {
                    let value = step.x[input].value;
                    !shares.contains(&Some(input))
                        && can_share(graph, step, input, output)
                        && last[value] == i
                        && !leaves[value]
                        // What leaves may take the place of what came in, and what stays that of what stays.
                        && match memory.places[value] {
                            Place::Input(_) => leaves[y] && i >= others,
                            Place::Arena(_) => !leaves[y] && inside.is_none(),
                            Place::Piece(_) => inside.is_some(),
                            _ => false,
                        }
                        && !is_cut(value)
                });
                shares[output] = donor;
                // What an earlier step of the chain was the last to read makes room piece by piece as well.
                let earlier = || {
                    let read = steps[steps_together.start..i].iter().flat_map(|step| &step.x).map(|x| x.value);
                    read.filter(|_| inside.is_none() && !leaves[y]).find(|&value| {
                        let fits = (values[value].shape, values[value].dtype) == (values[y].shape, values[y].dtype);
                        let is_over = last[value] < i && !given[value] && !leaves[value];
                        fits && is_over && matches!(memory.places[value], Place::Arena(_)) && !is_cut(value)
                    })
                };
                let donor = donor.map(|input| step.x[input].value).or_else(earlier);
                donor.into_iter().for_each(|value| given[value] = true);
                if leaves[y] {
                    let donor = donor.and_then(|value| match memory.places[value] {
                        Place::Input(number) => Some(number),
                        _ => None,
                    });
                    memory.places[y] = Place::Result(memory.results.len());
                    memory.results.push(Leaving { value: y, donor });
                    continue;
                }
                let block = donor.and_then(|value| block_of[value]).unwrap_or(blocks.len());
                if block == blocks.len() {
                    let (bytes, first) = match inside {
                        Some(chain) => (chains[chain].pieces.largest() * values[y].dtype.size(), i),
                        None => (values[y].bytes(), steps_together.start),
                    };
                    blocks.push(Block { chain: inside, bytes, first, last: i, offset: 0 });
                }
                let end = if inside.is_some() { last[y] } else { together(last[y]).end - 1 };
                blocks[block].last = blocks[block].last.max(end);
                block_of[y] = Some(block);
                memory.places[y] = if inside.is_some() { Place::Piece(0) } else { Place::Arena(0) };
                if inside.is_none() {
                    memory.sum += values[y].bytes();
                }
            }
            memory.shares.push(shares);
        }
        let specs = |step: &Step| step.x.iter().map(Operand::spec).collect::<Vec<_>>();
        let of_values = blocks.len();
        for (i, step) in steps.iter().enumerate() {
            blocks.push(Block { chain: None, bytes: step.op.workspace(&specs(step)), first: i, last: i, offset: 0 });
        }
        memory.bytes = place(&mut blocks, None);
        memory.pieces = (0..chains.len()).map(|chain| place(&mut blocks, Some(chain))).collect();
        memory.least = least(&blocks, steps.len());
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

/// Whether a result may lie in the place of an operand, as far as the operation and the shapes go.
fn can_share(graph: &Graph, step: &Step, input: usize, output: usize) -> bool {
    let (x, y) = (&step.x[input], &graph.values[step.y[output]]);
    let value = &graph.values[x.value];
    step.op.aliases().allow(input, output)
        && x.is_whole(value)
        && (value.shape, value.dtype) == (y.shape, y.dtype)
        && step.x.iter().filter(|other| other.value == x.value).count() == 1
}

/// Bytes that a block takes up.
fn rounded(bytes: usize) -> usize {
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
