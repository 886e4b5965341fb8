//! How any elementwise operation runs on a CPU: the result is walked in blocks that fit the first-level cache; operands
//! of another type, or strided or broadcast, are first gathered into a block; then one tight loop computes the block.

use crate::View;
use crate::cpu::load::load;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Routine;
use crate::cpu::{dense, parallel, simd};
use crate::layout::Cursor;
use crate::scalar::{Integer, Real};
use crate::{DType, Element, Layout, Shape, ViewMut, with_element};
use smallvec::SmallVec;
use std::any::TypeId;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements gathered or converted at a time: seven operands of doubles still fit into 32 KiB.
pub(crate) const BLOCK: usize = 512;
/// The longest rows that are kept at hand while they repeat.
const LONGEST_PERIOD: usize = 8 * BLOCK;
/// Elements that one pass of the innermost loop computes. They are copied into local arrays and out of them, which the
/// compiler knows to be apart from each other: with pointers that might overlap it would not vectorize. The number is a
/// constant so that the arrays end up in registers.
pub(crate) const LANES: usize = 64;
/// Additions that one element of an average function costs, for the decision whether threads pay.
const COST: usize = 1;

/// The arithmetic of an elementwise operation on one block.
///
/// Blocks come as pointers and not as slices because a result may lie where an operand lies (`Op::aliases`): whoever
/// computes reads a run of every operand before it writes that run of any result.
pub(crate) trait BlockFn: Sync {
    /// How many of the last operands are single numbers.
    const NUMBERS: usize = 0;
    /// Whether it is ever computed in whole numbers: else it is not compiled for them.
    const WHOLE: bool = false;

    /// Computes `length` elements, a multiple of [`LANES`], of the operands from `x` on into the results from `y` on.
    /// Mark it `#[inline(always)]`.
    ///
    /// # Safety
    /// There are as many operands and results as the function has. Every operand but the numbers, which are one element
    /// each, and every result has `length` elements; a result shares memory with an operand entirely or not at all.
    unsafe fn block<C: Real>(&self, x: *const *const C, y: *const *mut C, length: usize);
}

/// A [`BlockFn`] for the walk over its operands, which is compiled only once for each type `C`.
#[derive(Clone, Copy)]
struct Block<C> {
    f: *const (),
    run: unsafe fn(BlockCall<C>),
}

// SAFETY: `f` is a `BlockFn`, which can be shared.
unsafe impl<C> Sync for Block<C> {}

/// A call of [`BlockFn::block`].
struct BlockCall<C> {
    f: *const (),
    x: *const *const C,
    y: *const *mut C,
    length: usize,
}

/// [`BlockFn::block`] of `F`.
struct BlockOf<F, C>(PhantomData<(F, C)>);

impl<F: BlockFn, C: Real> Routine for BlockOf<F, C> {
    type Arguments = BlockCall<C>;
    #[inline(always)]
    unsafe fn run(BlockCall { f, x, y, length }: BlockCall<C>) {
        // SAFETY: the caller's promise: `f` is an `F`, and the rest is as it asks for.
        unsafe { (*f.cast::<F>()).block(x, y, length) }
    }
}

impl<C: Real> Block<C> {
    /// `f`, which must outlive it, and its [`BlockOf`] as it was compiled for an instruction set.
    fn new<F: BlockFn>(f: &F, run: unsafe fn(BlockCall<C>)) -> Block<C> {
        Block { f: std::ptr::from_ref(f).cast(), run }
    }

    /// # Safety
    /// As [`BlockFn::block`].
    unsafe fn call(&self, x: &[*const C], y: &[*mut C], length: usize) {
        // SAFETY: the caller's promise; `run` is that of `f`.
        unsafe { (self.run)(BlockCall { f: self.f, x: x.as_ptr(), y: y.as_ptr(), length }) }
    }
}

/// Runs `f` over operands that broadcast to the shape of the results, computing in the class of `compute`.
///
/// Only the innermost loop is compiled anew for each function; the walk around it is shared. Single precision gets all
/// instruction sets, double precision stops at AVX2 and integers at the baseline: every combination is compiled for
/// every function, and these are the ones that training waits for.
pub(crate) fn run<F: BlockFn>(f: &F, compute: DType, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
    over(f, compute, false, x, y);
}

