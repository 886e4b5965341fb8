//! Convolutions by their definition, over images and volumes, and their gradients as operations.

use super::{Array, Case, numbers};
use kiln_autograd::Var;
use kiln_autograd::ops::*;

const PLAIN: Conv2d = Conv2d { stride: [1, 1], padding: [[0, 0], [0, 0]], dilation: [1, 1], groups: 1 };

fn geometries() -> Vec<(Conv2d, [usize; 4], [usize; 4])> {
    vec![
        (PLAIN, [2, 5, 6, 3], [3, 2, 3, 4]),
        (Conv2d { stride: [2, 3], padding: [[1, 0], [2, 1]], ..PLAIN }, [2, 5, 7, 2], [3, 3, 2, 3]),
        (Conv2d { dilation: [2, 1], padding: [[2, 2], [1, 1]], ..PLAIN }, [1, 5, 4, 2], [2, 3, 2, 2]),
        (Conv2d { groups: 2, ..PLAIN }, [1, 4, 4, 4], [2, 2, 2, 6]),
        (Conv2d { groups: 3, stride: [2, 1], padding: [[1, 1], [1, 1]], ..PLAIN }, [2, 4, 4, 3], [3, 3, 1, 3]),
        (Conv2d { groups: 2, ..PLAIN }, [1, 3, 3, 2], [2, 2, 1, 4]),
        (Conv2d { stride: [3, 3], ..PLAIN }, [1, 5, 5, 1], [1, 1, 1, 2]),
        (Conv2d { padding: [[3, 3], [3, 3]], ..PLAIN }, [1, 1, 1, 1], [2, 2, 1, 1]),
        (PLAIN, [0, 4, 4, 2], [2, 2, 2, 3]),
        (PLAIN, [2, 4, 4, 0], [2, 2, 0, 3]),
        (PLAIN, [2, 4, 4, 2], [2, 2, 2, 0]),
    ]
}

/// Visits every product: the indices in the input, the weights and the output.
fn products(
    conv: &Conv2d,
    x: &[usize],
    w: &[usize],
    mut f: impl FnMut([usize; 4], [usize; 4], [usize; 4]),
) -> [usize; 4] {
    let size = |i: usize| {
        (x[i + 1] + conv.padding[i][0] + conv.padding[i][1] - conv.dilation[i] * (w[i] - 1) - 1) / conv.stride[i] + 1
    };
    let dims = [x[0], size(0), size(1), w[3]];
    for flat in 0..dims.iter().product::<usize>() {
        let y: [usize; 4] = super::unravel(flat, &dims).try_into().unwrap();
        for tap in 0..w[0] * w[1] * w[2] {
            let k = super::unravel(tap, &w[..3]);
            let position = |i: usize| {
                (y[i + 1] * conv.stride[i] + k[i] * conv.dilation[i])
                    .checked_sub(conv.padding[i][0])
                    .filter(|&p| p < x[i + 1])
            };
            if let (Some(row), Some(column)) = (position(0), position(1)) {
                let channel = y[3] / (w[3] / conv.groups) * w[2] + k[2];
                f([y[0], row, column, channel], [k[0], k[1], k[2], y[3]], y);
            }
        }
    }
    dims
}

fn flat(index: [usize; 4], dims: &[usize]) -> usize {
    index.iter().zip(dims).fold(0, |flat, (&i, &d)| flat * d + i)
}

fn output_dims(conv: &Conv2d, x: &[usize], w: &[usize]) -> [usize; 4] {
    products(conv, x, w, |_, _, _| ())
}

