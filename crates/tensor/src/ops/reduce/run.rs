//! How any fold runs on a CPU. Rows that lie dense are folded in fixed lanes; where the kept dimension is the dense one,
//! whole rows are folded into a row of accumulators. Partial results of fixed size are combined in order, so that
//! neither the number of threads nor the instruction set changes a bit, and so that rounding errors of long sums stay
//! small.

#![expect(clippy::needless_range_loop, reason = "loops over registers have constant bounds and are unrolled")]

use super::{Fold, FoldKind, FoldOp, Reduce};
use crate::cpu::lanes::by_halves;
use crate::cpu::load::load;
use crate::cpu::scratch::Scratch;
use crate::cpu::turned::{ROWS, SHORT, Turned};
use crate::cpu::{parallel, simd};
use crate::layout::for_each_run;
use crate::ops::Function;
use crate::ops::elementwise::computed_in;
use crate::scalar::{Integer, Real};
use crate::tensor::scratch_room;
use crate::{DType, Layout, MAX_RANK, Result, Shape, Spec, View, ViewMut, with_element};
use smallvec::SmallVec;
use std::any::TypeId;
use std::iter::repeat_n;

/// Independent accumulators along a row: two registers of the widest set.
const LANES: usize = 32;
/// Columns folded from top to bottom at a time: as many as registers hold, so that each row is read in long runs.
const ABREAST: usize = 128;
/// Elements of a row folded into one partial result.
const PART: usize = 4096;
/// Rows folded before their lanes are joined.
const GROUP: usize = 8;
/// Accumulators side by side: a row of the result, or as many short ones as fit.
const COLUMNS: usize = 256;
/// Elements folded into one partial row.
const ROWS_PART: usize = 1 << 14;
/// Elements folded one after the other into the same accumulator at most, before its result meets others.
const CHAIN: usize = 128;

