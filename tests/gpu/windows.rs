//! Pools and convolutions: windows that reach outside, overlap, leave gaps or hold nothing; groups and sums in parts.

use crate::beside::{FLOATS, check, device, difference, numbers, shared};
use kiln_tensor::ops::ViewOps;
use kiln_tensor::ops::{
    AveragePool2d, AveragePool2dGrad, Conv2d, Conv2dInputGrad, Conv2dWeightGrad, Divisor, MaxPool2d, MaxPool2dGrad,
    MaxPool2dPick, Window2d,
};
use kiln_tensor::{DType, Device, Tensor};

fn windows() -> Vec<([usize; 4], Window2d)> {
    let window = |kernel, stride, padding, dilation, ceil| Window2d { kernel, stride, padding, dilation, ceil };
    vec![
        ([2, 6, 8, 3], window([2, 2], [2, 2], [[0, 0]; 2], [1, 1], false)),
        ([1, 7, 9, 5], window([3, 3], [2, 2], [[1, 1]; 2], [1, 1], false)),
        ([2, 7, 6, 4], window([3, 2], [2, 3], [[1, 0], [0, 1]], [1, 1], true)),
        ([1, 9, 8, 2], window([3, 2], [1, 2], [[2, 1], [1, 1]], [2, 3], false)),
        ([1, 5, 5, 33], window([3, 3], [1, 1], [[1, 1]; 2], [1, 1], false)),
        ([1, 2, 2, 1], window([4, 4], [4, 4], [[1, 1]; 2], [1, 1], true)),
        ([2, 3, 3, 0], window([2, 2], [1, 1], [[0, 0]; 2], [1, 1], false)),
    ]
}

#[test]
fn pools() {
    for dtype in FLOATS {
        for (dims, window) in windows() {
            let (x, input) = (numbers(&dims, dtype, 1), [dims[1], dims[2]]);
            let pool = MaxPool2d { window };
            check(&pool, &[&x], 0.0);
            let [y, positions] = Tensor::apply(&pool, &[&x]).unwrap().into_array().unwrap();
            let dy = numbers(y.shape().dims(), dtype, 2);
            check(&MaxPool2dGrad { window, input }, &[&dy, &positions], 2.0);
            check(&MaxPool2dPick { window }, &[&x, &positions], 0.0);
            if window.dilation == [1, 1] {
                for divisor in [Divisor::Valid, Divisor::Padded, Divisor::Fixed(3)] {
                    let pool = AveragePool2d { window, divisor };
                    check(&pool, &[&x], 2.0);
                    check(&AveragePool2dGrad { pool, input }, &[&dy], 2.0);
                }
            }
        }
    }
}

#[test]
fn no_numbers_are_the_largest() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = [-inf, -inf, nan, 1.0, -inf, -inf, inf, nan, 0.0, -0.0, nan, nan, 3.0, 3.0, 2.0, nan];
    let x = Tensor::from_slice(&x, [1, 4, 4, 1]).unwrap();
    let window = Window2d { kernel: [2, 2], stride: [1, 1], padding: [[0, 0]; 2], dilation: [1, 1], ceil: false };
    check(&MaxPool2d { window }, &[&x], 0.0);
}

/// Convolutions with the sizes of an input and of weights.
pub fn convolved() -> Vec<([usize; 4], [usize; 4], Conv2d)> {
    let conv = |stride, padding, dilation, groups| Conv2d { stride, padding, dilation, groups };
    let plain = conv([1, 1], [[0, 0]; 2], [1, 1], 1);
    vec![
        ([2, 5, 6, 3], [3, 3, 3, 4], plain),
        ([1, 8, 8, 20], [1, 1, 20, 70], plain),
        ([2, 7, 9, 5], [3, 2, 5, 6], conv([2, 3], [[1, 1], [1, 0]], [1, 1], 1)),
        ([1, 9, 9, 4], [3, 3, 4, 8], conv([1, 2], [[2, 2], [2, 1]], [2, 2], 1)),
        ([2, 6, 6, 8], [3, 3, 1, 8], conv([1, 1], [[1, 1]; 2], [1, 1], 8)),
        ([1, 6, 5, 6], [3, 3, 2, 9], conv([2, 1], [[1, 1]; 2], [1, 1], 3)),
        ([1, 5, 5, 34], [2, 2, 17, 36], conv([2, 2], [[0, 1]; 2], [1, 1], 2)),
        // Long sums of few weights: in parts.
        ([3, 32, 30, 2], [3, 3, 2, 3], conv([1, 1], [[1, 1]; 2], [1, 1], 1)),
        ([2, 24, 25, 4], [3, 3, 1, 4], conv([1, 1], [[1, 1]; 2], [1, 1], 4)),
        // In half precision by tensor cores: several tiles of rows and of columns, groups, and sums in parts.
        ([1, 13, 11, 8], [1, 1, 8, 136], plain),
        ([2, 9, 8, 16], [3, 2, 16, 40], conv([2, 1], [[1, 0], [0, 1]], [1, 2], 1)),
        ([1, 6, 5, 48], [3, 3, 24, 16], conv([1, 2], [[1, 1]; 2], [1, 1], 2)),
        ([1, 17, 32, 8], [1, 2, 8, 8], plain),
        ([0, 4, 4, 2], [3, 3, 2, 3], plain),
        ([1, 4, 4, 0], [3, 3, 0, 3], plain),
    ]
}

#[test]
fn convolutions() {
    for (dims, weights, conv) in convolved() {
        for dtype in if dims[1] > 20 { &[DType::F32][..] } else { &FLOATS } {
            let (x, w) = (numbers(&dims, *dtype, 1), numbers(&weights, *dtype, 2));
            check(&conv, &[&x, &w], 8.0);
            let y = Tensor::apply(&conv, &[&x, &w]).unwrap().one().unwrap();
            let dy = numbers(y.shape().dims(), *dtype, 3);
            check(&Conv2dInputGrad { conv, input: [dims[1], dims[2]] }, &[&dy, &w], 8.0);
            check(&Conv2dWeightGrad { conv, kernel: [weights[0], weights[1]] }, &[&x, &dy], 32.0);
        }
    }
}

/// Elements that do not begin where packs of them could be read.
#[test]
fn convolutions_of_what_lies_anywhere() {
    let _shared = shared();
    let conv = Conv2d { stride: [1, 1], padding: [[0, 0]; 2], dilation: [1, 1], groups: 1 };
    let (x, w) = (numbers(&[3 + 5 * 5 * 8], DType::F16, 1), numbers(&[3, 3, 8, 8], DType::F16, 2));
    let outcome = |device: Device| {
        let moved = [&x, &w].map(|x| x.to_device(device).unwrap());
        let image = moved[0].slice(0, 3..).unwrap().reshape([1, 5, 5, 8]).unwrap();
        Tensor::apply(&conv, &[&image, &moved[1]]).unwrap().one().unwrap().to_device(Device::Cpu).unwrap()
    };
    assert_eq!(difference(&outcome(device()), &outcome(Device::Cpu), 8.0), None);
}
