//! Two-dimensional pooling on the CPU: maximum and average, forward and backward, over `[N, H, W, C]`.
//!
//! Vectors run along the channels, and a window's taps pass through registers. Indices travel in vectors of floats
//! whose bits carry them, so that one selection serves both types.

use core::ops::Range;

use crate::cpu::float::Float;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{self, VectorKernel, dispatch_vectors};
use crate::cpu::vector::{MOST_LANES, Vector};

/// The sizes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Images.
    pub batch: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// Height and width of the window, at least one.
    pub kernel: [usize; 2],
    /// Input positions per output position, at least one.
    pub stride: [usize; 2],
    /// Empty positions before and after the input, vertically and horizontally.
    pub padding: [[usize; 2]; 2],
    /// Input positions per window position, at least one.
    pub dilation: [usize; 2],
    /// Whether a last window that reaches past the end counts, as long as it begins inside (PyTorch's `ceil_mode`).
    pub ceil: bool,
}

/// By what an average divides the sum of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// The positions of the window that the input has (`count_include_pad = false`).
    Valid,
    /// The positions of the window that the padded input has (`count_include_pad = true`).
    Padded,
    /// This number (`divisor_override`).
    Fixed(usize),
}

impl Pool2d {
    /// Height and width of the output: `(padded − dilation · (kernel − 1) − 1) / stride + 1`, rounded down, or up with
    /// [`ceil`](Self::ceil); zero where the window does not fit.
    pub fn output(&self) -> [usize; 2] {
        core::array::from_fn(|i| {
            let [before, after] = self.padding[i];
            let (padded, reach) = (self.input[i] + before + after, self.dilation[i] * (self.kernel[i] - 1) + 1);
            if padded < reach || self.input[i] == 0 {
                return 0;
            }
            let down = (padded - reach) / self.stride[i] + 1;
            let partial = self.ceil && !(padded - reach).is_multiple_of(self.stride[i]);
            down + usize::from(partial && down * self.stride[i] < self.input[i] + before)
        })
    }

    /// Elements of the input and of the output.
    pub fn lens(&self) -> [usize; 2] {
        let [height, width] = self.output();
        [self.batch * self.input[0] * self.input[1] * self.channels, self.batch * height * width * self.channels]
    }

    fn check(&self, x: usize, y: usize) {
        assert!(self.kernel.iter().chain(&self.stride).chain(&self.dilation).all(|&size| size > 0));
        assert!(i32::try_from(self.input[0] * self.input[1]).is_ok(), "indices are i32");
        assert_eq!([x, y], self.lens(), "lengths of input and output");
    }

    fn spans(&self) -> [Scratch<Span>; 2] {
        let output = self.output();
        core::array::from_fn(|i| (0..output[i]).map(|o| self.span(i, o)).collect())
    }

    fn span(&self, axis: usize, output: usize) -> Span {
        let ([before, after], dilation) = (self.padding[axis], self.dilation[axis]);
        let start = output * self.stride[axis];
        let taps_before = |end: usize| end.saturating_sub(start).div_ceil(dilation).min(self.kernel[axis]);
        let (low, high) = (taps_before(before), taps_before(before + self.input[axis]));
        let padded = taps_before(before + self.input[axis] + after);
        // Not below zero where there is a valid tap; where there is none nobody looks.
        Span { first: (start + low * dilation).wrapping_sub(before), valid: high - low, padded }
    }
}

/// What a window covers along one axis.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The first input position.
    first: usize,
    /// How many positions the input has, and how many the padded input.
    valid: usize,
    padded: usize,
}

/// Additions or comparisons of elements below which work stays on one thread: about 50 µs, for pools wait for memory.
const PARALLEL_STEPS: usize = 400_000;

/// What all four kernels need.
struct Plan<'p> {
    pool: &'p Pool2d,
    rows: Scratch<Span>,
    columns: Scratch<Span>,
}

impl<'p> Plan<'p> {
    fn new(pool: &'p Pool2d) -> Self {
        let [rows, columns] = pool.spans();
        Self { pool, rows, columns }
    }

