//! What `new-op` writes compiles without a warning, rule and cases included, in a copy of the workspace.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What the compiler needs to see of the repository.
const PARTS: &[&str] = &["Cargo.toml", "Cargo.lock", "crates", "tests", "benches", "examples", "docs", "README.md"];

#[test]
fn compiles() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Always the same folder: what the compiler keeps of it is replaced, not added to.
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-op");
    if copy.exists() {
        fs::remove_dir_all(&copy).unwrap();
    }
    fs::create_dir_all(&copy).unwrap();
    for part in PARTS {
        copy_to(&repository.join(part), &copy.join(part));
    }
    xtask::new_op::run(&copy, "roll_twice").unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    // The folder of this build, where the dependencies may have been compiled already.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
    let output = Command::new(cargo)
        .args(["check", "--locked", "--package", "kiln", "--test", "main", "--target-dir"])
        .arg(target)
        .current_dir(&copy)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains("warning"), "{text}");
    fs::remove_dir_all(&copy).unwrap();
}

fn copy_to(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy_to(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}
