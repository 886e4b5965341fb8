//! Elements in other places.

use super::{Array, Case, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{Result, Tensor, Var};

fn of(name: &str, dims: &[usize], f: impl Fn(&Var) -> Result<Var> + Send + Sync + 'static) -> Case {
    Case::new(name, vec![numbers(dims, 1)], move |x| f(&x[0]))
}

/// An array whose elements are those of the first input at an index that a function gives.
fn from(dims: &'static [usize], at: fn(&[usize]) -> Vec<usize>) -> impl Fn(&[Array]) -> Array {
    move |x| Array::build(dims, |i| x[0].at(&at(i)))
}

pub fn all() -> Vec<Case> {
    let mut cases = vec![
        of("movedim", &[2, 3, 4], |x| x.movedim(&[0], &[-1])).reference(from(&[3, 4, 2], |i| vec![i[2], i[0], i[1]])),
        of("movedim of two", &[2, 3, 4], |x| x.movedim(&[-1, 0], &[0, 1]))
            .reference(from(&[4, 2, 3], |i| vec![i[1], i[2], i[0]])),
        of("movedim of a scalar", &[], |x| x.movedim(&[0], &[-1])).reference(|x| x[0].clone()),
        of("rot90", &[2, 3], |x| x.rot90(1, [0, 1])).reference(from(&[3, 2], |i| vec![i[1], 2 - i[0]])),
        of("rot90 twice", &[2, 3], |x| x.rot90(-2, [0, 1])).reference(from(&[2, 3], |i| vec![1 - i[0], 2 - i[1]])),
        of("rot90 back", &[2, 3], |x| x.rot90(3, [-2, -1])).reference(from(&[3, 2], |i| vec![1 - i[1], i[0]])),
        of("narrow", &[3, 5], |x| x.narrow(1, -3, 2)).reference(from(&[3, 2], |i| vec![i[0], i[1] + 2])),
        of("narrow to nothing", &[3, 5], |x| x.narrow(0, 3, 0)).reference(from(&[0, 5], |i| i.to_vec())),
        of("tile", &[2, 3], |x| x.tile(&[2, 1, 3])).reference(from(&[2, 2, 9], |i| vec![i[1], i[2] % 3])),
        of("tile of few", &[2, 3], |x| x.tile(&[2])).reference(from(&[2, 6], |i| vec![i[0], i[1] % 3])),
        of("tile to nothing", &[2, 3], |x| x.tile(&[0, 1])).reference(from(&[0, 3], |i| i.to_vec())),
        of("tile of a scalar", &[], |x| x.tile(&[2, 2])).reference(from(&[2, 2], |_| vec![])),
        of("tile of six dimensions", &[1, 2, 1, 2, 1, 2], |x| x.tile(&[2, 1, 2, 2, 1, 2]))
            .reference(from(&[2, 2, 2, 4, 1, 4], |i| vec![0, i[1], 0, i[3] % 2, 0, i[5] % 2])),
        of("repeat_interleave", &[2, 3], |x| x.repeat_interleave(&[2], -1))
            .reference(from(&[2, 6], |i| vec![i[0], i[1] / 2])),
        of("repeat_interleave of each", &[3, 2], |x| x.repeat_interleave(&[0, 1, 2], 0))
            .reference(from(&[3, 2], |i| vec![if i[0] == 0 { 1 } else { 2 }, i[1]])),
        of("repeat_interleave of all", &[2, 2], |x| x.repeat_interleave(&[3], ..))
            .reference(from(&[12], |i| vec![i[0] / 6, i[0] / 3 % 2])),
        of("repeat_interleave of a scalar", &[], |x| x.repeat_interleave(&[3], 0)).reference(from(&[3], |_| vec![])),
        of("roll", &[3, 4], |x| x.roll(&[1, -2], &[0, 1]))
            .reference(from(&[3, 4], |i| vec![(i[0] + 2) % 3, (i[1] + 2) % 4])),
        of("roll of all", &[2, 3], |x| x.roll(&[7], &[]))
            .reference(from(&[2, 3], |i| vec![(3 * i[0] + i[1] + 5) % 6 / 3, (i[1] + 2) % 3])),
        of("roll of nothing", &[0, 3], |x| x.roll(&[1], &[0])).reference(|x| x[0].clone()),
        of("unfold", &[7, 2], |x| x.unfold(0, 3, 2)).reference(from(&[3, 2, 3], |i| vec![2 * i[0] + i[2], i[1]])),
        of("unfold of a scalar", &[], |x| x.unfold(0, 1, 1)).reference(from(&[1], |_| vec![])),
        of("pixel_shuffle", &[2, 8, 2, 3], |x| x.pixel_shuffle(2))
            .reference(from(&[2, 2, 4, 6], |i| vec![i[0], 4 * i[1] + 2 * (i[2] % 2) + i[3] % 2, i[2] / 2, i[3] / 2])),
        of("pixel_unshuffle", &[2, 4, 6], |x| x.pixel_unshuffle(2))
            .reference(from(&[8, 2, 3], |i| vec![i[0] / 4, 2 * i[1] + i[0] / 2 % 2, 2 * i[2] + i[0] % 2])),
        of("channel_shuffle", &[2, 6, 2], |x| x.channel_shuffle(3))
            .reference(from(&[2, 6, 2], |i| vec![i[0], i[1] % 3 * 2 + i[1] / 3, i[2]])),
        of("diff", &[2, 4], |x| x.diff(1, -1, None, None))
            .reference(|x| Array::build(&[2, 3], |i| x[0].at(&[i[0], i[1] + 1]) - x[0].at(i))),
        of("diff twice", &[4], |x| x.diff(2, 0, None, None))
            .slack(64.0)
            .reference(|x| Array::build(&[2], |i| x[0].at(&[i[0] + 2]) - 2.0 * x[0].at(&[i[0] + 1]) + x[0].at(i))),
        of("diff of one", &[1, 3], |x| x.diff(2, 0, None, None)).reference(from(&[0, 3], |i| i.to_vec())),
    ];
    let ends = vec![numbers(&[3], 1), numbers(&[1], 2), numbers(&[2], 3)];
    cases.push(Case::new("diff with ends", ends, |x| x[0].diff(1, 0, Some(&x[1]), Some(&x[2]))).reference(|x| {
        let all = [&x[1].values[..], &x[0].values, &x[2].values].concat();
        Array::build(&[5], |i| all[i[0] + 1] - all[i[0]])
    }));
    let pieces = |name: &str, f: fn(&Var) -> Result<Vec<Var>>, cuts: &'static [[usize; 2]]| {
        let columns =
            |[start, length]: [usize; 2]| move |x: &Array| Array::build(&[2, length], |i| x.at(&[i[0], i[1] + start]));
        Case::many(name, vec![numbers(&[2, 5], 1)], move |x| f(&x[0]))
            .references(move |x| cuts.iter().map(|&cut| columns(cut)(&x[0])).collect())
    };
    cases.push(pieces("split_every", |x| x.split_every(2, 1), &[[0, 2], [2, 2], [4, 1]]));
    cases.push(pieces("tensor_split", |x| x.tensor_split(3, -1), &[[0, 2], [2, 2], [4, 1]]));
    cases.push(pieces("tensor_split_at", |x| x.tensor_split_at(&[1, -2, 9], 1), &[[0, 1], [1, 2], [3, 2], [5, 0]]));
    cases.push(
        Case::many("unbind", vec![numbers(&[2, 3], 1)], |x| x[0].unbind(-1))
            .references(|x| (0..3).map(|j| Array::build(&[2], |i| x[0].at(&[i[0], j]))).collect()),
    );
    cases
}

