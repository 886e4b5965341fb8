//! Images of another size: which positions of the old one each position of the new one sees, and with which weights.

use super::window::{LARGEST, check_list};
use super::{ArithmeticOps, CastOps, GatherOps, Value};
use crate::{DType, Error, Result, Shape, Spec, Tensor};
use std::panic::Location;

/// How the pixels between pixels are made up. Pixels are squares around their centres, as in TensorFlow 2 and Keras 3: pixel
/// `i` of `m` new ones lies at `(i + 1/2) · n / m − 1/2` among `n` old ones. Nothing is smoothed before an image is made
/// smaller, except by `Area`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// The pixel `⌊(i + 1/2) · n / m⌋`. The element type stays.
    Nearest,
    /// The two pixels around, by their distance.
    Bilinear,
    /// Four pixels around, by the cubic of Keys (1981) with `a = -1/2`. (PyTorch has `a = -3/4`.)
    Bicubic,
    /// Six pixels around, by a windowed sine (Duchon 1979).
    Lanczos3,
    /// Ten pixels around.
    Lanczos5,
    /// The mean over what a new pixel covers.
    Area,
}

/// Resizing of images.
pub trait ResizeOps: Value + CastOps + GatherOps {
    /// The images with `size` rows and columns, as Keras's and TensorFlow's `image.resize` make them without antialiasing.
    /// Outside of an image there is nothing: at its edge the weights of the pixels that exist add up to 1.
    ///
    /// # Shapes
    /// Images `[N, H, W, C]` give `[N, size[0], size[1], C]`.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let row = Tensor::new([0.0, 4.0]).reshape([1, 1, 2, 1])?;
    /// assert_eq!(row.resize([1, 4], Resize::Bilinear)?.to_vec::<f64>()?, [0.0, 1.0, 3.0, 4.0]);
    /// assert_eq!(row.resize([2, 3], Resize::Nearest)?.to_vec::<f64>()?, [0.0, 4.0, 4.0, 0.0, 4.0, 4.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// No images; images without pixels; a size of 0.
    #[track_caller]
    fn resize(&self, size: [usize; 2], method: Resize) -> Result<Self> {
        let at = Location::caller();
        resized(self, size, method).map_err(|e| e.unplaced().at(at))
    }

    /// Sequences, images or volumes of another size, by PyTorch's conventions.
    ///
    /// # Shapes
    /// `[N, L, C]`, `[N, H, W, C]` or `[N, D, H, W, C]`, with other lengths between the first dimension and the last; with
    /// [`channels_first`](Interpolate::channels_first) the channels come before these.
    ///
    /// ```
    /// use kiln_tensor::{Tensor, ops::*};
    /// let row = Tensor::new([0.0, 4.0]).reshape([1, 2, 1])?;
    /// let wide = Interpolate::to(InterpolateMode::Linear, &[3]).align_corners(true);
    /// assert_eq!(row.interpolate(&wide)?.to_vec::<f64>()?, [0.0, 2.0, 4.0]);
    /// assert_eq!(row.interpolate(&Interpolate::by(InterpolateMode::Nearest, &[1.5]))?.to_vec::<f64>()?, [0.0, 0.0, 4.0]);
    /// # Ok::<(), kiln_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Another rank; not a length or factor for each dimension; a length of 0, before or after.
    #[track_caller]
    fn interpolate(&self, options: &Interpolate) -> Result<Self> {
        let at = Location::caller();
        interpolated(self, options).map_err(|e| e.within("interpolate", at))
    }
}
impl<V: Value + CastOps + GatherOps> ResizeOps for V {}

