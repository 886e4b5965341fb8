//! Elementwise functions: each against the standard library, at points of its domain away from kinks, at special
//! values, and with every way of broadcasting.

use super::{Array, Case, indices, numbers, specials, ties};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Result, Tensor, Var};
use std::f64::consts::PI;

type Unary = fn(&Var) -> Result<Var>;
type Binary = fn(&Var, &Var) -> Result<Var>;

const LINE: &[f64] = &[-2.3, -1.1, -0.37, 0.21, 0.83, 1.7, 2.6];
const POSITIVE: &[f64] = &[0.05, 0.3, 0.9, 1.3, 2.2, 7.5, 40.0];
const UNIT: &[f64] = &[-0.93, -0.5, -0.11, 0.02, 0.34, 0.7, 0.97];
const ABOVE_ONE: &[f64] = &[1.05, 1.5, 2.0, 3.3, 8.0, 20.0, 100.0];
const PROBABILITY: &[f64] = &[0.02, 0.1, 0.35, 0.5, 0.66, 0.9, 0.99];

/// Functions with a smooth derivative on the points given.
fn smooth() -> Vec<(&'static str, Unary, fn(f64) -> f64, &'static [f64])> {
    vec![
        ("neg", |x| MathOps::neg(x), |x| -x, LINE),
        ("abs", |x| x.abs(), f64::abs, LINE),
        ("square", |x| x.square(), |x| x * x, LINE),
        ("sqrt", |x| x.sqrt(), f64::sqrt, POSITIVE),
        ("rsqrt", |x| x.rsqrt(), |x| 1.0 / x.sqrt(), POSITIVE),
        ("reciprocal", |x| x.reciprocal(), |x| 1.0 / x, LINE),
        ("exp", |x| x.exp(), f64::exp, LINE),
        ("exp2", |x| x.exp2(), f64::exp2, LINE),
        ("expm1", |x| x.expm1(), f64::exp_m1, LINE),
        ("log", |x| x.log(), f64::ln, POSITIVE),
        ("log2", |x| x.log2(), f64::log2, POSITIVE),
        ("log10", |x| x.log10(), f64::log10, POSITIVE),
        ("log1p", |x| x.log1p(), f64::ln_1p, POSITIVE),
        ("sin", |x| x.sin(), f64::sin, LINE),
        ("cos", |x| x.cos(), f64::cos, LINE),
        ("tan", |x| x.tan(), f64::tan, UNIT),
        ("asin", |x| x.asin(), f64::asin, UNIT),
        ("acos", |x| x.acos(), f64::acos, UNIT),
        ("atan", |x| x.atan(), f64::atan, LINE),
        ("sinh", |x| x.sinh(), f64::sinh, LINE),
        ("cosh", |x| x.cosh(), f64::cosh, LINE),
        ("tanh", |x| x.tanh(), f64::tanh, LINE),
        ("asinh", |x| x.asinh(), f64::asinh, LINE),
        ("acosh", |x| x.acosh(), f64::acosh, ABOVE_ONE),
        ("atanh", |x| x.atanh(), f64::atanh, UNIT),
        ("erf", |x| x.erf(), erf, LINE),
        ("erfc", |x| x.erfc(), |x| 1.0 - erf(x), LINE),
        ("lgamma", |x| x.lgamma(), ln_gamma, LINE),
        ("lgamma of positive", |x| x.lgamma(), ln_gamma, POSITIVE),
        ("digamma", |x| x.digamma(), digamma, LINE),
        ("i0", |x| x.i0(), bessel_i0, LINE),
        ("sinc", |x| x.sinc(), |x| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }, LINE),
        ("sinc near 0", |x| x.sinc(), |x| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }, UNIT),
        ("frac", |x| x.frac(), |x| x - x.trunc(), LINE),
        ("deg2rad", |x| x.deg2rad(), f64::to_radians, LINE),
        ("rad2deg", |x| x.rad2deg(), f64::to_degrees, LINE),
        ("logit_eps", |x| x.logit_eps(0.05), |x| logit(if x.is_nan() { x } else { x.clamp(0.05, 0.95) }), PROBABILITY),
        ("clamp_min", |x| x.clamp_min(-1.0), |x| if x.is_nan() { x } else { x.max(-1.0) }, LINE),
        ("clamp_max", |x| x.clamp_max(1.5), |x| if x.is_nan() { x } else { x.min(1.5) }, LINE),
        ("logit", |x| x.logit(), |x| (x / (1.0 - x)).ln(), PROBABILITY),
        ("relu", |x| x.relu(), |x| if x.is_nan() { x } else { x.max(0.0) }, LINE),
        ("relu6", |x| x.relu6(), |x| x.clamp(0.0, 6.0), LINE),
        ("sigmoid", |x| x.sigmoid(), sigmoid, LINE),
        ("log_sigmoid", |x| x.log_sigmoid(), |x| -softplus(-x), LINE),
        ("silu", |x| x.silu(), |x| x * sigmoid(x), LINE),
        ("mish", |x| x.mish(), |x| x * softplus(x).tanh(), LINE),
        ("gelu", |x| x.gelu(), |x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt())), LINE),
        (
            "gelu_tanh",
            |x| x.gelu_tanh(),
            |x| 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
            LINE,
        ),
        (
            "selu",
            |x| x.selu(),
            |x| 1.050_700_987_355_480_5 * if x > 0.0 { x } else { 1.673_263_242_354_377_2 * x.exp_m1() },
            LINE,
        ),
        ("softplus", |x| x.softplus(), softplus, LINE),
        ("softsign", |x| x.softsign(), |x| x / (1.0 + x.abs()), LINE),
        ("hard_sigmoid", |x| x.hard_sigmoid(), |x| (x / 6.0 + 0.5).clamp(0.0, 1.0), LINE),
        ("hard_silu", |x| x.hard_silu(), |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0), LINE),
        ("tanhshrink", |x| x.tanhshrink(), |x| x - x.tanh(), LINE),
        ("leaky_relu", |x| x.leaky_relu(0.1), |x| if x > 0.0 { x } else { 0.1 * x }, LINE),
        ("elu", |x| x.elu(0.7), |x| if x > 0.0 { x } else { 0.7 * x.exp_m1() }, LINE),
        ("celu", |x| x.celu(0.7), |x| if x > 0.0 { x } else { 0.7 * (x / 0.7).exp_m1() }, LINE),
        ("hard_tanh", |x| x.hard_tanh(-0.5, 2.0), |x| x.clamp(-0.5, 2.0), LINE),
        ("hard_shrink", |x| x.hard_shrink(0.5), |x| if x.abs() <= 0.5 { 0.0 } else { x }, LINE),
        ("soft_shrink", |x| x.soft_shrink(0.5), |x| if x.abs() <= 0.5 { 0.0 } else { x - 0.5f64.copysign(x) }, LINE),
        ("threshold", |x| x.threshold(0.5, -3.0), |x| if x <= 0.5 { -3.0 } else { x }, LINE),
        ("sparse_sigmoid", |x| x.sparse_sigmoid(), |x| ((x + 1.0) / 2.0).clamp(0.0, 1.0), LINE),
        ("sparse_plus", |x| x.sparse_plus(), sparse_plus, LINE),
        ("squareplus", |x| x.squareplus(4.0), squareplus, LINE),
        (
            "softplus_scaled",
            |x| x.softplus_scaled(2.0, 3.0),
            |x| if 2.0 * x > 3.0 { x } else { softplus(2.0 * x) / 2.0 },
            LINE,
        ),
        ("clamp", |x| x.clamp(-1.0, 1.5), |x| x.clamp(-1.0, 1.5), LINE),
        ("clamp from below", |x| x.clamp(0.0, f64::INFINITY), |x| if x.is_nan() { x } else { x.max(0.0) }, LINE),
        ("nan_to_num", |x| x.nan_to_num(1.0, 2.0, 3.0), nan_to_num, LINE),
        ("floor", |x| x.floor(), f64::floor, LINE),
        ("ceil", |x| x.ceil(), f64::ceil, LINE),
        ("round", |x| x.round(), f64::round_ties_even, LINE),
        ("trunc", |x| x.trunc(), f64::trunc, LINE),
        ("sign", |x| x.sign(), |x| if x == 0.0 || x.is_nan() { 0.0 } else { x.signum() }, LINE),
    ]
}

