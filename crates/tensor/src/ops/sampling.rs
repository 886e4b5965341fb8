//! Images looked at between their pixels, at positions that are numbers too: the grids of spatial transformers (Jaderberg et
//! al. 2015). Made of lookups of whole pixels and products, so that images and positions have gradients of any order.

use super::{CastOps, Ops};
use crate::tensor::room;
use crate::{DType, Error, Result, Shape, Spec, Tensor};
use std::panic::Location;

/// How [`SamplingOps::grid_sample`] makes up what lies between pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GridMode {
    /// The pixel whose centre is nearest; of two the one with an even number. Positions have no gradient then: where it is
    /// defined, it is 0.
    Nearest,
    /// The pixels around, by their distance, in each dimension.
    Linear,
    /// The four by four pixels around, by the cubic of Keys (1981) with `a = -3/4`; for images alone.
    Cubic,
}

/// What [`SamplingOps::grid_sample`] sees outside of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GridPadding {
    /// Zeros.
    Zeros,
    /// The nearest pixel of the border.
    Border,
    /// The image in a mirror that stands at its border, and that in the mirror at the other side, and so on.
    Reflection,
}

/// How an image is sampled. The default is linear, with zeros outside, -1 and 1 the outer edges of the first and last
/// pixels, and channels last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridSample {
    mode: GridMode,
    padding: GridPadding,
    align_corners: bool,
    channels_first: bool,
}

impl Default for GridSample {
    fn default() -> GridSample {
        GridSample { mode: GridMode::Linear, padding: GridPadding::Zeros, align_corners: false, channels_first: false }
    }
}

impl GridSample {
    /// The default.
    pub fn new() -> GridSample {
        GridSample::default()
    }

    /// What lies between pixels.
    #[must_use]
    pub fn mode(self, mode: GridMode) -> Self {
        Self { mode, ..self }
    }

    /// What lies outside.
    #[must_use]
    pub fn padding(self, padding: GridPadding) -> Self {
        Self { padding, ..self }
    }

    /// Whether -1 and 1 are the centres of the first and last pixels instead of their outer edges.
    #[must_use]
    pub fn align_corners(self, align_corners: bool) -> Self {
        Self { align_corners, ..self }
    }

    /// Channels before the dimensions of space: PyTorch's order. Each change of order costs a copy.
    #[must_use]
    pub fn channels_first(self) -> Self {
        Self { channels_first: true, ..self }
    }
}

/// Images looked at between their pixels.
pub trait SamplingOps: Ops {
    /// What the images show at the positions of a grid: the last dimension of the grid is a position `(x, y)`, or `(x, y, z)`
    /// in volumes, with -1 at the left, top and front end of an image and 1 at the other.
    ///
    /// # Shapes
    /// Images `[N, H, W, C]` and a grid `[N, OH, OW, 2]` give `[N, OH, OW, C]`; volumes `[N, D, H, W, C]` and a grid
    /// `[N, OD, OH, OW, 3]` give `[N, OD, OH, OW, C]`. With [`channels_first`](GridSample::channels_first) images and result
    /// have the channels in dimension 1.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let row = Tensor::new([1.0, 5.0]).reshape([1, 1, 2, 1])?;
    /// let grid = Tensor::new([[0.0, 0.0], [-0.5, 0.0], [0.0, 2.0]]).reshape([1, 1, 3, 2])?;
    /// assert_eq!(row.grid_sample(&grid, &GridSample::new())?.to_vec::<f64>()?, [3.0, 1.0, 0.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// No images or volumes, or such without pixels; a grid of another number of images or dimensions; cubic volumes.
    #[track_caller]
    fn grid_sample(&self, grid: &Self, options: &GridSample) -> Result<Self> {
        let at = Location::caller();
        sample(self, grid, *options).map_err(|e| e.within("grid_sample", at))
    }

    /// The grid that [`SamplingOps::grid_sample`] turns, scales and moves images with: of the position of each new pixel and a
    /// 1 the product with a matrix.
    ///
    /// # Shapes
    /// Matrices `[N, 2, 3]` and the size `[H, W]` of new images give `[N, H, W, 2]`; `[N, 3, 4]` and `[D, H, W]` give
    /// `[N, D, H, W, 3]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let mirror = Tensor::new([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).unsqueeze(0)?;
    /// assert_eq!(mirror.affine_grid(&[1, 2], true)?.to_vec::<f64>()?, [1.0, 0.0, -1.0, 0.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Matrices of another shape.
    #[track_caller]
    fn affine_grid(&self, size: &[usize], align_corners: bool) -> Result<Self> {
        let at = Location::caller();
        affine(self, size, align_corners).map_err(|e| e.within("affine_grid", at))
    }
}
impl<V: Ops> SamplingOps for V {}

