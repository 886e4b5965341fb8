//! What the operations are methods of: a tensor, or a value that a tape follows. A function written over these traits
//! runs with gradients and without.

use super::{
    ActivationOps, ArgReduceOps, ArithmeticOps, BoundOps, CastOps, ComparisonOps, Concat, ConvOps, CrossEntropyOps,
    Elementwise, Function, GatherOps, MatMulOps, MathOps, NegationOps, ParametricActivationOps, PoolOps, ReduceOps,
    ScanOps, SelectOps, SoftmaxOps, SortOps, StatisticsOps, ViewOps,
};
use crate::{DType, Op, Result, Shape, Tensor};

/// A tensor, or something that stands for one.
pub trait Value: Clone + Sized {
    /// The numbers.
    fn tensor(&self) -> &Tensor;

    /// A value that no gradient flows into.
    fn constant(tensor: Tensor) -> Self;

    /// Applies an elementwise function.
    ///
    /// # Errors
    /// Shapes that do not broadcast together.
    #[track_caller]
    fn elementwise<F: Function<IN, OUT>, const IN: usize, const OUT: usize>(
        f: F,
        x: [&Self; IN],
    ) -> Result<[Self; OUT]>;

    /// The dimensions.
    fn shape(&self) -> &Shape {
        self.tensor().shape()
    }

    /// The element type.
    fn dtype(&self) -> DType {
        self.tensor().dtype()
    }

    /// The same numbers, cut off from any gradient.
    #[must_use]
    fn detach(&self) -> Self {
        Self::constant(self.tensor().clone())
    }
}

/// Values that accept the operation `O`. Tensors accept every one; a tape those that have a derivative rule.
pub trait Apply<O: Op>: Value {
    /// Applies the operation.
    ///
    /// # Errors
    /// What the operation finds wrong with its inputs.
    #[track_caller]
    fn apply_op(op: O, x: &[&Self]) -> Result<Vec<Self>>;

    /// Applies an operation of one result.
    ///
    /// # Errors
    /// As [`Apply::apply_op`].
    #[track_caller]
    fn apply_one(op: O, x: &[&Self]) -> Result<Self> {
        Self::apply_op(op, x).map(|mut y| y.swap_remove(0))
    }
}

impl Value for Tensor {
    fn tensor(&self) -> &Tensor {
        self
    }

    fn constant(tensor: Tensor) -> Tensor {
        tensor
    }

    #[track_caller]
    fn elementwise<F: Function<IN, OUT>, const IN: usize, const OUT: usize>(
        f: F,
        x: [&Tensor; IN],
    ) -> Result<[Tensor; OUT]> {
        let y = Tensor::apply(&Elementwise::<F, IN, OUT>(f), &x)?;
        Ok(y.try_into().unwrap_or_else(|_| unreachable!("an elementwise operation has OUT results")))
    }
}

impl<O: Op> Apply<O> for Tensor {
    #[track_caller]
    fn apply_op(op: O, x: &[&Tensor]) -> Result<Vec<Tensor>> {
        Tensor::apply(&op, x)
    }
}

/// The second operand of `x.add(…)`: another value, or a number, which takes the type of `x` (a fraction added to
/// integers makes `f32`).
pub trait Operand<V> {
    /// The operand as a value, to stand beside one of type `beside`.
    fn operand(self, beside: DType) -> V;
}

impl<V: Value> Operand<V> for &V {
    fn operand(self, _: DType) -> V {
        self.clone()
    }
}

macro_rules! number_operand {
    ($($t:ty => |$d:ident| $dtype:expr;)*) => {$(
        impl<V: Value> Operand<V> for $t {
            fn operand(self, $d: DType) -> V {
                V::constant(Tensor::scalar(self as f64, $dtype))
            }
        }
    )*};
}
number_operand! {
    f64 => |d| d.to_float();
    f32 => |d| d.to_float();
    i32 => |d| if d == DType::Bool { DType::I64 } else { d };
    i64 => |d| if d == DType::Bool { DType::I64 } else { d };
}

/// Every operation: the bound for a function that is written once and runs with gradients and without.
///
/// ```
/// use kiln_tensor::{Result, Tensor, ops::*};
/// fn mean_squared_error<V: Ops>(a: &V, b: &V) -> Result<V> {
///     a.sub(b)?.square()?.mean(&[])
/// }
/// let (a, b) = (Tensor::new([1.0, 2.0]), Tensor::new([1.0, 4.0]));
/// assert_eq!(mean_squared_error(&a, &b)?.item()?, 2.0);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub trait Ops:
    ArithmeticOps
    + MathOps
    + BoundOps
    + ActivationOps
    + ParametricActivationOps
    + ComparisonOps
    + NegationOps
    + SelectOps
    + ViewOps
    + CastOps
    + ReduceOps
    + ArgReduceOps
    + StatisticsOps
    + MatMulOps
    + ConvOps
    + PoolOps
    + SoftmaxOps
    + CrossEntropyOps
    + GatherOps
    + SortOps
    + ScanOps
    + Apply<Concat>
{
}

impl<V> Ops for V where
    V: ViewOps
        + CastOps
        + ReduceOps
        + MatMulOps
        + ConvOps
        + PoolOps
        + SoftmaxOps
        + CrossEntropyOps
        + GatherOps
        + ScanOps
        + Apply<Concat>
{
}
