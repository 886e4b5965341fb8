//! The tests of `kiln-tensor` under AddressSanitizer, which sees what a kernel reads or writes outside of its memory.
//! (Miri would see more, but it interprets no SIMD instruction of the kernels' kind and belongs to nightly toolchains.)

use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The whole run, compiling included; on two cores it took 2 to 3 minutes.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// Its own folder, because everything is compiled anew with the sanitizer.
const TARGET: &str = "target/asan";

/// Runs them; a toolchain without the sanitizer is told and is no failure.
pub fn run() -> ExitCode {
    let Some(triple) = available() else {
        println!("asan: this toolchain has no AddressSanitizer for its own system; skipped");
        return ExitCode::SUCCESS;
    };
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    // Naming the target keeps build scripts and procedural macros out of the sanitizer. The flag is an unstable one,
    // which the variable lets the stable compiler take.
    command.args(["test", "--package", "kiln-tensor", "--lib", "--target", &triple, "--target-dir", TARGET]);
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
    // Tests ask for more memory than there is, and expect to be told.
    command.env("ASAN_OPTIONS", "allocator_may_return_null=1");
    let started = Instant::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(problem) => {
            eprintln!("asan: cargo cannot be run: {problem}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => {
                println!("asan: passed in {} s", started.elapsed().as_secs());
                return ExitCode::SUCCESS;
            }
            Ok(None) if started.elapsed() < LIMIT => sleep(Duration::from_millis(200)),
            Ok(None) => {
                // What cannot be killed has just ended.
                let _ = child.kill();
                eprintln!("asan: not done after {} minutes", LIMIT.as_secs() / 60);
                return ExitCode::FAILURE;
            }
            Ok(Some(_)) | Err(_) => {
                eprintln!("asan: failed");
                return ExitCode::FAILURE;
            }
        }
    }
}

/// The system that this toolchain compiles for, if its sanitizer's runtime is installed.
fn available() -> Option<String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = |arguments: &[&str]| {
        let output = Command::new(&rustc).args(arguments).stderr(Stdio::null()).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let triple = output(&["-vV"])?.lines().find_map(|line| line.strip_prefix("host: ").map(str::to_owned))?;
    let libraries = output(&["--print", "target-libdir"])?;
    let mut files = std::fs::read_dir(libraries.trim()).ok()?;
    files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().contains("asan"))).then_some(triple)
}