fn predicates() -> Vec<(&'static str, Unary, fn(f64) -> bool)> {
    vec![
        ("is_nan", |x| x.is_nan(), f64::is_nan),
        ("is_inf", |x| x.is_inf(), f64::is_infinite),
        ("is_finite", |x| x.is_finite(), f64::is_finite),
        ("logical_not", |x| x.logical_not(), |x| x == 0.0),
    ]
}

fn binaries() -> Vec<(&'static str, Binary, fn(f64, f64) -> f64)> {
    vec![
        ("add", |a, b| a.add(b), |a, b| a + b),
        ("sub", |a, b| a.sub(b), |a, b| a - b),
        ("mul", |a, b| a.mul(b), |a, b| a * b),
        ("div", |a, b| a.div(b), |a, b| a / b),
        ("maximum", |a, b| a.maximum(b), |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }),
        ("minimum", |a, b| a.minimum(b), |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }),
        ("fmax", |a, b| a.fmax(b), f64::max),
        ("fmin", |a, b| a.fmin(b), f64::min),
        ("fmod", |a, b| a.fmod(b), |a, b| a % b),
        ("atan2", |a, b| a.atan2(b), f64::atan2),
        ("hypot", |a, b| a.hypot(b), f64::hypot),
        ("copysign", |a, b| a.copysign(b), f64::copysign),
        ("logaddexp", |a, b| a.logaddexp(b), |a, b| log_add(a, b, 1.0)),
        ("logaddexp2", |a, b| a.logaddexp2(b), |a, b| log_add(a, b, 2f64.ln())),
        ("ldexp", |a, b| a.ldexp(b), |a, b| a * b.exp2()),
        ("addcmul", |a, b| a.addcmul(b, a, 0.5), |a, b| a + 0.5 * (b * a)),
        ("addcdiv", |a, b| a.addcdiv(b, a, 0.5), |a, b| a + 0.5 * (b / a)),
        ("prelu", |a, b| a.prelu(b), |a, b| if a > 0.0 { a } else { a * b }),
    ]
}

