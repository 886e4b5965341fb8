//! Special functions, functions put together from others, and the bits of integers.

use super::compiled_here;
use crate::ops::{
    ArithmeticOps, BoundOps, CastOps, ComparisonOps, Function, Kind, MathOps, Operand, SelectOps, StatisticsOps, Value,
    ViewOps,
};
use crate::{DType, Dual, Error, Mask, Result, Scalar, Tensor};
use std::f64::consts::PI;
use std::panic::Location;

/// `sin(πx)`, exact in its zeros however large they are.
#[inline(always)]
fn sin_pi<S: Scalar>(x: S) -> S {
    // What is left of an even number of half turns lies between -1 and 1.
    let rest = x.clone() - (x * S::lit(0.5)).round() * S::lit(2.0);
    // Beyond a quarter on either side, the angle on the other side of it, which is 0 where the sine is.
    let mirrored = rest.clone().sign() - rest.clone();
    let rest = S::select(S::lit(0.5).lt(rest.clone().abs()), mirrored, rest);
    (rest * S::lit(PI)).sin()
}

/// How far the argument is moved up before Stirling's series is summed.
const SHIFTS: u32 = 10;

/// `ln |Γ(x)|`: Stirling's series after ten steps of the recurrence; below ½ by reflection.
#[inline(always)]
fn ln_gamma<S: Scalar>(x: S) -> S {
    let lit = S::lit;
    let low = x.clone().lt(lit(0.5));
    let up = S::select(low.clone(), lit(1.0) - x.clone(), x.clone());
    // Γ(x + n) = x (x + 1) … (x + n - 1) Γ(x), of which two products of five stay in range. A large number takes no step.
    let near = up.clone().lt(lit(1e3));
    let step = |i: u32| S::select(near.clone(), up.clone() + lit(f64::from(i)), lit(1.0));
    let product = |from: u32| (from + 1..from + SHIFTS / 2).fold(step(from), |product, i| product * step(i));
    let steps = product(0).ln() + product(SHIFTS / 2).ln();
    let z = S::select(near.clone(), up.clone() + lit(f64::from(SHIFTS)), up.clone());
    let inverse = lit(1.0) / z.clone();
    let square = inverse.clone() * inverse.clone();
    // B_2k / (2k (2k - 1)), from the last: each has less than a bit at 10.
    let series = [-691.0 / 360_360.0, 1.0 / 1_188.0, -1.0 / 1_680.0, 1.0 / 1_260.0, -1.0 / 360.0, 1.0 / 12.0];
    let series = series.into_iter().fold(lit(1.0 / 156.0), |sum, term| sum * square.clone() + lit(term)) * inverse;
    let stirling = (z.clone() - lit(0.5)) * z.clone().ln() - z + lit(0.5 * (2.0 * PI).ln()) + series - steps;
    let reflected = lit(PI.ln()) - sin_pi(x.clone()).abs().ln() - stirling.clone();
    let y = S::select(low, reflected, stirling);
    // At infinity the difference of two infinities is none.
    S::select(x.clone().abs().equals(lit(f64::INFINITY)), x.abs(), y)
}

/// The modified Bessel function of order 0: its power series, whose terms all have one sign, or from 18 on the asymptotic
/// one (Abramowitz and Stegun 9.6.12 and 9.7.1).
#[inline(always)]
fn bessel_i0<S: Scalar>(x: S) -> S {
    let lit = S::lit;
    let x = x.abs();
    let near = x.clone().lt(lit(18.0));
    let small = S::select(near.clone(), x.clone(), lit(0.0));
    let z = small.clone() * small * lit(0.25);
    let power = (1..=48).rev().fold(lit(1.0), |sum, k| {
        let k = f64::from(k);
        lit(1.0) + z.clone() * lit(1.0 / (k * k)) * sum
    });
    let large = S::select(near.clone(), lit(18.0), x);
    let inverse = lit(0.125) / large.clone();
    let series = (1..=30).rev().fold(lit(1.0), |sum, k| {
        let k = f64::from(k);
        lit(1.0) + inverse.clone() * lit((2.0 * k - 1.0) * (2.0 * k - 1.0) / k) * sum
    });
    // Half of the exponential twice: it overflows before the quotient does.
    let half = (large.clone() * lit(0.5)).exp();
    let far = half.clone() * (series / (large.clone() * lit(2.0 * PI)).sqrt()) * half;
    let far = S::select(large.clone().equals(lit(f64::INFINITY)), large, far);
    S::select(near, power, far)
}

