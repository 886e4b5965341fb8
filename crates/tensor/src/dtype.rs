//! Element types: the run-time tag, the Rust types behind it, and how two types meet in one operation.

use half::{bf16, f16};
use std::fmt;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// Truth value, one byte.
    Bool,
    /// Unsigned 8-bit integer: images, tokens.
    U8,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer: labels and indices.
    I64,
    /// IEEE half precision.
    F16,
    /// Brain float: the exponent of `f32`, 8 bits of precision.
    BF16,
    /// Single precision, the default.
    F32,
    /// Double precision.
    F64,
}

impl DType {
    /// Every element type.
    pub const ALL: [DType; 8] = {
        use DType::*;
        [Bool, U8, I32, I64, F16, BF16, F32, F64]
    };

    /// Size of one element in bytes.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// The name, in texts and in the sources of kernels for GPUs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }

    /// Whether it is one of the four floating-point types.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    /// Whether it is an integer type (`bool` is none).
    pub const fn is_integer(self) -> bool {
        matches!(self, DType::U8 | DType::I32 | DType::I64)
    }

    /// The type in which two operands meet.
    ///
    /// Booleans give way to integers, integers to floats, and within a class the wider type wins. An integer never
    /// widens a float (`i64` with `f32` is `f32`, as in PyTorch and JAX; NumPy would say `f64`), and the two
    /// half-precision types meet in `f32`.
    ///
    /// ```
    /// use kiln_tensor::DType::*;
    /// assert_eq!(U8.promote(I32), I32);
    /// assert_eq!(I64.promote(F16), F16);
    /// assert_eq!(F16.promote(BF16), F32);
    /// ```
    #[must_use]
    pub const fn promote(self, other: DType) -> DType {
        match (self, other) {
            (DType::F16, DType::BF16) | (DType::BF16, DType::F16) => DType::F32,
            _ if self as u8 >= other as u8 => self,
            _ => other,
        }
    }

    /// Itself when floating point, else `f32`: the result of `exp` and division on integers.
    #[must_use]
    pub const fn to_float(self) -> DType {
        if self.is_float() { self } else { DType::F32 }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that can be an element. Conversions are numeric casts: floats truncate toward zero and saturate into
/// integers, integers wrap into narrower ones, and any non-zero value is `true`.
pub trait Element: Copy + Send + Sync + PartialEq + fmt::Debug + Default + sealed::Sealed + 'static {
    /// The tag of this type.
    const DTYPE: DType;
    /// From double precision.
    fn from_f64(x: f64) -> Self;
    /// From a 64-bit integer.
    fn from_i64(x: i64) -> Self;
    /// From single precision.
    fn from_f32(x: f32) -> Self {
        Self::from_f64(f64::from(x))
    }
    /// To double precision.
    fn to_f64(self) -> f64;
    /// To single precision.
    fn to_f32(self) -> f32;
    /// To a 64-bit integer.
    fn to_i64(self) -> i64;
    /// From bits as they lie in memory, of which the low ones count. Unlike a conversion it keeps every NaN.
    fn from_raw_bits(bits: u64) -> Self;
    /// The bits as they lie in memory, the low ones of the result: a NaN equals itself, and the two zeros differ.
    fn to_raw_bits(self) -> u64;
}

macro_rules! element {
    ($($t:ty, $tag:ident, |$f:ident| $from_f64:expr, |$i:ident| $from_i64:expr, |$g:ident| $from_f32:expr,
       |$x:ident| $to_f64:expr, $to_f32:expr, $to_i64:expr, $to_bits:expr, |$b:ident| $from_bits:expr;)*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$tag;
            #[inline(always)]
            fn from_f64($f: f64) -> Self { $from_f64 }
            #[inline(always)]
            fn from_i64($i: i64) -> Self { $from_i64 }
            #[inline(always)]
            fn from_f32($g: f32) -> Self { $from_f32 }
            #[inline(always)]
            fn to_f64(self) -> f64 { let $x = self; $to_f64 }
            #[inline(always)]
            fn to_f32(self) -> f32 { let $x = self; $to_f32 }
            #[inline(always)]
            fn to_i64(self) -> i64 { let $x = self; $to_i64 }
            #[inline(always)]
            fn from_raw_bits($b: u64) -> Self { $from_bits }
            #[inline(always)]
            fn to_raw_bits(self) -> u64 { let $x = self; $to_bits }
        }
    )*};
}

