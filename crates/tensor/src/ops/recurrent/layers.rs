//! Stacks of recurrent layers with PyTorch's weights, in one or two directions: made of products and of the layers here.

use crate::ops::{Ops, concat, stack};
use crate::{Error, Result, Shape, Spec, Tensor};
use std::panic::Location;

/// How a stack of recurrent layers is built; the default is PyTorch's, one layer in one direction with time first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrentStack {
    /// How many layers, each over the results of the one before.
    pub layers: usize,
    /// Whether each layer goes through the steps backwards too; both results are side by side.
    pub bidirectional: bool,
    /// Whether there are biases: two for each layer and direction.
    pub biases: bool,
    /// Whether the first dimension is the batch and not time.
    pub batch_first: bool,
}

impl Default for RecurrentStack {
    fn default() -> RecurrentStack {
        RecurrentStack { layers: 1, bidirectional: false, biases: true, batch_first: false }
    }
}

/// Stacks of recurrent layers. Weights are PyTorch's: of each layer, and of each direction in it, those of the inputs
/// `[gates · units, features]`, those of the state `[gates · units, units]`, and the two biases `[gates · units]`.
pub trait RecurrentStackOps: Ops {
    /// Long short-term memories with the gates i, f, g, o: the states after each step, and the last `h` and `c`.
    ///
    /// # Shapes
    /// `[time, batch, features]` and the first `h` and `c`, `[layers · directions, batch, units]`, give
    /// `[time, batch, directions · units]` and twice `[layers · directions, batch, units]`.
    ///
    /// # Errors
    /// Another number of weights; shapes that do not fit; no step.
    #[track_caller]
    fn lstm_stack(
        &self,
        h: &Self,
        c: &Self,
        weights: &[&Self],
        options: &RecurrentStack,
    ) -> Result<(Self, Self, Self)> {
        let at = Location::caller();
        let run = |gates: &Self, kernel: &Self, i: isize, _: Option<&Self>| {
            let (all_h, all_c) = gates.lstm(kernel, &h.index(0, i)?, &c.index(0, i)?, None)?;
            Ok(vec![all_h, all_c])
        };
        let y = stacked(self, weights, options, 2, true, run).map_err(|e| e.within("lstm_stack", at))?;
        let [y, h, c] = y.try_into().unwrap_or_else(|_| unreachable!("the steps and two states"));
        Ok((y, h, c))
    }

    /// Gated recurrent units with the gates r, z, n, the reset gate after the product.
    ///
    /// # Shapes
    /// As [`RecurrentStackOps::lstm_stack`], without `c`.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn gru_stack(&self, h: &Self, weights: &[&Self], options: &RecurrentStack) -> Result<(Self, Self)> {
        let at = Location::caller();
        // The operation has z before r.
        let turned = |x: &Self| {
            // Three whatever the length, of which the operation says whether it fits.
            let parts = x.tensor_split(3, -1)?;
            concat(&[&parts[1], &parts[0], &parts[2]], -1)
        };
        let run = |gates: &Self, kernel: &Self, i: isize, bias: Option<&Self>| {
            let bias = match bias {
                Some(bias) => turned(bias)?,
                None => {
                    let width = Self::shape(kernel).last().copied().unwrap_or(0);
                    let spec = Spec::new(Shape::new(&[width])?, Self::dtype(kernel));
                    kernel.beside(Tensor::filled(spec, 0.0))?
                }
            };
            Ok(vec![turned(gates)?.gru(&turned(kernel)?, &bias, &h.index(0, i)?, None)?])
        };
        let y = stacked(self, weights, options, 1, false, run).map_err(|e| e.within("gru_stack", at))?;
        let [y, h] = y.try_into().unwrap_or_else(|_| unreachable!("the steps and a state"));
        Ok((y, h))
    }

    /// Layers of `h ← tanh(x · W + h · U + b)`.
    ///
    /// # Shapes
    /// As [`RecurrentStackOps::gru_stack`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn rnn_stack(&self, h: &Self, weights: &[&Self], options: &RecurrentStack) -> Result<(Self, Self)> {
        let at = Location::caller();
        let run = |gates: &Self, kernel: &Self, i: isize, _: Option<&Self>| {
            Ok(vec![gates.simple_rnn(kernel, &h.index(0, i)?, None)?])
        };
        let y = stacked(self, weights, options, 1, true, run).map_err(|e| e.within("rnn_stack", at))?;
        let [y, h] = y.try_into().unwrap_or_else(|_| unreachable!("the steps and a state"));
        Ok((y, h))
    }

    /// One step of a long short-term memory: the new `h` and `c`, `[batch, units]`, of inputs `[batch, features]`.
    ///
    /// # Errors
    /// As [`RecurrentStackOps::lstm_stack`].
    #[track_caller]
    fn lstm_cell(&self, h: &Self, c: &Self, weights: &[&Self]) -> Result<(Self, Self)> {
        let at = Location::caller();
        let step = || {
            let options = RecurrentStack { biases: weights.len() > 2, ..RecurrentStack::default() };
            let (_, h, c) = self.unsqueeze(0)?.lstm_stack(&h.unsqueeze(0)?, &c.unsqueeze(0)?, weights, &options)?;
            Ok((h.squeeze(0)?, c.squeeze(0)?))
        };
        step().map_err(|e: Error| e.within("lstm_cell", at))
    }
}
impl<V: Ops> RecurrentStackOps for V {}

/// The results of all layers: the steps of the last, and the `states` of each at its end. `run` gets gates `[B, T, width]`, a
/// kernel `[units, width]`, the number of layer and direction, and the bias of the state's products, which is part of the gates
/// where they are `joined`.
fn stacked<V: Ops>(
    x: &V,
    weights: &[&V],
    options: &RecurrentStack,
    states: usize,
    joined: bool,
    run: impl Fn(&V, &V, isize, Option<&V>) -> Result<Vec<V>>,
) -> Result<Vec<V>> {
    let per = if options.biases { 4 } else { 2 };
    let directions = if options.bidirectional { 2 } else { 1 };
    if options.layers == 0 || Some(weights.len()) != options.layers.checked_mul(per * directions) {
        let text = format!(
            "{} weights for {} layers in {directions} directions, each of which has {per}",
            weights.len(),
            options.layers
        );
        return Err(Error::argument("recurrent", text));
    }
    let mut x = if options.batch_first { x.clone() } else { x.transpose(0, 1)? };
    let mut last: Vec<Vec<V>> = vec![Vec::new(); states];
    for layer in 0..options.layers {
        let mut sides = Vec::with_capacity(directions);
        for direction in 0..directions {
            let index = layer * directions + direction;
            let own = &weights[index * per..(index + 1) * per];
            let steps = if direction == 0 { x.clone() } else { x.flip(1)? };
            let mut gates = steps.matmul(&own[0].t()?)?;
            if let [_, _, bias, state_bias] = own {
                gates = gates.add(*bias)?;
                gates = if joined { gates.add(*state_bias)? } else { gates };
            }
            let found = run(&gates, &own[1].t()?, index as isize, own.get(3).copied())?;
            for (last, all) in last.iter_mut().zip(&found) {
                last.push(all.index(1, -1)?);
            }
            sides.push(if direction == 0 { found[0].clone() } else { found[0].flip(1)? });
        }
        x = concat(&sides.iter().collect::<Vec<_>>(), -1)?;
    }
    let y = if options.batch_first { x } else { x.transpose(0, 1)? };
    let mut all = vec![y];
    for last in last {
        all.push(stack(&last.iter().collect::<Vec<_>>(), 0)?);
    }
    Ok(all)
}