/// Runs `f` over the elements' numbers, and the single numbers that follow.
pub(crate) fn create<F: BlockFn>(f: &F, compute: DType, numbers: &[View<'_>], y: &mut [ViewMut<'_>]) {
    over(f, compute, true, numbers, y);
}

/// Runs `f` over the elements' numbers, if `indexed`, and the operands.
fn over<F: BlockFn>(f: &F, compute: DType, indexed: bool, x: &[View<'_>], y: &mut [ViewMut<'_>]) {
    let operands = Operands { indexed, x, numbers: F::NUMBERS };
    if F::WHOLE && computed_in(compute) == DType::I64 {
        return walk(Block::new(f, BlockOf::<F, Integer>::run), operands, y);
    }
    match compute {
        DType::F64 => walk(Block::new(f, simd::routine::<BlockOf<F, f64>, false>()), operands, y),
        _ => walk(Block::new(f, simd::routine::<BlockOf<F, f32>, true>()), operands, y),
    }
}

/// What a function is run over.
struct Operands<'a> {
    /// Whether the elements' numbers come first.
    indexed: bool,
    x: &'a [View<'a>],
    /// How many of the last are single numbers.
    numbers: usize,
}

/// The type that numbers of type `dtype` are computed in: narrow floats in `f32`, integers and booleans in `i64`.
pub(crate) fn computed_in(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        DType::F32 | DType::F16 | DType::BF16 => DType::F32,
        _ => DType::I64,
    }
}

