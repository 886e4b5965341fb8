//! Recurrent layers over whole sequences, each one operation: what a step does with the state. The products of the inputs
//! with their own weights come before, as one for all steps.
//!
//! Gates, their order and masks are Keras's. An operation gives the states after each step, and what its gradient needs
//! besides. The gradients are operations too; those of these are made of ordinary ones, step by step.

mod cpu;
mod lstm;

pub use lstm::{Lstm, LstmGrad};

use super::{Apply, Value};
use crate::{DType, Error, Result, Shape, Spec, ViewMut, with_element};

/// The sizes of a recurrent layer's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    batch: usize,
    time: usize,
    units: usize,
    /// Gates of a unit.
    gates: usize,
}

impl Sizes {
    /// The sizes of gates `[batch, time, gates · units]` and a recurrent kernel `[units, gates · units]`.
    fn new(name: &str, gates: usize, x: Spec, kernel: Spec) -> Result<Sizes> {
        let per_unit = if gates == 1 { "units".to_owned() } else { format!("{gates} · units") };
        let what = format!("gates [batch, time, {per_unit}] and a recurrent kernel [units, {per_unit}]");
        let (&[batch, time, width], &[units, columns]) = (x.shape.dims(), kernel.shape.dims()) else {
            return Err(Error::shape(name, format!("needs {what}, found {} and {}", x.shape, kernel.shape)));
        };
        if width != columns || units.checked_mul(gates) != Some(columns) {
            let text = format!("needs {what}, which {} and {} are not for any units", x.shape, kernel.shape);
            return Err(Error::shape(name, text).help(
                "the gates are the inputs times their own kernel, with the bias: x.matmul(&kernel)?.add(&bias)?",
            ));
        }
        if !x.dtype.is_float() {
            return Err(Error::dtype(name, format!("needs floating-point numbers, found {}", x.dtype)));
        }
        let sizes = Sizes { batch, time, units, gates };
        sizes.check(name, "the recurrent kernel", kernel, &[units, columns], x.dtype)?;
        Ok(sizes)
    }

    fn width(&self) -> usize {
        self.gates * self.units
    }

    /// That an operand has these dimensions and this type.
    fn check(&self, name: &str, what: &str, found: Spec, dims: &[usize], dtype: DType) -> Result<()> {
        if found.shape.dims() != dims {
            let text = format!("{what} has shape {}, it must be {dims:?}", found.shape);
            return Err(Error::shape(name, text)
                .help(format!("there are {} sequences of {} steps and {} units", self.batch, self.time, self.units)));
        }
        match found.dtype == dtype {
            true => Ok(()),
            false => Err(Error::dtype(name, format!("{what} is {}, it must be {dtype}", found.dtype))),
        }
    }

    /// That a state is `[batch, units]`.
    fn check_state(&self, name: &str, what: &str, found: Spec, dtype: DType) -> Result<()> {
        self.check(name, what, found, &[self.batch, self.units], dtype)
    }

    /// That something is known of each step, `[batch, time, per_step]`.
    fn check_steps(&self, name: &str, what: &str, found: Spec, per_step: usize, dtype: DType) -> Result<()> {
        self.check(name, what, found, &[self.batch, self.time, per_step], dtype)
    }

    /// That the last operand, where there is a mask, is one: `[batch, time]` of `bool`.
    fn check_mask(&self, name: &str, masked: bool, x: &[Spec]) -> Result<()> {
        match masked {
            true => self.check(name, "the mask", x[x.len() - 1], &[self.batch, self.time], DType::Bool),
            false => Ok(()),
        }
    }

    /// A result of this much for each step.
    fn steps(&self, per_step: usize, dtype: DType) -> Result<Spec> {
        Ok(Spec::new(Shape::new(&[self.batch, self.time, per_step])?, dtype))
    }

    /// A result of this much for each sequence.
    fn state(&self, dtype: DType) -> Result<Spec> {
        Ok(Spec::new(Shape::new(&[self.batch, self.units])?, dtype))
    }

    /// Whether there is no step or nothing in it.
    fn is_nothing(&self) -> bool {
        self.batch * self.time * self.units == 0
    }
}

/// Sums of nothing.
fn fill_with_zeros(y: &mut [ViewMut<'_>]) -> Result<()> {
    for y in y {
        with_element!(y.dtype(), T => y.slice::<T>()?.fill(T::default()));
    }
    Ok(())
}

/// Recurrent layers over sequences: what is to be done at each step, given what the inputs contribute.
///
/// A mask `[batch, time]` of `bool` says which steps count: where it is `false`, the state stays what it was. Results are
/// the states after each step, so that the last are the final ones. Where Keras has zeros for the output, before the first
/// step that counts, these have the initial state: multiply by
/// `mask.cast(h.dtype())?.cummax(1)?.0.unsqueeze(-1)?` for its outputs.
pub trait RecurrentOps: Value + Apply<Lstm> {
    /// A long short-term memory (Hochreiter and Schmidhuber 1997) with Keras's order of gates, i, f, c, o:
    ///
    /// `z = gates[t] + h · U`, `i = σ(z_i)`, `f = σ(z_f)`, `g = tanh(z_c)`, `o = σ(z_o)`, `c ← f · c + i · g`,
    /// `h ← o · tanh(c)`.
    ///
    /// # Shapes
    /// Gates `[batch, time, 4 · units]`, which are the inputs times their kernel with the bias; a recurrent kernel
    /// `[units, 4 · units]`; the first `h` and `c`, `[batch, units]`; perhaps a mask `[batch, time]`. Gives all `h` and all
    /// `c`, `[batch, time, units]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// // One unit that knows only its gates: a large number opens one, i and f are half open.
    /// let gates = Tensor::new([[[0.0, 0.0, 1e3, 1e3], [0.0, 0.0, 1e3, 1e3]]]);
    /// let (kernel, zero) = (Tensor::new([[0.0; 4]]), Tensor::new([[0.0]]));
    /// let (h, c) = gates.lstm(&kernel, &zero, &zero, None)?;
    /// assert_eq!(c.to_vec::<f64>()?, [0.5, 0.75]);
    /// assert_eq!(h.to_vec::<f64>()?, [0.5f64.tanh(), 0.75f64.tanh()]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Shapes that do not fit each other, operands of different types, or of none that is floating-point; a mask that is
    /// not of `bool`.
    #[track_caller]
    fn lstm(&self, recurrent_kernel: &Self, h: &Self, c: &Self, mask: Option<&Self>) -> Result<(Self, Self)> {
        let at = std::panic::Location::caller();
        let op = Lstm { masked: mask.is_some() };
        let operands = [self, recurrent_kernel, h, c, mask.unwrap_or(self)];
        let y = Self::apply_op(op, &operands[..4 + usize::from(mask.is_some())]).map_err(|e| e.at(at))?;
        let [h, c, _gates] = y.into_array().unwrap_or_else(|| unreachable!("an LSTM has three results"));
        Ok((h, c))
    }
}
impl<V: Value + Apply<Lstm>> RecurrentOps for V {}
