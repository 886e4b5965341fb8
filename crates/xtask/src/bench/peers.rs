//! Kiln beside other libraries, family by family in one run, so that both meet the same noise.

use super::noise::Others;
use super::program::{Measured, Program, Work, families, time};
use super::statistics::{geometric_mean, median};
use super::{folder, output, publish};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The other side of the comparison, below the root.
const SCRIPT: &str = "benches/peers/ops.py";
/// The family of limits, which is always measured.
const MACHINE: &str = "machine";

/// A library of the other side.
#[derive(Debug, Clone, PartialEq)]
struct Peer {
    name: String,
    version: String,
}

/// A row: its name, what Kiln needs, and nanoseconds of each peer that has it.
struct Row {
    name: String,
    kiln: Measured,
    peers: Vec<Option<f64>>,
}

/// What it was measured on.
struct Machine {
    threads: usize,
    limits: Limits,
    /// Of families that were disturbed, what is to be said.
    noise: BTreeMap<String, String>,
}

/// Multiplications and additions, and bytes, a nanosecond.
#[derive(Clone, Copy)]
struct Limits {
    flops: Option<f64>,
    bytes: Option<f64>,
}

/// Builds, measures in turns, prints and writes the table.
pub fn run(root: &Path, filter: &str, rounds: usize) -> Result<ExitCode, String> {
    let folder = folder(root)?;
    let program = Program::build(root, "ops", None, &folder)?;
    let names = program.rows(filter)?;
    if names.iter().all(|name| name.starts_with(MACHINE)) {
        return Err(format!("no row fits {filter:?}; their names: {} --bench --list", program.executable().display()));
    }
    let python = python();
    let peers = installed(root, &python);
    let threads = threads();
    let limits = limits(&program.measure(&program.rows(&format!("^{MACHINE}/"))?, Some(threads))?);
    let (mut rows, mut noise) = (Vec::new(), BTreeMap::new());
    for (family, names) in families(names.iter().filter(|name| !name.starts_with(MACHINE))) {
        let others_work = Others::watch();
        let mut kiln: BTreeMap<String, Vec<Measured>> = BTreeMap::new();
        let mut others: BTreeMap<(usize, String), Vec<f64>> = BTreeMap::new();
        for round in 0..rounds {
            println!("{family}: {} rows, round {} of {rounds}", names.len(), round + 1);
            for (name, measured) in program.measure(&names, Some(threads))? {
                kiln.entry(name).or_default().push(measured);
            }
            for (i, peer) in peers.iter().enumerate() {
                let mut command = script(root, &python);
                command.args(["--library", &peer.name, "--threads", &threads.to_string()]).args(&names);
                // What one peer cannot do is missing in the table, and no reason to lose the rest.
                match output(&mut command) {
                    Ok(text) => measurements(&text).for_each(|(name, t)| others.entry((i, name)).or_default().push(t)),
                    Err(problem) => eprintln!("bench: {family} by {}: {problem}", peer.name),
                }
            }
        }
        noise.extend(others_work.warning().map(|warning| (family, warning)));
        for name in names {
            let Some(measured) = kiln.get(&name) else { continue };
            let times: Vec<f64> = measured.iter().map(|m| m.nanoseconds).collect();
            let kiln = Measured { nanoseconds: median(&times), ..measured[0] };
            let of = |i: usize| others.get(&(i, name.clone())).map(|times| median(times));
            rows.push(Row { peers: (0..peers.len()).map(of).collect(), kiln, name });
        }
    }
    publish(&folder.join("peers.md"), &table(&rows, &peers, &Machine { threads, limits, noise }))?;
    Ok(ExitCode::SUCCESS)
}

/// The interpreter that has the peers.
fn python() -> String {
    let named = |name| std::env::var(name).ok().filter(|path| !path.is_empty());
    named("KILN_PEERS_PYTHON").or_else(|| named("PYTHON")).unwrap_or_else(|| "python3".to_owned())
}

