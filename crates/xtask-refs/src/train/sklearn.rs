//! scikit-learn's scores of whole arrays: the confusion matrix and what follows from it, and the metrics that both have.

use super::supported;
use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{number, numbers, text};
use kiln::autograd::Tensor;
use kiln::nn::metrics;
use kiln::train::report::{Normalize, Scores};
use kiln::train::{ClassificationReport, ConfusionMatrix};
use serde_json::{Value, json};

pub(super) fn run(entry: &Value) -> Result<(), Stop> {
    let function = text(entry, "function");
    let got = match function {
        "confusion_matrix" => confusion_matrix(entry)?,
        "accuracy_score" | "balanced_accuracy_score" | "cohen_kappa_score" | "matthews_corrcoef" => {
            allow(entry, &[])?;
            unweighted(entry)?;
            let matrix = Labels::read(entry)?.matrix()?;
            vec![match function {
                "accuracy_score" => matrix.accuracy(),
                "balanced_accuracy_score" => matrix.balanced_accuracy(),
                "cohen_kappa_score" => matrix.cohen_kappa(),
                _ => matrix.matthews_correlation(),
            }]
        }
        "precision_score" => averaged(entry, |scores| scores.precision)?,
        "recall_score" => averaged(entry, |scores| scores.recall)?,
        "f1_score" => averaged(entry, |scores| scores.f1)?,
        "fbeta_score" => fbeta(entry)?,
        "mean_squared_error" => streamed(entry, "MeanSquaredError", json!({}))?,
        "mean_absolute_error" => streamed(entry, "MeanAbsoluteError", json!({}))?,
        "top_k_accuracy_score" => {
            allow(entry, &["k"])?;
            streamed(
                entry,
                "SparseTopKCategoricalAccuracy",
                argument(entry, "k").map_or(json!({}), |k| json!({ "k": k })),
            )?
        }
        other => return Stop::unsupported(format!("sklearn {other}")),
    };
    let want =
        entry.get("value").and_then(numbers).ok_or_else(|| Stop::Failed("the entry's value is no number".into()))?;
    Ok(Tolerance::of(entry, "tol").numbers(function, &got, &want)?)
}

fn argument<'a>(entry: &'a Value, name: &str) -> Option<&'a Value> {
    entry.get("kwargs").and_then(|kwargs| kwargs.get(name)).filter(|value| !value.is_null())
}

/// Only these arguments are understood, besides scores of 0 for what is divided by 0.
fn allow(entry: &Value, names: &[&str]) -> Result<(), Stop> {
    let kwargs = entry.get("kwargs").and_then(Value::as_object).into_iter().flatten();
    for (name, value) in kwargs {
        let zero = name == "zero_division" && number(value) == Some(0.0);
        if !zero && !names.contains(&name.as_str()) {
            return Stop::unsupported(format!("sklearn {}: {name}", text(entry, "function")));
        }
    }
    Ok(())
}

fn weights(entry: &Value) -> Option<Vec<f64>> {
    entry.get("sample_weight").and_then(numbers)
}

fn unweighted(entry: &Value) -> Result<(), Stop> {
    match weights(entry) {
        None => Ok(()),
        Some(_) => Stop::unsupported(format!("sklearn {}: sample_weight", text(entry, "function"))),
    }
}

/// True and predicted labels as positions among the labels that occur, or that are given.
struct Labels {
    truth: Vec<usize>,
    predicted: Vec<usize>,
    classes: usize,
}

impl Labels {
    fn read(entry: &Value) -> Result<Labels, Stop> {
        let integers =
            |value: Option<&Value>| -> Option<Vec<i64>> { value?.as_array()?.iter().map(Value::as_i64).collect() };
        let second = text(entry, "second_argument");
        let (Some(truth), Some(predicted)) = (integers(entry.get("y_true")), integers(entry.get(second))) else {
            return Stop::unsupported(format!("sklearn {}: labels that are no integers", text(entry, "function")));
        };
        let mut labels: Vec<i64> =
            integers(argument(entry, "labels")).unwrap_or_else(|| [&truth[..], &predicted].concat());
        if argument(entry, "labels").is_none() {
            labels.sort_unstable();
            labels.dedup();
        }
        // A pair with a label that is not asked for does not count.
        let place = |label: &i64| labels.iter().position(|l| l == label);
        let pairs = truth.iter().zip(&predicted).filter_map(|(t, p)| place(t).zip(place(p)));
        let (truth, predicted) = pairs.unzip();
        Ok(Labels { truth, predicted, classes: labels.len() })
    }

    fn matrix(&self) -> Result<ConfusionMatrix, Stop> {
        ConfusionMatrix::from_labels(&self.truth, &self.predicted, self.classes)
            .map_err(|e| Stop::Failed(e.to_string()))
    }
}

