//! Two-dimensional convolution on the CPU: forward, and backward to the input and to the weights.
//!
//! Images are `[N, H, W, C]`, weights `[KH, KW, C / groups, O]`, all adjacent in memory. The matrix of windows of the
//! textbook (im2col) is never built: its rows and columns are offsets that the tile of [`crate::cpu::tile`] follows
//! through the image, so the three products read each pixel from the cache instead of from nine copies. Only windows
//! that reach over the edge cost a copy, of a few rows at a time.

use crate::cpu::float::Float;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch::{self, Scratch};
use crate::cpu::simd::{self, Isa, Kernel, dispatch_on, dispatch_vectors};
use crate::cpu::tile::{Product, Row, TileKernel};

use super::correlation::{Correlation, PARALLEL_FLOPS, TASK_FLOPS};
use super::depthwise;
use super::windows::{Axis, BLOCK_PIXELS, Region, Windows};

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Images.
    pub batch: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Channels of the input, a multiple of `groups`.
    pub channels: usize,
    /// Channels of the output, a multiple of `groups`.
    pub filters: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Input positions per output position, at least one.
    pub stride: [usize; 2],
    /// Zeros before and after the input, vertically and horizontally.
    pub padding: [[usize; 2]; 2],
    /// Input positions per kernel element, at least one.
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other, at least one.
    pub groups: usize,
}

impl Conv2d {
    /// Height and width of the output: `⌊(padded − dilation · (kernel − 1) − 1) / stride⌋ + 1`, zero where the kernel
    /// does not fit.
    pub fn output(&self) -> [usize; 2] {
        core::array::from_fn(|i| {
            let padded = self.input[i] + self.padding[i][0] + self.padding[i][1];
            let reach = self.dilation[i] * self.kernel[i].saturating_sub(1) + 1;
            if padded < reach { 0 } else { (padded - reach) / self.stride[i] + 1 }
        })
    }

    /// Elements of the input, of the weights and of the output.
    pub fn lens(&self) -> [usize; 3] {
        let [height, width] = self.output();
        [
            self.batch * self.input[0] * self.input[1] * self.channels,
            self.kernel[0] * self.kernel[1] * (self.channels / self.groups) * self.filters,
            self.batch * height * width * self.filters,
        ]
    }

    fn check(&self, x: usize, w: usize, y: usize) {
        assert!(
            self.groups > 0 && self.channels.is_multiple_of(self.groups) && self.filters.is_multiple_of(self.groups)
        );
        assert!(self.stride.iter().chain(&self.dilation).all(|&step| step > 0));
        assert_eq!([x, w, y], self.lens(), "lengths of input, weights and output");
    }

    fn flops(&self) -> usize {
        2 * self.lens()[2] * self.kernel[0] * self.kernel[1] * (self.channels / self.groups)
    }

    fn windows(&self) -> Windows {
        let axis = |i: usize| Axis {
            input: self.input[i],
            output: self.output()[i],
            stride: self.stride[i],
            taps: (0..self.kernel[i]).map(|k| (k * self.dilation[i]) as isize - self.padding[i][0] as isize).collect(),
        };
        Windows { batch: self.batch, rows: axis(0), columns: axis(1), channels: self.channels }
    }
}

/// `y = x ∗ w`, the cross-correlation that deep learning calls convolution.
///
/// # Panics
/// Where lengths do not fit `conv`.
pub fn forward<T: Float>(conv: &Conv2d, x: &[T], w: &[T], y: &mut [T], parallel: bool) {
    conv.check(x.len(), w.len(), y.len());
    let [height, width] = conv.output();
    let correlation = Correlation {
        isa: simd::isa(),
        windows: conv.windows(),
        input: x,
        weights: w,
        groups: conv.groups,
        filters: conv.filters,
        output: Shared::from_ptr(y.as_mut_ptr()),
        steps: [height * width, width, 1].map(|step| step * conv.filters),
        flops: conv.flops(),
    };
    // SAFETY: `y` is borrowed for writing, has as many elements as `check` has seen, and the steps are those of an
    // adjacent [N, OH, OW, O].
    unsafe { correlation.run(parallel) }
}