/// Functions that are not continuous, so that rounding the inputs changes the result.
fn jumping() -> Vec<(&'static str, Binary, fn(f64, f64) -> f64)> {
    vec![
        ("remainder", |a, b| a.remainder(b), |a, b| a - b * (a / b).floor()),
        ("floor_divide", |a, b| a.floor_divide(b), |a, b| (a / b).floor()),
        ("trunc_divide", |a, b| a.trunc_divide(b), |a, b| (a / b).trunc()),
    ]
}

fn comparisons() -> Vec<(&'static str, Binary, fn(f64, f64) -> bool)> {
    vec![
        ("eq", |a, b| a.eq(b), |a, b| a == b),
        ("ne", |a, b| a.ne(b), |a, b| a != b),
        ("lt", |a, b| a.lt(b), |a, b| a < b),
        ("le", |a, b| a.le(b), |a, b| a <= b),
        ("gt", |a, b| a.gt(b), |a, b| a > b),
        ("ge", |a, b| a.ge(b), |a, b| a >= b),
        ("logical_and", |a, b| a.logical_and(b), |a, b| a != 0.0 && b != 0.0),
        ("logical_or", |a, b| a.logical_or(b), |a, b| a != 0.0 || b != 0.0),
        ("logical_xor", |a, b| a.logical_xor(b), |a, b| (a != 0.0) != (b != 0.0)),
        (
            "isclose",
            |a, b| a.isclose(b, 0.1, 0.01, false),
            |a, b| a == b || ((a - b).abs() <= 0.01 + 0.1 * b.abs() && b.is_finite()),
        ),
        (
            "isclose equal_nan",
            |a, b| a.isclose(b, 0.1, 0.01, true),
            |a, b| a == b || (a.is_nan() && b.is_nan()) || ((a - b).abs() <= 0.01 + 0.1 * b.abs() && b.is_finite()),
        ),
    ]
}