    /// Runs `task` on ranges of images, or of all output rows where `rows`.
    fn run(&self, rows: bool, parallel: bool, task: impl Fn(Range<usize>) + Sync + Send) {
        // A window may be much larger than the image, which bounds what is really done.
        let area = (0..2).map(|i| self.pool.kernel[i].min(self.pool.input[i])).product::<usize>();
        let steps = self.pool.lens()[1].saturating_mul(area);
        let units = self.pool.batch * if rows { self.rows.len() } else { 1 };
        let count = (steps.saturating_mul(4) / PARALLEL_STEPS).clamp(1, units.max(1));
        parallel::for_each(count, parallel && steps >= PARALLEL_STEPS, |index| {
            task(parallel::part(units, count, 1, index))
        });
    }

    /// Calls `f` with each window of the output rows `outputs`, counted through all images.
    #[inline(always)]
    fn each_window(&self, outputs: Range<usize>, mut f: impl FnMut(Place)) {
        let ([height, width], channels) = (self.pool.input, self.pool.channels);
        for row in outputs {
            let (image, vertical) = (row / self.rows.len(), self.rows[row % self.rows.len()]);
            for (column, &horizontal) in self.columns.iter().enumerate() {
                f(Place {
                    image: image * height * width * channels,
                    plane: vertical.first.wrapping_mul(width).wrapping_add(horizontal.first),
                    output: (row * self.columns.len() + column) * channels,
                    vertical,
                    horizontal,
                });
            }
        }
    }

    /// Calls `f` with the position in its image's plane of each tap of a window.
    #[inline(always)]
    fn each_tap(&self, place: &Place, mut f: impl FnMut(usize)) {
        let [down, right] = [self.pool.dilation[0] * self.pool.input[1], self.pool.dilation[1]];
        for i in 0..place.vertical.valid {
            for j in 0..place.horizontal.valid {
                f(place.plane + i * down + j * right);
            }
        }
    }

    fn divisor<T: Float>(&self, place: &Place, divisor: Divisor) -> T {
        let count = match divisor {
            Divisor::Valid => place.vertical.valid * place.horizontal.valid,
            Divisor::Padded => place.vertical.padded * place.horizontal.padded,
            Divisor::Fixed(divisor) => divisor,
        };
        T::from(count).expect("floats hold all counts of elements, rounded")
    }
}

/// Where a window lies.
struct Place {
    /// Offset of the image in the input.
    image: usize,
    /// Position of the first tap in the image's plane.
    plane: usize,
    /// Offset of the window's first channel in the output.
    output: usize,
    vertical: Span,
    horizontal: Span,
}

/// The largest element of each window, and its position `h · W + w` in the image's plane.
///
/// The first of equal elements is chosen; NaN is larger than any number. A window without any input gives `−∞` and the
/// index −1.
///
/// # Panics
/// Where lengths do not fit `pool`.
pub fn max_forward<T: Float>(pool: &Pool2d, x: &[T], y: &mut [T], indices: &mut [i32], parallel: bool) {
    pool.check(x.len(), y.len());
    assert_eq!(y.len(), indices.len());
    let (plan, isa) = (&Plan::new(pool), simd::isa());
    let (y, indices) = (Shared::from_ptr(y.as_mut_ptr()), Shared::from_ptr(indices.as_mut_ptr()));
    plan.run(true, parallel, |outputs| dispatch_vectors(isa, MaxForward { plan, outputs, x, y, indices }));
}

struct MaxForward<'k, T> {
    plan: &'k Plan<'k>,
    outputs: Range<usize>,
    x: &'k [T],
    y: Shared<T>,
    indices: Shared<i32>,
}

