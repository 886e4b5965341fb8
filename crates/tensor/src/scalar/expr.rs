//! A scalar function as a formula: what it makes of [`Expr`]s. [`Program`](super::Program) is the same as a list.

use super::{Mask, Scalar};
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::Arc;

/// A formula. It computes what was written, operation by operation; a `SIMPLIFIED` one, for derivatives, leaves out the
/// zeros and ones that they are full of, as if no number were infinite.
#[derive(Clone, Debug)]
pub struct Expr<const SIMPLIFIED: bool = false>(pub(super) Arc<Node>);

/// A formula whose value is true or false.
#[derive(Clone, Debug)]
pub struct ExprMask(pub(super) Arc<Node>);

#[derive(Debug)]
pub(super) enum Node {
    Input(usize),
    Literal(f64),
    Unary(Unary, Arc<Node>),
    Binary(Binary, Arc<Node>, Arc<Node>),
    Compare(Compare, Arc<Node>, Arc<Node>),
    Logic(Logic, Arc<Node>, Arc<Node>),
    Not(Arc<Node>),
    Select(Arc<Node>, Arc<Node>, Arc<Node>),
}

/// Pairs each variant with the method of [`Scalar`] that it stands for.
macro_rules! unary_functions {
    ($($variant:ident $name:ident)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Unary { Neg, $($variant),* }

        impl Unary {
            pub(super) fn name(self) -> &'static str {
                match self {
                    Unary::Neg => "neg",
                    $(Unary::$variant => stringify!($name)),*
                }
            }

            #[inline(always)]
            pub(super) fn call<S: Scalar>(self, x: S) -> S {
                match self {
                    Unary::Neg => -x,
                    $(Unary::$variant => x.$name()),*
                }
            }
        }

        macro_rules! unary_methods {
            () => {$(
                fn $name(self) -> Self { Self::new(Node::Unary(Unary::$variant, self.0)) }
            )*};
        }
    };
}

unary_functions! {
    Abs abs Sign sign Floor floor Ceil ceil Round round Trunc trunc Sqrt sqrt Exp exp Exp2 exp2 ExpM1 exp_m1 Ln ln
    Log2 log2 Log10 log10 Ln1p ln_1p Sin sin Cos cos Tan tan Asin asin Acos acos Atan atan Sinh sinh Cosh cosh
    Tanh tanh Asinh asinh Acosh acosh Atanh atanh Erf erf Erfc erfc Sigmoid sigmoid Softplus softplus
}

/// The same for two arguments; operators stand for their own methods.
macro_rules! binary_functions {
    ($enum:ident -> $out:ty; $($operator:ident $symbol:ident)*; $($variant:ident $name:ident)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum $enum { $($operator,)* $($variant),* }

        impl $enum {
            pub(super) fn name(self) -> &'static str {
                match self {
                    $($enum::$operator => stringify!($symbol),)*
                    $($enum::$variant => stringify!($name)),*
                }
            }

            #[inline(always)]
            pub(super) fn call<S: Scalar>(self, a: S, b: S) -> $out {
                match self {
                    $($enum::$operator => a.$symbol(b),)*
                    $($enum::$variant => a.$name(b)),*
                }
            }
        }
    };
}

binary_functions! {
    Binary -> S;
    Add add Sub sub Mul mul Div div;
    TimesTangent times_tangent Pow pow Hypot hypot Atan2 atan2 Fmod fmod Max max Min min BitAnd bit_and BitOr bit_or
    BitXor bit_xor ShiftLeft shift_left ShiftRight shift_right NextAfter next_after
}
binary_functions! { Compare -> S::Mask; ; Lt lt Le le Equals equals }

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Logic {
    And,
    Or,
}

impl Logic {
    pub(super) fn name(self) -> &'static str {
        match self {
            Logic::And => "and",
            Logic::Or => "or",
        }
    }

    #[inline(always)]
    pub(super) fn call<M: Mask>(self, a: M, b: M) -> M {
        match self {
            Logic::And => a.and(b),
            Logic::Or => a.or(b),
        }
    }
}

impl<const SIMPLIFIED: bool> Expr<SIMPLIFIED> {
    fn new(node: Node) -> Self {
        Expr(Arc::new(node))
    }

    /// Argument number `i`.
    pub(crate) fn input(i: usize) -> Self {
        Expr::new(Node::Input(i))
    }

