//! The project's own commands.
#![forbid(unsafe_code)]

mod asan;
mod bench;
mod ci;
mod gpu;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask COMMAND
  ci           everything a change must pass: formatting, lints, tests, documentation, tidy, gpu, asan
  asan         the tests of the arrays under AddressSanitizer, where the toolchain has it
  bench --peers [FILTER] [--rounds N]
               the benchmarks beside PyTorch, JAX and NumPy in one run, where a Python has them (KILN_PEERS_PYTHON), and their ratios
  bench --compare REVISION [FILTER] [--rounds N]
               a revision and the working tree in turns: what moved, and how sure that is
  bench --instructions [FILTER] [--write]
               instructions of small runs, counted by Valgrind, beside those recorded in benches/instructions.txt
  tidy         the rules that no compiler checks: layers, operations without a rule or cases, unsafe, open ends
  new-op NAME  the files of a new operation and its lines in the lists; it begins as the identity
  gpu [--all]  the CUDA backend without a GPU: its tests with the fake driver, its kernels by NVRTC; a part, or all
  gpu --asan   the tests with the fake driver, their kernels under AddressSanitizer
  gpu-bundle [DIR]
               programs and a script that test the CUDA backend on a machine with a GPU (default: target/gpu-bundle)
  fake-gpu [-- COMMAND…]
               builds the fake CUDA driver (tests/gpu/fake) and runs a command with it, or prints its folder
  refs [DIR]   compare with recorded numbers of PyTorch, Keras and scikit-learn (default: tests/refs)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ci"] => ci::run(),
        ["asan"] => asan::run(),
        ["bench", ref arguments @ ..] => bench::run(&repository(), arguments),
        ["tidy"] => tidy::run(),
        ["new-op", name] => new_op(name),
        ["gpu"] => gpu::run(&repository(), false),
        ["gpu", "--all"] => gpu::run(&repository(), true),
        ["gpu", "--asan"] => gpu::asan(&repository()),
        ["gpu-bundle"] => gpu::bundle(&repository(), &repository().join("target/gpu-bundle")),
        ["gpu-bundle", folder] => gpu::bundle(&repository(), Path::new(folder)),
        ["fake-gpu", ref arguments @ ..] => xtask::fake_gpu::run(&repository(), arguments),
        ["refs", ref directory @ ..] => refs(directory),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Wherever in the repository a command is called.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn new_op(name: &str) -> ExitCode {
    match xtask::new_op::run(&repository(), name) {
        Ok(files) => {
            files.iter().for_each(|file| println!("{file}"));
            println!("Format (cargo fmt), then replace what it computes: docs/anatomy-of-an-op.md");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("new-op: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Compiles the library and the package that compares it: no other command needs to wait for that.
fn refs(arguments: &[&str]) -> ExitCode {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let status = Command::new(cargo).args(["run", "--quiet", "--package", "xtask-refs", "--"]).args(arguments).status();
    match status.map(|status| status.code()) {
        Ok(code) => ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(problem) => {
            eprintln!("refs: cargo cannot be run: {problem}");
            ExitCode::FAILURE
        }
    }
}
