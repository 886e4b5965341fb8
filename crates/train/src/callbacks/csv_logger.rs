//! Writes each epoch's values to a CSV file while the run goes on. Reading one back is `History::from_csv`.

use super::{Callback, Control, read_state};
use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::history::Logs;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Adds a line to a CSV file after each epoch: `epoch` (from 0), then the log keys in their order.
///
/// As `keras.callbacks.CSVLogger`, with `NA` for what was not logged; but a value that first appears in a later epoch
/// (validation every second one) gets its column, where Keras would drop it.
///
/// # Examples
/// ```
/// use kiln_train::callbacks::CSVLogger;
/// let logger = CSVLogger::new("runs/training.csv").append(true);
/// ```
#[derive(Clone, Debug)]
pub struct CSVLogger {
    path: PathBuf,
    separator: u8,
    append: bool,
    /// The header, and every line that has been written: a new column rewrites them.
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// What stands where nothing was logged.
const MISSING: &str = "NA";

impl CSVLogger {
    /// Writes to `path`, replacing what is there when training begins.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), separator: b',', append: false, columns: Vec::new(), rows: Vec::new() }
    }

    /// The character between values; the default is a comma.
    #[must_use]
    pub fn separator(mut self, separator: u8) -> Self {
        self.separator = separator;
        self
    }

    /// Whether to go on with a file that exists; the default starts anew.
    #[must_use]
    pub fn append(mut self, append: bool) -> Self {
        self.append = append;
        self
    }

    fn read_existing(&mut self) -> Result<()> {
        let bytes = fs::read(&self.path).map_err(|e| Error::io("read", &self.path, e))?;
        let bad = |error| Error::file(&self.path, format!("is not a CSV table: {error}"));
        let mut reader =
            csv::ReaderBuilder::new().delimiter(self.separator).has_headers(false).from_reader(bytes.as_slice());
        let mut records = reader.records();
        let Some(header) = records.next() else { return Ok(()) };
        self.columns = header.map_err(bad)?.iter().map(str::to_owned).collect();
        if self.columns.first().is_none_or(|first| first != "epoch") {
            let error = Error::file(&self.path, "does not begin with a column `epoch`");
            return Err(error.with_help("check the separator, or log to another file"));
        }
        for record in records {
            self.rows.push(record.map_err(bad)?.iter().map(str::to_owned).collect());
        }
        // What is appended must not go on with the last line.
        if bytes.last().is_some_and(|last| *last != b'\n') { append_to(&self.path, b"\n") } else { Ok(()) }
    }

    /// The text of some lines, quoted where a value needs it.
    fn encode<'a>(&self, lines: impl IntoIterator<Item = &'a Vec<String>>) -> Result<Vec<u8>> {
        let bad = |e: csv::Error| Error::file(&self.path, format!("cannot be written: {e}"));
        let mut writer = csv::WriterBuilder::new().delimiter(self.separator).from_writer(Vec::new());
        for line in lines {
            writer.write_record(line).map_err(bad)?;
        }
        writer.into_inner().map_err(|error| bad(error.into_error().into()))
    }

    /// Makes room for the keys of `logs`; true if the file must be written anew.
    fn widen(&mut self, logs: &Logs) -> bool {
        let mut names = Logs::from_iter(self.columns.iter().skip(1).map(|name| (name, 0.0)));
        names.extend(logs);
        let columns: Vec<String> = ["epoch"].into_iter().chain(names.names()).map(str::to_owned).collect();
        let is_new = columns.iter().any(|name| !self.columns.contains(name));
        if is_new {
            let place = |name: &String| self.columns.iter().position(|old| old == name);
            let places: Vec<Option<usize>> = columns.iter().map(place).collect();
            for row in &mut self.rows {
                let value = |at: &Option<usize>| at.and_then(|at| row.get(at).cloned());
                *row = places.iter().map(|at| value(at).unwrap_or(MISSING.to_owned())).collect();
            }
            self.columns = columns;
        }
        is_new
    }
}

fn append_to(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|e| Error::io("write", path, e))
}

impl Callback for CSVLogger {
    fn name(&self) -> &str {
        "CSVLogger"
    }

    fn on_train_begin(&mut self, _control: &mut dyn Control) -> Result<()> {
        if matches!(self.separator, b'"' | b'\n' | b'\r') || self.separator.is_ascii_alphanumeric() {
            let text = format!("CSVLogger: the separator is {:?}", char::from(self.separator));
            return Err(Error::config(text, "give a character that stands in no number or name, such as b',' or b';'"));
        }
        self.columns.clear();
        self.rows.clear();
        if self.append && self.path.exists() { self.read_existing() } else { Ok(()) }
    }

