//! Convolutions where each channel has one filter and sees itself only: sums along vectors of channels.
//!
//! A product by group would fill one lane of a vector; here the channels fill all.

#![expect(clippy::needless_range_loop, reason = "loops over registers have constant bounds and are unrolled")]

use crate::cpu::float::Float;
use crate::cpu::simd::VectorKernel;
use crate::cpu::tile::Row;
use crate::cpu::vector::Vector;

/// `output[row, c] = Σ input[row + tap, c] · weights[tap, c]`.
///
/// Whoever builds it vouches for the addresses: inputs at every row plus tap, outputs at every row, `channels` each.
pub struct Forward<'k, T> {
    /// Base of the input.
    pub input: *const T,
    /// Base of the output, which nobody else accesses at these rows.
    pub output: *mut T,
    /// `[taps, channels]`.
    pub weights: &'k [T],
    /// Where output pixels lie: the windows' origins and the outputs.
    pub rows: &'k [Row],
    /// Offsets of the taps.
    pub taps: &'k [isize],
    /// Channels of input and output.
    pub channels: usize,
}

impl<T: Float> VectorKernel<T> for Forward<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        assert!(self.weights.len() >= self.taps.len() * self.channels);
        for channel in (0..self.channels).step_by(V::LANES) {
            let count = (self.channels - channel).min(V::LANES);
            for row in self.rows {
                // SAFETY: the builder vouches for the addresses, the caller for the instruction set.
                unsafe {
                    // Taps in the padding alone leave no input: an origin need not be an address.
                    let input = self.input.wrapping_offset(row.a).wrapping_add(channel);
                    let mut sum = V::splat(T::zero());
                    for (index, &tap) in self.taps.iter().enumerate() {
                        let weights = self.weights.as_ptr().add(index * self.channels + channel);
                        let x = V::load_first(input.wrapping_offset(tap), count);
                        sum = x.mul_add(V::load_first(weights, count), sum);
                    }
                    sum.store_first(self.output.offset(row.c).add(channel), count);
                }
            }
        }
    }
}

/// Taps whose sums are kept in registers at a time.
const TAPS: usize = 4;

/// `sum[tap, c] = Σ input[pixel + tap, c] · gradients[pixel, c] + β · sum[tap, c]`.
///
/// Whoever builds it vouches for the addresses: inputs at every pixel plus tap, sums at every tap.
pub struct Weights<'k, T> {
    /// Base of the input.
    pub input: *const T,
    /// The windows' origins, for column zero of each output row.
    pub origins: &'k [isize],
    /// Pixels of an output row.
    pub run: usize,
    /// Distance between the windows of neighbouring pixels.
    pub step: usize,
    /// The taps: where they lie in the input, and in the sums.
    pub rows: &'k [Row],
    /// `[output rows, run, channels]`.
    pub gradients: &'k [T],
    /// Factor of the former sum, which is not read where this is zero.
    pub beta: T,
    /// Base of the sums, which nobody else accesses at these taps.
    pub sum: *mut T,
}

impl<T: Float> VectorKernel<T> for Weights<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let pixels = self.origins.len() * self.run;
        let channels = self.gradients.len() / pixels.max(1);
        for channel in (0..channels).step_by(V::LANES) {
            let count = (channels - channel).min(V::LANES);
            for taps in self.rows.chunks(TAPS) {
                // SAFETY: the builder vouches for the addresses, the caller for the instruction set. Missing taps
                // repeat the last one and are not written.
                unsafe {
                    let mut sums = [V::splat(T::zero()); TAPS];
                    for (line, &origin) in self.origins.iter().enumerate() {
                        let mut inputs = [self.input; TAPS];
                        for i in 0..TAPS {
                            let tap = taps[i.min(taps.len() - 1)].a;
                            inputs[i] = self.input.wrapping_offset(origin + tap).wrapping_add(channel);
                        }
                        let gradients = self.gradients.as_ptr().add(line * self.run * channels + channel);
                        for pixel in 0..self.run {
                            let dy = V::load_first(gradients.add(pixel * channels), count);
                            for i in 0..TAPS {
                                let x = V::load_first(inputs[i].wrapping_add(pixel * self.step), count);
                                sums[i] = x.mul_add(dy, sums[i]);
                            }
                        }
                    }
                    for i in 0..TAPS {
                        if let Some(tap) = taps.get(i) {
                            let sum = self.sum.offset(tap.c).add(channel);
                            if self.beta != T::zero() {
                                sums[i] = V::load_first(sum, count).mul_add(V::splat(self.beta), sums[i]);
                            }
                            sums[i].store_first(sum, count);
                        }
                    }
                }
            }
        }
    }
}