impl<T: Float> VectorKernel<T> for MaxForward<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let channels = self.plan.pool.channels;
        self.plan.each_window(self.outputs.clone(), |place| {
            for channel in (0..channels).step_by(V::LANES) {
                let count = (channels - channel).min(V::LANES);
                let empty = place.vertical.valid * place.horizontal.valid == 0;
                // SAFETY: the caller vouches for the instruction set. `check` has seen the lengths, spans hold
                // positions inside of the image, and tasks have output rows of their own.
                unsafe {
                    let image = self.x.as_ptr().add(place.image + channel);
                    let mut best = V::splat(T::neg_infinity());
                    let mut index = V::splat(T::carry(-1));
                    if !empty {
                        // The first tap is there to be beaten: where all are −∞, its index is the answer.
                        best = load::<V>(image.add(place.plane * channels), count);
                        index = V::splat(T::carry(place.plane as i32));
                    }
                    self.plan.each_tap(&place, |plane| {
                        let next = load::<V>(image.add(plane * channels), count);
                        index = best.where_beaten(next, V::splat(T::carry(plane as i32)), index);
                        best = best.where_beaten(next, next, best);
                    });
                    store(best, self.y.get().add(place.output + channel), count);
                    store_carried(index, self.indices.get().add(place.output + channel), count);
                }
            }
        });
    }
}

/// `dx`, the derivative of [`max_forward`]: each element of `dy` goes to the position that was chosen.
///
/// # Panics
/// Where lengths do not fit `pool`.
pub fn max_backward<T: Float>(pool: &Pool2d, dy: &[T], indices: &[i32], dx: &mut [T], parallel: bool) {
    pool.check(dx.len(), dy.len());
    assert_eq!(dy.len(), indices.len());
    let (plan, isa, dx) = (&Plan::new(pool), simd::isa(), Shared::from_ptr(dx.as_mut_ptr()));
    plan.run(false, parallel, |images| dispatch_vectors(isa, MaxBackward { plan, images, dy, indices, dx }));
}

struct MaxBackward<'k, T> {
    plan: &'k Plan<'k>,
    images: Range<usize>,
    dy: &'k [T],
    indices: &'k [i32],
    dx: Shared<T>,
}

impl<T: Float> VectorKernel<T> for MaxBackward<'_, T> {
    type Out = ();

    /// Offers `dy` to every tap of its window, which takes it where the index says so: no scalar scatter, and windows
    /// that overlap add in the order of the outputs. An index from elsewhere than [`max_forward`] is lost, not followed.
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let (pool, height) = (self.plan.pool, self.plan.rows.len());
        // SAFETY: tasks have images of their own.
        unsafe { clear(self.dx, pool, &self.images) };
        self.plan.each_window(self.images.start * height..self.images.end * height, |place| {
            for channel in (0..pool.channels).step_by(V::LANES) {
                let count = (pool.channels - channel).min(V::LANES);
                // SAFETY: the caller vouches for the instruction set. `check` has seen the lengths, spans hold
                // positions inside of the image, and tasks have images of their own.
                unsafe {
                    let image = self.dx.get().add(place.image + channel);
                    let gradient = load::<V>(self.dy.as_ptr().add(place.output + channel), count);
                    let index = load_carried::<V>(self.indices.as_ptr().add(place.output + channel), count);
                    self.plan.each_tap(&place, |plane| {
                        let dx = image.add(plane * pool.channels);
                        let share = gradient.where_same(index, V::splat(T::carry(plane as i32)));
                        store(load::<V>(dx, count).add(share), dx, count);
                    });
                }
            }
        });
    }
}

/// The mean of each window: the sum of what the input has of it, over `divisor`.
///
/// # Panics
/// Where lengths do not fit `pool`.
pub fn average_forward<T: Float>(pool: &Pool2d, divisor: Divisor, x: &[T], y: &mut [T], parallel: bool) {
    pool.check(x.len(), y.len());
    let (plan, isa, y) = (&Plan::new(pool), simd::isa(), Shared::from_ptr(y.as_mut_ptr()));
    plan.run(true, parallel, |outputs| dispatch_vectors(isa, AverageForward { plan, divisor, outputs, x, y }));
}

struct AverageForward<'k, T> {
    plan: &'k Plan<'k>,
    divisor: Divisor,
    outputs: Range<usize>,
    x: &'k [T],
    y: Shared<T>,
}

