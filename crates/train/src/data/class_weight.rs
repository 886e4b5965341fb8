//! Weights for classes, and what they make of the weights of samples.

use super::{Batch, Dataset};
use crate::text::did_you_mean;
use crate::{Error, Result};
use kiln_nn::ops::{ArgReduceOps, ArithmeticOps, CastOps, GatherOps, ViewOps};
use kiln_nn::{DType, Tensor};
use std::collections::{BTreeMap, HashMap};

/// More classes than anybody weights; a larger number is an identifier by mistake.
const MOST_CLASSES: usize = 1 << 24;

/// A weight for each class.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeight {
    /// By class number; a class that is not named has weight 1.
    Weights(Vec<(usize, f64)>),
    /// `samples / (classes · samples of the class)`: every class counts alike.
    Balanced,
}

impl ClassWeight {
    /// The weight of each class of a dataset, of which `train` is the part that is trained on.
    ///
    /// # Errors
    /// Targets that are no classes; a weight for a class that does not occur, or that is negative or not finite.
    pub(crate) fn resolve(&self, data: &Dataset, train: &Dataset) -> Result<Vec<f64>> {
        if data.targets().len() > 1 {
            let text = "class_weight: the model has several outputs, each with classes of its own";
            return Err(Error::config(text, "weight the samples: Dataset::sample_weight"));
        }
        let Some(classes) = data.classes() else {
            return Err(Error::config(
                "class_weight: the targets are no classes",
                "weight regression samples with sample_weight",
            ));
        };
        let largest = classes.iter().copied().max().unwrap_or(0);
        if largest >= MOST_CLASSES {
            let text = format!("class_weight: {largest} is a number beyond any number of classes");
            return Err(Error::config(text, "number the classes from 0: identifiers are no class numbers"));
        }
        let count = |classes: Vec<usize>| {
            let mut counts = vec![0usize; largest + 1];
            classes.into_iter().for_each(|c| counts[c] += 1);
            counts
        };
        let counts = count(classes);
        match self {
            ClassWeight::Balanced => {
                let counts = count(train.classes().unwrap_or_default());
                let present = counts.iter().filter(|&&n| n > 0).count();
                Ok(counts
                    .iter()
                    .map(|&n| if n > 0 { train.len() as f64 / (present * n) as f64 } else { 0.0 })
                    .collect())
            }
            ClassWeight::Weights(weights) => {
                let mut all = vec![1.0; counts.len()];
                for (i, &(class, weight)) in weights.iter().enumerate() {
                    if weights[..i].iter().any(|(other, _)| *other == class) {
                        let text = format!("class_weight: class {class} has several weights");
                        return Err(Error::config(text, "give each class one"));
                    }
                    if class >= all.len() || counts[class] == 0 {
                        return Err(Error::config(
                            format!("class_weight: class {class} does not occur in the data"),
                            format!("the classes run from 0 to {}", counts.len() - 1),
                        ));
                    }
                    if !(weight.is_finite() && weight >= 0.0) {
                        return Err(Error::config(
                            format!("class_weight: {weight} is no weight for class {class}"),
                            "weights are finite and not negative",
                        ));
                    }
                    all[class] = weight;
                }
                if all.iter().zip(&counts).all(|(weight, count)| *weight == 0.0 || *count == 0) {
                    let text = "class_weight: every class has the weight 0";
                    return Err(Error::config(text, "what is not to count is 0, and something is to be learnt"));
                }
                Ok(all)
            }
        }
    }
}

/// What can be given as weights of classes: a [`ClassWeight`], `"balanced"`, or pairs of a class and its weight.
#[diagnostic::on_unimplemented(
    message = "`{Self}` gives no weights of classes",
    note = "give \"balanced\", pairs of a class and its weight as in [(0, 1.0), (2, 5.0)], or a `ClassWeight`"
)]
pub trait IntoClassWeight {
    /// The weights.
    ///
    /// # Errors
    /// A name other than `"balanced"`.
    fn into_class_weight(self) -> Result<ClassWeight>;
}

impl IntoClassWeight for ClassWeight {
    fn into_class_weight(self) -> Result<ClassWeight> {
        Ok(self)
    }
}

impl IntoClassWeight for &str {
    fn into_class_weight(self) -> Result<ClassWeight> {
        match self {
            "balanced" => Ok(ClassWeight::Balanced),
            other => {
                let help = did_you_mean(other, &["balanced"]);
                Err(Error::config(format!("class_weight: there is no way to weight classes called `{other}`"), help))
            }
        }
    }
}

macro_rules! pairs {
    ($($type:ty $(, $n:ident)?;)*) => {$(
        impl $(<const $n: usize>)? IntoClassWeight for $type {
            fn into_class_weight(self) -> Result<ClassWeight> {
                Ok(ClassWeight::Weights(self.into_iter().collect()))
            }
        }
    )*};
}

pairs! {
    [(usize, f64); N], N;
    Vec<(usize, f64)>;
    BTreeMap<usize, f64>;
    HashMap<usize, f64>;
}

/// The weights of a batch: those of its samples times those of their classes.
pub(crate) fn batch_weights(batch: &Batch, classes: Option<&[f64]>) -> Result<Option<Tensor>> {
    let Some(classes) = classes else { return Ok(batch.sample_weight.clone()) };
    let y = batch.y();
    let labels = match y.count() == batch.len() {
        true => y.reshape([y.count()])?,
        false => y.argmax(-1)?,
    };
    let by_class = Tensor::from_slice(classes, [classes.len()])?.index_select(0, &labels.cast(DType::I64)?)?;
    Ok(Some(match &batch.sample_weight {
        Some(weights) => weights.mul(&by_class)?,
        None => by_class,
    }))
}
