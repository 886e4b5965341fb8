//! Pools by their definition, over images and volumes.

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
    cases.extend(volumes());
    cases.extend(composed());
    cases
}

/// The pool of channels-last volumes: `f(elements of the box, with their positions; positions of the box in the padded
/// volume)`.
fn boxes(
    x: &Array,
    [kernel, stride, dilation]: [[usize; 3]; 3],
    padding: [[usize; 2]; 3],
    ceil: bool,
    f: Boxed,
) -> Array {
    let size = |i: usize| {
        let room = x.dims[i + 1] + padding[i][0] + padding[i][1] - dilation[i] * (kernel[i] - 1) - 1;
        let down = room / stride[i] + 1;
        let partial = ceil && !room.is_multiple_of(stride[i]) && down * stride[i] < x.dims[i + 1] + padding[i][0];
        down + usize::from(partial)
    };
    Array::build(&[x.dims[0], size(0), size(1), size(2), x.dims[4]], |y| {
        let (mut taps, mut padded) = (Vec::new(), 0);
        for tap in 0..kernel.iter().product::<usize>() {
            let k = super::unravel(tap, &kernel);
            let at: [usize; 3] = std::array::from_fn(|i| y[i + 1] * stride[i] + k[i] * dilation[i]);
            padded += usize::from((0..3).all(|i| at[i] < x.dims[i + 1] + padding[i][0] + padding[i][1]));
            if (0..3).all(|i| at[i] >= padding[i][0] && at[i] - padding[i][0] < x.dims[i + 1]) {
                let at: [usize; 3] = std::array::from_fn(|i| at[i] - padding[i][0]);
                let position = (at[0] * x.dims[2] + at[1]) * x.dims[3] + at[2];
                taps.push((x.at(&[y[0], at[0], at[1], at[2], y[4]]), position));
            }
        }
        f(&taps, padded)
    })
}

type Boxed = fn(&[(f64, usize)], usize) -> f64;

fn highest(taps: &[(f64, usize)], _: usize) -> f64 {
    largest(&taps.iter().map(|tap| tap.0).collect::<Vec<_>>(), 0)
}

fn place(taps: &[(f64, usize)], _: usize) -> f64 {
    let best = highest(taps, 0);
    taps.iter().find(|tap| tap.0 == best).map_or(-1.0, |tap| tap.1 as f64)
}

fn total(taps: &[(f64, usize)]) -> f64 {
    taps.iter().map(|tap| tap.0).sum()
}

