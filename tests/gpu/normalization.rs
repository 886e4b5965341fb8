//! Normalization over axes that lie anywhere, in rows for a part of a warp, a warp and a block, and in columns of one part and of
//! several, with weights of each fit.

use crate::beside::{FLOATS, check, numbers};
use kiln_tensor::ops::{Normalize, NormalizeGrad};
use kiln_tensor::{DType, MAX_RANK, Tensor};

fn flags(axes: &[usize]) -> [bool; MAX_RANK] {
    std::array::from_fn(|axis| axes.contains(&axis))
}

#[test]
fn all_forms() {
    for dtype in FLOATS {
        for (dims, axes) in [
            (&[5, 3][..], &[1][..]),
            (&[70, 10], &[1]),
            (&[9, 33], &[1]),
            (&[2, 3000], &[1]),
            (&[40, 5], &[0]),
            (&[3, 4, 2], &[0, 1]),
            (&[700, 40], &[0]),
            (&[3, 4, 5], &[0, 2]),
            (&[3, 2, 700], &[0, 2]),
            (&[2, 60, 3, 5], &[1, 3]),
            (&[2, 3, 0], &[2]),
            (&[0, 3], &[0]),
            (&[0, 3], &[1]),
            (&[3], &[]),
            (&[], &[]),
        ] {
            let along = |folded: bool| -> Vec<usize> {
                dims.iter().enumerate().map(|(a, &d)| if axes.contains(&a) == folded { 1 } else { d }).collect()
            };
            let x = numbers(dims, dtype, 1);
            let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
            let (mean, dy) = (numbers(&along(true), wide, 4), numbers(dims, dtype, 5));
            let variance = Tensor::filled(mean.spec(), 2.5);
            for centered in [true, false] {
                let op = Normalize { axes: flags(axes), centered, eps: 0.5 };
                let back = |has_bias| NormalizeGrad { of: op.clone(), has_bias };
                // Means are near 0, and as exact as the elements are large.
                check(&op, &[&x], 256.0);
                check(&back(false), &[&x, &mean, &variance, &dy], 64.0);
                for shape in [along(true), along(false)] {
                    let (weight, bias) = (numbers(&shape, dtype, 2), numbers(&shape, dtype, 3));
                    if op.runs(x.shape(), Some(weight.shape())) {
                        check(&op, &[&x, &weight], 256.0);
                        check(&op, &[&x, &weight, &bias], 256.0);
                        check(&back(false), &[&x, &mean, &variance, &dy, &weight], 256.0);
                        check(&back(true), &[&x, &mean, &variance, &dy, &weight], 256.0);
                    }
                }
            }
        }
    }
}