/// Folds what `op` folds of `x` into `y`. Whole numbers are folded as such, unless the result has a fraction.
pub(crate) fn reduce<F: Fold<STATE>, P: Function<IN>, const STATE: usize, const IN: usize>(
    op: &Reduce<F, P, STATE, IN>,
    elements: DType,
    x: &[View<'_>],
    y: &mut ViewMut<'_>,
) -> Result<()> {
    // A constant, so that what is never needed is not compiled.
    if const { !matches!(F::KIND, FoldKind::Float | FoldKind::Double) } && computed_in(elements) == DType::I64 {
        return store(y, &reduce_as::<F, P, Integer, STATE, IN>(op, x)?);
    }
    match elements {
        DType::F32 | DType::F16 | DType::BF16 => {
            let results = reduce_as::<F, P, f32, STATE, IN>(op, x)?;
            if !results.iter().any(|&y| op.fold.is_doubtful(y)) {
                return store(y, &results);
            }
            let mut better = reduce_as::<F, P, f64, STATE, IN>(op, x)?;
            let pairs = better.iter_mut().zip(&*results);
            pairs.filter(|(_, y)| !op.fold.is_doubtful(**y)).for_each(|(better, y)| *better = f64::from(*y));
            store(y, &better)
        }
        _ => store(y, &reduce_as::<F, P, f64, STATE, IN>(op, x)?),
    }
}

fn store<C: Real>(y: &mut ViewMut<'_>, results: &[C]) -> Result<()> {
    with_element!(y.dtype(), T => y.slice::<T>()?.iter_mut().zip(results).for_each(|(y, r)| *y = r.store()));
    Ok(())
}

/// Some dimensions of several layouts of one shape, with as few of them as can be.
pub(crate) struct Part<const IN: usize> {
    shape: Shape,
    strides: [[isize; MAX_RANK]; IN],
}

impl<const IN: usize> Part<IN> {
    /// The dimensions as a layout of operand `i`.
    pub(crate) fn layout(&self, i: usize) -> Layout {
        Layout::new(self.shape, &self.strides[i][..self.shape.rank()], 0)
    }

    /// The step of the last dimension in each operand; 0 where there is none.
    fn last(&self) -> [isize; IN] {
        std::array::from_fn(|i| self.shape.rank().checked_sub(1).map_or(0, |last| self.strides[i][last]))
    }

    /// Calls `run(offsets, length, strides)` for each innermost run, in row-major order.
    fn for_each_run(&self, mut run: impl FnMut([isize; IN], usize, [isize; IN])) {
        for_each_run(self.shape, &self.strides, &mut run);
    }
}

/// The flagged dimensions of layouts of one shape, and the others.
pub(crate) fn partition<const IN: usize>(layouts: [&Layout; IN], flags: &[bool; MAX_RANK]) -> (Part<IN>, Part<IN>) {
    let pick = |flag: bool| {
        let (mut dims, mut strides) = (SmallVec::<[usize; MAX_RANK]>::new(), [[0; MAX_RANK]; IN]);
        let shape = layouts.first().map(|layout| layout.shape).unwrap_or_default();
        for axis in (0..shape.rank()).filter(|&a| flags[a] == flag && shape[a] != 1) {
            let step: [isize; IN] = std::array::from_fn(|i| layouts[i].strides()[axis]);
            let last = dims.len().wrapping_sub(1);
            // A dimension joins the one before it where all operands step evenly through both.
            let joins = last < MAX_RANK && (0..IN).all(|i| strides[i][last] == step[i] * shape[axis] as isize);
            let place = if joins { last } else { dims.len() };
            match joins {
                true => dims[last] *= shape[axis],
                false => dims.push(shape[axis]),
            }
            (0..IN).for_each(|i| strides[i][place] = step[i]);
        }
        Part { shape: Shape::from_slice(&dims), strides }
    };
    (pick(true), pick(false))
}

/// How to read one operand.
struct Source<C> {
    start: *const u8,
    /// Already of the type that is computed in: read where it lies if dense.
    direct: bool,
    load: unsafe fn(*const u8, isize, isize, &mut [C]),
}

// SAFETY: the operand is only read, and lives as long as the operation.
unsafe impl<C> Sync for Source<C> {}

impl<C: Real> Source<C> {
    fn new(x: &View<'_>) -> Source<C> {
        with_element!(x.dtype(), T => Source {
            start: x.as_ptr(),
            direct: TypeId::of::<T>() == TypeId::of::<C>(),
            load: load::<T, C>,
        })
    }

    /// A run of elements: where they lie, or gathered into `block`.
    ///
    /// # Safety
    /// The run lies inside the operand.
    unsafe fn run<'b>(&'b self, offset: isize, length: usize, stride: isize, block: &'b mut [C]) -> &'b [C] {
        if self.lies(stride) {
            // SAFETY: the caller's promise; the elements are of type C.
            return unsafe { std::slice::from_raw_parts(self.start.cast::<C>().offset(offset), length) };
        }
        let block = &mut block[..length];
        // SAFETY: the caller's promise.
        unsafe { (self.load)(self.start, offset, stride, block) };
        block
    }

    /// Whether runs of this stride can be read where they lie.
    fn lies(&self, stride: isize) -> bool {
        self.direct && stride == 1
    }
}

struct Job<'a, F, P, C, const STATE: usize, const IN: usize> {
    op: &'a Reduce<F, P, STATE, IN>,
    x: [Source<C>; IN],
    folded: Part<IN>,
    /// Elements folded into one.
    count: usize,
}