    fn on_epoch_end(&mut self, epoch: usize, logs: &mut Logs, _control: &mut dyn Control) -> Result<()> {
        let is_new = self.widen(logs);
        let value = |name: &String| logs.get(name).map_or(MISSING.to_owned(), |value| format!("{value:?}"));
        let values = self.columns.iter().skip(1).map(value);
        let row: Vec<String> = [epoch.to_string()].into_iter().chain(values).collect();
        self.rows.push(row);
        // A file that somebody has taken away is written anew, whole.
        if is_new || !self.path.exists() {
            let bytes = self.encode([&self.columns].into_iter().chain(&self.rows))?;
            write_atomic(&self.path, &bytes)
        } else {
            append_to(&self.path, &self.encode(self.rows.last())?)
        }
    }

    fn state(&self) -> serde_json::Value {
        serde_json::json!([self.columns, self.rows])
    }

    /// The file is as it was at the checkpoint: later epochs, which follow once more, stand in it no longer.
    fn load_state(&mut self, state: &serde_json::Value) -> Result<()> {
        (self.columns, self.rows) = read_state(self.name(), state)?;
        if self.columns.is_empty() {
            return Ok(());
        }
        write_atomic(&self.path, &self.encode([&self.columns].into_iter().chain(&self.rows))?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::*;
    use crate::history::History;

    fn log(logger: &mut CSVLogger, epochs: &[(usize, Logs)]) {
        let mut fake = Fake::default();
        logger.on_train_begin(&mut fake).unwrap();
        for (epoch, logs) in epochs {
            logger.on_epoch_end(*epoch, &mut logs.clone(), &mut fake).unwrap();
        }
    }

    #[test]
    fn a_separator_that_separates_nothing_is_refused() {
        for separator in *b"\"\n\r1a" {
            let error =
                CSVLogger::new("log.csv").separator(separator).on_train_begin(&mut Fake::default()).unwrap_err();
            assert!(error.to_string().contains("the separator is"), "{error}");
        }
    }

    #[test]
    fn a_late_column_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/log.csv");
        let mut logger = CSVLogger::new(&path);
        let first = (0, Logs::from([("loss", 0.5), ("accuracy", 0.25)]));
        log(&mut logger, &[first.clone(), (1, Logs::from([("loss", f64::NAN), ("val_loss", 0.1)]))]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,accuracy,loss,val_loss\n0,0.25,0.5,NA\n1,NA,NaN,0.1\n");
        let history = History::from_csv(&path).unwrap();
        assert_eq!(history.get("val_loss").unwrap()[1], 0.1);
        // A second run replaces the first.
        log(&mut logger, &[first]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,accuracy,loss\n0,0.25,0.5\n");
    }

    #[test]
    fn a_file_that_was_taken_away_comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/log.csv");
        let mut logger = CSVLogger::new(&path);
        let epoch = |epoch| (epoch, Logs::from([("loss", 0.5)]));
        log(&mut logger, &[epoch(0)]);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        logger.on_epoch_end(1, &mut epoch(1).1, &mut Fake::default()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss\n0,0.5\n1,0.5\n");
    }

    #[test]
    fn appends_with_its_separator() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        let new = || CSVLogger::new(&path).separator(b';').append(true);
        log(&mut new(), &[(0, Logs::from([("loss", 1.0)]))]);
        log(&mut new(), &[(1, Logs::from([("loss", 0.5)]))]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch;loss\n0;1.0\n1;0.5\n");
        assert_eq!(History::from_csv(&path).unwrap().get("loss").unwrap(), [1.0, 0.5]);
        let mut other = CSVLogger::new(&path).append(true);
        let error = other.on_train_begin(&mut Fake::default()).unwrap_err();
        assert!(error.to_string().contains("check the separator"), "{error}");
    }

    #[test]
    fn a_resumed_run_writes_an_epoch_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        let epoch = |epoch: usize| (epoch, Logs::from([("loss", 1.0 / (epoch + 1) as f64)]));
        let mut first = CSVLogger::new(&path);
        log(&mut first, &[epoch(0)]);
        let state = first.state();
        first.on_epoch_end(1, &mut epoch(1).1, &mut Fake::default()).unwrap();
        let mut second = CSVLogger::new(&path);
        second.on_train_begin(&mut Fake::default()).unwrap();
        second.load_state(&state).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss\n0,1.0\n");
        second.on_epoch_end(1, &mut epoch(1).1, &mut Fake::default()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss\n0,1.0\n1,0.5\n");
    }

    #[test]
    fn a_last_line_without_its_end_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.csv");
        fs::write(&path, "epoch,loss\n0,1.5").unwrap();
        log(&mut CSVLogger::new(&path).append(true), &[(1, Logs::from_iter([("loss", 0.5)]))]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "epoch,loss\n0,1.5\n1,0.5\n");
    }
}
