//! Folds and statistics over every choice of axes.

use super::{Array, Case, numbers, specials, ties};
use kiln_autograd::ops::*;
use kiln_autograd::{Result, Tensor, Var};

const SHAPES: &[(&[usize], &[isize])] = &[
    (&[2, 3, 4], &[]),
    (&[2, 3, 4], &[0]),
    (&[2, 3, 4], &[1]),
    (&[2, 3, 4], &[-1]),
    (&[2, 3, 4], &[0, 2]),
    (&[2, 3, 4], &[-1, 0, 1]),
    (&[7], &[0]),
    (&[], &[]),
    (&[1, 5], &[0]),
];

type Fold = fn(&Var, &[isize], bool) -> Result<Var>;

/// The axes of [`SHAPES`], where an empty list means all.
fn axes_of(list: &[isize], keep_dims: bool) -> Axes {
    if list.is_empty() { Axes::of(..) } else { Axes::of(list) }.keep_dims(keep_dims)
}

fn folds() -> Vec<(&'static str, Fold, fn(&[f64]) -> f64)> {
    vec![
        ("sum", |x, a, k| x.reduce(Sum, axes_of(a, k)), |v| v.iter().sum()),
        ("prod", |x, a, k| x.reduce(Prod, axes_of(a, k)), |v| v.iter().product()),
        ("amax", |x, a, k| x.reduce(Max, axes_of(a, k)), largest),
        ("amin", |x, a, k| x.reduce(Min, axes_of(a, k)), |v| -largest(&v.iter().map(|x| -x).collect::<Vec<_>>())),
        ("nansum", |x, a, k| x.nansum(axes_of(a, k)), |v| known(v).iter().sum()),
        ("nanmean", |x, a, k| x.nanmean(axes_of(a, k)), |v| known(v).iter().sum::<f64>() / known(v).len() as f64),
        ("nanmax", |x, a, k| x.nanmax(axes_of(a, k)), |v| v.iter().copied().fold(f64::NAN, f64::max)),
        ("nanmin", |x, a, k| x.nanmin(axes_of(a, k)), |v| v.iter().copied().fold(f64::NAN, f64::min)),
        ("mean", |x, a, k| x.mean(axes_of(a, k)), |v| v.iter().sum::<f64>() / v.len() as f64),
        ("var", |x, a, k| x.var(axes_of(a, k), 0.0), |v| variance(v, 0.0)),
        (
            "std",
            |x, a, k| x.add(&x.square()?)?.std(axes_of(a, k), 0.5),
            |v| variance(&v.iter().map(|x| x + x * x).collect::<Vec<_>>(), 0.5).sqrt(),
        ),
        ("logsumexp", |x, a, k| x.logsumexp(axes_of(a, k)), |v| v.iter().map(|x| x.exp()).sum::<f64>().ln()),
        ("norm 2", |x, a, k| x.norm(2.0, axes_of(a, k)), |v| v.iter().map(|x| x * x).sum::<f64>().sqrt()),
        ("norm 1", |x, a, k| x.norm(1.0, axes_of(a, k)), |v| v.iter().map(|x| x.abs()).sum()),
        ("norm 3", |x, a, k| x.norm(3.0, axes_of(a, k)), |v| v.iter().map(|x| x.abs().powi(3)).sum::<f64>().cbrt()),
        ("norm 0", |x, a, k| x.norm(0.0, axes_of(a, k)), |v| v.iter().filter(|x| **x != 0.0).count() as f64),
        (
            "norm inf",
            |x, a, k| x.norm(f64::INFINITY, axes_of(a, k)),
            |v| largest(&v.iter().map(|x| x.abs()).collect::<Vec<_>>()),
        ),
        (
            "norm -inf",
            |x, a, k| x.norm(f64::NEG_INFINITY, axes_of(a, k)),
            |v| -largest(&v.iter().map(|x| -x.abs()).collect::<Vec<_>>()),
        ),
    ]
}

/// Those that are numbers.
fn known(v: &[f64]) -> Vec<f64> {
    v.iter().copied().filter(|x| !x.is_nan()).collect()
}

fn counts() -> Vec<(&'static str, Fold, fn(&[f64]) -> f64)> {
    vec![
        ("any", |x, a, k| x.any(axes_of(a, k)), |v| f64::from(u8::from(v.iter().any(|x| *x != 0.0)))),
        ("all", |x, a, k| x.all(axes_of(a, k)), |v| f64::from(u8::from(v.iter().all(|x| *x != 0.0)))),
        ("count_nonzero", |x, a, k| x.count_nonzero(axes_of(a, k)), |v| v.iter().filter(|x| **x != 0.0).count() as f64),
    ]
}

fn largest(v: &[f64]) -> f64 {
    v.iter().fold(f64::NEG_INFINITY, |a, &x| if x.is_nan() || a.is_nan() { f64::NAN } else { a.max(x) })
}

fn variance(v: &[f64], correction: f64) -> f64 {
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (v.len() as f64 - correction).max(0.0)
}

