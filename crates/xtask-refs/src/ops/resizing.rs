//! Resizing of images: along each dimension a product with a small matrix of weights, or a choice of positions.

use super::Row;
use super::call::{Call, filled, positions};
use crate::Stop;
use kiln::autograd::Var;
use kiln::autograd::ops::*;

pub(super) fn row(op: &str) -> Option<Row> {
    Some(match op {
        "nn.functional.interpolate.nearest" => |c| chosen(c, |o, scale| o as f64 * scale),
        "nn.functional.interpolate.nearest-exact" => |c| match resized(c, Resize::Nearest)? {
            Some(y) => Ok(vec![y]),
            None => chosen(c, |o, scale| (o as f64 + 0.5) * scale),
        },
        "nn.functional.interpolate.bilinear" => |c| match resized(c, Resize::Bilinear)? {
            Some(y) => Ok(vec![y]),
            None => weighted(c, linear),
        },
        "nn.functional.interpolate.linear" | "nn.functional.interpolate.trilinear" => |c| weighted(c, linear),
        "nn.functional.interpolate.bicubic" => |c| weighted(c, cubic),
        "nn.functional.interpolate.area" => |c| {
            let mut y = c.x()?;
            for (dim, size, _) in sizes(c)? {
                y = area(&y, dim, size)?;
            }
            Ok(vec![y])
        },
        _ => return None,
    })
}

/// Each spatial dimension with its new length, and input positions per output position.
fn sizes(c: &Call) -> Result<Vec<(usize, usize, f64)>, Stop> {
    let x = c.x()?;
    let given = c.ints("size")?;
    let spatial = x.shape().rank() - 2;
    let factors: Vec<f64> = match c.get("scale_factor") {
        Some(value) => crate::files::numbers(value).unwrap_or_default(),
        None => vec![],
    };
    let recompute = c.flag("recompute_scale_factor");
    Ok((0..spatial)
        .map(|i| {
            let input = x.shape()[2 + i];
            let factor = factors.get(i).or(factors.first()).copied();
            let size = match factor {
                Some(factor) => (input as f64 * factor).floor() as usize,
                None => given.get(i).or(given.first()).copied().unwrap_or(1) as usize,
            };
            // The factor counts as it was given, unless it is to be computed again from the rounded length.
            let scale = factor.filter(|_| !recompute).map_or(input as f64 / size as f64, |f| 1.0 / f);
            (2 + i, size, scale)
        })
        .collect())
}

/// Images of another size, where that and nothing else is asked for: this library knows no corners that stay and no factors
/// that differ from the sizes.
fn resized(c: &Call, method: Resize) -> Result<Option<Var>, Stop> {
    let x = c.x()?;
    let (&[(_, height, down), (_, width, across)], false, false) =
        (&sizes(c)?[..], c.flag("align_corners"), c.flag("antialias"))
    else {
        return Ok(None);
    };
    let is_own = |scale: f64, size: usize, dim: usize| (scale * size as f64 - x.shape()[dim] as f64).abs() < 1e-9;
    if !is_own(down, height, 2) || !is_own(across, width, 3) {
        return Ok(None);
    }
    let y = x.permute(&[0, 2, 3, 1])?.resize([height, width], method)?;
    Ok(Some(y.permute(&[0, 3, 1, 2])?))
}

fn chosen(c: &Call, position: fn(usize, f64) -> f64) -> Result<Vec<Var>, Stop> {
    let mut y = c.x()?;
    for (dim, size, scale) in sizes(c)? {
        let last = y.shape()[dim] - 1;
        // PyTorch computes positions in single precision.
        let at = (0..size).map(|o| (position(o, f64::from(scale as f32)) as f32).floor() as usize).map(|i| i.min(last));
        y = y.index_select(dim as isize, &positions(at)?)?;
    }
    Ok(vec![y])
}

/// The weights of an output position: input positions, which are clamped to those there are, and numbers.
type Weights = fn(f64, bool) -> Vec<(isize, f64)>;

fn linear(position: f64, aligned: bool) -> Vec<(isize, f64)> {
    let position = if aligned { position } else { position.max(0.0) };
    let part = position - position.floor();
    vec![(position.floor() as isize, 1.0 - part), (position.floor() as isize + 1, part)]
}

/// Cubic convolution with a = -0.75 (Keys 1981).
fn cubic(position: f64, _: bool) -> Vec<(isize, f64)> {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let t = position - position.floor();
    let first = position.floor() as isize - 1;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
        .into_iter()
        .enumerate()
        .map(|(i, w)| (first + i as isize, w))
        .collect()
}

fn weighted(c: &Call, weights: Weights) -> Result<Vec<Var>, Stop> {
    let mut y = c.x()?;
    let aligned = c.flag("align_corners");
    if c.flag("antialias") {
        return Stop::unsupported("interpolation with antialiasing");
    }
    for (dim, size, scale) in sizes(c)? {
        let input = y.shape()[dim];
        let mut matrix = vec![0.0; size * input];
        for o in 0..size {
            let position = match aligned {
                true if size > 1 => o as f64 * (input - 1) as f64 / (size - 1) as f64,
                true => 0.0,
                false => (o as f64 + 0.5) * scale - 0.5,
            };
            for (i, weight) in weights(position, aligned) {
                matrix[o * input + i.clamp(0, input as isize - 1) as usize] += weight;
            }
        }
        y = along(&y, dim, size, matrix)?;
    }
    Ok(vec![y])
}

/// The means over `size` stretches that cover a dimension: they share an end where lengths do not divide.
pub(super) fn area(x: &Var, dim: usize, size: usize) -> Result<Var, Stop> {
    let input = x.shape()[dim];
    let mut matrix = vec![0.0; size * input];
    for o in 0..size {
        let (start, end) = (o * input / size, ((o + 1) * input).div_ceil(size));
        matrix[o * input + start..o * input + end].fill(1.0 / (end - start) as f64);
    }
    along(x, dim, size, matrix)
}

/// A dimension multiplied by a matrix.
fn along(x: &Var, dim: usize, size: usize, matrix: Vec<f64>) -> Result<Var, Stop> {
    let matrix = filled(matrix, &[size, x.shape()[dim]], x)?;
    Ok(x.transpose(dim as isize, -1)?.matmul(&matrix.t()?)?.transpose(dim as isize, -1)?)
}
