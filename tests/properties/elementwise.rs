//! Functions of each element, broadcasting, and the types of results. Within 16 units of the type's precision.

use super::{Laid, NUMBERS, agrees, check, laid};
use crate::cases::Array;
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Result, Tensor};
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Copy)]
enum Gives {
    Float,
    Arithmetic,
    Comparison,
}

impl Gives {
    fn result(self, promoted: DType) -> DType {
        match self {
            Gives::Comparison => DType::Bool,
            Gives::Float if !promoted.is_float() => DType::F32,
            Gives::Arithmetic if promoted == DType::Bool => DType::I64,
            _ => promoted,
        }
    }
}

type Unary = (&'static str, Gives, fn(&Tensor) -> Result<Tensor>, fn(f64) -> f64);
type Binary = (&'static str, Gives, fn(&Tensor, &Tensor) -> Result<Tensor>, fn(f64, f64) -> f64);

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn unary() -> Vec<Unary> {
    use Gives::{Arithmetic, Comparison, Float};
    vec![
        ("neg", Arithmetic, |x| MathOps::neg(x), |x| -x),
        ("abs", Arithmetic, |x| x.abs(), f64::abs),
        ("square", Arithmetic, |x| x.square(), |x| x * x),
        ("sign", Arithmetic, |x| x.sign(), |x| if x == 0.0 { 0.0 } else { x.signum() }),
        ("floor", Arithmetic, |x| x.floor(), f64::floor),
        ("round", Arithmetic, |x| x.round(), f64::round_ties_even),
        ("relu", Arithmetic, |x| x.relu(), |x| x.max(0.0)),
        ("exp", Float, |x| x.exp(), f64::exp),
        ("sqrt", Float, |x| x.sqrt(), f64::sqrt),
        ("log", Float, |x| x.log(), f64::ln),
        ("sin", Float, |x| x.sin(), f64::sin),
        ("tanh", Float, |x| x.tanh(), f64::tanh),
        ("atan", Float, |x| x.atan(), f64::atan),
        ("sigmoid", Float, |x| x.sigmoid(), |x| 1.0 / (1.0 + (-x).exp())),
        ("reciprocal", Float, |x| x.reciprocal(), |x| 1.0 / x),
        ("logical_not", Comparison, |x| x.logical_not(), |x| truth(x == 0.0)),
        ("is_nan", Comparison, |x| x.is_nan(), |_| 0.0),
    ]
}

fn binary() -> Vec<Binary> {
    use Gives::{Arithmetic, Comparison, Float};
    vec![
        ("add", Arithmetic, |a, b| a.add(b), |a, b| a + b),
        ("sub", Arithmetic, |a, b| a.sub(b), |a, b| a - b),
        ("mul", Arithmetic, |a, b| a.mul(b), |a, b| a * b),
        ("maximum", Arithmetic, |a, b| a.maximum(b), f64::max),
        ("minimum", Arithmetic, |a, b| a.minimum(b), f64::min),
        ("div", Float, |a, b| a.div(b), |a, b| a / b),
        ("atan2", Float, |a, b| a.atan2(b), f64::atan2),
        ("hypot", Float, |a, b| a.hypot(b), f64::hypot),
        ("lt", Comparison, |a, b| a.lt(b), |a, b| truth(a < b)),
        ("ge", Comparison, |a, b| a.ge(b), |a, b| truth(a >= b)),
        ("eq", Comparison, |a, b| a.eq(b), |a, b| truth(a == b)),
        ("logical_and", Comparison, |a, b| a.logical_and(b), |a, b| truth(a != 0.0 && b != 0.0)),
    ]
}

/// What integers hold of a result: bytes wrap.
fn held(dtype: DType, x: f64) -> f64 {
    if dtype == DType::U8 { x.rem_euclid(256.0) } else { x }
}

/// The operand of a shape that broadcasts with another: without its first dimensions, and with 1 in the place of others.
fn beside(x: &Laid, drop: usize, ones: u32) -> Vec<usize> {
    let drop = drop.min(x.dims.len());
    x.dims[drop..].iter().enumerate().map(|(i, &d)| if ones >> i & 1 == 1 { 1 } else { d }).collect()
}

#[test]
fn functions_of_one() {
    check((laid(0..=4, NUMBERS), 0..unary().len()), |(x, which)| {
        let (name, kind, f, reference) = unary()[which];
        let x = x.build();
        let dtype = kind.result(x.dtype());
        let want = Array::of(&x).map(|x| held(dtype, reference(x)));
        agrees(name, &f(&x).map_err(|e| e.to_string())?, dtype, &want, 16.0)
    });
}

#[test]
fn functions_of_two() {
    let operands = (laid(0..=4, NUMBERS), laid(0..=4, NUMBERS), 0usize..5, any::<u32>());
    check((operands, 0..binary().len(), any::<bool>()), |((a, b, drop, ones), which, is_turned)| {
        let (name, kind, f, reference) = binary()[which];
        let (a, b) = (a.build(), b.with_dims(&beside(&a, drop, ones)).build());
        let (a, b) = if is_turned { (b, a) } else { (a, b) };
        let dtype = kind.result(a.dtype().promote(b.dtype()));
        let dims = a.shape().broadcast(b.shape()).unwrap();
        let (p, q) = (Array::of(&a), Array::of(&b));
        let want = Array::build(&dims, |i| held(dtype, reference(p.broadcast_at(i), q.broadcast_at(i))));
        agrees(name, &f(&a, &b).map_err(|e| e.to_string())?, dtype, &want, 16.0)
    });
}

#[test]
fn choices_and_bounds() {
    let operands = (laid(0..=4, &[DType::Bool]), laid(0..=4, NUMBERS), laid(0..=4, NUMBERS), any::<[u32; 2]>());
    check((operands, 0usize..5), |((mask, a, b, ones), drop)| {
        let (a, b) = (a.with_dims(&beside(&mask, drop, ones[0])), b.with_dims(&beside(&mask, 0, ones[1])));
        let (mask, a, b) = (mask.build(), a.build(), b.build());
        let dtype = a.dtype().promote(b.dtype());
        let (m, p, q) = (Array::of(&mask), Array::of(&a), Array::of(&b));
        let want = Array::build(&m.dims, |i| if m.at(i) != 0.0 { p.broadcast_at(i) } else { q.broadcast_at(i) });
        agrees("select", &mask.select(&a, &b).map_err(|e| e.to_string())?, dtype, &want, 1.0)?;
        let number = Gives::Arithmetic.result(a.dtype());
        let want = p.map(|x| x.clamp(0.0, 2.0));
        agrees("clamp", &a.clamp(0, 2).map_err(|e| e.to_string())?, number, &want, 1.0)
    });
}

#[test]
fn casts() {
    check((laid(0..=4, NUMBERS), select(NUMBERS)), |(x, to)| {
        let x = x.build();
        let is_float = x.dtype().is_float();
        let want = Array::of(&x).map(|x| match to {
            DType::Bool => truth(x != 0.0),
            // A negative number has no byte: floats stop at 0, integers wrap.
            DType::U8 if is_float => x.trunc().max(0.0),
            DType::U8 => x.rem_euclid(256.0),
            DType::I32 | DType::I64 => x.trunc(),
            _ => x,
        });
        agrees("cast", &x.cast(to).map_err(|e| e.to_string())?, to, &want, 0.0)
    });
}