/// `sin(πx) / (πx)`, near 0 by its series.
#[inline(always)]
fn sinc<S: Scalar>(x: S) -> S {
    let lit = S::lit;
    let near = x.clone().abs().lt(lit(0.25));
    let angle = S::select(near.clone(), x.clone(), lit(0.0)) * lit(PI);
    let square = angle.clone() * angle;
    let series = (1..=9).rev().fold(lit(1.0), |sum, k| {
        let k = f64::from(2 * k);
        lit(1.0) - square.clone() * lit(1.0 / (k * (k + 1.0))) * sum
    });
    let far = S::select(near.clone(), lit(1.0), x);
    S::select(near, series, sin_pi(far.clone()) / (far * lit(PI)))
}

macro_rules! functions {
    ($($(#[$doc:meta])* $op:ident $name:literal |$x:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $op;

        impl Function<1> for $op {
            const NAME: &'static str = $name;
            #[inline(always)]
            fn call<S: Scalar>(&self, [$x]: [S; 1]) -> [S; 1] { [$body] }
            compiled_here!(1);
        }
    )*};
}

functions! {
    /// `ln |Γ(x)|`.
    LnGamma "lgamma" |x| ln_gamma(x);
    /// The derivative of [`LnGamma`].
    Digamma "digamma" |x| {
        // At 0 and the negative integers it has no sign, but at 0 itself.
        let pole = x.clone().le(S::lit(0.0)).and(x.clone().floor().equals(x.clone()));
        let zero = x.clone().equals(S::lit(0.0));
        let at_pole = S::select(zero, -(S::lit(1.0) / x.clone()), S::lit(f64::NAN));
        let y = ln_gamma(Dual { value: x.clone(), tangent: S::lit(1.0) }).tangent;
        let infinite = x.clone().equals(S::lit(f64::INFINITY));
        S::select(infinite, x, S::select(pole, at_pole, y))
    };
    /// The modified Bessel function of order 0.
    BesselI0 "i0" |x| bessel_i0(x);
    /// `sin(πx) / (πx)`.
    Sinc "sinc" |x| sinc(x);
}

/// What is done with the bits of two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bitwise {
    /// The bits that both have.
    And,
    /// The bits that one has, or both.
    Or,
    /// The bits that just one has.
    Xor,
    /// The bits moved up.
    Left,
    /// The bits moved down; the sign stays.
    Right,
}

impl Function<2> for Bitwise {
    const NAME: &'static str = "bitwise";
    const KIND: Kind = Kind::Arithmetic;
    #[inline(always)]
    fn call<S: Scalar>(&self, [a, b]: [S; 2]) -> [S; 1] {
        [match self {
            Bitwise::And => a.bit_and(b),
            Bitwise::Or => a.bit_or(b),
            Bitwise::Xor => a.bit_xor(b),
            Bitwise::Left => a.shift_left(b),
            Bitwise::Right => a.shift_right(b),
        }]
    }
    compiled_here!(2);
}

/// The next number of the type on the way to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextAfter;

impl Function<2> for NextAfter {
    const NAME: &'static str = "nextafter";
    #[inline(always)]
    fn call<S: Scalar>(&self, [x, end]: [S; 2]) -> [S; 1] {
        [x.next_after(end)]
    }
    compiled_here!(2);
}

/// Special functions, functions that are put together from others, and the bits of integers.
pub trait SpecialOps: Value + CastOps + ViewOps {
    /// What is left of each element without its integer part, with its sign.
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn frac(&self) -> Result<Self> {
        self.sub(&self.trunc()?)
    }