/// Folds the axes of an array; none named means all.
fn fold(x: &Array, axes: &[isize], keep: bool, f: fn(&[f64]) -> f64) -> Array {
    let rank = x.dims.len();
    let flags: Vec<bool> = (0..rank as isize)
        .map(|a| axes.is_empty() || axes.contains(&a) || axes.contains(&(a - rank as isize)))
        .collect();
    let kept: Vec<usize> = (0..rank).map(|a| if flags[a] { 1 } else { x.dims[a] }).collect();
    let mut groups = vec![Vec::new(); kept.iter().product()];
    for (flat, &value) in x.values.iter().enumerate() {
        let at = super::unravel(flat, &x.dims);
        let group = (0..rank).fold(0, |group, a| group * kept[a] + if flags[a] { 0 } else { at[a] });
        groups[group].push(value);
    }
    let values = groups.iter().map(|group| f(group)).collect();
    let dims = if keep { kept } else { (0..rank).filter(|&a| !flags[a]).map(|a| x.dims[a]).collect() };
    Array { dims, values }
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, f, g) in folds() {
        for &(dims, axes) in SHAPES {
            // The spread of a single element is 0, where its root has no derivative.
            if name == "std" && (dims.is_empty() || dims == [1, 5]) {
                continue;
            }
            for keep in [false, true] {
                let case =
                    Case::new(format!("{name} {dims:?} over {axes:?} keep {keep}"), vec![numbers(dims, 1)], move |x| {
                        f(&x[0], axes, keep)
                    });
                cases.push(case.reference(move |x| fold(&x[0], axes, keep, g)).slack(64.0));
            }
        }
        for axes in [&[][..], &[0], &[1]] {
            let case = Case::new(format!("{name} of specials over {axes:?}"), vec![specials(&[6, 4])], move |x| {
                f(&x[0], axes, false)
            });
            if !name.starts_with("norm") && name != "std" && name != "var" {
                cases.push(case.reference(move |x| fold(&x[0], axes, false, g)).no_gradient().slack(64.0));
            }
            let many = Case::new(format!("{name} of many over {axes:?}"), vec![numbers(&[3, 3], 8)], move |x| {
                f(&x[0], axes, false)
            });
            let many = many.reference(move |x| fold(&x[0], axes, false, g)).slack(64.0);
            cases.push(many.large(vec![numbers(&[700, 300], 7)]));
        }
        if matches!(name, "sum" | "prod" | "mean" | "norm 2" | "norm 1" | "norm 3" | "logsumexp") {
            for (dims, axes) in [(&[0, 3][..], &[0][..]), (&[0, 3], &[1]), (&[2, 0], &[])] {
                let case = Case::new(format!("{name} of nothing {dims:?}"), vec![numbers(dims, 1)], move |x| {
                    f(&x[0], axes, false)
                });
                cases.push(case.reference(move |x| fold(&x[0], axes, false, g)));
            }
        }
    }
    for (name, f, g) in counts() {
        for &(dims, axes) in SHAPES {
            for input in [ties(dims), specials(dims)] {
                let case = Case::new(format!("{name} {dims:?}"), vec![input], move |x| f(&x[0], axes, false));
                cases.push(case.reference(move |x| fold(&x[0], axes, false, g)).no_gradient());
            }
        }
    }
    let zeros = Tensor::new([[0.0, 2.0, 3.0], [0.0, 0.0, 1.5], [1.0, -2.0, 0.5]]);
    cases.push(Case::new("prod through zeros", vec![zeros], |x| x[0].prod(1)));
    cases.extend(arg());
    cases
}

fn arg() -> Vec<Case> {
    fn position(v: &[f64], sign: f64) -> f64 {
        let better = |x: f64, best: f64| sign * x > sign * best || (x.is_nan() && !best.is_nan());
        v.iter().enumerate().fold(0, |best, (i, &x)| if better(x, v[best]) { i } else { best }) as f64
    }
    let mut cases = Vec::new();
    for input in [numbers(&[4, 5], 1), ties(&[4, 5]), specials(&[4, 5]), numbers(&[1, 1], 3)] {
        for axis in [None, Some(0), Some(-1)] {
            for largest in [true, false] {
                let axes: Vec<isize> = axis.into_iter().collect();
                let along = axes_of(&axes, false);
                let case = Case::new(format!("arg_reduce {largest} {axis:?}"), vec![input.clone()], move |x| {
                    if largest { x[0].argmax(along.clone()) } else { x[0].argmin(along.clone()) }
                });
                cases.push(case.no_gradient().reference(move |x| match largest {
                    true => fold(&x[0], &axes, false, |v| position(v, 1.0)),
                    false => fold(&x[0], &axes, false, |v| position(v, -1.0)),
                }));
            }
        }
    }
    cases
}

#[test]
fn statistics_in_pairs() {
    let x = numbers(&[3, 4], 1);
    let (var, mean) = x.var_mean(0, 1.0).unwrap();
    assert!(var.same_bits(&x.var(0, 1.0).unwrap()) && mean.same_bits(&x.mean(0).unwrap()));
    let (std, mean) = x.std_mean(keep(1), 0.0).unwrap();
    assert_eq!((std.shape().dims(), mean.shape().dims()), (&[3, 1][..], &[3, 1][..]));
    let distance = Tensor::new([1.0, 2.0]).dist(&Tensor::new([4.0, 6.0]), 2.0).unwrap();
    assert_eq!(distance.item().unwrap(), 5.0);
    let none = Tensor::new([[f64::NAN, 1.0], [f64::NAN, 2.0]]);
    assert!(none.nanmax(0).unwrap().to_vec::<f64>().unwrap()[0].is_nan());
    assert_eq!(Tensor::new([1, 2]).nanmean(..).unwrap().item().unwrap(), 1.5);
    assert_eq!(Tensor::new([1, 2]).nanmax(..).unwrap().to_vec::<i32>().unwrap(), [2]);
}
