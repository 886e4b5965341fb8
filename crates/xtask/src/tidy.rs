//! The rules of the house that no compiler checks.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Each package and the ones of this workspace that it may name, in any kind of dependency and under any name.
const LAYERS: &[(&str, &[&str])] = &[
    ("kiln-tensor", &[]),
    ("kiln-autograd", &["kiln-tensor"]),
    ("kiln-nn", &["kiln-autograd"]),
    ("kiln-train", &["kiln-nn"]),
    ("kiln", &["kiln-tensor", "kiln-autograd", "kiln-nn", "kiln-train"]),
    ("xtask", &[]),
    ("xtask-refs", &["kiln"]),
];

/// Crates that `kiln` compiles at most, itself included: in the default build, and without default features.
const MOST_CRATES: usize = 64;
const MOST_WITHOUT_DEFAULTS: usize = 49;

/// Where `unsafe` may stand.
const UNSAFE_ROOMS: &[&str] = &[
    "benches/limit/machine.rs",
    "tests/allocations.rs",
    "tests/gpu/driver.rs",
    "crates/tensor/src/cpu",
    "crates/tensor/src/cuda",
    "crates/tensor/src/ops",
    "crates/tensor/src/plan/run.rs",
    "crates/tensor/src/run.rs",
    "crates/tensor/src/storage.rs",
];

/// Files of the operations' folder that are no operation with operands to derive by.
const NO_OPERATION: &[&str] = &["mod", "value", "operators", "prelude", "window", "create"];

/// Operations whose results are positions, which have no derivative.
const NO_DERIVATIVE: &[&str] = &["search", "sort"];

/// Rooms of functions that are written in operations of other rooms, whose rules are theirs.
const COMPOSED: &[&str] = &[
    "attention",
    "columns",
    "diagonal",
    "einsum",
    "embedding",
    "index",
    "losses",
    "normalization",
    "order",
    "padding",
    "products",
    "rearrange",
    "resize",
    "sampling",
];

/// Checks every rule and prints what breaks one.
pub fn run() -> ExitCode {
    match check() {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            problems.iter().for_each(|p| eprintln!("tidy: {p}"));
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("tidy: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<Vec<String>, String> {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps"])?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|e| format!("cargo metadata: {e}"))?;
    let root = PathBuf::from(metadata["workspace_root"].as_str().unwrap_or("."));
    let mut problems = layering(&metadata);
    problems.extend(rooms(&root)?);
    problems.extend(sources(&root)?);
    problems.extend(crate_count()?);
    Ok(problems)
}

fn cargo(arguments: &[&str]) -> Result<String, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo).args(arguments).output().map_err(|e| format!("cargo cannot be run: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8(output.stdout).map_err(|e| e.to_string())
}

/// Edges between the packages that go anywhere but one layer down.
fn layering(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let mut problems = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            problems.push(format!("package {name} has no place among the layers (crates/xtask/src/tidy.rs)"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // `name` is the package's own name, whatever it is renamed to.
            let target = dependency["name"].as_str().unwrap_or_default();
            if LAYERS.iter().any(|(layer, _)| *layer == target) && !allowed.contains(&target) {
                let kind = dependency["kind"].as_str().unwrap_or("normal");
                problems.push(format!("{name} depends on {target} ({kind}): a layer knows only the one below it"));
            }
        }
    }
    problems
}

/// Operations without a derivative rule or without cases.
fn rooms(root: &Path) -> Result<Vec<String>, String> {
    let stems = |folder: &str| -> Result<BTreeSet<String>, String> {
        let entries = fs::read_dir(root.join(folder)).map_err(|e| format!("{folder}: {e}"))?;
        Ok(entries
            .filter_map(|e| e.ok()?.path().file_stem()?.to_str().map(str::to_owned))
            .filter(|stem| !NO_OPERATION.contains(&stem.as_str()))
            .collect())
    };
    let (rules, cases) = (stems("crates/autograd/src/rules")?, stems("tests/cases")?);
    let mut problems = Vec::new();
    for op in stems("crates/tensor/src/ops")? {
        let needs_rule = ![NO_DERIVATIVE, COMPOSED].concat().contains(&op.as_str());
        if needs_rule && !rules.contains(&op) {
            problems.push(format!("operation `{op}` has no rule: crates/autograd/src/rules/{op}.rs"));
        }
        if !cases.contains(&op) {
            problems.push(format!("operation `{op}` has no cases: tests/cases/{op}.rs"));
        }
    }
    Ok(problems)
}

/// What no source file may hold.
fn sources(root: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for folder in ["crates", "examples", "benches", "tests", "fuzz/src", "fuzz/targets"] {
        collect(&root.join(folder), &mut files)?;
    }
    // Spelled in two parts, so that this file does not find itself.
    let open_ends = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    let mut problems = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let path = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        if !text.starts_with("//!") {
            problems.push(format!("{path}: the first line does not say what the file holds (`//! …`)"));
        }
        if let Some(word) = open_ends.iter().find(|word| text.contains(**word)) {
            problems.push(format!("{path}: `{word}` marks unfinished work"));
        }
        let uses_unsafe = text.lines().any(|l| {
            let code = l.split("//").next().unwrap_or_default();
            ["{", "fn", "impl"].iter().any(|what| code.contains(&format!("{} {what}", concat!("un", "safe"))))
        });
        if uses_unsafe && !UNSAFE_ROOMS.iter().any(|room| path.starts_with(room)) {
            problems.push(format!("{path}: `unsafe` outside of the kernels and the memory behind tensors"));
        }
    }
    Ok(problems)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Builds that have grown beyond what was agreed on.
fn crate_count() -> Result<Vec<String>, String> {
    let (all, fewest) = (crates(&[])?, crates(&["--no-default-features"])?);
    let mut problems = Vec::new();
    for (build, count, most) in
        [("default build", all, MOST_CRATES), ("build without default features", fewest, MOST_WITHOUT_DEFAULTS)]
    {
        if count > most {
            problems.push(format!("the {build} compiles {count} crates; the most is {most}"));
        }
    }
    println!("the default build compiles {all} crates, {fewest} without default features");
    Ok(problems)
}

/// How many crates `kiln` compiles, itself included.
fn crates(features: &[&str]) -> Result<usize, String> {
    let tree = ["tree", "--locked", "--package", "kiln", "--edges", "normal,build", "--prefix", "none"];
    let tree = cargo(&[&tree, features].concat())?;
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(" (").next()).map(str::trim).collect();
    Ok(names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_choose_what_is_compiled() {
        assert_eq!(crate_count().unwrap(), Vec::<String>::new());
        let default = crates(&[]).unwrap();
        let fewest = crates(&["--no-default-features"]).unwrap();
        // Bindings, and what opens a library.
        assert_eq!(crates(&["--no-default-features", "--features", "cuda,cpu"]).unwrap(), fewest + 2);
        assert_eq!(crates(&["--no-default-features", "--features", "plot"]).unwrap(), default);
        assert_eq!(crates(&["--features", "approx"]).unwrap(), default + 1);
    }
}
