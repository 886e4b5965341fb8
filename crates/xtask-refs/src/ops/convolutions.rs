//! Convolutions and pools, in PyTorch's order of dimensions.

use super::Row;
use super::call::{Call, positions};
use super::shapes::windows;
use crate::Stop;
use kiln::autograd::ops::*;
use kiln::autograd::{DType, Var};

pub(super) fn row(op: &str) -> Option<Row> {
    Some(match op {
        "nn.functional.conv1d" => {
            |c| batched(c, 3, |c, x| Ok(vec![bias(c, x.conv1d(&c.var("weight")?, &options::<1>(c)?)?)?]))
        }
        "nn.functional.conv2d" => {
            |c| batched(c, 4, |c, x| Ok(vec![bias(c, x.conv2d(&c.var("weight")?, &options::<2>(c)?)?)?]))
        }
        "nn.functional.conv3d" => {
            |c| batched(c, 5, |c, x| Ok(vec![bias(c, x.conv3d(&c.var("weight")?, &options::<3>(c)?)?)?]))
        }
        "nn.functional.conv_transpose1d" => |c| {
            batched(c, 3, |c, x| {
                let [extra] = c.sizes("output_padding", [0])?;
                Ok(vec![bias(c, x.conv1d_transpose(&c.var("weight")?, &options::<1>(c)?, extra)?)?])
            })
        },
        "nn.functional.conv_transpose2d" => |c| {
            batched(c, 4, |c, x| {
                let extra = c.sizes("output_padding", [0; 2])?;
                Ok(vec![bias(c, x.conv2d_transpose(&c.var("weight")?, &options::<2>(c)?, extra)?)?])
            })
        },
        "nn.functional.conv_transpose3d" => |c| {
            batched(c, 5, |c, x| {
                let extra = c.sizes("output_padding", [0; 3])?;
                Ok(vec![bias(c, x.conv3d_transpose(&c.var("weight")?, &options::<3>(c)?, extra)?)?])
            })
        },
        "nn.functional.unfold" => |c| batched(c, 4, columns),
        "nn.functional.max_pool1d" => |c| {
            batched(c, 3, |c, x| {
                let (y, at) = x.max_pool1d_with_indices(&pool::<1>(c)?)?;
                Ok(if c.flag("return_indices") { vec![y, at] } else { vec![y] })
            })
        },
        "nn.functional.max_pool2d" => |c| {
            batched(c, 4, |c, x| {
                let (y, at) = x.max_pool2d_with_indices(&pool::<2>(c)?)?;
                Ok(if c.flag("return_indices") { vec![y, at] } else { vec![y] })
            })
        },
        "nn.functional.max_pool3d" => |c| {
            batched(c, 5, |c, x| {
                let (y, at) = x.max_pool3d_with_indices(&pool::<3>(c)?)?;
                Ok(if c.flag("return_indices") { vec![y, at] } else { vec![y] })
            })
        },
        "nn.functional.avg_pool1d" => |c| batched(c, 3, |c, x| Ok(vec![x.average_pool1d(&average::<1>(c)?)?])),
        "nn.functional.avg_pool2d" => |c| batched(c, 4, |c, x| divided(c, |options| Ok(x.average_pool2d(&options)?))),
        "nn.functional.avg_pool3d" => |c| batched(c, 5, |c, x| divided(c, |options| Ok(x.average_pool3d(&options)?))),
        "nn.functional.adaptive_avg_pool1d" => |c| adaptive_mean::<1>(c),
        "nn.functional.adaptive_avg_pool2d" => |c| adaptive_mean::<2>(c),
        "nn.functional.adaptive_avg_pool3d" => |c| adaptive_mean::<3>(c),
        "nn.functional.adaptive_max_pool1d" => |c| adaptive_largest::<1>(c),
        "nn.functional.adaptive_max_pool2d" => |c| adaptive_largest::<2>(c),
        _ => return None,
    })
}

/// Calls `f` with a batch; a single item is a batch of one.
fn batched(c: &Call, rank: usize, f: fn(&Call, &Var) -> Result<Vec<Var>, Stop>) -> Result<Vec<Var>, Stop> {
    let x = c.x()?;
    if x.shape().rank() == rank {
        return f(c, &x);
    }
    f(c, &x.unsqueeze(0)?)?.iter().map(|y| Ok(y.squeeze(0)?)).collect()
}

fn options<const N: usize>(c: &Call) -> Result<ConvOptions<N>, Stop> {
    let (stride, dilation) = (c.sizes("stride", [1; N])?, c.sizes("dilation", [1; N])?);
    let padding = match c.word("padding") {
        "valid" => Padding::Valid,
        "same" => Padding::Same,
        _ => Padding::symmetric(c.sizes("padding", [0; N])?),
    };
    let groups = c.int_or("groups", 1)? as usize;
    Ok(ConvOptions::new().stride(stride).dilation(dilation).padding(padding).groups(groups).channels_first())
}

/// A number for each channel, which are in dimension 1.
fn bias(c: &Call, y: Var) -> Result<Var, Stop> {
    let Some(bias) = c.maybe("bias")? else { return Ok(y) };
    let mut dims = vec![1; y.shape().rank()];
    dims[1] = bias.tensor().count();
    Ok(y.add(&bias.reshape(dims)?)?)
}

