//! PyTorch's operations in terms of this library's, a row each.

use super::super::Stop;
use super::Call;
use kiln::autograd::Var;
use kiln::autograd::ops::*;

type Outputs = Result<Vec<Var>, Stop>;

/// Rows of functions of one tensor that have the same name on both sides.
macro_rules! unary {
    ($op:expr, $call:expr; $($name:ident),* $(,)?) => {
        match $op {
            $(stringify!($name) => return Ok(vec![$call.tensor("input")?.$name()?]),)*
            _ => {}
        }
    };
}

/// The outputs of an operation.
pub(super) fn call(op: &str, call: &Call<'_>) -> Outputs {
    unary!(
        op, call;
        neg, abs, sign, floor, ceil, round, trunc, square, sqrt, rsqrt, reciprocal, exp, exp2, expm1, log, log2, log10, log1p,
        sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, asinh, acosh, atanh, erf, erfinv, sigmoid, relu, relu6, silu, mish,
        selu, softsign, tanhshrink,
    );
    match op {
        "add" | "sub" => {
            let factor = call.number("alpha").unwrap_or(1.0);
            let other = |v: Var| if factor == 1.0 { Ok(v) } else { v.mul(factor) };
            let (a, b) = (call.tensor("input")?, other(call.tensor("other")?)?);
            Ok(vec![if op == "add" { a.add(&b)? } else { a.sub(&b)? }])
        }
        "hardswish" => Ok(vec![call.tensor("input")?.hard_silu()?]),
        "logsigmoid" => Ok(vec![call.tensor("input")?.log_sigmoid()?]),
        "isnan" => Ok(vec![call.tensor("input")?.is_nan()?]),
        "isinf" => Ok(vec![call.tensor("input")?.is_inf()?]),
        "isfinite" => Ok(vec![call.tensor("input")?.is_finite()?]),
        "eq" => Ok(vec![call.tensor("input")?.eq(&call.tensor("other")?)?]),
        "ne" => Ok(vec![call.tensor("input")?.ne(&call.tensor("other")?)?]),
        "hypot" => Ok(vec![call.tensor("input")?.hypot(&call.tensor("other")?)?]),
        "mul" => Ok(vec![call.tensor("input")?.mul(&call.tensor("other")?)?]),
        "maximum" => Ok(vec![call.tensor("input")?.maximum(&call.tensor("other")?)?]),
        "minimum" => Ok(vec![call.tensor("input")?.minimum(&call.tensor("other")?)?]),
        "atan2" => Ok(vec![call.tensor("input")?.atan2(&call.tensor("other")?)?]),
        "matmul" | "mm" | "bmm" => {
            let other = if op == "matmul" { "other" } else { "mat2" };
            Ok(vec![call.tensor("input")?.matmul(&call.tensor(other)?)?])
        }
        "softmax" | "log_softmax" => {
            let (x, axis) = (call.tensor("input")?, call.integer("dim").unwrap_or(-1));
            Ok(vec![if op == "softmax" { x.softmax(axis)? } else { x.log_softmax(axis)? }])
        }
        "amax" | "amin" => {
            let fold = if op == "amax" { Folding::Max } else { Folding::Min };
            Ok(vec![call.tensor("input")?.reduce(fold, &call.axes("dim"), call.flag("keepdim"))?])
        }
        "logsumexp" => Ok(vec![call.tensor("input")?.logsumexp(&call.axes("dim"), call.flag("keepdim"))?]),
        "where" => {
            let (mask, a) = (call.tensor("condition")?, call.tensor("input")?);
            Ok(vec![mask.select(&a, &call.tensor("other")?)?])
        }
        _ => Stop::unsupported(op),
    }
}