fn script(root: &Path, python: &str) -> Command {
    let mut command = Command::new(python);
    // No compiled copies among the sources.
    command.arg(root.join(SCRIPT)).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The libraries that this interpreter has; those that it lacks are told.
fn installed(root: &Path, python: &str) -> Vec<Peer> {
    let found = match script(root, python).arg("--installed").stderr(Stdio::null()).output() {
        Ok(found) if found.status.success() => String::from_utf8_lossy(&found.stdout).into_owned(),
        _ => {
            println!("no peers: {python} does not run (KILN_PEERS_PYTHON names another); Kiln alone is measured");
            return Vec::new();
        }
    };
    let (here, missing): (Vec<_>, Vec<_>) = libraries(&found).into_iter().partition(|(_, version)| version.is_some());
    for (name, _) in missing {
        println!("{name} is not installed for {python}: no rows of it");
    }
    here.into_iter().map(|(name, version)| Peer { name, version: version.unwrap_or_default() }).collect()
}

/// Names and versions, if there is one, in what the script prints: `[["torch", "2.9.0"], ["jax", null]]`.
fn libraries(text: &str) -> Vec<(String, Option<String>)> {
    serde_json::from_str(text).unwrap_or_default()
}

/// Names and nanoseconds, in the lines that the script prints.
fn measurements(text: &str) -> impl Iterator<Item = (String, f64)> {
    let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    rows.filter_map(|row| Some((row["name"].as_str()?.to_owned(), row["nanoseconds"].as_f64()?)))
}

/// As many as Kiln uses.
fn threads() -> usize {
    let named = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
    named.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn limits(machine: &BTreeMap<String, Measured>) -> Limits {
    let rate = |name: &str| {
        let row = machine.get(&format!("{MACHINE}/{name}"))?;
        let (Work::Flops(work) | Work::Bytes(work)) = row.work?;
        Some(work / row.nanoseconds)
    };
    Limits { flops: rate("multiply-add"), bytes: rate("copy") }
}

/// What a row reaches, and which share of the limit that is.
fn rate(row: &Measured, limits: Limits) -> [String; 2] {
    let (rate, limit, unit) = match row.work {
        Some(Work::Flops(n)) => (n / row.nanoseconds, limits.flops, "GFLOP/s"),
        Some(Work::Bytes(n)) => (n / row.nanoseconds, limits.bytes, "GB/s"),
        None => return Default::default(),
    };
    // Of a single operation a rate says nothing.
    if rate < 0.01 {
        return Default::default();
    }
    let digits = usize::from(rate < 100.0) + usize::from(rate < 1.0);
    [format!("{rate:.digits$} {unit}"), limit.map(|limit| format!("{:.0} %", 100.0 * rate / limit)).unwrap_or_default()]
}

/// Of one peer, how many times as long as Kiln it takes.
fn ratios<'a>(rows: impl Iterator<Item = &'a Row>, peer: usize) -> Vec<f64> {
    rows.filter_map(|row| Some(row.peers[peer]? / row.kiln.nanoseconds)).collect()
}

fn table(rows: &[Row], peers: &[Peer], machine: &Machine) -> String {
    let families = families(rows.iter().map(|row| &row.name));
    let mut text = head(peers, machine);
    if !peers.is_empty() {
        text.push_str(&means(rows, peers, machine, families.iter().map(|(family, _)| family.as_str())));
    }
    for (family, names) in &families {
        let names_of: String = peers.iter().map(|peer| format!(" {0} | {0} / Kiln |", peer.name)).collect();
        let noise = machine.noise.get(family).map(|noise| format!("**{noise}**\n\n")).unwrap_or_default();
        let _ = writeln!(text, "\n## {family}\n\n{noise}| row | Kiln | rate | of the limit |{names_of}");
        let _ = writeln!(text, "|---|---|---|---|{}", "---|---|".repeat(peers.len()));
        for row in rows.iter().filter(|row| names.contains(&row.name)) {
            let [rate, share] = rate(&row.kiln, machine.limits);
            let _ = write!(text, "| {} | {} | {rate} | {share} |", row.name, time(row.kiln.nanoseconds));
            for peer in &row.peers {
                let _ = match peer {
                    Some(t) => write!(text, " {} | {} |", time(*t), emphasized(t / row.kiln.nanoseconds)),
                    None => write!(text, " | |"),
                };
            }
            text.push('\n');
        }
    }
    text
}

/// Versions and limits.
fn head(peers: &[Peer], Machine { threads, limits, .. }: &Machine) -> String {
    let mut text = String::from("# Kiln beside other libraries\n\n");
    let mut versions = vec![format!("Kiln {}", env!("CARGO_PKG_VERSION"))];
    versions.extend(peers.iter().map(|peer| format!("{} {}", peer.name, peer.version)));
    let _ = writeln!(
        text,
        "{}; {threads} threads. Ratios are times of the peer / Kiln, above 1 where Kiln is faster.",
        versions.join(", ")
    );
    let limit = |rate: Option<f64>| rate.map_or("?".to_owned(), |rate| format!("{rate:.0}"));
    let _ = writeln!(
        text,
        "The machine multiplies and adds at {} GFLOP/s and copies at {} GB/s, measured in this run: shares are of these. What lies in a \
         cache can exceed the second.",
        limit(limits.flops),
        limit(limits.bytes)
    );
    text
}

/// The means of each family, and of all.
fn means<'a>(rows: &[Row], peers: &[Peer], machine: &Machine, families: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::from("\nGeometric means, and of how many rows:\n\n| family |");
    for peer in peers {
        let _ = write!(text, " {} / Kiln |", peer.name);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(peers.len()));
    let mut line = |title: &str, rows: &dyn Fn(usize) -> Vec<f64>| {
        let _ = write!(text, "| {title} |");
        for peer in 0..peers.len() {
            let _ = match &rows(peer)[..] {
                [] => write!(text, " |"),
                ratios => write!(text, " {:.2} ({}) |", geometric_mean(ratios), ratios.len()),
            };
        }
        text.push('\n');
    };
    for family in families {
        let own = |row: &&Row| row.name.split('/').next() == Some(family);
        let title = format!("{family}{}", if machine.noise.contains_key(family) { ", disturbed" } else { "" });
        line(&title, &|peer| ratios(rows.iter().filter(own), peer));
    }
    line("all", &|peer| ratios(rows.iter(), peer));
    text
}