impl<T: Float> VectorKernel<T> for AverageForward<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let channels = self.plan.pool.channels;
        self.plan.each_window(self.outputs.clone(), |place| {
            let divisor = self.plan.divisor::<T>(&place, self.divisor);
            for channel in (0..channels).step_by(V::LANES) {
                let count = (channels - channel).min(V::LANES);
                // SAFETY: the caller vouches for the instruction set. `check` has seen the lengths, spans hold
                // positions inside of the image, and tasks have output rows of their own.
                unsafe {
                    let image = self.x.as_ptr().add(place.image + channel);
                    let mut sum = V::splat(T::zero());
                    self.plan.each_tap(&place, |plane| sum = sum.add(load::<V>(image.add(plane * channels), count)));
                    store(sum.div(V::splat(divisor)), self.y.get().add(place.output + channel), count);
                }
            }
        });
    }
}

/// `dx`, the derivative of [`average_forward`]: each position adds its windows' `dy / divisor`.
///
/// # Panics
/// Where lengths do not fit `pool`.
pub fn average_backward<T: Float>(pool: &Pool2d, divisor: Divisor, dy: &[T], dx: &mut [T], parallel: bool) {
    pool.check(dx.len(), dy.len());
    let (plan, isa, dx) = (&Plan::new(pool), simd::isa(), Shared::from_ptr(dx.as_mut_ptr()));
    plan.run(false, parallel, |images| dispatch_vectors(isa, AverageBackward { plan, divisor, images, dy, dx }));
}

struct AverageBackward<'k, T> {
    plan: &'k Plan<'k>,
    divisor: Divisor,
    images: Range<usize>,
    dy: &'k [T],
    dx: Shared<T>,
}

impl<T: Float> VectorKernel<T> for AverageBackward<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let (pool, height) = (self.plan.pool, self.plan.rows.len());
        // SAFETY: tasks have images of their own.
        unsafe { clear(self.dx, pool, &self.images) };
        self.plan.each_window(self.images.start * height..self.images.end * height, |place| {
            let divisor = self.plan.divisor::<T>(&place, self.divisor);
            for channel in (0..pool.channels).step_by(V::LANES) {
                let count = (pool.channels - channel).min(V::LANES);
                // SAFETY: the caller vouches for the instruction set. `check` has seen the lengths, spans hold
                // positions inside of the image, and tasks have images of their own.
                unsafe {
                    let image = self.dx.get().add(place.image + channel);
                    let share = load::<V>(self.dy.as_ptr().add(place.output + channel), count).div(V::splat(divisor));
                    self.plan.each_tap(&place, |plane| {
                        let dx = image.add(plane * pool.channels);
                        store(load::<V>(dx, count).add(share), dx, count);
                    });
                }
            }
        });
    }
}

/// Sets the images of a task to zero.
///
/// # Safety
/// `dx` has all images of the pool, and nobody else accesses these.
unsafe fn clear<T: Float>(dx: Shared<T>, pool: &Pool2d, images: &Range<usize>) {
    let len = pool.input[0] * pool.input[1] * pool.channels;
    // SAFETY: the caller vouches for these images.
    unsafe { core::slice::from_raw_parts_mut(dx.get().add(images.start * len), images.len() * len) }.fill(T::zero());
}

/// # Safety
/// The CPU has the instruction set of `V`; `count` elements, at most its lanes, can be read.
#[inline(always)]
unsafe fn load<V: Vector>(p: *const V::Elem, count: usize) -> V {
    // SAFETY: the caller's duties are the callees'.
    unsafe { if count == V::LANES { V::load(p) } else { V::load_first(p, count) } }
}

/// # Safety
/// The CPU has the instruction set of `V`; `count` elements, at most its lanes, can be written.
#[inline(always)]
unsafe fn store<V: Vector>(vector: V, p: *mut V::Elem, count: usize) {
    // SAFETY: the caller's duties are the callees'.
    unsafe { if count == V::LANES { vector.store(p) } else { vector.store_first(p, count) } }
}

/// # Safety
/// As [`load`].
#[inline(always)]
unsafe fn load_carried<V: Vector>(p: *const i32, count: usize) -> V {
    // SAFETY: the caller vouches for `count` indices; four-byte floats carry them in their own bits, and others go
    // through an array of enough lanes.
    unsafe {
        if size_of::<V::Elem>() == size_of::<i32>() {
            return load(p.cast(), count);
        }
        let mut lanes = [<V::Elem as num_traits::Zero>::zero(); MOST_LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            *lane = V::Elem::carry(*p.add(i));
        }
        V::load(lanes.as_ptr())
    }
}

