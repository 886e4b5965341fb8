//! A value with its derivative (forward-mode differentiation of one scalar function).

use super::{Mask, Scalar};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// `value + tangent · ε` with ε² = 0: evaluating a function on it gives the function and its derivative along
/// `tangent`. Nesting gives higher derivatives.
#[derive(Clone, Copy, Debug)]
pub struct Dual<S> {
    /// The number.
    pub value: S,
    /// Its derivative.
    pub tangent: S,
}

impl<S: Scalar> Dual<S> {
    /// A number that does not vary.
    #[inline(always)]
    pub fn constant(value: S) -> Dual<S> {
        Dual { value, tangent: S::lit(0.0) }
    }

    /// Applies the chain rule: `value` with slope `slope` at this point.
    #[inline(always)]
    fn chain(self, value: S, slope: S) -> Dual<S> {
        Dual { value, tangent: slope * self.tangent }
    }
}

impl<S: Scalar> Add for Dual<S> {
    type Output = Self;
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Dual { value: self.value + o.value, tangent: self.tangent + o.tangent }
    }
}

impl<S: Scalar> Sub for Dual<S> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Dual { value: self.value - o.value, tangent: self.tangent - o.tangent }
    }
}

impl<S: Scalar> Mul for Dual<S> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        let tangent = self.tangent * o.value.clone() + self.value.clone() * o.tangent;
        Dual { value: self.value * o.value, tangent }
    }
}

impl<S: Scalar> Div for Dual<S> {
    type Output = Self;
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        let value = self.value / o.value.clone();
        Dual { value: value.clone(), tangent: (self.tangent - value.times_tangent(o.tangent)) / o.value }
    }
}

impl<S: Scalar> Neg for Dual<S> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Dual { value: -self.value, tangent: -self.tangent }
    }
}

/// Each function with its slope, as a formula of the argument `x` and the result `y`.
macro_rules! slopes {
    ($($name:ident: |$x:ident, $y:ident| $slope:expr;)*) => {$(
        #[inline(always)]
        fn $name(self) -> Self {
            let $x = self.value.clone();
            let $y = $x.clone().$name();
            let slope = { let $y = $y.clone(); let _ = (&$x, &$y); $slope };
            self.chain($y, slope)
        }
    )*};
}

#[inline(always)]
fn one<S: Scalar>() -> S {
    S::lit(1.0)
}

impl<S: Scalar> Scalar for Dual<S> {
    type Mask = S::Mask;

    #[inline(always)]
    fn lit(value: f64) -> Self {
        Dual::constant(S::lit(value))
    }

    slopes! {
        abs: |x, y| x.sign();
        sqrt: |x, y| S::lit(0.5) / y;
        exp: |x, y| y;
        exp2: |x, y| y * S::lit(std::f64::consts::LN_2);
        exp_m1: |x, y| y + one();
        ln: |x, y| one::<S>() / x;
        log2: |x, y| one::<S>() / (x * S::lit(std::f64::consts::LN_2));
        log10: |x, y| one::<S>() / (x * S::lit(std::f64::consts::LN_10));
        ln_1p: |x, y| one::<S>() / (one::<S>() + x);
        sin: |x, y| x.cos();
        cos: |x, y| -x.sin();
        tan: |x, y| one::<S>() + y.clone() * y;
        asin: |x, y| one::<S>() / (one::<S>() - x.clone() * x).sqrt();
        acos: |x, y| -(one::<S>() / (one::<S>() - x.clone() * x).sqrt());
        atan: |x, y| one::<S>() / (one::<S>() + x.clone() * x);
        sinh: |x, y| x.cosh();
        cosh: |x, y| x.sinh();
        tanh: |x, y| one::<S>() - y.clone() * y;
        asinh: |x, y| one::<S>() / (one::<S>() + x.clone() * x).sqrt();
        acosh: |x, y| one::<S>() / (x.clone() * x - one()).sqrt();
        atanh: |x, y| one::<S>() / (one::<S>() - x.clone() * x);
        erf: |x, y| S::lit(std::f64::consts::FRAC_2_SQRT_PI) * (-(x.clone() * x)).exp();
        erfc: |x, y| S::lit(-std::f64::consts::FRAC_2_SQRT_PI) * (-(x.clone() * x)).exp();
        sigmoid: |x, y| y.clone() * (one::<S>() - y);
        softplus: |x, y| x.sigmoid();
    }

    #[inline(always)]
    fn times(self, o: Self) -> Self {
        let tangent = o.value.clone().times_tangent(self.tangent) + self.value.clone().times_tangent(o.tangent);
        Dual { value: self.value * o.value, tangent }
    }

    #[inline(always)]
    fn scaled(self, factor: f64) -> Self {
        Dual { value: self.value.scaled(factor), tangent: self.tangent.scaled(factor) }
    }

