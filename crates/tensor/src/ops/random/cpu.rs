//! Draws on the CPU: a block of words for several elements at a time.

use super::Distribution;
use super::polynomials::{ln_f32, ln_f64, quantile, turn_f32, turn_f64};
use crate::cpu::parallel::{Shared, for_chunks};
use crate::scalar::Real;
use crate::{DType, Element, Key, Result, View, ViewMut, with_element};

/// Elements that a thread draws at a time: whole blocks.
const CHUNK: usize = 1 << 14;

/// `Φ(-2)`, what a truncated normal distribution leaves out on either side.
const BEYOND: f64 = 0.022_750_131_948_179_21;

/// Fills `y`, in the precision that its type computes in.
pub(super) fn draw(distribution: Distribution, key: Key, a: f64, b: f64, y: &mut ViewMut<'_>) -> Result<()> {
    match (distribution, y.dtype()) {
        (Distribution::Bernoulli, _) => {
            let limit = limit(a);
            fill(y.slice::<bool>()?, |block| key.bits(block).map(|word| u64::from(word) < limit))
        }
        (Distribution::Uniform, DType::F64) => {
            let top = b.next_down();
            let spread = |u: f64| match (b - a).is_finite() {
                true => a + (b - a) * u,
                // Half of it, and twice that.
                false => 2.0 * (0.5 * a + (0.5 * b - 0.5 * a) * u),
            };
            fill(y.slice::<f64>()?, |block| doubles(key.bits(block)).map(|word| spread(fraction(word)).min(top).max(a)))
        }
        (Distribution::Normal, DType::F64) => fill(y.slice::<f64>()?, |block| {
            let [u, turn] = doubles(key.bits(block));
            let radius = (-2.0 * ln_f64((u as f64 + 1.0) * 2f64.powi(-64))).sqrt();
            let (cos, sin) = turn_f64(turn as i64 as f64 * 2f64.powi(-63));
            [a + b * (radius * cos), a + b * (radius * sin)]
        }),
        (Distribution::TruncatedNormal, DType::F64) => {
            fill(y.slice::<f64>()?, |block| doubles(key.bits(block)).map(|word| a + b * truncated(fraction(word))))
        }
        (distribution, _) => with_element!(y.dtype(), T => single(distribution, key, a, b, y.slice::<T>()?)),
    }
    Ok(())
}

/// Draws of 32 bits, computed in single precision and rounded to `T`.
fn single<T: Element>(distribution: Distribution, key: Key, a: f64, b: f64, y: &mut [T]) {
    let (low, high) = (a as f32, b as f32);
    match distribution {
        Distribution::Uniform => {
            let spread = |u: f32| match (high - low).is_finite() {
                true => low + (high - low) * u,
                false => 2.0 * (0.5 * low + (0.5 * high - 0.5 * low) * u),
            };
            // The largest number of the type below the bound, which rounding must not reach.
            let top = below::<T>(b);
            fill(y, |block| {
                key.bits(block).map(|word| {
                    let x: T = spread((word >> 8) as f32 * 2f32.powi(-24)).store();
                    if x.to_f64() >= b && a < b { top } else { x }
                })
            });
        }
        Distribution::Normal => fill(y, |block| {
            let pair = |u: u32, turn: u32| {
                let radius = (-2.0 * ln_f32((u as f32 + 1.0) * 2f32.powi(-32))).sqrt();
                let (cos, sin) = turn_f32(turn as i32 as f32 * 2f32.powi(-31));
                [low + high * (radius * cos), low + high * (radius * sin)]
            };
            let [u, turn, v, other] = key.bits(block);
            let ([p, q], [r, s]) = (pair(u, turn), pair(v, other));
            [p, q, r, s].map(Real::store)
        }),
        _ => fill(y, |block| {
            key.bits(block).map(|word| {
                let u = (f64::from(word) + 0.5) * 2f64.powi(-32);
                T::from_f64(a + b * truncated(u))
            })
        }),
    }
}

/// `x` where the draw keeps it, over the share that is kept.
pub(super) fn dropout(key: Key, rate: f64, x: &View<'_>, y: &mut ViewMut<'_>) -> Result<()> {
    let (limit, scale) = (limit(1.0 - rate), if rate < 1.0 { 1.0 / (1.0 - rate) } else { 0.0 });
    match x.dtype() {
        DType::F64 => mask(key, limit, &x.contiguous::<f64>()?, y.slice::<f64>()?, |x| x * scale),
        DType::F32 => mask(key, limit, &x.contiguous::<f32>()?, y.slice::<f32>()?, |x| x * scale as f32),
        _ => with_element!(x.dtype(), T => {
            let scaled = |x: T| <T as Element>::from_f32(x.to_f32() * scale as f32);
            mask(key, limit, &x.contiguous::<T>()?, y.slice::<T>()?, scaled);
        }),
    }
    Ok(())
}

fn mask<T: Element>(key: Key, limit: u64, x: &[T], y: &mut [T], scaled: impl Fn(T) -> T + Sync) {
    let shared = Shared::new(y);
    for_chunks(x.len(), CHUNK, 8, |start, end| {
        // SAFETY: chunks are disjoint ranges of the result, which has as many elements as the operand.
        let y = unsafe { shared.slice(start, end) };
        for (i, (y, x)) in y.chunks_mut(4).zip(x[start..end].chunks(4)).enumerate() {
            let words = key.bits((start / 4 + i) as u64);
            for ((y, &x), word) in y.iter_mut().zip(x).zip(words) {
                *y = if u64::from(word) < limit { scaled(x) } else { T::default() };
            }
        }
    });
}

/// Fills a tensor, `N` elements from each block.
fn fill<T: Element, const N: usize>(y: &mut [T], draw: impl Fn(u64) -> [T; N] + Sync) {
    let n = y.len();
    let shared = Shared::new(y);
    for_chunks(n, CHUNK, 8, |start, end| {
        // SAFETY: chunks are disjoint ranges of the result.
        let y = unsafe { shared.slice(start, end) };
        for (i, some) in y.chunks_mut(N).enumerate() {
            some.copy_from_slice(&draw((start / N + i) as u64)[..some.len()]);
        }
    });
}

/// The number of words below which a draw of probability `p` lies.
fn limit(p: f64) -> u64 {
    (p * 2f64.powi(32)) as u64
}

fn doubles([a, b, c, d]: [u32; 4]) -> [u64; 2] {
    [u64::from(a) << 32 | u64::from(b), u64::from(c) << 32 | u64::from(d)]
}

/// In [0, 1), the top 53 bits.
fn fraction(word: u64) -> f64 {
    (word >> 11) as f64 * 2f64.powi(-53)
}

/// The truncated normal number of `u` in [0, 1].
fn truncated(u: f64) -> f64 {
    quantile(BEYOND + u * (1.0 - 2.0 * BEYOND)).clamp(-2.0, 2.0)
}

/// The largest number of type `T` below `bound`.
fn below<T: Element>(bound: f64) -> T {
    let nearest = T::from_f64(bound);
    if nearest.to_f64() < bound {
        return nearest;
    }
    // Half a step of the widest of the narrow types is lost in the rounding of its neighbour.
    let mut step = bound.abs().max(f64::from(f32::MIN_POSITIVE)) * 2f64.powi(-26);
    loop {
        let lower = T::from_f64(bound - step);
        if lower.to_f64() < bound {
            return lower;
        }
        step *= 2.0;
    }
}
