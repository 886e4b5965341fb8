//! Any elementwise function: first order by a compiled kernel, further orders by formula.
//!
//! The rules are written for operations behind pointers: nothing here is compiled for each function.

use crate::ops::{
    ArithmeticOps, Elementwise, ElementwiseGrad, ElementwiseOp, Formula, Function, GradientOp, MathOps, Value,
};
use crate::tape::Rule;
use crate::var::run;
use crate::{Differentiable, Keep, Outputs, Result, Tensor, Var};
use std::sync::Arc;

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> Differentiable for Elementwise<F, IN, OUT> {
    fn keeps(&self) -> Keep {
        keeps(F::operation(self))
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        vjp(F::operation(self), x, y, dy, need)
    }
}

impl<F: Function<IN, OUT>, const IN: usize, const OUT: usize> Differentiable for ElementwiseGrad<F, IN, OUT> {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        Differentiable::vjp(&self.formula(), x, y, dy, need)
    }
}

/// The rule of any function.
pub(crate) struct Pointwise(pub(crate) Arc<dyn ElementwiseOp>);

impl Rule for Pointwise {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn keeps(&self) -> Keep {
        keeps(&*self.0)
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        vjp(&*self.0, x, y, dy, need)
    }
}

fn keeps(op: &dyn ElementwiseOp) -> Keep {
    match (op.constant_partial(0), op.is_from_output()) {
        (Some(_), _) => Keep::NOTHING,
        (None, true) => Keep::OUTPUTS,
        (None, false) => Keep::INPUTS,
    }
}

pub(super) fn vjp(
    op: &dyn ElementwiseOp,
    x: &[Var],
    y: &[Var],
    dy: &[Option<Var>],
    need: &[bool],
) -> Result<Vec<Option<Var>>> {
    if op.constant_partial(0).is_some() {
        let dy = super::only(dy);
        let scaled = |(i, &need): (usize, &bool)| match op.constant_partial(i) {
            _ if !need => Ok(None),
            None | Some(1.0) => Ok(Some(dy.clone())),
            Some(-1.0) => MathOps::neg(&dy).map(Some),
            Some(partial) => dy.mul(partial).map(Some),
        };
        return need.iter().enumerate().map(scaled).collect();
    }
    let mut inputs = if op.is_from_output() { y.to_vec() } else { x.to_vec() };
    inputs.extend(cotangents(dy, y));
    let gradient = op.gradient(need);
    let dx = run(&*gradient, &inputs.iter().collect::<Vec<_>>(), || Arc::new(Gradient(gradient.clone())))?;
    spread(dx, need)
}

/// The rule of the gradient of any function.
struct Gradient(Arc<dyn GradientOp>);

impl Rule for Gradient {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        Differentiable::vjp(&self.0.formula(), x, y, dy, need)
    }
}

impl Differentiable for Formula {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let mut inputs = x.to_vec();
        inputs.extend(cotangents(dy, y));
        spread(Var::run(self.gradient(need), &inputs.iter().collect::<Vec<_>>())?, need)
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