fn reduce_as<F: Fold<STATE>, P: Function<IN>, C: Real, const STATE: usize, const IN: usize>(
    op: &Reduce<F, P, STATE, IN>,
    x: &[View<'_>],
) -> Result<Scratch<C>> {
    let specs: [Spec; IN] = std::array::from_fn(|i| x[i].spec());
    let shape = op.folded(&specs)?;
    let layouts: [Layout; IN] = std::array::from_fn(|i| x[i].layout().broadcast_to(shape));
    let (folded, kept) = partition(layouts.each_ref(), &op.axes);
    let count = folded.shape.count();
    let job = Job { op, x: std::array::from_fn(|i| Source::new(&x[i])), folded, count };
    let mut states = scratch_room(F::NAME, kept.shape.count(), Spec::new(kept.shape, x[0].dtype()))?;
    states.extend(repeat_n(op.fold.start::<C>(), kept.shape.count()));
    // Whole rows are folded into a row of accumulators where the kept dimension is the dense one.
    let dense = |part: &Part<IN>| part.last().contains(&1) && part.last().iter().all(|&step| step == 0 || step == 1);
    if dense(&kept) && !dense(&job.folded) {
        job.columns(&kept, &mut states);
    } else {
        job.rows(&kept, &mut states)?;
    }
    Ok(states.iter().map(|&state| op.fold.finish(state, count as f64)).collect())
}

impl<F: Fold<STATE>, P: Function<IN>, C: Real, const STATE: usize, const IN: usize> Job<'_, F, P, C, STATE, IN> {
    /// Folds one element of the result after the other.
    fn rows(&self, kept: &Part<IN>, states: &mut [[C; STATE]]) -> Result<()> {
        let mut bases = scratch_room(F::NAME, states.len(), Spec::new(kept.shape, DType::I64))?;
        kept.for_each_run(|offsets, length, strides| {
            bases.extend((0..length as isize).map(|i| shifted(offsets, strides, i)));
        });
        if let ([state], [base]) = (&mut *states, &bases[..]) {
            *state = self.one(*base);
            return Ok(());
        }
        let is_one_run = self.folded.shape.rank() <= 1;
        let is_short = is_one_run && self.count <= SHORT;
        let strides = self.folded.last();
        let in_place = is_one_run && self.count <= PART && (0..IN).all(|i| self.x[i].lies(strides[i]));
        let group = (PART / self.count.max(1)).max(1).next_multiple_of(if is_short { ROWS } else { 1 });
        let shared = parallel::Shared::new(states);
        parallel::for_chunks(bases.len(), group, self.count, |start, end| {
            // SAFETY: chunks are disjoint ranges of the states.
            let states = unsafe { shared.slice(start, end) };
            // Folds that carry more would be compiled for little.
            if const { IN == 1 && STATE == 1 } && is_short {
                for (states, bases) in states.chunks_mut(ROWS).zip(bases[start..end].chunks(ROWS)) {
                    simd::dispatch_up_to_avx2(ShortRows { job: self, bases, states });
                }
                return;
            }
            if in_place {
                let mut lanes = [[self.op.fold.start(); LANES]; GROUP];
                for (states, bases) in states.chunks_mut(GROUP).zip(bases[start..end].chunks(GROUP)) {
                    simd::dispatch(RowsKernel { job: self, bases, lanes: &mut lanes });
                    simd::dispatch(HalvesKernel { fold: &self.op.fold, lanes: &lanes, states });
                }
                return;
            }
            states.iter_mut().zip(&bases[start..end]).for_each(|(state, &base)| *state = self.one(base));
        });
        Ok(())
    }

    /// The fold of all elements that belong to the one result whose first element is at `base`.
    fn one(&self, base: [isize; IN]) -> [C; STATE] {
        if self.folded.shape.rank() == 1 && self.count <= PART {
            return self.part(base, self.count, self.folded.last());
        }
        let mut parts: Scratch<([isize; IN], usize, [isize; IN])> = Scratch::default();
        self.folded.for_each_run(|offsets, length, strides| {
            for first in (0..length).step_by(PART) {
                let at = shifted(shifted(base, offsets, 1), strides, first as isize);
                parts.push((at, PART.min(length - first), strides));
            }
        });
        let mut partial = Scratch::filled(parts.len(), self.op.fold.start::<C>());
        let shared = parallel::Shared::new(&mut partial);
        let group = (PART / parts.first().map_or(1, |p| p.1)).max(1);
        parallel::for_chunks(parts.len(), group, PART / group, |start, end| {
            // SAFETY: chunks are disjoint ranges of the partial results.
            let partial = unsafe { shared.slice(start, end) };
            for (partial, &(offsets, length, strides)) in partial.iter_mut().zip(&parts[start..end]) {
                *partial = self.part(offsets, length, strides);
            }
        });
        let fold = &self.op.fold;
        by_halves(partial.iter().copied(), |a, b| fold.join(a, b)).unwrap_or_else(|| fold.start())
    }

    /// The fold of a run of at most [`PART`] elements.
    fn part(&self, offsets: [isize; IN], length: usize, strides: [isize; IN]) -> [C; STATE] {
        let mut blocks: [Option<SmallVec<[C; 64]>>; IN] = [const { None }; IN];
        let mut x = [&[][..]; IN];
        for (i, block) in blocks.iter_mut().enumerate() {
            let block = match self.x[i].lies(strides[i]) {
                true => &mut [][..],
                false => block.insert(SmallVec::from_elem(C::default(), length)),
            };
            // SAFETY: the run lies inside the operand's layout.
            x[i] = unsafe { self.x[i].run(offsets[i], length, strides[i], block) };
        }
        let lanes = simd::dispatch(RowKernel { op: self.op, x });
        let mut state = self.op.fold.start();
        let (lanes, states) = (std::slice::from_ref(&lanes), std::slice::from_mut(&mut state));
        simd::dispatch(HalvesKernel { fold: &self.op.fold, lanes, states });
        state
    }

    /// Folds rows into a row of accumulators, for results that lie side by side.
    fn columns(&self, kept: &Part<IN>, states: &mut [[C; STATE]]) {
        let mut runs: Scratch<([isize; IN], usize, [isize; IN])> = Scratch::default();
        self.folded.for_each_run(|offsets, length, strides| runs.push((offsets, length, strides)));
        // Blocks of adjacent results, none of them across the end of a dense run.
        let mut blocks: Scratch<([isize; IN], [usize; 2])> = Scratch::default();
        let (mut at, across) = (0, kept.last());
        kept.for_each_run(|offsets, length, strides| {
            for first in (0..length).step_by(COLUMNS) {
                let width = COLUMNS.min(length - first);
                blocks.push((shifted(offsets, strides, first as isize), [at + first, at + first + width]));
            }
            at += length;
        });
        let shared = parallel::Shared::new(states);
        parallel::for_chunks(blocks.len(), 1, self.count * COLUMNS, |start, end| {
            for &(offsets, [first, end]) in &blocks[start..end] {
                // SAFETY: blocks are disjoint ranges of the states.
                self.block(offsets, across, &runs, unsafe { shared.slice(first, end) });
            }
        });
    }

    /// Folds runs of rows, each from its offsets at its strides, into adjacent results that begin at `base`.
    fn block(
        &self,
        base: [isize; IN],
        across: [isize; IN],
        runs: &[([isize; IN], usize, [isize; IN])],
        states: &mut [[C; STATE]],
    ) {
        let (width, fold) = (states.len(), &self.op.fold);
        // Rows that follow each other without a gap are folded several at a time, each into accumulators of its own.
        let abreast = |strides: [isize; IN]| {
            let follow = (0..IN).all(|i| across[i] == 1 && strides[i] == width as isize);
            if follow { COLUMNS / width } else { 1 }
        };
        let mut pieces: Scratch<Piece<IN>> = Scratch::default();
        for &(offsets, length, strides) in runs {
            let most = (ROWS_PART / width).min(CHAIN * abreast(strides)).next_multiple_of(abreast(strides));
            for first in (0..length).step_by(most) {
                let offsets = shifted(shifted(base, offsets, 1), strides, first as isize);
                pieces.push(Piece { offsets, rows: most.min(length - first), strides, across });
            }
        }
        if pieces.is_empty() {
            return states.fill(fold.start());
        }
        // Short runs are collected: a partial row is made of pieces with about as many rows as one alone may have.
        let longest = pieces.iter().map(|piece| piece.rows).max().unwrap_or(1);
        let together = ((ROWS_PART / width).min(CHAIN) / longest).max(1);
        let count = pieces.len().div_ceil(together);
        let mut partial = Scratch::filled(count * width, fold.start::<C>());
        let shared = parallel::Shared::new(&mut partial);
        let chunk = (ROWS_PART / (together * longest * width)).max(1);
        parallel::for_chunks(count, chunk, together * longest * width, |start, end| {
            for index in start..end {
                let pieces = &pieces[index * together..pieces.len().min((index + 1) * together)];
                // SAFETY: each partial row belongs to one index.
                let partial = unsafe { shared.slice(index * width, (index + 1) * width) };
                let mut accumulators = [fold.start::<C>(); COLUMNS];
                for piece in pieces {
                    let (abreast, states) = (abreast(piece.strides), &mut accumulators);
                    simd::dispatch(PieceKernel { job: self, piece, width, abreast, states });
                }
                for row in accumulators.chunks_exact(width).take(COLUMNS / width) {
                    simd::dispatch(JoinKernel { fold, other: row, states: partial });
                }
            }
        });
        // By halves, which keeps the rounding error of a long sum logarithmic.
        let mut apart = width;
        while apart < partial.len() {
            for pair in partial.chunks_mut(2 * apart).filter(|pair| pair.len() > apart) {
                let (a, b) = pair.split_at_mut(apart);
                simd::dispatch(JoinKernel { fold, other: &b[..width], states: &mut a[..width] });
            }
            apart *= 2;
        }
        states.copy_from_slice(&partial[..width]);
    }
}

