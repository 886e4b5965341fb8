//! The activation functions of neural networks. Conventions are PyTorch's: at a kink the derivative is the one of the
//! lower side.

use super::{compiled_here, unary_functions};
use crate::ops::{Function, Operand, Value, ViewOps};
use crate::{Error, Result, Scalar};
use std::panic::Location;

/// Constants of SELU (Klambauer et al. 2017): alpha and scale for which activations keep mean 0 and variance 1.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

#[inline(always)]
fn elu<S: Scalar>(x: S, alpha: f64) -> S {
    S::select(S::lit(0.0).lt(x.clone()), x.clone(), S::lit(alpha) * x.exp_m1())
}

/// `x` between the bounds, with slope 0 at a bound, as beyond it.
#[inline(always)]
fn hard<S: Scalar>(x: S, min: f64, max: f64) -> S {
    let y = S::select(S::lit(min).lt(x.clone()), x.clone(), S::lit(min));
    let y = S::select(x.clone().lt(S::lit(max)), y, S::lit(max));
    S::select(x.clone().is_nan(), x, y)
}

unary_functions! {
    /// Activation functions without parameters.
    ActivationOps;
    /// `max(x, 0)`.
    relu Relu Arithmetic |x| S::select(x.clone().le(S::lit(0.0)), S::lit(0.0), x),
        slope |y| S::select(y.le(S::lit(0.0)), S::lit(0.0), S::lit(1.0));
    /// `x` limited to 0 … 6.
    relu6 Relu6 Arithmetic |x| hard(x, 0.0, 6.0);
    /// The logistic function `1 / (1 + exp(-x))`.
    sigmoid Sigmoid Float |x| x.sigmoid(), slope |y| y.clone() * (S::lit(1.0) - y);
    /// `ln(sigmoid(x))` without underflow.
    log_sigmoid LogSigmoid Float |x| -(-x).softplus();
    /// `x · sigmoid(x)`, also called swish.
    silu Silu Float |x| x.clone() * x.sigmoid();
    /// `x · tanh(softplus(x))`.
    mish Mish Float |x| x.clone() * x.softplus().tanh();
    /// `x · Φ(x)` with the normal distribution function Φ.
    gelu Gelu Float |x| {
        let cdf = S::lit(0.5) * (S::lit(1.0) + (x.clone() * S::lit(std::f64::consts::FRAC_1_SQRT_2)).erf());
        x * cdf
    };
    /// GELU by the tanh approximation.
    gelu_tanh GeluTanh Float |x| {
        let cube = x.clone() * x.clone() * x.clone();
        let inner = S::lit(0.797_884_560_802_865_4) * (x.clone() + S::lit(0.044_715) * cube);
        S::lit(0.5) * x * (S::lit(1.0) + inner.tanh())
    };
    /// `scale · elu(x, alpha)` with the constants that keep mean and variance.
    selu Selu Float |x| elu(x, SELU_ALPHA).scaled(SELU_SCALE);
    /// `ln(1 + exp(x))`.
    softplus Softplus Float |x| x.softplus();
    /// `x / (1 + |x|)`.
    softsign Softsign Float |x| x.clone() / (S::lit(1.0) + x.abs());
    /// `x / 6 + 1/2` limited to 0 … 1.
    hard_sigmoid HardSigmoid Float |x| hard(x + S::lit(3.0), 0.0, 6.0) / S::lit(6.0);
    /// `x · hard_sigmoid(x)`.
    hard_silu HardSilu Float |x| x.clone().times(hard(x + S::lit(3.0), 0.0, 6.0) / S::lit(6.0));
    /// `x / 2 + 1/2` limited to 0 … 1.
    sparse_sigmoid SparseSigmoid Float |x| hard(x + S::lit(1.0), 0.0, 2.0) / S::lit(2.0);
    /// 0 up to -1, `x` from 1 on, `(x + 1)² / 4` between: the integral of `sparse_sigmoid`.
    sparse_plus SparsePlus Float |x| {
        let raised = x.clone() + S::lit(1.0);
        let bent = S::select(x.clone().lt(S::lit(1.0)), raised.clone() * raised / S::lit(4.0), x.clone());
        S::select(x.le(S::lit(-1.0)), S::lit(0.0), bent)
    };
    /// `x - tanh(x)`.
    tanhshrink Tanhshrink Float |x| x.clone() - x.tanh();
}

