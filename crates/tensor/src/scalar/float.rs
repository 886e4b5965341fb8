//! `f32`, `f64` and `i64` as scalars. The single-precision exponentials, logarithms, hyperbolic tangent and error function
//! are polynomials without branches, so that LLVM vectorizes the loops around them; the rest is the standard library's.

use super::{Real, Scalar};
use crate::Element;

/// n and `e^r - 1` for x = n·ln2 + r with |r| ≤ ln2/2, by a polynomial of degree 6. `x` lies between -104 and 89.
#[inline(always)]
fn reduced_exp(x: f32) -> (i32, f32) {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // At 1.5 · 2^23 the distance between numbers is 1: adding it rounds, and leaves n in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = (-n).mul_add(LN2_HIGH, x);
    let r = (-n).mul_add(LN2_LOW, r);
    let p = 1.987_569_1e-4f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    ((shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32), p.mul_add(r * r, r))
}

/// The nearest number in `low..=high`; NaN stays.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `e^x` to about one unit in the last place.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    // Beyond these bounds the result is 0 or infinite.
    let (n, y) = reduced_exp(clamp(x, -104.0, 89.0));
    // 2^n in two factors, because n reaches from -150 to 128 and one factor only from -126 to 127.
    let half = n >> 1;
    (y + 1.0) * power_of_two(half) * power_of_two(n - half)
}

/// [`exp_f32`] of numbers from -80 to 80, to the same bits: there one factor is enough, and nothing is cut off.
#[inline(always)]
fn near_exp_f32(x: f32) -> f32 {
    let (n, y) = reduced_exp(x);
    (y + 1.0) * power_of_two(n)
}