fn volumes() -> Vec<Case> {
    let odd = [[2, 3, 2], [1, 2, 2], [1; 3]];
    let around = [[1, 0], [1, 2], [0, 1]];
    let options = Pool3dOptions::new(odd[0]).stride(odd[1]).padding(Padding::Explicit(around));
    let mut cases = Vec::new();
    for dims in [[2, 3, 5, 4, 3], [1, 2, 3, 2, 17], [0, 3, 4, 4, 2], [1, 3, 4, 4, 0]] {
        let input = || vec![numbers(&dims, 1)];
        let many = || vec![numbers(&[3, 20, 24, 24, 16], 1)];
        let f = move |x: &[Array], f| boxes(&x[0], odd, around, false, f);
        cases.push(
            Case::new("max_pool3d", input(), move |x| x[0].max_pool3d(&options))
                .large(many())
                .reference(move |x| f(x, highest)),
        );
        cases.push(
            Case::new("average_pool3d", input(), move |x| x[0].average_pool3d(&options))
                .slack(64.0)
                .reference(move |x| f(x, |v, _| total(v) / v.len() as f64)),
        );
        let counted = options.count_include_pad(true);
        cases.push(
            Case::new("average_pool3d counting padding", input(), move |x| x[0].average_pool3d(&counted))
                .slack(64.0)
                .large(many())
                .reference(move |x| f(x, |v, n| total(v) / n as f64)),
        );
    }
    let ceil = Pool3dOptions::new([3, 2, 3]).stride([2, 2, 2]).ceil_mode(true);
    let f = |x: &Array, f| boxes(x, [[3, 2, 3], [2; 3], [1; 3]], [[0; 2]; 3], true, f);
    let input = || vec![numbers(&[1, 4, 5, 6, 2], 1)];
    cases.push(
        Case::many("max_pool3d with indices", input(), move |x| {
            let (y, at) = x[0].max_pool3d_with_indices(&ceil)?;
            Ok(vec![y, at])
        })
        .references(move |x| vec![f(&x[0], highest), f(&x[0], place)])
        .wide_only(),
    );
    cases.push(
        Case::new("average_pool3d divisor", input(), move |x| x[0].average_pool3d(&ceil.divisor(5)))
            .slack(64.0)
            .reference(move |x| f(&x[0], |v, _| total(v) / 5.0)),
    );
    let dilated = Pool3dOptions::new([2; 3]).stride([1; 3]).dilation([2, 3, 1]).padding(Padding::symmetric([1, 1, 0]));
    let f = |x: &Array, f| boxes(x, [[2; 3], [1; 3], [2, 3, 1]], [[1, 1], [1, 1], [0, 0]], false, f);
    cases.push(
        Case::many("max_pool3d dilated", vec![numbers(&[1, 3, 4, 3, 2], 1)], move |x| {
            let (y, at) = x[0].max_pool3d_with_indices(&dilated)?;
            Ok(vec![y, at])
        })
        .references(move |x| vec![f(&x[0], highest), f(&x[0], place)])
        .wide_only(),
    );
    let plain = Pool3dOptions::new([2; 3]);
    for input in [ties(&[1, 4, 4, 4, 2]), specials(&[2, 4, 4, 4, 2])] {
        cases.push(
            Case::new("max_pool3d of ties and specials", vec![input], move |x| x[0].max_pool3d(&plain))
                .no_gradient()
                .reference(|x| boxes(&x[0], [[2; 3], [2; 3], [1; 3]], [[0; 2]; 3], false, highest)),
        );
    }
    let first = plain.channels_first();
    cases.push(
        Case::many("pools of volumes, channels first", vec![numbers(&[2, 3, 2, 4, 4], 1)], move |x| {
            let last = x[0].permute(&[0, 2, 3, 4, 1])?;
            let (y, at) = x[0].max_pool3d_with_indices(&first)?;
            let (z, there) = last.max_pool3d_with_indices(&plain)?;
            let back = |x: &kiln_autograd::Var| x.permute(&[0, 4, 1, 2, 3]);
            assert_eq!(at.tensor().to_vec::<i64>()?, back(&there)?.tensor().to_vec::<i64>()?);
            Ok(vec![y.sub(&back(&z)?)?, x[0].average_pool3d(&first)?.sub(&back(&last.average_pool3d(&plain)?)?)?])
        })
        .references(|_| vec![Array::build(&[2, 3, 1, 2, 2], |_| 0.0); 2]),
    );
    cases
}

/// Each of the stretches of a line, by a function of its elements.
fn stretches(x: &Array, size: usize, f: impl Fn(&[f64]) -> f64) -> Array {
    Array::build(&[x.dims[0], size, x.dims[2]], |at| {
        let (start, end) = (at[1] * x.dims[1] / size, ((at[1] + 1) * x.dims[1]).div_ceil(size));
        f(&(start..end).map(|i| x.at(&[at[0], i, at[2]])).collect::<Vec<_>>())
    })
}

