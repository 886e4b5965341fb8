//! Pools that are made of other operations: of windows that a wanted size decides, of powers, and back to where largest
//! elements were.

use super::{Pool1dOptions, Pool2dOptions, Pool3dOptions, PoolOps};
use crate::ops::resize::{along, stretch};
use crate::ops::window::{LARGEST, check_list};
use crate::ops::{Ops, ViewOps, keep};
use crate::{DType, Error, Result, Shape, Spec, Tensor};
use std::panic::Location;

/// Pools made of other operations. An input without the first dimension is a batch of one.
pub trait AdaptivePoolOps: Ops + PoolOps {
    /// The mean of each of the stretches that cover a dimension evenly, `size` of them, in each dimension. Where the lengths
    /// do not divide, neighbours share an element.
    ///
    /// # Shapes
    /// `[N, …, C]` with `N` dimensions between give `[N, size…, C]`; with channels first, `[N, C, …]` give `[N, C, size…]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([1.0, 2.0, 6.0]).reshape([1, 3, 1])?;
    /// assert_eq!(x.adaptive_average_pool([2], false)?.to_vec::<f64>()?, [1.5, 4.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Another rank; a dimension without elements that shall have some.
    #[track_caller]
    fn adaptive_average_pool<const N: usize>(&self, size: [usize; N], channels_first: bool) -> Result<Self> {
        let at = Location::caller();
        let pool = || {
            let first = space("adaptive_average_pool", Self::shape(self), size, channels_first)?;
            let dtype = Self::dtype(self).to_float();
            let mut y = self.cast(if dtype == DType::F64 { dtype } else { DType::F32 })?;
            for (i, &to) in size.iter().enumerate() {
                let from = Self::shape(&y)[first + i];
                let mean = |o: usize| {
                    let (start, end) = stretch(o, from, to);
                    (start..end).map(|at| (at, 1.0 / (end - start) as f64)).collect()
                };
                y = match to {
                    0 => y.slice((first + i) as isize, 0..0)?,
                    _ => along(&y, (first + i) as isize, &(0..to).map(mean).collect::<Vec<_>>())?,
                };
            }
            y.cast(dtype)
        };
        pool().map_err(|e: Error| e.within("adaptive_average_pool", at))
    }