const BROADCASTS: &[(&[usize], &[usize])] = &[
    (&[5], &[5]),
    (&[3, 4], &[4]),
    (&[2, 1, 3], &[4, 1]),
    (&[], &[2, 2]),
    (&[2, 3], &[]),
    (&[0, 3], &[1, 3]),
    (&[], &[]),
];

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, f, g, points) in smooth() {
        let inputs = |dims: &[usize]| {
            let count: usize = dims.iter().product();
            vec![Tensor::from_vec((0..count).map(|i| points[i % points.len()]).collect::<Vec<f64>>(), dims).unwrap()]
        };
        // The references' series cancel far from 0.
        let slack = if ["erf", "gelu", "lgamma", "digamma"].iter().any(|inexact| name.starts_with(inexact)) {
            1024.0
        } else {
            16.0
        };
        for dims in [&[7][..], &[2, 3, 5], &[], &[0, 4]] {
            let case = Case::new(format!("{name} {dims:?}"), inputs(dims), move |x| f(&x[0])).slack(slack);
            cases.push(case.reference(move |x| x[0].map(g)));
        }
        let last = cases.last_mut().unwrap();
        last.large = Some(inputs(&[300, 501]));
        let special = Case::new(format!("{name} of specials"), vec![specials(&[17])], move |x| f(&x[0]));
        cases.push(special.reference(move |x| x[0].map(g)).no_gradient().slack(slack));
    }
    for (name, f, g) in predicates() {
        let truth = move |x: &[Array]| x[0].map(|v| f64::from(u8::from(g(v))));
        for input in [specials(&[17]), numbers(&[2, 3], 1), ties(&[9])] {
            cases.push(Case::new(name, vec![input], move |x| f(&x[0])).reference(truth).no_gradient());
        }
    }
    cases.extend(of_two());
    cases.extend(of_three());
    cases.extend(gates());
    cases.extend(special_functions());
    cases
}

fn both(g: impl Fn(f64, f64) -> f64) -> impl Fn(&[Array]) -> Array {
    move |x| {
        let spec = |a: &Array| kiln_autograd::Shape::new(&a.dims).unwrap();
        let shape = spec(&x[0]).broadcast(&spec(&x[1])).unwrap();
        Array::build(&shape, |index| g(x[0].broadcast_at(index), x[1].broadcast_at(index)))
    }
}

fn of_two() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, f, g) in binaries() {
        for (a, b) in BROADCASTS {
            let inputs = vec![numbers(a, 1), numbers(b, 2)];
            let case = Case::new(format!("{name} {a:?} {b:?}"), inputs, move |x| f(&x[0], &x[1])).reference(both(g));
            cases.push(case.large(vec![numbers(&[300, 501], 1), numbers(&[501], 2)]));
        }
        let case = Case::new(
            format!("{name} of specials"),
            vec![specials(&[30]), specials(&[1, 30]).flip(-1).unwrap()],
            move |x| f(&x[0], &x[1]),
        );
        // Infinite remainders and angles have conventions of their own; the standard library's are IEEE's.
        cases.push(case.reference(both(g)).no_gradient());
        if !matches!(name, "maximum" | "minimum" | "fmax" | "fmin" | "fmod") {
            cases.push(Case::new(format!("{name} of one with itself"), vec![numbers(&[4], 5)], move |x| {
                f(&x[0], &x[0])
            }));
        }
    }
    for (name, f, g) in jumping() {
        let case = Case::new(name, vec![numbers(&[3, 5], 1), numbers(&[5], 2)], move |x| f(&x[0], &x[1]));
        cases.push(case.reference(both(g)).wide_only());
    }
    for (name, f, g) in comparisons() {
        let truth = move |a: f64, b: f64| f64::from(u8::from(g(a, b)));
        for (a, b) in
            [(ties(&[4, 5]), ties(&[5])), (specials(&[30]), specials(&[30])), (numbers(&[0, 2], 1), numbers(&[2], 2))]
        {
            cases.push(Case::new(name, vec![a, b], move |x| f(&x[0], &x[1])).reference(both(truth)).no_gradient());
        }
    }
    let positive = Tensor::from_vec(vec![0.3, 0.9, 1.4, 2.5, 3.0], 5usize).unwrap();
    let power =
        Case::new("pow", vec![positive.clone(), numbers(&[2, 5], 4)], |x| x[0].pow(&x[1])).reference(both(f64::powf));
    cases.push(power);
    let integer = Case::new("pow 3", vec![numbers(&[6], 4)], |x| x[0].pow(3.0)).reference(|x| x[0].map(|v| v.powi(3)));
    cases.push(integer);
    let xlogy = |a: f64, b: f64| if a == 0.0 && !b.is_nan() { 0.0 } else { a * b.ln() };
    let near = Tensor::from_vec(vec![1e-9, 0.9, -0.4, 2.5, 3.0], 5usize).unwrap();
    let xlog1py = |a: f64, b: f64| if a == 0.0 && !b.is_nan() { 0.0 } else { a * b.ln_1p() };
    cases.push(Case::new("xlog1py", vec![numbers(&[2, 5], 4), near], |x| x[0].xlog1py(&x[1])).reference(both(xlog1py)));
    cases.push(Case::new("xlogy", vec![numbers(&[2, 5], 4), positive], |x| x[0].xlogy(&x[1])).reference(both(xlogy)));
    cases.push(
        Case::new("xlogy of specials", vec![specials(&[30]), specials(&[30]).flip(..).unwrap()], |x| x[0].xlogy(&x[1]))
            .reference(both(xlogy))
            .no_gradient(),
    );
    cases
}