/// Defines activation functions with parameters, and the trait with their methods.
macro_rules! parametric {
    ($($(#[$doc:meta])* $name:ident $op:ident { $($(#[$field_doc:meta])* $field:ident),* } |$self_:ident, $x:ident| $body:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq)]
            pub struct $op {
                $($(#[$field_doc])* pub $field: f64,)*
            }

            impl Function<1> for $op {
                const NAME: &'static str = stringify!($name);
                #[inline(always)]
                fn call<S: Scalar>(&$self_, [$x]: [S; 1]) -> [S; 1] { [$body] }
                compiled_here!(1);
            }
        )*

        /// Activation functions with parameters.
        pub trait ParametricActivationOps: Value {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// None beyond those of memory.
                #[track_caller]
                fn $name(&self, $($field: f64),*) -> Result<Self> {
                    Self::elementwise($op { $($field),* }, [self]).map(|[y]| y)
                }
            )*

            /// `x` where positive, else `slope · x` with a slope that is learned: broadcast against `x`.
            ///
            /// # Errors
            /// Shapes that do not broadcast together.
            #[track_caller]
            fn prelu(&self, slope: impl Operand<Self>) -> Result<Self> {
                Self::elementwise(Prelu, [self, &slope.operand()]).map(|[y]| y)
            }

            /// `a · sigmoid(b)` of the two halves `a` and `b` along `axis`: a gated linear unit (Dauphin et al. 2017).
            ///
            /// ```
            /// use kiln_tensor::{Tensor, ops::*};
            /// let y = Tensor::new([[2.0, 6.0, 0.0, 0.0]]).glu(-1)?;
            /// assert_eq!(y.to_vec::<f64>()?, [1.0, 3.0]);
            /// # Ok::<(), kiln_tensor::Error>(())
            /// ```
            ///
            /// # Errors
            /// An axis that does not exist, or whose length is odd.
            #[track_caller]
            fn glu(&self, axis: isize) -> Result<Self>
            where
                Self: ViewOps,
            {
                let shape = *Value::shape(self);
                let index = shape.axis("glu", axis)?;
                let length = shape.get(index).copied().unwrap_or(1);
                if !length.is_multiple_of(2) {
                    let error = Error::shape("glu", format!("axis {axis} of {shape} has no two halves"));
                    return Err(error.help("its length must be even").at(Location::caller()));
                }
                let halves = self.split(&[length / 2; 2], axis)?;
                Self::elementwise(Glu, [&halves[0], &halves[1]]).map(|[y]| y)
            }
        }
        impl<V: Value> ParametricActivationOps for V {}
    };
}

parametric! {
    /// `x` where positive, else `slope · x`.
    leaky_relu LeakyRelu {
        /// The slope below 0.
        slope
    } |self, x| S::select(S::lit(0.0).lt(x.clone()), x.clone(), x.scaled(self.slope));
    /// `x` where positive, else `alpha · (exp(x) - 1)`.
    elu Elu {
        /// Where it levels off, negated.
        alpha
    } |self, x| elu(x, self.alpha);
    /// `x` where positive, else `alpha · (exp(x / alpha) - 1)`.
    celu Celu {
        /// Where it levels off, negated.
        alpha
    } |self, x| S::select(S::lit(0.0).lt(x.clone()), x.clone(), S::lit(self.alpha) * (x / S::lit(self.alpha)).exp_m1());
    /// `x` limited to a range, with slope 0 at its ends.
    hard_tanh HardTanh {
        /// The lower end.
        min,
        /// The upper end.
        max
    } |self, x| hard(x, self.min, self.max);
    /// `x` outside of `-lambda … lambda`, else 0.
    hard_shrink HardShrink {
        /// Half the width of the dead zone.
        lambda
    } |self, x| S::select(x.clone().abs().le(S::lit(self.lambda)), S::lit(0.0), x);
    /// `x` moved towards 0 by `lambda`, and 0 where it would cross.
    soft_shrink SoftShrink {
        /// Half the width of the dead zone.
        lambda
    } |self, x| S::select(x.clone().abs().le(S::lit(self.lambda)), x.clone() * S::lit(0.0), x.clone() - x.sign() * S::lit(self.lambda));
    /// `x` where it is above `threshold`, else `value`.
    threshold Threshold {
        /// The bound.
        threshold,
        /// What stands below it.
        value
    } |self, x| S::select(x.clone().le(S::lit(self.threshold)), S::lit(self.value), x);
    /// `(x + sqrt(x² + b)) / 2`: ReLU with a bend that is wider the larger `b` is (Barron 2021). Keras has 4.
    squareplus Squareplus {
        /// How wide the bend is; with 0 there is none.
        b
    } |self, x| {
        let root = (x.clone() * x.clone() + S::lit(self.b)).sqrt();
        // Below 0 the sum would cancel.
        let below = S::lit(0.5 * self.b) / (root.clone() - x.clone());
        S::select(x.clone().lt(S::lit(0.0)), below, S::lit(0.5) * (x + root))
    };
    /// `softplus(beta · x) / beta`, and `x` itself where `beta · x` is above `threshold`.
    softplus_scaled SoftplusScaled {
        /// How sharp the bend is.
        beta,
        /// Where it becomes linear.
        threshold
    } |self, x| {
        let scaled = x.clone().scaled(self.beta);
        S::select(S::lit(self.threshold).lt(scaled.clone()), x, scaled.softplus() / S::lit(self.beta))
    };
}

/// `x` where positive, else `slope · x`, with the slope an operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prelu;

impl Function<2> for Prelu {
    const NAME: &'static str = "prelu";
    #[inline(always)]
    fn call<S: Scalar>(&self, [x, slope]: [S; 2]) -> [S; 1] {
        [S::select(S::lit(0.0).lt(x.clone()), x.clone(), slope.times(x))]
    }
    compiled_here!(2);
}

/// `a · sigmoid(b)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Glu;

impl Function<2> for Glu {
    const NAME: &'static str = "glu";
    #[inline(always)]
    fn call<S: Scalar>(&self, [a, b]: [S; 2]) -> [S; 1] {
        [a * b.sigmoid()]
    }
    compiled_here!(2);
}
