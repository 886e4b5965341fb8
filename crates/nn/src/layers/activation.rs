//! Activation functions as layers of their own.

use super::settings::{described, settings};
use crate::layer::{AnyLayer, Layer, Weight, Weights, arity};
use crate::{AxisList, Constraint, Error, Initializer, Pass, Regularizer, Result, Signal};
use kiln_autograd::ops::{
    ActivationOps, ArithmeticOps, ComparisonOps, MathOps, ParametricActivationOps, SelectOps, SoftmaxOps,
    StatisticsOps, Value, keep,
};
use kiln_autograd::{DType, Shape, Tensor, Var};

settings! {
    /// Applies an activation function to its input.
    Activation {
        activation: crate::Activation = crate::Activation::Linear, new;
    }
}

impl Activation {
    /// A layer for an activation: a name such as `"relu"`, or a [`crate::Activation`].
    pub fn new(activation: impl Into<crate::Activation>) -> Activation {
        Activation { activation: activation.into() }
    }
}

impl Layer for Activation {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.activation.output_shape(input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        // What changes the shape is part of the layer, for the layer's shape is checked before its activation.
        match self.activation.keeps_shape() {
            true => Ok(x.clone()),
            false => self.activation.apply(x),
        }
    }

    fn activation(&self) -> crate::Activation {
        match self.activation.keeps_shape() {
            true => self.activation.clone(),
            false => crate::Activation::Linear,
        }
    }
}

settings! {
    /// `max(x, 0)`; with its arguments, `negative_slope · (x - threshold)` below the threshold and at most `max_value`.
    ReLU {
        /// The largest result.
        max_value: Option<f64> = None, some f64;
        /// The slope below the threshold.
        negative_slope: f64 = 0.0;
        /// Where the slope becomes 1.
        threshold: f64 = 0.0;
    }
}

impl ReLU {
    /// `max(x, 0)`.
    pub fn new() -> ReLU {
        ReLU::default()
    }

    fn is_plain(&self) -> bool {
        *self == ReLU::default()
    }
}

impl Layer for ReLU {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let holds = |value: f64| value.is_finite() && value >= 0.0;
        if !holds(self.negative_slope) || !holds(self.threshold) || !self.max_value.is_none_or(holds) {
            let text = format!(
                "ReLU: max_value {:?}, negative_slope {} and threshold {}",
                self.max_value, self.negative_slope, self.threshold
            );
            return Err(Error::config(text, "all are finite numbers from 0"));
        }
        Ok(*input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        if self.is_plain() {
            return Ok(x.clone());
        }
        let zero = Var::new(Tensor::scalar(0.0, Value::dtype(x)));
        let below = match self.negative_slope {
            0.0 => zero,
            slope => x.sub(self.threshold)?.mul(slope)?,
        };
        let y = x.gt(self.threshold)?.select(x, &below)?;
        Ok(match self.max_value {
            Some(most) => y.minimum(most)?,
            None => y,
        })
    }

    fn activation(&self) -> crate::Activation {
        if self.is_plain() { crate::Activation::Relu } else { crate::Activation::Linear }
    }
}

settings! {
    /// `x` where positive, else `negative_slope · x`.
    LeakyReLU {
        /// The slope below 0.
        negative_slope: f64 = 0.3;
    }
}

impl LeakyReLU {
    /// A slope of 0.3.
    pub fn new() -> LeakyReLU {
        LeakyReLU::default()
    }
}

impl Layer for LeakyReLU {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(*input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        Ok(x.clone())
    }

    fn activation(&self) -> crate::Activation {
        crate::Activation::LeakyRelu(self.negative_slope)
    }
}

settings! {
    /// `x` where positive, else `alpha · (exp(x) - 1)`.
    ELU {
        /// Where it levels off, negated.
        alpha: f64 = 1.0;
    }
}

impl ELU {
    /// With an alpha of 1.
    pub fn new() -> ELU {
        ELU::default()
    }
}

impl Layer for ELU {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        super::require(self.alpha.is_finite(), "ELU", "alpha", self.alpha, "a finite number, such as 1")?;
        Ok(*input)
    }

    fn call(&self, x: &Var, _weights: Weights<'_>, _pass: &mut Pass) -> Result<Var> {
        Ok(x.elu(self.alpha)?)
    }
}

