//! Cross-entropy against class labels.

use super::softmax::softmax;
use super::{Array, Case, indices, numbers};
use kiln_autograd::Tensor;
use kiln_autograd::ops::*;

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let far = Tensor::new([[1e4f64, 1e4, 1e4 - 1.0], [-1e4, -1e4 - 1.0, 1.0 - 1e4]]);
    let labels = Tensor::new([2i64, 0]);
    let naive = |x: &[Array]| Array::build(&[2], |i| -softmax(&x[0], 1, true).at(&[i[0], x[1].at(i) as usize]));
    cases
        .push(Case::new("cross_entropy far from 0", vec![far, labels], |x| x[0].cross_entropy(&x[1])).reference(naive));
    for (dims, classes) in [(&[4][..], 5), (&[2, 3], 4), (&[], 3), (&[0], 2), (&[3], 1)] {
        let logits = numbers(&[dims, &[classes]].concat(), 1);
        let labels = indices(dims, classes as i64);
        let naive = move |x: &[Array]| {
            let p = softmax(&x[0], x[0].dims.len() - 1, true);
            Array::build(&x[1].dims, |index| -p.at(&[index, &[x[1].at(index) as usize]].concat()))
        };
        let case = Case::new(format!("cross_entropy {dims:?}"), vec![logits, labels], |x| x[0].cross_entropy(&x[1]));
        cases.push(case.reference(naive).slack(64.0).large(vec![numbers(&[3000, 50], 1), indices(&[3000], 50)]));
    }
    cases
}
