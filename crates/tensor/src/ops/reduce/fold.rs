//! What a reduction does with its elements: the trait that a fold implements, and the folds that there are.

use super::{FoldOp, Itself, Reduce, compiled_here};
use crate::{DType, Mask, Scalar};
use std::fmt::Debug;

/// The element type of a fold's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoldKind {
    /// That of the elements; integers and booleans, whose sums leave their own type at once, give `i64`.
    Sum,
    /// That of the elements, of which there must be one.
    Extreme,
    /// That of the elements; integers and booleans give `f32`.
    Float,
    /// `f64`, for results beyond what the elements' type can hold.
    Double,
}

impl FoldKind {
    pub(crate) fn result(self, elements: DType) -> DType {
        match self {
            FoldKind::Sum if !elements.is_float() => DType::I64,
            FoldKind::Sum | FoldKind::Extreme => elements,
            FoldKind::Float => elements.to_float(),
            FoldKind::Double => DType::F64,
        }
    }
}

/// How the gradient of a fold follows from its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoldRule {
    /// [`Fold::partial`] says so.
    Partial,
    /// It goes to the elements that equal the result, in equal parts.
    ShareTies,
    /// Each element's is the product of all others.
    ProductOfOthers,
}

/// A fold of many numbers into one, by way of a state of `STATE` numbers.
///
/// Elements are taken and states are joined in an order of the kernel's choosing, so both must be associative and
/// commutative but for rounding. The functions are generic over [`Scalar`] as a
/// [`Function`](crate::ops::Function)'s are: they are the SIMD kernel, and [`Fold::partial`] gives the gradient of any
/// order.
///
/// ```
/// use kiln_tensor::{Scalar, Tensor, ops::*};
///
/// /// √(Σ x² / n).
/// #[derive(Debug, Clone, PartialEq)]
/// struct RootMeanSquare;
/// impl Fold for RootMeanSquare {
///     const NAME: &'static str = "root_mean_square";
///     fn start<S: Scalar>(&self) -> [S; 1] { [S::lit(0.0)] }
///     fn take<S: Scalar>(&self, [sum]: [S; 1], x: S) -> [S; 1] { [sum + x.clone() * x] }
///     fn join<S: Scalar>(&self, [a]: [S; 1], [b]: [S; 1]) -> [S; 1] { [a + b] }
///     fn finish<S: Scalar>(&self, [sum]: [S; 1], count: f64) -> S { (sum / S::lit(count)).sqrt() }
///     fn partial<S: Scalar>(&self, x: S, y: S, count: f64) -> S { x / (y * S::lit(count)) }
/// }
///
/// let y = Tensor::new([[3.0, 4.0], [6.0, 8.0]]).reduce(RootMeanSquare, 1)?;
/// assert_eq!(y.to_vec::<f64>()?, [12.5f64.sqrt(), 50f64.sqrt()]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub trait Fold<const STATE: usize = 1>: Debug + Clone + PartialEq + Send + Sync + 'static {
    /// The operation's name in errors and listings.
    const NAME: &'static str;
    /// The rule for element types.
    const KIND: FoldKind = FoldKind::Float;
    /// Where the gradient comes from.
    const RULE: FoldRule = FoldRule::Partial;

    /// The state before any element.
    fn start<S: Scalar>(&self) -> [S; STATE];

    /// The state with one more element.
    fn take<S: Scalar>(&self, state: [S; STATE], x: S) -> [S; STATE];

    /// The state of the elements of both.
    fn join<S: Scalar>(&self, a: [S; STATE], b: [S; STATE]) -> [S; STATE];

    /// The result, of `count` elements. It is rounded to the type of the result here and not before.
    fn finish<S: Scalar>(&self, state: [S; STATE], count: f64) -> S;

    /// The derivative of the result `y` with respect to the element `x`.
    fn partial<S: Scalar>(&self, x: S, y: S, count: f64) -> S;

    /// The derivative where it is the same for all elements, which then need not be kept.
    fn constant_partial(&self, _count: f64) -> Option<f64> {
        None
    }

    /// Whether `y` may owe to a state that single precision could not hold. It is then folded once more in double.
    fn is_doubtful<S: Scalar>(&self, y: S) -> S::Mask {
        let _ = y;
        S::lit(1.0).lt(S::lit(0.0))
    }

    /// The operation behind a pointer, which brings its code. Kiln's own folds have it compiled with them; leave it as it
    /// is.
    #[doc(hidden)]
    fn operation(op: &Reduce<Self, Itself, STATE>) -> &dyn FoldOp {
        op
    }
}

