//! Windows times weights: the product under the forward pass and under the backward pass to the input.

use crate::cpu::float::Float;
use crate::cpu::gemm::{Strided, pack_strips, strip_width};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch;
use crate::cpu::simd::{Isa, dispatch_vectors};
use crate::cpu::tile::{Product, Row, TileKernel};

use super::depthwise;
use super::windows::{BLOCK_PIXELS, Region, Windows};

/// Work below this many operations stays on one thread: 30 to 70 µs of one core, where work that comes to rayon from a
/// thread of its own costs 10 µs to hand over, and twice that to a sleeping thread.
pub const PARALLEL_FLOPS: usize = 8_000_000;

/// Operations of a task: small against the whole, large against the price of handing it out.
pub const TASK_FLOPS: usize = 2_000_000;

/// Windows over `input` times `weights`, each product to its place in `output`.
pub struct Correlation<'c, T> {
    /// The instruction set.
    pub isa: Isa,
    /// What each output pixel sees.
    pub windows: Windows,
    /// `[batch, rows, columns, channels]`.
    pub input: &'c [T],
    /// `[row taps, column taps, channels per group, filters]`.
    pub weights: &'c [T],
    /// Groups of channels and filters.
    pub groups: usize,
    /// Channels of the output.
    pub filters: usize,
    /// The first output element.
    pub output: Shared<T>,
    /// Distances in `output` between images, rows and columns; filters are adjacent.
    pub steps: [usize; 3],
    /// Operations, of which the number of tasks follows.
    pub flops: usize,
}

impl<T: Float> Correlation<'_, T> {
    /// # Safety
    /// Nobody else accesses the output, and it is valid at all places that the steps lead to.
    pub unsafe fn run(&self, parallel: bool) {
        let (rows, block) = (self.windows.output_rows(), self.windows.block_rows());
        if rows == 0 || self.windows.columns.output == 0 || self.filters == 0 {
            return;
        }
        let (taps, run) = self.windows.taps(self.groups);
        let depth = taps.len() * run;
        let width = strip_width::<T>(self.isa);
        // Rows of weights so far apart that each misses the TLB are packed in strips.
        let pack = self.groups == 1 && self.filters >= 2 * T::PER_KIB;
        let len = if pack { self.filters.next_multiple_of(width) * depth } else { 0 };
        let blocks = rows.div_ceil(block);
        let count = (self.flops / TASK_FLOPS).clamp(1, blocks);
        scratch::with(len, |strips: &mut [T]| {
            if pack {
                let weights = Strided { pointer: self.weights.as_ptr(), row: self.filters as isize, column: 1 };
                // SAFETY: the weights have a row of all filters for each step of the depth.
                unsafe { pack_strips([depth, self.filters, width], weights, strips) };
            }
            let packed = pack.then_some(&*strips);
            parallel::for_each(count, parallel && self.flops >= PARALLEL_FLOPS, |index| {
                for first in parallel::part(rows, count, block, index).step_by(block) {
                    let block = first..rows.min(first + block);
                    self.windows.with_region(self.input, block, |region| {
                        // SAFETY: tasks have different output rows, and the caller vouches for the output.
                        unsafe { self.block(region, first, &taps, run, packed) }
                    });
                }
            });
        });
    }

    /// The products of a region's output rows, the first of which is `first`.
    ///
    /// # Safety
    /// As [`Self::run`], for these rows.
    unsafe fn block(&self, region: &Region<'_, T>, first: usize, taps: &[isize], run: usize, packed: Option<&[T]>) {
        let width = self.windows.columns.output;
        let column_step = (self.windows.columns.stride * self.windows.channels) as isize;
        let mut table = [Row { a: 0, c: 0 }; BLOCK_PIXELS];
        let pixels = region.origins.len() * width;
        for start in (0..pixels).step_by(BLOCK_PIXELS) {
            let rows = &mut table[..BLOCK_PIXELS.min(pixels - start)];
            let (mut line, mut column) = (start / width, start % width);
            for row in rows.iter_mut() {
                let (image, output) =
                    ((first + line) / self.windows.rows.output, (first + line) % self.windows.rows.output);
                let c = image * self.steps[0] + output * self.steps[1] + column * self.steps[2];
                *row = Row { a: region.origins[line] + column as isize * column_step, c: c as isize };
                column += 1;
                if column == width {
                    (line, column) = (line + 1, 0);
                }
            }
            // SAFETY: the caller's duties are the callees'; the table's rows are this block's.
            unsafe {
                if self.groups > 1 && self.groups == self.windows.channels && self.groups == self.filters {
                    self.depthwise(region, rows, taps);
                } else {
                    self.products(region, rows, taps, run, packed);
                }
            }
        }
    }

    /// The rows of the table times the weights, group by group or strip by strip.
    ///
    /// # Safety
    /// As [`Self::run`], for these rows.
    unsafe fn products(&self, region: &Region<'_, T>, rows: &[Row], taps: &[isize], run: usize, packed: Option<&[T]>) {
        let per_group = self.filters / self.groups;
        let width = if packed.is_some() { strip_width::<T>(self.isa) } else { per_group };
        for (index, left) in (0..self.filters).step_by(width).enumerate() {
            let (b, b_step) = match packed {
                Some(strips) => (strips[index * width * taps.len() * run..].as_ptr(), width),
                None => (self.weights.as_ptr().wrapping_add(left), self.filters),
            };
            let product = Product {
                a: region.base.wrapping_add(left / per_group * (self.windows.channels / self.groups)),
                a_step: 1,
                taps,
                run,
                b,
                b_step: b_step as isize,
                c: self.output.get().wrapping_add(left),
                c_step: 1,
                rows,
                columns: width.min(self.filters - left),
                alpha: T::one(),
                beta: T::zero(),
            };
            // SAFETY: the region holds every pixel that its windows see, the weights a row per tap and channel, and
            // the caller vouches for the output.
            dispatch_vectors(self.isa, unsafe { TileKernel::new(product) });
        }
    }

    /// The rows of the table where each channel has one filter and sees itself only.
    ///
    /// # Safety
    /// As [`Self::run`], for these rows.
    unsafe fn depthwise(&self, region: &Region<'_, T>, rows: &[Row], taps: &[isize]) {
        let (input, output, weights) = (region.base, self.output.get(), self.weights);
        let kernel = depthwise::Forward { input, output, weights, rows, taps, channels: self.filters };
        dispatch_vectors(self.isa, kernel);
    }
}