/// A ratio; where Kiln is slower, in bold.
fn emphasized(ratio: f64) -> String {
    let text = format!("{ratio:.2}");
    if ratio < 1.0 { format!("**{text}**") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_prints() {
        let found = libraries(r#"[["torch", "2.9.0"], ["jax", null]]"#);
        assert_eq!(found, [("torch".to_owned(), Some("2.9.0".to_owned())), ("jax".to_owned(), None)]);
        let text = "a warning\n{\"name\": \"a/b\", \"nanoseconds\": 12.5}\n{\"name\": \"a/c\"}\n";
        assert_eq!(measurements(text).collect::<Vec<_>>(), [("a/b".to_owned(), 12.5)]);
    }

    #[test]
    fn tables() {
        let row = |name: &str, nanoseconds, work, peers: &[Option<f64>]| Row {
            name: name.to_owned(),
            kiln: Measured { nanoseconds, work: Some(work) },
            peers: peers.to_vec(),
        };
        let rows = [
            row("matmul/a", 100.0, Work::Flops(5000.0), &[Some(50.0), None]),
            row("matmul/b", 100.0, Work::Flops(5000.0), &[Some(200.0), Some(400.0)]),
            row("sum/c", 2000.0, Work::Bytes(4000.0), &[Some(1000.0), None]),
        ];
        let peers = ["torch", "jax"].map(|name| Peer { name: name.to_owned(), version: "1".to_owned() });
        let limits = Limits { flops: Some(200.0), bytes: Some(20.0) };
        let noise = BTreeMap::from([("sum".to_owned(), "others were busy".to_owned())]);
        let text = table(&rows, &peers, &Machine { threads: 2, limits, noise });
        for line in [
            "| matmul | 1.00 (2) | 4.00 (1) |",
            "| sum, disturbed | 0.50 (1) | |",
            "| all | 0.79 (3) | 4.00 (1) |",
            "**others were busy**",
            "| matmul/a | 100 ns | 50.0 GFLOP/s | 25 % | 50.0 ns | **0.50** | | |",
            "| matmul/b | 100 ns | 50.0 GFLOP/s | 25 % | 200 ns | 2.00 | 400 ns | 4.00 |",
            "| sum/c | 2.00 µs | 2.0 GB/s | 10 % | 1.00 µs | **0.50** | | |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