pub(super) fn is_infinite_or_nan<S: Scalar>(y: S) -> S::Mask {
    y.abs().lt(S::lit(f64::INFINITY)).not()
}

/// The sum; 0 of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum;

impl Fold for Sum {
    const NAME: &'static str = "sum";
    const KIND: FoldKind = FoldKind::Sum;
    compiled_here!(1);
    #[inline(always)]
    fn start<S: Scalar>(&self) -> [S; 1] {
        [S::lit(0.0)]
    }
    #[inline(always)]
    fn take<S: Scalar>(&self, [sum]: [S; 1], x: S) -> [S; 1] {
        [sum + x]
    }
    #[inline(always)]
    fn join<S: Scalar>(&self, [a]: [S; 1], [b]: [S; 1]) -> [S; 1] {
        [a + b]
    }
    #[inline(always)]
    fn finish<S: Scalar>(&self, [sum]: [S; 1], _count: f64) -> S {
        sum
    }
    fn partial<S: Scalar>(&self, _x: S, _y: S, _count: f64) -> S {
        S::lit(1.0)
    }
    fn constant_partial(&self, _count: f64) -> Option<f64> {
        Some(1.0)
    }
}

/// The sum over how many there are; NaN of nothing. The sum itself may be larger than the elements' type can hold, but for
/// `f64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mean;

impl Fold for Mean {
    const NAME: &'static str = "mean";
    compiled_here!(1);
    #[inline(always)]
    fn start<S: Scalar>(&self) -> [S; 1] {
        Sum.start()
    }
    #[inline(always)]
    fn take<S: Scalar>(&self, sum: [S; 1], x: S) -> [S; 1] {
        Sum.take(sum, x)
    }
    #[inline(always)]
    fn join<S: Scalar>(&self, a: [S; 1], b: [S; 1]) -> [S; 1] {
        Sum.join(a, b)
    }
    #[inline(always)]
    fn finish<S: Scalar>(&self, [sum]: [S; 1], count: f64) -> S {
        sum / S::lit(count)
    }
    fn partial<S: Scalar>(&self, _x: S, _y: S, count: f64) -> S {
        S::lit(1.0 / count)
    }
    fn constant_partial(&self, count: f64) -> Option<f64> {
        Some(1.0 / count)
    }
    #[inline(always)]
    fn is_doubtful<S: Scalar>(&self, y: S) -> S::Mask {
        is_infinite_or_nan(y)
    }
}

/// The product; 1 of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prod;

impl Fold for Prod {
    const NAME: &'static str = "prod";
    const KIND: FoldKind = FoldKind::Sum;
    const RULE: FoldRule = FoldRule::ProductOfOthers;
    compiled_here!(1);
    #[inline(always)]
    fn start<S: Scalar>(&self) -> [S; 1] {
        [S::lit(1.0)]
    }
    #[inline(always)]
    fn take<S: Scalar>(&self, [product]: [S; 1], x: S) -> [S; 1] {
        [product * x]
    }
    #[inline(always)]
    fn join<S: Scalar>(&self, [a]: [S; 1], [b]: [S; 1]) -> [S; 1] {
        [a * b]
    }
    #[inline(always)]
    fn finish<S: Scalar>(&self, [product]: [S; 1], _count: f64) -> S {
        product
    }
    fn partial<S: Scalar>(&self, x: S, y: S, _count: f64) -> S {
        y / x
    }
}

