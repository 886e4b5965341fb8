//! Data: samples and targets in memory, and the files they are read from, one format a file. Downloads nothing.

pub mod cifar;
mod class_weight;
mod columns;
pub mod csv;
mod dataset;
mod feed;
pub mod idx;
mod stream;

pub(crate) use class_weight::batch_weights;
pub use class_weight::{ClassWeight, IntoClassWeight};
pub use dataset::{Batch, Dataset, Inputs, IntoTensors};
pub use feed::BatchSource;
pub(crate) use feed::{Feed, Kind, Place};
pub use stream::Stream;

use crate::error::{Error, Result};
use std::fs;
use std::path::Path;

/// An array as a file holds it: a shape and its elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct RawArray {
    shape: Vec<usize>,
    data: RawData,
}

/// The elements of a [`RawArray`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RawData {
    /// Bytes, such as pixels.
    U8(Vec<u8>),
    /// 32-bit integers (the 8- and 16-bit signed ones of IDX files too).
    I32(Vec<i32>),
    /// 64-bit integers, such as class labels.
    I64(Vec<i64>),
    /// Single-precision numbers.
    F32(Vec<f32>),
    /// Double-precision numbers.
    F64(Vec<f64>),
}

impl RawData {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl RawArray {
    /// An array of `shape` with the elements `data`.
    ///
    /// # Errors
    /// [`Error::Data`] where the number of elements is not the product of the shape.
    ///
    /// # Examples
    /// ```
    /// use kiln_train::data::{RawArray, RawData};
    /// let array = RawArray::new(vec![2, 3], RawData::U8(vec![1, 2, 3, 4, 5, 6]))?;
    /// assert_eq!(array.shape(), [2, 3]);
    /// assert!(RawArray::new(vec![2, 2], RawData::U8(vec![1, 2, 3])).is_err());
    /// # Ok::<(), kiln_train::Error>(())
    /// ```
    pub fn new(shape: Vec<usize>, data: RawData) -> Result<Self> {
        let wanted = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        if wanted != Some(data.len()) {
            return Err(Error::data(
                format!("RawArray: {} elements do not fill the shape {shape:?}", data.len()),
                "give as many elements as the product of the shape",
            ));
        }
        Ok(Self { shape, data })
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &RawData {
        &self.data
    }

    /// The shape and the elements, given away.
    pub fn into_parts(self) -> (Vec<usize>, RawData) {
        (self.shape, self.data)
    }
}

/// A whole file; for formats whose size is checked afterwards.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::io("read", path, source))
}
