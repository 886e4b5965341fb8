//! Intersections over unions: of what was predicted and what was right, class by class.

use super::Measure;
use super::confusion::{Labels, MOST_CLASSES, Table};
use super::macros::metrics;
use crate::range::Range;
use crate::{Error, Result};
use kiln_autograd::ops::prelude::*;
use kiln_autograd::{DType, Tensor};

metrics! {
    /// The mean over some classes of the intersection over the union, from class ids or rows of scores.
    ///
    /// A class that neither targets nor predictions have does not count. As in Keras the quotients are of single precision and have
    /// 10⁻⁷ added below, so that a perfect score is 0.9999999.
    ///
    /// ```
    /// use kiln_autograd::Tensor;
    /// use kiln_nn::metrics::{IoU, Metric};
    /// let mut iou = IoU::new().num_classes(3).target_class_ids(vec![0, 1]);
    /// iou.update(&Tensor::new([0, 0, 1, 2]), &Tensor::new([0, 1, 1, 2]), None)?;
    /// assert!((iou.result() - 0.5).abs() < 1e-6); // of both: one right, two in the union
    /// # Ok::<(), kiln_nn::Error>(())
    /// ```
    IoU "io_u" Max Table {
        /// Number of classes.
        num_classes: usize = 2 => 1..=MOST_CLASSES,
        /// The classes that count.
        target_class_ids: Vec<usize> = vec![0],
        /// A class whose samples do not count.
        ignore_class: Option<i64> = None,
        /// Whether targets are class ids, not rows.
        sparse_y_true: bool = true,
        /// Whether predictions are class ids, not rows.
        sparse_y_pred: bool = true,
    }
    /// [`IoU`] of two classes, from predictions between 0 and 1.
    BinaryIoU "binary_io_u" Max Table {
        /// The classes that count.
        target_class_ids: Vec<usize> = vec![0, 1],
        /// The smallest prediction that means 1.
        threshold: f64 = 0.5 => Range::Finite,
    }
    /// The mean of [`IoU`] over all classes.
    MeanIoU "mean_io_u" Max Table {
        /// Number of classes.
        num_classes: usize = 2 => 1..=MOST_CLASSES,
        /// A class whose samples do not count.
        ignore_class: Option<i64> = None,
        /// Whether targets are class ids, not rows.
        sparse_y_true: bool = true,
        /// Whether predictions are class ids, not rows.
        sparse_y_pred: bool = true,
    }
    /// [`IoU`] of one-hot targets.
    OneHotIoU "one_hot_io_u" Max Table {
        /// Number of classes.
        num_classes: usize = 2 => 1..=MOST_CLASSES,
        /// The classes that count.
        target_class_ids: Vec<usize> = vec![0],
        /// A class whose samples do not count.
        ignore_class: Option<i64> = None,
        /// Whether predictions are class ids, not rows.
        sparse_y_pred: bool = false,
    }
    /// [`MeanIoU`] of one-hot targets.
    OneHotMeanIoU "one_hot_mean_io_u" Max Table {
        /// Number of classes.
        num_classes: usize = 2 => 1..=MOST_CLASSES,
        /// A class whose samples do not count.
        ignore_class: Option<i64> = None,
        /// Whether predictions are class ids, not rows.
        sparse_y_pred: bool = false,
    }
}

/// The number that Keras adds to what it divides by.
const EPSILON: f32 = 1e-7;

/// The mean over some classes of what both sides share; over all of them where none are named.
fn mean(table: &Table, n: usize, classes: Option<&[usize]>) -> Vec<f64> {
    let cells = table.cells.to_vec_as::<f64>();
    // Before the first batch there is no table.
    let n = if n.checked_mul(n) == Some(cells.len()) { n } else { 0 };
    let cell = |row: usize, column: usize| cells[row * n + column];
    let share = |class: usize| {
        let both = cell(class, class);
        let either = (0..n).map(|other| cell(class, other) + cell(other, class)).sum::<f64>() - both;
        (either > 1e-9).then(|| both as f32 / (either as f32 + EPSILON))
    };
    let all: Vec<usize> = (0..n).collect();
    let shares: Vec<f32> =
        classes.unwrap_or(&all).iter().filter(|class| **class < n).filter_map(|&class| share(class)).collect();
    vec![f64::from(shares.iter().sum::<f32>() / (shares.len() as f32 + EPSILON))]
}

/// Refuses classes that are none.
fn check_ids(name: &str, ids: &[usize], classes: usize) -> Result<()> {
    match ids.iter().find(|id| **id >= classes) {
        None if ids.is_empty() => {
            Err(Error::config(format!("{name}: target_class_ids names no class"), "name at least one"))
        }
        None => Ok(()),
        Some(id) => {
            let text = format!("{name}: there is no class {id} among {classes}");
            Err(Error::config(text, format!("target_class_ids are from 0 to {}", classes - 1)))
        }
    }
}

impl Measure for IoU {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        check_ids(&self.name, &self.target_class_ids, self.num_classes)?;
        let t = Labels { x: y_true, are_ids: self.sparse_y_true };
        let p = Labels { x: y_pred, are_ids: self.sparse_y_pred };
        self.state.add(&self.name, self.num_classes, [t, p], weight, self.ignore_class)
    }

    fn report(&self) -> Vec<f64> {
        mean(&self.state, self.num_classes, Some(&self.target_class_ids))
    }
}

impl Measure for BinaryIoU {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        check_ids(&self.name, &self.target_class_ids, 2)?;
        let y_pred = y_pred.ge(self.threshold)?.cast(DType::I64)?;
        let labels = [y_true, &y_pred].map(|x| Labels { x, are_ids: true });
        self.state.add(&self.name, 2, labels, weight, None)
    }

    fn report(&self) -> Vec<f64> {
        mean(&self.state, 2, Some(&self.target_class_ids))
    }
}

impl Measure for MeanIoU {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let t = Labels { x: y_true, are_ids: self.sparse_y_true };
        let p = Labels { x: y_pred, are_ids: self.sparse_y_pred };
        self.state.add(&self.name, self.num_classes, [t, p], weight, self.ignore_class)
    }

    fn report(&self) -> Vec<f64> {
        mean(&self.state, self.num_classes, None)
    }
}

impl Measure for OneHotIoU {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        check_ids(&self.name, &self.target_class_ids, self.num_classes)?;
        let t = Labels { x: y_true, are_ids: false };
        let p = Labels { x: y_pred, are_ids: self.sparse_y_pred };
        self.state.add(&self.name, self.num_classes, [t, p], weight, self.ignore_class)
    }

    fn report(&self) -> Vec<f64> {
        mean(&self.state, self.num_classes, Some(&self.target_class_ids))
    }
}

impl Measure for OneHotMeanIoU {
    fn take_in(&mut self, y_true: &Tensor, y_pred: &Tensor, weight: Option<&Tensor>) -> Result<()> {
        let t = Labels { x: y_true, are_ids: false };
        let p = Labels { x: y_pred, are_ids: self.sparse_y_pred };
        self.state.add(&self.name, self.num_classes, [t, p], weight, self.ignore_class)
    }

    fn report(&self) -> Vec<f64> {
        mean(&self.state, self.num_classes, None)
    }
}
