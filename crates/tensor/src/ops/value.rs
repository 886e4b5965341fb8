//! What the operations are methods of: a tensor, or a value that a tape follows. A function written over these traits
//! runs with gradients and without.

use super::{Elementwise, Fold, Function, Reduce};
use crate::run::apply_array;
use crate::{DType, Op, Outputs, Result, Shape, Tensor};
use std::panic::Location;

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

    /// Folds what a function makes of the operands.
    ///
    /// # Errors
    /// Shapes that do not broadcast together; an extreme of nothing.
    #[track_caller]
    fn fold<F: Fold<STATE>, P: Function<IN>, const STATE: usize, const IN: usize>(
        op: Reduce<F, P, STATE, IN>,
        x: [&Self; IN],
    ) -> Result<Self>;

    /// The dimensions.
    fn shape(&self) -> &Shape {
        self.tensor().shape()
    }

    /// The element type.
    fn dtype(&self) -> DType {
        self.tensor().dtype()
    }

    /// A constant to compute with beside this value: moved to its device.
    ///
    /// # Errors
    /// The device has no memory for it.
    #[track_caller]
    fn beside(&self, constant: Tensor) -> Result<Self> {
        Ok(Self::constant(constant.to_device(self.tensor().device())?))
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
    fn apply_op(op: O, x: &[&Self]) -> Result<Outputs<Self>>;

    /// Applies an operation of one result.
    ///
    /// # Errors
    /// As [`Apply::apply_op`].
    #[track_caller]
    fn apply_one(op: O, x: &[&Self]) -> Result<Self> {
        let at = Location::caller();
        Self::apply_op(op, x)?.one().map_err(|e| e.at(at))
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
        apply_array(F::operation(&Elementwise(f)).as_op(), &x, Location::caller())
    }

    #[track_caller]
    fn fold<F: Fold<STATE>, P: Function<IN>, const STATE: usize, const IN: usize>(
        op: Reduce<F, P, STATE, IN>,
        x: [&Tensor; IN],
    ) -> Result<Tensor> {
        apply_array(op.operation().as_op(), &x, Location::caller()).map(|[y]| y)
    }
}

impl<O: Op> Apply<O> for Tensor {
    #[track_caller]
    fn apply_op(op: O, x: &[&Tensor]) -> Result<Outputs> {
        Tensor::apply(&op, x)
    }
}

/// The second operand of `x.add(…)`: another value, or a number.
///
/// A number takes part by its value, in the type of what it stands beside: `x.mul(2.0)` is `f16` where `x` is, and
/// `x.gt(300)` is right for bytes. Only a fraction beside integers makes `f32` of them. Results of integer arithmetic that
/// do not fit the type wrap.
pub trait Operand<V> {
    /// The operand as a value.
    fn operand(self) -> V;
}

impl<V: Value> Operand<V> for &V {
    fn operand(self) -> V {
        self.clone()
    }
}

macro_rules! number_operand {
    ($($t:ty)*) => {$(
        impl<V: Value> Operand<V> for $t {
            fn operand(self) -> V { V::constant(Tensor::number(self)) }
        }
    )*};
}
number_operand!(f64 f32 i64 i32 u8);

/// Makes [`Ops`] of the list of all families of operations.
macro_rules! families {
    ($($family:ident)*) => {
        /// Every operation: the bound for a function that is written once and runs with gradients and without.
        ///
        /// ```
        /// use kiln_tensor::{Result, Tensor, ops::*};
        /// fn mean_squared_error<V: Ops>(a: &V, b: &V) -> Result<V> {
        ///     a.sub(b)?.square()?.mean(..)
        /// }
        /// let (a, b) = (Tensor::new([1.0, 2.0]), Tensor::new([1.0, 4.0]));
        /// assert_eq!(mean_squared_error(&a, &b)?.item()?, 2.0);
        /// # Ok::<(), kiln_tensor::Error>(())
        /// ```
        pub trait Ops: $($family +)* Apply<Concat> + Apply<Normalize> {}
        impl<V: $($family +)* Apply<Concat> + Apply<Normalize>> Ops for V {}
    };
}
pub(super) use families;
