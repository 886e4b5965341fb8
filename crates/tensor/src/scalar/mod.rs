//! One function, three readings: a function written over [`Scalar`] is a SIMD kernel with `f32` or `f64`, its own
//! derivative with [`Dual`], and a formula that can be printed, fused or derived again with [`Expr`].

mod dual;
mod expr;
mod float;
mod program;

pub use dual::Dual;
pub use expr::{Expr, ExprMask};
pub(crate) use float::Integer;
pub(crate) use program::Program;
pub use program::{Argument, Pointwise};

use std::ops::{Add, Div, Mul, Neg, Sub};

/// A truth value of some reading of [`Scalar`].
pub trait Mask: Clone {
    /// Both.
    #[must_use]
    fn and(self, other: Self) -> Self;
    /// Either.
    #[must_use]
    fn or(self, other: Self) -> Self;
    /// The opposite.
    #[must_use]
    fn not(self) -> Self;
}

impl Mask for bool {
    #[inline(always)]
    fn and(self, other: bool) -> bool {
        self & other
    }
    #[inline(always)]
    fn or(self, other: bool) -> bool {
        self | other
    }
    #[inline(always)]
    fn not(self) -> bool {
        !self
    }
}

macro_rules! scalar_trait {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// A number of some reading. Write an elementwise function over it once:
        ///
        /// ```
        /// use kiln_tensor::Scalar;
        /// fn mish<S: Scalar>(x: S) -> S {
        ///     x.clone() * x.softplus().tanh()
        /// }
        /// assert!((mish(1.0f64) - 0.865_098_388).abs() < 1e-8);
        /// ```
        pub trait Scalar:
            Clone + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
        {
            /// The outcome of a comparison.
            type Mask: Mask;

            /// A constant.
            #[must_use]
            fn lit(value: f64) -> Self;
            $($(#[$doc])* #[must_use] fn $name(self) -> Self;)*
            /// `self` to the power `exponent`.
            #[must_use]
            fn pow(self, exponent: Self) -> Self;
            /// The angle of the point (`x`, `self`).
            #[must_use]
            fn atan2(self, x: Self) -> Self;
            /// `√(self² + other²)`, also where the squares are too large or too small for the type.
            #[must_use]
            fn hypot(self, other: Self) -> Self;
            /// The remainder of truncating division: it has the sign of `self`.
            #[must_use]
            fn fmod(self, divisor: Self) -> Self;
            /// The bits that both have, of integers. This and the other functions of bits have no slope.
            #[must_use]
            fn bit_and(self, other: Self) -> Self;
            /// The bits that one has, or both.
            #[must_use]
            fn bit_or(self, other: Self) -> Self;
            /// The bits that just one has.
            #[must_use]
            fn bit_xor(self, other: Self) -> Self;
            /// Times 2 to the power of `bits`; 0 from 64 bits on, or of fewer than none.
            #[must_use]
            fn shift_left(self, bits: Self) -> Self;
            /// Over 2 to the power of `bits`, rounded down; of more than 63 bits, or fewer than none, as of 63.
            #[must_use]
            fn shift_right(self, bits: Self) -> Self;
            /// The next number of the type on the way to `end`, and the number itself at the end. Its slope is 1.
            #[must_use]
            fn next_after(self, end: Self) -> Self;
            /// `self < other`.
            fn lt(self, other: Self) -> Self::Mask;
            /// `self <= other`.
            fn le(self, other: Self) -> Self::Mask;
            /// `self == other`.
            fn equals(self, other: Self) -> Self::Mask;
            /// `a` where the mask holds, else `b`.
            #[must_use]
            fn select(mask: Self::Mask, a: Self, b: Self) -> Self;

            /// Whether it is not a number.
            #[expect(clippy::wrong_self_convention, reason = "a scalar may be a formula, which every method takes by value")]
            #[inline(always)]
            fn is_nan(self) -> Self::Mask {
                self.clone().equals(self).not()
            }
            /// The larger; NaN wins.
            #[must_use]
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                let larger = Self::select(other.clone().lt(self.clone()), self.clone(), other);
                Self::select(self.is_nan(), Self::lit(f64::NAN), larger)
            }
            /// The smaller; NaN wins.
            #[must_use]
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                let smaller = Self::select(self.clone().lt(other.clone()), self.clone(), other);
                Self::select(self.is_nan(), Self::lit(f64::NAN), smaller)
            }
            /// `1 / (1 + exp(-x))`.
            #[must_use]
            #[inline(always)]
            fn sigmoid(self) -> Self {
                Self::lit(1.0) / (Self::lit(1.0) + (-self).exp())
            }
            /// `ln(1 + exp(x))` without overflow.
            #[must_use]
            #[inline(always)]
            fn softplus(self) -> Self {
                let positive = Self::lit(0.0).lt(self.clone());
                let linear = Self::select(positive, self.clone(), Self::lit(0.0));
                linear + (-self.abs()).exp().ln_1p()
            }
            /// `self * tangent`, and 0 where the tangent is 0 even if `self` is infinite or undefined: what does not vary
            /// adds nothing to a derivative.
            #[must_use]
            #[inline(always)]
            fn times_tangent(self, tangent: Self) -> Self {
                let still = tangent.clone().equals(Self::lit(0.0));
                Self::select(still, Self::lit(0.0), self * tangent)
            }
            /// `self * other`, where a factor that does not vary adds nothing to the derivative even if the other is
            /// infinite. The operator `*` leaves this out: the choice would keep long formulas from vectorizing (the
            /// gradient of GELU takes 18 times as long with it).
            #[must_use]
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self * other
            }
            /// `self` times a constant, whose derivative is right also where `self` is infinite.
            #[must_use]
            #[inline(always)]
            fn scaled(self, factor: f64) -> Self {
                self * Self::lit(factor)
            }
            /// `self * a + b`, rounded twice.
            #[must_use]
            #[inline(always)]
            fn times_plus(self, a: Self, b: Self) -> Self {
                self * a + b
            }
        }
    };
}

