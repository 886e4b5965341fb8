//! Steps that run together: chains of pointwise operations, piece by piece. What one of them gives is still in the cache
//! when the next one reads it, and what only the chain reads needs memory for a piece alone.
//!
//! A piece is computed by the operations' own kernels, which see it as the whole: element by element they do the same.

use super::graph::{Graph, Operand, Step, Value};
use crate::run::infer;
use crate::{Argument, Layout, MAX_RANK, Shape, Spec};
use std::ops::Range;

/// Elements of a piece: in single precision, those of a few values fit a second-level cache. Smaller ones would fit the
/// first, but to call a kernel costs as much as to compute 4,000 elements, which is more than that cache gains.
pub(super) const PIECE: usize = 1 << 16;

/// The fewest elements that are cut. What is smaller stays in a cache from one step to the next as a whole: a chain of
/// five steps in pieces takes the time of 1.0 for half a million elements, 0.65 for four million.
pub(super) const LEAST: usize = 8 * PIECE;

/// Consecutive steps that run together.
pub(super) struct Chain {
    pub(super) steps: Range<usize>,
    pub(super) pieces: Pieces,
}

/// How a shape is cut: one index of each dimension before `axis`, some of that one, all of those behind it.
pub(super) struct Pieces {
    shape: Shape,
    axis: usize,
    /// The most indices of `axis` in a piece.
    rows: usize,
}

/// A part of a shape: where it begins in each dimension up to the axis, and how many indices of the axis it has.
pub(super) struct Piece {
    start: [usize; MAX_RANK],
    rows: usize,
}

impl Pieces {
    /// Pieces of `most` elements at most.
    fn new(shape: Shape, most: usize) -> Pieces {
        let mut axis = 0;
        let behind = |axis: usize| shape.iter().skip(axis + 1).product::<usize>();
        while behind(axis) > most {
            axis += 1;
        }
        let along = shape[axis].div_ceil((most / behind(axis)).max(1));
        Pieces { shape, axis, rows: shape[axis].div_ceil(along) }
    }

    fn along(&self) -> usize {
        self.shape[self.axis].div_ceil(self.rows)
    }

    pub(super) fn count(&self) -> usize {
        self.shape.iter().take(self.axis).product::<usize>() * self.along()
    }

    /// Elements of the whole.
    pub(super) fn elements(&self) -> usize {
        self.shape.count()
    }

    /// Elements of the largest piece.
    pub(super) fn largest(&self) -> usize {
        self.shape_of(self.rows).count()
    }

    pub(super) fn piece(&self, number: usize) -> Piece {
        let (mut start, mut rest) = ([0; MAX_RANK], number / self.along());
        for axis in (0..self.axis).rev() {
            (start[axis], rest) = (rest % self.shape[axis], rest / self.shape[axis]);
        }
        start[self.axis] = number % self.along() * self.rows;
        Piece { start, rows: self.rows.min(self.shape[self.axis] - start[self.axis]) }
    }

    fn shape_of(&self, rows: usize) -> Shape {
        let shape = (0..self.axis).fold(self.shape, |shape, axis| shape.with(axis, 1));
        shape.with(self.axis, rows)
    }

    /// A piece of what lies by this layout and broadcasts to the whole: from its first element to the piece's, and the
    /// layout from there.
    pub(super) fn narrow(&self, layout: &Layout, piece: &Piece) -> (isize, Layout) {
        let (mut narrow, mut offset) = (*layout, 0);
        let missing = self.shape.rank() - layout.shape.rank();
        for axis in missing..=self.axis {
            let own = axis - missing;
            if layout.shape[own] != 1 {
                offset += piece.start[axis] as isize * layout.strides()[own];
                narrow.shape = narrow.shape.with(own, if axis == self.axis { piece.rows } else { 1 });
            }
        }
        (offset, narrow)
    }

    /// The piece of a value that has the shape of the whole and lies dense.
    pub(super) fn dense(&self, piece: &Piece) -> (isize, Shape) {
        let (offset, layout) = self.narrow(&Layout::contiguous(self.shape), piece);
        (offset, layout.shape)
    }
}

