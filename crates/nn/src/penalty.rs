//! What weights are held to: terms of the loss that keep them small, and constraints after each update. Keras's formulas.

use crate::{Error, Result};
use kiln_autograd::ops::{ArithmeticOps, CastOps, MathOps, Ops, ReduceOps, Value, ViewOps, keep};
use kiln_autograd::{Tensor, Var};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Added to norms before something is divided by them.
const EPSILON: f64 = 1e-7;

/// A term of the loss that a weight, or the output of a layer, adds to it.
///
/// ```
/// use kiln_nn::{Regularizer, Tensor, Var};
/// let weight = Var::new(Tensor::new([3.0, -4.0]));
/// assert_eq!(Regularizer::L2 { l2: 0.1 }.of(&weight)?.tensor().item()?, 2.5);
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", content = "config", deny_unknown_fields)]
pub enum Regularizer {
    /// `l1 · Σ |w|`.
    L1 {
        /// The factor; Keras's default is 0.01.
        l1: f64,
    },
    /// `l2 · Σ w²`.
    L2 {
        /// The factor; Keras's default is 0.01.
        l2: f64,
    },
    /// The sum of both.
    L1L2 {
        /// The factor of the first.
        l1: f64,
        /// The factor of the second.
        l2: f64,
    },
    /// Keeps the rows or the columns of a matrix apart: `factor` times the mean absolute cosine between two of them.
    Orthogonal {
        /// The factor; Keras's default is 0.01.
        factor: f64,
        /// Whether columns are meant, rather than rows.
        columns: bool,
    },
}

impl Regularizer {
    /// `l1 · Σ |w|`.
    pub fn l1(l1: f64) -> Regularizer {
        Regularizer::L1 { l1 }
    }

    /// `l2 · Σ w²`.
    pub fn l2(l2: f64) -> Regularizer {
        Regularizer::L2 { l2 }
    }

    /// One by its Keras name, with Keras's factors.
    ///
    /// # Errors
    /// A name that is not known.
    pub fn from_name(name: &str) -> Result<Regularizer> {
        Ok(match name.to_lowercase().as_str() {
            "l1" => Regularizer::L1 { l1: 0.01 },
            "l2" => Regularizer::L2 { l2: 0.01 },
            "l1_l2" | "l1l2" => Regularizer::L1L2 { l1: 0.0, l2: 0.0 },
            "orthogonal_regularizer" | "orthogonalregularizer" | "orthogonal" => {
                Regularizer::Orthogonal { factor: 0.01, columns: false }
            }
            _ => return Err(Error::unknown("regularizer", name, &["l1", "l2", "l1_l2", "orthogonal_regularizer"])),
        })
    }

    /// The term.
    ///
    /// # Errors
    /// [`Regularizer::Orthogonal`] of what is no matrix; a factor that is negative or not finite.
    pub fn of(&self, x: &Var) -> Result<Var> {
        let absolute = |factor: f64| -> Result<Var> { Ok(x.abs()?.sum(..)?.mul(factor)?) };
        let square = |factor: f64| -> Result<Var> { Ok(x.square()?.sum(..)?.mul(factor)?) };
        self.check()?;
        match *self {
            Regularizer::L1 { l1 } => absolute(l1),
            Regularizer::L2 { l2 } => square(l2),
            Regularizer::L1L2 { l1, l2 } => Ok(absolute(l1)?.add(&square(l2)?)?),
            Regularizer::Orthogonal { factor, columns } => {
                use kiln_autograd::ops::MatMulOps;
                if Value::shape(x).rank() != 2 {
                    let text = format!("the orthogonal regularizer takes matrices, found {}", Value::shape(x));
                    return Err(Error::config(text, "use l1 or l2 for weights of other ranks"));
                }
                let rows = if columns { x.t()? } else { x.clone() };
                let norm = rows.square()?.sum(keep(1))?.maximum(1e-12)?.sqrt()?;
                let rows = rows.div(&norm)?;
                let n = Value::shape(&rows)[0];
                let apart = x.beside(Tensor::eye(n, n)?.cast(Value::dtype(x))?)?.mul(-1.0)?.add(1.0)?;
                let cosines = rows.matmul(&rows.t()?)?.mul(&apart)?;
                // Half the sum over n · (n - 1) / 2 pairs, as Keras has it.
                let pairs = (n * n.saturating_sub(1)) as f64 / 2.0;
                Ok(cosines.abs()?.sum(..)?.mul(factor * 0.5 / pairs)?)
            }
        }
    }