fn forward(conv: &Conv2d, x: &Array, w: &Array) -> Array {
    let dims = output_dims(conv, &x.dims, &w.dims);
    let mut y = Array::build(&dims, |_| 0.0);
    products(conv, &x.dims, &w.dims, |i, k, o| y.values[flat(o, &dims)] += x.at(&i) * w.at(&k));
    y
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (conv, x, w) in geometries() {
        let y = output_dims(&conv, &x, &w);
        let name = format!("{conv:?} {x:?} {w:?}");
        let f = move |x: &[Var]| Var::apply_one(conv, &[&x[0], &x[1]]);
        cases.push(
            Case::new(name.clone(), vec![numbers(&x, 1), numbers(&w, 2)], f)
                .slack(64.0)
                .reference(move |x| forward(&conv, &x[0], &x[1])),
        );
        let op = Conv2dInputGrad { conv, input: [x[1], x[2]] };
        let f = move |x: &[Var]| Var::apply_one(op, &[&x[0], &x[1]]);
        cases.push(
            Case::new(format!("input grad {name}"), vec![numbers(&y, 1), numbers(&w, 2)], f).slack(64.0).reference(
                move |v| {
                    let mut dx = Array::build(&x, |_| 0.0);
                    products(&conv, &x, &w, |i, k, o| dx.values[flat(i, &x)] += v[0].at(&o) * v[1].at(&k));
                    dx
                },
            ),
        );
        let op = Conv2dWeightGrad { conv, kernel: [w[0], w[1]] };
        let f = move |x: &[Var]| Var::apply_one(op, &[&x[0], &x[1]]);
        cases.push(
            Case::new(format!("weight grad {name}"), vec![numbers(&x, 1), numbers(&y, 2)], f).slack(64.0).reference(
                move |v| {
                    let mut dw = Array::build(&w, |_| 0.0);
                    products(&conv, &x, &w, |i, k, o| dw.values[flat(k, &w)] += v[0].at(&i) * v[1].at(&o));
                    dw
                },
            ),
        );
    }
    cases.extend(surface());
    cases.extend(volumes());
    cases
}

/// The dimensions in another order.
fn moved<const N: usize>(a: &Array, order: [usize; N]) -> Array {
    Array::build(&order.map(|o| a.dims[o]), |i| {
        let mut at = [0; N];
        order.iter().zip(i).for_each(|(&o, &i)| at[o] = i);
        a.at(&at)
    })
}

