//! Pools as methods.

use super::cpu::Divisor;
use super::{AveragePool2d, MaxPool2d, Pool1dOptions, Pool2dOptions, Pool3dOptions, PoolOptions, Window2d, volumes};
use crate::ops::window::reach;
use crate::ops::{Apply, CastOps, Value, ViewOps};
use crate::{DType, Error, Result};
use std::panic::Location;

/// Pools over windows. An input without the first dimension is a batch of one, and its result has none either.
pub trait PoolOps: Value + ViewOps + CastOps + Apply<MaxPool2d> + Apply<AveragePool2d> {
    /// The largest element of each window; NaN wins, and of equal elements the first gets the gradient. Integers stay
    /// integers, exact up to 2⁵³.
    ///
    /// # Shapes
    /// Images `[N, H, W, C]` give `[N, OH, OW, C]`; with channels first, `[N, C, H, W]` give `[N, C, OH, OW]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).reshape([1, 2, 3, 1])?;
    /// assert_eq!(x.max_pool2d(&Pool2dOptions::new([2, 2]).stride([1, 1]))?.to_vec::<f64>()?, [5.0, 6.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// No images; a window that does not fit them; a window or stride of 0; padding as large as the window.
    #[track_caller]
    fn max_pool2d(&self, options: &Pool2dOptions) -> Result<Self> {
        let at = Location::caller();
        let pooled = batched::<_, 2, _>(self, |x| largest(x, options).map(|[y, _]| [y]));
        pooled.map(|[y]| y).map_err(|e| e.unplaced().at(at))
    }

    /// [`PoolOps::max_pool2d`] and the position `h · W + w` of each element in its image, as `i64`; -1 where a dilated
    /// window has no element.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn max_pool2d_with_indices(&self, options: &Pool2dOptions) -> Result<(Self, Self)> {
        let at = Location::caller();
        let pooled = batched::<_, 2, _>(self, |x| {
            let [y, positions] = largest(x, options)?;
            Ok([y, Self::constant(crate::Tensor::cast(positions.tensor(), DType::I64)?)])
        });
        pooled.map(|[y, positions]| (y, positions)).map_err(|e| e.unplaced().at(at))
    }

    /// The mean of each window. Padding does not count, unless
    /// [`count_include_pad`](super::PoolOptions::count_include_pad) says so.
    ///
    /// # Shapes
    /// As [`PoolOps::max_pool2d`].
    ///
    /// # Errors
    /// As there; a dilation; a divisor of 0.
    #[track_caller]
    fn average_pool2d(&self, options: &Pool2dOptions) -> Result<Self> {
        let at = Location::caller();
        let divisor = match (options.divisor, options.count_include_pad) {
            (Some(number), _) => Divisor::Fixed(number),
            (None, true) => Divisor::Padded,
            (None, false) => Divisor::Valid,
        };
        let pooled = batched::<_, 2, _>(self, |x| {
            let (x, window) = operand("average_pool2d", x, options)?;
            Ok([channels_back(Self::apply_one(AveragePool2d { window, divisor }, &[&x])?, options)?])
        });
        pooled.map(|[y]| y).map_err(|e| e.unplaced().at(at))
    }

    /// [`PoolOps::max_pool2d`] along one dimension.
    ///
    /// # Shapes
    /// Sequences `[N, L, C]` give `[N, OL, C]`; with channels first, `[N, C, L]` give `[N, C, OL]`.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn max_pool1d(&self, options: &Pool1dOptions) -> Result<Self> {
        let at = Location::caller();
        let pooled = batched::<_, 1, _>(self, |x| {
            let (x, axis) = as_images("max_pool1d", x, options)?;
            Ok([x.max_pool2d(&options.flat())?.squeeze(axis)?])
        });
        pooled.map(|[y]| y).map_err(|e| e.renamed("max_pool2d", "max_pool1d").unplaced().at(at))
    }

    /// [`PoolOps::max_pool1d`] and the position of each element in its sequence, as `i64`.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn max_pool1d_with_indices(&self, options: &Pool1dOptions) -> Result<(Self, Self)> {
        let at = Location::caller();
        let pooled = batched::<_, 1, _>(self, |x| {
            let (x, axis) = as_images("max_pool1d", x, options)?;
            let (y, positions) = x.max_pool2d_with_indices(&options.flat())?;
            Ok([y.squeeze(axis)?, positions.squeeze(axis)?])
        });
        let pooled = pooled.map(|[y, positions]| (y, positions));
        pooled.map_err(|e| e.renamed("max_pool2d", "max_pool1d").unplaced().at(at))
    }

    /// [`PoolOps::average_pool2d`] along one dimension.
    ///
    /// # Shapes
    /// As [`PoolOps::max_pool1d`].
    ///
    /// # Errors
    /// As [`PoolOps::average_pool2d`].
    #[track_caller]
    fn average_pool1d(&self, options: &Pool1dOptions) -> Result<Self> {
        let at = Location::caller();
        let pooled = batched::<_, 1, _>(self, |x| {
            let (x, axis) = as_images("average_pool1d", x, options)?;
            Ok([x.average_pool2d(&options.flat())?.squeeze(axis)?])
        });
        pooled.map(|[y]| y).map_err(|e| e.renamed("average_pool2d", "average_pool1d").unplaced().at(at))
    }

    /// [`PoolOps::max_pool2d`] of volumes: the largest element of each box. The largest of a box is the largest over its
    /// depths of the largest in each.
    ///
    /// # Shapes
    /// Volumes `[N, D, H, W, C]` give `[N, OD, OH, OW, C]`; with channels first, `[N, C, D, H, W]` give
    /// `[N, C, OD, OH, OW]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([1.0, 2.0, 3.0, 4.0, 9.0, 6.0, 7.0, 8.0]).reshape([1, 2, 2, 2, 1])?;
    /// assert_eq!(x.max_pool3d(&Pool3dOptions::new([2, 2, 1]))?.to_vec::<f64>()?, [9.0, 8.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn max_pool3d(&self, options: &Pool3dOptions) -> Result<Self> {
        let at = Location::caller();
        let pooled = batched::<_, 3, _>(self, |x| Ok([volumes::max(x, options)?]));
        pooled.map(|[y]| y).map_err(|e| e.renamed("max_pool2d", "max_pool3d").unplaced().at(at))
    }

    /// [`PoolOps::max_pool3d`] and the position `(d · H + h) · W + w` of each element in its volume, as `i64`; -1 where a
    /// dilated window has no element.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn max_pool3d_with_indices(&self, options: &Pool3dOptions) -> Result<(Self, Self)> {
        let at = Location::caller();
        let pooled = batched::<_, 3, _>(self, |x| volumes::max_with_indices(x, options).map(|(y, at)| [y, at]));
        pooled.map(|[y, positions]| (y, positions)).map_err(|e| e.renamed("max_pool2d", "max_pool3d").unplaced().at(at))
    }

    /// [`PoolOps::average_pool2d`] of volumes: the mean of each box, which is the mean over its depths of the means in each.
    ///
    /// # Shapes
    /// As [`PoolOps::max_pool3d`].
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([1.0, 2.0, 3.0, 4.0, 9.0, 6.0, 7.0, 8.0]).reshape([1, 2, 2, 2, 1])?;
    /// assert_eq!(x.average_pool3d(&Pool3dOptions::new([2, 2, 1]))?.to_vec::<f64>()?, [5.0, 5.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`PoolOps::average_pool2d`].
    #[track_caller]
    fn average_pool3d(&self, options: &Pool3dOptions) -> Result<Self> {
        let at = Location::caller();
        let pooled = batched::<_, 3, _>(self, |x| Ok([volumes::average(x, options)?]));
        pooled.map(|[y]| y).map_err(|e| e.renamed("average_pool2d", "average_pool3d").unplaced().at(at))
    }
}
impl<V: Value + ViewOps + CastOps + Apply<MaxPool2d> + Apply<AveragePool2d>> PoolOps for V {}

