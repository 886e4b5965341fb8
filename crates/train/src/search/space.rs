//! What may be chosen: named parameters, each of a type, and how a point of their space is drawn.

use crate::text::did_you_mean;
use crate::{Error, Result};
use kiln_nn::Key;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number.
    Int(u64),
    /// Any other number.
    Float(f64),
    /// A name.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(value) => value.fmt(f),
            // Four digits that count: what is drawn has sixteen.
            Value::Float(value) if *value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e5) => {
                let text = format!("{value:.3e}");
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                write!(f, "{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
            }
            Value::Float(value) => {
                let digits = (3 - value.abs().max(1e-3).log10().floor() as i32).max(1) as usize;
                let text = format!("{value:.digits$}");
                f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
            }
            Value::Text(value) => value.fmt(f),
        }
    }
}

macro_rules! values {
    ($($type:ty => |$x:ident| $value:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($x: $type) -> Value {
                $value
            }
        }
    )*};
}

values! {
    f64 => |x| Value::Float(x);
    u64 => |x| Value::Int(x);
    usize => |x| Value::Int(x as u64);
    i32 => |x| u64::try_from(x).map_or(Value::Float(f64::from(x)), Value::Int);
    &str => |x| Value::Text(x.to_owned());
    String => |x| Value::Text(x);
}

/// The values that a parameter may have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Range {
    /// Any number between the two, each or each ratio as likely.
    Float { low: f64, high: f64, is_log: bool },
    /// Whole numbers from the first to the last, so far apart, each or each ratio as likely.
    Int { low: u64, high: u64, step: u64, is_log: bool },
    /// One of these.
    Choice(Vec<Value>),
}

/// A parameter of a [`Space`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dimension {
    pub(crate) name: String,
    pub(crate) range: Range,
}

/// Parameters to search, by name.
///
/// ```
/// use kiln_train::search::Space;
/// let space = Space::new()
///     .log_uniform("learning_rate", 1e-4, 1e-1)
///     .int("layers", 1, 3)
///     .choice("units", [32, 64, 128])
///     .choice("optimizer", ["adam", "sgd"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Space {
    pub(crate) dimensions: Vec<Dimension>,
}

impl Space {
    /// No parameter yet.
    pub fn new() -> Space {
        Space::default()
    }

    fn with(mut self, name: &str, range: Range) -> Space {
        self.dimensions.push(Dimension { name: name.to_owned(), range });
        self
    }

    /// A number between `low` and `high`.
    #[must_use]
    pub fn uniform(self, name: &str, low: f64, high: f64) -> Space {
        self.with(name, Range::Float { low, high, is_log: false })
    }

    /// A number between `low` and `high` whose logarithm is uniform, as rates are drawn: as often between 0.001 and 0.01 as
    /// between 0.01 and 0.1.
    #[must_use]
    pub fn log_uniform(self, name: &str, low: f64, high: f64) -> Space {
        self.with(name, Range::Float { low, high, is_log: true })
    }

    /// A whole number from `low` to `high`, both included.
    #[must_use]
    pub fn int(self, name: &str, low: u64, high: u64) -> Space {
        self.int_step(name, low, high, 1)
    }

    /// [`Space::int`] in steps from `low` on.
    #[must_use]
    pub fn int_step(self, name: &str, low: u64, high: u64, step: u64) -> Space {
        self.with(name, Range::Int { low, high, step, is_log: false })
    }

    /// [`Space::int`] whose logarithm is uniform: for numbers of units.
    #[must_use]
    pub fn log_int(self, name: &str, low: u64, high: u64) -> Space {
        self.with(name, Range::Int { low, high, step: 1, is_log: true })
    }

