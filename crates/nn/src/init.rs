//! Initializers: what a weight is before training. Formulas and names are Keras's; a kernel's shape is `[…, in, out]`.

use crate::{Error, Result, names};
use kiln_autograd::ops::{ArithmeticOps, CastOps, ViewOps};
use kiln_autograd::{DType, IntoShape, Key, Shape, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How the first values of a weight are drawn.
///
/// ```
/// use kiln_nn::init::{Distribution, Initializer};
/// let init = Initializer::from_name("glorot_uniform")?;
/// assert_eq!(init.distribution([2, 4])?, Distribution::Uniform { low: -1.0, high: 1.0 });
/// # Ok::<(), kiln_nn::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", content = "config", deny_unknown_fields)]
pub enum Initializer {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// One number everywhere.
    Constant {
        /// The number.
        value: f64,
    },
    /// Evenly between two bounds.
    RandomUniform {
        /// The lower bound.
        minval: f64,
        /// The upper bound.
        maxval: f64,
    },
    /// Normally distributed.
    RandomNormal {
        /// The mean.
        mean: f64,
        /// The deviation.
        stddev: f64,
    },
    /// Normally distributed, within two deviations.
    TruncatedNormal {
        /// The mean.
        mean: f64,
        /// The deviation before the cut.
        stddev: f64,
    },
    /// With variance `scale / fan`.
    VarianceScaling {
        /// The factor.
        scale: f64,
        /// Which fan.
        mode: FanMode,
        /// Which distribution of that variance.
        distribution: Scaled,
    },
    /// Evenly, with variance `2 / (fan_in + fan_out)` (Glorot and Bengio 2010).
    GlorotUniform,
    /// Normally, with that variance.
    GlorotNormal,
    /// Evenly, with variance `2 / fan_in`: for ReLU (He et al. 2015).
    HeUniform,
    /// Normally, with that variance.
    HeNormal,
    /// Evenly, with variance `1 / fan_in` (LeCun et al. 1998): for SELU.
    LecunUniform,
    /// Normally, with that variance.
    LecunNormal,
    /// A matrix with orthogonal rows or columns (Saxe et al. 2013); dimensions before the last are taken together.
    Orthogonal {
        /// The length of the rows or columns.
        gain: f64,
    },
    /// The identity matrix.
    Identity {
        /// What it is multiplied by.
        gain: f64,
    },
}

/// The number of connections that a variance is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FanMode {
    /// Into a unit.
    FanIn,
    /// Out of a unit.
    FanOut,
    /// The mean of the two.
    FanAvg,
}

/// A distribution of a given variance around 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaled {
    /// Within two deviations; it has the variance after the cut.
    #[serde(alias = "normal")]
    TruncatedNormal,
    /// The whole bell.
    UntruncatedNormal,
    /// Even.
    Uniform,
}

/// What an initializer draws from, for one shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// One number.
    Constant(f64),
    /// Evenly in `low..high`.
    Uniform {
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
    },
    /// The normal distribution.
    Normal {
        /// The mean.
        mean: f64,
        /// The deviation.
        deviation: f64,
    },
    /// The normal distribution cut at two deviations.
    TruncatedNormal {
        /// The mean.
        mean: f64,
        /// The deviation before the cut.
        deviation: f64,
    },
    /// Orthogonal rows or columns of length `gain`.
    Orthogonal {
        /// The product of all dimensions but the last.
        rows: usize,
        /// The last dimension.
        columns: usize,
        /// The length.
        gain: f64,
    },
    /// A multiple of the identity.
    Identity {
        /// The factor.
        gain: f64,
    },
}

/// The deviation of a standard normal distribution cut at ±2.
const CUT: f64 = 0.879_625_661_034_239_8;