fn surface() -> Vec<Case> {
    let same = Conv2dOptions::new().stride([2, 1]).padding(Padding::Same);
    let padded = Conv2d { stride: [2, 1], padding: [[0, 1], [1, 1]], ..PLAIN };
    let images = || vec![numbers(&[2, 4, 5, 3], 1), numbers(&[3, 3, 3, 4], 2)];
    let large = vec![numbers(&[8, 32, 32, 8], 1), numbers(&[3, 3, 8, 32], 2)];
    let first = Conv2dOptions::new().channels_first().dilation([1, 2]);
    let dilated = Conv2d { dilation: [1, 2], ..PLAIN };
    let line = Conv1dOptions::new().padding(Padding::symmetric([1]));
    let flat_line = Conv2d { padding: [[0, 0], [1, 1]], ..PLAIN };
    let transpose = Conv2dOptions::new().stride([2, 2]).padding(Padding::symmetric([1, 1]));
    vec![
        Case::new("conv2d same", images(), move |x| x[0].conv2d(&x[1], &same))
            .slack(64.0)
            .large(large)
            .reference(move |x| forward(&padded, &x[0], &x[1])),
        Case::new("conv2d channels first", vec![numbers(&[2, 3, 4, 6], 1), numbers(&[5, 3, 2, 2], 2)], move |x| {
            x[0].conv2d(&x[1], &first)
        })
        .slack(64.0)
        .reference(move |x| {
            let y = forward(&dilated, &moved(&x[0], [0, 2, 3, 1]), &moved(&x[1], [2, 3, 1, 0]));
            moved(&y, [0, 3, 1, 2])
        }),
        Case::new("conv1d", vec![numbers(&[2, 6, 3], 1), numbers(&[3, 3, 2], 2)], move |x| x[0].conv1d(&x[1], &line))
            .slack(64.0)
            .reference(move |x| {
                let (x, w) = (
                    Array { dims: vec![2, 1, 6, 3], ..x[0].clone() },
                    Array { dims: vec![1, 3, 3, 2], ..x[1].clone() },
                );
                Array { dims: vec![2, 6, 2], ..forward(&flat_line, &x, &w) }
            }),
        Case::new(
            "conv2d of a lone image, with a bias",
            vec![numbers(&[4, 5, 3], 1), numbers(&[3, 3, 3, 4], 2), numbers(&[4], 3)],
            move |x| x[0].conv2d((&x[1], &x[2]), &same),
        )
        .slack(64.0)
        .reference(move |x| {
            let y = forward(&padded, &Array { dims: vec![1, 4, 5, 3], ..x[0].clone() }, &x[1]);
            Array::build(&y.dims[1..], |at| y.at(&[&[0], at].concat()) + x[2].at(&at[2..]))
        }),
        Case::new(
            "conv1d_transpose of a lone sequence, channels first, with a bias",
            vec![numbers(&[2, 5], 1), numbers(&[2, 3, 3], 2), numbers(&[3], 3)],
            |x| x[0].conv1d_transpose((&x[1], Some(&x[2])), &Conv1dOptions::new().channels_first().stride([2]), 1),
        )
        .slack(64.0),
        Case::new(
            "conv3d of a lone volume, with a bias",
            vec![numbers(&[3, 2, 3, 2], 1), numbers(&[2, 1, 2, 2, 3], 2), numbers(&[3], 3)],
            |x| x[0].conv3d((&x[1], &x[2]), &Conv3dOptions::new()),
        )
        .slack(64.0),
        Case::new(
            "conv2d of a reflected image",
            vec![numbers(&[2, 4, 5, 3], 1), numbers(&[3, 3, 3, 4], 2)],
            move |x| x[0].conv2d(&x[1], &same.padding_mode(PadMode::Reflect)),
        )
        .slack(64.0)
        .reference(|x| {
            let image = Array::build(&[2, 5, 7, 3], |at| {
                let row = if at[1] == 4 { 2 } else { at[1] };
                let column = [1, 0, 1, 2, 3, 4, 3][at[2]];
                x[0].at(&[at[0], row, column, at[3]])
            });
            forward(&Conv2d { stride: [2, 1], ..PLAIN }, &image, &x[1])
        }),
        Case::new(
            "conv1d of a ring, channels first, with a bias",
            vec![numbers(&[2, 3, 5], 1), numbers(&[2, 3, 3], 2), numbers(&[2], 3)],
            |x| {
                let around = Conv1dOptions::new().channels_first().padding(Padding::symmetric([2]));
                x[0].conv1d((&x[1], &x[2]), &around.padding_mode(PadMode::Circular))
            },
        )
        .slack(64.0)
        .reference(|x| {
            let ring = Array::build(&[2, 1, 9, 3], |at| x[0].at(&[at[0], at[3], (at[2] + 3) % 5]));
            let weights = Array::build(&[1, 3, 3, 2], |at| x[1].at(&[at[3], at[2], at[1]]));
            let y = forward(&PLAIN, &ring, &weights);
            Array::build(&[2, 2, 7], |at| y.at(&[at[0], 0, at[2], at[1]]) + x[2].at(&at[1..2]))
        }),
        Case::new(
            "conv3d of a volume with its edge repeated",
            vec![numbers(&[1, 2, 3, 2, 2], 1), numbers(&[2, 3, 1, 2, 2], 2)],
            |x| {
                let around = Conv3dOptions::new().padding(Padding::symmetric([1, 1, 0]));
                x[0].conv3d(&x[1], &around.padding_mode(PadMode::Replicate))
            },
        )
        .slack(64.0),
        Case::new("conv2d of an image with itself", vec![numbers(&[2, 2, 2, 2], 1)], |x| {
            x[0].conv2d(&x[0], &Conv2dOptions::new())
        }),
        Case::new("conv2d_transpose", vec![numbers(&[1, 2, 3, 2], 1), numbers(&[3, 3, 2, 2], 2)], move |x| {
            x[0].conv2d_transpose(&x[1], &transpose, [1, 0])
        }),
    ]
}

/// A convolution of volumes: stride, padding and dilation over depth, height and width.
#[derive(Debug, Clone, Copy)]
struct Solid {
    stride: [usize; 3],
    padding: [[usize; 2]; 3],
    dilation: [usize; 3],
    groups: usize,
}

