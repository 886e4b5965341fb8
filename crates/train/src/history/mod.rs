//! What a training run leaves behind: every logged value of every epoch. Reading and writing files is in `files.rs`,
//! the judgement on the fit in `diagnosis.rs`, drawing in `crate::plot`.

mod diagnosis;
mod files;
mod logs;

mod series;

pub use diagnosis::{Diagnosis, FitVerdict, LossAt};
pub use logs::Logs;
pub(crate) use logs::sort_key;
pub(crate) use series::Series;

use crate::callbacks::{Direction, Mode};
use crate::text::log_value;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The values of a whole training run, one series a name, each as long as there were epochs.
///
/// A value that was not logged in an epoch is NaN there, so that a series always lines up with [`History::epochs`]
/// (a validation every second epoch included). A NaN that was measured is still a value: [`History::last`] returns it,
/// and tables print `nan`, where they print `-` for what was not logged. Epochs count from 0, as in Keras; what is
/// printed for people counts from 1.
///
/// # Examples
/// ```
/// use kiln_train::{History, Logs, Mode};
/// let mut history = History::new();
/// history.push(0, &Logs::from([("loss", 1.0)]), 0.1);
/// history.push(1, &Logs::from([("loss", 0.5), ("val_loss", 0.75)]), 0.1);
/// assert_eq!(history.get("loss"), Some(&[1.0, 0.5][..]));
/// assert!(history.get("val_loss").unwrap()[0].is_nan());
/// assert_eq!(history.best_epoch("val_loss", Mode::Auto), Some(1));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// What the run was asked for.
    pub params: Params,
    /// Why the run ended before its last epoch, if it did.
    pub stopped: Option<StopReason>,
    epochs: Vec<usize>,
    seconds: Vec<f64>,
    series: Vec<(String, Series)>,
    validations: Vec<(u64, Logs)>,
}

/// What a run was asked for: the arguments of `fit` that a reader of its history wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// The final epoch index that was asked for.
    pub epochs: usize,
    /// Batches in an epoch, where that is known.
    pub steps: Option<usize>,
    /// Rows in a batch, where that is fixed.
    pub batch_size: Option<usize>,
}

/// Why training ended before its last epoch. Epochs and batches count from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// The monitored value stopped improving.
    EarlyStopping {
        /// The name that was watched.
        monitor: String,
        /// The last epoch that ran.
        epoch: usize,
        /// The epoch with the best value, if any had one.
        best_epoch: Option<usize>,
    },
    /// The user asked for it (Ctrl-C).
    Interrupted {
        /// The epoch that was running.
        epoch: usize,
    },
    /// The loss was NaN or infinite.
    NotFinite {
        /// The epoch of the bad batch.
        epoch: usize,
        /// The bad batch.
        batch: usize,
    },
    /// [`Fit::max_steps`](crate::Fit::max_steps) were done.
    MaxSteps {
        /// Batches of the whole run.
        steps: u64,
    },
    /// [`Fit::max_time`](crate::Fit::max_time) was over.
    MaxTime {
        /// The time that was given, in whole seconds.
        seconds: u64,
    },
    /// A callback asked for it, in its own words.
    Callback {
        /// What it said.
        message: String,
    },
}

impl StopReason {
    /// The same reason in a history whose epochs count `by` further.
    fn shifted(mut self, by: usize) -> Self {
        match &mut self {
            Self::EarlyStopping { epoch, best_epoch, .. } => {
                *epoch += by;
                *best_epoch = best_epoch.map(|best| best + by);
            }
            Self::Interrupted { epoch } | Self::NotFinite { epoch, .. } => *epoch += by,
            Self::MaxSteps { .. } | Self::MaxTime { .. } | Self::Callback { .. } => {}
        }
        self
    }
}

