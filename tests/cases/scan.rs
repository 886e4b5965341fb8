//! Running folds.

use super::sort::{both, line};
use super::{Array, Case, numbers, specials, ties};
use kiln_autograd::ops::*;
use kiln_autograd::{Result, Var};

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (dims, axis) in [(&[7][..], 0usize), (&[4, 5], 0), (&[4, 5], 1), (&[2, 3, 4], 1), (&[0, 3], 1), (&[3, 0], 0)] {
        for input in [numbers(dims, 1), ties(dims), specials(dims)] {
            for largest in [false, true] {
                let f = move |x: &[Var]| {
                    both(if largest { x[0].cummax(axis as isize)? } else { x[0].cummin(axis as isize)? })
                };
                let case = Case::many(format!("cummax {largest} {dims:?} along {axis}"), vec![input.clone()], f);
                cases.push(case.no_gradient().references(move |x| {
                    let best = |row: &[f64]| {
                        let better =
                            |a: f64, b: f64| a.is_nan() || (!b.is_nan() && if largest { a >= b } else { a <= b });
                        (0..row.len()).fold(0, |best, i| if better(row[i], row[best]) { i } else { best })
                    };
                    let at = Array::build(&x[0].dims, |i| best(&line(&x[0], i, axis)[..=i[axis]]) as f64);
                    let y = Array::build(&x[0].dims, |i| line(&x[0], i, axis)[at.at(i) as usize]);
                    vec![y, at]
                }));
            }
        }
        let smooth = |name: &str, f: fn(&Var, isize) -> Result<Var>| {
            Case::new(format!("{name} {dims:?}"), vec![numbers(dims, 2)], move |x| f(&x[0], axis as isize))
        };
        cases.push(smooth("cumulative maximum", |x, a| x.cummax(a).map(|y| y.0)));
        let sums = move |x: &[Array]| Array::build(&x[0].dims, |i| line(&x[0], i, axis)[..=i[axis]].iter().sum());
        cases.push(
            smooth("cumsum", |x, a| x.cumsum(a)).reference(sums).slack(64.0).large(vec![numbers(&[300, 501], 1)]),
        );
    }
    cases
}
