//! Pools by their definition.

use super::{Array, Case, numbers, specials, ties};
use kiln_autograd::ops::*;

type Fold = fn(&[f64], usize) -> f64;

/// The pool of channels-last images: `f(elements of the window, positions of the window in the padded image)`.
fn pool(
    x: &Array,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [[usize; 2]; 2],
    dilation: [usize; 2],
    ceil: bool,
    f: Fold,
) -> Array {
    let size = |i: usize| {
        let room = x.dims[i + 1] + padding[i][0] + padding[i][1] - dilation[i] * (kernel[i] - 1) - 1;
        let mut size = room / stride[i] + 1;
        if ceil && !room.is_multiple_of(stride[i]) && size * stride[i] < x.dims[i + 1] + padding[i][0] {
            size += 1;
        }
        size
    };
    Array::build(&[x.dims[0], size(0), size(1), x.dims[3]], |y| {
        let (mut taps, mut padded) = (Vec::new(), 0);
        for tap in 0..kernel[0] * kernel[1] {
            let k = [tap / kernel[1], tap % kernel[1]];
            let at: [usize; 2] = std::array::from_fn(|i| y[i + 1] * stride[i] + k[i] * dilation[i]);
            padded += usize::from((0..2).all(|i| at[i] < x.dims[i + 1] + padding[i][0] + padding[i][1]));
            if (0..2).all(|i| at[i] >= padding[i][0] && at[i] - padding[i][0] < x.dims[i + 1]) {
                taps.push(x.at(&[y[0], at[0] - padding[0][0], at[1] - padding[1][0], y[3]]));
            }
        }
        f(&taps, padded)
    })
}

fn largest(taps: &[f64], _: usize) -> f64 {
    taps.iter().fold(f64::NEG_INFINITY, |a, &x| if a.is_nan() || x.is_nan() { f64::NAN } else { a.max(x) })
}

