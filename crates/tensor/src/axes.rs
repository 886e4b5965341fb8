//! Which axes an operation works along, and whether they stay.

use crate::{Error, MAX_RANK, Result, Shape};
use smallvec::SmallVec;
use std::ops::RangeFull;
use std::panic::Location;

/// The axes that an operation folds: all of them, or those of a list; and whether they stay, with length 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axes {
    /// `None` for all.
    chosen: Option<SmallVec<[isize; MAX_RANK]>>,
    keep_dims: bool,
}

impl Axes {
    /// These axes, which do not stay.
    pub fn of(axes: impl IntoAxes) -> Axes {
        axes.into_axes()
    }

    /// The same axes; `true`: they stay, with length 1.
    #[must_use]
    pub fn keep_dims(self, keep_dims: bool) -> Axes {
        Axes { keep_dims, ..self }
    }

    /// Whether the axes stay.
    pub fn are_kept(&self) -> bool {
        self.keep_dims
    }

    /// Whether no list says which: all of them.
    pub(crate) fn is_all(&self) -> bool {
        self.chosen.is_none()
    }

    /// The one axis that is named; `None` for all, as in `..`.
    ///
    /// # Errors
    /// An axis that does not exist; more than one, or none.
    #[track_caller]
    pub(crate) fn single(&self, op: &str, shape: &Shape) -> Result<Option<usize>> {
        match self.chosen.as_deref() {
            None => Ok(None),
            Some(&[axis]) => shape.axis(op, axis).map(Some),
            Some(chosen) => {
                let text = format!("looks along one axis or all, not along {} of them", chosen.len());
                Err(Error::argument(op, text).help("flatten them into one: .flatten(…)").at(Location::caller()))
            }
        }
    }

    /// A flag for each axis of `shape`.
    ///
    /// # Errors
    /// An axis that does not exist, or that is named twice.
    #[track_caller]
    pub fn flags(&self, op: &str, shape: &Shape) -> Result<[bool; MAX_RANK]> {
        let mut flags = [false; MAX_RANK];
        let Some(chosen) = &self.chosen else {
            flags[..shape.rank()].fill(true);
            return Ok(flags);
        };
        for &axis in chosen {
            let index = shape.axis(op, axis)?;
            if index < shape.rank() && std::mem::replace(&mut flags[index], true) {
                let text = format!("axis {axis} is named twice in {chosen:?}");
                return Err(Error::shape(op, text).at(Location::caller()));
            }
        }
        Ok(flags)
    }
}

/// The axes, which stay with length 1: `x.sum(keep(-1))`.
///
/// ```
/// use kiln_tensor::{Tensor, ops::*};
/// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
/// assert_eq!(x.sum(keep(1))?.shape().dims(), [2, 1]);
/// assert_eq!(x.sum(keep(..))?.shape().dims(), [1, 1]);
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
pub fn keep(axes: impl IntoAxes) -> Axes {
    axes.into_axes().keep_dims(true)
}

/// What can say which axes: `..` for all, a number, a list. Negative ones count from the end, and an empty list is no
/// axis.
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no axes",
    note = "give `..` for all axes, a number such as -1, or a list such as [0, 2]"
)]
pub trait IntoAxes {
    /// Converts.
    fn into_axes(self) -> Axes;
}

impl IntoAxes for Axes {
    fn into_axes(self) -> Axes {
        self
    }
}

impl IntoAxes for RangeFull {
    fn into_axes(self) -> Axes {
        Axes { chosen: None, keep_dims: false }
    }
}

impl IntoAxes for isize {
    fn into_axes(self) -> Axes {
        (&[self]).into_axes()
    }
}

impl IntoAxes for &[isize] {
    fn into_axes(self) -> Axes {
        Axes { chosen: Some(self.into()), keep_dims: false }
    }
}

impl<const N: usize> IntoAxes for [isize; N] {
    fn into_axes(self) -> Axes {
        self[..].into_axes()
    }
}

impl<const N: usize> IntoAxes for &[isize; N] {
    fn into_axes(self) -> Axes {
        self[..].into_axes()
    }
}

impl IntoAxes for Vec<isize> {
    fn into_axes(self) -> Axes {
        self[..].into_axes()
    }
}

impl IntoAxes for &Vec<isize> {
    fn into_axes(self) -> Axes {
        self[..].into_axes()
    }
}
