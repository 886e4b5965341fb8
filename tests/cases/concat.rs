//! Joining.

use super::{Array, Case, numbers};
use kiln_autograd::Tensor;
use kiln_autograd::ops::*;

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let three = || vec![numbers(&[2, 3], 1), numbers(&[2, 1], 2), numbers(&[2, 0], 3)];
    let joined = |x: &[Array]| Array::build(&[2, 4], |i| if i[1] < 3 { x[0].at(i) } else { x[1].at(&[i[0], 0]) });
    cases.push(Case::new("concat", three(), |x| concat(&[&x[0], &x[1], &x[2]], -1)).reference(joined));
    cases.push(Case::new("concat of one twice", vec![numbers(&[2, 2], 1)], |x| concat(&[&x[0], &x[0]], 0)));
    let stacked = |x: &[Array]| Array::build(&[2, 2, 3], |i| x[i[1]].at(&[i[0], i[2]]));
    cases.push(
        Case::new("stack", vec![numbers(&[2, 3], 1), numbers(&[2, 3], 2)], |x| stack(&[&x[0], &x[1]], 1))
            .reference(stacked),
    );
    cases
}

#[test]
fn joining_promotes() {
    let y = concat(&[&Tensor::new([1, 2]), &Tensor::new([0.5f32])], 0).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 2.0, 0.5]);
}
