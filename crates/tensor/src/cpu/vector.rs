//! Vectors of floats: one trait, and an implementation per instruction set that does nothing but name instructions.

#![expect(clippy::needless_range_loop, reason = "lanes of several operands at the same index")]

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

use super::float::Float;

/// The most lanes that any vector has.
pub const MOST_LANES: usize = 16;

/// A register of [`LANES`](Vector::LANES) floats.
///
/// # Safety
/// Every method asks that the CPU has the vector's instruction set; loads and stores ask that the addressed elements
/// may be read or written (no alignment is needed, and partial accesses touch `count` elements only).
pub trait Vector: Copy {
    /// The type of one lane.
    type Elem: Float;
    /// The number of lanes.
    const LANES: usize;
    /// The number of registers that the instruction set names.
    const REGISTERS: usize;

    /// All lanes equal to `x`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn splat(x: Self::Elem) -> Self;
    /// The `LANES` elements from `p`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn load(p: *const Self::Elem) -> Self;
    /// The `count` elements from `p` (at most `LANES`), then zeros.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn load_first(p: *const Self::Elem, count: usize) -> Self;
    /// Writes all lanes to `p`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn store(self, p: *mut Self::Elem);
    /// Writes the first `count` lanes (at most `LANES`) to `p`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn store_first(self, p: *mut Self::Elem, count: usize);
    /// `self · b + c`, rounded once where the instruction set can.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// `self + b`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn add(self, b: Self) -> Self;
    /// `self · b`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn mul(self, b: Self) -> Self;
    /// `self / b`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn div(self, b: Self) -> Self;
    /// Per lane, `then` where `other > self`, or where `other` is NaN and `self` is not; `otherwise` elsewhere. With
    /// `other, self` or an index of each in their place, this is a step of a maximum that keeps the first of equals.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn where_beaten(self, other: Self, then: Self, otherwise: Self) -> Self;
    /// Per lane, `self` where the bits of `a` and `b` are the same, and zero elsewhere.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn where_same(self, a: Self, b: Self) -> Self;
}

/// `N` lanes in plain Rust.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Portable<T, const N: usize>([T; N]);

