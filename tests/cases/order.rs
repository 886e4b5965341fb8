//! Extremes with positions, medians, quantiles, modes, the different ones.

use super::sort::line;
use super::{Array, Case, numbers, specials, ties};
use kiln_autograd::ops::*;
use kiln_autograd::{Axes, Result, Tensor, Var, keep};

/// A fold of one axis into a value and its position.
type Picks = fn(&[f64]) -> usize;

fn order(row: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[a].partial_cmp(&row[b]).unwrap_or(row[a].is_nan().cmp(&row[b].is_nan())));
    order
}

fn numbers_of(row: &[f64]) -> usize {
    row.iter().filter(|x| !x.is_nan()).count()
}

fn extreme(row: &[f64], sign: f64) -> usize {
    let better = |x: f64, best: f64| sign * x > sign * best || (x.is_nan() && !best.is_nan());
    (0..row.len()).fold(0, |best, i| if better(row[i], row[best]) { i } else { best })
}

fn most_frequent(row: &[f64]) -> usize {
    let order = order(row);
    let mut best = (0, 0);
    for (i, &at) in order.iter().enumerate() {
        let run = (0..=i).rev().take_while(|&j| row[order[j]] == row[at]).count().max(1);
        if run > best.0 {
            best = (run, at);
        }
    }
    best.1
}

fn picks() -> Vec<(&'static str, fn(&Var, Axes) -> Result<(Var, Var)>, Picks)> {
    vec![
        ("max", |x, a| x.max(a), |row| extreme(row, 1.0)),
        ("min", |x, a| x.min(a), |row| extreme(row, -1.0)),
        ("kthvalue", |x, a| x.kthvalue(2, a), |row| order(row)[1]),
        (
            "median",
            |x, a| x.median(a),
            |row| {
                let numbers = numbers_of(row);
                order(row)[if numbers < row.len() { numbers } else { (row.len() - 1) / 2 }]
            },
        ),
        ("nanmedian", |x, a| x.nanmedian(a), |row| order(row)[numbers_of(row).saturating_sub(1) / 2]),
        ("mode", |x, a| x.mode(a), most_frequent),
    ]
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, f, pick) in picks() {
        for (dims, axis) in [(&[7][..], 0usize), (&[4, 5], 0), (&[4, 5], 1), (&[2, 3, 2], 1)] {
            let picked = move |x: &[Array]| {
                let mut dims = x[0].dims.clone();
                dims[axis] = 1;
                let at = Array::build(&dims, |i| pick(&line(&x[0], i, axis)) as f64);
                let y = Array::build(&dims, |i| line(&x[0], i, axis)[at.at(i) as usize]);
                vec![y, at]
            };
            for input in [numbers(dims, 1), ties(dims), specials(dims)] {
                let f = move |x: &[Var]| f(&x[0], keep(axis as isize)).map(|(y, at)| vec![y, at]);
                cases.push(
                    Case::many(format!("{name} {dims:?} along {axis}"), vec![input], f)
                        .references(picked)
                        .no_gradient(),
                );
            }
            let smooth = move |x: &[Var]| f(&x[0], Axes::of(axis as isize)).map(|y| y.0);
            if name != "mode" {
                cases.push(Case::new(format!("{name} {dims:?}"), vec![numbers(dims, 1)], smooth));
            }
        }
        let all = move |x: &[Var]| f(&x[0], Axes::of(..)).map(|(y, at)| vec![y, at]);
        let case = Case::many(format!("{name} of all"), vec![numbers(&[2, 3], 1)], all).no_gradient();
        cases.push(case.references(move |x| {
            let at = pick(&x[0].values);
            let scalar = |value: f64| Array { dims: vec![], values: vec![value] };
            vec![scalar(x[0].values[at]), scalar(at as f64)]
        }));
    }
    cases.extend(quantiles());
    cases.push(
        Case::many("aminmax", vec![numbers(&[3, 4], 1)], |x| x[0].aminmax(-1).map(|(a, b)| vec![a, b])).references(
            |x| {
                let of = |sign: f64| {
                    Array::build(&[3], |i| line(&x[0], &[i[0], 0], 1)[extreme(&line(&x[0], &[i[0], 0], 1), sign)])
                };
                vec![of(-1.0), of(1.0)]
            },
        ),
    );
    let unique = |x: &[Var]| x[0].unique().map(|found| vec![found.values, found.inverse, found.counts]);
    cases.push(Case::many("unique", vec![ties(&[4, 5])], unique).no_gradient().references(|x| {
        let mut values = x[0].values.clone();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let inverse = x[0].map(|v| values.iter().position(|&u| u == v).unwrap() as f64);
        let counts = values.iter().map(|u| x[0].values.iter().filter(|v| *v == u).count() as f64).collect();
        let n = vec![values.len()];
        vec![Array { dims: n.clone(), values }, inverse, Array { dims: n, values: counts }]
    }));
    cases
}