settings! {
    /// `x` where positive, else `alpha · x` with a slope for each element of a sample, which is learned (He et al. 2015).
    ///
    /// # Shapes
    /// `[batch, …]` to the same; `alpha` has the shape of a sample, with length 1 along `shared_axes`.
    PReLU {
        /// What the slopes start from.
        alpha_initializer: Initializer = Initializer::Zeros;
        /// What the slopes add to the loss.
        alpha_regularizer: Option<Regularizer> = None, some Regularizer;
        /// What holds for the slopes after each update.
        alpha_constraint: Option<Constraint> = None, some Constraint;
        /// Axes along which the slopes are the same, counted with the batch: `[1, 2]` for the pixels of an image.
        shared_axes: AxisList = AxisList::default(), into;
    }
}

impl PReLU {
    /// A slope for each element, from 0.
    pub fn new() -> PReLU {
        PReLU::default()
    }
}

impl Layer for PReLU {
    described!();

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        super::reshape::sample_axes("PReLU", &self.shared_axes, input.rank())?;
        Ok(*input)
    }

    fn weights(&self, input: &Shape) -> Vec<Weight> {
        let shared = super::reshape::sample_axes("PReLU", &self.shared_axes, input.rank()).unwrap_or_default();
        let dims: Vec<usize> =
            input.iter().enumerate().map(|(i, d)| if shared.contains(&i) { 1 } else { *d }).collect();
        let alpha = Weight::new("alpha", dims, self.alpha_initializer);
        vec![alpha.regularizer(self.alpha_regularizer).constraint(self.alpha_constraint)]
    }

    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> Result<Var> {
        let alpha = pass.parameter(weights.get("alpha")?);
        // Keras's form, which has slope 0 and not alpha at 0.
        Ok(x.relu()?.sub(&alpha.mul(&x.mul(-1.0)?.relu()?)?)?)
    }
}

settings! {
    /// `exp(x) / Σ exp(x)` along an axis, or over several; where a mask of the whole value is false, as if `x` were -∞. Where it is
    /// false all along, all are alike; Keras has 0 there.
    Softmax {
        /// The axes, counted with the batch.
        axis: AxisList = AxisList::from(-1), into;
    }
}

impl Softmax {
    /// Along the last axis.
    pub fn new() -> Softmax {
        Softmax::default()
    }
}

impl AnyLayer for Softmax {
    described!(any);

    fn infer(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [input] = arity("Softmax", inputs)?;
        super::reshape::sample_axes("Softmax", &self.axis, input.rank())?;
        Ok(vec![*input])
    }

    fn run(&self, x: &[Signal], _weights: Weights<'_>, _pass: &mut Pass) -> Result<Vec<Signal>> {
        let [x] = arity("Softmax", x)?;
        let mut y = x.value.clone();
        if let Some(mask) = x.mask.as_ref().filter(|mask| Value::shape(*mask) == x.shape()) {
            y = mask.select(&y, &hidden(Value::dtype(&y)))?;
        }
        y = match self.axis[..] {
            [-1] => y,
            [axis] => y.softmax(axis)?,
            _ => y.sub(&y.logsumexp(keep(&self.axis[..]))?)?.exp()?,
        };
        Ok(vec![Signal::new(y).masked(x.mask.clone())])
    }

    fn final_activation(&self) -> crate::Activation {
        if *self.axis == [-1] { crate::Activation::Softmax } else { crate::Activation::Linear }
    }
}

/// As far below others as no number of a narrow type is, and finite: where all are hidden, none is NaN.
pub(super) fn hidden(dtype: DType) -> Var {
    Var::new(Tensor::scalar(if dtype == DType::F16 { -3e4 } else { -1e9 }, dtype))
}

/// `softmax` along the last axis over what the mask counts; 0 elsewhere, and everywhere where it counts nothing.
pub(super) fn masked_softmax(x: &Var, mask: &Var) -> Result<Var> {
    let dtype = Value::dtype(x);
    let y = mask.select(x, &hidden(dtype))?.softmax(-1)?;
    Ok(mask.select(&y, &Var::new(Tensor::scalar(0.0, dtype)))?)
}
