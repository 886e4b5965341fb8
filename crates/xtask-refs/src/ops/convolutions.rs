//! Convolutions and pools, in PyTorch's order of dimensions.

use super::Row;
use super::call::{Call, one};
use crate::Stop;
use kiln::autograd::Var;
use kiln::autograd::ops::*;

pub(super) fn row(op: &str) -> Option<Row> {
    let op = op.strip_prefix("nn.functional.")?;
    convolutions(op).or_else(|| pools(op)).or_else(|| others(op))
}

fn convolutions(op: &str) -> Option<Row> {
    Some(match op {
        "conv1d" => |c| one(c.x()?.conv1d((&c.var("weight")?, c.maybe("bias")?.as_ref()), &options(c)?)),
        "conv2d" => |c| one(c.x()?.conv2d((&c.var("weight")?, c.maybe("bias")?.as_ref()), &options(c)?)),
        "conv3d" => |c| one(c.x()?.conv3d((&c.var("weight")?, c.maybe("bias")?.as_ref()), &options(c)?)),
        "conv_transpose1d" => |c| {
            let ([extra], bias) = (c.sizes("output_padding", [0])?, c.maybe("bias")?);
            one(c.x()?.conv1d_transpose((&c.var("weight")?, bias.as_ref()), &options(c)?, extra))
        },
        "conv_transpose2d" => |c| {
            let (extra, bias) = (c.sizes("output_padding", [0; 2])?, c.maybe("bias")?);
            one(c.x()?.conv2d_transpose((&c.var("weight")?, bias.as_ref()), &options(c)?, extra))
        },
        "conv_transpose3d" => |c| {
            let (extra, bias) = (c.sizes("output_padding", [0; 3])?, c.maybe("bias")?);
            one(c.x()?.conv3d_transpose((&c.var("weight")?, bias.as_ref()), &options(c)?, extra))
        },
        "unfold" => |c| one(c.x()?.im2col(&pool::<2>(c)?.stride(c.sizes("stride", [1; 2])?))),
        "fold" => {
            |c| one(c.x()?.col2im(c.sizes("output_size", [1; 2])?, &pool::<2>(c)?.stride(c.sizes("stride", [1; 2])?)))
        }
        _ => return None,
    })
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

fn pools(op: &str) -> Option<Row> {
    Some(match op {
        "max_pool1d" => |c| indexed(c, c.x()?.max_pool1d_with_indices(&pool(c)?)),
        "max_pool2d" => |c| indexed(c, c.x()?.max_pool2d_with_indices(&pool(c)?)),
        "max_pool3d" => |c| indexed(c, c.x()?.max_pool3d_with_indices(&pool(c)?)),
        "avg_pool1d" => |c| divided(c, |x, options| x.average_pool1d(&options)),
        "avg_pool2d" => |c| divided(c, |x, options| x.average_pool2d(&options)),
        "avg_pool3d" => |c| divided(c, |x, options| x.average_pool3d(&options)),
        "lp_pool1d" => |c| one(c.x()?.lp_pool1d(c.number("norm_type")?, &pool(c)?)),
        "lp_pool2d" => |c| one(c.x()?.lp_pool2d(c.number("norm_type")?, &pool(c)?)),
        "lp_pool3d" => |c| one(c.x()?.lp_pool3d(c.number("norm_type")?, &pool(c)?)),
        _ => return None,
    })
}

fn pool<const N: usize>(c: &Call) -> Result<PoolOptions<N>, Stop> {
    let kernel = c.sizes("kernel_size", [1; N])?;
    let options = PoolOptions::new(kernel).stride(c.sizes("stride", kernel)?).dilation(c.sizes("dilation", [1; N])?);
    let padding = Padding::symmetric(c.sizes("padding", [0; N])?);
    Ok(options.padding(padding).ceil_mode(c.flag("ceil_mode")).channels_first())
}

/// What a pool found, and where if that is asked for.
fn indexed(c: &Call, found: kiln::autograd::Result<(Var, Var)>) -> Result<Vec<Var>, Stop> {
    let (y, at) = found?;
    Ok(if c.flag("return_indices") { vec![y, at] } else { vec![y] })
}

/// A mean, or a sum divided by the number that was given: a negative one makes sense to PyTorch alone.
fn divided<const N: usize>(
    c: &Call,
    average: impl Fn(&Var, PoolOptions<N>) -> kiln::autograd::Result<Var>,
) -> Result<Vec<Var>, Stop> {
    let options = pool(c)?.count_include_pad(c.get("count_include_pad").is_none_or(|flag| flag == true));
    match c.int_or("divisor_override", 0)? {
        0 => one(average(&c.x()?, options)),
        divisor @ 1.. => one(average(&c.x()?, options.divisor(divisor as usize))),
        divisor => {
            c.takes("a negative divisor");
            one(average(&c.x()?, options.divisor(1))?.mul(1.0 / divisor as f64))
        }
    }
}

fn others(op: &str) -> Option<Row> {
    Some(match op {
        "adaptive_avg_pool1d" => |c| one(c.x()?.adaptive_average_pool(output_size::<1>(c)?, true)),
        "adaptive_avg_pool2d" => |c| one(c.x()?.adaptive_average_pool(output_size::<2>(c)?, true)),
        "adaptive_avg_pool3d" => |c| one(c.x()?.adaptive_average_pool(output_size::<3>(c)?, true)),
        "adaptive_max_pool1d" => |c| indexed(c, c.x()?.adaptive_max_pool_with_indices(output_size::<1>(c)?, true)),
        "adaptive_max_pool2d" => |c| indexed(c, c.x()?.adaptive_max_pool_with_indices(output_size::<2>(c)?, true)),
        "adaptive_max_pool3d" => |c| indexed(c, c.x()?.adaptive_max_pool_with_indices(output_size::<3>(c)?, true)),
        "max_unpool1d" => |c| one(c.x()?.max_unpool(&c.var("indices")?, unpooled::<1>(c)?, true)),
        "max_unpool2d" => |c| one(c.x()?.max_unpool(&c.var("indices")?, unpooled::<2>(c)?, true)),
        "max_unpool3d" => |c| one(c.x()?.max_unpool(&c.var("indices")?, unpooled::<3>(c)?, true)),
        _ => return None,
    })
}

/// The sizes of an adaptive pool's output; null keeps the input's.
fn output_size<const N: usize>(c: &Call) -> Result<[usize; N], Stop> {
    let x = c.x()?;
    let lead = x.shape().rank() - N;
    match c.get("output_size").and_then(|value| value.as_array()) {
        Some(items) if items.len() == N => {
            Ok(std::array::from_fn(|i| items[i].as_u64().map_or(x.shape()[lead + i], |n| n as usize)))
        }
        _ => c.sizes("output_size", [1; N]),
    }
}

/// The sizes that a pool came from: those given, or as large as its windows reach.
fn unpooled<const N: usize>(c: &Call) -> Result<[usize; N], Stop> {
    let (x, kernel) = (c.x()?, c.sizes("kernel_size", [1; N])?);
    let (stride, padding) = (c.sizes("stride", kernel)?, c.sizes("padding", [0; N])?);
    let lead = x.shape().rank() - N;
    let given = c.ints("output_size")?;
    if given.len() >= N {
        return Ok(std::array::from_fn(|i| given[given.len() - N + i] as usize));
    }
    Ok(std::array::from_fn(|i| (x.shape()[lead + i] - 1) * stride[i] + kernel[i] - 2 * padding[i]))
}
