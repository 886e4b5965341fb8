//! Metrics: the result after each batch, and after a reset and one batch more.

use super::{config, supported};
use crate::Stop;
use crate::compare::Tolerance;
use crate::files::{Manifest, numbers, text};
use kiln::nn::metrics::{self, Metric};
use kiln::tensor::DType;
use kiln::tensor::ops::CastOps;
use serde_json::Value;

pub(super) fn run(manifest: &Manifest, entry: &Value) -> Result<(), Stop> {
    let mut metric = supported(text(entry, "metric"), metrics::from_config(&config(entry, "metric")))?;
    let tolerance = Tolerance::of(entry, "tol");
    let list = |key: &str| entry.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let (batches, results) = (list("batches"), list("results"));
    for (i, (batch, want)) in batches.iter().zip(results).enumerate() {
        update(manifest, &mut *metric, batch)?;
        tolerance.numbers(&format!("after batch {i}"), &metric.values(), &expected(want)?)?;
    }
    metric.reset();
    let Some(second) = batches.get(1) else { return Ok(()) };
    update(manifest, &mut *metric, second)?;
    let want = expected(entry.get("result_after_reset_and_batch_1").unwrap_or(&Value::Null))?;
    Ok(tolerance.numbers("after a reset", &metric.values(), &want)?)
}

fn update(manifest: &Manifest, metric: &mut dyn Metric, batch: &Value) -> Result<(), Stop> {
    let y_pred = manifest.field(batch, "y_pred")?.ok_or_else(|| Stop::Failed("a batch has no y_pred".into()))?;
    // Means and sums have no targets.
    let y_true = manifest.field(batch, "y_true")?.unwrap_or(y_pred);
    let weights = manifest.field(batch, "sample_weight")?;
    // Keras counts intersections and unions in whole numbers: of weights it takes what is before the point.
    let whole = match weights.filter(|_| metric.type_name().ends_with("IoU")) {
        Some(weights) => Some(weights.cast(DType::I64)?),
        None => None,
    };
    Ok(metric.update(y_true, y_pred, whole.as_ref().or(weights))?)
}

fn expected(value: &Value) -> Result<Vec<f64>, Stop> {
    numbers(value).ok_or_else(|| Stop::Failed("the entry's result is no number".into()))
}