/// Pools of a wanted size, of powers, and back.
fn composed() -> Vec<Case> {
    let line = || vec![numbers(&[2, 7, 3], 1)];
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let most = |x: &[f64]| x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let windows = Pool2dOptions::new([2, 3]).stride([1, 2]);
    let mut cases = vec![
        Case::new("adaptive_average_pool", line(), |x| x[0].adaptive_average_pool([3], false))
            .slack(64.0)
            .reference(move |x| stretches(&x[0], 3, mean)),
        Case::new("adaptive_average_pool that enlarges", line(), |x| x[0].adaptive_average_pool([9], false))
            .slack(64.0)
            .reference(move |x| stretches(&x[0], 9, mean)),
        Case::new("adaptive_max_pool", line(), |x| x[0].adaptive_max_pool([3], false))
            .reference(move |x| stretches(&x[0], 3, most)),
        Case::new("adaptive_average_pool of volumes", vec![numbers(&[2, 2, 3, 4, 5], 1)], |x| {
            x[0].adaptive_average_pool([2, 3, 1], true)
        })
        .slack(64.0),
        Case::many("adaptive_max_pool of a lone image", vec![numbers(&[2, 5, 4], 1)], |x| {
            x[0].adaptive_max_pool_with_indices([3, 2], true).map(|(y, at)| vec![y, at])
        }),
        Case::new("adaptive_average_pool to nothing", line(), |x| x[0].adaptive_average_pool([0], false)),
        Case::new("lp_pool2d", vec![numbers(&[2, 3, 5, 2], 1)], move |x| x[0].square()?.lp_pool2d(1.5, &windows))
            .slack(64.0),
        Case::new("lp_pool1d", line(), |x| x[0].lp_pool1d(2.0, &Pool1dOptions::new([3]).ceil_mode(true))).slack(64.0),
        Case::new("lp_pool3d", vec![numbers(&[3, 4, 2, 1], 1)], |x| {
            x[0].lp_pool3d(2.0, &Pool3dOptions::new([2, 2, 1]))
        })
        .slack(64.0)
        .reference(|x| {
            Array::build(&[1, 2, 2, 1], |at| {
                let pairs = (0..2).flat_map(|i| (0..2).map(move |j| (i, j)));
                pairs.map(|(i, j)| x[0].at(&[i, 2 * at[1] + j, at[2], 0]).powi(2)).sum::<f64>().sqrt()
            })
        }),
        Case::new("max_pool2d of a lone image", vec![numbers(&[4, 4, 2], 1)], |x| {
            x[0].max_pool2d(&Pool2dOptions::new([2, 2]))
        }),
    ];
    for first in [false, true] {
        let f = move |x: &[kiln_autograd::Var]| {
            let options = Pool2dOptions::new([2, 2]);
            let options = if first { options.channels_first() } else { options };
            let (y, at) = x[0].max_pool2d_with_indices(&options)?;
            y.max_unpool(&at, [4, 4], first)
        };
        cases.push(Case::new(format!("max_unpool {first}"), vec![numbers(&[2, 4, 4, 4], 1)], f));
    }
    cases
}

#[test]
fn sizes_that_cannot_be() {
    let told = |x: kiln_autograd::Result<kiln_autograd::Tensor>, part: &str| {
        let text = x.unwrap_err().to_string();
        assert!(text.contains(part) && text.contains("pool.rs"), "{text}");
    };
    let x = numbers(&[2, 4, 3], 1);
    told(x.adaptive_average_pool([2, 2, 2], false), "adaptive_average_pool: needs a batch with 3 dimensions");
    told(numbers(&[2, 0, 3], 1).adaptive_max_pool([1], false), "dimension 1 of [2, 0, 3] has no elements");
    let at = kiln_autograd::Tensor::new([[[9]]]);
    told(numbers(&[1, 1, 1], 1).max_unpool(&at, [4], false), "max_unpool: scatter_add: index 9");
    told(x.max_unpool(&at, [4], false), "max_unpool: needs elements and their positions");
    told(x.lp_pool1d(0.0, &Pool1dOptions::new([2])), "there is no norm of order 0");
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
    let x = numbers(&[1, 4, 4, 4, 2], 1);
    let plain = Pool3dOptions::new([2; 3]);
    for bad in [
        Pool3dOptions::new([0, 2, 2]),
        Pool3dOptions::new([5, 2, 2]),
        Pool3dOptions::new([2, 2, usize::MAX]),
        plain.stride([0, 1, 1]),
        plain.padding(Padding::symmetric([2, 0, 0])),
        plain.padding(Padding::Same).stride([usize::MAX, 1, 1]),
    ] {
        assert!(x.max_pool3d(&bad).is_err(), "{bad:?}");
        assert!(x.max_pool3d_with_indices(&bad).is_err(), "{bad:?}");
        assert!(x.average_pool3d(&bad).is_err(), "{bad:?}");
    }
    assert!(x.average_pool3d(&plain.divisor(0)).is_err());
    assert!(x.average_pool3d(&plain.dilation([2, 1, 1])).is_err());
    let text = numbers(&[4, 4, 2], 1).max_pool3d(&plain).unwrap_err().to_string();
    assert!(text.starts_with("max_pool3d: needs volumes [N, D, H, W, C], found [4, 4, 2]"), "{text}");
}
