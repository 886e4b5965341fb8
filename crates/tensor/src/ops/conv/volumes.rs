//! Convolutions over volumes by those over images: the depths that a kernel sees become channels.

use super::surface::Enlarged;
use super::{Conv2d, Conv2dInputGrad, Conv3dOptions, ConvOps, ConvOptions, Walk};
use crate::ops::window::reach;
use crate::ops::{ArithmeticOps, Embed, Stride, Value, concat};
use crate::{Error, Result, Shape};

/// The convolution of volumes `[N, D, H, W, C]` with weights `[KD, KH, KW, C / groups, O]`.
pub(super) fn convolve<V: ConvOps>(x: &V, w: &V, options: &Conv3dOptions) -> Result<V> {
    let ConvOptions { stride, dilation, groups, .. } = *options;
    let [n, depth, height, width, channels] = lengths(x);
    let [taps, rows, columns, _, filters] = lengths(w);
    let reach = reach([taps, rows, columns], dilation);
    let padding = options.padding.resolve([depth, height, width], reach, stride);
    Walk { stride, padding, dilation, groups }.check("conv3d", *Value::shape(x), *Value::shape(w))?;

    let [before, after] = padding[0];
    let around = [(0, 0), (before as isize, after as isize), (0, 0), (0, 0), (0, 0)];
    let x = if before + after == 0 { x.clone() } else { x.pad(&around, 0.0)? };
    let length = (depth + before + after - reach[0]) / stride[0] + 1;
    let mut seen = Vec::with_capacity(taps);
    for tap in 0..taps {
        let depths = Stride { start: tap * dilation[0], length, step: stride[0] as isize };
        // A group's channels of all depths lie side by side.
        seen.push(x.stride(1, depths)?.unflatten(-1, &[groups, channels / groups])?);
    }
    let slices = concat(&seen.iter().collect::<Vec<_>>(), -1)?;
    let slices = slices.reshape([n * length, height, width, taps * channels])?;
    let y = V::apply_one(over_images(options, padding), &[&slices, &depths_as_channels(w)?])?;
    let [_, height, width, _] = lengths(&y);
    y.reshape([n, length, height, width, filters])
}

/// The transposed convolution: each depth of the input lands at as many depths of the output as the kernel has.
pub(super) fn enlarge<V: ConvOps>(x: &V, w: &V, options: &Conv3dOptions, to: Enlarged<3>) -> Result<V> {
    let (name, Enlarged { padding, input, beyond }) = ("conv3d_transpose", to);
    let ConvOptions { stride, dilation, groups, .. } = *options;
    let [n, depth, height, width, filters] = lengths(x);
    let [taps, _, _, group, wanted] = lengths(w);
    let channels = group.saturating_mul(groups);
    let image = Shape::new(&[n, input[0], input[1], input[2], channels])?;
    Walk { stride, padding, dilation, groups }.check(name, image, *Value::shape(w))?;
    if filters != wanted || depth == 0 || height == 0 || width == 0 {
        let text = format!("weights {} for {wanted} channels do not fit an input {}", Value::shape(w), Value::shape(x));
        return Err(Error::shape(name, text).help("the channels of the input are the last dimension of the weights"));
    }

    let slices = x.reshape([n * depth, height, width, filters])?;
    let op = Conv2dInputGrad { conv: over_images(options, padding), input: [input[1], input[2]] };
    let parts = V::apply_one(op, &[&slices, &depths_as_channels(w)?])?;
    let parts = parts.reshape([n, depth, input[1], input[2], groups, taps, group])?;
    // With room for what the padding cuts off.
    let whole = ((depth - 1) * stride[0] + dilation[0] * (taps - 1) + 1).max(padding[0][0] + input[0]);
    let shape = Shape::new(&[n, whole, input[1], input[2], groups, group])?;
    let mut sum: Option<V> = None;
    for tap in 0..taps {
        let mut ranges: Vec<Stride> = shape.iter().map(|&length| Stride::full(length)).collect();
        ranges[1] = Stride { start: tap * dilation[0], length: depth, step: stride[0] as isize };
        let part = V::apply_one(Embed { shape, ranges, fill: 0.0 }, &[&parts.index(5, tap as isize)?])?;
        sum = Some(match sum {
            Some(sum) => sum.add(&part)?,
            None => part,
        });
    }
    let Some(y) = sum else { unreachable!("a kernel has at least one depth") };
    let y = y.stride(1, Stride { start: padding[0][0], length: input[0], step: 1 })?.reshape(image)?;
    let [deep, down, across] = beyond;
    if beyond == [0; 3] { Ok(y) } else { y.pad(&[(0, 0), (0, deep), (0, down), (0, across), (0, 0)], 0.0) }
}

/// What is left to do in the images.
fn over_images(options: &Conv3dOptions, [_, down, across]: [[usize; 2]; 3]) -> Conv2d {
    let ([_, s, t], [_, d, e]) = (options.stride, options.dilation);
    Conv2d { stride: [s, t], padding: [down, across], dilation: [d, e], groups: options.groups }
}

/// Weights `[KD, KH, KW, C / groups, O]` as `[KH, KW, KD · C / groups, O]`.
fn depths_as_channels<V: ConvOps>(w: &V) -> Result<V> {
    w.permute(&[1, 2, 0, 3, 4])?.flatten(2, 3)
}

fn lengths<V: Value, const RANK: usize>(x: &V) -> [usize; RANK] {
    std::array::from_fn(|i| Value::shape(x)[i])
}
