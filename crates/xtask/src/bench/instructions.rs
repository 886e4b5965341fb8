//! Instructions of small runs, counted by Valgrind: the same ones each time, so that a change of a few percent shows on any machine,
//! however noisy. They are compared with those recorded. (A library that does this, gungraun, brings a program of its own that has to be
//! installed in the same version, and 35 crates; what is needed of it is this file.)

use super::compare::compiler;
use super::program::executable;
use super::{folder, output, publish};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The recorded counts.
const RECORD: &str = "benches/instructions.txt";
/// The function of `benches/instructions.rs` around what is counted.
const COUNTED: &str = "*counted_by_callgrind*";
/// More or fewer than this share is a change: where memory lies shifts a little.
const TOLERANCE: f64 = 0.01;

/// Counts, and compares with the record or writes it.
pub fn run(root: &Path, filter: &str, write: bool) -> Result<ExitCode, String> {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        println!("bench: instructions are counted by valgrind, which is not installed (apt install valgrind); skipped");
        return Ok(ExitCode::SUCCESS);
    }
    let program = executable(root, "instructions", None)?;
    let names = output(Command::new(&program).args(["--list", filter]))?;
    let path = root.join(RECORD);
    let recorded = read(&fs::read_to_string(&path).unwrap_or_default());
    let mut counts = BTreeMap::new();
    for name in names.lines() {
        println!("{name}");
        counts.insert(name.to_owned(), count(&program, name)?);
    }
    if counts.is_empty() {
        return Err(format!("no row contains {filter:?}"));
    }
    let compiler = compiler()?;
    if write {
        let mut all = recorded.counts;
        // Rows that a filter leaves out stay as they are; without one, those that are gone go.
        if filter.is_empty() {
            all.clear();
        }
        all.extend(counts);
        fs::write(&path, record(&all, &compiler)).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("written to {RECORD}");
        return Ok(ExitCode::SUCCESS);
    }
    let same_compiler = recorded.compiler == compiler;
    let (text, more) = table(&recorded, &counts, &compiler);
    publish(&folder(root)?.join("instructions.md"), &text)?;
    Ok(if more && same_compiler { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs a row once by Valgrind, on one thread; it has no AVX-512, so kernels take AVX2.
fn count(program: &Path, name: &str) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect={COUNTED}")).arg(program).args(["--run", name]);
    command.env("RAYON_NUM_THREADS", "1").env_remove("KILN_BENCH_ISA");
    let output = command.output().map_err(|e| format!("valgrind: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let counted = collected(&said).filter(|_| output.status.success());
    counted.ok_or_else(|| format!("{name} by valgrind ({}): {said}", output.status))
}

/// The number that callgrind says it has collected.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.split_once("Collected : "))?;
    line.1.split_whitespace().next()?.parse().ok()
}

/// What was recorded, and by which compiler.
#[derive(Debug, Default, PartialEq)]
struct Record {
    compiler: String,
    counts: BTreeMap<String, u64>,
}

fn read(text: &str) -> Record {
    let mut record = Record::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("#"), Some("rustc")) => record.compiler = words.next().unwrap_or_default().to_owned(),
            (Some(name), Some(count)) if !name.starts_with('#') => {
                record.counts.extend(count.parse().ok().map(|count| (name.to_owned(), count)));
            }
            _ => {}
        }
    }
    record
}

fn record(counts: &BTreeMap<String, u64>, compiler: &str) -> String {
    let mut text =
        String::from("# Instructions of a run on one thread with AVX2: cargo xtask bench --instructions --write\n");
    let _ = writeln!(text, "# rustc {compiler}");
    for (name, count) in counts {
        let _ = writeln!(text, "{name:<40} {count:>12}");
    }
    text
}

/// The table, and whether some row has become longer.
fn table(recorded: &Record, counts: &BTreeMap<String, u64>, compiler: &str) -> (String, bool) {
    let mut text = String::from("# Instructions\n\n");
    if recorded.compiler != compiler {
        let _ = writeln!(
            text,
            "Recorded with rustc {}, counted with {compiler}: differences may be the compiler's, and are no failure.\n",
            recorded.compiler
        );
    }
    text.push_str("| row | recorded | now | now / recorded | |\n|---|---|---|---|---|\n");
    let mut more = false;
    for (name, now) in counts {
        let Some(then) = recorded.counts.get(name) else {
            let _ = writeln!(text, "| {name} | | {now} | | not recorded |");
            continue;
        };
        let ratio = *now as f64 / *then as f64;
        let word = match ratio {
            r if r > 1.0 + TOLERANCE => "more",
            r if r < 1.0 - TOLERANCE => "fewer",
            _ => "same",
        };
        more |= word == "more";
        let _ = writeln!(text, "| {name} | {then} | {now} | {ratio:.3} | {word} |");
    }
    (text, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_and_written() {
        let said = "==1== Events    : Ir\n==1== Collected : 1234567\n==1== \n==1== I   refs:      1,234,567\n";
        assert_eq!(collected(said), Some(1_234_567));
        assert_eq!(collected("==1== Fatal error"), None);
        let counts = BTreeMap::from([("add".to_owned(), 12), ("mul".to_owned(), 3)]);
        assert_eq!(read(&record(&counts, "1.95.0")), Record { compiler: "1.95.0".to_owned(), counts });
    }

    #[test]
    fn what_changed_is_told() {
        let counts = |a, b| BTreeMap::from([("add".to_owned(), a), ("mul".to_owned(), b)]);
        let recorded = Record { compiler: "1".to_owned(), counts: counts(1000, 1000) };
        let (text, more) = table(&recorded, &counts(1005, 900), "1");
        assert!(
            !more && text.contains("| add | 1000 | 1005 | 1.005 | same |") && text.contains("| 0.900 | fewer |"),
            "{text}"
        );
        let (text, more) = table(&recorded, &counts(1000, 1100), "2");
        assert!(more && text.contains("| 1.100 | more |") && text.contains("Recorded with rustc 1"), "{text}");
    }
}