/// One of the pixels that a position sees along a dimension.
struct Tap<V> {
    /// Which one, as an `i64` inside of the dimension.
    place: V,
    /// How much it counts; a lone one counts whole.
    weight: Option<V>,
}

fn sample<V: Ops>(x: &V, grid: &V, options: GridSample) -> Result<V> {
    let dtype = V::dtype(x).promote(V::dtype(grid)).to_float();
    // Positions between 65504 pixels of half precision would be few.
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let rank = V::shape(x).rank() as isize;
    let space = (rank - 2).max(0) as usize;
    let images = if options.channels_first && rank > 2 {
        x.permute(&[0].into_iter().chain(2..rank).chain([1]).collect::<Vec<_>>())?
    } else {
        x.clone()
    };
    let (shape, wanted) = (*V::shape(&images), *V::shape(grid));
    let fits = (4..=5).contains(&rank)
        && wanted.rank() == shape.rank()
        && wanted[0] == shape[0]
        && wanted[space + 1] == space
        && !shape[1..=space].contains(&0);
    if !fits {
        let order = if options.channels_first { "[N, C, H, W]" } else { "[N, H, W, C]" };
        let text = format!("needs images {order} and a grid [N, OH, OW, 2], found {} and {wanted}", V::shape(x));
        return Err(Error::shape("grid_sample", text)
            .help("of volumes, images have a dimension more and positions a number more"));
    }
    if options.mode == GridMode::Cubic && space != 2 {
        return Err(Error::argument("grid_sample", "cubic interpolation is for images, not for volumes"));
    }
    let (images, grid) = (images.cast(wide)?, grid.cast(wide)?);
    let axes = (0..space).map(|i| taps(&grid.index(-1, (space - 1 - i) as isize)?, shape[i + 1], options));
    let axes = axes.collect::<Result<Vec<_>>>()?;

    let [count, channels] = [shape[..=space].iter().product(), shape[space + 1]];
    let pixels = images.reshape([count, channels])?;
    let first: Vec<i64> = (0..shape[0] as i64).collect();
    let numbers = grid.beside(Tensor::from_vec(first, [&shape[..1], &vec![1; space]].concat())?)?;
    let mut sum: Option<V> = None;
    let combinations: usize = axes.iter().map(Vec::len).product();
    for mut combination in 0..combinations {
        let (mut place, mut weight) = (numbers.clone(), None::<V>);
        for (taps, length) in axes.iter().zip(&shape[1..]) {
            let tap = &taps[combination % taps.len()];
            combination /= taps.len();
            place = place.mul(*length as i64)?.add(&tap.place)?;
            weight = match (weight, &tap.weight) {
                (Some(all), Some(one)) => Some(all.mul(one)?),
                (all, one) => all.or(one.clone()),
            };
        }
        let mut part = pixels.rows(&place)?;
        if let Some(weight) = weight {
            part = part.mul(&weight.unsqueeze(-1)?)?;
        }
        sum = Some(if let Some(sum) = sum { sum.add(&part)? } else { part });
    }
    let Some(y) = sum else { unreachable!("each position sees a pixel") };
    let y = y.cast(dtype)?;
    if !options.channels_first {
        return Ok(y);
    }
    y.permute(&[0, rank - 1].into_iter().chain(1..rank - 1).collect::<Vec<_>>())
}

/// What positions between -1 and 1 see of a dimension of `length` pixels.
fn taps<V: Ops>(position: &V, length: usize, options: GridSample) -> Result<Vec<Tap<V>>> {
    let size = length as f64;
    let x = match options.align_corners {
        true => position.add(1.0)?.mul((size - 1.0) / 2.0)?,
        false => position.add(1.0)?.mul(size)?.sub(1.0)?.mul(0.5)?,
    };
    // Cubic weights are those of the position as it is, and what lies outside is looked for pixel by pixel.
    let x = if options.mode == GridMode::Cubic { x } else { inside(&x, size, options)? };
    if options.mode == GridMode::Nearest {
        return Ok(vec![tap(&x.detach().round()?, None, size, options)?]);
    }
    let below = x.detach().floor()?;
    let part = x.sub(&below)?;
    if options.mode == GridMode::Linear {
        let before = part.neg()?.add(1.0)?;
        return Ok(vec![tap(&below, Some(before), size, options)?, tap(&below.add(1.0)?, Some(part), size, options)?]);
    }
    let rest = part.neg()?.add(1.0)?;
    let weights = [far(&part.add(1.0)?)?, near(&part)?, near(&rest)?, far(&rest.add(1.0)?)?];
    let place = |i: usize| -> Result<V> { inside(&below.add(i as f64 - 1.0)?, size, options) };
    weights.into_iter().enumerate().map(|(i, weight)| tap(&place(i)?, Some(weight), size, options)).collect()
}

