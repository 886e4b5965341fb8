//! Draws on the CPU: words for many elements at a time, in vectors.

use super::Distribution;
use super::polynomials::{ln_f32, ln_f64, quantile, turn_f32, turn_f64};
use crate::cpu::parallel::{Shared, for_chunks};
use crate::cpu::simd::{Kernel, dispatch};
use crate::random::Philox;
use crate::scalar::Real;
use crate::{DType, Element, Result, View, ViewMut, with_element};
use std::marker::PhantomData;

/// Elements that a thread draws at a time: whole runs.
const CHUNK: usize = 1 << 14;

/// Blocks drawn side by side: a register of the widest set.
const RUN: usize = 16;

/// `Φ(-2)`, what a truncated normal distribution leaves out on either side.
const BEYOND: f64 = 0.022_750_131_948_179_21;

/// What `N` elements become of the four words of their block. Not a closure, which might be compiled for the baseline.
trait Draw<T, const N: usize>: Sync {
    /// Mark it `#[inline(always)]`.
    fn draw(&self, words: [u32; 4]) -> [T; N];
}

/// Fills `y`, in the precision that its type computes in.
pub(super) fn draw(distribution: Distribution, key: Philox, a: f64, b: f64, y: &mut ViewMut<'_>) -> Result<()> {
    match (distribution, y.dtype()) {
        (Distribution::Bernoulli, _) => fill(key, &Bernoulli { limit: limit(a) }, y.slice::<bool>()?),
        (Distribution::Uniform, DType::F64) => fill(key, &WideUniform { a, b, top: b.next_down() }, y.slice::<f64>()?),
        (Distribution::Normal, DType::F64) => fill(key, &WideNormal { a, b }, y.slice::<f64>()?),
        (Distribution::TruncatedNormal, DType::F64) => fill(key, &WideTruncated { a, b }, y.slice::<f64>()?),
        // Draws of 32 bits, computed in single precision and rounded.
        (Distribution::Uniform, _) => with_element!(y.dtype(), T => {
            // The largest number of the type below the bound, which rounding must not reach.
            let top = if a < b { below::<T>(b) } else { T::from_f64(b) };
            fill(key, &Uniform { a: a as f32, b: b as f32, bound: b, top }, y.slice::<T>()?);
        }),
        (Distribution::Normal, _) => with_element!(y.dtype(), T => {
            fill(key, &Normal { a: a as f32, b: b as f32, to: PhantomData::<T> }, y.slice::<T>()?);
        }),
        (Distribution::TruncatedNormal, _) => with_element!(y.dtype(), T => {
            fill(key, &Truncated { a, b, to: PhantomData::<T> }, y.slice::<T>()?);
        }),
    }
    Ok(())
}

struct Bernoulli {
    limit: u64,
}

impl Draw<bool, 4> for Bernoulli {
    #[inline(always)]
    fn draw(&self, words: [u32; 4]) -> [bool; 4] {
        words.map(|word| u64::from(word) < self.limit)
    }
}

/// Defines the draws of one precision: `a + (b - a) u`, or half of it and twice that where the difference overflows.
macro_rules! spread {
    ($name:ident, $t:ident) => {
        #[inline(always)]
        fn $name(a: $t, b: $t, u: $t) -> $t {
            match (b - a).is_finite() {
                true => a + (b - a) * u,
                false => 2.0 * (0.5 * a + (0.5 * b - 0.5 * a) * u),
            }
        }
    };
}
spread!(spread_f32, f32);
spread!(spread_f64, f64);

struct Uniform<T> {
    a: f32,
    b: f32,
    /// The upper bound before it was rounded.
    bound: f64,
    top: T,
}

impl<T: Element> Draw<T, 4> for Uniform<T> {
    #[inline(always)]
    fn draw(&self, words: [u32; 4]) -> [T; 4] {
        words.map(|word| {
            let x: T = spread_f32(self.a, self.b, (word >> 8) as f32 * 2f32.powi(-24)).store();
            if x.to_f64() >= self.bound { self.top } else { x }
        })
    }
}

struct Normal<T> {
    a: f32,
    b: f32,
    to: PhantomData<T>,
}

impl<T: Element> Draw<T, 4> for Normal<T> {
    #[inline(always)]
    fn draw(&self, [u, turn, v, other]: [u32; 4]) -> [T; 4] {
        let ([p, q], [r, s]) = (normal_pair(u, turn), normal_pair(v, other));
        [p, q, r, s].map(|x| (self.a + self.b * x).store())
    }
}

#[inline(always)]
fn normal_pair(u: u32, turn: u32) -> [f32; 2] {
    let radius = (-2.0 * ln_f32((u as f32 + 1.0) * 2f32.powi(-32))).sqrt();
    let (cos, sin) = turn_f32(turn as i32 as f32 * 2f32.powi(-31));
    [radius * cos, radius * sin]
}

struct Truncated<T> {
    a: f64,
    b: f64,
    to: PhantomData<T>,
}

impl<T: Element> Draw<T, 4> for Truncated<T> {
    #[inline(always)]
    fn draw(&self, words: [u32; 4]) -> [T; 4] {
        words.map(|word| T::from_f64(self.a + self.b * truncated((f64::from(word) + 0.5) * 2f64.powi(-32))))
    }
}

struct WideUniform {
    a: f64,
    b: f64,
    top: f64,
}

impl Draw<f64, 2> for WideUniform {
    #[inline(always)]
    fn draw(&self, words: [u32; 4]) -> [f64; 2] {
        doubles(words).map(|word| spread_f64(self.a, self.b, fraction(word)).min(self.top).max(self.a))
    }
}