fn resized<V: ResizeOps>(x: &V, size: [usize; 2], method: Resize) -> Result<V> {
    let shape = *Value::shape(x);
    let &[_, height, width, _] = shape.dims() else {
        let error = Error::shape("resize", format!("needs images [N, H, W, C], found {shape}"));
        return Err(error.help("a single image needs a leading dimension: .unsqueeze(0)"));
    };
    if height == 0 || width == 0 {
        return Err(Error::shape("resize", format!("images {shape} have no pixels")));
    }
    if size.iter().any(|&length| length == 0 || length > LARGEST) {
        let text = format!("{size:?} is no size of images: it needs numbers of rows and columns");
        return Err(Error::argument("resize", text));
    }
    let dtype = if method == Resize::Nearest { Value::dtype(x) } else { Value::dtype(x).to_float() };
    let result = Spec::new(shape.with(1, size[0]).with(2, size[1]), dtype);
    check_list("resize", result, size[0].max(size[1]))?;
    // Sums of half precision are added up in single, and rounded once.
    let is_half = matches!(dtype, DType::F16 | DType::BF16) && method != Resize::Nearest;
    let mut y = x.cast(if is_half { DType::F32 } else { dtype })?;
    let mut axes = [(1, height, size[0]), (2, width, size[1])];
    // First the dimension that leaves less to do for the other.
    if size[0] * width > size[1] * height {
        axes.reverse();
    }
    for (axis, from, to) in axes {
        // At their own size all methods give the pixels themselves.
        if from != to {
            y = along(&y, axis, &method.weights(from, to))?;
        }
    }
    y.cast(dtype)
}

/// The sum over what each new position sees along an axis, times its weights.
pub(super) fn along<V: ResizeOps>(x: &V, axis: isize, seen: &[Vec<(usize, f64)>]) -> Result<V> {
    let most = seen.iter().map(Vec::len).max().unwrap_or(0);
    let mut sum: Option<V> = None;
    for tap in 0..most {
        // Positions that see less than others see their last once more, and do not count it.
        let place = |seen: &Vec<(usize, f64)>| seen[tap.min(seen.len() - 1)].0 as i64;
        let places = Tensor::from_vec(seen.iter().map(place).collect::<Vec<_>>(), seen.len())?;
        let mut part = x.index_select(axis, &x.beside(places)?)?;
        let weights: Vec<f64> = seen.iter().map(|seen| seen.get(tap).map_or(0.0, |tap| tap.1)).collect();
        if weights.iter().any(|&weight| weight != 1.0) {
            let dims = Shape::new(&vec![1; Value::shape(x).rank()])?.with(axis as usize, seen.len());
            let weights = Tensor::from_vec(weights, dims)?.cast(Value::dtype(x))?;
            part = part.mul(&x.beside(weights)?)?;
        }
        sum = Some(match sum {
            Some(sum) => sum.add(&part)?,
            None => part,
        });
    }
    Ok(sum.unwrap_or_else(|| unreachable!("there is a position, and it sees one")))
}

impl Resize {
    /// What each of `to` positions sees of `from`, and with which weights, whose sum is 1.
    fn weights(self, from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
        let scale = from as f64 / to as f64;
        let centre = |o: usize| (o as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let seen = |o: usize| match self {
            Resize::Nearest => vec![((2 * o + 1) * from / (2 * to), 1.0)],
            Resize::Bilinear => around(from, centre(o), 1.0, |d| 1.0 - d),
            Resize::Bicubic => around(from, centre(o), 2.0, cubic),
            Resize::Lanczos3 => around(from, centre(o), 3.0, |d| lanczos(d, 3.0)),
            Resize::Lanczos5 => around(from, centre(o), 5.0, |d| lanczos(d, 5.0)),
            Resize::Area => covered(from, o as f64 * scale, (o + 1) as f64 * scale),
        };
        (0..to).map(seen).collect()
    }
}

/// The positions no farther from a centre than `radius`, by a function of the distance.
fn around(count: usize, centre: f64, radius: f64, weight: impl Fn(f64) -> f64) -> Vec<(usize, f64)> {
    let first = (centre - radius).ceil().max(0.0) as usize;
    let last = ((centre + radius).floor() as usize).min(count - 1);
    normal((first..=last).map(|i| (i, weight((i as f64 - centre).abs()))).collect())
}

/// The positions between two places, by how much of each lies between them.
fn covered(count: usize, start: f64, end: f64) -> Vec<(usize, f64)> {
    let last = (end.ceil() as usize).min(count);
    let part = |i: usize| (i, end.min((i + 1) as f64) - start.max(i as f64));
    normal((start.floor() as usize..last).map(part).collect())
}

/// Without what does not count, and with a sum of 1.
fn normal(mut seen: Vec<(usize, f64)>) -> Vec<(usize, f64)> {
    seen.retain(|(_, weight)| weight.abs() > 1e-12);
    let sum: f64 = seen.iter().map(|(_, weight)| weight).sum();
    seen.iter_mut().for_each(|(_, weight)| *weight /= sum);
    seen
}

/// Cubic convolution (Keys 1981, "Cubic convolution interpolation for digital image processing") with `a = -1/2`.
fn cubic(distance: f64) -> f64 {
    let d = distance;
    if d < 1.0 { (1.5 * d - 2.5) * d * d + 1.0 } else { ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0 }
}

/// A sine through all other pixels, in a window that is a sine too.
fn lanczos(distance: f64, radius: f64) -> f64 {
    let angle = std::f64::consts::PI * distance;
    if distance == 0.0 { 1.0 } else { radius * angle.sin() * (angle / radius).sin() / (angle * angle) }
}

/// How [`ResizeOps::interpolate`] makes up what lies between elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterpolateMode {
    /// The element `⌊i · n / m⌋` for `i` of `m` new among `n` old ones. The element type stays.
    Nearest,
    /// The element `⌊(i + 1/2) · n / m⌋`. The element type stays.
    NearestExact,
    /// The two elements around, by their distance; in several dimensions one after the other (bilinear, trilinear).
    Linear,
    /// Four elements around, by the cubic of Keys (1981) with `a = -3/4`; with smoothing `a = -1/2`.
    Cubic,
    /// The mean of all elements that a new one covers in part.
    Area,
}