    /// The largest element of each of the stretches of [`AdaptivePoolOps::adaptive_average_pool`]. NaN wins, and of equal
    /// elements the first gets the gradient.
    ///
    /// # Shapes
    /// As there.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn adaptive_max_pool<const N: usize>(&self, size: [usize; N], channels_first: bool) -> Result<Self> {
        let at = Location::caller();
        largest(self, size, channels_first).map(|(y, _)| y).map_err(|e| e.within("adaptive_max_pool", at))
    }

    /// [`AdaptivePoolOps::adaptive_max_pool`] and the position of each element among those of its channel, as `i64`.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn adaptive_max_pool_with_indices<const N: usize>(
        &self,
        size: [usize; N],
        channels_first: bool,
    ) -> Result<(Self, Self)> {
        let at = Location::caller();
        largest(self, size, channels_first).map_err(|e| e.within("adaptive_max_pool", at))
    }

    /// Elements back at the places that a pool with indices found them at, in zeros of `size`. Of several at one place it is
    /// their mean: from one pool they are the same.
    ///
    /// # Shapes
    /// `[N, …, C]` and positions of that shape give `[N, size…, C]`; with channels first, `[N, C, …]` give `[N, C, size…]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([1.0, 5.0, 4.0, 3.0]).reshape([1, 4, 1])?;
    /// let (y, places) = x.max_pool1d_with_indices(&Pool1dOptions::new([2]))?;
    /// assert_eq!(y.max_unpool(&places, [4], false)?.to_vec::<f64>()?, [0.0, 5.0, 4.0, 0.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Positions of another shape, or beyond the size.
    #[track_caller]
    fn max_unpool<const N: usize>(&self, places: &Self, size: [usize; N], channels_first: bool) -> Result<Self> {
        let at = Location::caller();
        unpool(self, places, size, channels_first).map_err(|e| e.within("max_unpool", at))
    }

    /// The `p`-norm of each window, without taking magnitudes: `(Σ xᵖ)^(1/p)`, and 0 where the sum is negative. A window
    /// that reaches past the end counts as if it were full of its mean.
    ///
    /// # Shapes
    /// As [`PoolOps::average_pool1d`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn lp_pool1d(&self, p: f64, options: &Pool1dOptions) -> Result<Self> {
        let at = Location::caller();
        norm(self, p, &options.kernel, |x| x.average_pool1d(options)).map_err(|e| e.within("lp_pool1d", at))
    }

    /// [`AdaptivePoolOps::lp_pool1d`] of images.
    ///
    /// # Shapes
    /// As [`PoolOps::average_pool2d`].
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let x = Tensor::new([3.0, 4.0]).reshape([1, 1, 2, 1])?;
    /// assert_eq!(x.lp_pool2d(2.0, &Pool2dOptions::new([1, 2]))?.to_vec::<f64>()?, [5.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn lp_pool2d(&self, p: f64, options: &Pool2dOptions) -> Result<Self> {
        let at = Location::caller();
        norm(self, p, &options.kernel, |x| x.average_pool2d(options)).map_err(|e| e.within("lp_pool2d", at))
    }

    /// [`AdaptivePoolOps::lp_pool1d`] of volumes.
    ///
    /// # Shapes
    /// As [`PoolOps::average_pool3d`].
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn lp_pool3d(&self, p: f64, options: &Pool3dOptions) -> Result<Self> {
        let at = Location::caller();
        norm(self, p, &options.kernel, |x| x.average_pool3d(options)).map_err(|e| e.within("lp_pool3d", at))
    }
}
impl<V: Ops + PoolOps> AdaptivePoolOps for V {}

/// The first of the dimensions that are pooled, of a batch or of a lone input.
fn space<const N: usize>(name: &str, shape: &Shape, size: [usize; N], channels_first: bool) -> Result<usize> {
    let first = if channels_first { shape.rank().saturating_sub(N) } else { shape.rank().saturating_sub(N + 1) };
    if shape.rank() != N + 1 && shape.rank() != N + 2 {
        let text = format!("needs a batch with {N} dimensions and channels for {size:?}, found {shape}");
        return Err(Error::shape(name, text));
    }
    // Before there is a list of what each new element sees.
    if size.iter().any(|&length| length > LARGEST) {
        return Err(Error::shape(name, format!("{size:?} is no size: it has more elements than memory can hold")));
    }
    let result = (0..N).fold(*shape, |shape, i| shape.with(first + i, size[i]));
    check_list(name, Spec::new(result, DType::F32), size.into_iter().max().unwrap_or(0))?;
    match (0..N).find(|&i| shape[first + i] == 0 && size[i] > 0) {
        Some(i) => Err(Error::shape(name, format!("dimension {} of {shape} has no elements", first + i))),
        None => Ok(first),
    }
}

fn channels_before<V: Ops>(x: &V, space: usize, channels_first: bool) -> Result<V> {
    let rank = V::shape(x).rank();
    let moved = (0..rank - space - 1).chain([rank - 1]).chain(rank - space - 1..rank - 1);
    if channels_first { Ok(x.clone()) } else { x.permute(&moved.map(|axis| axis as isize).collect::<Vec<_>>()) }
}

fn channels_behind<V: Ops>(x: &V, space: usize, channels_first: bool) -> Result<V> {
    let rank = V::shape(x).rank();
    let moved = (0..rank - space - 1).chain(rank - space..rank).chain([rank - space - 1]);
    if channels_first { Ok(x.clone()) } else { x.permute(&moved.map(|axis| axis as isize).collect::<Vec<_>>()) }
}