pub fn all() -> Vec<Case> {
    let plain = Pool2dOptions::new([2, 2]);
    let odd = Pool2dOptions::new([3, 2]).stride([1, 2]).padding(Padding::Explicit([[1, 2], [0, 1]]));
    let even = |x: &Array, f| pool(x, [2, 2], [2, 2], [[0; 2]; 2], [1, 1], false, f);
    let mut cases = Vec::new();
    for input in
        [numbers(&[2, 5, 6, 3], 1), numbers(&[2, 4, 4, 37], 1), numbers(&[0, 4, 4, 2], 1), numbers(&[1, 4, 4, 0], 1)]
    {
        let many = vec![numbers(&[9, 60, 60, 24], 1)];
        cases.push(
            Case::new("max_pool2d", vec![input.clone()], move |x| x[0].max_pool2d(&plain))
                .large(many.clone())
                .reference(move |x| even(&x[0], largest)),
        );
        let mean = Case::new("average_pool2d", vec![input.clone()], move |x| x[0].average_pool2d(&plain))
            .large(many.clone())
            .slack(64.0);
        cases.push(mean.reference(move |x| even(&x[0], |v, _| v.iter().sum::<f64>() / v.len() as f64)));
        let f = move |x: &Array, f| pool(x, [3, 2], [1, 2], [[1, 2], [0, 1]], [1, 1], false, f);
        cases.push(
            Case::new("max_pool2d padded", vec![input.clone()], move |x| x[0].max_pool2d(&odd))
                .large(many.clone())
                .reference(move |x| f(&x[0], largest)),
        );
        let counted = odd.count_include_pad(true);
        let mean =
            Case::new("average_pool2d counting padding", vec![input.clone()], move |x| x[0].average_pool2d(&counted))
                .large(many)
                .slack(64.0);
        cases.push(mean.reference(move |x| f(&x[0], |v, n| v.iter().sum::<f64>() / n as f64)));
        let mean = Case::new("average_pool2d not counting padding", vec![input], move |x| x[0].average_pool2d(&odd))
            .slack(64.0);
        cases.push(mean.reference(move |x| f(&x[0], |v, _| v.iter().sum::<f64>() / v.len() as f64)));
    }
    let ceil = Pool2dOptions::new([3, 3]).stride([2, 2]).ceil_mode(true);
    let f = |x: &Array, f| pool(x, [3, 3], [2, 2], [[0; 2]; 2], [1, 1], true, f);
    cases.push(
        Case::new("max_pool2d ceil", vec![numbers(&[1, 6, 8, 2], 1)], move |x| x[0].max_pool2d(&ceil))
            .reference(move |x| f(&x[0], largest)),
    );
    cases.push(
        Case::new("average_pool2d divisor", vec![numbers(&[1, 6, 8, 2], 1)], move |x| {
            x[0].average_pool2d(&ceil.divisor(5))
        })
        .slack(64.0)
        .reference(move |x| f(&x[0], |v, _| v.iter().sum::<f64>() / 5.0)),
    );
    let dilated = Pool2dOptions::new([2, 2]).stride([1, 1]).dilation([2, 3]).padding(Padding::symmetric([1, 1]));
    let f = |x: &Array| pool(x, [2, 2], [1, 1], [[1, 1]; 2], [2, 3], false, largest);
    cases.push(
        Case::new("max_pool2d dilated", vec![numbers(&[1, 6, 8, 2], 1)], move |x| x[0].max_pool2d(&dilated))
            .reference(move |x| f(&x[0])),
    );
    // A tie has no derivative for differences to find; that it goes to the first is checked below.
    for input in [ties(&[1, 6, 6, 2]), specials(&[2, 6, 6, 2])] {
        cases.push(
            Case::new("max_pool2d of ties and specials", vec![input], move |x| x[0].max_pool2d(&plain))
                .no_gradient()
                .reference(move |x| even(&x[0], largest)),
        );
    }
    let first = plain.channels_first();
    cases.push(Case::new("max_pool2d channels first", vec![numbers(&[2, 3, 4, 6], 1)], move |x| {
        x[0].max_pool2d(&first)
    }));
    let line = Pool1dOptions::new([3]).stride([2]).padding(Padding::Same);
    cases.push(Case::new("max_pool1d", vec![numbers(&[2, 7, 3], 1)], move |x| x[0].max_pool1d(&line)));
    cases.push(Case::new("average_pool1d", vec![numbers(&[2, 7, 3], 1)], move |x| x[0].average_pool1d(&line)));
    cases
}

#[test]
fn ties_go_to_the_first() {
    use kiln_autograd::{Tape, Tensor};
    let tape = Tape::new();
    let x = tape.watch(&Tensor::full([1, 2, 2, 1], 3.0).unwrap());
    let (y, at) = x.max_pool2d_with_indices(&Pool2dOptions::new([2, 2])).unwrap();
    assert_eq!(at.tensor().to_vec::<i64>().unwrap(), [0]);
    let dx = y.sum(..).unwrap().backward().unwrap().get(&x).unwrap();
    assert_eq!(dx.to_vec::<f64>().unwrap(), [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn mistakes_are_errors() {
    let x = numbers(&[1, 4, 4, 2], 1);
    let plain = Pool2dOptions::new([2, 2]);
    for bad in [
        Pool2dOptions::new([0, 2]),
        Pool2dOptions::new([5, 2]),
        Pool2dOptions::new([usize::MAX, 2]),
        plain.stride([0, 1]),
        plain.stride([usize::MAX, 1]),
        plain.padding(Padding::symmetric([2, 0])),
        plain.padding(Padding::symmetric([usize::MAX, 0])),
        plain.padding(Padding::Same).stride([usize::MAX, 1]),
    ] {
        assert!(x.max_pool2d(&bad).is_err(), "{bad:?}");
        assert!(x.average_pool2d(&bad).is_err(), "{bad:?}");
    }
    assert!(x.average_pool2d(&plain.divisor(0)).is_err());
    assert!(x.average_pool2d(&plain.dilation([2, 2])).is_err());
    assert!(x.max_pool2d(&plain.dilation([0, 2])).is_err());
    assert!(numbers(&[4, 4], 1).max_pool2d(&plain).is_err());
}