fn of_three() -> Vec<Case> {
    let lerp = |x: &[Array]| {
        Array::build(&[3, 4], |i| {
            let (a, b, w) = (x[0].broadcast_at(i), x[1].broadcast_at(i), x[2].broadcast_at(i));
            a + w * (b - a)
        })
    };
    let choose = |x: &[Array]| {
        Array::build(&[3, 4], |i| if x[0].broadcast_at(i) != 0.0 { x[1].broadcast_at(i) } else { x[2].broadcast_at(i) })
    };
    let mask = indices(&[3, 1], 2).cast(DType::Bool).unwrap();
    vec![
        Case::new("lerp", vec![numbers(&[3, 4], 1), numbers(&[4], 2), numbers(&[3, 1], 3)], |x| {
            x[0].lerp(&x[1], &x[2])
        })
        .reference(lerp),
        Case::new("select", vec![mask, numbers(&[4], 1), numbers(&[3, 4], 2)], |x| x[0].select(&x[1], &x[2]))
            .reference(choose),
    ]
}

/// Halves that gate each other.
fn gates() -> Vec<Case> {
    let gated = |axis: usize| {
        move |x: &[Array]| {
            let mut dims = x[0].dims.clone();
            dims[axis] /= 2;
            Array::build(&dims, |i| {
                let mut other = i.to_vec();
                other[axis] += dims[axis];
                x[0].at(i) * sigmoid(x[0].at(&other))
            })
        }
    };
    vec![
        Case::new("glu", vec![numbers(&[3, 6], 1)], |x| x[0].glu(-1)).reference(gated(1)),
        Case::new("glu of rows", vec![numbers(&[4, 3, 2], 1)], |x| x[0].glu(0))
            .reference(gated(0))
            .large(vec![numbers(&[8, 301, 101], 1)]),
        Case::new("glu of nothing", vec![numbers(&[2, 0], 1)], |x| x[0].glu(1)).reference(gated(1)),
    ]
}

#[test]
fn halves_of_an_odd_length_are_an_error() {
    let text = numbers(&[2, 3], 1).glu(-1).unwrap_err().to_string();
    assert!(text.starts_with("glu: axis -1 of [2, 3] has no two halves"), "{text}");
    assert!(Tensor::scalar(1.0, DType::F64).glu(0).is_err());
}

#[test]
fn a_bend_far_below_zero_does_not_cancel() {
    let y = Tensor::new([-1e6f32, -1e30]).squareplus(4.0).unwrap().to_vec::<f32>().unwrap();
    assert!((y[0] - 1e-6).abs() < 1e-12 && y[1] == 0.0, "{y:?}");
}

fn logit(x: f64) -> f64 {
    (x / (1.0 - x)).ln()
}

/// `ln(exp(unit · a) + exp(unit · b)) / unit`.
fn log_add(a: f64, b: f64, unit: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    let (low, high) = (a.min(b), a.max(b));
    if low == high && high.is_infinite() { high } else { high + ((low - high) * unit).exp().ln_1p() / unit }
}