/// `offsets + times · strides`.
fn shifted<const IN: usize>(offsets: [isize; IN], strides: [isize; IN], times: isize) -> [isize; IN] {
    std::array::from_fn(|i| offsets[i] + times * strides[i])
}

/// Rows at equal distances, folded by one thread.
#[derive(Clone, Copy)]
struct Piece<const IN: usize> {
    offsets: [isize; IN],
    rows: usize,
    strides: [isize; IN],
    /// From one element of a row to the next.
    across: [isize; IN],
}

/// Operands, each in runs of [`LANES`] and what is left, all of one length: no bound is checked in the loops over them.
#[inline(always)]
fn in_lanes<C, const IN: usize>(x: [&[C]; IN], length: usize) -> ([&[[C; LANES]]; IN], [&[C]; IN]) {
    let (mut runs, mut rest) = ([&[][..]; IN], [&[][..]; IN]);
    for i in 0..IN {
        let (whole, other) = x[i].as_chunks::<LANES>();
        (runs[i], rest[i]) = (&whole[..length / LANES], &other[..length % LANES]);
    }
    (runs, rest)
}

/// A run folded into lanes.
struct RowKernel<'a, F, P, C, const STATE: usize, const IN: usize> {
    op: &'a Reduce<F, P, STATE, IN>,
    x: [&'a [C]; IN],
}

