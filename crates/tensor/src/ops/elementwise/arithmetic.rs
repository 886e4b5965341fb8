//! Sums, products, quotients, remainders, extremes.

use super::{binary_functions, compiled_here};
use crate::ops::{Function, Kind, Operand, Value};
use crate::{DType, Element, Error, Mask, Result, Scalar, Tensor, with_element};
use std::panic::Location;

/// The largest whole number not above the quotient of `a` and `b` themselves, as Python has it: the rounded quotient of 1
/// and 0.1 is 10, but 0.1 is a little more than a tenth. Exact for integers.
#[inline(always)]
fn floor_quotient<S: Scalar>(a: S, b: S) -> S {
    let zero = || S::lit(0.0);
    let remainder = a.clone().fmod(b.clone());
    let q = (a.clone() - remainder.clone()) / b.clone();
    let differ = remainder.clone().lt(zero()).and(zero().lt(b.clone()));
    let differ = differ.or(zero().lt(remainder).and(b.clone().lt(zero())));
    let q = S::select(differ, q.clone() - S::lit(1.0), q);
    // What should be whole may be off by a rounding.
    let down = q.clone().floor();
    let q = S::select(S::lit(0.5).lt(q - down.clone()), down.clone() + S::lit(1.0), down);
    S::select(b.clone().equals(zero()), (a / b).floor(), q)
}

/// `ln(exp(unit · a) + exp(unit · b)) / unit`: the larger, and a little that the smaller adds.
#[inline(always)]
fn log_add_exp<S: Scalar>(a: S, b: S, unit: f64) -> S {
    // The distance of equal infinities is no number.
    let together = a.clone().equals(b.clone()).and(a.clone().abs().equals(S::lit(f64::INFINITY)));
    let from = |high: S, low: S| {
        let way = S::select(together.clone(), S::lit(0.0), low - high.clone());
        let added = way.scaled(unit).softplus().scaled(1.0 / unit);
        S::select(together.clone(), high.clone(), high + added)
    };
    S::select(a.clone().lt(b.clone()), from(b.clone(), a.clone()), from(a, b))
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
    maximum Maximum Arithmetic [choice] |a, b| a.max(b);
    /// The smaller; NaN wins. Equal operands share the gradient.
    minimum Minimum Arithmetic [choice] |a, b| a.min(b);
    /// The larger; a number wins over NaN.
    fmax Fmax Arithmetic [choice] |a, b| S::select(b.clone().le(a.clone()).or(b.clone().is_nan()), a, b);
    /// The smaller; a number wins over NaN.
    fmin Fmin Arithmetic [choice] |a, b| S::select(a.clone().le(b.clone()).or(b.clone().is_nan()), a, b);
    /// The angle of the point (second, first) in radians.
    atan2 Atan2 Float |a, b| a.atan2(b);
    /// The length of the hypotenuse, √(a² + b²).
    hypot Hypot Float |a, b| a.hypot(b);
    /// `a · ln b`, and 0 where `a` is 0 unless `b` is NaN.
    xlogy Xlogy Float |a, b| {
        let zero = a.clone().equals(S::lit(0.0)).and(b.clone().is_nan().not());
        S::select(zero, S::lit(0.0), a * b.ln())
    };
    /// `a · ln (1 + b)`, exact for small `b`, and 0 where `a` is 0 unless `b` is NaN.
    xlog1py Xlog1py Float |a, b| {
        let zero = a.clone().equals(S::lit(0.0)).and(b.clone().is_nan().not());
        S::select(zero, S::lit(0.0), a * b.ln_1p())
    };
    /// `ln(exp(a) + exp(b))` without overflow.
    logaddexp LogAddExp Float |a, b| log_add_exp(a, b, 1.0);
    /// `log2(2^a + 2^b)` without overflow.
    logaddexp2 LogAddExp2 Float |a, b| log_add_exp(a, b, std::f64::consts::LN_2);
    /// The magnitude of the first operand with the sign of the second.
    copysign Copysign Float |a, b| {
        // A zero shows its sign only through its reciprocal.
        let negative = b.clone().lt(S::lit(0.0)).or((S::lit(1.0) / b).lt(S::lit(0.0)));
        S::select(negative, -a.clone().abs(), a.abs())
    };
}

/// The first operand to the power of the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pow;

impl Function<2> for Pow {
    const NAME: &'static str = "pow";
    const KIND: Kind = Kind::Arithmetic;
    #[inline(always)]
    fn call<S: Scalar>(&self, [a, b]: [S; 2]) -> [S; 1] {
        [a.pow(b)]
    }
    compiled_here!(2);
}

/// Powers.
pub trait PowOps: Value {
    /// The first operand to the power of the second, with broadcasting. Integers to the power of integers are integers.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// assert_eq!(Tensor::new([2, 3]).pow(3)?.to_vec::<i32>()?, [8, 27]);
    /// assert_eq!(Tensor::new([2, 4]).pow(-1.0)?.to_vec::<f32>()?, [0.5, 0.25]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Shapes that do not broadcast together; a negative power of integers, which no integer is.
    #[track_caller]
    fn pow(&self, exponent: impl Operand<Self>) -> Result<Self> {
        let exponent = exponent.operand();
        if !self.dtype().is_float() && !exponent.dtype().is_float() {
            check_whole(exponent.tensor())?;
        }
        Self::elementwise(Pow, [self, &exponent]).map(|[y]| y)
    }
}
impl<V: Value> PowOps for V {}

#[track_caller]
fn check_whole(exponents: &Tensor) -> Result<()> {
    // Piece by piece: as a whole a view may be larger than memory.
    let negative = with_element!(exponents.dtype(), T => exponents.try_for_each_block(|block: &[T]| {
        match block.iter().map(|x| x.to_i64()).find(|&exponent| exponent < 0) {
            None => Ok(()),
            Some(exponent) => Err(exponent),
        }
    }));
    let at = Location::caller();
    negative.map_err(|exponent| {
        let text = format!("an integer to the power {exponent} is no integer");
        Error::argument("pow", text).help("use floating-point numbers: .pow(-1.0), or cast first").at(at)
    })
}

/// A number that may become an element of integers must be one of them, or it would wrap around.
#[track_caller]
pub(super) fn check_number(op: &str, number: &Tensor, dtype: DType) -> Result<()> {
    if !number.spec().is_number() || number.dtype().is_float() {
        return Ok(());
    }
    let (value, range) = (
        number.to_vec_as::<i64>()[0],
        match dtype {
            DType::U8 => i64::from(u8::MIN)..=i64::from(u8::MAX),
            DType::I32 => i64::from(i32::MIN)..=i64::from(i32::MAX),
            _ => return Ok(()),
        },
    );
    match range.contains(&value) {
        true => Ok(()),
        false => {
            let text = format!("the number {value} is no {dtype}, which holds {} to {}", range.start(), range.end());
            Err(Error::argument(op, text).help("convert the elements to a wider type first").at(Location::caller()))
        }
    }
}

/// Of two operands one is chosen: see [`check_number`].
#[track_caller]
pub(super) fn choice(op: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    check_number(op, a, b.dtype())?;
    check_number(op, b, a.dtype())
}
