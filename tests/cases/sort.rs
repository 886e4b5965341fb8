//! Order along an axis, and the top few.

use super::{Array, Case, numbers, specials, ties};
use kiln_autograd::ops::*;
use kiln_autograd::{Result, Var};
use std::cmp::Ordering;

/// The row of `x` through an index along an axis.
pub fn line(x: &Array, index: &[usize], axis: usize) -> Vec<f64> {
    let mut at = index.to_vec();
    (0..x.dims[axis])
        .map(|i| {
            at[axis] = i;
            x.at(&at)
        })
        .collect()
}

fn order(row: &[f64], descending: bool) -> Vec<usize> {
    let compare = |a: f64, b: f64| {
        a.partial_cmp(&b).unwrap_or(match (a.is_nan(), b.is_nan()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => Ordering::Equal,
        })
    };
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| if descending { compare(row[b], row[a]) } else { compare(row[a], row[b]) });
    order
}

pub fn both((y, at): (Var, Var)) -> Result<Vec<Var>> {
    Ok(vec![y, at])
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (dims, axis) in [(&[7][..], 0usize), (&[4, 5], 0), (&[4, 5], 1), (&[2, 3, 4], 1), (&[0, 3], 1), (&[3, 0], 0)] {
        for input in [numbers(dims, 1), ties(dims), specials(dims)] {
            for descending in [false, true] {
                let f = move |x: &[Var]| both(x[0].sort(axis as isize, descending)?);
                let case =
                    Case::many(format!("sort {dims:?} along {axis}"), vec![input.clone()], f).references(move |x| {
                        let at = Array::build(&x[0].dims, |i| order(&line(&x[0], i, axis), descending)[i[axis]] as f64);
                        let y = Array::build(&x[0].dims, |i| line(&x[0], i, axis)[at.at(i) as usize]);
                        vec![y, at]
                    });
                // Neighbours that differ by less than a step of differences would change places.
                cases.push(case.no_gradient());
            }
        }
        let smooth = |name: &str, f: fn(&Var, isize) -> Result<Var>| {
            Case::new(format!("{name} {dims:?}"), vec![numbers(dims, 2)], move |x| f(&x[0], axis as isize))
        };
        cases.push(smooth("sorted", |x, a| x.sort(a, true).map(|y| y.0)));
    }
    cases.push(
        Case::new("top_k", vec![numbers(&[3, 6], 5)], |x| x[0].top_k(2, -1, true).map(|y| y.0))
            .large(vec![numbers(&[900, 60], 1)])
            .reference(|x| {
                Array::build(&[x[0].dims[0], 2], |i| {
                    let row = line(&x[0], &[i[0], 0], 1);
                    row[order(&row, true)[i[1]]]
                })
            }),
    );
    for (dims, axis, k) in
        [(&[4, 5][..], 0usize, 3usize), (&[2, 6, 3], 1, 2), (&[3, 200], 1, 100), (&[3, 4], 1, 4), (&[3, 4], 1, 0)]
    {
        for (input, largest) in [(numbers(dims, 1), true), (ties(dims), false), (specials(dims), true)] {
            let f = move |x: &[Var]| both(x[0].top_k(k, axis as isize, largest)?);
            let case = Case::many(format!("top_k {k} of {dims:?} along {axis}"), vec![input], f).references(move |x| {
                let mut few = x[0].dims.clone();
                few[axis] = k;
                let at = Array::build(&few, |i| order(&line(&x[0], i, axis), largest)[i[axis]] as f64);
                let y = Array::build(&few, |i| line(&x[0], i, axis)[at.at(i) as usize]);
                vec![y, at]
            });
            cases.push(case.no_gradient());
        }
    }
    cases.push(
        Case::new("sort of a scalar", vec![numbers(&[], 5)], |x| x[0].sort(0, true).map(|y| y.0))
            .reference(|x| x[0].clone()),
    );
    cases
}

#[test]
fn more_than_there_are_is_an_error() {
    assert!(numbers(&[3, 2], 1).top_k(3, 1, true).is_err());
    assert!(numbers(&[3, 2], 1).sort(2, true).is_err());
}
