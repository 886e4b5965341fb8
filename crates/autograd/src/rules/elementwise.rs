//! Any elementwise function: first order by a compiled kernel, further orders by formula.

use crate::ops::{Apply, ArithmeticOps, Elementwise, ElementwiseGrad, Formula, Function, MathOps, Value};
use crate::{Differentiable, Keep, Outputs, Result, Tensor, Var};

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> Differentiable for Elementwise<F, IN, OUT> {
    fn keeps(&self) -> Keep {
        match (self.0.constant_partials(), F::FROM_OUTPUT) {
            (Some(_), _) => Keep::NOTHING,
            (None, true) => Keep::OUTPUTS,
            (None, false) => Keep::INPUTS,
        }
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        if let Some(partials) = self.0.constant_partials() {
            let dy = super::only(dy);
            let scaled = |(&need, partial): (&bool, f64)| match partial {
                _ if !need => Ok(None),
                1.0 => Ok(Some(dy.clone())),
                -1.0 => MathOps::neg(&dy).map(Some),
                _ => dy.mul(partial).map(Some),
            };
            return need.iter().zip(partials).map(scaled).collect();
        }
        let mut inputs = if F::FROM_OUTPUT { y.to_vec() } else { x.to_vec() };
        inputs.extend(cotangents(dy, y));
        let op = ElementwiseGrad::<F, IN, OUT> { function: self.0.clone(), need: std::array::from_fn(|i| need[i]) };
        spread(Var::apply_op(op, &inputs.iter().collect::<Vec<_>>())?, need)
    }
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> Differentiable for ElementwiseGrad<F, IN, OUT> {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        self.formula().vjp(x, y, dy, need)
    }
}

impl Differentiable for Formula {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut inputs = x.to_vec();
        inputs.extend(cotangents(dy, y));
        spread(Var::apply_op(self.gradient(need), &inputs.iter().collect::<Vec<_>>())?, need)
    }
}

/// The gradients of the results, zeros where there is none.
fn cotangents<'a>(dy: &'a [Option<Var>], y: &'a [Var]) -> impl Iterator<Item = Var> + 'a {
    dy.iter().zip(y).map(|(dy, y)| dy.clone().unwrap_or_else(|| Var::constant(Tensor::filled(y.tensor().spec(), 0.0))))
}

/// One gradient for each operand in need, in order.
fn spread(gradients: Outputs<Var>, need: &[bool]) -> Result<Vec<Option<Var>>> {
    let mut gradients = gradients.into_iter();
    Ok(need.iter().map(|need| if *need { gradients.next() } else { None }).collect())
}
