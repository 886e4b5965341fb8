//! Activation functions and softmax.

use super::Row;
use super::call::one;
use kiln::autograd::ops::*;

pub(super) fn row(op: &str) -> Option<Row> {
    plain(op.strip_prefix("nn.functional.").unwrap_or(op))
        .or_else(|| parametric(op.strip_prefix("nn.functional.").unwrap_or(op)))
}

fn plain(op: &str) -> Option<Row> {
    Some(match op {
        "relu" => |c| one(c.x()?.relu()),
        "relu6" => |c| one(c.x()?.relu6()),
        "silu" => |c| one(c.x()?.silu()),
        "mish" => |c| one(c.x()?.mish()),
        "selu" => |c| one(c.x()?.selu()),
        "hardswish" => |c| one(c.x()?.hard_silu()),
        "hardsigmoid" => |c| one(c.x()?.hard_sigmoid()),
        "logsigmoid" => |c| one(c.x()?.log_sigmoid()),
        "softsign" => |c| one(c.x()?.softsign()),
        "tanhshrink" => |c| one(c.x()?.tanhshrink()),
        "gelu" => |c| if c.word("approximate") == "tanh" { one(c.x()?.gelu_tanh()) } else { one(c.x()?.gelu()) },
        _ => return None,
    })
}

fn parametric(op: &str) -> Option<Row> {
    Some(match op {
        "softplus" => |c| one(c.x()?.softplus_scaled(c.number_or("beta", 1.0)?, c.number_or("threshold", 20.0)?)),
        "elu" => |c| one(c.x()?.elu(c.number_or("alpha", 1.0)?)),
        "celu" => |c| one(c.x()?.celu(c.number_or("alpha", 1.0)?)),
        "hardtanh" => |c| one(c.x()?.hard_tanh(c.number_or("min_val", -1.0)?, c.number_or("max_val", 1.0)?)),
        "leaky_relu" => |c| one(c.x()?.leaky_relu(c.number_or("negative_slope", 0.01)?)),
        "threshold" => |c| one(c.x()?.threshold(c.number("threshold")?, c.number("value")?)),
        "softshrink" => |c| one(c.x()?.soft_shrink(c.number_or("lambd", 0.5)?)),
        "hardshrink" => |c| one(c.x()?.hard_shrink(c.number_or("lambd", 0.5)?)),
        "prelu" => |c| {
            let (x, slope) = (c.x()?, c.var("weight")?);
            // A slope for each channel, which are in dimension 1.
            let count = slope.tensor().count();
            let mut dims = vec![1; x.shape().rank()];
            if dims.len() > 1 {
                dims[1] = count;
            }
            if dims != slope.shape().to_vec() {
                c.takes("a slope for each channel in its dimension");
            }
            one(x.prelu(&slope.reshape(dims)?))
        },
        "glu" => |c| one(c.x()?.glu(c.int_or("dim", -1)?)),
        "softmax" => |c| one(c.in_dtype(c.x()?)?.softmax(c.int("dim")?)),
        "log_softmax" => |c| one(c.in_dtype(c.x()?)?.log_softmax(c.int("dim")?)),
        "softmin" => |c| one(c.in_dtype(c.x()?)?.softmin(c.int("dim")?)),
        _ => return None,
    })
}