/// What [`ResizeOps::interpolate`] shall do. Elements are squares around their centres unless their corners are aligned, and
/// what lies beyond the ends is the last element.
///
/// ```
/// use kiln_tensor::ops::{InterpolateMode, Interpolate};
/// let options = Interpolate::to(InterpolateMode::Cubic, &[64, 64]).antialias(true).channels_first();
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Interpolate {
    mode: InterpolateMode,
    lengths: Vec<usize>,
    factors: Vec<f64>,
    align_corners: bool,
    antialias: bool,
    recompute: bool,
    channels_first: bool,
}

impl Interpolate {
    /// To these lengths.
    pub fn to(mode: InterpolateMode, lengths: &[usize]) -> Interpolate {
        let (lengths, factors) = (lengths.to_vec(), Vec::new());
        let (align_corners, antialias, recompute, channels_first) = (false, false, false, false);
        Interpolate { mode, lengths, factors, align_corners, antialias, recompute, channels_first }
    }

    /// To lengths that are so many times the present ones, rounded down. Positions are computed with the factors as they
    /// are.
    pub fn by(mode: InterpolateMode, factors: &[f64]) -> Interpolate {
        Interpolate { factors: factors.to_vec(), ..Interpolate::to(mode, &[]) }
    }

    /// Whether the first and last elements stay where they are, and the others lie evenly between (linear and cubic).
    #[must_use]
    pub fn align_corners(self, align_corners: bool) -> Self {
        Self { align_corners, ..self }
    }

    /// Whether what is made smaller is smoothed before (linear and cubic).
    #[must_use]
    pub fn antialias(self, antialias: bool) -> Self {
        Self { antialias, ..self }
    }