const TABLE: &[(&[&str], Initializer)] = &[
    (&["zeros"], Initializer::Zeros),
    (&["ones"], Initializer::Ones),
    (&["constant"], Initializer::Constant { value: 0.0 }),
    (&["random_uniform", "uniform"], Initializer::RandomUniform { minval: -0.05, maxval: 0.05 }),
    (&["random_normal", "normal"], Initializer::RandomNormal { mean: 0.0, stddev: 0.05 }),
    (&["truncated_normal"], Initializer::TruncatedNormal { mean: 0.0, stddev: 0.05 }),
    (
        &["variance_scaling"],
        Initializer::VarianceScaling { scale: 1.0, mode: FanMode::FanIn, distribution: Scaled::TruncatedNormal },
    ),
    (&["glorot_uniform", "xavier_uniform"], Initializer::GlorotUniform),
    (&["glorot_normal", "xavier_normal"], Initializer::GlorotNormal),
    (&["he_uniform", "kaiming_uniform"], Initializer::HeUniform),
    (&["he_normal", "kaiming_normal"], Initializer::HeNormal),
    (&["lecun_uniform"], Initializer::LecunUniform),
    (&["lecun_normal"], Initializer::LecunNormal),
    (&["orthogonal"], Initializer::Orthogonal { gain: 1.0 }),
    (&["identity"], Initializer::Identity { gain: 1.0 }),
];

/// Connections into and out of one unit of a kernel of shape `[…, in, out]`; those of a bias are its length.
pub fn fans(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [n] => (*n, *n),
        [field @ .., inputs, outputs] => {
            let field: usize = field.iter().product();
            (inputs * field, outputs * field)
        }
    }
}

/// The factor by which an activation shrinks a deviation, inverted: what PyTorch calls gain. `slope` is that of a leaky
/// ReLU below 0, 0.01 unless given.
///
/// # Errors
/// The name is no activation of the list.
pub fn gain(activation: &str, slope: Option<f64>) -> Result<f64> {
    let slope = slope.unwrap_or(0.01);
    let table: &[(&[&str], f64)] = &[
        (&["linear"], 1.0),
        (&["conv1d"], 1.0),
        (&["conv2d"], 1.0),
        (&["conv3d"], 1.0),
        (&["sigmoid"], 1.0),
        (&["tanh"], 5.0 / 3.0),
        (&["relu"], std::f64::consts::SQRT_2),
        (&["leaky_relu"], (2.0 / (1.0 + slope * slope)).sqrt()),
        (&["selu"], 0.75),
    ];
    names::find("gain", activation, table)
}

impl Initializer {
    /// The initializer of a name with its default settings: `"glorot_uniform"`, `"HeNormal"`.
    ///
    /// # Errors
    /// The name is none; the error has the nearest.
    pub fn from_name(name: &str) -> Result<Initializer> {
        names::find("initializer", name, TABLE)
    }

    /// The initializer of a config: `{"name": …, "config": {…}}`, or a name. Settings that are absent have their defaults.
    ///
    /// # Errors
    /// A config of another form, an unknown name or setting.
    pub fn from_config(config: &Value) -> Result<Initializer> {
        let (name, arguments) = crate::config::parts("initializer", config)?;
        let initializer = Initializer::from_name(name)?;
        let mut whole = json!(initializer);
        let Value::Object(arguments) = arguments else { return Ok(initializer) };
        for (argument, value) in arguments {
            // Unit variants have no settings, so that the reader finds the unknown one.
            whole["config"][argument] = value;
        }
        serde_json::from_value(whole)
            .map_err(|e| Error::config(format!("{name}: {e}"), "check the names and types of its settings"))
    }

    /// What is drawn from for a weight of `shape`.
    ///
    /// # Errors
    /// Settings that describe no distribution; a shape that the initializer has no meaning for.
    pub fn distribution(&self, shape: impl IntoShape) -> Result<Distribution> {
        let shape = shape.into_shape()?;
        self.check()?;
        Ok(match *self {
            Initializer::Zeros => Distribution::Constant(0.0),
            Initializer::Ones => Distribution::Constant(1.0),
            Initializer::Constant { value } => Distribution::Constant(value),
            Initializer::RandomUniform { minval: low, maxval: high } => Distribution::Uniform { low, high },
            Initializer::RandomNormal { mean, stddev: deviation } => Distribution::Normal { mean, deviation },
            Initializer::TruncatedNormal { mean, stddev: deviation } => {
                Distribution::TruncatedNormal { mean, deviation }
            }
            Initializer::VarianceScaling { scale, mode, distribution } => scaled(&shape, scale, mode, distribution)?,
            Initializer::GlorotUniform => scaled(&shape, 1.0, FanMode::FanAvg, Scaled::Uniform)?,
            Initializer::GlorotNormal => scaled(&shape, 1.0, FanMode::FanAvg, Scaled::TruncatedNormal)?,
            Initializer::HeUniform => scaled(&shape, 2.0, FanMode::FanIn, Scaled::Uniform)?,
            Initializer::HeNormal => scaled(&shape, 2.0, FanMode::FanIn, Scaled::TruncatedNormal)?,
            Initializer::LecunUniform => scaled(&shape, 1.0, FanMode::FanIn, Scaled::Uniform)?,
            Initializer::LecunNormal => scaled(&shape, 1.0, FanMode::FanIn, Scaled::TruncatedNormal)?,
            Initializer::Orthogonal { gain } => match shape.split_last() {
                Some((&columns, rows)) if !rows.is_empty() => {
                    Distribution::Orthogonal { rows: rows.iter().product(), columns, gain }
                }
                _ => return Err(wrong_rank("Orthogonal", &shape, "two dimensions or more")),
            },
            Initializer::Identity { gain } if shape.rank() == 2 => Distribution::Identity { gain },
            Initializer::Identity { .. } => return Err(wrong_rank("Identity", &shape, "two dimensions")),
        })
    }

