//! How the columns of a table become numbers: gaps are filled, categories become columns of 0 and 1. Reads no table.

use crate::error::{Error, Result};
use crate::files::write_atomic;
use crate::text::{did_you_mean, shortened};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What stands in the place of a number that is missing. Each is taken from the numbers that the column has.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fill {
    /// Their mean.
    Mean,
    /// The middle one, or the mean of the two in the middle: few odd numbers do not move it.
    Median,
    /// The one that comes most often, the least of several.
    MostFrequent,
    /// This number.
    Number(f64),
}

impl From<f64> for Fill {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl Fill {
    /// The number for a column, if it has any.
    fn of(self, numbers: &[Option<f64>]) -> Option<f64> {
        let mut there: Vec<f64> = numbers.iter().copied().flatten().collect();
        if let Self::Number(number) = self {
            return Some(number);
        }
        if there.is_empty() {
            return None;
        }
        there.sort_by(f64::total_cmp);
        let n = there.len();
        Some(match self {
            // Divided before they are added, for sums beyond all numbers.
            Self::Mean => there.iter().map(|x| x / n as f64).sum(),
            Self::Median => there[(n - 1) / 2] / 2.0 + there[n / 2] / 2.0,
            Self::MostFrequent => {
                let runs = there.chunk_by(|a, b| a == b);
                runs.fold(&there[..0], |best, run| if run.len() > best.len() { run } else { best })[0]
            }
            Self::Number(number) => number,
        })
    }
}

/// How the columns of a table became numbers, for tables to come: a test file, or what a model in use is asked.
///
/// [`CsvData::encoding`](super::csv::CsvData::encoding) is that of a table, [`Csv::encoding`](super::csv::Csv::encoding) reads another
/// in the same way. It is kept beside the model, or in another form, as `serde` can write it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    pub(super) columns: Vec<Column>,
}

/// How a column became numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Column {
    /// A feature.
    Number {
        name: String,
        /// What stands where it has a gap.
        fill: Option<f64>,
    },
    /// A feature of 0 and 1 for each value.
    Categories {
        name: String,
        values: Vec<String>,
        /// Whether a gap is a value too, after the others.
        has_gaps: bool,
    },
}

impl Column {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Number { name, .. } | Self::Categories { name, .. } => name,
        }
    }
}

/// What a column holds, with gaps.
#[derive(Clone, Debug)]
pub(super) enum Cells {
    Numbers(Vec<Option<f64>>),
    Texts(Vec<Option<String>>),
}