struct WideNormal {
    a: f64,
    b: f64,
}

impl Draw<f64, 2> for WideNormal {
    #[inline(always)]
    fn draw(&self, words: [u32; 4]) -> [f64; 2] {
        let [u, turn] = doubles(words);
        let radius = (-2.0 * ln_f64((u as f64 + 1.0) * 2f64.powi(-64))).sqrt();
        let (cos, sin) = turn_f64(turn as i64 as f64 * 2f64.powi(-63));
        [self.a + self.b * (radius * cos), self.a + self.b * (radius * sin)]
    }
}

struct WideTruncated {
    a: f64,
    b: f64,
}

impl Draw<f64, 2> for WideTruncated {
    #[inline(always)]
    fn draw(&self, words: [u32; 4]) -> [f64; 2] {
        doubles(words).map(|word| self.a + self.b * truncated(fraction(word)))
    }
}

/// `x · scale` where the draw is within the share that is kept.
pub(super) fn dropout(key: Philox, share: f64, scale: f64, x: &View<'_>, y: &mut ViewMut<'_>) -> Result<()> {
    let limit = limit(share);
    match x.dtype() {
        DType::F64 => mask::<f64, f64>(key, limit, scale, &x.contiguous()?, y.slice()?),
        _ => with_element!(x.dtype(), T => mask::<T, f32>(key, limit, scale as f32, &x.contiguous()?, y.slice()?)),
    }
    Ok(())
}

/// Keeps elements of type `T`, scaled in `C`.
fn mask<T: Element, C: Real>(key: Philox, limit: u64, scale: C, x: &[T], y: &mut [T]) {
    let shared = Shared::new(y);
    for_chunks(x.len(), CHUNK, 2, |start, end| {
        // SAFETY: chunks are disjoint ranges of the result, which has as many elements as the operand.
        let y = unsafe { shared.slice(start, end) };
        dispatch(MaskKernel { key, limit, scale, first: (start / 4) as u64, x: &x[start..end], y });
    });
}

struct MaskKernel<'a, T, C> {
    key: Philox,
    limit: u64,
    scale: C,
    /// The number of the first block.
    first: u64,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Element, C: Real> Kernel for MaskKernel<'_, T, C> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let runs = self.y.chunks_mut(4 * RUN).zip(self.x.chunks(4 * RUN));
        for (run, (y, x)) in runs.enumerate() {
            let words = self.key.blocks::<RUN>(self.first + (run * RUN) as u64);
            let mut block = [T::default(); 4 * RUN];
            block[..x.len()].copy_from_slice(x);
            for lane in 0..RUN {
                for i in 0..4 {
                    let (kept, x) = (u64::from(words[i][lane]) < self.limit, block[4 * lane + i]);
                    block[4 * lane + i] = if kept { (C::load(x) * self.scale).store() } else { T::default() };
                }
            }
            y.copy_from_slice(&block[..y.len()]);
        }
    }
}

/// Fills a tensor, `N` elements from each block.
fn fill<T: Element, D: Draw<T, N>, const N: usize>(key: Philox, draw: &D, y: &mut [T]) {
    let n = y.len();
    let shared = Shared::new(y);
    for_chunks(n, CHUNK, 8, |start, end| {
        // SAFETY: chunks are disjoint ranges of the result.
        let y = unsafe { shared.slice(start, end) };
        dispatch(FillKernel { key, draw, first: (start / N) as u64, y });
    });
}

struct FillKernel<'a, T, D, const N: usize> {
    key: Philox,
    draw: &'a D,
    /// The number of the first block.
    first: u64,
    y: &'a mut [T],
}

impl<T: Element, D: Draw<T, N>, const N: usize> Kernel for FillKernel<'_, T, D, N> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        for (run, y) in self.y.chunks_mut(N * RUN).enumerate() {
            let words = self.key.blocks::<RUN>(self.first + (run * RUN) as u64);
            let mut block = [[T::default(); N]; RUN];
            for lane in 0..RUN {
                block[lane] = self.draw.draw([words[0][lane], words[1][lane], words[2][lane], words[3][lane]]);
            }
            y.copy_from_slice(&block.as_flattened()[..y.len()]);
        }
    }
}

/// The number of words below which a draw of probability `p` lies.
fn limit(p: f64) -> u64 {
    (p * 2f64.powi(32)) as u64
}

#[inline(always)]
fn doubles([a, b, c, d]: [u32; 4]) -> [u64; 2] {
    [u64::from(a) << 32 | u64::from(b), u64::from(c) << 32 | u64::from(d)]
}

/// In [0, 1), the top 53 bits.
#[inline(always)]
fn fraction(word: u64) -> f64 {
    (word >> 11) as f64 * 2f64.powi(-53)
}

/// The truncated normal number of `u` in [0, 1].
#[inline(always)]
fn truncated(u: f64) -> f64 {
    quantile(BEYOND + u * (1.0 - 2.0 * BEYOND)).clamp(-2.0, 2.0)
}

/// The largest number of type `T` below `bound`.
fn below<T: Element>(bound: f64) -> T {
    let nearest = T::from_f64(bound);
    if nearest.to_f64() < bound {
        return nearest;
    }
    let bits = nearest.to_raw_bits();
    T::from_raw_bits(match nearest.to_f64() {
        above if above > 0.0 => bits - 1,
        below if below < 0.0 => bits + 1,
        // The smallest number below zero.
        _ => 1 | 1 << (8 * size_of::<T>() - 1),
    })
}