#[test]
fn mistakes_are_errors() {
    let x = numbers(&[2, 3], 1);
    for (error, part) in [
        (x.movedim(&[0, 0], &[0, 1]).unwrap_err(), "movedim: axis 0 is named twice"),
        (x.movedim(&[0], &[0, 1]).unwrap_err(), "are not as many axes"),
        (x.rot90(1, [1, -1]).unwrap_err(), "rot90: axis -1 is named twice"),
        (x.narrow(0, 1, 2).unwrap_err(), "narrow: 2 from 1 on reach outside of axis 0"),
        (x.repeat_interleave(&[usize::MAX / 2], 1).unwrap_err(), "repeat_interleave: "),
        (x.tensor_split(usize::MAX, 1).unwrap_err(), "tensor_split: "),
        (x.unfold(0, 1, 0).unwrap_err(), "unfold: no windows of 1, every 0"),
        (x.tile(&[usize::MAX, 2]).unwrap_err(), "tile: "),
        (x.repeat_interleave(&[1, 2], 1).unwrap_err(), "repeat_interleave: 2 repeats for axis 1"),
        (x.roll(&[1], &[0, 1]).unwrap_err(), "roll: 1 shifts along 2 axes"),
        (x.unfold(0, 3, 1).unwrap_err(), "unfold: no windows of 3"),
        (x.pixel_shuffle(2).unwrap_err(), "pixel_shuffle: needs […, C, H, W], found [2, 3]"),
        (x.channel_shuffle(2).unwrap_err(), "channel_shuffle: the channels of [2, 3] are no 2 groups"),
        (Tensor::scalar(1.0, kiln_autograd::DType::F32).diff(1, 0, None, None).unwrap_err(), "has no neighbours"),
    ] {
        let text = error.to_string();
        assert!(text.contains(part) && text.contains("rearrange.rs"), "{text}");
    }
}
