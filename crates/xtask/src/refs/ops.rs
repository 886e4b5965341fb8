//! Single operations: outputs, and the gradients of the inputs from given cotangents.

use super::files::Manifest;
use super::{Category, Outcome, Report};
use crate::refs::files::text;

pub(crate) fn run(manifest: &Manifest, report: &mut Report) {
    for sample in manifest.list("samples") {
        report.add(Category::Ops, text(sample, "id"), Outcome::Unsupported(manifest.text("op").to_owned()));
    }
}