    /// Whether the settings describe a distribution.
    fn check(&self) -> Result<()> {
        let finite = |name, setting, value: f64| match value.is_finite() {
            true => Ok(()),
            false => Err(Error::config(format!("{name}: {setting} is {value}"), "give a finite number")),
        };
        let bell = |name, mean: f64, stddev: f64| {
            finite(name, "mean", mean)?;
            match stddev.is_finite() && stddev >= 0.0 {
                true => Ok(()),
                false => Err(Error::config(format!("{name}: stddev is {stddev}"), "give a number from 0 up")),
            }
        };
        match *self {
            Initializer::Constant { value } => finite("Constant", "value", value),
            Initializer::RandomUniform { minval, maxval } => {
                finite("RandomUniform", "minval", minval)?;
                finite("RandomUniform", "maxval", maxval)?;
                match minval <= maxval {
                    true => Ok(()),
                    false => Err(Error::config(
                        format!("RandomUniform: minval {minval} is above maxval {maxval}"),
                        "give the lower bound first",
                    )),
                }
            }
            Initializer::RandomNormal { mean, stddev } => bell("RandomNormal", mean, stddev),
            Initializer::TruncatedNormal { mean, stddev } => bell("TruncatedNormal", mean, stddev),
            Initializer::Orthogonal { gain } => finite("Orthogonal", "gain", gain),
            Initializer::Identity { gain } => finite("Identity", "gain", gain),
            _ => Ok(()),
        }
    }

    /// Draws a weight. The same key gives the same weight.
    ///
    /// # Errors
    /// As [`Initializer::distribution`]; a type that is not floating point.
    pub fn init(&self, key: Key, shape: impl IntoShape, dtype: DType) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        if !dtype.is_float() {
            return Err(Error::config(
                format!("an initializer cannot draw {dtype} weights"),
                "use a floating-point type, such as f32",
            ));
        }
        let drawn = match self.distribution(shape)? {
            Distribution::Constant(value) => Tensor::full(shape, value).and_then(|full| full.cast(dtype)),
            Distribution::Uniform { low, high } => key.uniform_as(shape, low, high, dtype),
            Distribution::Normal { mean, deviation } => key.normal_as(shape, mean, deviation, dtype),
            Distribution::TruncatedNormal { mean, deviation } => key.truncated_normal_as(shape, mean, deviation, dtype),
            Distribution::Orthogonal { rows, columns, gain } => {
                orthogonal(key, rows, columns, gain)?.reshape(shape).and_then(|matrix| matrix.cast(dtype))
            }
            Distribution::Identity { gain } => {
                Tensor::eye(shape[0], shape[1]).and_then(|eye| eye.cast(dtype)?.mul(gain))
            }
        };
        Ok(drawn.map_err(kiln_autograd::Error::unplaced)?)
    }
}

fn wrong_rank(name: &str, shape: &Shape, needs: &str) -> Error {
    Error::config(
        format!("{name}: a weight of shape {shape} needs {needs}"),
        "use another initializer, such as glorot_uniform",
    )
}

