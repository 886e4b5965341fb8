//! `cargo xtask bench`: the benchmarks beside other libraries, beside another revision, and by instructions. `docs/performance.md` says
//! when to use which.

mod compare;
mod instructions;
mod noise;
mod peers;
mod program;
mod statistics;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What is said of arguments that are none of these.
const USAGE: &str = "usage: cargo xtask bench --peers [FILTER] [--rounds N]
       cargo xtask bench --compare REVISION [FILTER] [--rounds N]
       cargo xtask bench --instructions [FILTER] [--write]
FILTER is a regular expression over the names of rows, as criterion has it: matmul, or '^softmax/.*gradients'";

/// The subcommand.
pub fn run(root: &Path, arguments: &[&str]) -> ExitCode {
    let Some(wanted) = Wanted::read(arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let done = match wanted.what {
        What::Peers => peers::run(root, wanted.filter, wanted.rounds.unwrap_or(1)),
        What::Compare(revision) => compare::run(root, revision, wanted.filter, wanted.rounds.unwrap_or(6)),
        What::Instructions { write } => instructions::run(root, wanted.filter, write),
    };
    match done {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq)]
enum What<'a> {
    Peers,
    Compare(&'a str),
    Instructions { write: bool },
}

#[derive(Debug, PartialEq)]
struct Wanted<'a> {
    what: What<'a>,
    filter: &'a str,
    rounds: Option<usize>,
}

impl<'a> Wanted<'a> {
    fn read(arguments: &[&'a str]) -> Option<Wanted<'a>> {
        let (what, rest) = match arguments {
            ["--peers", rest @ ..] => (What::Peers, rest),
            ["--compare", revision, rest @ ..] if !revision.starts_with('-') => (What::Compare(revision), rest),
            ["--instructions", rest @ ..] => (What::Instructions { write: false }, rest),
            _ => return None,
        };
        let mut wanted = Wanted { what, filter: "", rounds: None };
        let mut rest = rest.iter();
        while let Some(&argument) = rest.next() {
            match (argument, &mut wanted.what) {
                ("--write", What::Instructions { write }) => *write = true,
                ("--rounds", What::Peers | What::Compare(_)) => {
                    wanted.rounds = Some(rest.next()?.parse().ok().filter(|rounds| *rounds > 0)?);
                }
                (filter, _) if wanted.filter.is_empty() && !filter.starts_with('-') => wanted.filter = filter,
                _ => return None,
            }
        }
        Some(wanted)
    }
}

/// Where all this is written, below the folder that is not in version control.
fn folder(root: &Path) -> Result<PathBuf, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    // Programs run in other folders.
    std::fs::canonicalize(&folder).map_err(|e| format!("{}: {e}", folder.display()))
}

/// What a command prints.
fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(std::process::Stdio::inherit()).output();
    let output = output.map_err(|e| format!("{name} cannot be run: {e}"))?;
    if !output.status.success() {
        return Err(format!("{name} failed ({})", output.status));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{name}: {e}"))
}

/// Prints a table and writes it.
fn publish(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("{text}\nwritten to {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let read = |text: &'static str| Wanted::read(&text.split(' ').collect::<Vec<_>>());
        let wanted = |what, filter, rounds| Some(Wanted { what, filter, rounds });
        assert_eq!(read("--peers"), wanted(What::Peers, "", None));
        assert_eq!(read("--peers matmul --rounds 3"), wanted(What::Peers, "matmul", Some(3)));
        assert_eq!(read("--compare HEAD~2 --rounds 4 sum"), wanted(What::Compare("HEAD~2"), "sum", Some(4)));
        assert_eq!(read("--instructions --write"), wanted(What::Instructions { write: true }, "", None));
        let wrong = ["", "--compare", "--compare --rounds 2", "--peers --write", "--peers a b", "--peers --rounds 0"];
        for wrong in wrong {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
