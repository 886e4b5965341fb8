//! The named values of one epoch or batch, in the order in which Keras prints them. Knows no other epoch.

use crate::text::log_value;
use std::fmt;

/// Named values of one epoch: training metrics alphabetically, then `val_*`, then `learning_rate`.
///
/// # Examples
/// ```
/// use kiln_train::Logs;
/// let logs = Logs::from([("val_loss", 0.5), ("loss", 0.25), ("learning_rate", 1e-3), ("accuracy", 0.75)]);
/// assert_eq!(
///     logs.to_string(),
///     "accuracy: 0.7500 - loss: 0.2500 - val_loss: 0.5000 - learning_rate: 0.0010"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logs {
    entries: Vec<(String, f64)>,
}

impl Logs {
    /// No values yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `value` under `name`, in its place in the order, or replaces what was there.
    pub fn set(&mut self, name: impl AsRef<str>, value: f64) {
        let name = name.as_ref();
        match self.place(name) {
            Ok(at) => self.entries[at].1 = value,
            Err(at) => self.entries.insert(at, (name.to_owned(), value)),
        }
    }

    /// The value under `name`, if it was logged.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.place(name).ok().map(|at| self.entries[at].1)
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, f64)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// The names, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was logged.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets every value of `other` here.
    pub fn extend(&mut self, other: &Logs) {
        for (name, value) in other.iter() {
            self.set(name, value);
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| sort_key(other).cmp(&sort_key(name)))
    }
}

/// What log names are ordered by: training, validation, learning rate; alphabetically inside.
pub(crate) fn sort_key(name: &str) -> (u8, &str) {
    let group = match name {
        "learning_rate" => 2,
        _ if name.starts_with("val_") => 1,
        _ => 0,
    };
    (group, name)
}

impl<S: AsRef<str>> FromIterator<(S, f64)> for Logs {
    fn from_iter<I: IntoIterator<Item = (S, f64)>>(entries: I) -> Self {
        let mut logs = Self::new();
        for (name, value) in entries {
            logs.set(name, value);
        }
        logs
    }
}

impl<S: AsRef<str>, const N: usize> From<[(S, f64); N]> for Logs {
    fn from(entries: [(S, f64); N]) -> Self {
        entries.into_iter().collect()
    }
}

/// `accuracy: 0.2988 - loss: 1.6600`, as on Keras's progress line.
impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.iter().enumerate() {
            let separator = if at == 0 { "" } else { " - " };
            write!(f, "{separator}{name}: {}", log_value(value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_keras() {
        let mut logs = Logs::new();
        for name in ["val_loss", "learning_rate", "mae", "val_accuracy", "loss", "accuracy"] {
            logs.set(name, 1.0);
        }
        let names: Vec<_> = logs.names().collect();
        assert_eq!(names, ["accuracy", "loss", "mae", "val_accuracy", "val_loss", "learning_rate"]);
    }

    #[test]
    fn set_replaces_and_get_finds() {
        let mut logs = Logs::from([("loss", 2.0)]);
        logs.set("loss", 1.0);
        assert_eq!((logs.len(), logs.get("loss"), logs.get("los")), (1, Some(1.0), None));
        logs.extend(&Logs::from([("loss", 0.5), ("auc", 0.9)]));
        assert_eq!(logs.to_string(), "auc: 0.9000 - loss: 0.5000");
        assert!(Logs::new().is_empty());
    }
}