const SOLID: Solid = Solid { stride: [1; 3], padding: [[0; 2]; 3], dilation: [1; 3], groups: 1 };

impl Solid {
    fn options(&self) -> Conv3dOptions {
        let options = Conv3dOptions::new().stride(self.stride).dilation(self.dilation);
        options.padding(Padding::Explicit(self.padding)).groups(self.groups)
    }

    fn output(&self, x: &[usize], w: &[usize]) -> [usize; 5] {
        let size = |i: usize| {
            let [before, after] = self.padding[i];
            (x[i + 1] + before + after - self.dilation[i] * (w[i] - 1) - 1) / self.stride[i] + 1
        };
        [x[0], size(0), size(1), size(2), w[4]]
    }

    /// Visits every product: the indices in the input, the weights and the output.
    fn products(&self, x: &[usize], w: &[usize], mut f: impl FnMut([usize; 5], [usize; 5], [usize; 5])) {
        let dims = self.output(x, w);
        for flat in 0..dims.iter().product::<usize>() {
            let y: [usize; 5] = super::unravel(flat, &dims).try_into().unwrap();
            for tap in 0..w[..4].iter().product::<usize>() {
                let k = super::unravel(tap, &w[..4]);
                let position = |i: usize| {
                    let at = y[i + 1] * self.stride[i] + k[i] * self.dilation[i];
                    at.checked_sub(self.padding[i][0]).filter(|&at| at < x[i + 1])
                };
                if let (Some(depth), Some(row), Some(column)) = (position(0), position(1), position(2)) {
                    let channel = y[4] / (w[4] / self.groups) * w[3] + k[3];
                    f([y[0], depth, row, column, channel], [k[0], k[1], k[2], k[3], y[4]], y);
                }
            }
        }
    }

    fn forward(&self, x: &Array, w: &Array) -> Array {
        let mut y = Array::build(&self.output(&x.dims, &w.dims), |_| 0.0);
        self.products(&x.dims, &w.dims, |i, k, o| y.add(&o, x.at(&i) * w.at(&k)));
        y
    }

    /// The gradient by an input of `dims`.
    fn backward(&self, dims: &[usize], y: &Array, w: &Array) -> Array {
        let mut x = Array::build(dims, |_| 0.0);
        self.products(dims, &w.dims, |i, k, o| x.add(&i, y.at(&o) * w.at(&k)));
        x
    }
}

