//! Softmax and its logarithm, and its projection that has zeros.

use super::{Array, Case, numbers, ties};
use kiln_autograd::Tensor;
use kiln_autograd::ops::*;

/// `exp(x) / Σ exp(x)` along an axis, or its logarithm.
pub fn softmax(x: &Array, axis: usize, log: bool) -> Array {
    if x.dims.is_empty() {
        return x.map(|x| if x.is_nan() { x } else { f64::from(u8::from(!log)) });
    }
    Array::build(&x.dims, |index| {
        let mut at = index.to_vec();
        let row: Vec<f64> = (0..x.dims[axis])
            .map(|i| {
                at[axis] = i;
                x.at(&at)
            })
            .collect();
        let top = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let total: f64 = row.iter().map(|v| (v - top).exp()).sum();
        let y = x.at(index) - top - total.ln();
        if log { y } else { y.exp() }
    })
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for log in [false, true] {
        let f = move |x: &kiln_autograd::Var, axis: isize| if log { x.log_softmax(axis) } else { x.softmax(axis) };
        let shapes: &[(&[usize], usize)] = &[
            (&[3, 5], 1),
            (&[3, 5], 0),
            (&[2, 3, 4], 1),
            (&[1], 0),
            (&[], 0),
            (&[0, 3], 1),
            (&[3, 0], 0),
            (&[2, 37], 1),
        ];
        for &(dims, axis) in shapes {
            for input in [numbers(dims, 1), ties(dims)] {
                let case = Case::new(format!("softmax log {log} {dims:?} axis {axis}"), vec![input], move |x| {
                    f(&x[0], axis as isize)
                });
                cases.push(
                    case.reference(move |x| softmax(&x[0], axis, log)).slack(64.0).large(vec![numbers(&[900, 200], 1)]),
                );
            }
        }
        let extremes = Tensor::new([[1000.0, 999.0, -1000.0], [f64::NEG_INFINITY, 0.0, 1.0], [-500.0, -500.5, -501.0]]);
        let case = Case::new(format!("softmax log {log} of extremes"), vec![extremes], move |x| f(&x[0], -1));
        cases.push(case.reference(move |x| softmax(&x[0], 1, log)).no_gradient().wide_only().slack(64.0));
    }
    let far = Tensor::new([[1e4f64, 1e4, 1e4 - 1.0], [-1e4, -1e4 - 1.0, 1.0 - 1e4]]);
    cases.push(
        Case::new("log_softmax far from 0", vec![far], |x| x[0].log_softmax(1)).reference(|x| softmax(&x[0], 1, true)),
    );
    cases.extend(sparse());
    cases
}

/// Each element above a threshold that is found by halving, so that what is left adds up to 1.
fn sparsemax(x: &Array, axis: usize) -> Array {
    if x.dims.is_empty() {
        return x.map(|_| 1.0);
    }
    Array::build(&x.dims, |index| {
        let mut at = index.to_vec();
        let row: Vec<f64> = (0..x.dims[axis])
            .map(|i| {
                at[axis] = i;
                x.at(&at)
            })
            .collect();
        let top = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let (mut low, mut high) = (-1.0, 0.0);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            let left: f64 = row.iter().map(|v| (v - top - middle).max(0.0)).sum();
            if left > 1.0 { low = middle } else { high = middle }
        }
        (x.at(index) - top - low).max(0.0)
    })
}

fn sparse() -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes: &[(&[usize], usize)] =
        &[(&[3, 5], 1), (&[4, 3], 0), (&[2, 3, 4], 1), (&[1], 0), (&[], 0), (&[0, 3], 1), (&[3, 0], 1), (&[2, 37], 1)];
    for &(dims, axis) in shapes {
        let f = move |x: &[kiln_autograd::Var]| x[0].sparsemax(axis as isize);
        let name = format!("sparsemax {dims:?} axis {axis}");
        let case = Case::new(name.clone(), vec![numbers(dims, 1)], f).slack(64.0);
        cases.push(case.reference(move |x| sparsemax(&x[0], axis)).large(vec![numbers(&[300, 40], 1)]));
        // What lies exactly at the threshold has no derivative.
        let case = Case::new(format!("{name}, ties"), vec![ties(dims)], f).slack(64.0).no_gradient();
        cases.push(case.reference(move |x| sparsemax(&x[0], axis)));
    }
    let extremes = Tensor::new([[1e9, 1e9 - 0.5, -1e9], [f64::NEG_INFINITY, 0.0, 0.25], [-3e7, -3e7, -3e7]]);
    let case = Case::new("sparsemax of extremes", vec![extremes], |x| x[0].sparsemax(-1)).no_gradient().wide_only();
    cases.push(case.reference(|x| sparsemax(&x[0], 1)).slack(64.0));
    cases
}

#[test]
fn a_gradient_reaches_only_what_is_left() {
    use kiln_autograd::Tape;
    let tape = Tape::new();
    let x = tape.watch(&Tensor::new([3.0, 2.5, 0.0]));
    let weights = kiln_autograd::Var::new(Tensor::new([1.0, 0.0, 5.0]));
    let y = x.sparsemax(0).unwrap().mul(&weights).unwrap().sum(..).unwrap();
    assert_eq!(y.backward().unwrap().get(&x).unwrap().to_vec::<f64>().unwrap(), [0.5, -0.5, 0.0]);
}
