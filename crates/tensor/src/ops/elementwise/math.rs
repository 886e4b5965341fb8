//! Functions of one argument: powers, exponentials, angles, rounding.

use super::arithmetic::check_number;
use super::{compiled_here, unary_functions};
use crate::ops::{Function, Kind, Operand, Value};
use crate::{DType, Mask, Result, Scalar, Tensor};

/// The inverse of the error function: Giles' single-precision polynomials, then two steps of Newton's method.
#[inline(always)]
pub(crate) fn erf_inverse<S: Scalar>(x: S) -> S {
    let lit = S::lit;
    let poly = |t: S, c: [f64; 9]| c[1..].iter().fold(lit(c[0]), |p, &c| p * t.clone() + lit(c));
    let w = -((lit(1.0) - x.clone()) * (lit(1.0) + x.clone())).ln();
    let centre = [
        2.810_226_36e-8,
        3.432_739_39e-7,
        -3.523_387_7e-6,
        -4.391_506_54e-6,
        0.000_218_580_87,
        -0.001_253_725_03,
        -0.004_177_681_64,
        0.246_640_727,
        1.501_409_41,
    ];
    let tail = [
        -0.000_200_214_257,
        0.000_100_950_558,
        0.001_349_343_22,
        -0.003_673_428_44,
        0.005_739_507_73,
        -0.007_622_461_3,
        0.009_438_870_47,
        1.001_674_06,
        2.832_976_82,
    ];
    let central = w.clone().lt(lit(5.0));
    let p = S::select(central, poly(w.clone() - lit(2.5), centre), poly(w.sqrt() - lit(3.0), tail));
    let step = |y: S| {
        let slope = lit(std::f64::consts::FRAC_2_SQRT_PI) * (-(y.clone() * y.clone())).exp();
        y.clone() - (y.erf() - x.clone()) / slope
    };
    let y = step(step(p * x.clone()));
    // At ±1 the result is infinite and beyond it undefined; the polynomial knows neither.
    let edge = x.clone().abs().equals(lit(1.0));
    let y = S::select(edge, x.clone() * lit(f64::INFINITY), y);
    S::select(lit(1.0).lt(x.abs()), lit(f64::NAN), y)
}

