//! A convolution and its two gradients are linear in each operand; the gradient of each is one of the other two.

use super::only;
use crate::ops::{Apply, Conv2d, Conv2dInputGrad, Conv2dWeightGrad, Value};
use crate::{Differentiable, Keep, Result, Var};

fn wanted(need: bool, f: impl FnOnce() -> Result<Var>) -> Result<Option<Var>> {
    if need { f().map(Some) } else { Ok(None) }
}

/// Height and width of the dimensions from `first`.
fn sides(x: &Var, first: usize) -> [usize; 2] {
    let shape = Value::shape(x);
    [shape[first], shape[first + 1]]
}

fn input_grad(conv: Conv2d, x: &Var, dy: &Var, w: &Var) -> Result<Var> {
    Var::apply_one(Conv2dInputGrad { conv, input: sides(x, 1) }, &[dy, w])
}

fn weight_grad(conv: Conv2d, w: &Var, x: &Var, dy: &Var) -> Result<Var> {
    Var::apply_one(Conv2dWeightGrad { conv, kernel: sides(w, 0) }, &[x, dy])
}

impl Differentiable for Conv2d {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let ([x, w], dy) = ([&x[0], &x[1]], &only(dy));
        Ok(vec![wanted(need[0], || input_grad(*self, x, dy, w))?, wanted(need[1], || weight_grad(*self, w, x, dy))?])
    }
}

/// `x = gᵀ(w)`: with the gradient `u` of `x`, that of `g` is `u ∗ w`, and that of `w` what `u` and `g` give.
impl Differentiable for Conv2dInputGrad {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let ([g, w], u) = ([&x[0], &x[1]], &only(dy));
        Ok(vec![
            wanted(need[0], || Var::apply_one(self.conv, &[u, w]))?,
            wanted(need[1], || weight_grad(self.conv, w, u, g))?,
        ])
    }
}

/// With the gradient `v` of the weights, that of `x` is what `g` and `v` give, and that of `g` is `x ∗ v`.
impl Differentiable for Conv2dWeightGrad {
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }

    fn vjp(&self, x: &[Var], _y: &[Var], dy: &[Option<Var>], need: &[bool]) -> Result<Vec<Option<Var>>> {
        let ([x, g], v) = ([&x[0], &x[1]], &only(dy));
        Ok(vec![
            wanted(need[0], || input_grad(self.conv, x, g, v))?,
            wanted(need[1], || Var::apply_one(self.conv, &[x, v]))?,
        ])
    }
}