/// # Safety
/// As [`store`].
#[inline(always)]
unsafe fn store_carried<V: Vector>(vector: V, p: *mut i32, count: usize) {
    // SAFETY: the caller vouches for `count` indices; four-byte floats carry them in their own bits, and others go
    // through an array of enough lanes.
    unsafe {
        if size_of::<V::Elem>() == size_of::<i32>() {
            return store(vector, p.cast(), count);
        }
        let mut lanes = [<V::Elem as num_traits::Zero>::zero(); MOST_LANES];
        vector.store(lanes.as_mut_ptr());
        for (i, lane) in lanes.iter().enumerate().take(count) {
            *p.add(i) = lane.carried();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::{Isa, with_isa};

    const BASE: Pool2d = Pool2d {
        batch: 2,
        input: [7, 9],
        channels: 3,
        kernel: [2, 2],
        stride: [2, 2],
        padding: [[0, 0], [0, 0]],
        dilation: [1, 1],
        ceil: false,
    };

    fn cases() -> Vec<Pool2d> {
        vec![
            BASE,
            Pool2d { channels: 35, ceil: true, ..BASE },
            Pool2d { kernel: [3, 3], stride: [1, 2], padding: [[1, 1], [0, 2]], channels: 16, ..BASE },
            Pool2d { kernel: [3, 2], stride: [2, 1], dilation: [2, 3], padding: [[1, 1], [1, 0]], ..BASE },
            Pool2d { kernel: [3, 3], stride: [3, 2], padding: [[1, 1], [1, 1]], ceil: true, ..BASE },
            Pool2d { kernel: [7, 9], ..BASE },
            Pool2d { kernel: [1, 1], padding: [[2, 1], [0, 0]], stride: [1, 1], ..BASE },
            Pool2d { batch: 0, ..BASE },
            Pool2d { channels: 0, ..BASE },
            Pool2d { input: [1, 9], ..BASE },
        ]
    }

    /// Numbers with repetitions, NaN and infinities.
    fn numbers<T: Float>(len: usize) -> Vec<T> {
        let number = |i: usize| match i % 29 {
            5 => f64::NAN,
            7 | 11 => f64::NEG_INFINITY,
            _ => ((i * 7) % 11) as f64 - 5.0,
        };
        (0..len).map(|i| T::from(number(i)).unwrap()).collect()
    }

    /// Calls `f(output element, [positions in the plane, with input element], padded count)`.
    fn each_window(pool: &Pool2d, mut f: impl FnMut(usize, &[(usize, usize)], usize)) {
        let [height, width] = pool.output();
        for y in 0..pool.lens()[1] {
            let (channel, pixel) = (y % pool.channels, y / pool.channels);
            let (image, output) = (pixel / width / height, [pixel / width % height, pixel % width]);
            let (mut taps, mut padded) = (Vec::new(), 0);
            for tap in 0..pool.kernel[0] * pool.kernel[1] {
                let k = [tap / pool.kernel[1], tap % pool.kernel[1]];
                let at: [usize; 2] = core::array::from_fn(|i| output[i] * pool.stride[i] + k[i] * pool.dilation[i]);
                let valid = |i: usize| at[i] >= pool.padding[i][0] && at[i] < pool.padding[i][0] + pool.input[i];
                padded += usize::from((0..2).all(|i| at[i] < pool.input[i] + pool.padding[i][0] + pool.padding[i][1]));
                if valid(0) && valid(1) {
                    let plane = (at[0] - pool.padding[0][0]) * pool.input[1] + at[1] - pool.padding[1][0];
                    taps.push((plane, (image * pool.input[0] * pool.input[1] + plane) * pool.channels + channel));
                }
            }
            f(y, &taps, padded);
        }
    }

    fn assert_same<T: Float>(got: &[T], expected: &[f64], what: &str) {
        assert_eq!(got.len(), expected.len());
        for (i, (got, &expected)) in got.iter().map(|x| x.to_f64().unwrap()).zip(expected).enumerate() {
            let near = (got - expected).abs() <= 1e-5 || got == expected || (got.is_nan() && expected.is_nan());
            assert!(near, "{what}[{i}] is {got}, expected {expected}");
        }
    }

    fn check_max<T: Float>(pool: &Pool2d) {
        let [xs, ys] = pool.lens();
        let x = numbers::<T>(xs);
        let dy: Vec<T> = (0..ys).map(|i| T::from(i % 13 + 1).unwrap()).collect();
        let (mut y, mut indices, mut dx) = (vec![T::nan(); ys], vec![-7; ys], vec![T::nan(); xs]);
        max_forward(pool, &x, &mut y, &mut indices, false);
        max_backward(pool, &dy, &indices, &mut dx, false);
        let (mut best, mut places, mut back) = (vec![f64::NEG_INFINITY; ys], vec![-1; ys], vec![0.0; xs]);
        each_window(pool, |i, taps, _| {
            let mut chosen = None;
            for &(plane, element) in taps {
                let value = x[element].to_f64().unwrap();
                if chosen.is_none() || value > best[i] || (value.is_nan() && !best[i].is_nan()) {
                    (best[i], places[i], chosen) = (value, plane as i32, Some(element));
                }
            }
            if let Some(element) = chosen {
                back[element] += dy[i].to_f64().unwrap();
            }
        });
        assert_same(&y, &best, "y");
        assert_eq!(indices, places, "{pool:?}");
        assert_same(&dx, &back, "dx");
    }

    fn check_average<T: Float>(pool: &Pool2d, divisor: Divisor) {
        let [xs, ys] = pool.lens();
        let x: Vec<T> = (0..xs).map(|i| T::from(i % 17).unwrap()).collect();
        let dy: Vec<T> = (0..ys).map(|i| T::from(i % 13 + 1).unwrap()).collect();
        let (mut y, mut dx) = (vec![T::nan(); ys], vec![T::nan(); xs]);
        average_forward(pool, divisor, &x, &mut y, false);
        average_backward(pool, divisor, &dy, &mut dx, false);
        let (mut mean, mut back) = (vec![0.0; ys], vec![0.0; xs]);
        each_window(pool, |i, taps, padded| {
            let count = match divisor {
                Divisor::Valid => taps.len(),
                Divisor::Padded => padded,
                Divisor::Fixed(count) => count,
            };
            mean[i] = taps.iter().map(|&(_, element)| x[element].to_f64().unwrap()).sum::<f64>() / count as f64;
            for &(_, element) in taps {
                back[element] += dy[i].to_f64().unwrap() / count as f64;
            }
        });
        assert_same(&y, &mean, "y");
        assert_same(&dx, &back, "dx");
    }

    #[test]
    fn agrees_with_the_definition_on_each_isa() {
        for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
            with_isa(isa, || {
                for pool in cases() {
                    check_max::<f32>(&pool);
                    check_max::<f64>(&pool);
                    for divisor in [Divisor::Valid, Divisor::Padded, Divisor::Fixed(3)] {
                        check_average::<f32>(&pool, divisor);
                        check_average::<f64>(&pool, divisor);
                    }
                }
            });
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let pool = Pool2d { batch: 9, input: [60, 60], channels: 40, kernel: [3, 3], ..BASE };
        assert!(pool.lens()[1] * 9 >= PARALLEL_STEPS);
        let run = |parallel| {
            let [xs, ys] = pool.lens();
            let x: Vec<f32> = (0..xs).map(|i| (i % 1009) as f32 / 7.0).collect();
            let (mut y, mut indices, mut dx) = (vec![0.0; ys], vec![0; ys], [vec![0.0; xs], vec![0.0; xs]]);
            max_forward(&pool, &x, &mut y, &mut indices, parallel);
            max_backward(&pool, &y, &indices, &mut dx[0], parallel);
            average_backward(&pool, Divisor::Valid, &y, &mut dx[1], parallel);
            average_forward(&pool, Divisor::Valid, &x, &mut y, parallel);
            (y, indices, dx)
        };
        let alone = run(false);
        for threads in [1, 2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(alone, pool.install(|| run(true)), "{threads} threads");
        }
    }
}
