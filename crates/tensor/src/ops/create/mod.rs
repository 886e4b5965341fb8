//! Tensors that are made of nothing but their elements' numbers: ranges and unit matrices. What is filled with one value
//! needs no operation: it lives in no memory (`Tensor::filled`).

use super::elementwise::{check_numbers, create, typed};
use super::{Apply, CastOps, Elementwise, Function, Kind, PowOps, Value};
use crate::run::infer;
use crate::scalar::Program;
use crate::{
    Argument, Arity, CpuCall, DType, Device, Element, Error, Expr, IntoShape, Op, Pointwise, Result, Scalar, Shape,
    Spec, Specs, Tensor,
};
use std::panic::Location;

/// The tensor whose every element is a function of its number, in row-major order from 0. The operands are the numbers
/// that the function takes, [`Function::NUMBERS`] of them.
///
/// It is computed in `f64` or, where the function is [`Kind::Arithmetic`] and the result has integers, in `i64`.
#[derive(Debug, Clone, PartialEq)]
pub struct Create<F> {
    /// The function.
    pub function: F,
    /// The shape of the result.
    pub shape: Shape,
    /// The type of the result.
    pub dtype: DType,
    /// Where it is created.
    pub device: Device,
}

impl<F: Function<1>> Create<F> {
    fn compute(&self) -> DType {
        if F::KIND == Kind::Arithmetic && !self.dtype.is_float() { DType::I64 } else { DType::F64 }
    }
}

impl<F: Function<1>> Op for Create<F> {
    fn name(&self) -> &str {
        F::NAME
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(F::NUMBERS)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        check_numbers(F::NAME, x)?;
        Ok(Spec::new(self.shape, self.dtype).into())
    }

    fn device(&self) -> Option<Device> {
        Some(self.device)
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (numbers, y) = call.parts();
        create(&Elementwise::<_, 1, 1>(self.function.clone()), self.compute(), numbers, y);
        Ok(())
    }

    fn pointwise(&self, x: &[Spec]) -> Option<Pointwise> {
        let outputs = infer(self, x).ok()?;
        let y = self.function.call_with([Expr::<false>::input(0)], &Expr::inputs(1..1 + x.len()));
        let mut pointwise = typed(&[], self.compute(), Program::new(1 + x.len(), &y), &outputs);
        pointwise.arguments.push(Argument::Index);
        pointwise.arguments.extend(x.iter().map(|x| Argument::Number(x.dtype)));
        Some(pointwise)
    }
}

