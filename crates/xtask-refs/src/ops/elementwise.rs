//! Functions of each element; comparisons; choices.

use super::Row;
use super::call::{constant, one};
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
        "special.erfinv" erfinv "special.expit" sigmoid "special.exp2" exp2 "special.expm1" expm1 "special.log1p" log1p)
}

fn binaries(op: &str) -> Option<Row> {
    binary!(op,
        "mul" mul "div" div "div.no_rounding_mode" div "true_divide" div "div.trunc_rounding" trunc_divide
        "div.floor_rounding" floor_divide "floor_divide" floor_divide "remainder" remainder "fmod" fmod
        "maximum" maximum "minimum" minimum "max.binary" maximum "min.binary" minimum "fmax" fmax "fmin" fmin
        "hypot" hypot "xlogy" xlogy "atan2" atan2 "copysign" copysign "eq" eq "ne" ne "lt" lt "le" le "gt" gt "ge" ge
        "logical_and" logical_and "logical_or" logical_or "logical_xor" logical_xor "special.xlogy" xlogy)
}

fn others(op: &str) -> Option<Row> {
    Some(match op {
        "clone" => |c| Ok(vec![c.x()?]),
        "positive" => |c| Ok(vec![c.x()?]),
        "frac" => |c| one(c.x()?.sub(&c.x()?.trunc()?)),
        "deg2rad" => |c| one(c.x()?.mul(std::f64::consts::PI / 180.0)),
        "rad2deg" => |c| one(c.x()?.mul(180.0 / std::f64::consts::PI)),
        "erfc" => |c| one(constant(1.0, &c.x()?).sub(&c.x()?.erf()?)),
        "logit" | "special.logit" => |c| match c.get("eps") {
            Some(_) => {
                let eps = c.number("eps")?;
                // The lower bound is looked at first, also where it is the higher.
                let x = c.x()?;
                let inside = x.lt(eps)?.select(&constant(eps, &x), &x.clamp(f64::NEG_INFINITY, 1.0 - eps)?)?;
                one(inside.logit())
            }
            None => one(c.x()?.logit()),
        },
        "nan_to_num" => |c| {
            let x = c.x()?;
            let largest = match x.dtype() {
                DType::F64 => f64::MAX,
                _ => f64::from(f32::MAX),
            };
            one(x.nan_to_num(
                c.number_or("nan", 0.0)?,
                c.number_or("posinf", largest)?,
                c.number_or("neginf", -largest)?,
            ))
        },
        "clamp_min" => |c| match c.maybe("min")? {
            Some(min) => one(c.x()?.maximum(&min)),
            None => one(c.x()?.clamp(c.number("min")?, f64::INFINITY)),
        },
        "clamp_max" => |c| match c.maybe("max")? {
            Some(max) => one(c.x()?.minimum(&max)),
            None => one(c.x()?.clamp(f64::NEG_INFINITY, c.number("max")?)),
        },
        "clamp" | "clip" => |c| {
            let (min, max) = (c.maybe("min")?, c.maybe("max")?);
            if min.is_none() && max.is_none() {
                return one(c.x()?.clamp(c.number_or("min", f64::NEG_INFINITY)?, c.number_or("max", f64::INFINITY)?));
            }
            let x = match min {
                Some(min) => c.x()?.maximum(&min)?,
                None => c.x()?.clamp(c.number_or("min", f64::NEG_INFINITY)?, f64::INFINITY)?,
            };
            match max {
                Some(max) => one(x.minimum(&max)),
                None => one(x.clamp(f64::NEG_INFINITY, c.number_or("max", f64::INFINITY)?)),
            }
        },
        "add" => |c| one(c.x()?.add(&c.operand("other", c.x()?.dtype())?.mul(c.number_or("alpha", 1.0)?)?)),
        "sub" => |c| one(c.x()?.sub(&c.operand("other", c.x()?.dtype())?.mul(c.number_or("alpha", 1.0)?)?)),
        "rsub" | "__rsub__" => {
            |c| one(c.operand("other", c.x()?.dtype())?.sub(&c.x()?.mul(c.number_or("alpha", 1.0)?)?))
        }
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
        "addcmul" => |c| one(c.x()?.add(&c.var("tensor1")?.mul(&c.var("tensor2")?)?.mul(c.number_or("value", 1.0)?)?)),
        "addcdiv" => |c| one(c.x()?.add(&c.var("tensor1")?.div(&c.var("tensor2")?)?.mul(c.number_or("value", 1.0)?)?)),
        _ => return None,
    })
}
