//! What an operation must know to be recorded: its derivative rule, and which of its operands and results the rule reads.

use crate::{Op, Result, Var};

/// An operation with a derivative rule. A tape accepts no other.
///
/// The rule is written in [`Var`]s and is itself recorded when a derivative of the derivative is wanted, so one rule
/// serves every order.
///
/// ```
/// use kiln_autograd::{CpuCall, Differentiable, Element, Op, Result, Spec, Specs, Tape, Tensor, Var, ops::*};
/// use kiln_autograd::{View, ViewMut, with_element};
///
/// /// The cube of each element.
/// #[derive(Debug, Clone, PartialEq)]
/// struct Cube;
///
/// impl Op for Cube {
///     fn name(&self) -> &str { "cube" }
///     fn infer(&self, x: &[Spec]) -> Result<Specs> { Ok(x[0].into()) }
///     fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
///         let (x, y) = call.parts();
///         with_element!(x[0].dtype(), T => cubes::<T>(&x[0], &mut y[0]))
///     }
/// }
///
/// /// The kernel, compiled for each type of elements.
/// fn cubes<T: Element>(x: &View<'_>, y: &mut ViewMut<'_>) -> Result<()> {
///     let x = x.contiguous::<T>()?;
///     y.slice::<T>()?.iter_mut().zip(x.iter()).for_each(|(y, x)| *y = T::from_f64(x.to_f64().powi(3)));
///     Ok(())
/// }
///
/// impl Differentiable for Cube {
///     fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
///         let Some(dy) = &dy[0] else { return Ok(vec![None]) };
///         Ok(vec![Some(dy.mul(&x[0].square()?)?.mul(3.0)?)])
///     }
/// }
///
/// let tape = Tape::new();
/// let x = tape.watch(&Tensor::new([2.0]));
/// let y = Var::apply_one(Cube, &[&x])?;
/// assert_eq!(y.sum(..)?.backward()?.get(&x)?.item()?, 12.0);
/// # Ok::<(), kiln_autograd::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "the operation `{Self}` has no derivative rule",
    note = "implement `Differentiable` for it, in which `vjp` gives the gradients of its operands; without one it takes tensors, and no values of a tape"
)]
pub trait Differentiable: Op {
    /// The gradients of the operands from those of the results: the product of `dy` with the Jacobian.
    ///
    /// `x` and `y` are the operands and results that [`Differentiable::keeps`] names; of the others only shape and type
    /// are real. `dy[i]` is `None` where result `i` has no gradient, and only operands with `need[i]` are asked for. A
    /// gradient may have the shape that the operands broadcast to, and another floating-point type: it is summed and
    /// converted by the caller.
    ///
    /// # Errors
    /// Those of the operations used.
    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>>;

    /// Which values the rule reads. The default keeps all.
    fn keeps(&self) -> Keep {
        Keep::ALL
    }
}

/// Which operands and results of an operation its derivative rule reads: the others need not stay in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    inputs: u32,
    outputs: u32,
}

impl Keep {
    /// Everything.
    pub const ALL: Keep = Keep { inputs: u32::MAX, outputs: u32::MAX };
    /// The operands.
    pub const INPUTS: Keep = Keep { inputs: u32::MAX, outputs: 0 };
    /// The results.
    pub const OUTPUTS: Keep = Keep { inputs: 0, outputs: u32::MAX };
    /// Shapes only.
    pub const NOTHING: Keep = Keep { inputs: 0, outputs: 0 };

    /// The operands and results with these numbers (below 32).
    pub const fn only(inputs: &[u32], outputs: &[u32]) -> Keep {
        Keep { inputs: bits(inputs), outputs: bits(outputs) }
    }

    pub(crate) fn input(self, i: usize) -> bool {
        has(self.inputs, i)
    }

    pub(crate) fn output(self, i: usize) -> bool {
        has(self.outputs, i)
    }
}

const fn bits(numbers: &[u32]) -> u32 {
    let (mut mask, mut i) = (0, 0);
    while i < numbers.len() {
        mask |= 1 << numbers[i];
        i += 1;
    }
    mask
}

/// Operations of more than 32 operands (a long concatenation) keep all or nothing.
fn has(mask: u32, i: usize) -> bool {
    if i < 32 { mask >> i & 1 == 1 } else { mask == u32::MAX }
}