/// By the recurrence, far enough that few terms of Stirling's series are left.
fn ln_gamma(x: f64) -> f64 {
    if x.is_infinite() {
        return f64::INFINITY;
    }
    let steps: f64 = (0..14).map(|i| (x + f64::from(i)).abs().ln()).sum();
    let z = x + 14.0;
    let series = [(12.0, 1), (-360.0, 3), (1260.0, 5), (-1680.0, 7), (1188.0, 9)];
    let series: f64 = series.iter().map(|(divisor, power)| 1.0 / (divisor * z.powi(*power))).sum();
    (z - 0.5) * z.ln() - z + 0.5 * (2.0 * PI).ln() + series - steps
}

fn digamma(x: f64) -> f64 {
    if x == 0.0 || x == f64::INFINITY {
        return if x == 0.0 { -1.0 / x } else { x };
    }
    let steps: f64 = (0..200).map(|i| 1.0 / (x + f64::from(i))).sum();
    let z = x + 200.0;
    z.ln() - 0.5 / z - 1.0 / (12.0 * z * z) + 1.0 / (120.0 * z.powi(4)) - steps
}

fn bessel_i0(x: f64) -> f64 {
    if x.is_infinite() {
        return f64::INFINITY;
    }
    let mut term = 1.0;
    1.0 + (1..200)
        .map(|k| {
            term *= x * x / (4.0 * f64::from(k * k));
            term
        })
        .sum::<f64>()
}

#[test]
fn special_functions_far_out() {
    let of = |x: f64, f: fn(&Tensor) -> Result<Tensor>| f(&Tensor::new([x])).unwrap().to_vec::<f64>().unwrap()[0];
    let close = |got: f64, want: f64| assert!((got - want).abs() <= 1e-14 * want.abs(), "{got} {want}");
    // From tables: erfc(5), ln Γ(100), ln Γ(1e10), ψ(1) = -γ, I₀(100).
    close(of(5.0, |x| x.erfc()), 1.537_459_794_428_034_8e-12);
    close(of(100.0, |x| x.lgamma()), 359.134_205_369_575_4);
    close(of(1e10, |x| x.lgamma()), 220_258_509_288.811_4);
    close(of(1.0, |x| x.digamma()), -0.577_215_664_901_532_9);
    close(of(100.0, |x| x.i0()), 1.073_751_707_131_073_8e42);
    let at = kiln_autograd::Tape::new().watch(&Tensor::new([20.0]));
    let slope = at.i0().unwrap().sum(..).unwrap().backward().unwrap().get(&at).unwrap().item().unwrap();
    close(slope, 42_454_973.385_127_775);
    assert_eq!(of(-3.0, |x| x.lgamma()), f64::INFINITY);
    assert!(of(-3.0, |x| x.digamma()).is_nan());
    assert_eq!(of(1e15 + 0.5, |x| x.sinc()), 1.0 / (PI * (1e15 + 0.5)));
    let single = Tensor::new([2.5f32]).lgamma().unwrap();
    assert_eq!((single.dtype(), single.to_vec::<f32>().unwrap()), (DType::F32, vec![0.284_682_87]));
    assert!((Tensor::new([6.0f32]).erfc().unwrap().item().unwrap() / 2.151_973_671_249_891e-17 - 1.0).abs() < 1e-6);
}

#[test]
fn bits_of_integers() {
    let (a, b) = (Tensor::new([12, -1, 7]), Tensor::new([10, 255, 0]));
    let values = |x: Result<Tensor>| x.unwrap().to_vec::<i32>().unwrap();
    assert_eq!(values(a.bitwise_and(&b)), [8, 255, 0]);
    assert_eq!(values(a.bitwise_or(&b)), [14, -1, 7]);
    assert_eq!(values(a.bitwise_xor(&b)), [6, -256, 7]);
    assert_eq!(values(a.bitwise_not()), [-13, 0, -8]);
    assert_eq!(values(a.bitwise_left_shift(31)), [0, i32::MIN, i32::MIN]);
    assert_eq!(values(a.bitwise_right_shift(&Tensor::new([2, 40, 70]))), [3, -1, 0]);
    assert_eq!(Tensor::new([1u8]).bitwise_not().unwrap().to_vec::<u8>().unwrap(), [254]);
    let (a, b) = (Tensor::new([true, false]), Tensor::new([true, true]));
    assert_eq!(a.bitwise_xor(&b).unwrap().to_vec::<bool>().unwrap(), [false, true]);
    assert_eq!(a.bitwise_not().unwrap().to_vec::<bool>().unwrap(), [false, true]);
    let text = Tensor::new([1.0]).bitwise_and(1).unwrap_err().to_string();
    assert!(text.starts_with("bitwise_and: needs integers or booleans, found f64"), "{text}");
}