/// `dx`, the derivative to the input: each input pixel gathers from the outputs whose windows cover it.
///
/// Input rows `p, p + s, p + 2s, …` (for stride `s`) are covered through the same kernel rows; so each of the `s · s`
/// phases is a convolution of stride one over `dy`, with its share of the weights, transposed. No zeros are inserted
/// between outputs, and no two tasks add to one pixel.
///
/// # Panics
/// Where lengths do not fit `conv`.
pub fn backward_input<T: Float>(conv: &Conv2d, dy: &[T], w: &[T], dx: &mut [T], parallel: bool) {
    conv.check(dx.len(), w.len(), dy.len());
    let output = conv.output();
    let [row_step, column_step] = [conv.input[1] * conv.channels, conv.channels];
    for top in 0..conv.stride[0].min(conv.input[0]) {
        for left in 0..conv.stride[1].min(conv.input[1]) {
            let ([rows, row_taps], [columns, column_taps]) = (phase(conv, 0, top), phase(conv, 1, left));
            let axis = |i: usize, first: usize, taps: &[isize]| Axis {
                input: output[i],
                output: (conv.input[i] - first).div_ceil(conv.stride[i]),
                stride: 1,
                taps: taps.iter().copied().collect(),
            };
            let windows = Windows {
                batch: conv.batch,
                rows: axis(0, top, &row_taps),
                columns: axis(1, left, &column_taps),
                channels: conv.filters,
            };
            let len = row_taps.len() * column_taps.len() * (conv.filters / conv.groups) * conv.channels;
            scratch::with(len, |weights: &mut [T]| {
                transpose(conv, w, &rows, &columns, weights, parallel);
                let correlation = Correlation {
                    isa: simd::isa(),
                    windows,
                    input: dy,
                    weights,
                    groups: conv.groups,
                    filters: conv.channels,
                    output: Shared::from_ptr(dx[top * row_step + left * column_step..].as_mut_ptr()),
                    steps: [conv.input[0] * row_step, conv.stride[0] * row_step, conv.stride[1] * column_step],
                    flops: conv.flops() / (conv.stride[0] * conv.stride[1]),
                };
                // SAFETY: `dx` is borrowed for writing; the phase's pixels are those of rows `top + i · stride` and
                // columns `left + j · stride` inside of each image, of which the axes count as many as there are.
                unsafe { correlation.run(parallel) }
            });
        }
    }
}

/// The kernel elements through which inputs `first, first + stride, …` are covered, and the outputs that they lead to:
/// element `k` leads input `first + i · stride` to output `i + tap`. Ascending by output.
fn phase(conv: &Conv2d, axis: usize, first: usize) -> [Scratch<isize>; 2] {
    let stride = conv.stride[axis] as isize;
    let mut found = [Scratch::default(), Scratch::default()];
    for k in (0..conv.kernel[axis] as isize).rev() {
        let distance = first as isize + conv.padding[axis][0] as isize - k * conv.dilation[axis] as isize;
        if distance.rem_euclid(stride) == 0 {
            found[0].push(k);
            found[1].push(distance.div_euclid(stride));
        }
    }
    found
}

/// `to[rows, columns, filters per group, channels]` from the chosen rows and columns of the weights.
fn transpose<T: Float>(conv: &Conv2d, w: &[T], rows: &[isize], columns: &[isize], to: &mut [T], parallel: bool) {
    /// Filters and channels of a square that is read and written while its cache lines stay.
    const SQUARE: usize = 16;
    let (channels, filters) = (conv.channels / conv.groups, conv.filters / conv.groups);
    let (len, taps) = (filters * conv.channels, rows.len() * columns.len());
    assert_eq!(to.len(), taps * len);
    let (parallel, to) = (parallel && to.len() >= PARALLEL_WEIGHTS, Shared::from_ptr(to.as_mut_ptr()));
    parallel::for_each(taps, parallel, |tap| {
        // SAFETY: each task has a tap of its own, of `len` elements.
        let to = unsafe { core::slice::from_raw_parts_mut(to.get().add(tap * len), len) };
        let (row, column) = (rows[tap / columns.len()] as usize, columns[tap % columns.len()] as usize);
        let from = &w[(row * conv.kernel[1] + column) * channels * conv.filters..][..channels * conv.filters];
        for group in 0..conv.groups {
            let squares = (0..channels).step_by(SQUARE).flat_map(|c| (0..filters).step_by(SQUARE).map(move |f| (c, f)));
            for (c0, f0) in squares {
                let width = SQUARE.min(channels - c0);
                for f in f0..filters.min(f0 + SQUARE) {
                    let to = &mut to[f * conv.channels + group * channels + c0..][..width];
                    let from = from[c0 * conv.filters + group * filters + f..].iter().step_by(conv.filters);
                    for (to, &from) in to.iter_mut().zip(from) {
                        *to = from;
                    }
                }
            }
        }
    });
}

