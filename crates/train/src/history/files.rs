//! A history as CSV (for spreadsheets and pandas) and as JSON (everything, bit for bit). No table for the screen.

use super::{History, Logs, Params, Series, StopReason, sort_key};
use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::json::Number;
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The version of the JSON layout; a reader refuses others instead of misreading them.
const FORMAT: u32 = 1;

impl History {
    /// Writes `epoch` (from 0), every series and `seconds` as CSV, atomically.
    ///
    /// Numbers are written so that they read back exactly; what was not logged is an empty cell. `params` and `stopped` have
    /// no place in a table: see [`History::to_json`].
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be written.
    pub fn to_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut writer = csv::Writer::from_writer(Vec::new());
        let failed = |error: csv::Error| Error::file(path, format!("cannot be written: {error}"));
        let header = ["epoch"].into_iter().chain(self.names()).chain(["seconds"]);
        writer.write_record(header).map_err(failed)?;
        for row in 0..self.len() {
            let mut record = vec![self.epochs[row].to_string()];
            record.extend(self.series.iter().map(|(_, series)| series.at(row).map_or_else(String::new, number)));
            record.push(number(self.seconds[row]));
            writer.write_record(&record).map_err(failed)?;
        }
        let bytes = writer.into_inner().map_err(|error| failed(error.into_error().into()))?;
        write_atomic(path, &bytes)
    }

    /// Reads what [`History::to_csv`] or a [`CSVLogger`](crate::callbacks::CSVLogger) wrote, with whatever separator: an
    /// `epoch` column, any other columns, `seconds` if it is there. An empty cell and `NA` were not logged; `NaN` was.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::File`] naming line and column of what is no number.
    pub fn from_csv(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| Error::io("read", path, source))?;
        let mut reader = csv::ReaderBuilder::new().delimiter(separator(&bytes)).from_reader(bytes.as_slice());
        let bad = |error: csv::Error| Error::file(path, format!("is not a CSV table: {error}"));
        let header = reader.headers().map_err(bad)?.clone();
        let Some(epoch_column) = header.iter().position(|name| name == "epoch") else {
            return Err(Error::file(path, "has no column `epoch`").with_help("History::to_csv and CSVLogger write one"));
        };
        // A series may have the same name: what `to_csv` writes of the time comes last.
        let seconds_column = (0..header.len()).rev().find(|at| &header[*at] == "seconds");
        let mut history = Self::new();
        for record in reader.records() {
            let record = record.map_err(bad)?;
            let line = record.position().map_or(0, csv::Position::line);
            let mut seconds = f64::NAN;
            let mut values = Vec::with_capacity(header.len());
            let mut epoch = 0;
            for (at, (name, text)) in header.iter().zip(&record).enumerate() {
                let wrong = |what: &str| Error::file(path, format!("line {line}, column `{name}`: `{text}` is {what}"));
                if at == epoch_column {
                    epoch = text.trim().parse().map_err(|_| wrong("no epoch number"))?;
                    continue;
                }
                let value = match text.trim() {
                    "" | "NA" => continue,
                    text => text.parse().map_err(|_| wrong("no number"))?,
                };
                if seconds_column == Some(at) {
                    seconds = value;
                } else {
                    values.push((name, value));
                }
            }
            history.push(epoch, &values.into_iter().collect(), seconds);
        }
        history.params.epochs = history.epochs.last().map_or(0, |last| last.saturating_add(1));
        Ok(history)
    }

    /// Writes the whole history as JSON, atomically; it reads back equal, bit for bit.
    ///
    /// JSON has no NaN and no infinity: they are `"nan"`, `"inf"` and `"-inf"`. What was not logged is `null`.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be written.
    pub fn to_json(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::file(path, format!("cannot be written: {error}")))?;
        text.push('\n');
        write_atomic(path, text.as_bytes())
    }

    /// Reads what [`History::to_json`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::File`] where it is not such a history.
    pub fn from_json(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|source| Error::io("read", path, source))?;
        serde_json::from_str(&text).map_err(|error| Error::file(path, format!("is not a history: {error}")))
    }
}