    /// The arguments with these numbers.
    pub(crate) fn inputs(numbers: std::ops::Range<usize>) -> Vec<Self> {
        numbers.map(Expr::input).collect()
    }

    fn binary(f: Binary, a: Self, b: Self) -> Self {
        Expr::new(Node::Binary(f, a.0, b.0))
    }

    /// The number that it is, if it may be looked at.
    fn literal(&self) -> Option<f64> {
        match *self.0 {
            Node::Literal(value) if SIMPLIFIED => Some(value),
            _ => None,
        }
    }
}

// Derivatives are full of structural zeros and ones; they vanish here, where they arise.
impl<const SIMPLIFIED: bool> Add for Expr<SIMPLIFIED> {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        match (self.literal(), o.literal()) {
            (Some(0.0), _) => o,
            (_, Some(0.0)) => self,
            _ => Expr::binary(Binary::Add, self, o),
        }
    }
}

impl<const SIMPLIFIED: bool> Sub for Expr<SIMPLIFIED> {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        match (self.literal(), o.literal()) {
            (Some(0.0), _) => -o,
            (_, Some(0.0)) => self,
            _ => Expr::binary(Binary::Sub, self, o),
        }
    }
}

impl<const SIMPLIFIED: bool> Mul for Expr<SIMPLIFIED> {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        match (self.literal(), o.literal()) {
            (Some(0.0), _) | (_, Some(1.0)) => self,
            (_, Some(0.0)) | (Some(1.0), _) => o,
            _ => Expr::binary(Binary::Mul, self, o),
        }
    }
}

impl<const SIMPLIFIED: bool> Div for Expr<SIMPLIFIED> {
    type Output = Self;
    fn div(self, o: Self) -> Self {
        match (self.literal(), o.literal()) {
            (Some(0.0), _) | (_, Some(1.0)) => self,
            _ => Expr::binary(Binary::Div, self, o),
        }
    }
}

impl<const SIMPLIFIED: bool> Neg for Expr<SIMPLIFIED> {
    type Output = Self;
    fn neg(self) -> Self {
        match self.literal() {
            Some(value) => Expr::lit(if value == 0.0 { 0.0 } else { -value }),
            None => Expr::new(Node::Unary(Unary::Neg, self.0)),
        }
    }
}

impl Mask for ExprMask {
    fn and(self, other: ExprMask) -> ExprMask {
        ExprMask(Arc::new(Node::Logic(Logic::And, self.0, other.0)))
    }
    fn or(self, other: ExprMask) -> ExprMask {
        ExprMask(Arc::new(Node::Logic(Logic::Or, self.0, other.0)))
    }
    fn not(self) -> ExprMask {
        ExprMask(Arc::new(Node::Not(self.0)))
    }
}

macro_rules! binary_methods {
    ($($variant:ident $name:ident)*) => {$(
        fn $name(self, other: Self) -> Self { Expr::binary(Binary::$variant, self, other) }
    )*};
}

macro_rules! comparisons {
    ($($variant:ident $name:ident)*) => {$(
        fn $name(self, other: Self) -> ExprMask {
            ExprMask(Arc::new(Node::Compare(Compare::$variant, self.0, other.0)))
        }
    )*};
}

impl<const SIMPLIFIED: bool> Scalar for Expr<SIMPLIFIED> {
    type Mask = ExprMask;
    fn lit(value: f64) -> Self {
        Expr::new(Node::Literal(value))
    }
    unary_methods!();
    binary_methods!(
        Hypot hypot Pow pow Atan2 atan2 Fmod fmod Max max Min min BitAnd bit_and BitOr bit_or BitXor bit_xor
        ShiftLeft shift_left ShiftRight shift_right NextAfter next_after
    );
    comparisons!(Lt lt Le le Equals equals);
    fn times_tangent(self, tangent: Self) -> Self {
        match (self.literal(), tangent.literal()) {
            (Some(_), _) | (_, Some(0.0 | 1.0)) => self * tangent,
            _ => Expr::binary(Binary::TimesTangent, self, tangent),
        }
    }
    fn select(mask: ExprMask, a: Self, b: Self) -> Self {
        match (a.literal(), b.literal()) {
            (Some(x), Some(y)) if x.to_bits() == y.to_bits() => a,
            _ => Expr::new(Node::Select(mask.0, a.0, b.0)),
        }
    }
}
