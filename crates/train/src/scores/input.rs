//! What scores are computed of, read and checked: numbers, labels, weights. Computes no score.

use crate::error::{Error, Result};
use kiln_nn::Tensor;

/// What scores are computed of: a [`Tensor`] of any type, or an array, a slice or a vector of numbers or of rows of numbers.
///
/// ```
/// use kiln_nn::Tensor;
/// use kiln_train::scores::accuracy_score;
/// assert_eq!(accuracy_score(&[0, 1, 1], &Tensor::new([0, 1, 0]), ())?, 2.0 / 3.0);
/// assert_eq!(accuracy_score(&[[1, 0], [0, 1]], &[[true, false], [true, true]], ())?, 0.5);
/// # Ok::<(), kiln_train::Error>(())
/// ```
pub trait Values {
    /// The numbers, the last axis first, and the shape.
    fn numbers(&self) -> (Vec<f64>, Vec<usize>);
}

/// A number, or a row of as many numbers as any other row.
pub trait Item {
    /// How many numbers a row has; nothing for a number alone.
    const COLUMNS: Option<usize>;

    /// Appends the numbers.
    fn append(&self, to: &mut Vec<f64>);
}

macro_rules! numbers {
    ($($number:ident: $as:expr),*) => {$(
        impl Item for $number {
            const COLUMNS: Option<usize> = None;

            fn append(&self, to: &mut Vec<f64>) {
                to.push($as(*self));
            }
        }

        impl<const N: usize> Item for [$number; N] {
            const COLUMNS: Option<usize> = Some(N);

            fn append(&self, to: &mut Vec<f64>) {
                to.extend(self.iter().map(|&number| $as(number)));
            }
        }
    )*};
}

numbers!(
    f64: f64::from, f32: f64::from, i32: f64::from, i16: f64::from, i8: f64::from, u32: f64::from, u16: f64::from,
    u8: f64::from, i64: |x| x as f64, u64: |x| x as f64, isize: |x| x as f64, usize: |x| x as f64, bool: f64::from
);

impl<I: Item> Values for [I] {
    fn numbers(&self) -> (Vec<f64>, Vec<usize>) {
        let mut numbers = Vec::with_capacity(self.len() * I::COLUMNS.unwrap_or(1));
        self.iter().for_each(|item| item.append(&mut numbers));
        (numbers, [Some(self.len()), I::COLUMNS].into_iter().flatten().collect())
    }
}

impl<I: Item, const N: usize> Values for [I; N] {
    fn numbers(&self) -> (Vec<f64>, Vec<usize>) {
        self[..].numbers()
    }
}

impl<I: Item> Values for Vec<I> {
    fn numbers(&self) -> (Vec<f64>, Vec<usize>) {
        self[..].numbers()
    }
}

impl Values for Tensor {
    fn numbers(&self) -> (Vec<f64>, Vec<usize>) {
        (self.to_vec_as(), self.shape().to_vec())
    }
}

/// An error of the function `of`.
pub(super) fn refuse<T>(of: &str, what: impl std::fmt::Display, help: impl Into<String>) -> Result<T> {
    Err(Error::data(format!("{of}: {what}"), help))
}

/// Rows of numbers.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) values: Vec<f64>,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// What it is called in errors.
    name: &'static str,
}

impl Rows {
    /// Reads `[N]`, as one column, or `[N, K]`.
    pub(super) fn read(of: &str, name: &'static str, values: &(impl Values + ?Sized)) -> Result<Rows> {
        let (values, shape) = values.numbers();
        let (rows, columns) = match shape[..] {
            [rows] => (rows, 1),
            [rows, columns] => (rows, columns),
            _ => {
                let help = "give one entry for each sample, [N], or a row for each, [N, K]: `reshape` joins other axes";
                return refuse(of, format_args!("{name} has the shape {shape:?}"), help);
            }
        };
        if rows == 0 || columns == 0 {
            return refuse(
                of,
                format_args!("{name} is empty"),
                "give at least one sample: a score of nothing is not defined",
            );
        }
        Ok(Rows { values, rows, columns, name })
    }

    /// The same, without NaN and infinities.
    pub(super) fn read_finite(of: &str, name: &'static str, values: &(impl Values + ?Sized)) -> Result<Rows> {
        let rows = Rows::read(of, name, values)?;
        match rows.values.iter().position(|value| !value.is_finite()) {
            None => Ok(rows),
            Some(at) => {
                let what = format!("{name} is {} in row {}", rows.values[at], at / rows.columns);
                refuse(of, what, "leave such rows out, or find where they come from: `Fit::check_finite` stops there")
            }
        }
    }

