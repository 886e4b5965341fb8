//! Sums, products, quotients, remainders, extremes.

use super::binary_functions;
use crate::{Mask, Scalar};

/// `a` divided by `b`, rounded down, exact for integers.
#[inline(always)]
fn floor_quotient<S: Scalar>(a: S, b: S) -> S {
    // For integers `a / b` truncates; it is one too high when there is a remainder and the signs differ.
    let q = (a.clone() / b.clone()).floor();
    let remainder = a - q.clone() * b.clone();
    let zero = || S::lit(0.0);
    let wrong = remainder.clone().lt(zero()).and(zero().lt(b.clone())).or(zero().lt(remainder).and(b.lt(zero())));
    S::select(wrong, q.clone() - S::lit(1.0), q)
}

binary_functions! {
    /// Arithmetic on two operands, with broadcasting and type promotion.
    ArithmeticOps;
    /// The sum.
    add Add Arithmetic |a, b| a + b, partials [1.0, 1.0];
    /// The difference.
    sub Sub Arithmetic |a, b| a - b, partials [1.0, -1.0];
    /// The product.
    mul Mul Arithmetic |a, b| a.times(b);
    /// The quotient; integers are divided as `f32`.
    div Div Float |a, b| a / b;
    /// The quotient rounded down.
    floor_divide FloorDivide Arithmetic |a, b| floor_quotient(a, b);
    /// The quotient rounded toward zero.
    trunc_divide TruncDivide Arithmetic |a, b| (a / b).trunc();
    /// The remainder of [`ArithmeticOps::floor_divide`]: it has the sign of the divisor.
    remainder Remainder Arithmetic |a, b| {
        let r = a.fmod(b.clone());
        let zero = || S::lit(0.0);
        let wrong = r.clone().lt(zero()).and(zero().lt(b.clone())).or(zero().lt(r.clone()).and(b.clone().lt(zero())));
        S::select(wrong, r.clone() + b, r)
    };
    /// The remainder of [`ArithmeticOps::trunc_divide`]: it has the sign of the dividend.
    fmod Fmod Arithmetic |a, b| a.fmod(b);
    /// The larger; NaN wins. Equal operands share the gradient.
    maximum Maximum Arithmetic |a, b| a.max(b);
    /// The smaller; NaN wins. Equal operands share the gradient.
    minimum Minimum Arithmetic |a, b| a.min(b);
    /// The larger; a number wins over NaN.
    fmax Fmax Arithmetic |a, b| S::select(b.clone().le(a.clone()).or(b.clone().is_nan()), a, b);
    /// The smaller; a number wins over NaN.
    fmin Fmin Arithmetic |a, b| S::select(a.clone().le(b.clone()).or(b.clone().is_nan()), a, b);
    /// The first operand to the power of the second.
    pow Pow Arithmetic |a, b| a.pow(b);
    /// The angle of the point (second, first) in radians.
    atan2 Atan2 Float |a, b| a.atan2(b);
    /// The length of the hypotenuse, √(a² + b²).
    hypot Hypot Float |a, b| (a.clone() * a + b.clone() * b).sqrt();
    /// `a · ln b`, and 0 where `a` is 0 unless `b` is NaN.
    xlogy Xlogy Float |a, b| {
        let zero = a.clone().equals(S::lit(0.0)).and(b.clone().is_nan().not());
        S::select(zero, S::lit(0.0), a * b.ln())
    };
    /// The magnitude of the first operand with the sign of the second.
    copysign Copysign Float |a, b| {
        // A zero shows its sign only through its reciprocal.
        let negative = b.clone().lt(S::lit(0.0)).or((S::lit(1.0) / b).lt(S::lit(0.0)));
        S::select(negative, -a.clone().abs(), a.abs())
    };
}
