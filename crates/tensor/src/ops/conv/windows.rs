//! Which pixels a window covers, and where they lie in memory: the address side of a convolution, free of arithmetic.

use core::ops::Range;

use crate::cpu::float::Float;
use crate::cpu::scratch::{self, Scratch};

/// Most output pixels of a block, unless one row has more; also most rows of a block.
pub const BLOCK_PIXELS: usize = 252;

/// One spatial axis: output `o` sees the input at `o · stride + taps[t]`, which may lie outside of `0..input`.
pub struct Axis {
    /// Length of the input.
    pub input: usize,
    /// Length of the output.
    pub output: usize,
    /// Input positions per output position.
    pub stride: usize,
    /// Position of each tap for output 0, in the order of the weights.
    pub taps: Scratch<isize>,
}

impl Axis {
    /// The input positions that a range of outputs sees, first to last.
    fn span(&self, outputs: Range<usize>) -> Range<isize> {
        let (Some(first), Some(last)) = (self.taps.iter().min(), self.taps.iter().max()) else {
            return 0..0;
        };
        (outputs.start * self.stride) as isize + first..((outputs.end - 1) * self.stride) as isize + last + 1
    }

    /// Whether all outputs see real input only.
    fn inside(&self) -> bool {
        let span = self.span(0..self.output);
        span.start >= 0 && span.end <= self.input as isize
    }

    /// Whether neighbouring taps see neighbouring inputs.
    fn consecutive(&self) -> bool {
        self.taps.windows(2).all(|pair| pair[1] == pair[0] + 1)
    }
}

/// The windows over images `[batch, rows.input, columns.input, channels]`.
pub struct Windows {
    /// Number of images.
    pub batch: usize,
    /// The vertical axis.
    pub rows: Axis,
    /// The horizontal axis.
    pub columns: Axis,
    /// Channels of a pixel.
    pub channels: usize,
}

/// Part of the images in memory, with zeros around where windows reach outside.
#[derive(Debug)]
pub struct Region<'r, T> {
    /// What the origins count from.
    pub base: *const T,
    /// For each output row of the block, the offset of the pixel that a tap at zero sees for output column zero.
    pub origins: &'r [isize],
}

impl Windows {
    /// All output rows of all images: what blocks are cut from.
    pub fn output_rows(&self) -> usize {
        self.batch * self.rows.output
    }

    /// Output rows of a block, which may belong to several images.
    pub fn block_rows(&self) -> usize {
        (BLOCK_PIXELS / self.columns.output).clamp(1, BLOCK_PIXELS)
    }

    /// Whether no window reaches outside, so that images are read where they are.
    fn in_place(&self) -> bool {
        self.rows.inside() && self.columns.inside()
    }

    /// Elements between rows of a region.
    pub fn pitch(&self) -> usize {
        let width = if self.in_place() { self.columns.input } else { self.columns.span(0..self.columns.output).len() };
        width * self.channels
    }

    /// Offsets of the taps from a window's origin, and elements in a run from each.
    ///
    /// A run is the channels of a pixel (those of one group); pixels next to each other make one run of a whole row of
    /// taps where there is one group.
    pub fn taps(&self, groups: usize) -> (Scratch<isize>, usize) {
        let (pitch, channels) = (self.pitch() as isize, self.channels as isize);
        let merged = groups == 1 && !self.columns.taps.is_empty() && self.columns.consecutive();
        let columns = if merged { &self.columns.taps[..1] } else { &self.columns.taps };
        let taps =
            self.rows.taps.iter().flat_map(|row| columns.iter().map(move |column| row * pitch + column * channels));
        (taps.collect(), if merged { self.columns.taps.len() * self.channels } else { self.channels / groups })
    }

    /// Calls `f` with the region that the output rows `block` see, copied and framed by zeros where it must be.
    ///
    /// `images` holds all images; `block` counts rows through all images and has at most [`BLOCK_PIXELS`] of them.
    pub fn with_region<T: Float>(&self, images: &[T], block: Range<usize>, f: impl FnOnce(&Region<'_, T>)) {
        assert_eq!(images.len(), self.batch * self.rows.input * self.columns.input * self.channels);
        let mut origins = [0; BLOCK_PIXELS];
        let origins = &mut origins[..block.len()];
        if self.in_place() {
            for (origin, row) in origins.iter_mut().zip(block) {
                let (image, output) = (row / self.rows.output, row % self.rows.output);
                let input = image * self.rows.input + output * self.rows.stride;
                *origin = (input * self.columns.input * self.channels) as isize;
            }
            return f(&Region { base: images.as_ptr(), origins });
        }
        let len = self.parts(block.clone()).map(|(_, outputs)| self.rows.span(outputs).len()).sum::<usize>();
        scratch::with(len * self.pitch(), |framed: &mut [T]| {
            self.frame(images, block, framed, origins);
            f(&Region { base: framed.as_ptr(), origins });
        });
    }

    /// The images of a block, each with the range of its output rows.
    fn parts(&self, block: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let height = self.rows.output;
        (block.start / height..block.end.div_ceil(height)).map(move |image| {
            let first = image * height;
            (image, block.start.max(first) - first..block.end.min(first + height) - first)
        })
    }

    /// Copies what a block sees, with zeros where there is no input.
    fn frame<T: Float>(&self, images: &[T], block: Range<usize>, framed: &mut [T], origins: &mut [isize]) {
        let (pitch, channels) = (self.pitch(), self.channels);
        let across = self.columns.span(0..self.columns.output);
        // The columns that exist: of the image, and of the frame.
        let (left, right) = (across.start.max(0), across.end.min(self.columns.input as isize).max(across.start.max(0)));
        let left_at = ((left - across.start) as usize * channels).min(pitch);
        let right_at = ((right - across.start) as usize * channels).clamp(left_at, pitch);
        let (mut top, mut origins) = (0, origins.iter_mut());
        for (image, outputs) in self.parts(block) {
            let span = self.rows.span(outputs.clone());
            for output in outputs {
                let row = top as isize + (output * self.rows.stride) as isize - span.start;
                *origins.next().expect("an origin per row") = row * pitch as isize - across.start * channels as isize;
            }
            for row in span {
                let target = &mut framed[top * pitch..][..pitch];
                top += 1;
                if row < 0 || row >= self.rows.input as isize || left_at == right_at {
                    target.fill(T::zero());
                    continue;
                }
                let source = (image * self.rows.input + row as usize) * self.columns.input + left as usize;
                target[..left_at].fill(T::zero());
                target[left_at..right_at].copy_from_slice(&images[source * channels..][..right_at - left_at]);
                target[right_at..].fill(T::zero());
            }
        }
    }
}
