//! Images of another size: which positions of the old one each position of the new one sees, and with which weights.

use super::window::LARGEST;
use super::{ArithmeticOps, CastOps, GatherOps, Value};
use crate::{DType, Error, Result, Tensor};
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
fn along<V: ResizeOps>(x: &V, axis: isize, seen: &[Vec<(usize, f64)>]) -> Result<V> {
    let most = seen.iter().map(Vec::len).max().unwrap_or(0);
    let mut sum: Option<V> = None;
    for tap in 0..most {
        // Positions that see less than others see their last once more, and do not count it.
        let place = |seen: &Vec<(usize, f64)>| seen[tap.min(seen.len() - 1)].0 as i64;
        let places = Tensor::from_vec(seen.iter().map(place).collect::<Vec<_>>(), seen.len())?;
        let mut part = x.index_select(axis, &x.beside(places)?)?;
        let weights: Vec<f64> = seen.iter().map(|seen| seen.get(tap).map_or(0.0, |tap| tap.1)).collect();
        if weights.iter().any(|&weight| weight != 1.0) {
            let dims = if axis == 1 { [seen.len(), 1, 1] } else { [1, seen.len(), 1] };
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