    /// Degrees as radians.
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn deg2rad(&self) -> Result<Self> {
        self.mul(PI / 180.0)
    }

    /// Radians as degrees.
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn rad2deg(&self) -> Result<Self> {
        self.mul(180.0 / PI)
    }

    /// The logarithm of the odds, [`MathOps::logit`], of elements that are first limited to `eps..=1 - eps`.
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn logit_eps(&self, eps: f64) -> Result<Self> {
        // The lower bound is looked at first, also where it is the higher.
        self.lt(eps)?.select(eps, &self.clamp_max(1.0 - eps)?)?.logit()
    }

    /// `ln |Γ(x)|`, computed in double precision. At 0 and the negative integers it is infinite.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([5.0f32]).lgamma()?;
    /// assert_eq!(y.to_vec::<f32>()?, [24f32.ln()]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn lgamma(&self) -> Result<Self> {
        in_double(self, LnGamma)
    }

    /// The derivative of [`SpecialOps::lgamma`], computed in double precision. At the negative integers it is NaN.
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn digamma(&self) -> Result<Self> {
        in_double(self, Digamma)
    }

    /// The modified Bessel function of the first kind of order 0, computed in double precision.
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn i0(&self) -> Result<Self> {
        in_double(self, BesselI0)
    }

    /// `sin(πx) / (πx)`, and 1 at 0.
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn sinc(&self) -> Result<Self> {
        Self::elementwise(Sinc, [self]).map(|[y]| y)
    }

    /// `self · 2^exponent`.
    ///
    /// # Errors
    /// Shapes that do not broadcast together.
    #[track_caller]
    fn ldexp(&self, exponent: impl Operand<Self>) -> Result<Self> {
        let exponent = exponent.operand();
        // A power that a single factor cannot hold comes in two.
        let half = exponent.clamp(-2000.0, 2000.0)?.mul(0.5)?.trunc()?;
        self.mul(&half.exp2()?)?.mul(&exponent.sub(&half)?.exp2()?)
    }

    /// 0 below 0, 1 above it, and at 0 what `at_zero` has; only this has a gradient. 0 for NaN, as in PyTorch.
    ///
    /// # Errors
    /// Shapes that do not broadcast together.
    #[track_caller]
    fn heaviside(&self, at_zero: impl Operand<Self>) -> Result<Self> {
        let at_zero = at_zero.operand();
        let above = self.detach().gt(0)?.cast(Value::dtype(self))?;
        self.detach().eq(0)?.select(&at_zero, &above)
    }

    /// The next number of the elements' type on the way to `end`; the gradient is that of the element.
    ///
    /// # Errors
    /// Half precision; shapes that do not broadcast together.
    #[track_caller]
    fn nextafter(&self, end: impl Operand<Self>) -> Result<Self> {
        let end = end.operand();
        if matches!(Value::dtype(self), DType::F16 | DType::BF16) {
            let text = format!("steps through f32 and f64, found {}", Value::dtype(self));
            return Err(Error::dtype("nextafter", text).at(Location::caller()));
        }
        Self::elementwise(NextAfter, [self, &end]).map(|[y]| y)
    }

    /// `self + value · a · b`.
    ///
    /// # Errors
    /// Shapes that do not broadcast together.
    #[track_caller]
    fn addcmul(&self, a: &Self, b: &Self, value: f64) -> Result<Self> {
        self.add(&scaled(&a.mul(b)?, value)?)
    }

    /// `self + value · a / b`.
    ///
    /// # Errors
    /// Shapes that do not broadcast together.
    #[track_caller]
    fn addcdiv(&self, a: &Self, b: &Self, value: f64) -> Result<Self> {
        self.add(&scaled(&a.div(b)?, value)?)
    }

    /// Whether all elements are within `atol + rtol · |other|` of the other operand's: reads the answer.
    ///
    /// # Errors
    /// Shapes that do not broadcast together.
    #[track_caller]
    fn allclose(&self, other: &Self, rtol: f64, atol: f64, equal_nan: bool) -> Result<bool> {
        Ok(self.detach().isclose(&other.detach(), rtol, atol, equal_nan)?.all(..)?.tensor().item()? != 0.0)
    }

    /// The bits that both integers have; of booleans, whether both are true. Like all of bits it has no gradient.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// assert_eq!(Tensor::new([12, 10]).bitwise_and(6)?.to_vec::<i32>()?, [4, 2]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Floating-point numbers; shapes that do not broadcast together.
    #[track_caller]
    fn bitwise_and(&self, other: impl Operand<Self>) -> Result<Self> {
        bitwise(self, &other.operand(), "bitwise_and", Bitwise::And)
    }

    /// The bits that one of the integers has, or both; of booleans, whether one is true.
    ///
    /// # Errors
    /// As [`SpecialOps::bitwise_and`].
    #[track_caller]
    fn bitwise_or(&self, other: impl Operand<Self>) -> Result<Self> {
        bitwise(self, &other.operand(), "bitwise_or", Bitwise::Or)
    }

    /// The bits that just one of the integers has; of booleans, whether they differ.
    ///
    /// # Errors
    /// As [`SpecialOps::bitwise_and`].
    #[track_caller]
    fn bitwise_xor(&self, other: impl Operand<Self>) -> Result<Self> {
        bitwise(self, &other.operand(), "bitwise_xor", Bitwise::Xor)
    }

    /// All bits turned; of booleans, the negation.
    ///
    /// # Errors
    /// Floating-point numbers.
    #[track_caller]
    fn bitwise_not(&self) -> Result<Self> {
        match Value::dtype(self) {
            DType::Bool => self.detach().eq(0),
            // As many bits as the type has: those of -1 beyond them are cut off where the result is stored.
            _ => bitwise(self, &Self::constant(Tensor::number(-1i64)), "bitwise_not", Bitwise::Xor),
        }
    }

    /// The bits of integers moved up by so many places; what leaves the type is lost.
    ///
    /// # Errors
    /// As [`SpecialOps::bitwise_and`].
    #[track_caller]
    fn bitwise_left_shift(&self, bits: impl Operand<Self>) -> Result<Self> {
        bitwise(self, &bits.operand(), "bitwise_left_shift", Bitwise::Left)
    }

    /// The bits of integers moved down by so many places; the sign stays.
    ///
    /// # Errors
    /// As [`SpecialOps::bitwise_and`].
    #[track_caller]
    fn bitwise_right_shift(&self, bits: impl Operand<Self>) -> Result<Self> {
        bitwise(self, &bits.operand(), "bitwise_right_shift", Bitwise::Right)
    }
}
impl<V: Value + CastOps + ViewOps> SpecialOps for V {}