fn walk<C: Real>(block: Block<C>, Operands { indexed, x, numbers }: Operands<'_>, y: &mut [ViewMut<'_>]) {
    let shape = y.first().map(|y| *y.shape()).unwrap_or_default();
    if y.is_empty() || shape.count() == 0 {
        return;
    }
    let (x, numbers) = x.split_at(x.len() - numbers);
    if !indexed && walk_few(block, x, numbers, y, shape) {
        return;
    }
    let numbers: SmallVec<[C; 16]> = numbers.iter().map(number).collect();
    // What lies in columns is brought into rows as a whole: block by block, each of its lines would be read again and again.
    let turned: SmallVec<[Option<Turned>; 8]> = x.iter().map(Turned::new).collect();
    let x: SmallVec<[View<'_>; 8]> =
        x.iter().zip(&turned).map(|(x, turned)| Turned::view(turned.as_ref(), x)).collect();
    let (mut sources, mut walks): (SmallVec<[Source<C>; 8]>, SmallVec<[Walk<C>; 4]>) = Default::default();
    if indexed {
        sources.push(Source::Gathered);
        walks.push(Walk::index(shape));
    }
    for x in &x {
        let source = Source::new(x, shape);
        if let Source::Gathered = source {
            walks.push(Walk::new(x, shape));
        }
        sources.push(source);
    }
    let targets: SmallVec<[Target<C>; 4]> = y.iter_mut().map(Target::new).collect();
    // Blocks of a common multiple of all periods look the same to every operand that repeats. There is a small one:
    // periods are products of the last dimensions of one shape, so each divides the next.
    let step = walks.iter().filter_map(|walk| walk.period).fold(LANES, lcm);
    let direct = walks.is_empty() && targets.iter().all(|target| target.direct);
    let longest = if direct { usize::MAX } else { (BLOCK / step).max(1) * step };
    parallel::for_ranges(shape.count(), LANES, COST, |range| {
        run_range(block, &sources, &walks, &numbers, &targets, longest, range)
    });
}

/// Runs over few elements, all of the type that is computed in and one after the other, and single elements beside them: what
/// [`walk`] prepares takes longer than they do. Tells whether they are that.
fn walk_few<C: Real>(
    block: Block<C>,
    x: &[View<'_>],
    numbers: &[View<'_>],
    y: &mut [ViewMut<'_>],
    shape: Shape,
) -> bool {
    /// Operands, and results.
    const FEW: usize = 4;
    /// Elements whose work is done before another thread is there.
    const FEW_ELEMENTS: usize = 1 << 13;
    let count = shape.count();
    if count > FEW_ELEMENTS || x.len() + numbers.len() > FEW || y.len() > FEW {
        return false;
    }
    let (mut from, mut to) = ([std::ptr::null(); FEW], [std::ptr::null_mut(); FEW]);
    let mut values = [C::default(); FEW];
    let mut runs = [const { MaybeUninit::<[C; LANES]>::uninit() }; FEW];
    for (i, x) in x.iter().enumerate() {
        from[i] = match Source::<C>::new(x, shape) {
            Source::Direct(start) => start,
            Source::Gathered if count <= LANES && x.shape().count() == 1 => runs[i].write([number(x); LANES]).as_ptr(),
            Source::Gathered => return false,
        };
    }
    for (to, y) in to.iter_mut().zip(&mut *y) {
        let target = Target::<C>::new(y);
        if !target.direct {
            return false;
        }
        *to = target.start.get().cast();
    }
    for (i, single) in numbers.iter().enumerate() {
        values[i] = number(single);
        from[x.len() + i] = &raw const values[i];
    }
    let (from, to, whole) = (&from[..x.len() + numbers.len()], &to[..y.len()], count / LANES * LANES);
    if whole > 0 {
        // SAFETY: operands and results have these elements.
        unsafe { block.call(from, to, whole) };
    }
    if whole < count {
        run_rest(block, from, numbers.len(), to, whole..count);
    }
    true
}

fn run_range<C: Real>(
    block: Block<C>,
    sources: &[Source<C>],
    walks: &[Walk<C>],
    numbers: &[C],
    targets: &[Target<C>],
    longest: usize,
    range: Range<usize>,
) {
    let longest = longest.min(range.len());
    // What is not read or written where it lies goes through a block of its own.
    let mut gathered: SmallVec<[(&Walk<C>, Cursor, Scratch<C>); 8]> = SmallVec::new();
    for walk in walks {
        let (mut cursor, mut block) = (Cursor::new(&walk.layout, range.start), Scratch::arbitrary(longest));
        if let Some(period) = walk.period {
            let mut known = period.min(longest);
            walk.gather(&mut cursor, &mut block[..known]);
            while known < longest {
                let more = known.min(longest - known);
                block.copy_within(..more, known);
                known += more;
            }
        }
        gathered.push((walk, cursor, block));
    }
    let mut converted: SmallVec<[Option<Scratch<C>>; 4]> =
        targets.iter().map(|target| (!target.direct).then(|| Scratch::arbitrary(longest))).collect();
    // Where each operand is read and each result written: blocks of their own stay where they are.
    let mut x: SmallVec<[*const C; 16]> = SmallVec::new();
    let mut blocks = gathered.iter().map(|(_, _, block)| block.as_ptr());
    for source in sources {
        x.extend(match source {
            Source::Direct(start) => Some(*start),
            Source::Gathered => blocks.next(),
        });
    }
    x.extend(numbers.iter().map(std::ptr::from_ref));
    let own = |(target, block): (&Target<C>, &mut Option<Scratch<C>>)| match block {
        Some(block) => block.as_mut_ptr(),
        None => target.start.get().cast(),
    };
    let mut y: SmallVec<[*mut C; 4]> = targets.iter().zip(&mut converted).map(own).collect();
    let mut at = range.start;
    while at < range.end {
        let length = longest.min(range.end - at);
        for (walk, cursor, block) in &mut gathered {
            if walk.period.is_none() {
                walk.gather(cursor, &mut block[..length]);
            }
        }
        // A direct operand or result holds the number of elements of the result, of type C and dense; at + length, which
        // is at most range.end, lies within. Plain loops: this is done for every block.
        for i in 0..sources.len() {
            if let Source::Direct(start) = sources[i] {
                x[i] = start.wrapping_add(at);
            }
        }
        for i in 0..targets.len() {
            if targets[i].direct {
                y[i] = targets[i].start.get().cast::<C>().wrapping_add(at);
            }
        }
        let whole = length / LANES * LANES;
        if whole > 0 {
            // SAFETY: an operand or result is a block of that length, or lies there itself and is as long.
            unsafe { block.call(&x, &y, whole) };
        }
        if whole < length {
            run_rest(block, &x, numbers.len(), &y, whole..length);
        }
        for i in 0..targets.len() {
            if let Some(block) = &converted[i] {
                (targets[i].store)(targets[i].start.get(), at, &block[..length]);
            }
        }
        at += length;
    }
}

/// Computes the elements of a block that do not fill a last run of [`LANES`], on copies that do.
fn run_rest<C: Real>(block: Block<C>, x: &[*const C], numbers: usize, y: &[*mut C], rest: Range<usize>) {
    let (operands, results) = (x.len() - numbers, y.len());
    // Room for those of an optimizer's rule, without a word written: what is not used costs nothing.
    let mut runs: SmallVec<[MaybeUninit<[C; LANES]>; 12]> = SmallVec::new();
    runs.resize_with(operands + results, MaybeUninit::uninit);
    let (mut from, mut to): (SmallVec<[*const C; 16]>, SmallVec<[*mut C; 4]>) = Default::default();
    for (i, run) in runs.iter_mut().enumerate() {
        let run = run.write([C::default(); LANES]);
        if i < operands {
            // SAFETY: the caller passes operands that have these elements, fewer than LANES.
            unsafe { x[i].add(rest.start).copy_to_nonoverlapping(run.as_mut_ptr(), rest.len()) };
            from.push(run.as_ptr());
        } else {
            to.push(run.as_mut_ptr());
        }
    }
    from.extend(x[operands..].iter().copied());
    // SAFETY: these runs are of that length.
    unsafe { block.call(&from, &to, LANES) };
    for (y, run) in y.iter().zip(&to) {
        // SAFETY: the caller passes results that have these elements.
        unsafe { y.add(rest.start).copy_from_nonoverlapping(*run, rest.len()) };
    }
}

/// The value of an operand of rank 0.
fn number<C: Real>(x: &View<'_>) -> C {
    let mut value = [C::default()];
    // SAFETY: an operand of rank 0 has one element, of its type.
    with_element!(x.dtype(), T => unsafe { load::<T, C>(x.as_ptr(), 0, 0, &mut value) });
    value[0]
}

/// A dense copy of an operand that lies in columns.
struct Turned {
    layout: Layout,
    bytes: Scratch<u8>,
}

impl Turned {
    /// None where the operand is read as well where it lies, or there is no memory for a copy.
    fn new(x: &View<'_>) -> Option<Turned> {
        let from = x.layout();
        if !dense::lies_in_columns(&from) {
            return None;
        }
        let mut bytes = Scratch::room(from.shape.count() * x.dtype().size())?;
        // SAFETY: the operand's elements, and a buffer of this size that is aligned to a cache line.
        unsafe { dense::gather(x.dtype().size(), &from, x.as_ptr(), bytes.as_mut_ptr()) };
        Some(Turned { layout: Layout::contiguous(from.shape), bytes })
    }

    fn view<'a>(turned: Option<&'a Turned>, x: &View<'a>) -> View<'a> {
        match turned {
            // SAFETY: the elements of `x`, which `new` has copied.
            Some(turned) => unsafe { View::at(turned.bytes.as_ptr(), &turned.layout, x.spec()) },
            None => *x,
        }
    }
}

/// An operand.
enum Source<C> {
    /// Dense and already of the type that is computed in: read where it lies.
    Direct(*const C),
    /// Brought into a block first, by a walk of its own.
    Gathered,
}

// SAFETY: a source is only read, and the tensor behind it outlives the operation.
unsafe impl<C> Sync for Source<C> {}
// SAFETY: as above.
unsafe impl<C> Sync for Walk<C> {}

/// Where an operand lies, and how to bring a run of it into a block.
struct Walk<C> {
    start: *const u8,
    layout: Layout,
    /// After how many elements it repeats, where that is soon: then it is gathered once. 1 for a scalar.
    period: Option<usize>,
    load: unsafe fn(*const u8, isize, isize, &mut [C]),
}

impl<C: Real> Source<C> {
    /// The operand `x`, which broadcasts to `shape`.
    #[inline]
    fn new(x: &View<'_>, shape: Shape) -> Source<C> {
        let same_type = with_element!(x.dtype(), T => TypeId::of::<T>() == TypeId::of::<C>());
        match same_type && x.shape().count() == shape.count() && x.is_contiguous() {
            true => Source::Direct(x.as_ptr().cast()),
            false => Source::Gathered,
        }
    }
}

impl<C: Real> Walk<C> {
    /// Through the numbers of the elements of `shape`.
    fn index(shape: Shape) -> Walk<C> {
        let layout = Layout::contiguous(shape).coalesced();
        Walk { start: std::ptr::null(), layout, period: None, load: count_up }
    }

    fn new(x: &View<'_>, shape: Shape) -> Walk<C> {
        let layout = x.layout().broadcast_to(shape).coalesced();
        // Broadcast dimensions that lead are one after coalescing.
        let period = match (layout.shape.dims(), layout.strides()) {
            ([], _) => Some(1),
            ([_, rest @ ..], [0, ..]) => Some(rest.iter().product()),
            _ => None,
        };
        let period = period.filter(|&period| lcm(LANES, period) <= LONGEST_PERIOD);
        let load = with_element!(x.dtype(), T => load::<T, C> as unsafe fn(_, _, _, &mut [C]));
        Walk { start: x.as_ptr(), layout, period, load }
    }

    /// The elements from the cursor on, which moves behind them.
    fn gather(&self, cursor: &mut Cursor, mut out: &mut [C]) {
        let stride = self.layout.strides().last().copied().unwrap_or(0);
        while !out.is_empty() {
            let run = out.len().min(cursor.run(&self.layout));
            let (now, rest) = out.split_at_mut(run);
            // SAFETY: the cursor stays inside the layout, whose indices all lie in the operand's storage.
            unsafe { (self.load)(self.start, cursor.offset, stride, now) };
            out = rest;
            cursor.advance(&self.layout, run);
        }
    }
}

/// The numbers of a run of elements, of which none is read.
fn count_up<C: Real>(_: *const u8, offset: isize, stride: isize, out: &mut [C]) {
    out.iter_mut().enumerate().for_each(|(i, out)| *out = C::load((offset + i as isize * stride) as i64));
}

/// A result, and how to write a block of it.
struct Target<C> {
    start: parallel::Shared<u8>,
    /// Already of the type that is computed in: written where it lies.
    direct: bool,
    store: fn(*mut u8, usize, &[C]),
}

impl<C: Real> Target<C> {
    fn new(y: &mut ViewMut<'_>) -> Target<C> {
        with_element!(y.dtype(), T => Target {
            start: parallel::Shared::from_ptr(y.as_ptr()),
            direct: TypeId::of::<T>() == TypeId::of::<C>(),
            store: store::<T, C>,
        })
    }
}

fn store<T: Element, C: Real>(start: *mut u8, at: usize, values: &[C]) {
    for (i, value) in values.iter().enumerate() {
        // SAFETY: `start` is a dense result of type T, and the chunk that `at..at + values.len()` belongs to lies inside
        // it and is this thread's alone.
        unsafe { *start.cast::<T>().add(at + i) = value.store() }
    }
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor * b
}

#[cfg(test)]
mod tests {
    use crate::Tensor;
    use crate::ops::*;

    #[test]
    fn operands_that_repeat() {
        // Periods that fit a block, that fill it, that do not fit, with rests and from several threads.
        for period in [1, 2, 3, 10, 16, 30, 63, 64, 100, 512, 700, 1024, 5000] {
            for rows in [1, 2, 37, 70_000 / period] {
                let long: Vec<f32> = (0..rows * period).map(|i| (i % 1009) as f32).collect();
                let short: Vec<f32> = (0..period).map(|i| i as f32 / 8.0).collect();
                let x = Tensor::from_slice(&long, [rows, period]).unwrap();
                let y = Tensor::from_slice(&short, [period]).unwrap();
                let sum = x.add(&y).unwrap().mul(2.0).unwrap();
                let bytes = y.gt(&x).unwrap();
                for (i, (sum, less)) in sum.to_vec_as::<f64>().into_iter().zip(bytes.to_vec_as::<i64>()).enumerate() {
                    let (x, y) = (long[i], short[i % period]);
                    assert_eq!((sum, less), (2.0 * f64::from(x + y), i64::from(y > x)), "[{rows}, {period}] at {i}");
                }
            }
        }
    }
}