    fn check(&self) -> Result<()> {
        let factors = match *self {
            Regularizer::L1 { l1 } => [l1, 0.0],
            Regularizer::L2 { l2 } => [0.0, l2],
            Regularizer::L1L2 { l1, l2 } => [l1, l2],
            Regularizer::Orthogonal { factor, .. } => [factor, 0.0],
        };
        match factors.iter().find(|factor| !(factor.is_finite() && **factor >= 0.0)) {
            None => Ok(()),
            Some(factor) => {
                Err(Error::config(format!("regularizer: the factor is {factor}"), "give a finite number from 0"))
            }
        }
    }
}

/// What holds for a weight after each update. Norms are taken along `axis`, 0 as a rule: over what goes into a unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", content = "config", deny_unknown_fields)]
pub enum Constraint {
    /// Norms of at most this.
    MaxNorm {
        /// The largest norm; Keras's default is 2.
        max_value: f64,
        /// The axis of norms.
        axis: isize,
    },
    /// Nothing below 0.
    NonNeg,
    /// Norms of 1.
    UnitNorm {
        /// The axis of norms.
        axis: isize,
    },
    /// Norms within bounds.
    MinMaxNorm {
        /// The smallest norm; Keras's default is 0.
        min_value: f64,
        /// The largest norm; Keras's default is 1.
        max_value: f64,
        /// How much of the way to the bounds is gone at once, up to 1.
        rate: f64,
        /// The axis of norms.
        axis: isize,
    },
}

impl Constraint {
    /// One by its Keras name, with Keras's settings.
    ///
    /// # Errors
    /// A name that is not known.
    pub fn from_name(name: &str) -> Result<Constraint> {
        Ok(match crate::sequential::snake_case(name).as_str() {
            "max_norm" => Constraint::MaxNorm { max_value: 2.0, axis: 0 },
            "non_neg" => Constraint::NonNeg,
            "unit_norm" => Constraint::UnitNorm { axis: 0 },
            "min_max_norm" => Constraint::MinMaxNorm { min_value: 0.0, max_value: 1.0, rate: 1.0, axis: 0 },
            _ => {
                let known = ["max_norm", "non_neg", "unit_norm", "min_max_norm"];
                return Err(Error::unknown("constraint", name, &known));
            }
        })
    }

    /// The weight, held to it.
    ///
    /// # Errors
    /// An axis that the weight does not have.
    pub fn apply<V: Ops>(&self, w: &V) -> Result<V> {
        let norms = |axis: isize| w.square()?.sum(keep(axis))?.sqrt();
        let scaled = |norms: &V, wanted: &V| w.mul(&wanted.div(&norms.add(EPSILON)?)?);
        Ok(match *self {
            Constraint::NonNeg => w.maximum(0.0)?,
            Constraint::UnitNorm { axis } => w.div(&norms(axis)?.add(EPSILON)?)?,
            Constraint::MaxNorm { max_value, axis } => {
                let norms = norms(axis)?;
                scaled(&norms, &norms.minimum(max_value)?)?
            }
            Constraint::MinMaxNorm { min_value, max_value, rate, axis } => {
                let norms = norms(axis)?;
                let inside = norms.maximum(min_value)?.minimum(max_value)?;
                scaled(&norms, &inside.mul(rate)?.add(&norms.mul(1.0 - rate)?)?)?
            }
        })
    }
}

/// Reads a thing that is written as its name, as `{"name": …, "config": {…}}`, or as Keras writes it,
/// `{"class_name": …, "config": {…}}`, where settings that are not named have Keras's defaults.
pub(crate) fn by_name<T: Serialize + serde::de::DeserializeOwned>(
    json: &Json,
    from_name: fn(&str) -> Result<T>,
) -> Result<T> {
    let whole = |json: &Json| T::deserialize(json).map_err(|e| Error::config(e.to_string(), ""));
    if let Some(name) = json.as_str() {
        return from_name(name);
    }
    let Some(class) = json["class_name"].as_str() else { return whole(json) };
    let mut known = serde_json::to_value(from_name(class)?).map_err(|e| Error::config(e.to_string(), ""))?;
    for (name, value) in json["config"].as_object().into_iter().flatten() {
        // What is drawn follows from the model's seed, and rows are what columns are not.
        match (name.as_str(), value.as_str()) {
            ("seed", _) => {}
            ("mode", Some(mode @ ("rows" | "columns"))) => known["config"]["columns"] = Json::from(mode == "columns"),
            _ => known["config"][name] = value.clone(),
        }
    }
    whole(&known)
}