#[test]
fn steps_and_closeness() {
    let x = Tensor::new([-1.0f32, 0.0, 2.0, f32::NAN]);
    assert_eq!(x.heaviside(0.5).unwrap().to_vec::<f32>().unwrap(), [0.0, 0.5, 1.0, 0.0]);
    let next = Tensor::new([1.0f32, 0.0, 3.0, -1.0]).nextafter(&Tensor::new([2.0f32, -1.0, 3.0, 0.0])).unwrap();
    let want = [1.0 + f32::EPSILON, -f32::from_bits(1), 3.0, -1.0 + f32::EPSILON / 2.0];
    assert_eq!(next.to_vec::<f32>().unwrap(), want);
    assert!(x.cast(DType::F16).unwrap().nextafter(0.0).is_err());
    assert!(!x.allclose(&x, 1e-5, 1e-8, false).unwrap() && x.allclose(&x, 1e-5, 1e-8, true).unwrap());
    let whole = Tensor::new([3u8, 200]);
    assert_eq!(whole.clamp_min(7).unwrap().to_vec::<u8>().unwrap(), [7, 200]);
    assert_eq!(whole.clamp_max(7).unwrap().to_vec::<u8>().unwrap(), [3, 7]);
    assert_eq!(whole.clamp_max(3.5).unwrap().to_vec::<f32>().unwrap(), [3.0, 3.5]);
    assert!(whole.clamp_min(300).is_err());
    let half = Tensor::new([f32::INFINITY]).cast(DType::F16).unwrap();
    assert_eq!(half.nan_to_num(0.0, None, None).unwrap().item().unwrap(), 65504.0);
    assert_eq!(
        Tensor::new([1.0, 1.0]).ldexp(&Tensor::new([1500.0, -1070.0])).unwrap().to_vec::<f64>().unwrap(),
        [f64::INFINITY, f64::from_bits(16)]
    );
    assert_eq!(
        Tensor::logspace::<f64>(0.0, 3.0, 4, 10.0).unwrap().to_vec::<f64>().unwrap(),
        [1.0, 10.0, 100.0, 1000.0]
    );
    assert_eq!(half.ones_like().spec(), half.spec());
}

/// The inverse of the error function, by undoing it.
fn special_functions() -> Vec<Case> {
    let points = vec![Tensor::from_vec(UNIT.to_vec(), 7usize).unwrap()];
    let inverse = Case::new("erf of erfinv", points.clone(), |x| x[0].erfinv()?.erf()).reference(|x| x[0].clone());
    let edges = Case::new("erfinv at its edges", vec![Tensor::new([-1.0, 1.0, 1.5, 0.0, f64::NAN])], |x| x[0].erfinv());
    let infinite = Array { dims: vec![5], values: vec![f64::NEG_INFINITY, f64::INFINITY, f64::NAN, 0.0, f64::NAN] };
    vec![
        inverse.slack(64.0),
        Case::new("erfinv", points, |x| x[0].erfinv()),
        edges.reference(move |_| infinite.clone()).no_gradient(),
    ]
}

fn sparse_plus(x: f64) -> f64 {
    match x {
        _ if x <= -1.0 => 0.0,
        _ if x < 1.0 => (x + 1.0) * (x + 1.0) / 4.0,
        _ => x,
    }
}

fn squareplus(x: f64) -> f64 {
    if x == f64::NEG_INFINITY { 0.0 } else { (x + x.hypot(2.0)) / 2.0 }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn nan_to_num(x: f64) -> f64 {
    match x {
        _ if x.is_nan() => 1.0,
        f64::INFINITY => 2.0,
        f64::NEG_INFINITY => 3.0,
        _ => x,
    }
}

/// The error function by its power series: exact to double precision for the points here, up to 3 and infinite ones.
fn erf(x: f64) -> f64 {
    if !x.is_finite() {
        return if x.is_nan() { x } else { x.signum() };
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}