fn quantiles() -> Vec<Case> {
    use Interpolation::{Higher, Linear, Lower, Midpoint, Nearest};
    let mut cases = Vec::new();
    for between in [Linear, Lower, Higher, Nearest, Midpoint] {
        for (dims, axis) in [(&[7][..], 0usize), (&[4, 3], 0), (&[3, 4], 1)] {
            let f = move |x: &[Var]| x[0].quantiles(&[0.0, 0.3, 1.0], axis as isize, between);
            let case = Case::new(format!("quantiles {between:?} {dims:?}"), vec![numbers(dims, 1)], f).slack(64.0);
            cases.push(case.reference(move |x| {
                let rest: Vec<usize> = (0..x[0].dims.len()).filter(|&a| a != axis).map(|a| x[0].dims[a]).collect();
                Array::build(&[&[3], &rest[..]].concat(), |i| {
                    let mut at = i[1..].to_vec();
                    at.insert(axis, 0);
                    let mut row = line(&x[0], &at, axis);
                    row.sort_by(f64::total_cmp);
                    let place = [0.0, 0.3, 1.0][i[0]] * (row.len() - 1) as f64;
                    let (low, high) = (row[place.floor() as usize], row[place.ceil() as usize]);
                    match between {
                        Linear => low + (place - place.floor()) * (high - low),
                        Lower => low,
                        Higher => high,
                        Nearest => row[place.round_ties_even() as usize],
                        Midpoint => (low + high) / 2.0,
                    }
                })
            }));
        }
    }
    cases
}

#[test]
fn slices_that_differ() {
    let x = Tensor::new([[1, 2], [0, 5], [1, 2], [0, 4]]);
    let found = x.unique_along(0).unwrap();
    assert_eq!(found.values.to_vec::<i32>().unwrap(), [0, 4, 0, 5, 1, 2]);
    assert_eq!(found.inverse.to_vec::<i64>().unwrap(), [2, 1, 2, 0]);
    assert_eq!(found.counts.to_vec::<i64>().unwrap(), [1, 1, 2]);
    let runs = Tensor::new([1, 1, 2, 1]).unique_consecutive().unwrap();
    assert_eq!(runs.values.to_vec::<i32>().unwrap(), [1, 2, 1]);
    assert_eq!(
        (runs.inverse.to_vec::<i64>().unwrap(), runs.counts.to_vec::<i64>().unwrap()),
        (vec![0, 0, 1, 2], vec![2, 1, 1])
    );
    let none = Tensor::full([0], 1i64).unwrap().unique().unwrap();
    assert_eq!((none.values.count(), none.inverse.count(), none.counts.count()), (0, 0, 0));
    let one = Tensor::scalar(3.0, kiln_autograd::DType::F32).unique().unwrap();
    assert_eq!((one.values.shape().dims(), one.inverse.rank()), (&[1][..], 0));
}

#[test]
fn nan_is_passed_over_where_asked() {
    let x = Tensor::new([[f64::NAN, 1.0, 3.0], [f64::NAN, f64::NAN, f64::NAN]]);
    let y = x.nanquantile(0.5, 1, Interpolation::Linear).unwrap().to_vec::<f64>().unwrap();
    assert!(y[0] == 2.0 && y[1].is_nan());
    assert!(x.quantile(0.0, 1, Interpolation::Lower).unwrap().to_vec::<f64>().unwrap()[0].is_nan());
    let half = Tensor::new([1, 2]).quantile(0.5, .., Interpolation::Linear).unwrap();
    assert_eq!(half.to_vec::<f32>().unwrap(), [1.5]);
}

#[test]
fn mistakes_are_errors() {
    let x = numbers(&[2, 3], 1);
    let nothing = numbers(&[2, 0], 1);
    for (error, part) in [
        (x.kthvalue(4, 1).unwrap_err(), "kthvalue: there is no element number 4 of 3"),
        (x.kthvalue(0, 1).unwrap_err(), "no element number 0"),
        (x.max([0, 1]).unwrap_err(), "max: looks along one axis or all"),
        (nothing.median(1).unwrap_err(), "median: [2, 0] has no element to choose from"),
        (
            x.quantile(1.5, 0, Interpolation::Linear).unwrap_err(),
            "quantile: shares must lie between 0 and 1, found [1.5]",
        ),
        (x.mode(2).unwrap_err(), "mode: axis 2 is out of range"),
    ] {
        let text = error.to_string();
        assert!(text.contains(part) && text.contains("order.rs"), "{text}");
    }
}
