//! Pools over volumes: one over the images at each depth, then one over the depths. Largest elements and means of boxes
//! come apart so, means at the edges too, for what a box covers there is a box as well.

use super::ops::Walk;
use super::{Pool1dOptions, Pool2dOptions, Pool3dOptions, PoolOps, PoolOptions};
use crate::ops::window::reach;
use crate::ops::{ArithmeticOps, ComparisonOps, GatherOps, SelectOps, Value, ViewOps};
use crate::{Error, Result};

/// The largest element of each box.
pub(super) fn max<V: PoolOps>(x: &V, options: &Pool3dOptions) -> Result<V> {
    let (x, depths, images) = operand("max_pool3d", x, options)?;
    pool(&x, options, |x| x.max_pool2d(&images), |x| x.max_pool1d(&depths))
}

/// The mean of each box.
pub(super) fn average<V: PoolOps>(x: &V, options: &Pool3dOptions) -> Result<V> {
    let (x, depths, images) = operand("average_pool3d", x, options)?;
    pool(&x, options, |x| x.average_pool2d(&images), |x| x.average_pool1d(&depths))
}

/// The largest element of each box, and where it stands in its volume.
pub(super) fn max_with_indices<V: PoolOps>(x: &V, options: &Pool3dOptions) -> Result<(V, V)> {
    let (x, depths, images) = operand("max_pool3d", x, options)?;
    let plane = (Value::shape(&x)[2] * Value::shape(&x)[3]) as i64;
    let mut places = None;
    let over_images = |x: &V| {
        let (y, at) = x.max_pool2d_with_indices(&images)?;
        places = Some(at.tensor().clone());
        Ok(y)
    };
    let mut positions = None;
    let over_depths = |x: &V| {
        let (y, at) = x.max_pool1d_with_indices(&depths)?;
        positions = Some(at.tensor().clone());
        Ok(y)
    };
    let y = pool(&x, options, over_images, over_depths)?;
    let (Some(places), Some(depth)) = (places, positions) else { unreachable!("both pools have run") };
    // Of the chosen depth, the place in its image.
    let places = places.reshape([Value::shape(&x)[0], Value::shape(&x)[1], Value::shape(&depth)[2]])?;
    let place = places.gather(1, &depth.maximum(0)?)?;
    let nowhere = depth.lt(0)?.logical_or(&place.lt(0)?)?;
    let position = nowhere.select(-1, &place.add(&depth.mul(plane)?)?)?;
    let last: [usize; 5] = std::array::from_fn(|i| Value::shape(&y)[channels_last(options)[i]]);
    let position = V::constant(position.reshape(last)?);
    Ok((y, channels_back(position, options)?))
}

/// Both pools of `[N, D, H, W, C]`, one after the other, in the order of dimensions that was asked for.
fn pool<V: PoolOps>(
    x: &V,
    options: &Pool3dOptions,
    over_images: impl FnOnce(&V) -> Result<V>,
    over_depths: impl FnOnce(&V) -> Result<V>,
) -> Result<V> {
    let [n, depth, height, width, channels] = std::array::from_fn(|i| Value::shape(x)[i]);
    let y = over_images(&x.reshape([n * depth, height, width, channels])?)?;
    let [height, width] = [1, 2].map(|i| Value::shape(&y)[i]);
    // All of an image counts as channels of a sequence of depths.
    let y = over_depths(&y.reshape([n, depth, height * width * channels])?)?;
    let y = y.reshape([n, Value::shape(&y)[1], height, width, channels])?;
    channels_back(y, options)
}

/// Where the dimensions `[N, D, H, W, C]` stand in what the caller gave.
fn channels_last(options: &Pool3dOptions) -> [usize; 5] {
    if options.channels_first { [0, 2, 3, 4, 1] } else { [0, 1, 2, 3, 4] }
}

fn channels_back<V: PoolOps>(y: V, options: &Pool3dOptions) -> Result<V> {
    if options.channels_first { y.permute(&[0, 4, 1, 2, 3]) } else { Ok(y) }
}

/// Volumes with channels last, and the pools over depths and over images.
fn operand<V: PoolOps>(name: &str, x: &V, options: &Pool3dOptions) -> Result<(V, Pool1dOptions, Pool2dOptions)> {
    let shape = *Value::shape(x);
    if shape.rank() != 5 {
        let order = if options.channels_first { "[N, C, D, H, W]" } else { "[N, D, H, W, C]" };
        let error = Error::shape(name, format!("needs volumes {order}, found {shape}"));
        return Err(error.help(super::surface::ALONE));
    }
    let x = if options.channels_first { x.permute(&[0, 2, 3, 4, 1])? } else { x.clone() };
    let PoolOptions { kernel, stride, dilation, .. } = *options;
    let input: [usize; 3] = std::array::from_fn(|i| Value::shape(&x)[i + 1]);
    let padding = options.padding.resolve(input, reach(kernel, dilation), stride);
    Walk { kernel, stride, padding, dilation }.check(name, *Value::shape(&x))?;
    let (depths, images) = options.parted(padding);
    Ok((x, depths, images))
}
