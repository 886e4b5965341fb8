//! What a model was trained on, in so few numbers that it fits into the model's file: the distributions of inputs and of
//! predictions, and what the metrics were.

use super::statistics::{chi_square, kolmogorov_smirnov, population_stability_index};
use crate::data::Dataset;
use crate::history::Logs;
use crate::json::{self, Number};
use crate::model::Model;
use crate::{Error, Result};
use kiln_nn::{Module, Tensor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Numbers that are kept of a feature at most: evenly chosen among all in their order.
const KEPT: usize = 256;
/// A feature of whole numbers with no more different ones than this is one of classes.
const MOST_CLASSES: usize = 20;
/// Parts that a feature's range is divided into, each with as many of the reference's samples.
const BINS: usize = 10;

/// What later samples are compared with. It is part of the model and of its file once it was given to it with
/// [`Model::set_reference`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// How many samples it was made of.
    pub samples: usize,
    pub(super) features: Vec<Feature>,
    pub(super) outputs: Vec<Feature>,
    /// How many numbers a prediction has.
    pub(super) prediction_size: usize,
    /// What the model measured on them.
    #[serde(serialize_with = "write_named", deserialize_with = "read_named")]
    pub metrics: Vec<(String, f64)>,
}

fn write_named<S: Serializer>(all: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(all.iter().map(|(name, value)| (name, Number(*value))))
}

fn read_named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, f64)>, D::Error> {
    let all = Vec::<(String, Option<Number>)>::deserialize(deserializer)?;
    Ok(all.into_iter().map(|(name, value)| (name, value.map_or(f64::NAN, |value| value.0))).collect())
}

/// The distribution of one number of a sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Feature {
    name: String,
    values: Values,
    /// How many of the reference's samples have NaN here. They are in none of the values.
    #[serde(default)]
    missing: u64,
}

impl Feature {
    fn of(name: String, column: &[f64], values: fn(&[f64]) -> Values) -> Feature {
        let there: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
        Feature { name, values: values(&there), missing: (column.len() - there.len()) as u64 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Values {
    /// Numbers in their order.
    #[serde(with = "json::numbers")]
    Numbers(Vec<f64>),
    /// Classes with how often each is there.
    Classes(Vec<(f64, f64)>),
}

/// How far one number of the samples has moved from the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The feature: its name, or its place in a sample as `x[3]`; `y` for what the model predicts.
    pub name: String,
    /// The population stability index.
    pub psi: f64,
    /// How likely samples as far apart are where nothing has changed: by the test of Kolmogorov and Smirnov, or by Pearson's
    /// for classes.
    pub p_value: f64,
}

impl Reference {
    /// The distributions of a dataset and of the model's predictions for it, and its metrics: best on samples that the model was not
    /// trained on.
    ///
    /// # Errors
    /// Data that do not fit the model; a model of several inputs or outputs.
    pub fn new<M: Module>(model: &Model<M>, data: &Dataset) -> Result<Reference> {
        let predictions = model.predict(data)?;
        let metrics = model.evaluate(data)?.iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let features = features(&columns(&data.x()?), "x");
        let outputs = features_of_outputs(&predictions);
        let prediction_size = predictions.shape()[1..].iter().product();
        Ok(Reference { samples: data.len(), features, outputs, prediction_size, metrics })
    }

    /// Names the features, in their order in a sample.
    ///
    /// # Errors
    /// More or fewer names than features.
    pub fn feature_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Result<Reference> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.len() != self.features.len() {
            let text = format!("Reference: {} names for {} features", names.len(), self.features.len());
            return Err(Error::config(text, "give one for each number of a sample"));
        }
        self.features.iter_mut().zip(names).for_each(|(feature, name)| feature.name = name);
        Ok(self)
    }

    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }

    pub(super) fn logs(&self) -> Logs {
        self.metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect()
    }
}

/// The numbers of each place in a sample, from `[n, …]`.
pub(super) fn columns(x: &Tensor) -> Vec<Vec<f64>> {
    let (n, all) = (x.shape().first().copied().unwrap_or(0), x.to_vec_as::<f64>());
    let width = all.len().checked_div(n).unwrap_or(0);
    (0..width).map(|place| (0..n).map(|row| all[row * width + place]).collect()).collect()
}

fn features(columns: &[Vec<f64>], name: &str) -> Vec<Feature> {
    let named = |i: usize| if columns.len() == 1 { name.to_owned() } else { format!("{name}[{i}]") };
    columns.iter().enumerate().map(|(i, column)| Feature::of(named(i), column, Values::of)).collect()
}