/// Puts pointwise steps behind the one whose result they alone read, where both give the same shape. It is then needed no
/// longer than before, and what they give in its place no sooner.
pub(super) fn gather(steps: Vec<Step>, values: &[Value], least: usize) -> Vec<Step> {
    let mut readers = vec![0; values.len()];
    steps.iter().flat_map(|step| &step.x).for_each(|x| readers[x.value] += 1);
    let mut gathered: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        let reads = |other: &Step| other.y.iter().any(|y| step.x.iter().any(|x| x.value == *y));
        let place = gathered.iter().rposition(reads).filter(|&producer| {
            let producer = &gathered[producer];
            let alone = producer.y.iter().all(|&y| readers[y] == 1);
            alone
                && piecewise(&step, values, least)
                    .is_some_and(|shape| piecewise(producer, values, least) == Some(shape))
        });
        gathered.insert(place.map_or(gathered.len(), |producer| producer + 1), step);
    }
    gathered
}

/// The chains among the steps, of at least so many elements, in pieces of `most` at most.
pub(super) fn chains(graph: &Graph, most: usize, least: usize) -> Vec<Chain> {
    let Graph { steps, values, .. } = graph;
    let shapes: Vec<Option<Shape>> = steps.iter().map(|step| piecewise(step, values, least)).collect();
    let (mut chains, mut start) = (Vec::new(), 0);
    while start < steps.len() {
        let mut end = start + 1;
        if let Some(shape) = shapes[start] {
            let pieces = Pieces::new(shape, most);
            let fits = |i: usize| shapes[i] == Some(shape) && steps[i].fits(&pieces, values);
            while end < steps.len() && fits(start) && fits(end) && continues(graph, start..end, end) {
                end += 1;
            }
            if end - start > 1 {
                chains.push(Chain { steps: start..end, pieces });
            }
        }
        start = end;
    }
    chains
}

/// The most instructions of steps that one kernel of a GPU runs together, and the most that these read and give: what its
/// registers hold.
const MOST_INSTRUCTIONS: usize = 200;
const MOST_OPERANDS: usize = 40;

/// Steps of so few elements go together even where none reads what another does: to start a kernel takes longer.
const FEW: usize = 1 << 16;

/// The steps that one kernel of a GPU runs together: pointwise ones of one shape that follow on each other. There is one
/// piece, the whole. Some are [left](left_abreast) for what makes one kernel of all that is alike.
pub(super) fn groups(graph: &Graph) -> Vec<Chain> {
    let Graph { steps, values, .. } = graph;
    let is_left = left_abreast(graph);
    let sizes: Vec<Option<(Shape, usize)>> = steps.iter().map(|step| step.pointwise_size(values)).collect();
    let (mut groups, mut start) = (Vec::new(), 0);
    while start < steps.len() {
        let mut end = start + 1;
        if let Some((shape, mut instructions)) = sizes[start] {
            let mut operands = steps[start].x.len() + steps[start].y.len();
            while let Some(step) = steps.get(end)
                && let Some((same, more)) = sizes[end]
                && same == shape
                && joins(&steps[start..end], step, values, shape.count() <= FEW && !is_left[start] && !is_left[end])
            {
                instructions += more;
                let group = &steps[start..end];
                operands += step.x.iter().filter(|x| !gives(group, x.value)).count() + step.y.len();
                if instructions > MOST_INSTRUCTIONS || operands > MOST_OPERANDS {
                    break;
                }
                end += 1;
            }
            if end - start > 1 {
                let shape = if shape.rank() > 0 { shape } else { Shape::from_slice(&[1]) };
                groups.push(Chain { steps: start..end, pieces: Pieces::new(shape, usize::MAX) });
            }
        }
        start = end;
    }
    groups
}

/// Of each step whether it is not to be joined with unrelated ones of its shape: where steps that are alike lie side by side
/// and their shapes differ, one launch takes them all as they are.
fn left_abreast(graph: &Graph) -> Vec<bool> {
    let Graph { steps, values, .. } = graph;
    let shape = |step: &Step| step.y.first().map(|&y| values[y].shape);
    let mut is_left = Vec::with_capacity(steps.len());
    for alike in steps.chunk_by(|step, next| step.is_alike(next, values)) {
        let differ = alike.iter().any(|step| shape(step) != shape(&alike[0]));
        is_left.extend(alike.iter().map(|_| differ));
    }
    is_left
}

/// Steps that are launched together though they have different shapes: units of one step or one group each, which follow on
/// each other, do the like, and read nothing that another of them gives.
pub(super) struct Abreast {
    pub(super) steps: Range<usize>,
    /// Their units, by number.
    pub(super) units: Range<usize>,
}

