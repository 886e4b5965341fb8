//! The project's own commands.
#![forbid(unsafe_code)]

mod ci;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND
  ci           everything a change must pass: formatting, lints, tests, documentation, tidy
  tidy         the rules that no compiler checks: layers, operations without a rule or cases, unsafe, open ends
  refs [DIR]   compare with recorded numbers of PyTorch, Keras and scikit-learn (default: tests/refs)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ci"] => ci::run(),
        ["tidy"] => tidy::run(),
        ["refs"] => refs(Path::new("tests/refs")),
        ["refs", directory] => refs(Path::new(directory)),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn refs(directory: &Path) -> ExitCode {
    match xtask::refs::run(directory) {
        Ok(report) => {
            print!("{report}");
            if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}