/// Weights below this number are transposed on the caller's thread.
const PARALLEL_WEIGHTS: usize = 100_000;

/// Most sums of weight gradients that are kept side by side, and most bytes that they take together.
const MOST_PARTS: usize = 16;
const PARTS_BYTES: usize = 1 << 21;

/// `dw`, the derivative to the weights: for each kernel element, windows times `dy`, summed over all pixels.
///
/// The sum is cut into parts that depend on the sizes only, and the parts are added in order.
///
/// # Panics
/// Where lengths do not fit `conv`.
pub fn backward_weight<T: Float>(conv: &Conv2d, x: &[T], dy: &[T], dw: &mut [T], parallel: bool) {
    conv.check(x.len(), dw.len(), dy.len());
    let windows = conv.windows();
    let (outputs, width) = (windows.output_rows(), windows.columns.output);
    if dw.is_empty() || dy.is_empty() {
        return dw.fill(T::zero());
    }
    let (block, flops, len) = (windows.block_rows(), conv.flops(), dw.len());
    let most = (PARTS_BYTES / size_of_val(dw)).clamp(1, MOST_PARTS);
    let parts = (flops / TASK_FLOPS).clamp(1, most).min(outputs.div_ceil(block));
    let rows = weight_rows(conv, &windows);
    let row_parts = rows.len().div_ceil(BLOCK_PIXELS);
    let mut sums = Scratch::filled((parts - 1) * len, T::zero());
    let (first, others) = (Shared::from_ptr(dw.as_mut_ptr()), Shared::from_ptr(sums.as_mut_ptr()));
    let isa = simd::isa();
    parallel::for_each(parts * row_parts, parallel && flops >= PARALLEL_FLOPS, |index| {
        let (part, row_part) = (index / row_parts, index % row_parts);
        let sum = if part == 0 { first.get() } else { others.get().wrapping_add((part - 1) * len) };
        let rows = &rows[parallel::part(rows.len(), row_parts, 1, row_part)];
        let range = parallel::part(outputs, parts, block, part);
        for start in range.clone().step_by(block) {
            let block = start..range.end.min(start + block);
            let beta = if start == range.start { T::zero() } else { T::one() };
            windows.with_region(x, block, |region| {
                let gradients = &dy[start * width * conv.filters..][..region.origins.len() * width * conv.filters];
                // SAFETY: parts have sums of their own, and row parts have rows of their own in them.
                unsafe { add_weights(isa, conv, region, rows, gradients, beta, sum) };
            });
        }
    });
    for sum in sums.chunks_exact(len) {
        dispatch_on(isa, Add { sum: dw, part: sum });
    }
}

/// Where the rows of the weights' matrix lie: in a region, and in the weights.
fn weight_rows(conv: &Conv2d, windows: &Windows) -> Scratch<Row> {
    let (pitch, channels) = (windows.pitch() as isize, conv.channels / conv.groups);
    let mut rows = Scratch::default();
    for row in &*windows.rows.taps {
        for column in &*windows.columns.taps {
            for channel in 0..channels as isize {
                let c = (rows.len() * conv.filters) as isize;
                rows.push(Row { a: row * pitch + column * conv.channels as isize + channel, c });
            }
        }
    }
    rows
}

