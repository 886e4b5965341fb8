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

/// Output pixels whose sums are kept in registers at a time: a vector of weights serves all.
const PIXELS: usize = 4;

impl<T: Float> VectorKernel<T> for Forward<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        assert!(self.weights.len() >= self.taps.len() * self.channels);
        let whole = self.channels / V::LANES * V::LANES;
        for channel in (0..whole).step_by(V::LANES) {
            for rows in self.rows.chunks(PIXELS) {
                // SAFETY: the builder vouches for the addresses, the caller for the instruction set.
                unsafe { self.pixels::<V, true>(rows, channel, V::LANES) }
            }
        }
        if whole < self.channels {
            for rows in self.rows.chunks(PIXELS) {
                // SAFETY: as above.
                unsafe { self.pixels::<V, false>(rows, whole, self.channels - whole) }
            }
        }
    }
}

impl<T: Float> Forward<'_, T> {
    /// At most [`PIXELS`] pixels of `count` channels: all lanes, if `WHOLE`.
    ///
    /// # Safety
    /// The addresses are valid, and the CPU has the instruction set of `V`.
    #[inline(always)]
    unsafe fn pixels<V: Vector<Elem = T>, const WHOLE: bool>(&self, rows: &[Row], channel: usize, count: usize) {
        // SAFETY: the caller's promise. Missing pixels repeat the last one and are not written.
        unsafe {
            // Taps in the padding alone leave no input: an origin need not be an address.
            let mut inputs = [self.input; PIXELS];
            for i in 0..PIXELS {
                inputs[i] = self.input.wrapping_offset(rows[i.min(rows.len() - 1)].a).wrapping_add(channel);
            }
            let mut sums = [V::splat(T::zero()); PIXELS];
            let mut weights = self.weights.as_ptr().add(channel);
            for &tap in self.taps {
                let weight = load::<V, WHOLE>(weights, count);
                for i in 0..PIXELS {
                    let x = load::<V, WHOLE>(inputs[i].wrapping_offset(tap), count);
                    sums[i] = x.mul_add(weight, sums[i]);
                }
                weights = weights.wrapping_add(self.channels);
            }
            for i in 0..PIXELS {
                if let Some(row) = rows.get(i) {
                    let output = self.output.offset(row.c).add(channel);
                    if WHOLE { sums[i].store(output) } else { sums[i].store_first(output, count) }
                }
            }
        }
    }
}

/// A vector, of which only the first `count` lanes are there unless it is `WHOLE`.
///
/// # Safety
/// They are, and the CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn load<V: Vector, const WHOLE: bool>(from: *const V::Elem, count: usize) -> V {
    // SAFETY: the caller's promise.
    unsafe { if WHOLE { V::load(from) } else { V::load_first(from, count) } }
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
