//! Functions of scikit-learn that are a metric here, fed one array.

use crate::refs::Stop;
use crate::refs::compare::Tolerance;
use crate::refs::files::{numbers, text};
use kiln::autograd::Tensor;
use kiln::nn::metrics;
use serde_json::{Value, json};

pub(super) fn run(entry: &Value) -> Result<(), Stop> {
    let name = text(entry, "function");
    let options = entry.get("kwargs").cloned().unwrap_or(json!({}));
    let given = options.as_object().map_or(0, serde_json::Map::len);
    let missing = || Stop::unsupported(format!("sklearn {name}"));
    let (metric, arguments, scale) = match (name, given) {
        ("mean_squared_error", 0) => ("MeanSquaredError", json!({}), 1.0),
        ("mean_absolute_error", 0) => ("MeanAbsoluteError", json!({}), 1.0),
        ("mean_absolute_percentage_error", 0) => ("MeanAbsolutePercentageError", json!({}), 0.01),
        ("brier_score_loss", 0) => ("MeanSquaredError", json!({}), 1.0),
        ("accuracy_score", 0) => ("Accuracy", json!({}), 1.0),
        ("r2_score", 0) => ("R2Score", json!({}), 1.0),
        ("r2_score", 1) if options["multioutput"] == "raw_values" => ("R2Score", json!({ "class_aggregation": null }), 1.0),
        ("roc_auc_score", 0) => ("AUC", json!({ "exact": true }), 1.0),
        ("top_k_accuracy_score", 1) => ("SparseTopKCategoricalAccuracy", json!({ "k": options["k"] }), 1.0),
        _ => return missing(),
    };
    let mut metric = metrics::from_config(&json!({ "name": metric, "config": arguments }))?;
    let tensor = |key: &str| entry.get(key).filter(|value| !value.is_null()).map(array).transpose();
    let (y_true, y_pred) = (tensor("y_true")?, tensor(text(entry, "second_argument"))?);
    let (Some(y_true), Some(y_pred)) = (y_true, y_pred) else { return missing() };
    metric.update(&y_true, &y_pred, tensor("sample_weight")?.as_ref())?;
    let got: Vec<f64> = metric.values().iter().map(|value| value * scale).collect();
    let want = entry.get("value").and_then(numbers).unwrap_or_default();
    Ok(Tolerance::of(entry, "tol").numbers("value", &got, &want)?)
}

/// A list of numbers, or of rows of them.
fn array(value: &Value) -> Result<Tensor, Stop> {
    let all = numbers(value).ok_or_else(|| Stop::Failed("an array has something else than numbers".into()))?;
    let rows = value.as_array().map_or(0, Vec::len);
    let columns = value.get(0).and_then(Value::as_array).map(Vec::len);
    let shape = columns.map_or(vec![rows], |columns| vec![rows, columns]);
    Ok(Tensor::from_vec(all, shape)?)
}
