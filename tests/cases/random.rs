//! Dropout, whose mask is what its key draws.

use super::{Array, Case, numbers};
use kiln_autograd::Key;
use kiln_autograd::ops::*;

pub fn all() -> Vec<Case> {
    let drawn = |i: usize| f64::from(Key::new(5).bits(i as u64 / 4)[i % 4]) / 2f64.powi(32);
    let mut cases = Vec::new();
    for dims in [&[7][..], &[2, 3, 4], &[], &[0, 2], &[5, 1]] {
        for rate in [0.0, 0.25, 0.9, 1.0] {
            let dropped = move |x: &[Array]| {
                let keep = |i| drawn(i) < 1.0 - rate;
                let values = x[0].values.iter().enumerate();
                let values = values.map(|(i, x)| if keep(i) { x / (1.0 - rate) } else { 0.0 }).collect();
                Array { dims: x[0].dims.clone(), values }
            };
            let case = Case::new(format!("dropout {rate} of {dims:?}"), vec![numbers(dims, 1)], move |x| {
                x[0].dropout(Key::new(5), rate)
            });
            cases.push(case.reference(dropped).large(vec![numbers(&[70_001], 1)]));
        }
    }
    cases
}
