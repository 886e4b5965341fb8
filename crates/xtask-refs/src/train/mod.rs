//! Optimizers, schedules, initializers, losses, metrics and callbacks, each kind in its room.

pub(super) mod callbacks;
mod initializers;
mod layers;
mod losses;
mod metrics;
pub(super) mod optimizers;
mod schedules;
mod sklearn;

use super::files::{Manifest, text};
use super::{Category, Outcome, Report, Stop};
use serde_json::Value;

pub(crate) fn run(manifest: &Manifest, report: &mut Report) {
    let kind = manifest.text("kind");
    for entry in manifest.list("entries") {
        let result: Result<(), Stop> = match kind {
            "layers" => layers::run(manifest, entry),
            "losses" => losses::run(manifest, entry),
            "callbacks" => callbacks::run(entry),
            "metrics" => metrics::run(manifest, entry),
            "initializers" => initializers::run(manifest, entry),
            "optimizers" => optimizers::run(manifest, entry),
            "schedules" => schedules::run(entry),
            "metrics_sklearn" => sklearn::run(entry),
            _ => Stop::unsupported(kind),
        };
        report.add(Category::Train, text(entry, "id"), Outcome::from(result));
    }
}

/// The entry's `config` as arguments of a type here: a setting that the type does not have is unsupported, not an error.
pub(super) fn supported<T>(name: &str, result: kiln::nn::Result<T>) -> Result<T, Stop> {
    result
        .map_err(|error| Stop::Unsupported(format!("{name}: {}", error.to_string().lines().next().unwrap_or_default())))
}

/// `{"name": …, "config": …}` of an entry whose name is under `key`.
fn config(entry: &Value, key: &str) -> Value {
    serde_json::json!({ "name": text(entry, key), "config": entry.get("config").cloned().unwrap_or(Value::Null) })
}
