//! Diagonals and triangles.

use super::{Array, Case, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{Result, Tensor, Var};

fn of(name: String, dims: &[usize], f: impl Fn(&Var) -> Result<Var> + Send + Sync + 'static) -> Case {
    Case::new(name, vec![numbers(dims, 1)], move |x| f(&x[0]))
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for offset in [-4isize, -1, 0, 2] {
        let length =
            move |rows: isize, columns: isize| (rows + offset.min(0)).min(columns - offset.max(0)).max(0) as usize;
        let at = move |i: usize| [(i as isize - offset.min(0)) as usize, (i as isize + offset.max(0)) as usize];
        cases.push(
            of(format!("diagonal {offset}"), &[3, 4], move |x| x.diagonal(offset, 0, 1))
                .reference(move |x| Array::build(&[length(3, 4)], |i| x[0].at(&at(i[0])))),
        );
        cases.push(
            of(format!("diagonals {offset}"), &[4, 2, 3], move |x| x.diagonal(offset, -1, 0))
                .reference(move |x| Array::build(&[2, length(3, 4)], |i| x[0].at(&[at(i[1])[1], i[0], at(i[1])[0]]))),
        );
        let n = 3 + offset.unsigned_abs();
        cases.push(of(format!("diag_embed {offset}"), &[2, 3], move |x| x.diag_embed(offset, 0, -1)).reference(
            move |x| {
                Array::build(&[n, 2, n], |i| {
                    let k = i[0] as isize + offset.min(0);
                    let hit = i[2] as isize - i[0] as isize == offset && k >= 0;
                    if hit { x[0].at(&[i[1], k as usize]) } else { 0.0 }
                })
            },
        ));
        for dims in [&[3usize, 4][..], &[2, 3, 2], &[0, 2]] {
            let above = move |i: &[usize]| i[i.len() - 1] as isize - i[i.len() - 2] as isize;
            cases.push(
                of(format!("tril {dims:?} {offset}"), dims, move |x| x.tril(offset)).reference(move |x| {
                    Array::build(&x[0].dims, |i| if above(i) <= offset { x[0].at(i) } else { 0.0 })
                }),
            );
            cases.push(
                of(format!("triu {dims:?} {offset}"), dims, move |x| x.triu(offset)).reference(move |x| {
                    Array::build(&x[0].dims, |i| if above(i) >= offset { x[0].at(i) } else { 0.0 })
                }),
            );
        }
    }
    cases.push(
        of("diag".to_owned(), &[2], |x| x.diag(0))
            .reference(|x| Array::build(&[2, 2], |i| if i[0] == i[1] { x[0].values[i[0]] } else { 0.0 })),
    );
    cases.push(
        of("diag of a matrix".to_owned(), &[2, 3], |x| x.diag(1))
            .reference(|x| Array::build(&[2], |i| x[0].at(&[i[0], i[0] + 1]))),
    );
    cases.push(
        of("trace".to_owned(), &[3, 2], |x| x.trace())
            .slack(64.0)
            .reference(|x| Array { dims: vec![], values: vec![x[0].at(&[0, 0]) + x[0].at(&[1, 1])] }),
    );
    cases
}

#[test]
fn indices_of_triangles() {
    let y = Tensor::tril_indices(3, 2, 0).unwrap();
    assert_eq!((y.shape().dims(), y.to_vec::<i64>().unwrap()), (&[2, 5][..], vec![0, 1, 1, 2, 2, 0, 0, 1, 0, 1]));
    let y = Tensor::triu_indices(2, 3, 1).unwrap();
    assert_eq!(y.to_vec::<i64>().unwrap(), [0, 0, 1, 1, 2, 2]);
    assert_eq!(Tensor::tril_indices(0, 3, 0).unwrap().shape().dims(), [2, 0]);
}

#[test]
fn mistakes_are_errors() {
    let x = numbers(&[2, 3], 1);
    for (error, part) in [
        (x.diagonal(0, 1, -1).unwrap_err(), "diagonal: axes 1 and -1 of [2, 3] are no two"),
        (x.index(0, 0).unwrap().diagonal(0, 0, 0).unwrap_err(), "are no two"),
        (x.reshape([1, 2, 3]).unwrap().trace().unwrap_err(), "trace: [1, 2, 3] is no matrix"),
        (x.reshape([6]).unwrap().tril(0).unwrap_err(), "tril: [6] holds no matrices"),
        (x.reshape([1, 2, 3]).unwrap().diag(0).unwrap_err(), "diag: [1, 2, 3] is neither a vector nor a matrix"),
    ] {
        let text = error.to_string();
        assert!(text.contains(part) && text.contains("diagonal.rs"), "{text}");
    }
}
