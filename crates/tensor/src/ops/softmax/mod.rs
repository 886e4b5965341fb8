//! Softmax and its logarithm along one axis, and its projection that has zeros.

mod cpu;
mod cuda;
mod sparse;

pub(crate) use cpu::{Finish, Row, for_rows};
pub(crate) use cuda::over_rows;

use super::{Apply, CastOps, MathOps, Ops, Value};
use crate::{Arity, CpuCall, CudaCall, DType, Error, Op, Result, Spec, Specs, bf16, f16};
use std::panic::Location;

/// `exp(x) / Σ exp(x)` along one axis, or its logarithm, without overflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    /// The axis that sums to 1.
    pub axis: usize,
    /// The logarithm instead.
    pub log: bool,
}

impl Op for Softmax {
    fn name(&self) -> &str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        x[0].shape.check_axis(self.name(), self.axis)?;
        if !x[0].dtype.is_float() {
            return Err(Error::dtype(self.name(), format!("needs floating-point numbers, found {}", x[0].dtype)));
        }
        Ok(x[0].into())
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        match x[0].dtype() {
            DType::F64 => cpu::softmax::<f64, f64>(self, &x[0], &mut y[0]),
            DType::F32 => cpu::softmax::<f32, f32>(self, &x[0], &mut y[0]),
            DType::F16 => cpu::softmax::<f16, f32>(self, &x[0], &mut y[0]),
            _ => cpu::softmax::<bf16, f32>(self, &x[0], &mut y[0]),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::softmax(self, call);
        Ok(())
    }
}

/// The gradient of [`Softmax`] from its result and that one's gradient: `y · (dy - Σ y·dy)`, of the logarithm
/// `dy - exp(y) · Σ dy`.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftmaxGrad {
    /// The operation.
    pub of: Softmax,
}

impl Op for SoftmaxGrad {
    fn name(&self) -> &str {
        if self.of.log { "log_softmax_grad" } else { "softmax_grad" }
    }

    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }

    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        let y = self.of.infer(x).map_err(|error| error.renamed(self.of.name(), self.name()))?;
        if x[1] != x[0] {
            return Err(Error::shape(self.name(), format!("the gradient is {:?}, the result {:?}", x[1], x[0])));
        }
        Ok(y)
    }

    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, dx) = call.parts();
        match x[0].dtype() {
            DType::F64 => cpu::gradient::<f64, f64>(&self.of, x, &mut dx[0]),
            DType::F32 => cpu::gradient::<f32, f32>(&self.of, x, &mut dx[0]),
            DType::F16 => cpu::gradient::<f16, f32>(&self.of, x, &mut dx[0]),
            _ => cpu::gradient::<bf16, f32>(&self.of, x, &mut dx[0]),
        }
    }

    fn cuda(&self, call: &mut CudaCall<'_>) -> Result<()> {
        cuda::gradient(&self.of, call);
        Ok(())
    }
}

/// Softmax along an axis.
pub trait SoftmaxOps: Value + Apply<Softmax> + CastOps {
    /// `exp(x) / Σ exp(x)` along `axis`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([1000.0f64, 1000.0]).softmax(-1)?;
    /// assert_eq!(y.to_vec::<f64>()?, [0.5, 0.5]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn softmax(&self, axis: isize) -> Result<Self> {
        let axis = Value::shape(self).axis("softmax", axis)?;
        Self::apply_one(Softmax { axis, log: false }, &[&self.cast(Value::dtype(self).to_float())?])
    }

    /// `x - ln Σ exp(x)` along `axis`.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn log_softmax(&self, axis: isize) -> Result<Self> {
        let axis = Value::shape(self).axis("log_softmax", axis)?;
        Self::apply_one(Softmax { axis, log: true }, &[&self.cast(Value::dtype(self).to_float())?])
    }

    /// The softmax of the negative: the smallest gets the most.
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn softmin(&self, axis: isize) -> Result<Self> {
        MathOps::neg(self)?.softmax(axis).map_err(|e| e.renamed("softmax", "softmin"))
    }

    /// The point nearest to `x` of those that are not negative and add up to 1 along `axis`: like a softmax, with zeros
    /// where `x` is far below the largest (Martins and Astudillo 2016, "From softmax to sparsemax").
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let y = Tensor::new([3.0, 2.5, 0.0]).sparsemax(-1)?;
    /// assert_eq!(y.to_vec::<f64>()?, [0.75, 0.25, 0.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An axis that does not exist.
    #[track_caller]
    fn sparsemax(&self, axis: isize) -> Result<Self>
    where
        Self: Ops,
    {
        let (at, axis) = (Location::caller(), Value::shape(self).axis("sparsemax", axis)?);
        sparse::sparsemax(self, axis as isize).map_err(|e| e.unplaced().at(at))
    }
}
impl<V: Value + Apply<Softmax> + CastOps> SoftmaxOps for V {}
