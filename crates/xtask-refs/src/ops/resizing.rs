//! Images of another size, and images sampled at positions.

use super::Row;
use super::call::{Call, one};
use crate::Stop;
use kiln::autograd::Var;
use kiln::autograd::ops::*;

pub(super) fn row(op: &str) -> Option<Row> {
    Some(match op.strip_prefix("nn.functional.")? {
        "interpolate.nearest" => |c| resized(c, InterpolateMode::Nearest),
        "interpolate.nearest-exact" => |c| resized(c, InterpolateMode::NearestExact),
        "interpolate.linear" | "interpolate.bilinear" | "interpolate.trilinear" => {
            |c| resized(c, InterpolateMode::Linear)
        }
        "interpolate.bicubic" => |c| resized(c, InterpolateMode::Cubic),
        "interpolate.area" => |c| resized(c, InterpolateMode::Area),
        "upsample_nearest" => |c| resized(c, InterpolateMode::Nearest),
        "upsample_bilinear" => |c| resized(c, InterpolateMode::Linear),
        "grid_sample" => sampled,
        "affine_grid" => |c| {
            let size: Vec<usize> = c.ints("size")?.into_iter().skip(2).map(|n| n as usize).collect();
            one(c.var("theta")?.affine_grid(&size, c.flag("align_corners")))
        },
        _ => return None,
    })
}

fn resized(c: &Call, mode: InterpolateMode) -> Result<Vec<Var>, Stop> {
    let x = c.x()?;
    let spatial = x.shape().rank() - 2;
    // A single number counts for each dimension.
    let each = |given: Vec<f64>| if given.len() == 1 { vec![given[0]; spatial] } else { given };
    let factors = each(c.get("scale_factor").and_then(crate::files::numbers).unwrap_or_default());
    let lengths = each(c.get("size").and_then(crate::files::numbers).unwrap_or_default());
    let lengths: Vec<usize> = lengths.into_iter().map(|n| n as usize).collect();
    let to = if factors.is_empty() { Interpolate::to(mode, &lengths) } else { Interpolate::by(mode, &factors) };
    let to = to.align_corners(c.flag("align_corners")).antialias(c.flag("antialias"));
    one(x.interpolate(&to.recompute_scale_factor(c.flag("recompute_scale_factor")).channels_first()))
}

fn sampled(c: &Call) -> Result<Vec<Var>, Stop> {
    let mode = match c.word("mode") {
        "nearest" => GridMode::Nearest,
        "bicubic" => GridMode::Cubic,
        _ => GridMode::Linear,
    };
    let padding = match c.word("padding_mode") {
        "border" => GridPadding::Border,
        "reflection" => GridPadding::Reflection,
        _ => GridPadding::Zeros,
    };
    let options = GridSample::new().mode(mode).padding(padding).align_corners(c.flag("align_corners"));
    one(c.x()?.grid_sample(&c.var("grid")?, &options.channels_first()))
}