    /// One of some numbers or names.
    #[must_use]
    pub fn choice<V: Into<Value>>(self, name: &str, values: impl IntoIterator<Item = V>) -> Space {
        self.with(name, Range::Choice(values.into_iter().map(Into::into).collect()))
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.dimensions.is_empty() {
            return Err(Error::config(
                "search: the space has no parameter",
                "add one, such as .choice(\"units\", [32, 64])",
            ));
        }
        for (i, Dimension { name, range }) in self.dimensions.iter().enumerate() {
            let refuse = |text: String, help: &str| Err(Error::config(format!("search: `{name}` {text}"), help));
            if self.dimensions[..i].iter().any(|other| other.name == *name) {
                return refuse("is there twice".to_owned(), "give each parameter a name of its own");
            }
            match range {
                Range::Float { low, high, is_log } => {
                    if !(low.is_finite() && high.is_finite() && low < high) {
                        return refuse(format!("runs from {low} to {high}"), "give two numbers, the smaller one first");
                    }
                    if *is_log && *low <= 0.0 {
                        return refuse(
                            format!("begins at {low}, which has no logarithm"),
                            "begin above 0, or use .uniform",
                        );
                    }
                }
                Range::Int { low, high, step, is_log } => {
                    if low > high || *step == 0 {
                        return refuse(
                            format!("runs from {low} to {high} in steps of {step}"),
                            "give the smaller number first",
                        );
                    }
                    if *is_log && *low == 0 {
                        return refuse("begins at 0, which has no logarithm".to_owned(), "begin at 1, or use .int");
                    }
                }
                Range::Choice(values) if values.is_empty() => {
                    return refuse("has nothing to choose from".to_owned(), "give at least one value");
                }
                Range::Choice(_) => {}
            }
        }
        Ok(())
    }

    /// A point at random.
    pub(crate) fn sample(&self, key: &Key) -> Result<Vec<Value>> {
        let each = self.dimensions.iter().enumerate();
        each.map(|(i, dimension)| Ok(dimension.range.at(key.fold(i as u64).uniform([1], 0.0, 1.0)?.item()?))).collect()
    }

    /// Every point, the last parameter running fastest.
    ///
    /// # Errors
    /// A parameter with endlessly many values.
    pub(crate) fn grid(&self) -> Result<Vec<Vec<Value>>> {
        let mut points = vec![Vec::new()];
        for Dimension { name, range } in &self.dimensions {
            let values = match range {
                Range::Choice(values) => values.clone(),
                Range::Int { low, high, step, is_log: false } => {
                    (*low..=*high).step_by(usize::try_from(*step).unwrap_or(usize::MAX)).map(Value::Int).collect()
                }
                _ => {
                    let text = format!("search: a grid has no end along `{name}`");
                    return Err(Error::config(
                        text,
                        format!("name the values to try: .choice(\"{name}\", [0.001, 0.01])"),
                    ));
                }
            };
            if points.len().saturating_mul(values.len()) > MOST_POINTS {
                let text = format!("search: the grid has more than {MOST_POINTS} points");
                return Err(Error::config(text, "search at random: Search::random(space, 50)"));
            }
            let extend = |point: &Vec<Value>| -> Vec<Vec<Value>> {
                values.iter().map(|value| point.iter().cloned().chain([value.clone()]).collect()).collect()
            };
            points = points.iter().flat_map(extend).collect();
        }
        Ok(points)
    }
}

/// More points than anybody waits for.
const MOST_POINTS: usize = 100_000;

impl Range {
    /// The value at a fraction of the range, from 0 up to 1.
    pub(crate) fn at(&self, fraction: f64) -> Value {
        match self {
            Range::Float { low, high, is_log: false } => {
                Value::Float((low + fraction * (high - low)).clamp(*low, *high))
            }
            Range::Float { low, high, is_log: true } => {
                Value::Float((low.ln() + fraction * (high.ln() - low.ln())).exp().clamp(*low, *high))
            }
            Range::Int { low, high, step, is_log: false } => {
                let count = (high - low) / step + 1;
                Value::Int(low + step * ((fraction * count as f64) as u64).min(count - 1))
            }
            Range::Int { low, high, is_log: true, .. } => {
                let (low_log, high_log) = ((*low as f64 - 0.5).max(0.5).ln(), (*high as f64 + 0.5).ln());
                Value::Int(((low_log + fraction * (high_log - low_log)).exp().round() as u64).clamp(*low, *high))
            }
            Range::Choice(values) => values[((fraction * values.len() as f64) as usize).min(values.len() - 1)].clone(),
        }
    }

