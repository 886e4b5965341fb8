//! What is printed: a line for each failure, what is missing, and a line of counts for each category.

use super::Outcome;
use std::collections::BTreeMap;
use std::fmt;

/// The part of the library that a manifest is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// Single operations.
    Ops,
    /// Optimizers, schedules, losses, metrics, initializers, callbacks.
    Train,
    /// Whole training runs.
    EndToEnd,
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Category::Ops => "ops",
            Category::Train => "train",
            Category::EndToEnd => "e2e",
        })
    }
}

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: Vec<String>,
    nonsmooth: Vec<String>,
    /// Samples by the name of what they need.
    unsupported: BTreeMap<String, usize>,
    /// Samples that took more than one call of the library, by what they took.
    more: BTreeMap<&'static str, usize>,
}

/// How all samples went.
#[derive(Debug, Default)]
pub struct Report {
    categories: BTreeMap<Category, Count>,
}

impl Report {
    pub(crate) fn add(&mut self, category: Category, id: &str, outcome: Outcome) {
        let count = self.categories.entry(category).or_default();
        let line = |text: String| format!("{id}: {}", text.replace('\n', " "));
        match outcome {
            Outcome::Passed => count.passed += 1,
            Outcome::Failed(text) => count.failed.push(line(text)),
            Outcome::FailedNonsmooth(text) => count.nonsmooth.push(line(text)),
            Outcome::Unsupported(name) => *count.unsupported.entry(name).or_default() += 1,
        }
    }

    /// Counts a sample whose outputs took more than one call of the library.
    pub(crate) fn add_more(&mut self, category: Category, more: &'static str) {
        *self.categories.entry(category).or_default().more.entry(more).or_default() += 1;
    }

    /// Whether any sample failed.
    pub fn failed(&self) -> bool {
        self.categories.values().any(|count| !count.failed.is_empty())
    }

    /// Number of samples that passed.
    pub fn passed(&self, category: Category) -> usize {
        self.categories.get(&category).map_or(0, |count| count.passed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.categories.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (category, count) in &self.categories {
            for line in &count.failed {
                writeln!(f, "FAILED {line}")?;
            }
            for line in &count.nonsmooth {
                writeln!(f, "nonsmooth {line}")?;
            }
            if !count.unsupported.is_empty() {
                let names: Vec<String> = count.unsupported.iter().map(|(name, n)| format!("{name} ({n})")).collect();
                writeln!(f, "{category} unsupported: {}", names.join(", "))?;
            }
        }
        for (category, count) in &self.categories {
            if !count.nonsmooth.is_empty() {
                writeln!(f, "refs {category} nonsmooth: {} gradients differ at kinks and ties", count.nonsmooth.len())?;
            }
            if !count.more.is_empty() {
                let list: Vec<String> = count.more.iter().map(|(what, n)| format!("{what} ({n})")).collect();
                let all: usize = count.more.values().sum();
                writeln!(f, "refs {category} direct: all but {all} are one call; beside it {}", list.join(", "))?;
            }
            let unsupported: usize = count.unsupported.values().sum();
            writeln!(
                f,
                "refs {category}: {} passed, {} failed, {unsupported} unsupported",
                count.passed,
                count.failed.len()
            )?;
        }
        Ok(())
    }
}