/// Shorter stretches are filled up with their last element, which changes no first largest one.
fn largest<V: Ops, const N: usize>(x: &V, size: [usize; N], channels_first: bool) -> Result<(V, V)> {
    space("adaptive_max_pool", V::shape(x), size, channels_first)?;
    let x = channels_before(x, N, channels_first)?;
    let lead = V::shape(&x).rank() - N;
    let plane: [usize; N] = std::array::from_fn(|i| V::shape(&x)[lead + i]);
    let places = Tensor::arange(0, plane.iter().product::<usize>() as i64, 1)?.reshape(plane)?;
    let places = x.beside(places)?.expand(*V::shape(&x))?;
    let parted = |x: &V| {
        let mut y = x.clone();
        for i in (0..N).rev() {
            let stretches: Vec<_> = (0..size[i]).map(|o| stretch(o, plane[i], size[i])).collect();
            let longest = stretches.iter().map(|(start, end)| end - start).max().unwrap_or(1);
            let place = |&(start, end): &(usize, usize)| (start..start + longest).map(move |at| at.min(end - 1) as i64);
            let at: Vec<i64> = stretches.iter().flat_map(place).collect();
            let at = x.beside(Tensor::from_vec(at, size[i] * longest)?)?;
            let axis = (lead + i) as isize;
            y = y.index_select(axis, &at)?.unflatten(axis, &[size[i], longest])?;
        }
        // The elements of a window at the end, as one dimension.
        let order = (0..lead).chain((0..N).map(|i| lead + 2 * i)).chain((0..N).map(|i| lead + 2 * i + 1));
        y.permute(&order.map(|axis| axis as isize).collect::<Vec<_>>())?.flatten((lead + N) as isize, -1)
    };
    let (values, places) = (parted(&x)?, parted(&places)?);
    let chosen = values.argmax(keep(-1))?;
    let y = values.gather(-1, &chosen)?.squeeze(-1)?;
    let places = places.gather(-1, &chosen)?.squeeze(-1)?;
    Ok((channels_behind(&y, N, channels_first)?, channels_behind(&places, N, channels_first)?))
}

fn unpool<V: Ops, const N: usize>(x: &V, places: &V, size: [usize; N], channels_first: bool) -> Result<V> {
    let (from, shape) = (*V::shape(x), *V::shape(places));
    if from != shape || (from.rank() != N + 1 && from.rank() != N + 2) {
        let text = format!("needs elements and their positions in {N} dimensions, found {from} and {shape}");
        return Err(Error::shape("max_unpool", text));
    }
    let (x, places) = (channels_before(x, N, channels_first)?, channels_before(places, N, channels_first)?);
    let lead = V::shape(&x).rank() - N;
    let (x, places) = (x.flatten(lead as isize, -1)?, places.flatten(lead as isize, -1)?);
    let channels = Shape::from_slice(&V::shape(&x)[..lead]);
    let filled =
        |dims: Shape, value: f64| -> Result<V> { x.beside(Tensor::filled(Spec::new(dims, V::dtype(&x)), value)) };
    // The product is one of numbers that memory can hold.
    Shape::new(&[&channels[..], &size].concat())?;
    let zeros = filled(Shape::new(&[&channels[..], &[size.iter().product()]].concat())?, 0.0)?;
    let counts = zeros.scatter_add(-1, &places, &filled(*V::shape(&places), 1.0)?)?;
    let y = zeros.scatter_add(-1, &places, &x)?.div(&counts.maximum(1.0)?)?;
    channels_behind(&y.reshape([&channels[..], &size].concat())?, N, channels_first)
}

fn norm<V: Ops>(x: &V, p: f64, kernel: &[usize], pool: impl FnOnce(&V) -> Result<V>) -> Result<V> {
    if p.is_nan() || p == 0.0 {
        return Err(Error::argument("lp_pool", format!("there is no norm of order {p}")));
    }
    // Of doubles: whether a kernel fits is said by the pool.
    let count: f64 = kernel.iter().map(|&length| length as f64).product();
    // A window of zeros has no slope, where that of a power below 1 is infinite.
    let sum = pool(&x.pow(p)?)?.mul(count)?;
    let some = sum.gt(0.0)?;
    some.select(&some.select(&sum, 1.0)?.pow(1.0 / p)?, 0.0)
}