/// A number counted from 0 as people count. A file may hold any, also the largest.
pub(crate) fn from_1(number: usize) -> usize {
    number.saturating_add(1)
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EarlyStopping { monitor, epoch, best_epoch: Some(best) } => {
                write!(
                    f,
                    "early stopping after epoch {}: `{monitor}` was best in epoch {}",
                    from_1(*epoch),
                    from_1(*best)
                )
            }
            Self::EarlyStopping { monitor, epoch, best_epoch: None } => {
                write!(f, "early stopping after epoch {}: `{monitor}` never improved", from_1(*epoch))
            }
            Self::Interrupted { epoch } => write!(f, "interrupted in epoch {}", from_1(*epoch)),
            Self::NotFinite { epoch, batch } => {
                write!(f, "the loss was not finite in epoch {}, batch {}", from_1(*epoch), from_1(*batch))
            }
            Self::MaxSteps { steps } => write!(f, "{steps} batches were asked for at most"),
            Self::MaxTime { seconds } => write!(f, "{seconds} seconds were asked for at most"),
            Self::Callback { message } => write!(f, "a callback stopped it: {message}"),
        }
    }
}

impl History {
    /// A history with no epoch yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an epoch: its number, its values and how long it took.
    pub fn push(&mut self, epoch: usize, logs: &Logs, seconds: f64) {
        let rows = self.len();
        self.epochs.push(epoch);
        self.seconds.push(seconds);
        for name in logs.names() {
            if let Err(at) = self.place(name) {
                self.series.insert(at, (name.to_owned(), Series::absent(rows)));
            }
        }
        for (name, series) in &mut self.series {
            series.push(logs.get(name));
        }
    }

    /// Puts values in place of those of the last epoch, if there is one.
    pub(crate) fn amend(&mut self, logs: &Logs) {
        let rows = self.len();
        for (name, value) in logs.iter().filter(|_| rows > 0) {
            let at = self.place(name).unwrap_or_else(|at| {
                self.series.insert(at, (name.to_owned(), Series::absent(rows)));
                at
            });
            self.series[at].1.amend(value);
        }
    }

    /// The numbers of the epochs that ran, from 0 (from `initial_epoch` in a resumed run). What is printed counts from 1.
    pub fn epochs(&self) -> &[usize] {
        &self.epochs
    }

    /// How long each epoch took, validation included, in seconds.
    pub fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    /// The values logged under `name`, one an epoch, NaN where it was not logged; `None` if it never was.
    pub fn get(&self, name: &str) -> Option<&[f64]> {
        self.series(name).map(Series::values)
    }

    /// The same, with what was not logged apart from a NaN that was measured.
    pub(crate) fn series(&self, name: &str) -> Option<&Series> {
        self.place(name).ok().map(|at| &self.series[at].1)
    }

