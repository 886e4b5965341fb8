//! Normalizations, dropout where it does nothing or everything, attention, recurrent cells.

use super::Row;
use super::call::{Call, constant, one};
use super::shapes::axis;
use crate::Stop;
use kiln::autograd::ops::*;
use kiln::autograd::{DType, Tensor, Var};

pub(super) fn row(op: &str) -> Option<Row> {
    scaled(op).or_else(|| others(op)).or_else(|| recurrent(op))
}

/// `x · weight + bias`, each broadcast from `dims`.
fn affine(c: &Call, x: Var, dims: &[usize]) -> Result<Var, Stop> {
    let x = match c.maybe("weight")? {
        Some(weight) => x.mul(&weight.reshape(dims)?)?,
        None => x,
    };
    match c.maybe("bias")? {
        Some(bias) => Ok(x.add(&bias.reshape(dims)?)?),
        None => Ok(x),
    }
}

/// `(x - mean) / √(variance + ε)` over some axes.
fn standardized(x: &Var, axes: &[isize], eps: f64) -> Result<Var, Stop> {
    let centered = x.sub(&x.mean(keep(axes))?)?;
    Ok(centered.mul(&x.var(keep(axes), 0.0)?.add(eps)?.rsqrt()?)?)
}

/// `running` moved towards `batch`.
fn moved(c: &Call, name: &str, batch: &Var) -> Result<(), Stop> {
    if let Some(running) = c.maybe(name)? {
        let momentum = c.number_or("momentum", 0.1)?;
        c.mutate(name, &running.mul(1.0 - momentum)?.add(&batch.mul(momentum)?)?);
    }
    Ok(())
}

/// Dimensions of ones but for the channels.
fn channels(x: &Var) -> Vec<usize> {
    let mut dims = vec![1; x.shape().rank()];
    if dims.len() < 2 {
        return x.shape().to_vec();
    }
    dims[1] = x.shape()[1];
    dims
}

fn scaled(op: &str) -> Option<Row> {
    Some(match op {
        "nn.functional.batch_norm" => |c| {
            let (x, eps) = (c.x()?, c.number_or("eps", 1e-5)?);
            let dims = channels(&x);
            let y = match c.flag("training") {
                true => {
                    let axes: Vec<isize> = (0..x.shape().rank() as isize).filter(|&a| a != 1).collect();
                    moved(c, "running_mean", &x.mean(&axes)?)?;
                    moved(c, "running_var", &x.var(&axes, 1.0)?)?;
                    standardized(&x, &axes, eps)?
                }
                false => {
                    let (mean, var) = (c.var("running_mean")?.reshape(&dims)?, c.var("running_var")?.reshape(&dims)?);
                    x.sub(&mean)?.mul(&var.add(eps)?.rsqrt()?)?
                }
            };
            Ok(vec![affine(c, y, &dims)?])
        },
        "nn.functional.instance_norm" => |c| {
            let x = c.x()?;
            let axes: Vec<isize> = (2..x.shape().rank() as isize).collect();
            moved(c, "running_mean", &x.mean(&axes)?.mean(0)?)?;
            moved(c, "running_var", &x.var(&axes, 1.0)?.mean(0)?)?;
            let y = standardized(&x, &axes, c.number_or("eps", 1e-5)?)?;
            Ok(vec![affine(c, y, &channels(&x))?])
        },
        "nn.functional.layer_norm" => |c| {
            let (x, dims) = (c.x()?, c.ints("normalized_shape")?);
            let axes: Vec<isize> = (1..=dims.len() as isize).map(|a| -a).collect();
            let dims: Vec<usize> = dims.into_iter().map(|d| d as usize).collect();
            Ok(vec![affine(c, standardized(&x, &axes, c.number_or("eps", 1e-5)?)?, &dims)?])
        },
        "nn.functional.group_norm" => |c| {
            let (x, groups) = (c.x()?, c.int("num_groups")? as usize);
            let split = x.unflatten(1, &[groups, x.shape()[1] / groups])?;
            let axes: Vec<isize> = (2..split.shape().rank() as isize).collect();
            let y = standardized(&split, &axes, c.number_or("eps", 1e-5)?)?.reshape(x.shape())?;
            Ok(vec![affine(c, y, &channels(&x))?])
        },
        "nn.functional.rms_norm" => |c| {
            let (x, dims) = (c.x()?, c.ints("normalized_shape")?);
            let axes: Vec<isize> = (1..=dims.len() as isize).map(|a| -a).collect();
            let dims: Vec<usize> = dims.into_iter().map(|d| d as usize).collect();
            let smallest = if x.dtype() == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
            let y = x.mul(&x.square()?.mean(keep(&axes))?.add(c.number_or("eps", smallest)?)?.rsqrt()?)?;
            Ok(vec![affine(c, y, &dims)?])
        },
        _ => return None,
    })
}