impl<T: Float<Baseline = Self>, const N: usize> Vector for Portable<T, N> {
    type Elem = T;
    const LANES: usize = N;
    const REGISTERS: usize = 16;

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Self([x; N])
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: the caller vouches for `N` elements; an array of `T` has the alignment of `T`.
        Self(unsafe { p.cast::<[T; N]>().read() })
    }
    #[inline(always)]
    unsafe fn load_first(p: *const T, count: usize) -> Self {
        if count == N {
            // SAFETY: the caller vouches for `N` elements.
            return unsafe { Self::load(p) };
        }
        let mut lanes = [T::zero(); N];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements, and `i < count`.
            *lane = unsafe { p.add(i).read() };
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: the caller vouches for `N` elements.
        unsafe { p.cast::<[T; N]>().write(self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut T, count: usize) {
        for (i, lane) in self.0.into_iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements, and `i < count`.
            unsafe { p.add(i).write(lane) }
        }
    }
    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        let mut lanes = c.0;
        for i in 0..N {
            // On x86 without FMA `mul_add` is a call into libm, forty times slower than two instructions.
            lanes[i] = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                self.0[i].mul_add(b.0[i], c.0[i])
            } else {
                self.0[i] * b.0[i] + c.0[i]
            };
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        let mut lanes = self.0;
        for i in 0..N {
            lanes[i] += b.0[i];
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        let mut lanes = self.0;
        for i in 0..N {
            lanes[i] *= b.0[i];
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        let mut lanes = self.0;
        for i in 0..N {
            lanes[i] /= b.0[i];
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn where_beaten(self, other: Self, then: Self, otherwise: Self) -> Self {
        let mut lanes = otherwise.0;
        for i in 0..N {
            let (best, next) = (self.0[i], other.0[i]);
            if next > best || (next.is_nan() && !best.is_nan()) {
                lanes[i] = then.0[i];
            }
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn where_same(self, a: Self, b: Self) -> Self {
        let mut lanes = [T::zero(); N];
        for i in 0..N {
            // Carried indices fit 32 bits, which is all that the pools compare.
            if a.0[i].carried() == b.0[i].carried() {
                lanes[i] = self.0[i];
            }
        }
        Self(lanes)
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! avx512 {
    ($vector:ty, $elem:ty, $lanes:literal, $mask:ty, $splat:ident, $load:ident, $load_mask:ident, $store:ident,
     $store_mask:ident, $fma:ident, $add:ident, $mul:ident, $div:ident, $compare:ident, $blend:ident, $bits:ident, $same:ident, $keep:ident) => {
        impl Vector for $vector {
            type Elem = $elem;
            const LANES: usize = $lanes;
            const REGISTERS: usize = 32;

            #[inline(always)]
            unsafe fn splat(x: $elem) -> Self {
                // SAFETY: the caller vouches for AVX-512.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const $elem) -> Self {
                // SAFETY: the caller vouches for AVX-512 and the elements.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn load_first(p: *const $elem, count: usize) -> Self {
                // SAFETY: the caller vouches for AVX-512 and the elements; masked-off lanes are not accessed.
                unsafe { $load_mask(((1u32 << count) - 1) as $mask, p) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $elem) {
                // SAFETY: the caller vouches for AVX-512 and the elements.
                unsafe { $store(p, self) }
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $elem, count: usize) {
                // SAFETY: the caller vouches for AVX-512 and the elements; masked-off lanes are not accessed.
                unsafe { $store_mask(p, ((1u32 << count) - 1) as $mask, self) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                // SAFETY: the caller vouches for AVX-512.
                unsafe { $fma(self, b, c) }
            }
            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                // SAFETY: the caller vouches for AVX-512.
                unsafe { $add(self, b) }
            }
            #[inline(always)]
            unsafe fn mul(self, b: Self) -> Self {
                // SAFETY: the caller vouches for AVX-512.
                unsafe { $mul(self, b) }
            }
            #[inline(always)]
            unsafe fn div(self, b: Self) -> Self {
                // SAFETY: the caller vouches for AVX-512.
                unsafe { $div(self, b) }
            }
            #[inline(always)]
            unsafe fn where_beaten(self, other: Self, then: Self, otherwise: Self) -> Self {
                // SAFETY: the caller vouches for AVX-512.
                unsafe {
                    // "Not less or equal" holds for NaN on either side; the second test takes out those in `self`.
                    let beaten = $compare::<_CMP_NLE_UQ>(other, self) & $compare::<_CMP_ORD_Q>(self, self);
                    $blend(beaten, otherwise, then)
                }
            }
            #[inline(always)]
            unsafe fn where_same(self, a: Self, b: Self) -> Self {
                // SAFETY: the caller vouches for AVX-512.
                unsafe { $keep($same($bits(a), $bits(b)), self) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
avx512!(
    __m512,
    f32,
    16,
    __mmask16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_maskz_loadu_ps,
    _mm512_storeu_ps,
    _mm512_mask_storeu_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_mul_ps,
    _mm512_div_ps,
    _mm512_cmp_ps_mask,
    _mm512_mask_blend_ps,
    _mm512_castps_si512,
    _mm512_cmpeq_epi32_mask,
    _mm512_maskz_mov_ps
);
#[cfg(target_arch = "x86_64")]
avx512!(
    __m512d,
    f64,
    8,
    __mmask8,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_maskz_loadu_pd,
    _mm512_storeu_pd,
    _mm512_mask_storeu_pd,
    _mm512_fmadd_pd,
    _mm512_add_pd,
    _mm512_mul_pd,
    _mm512_div_pd,
    _mm512_cmp_pd_mask,
    _mm512_mask_blend_pd,
    _mm512_castpd_si512,
    _mm512_cmpeq_epi64_mask,
    _mm512_maskz_mov_pd
);

/// `FIRST[8 - n..]` begins with `n` lanes of ones; `maskload` looks at each lane's sign bit.
#[cfg(target_arch = "x86_64")]
static FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

#[cfg(target_arch = "x86_64")]
macro_rules! avx2 {
    ($vector:ty, $elem:ty, $lanes:literal, $splat:ident, $load:ident, $load_mask:ident, $store:ident,
     $store_mask:ident, $fma:ident, $add:ident, $mul:ident, $div:ident, $compare:ident, $blend:ident, $and:ident, $bits:ident, $same:ident, $floats:ident) => {
        impl Vector for $vector {
            type Elem = $elem;
            const LANES: usize = $lanes;
            const REGISTERS: usize = 16;

            #[inline(always)]
            unsafe fn splat(x: $elem) -> Self {
                // SAFETY: the caller vouches for AVX2.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const $elem) -> Self {
                // SAFETY: the caller vouches for AVX2 and the elements.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn load_first(p: *const $elem, count: usize) -> Self {
                let skip = 8 - count * (8 / $lanes);
                // SAFETY: the caller vouches for AVX2 and the elements; `skip <= 8`, so eight mask words exist.
                unsafe { $load_mask(p, _mm256_loadu_si256(FIRST.as_ptr().add(skip).cast())) }
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $elem) {
                // SAFETY: the caller vouches for AVX2 and the elements.
                unsafe { $store(p, self) }
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $elem, count: usize) {
                let skip = 8 - count * (8 / $lanes);
                // SAFETY: the caller vouches for AVX2 and the elements; `skip <= 8`, so eight mask words exist.
                unsafe { $store_mask(p, _mm256_loadu_si256(FIRST.as_ptr().add(skip).cast()), self) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                // SAFETY: the caller vouches for FMA.
                unsafe { $fma(self, b, c) }
            }
            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                // SAFETY: the caller vouches for AVX2.
                unsafe { $add(self, b) }
            }
            #[inline(always)]
            unsafe fn mul(self, b: Self) -> Self {
                // SAFETY: the caller vouches for AVX2.
                unsafe { $mul(self, b) }
            }
            #[inline(always)]
            unsafe fn div(self, b: Self) -> Self {
                // SAFETY: the caller vouches for AVX2.
                unsafe { $div(self, b) }
            }
            #[inline(always)]
            unsafe fn where_beaten(self, other: Self, then: Self, otherwise: Self) -> Self {
                // SAFETY: the caller vouches for AVX2.
                unsafe {
                    // "Not less or equal" holds for NaN on either side; the second test takes out those in `self`.
                    let beaten = $and($compare::<_CMP_NLE_UQ>(other, self), $compare::<_CMP_ORD_Q>(self, self));
                    $blend(otherwise, then, beaten)
                }
            }
            #[inline(always)]
            unsafe fn where_same(self, a: Self, b: Self) -> Self {
                // SAFETY: the caller vouches for AVX2.
                unsafe { $and(self, $floats($same($bits(a), $bits(b)))) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
avx2!(
    __m256,
    f32,
    8,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_maskload_ps,
    _mm256_storeu_ps,
    _mm256_maskstore_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_cmp_ps,
    _mm256_blendv_ps,
    _mm256_and_ps,
    _mm256_castps_si256,
    _mm256_cmpeq_epi32,
    _mm256_castsi256_ps
);
#[cfg(target_arch = "x86_64")]
avx2!(
    __m256d,
    f64,
    4,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_maskload_pd,
    _mm256_storeu_pd,
    _mm256_maskstore_pd,
    _mm256_fmadd_pd,
    _mm256_add_pd,
    _mm256_mul_pd,
    _mm256_div_pd,
    _mm256_cmp_pd,
    _mm256_blendv_pd,
    _mm256_and_pd,
    _mm256_castpd_si256,
    _mm256_cmpeq_epi64,
    _mm256_castsi256_pd
);