/// What can be launched together of the units, which are ranges of steps and may be joined with others of their kind or not.
pub(super) fn abreast(graph: &Graph, units: &[(Range<usize>, bool)]) -> Vec<Abreast> {
    let Graph { steps, values, .. } = graph;
    let is_alike = |a: &Range<usize>, b: &Range<usize>| {
        a.len() == b.len() && steps[a.clone()].iter().zip(&steps[b.clone()]).all(|(a, b)| a.is_alike(b, values))
    };
    let (mut all, mut start) = (Vec::new(), 0);
    while start < units.len() {
        let (first, is_joinable) = &units[start];
        let mut end = start + 1;
        while let Some((unit, true)) = units.get(end).filter(|_| *is_joinable) {
            let before = &steps[first.start..unit.start];
            let mut read = steps[unit.clone()].iter().flat_map(|step| &step.x);
            if !is_alike(first, unit) || read.any(|x| gives(before, x.value)) {
                break;
            }
            end += 1;
        }
        if end - start > 1 {
            all.push(Abreast { steps: first.start..units[end - 1].0.end, units: start..end });
        }
        start = end;
    }
    all
}

/// Whether a step can run with those of a group, which it follows: it reads what they give as it lies. It has to read
/// something of theirs, unless it need not be related.
fn joins(group: &[Step], step: &Step, values: &[Value], is_few: bool) -> bool {
    let reads = |value: usize| group.iter().any(|step| step.x.iter().any(|x| x.value == value));
    let is_related = |x: &Operand| gives(group, x.value) || (!x.is_number && reads(x.value));
    let is_whole = |x: &Operand| !gives(group, x.value) || x.is_whole(&values[x.value]);
    (is_few || step.x.iter().any(is_related)) && step.x.iter().all(is_whole)
}

/// Whether one of the steps gives a value.
fn gives(steps: &[Step], value: usize) -> bool {
    steps.iter().any(|step| step.y.contains(&value))
}

/// Whether a step reads what the chain gives, all of it as it lies.
fn continues(graph: &Graph, chain: Range<usize>, next: usize) -> bool {
    let given = |x: &&Operand| graph.steps[chain.clone()].iter().any(|step| step.y.contains(&x.value));
    let mut reads = graph.steps[next].x.iter().filter(given).peekable();
    reads.peek().is_some() && reads.all(|x| x.is_whole(&graph.values[x.value]))
}

/// The shape of all results of a step that computes each element from those in the same place, and from nothing else that
/// a piece would not know; if it has at least so many elements.
fn piecewise(step: &Step, values: &[Value], least: usize) -> Option<Shape> {
    let shape = values[*step.y.first()?].shape;
    if shape.count() < least {
        return None;
    }
    let specs: Vec<Spec> = step.x.iter().map(Operand::spec).collect();
    let pointwise = step.op.pointwise(&specs)?;
    let placed = pointwise.arguments.iter().all(|x| matches!(x, Argument::Element(_) | Argument::Number(_)));
    let alike = step.y.iter().all(|&y| values[y].shape == shape);
    (placed && alike && step.op.workspace(&specs) == 0).then_some(shape)
}

impl Step {
    /// The shape of all results of a pointwise step, and its number of instructions.
    pub(super) fn pointwise_size(&self, values: &[Value]) -> Option<(Shape, usize)> {
        let shape = values[*self.y.first()?].shape;
        let specs: Vec<Spec> = self.x.iter().map(Operand::spec).collect();
        let pointwise = self.op.pointwise(&specs)?;
        let alike = self.y.iter().all(|&y| values[y].shape == shape);
        (alike && shape.count() > 0).then(|| (shape, pointwise.program.len()))
    }

