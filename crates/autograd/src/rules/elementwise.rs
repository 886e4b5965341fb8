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
        Pointwise(F::operation(self).to_shared()).keeps()
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        Pointwise(F::operation(self).to_shared()).vjp(x, y, dy, need)
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
        match (self.0.constant_partials(), self.0.is_from_output()) {
            (Some(_), _) => Keep::NOTHING,
            (None, true) => Keep::OUTPUTS,
            (None, false) => Keep::INPUTS,
        }
    }

    fn vjp(&self, x: &[Var], y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        // Before anything else: it says what has no derivative.
        let gradient = self.0.gradient(need)?;
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
        let mut inputs = if self.0.is_from_output() { y.to_vec() } else { x.to_vec() };
        inputs.extend(cotangents(dy, y));
        let mut dx = Outputs::default();
        run(&*gradient, &inputs.iter().collect::<Vec<_>>(), || Arc::new(Gradient(gradient.clone())), &mut dx)?;
        spread(dx, need)
    }
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

#[cfg(test)]
mod tests {
    use crate::ops::{Apply, Elementwise, Function, ReduceOps};
    use crate::{Scalar, Tape, Tensor, Var};

    #[derive(Debug, Clone, PartialEq)]
    struct Shift {
        is_constant: bool,
    }

    impl Function<1> for Shift {
        const NAME: &'static str = "shift";
        const NUMBERS: usize = 1;
        fn call<S: Scalar>(&self, x: [S; 1]) -> [S; 1] {
            x
        }
        fn call_with<S: Scalar>(&self, [x]: [S; 1], numbers: &[S]) -> [S; 1] {
            [x + numbers[0].clone()]
        }
        fn constant_partials(&self) -> Option<[f64; 1]> {
            self.is_constant.then_some([1.0])
        }
    }

    #[test]
    fn a_function_with_numbers_has_no_derivative() {
        for is_constant in [false, true] {
            let x = Tape::new().watch(&Tensor::new([1.0, 2.0]));
            let number = Var::new(Tensor::number(3.0));
            let y = Var::apply_one(Elementwise::<_, 1, 1>(Shift { is_constant }), &[&x, &number]).unwrap();
            let error = y.sum(..).unwrap().backward().unwrap_err().to_string();
            assert!(
                error.starts_with("shift: a function with numbers beside its operands has no derivative"),
                "{error}"
            );
        }
    }
}
