//! Functions of each element; comparisons; choices.

use super::Row;
use super::call::one;
use kiln::autograd::DType;
use kiln::autograd::ops::*;

macro_rules! unary {
    ($op:expr, $($torch:literal $name:ident)*) => {
        match $op {
            $($torch => Some(|c| one(c.x()?.$name())),)*
            _ => None,
        }
    };
}

macro_rules! binary {
    ($op:expr, $($torch:literal $name:ident)*) => {
        match $op {
            $($torch => Some(|c| {
                let x = c.x()?;
                one(x.$name(&c.operand("other", x.dtype())?))
            }),)*
            _ => None,
        }
    };
}

pub(super) fn row(op: &str) -> Option<Row> {
    unaries(op).or_else(|| binaries(op)).or_else(|| others(op))
}

fn unaries(op: &str) -> Option<Row> {
    unary!(op,
        "abs" abs "neg" neg "exp" exp "exp2" exp2 "expm1" expm1 "log" log "log1p" log1p "log2" log2 "log10" log10
        "sqrt" sqrt "rsqrt" rsqrt "reciprocal" reciprocal "square" square "sin" sin "cos" cos "tan" tan "asin" asin
        "acos" acos "atan" atan "sinh" sinh "cosh" cosh "tanh" tanh "asinh" asinh "acosh" acosh "atanh" atanh "erf" erf
        "erfinv" erfinv "sigmoid" sigmoid "floor" floor "ceil" ceil "round" round "trunc" trunc "sign" sign
        "isnan" is_nan "isinf" is_inf "isfinite" is_finite "logical_not" logical_not
        "special.erfinv" erfinv "special.expit" sigmoid "special.exp2" exp2 "special.expm1" expm1 "special.log1p" log1p "frac" frac "deg2rad" deg2rad "rad2deg" rad2deg
        "erfc" erfc "special.erfc" erfc "lgamma" lgamma "special.gammaln" lgamma "digamma" digamma "special.digamma" digamma
        "special.psi" digamma "i0" i0 "special.i0" i0 "sinc" sinc "special.sinc" sinc "bitwise_not" bitwise_not)
}

fn binaries(op: &str) -> Option<Row> {
    binary!(op,
        "mul" mul "div" div "div.no_rounding_mode" div "true_divide" div "div.trunc_rounding" trunc_divide
        "div.floor_rounding" floor_divide "floor_divide" floor_divide "remainder" remainder "fmod" fmod
        "maximum" maximum "minimum" minimum "max.binary" maximum "min.binary" minimum "fmax" fmax "fmin" fmin
        "hypot" hypot "xlogy" xlogy "atan2" atan2 "copysign" copysign "eq" eq "ne" ne "lt" lt "le" le "gt" gt "ge" ge
        "logical_and" logical_and "logical_or" logical_or "logical_xor" logical_xor "special.xlogy" xlogy
        "special.xlog1py" xlog1py "logaddexp" logaddexp "logaddexp2" logaddexp2 "ldexp" ldexp "nextafter" nextafter
        "bitwise_and" bitwise_and "bitwise_or" bitwise_or "bitwise_xor" bitwise_xor
        "bitwise_left_shift" bitwise_left_shift "bitwise_right_shift" bitwise_right_shift
        "__lshift__" bitwise_left_shift "__rshift__" bitwise_right_shift)
}

fn others(op: &str) -> Option<Row> {
    Some(match op {
        "clone" => |c| Ok(vec![c.x()?]),
        "positive" => |c| Ok(vec![c.x()?]),
        "logit" | "special.logit" => |c| match c.get("eps") {
            Some(_) => one(c.x()?.logit_eps(c.number("eps")?)),
            None => one(c.x()?.logit()),
        },
        "nan_to_num" => |c| {
            let [posinf, neginf] = ["posinf", "neginf"].map(|name| c.get(name).map(|_| c.number(name)).transpose());
            one(c.x()?.nan_to_num(c.number_or("nan", 0.0)?, posinf?, neginf?))
        },
        "heaviside" => |c| one(c.x()?.heaviside(&c.var("values")?)),
        "clamp_min" => |c| one(c.x()?.clamp_min(&c.bound("min")?)),
        "clamp_max" => |c| one(c.x()?.clamp_max(&c.bound("max")?)),
        "clamp" | "clip" => |c| match (c.get("min"), c.get("max")) {
            (Some(_), Some(_)) => one(c.x()?.clamp(&c.bound("min")?, &c.bound("max")?)),
            (Some(_), None) => one(c.x()?.clamp_min(&c.bound("min")?)),
            _ => one(c.x()?.clamp_max(&c.bound("max")?)),
        },
        "add" => |c| one(c.x()?.add(&c.times_alpha(c.operand("other", c.x()?.dtype())?)?)),
        "sub" => |c| one(c.x()?.sub(&c.times_alpha(c.operand("other", c.x()?.dtype())?)?)),
        "rsub" | "__rsub__" => |c| one(c.operand("other", c.x()?.dtype())?.sub(&c.times_alpha(c.x()?)?)),
        "__radd__" => |c| one(c.operand("other", c.x()?.dtype())?.add(&c.x()?)),
        "__rmul__" => |c| one(c.operand("other", c.x()?.dtype())?.mul(&c.x()?)),
        "__rdiv__" => |c| one(c.operand("other", c.x()?.dtype())?.div(&c.x()?)),
        "__rpow__" => |c| one(c.operand("other", c.x()?.dtype())?.pow(&c.x()?)),
        "__rmod__" => |c| one(c.operand("other", c.x()?.dtype())?.remainder(&c.x()?)),
        "pow" | "float_power" => |c| {
            let dtype = c.maybe("input")?.or(c.maybe("exponent")?).map_or(DType::F64, |x| x.dtype());
            one(c.operand("input", dtype)?.pow(&c.operand("exponent", dtype)?))
        },
        "isclose" => |c| {
            let (rtol, atol) = (c.number_or("rtol", 1e-5)?, c.number_or("atol", 1e-8)?);
            one(c.x()?.isclose(&c.var("other")?, rtol, atol, c.flag("equal_nan")))
        },
        "where" => |c| {
            let dtype = c.maybe("input")?.or(c.maybe("other")?).map_or(DType::F64, |x| x.dtype());
            one(c.var("condition")?.select(&c.operand("input", dtype)?, &c.operand("other", dtype)?))
        },
        "lerp" => |c| one(c.x()?.lerp(&c.var("end")?, &c.operand("weight", c.x()?.dtype())?)),
        "addcmul" => |c| one(c.x()?.addcmul(&c.var("tensor1")?, &c.var("tensor2")?, c.number_or("value", 1.0)?)),
        "addcdiv" => |c| one(c.x()?.addcdiv(&c.var("tensor1")?, &c.var("tensor2")?, c.number_or("value", 1.0)?)),
        _ => return None,
    })
}
