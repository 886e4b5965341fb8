//! The element types that the arithmetic kernels know. Storage-only types (half, integers) live elsewhere.

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{__m256, __m256d, __m512, __m512d};

use super::vector::{Portable, Vector};

/// Keeps [`Float`] to types for which all bits are valid numbers, as scratch memory asks.
mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A floating-point element that matrix products, convolutions and pooling compute in: `f32` or `f64`.
pub trait Float:
    sealed::Sealed + num_traits::Float + num_traits::NumAssign + Send + Sync + core::fmt::Debug + 'static
{
    /// The 512-bit vector of this element.
    #[cfg(target_arch = "x86_64")]
    type Avx512: Vector<Elem = Self>;
    /// The 256-bit vector of this element.
    #[cfg(target_arch = "x86_64")]
    type Avx2: Vector<Elem = Self>;
    /// A vector in plain Rust, which the compiler maps onto whatever the target has.
    type Baseline: Vector<Elem = Self>;

    /// The number of elements that fill one kibibyte; blocking constants are given in bytes.
    const PER_KIB: usize = 1024 / size_of::<Self>();

    /// A float whose bits carry an index, to be selected beside values in vectors; never computed with.
    fn carry(index: i32) -> Self;
    /// The index that [`carry`](Float::carry) put in.
    fn carried(self) -> i32;
}

impl Float for f32 {
    #[cfg(target_arch = "x86_64")]
    type Avx512 = __m512;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = __m256;
    type Baseline = Portable<f32, 4>;

    #[inline(always)]
    fn carry(index: i32) -> Self {
        Self::from_bits(index as u32)
    }
    #[inline(always)]
    fn carried(self) -> i32 {
        self.to_bits() as i32
    }
}

impl Float for f64 {
    #[cfg(target_arch = "x86_64")]
    type Avx512 = __m512d;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = __m256d;
    type Baseline = Portable<f64, 2>;

    #[inline(always)]
    fn carry(index: i32) -> Self {
        Self::from_bits(u64::from(index as u32))
    }
    #[inline(always)]
    fn carried(self) -> i32 {
        self.to_bits() as i32
    }
}
