//! The one gate, which a change must pass and the continuous integration runs.

use crate::{asan, gpu, tidy};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What is run, in order: cheap checks first.
const STEPS: &[(&str, &[&str])] = &[
    ("formatting", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("lints without default features", &["clippy", "-p", "kiln", "--no-default-features", "--", "-D", "warnings"]),
    ("lints with cuda", &["clippy", "-p", "kiln", "--features", "cuda", "--all-targets", "--", "-D", "warnings"]),
    ("tests", &["test", "--workspace"]),
    ("documentation", &["doc", "--workspace", "--no-deps"]),
    ("fuzz targets", &["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz"]),
];

/// Runs every step; the first that fails ends it.
pub fn run() -> ExitCode {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let started = Instant::now();
    println!("== tidy");
    if tidy::run() != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    for (name, arguments) in STEPS {
        println!("== {name}: cargo {}", arguments.join(" "));
        let mut command = Command::new(&cargo);
        command.args(*arguments).env("RUSTDOCFLAGS", "-D warnings");
        // What is only checked needs no fuzzer, which would be compiled.
        command.env("CUSTOM_LIBFUZZER_PATH", "./libfuzzer.a");
        let status = command.status();
        match status {
            Ok(status) if status.success() => {}
            Ok(_) => {
                eprintln!("== {name} failed");
                return ExitCode::FAILURE;
            }
            Err(problem) => {
                eprintln!("== {name}: cargo cannot be run: {problem}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("== gpu");
    if gpu::run(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").as_path(), false) != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    println!("== asan");
    if asan::run() != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    println!("== all passed in {} s", started.elapsed().as_secs());
    ExitCode::SUCCESS
}
