//! Conversion between element types.

use super::elementwise::typed;
use super::{Apply, Value};
use crate::run::infer;
use crate::scalar::Program;
use crate::{CpuCall, DType, Element, Expr, Op, Pointwise, Result, Spec, Specs, with_element};

/// The elements converted to another type, as [`Element`] says: floats truncate toward zero into integers.
#[derive(Debug, Clone, PartialEq)]
pub struct Cast {
    /// The type to convert to.
    pub to: DType,
}

impl Op for Cast {
    fn name(&self) -> &str {
        "cast"
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        Ok(Spec::new(x[0].shape, self.to).into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        with_element!(x[0].dtype(), S => {
            let x = x[0].contiguous::<S>()?;
            with_element!(self.to, T => convert(&x, y[0].slice::<T>()?));
        });
        Ok(())
    }

    fn pointwise(&self, x: &[Spec]) -> Option<Pointwise> {
        let outputs = infer(self, x).ok()?;
        let compute = if x[0].dtype.is_float() { DType::F64 } else { DType::I64 };
        let program = Program::new(1, &[Expr::<false>::input(0)]);
        Some(typed(x, compute, program, &outputs))
    }
}

fn convert<S: Element, T: Element>(x: &[S], y: &mut [T]) {
    for (x, y) in x.iter().zip(y) {
        *y = if S::DTYPE.is_float() { <T as Element>::from_f64(x.to_f64()) } else { T::from_i64(x.to_i64()) };
    }
}

/// Conversion between element types.
pub trait CastOps: Value + Apply<Cast> {
    /// The elements converted to another type; the value itself where it has that type.
    ///
    /// # Errors
    /// None beyond those of memory.
    #[track_caller]
    fn cast(&self, to: DType) -> Result<Self> {
        if Value::dtype(self) == to { Ok(self.clone()) } else { Self::apply_one(Cast { to }, &[self]) }
    }
}
impl<V: Value + Apply<Cast>> CastOps for V {}