fn scaled(shape: &Shape, scale: f64, mode: FanMode, distribution: Scaled) -> Result<Distribution> {
    if !scale.is_finite() || scale <= 0.0 {
        return Err(Error::config(
            format!("VarianceScaling: scale is {scale}"),
            "give a positive number, such as 1 or 2",
        ));
    }
    let (inputs, outputs) = fans(shape);
    let fan = match mode {
        FanMode::FanIn => inputs as f64,
        FanMode::FanOut => outputs as f64,
        FanMode::FanAvg => (inputs + outputs) as f64 / 2.0,
    };
    let variance = scale / fan.max(1.0);
    Ok(match distribution {
        Scaled::TruncatedNormal => Distribution::TruncatedNormal { mean: 0.0, deviation: variance.sqrt() / CUT },
        Scaled::UntruncatedNormal => Distribution::Normal { mean: 0.0, deviation: variance.sqrt() },
        Scaled::Uniform => Distribution::Uniform { low: -(3.0 * variance).sqrt(), high: (3.0 * variance).sqrt() },
    })
}

/// A `rows` by `columns` matrix whose shorter side is orthogonal: the Q of a random matrix, by Gram and Schmidt's method.
fn orthogonal(key: Key, rows: usize, columns: usize, gain: f64) -> Result<Tensor> {
    let (long, short) = (rows.max(columns), rows.min(columns));
    let drawn = key.normal_as([short, long], 0.0, 1.0, DType::F64)?.to_vec::<f64>()?;
    let mut vectors: Vec<Vec<f64>> = drawn.chunks(long.max(1)).map(<[f64]>::to_vec).collect();
    for i in 0..vectors.len() {
        let (done, rest) = vectors.split_at_mut(i);
        let vector = &mut rest[0];
        // The second round removes what rounding left of the first.
        for _ in 0..2 {
            for other in done.iter() {
                let along: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let length = vector.iter().map(|a| a * a).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|a| *a /= length);
    }
    let matrix = Tensor::from_vec(vectors.concat(), [short, long])?;
    let matrix = if rows < columns { matrix } else { matrix.t()? };
    Ok(matrix.mul(gain)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_describe_nothing_are_errors() {
        let text = |init: Initializer| init.distribution([2, 2]).unwrap_err().to_string();
        let nan = f64::NAN;
        assert!(text(Initializer::Constant { value: nan }).starts_with("Constant: value is NaN"));
        assert!(text(Initializer::RandomUniform { minval: 1.0, maxval: 0.0 }).contains("minval 1 is above maxval 0"));
        assert!(text(Initializer::RandomNormal { mean: 0.0, stddev: -1.0 }).starts_with("RandomNormal: stddev is -1"));
        assert!(text(Initializer::TruncatedNormal { mean: nan, stddev: 1.0 }).contains("mean is NaN"));
        assert!(text(Initializer::Orthogonal { gain: f64::INFINITY }).contains("gain is inf"));
        let identity = Initializer::Identity { gain: 0.1 }.init(Key::new(1), [2, 3], DType::F64).unwrap();
        assert_eq!(identity.to_vec::<f64>().unwrap(), [0.1, 0.0, 0.0, 0.0, 0.1, 0.0]);
    }

    #[test]
    fn orthogonal_matrices_are() {
        for shape in [[3, 7], [7, 3], [4, 4]] {
            let w = Initializer::Orthogonal { gain: 2.0 }.init(Key::new(1), shape, DType::F64).unwrap();
            let w = w.to_vec::<f64>().unwrap();
            let [rows, columns] = shape;
            let (short, step, along) = if rows < columns { (rows, columns, 1) } else { (columns, 1, columns) };
            for i in 0..short {
                for j in 0..short {
                    let product: f64 =
                        (0..rows.max(columns)).map(|k| w[i * step + k * along] * w[j * step + k * along]).sum();
                    assert!((product - if i == j { 4.0 } else { 0.0 }).abs() < 1e-12, "{shape:?} {i} {j} {product}");
                }
            }
        }
    }

    #[test]
    fn initializers_come_back_from_json() {
        for (names, initializer) in TABLE {
            let config = json!(initializer);
            assert_eq!(Initializer::from_config(&config).unwrap(), *initializer, "{names:?}");
        }
        assert!(Initializer::from_config(&json!({"name": "orthogonal", "config": {"gian": 2.0}})).is_err());
        assert!(Initializer::from_name("glorot_unifrom").unwrap_err().to_string().contains("glorot_uniform"));
    }
}
