//! Tables from CSV files: which columns are features, which the target. Guesses nothing, and fills gaps in only where it is told how.

use super::columns::{Cells, Column, sorted_names};
pub use super::columns::{Encoding, Fill};
use super::{Dataset, RawArray, RawData, read_file};
use crate::error::{Error, Result};
use crate::text::{did_you_mean, shortened};
use csv::{ReaderBuilder, StringRecord, Trim};
use kiln_nn::ops::{CastOps, ViewOps};
use kiln_nn::{DType, Tensor};
use std::path::{Path, PathBuf};

/// How to read a CSV file with a header line, or [without](Csv::header); give it columns, then [`Csv::read`].
///
/// # Examples
/// ```no_run
/// use kiln_train::data::csv::Csv;
/// let iris = Csv::new("iris.csv").class_target("class").read()?;
/// println!("{:?} of {:?}", iris.features.shape(), iris.feature_names);
/// let (train, test) = iris.dataset()?.split(0.2, 0)?;
/// # Ok::<(), kiln_train::Error>(())
/// ```
///
/// Columns of text are categories, a feature of 0 and 1 for each value, and gaps of numbers are filled where that is asked for. What that
/// was is an [`Encoding`]: other tables are read in the same way.
///
/// ```no_run
/// use kiln_train::data::csv::{Csv, Fill};
/// let train = Csv::new("train.csv").categories(["sex", "port"]).fill(Fill::Median).class_target("survived").read()?;
/// assert_eq!(train.feature_names, ["class", "sex=female", "sex=male", "age", "port=C", "port=Q", "port=S", "port="]);
/// let test = Csv::new("test.csv").encoding(&train.encoding).read()?;
/// # Ok::<(), kiln_train::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Csv {
    path: PathBuf,
    delimiter: u8,
    header: Option<bool>,
    features: Option<Vec<String>>,
    categories: Vec<String>,
    fill: Option<Fill>,
    fills: Vec<(String, Fill)>,
    encoding: Option<Encoding>,
    ignores_unknown: bool,
    target: Option<Target>,
}

#[derive(Clone, Debug)]
enum Target {
    Numbers(String),
    Classes { column: String, names: Option<Vec<String>> },
}

impl Target {
    fn column(&self) -> &str {
        match self {
            Self::Numbers(column) | Self::Classes { column, .. } => column,
        }
    }
}

/// What a CSV file held.
#[derive(Clone, Debug, PartialEq)]
pub struct CsvData {
    /// The features, `[rows, columns]`, as [`RawData::F64`].
    pub features: RawArray,
    /// The name of each feature: that of its column, with the value where it is a category's, `sex=male`.
    pub feature_names: Vec<String>,
    /// How the columns became features, to read other tables in the same way.
    pub encoding: Encoding,
    /// The target `[rows]`: [`RawData::F64`] for numbers, [`RawData::I64`] labels for classes; `None` if none was
    /// asked for.
    pub target: Option<RawArray>,
    /// The name of each class, by label; empty for a numeric target.
    pub class_names: Vec<String>,
}

impl CsvData {
    /// The features, `[rows, columns]`, in single precision.
    ///
    /// # Errors
    /// No memory for them.
    pub fn x(&self) -> Result<Tensor> {
        Ok(Tensor::try_from(self.features.clone())?.cast(DType::F32)?)
    }

    /// What a model trains on: [`CsvData::x`] with the target, labels `[rows]` that know their names or numbers `[rows, 1]` in single
    /// precision.
    ///
    /// # Errors
    /// No target was asked for.
    pub fn dataset(&self) -> Result<Dataset> {
        let Some(target) = &self.target else {
            return Err(Error::data(
                "CsvData: it has no target",
                "ask for one before it is read, .class_target(…) or .target(…); without one .x() are the samples",
            ));
        };
        let y = Tensor::try_from(target.clone())?;
        match target.data() {
            RawData::I64(_) => Ok(Dataset::new(self.x()?, y)?.class_names(self.class_names.clone())),
            _ => Dataset::new(self.x()?, y.cast(DType::F32)?.unsqueeze(1)?),
        }
    }
}