scalar_trait! {
    /// Absolute value.
    abs
    /// -1, 0 or 1; 0 for NaN.
    sign
    /// Largest integer not above.
    floor
    /// Smallest integer not below.
    ceil
    /// Nearest integer, ties to even.
    round
    /// Integer part.
    trunc
    /// Square root.
    sqrt
    /// `e` to this power.
    exp
    /// 2 to this power.
    exp2
    /// `exp(x) - 1`, exact near 0.
    exp_m1
    /// Natural logarithm.
    ln
    /// Logarithm to base 2.
    log2
    /// Logarithm to base 10.
    log10
    /// `ln(1 + x)`, exact near 0.
    ln_1p
    /// Sine of an angle in radians.
    sin
    /// Cosine.
    cos
    /// Tangent.
    tan
    /// Arc sine.
    asin
    /// Arc cosine.
    acos
    /// Arc tangent.
    atan
    /// Hyperbolic sine.
    sinh
    /// Hyperbolic cosine.
    cosh
    /// Hyperbolic tangent.
    tanh
    /// Inverse hyperbolic sine.
    asinh
    /// Inverse hyperbolic cosine.
    acosh
    /// Inverse hyperbolic tangent.
    atanh
    /// The error function.
    erf
    /// One less the error function, without cancellation.
    erfc
}

/// A reading that computes: the type a kernel calculates in.
pub(crate) trait Real: Scalar<Mask = bool> + Copy + Default + Send + Sync + 'static {
    fn load<T: crate::Element>(x: T) -> Self;
    fn store<T: crate::Element>(self) -> T;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every function of one argument, by name, under a chosen reading.
    fn table<S: Scalar>() -> Vec<(&'static str, fn(S) -> S, f64)> {
        vec![
            ("abs", S::abs, -0.7),
            ("sqrt", S::sqrt, 0.7),
            ("exp", S::exp, 0.7),
            ("exp2", S::exp2, 0.7),
            ("exp_m1", S::exp_m1, 0.7),
            ("ln", S::ln, 0.7),
            ("log2", S::log2, 0.7),
            ("log10", S::log10, 0.7),
            ("ln_1p", S::ln_1p, 0.7),
            ("sin", S::sin, 0.7),
            ("cos", S::cos, 0.7),
            ("tan", S::tan, 0.7),
            ("asin", S::asin, 0.7),
            ("acos", S::acos, 0.7),
            ("atan", S::atan, 0.7),
            ("sinh", S::sinh, 0.7),
            ("cosh", S::cosh, 0.7),
            ("tanh", S::tanh, 0.7),
            ("asinh", S::asinh, 0.7),
            ("acosh", S::acosh, 1.7),
            ("atanh", S::atanh, 0.7),
            ("erf", S::erf, 0.7),
            ("erfc", S::erfc, 0.7),
            ("sigmoid", S::sigmoid, 0.7),
            ("softplus", S::softplus, 0.7),
            ("floor", S::floor, 0.7),
            ("sign", S::sign, 0.7),
        ]
    }

    #[test]
    fn dual_is_the_derivative() {
        for ((name, dual, at), (_, value, _)) in table::<Dual<f64>>().into_iter().zip(table::<f64>()) {
            let h = 1e-6;
            let numeric = (value(at + h) - value(at - h)) / (2.0 * h);
            let exact = dual(Dual { value: at, tangent: 1.0 }).tangent;
            assert!((numeric - exact).abs() < 1e-8, "{name}: {exact} but differences say {numeric}");
        }
    }

    #[test]
    fn second_derivative_by_nesting() {
        let x = Dual { value: Dual { value: 0.7, tangent: 1.0 }, tangent: Dual { value: 1.0, tangent: 0.0 } };
        let second = x.tanh().tangent.tangent;
        let t = 0.7f64.tanh();
        assert!((second - -2.0 * t * (1.0 - t * t)).abs() < 1e-12);
    }

    #[test]
    fn only_derivatives_are_simplified() {
        fn zero_times<S: Scalar>(x: S) -> S {
            S::lit(0.0) * x + S::lit(0.0)
        }
        let written = Program::new(1, &[zero_times(Expr::<false>::input(0))]);
        assert!(written.call(&[f64::INFINITY])[0].is_nan());
        let simplified = Program::new(1, &[zero_times(Expr::<true>::input(0))]);
        assert_eq!(simplified.call(&[f64::INFINITY]), [0.0]);
    }

    #[test]
    fn expr_computes_the_same() {
        for ((name, build, at), (_, value, _)) in table::<Expr<false>>().into_iter().zip(table::<f64>()) {
            let program = Program::new(1, &[build(Expr::input(0))]);
            let got = program.call(&[at])[0];
            assert_eq!(got.to_bits(), value(at).to_bits(), "{name}");
        }
    }
}
