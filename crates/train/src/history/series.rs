//! The values of one name, an epoch each: what was measured, be it NaN, is told apart from what was not logged.

/// The values under one name. Both lists are as long as there were epochs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series {
    /// NaN where nothing was logged: a reader of numbers alone sees a gap in both cases.
    values: Vec<f64>,
    is_logged: Vec<bool>,
}

impl Series {
    /// Nothing logged in `rows` epochs.
    pub(crate) fn absent(rows: usize) -> Self {
        Self { values: vec![f64::NAN; rows], is_logged: vec![false; rows] }
    }

    /// Adds an epoch.
    pub(crate) fn push(&mut self, value: Option<f64>) {
        self.values.push(value.unwrap_or(f64::NAN));
        self.is_logged.push(value.is_some());
    }

    /// Puts another value in place of the last epoch's, if there is one.
    pub(crate) fn amend(&mut self, value: f64) {
        if let (Some(last), Some(is_logged)) = (self.values.last_mut(), self.is_logged.last_mut()) {
            (*last, *is_logged) = (value, true);
        }
    }

    /// Every epoch's number, NaN where nothing was logged.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// What was logged in row `row`, if anything.
    pub(crate) fn at(&self, row: usize) -> Option<f64> {
        self.is_logged[row].then(|| self.values[row])
    }

    /// Every epoch's value, if it has one.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Option<f64>> + ExactSizeIterator {
        (0..self.values.len()).map(|row| self.at(row))
    }
}

impl FromIterator<Option<f64>> for Series {
    fn from_iter<I: IntoIterator<Item = Option<f64>>>(values: I) -> Self {
        let mut series = Self::default();
        values.into_iter().for_each(|value| series.push(value));
        series
    }
}