fn confusion_matrix(entry: &Value) -> Result<Vec<f64>, Stop> {
    allow(entry, &["normalize", "labels"])?;
    let labels = Labels::read(entry)?;
    if let Some(weights) = weights(entry) {
        if argument(entry, "normalize").is_some() || argument(entry, "labels").is_some() {
            return Stop::unsupported("sklearn confusion_matrix: sample_weight with other arguments");
        }
        let config = json!({ "name": "ConfusionMatrix", "config": { "num_classes": labels.classes } });
        let mut metric = supported("ConfusionMatrix", metrics::from_config(&config))?;
        let tensor = |values: &[usize]| Tensor::from_vec(values.iter().map(|&v| v as i64).collect(), [values.len()]);
        metric.update(
            &tensor(&labels.truth)?,
            &tensor(&labels.predicted)?,
            Some(&Tensor::from_slice(&weights, [weights.len()])?),
        )?;
        return Ok(metric.values());
    }
    let matrix = labels.matrix()?;
    let by = match argument(entry, "normalize").and_then(Value::as_str) {
        None => return Ok(matrix.counts().iter().map(|&count| count as f64).collect()),
        Some("true") => Normalize::Truth,
        Some("pred") => Normalize::Predicted,
        Some("all") => Normalize::All,
        Some(other) => {
            return Stop::unsupported(format!("sklearn confusion_matrix: normalize {other}"));
        }
    };
    Ok(matrix.normalized_by(by).concat())
}

/// A score of each class, or of class 1, or an average.
fn averaged(entry: &Value, score: fn(&Scores) -> f64) -> Result<Vec<f64>, Stop> {
    allow(entry, &["average", "labels"])?;
    unweighted(entry)?;
    let report: ClassificationReport = Labels::read(entry)?.matrix()?.report();
    let kwargs = entry.get("kwargs").and_then(|kwargs| kwargs.get("average"));
    Ok(match kwargs.map(|average| average.as_str()) {
        Some(None) => report.classes.iter().map(|(_, scores)| score(scores)).collect(),
        Some(Some("macro")) => vec![score(&report.macro_average)],
        Some(Some("weighted")) => vec![score(&report.weighted_average)],
        // With one label for each sample, a wrong one is a false positive here and a false negative there.
        Some(Some("micro")) if argument(entry, "labels").is_none() => vec![report.accuracy],
        None | Some(Some("binary")) if report.classes.len() == 2 => {
            vec![score(&report.classes[1].1)]
        }
        other => {
            return Stop::unsupported(format!("sklearn {}: average {other:?}", text(entry, "function")));
        }
    })
}

fn fbeta(entry: &Value) -> Result<Vec<f64>, Stop> {
    allow(entry, &["average", "beta"])?;
    unweighted(entry)?;
    let beta = argument(entry, "beta").and_then(number).unwrap_or(1.0);
    let report = Labels::read(entry)?.matrix()?.report();
    let mean = |weight: fn(&Scores) -> f64| {
        let sum: f64 = report.classes.iter().map(|(_, s)| weight(s) * s.f_beta(beta)).sum();
        vec![sum / report.classes.iter().map(|(_, s)| weight(s)).sum::<f64>()]
    };
    Ok(match entry.get("kwargs").and_then(|kwargs| kwargs.get("average")).map(Value::as_str) {
        Some(None) => report.classes.iter().map(|(_, scores)| scores.f_beta(beta)).collect(),
        Some(Some("macro")) => mean(|_| 1.0),
        Some(Some("weighted")) => mean(|scores| scores.support as f64),
        Some(Some("micro")) => vec![report.accuracy],
        _ => return Stop::unsupported("sklearn fbeta_score: of one class"),
    })
}

/// The metric of the same name, of all samples as one batch.
fn streamed(entry: &Value, metric: &str, config: Value) -> Result<Vec<f64>, Stop> {
    if config == json!({}) {
        allow(entry, &[])?;
    }
    let mut metric = supported(metric, metrics::from_config(&json!({ "name": metric, "config": config })))?;
    let array = |key: &str| -> Result<Tensor, Stop> {
        let value = entry.get(key).unwrap_or(&Value::Null);
        let values = numbers(value).ok_or_else(|| Stop::Failed(format!("{key} is no array of numbers")))?;
        let rows = value.as_array().map_or(0, Vec::len);
        match value.get(0).is_some_and(Value::is_array) {
            true => Ok(Tensor::from_slice(&values, [rows, values.len() / rows.max(1)])?),
            false => Ok(Tensor::from_slice(&values, [rows, 1])?),
        }
    };
    let weights = weights(entry).map(|w| Tensor::from_slice(&w, [w.len()])).transpose()?;
    metric.update(&array("y_true")?, &array(text(entry, "second_argument"))?, weights.as_ref())?;
    Ok(metric.values())
}