    /// The shape as text.
    pub(super) fn shape(&self) -> String {
        match self.columns {
            1 => format!("[{}]", self.rows),
            _ => format!("[{}, {}]", self.rows, self.columns),
        }
    }

    /// One class for each row: whole numbers.
    pub(super) fn read_labels(of: &str, name: &'static str, values: &(impl Values + ?Sized)) -> Result<Vec<f64>> {
        Rows::read(of, name, values)?.labels(of)
    }

    /// The labels of one column.
    pub(super) fn labels(self, of: &str) -> Result<Vec<f64>> {
        let name = self.name;
        let labels = self.column(of)?;
        // Beyond 2^53 neighbouring whole numbers are one f64.
        match labels.iter().position(|label| label.fract() != 0.0 || label.abs() > 9_007_199_254_740_992.0) {
            None => Ok(labels),
            Some(row) => refuse(
                of,
                format_args!("{name} is {} in row {row}, which is no label of a class", labels[row]),
                "labels are whole numbers: of probabilities take `argmax(-1)`, or `gt(0.5)` of a sigmoid unit's",
            ),
        }
    }

    /// The numbers of the one column.
    pub(super) fn column(self, of: &str) -> Result<Vec<f64>> {
        match self.columns {
            1 => Ok(self.values),
            _ => refuse(
                of,
                format_args!(
                    "{} has the shape [{}, {}], where one column is wanted",
                    self.name, self.rows, self.columns
                ),
                "of classes take the column of the one that counts as positive, or their `argmax(-1)`",
            ),
        }
    }

    /// Whether there are several columns, all of 0 and 1.
    pub(super) fn is_indicator(&self) -> bool {
        self.columns > 1 && self.values.iter().all(|&value| value == 0.0 || value == 1.0)
    }

    /// Refuses another number of rows.
    pub(super) fn same_rows(&self, of: &str, rows: usize) -> Result<()> {
        if self.rows == rows {
            return Ok(());
        }
        let what = format!("y_true has {rows} rows, but {} has {}", self.name, self.rows);
        refuse(of, what, "give one prediction for each target, in the same order")
    }

    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// The numbers of a column.
    pub(super) fn column_at(&self, column: usize) -> Vec<f64> {
        self.values.iter().skip(column).step_by(self.columns).copied().collect()
    }
}

/// The weight of each of `rows` samples: 1, unless others are given.
pub(super) fn weights(of: &str, given: Option<&[f64]>, rows: usize) -> Result<Vec<f64>> {
    let Some(given) = given else { return Ok(vec![1.0; rows]) };
    if given.len() != rows {
        return refuse(
            of,
            format_args!("{} sample weights for {rows} samples", given.len()),
            "give one weight for each sample",
        );
    }
    if let Some(row) = given.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
        let what = format!("the sample weight in row {row} is {}", given[row]);
        return refuse(of, what, "weights are finite and not negative; 0 leaves a sample out");
    }
    if given.iter().all(|&weight| weight == 0.0) {
        return refuse(of, "all sample weights are 0", "give one sample at least a weight above 0");
    }
    Ok(given.to_vec())
}

/// The different numbers, in order.
pub(super) fn unique(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

/// `0, 1 and 2`, the first few of many.
pub(super) fn listed(labels: &[f64]) -> String {
    const MOST: usize = 12;
    let names: Vec<String> = labels.iter().take(MOST).map(f64::to_string).collect();
    let more = if labels.len() > MOST { format!(" and {} more", labels.len() - MOST) } else { String::new() };
    names.join(", ") + &more
}

/// The mean of values by weights.
pub(super) fn average(values: impl IntoIterator<Item = f64>, weights: &[f64]) -> f64 {
    total(values, weights) / weights.iter().sum::<f64>()
}

/// The sum of values times weights.
pub(super) fn total(values: impl IntoIterator<Item = f64>, weights: &[f64]) -> f64 {
    values.into_iter().zip(weights).map(|(value, weight)| value * weight).sum()
}

/// Labels in the order of columns: those given, or those that occur.
pub(super) fn classes(of: &str, given: Option<&[f64]>, occurring: &[f64]) -> Result<Vec<f64>> {
    let Some(given) = given else { return Ok(unique(occurring.iter().copied())) };
    if given.windows(2).any(|pair| pair[0] >= pair[1]) {
        return refuse(
            of,
            format_args!("the labels {} are not in ascending order", listed(given)),
            "columns of scores stand in ascending order of their labels: give each label once, the smallest first",
        );
    }
    if let Some(row) = occurring.iter().position(|label| !given.contains(label)) {
        return refuse(
            of,
            format_args!("y_true is {} in row {row}, which is not among the labels {}", occurring[row], listed(given)),
            "give every label that can occur",
        );
    }
    Ok(given.to_vec())
}