/// `sum = region · gradients + β · sum` for some rows of the weights.
///
/// # Safety
/// Nobody else accesses these rows of `sum`, which is valid for all weights.
unsafe fn add_weights<T: Float>(
    isa: Isa,
    conv: &Conv2d,
    region: &Region<'_, T>,
    rows: &[Row],
    gradients: &[T],
    beta: T,
    sum: *mut T,
) {
    let filters = conv.filters / conv.groups;
    let step = conv.stride[1] * conv.channels;
    if conv.groups > 1 && conv.groups == conv.channels && conv.groups == conv.filters {
        let (input, origins, run) = (region.base, region.origins, conv.output()[1]);
        return dispatch_vectors(isa, depthwise::Weights { input, origins, run, step, rows, gradients, beta, sum });
    }
    for group in 0..conv.groups {
        let product = Product {
            a: region.base.wrapping_add(group * (conv.channels / conv.groups)),
            a_step: step as isize,
            taps: region.origins,
            run: conv.output()[1],
            b: gradients.as_ptr().wrapping_add(group * filters),
            b_step: conv.filters as isize,
            c: sum.wrapping_add(group * filters),
            c_step: 1,
            rows,
            columns: filters,
            alpha: T::one(),
            beta,
        };
        // SAFETY: the region holds every pixel that its windows see, `gradients` a row per pixel of the region, and
        // the caller vouches for the sum.
        dispatch_vectors(isa, unsafe { TileKernel::new(product) });
    }
}

/// `sum += part`.
struct Add<'a, T> {
    sum: &'a mut [T],
    part: &'a [T],
}

impl<T: Float> Kernel for Add<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        for (sum, &part) in self.sum.iter_mut().zip(self.part) {
            *sum += part;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::with_isa;

    const BASE: Conv2d = Conv2d {
        batch: 2,
        input: [7, 9],
        channels: 3,
        filters: 5,
        kernel: [3, 2],
        stride: [1, 1],
        padding: [[0, 0], [0, 0]],
        dilation: [1, 1],
        groups: 1,
    };

    fn cases() -> Vec<Conv2d> {
        vec![
            BASE,
            Conv2d { filters: 32, channels: 16, ..BASE },
            Conv2d { filters: 17, padding: [[1, 1], [0, 1]], ..BASE },
            Conv2d { stride: [2, 3], padding: [[0, 2], [1, 0]], ..BASE },
            Conv2d { dilation: [2, 3], padding: [[2, 1], [3, 4]], ..BASE },
            Conv2d { dilation: [2, 1], stride: [3, 2], kernel: [2, 4], padding: [[5, 0], [1, 3]], ..BASE },
            Conv2d { groups: 2, channels: 4, filters: 6, stride: [2, 1], padding: [[1, 1], [1, 1]], ..BASE },
            Conv2d { groups: 4, channels: 4, filters: 4, kernel: [3, 3], padding: [[1, 1], [1, 1]], ..BASE },
            Conv2d { groups: 20, channels: 20, filters: 20, stride: [2, 1], dilation: [1, 2], ..BASE },
            Conv2d { groups: 3, channels: 3, filters: 6, ..BASE },
            Conv2d { kernel: [1, 1], stride: [3, 2], ..BASE },
            Conv2d { batch: 1, input: [3, 300], kernel: [2, 3], padding: [[0, 0], [1, 1]], ..BASE },
            Conv2d { batch: 5, input: [2, 2], kernel: [2, 2], filters: 40, padding: [[1, 0], [1, 0]], ..BASE },
            Conv2d { input: [3, 2], kernel: [1, 1], padding: [[3, 3], [4, 0]], stride: [2, 2], ..BASE },
            Conv2d { batch: 1, channels: 70, filters: 520, kernel: [2, 2], input: [3, 3], ..BASE },
        ]
    }

    fn numbers<T: Float>(len: usize, seed: usize) -> Vec<T> {
        (0..len).map(|i| T::from((i * 37 + seed * 11) % 61).unwrap() / T::from(32).unwrap() - T::one()).collect()
    }