/// `e^x - 1` to about two units in the last place.
#[inline(always)]
fn exp_m1_f32(x: f32) -> f32 {
    // Beyond these bounds the result is -1 or infinite.
    let (n, y) = reduced_exp(clamp(x, -25.0, 89.0));
    // 2^n · (y + 1) - 1, halved so that 2^n is a number for every n.
    let half = power_of_two(n.wrapping_sub(1));
    let far = 2.0 * half.mul_add(y, half - 0.5);
    let y = if n == 0 { y } else { far };
    // -0 stays what it is.
    if x == 0.0 { x } else { y }
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// `ln x` to about one unit in the last place (after Cephes `logf`): x = 2^e · m with m in [√½, √2).
#[inline(always)]
fn ln_f32(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits() as i32;
    let offset = bits.wrapping_sub(0x3f35_04f3);
    let e = (offset >> 23) as f32 - if subnormal { 23.0 } else { 0.0 };
    let m = f32::from_bits(((offset & 0x007f_ffff) + 0x3f35_04f3) as u32) - 1.0;
    let z = m * m;
    let p = 7.037_683_6e-2f32;
    let p = p.mul_add(m, -1.151_461e-1);
    let p = p.mul_add(m, 1.167_699_9e-1);
    let p = p.mul_add(m, -1.242_014_1e-1);
    let p = p.mul_add(m, 1.424_932_3e-1);
    let p = p.mul_add(m, -1.666_805_8e-1);
    let p = p.mul_add(m, 2.000_071_5e-1);
    let p = p.mul_add(m, -2.499_999_4e-1);
    let p = p.mul_add(m, 3.333_333e-1);
    let y = e.mul_add(-2.121_944_4e-4, m * z * p);
    let y = (-0.5f32).mul_add(z, y);
    let y = e.mul_add(0.693_359_4, m + y);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 || x.is_nan() { f32::NAN } else { y }
}

/// `ln (1 + x)` to about two units in the last place: `ln u` for the rounded u = 1 + x, times x over what was added
/// (W. Kahan).
#[inline(always)]
fn ln_1p_f32(x: f32) -> f32 {
    let u = 1.0 + x;
    let y = ln_f32(u) * (x / (u - 1.0));
    let y = if u == 1.0 { x } else { y };
    if x == f32::INFINITY { x } else { y }
}

/// `tanh x` (after Cephes `tanhf`): an odd polynomial near 0, else from the exponential.
#[inline(always)]
fn tanh_f32(x: f32) -> f32 {
    let z = x * x;
    let p = -5.704_988_7e-3f32;
    let p = p.mul_add(z, 2.063_908_8e-2);
    let p = p.mul_add(z, -5.373_971_5e-2);
    let p = p.mul_add(z, 1.333_144_2e-1);
    let p = p.mul_add(z, -3.333_328e-1);
    let near = (p * z).mul_add(x, x);
    // From 10 on, the result rounds to 1.
    let t = 2.0 * x.abs();
    let t = if t > 20.0 { 20.0 } else { t };
    let far = (1.0 - 2.0 / (near_exp_f32(t) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// The error function to about one unit in the last place: `x + x · p(x²)` up to 1, beyond it one less the exponential of
/// a polynomial. Both are fitted to have the smallest relative error.
#[inline(always)]
fn erf_f32(x: f32) -> f32 {
    let z = x * x;
    let p = 7.853_854e-5f32;
    let p = p.mul_add(z, -8.010_191e-4);
    let p = p.mul_add(z, 5.188_327_3e-3);
    let p = p.mul_add(z, -2.685_381e-2);
    let p = p.mul_add(z, 0.112_835_854);
    let p = p.mul_add(z, -0.376_126_26);
    let p = p.mul_add(z, 0.128_379_17);
    let near = p.mul_add(x, x);
    // From 4 on, the result rounds to 1.
    let t = clamp(x.abs(), 1.0, 4.0);
    let q = 1.863_800_9e-4f32;
    let q = q.mul_add(t, -2.947_666_7e-3);
    let q = q.mul_add(t, 2.183_809_7e-2);
    let q = q.mul_add(t, -0.103_106_81);
    let q = q.mul_add(t, -0.638_144_73);
    let q = q.mul_add(t, -1.127_089_3);
    let q = q.mul_add(t, -3.415_125_8e-4);
    let far = (1.0 - near_exp_f32(q)).copysign(x);
    if x.abs() < 1.0 { near } else { far }
}

/// `√(a² + b²)` by way of double precision, which holds the squares; infinite beside NaN too, as C99 has it.
#[inline(always)]
fn hypot_f32(a: f32, b: f32) -> f32 {
    let (x, y) = (f64::from(a), f64::from(b));
    let y = (x * x + y * y).sqrt() as f32;
    if (a.abs() == f32::INFINITY) | (b.abs() == f32::INFINITY) { f32::INFINITY } else { y }
}

macro_rules! float_scalar {
    ($t:ident, $erf:path, exp: $exp:expr, exp_m1: $exp_m1:expr, ln: $ln:expr, ln_1p: $ln_1p:expr, tanh: $tanh:expr, hypot: $hypot:expr) => {
        impl Scalar for $t {
            type Mask = bool;
            #[inline(always)]
            fn lit(value: f64) -> $t {
                value as $t
            }
            #[inline(always)]
            fn abs(self) -> $t {
                $t::abs(self)
            }
            #[inline(always)]
            fn sign(self) -> $t {
                let one = |holds: bool| if holds { 1.0 } else { 0.0 };
                one(self > 0.0) - one(self < 0.0)
            }
            #[inline(always)]
            fn floor(self) -> $t {
                $t::floor(self)
            }
            #[inline(always)]
            fn ceil(self) -> $t {
                $t::ceil(self)
            }
            #[inline(always)]
            fn round(self) -> $t {
                $t::round_ties_even(self)
            }
            #[inline(always)]
            fn trunc(self) -> $t {
                $t::trunc(self)
            }
            #[inline(always)]
            fn sqrt(self) -> $t {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn exp(self) -> $t {
                $exp(self)
            }
            #[inline(always)]
            fn exp2(self) -> $t {
                $t::exp2(self)
            }
            #[inline(always)]
            fn exp_m1(self) -> $t {
                $exp_m1(self)
            }
            #[inline(always)]
            fn ln(self) -> $t {
                $ln(self)
            }
            #[inline(always)]
            fn log2(self) -> $t {
                $t::log2(self)
            }
            #[inline(always)]
            fn log10(self) -> $t {
                $t::log10(self)
            }
            #[inline(always)]
            fn ln_1p(self) -> $t {
                $ln_1p(self)
            }
            #[inline(always)]
            fn sin(self) -> $t {
                $t::sin(self)
            }
            #[inline(always)]
            fn cos(self) -> $t {
                $t::cos(self)
            }
            #[inline(always)]
            fn tan(self) -> $t {
                $t::tan(self)
            }
            #[inline(always)]
            fn asin(self) -> $t {
                $t::asin(self)
            }
            #[inline(always)]
            fn acos(self) -> $t {
                $t::acos(self)
            }
            #[inline(always)]
            fn atan(self) -> $t {
                $t::atan(self)
            }
            #[inline(always)]
            fn sinh(self) -> $t {
                $t::sinh(self)
            }
            #[inline(always)]
            fn cosh(self) -> $t {
                $t::cosh(self)
            }
            #[inline(always)]
            fn tanh(self) -> $t {
                $tanh(self)
            }
            #[inline(always)]
            fn asinh(self) -> $t {
                $t::asinh(self)
            }
            #[inline(always)]
            fn acosh(self) -> $t {
                $t::acosh(self)
            }
            #[inline(always)]
            fn atanh(self) -> $t {
                $t::atanh(self)
            }
            #[inline(always)]
            fn erf(self) -> $t {
                $erf(self)
            }
            #[inline(always)]
            fn erfc(self) -> $t {
                libm::erfc(f64::from(self)) as $t
            }
            #[inline(always)]
            fn bit_and(self, other: $t) -> $t {
                Integer(self as i64).bit_and(Integer(other as i64)).0 as $t
            }
            #[inline(always)]
            fn bit_or(self, other: $t) -> $t {
                Integer(self as i64).bit_or(Integer(other as i64)).0 as $t
            }
            #[inline(always)]
            fn bit_xor(self, other: $t) -> $t {
                Integer(self as i64).bit_xor(Integer(other as i64)).0 as $t
            }
            #[inline(always)]
            fn shift_left(self, bits: $t) -> $t {
                Integer(self as i64).shift_left(Integer(bits as i64)).0 as $t
            }
            #[inline(always)]
            fn shift_right(self, bits: $t) -> $t {
                Integer(self as i64).shift_right(Integer(bits as i64)).0 as $t
            }
            #[inline(always)]
            fn next_after(self, end: $t) -> $t {
                let next = if (end > self) == (self > 0.0) {
                    self.to_bits().wrapping_add(1)
                } else {
                    self.to_bits().wrapping_sub(1)
                };
                let next = if self == 0.0 { <$t>::from_bits(1).copysign(end) } else { <$t>::from_bits(next) };
                let next = if self == end { end } else { next };
                if self.is_nan() | end.is_nan() { <$t>::NAN } else { next }
            }
            #[inline(always)]
            fn pow(self, exponent: $t) -> $t {
                $t::powf(self, exponent)
            }
            #[inline(always)]
            fn atan2(self, x: $t) -> $t {
                $t::atan2(self, x)
            }
            #[inline(always)]
            fn hypot(self, other: $t) -> $t {
                $hypot(self, other)
            }
            #[inline(always)]
            fn fmod(self, divisor: $t) -> $t {
                self % divisor
            }
            #[inline(always)]
            fn lt(self, other: $t) -> bool {
                self < other
            }
            #[inline(always)]
            fn le(self, other: $t) -> bool {
                self <= other
            }
            #[inline(always)]
            fn equals(self, other: $t) -> bool {
                self == other
            }
            /// Without a branch: one would swallow the work before it, and a loop with branches does not vectorize.
            #[inline(always)]
            fn select(mask: bool, a: $t, b: $t) -> $t {
                std::hint::select_unpredictable(mask, a, b)
            }
        }
    };
}

float_scalar!(f32, erf_f32, exp: exp_f32, exp_m1: exp_m1_f32, ln: ln_f32, ln_1p: ln_1p_f32, tanh: tanh_f32, hypot: hypot_f32);
float_scalar!(f64, libm::erf, exp: f64::exp, exp_m1: f64::exp_m1, ln: f64::ln, ln_1p: f64::ln_1p, tanh: f64::tanh, hypot: f64::hypot);

impl Real for f32 {
    #[inline(always)]
    fn load<T: Element>(x: T) -> f32 {
        x.to_f32()
    }
    #[inline(always)]
    fn store<T: Element>(self) -> T {
        T::from_f32(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn load<T: Element>(x: T) -> f64 {
        x.to_f64()
    }
    #[inline(always)]
    fn store<T: Element>(self) -> T {
        T::from_f64(self)
    }
}

/// An integer as a scalar: what all integer types compute in. Functions that leave the integers go through doubles;
/// the operations built on them have a floating-point result and never get here.
#[derive(Clone, Copy, Default, PartialEq, PartialOrd)]
pub(crate) struct Integer(i64);

macro_rules! integer_operator {
    ($($trait:ident $name:ident $method:ident)*) => {$(
        impl std::ops::$trait for Integer {
            type Output = Integer;
            #[inline(always)]
            fn $name(self, other: Integer) -> Integer { Integer(self.0.$method(other.0)) }
        }
    )*};
}
integer_operator!(Add add wrapping_add Sub sub wrapping_sub Mul mul wrapping_mul);

impl std::ops::Div for Integer {
    type Output = Integer;
    /// Truncating; division by zero gives 0, as no integer stands for infinity.
    #[inline(always)]
    fn div(self, other: Integer) -> Integer {
        Integer(if other.0 == 0 { 0 } else { self.0.wrapping_div(other.0) })
    }
}

impl std::ops::Neg for Integer {
    type Output = Integer;
    #[inline(always)]
    fn neg(self) -> Integer {
        Integer(self.0.wrapping_neg())
    }
}

macro_rules! through_double {
    ($($name:ident)*) => {$(
        fn $name(self) -> Integer { Integer(Scalar::$name(self.0 as f64) as i64) }
    )*};
}

impl Scalar for Integer {
    type Mask = bool;
    #[inline(always)]
    fn lit(value: f64) -> Integer {
        Integer(value as i64)
    }
    #[inline(always)]
    fn abs(self) -> Integer {
        Integer(self.0.wrapping_abs())
    }
    #[inline(always)]
    fn sign(self) -> Integer {
        Integer(self.0.signum())
    }
    #[inline(always)]
    fn floor(self) -> Integer {
        self
    }
    #[inline(always)]
    fn ceil(self) -> Integer {
        self
    }
    #[inline(always)]
    fn round(self) -> Integer {
        self
    }
    #[inline(always)]
    fn trunc(self) -> Integer {
        self
    }
    through_double!(sqrt exp exp2 exp_m1 ln log2 log10 ln_1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc);
    fn pow(self, exponent: Integer) -> Integer {
        if exponent.0 < 0 {
            return Integer((self.0 as f64).powf(exponent.0 as f64) as i64);
        }
        let (mut base, mut rest, mut power) = (self.0, exponent.0, 1i64);
        while rest > 0 {
            if rest & 1 == 1 {
                power = power.wrapping_mul(base);
            }
            base = base.wrapping_mul(base);
            rest >>= 1;
        }
        Integer(power)
    }
    fn hypot(self, other: Integer) -> Integer {
        Integer((self.0 as f64).hypot(other.0 as f64) as i64)
    }
    fn atan2(self, x: Integer) -> Integer {
        Integer((self.0 as f64).atan2(x.0 as f64) as i64)
    }
    #[inline(always)]
    fn bit_and(self, other: Integer) -> Integer {
        Integer(self.0 & other.0)
    }
    #[inline(always)]
    fn bit_or(self, other: Integer) -> Integer {
        Integer(self.0 | other.0)
    }
    #[inline(always)]
    fn bit_xor(self, other: Integer) -> Integer {
        Integer(self.0 ^ other.0)
    }
    #[inline(always)]
    fn shift_left(self, bits: Integer) -> Integer {
        Integer(if (0..64).contains(&bits.0) { self.0 << bits.0 } else { 0 })
    }
    #[inline(always)]
    fn shift_right(self, bits: Integer) -> Integer {
        Integer(self.0 >> if (0..64).contains(&bits.0) { bits.0 } else { 63 })
    }
    #[inline(always)]
    fn next_after(self, end: Integer) -> Integer {
        Integer(self.0 + (end.0 > self.0) as i64 - (end.0 < self.0) as i64)
    }
    #[inline(always)]
    fn fmod(self, divisor: Integer) -> Integer {
        Integer(if divisor.0 == 0 { 0 } else { self.0.wrapping_rem(divisor.0) })
    }
    #[inline(always)]
    fn lt(self, other: Integer) -> bool {
        self.0 < other.0
    }
    #[inline(always)]
    fn le(self, other: Integer) -> bool {
        self.0 <= other.0
    }
    #[inline(always)]
    fn equals(self, other: Integer) -> bool {
        self.0 == other.0
    }
    #[inline(always)]
    fn select(mask: bool, a: Integer, b: Integer) -> Integer {
        if mask { a } else { b }
    }
}

impl Real for Integer {
    #[inline(always)]
    fn load<T: Element>(x: T) -> Integer {
        Integer(x.to_i64())
    }
    #[inline(always)]
    fn store<T: Element>(self) -> T {
        T::from_i64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error over `points`, in units of the last place of the exact result.
    fn worst_ulp(f: fn(f32) -> f32, exact: fn(f64) -> f64, points: impl Iterator<Item = f32>) -> f64 {
        let error = |x: f32| {
            let want = exact(f64::from(x));
            let ulp = f64::from(f32::from_bits((want.abs() as f32).to_bits() + 1)) - f64::from(want.abs() as f32);
            (f64::from(f(x)) - want).abs() / ulp
        };
        points.map(error).fold(0.0, f64::max)
    }

    #[test]
    fn single_precision_functions_are_accurate() {
        let line = |a: f32, b: f32| (0..200_000).map(move |i| a + (b - a) * i as f32 / 200_000.0);
        assert!(worst_ulp(exp_f32, f64::exp, line(-86.0, 88.7)) < 1.5);
        assert!(worst_ulp(tanh_f32, f64::tanh, line(-9.0, 9.0)) < 3.0);
        assert!(worst_ulp(ln_f32, f64::ln, line(1e-6, 4.0)) < 1.5);
        assert!(worst_ulp(erf_f32, libm::erf, line(-5.0, 5.0)) < 1.5);
        let magnitudes = |sign: f32| (0..2000).map(move |i| sign * 10f32.powf(i as f32 / 60.0 - 33.0));
        assert!(worst_ulp(exp_m1_f32, f64::exp_m1, line(-30.0, 88.7)) < 2.5);
        assert!(worst_ulp(exp_m1_f32, f64::exp_m1, magnitudes(1.0).chain(magnitudes(-1.0))) < 2.5);
        assert!(worst_ulp(erf_f32, libm::erf, magnitudes(1.0).chain(magnitudes(-1.0))) < 1.5);
        assert!(worst_ulp(ln_1p_f32, f64::ln_1p, line(-0.99999, 4.0)) < 3.0);
        assert!(worst_ulp(ln_1p_f32, f64::ln_1p, magnitudes(1.0).chain(magnitudes(-0.45))) < 3.0);
        assert!(worst_ulp(ln_f32, f64::ln, (0..2000).map(|i| 10f32.powf(i as f32 / 27.0 - 37.0))) < 1.5);
    }

    #[test]
    fn single_precision_limits() {
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(100.0), f32::INFINITY);
        assert!(exp_f32(-100.0) > 0.0 && exp_f32(-100.0) < 1e-43);
        assert!(exp_f32(f32::NAN).is_nan() && ln_f32(f32::NAN).is_nan() && tanh_f32(f32::NAN).is_nan());
        assert_eq!([exp_m1_f32(f32::NEG_INFINITY), exp_m1_f32(f32::INFINITY)], [-1.0, f32::INFINITY]);
        assert!(exp_m1_f32(f32::NAN).is_nan() && ln_1p_f32(f32::NAN).is_nan() && ln_1p_f32(-1.5).is_nan());
        assert_eq!([ln_1p_f32(-1.0), ln_1p_f32(f32::INFINITY)], [f32::NEG_INFINITY, f32::INFINITY]);
        assert_eq!(exp_m1_f32(-0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(ln_1p_f32(-0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!([erf_f32(f32::NEG_INFINITY), erf_f32(f32::INFINITY), erf_f32(4.0)], [-1.0, 1.0, 1.0]);
        assert!(erf_f32(f32::NAN).is_nan() && erf_f32(-0.0).to_bits() == (-0.0f32).to_bits());
        assert_eq!(ln_f32(0.0), f32::NEG_INFINITY);
        assert_eq!(ln_f32(1.0), 0.0);
        assert!(ln_f32(-1.0).is_nan());
        assert_eq!(ln_f32(f32::INFINITY), f32::INFINITY);
        assert!((ln_f32(1e-44) - 1e-44f64.ln() as f32).abs() < 0.1);
        assert_eq!((tanh_f32(50.0), tanh_f32(-50.0), tanh_f32(0.0)), (1.0, -1.0, 0.0));
    }
}