pub(super) const ALONE: &str = "of a single input the first dimension can be left out";

/// A pool of a batch, or of a lone input, which is a batch of one.
pub(super) fn batched<V: ViewOps, const N: usize, const OUT: usize>(
    x: &V,
    pool: impl FnOnce(&V) -> Result<[V; OUT]>,
) -> Result<[V; OUT]> {
    if Value::shape(x).rank() != N + 1 {
        return pool(x);
    }
    let y = pool(&x.unsqueeze(0)?)?;
    let y = y.iter().map(|y| y.squeeze(0)).collect::<Result<Vec<_>>>()?;
    Ok(y.try_into().unwrap_or_else(|_| unreachable!("as many as there were")))
}

/// The largest element of each window of images, and its position as `i32`.
fn largest<V: ViewOps + CastOps + Apply<MaxPool2d>>(x: &V, options: &Pool2dOptions) -> Result<[V; 2]> {
    // In doubles integers are compared exactly as far as these hold them.
    let wide = if Value::dtype(x).is_float() { x.clone() } else { x.cast(DType::F64)? };
    let (wide, window) = operand("max_pool2d", &wide, options)?;
    let Some([y, positions]) = V::apply_op(MaxPool2d { window }, &[&wide])?.into_array() else {
        unreachable!("a maximum pool has two outputs")
    };
    Ok([channels_back(y.cast(Value::dtype(x))?, options)?, channels_back(positions, options)?])
}

/// Images with channels last, and the windows.
fn operand<V: ViewOps + CastOps>(name: &str, x: &V, options: &Pool2dOptions) -> Result<(V, Window2d)> {
    let shape = *Value::shape(x);
    if shape.rank() != 4 {
        let order = if options.channels_first { "[N, C, H, W]" } else { "[N, H, W, C]" };
        let error = Error::shape(name, format!("needs images {order}, found {shape}"));
        return Err(error.help(ALONE));
    }
    let x = x.cast(Value::dtype(x).to_float())?;
    let x = if options.channels_first { x.permute(&[0, 2, 3, 1])? } else { x };
    let input = [Value::shape(&x)[1], Value::shape(&x)[2]];
    let PoolOptions { kernel, stride, dilation, .. } = *options;
    let padding = options.padding.resolve(input, reach(kernel, dilation), stride);
    Ok((x, Window2d { kernel, stride, padding, dilation, ceil: options.ceil_mode }))
}

fn channels_back<V: ViewOps>(y: V, options: &Pool2dOptions) -> Result<V> {
    if options.channels_first { y.permute(&[0, 3, 1, 2]) } else { Ok(y) }
}

/// Sequences as images of height 1, and the axis of that height.
fn as_images<V: ViewOps>(name: &str, x: &V, options: &Pool1dOptions) -> Result<(V, isize)> {
    if Value::shape(x).rank() != 3 {
        let order = if options.channels_first { "[N, C, L]" } else { "[N, L, C]" };
        let error = Error::shape(name, format!("needs sequences {order}, found {}", Value::shape(x)));
        return Err(error.help(ALONE));
    }
    let axis = if options.channels_first { 2 } else { 1 };
    Ok((x.unsqueeze(axis)?, axis))
}