    /// Calls `f(x, w, y)` with the indices of every product of the convolution.
    fn each_product(conv: &Conv2d, mut f: impl FnMut(usize, usize, usize)) {
        let ([height, width], per_group) = (conv.output(), conv.channels / conv.groups);
        let at = |axis: usize, output: usize, k: usize| {
            let position = output * conv.stride[axis] + k * conv.dilation[axis];
            position.checked_sub(conv.padding[axis][0]).filter(|&position| position < conv.input[axis])
        };
        for y in 0..conv.lens()[2] {
            let (filter, pixel) = (y % conv.filters, y / conv.filters);
            let (image, row, column) = (pixel / width / height, pixel / width % height, pixel % width);
            let group = filter / (conv.filters / conv.groups);
            for tap in 0..conv.kernel[0] * conv.kernel[1] * per_group {
                let (channel, element) = (tap % per_group, tap / per_group);
                let (k, l) = (element / conv.kernel[1], element % conv.kernel[1]);
                if let (Some(i), Some(j)) = (at(0, row, k), at(1, column, l)) {
                    let pixel = (image * conv.input[0] + i) * conv.input[1] + j;
                    f(pixel * conv.channels + group * per_group + channel, tap * conv.filters + filter, y);
                }
            }
        }
    }

    /// The three products, into memory that is full of NaN before.
    fn run<T: Float>(conv: &Conv2d, parallel: bool) -> [Vec<T>; 3] {
        let lens = conv.lens();
        let [x, w, dy] = core::array::from_fn(|i| numbers::<T>(lens[i], i));
        let [mut dx, mut dw, mut y] = lens.map(|len| vec![T::nan(); len]);
        forward(conv, &x, &w, &mut y, parallel);
        backward_input(conv, &dy, &w, &mut dx, parallel);
        backward_weight(conv, &x, &dy, &mut dw, parallel);
        [dx, dw, y]
    }

    fn check<T: Float>(conv: &Conv2d) {
        let lens = conv.lens();
        let [x, w, dy] = core::array::from_fn(|i| numbers::<f64>(lens[i], i));
        let [mut dx, mut dw, mut y] = lens.map(|len| vec![0.0; len]);
        each_product(conv, |i, j, k| {
            y[k] += x[i] * w[j];
            dx[i] += dy[k] * w[j];
            dw[j] += dy[k] * x[i];
        });
        for ((got, expected), name) in run::<T>(conv, false).iter().zip([dx, dw, y]).zip(["dx", "dw", "y"]) {
            for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                let error = (got.to_f64().unwrap() - expected).abs();
                let tolerance = T::epsilon().to_f64().unwrap() * 500.0;
                assert!(error <= tolerance, "{name}[{i}] is {got:?}, expected {expected}, of {conv:?}");
            }
        }
    }

    #[test]
    fn agrees_with_the_definition_on_each_isa() {
        for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
            with_isa(isa, || {
                for conv in cases() {
                    check::<f32>(&conv);
                    check::<f64>(&conv);
                }
            });
        }
    }

    #[test]
    fn empty_and_too_small_inputs() {
        for conv in [
            Conv2d { batch: 0, ..BASE },
            Conv2d { channels: 0, ..BASE },
            Conv2d { filters: 0, ..BASE },
            Conv2d { input: [2, 9], ..BASE },
            Conv2d { input: [0, 9], padding: [[2, 2], [0, 0]], ..BASE },
        ] {
            check::<f32>(&conv);
        }
    }

    #[test]
    fn nan_spreads_to_the_windows_that_see_it() {
        let conv = Conv2d { batch: 1, input: [1, 4], channels: 1, filters: 1, kernel: [1, 2], ..BASE };
        let mut y = [0.0f32; 3];
        forward(&conv, &[f32::NAN, 1.0, 2.0, 3.0], &[0.0, 1.0], &mut y, false);
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [2.0, 3.0]);
    }

    #[test]
    fn threads_change_no_bit() {
        for conv in [
            Conv2d { batch: 9, input: [21, 20], channels: 16, filters: 24, kernel: [3, 3], ..BASE },
            Conv2d { batch: 40, input: [13, 16], channels: 8, filters: 64, padding: [[1, 1], [1, 1]], ..BASE },
        ] {
            assert!(conv.flops() > PARALLEL_FLOPS);
            let alone = run::<f32>(&conv, false);
            for threads in [1, 2, 3, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert_eq!(alone, pool.install(|| run::<f32>(&conv, true)), "{threads} threads");
            }
        }
    }
}
