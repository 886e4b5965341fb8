//! Derivative rules against differences of values.

use crate::backward::gradients;
use crate::ops::{ArithmeticOps, ReduceOps, Value};
use crate::{DType, Error, ErrorKind, Result, Tape, Tensor, Var};
use std::panic::Location;

/// Compares derivatives with central differences, in double precision.
///
/// Every output is weighted with a fixed odd-looking cotangent, so that errors cannot cancel. The second order is
/// checked on the gradients themselves.
///
/// ```
/// use kiln_autograd::{GradCheck, Tensor, ops::*};
/// GradCheck::new().run(|x| x[0].mul(&x[1])?.tanh(), &[Tensor::new([0.3, -0.5]), Tensor::new([1.1, 0.2])])?;
/// # Ok::<(), kiln_autograd::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct GradCheck {
    step: f64,
    rtol: f64,
    atol: f64,
    second_order: bool,
}

impl Default for GradCheck {
    fn default() -> Self {
        GradCheck { step: 1e-6, rtol: 1e-5, atol: 1e-7, second_order: true }
    }
}

impl GradCheck {
    /// Step 1e-6 (times the root of each element beyond 1), tolerance 1e-5 relative and 1e-7 absolute, first and second order.
    pub fn new() -> GradCheck {
        GradCheck::default()
    }

    /// The distance of the differences, times the root of the element's size where that is more than 1: beside a large
    /// number, a small step is lost in rounding.
    #[must_use]
    pub fn step(self, step: f64) -> GradCheck {
        GradCheck { step, ..self }
    }

    /// The tolerance, relative and absolute.
    #[must_use]
    pub fn tolerance(self, rtol: f64, atol: f64) -> GradCheck {
        GradCheck { rtol, atol, ..self }
    }

    /// Only the first order: for functions whose gradient is constant almost everywhere, or whose second derivative is
    /// too large to be measured.
    #[must_use]
    pub fn first_order(self) -> GradCheck {
        GradCheck { second_order: false, ..self }
    }

    /// Checks `f` at `inputs`, which must be `f64`.
    ///
    /// # Errors
    /// Those of `f`; an input of another type; a derivative that differs, with its place and both numbers.
    #[track_caller]
    pub fn run(&self, f: impl Fn(&[Var]) -> Result<Var>, inputs: &[Tensor]) -> Result<()> {
        if let Some(x) = inputs.iter().find(|x| x.dtype().is_float() && x.dtype() != DType::F64) {
            let text = format!("differences need f64 inputs, found {}", x.dtype());
            return Err(Error::dtype("gradcheck", text).help("convert with .cast(DType::F64)").at(Location::caller()));
        }
        let weighted = |x: &[Var]| {
            let y = f(x)?;
            y.mul(&Var::new(cotangent(y.tensor(), 0.0)))?.sum(..)
        };
        self.compare("first", &weighted, inputs)?;
        if !self.second_order {
            return Ok(());
        }
        let slope = |x: &[Var]| {
            let floats: Vec<&Var> = x.iter().filter(|x| Value::dtype(*x).is_float()).collect();
            // Values off the tape are being varied by the differences: put them on one of their own for the first order.
            let own = Tape::new();
            let watched: Vec<Var> = match floats.iter().any(|x| x.is_tracked()) {
                true => x.to_vec(),
                false => x.iter().map(|x| own.watch(x.tensor())).collect(),
            };
            let y = weighted(&watched)?;
            let wrt: Vec<&Var> = watched.iter().filter(|x| x.is_tracked()).collect();
            let one = Var::new(Tensor::scalar(1.0, DType::F64));
            let mut total = Var::new(Tensor::scalar(0.0, DType::F64));
            for (i, g) in gradients(&[(&y, &one)], &wrt, true)?.into_iter().enumerate() {
                if let Some(g) = g {
                    let weights = Var::new(cotangent(g.tensor(), 0.7 + i as f64));
                    total = total.add(&g.mul(&weights)?.sum(..)?)?;
                }
            }
            Ok(total)
        };
        self.compare("second", &slope, inputs)
    }

    /// Compares the gradient of a function of a single number with its differences.
    #[track_caller]
    fn compare(&self, order: &str, f: &dyn Fn(&[Var]) -> Result<Var>, inputs: &[Tensor]) -> Result<()> {
        let tape = Tape::new();
        let vars: Vec<Var> = inputs.iter().map(|x| tape.watch(x)).collect();
        let y = f(&vars)?;
        let wrt: Vec<&Var> = vars.iter().filter(|x| x.is_tracked()).collect();
        let exact = match y.is_tracked() {
            true => gradients(&[(&y, &Var::new(Tensor::scalar(1.0, DType::F64)))], &wrt, false)?,
            false => vec![None; wrt.len()],
        };
        let floats = (0..inputs.len()).filter(|&i| inputs[i].dtype().is_float());
        for (i, exact) in floats.zip(exact) {
            let exact = match exact {
                Some(g) => g.tensor().to_vec::<f64>()?,
                None => vec![0.0; inputs[i].count()],
            };
            for (at, exact) in exact.into_iter().enumerate() {
                let (above, high) = self.shifted(f, inputs, i, at, 1.0)?;
                let (below, low) = self.shifted(f, inputs, i, at, -1.0)?;
                // The distance as it is after rounding.
                let numeric = (above - below) / (high - low);
                // Written so that NaN counts as a difference.
                let close = (exact - numeric).abs() <= self.atol + self.rtol * numeric.abs().max(exact.abs());
                if !close {
                    let text = format!(
                        "{order} derivative with respect to element {at} of input {i} (shape {}): the rule gives {exact}, differences give {numeric}",
                        inputs[i].shape()
                    );
                    return Err(Error::new(ErrorKind::Argument, "gradcheck", text));
                }
            }
        }
        Ok(())
    }

    /// The function's value with one element of one input moved by a step, and where that is now.
    fn shifted(
        &self,
        f: &dyn Fn(&[Var]) -> Result<Var>,
        inputs: &[Tensor],
        input: usize,
        at: usize,
        sign: f64,
    ) -> Result<(f64, f64)> {
        let mut place = 0.0;
        let vars: Result<Vec<Var>> = inputs
            .iter()
            .enumerate()
            .map(|(i, x)| {
                if i != input {
                    return Ok(Var::new(x.clone()));
                }
                let mut values = x.to_vec::<f64>()?;
                // Between a fixed step, lost in the rounding of a large element, and a relative one, across which a function
                // that varies at the scale of 1 would bend.
                values[at] += sign * self.step * values[at].abs().max(1.0).sqrt();
                place = values[at];
                Tensor::from_vec(values, x.shape()).map(Var::new)
            })
            .collect();
        Ok((f(&vars?)?.tensor().item()?, place))
    }
}

/// Weights between 0.5 and 1.5 without a pattern.
fn cotangent(like: &Tensor, phase: f64) -> Tensor {
    let values: Vec<f64> = (0..like.count()).map(|i| 1.0 + 0.5 * (1.7 * i as f64 + phase).sin()).collect();
    Tensor::from_vec(values, like.shape()).unwrap_or_else(|_| like.clone())
}