impl Csv {
    /// A comma-separated file whose columns are all features.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            delimiter: b',',
            header: None,
            features: None,
            categories: Vec::new(),
            fill: None,
            fills: Vec::new(),
            encoding: None,
            ignores_unknown: false,
            target: None,
        }
    }

    /// The ASCII character between values, which may not be a part of one; the default is a comma.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Whether the first line has the names of the columns. Where it has none, they go by their numbers from 0: `"0"`, `"1"` and so on.
    /// By default there are names, and a first line of nothing but numbers is an error.
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.header = Some(header);
        self
    }

    /// The feature columns, in this order; the default is every column but the target.
    #[must_use]
    pub fn features<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.features = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Columns of text, or of numbers that are only names: a feature of 0 and 1 for each value, in sorted order, and a last one for
    /// gaps where there are any.
    #[must_use]
    pub fn categories<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.categories.extend(columns.into_iter().map(Into::into));
        self
    }

    /// What stands where a number is missing; without it, that is an error.
    #[must_use]
    pub fn fill(mut self, fill: impl Into<Fill>) -> Self {
        self.fill = Some(fill.into());
        self
    }

    /// What stands where a number of this column is missing.
    #[must_use]
    pub fn fill_column(mut self, column: impl Into<String>, fill: impl Into<Fill>) -> Self {
        self.fills.push((column.into(), fill.into()));
        self
    }

    /// Reads features as another table's became: its columns, its categories, and what filled its gaps.
    #[must_use]
    pub fn encoding(mut self, encoding: &Encoding) -> Self {
        self.encoding = Some(encoding.clone());
        self
    }

    /// Whether a value that the category of [`Csv::encoding`] does not have is taken for none of its values; the default is an error.
    #[must_use]
    pub fn ignore_unknown(mut self, ignore: bool) -> Self {
        self.ignores_unknown = ignore;
        self
    }

    /// The column with the number to predict.
    #[must_use]
    pub fn target(mut self, column: impl Into<String>) -> Self {
        self.target = Some(Target::Numbers(column.into()));
        self
    }

    /// The column with the name of the class to predict; labels count from 0 in the names' sorted order (by value, if
    /// every name is a whole number).
    #[must_use]
    pub fn class_target(mut self, column: impl Into<String>) -> Self {
        self.target = Some(Target::Classes { column: column.into(), names: None });
        self
    }

    /// As [`Csv::class_target`], with the classes given: a test file must use those of its training file, or a class
    /// that it lacks would shift the labels.
    #[must_use]
    pub fn class_target_with_names<S: Into<String>>(
        mut self,
        column: impl Into<String>,
        names: impl IntoIterator<Item = S>,
    ) -> Self {
        let names = Some(names.into_iter().map(Into::into).collect());
        self.target = Some(Target::Classes { column: column.into(), names });
        self
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read; [`Error::Config`] for a delimiter that may be a part of values, a column
    /// that it does not have, and a target among the features; [`Error::File`] naming line and column of a value that is
    /// missing, no number or not finite, or of a class or a category that is not known.
    pub fn read(&self) -> Result<CsvData> {
        let bytes = read_file(&self.path)?;
        self.parse(&bytes)
    }

    fn parse(&self, bytes: &[u8]) -> Result<CsvData> {
        if !self.delimiter.is_ascii()
            || self.delimiter.is_ascii_alphanumeric()
            || b"\"\n\r.+-".contains(&self.delimiter)
        {
            let shown = char::from(self.delimiter);
            return Err(Error::config(
                format!("the delimiter {shown:?} cannot stand between values: it may be a part of one"),
                "give another ASCII character, such as b',' or b';' or b'\\t'",
            ));
        }
        // Spreadsheets begin a UTF-8 file with a byte-order mark, which would become part of the first name.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let has_names = self.header != Some(false);
        let mut reader = ReaderBuilder::new();
        let mut reader = reader.delimiter(self.delimiter).has_headers(has_names).trim(Trim::All).from_reader(bytes);
        let bad = |error: csv::Error| self.not_a_table(&error);
        let first = reader.headers().map_err(bad)?;
        if first.iter().all(str::is_empty) {
            return Err(Error::file(&self.path, "is empty, expected a header line with names"));
        }
        if self.header.is_none() && first.iter().all(|cell| finite(cell).is_some()) {
            let line = shortened(&first.iter().collect::<Vec<_>>().join(&char::from(self.delimiter).to_string()));
            let error = Error::file(
                &self.path,
                format!("line 1, where the names of the columns should be, has numbers: {line}"),
            );
            return Err(error.with_help("a file without names: .header(false); names that are numbers: .header(true)"));
        }
        let header: Vec<String> = match has_names {
            true => first.iter().map(str::to_owned).collect(),
            false => (0..first.len()).map(|number| number.to_string()).collect(),
        };
        let target = self.target.as_ref().map(|t| self.find(t.column(), &header)).transpose()?;
        if self.encoding.is_some() && (self.features.is_some() || !self.categories.is_empty() || self.fill.is_some()) {
            return Err(Error::config(
                "Csv: an encoding says which columns are features, and how",
                "leave .features(…), .categories(…) and .fill(…) out, or the encoding",
            ));
        }
        let encoded = self.encoding.as_ref().map(|encoding| &encoding.columns);
        let of_encoding =
            encoded.map(|columns| columns.iter().map(|column| column.name().to_owned()).collect::<Vec<_>>());
        let columns: Vec<usize> = match of_encoding.as_ref().or(self.features.as_ref()) {
            Some(names) => names.iter().map(|name| self.find(name, &header)).collect::<Result<_>>()?,
            None => {
                let own = (0..header.len()).filter(|&at| Some(at) != target);
                own.map(|at| if header[at].is_empty() { Ok(at) } else { self.find(&header[at], &header) })
                    .collect::<Result<_>>()?
            }
        };
        if let Some(leak) = target.filter(|target| columns.contains(target)) {
            return Err(Error::config(
                format!(
                    "column `{}` is the target and a feature: a model would only copy it",
                    shortened(&header[leak])
                ),
                "take it out of .features(…)",
            ));
        }
        let is_category = |name: &str| match encoded {
            Some(columns) => columns.iter().any(|c| c.name() == name && matches!(c, Column::Categories { .. })),
            None => self.categories.iter().any(|category| category == name),
        };
        for name in self.categories.iter().chain(self.fills.iter().map(|(name, _)| name)) {
            let at = self.find(name, &header)?;
            if !columns.contains(&at) {
                let text = format!("Csv: column `{}` is no feature", shortened(name));
                return Err(Error::config(text, "name it in .features(…) too"));
            }
        }
        let empty = |&at: &usize| match is_category(&header[at]) {
            true => Cells::Texts(Vec::new()),
            false => Cells::Numbers(Vec::new()),
        };
        let mut features: Vec<Cells> = columns.iter().map(empty).collect();
        let mut lines = Vec::new();
        let mut targets = Vec::new();
        for record in reader.records() {
            let record = record.map_err(bad)?;
            let cell = |at: usize| Cell::new(&self.path, &header, &record, at);
            lines.push(record.position().map_or(0, csv::Position::line));
            for (&at, cells) in columns.iter().zip(&mut features) {
                match cells {
                    Cells::Texts(texts) => texts.push(cell(at).text().map(str::to_owned)),
                    Cells::Numbers(numbers) => numbers.push(cell(at).number()?),
                }
            }
            if let Some(at) = target {
                targets.push((cell(at).line, cell(at).present()?.to_owned()));
            }
        }
        if columns.is_empty() || lines.is_empty() {
            return Err(Error::file(&self.path, "has no rows of features below its header"));
        }
        let (target, class_names) = self.target_array(&targets)?;
        let encoding = match &self.encoding {
            Some(encoding) => encoding.clone(),
            None => {
                let learnt = columns.iter().zip(&features).map(|(&at, cells)| {
                    let own = self.fills.iter().rfind(|(name, _)| *name == header[at]).map(|(_, fill)| *fill);
                    Encoding::learn(&header[at], cells, own.or(self.fill))
                });
                Encoding { columns: learnt.collect::<Result<_>>()? }
            }
        };
        let values = encoding.apply(&self.path, &features, &lines, self.ignores_unknown)?;
        let feature_names = encoding.feature_names();
        Ok(CsvData {
            features: RawArray::new(vec![lines.len(), feature_names.len()], RawData::F64(values))?,
            feature_names,
            encoding,
            target,
            class_names,
        })
    }

    /// The place of a column; its name must be there once.
    fn find(&self, name: &str, header: &[String]) -> Result<usize> {
        let mut places = (0..header.len()).filter(|&at| header[at] == name);
        let path = self.path.display();
        match (places.next(), places.next()) {
            (Some(at), None) => Ok(at),
            (Some(_), Some(_)) => Err(Error::config(
                format!("{path} has more than one column `{}`", shortened(name)),
                "give each column its own name in the header line",
            )),
            (None, _) => {
                let names: Vec<String> = header.iter().map(|name| shortened(name)).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let delimiter = char::from(self.delimiter);
                let help = match names.as_slice() {
                    [one] if !one.contains(delimiter) && one.contains([';', '\t', ',', '|']) => {
                        format!("`{delimiter}` separates nothing here: set .delimiter(…)")
                    }
                    _ => did_you_mean(name, &names),
                };
                Err(Error::config(format!("{path} has no column `{}`", shortened(name)), help))
            }
        }
    }

    fn target_array(&self, cells: &[(u64, String)]) -> Result<(Option<RawArray>, Vec<String>)> {
        let wrong = |line: u64, column: &str, text: &str, what: String| {
            let (column, text) = (shortened(column), shortened(text));
            Error::file(&self.path, format!("line {line}, column `{column}`: `{text}` {what}"))
        };
        match &self.target {
            None => Ok((None, Vec::new())),
            Some(Target::Numbers(column)) => {
                let number = |(line, text): &(u64, String)| {
                    finite(text).ok_or_else(|| {
                        wrong(*line, column, text, "is not a finite number".to_owned())
                            .with_help("for names of classes, use class_target")
                    })
                };
                let values: Vec<f64> = cells.iter().map(number).collect::<Result<_>>()?;
                Ok((Some(RawArray::new(vec![values.len()], RawData::F64(values))?), Vec::new()))
            }
            Some(Target::Classes { column, names }) => {
                let names = match names {
                    Some(names) => names.clone(),
                    None => sorted_names(cells.iter().map(|(_, text)| text.as_str())),
                };
                let label = |(line, text): &(u64, String)| {
                    let found = names.iter().position(|name| name == text);
                    found.and_then(|label| i64::try_from(label).ok()).ok_or_else(|| {
                        let known: Vec<String> = names.iter().map(|name| shortened(name)).collect();
                        let known: Vec<&str> = known.iter().map(String::as_str).collect();
                        wrong(*line, column, text, "is not one of the classes".to_owned())
                            .with_help(did_you_mean(text, &known))
                    })
                };
                let labels: Vec<i64> = cells.iter().map(label).collect::<Result<_>>()?;
                Ok((Some(RawArray::new(vec![labels.len()], RawData::I64(labels))?), names))
            }
        }
    }

    fn not_a_table(&self, error: &csv::Error) -> Error {
        let line = error.position().map_or(String::new(), |at| format!("line {}: ", at.line()));
        let problem = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("{line}{len} values, expected {expected_len} as in the header")
            }
            csv::ErrorKind::Utf8 { .. } => format!("{line}is not UTF-8 text"),
            _ => format!("is not a CSV table: {error}"),
        };
        Error::file(&self.path, problem)
    }
}