    /// Whether equal factors are equally far apart.
    #[cfg(feature = "plot")]
    pub(crate) fn is_log(&self) -> bool {
        matches!(self, Range::Float { is_log: true, .. } | Range::Int { is_log: true, .. })
    }

    /// The smallest and the largest number.
    #[cfg(feature = "plot")]
    pub(crate) fn ends(&self) -> (f64, f64) {
        match self {
            Range::Float { low, high, .. } => (*low, *high),
            Range::Int { low, high, .. } => (*low as f64, *high as f64),
            Range::Choice(values) => (0.0, values.len() as f64),
        }
    }

    /// Where in the range a value is, from 0 to 1: the inverse of [`Range::at`], at the middle of what gives the same value.
    #[cfg(any(test, feature = "plot", feature = "bayesian"))]
    pub(crate) fn fraction(&self, value: &Value) -> f64 {
        let number = match value {
            Value::Int(value) => *value as f64,
            Value::Float(value) => *value,
            Value::Text(_) => f64::NAN,
        };
        match self {
            Range::Float { low, high, is_log: false } => (number - low) / (high - low),
            Range::Float { low, high, is_log: true } => (number.ln() - low.ln()) / (high.ln() - low.ln()),
            Range::Int { low, high, step, is_log: false } => {
                let count = (high - low) / step + 1;
                ((number - *low as f64) / *step as f64 + 0.5) / count as f64
            }
            Range::Int { low, high, is_log: true, .. } => {
                let (low_log, high_log) = ((*low as f64 - 0.5).max(0.5).ln(), (*high as f64 + 0.5).ln());
                (number.ln() - low_log) / (high_log - low_log)
            }
            Range::Choice(values) => {
                let at = values.iter().position(|other| other == value).unwrap_or(0);
                (at as f64 + 0.5) / values.len() as f64
            }
        }
    }
}

/// What a trial is to be built with.
#[derive(Debug, Clone)]
pub struct Choice {
    names: Vec<String>,
    values: Vec<Value>,
}

impl Choice {
    pub(crate) fn new(space: &Space, values: Vec<Value>) -> Choice {
        Choice { names: space.dimensions.iter().map(|dimension| dimension.name.clone()).collect(), values }
    }

