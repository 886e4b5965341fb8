//! Comparisons, connectives, and the choice between two values. None of them has a gradient but the last.

use super::arithmetic::choice;
use super::{binary_functions, compiled_here, unary_functions};
use crate::ops::{Apply, Cast, Function, Kind, Operand, Value};
use crate::{DType, Mask, Result, Scalar, Tensor};

#[inline(always)]
fn truth<S: Scalar>(mask: S::Mask) -> S {
    S::select(mask, S::lit(1.0), S::lit(0.0))
}

#[inline(always)]
fn holds<S: Scalar>(x: S) -> S::Mask {
    x.equals(S::lit(0.0)).not()
}

binary_functions! {
    /// Comparisons of two operands: `bool` tensors.
    ComparisonOps;
    /// Whether they are equal.
    eq Eq Comparison |a, b| truth(a.equals(b));
    /// Whether they differ.
    ne Ne Comparison |a, b| truth(a.equals(b).not());
    /// Whether the first is smaller.
    lt Lt Comparison |a, b| truth(a.lt(b));
    /// Whether the first is smaller or equal.
    le Le Comparison |a, b| truth(a.le(b));
    /// Whether the first is larger.
    gt Gt Comparison |a, b| truth(b.lt(a));
    /// Whether the first is larger or equal.
    ge Ge Comparison |a, b| truth(b.le(a));
    /// Whether both are true (not zero).
    logical_and LogicalAnd Comparison |a, b| truth(holds(a).and(holds(b)));
    /// Whether one is true (not zero), or both.
    logical_or LogicalOr Comparison |a, b| truth(holds(a).or(holds(b)));
    /// Whether just one is true (not zero).
    logical_xor LogicalXor Comparison |a, b| {
        let (a, b) = (holds(a), holds(b));
        truth(a.clone().and(b.clone().not()).or(b.and(a.not())))
    };
}

unary_functions! {
    /// The negation.
    NegationOps;
    /// Whether it is false (zero).
    logical_not LogicalNot Comparison |x| truth(x.equals(S::lit(0.0)));
}

/// The second operand where the first holds, else the third.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Where;

impl Function<3> for Where {
    const NAME: &'static str = "where";
    const KIND: Kind = Kind::Select;
    #[inline(always)]
    fn call<S: Scalar>(&self, [mask, a, b]: [S; 3]) -> [S; 1] {
        [S::select(holds(mask), a, b)]
    }
    compiled_here!(3);
}

/// Whether two values are within a tolerance: `|a - b| <= atol + rtol · |b|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IsClose {
    /// Relative to the second operand.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
    /// Whether NaN is close to NaN.
    pub equal_nan: bool,
}

impl Function<2> for IsClose {
    const NAME: &'static str = "isclose";
    const KIND: Kind = Kind::Comparison;
    #[inline(always)]
    fn call<S: Scalar>(&self, [a, b]: [S; 2]) -> [S; 1] {
        let same = a.clone().equals(b.clone());
        let infinite = b.clone().abs().equals(S::lit(f64::INFINITY));
        let margin = S::lit(self.atol) + S::lit(self.rtol) * b.clone().abs();
        let near = (a.clone() - b.clone()).abs().le(margin).and(infinite.not());
        let both_nan = a.is_nan().and(b.is_nan());
        let close = same.or(near);
        [truth(if self.equal_nan { close.or(both_nan) } else { close })]
    }
    compiled_here!(2);
}

/// Choices by a mask.
pub trait SelectOps: Value {
    /// `a` where this mask holds, else `b`: `mask.select(&a, &b)`. Either may be a number.
    ///
    /// # Errors
    /// The mask is no `bool` tensor, or the shapes do not broadcast together.
    #[track_caller]
    fn select(&self, a: impl Operand<Self>, b: impl Operand<Self>) -> Result<Self> {
        let (a, b) = (a.operand(), b.operand());
        choice("select", a.tensor(), b.tensor())?;
        Self::elementwise(Where, [self, &a, &b]).map(|[y]| y)
    }

    /// Whether each element is within `atol + rtol · |other|` of the other operand's. Integers are compared as `f64`.
    ///
    /// # Errors
    /// Shapes that do not broadcast together.
    #[track_caller]
    fn isclose(&self, other: &Self, rtol: f64, atol: f64, equal_nan: bool) -> Result<Self> {
        if !self.dtype().promote(other.dtype()).is_float() {
            let wide = |x: &Self| Tensor::apply_one(Cast { to: DType::F64 }, &[x.tensor()]).map(Self::constant);
            return wide(self)?.isclose(&wide(other)?, rtol, atol, equal_nan);
        }
        Self::elementwise(IsClose { rtol, atol, equal_nan }, [self, other]).map(|[y]| y)
    }
}
impl<V: Value> SelectOps for V {}