macro_rules! extremes {
    ($($(#[$doc:meta])* $fold:ident $name:literal $pick:ident $start:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $fold;

        impl Fold for $fold {
            const NAME: &'static str = $name;
            const KIND: FoldKind = FoldKind::Extreme;
            const RULE: FoldRule = FoldRule::ShareTies;
            compiled_here!(1);
            #[inline(always)]
            fn start<S: Scalar>(&self) -> [S; 1] { [S::lit($start)] }
            #[inline(always)]
            fn take<S: Scalar>(&self, [best]: [S; 1], x: S) -> [S; 1] { [x.$pick(best)] }
            #[inline(always)]
            fn join<S: Scalar>(&self, [a]: [S; 1], [b]: [S; 1]) -> [S; 1] { [b.$pick(a)] }
            #[inline(always)]
            fn finish<S: Scalar>(&self, [best]: [S; 1], _count: f64) -> S { best }
            fn partial<S: Scalar>(&self, x: S, y: S, _count: f64) -> S {
                S::select(x.equals(y), S::lit(1.0), S::lit(0.0))
            }
        }
    )*};
}
extremes! {
    /// The largest element; NaN wins.
    Max "amax" max f64::NEG_INFINITY;
    /// The smallest element; NaN wins.
    Min "amin" min f64::INFINITY;
}

/// `ln Σ exp(x)` without overflow, in one pass: the state is the largest element so far, and the sum relative to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSumExp;

impl Fold<2> for LogSumExp {
    const NAME: &'static str = "logsumexp";
    compiled_here!(2);
    #[inline(always)]
    fn start<S: Scalar>(&self) -> [S; 2] {
        [S::lit(f64::NEG_INFINITY), S::lit(0.0)]
    }
    #[inline(always)]
    fn take<S: Scalar>(&self, state: [S; 2], x: S) -> [S; 2] {
        self.join(state, [x, S::lit(1.0)])
    }
    #[inline(always)]
    fn join<S: Scalar>(&self, [a, sum_a]: [S; 2], [b, sum_b]: [S; 2]) -> [S; 2] {
        // The difference of equal infinities is no number.
        let same = a.clone().equals(b.clone());
        let distance = S::select(same, S::lit(0.0), b.clone() - a.clone());
        let share = (-distance.clone().abs()).exp();
        let up = S::lit(0.0).lt(distance);
        let far = S::select(up.clone(), sum_a.clone(), sum_b.clone());
        let near = S::select(up, sum_b, sum_a);
        [a.max(b), near + far * share]
    }
    #[inline(always)]
    fn finish<S: Scalar>(&self, [top, sum]: [S; 2], _count: f64) -> S {
        top + sum.ln()
    }
    /// The softmax; of what is -∞ like the result, 0.
    #[inline(always)]
    fn partial<S: Scalar>(&self, x: S, y: S, _count: f64) -> S {
        let nothing = x.clone().equals(S::lit(f64::NEG_INFINITY));
        // Of what is all of the result, the difference of two infinities says nothing.
        let share = S::select(x.clone().equals(y.clone()), S::lit(1.0), (x - y).exp());
        S::select(nothing, S::lit(0.0), share)
    }
}

/// Euclid's norm, `√Σ x²`. Its derivative at 0 is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Norm;

impl Fold for Norm {
    const NAME: &'static str = "norm";
    compiled_here!(1);
    #[inline(always)]
    fn start<S: Scalar>(&self) -> [S; 1] {
        Sum.start()
    }
    #[inline(always)]
    fn take<S: Scalar>(&self, sum: [S; 1], x: S) -> [S; 1] {
        Sum.take(sum, x.clone() * x)
    }
    #[inline(always)]
    fn join<S: Scalar>(&self, a: [S; 1], b: [S; 1]) -> [S; 1] {
        Sum.join(a, b)
    }
    #[inline(always)]
    fn finish<S: Scalar>(&self, [sum]: [S; 1], _count: f64) -> S {
        sum.sqrt()
    }
    #[inline(always)]
    fn partial<S: Scalar>(&self, x: S, y: S, _count: f64) -> S {
        S::select(y.clone().equals(S::lit(0.0)), S::lit(0.0), x / y)
    }
    /// The squares of numbers below 1e-19 vanish in single precision, the others' are then too few to hide it.
    #[inline(always)]
    fn is_doubtful<S: Scalar>(&self, y: S) -> S::Mask {
        y.clone().lt(S::lit(1e-15)).or(is_infinite_or_nan(y))
    }
}