impl<F: Fold<STATE>, P: Function<IN>, C: Real, const STATE: usize, const IN: usize> simd::Kernel
    for RowKernel<'_, F, P, C, STATE, IN>
{
    type Out = [[C; STATE]; LANES];
    #[inline(always)]
    fn run(self) -> Self::Out {
        let (fold, front) = (&self.op.fold, &self.op.front);
        // A local array, which stays in registers.
        let mut lanes = [fold.start(); LANES];
        let Some(length) = self.x.first().map(|x| x.len()) else { return lanes };
        let (chunks, rest) = in_lanes(self.x, length);
        for at in 0..length / LANES {
            let mut block = [&chunks[0][at]; IN];
            for i in 1..IN {
                block[i] = &chunks[i][at];
            }
            for lane in 0..LANES {
                let mut x = [C::default(); IN];
                for i in 0..IN {
                    x[i] = block[i][lane];
                }
                let [x] = front.call(x);
                lanes[lane] = fold.take(lanes[lane], x);
            }
        }
        let mut states = lanes;
        for (lane, state) in states.iter_mut().enumerate().take(length % LANES) {
            let mut x = [C::default(); IN];
            for i in 0..IN {
                x[i] = rest[i][lane];
            }
            let [x] = front.call(x);
            *state = fold.take(*state, x);
        }
        states
    }
}

/// Rows of few elements side by side, each folded as [`RowKernel`] and [`HalvesKernel`] do it.
struct ShortRows<'a, F, P, C, const STATE: usize, const IN: usize> {
    job: &'a Job<'a, F, P, C, STATE, IN>,
    bases: &'a [[isize; IN]],
    states: &'a mut [[C; STATE]],
}