fn others(op: &str) -> Option<Row> {
    Some(match op {
        "nn.functional.local_response_norm" => |c| {
            let (x, size) = (c.x()?, c.int("size")? as usize);
            // A mean of squares over neighbouring channels, zeros beyond the ends included.
            let mut pairs = vec![(0, 0); x.shape().rank()];
            pairs[1] = ((size / 2) as isize, ((size - 1) / 2) as isize);
            let wide = x.square()?.pad(&pairs, 0.0)?;
            let count = x.shape()[1];
            let mut sum = wide.stride(1, Stride { start: 0, length: count, step: 1 })?;
            for start in 1..size {
                sum = sum.add(&wide.stride(1, Stride { start, length: count, step: 1 })?)?;
            }
            let scale = sum.mul(c.number_or("alpha", 1e-4)? / size as f64)?.add(c.number_or("k", 1.0)?)?;
            one(x.div(&scale.pow(c.number_or("beta", 0.75)?)?))
        },
        "nn.functional.normalize" => |c| {
            let x = c.x()?;
            let norm = x.norm(c.number_or("p", 2.0)?, keep(c.int_or("dim", 1)?))?;
            one(x.div(&norm.clamp(c.number_or("eps", 1e-12)?, f64::INFINITY)?))
        },
        "renorm" => |c| {
            let (x, dim) = (c.x()?, c.int("dim")?);
            let dim = axis(&x, dim);
            let axes: Vec<isize> = (0..x.shape().rank()).filter(|&a| a != dim).map(|a| a as isize).collect();
            let (norm, most) = (x.norm(c.number("p")?, keep(&axes))?, c.number("maxnorm")?);
            let scale = constant(most, &x).div(&norm.add(1e-7)?)?;
            one(x.mul(&norm.gt(most)?.select(&scale, &constant(1.0, &x))?))
        },
        "nn.functional.dropout"
        | "nn.functional.dropout1d"
        | "nn.functional.dropout2d"
        | "nn.functional.alpha_dropout" => |c| {
            let (x, p) = (c.x()?, c.number_or("p", 0.5)?);
            match (c.flag("training"), p) {
                (false, _) | (true, 0.0) => Ok(vec![x]),
                (true, 1.0) => one(x.mul(0.0)),
                _ => Stop::unsupported("dropout by PyTorch's random numbers"),
            }
        },
        "nn.functional.scaled_dot_product_attention" => |c| Ok(vec![attention(c)?]),
        "custom.multi_head_attention" => multi_head,
        _ => return None,
    })
}

/// A mask of truths as numbers to add: 0 where it holds, else -∞.
fn as_bias(mask: &Var, holds: bool, like: &Var) -> Result<Var, Stop> {
    if mask.dtype() != DType::Bool {
        return Ok(mask.clone());
    }
    let (open, shut) = (constant(0.0, like), constant(f64::NEG_INFINITY, like));
    Ok(if holds { mask.select(&open, &shut)? } else { mask.select(&shut, &open)? })
}