/// What stands between the values of a table: a comma, or else what follows `epoch` at the beginning, where loggers have it.
fn separator(bytes: &[u8]) -> u8 {
    let header = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let by_comma = header.split(|byte| *byte == b',').any(|name| matches!(name, b"epoch" | b"\"epoch\""));
    match header.strip_prefix(b"epoch").and_then(<[u8]>::first) {
        Some(next) if !by_comma && !next.is_ascii_alphanumeric() && *next != b'"' => *next,
        _ => b',',
    }
}

/// The shortest text that reads back as the same number.
fn number(value: f64) -> String {
    format!("{value:?}")
}

/// All series as one JSON object, in the history's own order.
struct AllSeries<'a>(&'a [(String, Series)]);

impl Serialize for AllSeries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, series) in self.0 {
            let values: Vec<Option<Number>> = series.iter().map(|value| value.map(Number)).collect();
            map.serialize_entry(name, &values)?;
        }
        map.end()
    }
}

/// Logs as a JSON object.
struct AllLogs<'a>(&'a Logs);

impl Serialize for AllLogs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, Number(value))))
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let has_validations = !self.validations.is_empty();
        let mut map = serializer.serialize_map(Some(6 + usize::from(has_validations)))?;
        map.serialize_entry("format", &FORMAT)?;
        map.serialize_entry("params", &self.params)?;
        map.serialize_entry("stopped", &self.stopped)?;
        map.serialize_entry("epochs", &self.epochs)?;
        map.serialize_entry("seconds", &self.seconds.iter().copied().map(Number).collect::<Vec<_>>())?;
        map.serialize_entry("history", &AllSeries(&self.series))?;
        if has_validations {
            let all: Vec<_> = self.validations.iter().map(|(steps, logs)| (steps, AllLogs(logs))).collect();
            map.serialize_entry("validations", &all)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
            params: Params,
            stopped: Option<StopReason>,
            epochs: Vec<usize>,
            seconds: Vec<Option<Number>>,
            history: BTreeMap<String, Vec<Option<Number>>>,
            #[serde(default)]
            validations: Vec<(u64, BTreeMap<String, Number>)>,
        }
        let form = Form::deserialize(deserializer)?;
        if form.format != FORMAT {
            return Err(D::Error::custom(format!(
                "format {} is not {FORMAT}, the one this version reads",
                form.format
            )));
        }
        let rows = form.epochs.len();
        let number = |value: Option<Number>| value.map(|number| number.0);
        let mut series: Vec<(String, Series)> =
            form.history.into_iter().map(|(name, values)| (name, values.into_iter().map(number).collect())).collect();
        series.sort_by(|(a, _), (b, _)| sort_key(a).cmp(&sort_key(b)));
        let seconds: Vec<f64> = form.seconds.into_iter().map(|value| number(value).unwrap_or(f64::NAN)).collect();
        let lengths = series.iter().map(|(name, series)| (name.as_str(), series.values().len()));
        for (name, length) in lengths.chain([("seconds", seconds.len())]) {
            if length != rows {
                return Err(D::Error::custom(format!("`{name}` has {length} values for {rows} epochs")));
            }
        }
        let logs = |all: BTreeMap<String, Number>| all.into_iter().map(|(name, value)| (name, value.0)).collect();
        let validations = form.validations.into_iter().map(|(steps, all)| (steps, logs(all))).collect();
        Ok(Self { params: form.params, stopped: form.stopped, epochs: form.epochs, seconds, series, validations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awkward() -> History {
        let mut history = History::new();
        history.params = Params { epochs: 9, steps: Some(25), batch_size: Some(32) };
        history.stopped = Some(StopReason::NotFinite { epoch: 2, batch: 3 });
        history.push(0, &Logs::from([("loss", 0.1 + 0.2), ("learning_rate", 1e-3)]), 0.125);
        history.push(1, &Logs::from([("loss", f64::INFINITY), ("val_loss", 1.0 / 3.0)]), 0.25);
        history.push(2, &Logs::from([("loss", f64::NAN), ("odd, \"name\"", 5e-324)]), 0.5);
        history
    }

    /// Equality under which a NaN equals a NaN.
    fn same_bits(a: &History, b: &History) -> bool {
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        a.epochs == b.epochs
            && bits(&a.seconds) == bits(&b.seconds)
            && a.iter().map(|(n, v)| (n, bits(v))).eq(b.iter().map(|(n, v)| (n, bits(v))))
            && a.to_string() == b.to_string()
    }

    #[test]
    fn json_brings_everything_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json");
        let history = awkward();
        history.to_json(&path).unwrap();
        let back = History::from_json(&path).unwrap();
        assert!(same_bits(&history, &back));
        assert_eq!((back.params, back.stopped), (history.params, history.stopped));
    }

    #[test]
    fn csv_brings_the_numbers_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.csv");
        awkward().to_csv(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "epoch,loss,\"odd, \"\"name\"\"\",val_loss,learning_rate,seconds\n\
             0,0.30000000000000004,,,0.001,0.125\n\
             1,inf,,0.3333333333333333,,0.25\n\
             2,NaN,5e-324,,,0.5\n"
        );
        let mut back = History::from_csv(&path).unwrap();
        back.stopped = awkward().stopped;
        assert!(same_bits(&awkward(), &back));
    }

    #[test]
    fn the_separator_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.csv");
        for text in [
            "epoch,loss,val_loss\n0,1.5,NA\n1,0.5,0.25\n",
            "loss,epoch,val_loss\n1.5,0,NA\n0.5,1,0.25\n",
            "epoch;loss;val_loss\n0;1.5;NA\n1;0.5;0.25\n",
            "epoch\tloss\tval_loss\r\n0\t1.5\tNA\r\n1\t0.5\t0.25\r\n",
            "epoch loss val_loss\n0 1.5 NA\n1 0.5 0.25\n",
            "epoch.loss.val_loss\n0.\"1.5\".NA\n1.\"0.5\".\"0.25\"\n",
        ] {
            fs::write(&path, text).unwrap();
            let history = History::from_csv(&path).unwrap();
            assert_eq!(history.names().collect::<Vec<_>>(), ["loss", "val_loss"], "{text}");
            assert_eq!((history.get("loss").unwrap(), history.get("val_loss").unwrap()[1]), (&[1.5, 0.5][..], 0.25));
        }
        fs::write(&path, "epochs,loss\n0,1\n").unwrap();
        assert!(History::from_csv(&path).unwrap_err().to_string().contains("has no column `epoch`"));
    }

    #[test]
    fn series_may_have_the_names_of_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.csv");
        let mut history = History::new();
        history.push(3, &Logs::from([("epoch", 0.5), ("seconds", 1.5)]), 0.25);
        history.to_csv(&path).unwrap();
        let mut back = History::from_csv(&path).unwrap();
        back.params = history.params.clone();
        assert!(same_bits(&history, &back));
    }

    #[test]
    fn broken_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken");
        let csv_error = |text: &str| {
            fs::write(&path, text).unwrap();
            History::from_csv(&path).unwrap_err().to_string()
        };
        assert!(csv_error("loss\n1\n").contains("has no column `epoch`"));
        assert!(csv_error("epoch,loss\n0,1\n1,x\n").contains("line 3, column `loss`: `x` is no number"));
        assert!(csv_error("epoch,loss\n-1,1\n").contains("`-1` is no epoch number"));
        assert!(csv_error("epoch,loss\n0\n").contains("is not a CSV table"));
        fs::write(&path, format!("epoch,loss\n5,1\n{},1\n", usize::MAX)).unwrap();
        let mut last = History::from_csv(&path).unwrap();
        last.append(&last.clone());
        assert!(last.to_string().lines().count() > 2);

        let json_error = |text: &str| {
            fs::write(&path, text).unwrap();
            History::from_json(&path).unwrap_err().to_string()
        };
        let short = r#"{"format":1,"params":{},"stopped":null,"epochs":[0,1],"seconds":[1,1],"history":{"loss":[1]}}"#;
        assert!(json_error(short).contains("`loss` has 1 values for 2 epochs"));
        assert!(json_error(&short.replace("\"format\":1", "\"format\":2")).contains("format 2"));
        assert!(json_error("{").contains("is not a history"));
        assert!(History::from_json(folder.path().join("none")).is_err());
    }
}
