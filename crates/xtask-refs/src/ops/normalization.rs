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
        | "nn.functional.dropout3d"
        | "nn.functional.alpha_dropout" => |c| {
            let (x, p) = (c.x()?, c.number_or("p", 0.5)?);
            match (c.flag("training"), p) {
                (false, _) | (true, 0.0) => Ok(vec![x]),
                (true, 1.0) => {
                    c.takes("zeros in place of random numbers");
                    one(x.mul(0.0))
                }
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
        Some(mask) if mask.dtype() == DType::Bool => {
            c.takes("a mask turned around");
            Some(mask.logical_not()?)
        }
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
        (true, true) => {
            c.takes("a mean over heads");
            vec![y, shares.mean(1)?]
        }
        (true, false) => vec![y, shares],
    })
}

fn recurrent(op: &str) -> Option<Row> {
    Some(match op {
        "custom.lstm_cell" => |c| {
            let biases = [c.maybe("b_ih")?, c.maybe("b_hh")?].into_iter().flatten();
            let weights: Vec<Var> = [c.var("w_ih")?, c.var("w_hh")?].into_iter().chain(biases).collect();
            let (h, cell) = c.x()?.lstm_cell(&c.var("h")?, &c.var("c")?, &weights.iter().collect::<Vec<_>>())?;
            Ok(vec![h, cell])
        },
        "custom.lstm" => |c| {
            let weights = c.vars("weights")?;
            let weights: Vec<&Var> = weights.iter().collect();
            let (y, h, cell) = c.x()?.lstm_stack(&c.var("h0")?, &c.var("c0")?, &weights, &layers(c)?)?;
            Ok(vec![y, h, cell])
        },
        "custom.rnn_tanh" => |c| {
            let (y, h) =
                c.x()?.rnn_stack(&c.var("h0")?, &c.vars("weights")?.iter().collect::<Vec<_>>(), &layers(c)?)?;
            Ok(vec![y, h])
        },
        "custom.gru" => |c| {
            let (y, h) =
                c.x()?.gru_stack(&c.var("h0")?, &c.vars("weights")?.iter().collect::<Vec<_>>(), &layers(c)?)?;
            Ok(vec![y, h])
        },
        _ => return None,
    })
}

fn layers(c: &Call) -> Result<RecurrentStack, Stop> {
    Ok(RecurrentStack {
        layers: c.int("num_layers")? as usize,
        bidirectional: c.flag("bidirectional"),
        biases: c.flag("has_biases"),
        batch_first: c.flag("batch_first"),
    })
}
