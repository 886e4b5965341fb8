//! The numbers that settings can be, and how it is told where one is none of them.

use crate::{Error, Numbers, Result};
use std::ops::RangeInclusive;

/// The numbers that a setting can be: finite ones.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Range {
    /// From 0 to below 1: the share of a moving average that stays.
    Share,
    /// From 0 to 1.
    Fraction,
    /// Between 0 and 1, which are none of them.
    Inside,
    /// From 0.
    NotNegative,
    /// Above 0.
    Positive,
    /// Up to 0.
    NotPositive,
    /// Any.
    Finite,
}

/// What a setting of type `T` can be.
pub(crate) trait Allow<T> {
    /// Whether `value` is allowed for the setting `name` of `owner`.
    fn check(&self, owner: &str, name: &str, value: &T) -> Result<()>;
}

impl Allow<f64> for Range {
    fn check(&self, owner: &str, name: &str, &value: &f64) -> Result<()> {
        let (holds, range) = match self {
            Range::Share => ((0.0..1.0).contains(&value), "a number from 0 to below 1"),
            Range::Fraction => ((0.0..=1.0).contains(&value), "a number from 0 to 1"),
            Range::Inside => (value > 0.0 && value < 1.0, "a number above 0 and below 1"),
            Range::NotNegative => (value >= 0.0, "a number from 0"),
            Range::Positive => (value > 0.0, "a number above 0"),
            Range::NotPositive => (value <= 0.0, "a number not above 0"),
            Range::Finite => (true, "a finite number"),
        };
        match holds && value.is_finite() {
            true => Ok(()),
            false => Err(Error::config(format!("{owner}: {name} is {value}"), format!("give {range}"))),
        }
    }
}

/// One number, or several.
impl Allow<Numbers> for Range {
    fn check(&self, owner: &str, name: &str, values: &Numbers) -> Result<()> {
        self.check(owner, name, &values.to_vec())
    }
}

/// Numbers of things.
impl Allow<usize> for RangeInclusive<usize> {
    fn check(&self, owner: &str, name: &str, value: &usize) -> Result<()> {
        if self.contains(value) {
            return Ok(());
        }
        let help = match *self.end() {
            usize::MAX => format!("give a number from {}", self.start()),
            most => format!("give a number from {} to {most}", self.start()),
        };
        Err(Error::config(format!("{owner}: {name} is {value}"), help))
    }
}

/// A setting that may be left out.
impl<T, R: Allow<T>> Allow<Option<T>> for R {
    fn check(&self, owner: &str, name: &str, value: &Option<T>) -> Result<()> {
        value.as_ref().map_or(Ok(()), |value| self.check(owner, name, value))
    }
}

/// A setting of one number or more.
impl<T, R: Allow<T>> Allow<Vec<T>> for R {
    fn check(&self, owner: &str, name: &str, values: &Vec<T>) -> Result<()> {
        if values.is_empty() {
            return Err(Error::config(format!("{owner}: {name} is an empty list"), "give at least one number"));
        }
        values.iter().try_for_each(|value| self.check(owner, name, value))
    }
}
