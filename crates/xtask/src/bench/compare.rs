//! Two revisions in turns: what moved, and how sure that is.

use super::noise::Others;
use super::program::{Program, executable, families, time};
use super::statistics::{Verdict, geometric_mean, interval, median};
use super::{folder, output, publish};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The benchmark that is compared.
const BENCH: &str = "ops";

/// Times of a row in each round, before and after.
type Rounds = BTreeMap<String, (Vec<f64>, Vec<f64>)>;

/// Builds both, and runs each family of both in turns.
pub fn run(root: &Path, revision: &str, filter: &str, rounds: usize) -> Result<ExitCode, String> {
    let folder = folder(root)?;
    let before = Program::new(former(root, revision, &folder)?, &folder.join("criterion"));
    println!("building the working tree");
    let after = Program::build(root, BENCH, None, &folder)?;
    let (old, new) = (before.rows(filter)?, after.rows(filter)?);
    let (common, alone): (Vec<String>, Vec<String>) = new.iter().cloned().partition(|name| old.contains(name));
    let gone: Vec<String> = old.iter().filter(|name| !new.contains(name)).cloned().collect();
    let (mut measured, others) = (Rounds::new(), Others::watch());
    let families = families(&common);
    for (i, (family, names)) in families.iter().enumerate() {
        for round in 0..rounds {
            println!("{family} ({} of {} families), round {} of {rounds}", i + 1, families.len(), round + 1);
            // A B, B A, A B: what drifts while this runs is no advantage of either.
            for turn in [round % 2, 1 - round % 2] {
                let program = if turn == 0 { &before } else { &after };
                for (name, row) in program.measure(names, None)? {
                    let times = measured.entry(name).or_default();
                    if turn == 0 { &mut times.0 } else { &mut times.1 }.push(row.nanoseconds);
                }
            }
        }
    }
    let mut text = table(&measured, revision, rounds);
    text.extend(others.warning().map(|warning| format!("\n**{warning}**\n")));
    for (names, what) in [(&alone, "only in the working tree"), (&gone, "only in the revision")] {
        if !names.is_empty() {
            let _ = writeln!(text, "\n{} rows are {what}: {}.", names.len(), names.join(", "));
        }
    }
    publish(&folder.join("compare.md"), &text)?;
    Ok(ExitCode::SUCCESS)
}

/// The benchmark of a revision, built in a work tree of its own, and kept: the name says of which revision and compiler.
fn former(root: &Path, revision: &str, folder: &Path) -> Result<PathBuf, String> {
    let git = |arguments: &[&str]| output(Command::new("git").current_dir(root).args(arguments));
    let commit = git(&["rev-parse", "--verify", "--short=12", &format!("{revision}^{{commit}}")])?;
    let kept = folder.join(format!("{BENCH}-{}-{}", commit.trim(), compiler()?));
    if kept.exists() {
        println!("{revision} is built already: {}", kept.display());
        return Ok(kept);
    }
    println!("building {revision}");
    let tree = folder.join("revision");
    let place = tree.to_string_lossy();
    // One tree for all revisions, so that a second one compiles only what differs.
    if tree.join("Cargo.toml").exists() {
        output(Command::new("git").current_dir(&tree).args([
            "checkout",
            "--quiet",
            "--force",
            "--detach",
            commit.trim(),
        ]))?;
    } else {
        git(&["worktree", "prune"])?;
        git(&["worktree", "add", "--quiet", "--force", "--detach", &place, commit.trim()])?;
    }
    let built = executable(&tree, BENCH, Some(&folder.join("revision-target")))?;
    fs::copy(&built, &kept).map_err(|e| format!("{}: {e}", kept.display()))?;
    Ok(kept)
}

/// The compiler's version: `1.95.0`.
pub fn compiler() -> Result<String, String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = output(Command::new(rustc).arg("--version"))?;
    version.split_whitespace().nth(1).map(str::to_owned).ok_or_else(|| format!("rustc is {version:?}"))
}

/// What moved first, what is the same last.
fn table(measured: &Rounds, revision: &str, rounds: usize) -> String {
    let rows = measured.iter().map(|(name, (before, after))| {
        let ratios: Vec<f64> = before.iter().zip(after).map(|(before, after)| after / before).collect();
        (Verdict::of(&ratios), name, median(before), median(after), ratios)
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(b.1)));
    let ratios: Vec<f64> = rows.iter().map(|row| median(&row.4)).collect();
    let sure = rows.first().map_or(0.0, |row| interval(&row.4).coverage);
    let mut text = format!(
        "# The working tree beside {revision}\n\n{rounds} rounds of each in turns. Ratios are times after / before, above 1 slower, of the \
         two runs of a round; the interval holds their true median in {:.0} of 100 cases. Geometric mean of the medians of {} rows: {:.3}.\n\n\
         | row | before | after | after / before | interval | |\n|---|---|---|---|---|---|\n",
        100.0 * sure,
        rows.len(),
        geometric_mean(&ratios)
    );
    for (verdict, name, before, after, ratios) in &rows {
        let within = interval(ratios);
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {:.3} | {:.3} … {:.3} | {} |",
            time(*before),
            time(*after),
            median(ratios),
            within.low,
            within.high,
            verdict.text()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_comes_first() {
        let before = vec![100.0; 6];
        let measured = Rounds::from([
            ("a/same".to_owned(), (before.clone(), vec![100.0, 101.0, 99.0, 100.0, 100.5, 99.5])),
            ("b/slower".to_owned(), (before.clone(), vec![120.0, 118.0, 125.0, 119.0, 121.0, 120.0])),
            ("c/unclear".to_owned(), (before, vec![90.0, 118.0, 125.0, 80.0, 121.0, 120.0])),
        ]);
        let text = table(&measured, "HEAD", 6);
        let rows: Vec<&str> = text.lines().skip(6).collect();
        assert_eq!(rows[0], "| b/slower | 100 ns | 120 ns | 1.200 | 1.180 … 1.250 | moved: slower |");
        assert!(rows[1].starts_with("| c/unclear") && rows[1].ends_with("| unclear |"), "{text}");
        assert!(rows[2].starts_with("| a/same") && rows[2].ends_with("| same |"), "{text}");
        assert!(text.contains("in 97 of 100 cases"), "{text}");
    }
}