impl<F: Fold<STATE>, P: Function<IN>, C: Real, const STATE: usize, const IN: usize> simd::Kernel
    for ShortRows<'_, F, P, C, STATE, IN>
{
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Job { op, x, folded, count } = self.job;
        let (fold, strides) = (&op.fold, folded.last());
        let mut turned: [Turned<C>; IN] = [[[C::default(); ROWS]; SHORT]; IN];
        for (lane, base) in self.bases.iter().enumerate() {
            for i in 0..IN {
                let mut block = [C::default(); SHORT];
                // SAFETY: the row lies inside the operand's layout.
                let row = unsafe { x[i].run(base[i], *count, strides[i], &mut block) };
                for (place, &x) in row.iter().enumerate() {
                    turned[i][place][lane] = x;
                }
            }
        }
        let mut lanes = [[fold.start(); ROWS]; LANES];
        for place in 0..*count {
            for lane in 0..ROWS {
                let mut x = [C::default(); IN];
                for i in 0..IN {
                    x[i] = turned[i][place][lane];
                }
                let [x] = op.front.call(x);
                lanes[place][lane] = fold.take(lanes[place][lane], x);
            }
        }
        // As in a long row, but that what took no element is not joined.
        let (mut width, mut used) = (LANES, *count);
        while width > 1 {
            width /= 2;
            for place in 0..used.saturating_sub(width) {
                for lane in 0..ROWS {
                    lanes[place][lane] = fold.join(lanes[place][lane], lanes[place + width][lane]);
                }
            }
            used = used.min(width);
        }
        self.states.copy_from_slice(&lanes[0][..self.states.len()]);
    }
}

/// Rows that can be read where they lie, each folded into lanes.
struct RowsKernel<'a, F, P, C, const STATE: usize, const IN: usize> {
    job: &'a Job<'a, F, P, C, STATE, IN>,
    bases: &'a [[isize; IN]],
    lanes: &'a mut [[[C; STATE]; LANES]; GROUP],
}

impl<F: Fold<STATE>, P: Function<IN>, C: Real, const STATE: usize, const IN: usize> simd::Kernel
    for RowsKernel<'_, F, P, C, STATE, IN>
{
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Job { op, x, count, .. } = self.job;
        for (lanes, base) in self.lanes.iter_mut().zip(self.bases) {
            let mut row = [&[][..]; IN];
            for i in 0..IN {
                // SAFETY: the row lies inside the operand's layout; its elements are of type C, one after the other.
                row[i] = unsafe { std::slice::from_raw_parts(x[i].start.cast::<C>().offset(base[i]), *count) };
            }
            *lanes = RowKernel { op, x: row }.run();
        }
    }
}

/// The lanes of each row joined by halves. Not part of [`RowKernel`], where it keeps the compiler from wide registers.
struct HalvesKernel<'a, F, C, const STATE: usize> {
    fold: &'a F,
    lanes: &'a [[[C; STATE]; LANES]],
    states: &'a mut [[C; STATE]],
}

impl<F: Fold<STATE>, C: Real, const STATE: usize> simd::Kernel for HalvesKernel<'_, F, C, STATE> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (state, lanes) in self.states.iter_mut().zip(self.lanes) {
            let lanes = halves::<_, _, STATE, LANES, 16>(self.fold, lanes);
            let lanes = halves::<_, _, STATE, 16, 8>(self.fold, &lanes);
            let lanes = halves::<_, _, STATE, 8, 4>(self.fold, &lanes);
            let lanes = halves::<_, _, STATE, 4, 2>(self.fold, &lanes);
            *state = self.fold.join(lanes[0], lanes[1]);
        }
    }
}

/// The second half joined to the first. Into a new array, which the compiler knows to be apart: it keeps them in
/// registers.
#[inline(always)]
fn halves<F: Fold<STATE>, C: Real, const STATE: usize, const FROM: usize, const TO: usize>(
    fold: &F,
    lanes: &[[C; STATE]; FROM],
) -> [[C; STATE]; TO] {
    let mut joined = [fold.start(); TO];
    for lane in 0..TO {
        joined[lane] = fold.join(lanes[lane], lanes[lane + TO]);
    }
    joined
}