    /// The logged names, in the order of [`Logs`].
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.series.iter().map(|(name, _)| name.as_str())
    }

    /// The names with their series, in the order of [`Logs`].
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[f64])> {
        self.series.iter().map(|(name, series)| (name.as_str(), series.values()))
    }

    /// What validations within epochs measured ([`Fit::validation_every_steps`](crate::Fit::validation_every_steps)), each with
    /// the number of batches of the run before it.
    pub fn validations(&self) -> &[(u64, Logs)] {
        &self.validations
    }

    pub(crate) fn push_validation(&mut self, steps: u64, logs: Logs) {
        self.validations.push((steps, logs));
    }

    /// Whether the user ended the run with Ctrl-C: a program that trains several models ends its loop then.
    pub fn was_interrupted(&self) -> bool {
        matches!(self.stopped, Some(StopReason::Interrupted { .. }))
    }

    /// How many epochs ran.
    pub fn len(&self) -> usize {
        self.epochs.len()
    }

    /// Whether no epoch ran.
    pub fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// The last value of `name` that was logged, which is NaN where that was measured.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.series(name)?.iter().rev().flatten().next()
    }

    /// The epoch in which `name` was best, the first of equals, counted from 0 as in [`History::epochs`]; `None` if it was never logged but as NaN, or if
    /// [`Mode::Auto`] cannot tell the direction from its name.
    pub fn best_epoch(&self, name: &str, mode: Mode) -> Option<usize> {
        self.best_row(name, mode).map(|row| self.epochs[row])
    }

    /// The best value of `name`; `None` as for [`History::best_epoch`].
    pub fn best_value(&self, name: &str, mode: Mode) -> Option<f64> {
        let row = self.best_row(name, mode)?;
        self.get(name).map(|values| values[row])
    }

    /// Adds the epochs of a later `fit`; where they would repeat a number, they go on after the last one here.
    ///
    /// `params` and `stopped` become those of the later run.
    pub fn append(&mut self, later: &History) {
        let shift = match (self.epochs.last(), later.epochs.first()) {
            (Some(&last), Some(&first)) if first <= last => from_1(last) - first,
            _ => 0,
        };
        for row in 0..later.len() {
            let logs = later.row_logs(row);
            self.push(later.epochs[row].saturating_add(shift), &logs, later.seconds[row]);
        }
        self.params = later.params.clone();
        self.params.epochs = self.params.epochs.saturating_add(shift);
        self.stopped = later.stopped.clone().map(|reason| reason.shifted(shift));
    }

    /// What was logged in row `row`.
    fn row_logs(&self, row: usize) -> Logs {
        self.series.iter().filter_map(|(name, series)| Some((name, series.at(row)?))).collect()
    }

    /// The value that the best epoch is told by, and its row: that of early stopping, whose weights came back, or else the
    /// validation loss or the loss.
    pub(crate) fn judged(&self) -> Option<(&str, usize)> {
        if let Some(StopReason::EarlyStopping { monitor, best_epoch: Some(best), .. }) = &self.stopped
            && let Some(row) = self.epochs.iter().position(|epoch| epoch == best)
            && self.get(monitor).is_some()
        {
            return Some((monitor, row));
        }
        let monitor = if self.get("val_loss").is_some() { "val_loss" } else { "loss" };
        Some((monitor, self.best_row(monitor, Mode::Min)?))
    }

    /// The row (not the epoch number) in which `name` was best.
    pub(crate) fn best_row(&self, name: &str, mode: Mode) -> Option<usize> {
        let direction: Direction = mode.resolve(name, None).ok()?;
        let values = self.get(name)?;
        let mut best: Option<usize> = None;
        for (row, &value) in values.iter().enumerate() {
            let reference = best.map_or(f64::NAN, |row| values[row]);
            if direction.improves(value, reference, 0.0) {
                best = Some(row);
            }
        }
        best
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.series.binary_search_by(|(other, _)| sort_key(other).cmp(&sort_key(name)))
    }
}

/// An aligned table with a row for each epoch, then the best epoch (starred) and why the run stopped.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no epoch has run");
        }
        let best = self.judged();
        let mut columns: Vec<Vec<String>> = Vec::new();
        columns.push(column("epoch", self.epochs.iter().map(|epoch| epoch.saturating_add(1).to_string())));
        for (name, series) in &self.series {
            columns.push(column(name, series.iter().map(cell)));
        }
        columns.push(column("seconds", self.seconds.iter().map(|value| format!("{value:.2}"))));
        for row in 0..=self.len() {
            for (at, column) in columns.iter().enumerate() {
                let width = column.iter().map(|text| text.chars().count()).max().unwrap_or(0);
                let gap = if at == 0 { "" } else { "  " };
                write!(f, "{gap}{:>width$}", column[row])?;
            }
            let star = if row > 0 && best.is_some_and(|(_, best)| best == row - 1) { " *" } else { "" };
            let end = if row == self.len() { "" } else { "\n" };
            write!(f, "{star}{end}")?;
        }
        if let Some((monitor, row)) = best {
            let value = self.get(monitor).map_or(f64::NAN, |values| values[row]);
            write!(f, "\n* best {monitor}: {} in epoch {}", log_value(value), from_1(self.epochs[row]))?;
        }
        if let Some(reason) = &self.stopped {
            write!(f, "\nstopped: {reason}")?;
        }
        Ok(())
    }
}

/// A header and its cells.
fn column(name: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells).collect()
}