impl Encoding {
    /// The names of the features: that of the column, or `column=value` for each value of a category, `column=` for a gap.
    pub fn feature_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for column in &self.columns {
            match column {
                Column::Number { name, .. } => names.push(name.clone()),
                Column::Categories { name, values, has_gaps } => {
                    names.extend(values.iter().map(|value| format!("{name}={value}")));
                    names.extend(has_gaps.then(|| format!("{name}=")));
                }
            }
        }
        names
    }

    /// Writes it to a file, as JSON.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::data(format!("Encoding: it cannot be written: {error}"), ""))?;
        write_atomic(path, text.as_bytes())
    }

    /// Reads what [`Encoding::save`] wrote.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = super::read_file(path)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::file(path, format!("holds no encoding of columns: {error}")).with_help("Encoding::save writes one")
        })
    }

    /// The way of a column, from what it holds.
    pub(super) fn learn(name: &str, cells: &Cells, fill: Option<Fill>) -> Result<Column> {
        let name = name.to_owned();
        match cells {
            Cells::Numbers(numbers) => {
                let fill = match fill {
                    None => None,
                    Some(fill) => Some(fill.of(numbers).ok_or_else(|| {
                        let text = format!("column `{}` has no number to fill its gaps from", shortened(&name));
                        Error::data(text, "leave it out of .features(…), or give a number: Fill::Number(0.0)")
                    })?),
                };
                Ok(Column::Number { name, fill })
            }
            Cells::Texts(texts) => {
                let values = sorted_names(texts.iter().flatten().map(String::as_str));
                Ok(Column::Categories { name, values, has_gaps: texts.iter().any(Option::is_none) })
            }
        }
    }

    /// The features of all rows, one row after the other; `lines` are those of the file, for errors. A value that is none of a
    /// category is an error, unless `ignores_unknown`: then it is none of them.
    pub(super) fn apply(&self, path: &Path, cells: &[Cells], lines: &[u64], ignores_unknown: bool) -> Result<Vec<f64>> {
        let wrong = |row: usize, column: &str, what: &str| {
            Error::file(path, format!("line {}, column `{}`: {what}", lines[row], shortened(column)))
        };
        let places: Vec<BTreeMap<&str, usize>> = self.columns.iter().map(Column::places).collect();
        let mut features = Vec::with_capacity(lines.len() * self.columns.len());
        for row in 0..lines.len() {
            for ((column, cells), places) in self.columns.iter().zip(cells).zip(&places) {
                match (column, cells) {
                    (Column::Number { name, fill }, Cells::Numbers(numbers)) => {
                        let number = numbers[row].or(*fill).ok_or_else(|| {
                            wrong(row, name, "the value is missing").with_help(
                                "fill gaps, .fill(Fill::Median), drop such rows first, or leave the column out of .features(…)",
                            )
                        })?;
                        features.push(number);
                    }
                    (Column::Categories { name, values, has_gaps }, Cells::Texts(texts)) => {
                        let place = match &texts[row] {
                            Some(text) => places.get(text.as_str()).copied(),
                            None => has_gaps.then_some(values.len()),
                        };
                        if place.is_none() && !ignores_unknown {
                            let known: Vec<&str> = values.iter().map(String::as_str).collect();
                            let (what, near) = match &texts[row] {
                                Some(text) => (
                                    format!("`{}` is not one of its values", shortened(text)),
                                    did_you_mean(text, &known),
                                ),
                                None => ("the value is missing, which it never was".to_owned(), String::new()),
                            };
                            let way = ".ignore_unknown(true) takes it for none of them";
                            let help = if near.is_empty() { way.to_owned() } else { format!("{near}; {way}") };
                            return Err(wrong(row, name, &what).with_help(help));
                        }
                        let start = features.len();
                        features.resize(start + values.len() + usize::from(*has_gaps), 0.0);
                        if let Some(place) = place {
                            features[start + place] = 1.0;
                        }
                    }
                    (column, _) => {
                        let text = format!("column `{}` is read as of another kind", column.name());
                        return Err(Error::data(text, "read it as its encoding says"));
                    }
                }
            }
        }
        Ok(features)
    }
}

impl Column {
    /// The place of each value of a category.
    fn places(&self) -> BTreeMap<&str, usize> {
        match self {
            Self::Number { .. } => BTreeMap::new(),
            Self::Categories { values, .. } => {
                values.iter().enumerate().map(|(i, value)| (value.as_str(), i)).collect()
            }
        }
    }
}

/// The different names, sorted; as numbers, if all are whole numbers (so that 10 comes after 9).
pub(super) fn sorted_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let distinct: BTreeSet<&str> = names.collect();
    let mut sorted: Vec<&str> = distinct.into_iter().collect();
    if sorted.iter().all(|name| name.parse::<i64>().is_ok()) {
        sorted.sort_by_key(|name| name.parse::<i64>().unwrap_or(i64::MAX));
    }
    sorted.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_from_what_is_there() {
        let column = [Some(1.0), None, Some(5.0), Some(5.0), Some(9.0), None];
        let of = |fill: Fill| fill.of(&column);
        assert_eq!(of(Fill::Mean), Some(5.0));
        assert_eq!(of(Fill::Median), Some(5.0));
        assert_eq!(of(Fill::MostFrequent), Some(5.0));
        assert_eq!(of((-1.0).into()), Some(-1.0));
        assert_eq!(Fill::Median.of(&[Some(4.0), Some(1.0), Some(2.0), Some(8.0)]), Some(3.0));
        assert_eq!(Fill::MostFrequent.of(&[Some(4.0), Some(1.0)]), Some(1.0));
        assert_eq!(Fill::Mean.of(&[Some(f64::MAX), Some(f64::MAX)]), Some(f64::MAX));
        assert_eq!(Fill::Mean.of(&[None]), None);
    }
}