    /// The names with their values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.names.iter().map(String::as_str).zip(&self.values)
    }

    /// The value of a parameter.
    ///
    /// # Errors
    /// A name that the space does not have.
    pub fn get(&self, name: &str) -> Result<&Value> {
        match self.names.iter().position(|own| own == name) {
            Some(at) => Ok(&self.values[at]),
            None => {
                let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
                let text = format!("search: the space has no parameter `{name}`");
                Err(Error::config(text, did_you_mean(name, &names)))
            }
        }
    }

    /// A number.
    ///
    /// # Errors
    /// A name that the space does not have, or a parameter that is no number.
    pub fn float(&self, name: &str) -> Result<f64> {
        match self.get(name)? {
            Value::Float(value) => Ok(*value),
            Value::Int(value) => Ok(*value as f64),
            Value::Text(text) => Err(unlike(name, text, "no number", "text")),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// A name that the space does not have, or a parameter that is no whole number.
    pub fn int(&self, name: &str) -> Result<usize> {
        match self.get(name)? {
            Value::Int(value) => Ok(usize::try_from(*value).unwrap_or(usize::MAX)),
            other => Err(unlike(name, other, "no whole number", "float")),
        }
    }

    /// A name.
    ///
    /// # Errors
    /// A name that the space does not have, or a parameter that is a number.
    pub fn text(&self, name: &str) -> Result<&str> {
        match self.get(name)? {
            Value::Text(text) => Ok(text),
            other => Err(unlike(name, other, "no text", "float")),
        }
    }
}

fn unlike(name: &str, value: impl fmt::Display, what: &str, method: &str) -> Error {
    Error::config(
        format!("search: `{name}` is {value}, which is {what}"),
        format!("ask for it with .{method}(\"{name}\")"),
    )
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value}", if i > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Space {
        Space::new()
            .uniform("a", -1.0, 3.0)
            .log_uniform("b", 1e-4, 1e-1)
            .int_step("c", 2, 9, 3)
            .log_int("d", 1, 1000)
            .choice("e", ["x", "y", "z"])
            .choice("f", [16, 32])
    }

    #[test]
    fn points_are_in_the_space_and_in_its_proportions() {
        let space = all();
        space.check().unwrap();
        let points: Vec<Choice> =
            (0..2000).map(|i| Choice::new(&space, space.sample(&Key::new(1).fold(i)).unwrap())).collect();
        let share = |f: &dyn Fn(&Choice) -> bool| points.iter().filter(|p| f(p)).count() as f64 / 2000.0;
        assert!((share(&|p| p.float("a").unwrap() < 0.0) - 0.25).abs() < 0.03);
        assert!((share(&|p| p.float("b").unwrap() < 1e-3) - 1.0 / 3.0).abs() < 0.03);
        assert!((share(&|p| p.int("c").unwrap() == 5) - 1.0 / 3.0).abs() < 0.03);
        assert!((share(&|p| p.int("d").unwrap() <= 31) - 0.5).abs() < 0.06);
        assert!((share(&|p| p.text("e").unwrap() == "y") - 1.0 / 3.0).abs() < 0.03);
        assert!((share(&|p| p.int("f").unwrap() == 32) - 0.5).abs() < 0.04);
        for point in points {
            assert!((-1.0..=3.0).contains(&point.float("a").unwrap()) && [2, 5, 8].contains(&point.int("c").unwrap()));
            assert!((1..=1000).contains(&point.int("d").unwrap()));
            // Back and forth gives the same.
            for (dimension, (_, value)) in space.dimensions.iter().zip(point.iter()) {
                match (value, dimension.range.at(dimension.range.fraction(value))) {
                    (Value::Float(a), Value::Float(b)) => assert!((a - b).abs() < 1e-9 * a.abs().max(1e-3)),
                    (a, b) => assert_eq!(*a, b),
                }
            }
        }
    }

    #[test]
    fn a_grid_is_every_point() {
        let grid = Space::new().int("a", 1, 2).choice("b", ["x", "y"]).grid().unwrap();
        let told: Vec<String> = grid.iter().map(|p| format!("{}{}", p[0], p[1])).collect();
        assert_eq!(told, ["1x", "1y", "2x", "2y"]);
        let error = Space::new().uniform("rate", 0.0, 1.0).grid().unwrap_err().to_string();
        assert!(error.contains(".choice(\"rate\", [0.001, 0.01])"), "{error}");
        let many = Space::new().int("a", 0, 999).int("b", 0, 999).grid().unwrap_err().to_string();
        assert!(many.contains("Search::random"), "{many}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for space in [
            Space::new(),
            Space::new().uniform("a", 1.0, 1.0),
            Space::new().uniform("a", 0.0, f64::NAN),
            Space::new().log_uniform("a", 0.0, 1.0),
            Space::new().int("a", 3, 2),
            Space::new().int_step("a", 0, 2, 0),
            Space::new().log_int("a", 0, 2),
            Space::new().choice::<f64>("a", []),
            Space::new().int("a", 0, 2).int("a", 0, 2),
        ] {
            assert!(space.check().unwrap_err().to_string().contains("help"), "{space:?}");
        }
        let space = all();
        let point = Choice::new(&space, space.sample(&Key::new(0)).unwrap());
        assert!(point.get("aa").unwrap_err().to_string().contains("did you mean `a`"));
        assert!(point.float("e").unwrap_err().to_string().contains(".text(\"e\")"));
        assert!(point.int("a").unwrap_err().to_string().contains(".float(\"a\")"));
        assert!(point.text("f").unwrap_err().to_string().contains("32") || point.text("f").is_err());
    }

    #[test]
    fn numbers_are_told_with_the_digits_that_count() {
        for (value, text) in [
            (0.1, "0.1"),
            (0.012_345_6, "0.01235"),
            (123.456, "123.5"),
            (0.000_123_4, "1.234e-4"),
            (1e-4, "1e-4"),
            (0.0, "0"),
            (2.0, "2"),
        ] {
            assert_eq!(Value::Float(value).to_string(), text);
        }
    }
}
