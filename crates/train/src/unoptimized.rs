//! What a user is told who trains with kernels that were compiled without optimization.

use crate::progress::Verbosity;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

const WARNING: &str =
    "warning: Kiln was compiled without optimization, so training takes up to a hundred times as long. \
                       Build with --release, or add to Cargo.toml:
[profile.dev]
opt-level = 1
[profile.dev.package.\"*\"]
opt-level = 3";

/// Warns on standard error, once in a process and not where nothing shall be printed.
pub(crate) fn warn_once(verbosity: Verbosity) {
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    if let Some(text) = warning(kiln_nn::IS_OPTIMIZED, verbosity, &IS_TOLD) {
        // Nobody may be there to read it, which is no reason to end the training.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// The text, if there is reason for it and it has not been told yet.
fn warning(is_optimized: bool, verbosity: Verbosity, is_told: &AtomicBool) -> Option<&'static str> {
    let is_due = !is_optimized && verbosity != Verbosity::Silent && !is_told.swap(true, Ordering::Relaxed);
    is_due.then_some(WARNING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_once_and_only_where_it_is_so() {
        let is_told = AtomicBool::new(false);
        assert_eq!(warning(true, Verbosity::Bar, &is_told), None);
        // A silent run leaves it to a later one.
        assert_eq!(warning(false, Verbosity::Silent, &is_told), None);
        assert_eq!(warning(false, Verbosity::Line, &is_told), Some(WARNING));
        assert_eq!(warning(false, Verbosity::Line, &is_told), None);
        assert_eq!(warning(false, Verbosity::Bar, &is_told), None);
    }

    #[test]
    fn the_lines_to_add_are_those_of_the_book() {
        let book = include_str!("../../../docs/getting-started.md");
        let (_, lines) = WARNING.split_once("Cargo.toml:\n").unwrap();
        assert!(lines.starts_with("[profile.dev]\nopt-level = 1\n[profile.dev.package.\"*\"]\n"));
        assert!(book.contains(&format!("\n{lines}\n")));
    }
}