/// Functions of an element's number `i` and of the numbers in brackets.
macro_rules! functions {
    ($($(#[$doc:meta])* $op:ident $name:literal $kind:ident [$($number:ident),+] |$i:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $op;

        impl Function<1> for $op {
            const NAME: &'static str = $name;
            const KIND: Kind = Kind::$kind;
            const NUMBERS: usize = [$(stringify!($number)),+].len();

            /// Without its numbers there is no value.
            fn call<S: Scalar>(&self, _: [S; 1]) -> [S; 1] {
                [S::lit(f64::NAN)]
            }

            #[inline(always)]
            fn call_with<S: Scalar>(&self, [$i]: [S; 1], numbers: &[S]) -> [S; 1] {
                let mut numbers = numbers.iter().cloned();
                $(let $number = numbers.next().unwrap_or_else(|| S::lit(f64::NAN));)+
                [$body]
            }
        }
    )*};
}

functions! {
    /// `start + step · i`.
    Steps "arange" Arithmetic [start, step] |i| start + step * i;
    /// Evenly spaced numbers from `first`, and back from `last` in the upper half: both ends are exact and the numbers
    /// symmetric. `below` is the index of the middle, `top` that of the last.
    Between "linspace" Float [first, last, step, below, top] |i| {
        let back = last - step.clone() * (top - i.clone());
        S::select(i.clone().lt(below), first + step * i, back)
    };
    /// 1 on the diagonal of a matrix of so many columns, elsewhere 0.
    Diagonal "eye" Float [columns] |i| {
        let row = (i.clone() / columns.clone()).floor();
        S::select((row.clone() * columns + row).equals(i), S::lit(1.0), S::lit(0.0))
    };
}

impl Tensor {
    /// `start, start + step, …` up to but without `end`, in the type of the arguments.
    ///
    /// # Errors
    /// A step of zero, or one that leads away from `end`, or a bound that is not finite.
    #[track_caller]
    pub fn arange<T: Element>(start: T, end: T, step: T) -> Result<Tensor> {
        let at = Location::caller();
        let (first, last, by) = (start.to_f64(), end.to_f64(), step.to_f64());
        let steps = arange_steps(start, end, step).ok_or_else(|| {
            let text = format!("no steps of {by:?} lead from {first:?} to {last:?}");
            Error::argument("arange", text).at(at)
        })?;
        // Integers are exact in 64 bits, where a double would lose the low ones.
        let numbers = match T::DTYPE.is_float() {
            true => [Tensor::number(first), Tensor::number(by)],
            false => [Tensor::number(start.to_i64()), Tensor::number(step.to_i64())],
        };
        created(Steps, [steps], T::DTYPE, &numbers)
    }

    /// `count` evenly spaced values from `start` to `end`, both included, in the type of the arguments.
    ///
    /// # Errors
    /// A count beyond memory; a bound that is not finite, or an integer that a double does not hold exactly.
    #[track_caller]
    pub fn linspace<T: Element>(start: T, end: T, count: usize) -> Result<Tensor> {
        let at = Location::caller();
        for bound in [start, end] {
            if !bound.to_f64().is_finite() || bound.to_i64().unsigned_abs() > 1 << 53 && !T::DTYPE.is_float() {
                let text = format!("the bound {bound:?} is no number that can be divided exactly");
                let help = "give finite bounds; of integers, at most 2^53 in size";
                return Err(Error::argument("linspace", text).help(help).at(at));
            }
        }
        let (first, last) = (start.to_f64(), end.to_f64());
        // Apart, since the difference of two large bounds is none.
        let steps = (count.max(2) - 1) as f64;
        let whole = (last - first) / steps;
        let step = if whole.is_finite() { whole } else { last / steps - first / steps };
        // One number alone is the first.
        let below = if count == 1 { 1 } else { count / 2 };
        let numbers = [first, last, step, below as f64, count.saturating_sub(1) as f64].map(Tensor::number);
        created(Between, [count], T::DTYPE, &numbers)
    }

    /// `count` numbers from `base` to the power `start` to `base` to the power `end`, with evenly spaced exponents.
    ///
    /// # Errors
    /// As [`Tensor::linspace`] of the exponents.
    #[track_caller]
    pub fn logspace<T: Element>(start: f64, end: f64, count: usize, base: f64) -> Result<Tensor> {
        let exponents = Tensor::linspace(start, end, count).map_err(|e| e.renamed("linspace", "logspace"))?;
        Tensor::number(base).pow(&exponents)?.cast(T::DTYPE)
    }

    /// The `rows` by `columns` matrix with ones on the diagonal, `f32`.
    ///
    /// # Errors
    /// A size beyond memory.
    #[track_caller]
    pub fn eye(rows: usize, columns: usize) -> Result<Tensor> {
        created(Diagonal, [rows, columns], DType::F32, &[Tensor::number(columns as f64)])
    }
}

/// Tensors of the shape and type of another, filled with one number. They take no memory, and carry no gradient.
pub trait LikeOps: Value {
    /// A value of this one's shape and type, filled with a number.
    #[must_use]
    fn full_like(&self, value: f64) -> Self {
        Self::constant(Tensor::filled(Spec::new(*self.shape(), self.dtype()), value))
    }

    /// Zeros in this value's shape and type.
    #[must_use]
    fn zeros_like(&self) -> Self {
        self.full_like(0.0)
    }

    /// Ones in this value's shape and type.
    #[must_use]
    fn ones_like(&self) -> Self {
        self.full_like(1.0)
    }
}
impl<V: Value> LikeOps for V {}

#[track_caller]
fn created<F: Function<1>>(function: F, shape: impl IntoShape, dtype: DType, numbers: &[Tensor]) -> Result<Tensor> {
    let shape = shape.into_shape()?;
    let numbers: Vec<&Tensor> = numbers.iter().collect();
    Tensor::apply_one(Create { function, shape, dtype, device: Device::Cpu }, &numbers)
}

/// The number of steps from `start` that stay before `end`; `None` where `step` leads nowhere.
fn arange_steps<T: Element>(start: T, end: T, step: T) -> Option<usize> {
    if !T::DTYPE.is_float() {
        // In 128 bits no difference of two integers wraps.
        let (way, step) = (i128::from(end.to_i64()) - i128::from(start.to_i64()), i128::from(step.to_i64()));
        let whole = way.checked_div(step).filter(|&whole| whole > 0 || way * step.signum() >= 0)?;
        return usize::try_from(whole + i128::from(way % step != 0)).ok();
    }
    let (first, last, by) = (start.to_f64(), end.to_f64(), step.to_f64());
    let steps = ((last - first) / by).ceil();
    if by == 0.0 || !by.is_finite() || !steps.is_finite() || steps < 0.0 {
        return None;
    }
    // The quotient and the last elements are rounded, perhaps to the end; elements never turn back.
    let reaches = |i: usize| (T::from_f64(first + by * i as f64).to_f64() - last) * by.signum() >= 0.0;
    let (mut before, mut after) = (0, steps as usize);
    while before < after {
        let middle = before.midpoint(after);
        if reaches(middle) { after = middle } else { before = middle + 1 }
    }
    Some(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::*;

    #[test]
    fn elements_know_their_numbers() {
        for (rows, columns) in [(1, 1), (3, 5), (5, 3), (0, 4), (4, 0), (301, 1000)] {
            let eye = Tensor::eye(rows, columns).unwrap();
            let shortest = rows.min(columns);
            assert_eq!(eye.sum(..).unwrap().item().unwrap(), shortest as f64, "{rows} x {columns}");
            if shortest > 0 {
                assert_eq!(eye.to_vec::<f32>().unwrap()[(shortest - 1) * (columns + 1)], 1.0);
            }
        }
        let x = Tensor::arange(i64::MAX - 100_000, i64::MAX, 1).unwrap().to_vec::<i64>().unwrap();
        assert!((0..100_000).all(|i| x[i] == i64::MAX - 100_000 + i as i64));
        // So many steps that a float cannot tell them apart: an error, and at once.
        assert!(Tensor::arange(0f32, 1e18, 1.0).is_err());
        assert_eq!(Tensor::arange(1e16, 1e16 + 6.0, 1.0).unwrap().count(), 6);
        let x = Tensor::linspace(-1.0f32, 1.0, 100_001).unwrap().to_vec::<f32>().unwrap();
        assert!((0..=100_000).all(|i| x[i] == -x[100_000 - i]) && x[100_000] == 1.0);
        assert_eq!(Tensor::linspace(3.0, 9.0, 1).unwrap().to_vec::<f64>().unwrap(), [3.0]);
        let wide = Tensor::linspace(-1.7e308, 1.7e308, 5).unwrap().to_vec::<f64>().unwrap();
        assert_eq!(wide, [-1.7e308, -8.5e307, 0.0, 8.5e307, 1.7e308]);
        assert!(Tensor::linspace(0.0, f64::INFINITY, 3).is_err() && Tensor::linspace(0, i64::MAX, 3).is_err());
        assert_eq!(Tensor::linspace(0, 9, 4).unwrap().to_vec::<i32>().unwrap(), [0, 3, 6, 9]);
    }

    #[test]
    fn it_is_an_operation_with_a_listing() {
        let op =
            Create { function: Diagonal, shape: Shape::from_slice(&[2, 2]), dtype: DType::F32, device: Device::Cpu };
        let listing = op.pointwise(&[Tensor::number(2.0).spec()]).unwrap().to_string();
        assert!(listing.contains("index") && listing.contains("number f64") && listing.ends_with("f32 j"), "{listing}");
        assert!(op.pointwise(&[]).is_none());
        assert!(Tensor::apply(&op, &[]).is_err() && Tensor::apply(&op, &[&Tensor::new([2.0])]).is_err());
    }
}
