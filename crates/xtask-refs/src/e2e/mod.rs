//! Whole training runs, from given weights to final ones: single steps in PyTorch, `compile` and `fit` in Keras.

mod call;
mod fit;
mod layers;
mod steps;
mod torch;

use super::compare::Tolerance;
use super::files::{Manifest, number};
use super::{Category, Outcome, Report, Stop};

pub(crate) fn run(manifest: &Manifest, report: &mut Report) {
    let (kind, id) = (manifest.text("kind"), manifest.text("id"));
    let result = match kind {
        "end_to_end" => steps::run(manifest),
        "keras_fit" => fit::run(manifest),
        other => Stop::unsupported(format!("{id}: runs of kind `{other}`")),
    };
    report.add(Category::EndToEnd, id, Outcome::from(result));
}

/// The tolerance that the manifest gives for `what`: the fields `what_rtol` and `what_atol`.
fn tolerance(manifest: &Manifest, what: &str) -> Tolerance {
    let field = |end: &str| manifest.json.get("tol").and_then(|tol| tol.get(format!("{what}_{end}"))).and_then(number);
    Tolerance { rtol: field("rtol").unwrap_or(0.0), atol: field("atol").unwrap_or(0.0) }
}
