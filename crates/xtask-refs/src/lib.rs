//! Compares this library with recorded numbers of PyTorch, Keras and scikit-learn: reads the manifests below a folder,
//! runs each sample through the public API, and counts. What the library does not have is listed by name, never passed.
#![forbid(unsafe_code)]

mod compare;
mod e2e;
mod files;
mod ops;
mod report;
mod train;

pub use report::{Category, Report};

use files::Manifest;
use std::path::{Path, PathBuf};

/// How one sample went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Every number is within the sample's tolerance.
    Passed,
    /// A number is not, or an error where there should be a result.
    Failed(String),
    /// The outputs are right; the gradient differs where mathematics leaves it open.
    FailedNonsmooth(String),
    /// The library does not have this: the name of what is missing.
    Unsupported(String),
}

/// Why a sample has no numbers to compare.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The library does not have what the sample needs.
    Unsupported(String),
    /// The library has it and failed.
    Failed(String),
}

impl Stop {
    pub(crate) fn unsupported<T>(name: impl Into<String>) -> Result<T, Stop> {
        Err(Stop::Unsupported(name.into()))
    }
}

impl From<kiln::nn::Error> for Stop {
    fn from(error: kiln::nn::Error) -> Stop {
        Stop::Failed(error.to_string())
    }
}

impl From<kiln::autograd::Error> for Stop {
    fn from(error: kiln::autograd::Error) -> Stop {
        Stop::Failed(error.to_string())
    }
}

impl From<String> for Stop {
    fn from(text: String) -> Stop {
        Stop::Failed(text)
    }
}

/// `Ok(())` is a pass.
impl From<Result<(), Stop>> for Outcome {
    fn from(result: Result<(), Stop>) -> Outcome {
        match result {
            Ok(()) => Outcome::Passed,
            Err(Stop::Unsupported(name)) => Outcome::Unsupported(name),
            Err(Stop::Failed(text)) => Outcome::Failed(text),
        }
    }
}

/// Runs every manifest below `directory`.
///
/// # Errors
/// The folder has no manifests, or one that cannot be read.
pub fn run(directory: &Path) -> Result<Report, String> {
    let mut paths = Vec::new();
    collect(directory, &mut paths)?;
    paths.sort();
    let mut report = Report::default();
    for path in &paths {
        let manifest = Manifest::read(path)?;
        match manifest.category() {
            Some(Category::Ops) => ops::run(&manifest, &mut report),
            Some(Category::Train) => train::run(&manifest, &mut report),
            Some(Category::EndToEnd) => e2e::run(&manifest, &mut report),
            // An index, or a file of another format.
            None => {}
        }
    }
    if report.is_empty() {
        return Err(format!("no manifests with samples below {}", directory.display()));
    }
    Ok(report)
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<(), String> {
    let listing = std::fs::read_dir(directory).map_err(|e| format!("cannot read {}: {e}", directory.display()))?;
    for entry in listing {
        let path = entry.map_err(|e| format!("cannot read {}: {e}", directory.display()))?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    Ok(())
}
