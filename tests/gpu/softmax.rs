//! Softmax and cross-entropy: rows for a thread, a part of a warp, a warp and a block, along each axis; infinities and labels
//! that are no class.

use crate::beside::{FLOATS, check, errors, integers, numbers};
use kiln_tensor::ops::{CastOps, CrossEntropy, CrossEntropyGrad, Softmax, SoftmaxGrad};
use kiln_tensor::{DType, Tensor};

#[test]
fn rows_of_all_lengths() {
    for dtype in FLOATS {
        for (dims, axis) in [
            (&[5, 1][..], 1),
            (&[3, 3], 1),
            (&[30, 10], 1),
            (&[2, 4, 33], 2),
            (&[3, 1024], 1),
            (&[2, 1025], 1),
            (&[1, 5000], 1),
            (&[4, 10, 3], 1),
            (&[40, 5], 0),
            (&[2, 3, 2500], 1),
            (&[3, 0], 1),
            (&[], 0),
        ] {
            for log in [false, true] {
                let (x, of) = (numbers(dims, dtype, 1), Softmax { axis, log });
                check(&of, &[&x], 16.0);
                check(&SoftmaxGrad { of }, &[&x, &numbers(dims, dtype, 2)], 256.0);
            }
        }
    }
}

#[test]
fn infinities_and_no_numbers() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows = [
        [-inf, -inf, -inf],
        [-inf, 1.0, 2.0],
        [1.0, inf, 2.0],
        [inf, inf, -inf],
        [nan, 1.0, 2.0],
        [-inf, -inf, nan],
        [1e30, -1e30, 1e30],
        [-inf, 3.0, -inf],
    ];
    for log in [false, true] {
        check(&Softmax { axis: 1, log }, &[&Tensor::from_slice(rows.as_flattened(), [8, 3]).unwrap()], 4.0);
        check(&Softmax { axis: 0, log }, &[&Tensor::from_slice(rows.as_flattened(), [8, 3]).unwrap()], 4.0);
    }
}

#[test]
fn losses_and_their_gradients() {
    for dtype in FLOATS {
        for (rows, classes) in [(1, 1), (70, 10), (9, 33), (2, 3000), (0, 4)] {
            let logits = numbers(&[rows, classes], dtype, 1);
            for kind in [DType::I64, DType::U8] {
                let labels = integers(&[rows], classes.min(256) as u64, 2).cast(kind).unwrap();
                check(&CrossEntropy, &[&logits, &labels], 16.0);
                check(&CrossEntropyGrad, &[&logits, &labels, &numbers(&[rows], dtype, 3)], 16.0);
            }
        }
    }
}

#[test]
fn labels_that_are_no_class_are_told_as_on_the_cpu() {
    let logits = numbers(&[3, 4], DType::F32, 1);
    for label in [4, -1] {
        let labels = Tensor::from_vec(vec![0i64, label, 3], [3]).unwrap();
        let [got, want] = errors(&CrossEntropy, &[&logits, &labels]);
        assert_eq!(got, want);
        let [got, want] = errors(&CrossEntropyGrad, &[&logits, &labels, &numbers(&[3], DType::F32, 2)]);
        assert_eq!(got, want);
    }
}
