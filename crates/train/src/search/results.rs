//! What a search has found: its trials, as a table, as CSV, and the best of them.

use super::better_first;
use super::space::{Choice, Space, Value};
use super::strategy::Task;
use crate::files::write_atomic;
use crate::json;
use crate::text::log_value;
use crate::{Direction, Error, Model, Result};
use kiln_nn::Module;
use kiln_nn::table::{Column, Table};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::time::Instant;

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrialEnd {
    /// By itself.
    Complete,
    /// Because others were better at its age.
    Pruned,
    /// By an error.
    Failed,
}

/// A point of the space that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number, from 0.
    pub number: usize,
    /// The names of the parameters.
    pub parameters: Vec<String>,
    /// Their values.
    pub values: Vec<Value>,
    /// The objective in its best epoch, if it was a number in any.
    #[serde(with = "json::maybe")]
    pub score: Option<f64>,
    /// The objective after each epoch, where it was a number.
    pub curve: Vec<Option<f64>>,
    /// The epochs that the search has given it so far, where the search says how many.
    pub budget: Option<usize>,
    /// How long it took.
    pub seconds: f64,
    /// How it ended.
    pub end: TrialEnd,
    /// The error that it ended by.
    #[serde(skip)]
    pub error: Option<String>,
}

impl Trial {
    /// One that has no epoch to show: until it has, it counts as failed.
    pub(super) fn of(task: &Task, choice: &Choice, started: Instant) -> Trial {
        Trial {
            number: task.number,
            parameters: choice.iter().map(|(name, _)| name.to_owned()).collect(),
            values: task.values.clone(),
            score: None,
            curve: Vec::new(),
            budget: task.epochs,
            seconds: started.elapsed().as_secs_f64(),
            end: TrialEnd::Failed,
            error: None,
        }
    }

    /// The value of a parameter.
    pub fn get(&self, parameter: &str) -> Option<&Value> {
        self.parameters.iter().position(|name| name == parameter).map(|at| &self.values[at])
    }

    /// The best value within the first epochs.
    pub(super) fn best_within(&self, epochs: usize, direction: Direction) -> Option<f64> {
        self.curve.iter().take(epochs).flatten().copied().min_by(|a, b| better_first(direction, *a, *b))
    }

    /// The best value up to each epoch; NaN where there was none yet.
    pub(super) fn best_by_epoch(&self, direction: Direction) -> Vec<f64> {
        (1..=self.curve.len()).map(|epochs| self.best_within(epochs, direction).unwrap_or(f64::NAN)).collect()
    }

    /// A trial of one epoch.
    #[cfg(all(test, feature = "bayesian"))]
    pub(super) fn told(number: usize, values: &[Value], score: f64) -> Trial {
        Trial {
            number,
            parameters: Vec::new(),
            values: values.to_vec(),
            score: Some(score),
            curve: vec![Some(score)],
            budget: None,
            seconds: 0.0,
            end: TrialEnd::Complete,
            error: None,
        }
    }
}

/// The trials of a [`Search`](super::Search), in the order of their numbers.
///
/// `Display` is a table, the best first.
#[derive(Debug)]
pub struct SearchResult<M: Module> {
    /// Every trial.
    pub trials: Vec<Trial>,
    /// The model of the best one, with the weights of its best epoch.
    pub model: Option<Model<M>>,
    /// What they are judged by.
    pub objective: String,
    /// Whether Ctrl-C has ended the search.
    pub is_interrupted: bool,
    pub(crate) direction: Direction,
    pub(crate) space: Space,
}

/// Where the best of some trials is: the first of equals.
pub(super) fn best(trials: &[Trial], direction: Direction) -> Option<usize> {
    let scored = trials.iter().enumerate().filter_map(|(at, trial)| Some((at, trial.score.filter(|s| !s.is_nan())?)));
    scored.min_by(|(_, a), (_, b)| better_first(direction, *a, *b)).map(|(at, _)| at)
}

impl<M: Module> SearchResult<M> {
    /// The best trial: the one of the smallest number, where several are.
    pub fn best(&self) -> Option<&Trial> {
        best(&self.trials, self.direction).map(|at| &self.trials[at])
    }

    /// The trials from the best to the worst; those without a score last.
    pub fn ranked(&self) -> Vec<&Trial> {
        let mut all: Vec<&Trial> = self.trials.iter().collect();
        let score = |trial: &Trial| trial.score.unwrap_or(f64::NAN);
        all.sort_by(|a, b| better_first(self.direction, score(a), score(b)));
        all
    }

    /// Writes the trials as CSV: number (from 1), the parameters, the objective, epochs, seconds, end.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn to_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed = |e: csv::Error| Error::file(path, format!("cannot be written: {e}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        let parameters = self.space.dimensions.iter().map(|dimension| dimension.name.as_str());
        let header =
            ["trial"].into_iter().chain(parameters).chain([self.objective.as_str(), "epochs", "seconds", "end"]);
        writer.write_record(header).map_err(failed)?;
        for trial in &self.trials {
            let value = |value: &Value| match value {
                Value::Float(value) => format!("{value:?}"),
                other => other.to_string(),
            };
            let mut row = vec![(trial.number + 1).to_string()];
            row.extend(trial.values.iter().map(value));
            row.push(trial.score.map_or_else(String::new, |score| format!("{score:?}")));
            row.extend([trial.curve.len().to_string(), format!("{:.3}", trial.seconds), trial.ended().to_owned()]);
            writer.write_record(&row).map_err(failed)?;
        }
        let bytes = writer.into_inner().map_err(|error| failed(error.into_error().into()))?;
        write_atomic(path, &bytes)
    }
}

impl Trial {
    fn ended(&self) -> &'static str {
        match self.end {
            TrialEnd::Complete => "complete",
            TrialEnd::Pruned => "pruned",
            TrialEnd::Failed => "failed",
        }
    }
}

impl<M: Module> fmt::Display for SearchResult<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.trials.is_empty() {
            return f.write_str("no trial has run");
        }
        let names: Vec<&str> = self.space.dimensions.iter().map(|dimension| dimension.name.as_str()).collect();
        let differ = self.trials.iter().any(|trial| trial.end != TrialEnd::Complete);
        let columns = ["trial"].into_iter().chain(names).chain([self.objective.as_str(), "epochs", "seconds"]);
        let columns = columns.chain(differ.then_some("end"));
        let mut table = Table::new(columns.map(|name| Column::new(name).right()));
        table.rules(false);
        for trial in self.ranked() {
            let none = if trial.end == TrialEnd::Failed { "-" } else { "nan" };
            let score = trial.score.map_or(none.to_owned(), log_value);
            let row = [(trial.number + 1).to_string()].into_iter().chain(trial.values.iter().map(Value::to_string));
            let rest = [score, trial.curve.len().to_string(), format!("{:.1}", trial.seconds)];
            table.row(row.chain(rest).chain(differ.then(|| trial.ended().to_owned())));
        }
        table.fmt(f)?;
        if self.is_interrupted {
            f.write_str("\ninterrupted")?;
        }
        Ok(())
    }
}
