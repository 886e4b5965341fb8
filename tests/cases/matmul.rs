//! Matrix products of matrices, vectors and batches.

use super::{Array, Case, numbers};
use kiln_autograd::Shape;
use kiln_autograd::ops::*;

/// The product by its definition, for any ranks.
fn product(x: &[Array]) -> Array {
    let (mut a, mut b) = (x[0].clone(), x[1].clone());
    let (row, column) = (a.dims.len() == 1, b.dims.len() == 1);
    if row {
        a.dims.insert(0, 1);
    }
    if column {
        b.dims.push(1);
    }
    let lead = |x: &Array| Shape::new(&x.dims[..x.dims.len() - 2]).unwrap();
    let batch = lead(&a).broadcast(&lead(&b)).unwrap();
    let (m, n, k) = (a.dims[a.dims.len() - 2], b.dims[b.dims.len() - 1], a.dims[a.dims.len() - 1]);
    let dims = [&batch[..], &[m, n]].concat();
    let rank = dims.len();
    let mut y = Array::build(&dims, |index| {
        let (i, j) = (index[rank - 2], index[rank - 1]);
        (0..k)
            .map(|l| {
                let at = |i: usize, j: usize| [&index[..rank - 2], &[i, j]].concat();
                a.broadcast_at(&at(i, l)) * b.broadcast_at(&at(l, j))
            })
            .sum()
    });
    // Matrix dimensions of length 1 are no broadcast ones, but reading them so makes no difference.
    if column {
        y.dims.pop();
    }
    if row {
        y.dims.remove(y.dims.len() - if column { 1 } else { 2 });
    }
    y
}

pub fn all() -> Vec<Case> {
    let shapes: &[(&[usize], &[usize])] = &[
        (&[2, 3], &[3, 4]),
        (&[1, 1], &[1, 1]),
        (&[17, 33], &[33, 9]),
        (&[5, 1], &[1, 7]),
        (&[3], &[3]),
        (&[3], &[3, 4]),
        (&[2, 3], &[3]),
        (&[2, 2, 3], &[3]),
        (&[3], &[2, 3, 2]),
        (&[2, 2, 3], &[3, 4]),
        (&[2, 2, 3], &[2, 3, 4]),
        (&[2, 1, 2, 3], &[3, 3, 2]),
        (&[1, 2, 3], &[4, 3, 2]),
        (&[0, 3], &[3, 4]),
        (&[2, 0], &[0, 4]),
        (&[2, 3], &[3, 0]),
        (&[0, 2, 3], &[3, 4]),
        (&[0, 2, 3], &[0, 3, 4]),
    ];
    let mut cases: Vec<Case> = shapes
        .iter()
        .map(|(a, b)| {
            let inputs = vec![numbers(a, 1), numbers(b, 2)];
            Case::new(format!("matmul {a:?} {b:?}"), inputs, |x| x[0].matmul(&x[1])).reference(product).slack(64.0)
        })
        .collect();
    let large = [
        (&[257, 300][..], &[300, 190][..]),
        (&[9, 70, 80], &[9, 80, 60]),
        (&[9, 70, 80], &[80, 60]),
        (&[600, 500], &[500]),
    ];
    for (a, b) in large {
        let small = vec![numbers(&[2, 2], 1), numbers(&[2, 2], 2)];
        let case = Case::new(format!("matmul of large {a:?} {b:?}"), small, |x| x[0].matmul(&x[1])).reference(product);
        cases.push(case.large(vec![numbers(a, 1), numbers(b, 2)]));
    }
    let transposed = |x: &[kiln_autograd::Var]| x[0].transpose(-1, -2)?.matmul(&x[1].transpose(-1, -2)?);
    let swapped = |x: &[Array]| {
        let flip = |a: &Array| Array::build(&[a.dims[1], a.dims[0]], |i| a.at(&[i[1], i[0]]));
        product(&[flip(&x[0]), flip(&x[1])])
    };
    cases.push(
        Case::new("matmul of transposes", vec![numbers(&[5, 3], 1), numbers(&[4, 5], 2)], transposed)
            .reference(swapped),
    );
    cases.push(
        Case::new("matmul with itself", vec![numbers(&[3, 3], 1)], |x| x[0].matmul(&x[0]))
            .reference(|x| product(&[x[0].clone(), x[0].clone()])),
    );
    cases
}
