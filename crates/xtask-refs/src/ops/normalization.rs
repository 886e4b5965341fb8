//! Normalizations, dropout where it does nothing or everything, attention, recurrent cells.

use super::Row;
use super::call::{Call, one};
use crate::Stop;
use kiln::autograd::ops::*;
use kiln::autograd::{DType, Var};

pub(super) fn row(op: &str) -> Option<Row> {
    scaled(op).or_else(|| others(op)).or_else(|| recurrent(op))
}

/// A normalization of channels, which are in dimension 1.
fn by_channel(
    c: &Call,
    training: &str,
    normalize: impl Fn(&Var, Option<&RunningStatistics<Var>>, bool, &ChannelNorm<'_, Var>) -> Normalized,
) -> Result<Vec<Var>, Stop> {
    let (x, weight, bias) = (c.x()?, c.maybe("weight")?, c.maybe("bias")?);
    let running = match (c.maybe("running_mean")?, c.maybe("running_var")?) {
        (Some(mean), Some(variance)) => Some(RunningStatistics { mean, variance }),
        _ => None,
    };
    let options = ChannelNorm {
        axis: if x.shape().rank() < 2 { 0 } else { 1 },
        weight: weight.as_ref(),
        bias: bias.as_ref(),
        eps: c.number_or("eps", 1e-5)?,
        momentum: c.number_or("momentum", 0.1)?,
    };
    let training = c.get(training).map_or(training == "use_input_stats", |flag| flag == true);
    let (y, after) = normalize(&x, running.as_ref(), training, &options)?;
    if let Some(after) = after {
        c.mutate("running_mean", &after.mean);
        c.mutate("running_var", &after.variance);
    }
    Ok(vec![y])
}

type Normalized = kiln::autograd::Result<(Var, Option<RunningStatistics<Var>>)>;

fn lengths(c: &Call) -> Result<Vec<usize>, Stop> {
    Ok(c.ints("normalized_shape")?.into_iter().map(|d| d as usize).collect())
}

fn scaled(op: &str) -> Option<Row> {
    Some(match op {
        "nn.functional.batch_norm" => |c| by_channel(c, "training", Var::batch_norm),
        "nn.functional.instance_norm" => |c| by_channel(c, "use_input_stats", Var::instance_norm),
        "nn.functional.group_norm" => |c| {
            let groups = c.int("num_groups")? as usize;
            by_channel(c, "training", |x, _, _, options| Ok((x.group_norm(groups, options)?, None)))
        },
        "nn.functional.layer_norm" => |c| {
            let (weight, bias, eps) = (c.maybe("weight")?, c.maybe("bias")?, c.number_or("eps", 1e-5)?);
            one(c.x()?.layer_norm(&lengths(c)?, weight.as_ref(), bias.as_ref(), eps))
        },
        "nn.functional.rms_norm" => |c| {
            let eps = c.get("eps").map(|_| c.number("eps")).transpose()?;
            one(c.x()?.rms_norm(&lengths(c)?, c.maybe("weight")?.as_ref(), eps))
        },
        "nn.functional.local_response_norm" => |c| {
            let (alpha, beta, k) = (c.number_or("alpha", 1e-4)?, c.number_or("beta", 0.75)?, c.number_or("k", 1.0)?);
            one(c.x()?.local_response_norm(c.int("size")? as usize, 1, alpha, beta, k))
        },
        "nn.functional.normalize" => {
            |c| one(c.x()?.normalize(c.number_or("p", 2.0)?, c.int_or("dim", 1)?, c.number_or("eps", 1e-12)?))
        }
        "renorm" => |c| one(c.x()?.renorm(c.number("p")?, c.int("dim")?, c.number("maxnorm")?)),
        _ => return None,
    })
}

fn others(op: &str) -> Option<Row> {
    Some(match op {
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
        "nn.functional.scaled_dot_product_attention" => |c| {
            let mask = c.maybe("attn_mask")?;
            let scale = c.get("scale").map(|_| c.number("scale")).transpose()?;
            let options = AttentionOptions { mask: mask.as_ref(), causal: c.flag("is_causal"), scale };
            one(c.var("query")?.scaled_dot_product_attention(&c.var("key")?, &c.var("value")?, &options))
        },
        "custom.multi_head_attention" => multi_head,
        _ => return None,
    })
}

/// A mask that says what is hidden as one that says what is seen.
fn seen(c: &Call, name: &str) -> Result<Option<Var>, Stop> {
    Ok(match c.maybe(name)? {
        Some(mask) if mask.dtype() == DType::Bool => Some(mask.logical_not()?),
        mask => mask,
    })
}

fn multi_head(c: &Call) -> Result<Vec<Var>, Stop> {
    let (mask, key_mask) = (seen(c, "attn_mask")?, seen(c, "key_padding_mask")?);
    let (in_bias, out_bias) = (c.maybe("in_proj_bias")?, c.maybe("out_proj_bias")?);
    let projections = MultiHead {
        heads: c.int("num_heads")? as usize,
        in_weight: &c.var("in_proj_weight")?,
        in_bias: in_bias.as_ref(),
        out_weight: &c.var("out_proj_weight")?,
        out_bias: out_bias.as_ref(),
        key_mask: key_mask.as_ref(),
    };
    let options = AttentionOptions { mask: mask.as_ref(), ..AttentionOptions::default() };
    let (y, shares) = c.var("query")?.multi_head_attention(&c.var("key")?, &c.var("value")?, &projections, &options)?;
    Ok(match (c.flag("need_weights"), c.flag("average_attn_weights")) {
        (false, _) => vec![y],
        (true, true) => vec![y, shares.mean(1)?],
        (true, false) => vec![y, shares],
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