/// The windows of an image as columns of a matrix.
fn columns(c: &Call, x: &Var) -> Result<Vec<Var>, Stop> {
    let (kernel, dilation) = (c.sizes::<2>("kernel_size", [1; 2])?, c.sizes("dilation", [1; 2])?);
    let (padding, stride) = (c.sizes::<2>("padding", [0; 2])?, c.sizes::<2>("stride", [1; 2])?);
    let around = padding.map(|p| (p as isize, p as isize));
    let mut x = x.pad(&[(0, 0), (0, 0), around[0], around[1]], 0.0)?;
    let mut counts = [0; 2];
    for i in [1, 0] {
        let last = x.shape()[2 + i] - dilation[i] * (kernel[i] - 1) - 1;
        let starts: Vec<usize> = (0..=last).step_by(stride[i]).collect();
        counts[i] = starts.len();
        x = windows(&x, 2 + i, &starts, kernel[i], dilation[i])?;
    }
    // From [N, C, OH, KH, OW, KW] to [N, C · KH · KW, OH · OW].
    let [n, channels] = [x.shape()[0], x.shape()[1]];
    let y = x.permute(&[0, 1, 3, 5, 2, 4])?;
    Ok(vec![y.reshape([n, channels * kernel[0] * kernel[1], counts[0] * counts[1]])?])
}

fn pool<const N: usize>(c: &Call) -> Result<PoolOptions<N>, Stop> {
    let kernel = c.sizes("kernel_size", [1; N])?;
    let options = PoolOptions::new(kernel).stride(c.sizes("stride", kernel)?).dilation(c.sizes("dilation", [1; N])?);
    let padding = Padding::symmetric(c.sizes("padding", [0; N])?);
    Ok(options.padding(padding).ceil_mode(c.flag("ceil_mode")).channels_first())
}

fn average<const N: usize>(c: &Call) -> Result<PoolOptions<N>, Stop> {
    Ok(pool(c)?.count_include_pad(c.get("count_include_pad").is_none_or(|flag| flag == true)))
}

/// A mean, or a sum divided by the number that was given: a negative one makes sense to PyTorch alone.
fn divided<const N: usize>(c: &Call, pool: impl Fn(PoolOptions<N>) -> Result<Var, Stop>) -> Result<Vec<Var>, Stop> {
    if c.get("divisor_override").is_none() {
        return Ok(vec![pool(average::<N>(c)?)?]);
    }
    let sum = pool(average::<N>(c)?.divisor(1))?;
    Ok(vec![sum.mul(1.0 / c.number("divisor_override")?)?])
}

/// The sizes of an adaptive pool's output; null keeps the input's.
fn output_size<const N: usize>(c: &Call, x: &Var) -> Result<[usize; N], Stop> {
    let lead = x.shape().rank() - N;
    match c.get("output_size").and_then(|value| value.as_array()) {
        Some(items) if items.len() == N => {
            Ok(std::array::from_fn(|i| items[i].as_u64().map_or(x.shape()[lead + i], |n| n as usize)))
        }
        _ => c.sizes("output_size", [1; N]),
    }
}

fn adaptive_mean<const N: usize>(c: &Call) -> Result<Vec<Var>, Stop> {
    let x = c.x()?;
    let mut y = x.clone();
    for (i, size) in output_size::<N>(c, &x)?.into_iter().enumerate() {
        y = super::resizing::area(&y, y.shape().rank() - N + i, size)?;
    }
    Ok(vec![y])
}

/// The largest of each window; shorter windows are filled up with their last element, which changes no first maximum.
fn adaptive_largest<const N: usize>(c: &Call) -> Result<Vec<Var>, Stop> {
    let x = c.x()?;
    let size = output_size::<N>(c, &x)?;
    let lead = x.shape().rank() - N;
    let plane: Vec<usize> = x.shape()[lead..].to_vec();
    let places = positions(0..plane.iter().product())?.reshape(&plane)?.expand(x.shape())?;
    let cut = |x: &Var| -> Result<Var, Stop> {
        let mut y = x.clone();
        for i in (0..N).rev() {
            let (input, output) = (plane[i], size[i]);
            let bounds = |o: usize| (o * input / output, ((o + 1) * input).div_ceil(output));
            let longest = (0..output).map(|o| bounds(o).1 - bounds(o).0).max().unwrap_or(1);
            let at = (0..output).flat_map(|o| (0..longest).map(move |k| (bounds(o).0 + k).min(bounds(o).1 - 1)));
            let at: Vec<usize> = at.collect();
            y = y
                .index_select((lead + i) as isize, &positions(at)?)?
                .unflatten((lead + i) as isize, &[output, longest])?;
        }
        // [lead…, OH, KH, OW, KW] with the windows at the end, as one dimension.
        let order: Vec<isize> = (0..lead)
            .chain((0..N).map(|i| lead + 2 * i))
            .chain((0..N).map(|i| lead + 2 * i + 1))
            .map(|d| d as isize)
            .collect();
        Ok(y.permute(&order)?.flatten((lead + N) as isize, -1)?)
    };
    let (values, places) = (cut(&x)?, cut(&places)?);
    let chosen = values.argmax(keep(-1))?;
    let y = values.gather(-1, &chosen)?.squeeze(-1)?;
    if !c.flag("return_indices") {
        return Ok(vec![y]);
    }
    Ok(vec![y, places.gather(-1, &chosen)?.squeeze(-1)?.cast(DType::I64)?])
}