/// A value, or a dash where nothing was logged.
fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), log_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falling() -> History {
        let mut history = History::new();
        history.params.epochs = 4;
        for (epoch, loss) in [1.0, 0.5, 0.25, 0.3].into_iter().enumerate() {
            let mut logs = Logs::from([("loss", loss), ("accuracy", 1.0 - loss / 2.0)]);
            if epoch % 2 == 1 {
                logs.set("val_loss", loss + 0.25);
            }
            history.push(epoch, &logs, 0.5);
        }
        history
    }

    #[test]
    fn series_stay_aligned_with_the_epochs() {
        let history = falling();
        assert_eq!(history.epochs(), [0, 1, 2, 3]);
        for (name, values) in history.iter() {
            assert_eq!(values.len(), 4, "{name}");
        }
        let validation = history.get("val_loss").unwrap();
        assert!(validation[0].is_nan() && validation[2].is_nan());
        assert_eq!(validation[1], 0.75);
        assert_eq!(history.get("val_los"), None);
        assert_eq!(history.last("val_loss"), Some(0.55));
    }

    #[test]
    fn the_best_epoch_skips_what_was_not_logged() {
        let history = falling();
        assert_eq!(history.best_epoch("val_loss", Mode::Auto), Some(3));
        assert_eq!(history.best_value("loss", Mode::Min), Some(0.25));
        assert_eq!(history.best_epoch("accuracy", Mode::Auto), Some(2));
        assert_eq!(history.best_epoch("val_los", Mode::Min), None);
        assert_eq!(History::new().best_epoch("loss", Mode::Min), None);
    }

    #[test]
    fn a_later_fit_goes_on_counting() {
        let mut history = falling();
        let mut later = History::new();
        later.params.epochs = 1;
        later.push(0, &Logs::from([("loss", 0.2), ("auc", 0.9)]), 0.25);
        later.stopped = Some(StopReason::Interrupted { epoch: 0 });
        history.append(&later);
        assert_eq!(history.epochs(), [0, 1, 2, 3, 4]);
        assert_eq!(history.params.epochs, 5);
        assert_eq!(history.get("auc").unwrap()[4], 0.9);
        assert!(history.get("val_loss").unwrap()[4].is_nan());
        assert_eq!(history.stopped, Some(StopReason::Interrupted { epoch: 4 }));

        let mut resumed = History::new();
        resumed.push(7, &Logs::from([("loss", 0.1)]), 0.25);
        history.append(&resumed);
        assert_eq!(history.epochs().last(), Some(&7));
    }

    #[test]
    fn prints_an_aligned_table() {
        let mut history = falling();
        history.stopped = Some(StopReason::EarlyStopping { monitor: "val_loss".into(), epoch: 3, best_epoch: Some(3) });
        let expected = "\
epoch  accuracy    loss  val_loss  seconds
    1    0.5000  1.0000         -     0.50
    2    0.7500  0.5000    0.7500     0.50
    3    0.8750  0.2500         -     0.50
    4    0.8500  0.3000    0.5500     0.50 *
* best val_loss: 0.5500 in epoch 4
stopped: early stopping after epoch 4: `val_loss` was best in epoch 4";
        assert_eq!(history.to_string(), expected);
        assert_eq!(History::new().to_string(), "no epoch has run");
    }

    #[test]
    fn a_run_of_nan_prints() {
        let mut history = History::new();
        history.push(0, &Logs::from([("loss", f64::NAN)]), 0.1);
        history.stopped = Some(StopReason::NotFinite { epoch: 0, batch: 2 });
        assert_eq!(
            history.to_string(),
            "epoch  loss  seconds\n    1   nan     0.10\nstopped: the loss was not finite in epoch 1, batch 3"
        );
    }

    #[test]
    fn what_was_measured_is_shown_and_what_was_not_is_a_dash() {
        let mut history = History::new();
        history.push(0, &Logs::from([("loss", 2e9), ("val_loss", 0.5)]), 0.1);
        history.push(1, &Logs::from([("loss", f64::INFINITY)]), 0.1);
        let mut later = History::new();
        later.push(0, &Logs::from([("loss", f64::NAN), ("val_loss", f64::NAN)]), 0.1);
        later.push(1, &Logs::from([("loss", f64::NAN)]), 0.1);
        history.append(&later);
        let expected = "\
epoch        loss  val_loss  seconds
    1  2.0000e+09    0.5000     0.10 *
    2         inf         -     0.10
    3         nan       nan     0.10
    4         nan         -     0.10
* best val_loss: 0.5000 in epoch 1";
        assert_eq!(history.to_string(), expected);
        assert!(history.last("loss").unwrap().is_nan());
        assert!(history.last("val_loss").unwrap().is_nan());
        assert_eq!(history.best_epoch("loss", Mode::Min), Some(0));
        assert_eq!(later.best_epoch("loss", Mode::Min), None);
    }
}