fn volumes() -> Vec<Case> {
    let strides = Solid { stride: [2, 1, 3], padding: [[1, 0], [2, 1], [0, 1]], ..SOLID };
    let dilated = Solid { dilation: [2, 1, 2], padding: [[1, 2], [0, 0], [1, 1]], stride: [3, 1, 1], ..SOLID };
    let geometries: [(Solid, [usize; 5], [usize; 5]); 9] = [
        (SOLID, [2, 3, 4, 3, 2], [2, 3, 2, 2, 3]),
        (strides, [2, 4, 3, 4, 2], [3, 2, 2, 2, 2]),
        (dilated, [1, 4, 3, 3, 2], [2, 2, 2, 2, 2]),
        (Solid { groups: 2, ..SOLID }, [1, 3, 2, 3, 4], [2, 1, 2, 2, 6]),
        (Solid { groups: 3, padding: [[1, 1]; 3], ..SOLID }, [1, 2, 2, 2, 3], [3, 2, 2, 1, 3]),
        (Solid { stride: [2, 2, 2], ..SOLID }, [1, 3, 3, 3, 1], [1, 1, 1, 1, 2]),
        (SOLID, [0, 3, 3, 3, 2], [2, 2, 2, 2, 3]),
        (SOLID, [2, 3, 3, 3, 0], [2, 2, 2, 0, 3]),
        (SOLID, [2, 3, 3, 3, 2], [2, 2, 2, 2, 0]),
    ];
    let mut cases = Vec::new();
    for (conv, x, w) in geometries {
        let inputs = vec![numbers(&x, 1), numbers(&w, 2)];
        let options = conv.options();
        let case = Case::new(format!("conv3d {conv:?} {x:?} {w:?}"), inputs, move |x| x[0].conv3d(&x[1], &options));
        cases.push(case.slack(64.0).reference(move |x| conv.forward(&x[0], &x[1])));
        // What the convolution's stride leaves over of its input, output padding brings back.
        let y = conv.output(&x, &w);
        let left: [usize; 3] = std::array::from_fn(|i| {
            let [before, after] = conv.padding[i];
            (x[i + 1] + before + after - conv.dilation[i] * (w[i] - 1) - 1) % conv.stride[i]
        });
        let inputs = vec![numbers(&y, 1), numbers(&w, 2)];
        let name = format!("conv3d_transpose {conv:?} {y:?} {w:?}");
        let case = Case::new(name, inputs, move |x| x[0].conv3d_transpose(&x[1], &options, left));
        cases.push(case.slack(64.0).reference(move |v| conv.backward(&x, &v[0], &v[1])));
    }
    let same = Conv3dOptions::new().stride([2, 1, 2]).padding(Padding::Same);
    let padded = Solid { stride: [2, 1, 2], padding: [[0, 1], [1, 1], [1, 1]], ..SOLID };
    let large = vec![numbers(&[2, 12, 16, 15, 8], 1), numbers(&[3, 3, 3, 8, 16], 2)];
    let small = || vec![numbers(&[1, 4, 3, 3, 2], 1), numbers(&[3, 3, 3, 2, 2], 2)];
    cases.push(
        Case::new("conv3d same", small(), move |x| x[0].conv3d(&x[1], &same))
            .slack(64.0)
            .large(large)
            .reference(move |x| padded.forward(&x[0], &x[1])),
    );
    let plain = Conv3dOptions::new().channels_first();
    let first = || vec![numbers(&[2, 2, 3, 2, 4], 1), numbers(&[3, 2, 2, 2, 2], 2)];
    cases.push(Case::new("conv3d channels first", first(), move |x| x[0].conv3d(&x[1], &plain)).slack(64.0).reference(
        |x| {
            let y = SOLID.forward(&moved(&x[0], [0, 2, 3, 4, 1]), &moved(&x[1], [2, 3, 4, 1, 0]));
            moved(&y, [0, 4, 1, 2, 3])
        },
    ));
    let back = || vec![numbers(&[2, 3, 2, 1, 3], 1), numbers(&[3, 2, 2, 2, 2], 2)];
    cases.push(
        Case::new("conv3d_transpose channels first", back(), move |x| x[0].conv3d_transpose(&x[1], &plain, [0; 3]))
            .slack(64.0)
            .reference(|x| {
                let (y, w) = (moved(&x[0], [0, 2, 3, 4, 1]), moved(&x[1], [2, 3, 4, 1, 0]));
                moved(&SOLID.backward(&[2, 3, 2, 4, 2], &y, &w), [0, 4, 1, 2, 3])
            }),
    );
    let wide = Conv3dOptions::new().stride([3, 2, 1]).padding(Padding::Same);
    let thin = || vec![numbers(&[1, 2, 2, 3, 2], 1), numbers(&[1, 3, 2, 1, 2], 2)];
    cases.push(
        Case::new("conv3d_transpose same", thin(), move |x| x[0].conv3d_transpose(&x[1], &wide, [0; 3]))
            .slack(64.0)
            .reference(|x| {
                let conv = Solid { stride: [3, 2, 1], padding: [[0, 0], [0, 1], [0, 1]], ..SOLID };
                conv.backward(&[1, 6, 4, 3, 1], &x[0], &x[1])
            }),
    );
    cases
}