    /// Whether the operation gives pieces from pieces, as it must when it gives the whole from the whole.
    fn fits(&self, pieces: &Pieces, values: &[Value]) -> bool {
        [0, pieces.count() - 1].into_iter().all(|number| {
            let piece = pieces.piece(number);
            let shape = pieces.dense(&piece).1;
            let fits = |x: &Operand| x.layout.shape.rank() <= pieces.shape.rank();
            let spec = |x: &Operand| match x.is_number {
                true => x.spec(),
                false => Spec::new(pieces.narrow(&x.layout, &piece).1.shape, x.dtype),
            };
            self.x.iter().all(fits)
                && infer(&*self.op, &self.x.iter().map(spec).collect::<Vec<_>>()).is_ok_and(|out| {
                    out.len() == self.y.len()
                        && out.iter().zip(&self.y).all(|(out, &y)| *out == Spec::new(shape, values[y].dtype))
                })
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::*;
    use crate::{DType, Key, Plan, Result, Tensor, Trace};
    use std::panic::Location;

    /// What a function gives eagerly, and by plans whose chains run in pieces of several sizes, of which there are so many.
    fn agrees(f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>, inputs: &[Tensor], chains: &[usize]) {
        let expected = f(inputs).unwrap();
        for piece in [1, 7, 64, 100, 1000] {
            let trace = Trace::new();
            let traced: Vec<Tensor> = inputs.iter().map(|x| trace.input(x).unwrap()).collect();
            let outputs = f(&traced).unwrap();
            let (graph, outputs) = trace.end(&outputs.iter().collect::<Vec<_>>(), Location::caller()).unwrap();
            let mut plan = Plan::in_pieces(graph, outputs, piece, piece + 1).unwrap();
            let lengths: Vec<usize> = plan.chains.iter().map(|chain| chain.steps.len()).collect();
            assert_eq!(lengths, chains, "{plan:?}");
            let agrees = |found: &[Tensor], plan: &Plan| {
                for (found, expected) in found.iter().zip(&expected) {
                    let bits = |x: &Tensor| x.to_vec_as::<f64>().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert!(found.spec() == expected.spec() && bits(found) == bits(expected), "{piece}: {plan:?}");
                }
            };
            for _ in 0..2 {
                // Twice: the second run finds the memory of the first.
                agrees(&plan.run(&inputs.iter().collect::<Vec<_>>()).unwrap(), &plan);
            }
            let mut own: Vec<Tensor> =
                inputs.iter().map(|x| Tensor::from_vec(x.to_vec::<f32>().unwrap(), *x.shape()).unwrap()).collect();
            plan.run_in_place(&mut own).unwrap();
            agrees(&own, &plan);
        }
    }

    fn normal(seed: u64, shape: &[usize]) -> Tensor {
        Key::new(seed).normal(shape, 0.0, 1.0).unwrap()
    }

    #[test]
    fn chains_have_the_bits_of_their_steps() {
        let x = [normal(1, &[33, 5, 40]), normal(2, &[40]), normal(3, &[33, 1, 1]), normal(4, &[40, 5, 33])];
        let f = |x: &[Tensor]| {
            // Rows, columns and a permuted operand are read by the piece as well.
            let a = x[0].mul(&x[1])?.add(&x[2])?.tanh()?;
            let b = a.sub(&x[3].permute(&[2, 1, 0])?)?.gt(0)?.select(&a, 0.5)?;
            Ok(vec![b.cast(DType::F16)?.exp()?, a.sum(..)?])
        };
        agrees(f, &x, &[7]);
    }

    #[test]
    fn what_leaves_a_chain_may_take_the_place_of_what_came_in() {
        let f = |x: &[Tensor]| {
            let sum = x[0].add(&x[1])?;
            let moved = sum.mul(0.9)?.add(&x[1])?;
            Ok(vec![moved.sub(&sum.sqrt()?)?, moved])
        };
        agrees(f, &[normal(5, &[1700]).abs().unwrap(), normal(6, &[1700]).abs().unwrap()], &[5]);
    }

    /// A square operand that one step reads by columns must not be overwritten by a later step of the chain: its other
    /// pieces are still to be read.
    #[test]
    fn what_is_read_across_pieces_is_not_overwritten() {
        let f = |x: &[Tensor]| {
            let square = x[0].matmul(&x[0])?;
            let turned = square.transpose(0, 1)?.mul(2.0)?;
            Ok(vec![turned.exp()?.add(&square)?.neg()?.sum(0)?])
        };
        agrees(f, &[normal(7, &[40, 40])], &[4]);
    }

    #[test]
    fn a_chain_ends_where_a_result_is_looked_at_in_another_way() {
        let f = |x: &[Tensor]| {
            let a = x[0].exp()?.neg()?;
            Ok(vec![a.transpose(0, 1)?.add(&x[0])?.abs()?.sum(..)?])
        };
        agrees(f, &[normal(8, &[50, 50])], &[2, 2]);
    }

    #[test]
    fn random_numbers_are_drawn_for_the_whole() {
        let key = Key::new(9);
        let f = |x: &[Tensor]| {
            let dropped = x[0].exp()?.dropout(&key, 0.5)?;
            Ok(vec![dropped.neg()?.abs()?.sum(..)?])
        };
        agrees(f, &[normal(10, &[3000])], &[2]);
    }
}