/// The rows of a piece, `abreast` of them at a time: each element taken by the state beside it.
struct PieceKernel<'a, F, P, C, const STATE: usize, const IN: usize> {
    job: &'a Job<'a, F, P, C, STATE, IN>,
    piece: &'a Piece<IN>,
    width: usize,
    abreast: usize,
    states: &'a mut [[C; STATE]; COLUMNS],
}

impl<F: Fold<STATE>, P: Function<IN>, C: Real, const STATE: usize, const IN: usize> simd::Kernel
    for PieceKernel<'_, F, P, C, STATE, IN>
{
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let Piece { offsets, rows, strides, across } = *self.piece;
        let lies = (0..IN).all(|i| self.job.x[i].lies(across[i]));
        // Columns of rows that can be read where they lie are folded from top to bottom: their accumulators stay in registers.
        let down = if lies && self.abreast == 1 { self.width / ABREAST } else { 0 };
        for (at, states) in self.states.as_chunks_mut::<ABREAST>().0.iter_mut().enumerate().take(down) {
            let mut run = *states;
            for row in 0..rows {
                let mut block = [[C::default(); ABREAST]; IN];
                for i in 0..IN {
                    let offset = offsets[i] + row as isize * strides[i] + (at * ABREAST) as isize;
                    // SAFETY: these rows lie inside the operand's layout; the elements are of type C.
                    block[i] = unsafe { self.job.x[i].start.cast::<C>().offset(offset).cast::<[C; ABREAST]>().read() };
                }
                for lane in 0..ABREAST {
                    let mut x = [C::default(); IN];
                    for i in 0..IN {
                        x[i] = block[i][lane];
                    }
                    let [x] = self.job.op.front.call(x);
                    run[lane] = self.job.op.fold.take(run[lane], x);
                }
            }
            *states = run;
        }
        let begin = down * ABREAST;
        if begin == self.width {
            return;
        }
        let mut blocks = [[C::default(); COLUMNS]; IN];
        for first in (0..rows).step_by(self.abreast) {
            let states = &mut self.states[begin..self.width * self.abreast.min(rows - first)];
            let offsets = shifted(shifted(offsets, strides, first as isize), across, begin as isize);
            let mut x = [&[][..]; IN];
            for (i, block) in blocks.iter_mut().enumerate() {
                // SAFETY: these rows lie inside the operand's layout.
                x[i] = unsafe { self.job.x[i].run(offsets[i], states.len(), across[i], block) };
            }
            take(self.job.op, x, states);
        }
    }
}

/// Each element taken by the state beside it.
#[inline(always)]
fn take<F: Fold<STATE>, P: Function<IN>, C: Real, const STATE: usize, const IN: usize>(
    op: &Reduce<F, P, STATE, IN>,
    x: [&[C]; IN],
    states: &mut [[C; STATE]],
) {
    let (chunks, rest) = in_lanes(x, states.len());
    let (whole, last) = states.as_chunks_mut::<LANES>();
    for (at, states) in whole.iter_mut().enumerate() {
        // Whole runs in local arrays, whose bounds are known.
        let (mut run, mut block) = (*states, [[C::default(); LANES]; IN]);
        for i in 0..IN {
            block[i] = chunks[i][at];
        }
        for lane in 0..LANES {
            let mut x = [C::default(); IN];
            for i in 0..IN {
                x[i] = block[i][lane];
            }
            let [x] = op.front.call(x);
            run[lane] = op.fold.take(run[lane], x);
        }
        *states = run;
    }
    for (lane, state) in last.iter_mut().enumerate() {
        let mut x = [C::default(); IN];
        for i in 0..IN {
            x[i] = rest[i][lane];
        }
        let [x] = op.front.call(x);
        *state = op.fold.take(*state, x);
    }
}

/// Each state joined with the other beside it.
struct JoinKernel<'a, F, C, const STATE: usize> {
    fold: &'a F,
    other: &'a [[C; STATE]],
    states: &'a mut [[C; STATE]],
}

impl<F: Fold<STATE>, C: Real, const STATE: usize> simd::Kernel for JoinKernel<'_, F, C, STATE> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for i in 0..self.states.len().min(self.other.len()) {
            self.states[i] = self.fold.join(self.states[i], self.other[i]);
        }
    }
}