#[test]
fn mistakes_with_volumes_are_errors() {
    let (x, w) = (numbers(&[1, 4, 4, 4, 2], 1), numbers(&[3, 3, 3, 2, 3], 2));
    let y = numbers(&[1, 2, 2, 2, 3], 1);
    let options = Conv3dOptions::new();
    for bad in [
        options.stride([0, 1, 1]),
        options.stride([1, 1, 0]),
        options.dilation([1, 0, 1]),
        options.dilation([usize::MAX, 1, 1]),
        options.groups(0),
        options.groups(2),
        options.padding(Padding::Explicit([[usize::MAX, 1], [0, 0], [0, 0]])),
        options.padding(Padding::Same).stride([usize::MAX, 1, 1]),
        options.channels_first(),
    ] {
        assert!(x.conv3d(&w, &bad).is_err(), "{bad:?}");
        assert!(y.conv3d_transpose(&w, &bad, [0; 3]).is_err(), "{bad:?}");
    }
    assert!(x.conv3d(&numbers(&[5, 3, 3, 2, 3], 1), &options).is_err(), "a kernel larger than the volume");
    assert!(x.conv3d(&numbers(&[0, 3, 3, 2, 1], 1), &options).is_err());
    assert!(x.conv3d_transpose(&w, &options, [0; 3]).is_err(), "channels that the weights do not have");
    assert!(y.conv3d_transpose(&w, &options, [0, 1, 0]).is_err(), "an output padding as large as the stride");
    assert!(numbers(&[1, 0, 2, 2, 3], 1).conv3d_transpose(&w, &options, [0; 3]).is_err());
    assert!(
        y.conv3d_transpose(&w, &options.padding(Padding::symmetric([2, 0, 0])), [0; 3]).is_err(),
        "nothing is left"
    );
    let text = numbers(&[4, 4, 2], 1).conv3d(&w, &options).unwrap_err().to_string();
    assert!(
        text.starts_with("conv3d: needs an input [N, D, H, W, C] and weights [KD, KH, KW, C / groups, O]"),
        "{text}"
    );
    let text = x.conv3d(&numbers(&[3, 3, 3, 5, 3], 1), &options).unwrap_err().to_string();
    assert!(text.contains("[1, 4, 4, 4, 2]") && text.contains("[3, 3, 3, 5, 3]"), "{text}");
}

#[test]
fn mistakes_are_errors() {
    let (x, w) = (numbers(&[1, 4, 4, 2], 1), numbers(&[3, 3, 2, 3], 2));
    let options = Conv2dOptions::new();
    for bad in [
        options.stride([0, 1]),
        options.dilation([1, 0]),
        options.dilation([usize::MAX, 1]),
        options.groups(0),
        options.groups(2),
        options.padding(Padding::Explicit([[usize::MAX, 1], [0, 0]])),
        options.padding(Padding::Same).stride([usize::MAX, 1]),
        options.channels_first(),
    ] {
        assert!(x.conv2d(&w, &bad).is_err(), "{bad:?}");
        assert!(x.conv2d_transpose(&w, &bad, [0, 0]).is_err(), "{bad:?}");
    }
    let mirrored = options.padding_mode(PadMode::Reflect);
    for bad in [
        mirrored.padding(Padding::Explicit([[usize::MAX, 1], [0, 0]])),
        mirrored.padding(Padding::Explicit([[1 << 62, 1 << 62], [0, 0]])),
        mirrored.padding(Padding::Same).dilation([usize::MAX, 1]),
    ] {
        assert!(x.conv2d(&w, &bad).is_err(), "{bad:?}");
    }
    let text = x.conv2d_transpose(&w, &mirrored, [0, 0]).unwrap_err().to_string();
    assert!(text.contains("leave out padding_mode"), "{text}");
    assert!(numbers(&[1, 0, 4, 2], 1).conv2d(&w, &mirrored.padding(Padding::symmetric([2, 2]))).is_err());
    assert!(x.conv2d(&numbers(&[5, 3, 2, 3], 1), &options).is_err(), "a kernel larger than the image");
    assert!(x.conv2d(&numbers(&[3, 3, 2], 1), &options).is_err());
    assert!(x.conv2d(&numbers(&[0, 3, 2, 1], 1), &options).is_err());
    assert!(x.conv1d(&w, &Conv1dOptions::new()).is_err());
    let text = x.conv2d(&numbers(&[3, 3, 5, 3], 1), &options).unwrap_err().to_string();
    assert!(text.contains("[1, 4, 4, 2]") && text.contains("[3, 3, 5, 3]"), "{text}");
}