unary_functions! {
    /// Functions of each element.
    MathOps;
    /// The negative.
    neg Neg Arithmetic |x| -x;
    /// The absolute value; its derivative at 0 is 0.
    abs Abs Arithmetic |x| x.abs();
    /// -1, 0 or 1; 0 for NaN, as in PyTorch.
    sign Sign Arithmetic |x| x.sign();
    /// The largest integer not above.
    floor Floor Arithmetic |x| x.floor();
    /// The smallest integer not below.
    ceil Ceil Arithmetic |x| x.ceil();
    /// The nearest integer, ties to even.
    round Round Arithmetic |x| x.round();
    /// The integer part.
    trunc Trunc Arithmetic |x| x.trunc();
    /// The square.
    square Square Arithmetic |x| x.clone() * x;
    /// The square root.
    sqrt Sqrt Float |x| x.sqrt(), slope |y| S::lit(0.5) / y;
    /// One over the square root.
    rsqrt Rsqrt Float |x| S::lit(1.0) / x.sqrt(), slope |y| S::lit(-0.5) * y.clone() * y.clone() * y;
    /// One over each element.
    reciprocal Reciprocal Float |x| S::lit(1.0) / x, slope |y| -(y.clone() * y);
    /// `e` to the power of each element.
    exp Exp Float |x| x.exp(), slope |y| y;
    /// 2 to the power of each element.
    exp2 Exp2 Float |x| x.exp2(), slope |y| y * S::lit(std::f64::consts::LN_2);
    /// `exp(x) - 1`, exact near 0.
    expm1 Expm1 Float |x| x.exp_m1(), slope |y| y + S::lit(1.0);
    /// The natural logarithm.
    log Log Float |x| x.ln();
    /// The logarithm to base 2.
    log2 Log2 Float |x| x.log2();
    /// The logarithm to base 10.
    log10 Log10 Float |x| x.log10();
    /// `ln(1 + x)`, exact near 0.
    log1p Log1p Float |x| x.ln_1p();
    /// The sine of an angle in radians.
    sin Sin Float |x| x.sin();
    /// The cosine.
    cos Cos Float |x| x.cos();
    /// The tangent.
    tan Tan Float |x| x.tan(), slope |y| S::lit(1.0) + y.clone() * y;
    /// The arc sine.
    asin Asin Float |x| x.asin();
    /// The arc cosine.
    acos Acos Float |x| x.acos();
    /// The arc tangent.
    atan Atan Float |x| x.atan();
    /// The hyperbolic sine.
    sinh Sinh Float |x| x.sinh();
    /// The hyperbolic cosine.
    cosh Cosh Float |x| x.cosh();
    /// The hyperbolic tangent.
    tanh Tanh Float |x| x.tanh(), slope |y| S::lit(1.0) - y.clone() * y;
    /// The inverse hyperbolic sine.
    asinh Asinh Float |x| x.asinh();
    /// The inverse hyperbolic cosine.
    acosh Acosh Float |x| x.acosh();
    /// The inverse hyperbolic tangent.
    atanh Atanh Float |x| x.atanh();
    /// The error function.
    erf Erf Float |x| x.erf();
    /// One less the error function, exact also where the difference would cancel.
    erfc Erfc Float |x| x.erfc();
    /// The inverse of the error function.
    erfinv Erfinv Float |x| erf_inverse(x);
    /// The logarithm of the odds, `ln(x / (1 - x))`.
    logit Logit Float |x| (x.clone() / (S::lit(1.0) - x)).ln();
    /// Whether it is not a number.
    is_nan IsNan Comparison |x| S::select(x.is_nan(), S::lit(1.0), S::lit(0.0));
    /// Whether it is positive or negative infinity.
    is_inf IsInf Comparison |x| S::select(x.abs().equals(S::lit(f64::INFINITY)), S::lit(1.0), S::lit(0.0));
    /// Whether it is neither infinite nor NaN.
    is_finite IsFinite Comparison |x| {
        let odd = x.clone().is_nan().or(x.abs().equals(S::lit(f64::INFINITY)));
        S::select(odd, S::lit(0.0), S::lit(1.0))
    };
}

/// Limits each element to a range. At a bound, as beyond it and at NaN, the derivative is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clamp;

impl Function<3> for Clamp {
    const NAME: &'static str = "clamp";
    const KIND: Kind = Kind::Arithmetic;
    #[inline(always)]
    fn call<S: Scalar>(&self, [x, min, max]: [S; 3]) -> [S; 1] {
        let low = S::select(x.clone().le(min.clone()).or(min.clone().is_nan()), min, x.clone());
        let y = S::select(max.clone().le(low.clone()).or(max.clone().is_nan()), max, low);
        [S::select(x.clone().is_nan(), x.scaled(0.0), y)]
    }
    compiled_here!(3);
}

/// Puts numbers in the place of NaN and the infinities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NanToNum {
    /// For NaN.
    pub nan: f64,
    /// For +∞.
    pub posinf: f64,
    /// For -∞.
    pub neginf: f64,
}

impl Function<1> for NanToNum {
    const NAME: &'static str = "nan_to_num";
    const KIND: Kind = Kind::Arithmetic;
    #[inline(always)]
    fn call<S: Scalar>(&self, [x]: [S; 1]) -> [S; 1] {
        let y = S::select(x.clone().equals(S::lit(f64::INFINITY)), S::lit(self.posinf), x.clone());
        let y = S::select(x.clone().equals(S::lit(f64::NEG_INFINITY)), S::lit(self.neginf), y);
        [S::select(x.is_nan(), S::lit(self.nan), y)]
    }
    compiled_here!(1);
}

