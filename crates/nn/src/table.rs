//! A table drawn with box characters, as `summary()` has in Keras. Knows nothing of layers.

use std::fmt;

/// A column: its title, its side, its least and greatest width.
#[derive(Clone, Debug)]
pub struct Column {
    title: String,
    is_right: bool,
    min_width: usize,
    max_width: usize,
}

impl Column {
    /// A column whose cells stand at the left and are as wide as they need.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), is_right: false, min_width: 0, max_width: usize::MAX }
    }

    /// Puts the cells at the right, as numbers want it.
    #[must_use]
    pub fn right(mut self) -> Self {
        self.is_right = true;
        self
    }

    /// Makes the column at least so many characters wide.
    #[must_use]
    pub fn min_width(mut self, width: usize) -> Self {
        self.min_width = width;
        self
    }

    /// Wraps cells that are wider than `width` (at least 1) characters, between words where possible.
    #[must_use]
    pub fn max_width(mut self, width: usize) -> Self {
        self.max_width = width.max(1);
        self
    }
}

/// A table with a title line, a heavy header and a rule between rows.
///
/// # Examples
/// ```
/// use kiln_nn::table::{Column, Table};
/// let mut table = Table::new([Column::new("Layer (type)"), Column::new("Param #").right()]);
/// table.title("Model: \"sequential\"");
/// table.row(["dense (Dense)", "336"]);
/// table.row(["dense_1 (Dense)", "51"]);
/// assert_eq!(
///     table.to_string(),
///     "\
/// Model: \"sequential\"
/// ┏━━━━━━━━━━━━━━━━━┳━━━━━━━━━┓
/// ┃ Layer (type)    ┃ Param # ┃
/// ┡━━━━━━━━━━━━━━━━━╇━━━━━━━━━┩
/// │ dense (Dense)   │     336 │
/// ├─────────────────┼─────────┤
/// │ dense_1 (Dense) │      51 │
/// └─────────────────┴─────────┘
/// "
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    rules: bool,
}

impl Table {
    /// A table with these columns and no rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { title: String::new(), columns: columns.into_iter().collect(), rows: Vec::new(), rules: true }
    }

    /// The line above the table.
    pub fn title(&mut self, title: impl Into<String>) -> &mut Self {
        self.title = title.into();
        self
    }

    /// Whether a rule stands between rows; the default is yes.
    pub fn rules(&mut self, rules: bool) -> &mut Self {
        self.rules = rules;
        self
    }

    /// Adds a row; missing cells are empty, cells beyond the last column are left out.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
        self
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(at, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| &row[at]).chain([&column.title]);
            let lines = cells.flat_map(|cell| wrap(cell, column.max_width));
            lines.map(|line| line.chars().count()).max().unwrap_or(0).max(column.min_width)
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    fn write_row<'a>(
        &self,
        f: &mut fmt::Formatter<'_>,
        cells: impl Iterator<Item = &'a String>,
        widths: &[usize],
        wall: char,
    ) -> fmt::Result {
        let cells: Vec<Vec<String>> =
            cells.zip(&self.columns).map(|(cell, column)| wrap(cell, column.max_width)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..height {
            write!(f, "{wall}")?;
            for ((lines, column), &width) in cells.iter().zip(&self.columns).zip(widths) {
                let text = lines.get(at).map_or("", String::as_str);
                if column.is_right {
                    write!(f, " {text:>width$} {wall}")?;
                } else {
                    write!(f, " {text:<width$} {wall}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The corners and edges of one horizontal line.
struct Rule {
    left: char,
    line: char,
    cross: char,
    right: char,
}

const TOP: Rule = Rule { left: '┏', line: '━', cross: '┳', right: '┓' };
const BELOW_HEADER: Rule = Rule { left: '┡', line: '━', cross: '╇', right: '┩' };
const BETWEEN: Rule = Rule { left: '├', line: '─', cross: '┼', right: '┤' };
const BOTTOM: Rule = Rule { left: '└', line: '─', cross: '┴', right: '┘' };

impl Rule {
    fn write(&self, f: &mut fmt::Formatter<'_>, widths: &[usize]) -> fmt::Result {
        write!(f, "{}", self.left)?;
        for (at, &width) in widths.iter().enumerate() {
            if at > 0 {
                write!(f, "{}", self.cross)?;
            }
            for _ in 0..width + 2 {
                write!(f, "{}", self.line)?;
            }
        }
        writeln!(f, "{}", self.right)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.title.is_empty() {
            writeln!(f, "{}", self.title)?;
        }
        let widths = self.widths();
        TOP.write(f, &widths)?;
        self.write_row(f, self.columns.iter().map(|column| &column.title), &widths, '┃')?;
        BELOW_HEADER.write(f, &widths)?;
        for (at, row) in self.rows.iter().enumerate() {
            if at > 0 && self.rules {
                BETWEEN.write(f, &widths)?;
            }
            self.write_row(f, row.iter(), &widths, '│')?;
        }
        BOTTOM.write(f, &widths)
    }
}

/// The lines of a cell in `width` characters: broken at spaces, and inside a word that is too long by itself.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line: Vec<char> = Vec::new();
        for word in paragraph.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            let needed = if line.is_empty() { word.len() } else { line.len() + 1 + word.len() };
            if needed > width && !line.is_empty() {
                lines.push(std::mem::take(&mut line).into_iter().collect());
            }
            while word.len() > width {
                let rest = word.split_off(width);
                lines.push(word.into_iter().collect());
                word = rest;
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(word);
        }
        lines.push(line.into_iter().collect());
    }
    lines
}

/// A whole number with commas between its thousands: `1,292`.
///
/// # Examples
/// ```
/// use kiln_nn::table::thousands;
/// assert_eq!(thousands(1292), "1,292");
/// assert_eq!(thousands(999), "999");
/// ```
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes as Keras prints it: 1024-based, two decimals.
///
/// # Examples
/// ```
/// use kiln_nn::table::byte_size;
/// assert_eq!(byte_size(128), "128.00 B");
/// assert_eq!(byte_size(1804), "1.76 KB");
/// ```
pub fn byte_size(bytes: usize) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KB", "MB", "GB", "TB"] {
        if size < 1024.0 {
            return format!("{size:.2} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.2} PB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_cells_wrap_and_short_rows_are_filled() {
        let mut table = Table::new([Column::new("Name").max_width(8), Column::new("N").right().min_width(3)]);
        table.rules(false).row(["a bc defghijklmno", "7"]).row(["é"]);
        let expected = "\
┏━━━━━━━━━━┳━━━━━┓
┃ Name     ┃   N ┃
┡━━━━━━━━━━╇━━━━━┩
│ a bc     │   7 │
│ defghijk │     │
│ lmno     │     │
│ é        │     │
└──────────┴─────┘
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn an_empty_table_is_its_header() {
        let table = Table::new([Column::new("A")]);
        assert_eq!(table.to_string(), "┏━━━┓\n┃ A ┃\n┡━━━┩\n└───┘\n");
    }

    #[test]
    fn numbers() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(byte_size(0), "0.00 B");
        assert_eq!(byte_size(5 << 30), "5.00 GB");
    }
}