element! {
    bool, Bool, |f| f != 0.0, |i| i != 0, |g| g != 0.0, |x| f64::from(u8::from(x)), f32::from(u8::from(x)), i64::from(x),
        u64::from(x), |b| b != 0;
    u8, U8, |f| f as u8, |i| i as u8, |g| g as u8, |x| f64::from(x), f32::from(x), i64::from(x),
        u64::from(x), |b| b as u8;
    i32, I32, |f| f as i32, |i| i as i32, |g| g as i32, |x| f64::from(x), x as f32, i64::from(x),
        u64::from(x as u32), |b| b as i32;
    i64, I64, |f| f as i64, |i| i, |g| g as i64, |x| x as f64, x as f32, x,
        x as u64, |b| b as i64;
    f16, F16, |f| f16::from_f32(odd(f)), |i| f16::from_f32(i as f32), |g| f16::from_f32(g), |x| x.to_f64(), x.to_f32(), x.to_f64() as i64,
        u64::from(x.to_bits()), |b| f16::from_bits(b as u16);
    bf16, BF16, |f| bf16::from_f32(odd(f)), |i| bf16::from_f32(odd_integer(i)), |g| bf16::from_f32(g), |x| x.to_f64(), x.to_f32(), x.to_f64() as i64,
        u64::from(x.to_bits()), |b| bf16::from_bits(b as u16);
    f32, F32, |f| f as f32, |i| i as f32, |g| g, |x| f64::from(x), x, x as i64,
        u64::from(x.to_bits()), |b| f32::from_bits(b as u32);
    f64, F64, |f| f, |i| i as f64, |g| f64::from(g), |x| x, x as f32, x as i64,
        x.to_bits(), |b| f64::from_bits(b);
}

/// To single precision, rounded to the neighbour with the odd last bit where it is not exact. What is then rounded to half
/// precision comes out as if it had been rounded once, to the nearest (Boldo and Melquiond 2008).
#[inline(always)]
fn odd(x: f64) -> f32 {
    let near = x as f32;
    let back = f64::from(near);
    let beyond = u32::from(back.abs() > x.abs());
    f32::from_bits((near.to_bits() - beyond) | u32::from(back != x))
}

/// [`odd`] for an integer.
#[inline(always)]
fn odd_integer(i: i64) -> f32 {
    if i.unsigned_abs() >> 53 == 0 {
        return odd(i as f64);
    }
    // Of the ten lowest bits only counts whether one is set; what is left is a double.
    let low = (1 << 10) - 1;
    odd(((i & !low) | i64::from(i & low != 0) << 10) as f64)
}

/// Runs a block with `$T` bound to the Rust type of a [`DType`]: how a kernel is compiled for each type.
///
/// ```
/// use kiln_tensor::{DType, Element, with_element};
/// fn largest<T: Element>() -> f64 { T::from_i64(i64::MAX).to_f64() }
/// assert_eq!(with_element!(DType::F16, T => largest::<T>()), f64::INFINITY);
/// ```
#[macro_export]
macro_rules! with_element {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Bool => {
                type $T = bool;
                $body
            }
            $crate::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::DType::F16 => {
                type $T = $crate::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $T = $crate::bf16;
                $body
            }
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_is_a_join() {
        for a in DType::ALL {
            assert_eq!(a.promote(a), a);
            for b in DType::ALL {
                assert_eq!(a.promote(b), b.promote(a), "{a} {b}");
            }
        }
    }

    #[test]
    fn half_precision_is_rounded_once() {
        fn check<T: Element>(infinity: u64) {
            for bits in 0..infinity {
                let [a, b] = [bits, bits + 1].map(|bits| T::from_raw_bits(bits).to_f64());
                // What lies beyond the largest number is rounded as if its exponent had no end.
                let b = if b.is_finite() { b } else { a + (a - T::from_raw_bits(bits - 1).to_f64()) };
                let tie = (a + b) / 2.0;
                let even = bits + (bits & 1);
                for (x, nearest) in [(a, bits), (tie.next_down(), bits), (tie, even), (tie.next_up(), bits + 1)] {
                    assert_eq!(T::from_f64(x).to_raw_bits(), nearest, "{x:e} of {}", T::DTYPE);
                    assert_eq!(T::from_f64(-x).to_f64(), -T::from_raw_bits(nearest).to_f64(), "{:e}", -x);
                }
                // Where integers lie between the two numbers and their middle.
                if b - a >= 4.0 && b < 2f64.powi(63) {
                    for (x, nearest) in [(-1, bits), (0, even), (1, bits + 1)].map(|(d, n)| (tie as i64 + d, n)) {
                        assert_eq!(T::from_i64(x).to_raw_bits(), nearest, "{x} of {}", T::DTYPE);
                        assert_eq!(T::from_i64(-x).to_f64(), -T::from_raw_bits(nearest).to_f64(), "{}", -x);
                    }
                }
            }
            assert!(T::from_f64(f64::NAN).to_f64().is_nan() && T::from_f64(1e300).to_f64() == f64::INFINITY);
        }
        check::<f16>(0x7c00);
        check::<bf16>(0x7f80);
    }

    #[test]
    fn casts_saturate_and_truncate() {
        assert_eq!(u8::from_f64(-3.7), 0);
        assert_eq!(u8::from_f64(300.0), 255);
        assert_eq!(i32::from_f64(-3.7), -3);
        assert!(bool::from_f64(-0.5));
    }
}
