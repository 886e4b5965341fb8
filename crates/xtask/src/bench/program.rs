//! Programs of benchmarks with criterion: building one, asking it for its rows, running some, and reading what criterion wrote.

use super::output;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How much one run of a row does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    Flops(f64),
    Bytes(f64),
}

/// What was measured of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    pub nanoseconds: f64,
    pub work: Option<Work>,
}

/// A built benchmark.
pub struct Program {
    executable: PathBuf,
    /// Where criterion writes.
    home: PathBuf,
}

impl Program {
    /// Builds the benchmark `name` of the workspace at `root`, with its results below `folder`.
    pub fn build(root: &Path, name: &str, target: Option<&Path>, folder: &Path) -> Result<Program, String> {
        Ok(Program::new(executable(root, name, target)?, &folder.join("criterion")))
    }

    pub fn new(executable: PathBuf, home: &Path) -> Program {
        Program { executable, home: home.to_owned() }
    }

    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// The names of the rows that fit the filter, in its order.
    pub fn rows(&self, filter: &str) -> Result<Vec<String>, String> {
        let mut command = Command::new(&self.executable);
        Ok(listed(&output(command.args(["--bench", "--list", filter]))?))
    }

    /// Measures the rows of these names.
    pub fn measure(&self, names: &[String], threads: Option<usize>) -> Result<BTreeMap<String, Measured>, String> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        // Criterion compares with the last results that it finds, and keeps those of rows that are gone.
        let _ = fs::remove_dir_all(&self.home);
        let mut command = Command::new(&self.executable);
        command.args(["--bench", "--noplot", "--quiet", &exactly(names)]).env("CRITERION_HOME", &self.home);
        if let Some(threads) = threads {
            command.env("RAYON_NUM_THREADS", threads.to_string());
        }
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        let status = status.map_err(|e| format!("{}: {e}", self.executable.display()))?;
        if !status.success() {
            return Err(format!("{} failed ({status})", self.executable.display()));
        }
        let mut measured = BTreeMap::new();
        collect(&self.home, &mut measured)?;
        Ok(measured)
    }
}

/// Builds a benchmark; gives where it lies.
pub fn executable(root: &Path, name: &str, target: Option<&Path>) -> Result<PathBuf, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["bench", "--package", "kiln", "--bench", name, "--no-run"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    if let Some(target) = target {
        command.env("CARGO_TARGET_DIR", target);
    }
    let messages = output(&mut command)?;
    built(&messages, name).ok_or_else(|| format!("cargo has not said where the benchmark {name} lies"))
}

/// The executable of a target in the messages of cargo.
fn built(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found = messages.filter(|m| m["reason"] == "compiler-artifact" && m["target"]["name"] == name);
    found.find_map(|m| m["executable"].as_str().map(PathBuf::from))
}

/// The names in what `--list` prints.
fn listed(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_suffix(": benchmark")).map(str::to_owned).collect()
}

/// A regular expression that these names fit, and no others.
fn exactly(names: &[String]) -> String {
    let mut expression = String::from("^(");
    for (i, name) in names.iter().enumerate() {
        expression.push_str(if i == 0 { "" } else { "|" });
        for c in name.chars() {
            if r"\.+*?()|[]{}^$#&-~".contains(c) {
                expression.push('\\');
            }
            expression.push(c);
        }
    }
    expression + ")$"
}

/// Names by family, which is what stands before the first `/`, in the order of their first appearance.
pub fn families<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<(String, Vec<String>)> {
    let mut families: Vec<(String, Vec<String>)> = Vec::new();
    let mut seen = BTreeSet::new();
    for name in names.into_iter().filter(|name| seen.insert(*name)) {
        let family = name.split('/').next().unwrap_or(name);
        match families.iter_mut().find(|(known, _)| known == family) {
            Some((_, rows)) => rows.push(name.clone()),
            None => families.push((family.to_owned(), vec![name.clone()])),
        }
    }
    families
}

