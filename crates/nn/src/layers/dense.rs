//! The fully connected layer.

use super::settings::{weighted, weighted_settings};
use crate::layer::{Layer, Weight, Weights};
use crate::{Error, Pass, Result};
use kiln_autograd::ops::{ArithmeticOps, MatMulOps};
use kiln_autograd::{Shape, Var};

weighted_settings! {
    /// `activation(x · kernel + bias)`: every unit sees all of the input's last dimension.
    ///
    /// # Shapes
    /// `[batch, …, n]` to `[batch, …, units]`; `kernel` is `[n, units]`, `bias` `[units]`.
    Dense {
        units: usize = 0, new;
    }
}

impl Dense {
    /// A layer of `units` outputs, linear, with a bias; the kernel starts from Glorot's uniform distribution, the bias
    /// from 0.
    pub fn new(units: usize) -> Dense {
        Dense { units, ..Dense::default() }
    }
}

impl Layer for Dense {
    weighted!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let Some(last) = input.rank().checked_sub(1) else {
            return Err(Error::config(
                "Dense: the input has no dimension to connect to",
                "give samples of at least one dimension",
            ));
        };
        if self.units == 0 {
            return Err(Error::config("Dense: 0 units give no output", "ask for at least one unit"));
        }
        Ok(Shape::new(&input.with(last, self.units))?)
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        self.kernel_and_bias(&[input.last().copied().unwrap_or(1), self.units], &[self.units])
    }

    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let y = x.matmul(&pass.parameter(weights.get("kernel")?))?;
        match weights.find("bias") {
            Some(bias) => Ok(y.add(&pass.parameter(bias))?),
            None => Ok(y),
        }
    }
}
