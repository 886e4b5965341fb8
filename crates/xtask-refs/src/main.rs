//! The command by itself; `cargo xtask refs` runs it.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = match &arguments[..] {
        [] => "tests/refs",
        [directory] => directory,
        _ => {
            eprintln!("usage: cargo xtask refs [DIR]");
            return ExitCode::from(2);
        }
    };
    match xtask_refs::run(Path::new(directory)) {
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
