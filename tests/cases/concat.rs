//! Joining.

use super::{Array, Case, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{Tensor, Var};

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
    let two = || vec![numbers(&[2, 3], 1), numbers(&[2, 3], 2)];
    cases.push(
        Case::new("hstack", two(), |x| hstack(&[&x[0], &x[1]]))
            .reference(|x| Array::build(&[2, 6], |i| x[i[1] / 3].at(&[i[0], i[1] % 3]))),
    );
    cases.push(
        Case::new("vstack", two(), |x| vstack(&[&x[0], &x[1]]))
            .reference(|x| Array::build(&[4, 3], |i| x[i[0] / 2].at(&[i[0] % 2, i[1]]))),
    );
    cases.push(
        Case::new("dstack", two(), |x| dstack(&[&x[0], &x[1]]))
            .reference(|x| Array::build(&[2, 3, 2], |i| x[i[2]].at(&[i[0], i[1]]))),
    );
    let vectors = || vec![numbers(&[2], 1), numbers(&[2], 2)];
    cases.push(
        Case::new("vstack of vectors", vectors(), |x| vstack(&[&x[0], &x[1]]))
            .reference(|x| Array::build(&[2, 2], |i| x[i[0]].values[i[1]])),
    );
    cases.push(
        Case::new("dstack of vectors", vectors(), |x| dstack(&[&x[0], &x[1]]))
            .reference(|x| Array::build(&[1, 2, 2], |i| x[i[2]].values[i[1]])),
    );
    let axes = || vec![numbers(&[2], 1), numbers(&[3], 2), numbers(&[], 3)];
    let grid = |indexing: Indexing| move |x: &[Var]| meshgrid(&[&x[0], &x[1], &x[2]], indexing);
    cases.push(
        Case::many("meshgrid", axes(), grid(Indexing::Ij))
            .references(|x| (0..3).map(|k| Array::build(&[2, 3, 1], |i| x[k].values[i[k]])).collect()),
    );
    cases
        .push(Case::many("meshgrid xy", axes(), grid(Indexing::Xy)).references(|x| {
            (0..3).map(|k| Array::build(&[3, 2, 1], |i| x[k].values[[i[1], i[0], i[2]][k]])).collect()
        }));
    cases
}

#[test]
fn joining_promotes() {
    let y = concat(&[&Tensor::new([1, 2]), &Tensor::new([0.5f32])], 0).unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 2.0, 0.5]);
}