/// Keys or values of which each head serves a group of the queries' heads, repeated for each of the group.
fn for_heads_of(q: &Var, x: Var) -> Result<Var, Stop> {
    let rank = x.shape().rank();
    if rank < 3 || q.shape().rank() != rank || q.shape()[rank - 3] == x.shape()[rank - 3] {
        return Ok(x);
    }
    let group = q.shape()[rank - 3] / x.shape()[rank - 3].max(1);
    let mut dims = x.shape().to_vec();
    dims.insert(rank - 2, group);
    Ok(x.unsqueeze(-3)?.expand(dims)?.flatten(-4, -3)?)
}

fn attention(c: &Call) -> Result<Var, Stop> {
    let (q, k, v) = (c.var("query")?, c.var("key")?, c.var("value")?);
    let (k, v) = (for_heads_of(&q, k)?, for_heads_of(&q, v)?);
    let width = q.shape()[q.shape().rank() - 1] as f64;
    let mut scores = q.matmul(&k.transpose(-1, -2)?)?.mul(c.number_or("scale", 1.0 / width.sqrt())?)?;
    let [rows, columns] = [q.shape()[q.shape().rank() - 2], k.shape()[k.shape().rank() - 2]];
    if c.flag("is_causal") {
        let mask = (0..rows * columns).map(|i| i % columns <= i / columns).collect::<Vec<bool>>();
        scores = scores.add(&as_bias(&Var::new(Tensor::from_vec(mask, [rows, columns])?), true, &q)?)?;
    }
    if let Some(mask) = c.maybe("attn_mask")? {
        scores = scores.add(&as_bias(&mask, true, &q)?)?;
    }
    let open = scores.detach().gt(f64::NEG_INFINITY)?.any(keep(-1))?;
    // A row that may look at nothing sees nothing.
    let weights = open.select(&open.select(&scores, &constant(0.0, &q))?.softmax(-1)?, &constant(0.0, &q))?;
    Ok(weights.matmul(&v)?)
}

fn multi_head(c: &Call) -> Result<Vec<Var>, Stop> {
    let (q, k, v) = (c.var("query")?, c.var("key")?, c.var("value")?);
    let (width, heads) = (q.shape()[2], c.int("num_heads")? as usize);
    let weights = c.var("in_proj_weight")?.split(&[width; 3], 0)?;
    let biases = c.maybe("in_proj_bias")?.map(|b| b.split(&[width; 3], 0)).transpose()?;
    let project = |x: &Var, i: usize| -> Result<Var, Stop> {
        let y = x.matmul(&weights[i].t()?)?;
        let y = if let Some(biases) = &biases { y.add(&biases[i])? } else { y };
        // [B, T, heads · D] as [B, heads, T, D].
        Ok(y.unflatten(-1, &[heads, width / heads])?.transpose(1, 2)?)
    };
    let (q, k, v) = (project(&q, 0)?, project(&k, 1)?, project(&v, 2)?);
    let mut scores = q.matmul(&k.transpose(-1, -2)?)?.mul(1.0 / ((width / heads) as f64).sqrt())?;
    if let Some(mask) = c.maybe("attn_mask")? {
        scores = scores.add(&as_bias(&mask, false, &q)?)?;
    }
    if let Some(mask) = c.maybe("key_padding_mask")? {
        scores = scores.add(&as_bias(&mask, false, &q)?.unsqueeze(1)?.unsqueeze(1)?)?;
    }
    let weights = scores.softmax(-1)?;
    let y = weights.matmul(&v)?.transpose(1, 2)?.flatten(2, 3)?;
    let y = y.matmul(&c.var("out_proj_weight")?.t()?)?;
    let y = if let Some(bias) = c.maybe("out_proj_bias")? { y.add(&bias)? } else { y };
    Ok(match (c.flag("need_weights"), c.flag("average_attn_weights")) {
        (false, _) => vec![y],
        (true, true) => vec![y, weights.mean(1)?],
        (true, false) => vec![y, weights],
    })
}