/// The way from `a` to `b` in the proportion `w`: `a + w · (b - a)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lerp;

impl Function<3> for Lerp {
    const NAME: &'static str = "lerp";
    #[inline(always)]
    fn call<S: Scalar>(&self, [a, b, w]: [S; 3]) -> [S; 1] {
        // Going from the nearer end is exact at both ends.
        let near = w.clone().lt(S::lit(0.5));
        let difference = b.clone() - a.clone();
        let from_a = a + w.clone() * difference.clone();
        let from_b = b - (S::lit(1.0) - w) * difference;
        [S::select(near, from_a, from_b)]
    }
    compiled_here!(3);
}

/// Functions with parameters.
pub trait BoundOps: Value {
    /// Limits each element to `min..=max`; an infinite bound is none, and the upper one wins where they cross. NaN stays.
    /// Bounds are numbers or values that broadcast; a fraction makes `f32` of integers.
    ///
    /// # Errors
    /// Shapes that do not broadcast together; a whole bound that the integer type of the elements cannot hold.
    #[track_caller]
    fn clamp(&self, min: impl Operand<Self>, max: impl Operand<Self>) -> Result<Self> {
        let (min, max) = (min.operand(), max.operand());
        for bound in [&min, &max] {
            check_number("clamp", bound.tensor(), self.dtype())?;
        }
        Self::elementwise(Clamp, [self, &min, &max]).map(|[y]| y)
    }

    /// No less than `min`, a number or a value that broadcasts: [`BoundOps::clamp`] without an upper bound.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn clamp_min(&self, min: impl Operand<Self>) -> Result<Self> {
        let min = min.operand();
        check_number("clamp_min", min.tensor(), self.dtype())?;
        let none = no_bound([self, &min], f64::INFINITY, i64::MAX);
        Self::elementwise(Clamp, [self, &min, &none]).map(|[y]| y)
    }

    /// No more than `max`: [`BoundOps::clamp`] without a lower bound.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn clamp_max(&self, max: impl Operand<Self>) -> Result<Self> {
        let max = max.operand();
        check_number("clamp_max", max.tensor(), self.dtype())?;
        let none = no_bound([self, &max], f64::NEG_INFINITY, i64::MIN);
        Self::elementwise(Clamp, [self, &none, &max]).map(|[y]| y)
    }

    /// Puts `nan`, `posinf` and `neginf` in the place of NaN, +∞ and -∞; `None` is the largest finite number of the type, or
    /// the smallest. Integers stay.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]).nan_to_num(0.0, None, -1.0)?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, f32::MAX, -1.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn nan_to_num(&self, nan: f64, posinf: impl Into<Option<f64>>, neginf: impl Into<Option<f64>>) -> Result<Self> {
        let largest = match self.dtype() {
            DType::F64 => f64::MAX,
            DType::F16 => crate::f16::MAX.to_f64(),
            DType::BF16 => crate::bf16::MAX.to_f64(),
            DType::F32 => f64::from(f32::MAX),
            _ => return Ok(self.clone()),
        };
        let (posinf, neginf) = (posinf.into().unwrap_or(largest), neginf.into().unwrap_or(-largest));
        Self::elementwise(NanToNum { nan, posinf, neginf }, [self]).map(|[y]| y)
    }

    /// `self + weight · (end - self)`.
    ///
    /// # Errors
    /// Shapes that do not broadcast together.
    #[track_caller]
    fn lerp(&self, end: &Self, weight: impl Operand<Self>) -> Result<Self> {
        Self::elementwise(Lerp, [self, end, &weight.operand()]).map(|[y]| y)
    }
}
impl<V: Value> BoundOps for V {}

/// A bound that bounds nothing, in the type that the others meet in.
fn no_bound<V: Value>(others: [&V; 2], float: f64, whole: i64) -> V {
    let is_float = others.iter().any(|x| x.dtype().is_float());
    V::constant(if is_float { Tensor::number(float) } else { Tensor::number(whole) })
}
