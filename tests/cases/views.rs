//! Views, padding, splitting.

use super::{Array, Case, numbers};
use kiln_autograd::Var;
use kiln_autograd::ops::*;
use std::ops::Bound;

fn of(name: &str, dims: &[usize], f: impl Fn(&Var) -> kiln_autograd::Result<Var> + Send + Sync + 'static) -> Case {
    Case::new(name, vec![numbers(dims, 1)], move |x| f(&x[0]))
}

pub fn all() -> Vec<Case> {
    let mut cases = vec![
        of("reshape", &[2, 6], |x| x.reshape([3, 4])).reference(|x| Array { dims: vec![3, 4], ..x[0].clone() }),
        of("reshape of nothing", &[0, 6], |x| x.reshape([3, 0, 2]))
            .reference(|x| Array { dims: vec![3, 0, 2], ..x[0].clone() }),
        of("reshape to a scalar", &[1, 1], |x| x.reshape(())).reference(|x| Array { dims: vec![], ..x[0].clone() }),
        of("flatten", &[2, 3, 4], |x| x.flatten(1, 2)).reference(|x| Array { dims: vec![2, 12], ..x[0].clone() }),
        of("flatten of a scalar", &[], |x| x.flatten(0, -1)).reference(|x| Array { dims: vec![1], ..x[0].clone() }),
        of("unflatten", &[2, 12], |x| x.unflatten(-1, &[3, 4]))
            .reference(|x| Array { dims: vec![2, 3, 4], ..x[0].clone() }),
        of("permute", &[2, 3, 4], |x| x.permute(&[2, 0, 1]))
            .reference(|x| Array::build(&[4, 2, 3], |i| x[0].at(&[i[1], i[2], i[0]]))),
        of("permute of permute", &[2, 3, 4], |x| x.permute(&[2, 0, 1])?.transpose(0, 2)?.reshape([6, 4])),
        of("transpose", &[2, 3], |x| x.transpose(-1, 0))
            .reference(|x| Array::build(&[3, 2], |i| x[0].at(&[i[1], i[0]]))),
        of("t", &[2, 3], |x| x.t()).reference(|x| Array::build(&[3, 2], |i| x[0].at(&[i[1], i[0]]))),
        of("expand", &[3, 1], |x| x.expand([2, 3, 4]))
            .reference(|x| Array::build(&[2, 3, 4], |i| x[0].broadcast_at(i))),
        of("expand of a scalar", &[], |x| x.expand([2, 0]))
            .reference(|x| Array::build(&[2, 0], |i| x[0].broadcast_at(i))),
        of("squeeze", &[1, 3, 1], |x| x.squeeze(..)).reference(|x| Array { dims: vec![3], ..x[0].clone() }),
        of("squeeze one", &[1, 3, 1], |x| x.squeeze(-1)).reference(|x| Array { dims: vec![1, 3], ..x[0].clone() }),
        of("unsqueeze", &[3], |x| x.unsqueeze(-1)).reference(|x| Array { dims: vec![3, 1], ..x[0].clone() }),
        of("slice", &[4, 5], |x| x.slice(1, (Bound::Included(1), Bound::Excluded(-1))))
            .reference(|x| Array::build(&[4, 3], |i| x[0].at(&[i[0], i[1] + 1]))),
        of("slice to nothing", &[4, 5], |x| x.slice(0, 2..2))
            .reference(|x| Array { dims: vec![0, 5], values: vec![0.0; x.len() - 1] }),
        of("stride", &[7], |x| x.stride(0, Stride { start: 6, length: 3, step: -3 }))
            .reference(|x| Array::build(&[3], |i| x[0].at(&[6 - 3 * i[0]]))),
        of("index", &[4, 5], |x| x.index(0, -1)).reference(|x| Array::build(&[5], |i| x[0].at(&[3, i[0]]))),
        of("flip", &[2, 3], |x| x.flip(1)).reference(|x| Array::build(&[2, 3], |i| x[0].at(&[i[0], 2 - i[1]]))),
        of("flip all", &[2, 3], |x| x.flip(..))
            .reference(|x| Array::build(&[2, 3], |i| x[0].at(&[1 - i[0], 2 - i[1]]))),
        of("pad", &[2, 3], |x| x.pad(&[(1, 0), (2, 1)], 9.0)).reference(|x| {
            Array::build(&[3, 6], |i| {
                if i[0] >= 1 && (2..5).contains(&i[1]) { x[0].at(&[i[0] - 1, i[1] - 2]) } else { 9.0 }
            })
        }),
        of("pad and cut", &[4, 3], |x| x.pad(&[(-1, 2), (1, -2)], 0.5)).reference(|x| {
            Array::build(&[5, 2], |i| if i[0] < 3 && i[1] >= 1 { x[0].at(&[i[0] + 1, i[1] - 1]) } else { 0.5 })
        }),
        of("pad of nothing", &[0, 2], |x| x.pad(&[(1, 1), (0, 0)], 3.0))
            .reference(|_| Array { dims: vec![2, 2], values: vec![3.0; 4] }),
        of("repeated use of views", &[3, 4], |x| x.t()?.matmul(x)?.add(&x.slice(0, ..1)?.t()?)).fused(),
    ];
    let twice = |x: &[Array]| {
        let dims = [x[0].dims[1], x[0].dims[0]];
        Array::build(&dims, |i| 2.0 * x[0].at(&[i[1], i[0]]))
    };
    let many = of("transpose of many", &[2, 3], |x| x.transpose(0, 1)?.mul(2.0)).reference(twice);
    cases.push(many.large(vec![numbers(&[700, 300], 1)]));
    let columns =
        |start: usize, length: usize| move |x: &Array| Array::build(&[2, length], |i| x.at(&[i[0], i[1] + start]));
    let parts = move |x: &[Array]| vec![columns(0, 2)(&x[0]), columns(2, 0)(&x[0]), columns(2, 3)(&x[0])];
    cases.push(Case::many("split", vec![numbers(&[2, 5], 1)], |x| x[0].split(&[2, 0, 3], 1)).references(parts));
    let chunks = move |x: &[Array]| vec![columns(0, 3)(&x[0]), columns(3, 2)(&x[0])];
    cases.push(Case::many("chunk", vec![numbers(&[2, 5], 1)], |x| x[0].chunk(2, 1)).references(chunks));
    cases
}
