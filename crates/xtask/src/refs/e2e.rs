//! Whole training runs, from given weights to final ones.

use super::files::Manifest;
use super::{Category, Outcome, Report};

pub(crate) fn run(manifest: &Manifest, report: &mut Report) {
    let name = match manifest.text("name") {
        "" => manifest.text("tensors").trim_end_matches(".safetensors"),
        name => name,
    };
    report.add(Category::EndToEnd, name, Outcome::Unsupported(name.to_owned()));
}