/// The cubic with `a = -3/4` below a distance of 1.
fn near<V: Ops>(d: &V) -> Result<V> {
    d.mul(1.25)?.sub(2.25)?.mul(&d.square()?)?.add(1.0)
}

/// And from there on.
fn far<V: Ops>(d: &V) -> Result<V> {
    d.mul(-0.75)?.add(3.75)?.mul(d)?.sub(6.0)?.mul(d)?.add(3.0)
}

/// A pixel, which does not count where it is none.
fn tap<V: Ops>(place: &V, weight: Option<V>, size: f64, options: GridSample) -> Result<Tap<V>> {
    let exists = place.ge(0.0)?.logical_and(&place.le(size - 1.0)?)?;
    let weight = match (options.padding, weight) {
        (GridPadding::Zeros, Some(weight)) => Some(exists.select(&weight, 0.0)?),
        (GridPadding::Zeros, None) => Some(exists.cast(V::dtype(place))?),
        (_, weight) => weight,
    };
    // The one after the last counts 0 where it is not outside of the image by its position.
    Ok(Tap { place: place.clamp(0.0, size - 1.0)?.cast(DType::I64)?, weight })
}

/// Positions outside of an image brought into it, unless there are zeros. At a border and beyond, positions do not matter.
fn inside<V: Ops>(x: &V, size: f64, options: GridSample) -> Result<V> {
    let x = match options.padding {
        GridPadding::Zeros => return Ok(x.clone()),
        GridPadding::Border => x.clone(),
        GridPadding::Reflection => {
            let (low, span) = if options.align_corners { (0.0, size - 1.0) } else { (-0.5, size) };
            if span == 0.0 {
                return x.mul(0.0);
            }
            let from = x.sub(low)?.abs()?;
            let times = from.detach().mul(1.0 / span)?.floor()?;
            let rest = from.sub(&times.mul(span)?)?;
            let is_even = times.remainder(2.0)?.lt(0.5)?;
            is_even.select(&rest, &rest.neg()?.add(span)?)?.add(low)?
        }
    };
    let last = size - 1.0;
    let within = x.gt(0.0)?.logical_and(&x.lt(last)?)?;
    within.select(&x, &x.detach().clamp(0.0, last)?)
}

fn affine<V: Ops>(theta: &V, size: &[usize], align_corners: bool) -> Result<V> {
    let (shape, space) = (*V::shape(theta), size.len());
    if !(2..=3).contains(&space) || shape.rank() != 3 || shape[1..] != [space, space + 1] {
        let text = format!("needs matrices [N, 2, 3] for images and [N, 3, 4] for volumes, found {shape} for {size:?}");
        return Err(Error::shape("affine_grid", text));
    }
    let dtype = V::dtype(theta).to_float();
    let place = |i: usize, length: usize| match align_corners {
        true if length > 1 => 2.0 * i as f64 / (length - 1) as f64 - 1.0,
        true => 0.0,
        false => (2 * i + 1) as f64 / length as f64 - 1.0,
    };
    let count = Shape::new(size)?.count();
    let of_positions = Spec::new(Shape::new(&[count, space + 1])?, DType::F64);
    let mut positions = room("affine_grid", of_positions.shape.count(), of_positions)?;
    for mut flat in 0..count {
        for &length in size.iter().rev() {
            positions.push(place(flat % length, length));
            flat /= length;
        }
        positions.push(1.0);
    }
    let positions = theta.beside(Tensor::from_vec(positions, [count, space + 1])?.cast(dtype)?)?;
    let grid = positions.matmul(&theta.cast(dtype)?.transpose(-1, -2)?)?;
    grid.reshape([&shape[..1], size, &[space]].concat())
}