    /// Whether positions are computed with the quotient of the lengths instead of the factor that was given.
    #[must_use]
    pub fn recompute_scale_factor(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// Channels before the other dimensions: PyTorch's order.
    #[must_use]
    pub fn channels_first(self) -> Self {
        Self { channels_first: true, ..self }
    }

    /// What each new element sees along dimension `i` of those that change, of length `from`.
    fn seen(&self, i: usize, x: Spec, axis: usize) -> Result<Vec<Vec<(usize, f64)>>> {
        let from = x.shape[axis];
        let factor = self.factors.get(i).copied();
        let to = match factor {
            Some(factor) => (from as f64 * factor).floor() as usize,
            None => self.lengths[i],
        };
        if from == 0 || to == 0 || to > LARGEST {
            return Err(Error::argument(
                "interpolate",
                format!("a dimension of {from} elements cannot become one of {to}"),
            ));
        }
        check_list("interpolate", Spec::new(x.shape.with(axis, to), x.dtype), to)?;
        let scale = factor.filter(|_| !self.recompute).map_or(from as f64 / to as f64, |factor| 1.0 / factor);
        // PyTorch computes these positions in single precision.
        let nearest = |o: usize, shift: f32| vec![((((o as f32) + shift) * scale as f32).floor() as usize, 1.0)];
        let (aligned, last) = (self.align_corners, from - 1);
        let step = if aligned && to > 1 { last as f64 / (to - 1) as f64 } else { scale };
        let centre = |o: usize| match aligned {
            true if to > 1 => o as f64 * step,
            true => 0.0,
            false => (o as f64 + 0.5) * scale - 0.5,
        };
        let one = |o: usize| match (self.mode, self.antialias) {
            (InterpolateMode::Nearest, _) => nearest(o, 0.0),
            (InterpolateMode::NearestExact, _) => nearest(o, 0.5),
            (InterpolateMode::Area, _) => {
                let (start, end) = stretch(o, from, to);
                (start..end).map(|i| (i, 1.0 / (end - start) as f64)).collect()
            }
            (InterpolateMode::Linear, true) => smoothed(from, o, step, 1.0, |d| 1.0 - d),
            (InterpolateMode::Cubic, true) => smoothed(from, o, step, 2.0, cubic),
            (InterpolateMode::Linear, false) => taps(centre(o).max(0.0), &[|t| 1.0 - t, |t| t], 0),
            (InterpolateMode::Cubic, false) => {
                let curve = [|t| sharp(1.0 + t), |t| sharp(t), |t| sharp(1.0 - t), |t| sharp(2.0 - t)];
                taps(centre(o), &curve, -1)
            }
        };
        // What lies beyond the ends is the last element.
        let inside = |seen: Vec<(usize, f64)>| seen.into_iter().map(|(i, weight)| (i.min(last), weight)).collect();
        Ok((0..to).map(|o| inside(one(o))).collect())
    }
}

/// The elements around a position with the weights that functions make of how far it lies behind one; before the first
/// element is the first.
fn taps(position: f64, weights: &[fn(f64) -> f64], first: isize) -> Vec<(usize, f64)> {
    let (below, part) = (position.floor(), position - position.floor());
    let place = |i: usize| (below as isize + first + i as isize).max(0).unsigned_abs();
    weights.iter().enumerate().map(|(i, weight)| (place(i), weight(part))).collect()
}

/// The elements under a curve that is as many times wider as the new elements are.
fn smoothed(from: usize, o: usize, step: f64, radius: f64, weight: fn(f64) -> f64) -> Vec<(usize, f64)> {
    let (wide, centre) = (step.max(1.0), step * (o as f64 + 0.5));
    let reach = radius * wide;
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5) as usize).min(from);
    let distance = |i: usize| ((i as f64 - centre + 0.5) / wide).abs();
    let curve = |i: usize| if distance(i) < radius { weight(distance(i)) } else { 0.0 };
    let sum: f64 = (first..end).map(curve).sum();
    (first..end).map(|i| (i, if sum == 0.0 { 0.0 } else { curve(i) / sum })).collect()
}

/// Cubic convolution with `a = -3/4`.
fn sharp(distance: f64) -> f64 {
    let d = distance;
    if d < 1.0 { (1.25 * d - 2.25) * d * d + 1.0 } else { ((-0.75 * d + 3.75) * d - 6.0) * d + 3.0 }
}

/// The first element of stretch `o` of the `to` that cover `from` elements, and the one after its last: neighbours share an
/// element where lengths do not divide.
pub(super) fn stretch(o: usize, from: usize, to: usize) -> (usize, usize) {
    (o * from / to, ((o + 1) * from).div_ceil(to))
}

fn interpolated<V: ResizeOps>(x: &V, options: &Interpolate) -> Result<V> {
    let shape = *Value::shape(x);
    let given = options.lengths.len().max(options.factors.len());
    if !(3..=5).contains(&shape.rank()) || given + 2 != shape.rank() {
        let text = format!("{given} lengths or factors do not fit {shape}");
        let help = "give one for each dimension but the first and that of the channels";
        return Err(Error::shape("interpolate", text).help(help));
    }
    let whole = matches!(options.mode, InterpolateMode::Nearest | InterpolateMode::NearestExact);
    let dtype = if whole { Value::dtype(x) } else { Value::dtype(x).to_float() };
    let is_half = matches!(dtype, DType::F16 | DType::BF16) && !whole;
    let mut y = x.cast(if is_half { DType::F32 } else { dtype })?;
    let first = if options.channels_first { 2 } else { 1 };
    for i in 0..given {
        let seen = options.seen(i, y.tensor().spec(), first + i)?;
        // Where each sees itself alone there is nothing to do.
        if seen.len() != shape[first + i] || seen.iter().enumerate().any(|(o, seen)| seen[..] != [(o, 1.0)]) {
            y = along(&y, (first + i) as isize, &seen)?;
        }
    }
    y.cast(dtype)
}
