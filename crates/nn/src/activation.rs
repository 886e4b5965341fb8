//! Activation functions by name.

use crate::{Error, Result};
use kiln_autograd::ops::Ops;
use kiln_autograd::{Shape, Var};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// An activation function. Made from its Keras name; a name that is not known is reported when the layer is built.
///
/// ```
/// use kiln_nn::Activation;
/// assert_eq!(Activation::from("ReLU"), Activation::Relu);
/// assert!(Activation::from("relo").checked().unwrap_err().to_string().contains("relu"));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// `x`.
    #[default]
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// `x` limited to 0 … 6.
    Relu6,
    /// `x` where positive, else `slope · x`; the name `leaky_relu` stands for a slope of 0.2, as in Keras.
    LeakyRelu(f64),
    /// `x` where positive, else `exp(x) - 1`.
    Elu,
    /// Scaled ELU.
    Selu,
    /// `x` where positive, else `exp(x) - 1`, smooth to the first order.
    Celu,
    /// `x · Φ(x)`.
    Gelu,
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · tanh(softplus(x))`.
    Mish,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x / 6 + 1/2` limited to 0 … 1.
    HardSigmoid,
    /// `x · hard_sigmoid(x)`.
    HardSilu,
    /// `ln(sigmoid(x))`.
    LogSigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `exp(x) / Σ exp(x)` along the last axis.
    Softmax,
    /// The logarithm of softmax along the last axis.
    LogSoftmax,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `exp(x)`.
    Exponential,
    /// `x / 2 + 1/2` limited to 0 … 1.
    SparseSigmoid,
    /// 0 up to -1, `x` from 1 on, `(x + 1)² / 4` between.
    SparsePlus,
    /// The point of the simplex that is nearest along the last axis: like softmax, with zeros.
    Sparsemax,
    /// `(x + sqrt(x² + 4)) / 2`.
    Squareplus,
    /// `x` limited to -1 … 1.
    HardTanh,
    /// `x` outside of ±1/2, else 0.
    HardShrink,
    /// `x` moved towards 0 by 1/2, and 0 where it would cross.
    SoftShrink,
    /// `x - tanh(x)`.
    TanhShrink,
    /// `x` where positive, else 0, with a threshold of 0 for both: Keras's default of `threshold`.
    Threshold,
    /// `a · sigmoid(b)` of the two halves of the last axis.
    Glu,
    /// Any other name: that of one of your own, [`Activation::register`], or of none.
    Other(String),
}

/// An activation of one's own.
type Own = fn(&Var) -> Result<Var>;

/// Those that programs have registered, by name.
static OWN: RwLock<BTreeMap<String, Own>> = RwLock::new(BTreeMap::new());