/// A function whose series lose too much in single precision.
#[track_caller]
fn in_double<V: SpecialOps, F: Function<1>>(x: &V, f: F) -> Result<V> {
    let dtype = Value::dtype(x).to_float();
    V::elementwise(f, [&x.cast(DType::F64)?]).map(|[y]| y)?.cast(dtype)
}

/// Integers times a whole number are integers.
#[track_caller]
fn scaled<V: Value>(x: &V, value: f64) -> Result<V> {
    match value {
        1.0 => Ok(x.clone()),
        _ if value.fract() == 0.0 && !x.dtype().is_float() => x.mul(value as i64),
        _ => x.mul(value),
    }
}

#[track_caller]
fn bitwise<V: Value>(a: &V, b: &V, name: &str, op: Bitwise) -> Result<V> {
    for x in [a, b] {
        if x.dtype().is_float() {
            let text = format!("needs integers or booleans, found {}", x.dtype());
            return Err(Error::dtype(name, text).at(Location::caller()));
        }
    }
    let (a, b) = (a.detach(), b.detach());
    match (op, a.dtype(), b.dtype()) {
        (Bitwise::And, DType::Bool, DType::Bool) => a.logical_and(&b),
        (Bitwise::Or, DType::Bool, DType::Bool) => a.logical_or(&b),
        (Bitwise::Xor, DType::Bool, DType::Bool) => a.logical_xor(&b),
        _ => V::elementwise(op, [&a, &b]).map(|[y]| y),
    }
}