/// Reads what criterion has written below a folder: of each row `new/benchmark.json` and `new/estimates.json`.
fn collect(folder: &Path, measured: &mut BTreeMap<String, Measured>) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name == "new") && path.join("benchmark.json").is_file() {
            let read = |name: &str| {
                let path = path.join(name);
                fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
            };
            let row = read_row(&read("benchmark.json")?, &read("estimates.json")?);
            let (name, row) = row.ok_or_else(|| format!("{}: not as criterion writes it", path.display()))?;
            measured.insert(name, row);
        } else {
            collect(&path, measured)?;
        }
    }
    Ok(())
}

fn read_row(benchmark: &str, estimates: &str) -> Option<(String, Measured)> {
    let benchmark: Value = serde_json::from_str(benchmark).ok()?;
    let estimates: Value = serde_json::from_str(estimates).ok()?;
    let throughput = &benchmark["throughput"];
    let work = match (&throughput["Elements"], &throughput["Bytes"], &throughput["BytesDecimal"]) {
        (Value::Number(flops), ..) => flops.as_f64().map(Work::Flops),
        (_, Value::Number(bytes), _) | (.., Value::Number(bytes)) => bytes.as_f64().map(Work::Bytes),
        _ => None,
    };
    let nanoseconds = estimates["median"]["point_estimate"].as_f64()?;
    Some((benchmark["full_id"].as_str()?.to_owned(), Measured { nanoseconds, work }))
}

/// A time as a reader wants it.
pub fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        t if t < 1e3 => (t, "ns"),
        t if t < 1e6 => (t / 1e3, "µs"),
        t if t < 1e9 => (t / 1e6, "ms"),
        t => (t / 1e9, "s"),
    };
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_write_is_read() {
        let benchmark =
            r#"{"group_id":"matmul","full_id":"matmul/f32-2x2x2","throughput":{"Elements":16},"title":"x"}"#;
        let estimates = r#"{"mean":{"point_estimate":9.0},"median":{"point_estimate":8.0},"slope":null}"#;
        let row = |work| Some(("matmul/f32-2x2x2".to_owned(), Measured { nanoseconds: 8.0, work }));
        assert_eq!(read_row(benchmark, estimates), row(Some(Work::Flops(16.0))));
        let bytes = benchmark.replace("Elements", "BytesDecimal");
        assert_eq!(read_row(&bytes, estimates), row(Some(Work::Bytes(16.0))));
        let nothing = benchmark.replace(r#"{"Elements":16}"#, "null");
        assert_eq!(read_row(&nothing, estimates), row(None));
        assert_eq!(read_row(benchmark, "{}"), None);

        assert_eq!(listed("a/b: benchmark\nsum/sum all: benchmark\n\nnoise"), ["a/b", "sum/sum all"]);
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"kiln"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"ops"},"executable":"/t/ops-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(built(messages, "ops"), Some(PathBuf::from("/t/ops-1")));
        assert_eq!(built(messages, "others"), None);
    }

    #[test]
    fn names() {
        let names = ["b/x", "a/x", "b/y", "a/x", "alone"].map(str::to_owned);
        let grouped = families(&names);
        let expected = [("b", vec!["b/x", "b/y"]), ("a", vec!["a/x"]), ("alone", vec!["alone"])];
        assert_eq!(grouped.len(), expected.len());
        for ((family, rows), (expected, expected_rows)) in grouped.iter().zip(expected) {
            assert_eq!((family.as_str(), rows.iter().map(String::as_str).collect()), (expected, expected_rows));
        }
        assert_eq!(exactly(&names[..2]), "^(b/x|a/x)$");
        assert_eq!(exactly(&["conv [3, 3]".to_owned()]), r"^(conv \[3, 3\])$");
    }

    #[test]
    fn times() {
        let texts = [4.0, 45.61, 999.0, 1234.0, 56_789.0, 123_456_789.0, 2e9].map(time);
        assert_eq!(texts, ["4.00 ns", "45.6 ns", "999 ns", "1.23 µs", "56.8 µs", "123 ms", "2.00 s"]);
    }
}