/// Keras's names, first the one that is written to files.
const NAMES: &[(&str, Activation)] = &[
    ("linear", Activation::Linear),
    ("relu", Activation::Relu),
    ("relu6", Activation::Relu6),
    ("leaky_relu", Activation::LeakyRelu(0.2)),
    ("elu", Activation::Elu),
    ("selu", Activation::Selu),
    ("celu", Activation::Celu),
    ("gelu", Activation::Gelu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("mish", Activation::Mish),
    ("sigmoid", Activation::Sigmoid),
    ("hard_sigmoid", Activation::HardSigmoid),
    ("hard_silu", Activation::HardSilu),
    ("hard_swish", Activation::HardSilu),
    ("log_sigmoid", Activation::LogSigmoid),
    ("tanh", Activation::Tanh),
    ("softmax", Activation::Softmax),
    ("log_softmax", Activation::LogSoftmax),
    ("softplus", Activation::Softplus),
    ("softsign", Activation::Softsign),
    ("exponential", Activation::Exponential),
    ("sparse_sigmoid", Activation::SparseSigmoid),
    ("sparse_plus", Activation::SparsePlus),
    ("sparsemax", Activation::Sparsemax),
    ("squareplus", Activation::Squareplus),
    ("hard_tanh", Activation::HardTanh),
    ("hard_shrink", Activation::HardShrink),
    ("soft_shrink", Activation::SoftShrink),
    ("tanh_shrink", Activation::TanhShrink),
    ("threshold", Activation::Threshold),
    ("glu", Activation::Glu),
];

impl From<&str> for Activation {
    fn from(name: &str) -> Activation {
        let plain = |s: &str| s.to_lowercase().replace(['_', '-'], "");
        match NAMES.iter().find(|(known, _)| plain(known) == plain(name)) {
            Some((_, activation)) => activation.clone(),
            None => Activation::Other(name.to_owned()),
        }
    }
}

impl Activation {
    /// Gives a function of your own a name, for every argument that takes an activation's and for model files. It keeps the shape of
    /// what it is given. Of two of one name, the later counts.
    ///
    /// ```
    /// use kiln_nn::{Activation, Key, Module, Pass, Sequential, Tensor, Var, layers::Dense, ops::*};
    /// Activation::register("swoosh", |x| Ok(x.mul(&x.sub(1.0)?.sigmoid()?)?))?;
    /// let net = Sequential::new([3]).add(Dense::new(8).activation("swoosh")).build()?;
    /// let y = net.forward(&Var::new(Tensor::ones([2, 3])?), &mut Pass::inference())?;
    /// assert_eq!(y.tensor().shape()[..], [2, 8]);
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// The name is one of Kiln's.
    pub fn register(name: &str, function: Own) -> Result<()> {
        match Activation::from(name) {
            Activation::Other(name) => {
                OWN.write().unwrap_or_else(PoisonError::into_inner).insert(name, function);
                Ok(())
            }
            own => {
                let text = format!("register: `{own}` is an activation of Kiln's");
                Err(Error::config(text, "give your activation another name"))
            }
        }
    }

    /// The activation, unless its name is unknown.
    ///
    /// # Errors
    /// An unknown name, with the nearest known one; a slope that is no number.
    pub fn checked(&self) -> Result<&Activation> {
        match self {
            Activation::Other(name) => registered(name).map(|_| self),
            Activation::LeakyRelu(slope) if !slope.is_finite() => {
                Err(Error::config(format!("leaky_relu: the slope is {slope}"), "give a finite number, such as 0.2"))
            }
            known => Ok(known),
        }
    }

    /// [`Activation::checked`] for a place within a layer where the shape must stay.
    pub(crate) fn checked_within(&self, class: &str) -> Result<()> {
        match self.checked()?.keeps_shape() {
            true => Ok(()),
            false => {
                let text = format!("{class}: `{self}` gives another shape than it is given");
                Err(Error::config(text, "take one that keeps the shape, such as \"tanh\""))
            }
        }
    }

    /// Whether the result has the shape of `x`.
    pub(crate) fn keeps_shape(&self) -> bool {
        *self != Activation::Glu
    }

    /// The shape of the result for samples of a shape.
    ///
    /// # Errors
    /// A last dimension that it cannot halve.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape> {
        match (self, input.last()) {
            (Activation::Glu, Some(n)) if n.is_multiple_of(2) => Ok(input.with(input.rank() - 1, n / 2)),
            (Activation::Glu, _) => {
                let text = format!("glu: the last dimension of {input} has no two halves");
                Err(Error::config(text, "its length must be even"))
            }
            _ => Ok(*input),
        }
    }

    /// Applies it.
    ///
    /// # Errors
    /// An unknown name.
    pub fn apply<V: Ops + 'static>(&self, x: &V) -> Result<V> {
        Ok(match self {
            Activation::Linear => x.clone(),
            Activation::Relu => x.relu()?,
            Activation::Relu6 => x.relu6()?,
            Activation::LeakyRelu(slope) => x.leaky_relu(*slope)?,
            Activation::Elu => x.elu(1.0)?,
            Activation::Selu => x.selu()?,
            Activation::Celu => x.celu(1.0)?,
            Activation::Gelu => x.gelu()?,
            Activation::Silu => x.silu()?,
            Activation::Mish => x.mish()?,
            Activation::Sigmoid => x.sigmoid()?,
            Activation::HardSigmoid => x.hard_sigmoid()?,
            Activation::HardSilu => x.hard_silu()?,
            Activation::LogSigmoid => x.log_sigmoid()?,
            Activation::Tanh => x.tanh()?,
            Activation::Softmax => x.softmax(-1)?,
            Activation::LogSoftmax => x.log_softmax(-1)?,
            Activation::Softplus => x.softplus()?,
            Activation::Softsign => x.softsign()?,
            Activation::Exponential => x.exp()?,
            Activation::SparseSigmoid => x.sparse_sigmoid()?,
            Activation::SparsePlus => x.sparse_plus()?,
            Activation::Sparsemax => x.sparsemax(-1)?,
            Activation::Squareplus => x.squareplus(4.0)?,
            Activation::HardTanh => x.hard_tanh(-1.0, 1.0)?,
            Activation::HardShrink => x.hard_shrink(0.5)?,
            Activation::SoftShrink => x.soft_shrink(0.5)?,
            Activation::TanhShrink => x.tanhshrink()?,
            Activation::Threshold => x.threshold(0.0, 0.0)?,
            Activation::Glu => x.glu(-1)?,
            Activation::Other(name) => own(registered(name)?, x)?,
        })
    }
}

/// The function that a program has registered under a name.
fn registered(name: &str) -> Result<Own> {
    let own = OWN.read().unwrap_or_else(PoisonError::into_inner);
    own.get(name).copied().ok_or_else(|| {
        let known = NAMES.iter().map(|(known, _)| *known).chain(own.keys().map(String::as_str));
        Error::unknown("activation", name, &known.collect::<Vec<_>>())
    })
}

/// A function of tracked values, of a value of either kind.
fn own<V: Ops + 'static>(function: Own, x: &V) -> Result<V> {
    let tracked = (x as &dyn Any).downcast_ref::<Var>();
    let y = function(tracked.unwrap_or(&Var::new(x.tensor().clone())))?;
    Ok(match tracked {
        None => V::constant(y.into_tensor()),
        Some(_) => *(Box::new(y) as Box<dyn Any>).downcast().unwrap_or_else(|_| unreachable!("of the type of `x`")),
    })
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, NAMES.iter().find(|(_, a)| a == self)) {
            (_, Some((name, _))) => f.write_str(name),
            (Activation::LeakyRelu(slope), None) => write!(f, "leaky_relu({slope})"),
            (Activation::Other(name), None) => f.write_str(name),
            (other, None) => write!(f, "{other:?}"),
        }
    }
}

impl Serialize for Activation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Activation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Activation, D::Error> {
        let name = String::deserialize(deserializer)?;
        let slope = name.strip_prefix("leaky_relu(").and_then(|s| s.strip_suffix(')')).and_then(|s| s.parse().ok());
        Ok(slope.map_or_else(|| Activation::from(name.as_str()), Activation::LeakyRelu))
    }
}