/// One value with its place.
struct Cell<'a> {
    path: &'a Path,
    column: &'a str,
    line: u64,
    text: &'a str,
}

impl<'a> Cell<'a> {
    fn new(path: &'a Path, header: &'a [String], record: &'a StringRecord, at: usize) -> Self {
        let line = record.position().map_or(0, csv::Position::line);
        Self { path, column: &header[at], line, text: &record[at] }
    }

    /// The text, unless it is one of the ways to say that there is none.
    fn text(&self) -> Option<&'a str> {
        let is_missing =
            matches!(self.text.to_ascii_lowercase().as_str(), "" | "na" | "n/a" | "nan" | "null" | "none" | "?");
        (!is_missing).then_some(self.text)
    }

    fn present(&self) -> Result<&'a str> {
        self.text().ok_or_else(|| self.wrong("the value is missing").with_help("drop rows without a target first"))
    }

    /// The number, unless there is none.
    fn number(&self) -> Result<Option<f64>> {
        let Some(text) = self.text() else { return Ok(None) };
        let number = finite(text).ok_or_else(|| {
            let help = match text.parse::<f64>() {
                Err(_) if finite(&text.replacen(',', ".", 1)).is_some() => {
                    "its decimal mark is a comma: write it as a point".to_owned()
                }
                Ok(_) => "drop such rows first, or leave the column out of .features(…)".to_owned(),
                Err(_) => format!(
                    "a column of names: .categories([\"{}\"]); else leave it out of .features(…)",
                    shortened(self.column)
                ),
            };
            self.wrong(&format!("`{}` is not a finite number", shortened(text))).with_help(help)
        })?;
        Ok(Some(number))
    }

    fn wrong(&self, what: &str) -> Error {
        Error::file(self.path, format!("line {}, column `{}`: {what}", self.line, shortened(self.column)))
    }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IRIS: &[u8] = b"\xef\xbb\xbfwidth, height,species\n1.5,2,setosa\n-3e-1, 4.25 ,virginica\n0,1,setosa\n";

    fn iris() -> Csv {
        Csv::new("iris.csv")
    }

    fn error(csv: &Csv, bytes: &[u8]) -> String {
        csv.parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn class_names_become_labels() {
        let data = iris().class_target("species").parse(IRIS).unwrap();
        assert_eq!(data.features.shape(), [3, 2]);
        assert_eq!(*data.features.data(), RawData::F64(vec![1.5, 2.0, -0.3, 4.25, 0.0, 1.0]));
        assert_eq!(data.feature_names, ["width", "height"]);
        assert_eq!(*data.target.unwrap().data(), RawData::I64(vec![0, 1, 0]));
        assert_eq!(data.class_names, ["setosa", "virginica"]);
        let names = ["versicolor", "virginica", "setosa"];
        let data = iris().class_target_with_names("species", names).parse(IRIS).unwrap();
        assert_eq!(*data.target.unwrap().data(), RawData::I64(vec![2, 1, 2]));
    }

    #[test]
    fn numbers_as_classes_sort_by_value() {
        let data = Csv::new("t.csv").class_target("y").parse(b"x,y\n1,10\n2,9\n3,-1\n").unwrap();
        assert_eq!(data.class_names, ["-1", "9", "10"]);
        assert_eq!(*data.target.unwrap().data(), RawData::I64(vec![2, 1, 0]));
    }

    #[test]
    fn columns_are_chosen_and_ordered() {
        let data = iris().features(["height"]).target("width").parse(IRIS).unwrap();
        assert_eq!(*data.features.data(), RawData::F64(vec![2.0, 4.25, 1.0]));
        assert_eq!(*data.target.unwrap().data(), RawData::F64(vec![1.5, -0.3, 0.0]));
        let semicolons = Csv::new("t.csv").delimiter(b';').parse(b"a;b\n1;2\n").unwrap();
        assert_eq!((semicolons.features.shape(), semicolons.target), (&[1, 2][..], None));
    }

    #[test]
    fn bad_cells_are_named_by_line_and_column() {
        let csv = iris().features(["width"]);
        for missing in ["", "NA", "nan", "?", "null"] {
            let text = error(&csv, format!("width,b\n1,2\n{missing},2\n").as_bytes());
            assert!(text.starts_with("iris.csv: line 3, column `width`: the value is missing\n"), "{text}");
        }
        assert!(error(&csv, b"width\n1x\n").contains("line 2, column `width`: `1x` is not a finite"));
        assert!(error(&csv, b"width\ninf\n").contains("`inf` is not a finite number"));
        assert!(error(&csv, b"width,b\n1\n").contains("line 2: 1 values, expected 2"));
        assert!(error(&csv, b"width\n\xff\n").contains("line 2: is not UTF-8 text"));
        assert!(error(&csv, b"").contains("is empty"));
        assert!(error(&csv, b"width\n").contains("has no rows"));
    }

    #[test]
    fn wrong_columns_are_told_with_the_near_ones() {
        assert_eq!(
            error(&iris().target("widht"), IRIS),
            "iris.csv has no column `widht`\n  help: did you mean `width`?"
        );
        assert!(error(&iris().target("b"), b"a;b\n1;2\n").contains("set .delimiter"));
        assert!(error(&iris().target("a"), b"a,a\n1,2\n").contains("more than one column"));
        assert!(error(&iris().target("species"), IRIS).contains("use class_target"));
        let unknown = iris().class_target_with_names("species", ["setosa"]);
        assert!(error(&unknown, IRIS).contains("line 3, column `species`: `virginica` is not one"));
    }

    const PASSENGERS: &[u8] =
        b"class,sex,age,port,survived\n3,male,22,S,no\n1,female,38,C,yes\n3,female,,Q,yes\n1,male,30,,no\n";

    #[test]
    fn categories_and_gaps_become_numbers_and_do_so_again() {
        let csv = iris().categories(["sex", "port"]).fill(Fill::Median).class_target("survived");
        let data = csv.parse(PASSENGERS).unwrap();
        assert_eq!(
            data.feature_names,
            ["class", "sex=female", "sex=male", "age", "port=C", "port=Q", "port=S", "port="]
        );
        let RawData::F64(values) = data.features.data() else { unreachable!() };
        assert_eq!(values[..8], [3.0, 0.0, 1.0, 22.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(values[16..], [3.0, 1.0, 0.0, 30.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 30.0, 0.0, 0.0, 0.0, 1.0]);
        // Another table of other values, in another order, with what the first one learnt.
        let folder = std::env::temp_dir().join(format!("kiln-encoding-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        data.encoding.save(folder.join("columns.json")).unwrap();
        let encoding = Encoding::load(folder.join("columns.json")).unwrap();
        assert_eq!(encoding, data.encoding);
        std::fs::write(folder.join("damaged.json"), "{\"columns\": 3}").unwrap();
        let text = Encoding::load(folder.join("damaged.json")).unwrap_err().to_string();
        assert!(text.contains("holds no encoding of columns") && text.contains("Encoding::save"), "{text}");
        std::fs::remove_dir_all(folder).unwrap();
        let test = b"port,age,sex,class\nC,,male,2\n";
        let again = iris().encoding(&encoding).parse(test).unwrap();
        assert_eq!(again.feature_names, data.feature_names);
        assert_eq!(*again.features.data(), RawData::F64(vec![2.0, 0.0, 1.0, 30.0, 1.0, 0.0, 0.0, 0.0]));
        let unknown = b"port,age,sex,class\nB,1,man,2\n";
        let text = error(&iris().encoding(&encoding), unknown);
        assert!(
            text.contains("line 2, column `sex`: `man` is not one of its values") && text.contains("`male`"),
            "{text}"
        );
        let ignored = iris().encoding(&encoding).ignore_unknown(true).parse(unknown).unwrap();
        assert_eq!(*ignored.features.data(), RawData::F64(vec![2.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]));
        let both = error(&iris().encoding(&encoding).fill(0.0), test);
        assert!(both.starts_with("Csv: an encoding says"), "{both}");
    }

    #[test]
    fn what_is_not_asked_for_is_told_how_to_ask_for() {
        let text = error(&iris().features(["age"]), PASSENGERS);
        assert!(
            text.contains("line 4, column `age`: the value is missing") && text.contains(".fill(Fill::Median)"),
            "{text}"
        );
        let text = error(&iris().features(["sex"]), PASSENGERS);
        assert!(text.contains("`male` is not a finite number") && text.contains(".categories([\"sex\"])"), "{text}");
        let text = error(&iris().features(["age"]).categories(["sex"]), PASSENGERS);
        assert!(text.starts_with("Csv: column `sex` is no feature"), "{text}");
        let text = error(&iris().categories(["sx"]), PASSENGERS);
        assert!(text.contains("did you mean `sex`?"), "{text}");
        let text = error(&iris().fill(Fill::Mean), b"a,b\n1,\n2,\n");
        assert!(text.starts_with("column `b` has no number to fill its gaps from"), "{text}");
        let own = iris().fill_column("b", -1.0).parse(b"a,b\n1,\n2,5\n").unwrap();
        assert_eq!(*own.features.data(), RawData::F64(vec![1.0, -1.0, 2.0, 5.0]));
    }

    #[test]
    fn a_huge_value_makes_a_short_message() {
        let huge = "é".repeat(1 << 20);
        let beginning = format!("{}… (2097152 bytes)", &huge[..80]);
        let csv = iris().features(["width"]).class_target_with_names("kind", ["a"]);
        let texts = [
            error(&csv, format!("width,kind\n{huge},a\n").as_bytes()),
            error(&csv, format!("width,kind\n1,{huge}\n").as_bytes()),
            error(&csv, format!("{huge},kind\n1,a\n").as_bytes()),
            error(&iris().target("kind"), format!("width,kind\n1,{huge}\n").as_bytes()),
            error(&iris(), format!("{huge}\n1x\n").as_bytes()),
            error(&iris().target(huge.clone()), b"width\n1\n"),
        ];
        for text in texts {
            assert!(text.len() < 400 && text.contains(&beginning), "{} bytes", text.len());
        }
    }

    #[test]
    fn a_first_line_of_numbers_is_no_header_unless_it_is_said() {
        let text = error(&iris(), b"1.5,2\n3,4\n");
        assert!(text.starts_with("iris.csv: line 1, where the names") && text.contains(".header(false)"), "{text}");
        let data = iris().header(false).target("1").parse(b"1.5,2\n3,4\n").unwrap();
        assert_eq!((data.features.shape(), &data.feature_names[..]), (&[2, 1][..], &["0".to_owned()][..]));
        assert_eq!(*data.features.data(), RawData::F64(vec![1.5, 3.0]));
        let words = iris().header(false).class_target("1").parse(b"1.5,a\n3,b\n").unwrap();
        assert_eq!(words.class_names, ["a", "b"]);
        let years = iris().header(true).parse(b"2024,2025\n3,4\n").unwrap();
        assert_eq!((years.features.shape(), &years.feature_names[0][..]), (&[1, 2][..], "2024"));
        assert!(error(&iris().header(false).target("2"), b"1,2\n").contains("no column `2`"));
        assert!(error(&iris().header(false), b"1,2\n3\n").contains("line 2: 1 values, expected 2"));
    }

    #[test]
    fn a_table_becomes_a_dataset() {
        let classes = iris().class_target("species").parse(IRIS).unwrap().dataset().unwrap();
        let x = classes.x().unwrap();
        assert_eq!((x.dtype(), &x.shape()[..], classes.y().dtype()), (DType::F32, &[3, 2][..], DType::I64));
        assert_eq!(classes.y().to_vec::<i64>().unwrap(), [0, 1, 0]);
        let numbers = iris().features(["height"]).target("width").parse(IRIS).unwrap().dataset().unwrap();
        assert_eq!((numbers.y().dtype(), &numbers.y().shape()[..]), (DType::F32, &[3, 1][..]));
        let text = iris().features(["width"]).parse(IRIS).unwrap().dataset().unwrap_err().to_string();
        assert!(text.starts_with("CsvData: it has no target") && text.contains(".class_target"), "{text}");
    }

    #[test]
    fn the_target_is_no_feature() {
        let leak = error(&iris().features(["width", "height"]).target("height"), IRIS);
        assert!(leak.starts_with("column `height` is the target and a feature"), "{leak}");
        assert!(iris().features(["species"]).class_target("species").parse(IRIS).is_err());
    }

    #[test]
    fn what_is_there_twice_or_has_a_comma_is_told() {
        let text = error(&iris(), b"width,height,width\n1,2,3\n");
        assert!(text.contains("more than one column `width`"), "{text}");
        let text = error(&iris().delimiter(b';'), b"width;height\n1,5;2\n");
        assert!(text.contains("its decimal mark is a comma"), "{text}");
    }

    #[test]
    fn a_delimiter_is_no_part_of_values() {
        for wrong in b"\"\n\r.-+7a\xc3" {
            assert!(error(&iris().delimiter(*wrong), IRIS).contains("cannot stand between values"));
        }
        assert!(error(&iris().delimiter(b'"'), IRIS).starts_with("the delimiter '\"' cannot"));
        for right in *b"\t |:;," {
            let row = format!("a{0}b\n1{0}2\n", char::from(right));
            assert_eq!(iris().delimiter(right).parse(row.as_bytes()).unwrap().features.shape(), [1, 2]);
        }
    }
}