/// What of predictions is watched: which class is the most likely, and how likely, or the numbers themselves.
pub(super) fn outputs(predictions: &Tensor) -> Vec<Vec<f64>> {
    let columns = columns(predictions);
    if columns.len() < 2 || predictions.rank() != 2 {
        return columns;
    }
    let rows = columns[0].len();
    let largest = |row: usize| {
        let better = |best: usize, i: usize| if columns[i][row] > columns[best][row] { i } else { best };
        (1..columns.len()).fold(0, better)
    };
    let classes: Vec<usize> = (0..rows).map(largest).collect();
    let confidence = classes.iter().enumerate().map(|(row, &class)| columns[class][row]).collect();
    vec![classes.into_iter().map(|class| class as f64).collect(), confidence]
}

fn features_of_outputs(predictions: &Tensor) -> Vec<Feature> {
    let outputs = outputs(predictions);
    let mut features = features(&outputs, "y");
    if let [class, confidence] = &mut features[..]
        && predictions.rank() == 2
        && predictions.shape()[1] > 1
    {
        *class = Feature::of("predicted class".to_owned(), &outputs[0], Values::classes);
        confidence.name = "confidence".to_owned();
    }
    features
}

impl Values {
    /// Of a column without NaN.
    fn of(column: &[f64]) -> Values {
        let mut sorted = column.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut different = sorted.clone();
        different.dedup();
        if different.len() <= MOST_CLASSES && different.iter().all(|value| value.fract() == 0.0) {
            return Values::classes(column);
        }
        let kept = sorted.len().min(KEPT);
        // The middles of as many equal parts.
        let at = |i: usize| sorted[((2 * i + 1) * sorted.len() / (2 * kept)).min(sorted.len() - 1)];
        Values::Numbers((0..kept).map(at).collect())
    }

    fn classes(column: &[f64]) -> Values {
        let mut sorted = column.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut counts: Vec<(f64, f64)> = Vec::new();
        for value in sorted {
            match counts.last_mut() {
                Some((class, count)) if *class == value => *count += 1.0,
                _ => counts.push((value, 1.0)),
            }
        }
        Values::Classes(counts)
    }
}

impl Feature {
    /// How far other samples are from the reference. What is no number counts as a part of its own.
    pub(super) fn drift(&self, samples: usize, column: &[f64]) -> Drift {
        let name = self.name.clone();
        let mut sorted: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let missing = (column.len() - sorted.len()) as f64;
        match &self.values {
            Values::Numbers(reference) => {
                let mut edges: Vec<f64> = (1..BINS).map(|i| reference[i * reference.len() / BINS]).collect();
                edges.dedup();
                let counts = |sorted: &[f64], missing: f64| -> Vec<f64> {
                    let below: Vec<usize> =
                        edges.iter().map(|edge| sorted.partition_point(|value| value < edge)).collect();
                    let ends = below.iter().copied().chain([sorted.len()]);
                    let starts = [0].into_iter().chain(below.iter().copied());
                    starts.zip(ends).map(|(start, end)| (end - start) as f64).chain([missing]).collect()
                };
                // The reference keeps a part of its numbers, and all that are missing are counted.
                let there = (samples as f64 - self.missing as f64).max(1.0);
                let kept = self.missing as f64 * reference.len() as f64 / there;
                let psi = population_stability_index(&counts(reference, kept), &counts(&sorted, missing));
                let mut p_value = kolmogorov_smirnov(reference, &sorted).1;
                if missing > 0.0 || self.missing > 0 {
                    // The likelier to have moved of two: how many are missing, and how the others lie.
                    let parts = [there, self.missing as f64];
                    let of_missing = chi_square(&parts, &[sorted.len() as f64, missing]).1;
                    p_value = (2.0 * p_value.min(of_missing)).min(1.0);
                }
                Drift { name, psi, p_value }
            }
            Values::Classes(reference) => {
                let place = |value: &f64| reference.iter().position(|(class, _)| class == value);
                let counts = reference.iter().map(|(_, count)| *count);
                let expected: Vec<f64> = counts.chain([0.0, self.missing as f64]).collect();
                let mut actual = vec![0.0; reference.len()];
                // Classes that the reference has not, and what is missing, are the last.
                actual.extend([0.0, missing]);
                sorted.iter().for_each(|value| actual[place(value).unwrap_or(reference.len())] += 1.0);
                let psi = population_stability_index(&expected, &actual);
                Drift { name, psi, p_value: chi_square(&expected, &actual).1 }
            }
        }
    }
}
