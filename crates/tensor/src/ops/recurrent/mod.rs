//! Recurrent layers over whole sequences, each one operation: what a step does with the state. The products of the inputs
//! with their own weights come before, as one for all steps.
//!
//! Gates, their order and masks are Keras's. An operation gives the states after each step, and what its gradient needs
//! besides. The gradients are operations too; those of these are made of ordinary ones, step by step.

mod cpu;
mod cuda;
mod gru;
mod layers;
mod lstm;
mod simple;

pub use gru::{Gru, GruGrad};
pub use layers::{RecurrentStack, RecurrentStackOps};
pub use lstm::{Lstm, LstmGrad};
pub use simple::{SimpleRnn, SimpleRnnGrad};

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
        // Kernels come here too, and allocate nothing.
        let what = || {
            let per_unit = if gates == 1 { "units".to_owned() } else { format!("{gates} · units") };
            format!("gates [batch, time, {per_unit}] and a recurrent kernel [units, {per_unit}]")
        };
        let (&[batch, time, width], &[units, columns]) = (x.shape.dims(), kernel.shape.dims()) else {
            return Err(Error::shape(name, format!("needs {}, found {} and {}", what(), x.shape, kernel.shape)));
        };
        if width != columns || units.checked_mul(gates) != Some(columns) {
            let text = format!("needs {}, which {} and {} are not for any units", what(), x.shape, kernel.shape);
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
pub trait RecurrentOps: Value + Apply<Lstm> + Apply<Gru> + Apply<SimpleRnn> {
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

    /// A gated recurrent unit (Cho et al. 2014) with the reset gate after the product, as Keras has it unless told
    /// otherwise, and Keras's order of gates, z, r, h:
    ///
    /// `n = h · U + b`, `z = σ(gates[t]_z + n_z)`, `r = σ(gates[t]_r + n_r)`, `g = tanh(gates[t]_h + r · n_h)`,
    /// `h ← z · h + (1 - z) · g`.
    ///
    /// # Shapes
    /// Gates `[batch, time, 3 · units]`, which are the inputs times their kernel with their bias; a recurrent kernel
    /// `[units, 3 · units]` and the bias of its products, `[3 · units]`; the first `h`, `[batch, units]`; perhaps a mask
    /// `[batch, time]`. Gives all `h`, `[batch, time, units]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// // One unit that knows only its gates: half of its state stays, and half becomes 1.
    /// let gates = Tensor::new([[[0.0, 0.0, 1e3], [0.0, 0.0, 1e3]]]);
    /// let (kernel, bias) = (Tensor::new([[0.0; 3]]), Tensor::new([0.0; 3]));
    /// let h = gates.gru(&kernel, &bias, &Tensor::new([[0.0]]), None)?;
    /// assert_eq!(h.to_vec::<f64>()?, [0.5, 0.75]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`RecurrentOps::lstm`].
    #[track_caller]
    fn gru(&self, recurrent_kernel: &Self, recurrent_bias: &Self, h: &Self, mask: Option<&Self>) -> Result<Self> {
        let at = std::panic::Location::caller();
        let op = Gru { masked: mask.is_some() };
        let operands = [self, recurrent_kernel, recurrent_bias, h, mask.unwrap_or(self)];
        let y = Self::apply_op(op, &operands[..4 + usize::from(mask.is_some())]).map_err(|e| e.at(at))?;
        y.one()
    }

    /// A fully connected recurrent layer: `h ← tanh(gates[t] + h · U)`.
    ///
    /// # Shapes
    /// Gates `[batch, time, units]`, which are the inputs times their kernel with the bias; a recurrent kernel
    /// `[units, units]`; the first `h`, `[batch, units]`; perhaps a mask `[batch, time]`. Gives all `h`,
    /// `[batch, time, units]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let gates = Tensor::new([[[0.5], [9.0], [0.0]]]);
    /// let mask = Tensor::new([[true, false, true]]);
    /// let h = gates.simple_rnn(&Tensor::new([[2.0]]), &Tensor::new([[0.0]]), Some(&mask))?;
    /// let first = 0.5f64.tanh();
    /// assert_eq!(h.to_vec::<f64>()?, [first, first, (2.0 * first).tanh()]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`RecurrentOps::lstm`].
    #[track_caller]
    fn simple_rnn(&self, recurrent_kernel: &Self, h: &Self, mask: Option<&Self>) -> Result<Self> {
        let op = SimpleRnn { masked: mask.is_some() };
        let operands = [self, recurrent_kernel, h, mask.unwrap_or(self)];
        Self::apply_one(op, &operands[..3 + usize::from(mask.is_some())])
    }
}
impl<V: Value + Apply<Lstm> + Apply<Gru> + Apply<SimpleRnn>> RecurrentOps for V {}