    /// A tangent that is 0 here may still vary.
    #[inline(always)]
    fn times_tangent(self, tangent: Self) -> Self {
        let varying = self.value.clone().times_tangent(tangent.tangent);
        Dual {
            tangent: self.tangent.times_tangent(tangent.value.clone()) + varying,
            value: self.value.times_tangent(tangent.value),
        }
    }

    #[inline(always)]
    fn hypot(self, o: Self) -> Self {
        let value = self.value.clone().hypot(o.value.clone());
        let along = (self.value / value.clone()).times_tangent(self.tangent);
        Dual { tangent: along + (o.value / value.clone()).times_tangent(o.tangent), value }
    }

    // Steps: flat wherever they have a derivative.
    #[inline(always)]
    fn sign(self) -> Self {
        Dual::constant(self.value.sign())
    }
    #[inline(always)]
    fn floor(self) -> Self {
        Dual::constant(self.value.floor())
    }
    #[inline(always)]
    fn ceil(self) -> Self {
        Dual::constant(self.value.ceil())
    }
    #[inline(always)]
    fn round(self) -> Self {
        Dual::constant(self.value.round())
    }
    #[inline(always)]
    fn trunc(self) -> Self {
        Dual::constant(self.value.trunc())
    }

    /// At base 0 the slope towards the exponent is taken as 0 for exponents from 0 up (the limit), and the slope
    /// towards the base is 0 when the exponent is 0.
    #[inline(always)]
    fn pow(self, e: Self) -> Self {
        let y = self.value.clone().pow(e.value.clone());
        let zero = || S::lit(0.0);
        let flat = e.value.clone().equals(zero());
        let lower = e.value.clone() * self.value.clone().pow(e.value.clone() - one());
        let by_base = S::select(flat, zero(), lower);
        let at_zero = self.value.clone().equals(zero()).and(zero().le(e.value));
        let by_exponent = S::select(at_zero, zero(), y.clone() * self.value.ln());
        Dual { value: y, tangent: by_base.times_tangent(self.tangent) + by_exponent.times_tangent(e.tangent) }
    }

    #[inline(always)]
    fn atan2(self, x: Self) -> Self {
        let y = self;
        let value = y.value.clone().atan2(x.value.clone());
        let square = x.value.clone() * x.value.clone() + y.value.clone() * y.value.clone();
        Dual { value, tangent: (x.value * y.tangent - y.value * x.tangent) / square }
    }

    #[inline(always)]
    fn fmod(self, d: Self) -> Self {
        let quotient = (self.value.clone() / d.value.clone()).trunc();
        Dual { value: self.value.fmod(d.value), tangent: self.tangent - quotient.times_tangent(d.tangent) }
    }

    #[inline(always)]
    fn bit_and(self, o: Self) -> Self {
        Dual::constant(self.value.bit_and(o.value))
    }
    #[inline(always)]
    fn bit_or(self, o: Self) -> Self {
        Dual::constant(self.value.bit_or(o.value))
    }
    #[inline(always)]
    fn bit_xor(self, o: Self) -> Self {
        Dual::constant(self.value.bit_xor(o.value))
    }
    #[inline(always)]
    fn shift_left(self, o: Self) -> Self {
        Dual::constant(self.value.shift_left(o.value))
    }
    #[inline(always)]
    fn shift_right(self, o: Self) -> Self {
        Dual::constant(self.value.shift_right(o.value))
    }
    #[inline(always)]
    fn next_after(self, o: Self) -> Self {
        Dual { value: self.value.next_after(o.value), tangent: self.tangent }
    }

    #[inline(always)]
    fn lt(self, other: Self) -> S::Mask {
        self.value.lt(other.value)
    }
    #[inline(always)]
    fn le(self, other: Self) -> S::Mask {
        self.value.le(other.value)
    }
    #[inline(always)]
    fn equals(self, other: Self) -> S::Mask {
        self.value.equals(other.value)
    }
    #[inline(always)]
    fn select(mask: S::Mask, a: Self, b: Self) -> Self {
        Dual { value: S::select(mask.clone(), a.value, b.value), tangent: S::select(mask, a.tangent, b.tangent) }
    }

    /// Where the two are equal, each has half the slope.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        let tie = self.value.clone().equals(other.value.clone());
        let mine = other.value.clone().lt(self.value.clone()).or(self.value.clone().is_nan());
        Self::with_tie(tie, mine, self, other)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        let tie = self.value.clone().equals(other.value.clone());
        let mine = self.value.clone().lt(other.value.clone()).or(self.value.clone().is_nan());
        Self::with_tie(tie, mine, self, other)
    }
}

impl<S: Scalar> Dual<S> {
    #[inline(always)]
    fn with_tie(tie: S::Mask, mine: S::Mask, a: Self, b: Self) -> Self {
        let half = S::lit(0.5) * (a.tangent.clone() + b.tangent.clone());
        let chosen = Self::select(mine, a, b);
        Dual { value: chosen.value, tangent: S::select(tie, half, chosen.tangent) }
    }
}