/// `x · wᵀ + b`.
fn linear(x: &Var, w: &Var, b: Option<&Var>) -> Result<Var, Stop> {
    let y = x.matmul(&w.t()?)?;
    Ok(if let Some(b) = b { y.add(b)? } else { y })
}

/// One step of an LSTM from the sums before its gates, in the order i f g o.
fn lstm_step(gates: &Var, cell: &Var) -> Result<(Var, Var), Stop> {
    let parts = gates.chunk(4, -1)?;
    let cell = parts[1].sigmoid()?.mul(cell)?.add(&parts[0].sigmoid()?.mul(&parts[2].tanh()?)?)?;
    Ok((parts[3].sigmoid()?.mul(&cell.tanh()?)?, cell))
}

fn recurrent(op: &str) -> Option<Row> {
    Some(match op {
        "custom.lstm_cell" => |c| {
            let (b_ih, b_hh) = (c.maybe("b_ih")?, c.maybe("b_hh")?);
            let gates = linear(&c.x()?, &c.var("w_ih")?, b_ih.as_ref())?;
            let gates = gates.add(&linear(&c.var("h")?, &c.var("w_hh")?, b_hh.as_ref())?)?;
            let (h, cell) = lstm_step(&gates, &c.var("c")?)?;
            Ok(vec![h, cell])
        },
        "custom.lstm" => |c| layers(c, true),
        "custom.rnn_tanh" => |c| layers(c, false),
        _ => return None,
    })
}

/// Recurrent layers, each in one or two directions over the steps of the one before.
fn layers(c: &Call, lstm: bool) -> Result<Vec<Var>, Stop> {
    let first = c.flag("batch_first");
    let mut x = if first { c.x()?.transpose(0, 1)? } else { c.x()? };
    let (weights, h0) = (c.vars("weights")?, c.var("h0")?);
    let c0 = if lstm { Some(c.var("c0")?) } else { None };
    let per = if c.flag("has_biases") { 4 } else { 2 };
    let directions = if c.flag("bidirectional") { 2 } else { 1 };
    let (mut last_h, mut last_c) = (Vec::new(), Vec::new());
    for layer in 0..c.int("num_layers")? as usize {
        let mut sides = Vec::new();
        for direction in 0..directions {
            let index = layer * directions + direction;
            let w = &weights[index * per..(index + 1) * per];
            let (mut h, mut cell) =
                (h0.index(0, index as isize)?, c0.as_ref().map(|c| c.index(0, index as isize)).transpose()?);
            let steps = x.shape()[0] as isize;
            let mut outputs = Vec::new();
            for step in 0..steps {
                let at = if direction == 0 { step } else { steps - 1 - step };
                let sums = linear(&x.index(0, at)?, &w[0], w.get(2))?.add(&linear(&h, &w[1], w.get(3))?)?;
                match &cell {
                    Some(old) => {
                        let (new_h, new_cell) = lstm_step(&sums, old)?;
                        (h, cell) = (new_h, Some(new_cell));
                    }
                    None => h = sums.tanh()?,
                }
                outputs.push(h.clone());
            }
            if direction == 1 {
                outputs.reverse();
            }
            sides.push(stack(&outputs.iter().collect::<Vec<_>>(), 0)?);
            last_h.push(h);
            last_c.extend(cell);
        }
        x = concat(&sides.iter().collect::<Vec<_>>(), -1)?;
    }
    let y = if first { x.transpose(0, 1)? } else { x };
    let mut all = vec![y, stack(&last_h.iter().collect::<Vec<_>>(), 0)?];
    if lstm {
        all.push(stack(&last_c.iter().collect::<Vec<_>>(), 0)?);
    }
    Ok(all)
}
