//! Products of matrices, convolutions and pooling. Within 64 units of the type's precision; the largest of a window exactly.

use super::{FLOATS, NUMBERS, agrees, check, laid};
use crate::cases::Array;
use kiln_autograd::DType;
use kiln_autograd::ops::*;
use proptest::prelude::*;
use proptest::sample::select;

#[test]
fn products() {
    let sizes = (0usize..=18, 0usize..=18, 0usize..=18);
    let lead = prop::collection::vec(1usize..=3, 0..=2);
    let operands = (laid(0..=4, NUMBERS), laid(0..=4, NUMBERS));
    check((operands, sizes, lead, any::<[u8; 2]>()), |((a, b), (m, k, n), lead, ones)| {
        let batch = |bits: u8| lead.iter().enumerate().map(move |(i, &d)| if bits >> i & 1 == 1 { 1 } else { d });
        let a = a.with_dims(&batch(ones[0]).chain([m, k]).collect::<Vec<_>>()).build();
        let b = b.with_dims(&batch(ones[1]).chain([k, n]).collect::<Vec<_>>()).build();
        let promoted = a.dtype().promote(b.dtype());
        let got = a.matmul(&b).map_err(|e| e.to_string())?;
        let (p, q) = (Array::of(&a), Array::of(&b));
        let mut dims: Vec<usize> = batch(ones[0]).zip(batch(ones[1])).map(|(a, b)| a.max(b)).collect();
        dims.extend([m, n]);
        let rank = dims.len();
        let want = Array::build(&dims, |i| {
            let product = |j: usize| {
                let (mut left, mut right) = (i.to_vec(), i.to_vec());
                (left[rank - 1], right[rank - 2]) = (j, j);
                let held = |x: &Array, index: &[usize]| {
                    let index: Vec<usize> =
                        index.iter().zip(&x.dims).map(|(&i, &d)| if d == 1 { 0 } else { i }).collect();
                    x.at(&index)
                };
                held(&p, &left) * held(&q, &right)
            };
            (0..k).map(product).sum()
        });
        // Bytes wrap; truths are joined, as in NumPy.
        let want = want.map(|x| match promoted {
            DType::U8 => x.rem_euclid(256.0),
            DType::Bool => f64::from(u8::from(x != 0.0)),
            _ => x,
        });
        agrees("matmul", &got, promoted, &want, 64.0)
    });
}

#[derive(Clone, Copy, Debug)]
struct Window {
    kernel: usize,
    stride: usize,
    dilation: usize,
    padding: [usize; 2],
}

impl Window {
    fn outputs(self, input: usize) -> Option<usize> {
        let reach = self.dilation * (self.kernel - 1) + 1;
        Some((input + self.padding[0] + self.padding[1]).checked_sub(reach)? / self.stride + 1)
    }

    /// The position that tap `k` of output `o` reads, if it is inside.
    fn position(self, o: usize, k: usize, input: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.padding[0]).filter(|&at| at < input)
    }
}

fn window() -> impl Strategy<Value = Window> {
    (1usize..=4, 1usize..=3, 1usize..=2, [0usize..=2, 0usize..=2])
        .prop_map(|(kernel, stride, dilation, padding)| Window { kernel, stride, dilation, padding })
}

#[test]
fn convolutions() {
    let sizes =
        (1usize..=2, [1usize..=9, 1usize..=9], select(&[1usize, 2, 3, 8, 17][..]), select(&[1usize, 2, 3, 16][..]));
    let operands = (laid(0..=4, FLOATS), laid(0..=4, FLOATS));
    check(
        (operands, sizes, 1usize..=2, [window(), window()]),
        |((x, w), (batch, size, inner, outer), groups, windows)| {
            let (c, o) = (inner * groups, outer * groups);
            let x = x.with_dims(&[batch, size[0], size[1], c]).build();
            let w = w.with_dims(&[windows[0].kernel, windows[1].kernel, inner, o]).with_dtype(x.dtype()).build();
            let options = Conv2dOptions::new()
                .stride(windows.map(|w| w.stride))
                .dilation(windows.map(|w| w.dilation))
                .padding(Padding::Explicit(windows.map(|w| w.padding)))
                .groups(groups);
            let got = x.conv2d(&w, &options);
            let (Some(height), Some(width)) = (windows[0].outputs(size[0]), windows[1].outputs(size[1])) else {
                return if got.is_err() { Ok(()) } else { Err("a kernel beyond the image is no error".into()) };
            };
            let (p, q) = (Array::of(&x), Array::of(&w));
            let want = Array::build(&[batch, height, width, o], |i| {
                let first = i[3] / outer * inner;
                let mut total = 0.0;
                for k in 0..windows[0].kernel {
                    for l in 0..windows[1].kernel {
                        let row = windows[0].position(i[1], k, size[0]);
                        let Some((row, column)) = row.zip(windows[1].position(i[2], l, size[1])) else { continue };
                        total += (0..inner)
                            .map(|c| p.at(&[i[0], row, column, first + c]) * q.at(&[k, l, c, i[3]]))
                            .sum::<f64>();
                    }
                }
                total
            });
            agrees("conv2d", &got.map_err(|e| e.to_string())?, x.dtype(), &want, 64.0)
        },
    );
}

#[test]
fn pools() {
    let sizes = (1usize..=2, [1usize..=9, 1usize..=9], select(&[1usize, 2, 3, 8, 17][..]));
    check(
        (laid(0..=4, FLOATS), sizes, [window(), window()], any::<bool>()),
        |(x, (batch, size, c), windows, is_max)| {
            let x = x.with_dims(&[batch, size[0], size[1], c]).build();
            let options = Pool2dOptions::new(windows.map(|w| w.kernel))
                .stride(windows.map(|w| w.stride))
                .dilation(windows.map(|w| w.dilation))
                .padding(Padding::Explicit(windows.map(|w| w.padding)))
                .count_include_pad(false);
            let got = if is_max { x.max_pool2d(&options) } else { x.average_pool2d(&options) };
            let (Some(height), Some(width)) = (windows[0].outputs(size[0]), windows[1].outputs(size[1])) else {
                return if got.is_err() { Ok(()) } else { Err("a window beyond the image is no error".into()) };
            };
            let Ok(got) = got else {
                // As in PyTorch, no window may lie in the padding alone.
                return Ok(());
            };
            let p = Array::of(&x);
            let want = Array::build(&[batch, height, width, c], |i| {
                let taps = (0..windows[0].kernel).flat_map(|k| (0..windows[1].kernel).map(move |l| (k, l)));
                let seen: Vec<f64> = taps
                    .filter_map(|(k, l)| {
                        let row = windows[0].position(i[1], k, size[0])?;
                        Some(p.at(&[i[0], row, windows[1].position(i[2], l, size[1])?, i[3]]))
                    })
                    .collect();
                match is_max {
                    true => seen.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    false => seen.iter().sum::<f64>() / seen.len() as f64,
                }
            });
            agrees("pool", &got, x.dtype(), &want, if is_max { 0.0 } else { 64.0 })
        },
    );
}
