//! Running folds.

use super::sort::{both, line};
use super::{Array, Case, numbers, specials, ties};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Result, Tensor, Var};

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
        let products =
            move |x: &[Array]| Array::build(&x[0].dims, |i| line(&x[0], i, axis)[..=i[axis]].iter().product());
        let few = |name: &str, input: Tensor, f: fn(&Var, isize) -> Result<Var>| {
            Case::new(format!("{name} {dims:?}"), vec![input], move |x| f(&x[0], axis as isize)).slack(64.0)
        };
        // Nothing is divided by, so zeros are no matter.
        for input in [numbers(dims, 2), ties(dims)] {
            let case = few("cumprod", input, |x, a| x.cumprod(a)).reference(products);
            cases.push(case.large(vec![numbers(&[7, 90], 1)]));
        }
        let logs = move |x: &[Array]| Array::build(&x[0].dims, |i| log_sum(&line(&x[0], i, axis)[..=i[axis]]));
        cases.push(few("logcumsumexp", numbers(dims, 2), |x, a| x.logcumsumexp(a)).reference(logs));
        cases.push(
            few("logcumsumexp of specials", specials(dims), |x, a| x.logcumsumexp(a)).reference(logs).no_gradient(),
        );
        let two = vec![numbers(dims, 2), numbers(dims, 3)];
        let case = Case::new(format!("recurrence {dims:?}"), two, move |x| x[0].recurrence(&x[1], axis as isize));
        cases.push(case.slack(64.0).reference(move |x| {
            Array::build(&x[0].dims, |i| {
                let (terms, factors) = (line(&x[0], i, axis), line(&x[1], i, axis));
                (0..=i[axis]).fold(0.0, |h, i| if i == 0 { terms[0] } else { factors[i] * h + terms[i] })
            })
        }));
        let sums = move |x: &[Array]| Array::build(&x[0].dims, |i| line(&x[0], i, axis)[..=i[axis]].iter().sum());
        cases.push(
            smooth("cumsum", |x, a| x.cumsum(a)).reference(sums).slack(64.0).large(vec![numbers(&[300, 501], 1)]),
        );
    }
    cases
}

fn log_sum(row: &[f64]) -> f64 {
    let top = row.iter().fold(f64::NEG_INFINITY, |a, &b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) });
    if top.is_infinite() { top } else { row.iter().map(|x| (x - top).exp()).sum::<f64>().ln() + top }
}

#[test]
fn far_numbers_and_integers() {
    let x = Tensor::new([0.0f32, 1000.0, -1000.0, f32::NEG_INFINITY]);
    assert_eq!(x.logcumsumexp(0).unwrap().to_vec::<f32>().unwrap(), [0.0, 1000.0, 1000.0, 1000.0]);
    assert_eq!(Tensor::new([2u8, 200]).cumprod(0).unwrap().to_vec::<i64>().unwrap(), [2, 400]);
    assert_eq!(Tensor::scalar(3.0, DType::F64).cumprod(0).unwrap().item().unwrap(), 3.0);
    assert_eq!(Tensor::scalar(3.0, DType::F64).logcumsumexp(-1).unwrap().item().unwrap(), 3.0);
    let text = Tensor::new([1.0]).recurrence(&Tensor::new([1.0, 2.0]), 0).unwrap_err().to_string();
    assert!(text.starts_with("recurrence: factors [2] and terms [1] differ in shape"), "{text}");
}
