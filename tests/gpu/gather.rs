//! Reading, adding and sorting at indices: all types, sizes around those of blocks, indices that are none.

use crate::beside::{TYPES, check, errors, integers, numbers};
use kiln_tensor::ops::{ArgSort, CastOps, Gather, IndexAdd, IndexSelect, ScatterAdd};
use kiln_tensor::{DType, Tensor};

#[test]
fn elements_and_slices() {
    for dtype in TYPES {
        for (dims, axis, count) in [
            (&[5][..], 0, 7),
            (&[4, 6], 0, 3),
            (&[4, 6], 1, 9),
            (&[3, 5, 8], 1, 600),
            (&[300, 16], 0, 70),
            (&[2, 3, 0], 1, 4),
            (&[2, 3], 0, 0),
        ] {
            let x = numbers(dims, dtype, 1);
            for index in [DType::I64, DType::U8] {
                let at = integers(&[count], dims[axis] as u64, 2).cast(index).unwrap();
                check(&IndexSelect { axis }, &[&x, &at], 0.0);
                let mut wanted = dims.to_vec();
                wanted[axis] = count;
                let each = integers(&wanted, dims[axis] as u64, 3).cast(index).unwrap();
                check(&Gather { axis }, &[&x, &each], 0.0);
            }
        }
    }
}

#[test]
fn sums_at_indices() {
    for dtype in TYPES {
        for (dims, axis, count) in [
            (&[5][..], 0, 7),
            (&[4, 6], 0, 3),
            (&[4, 6], 1, 9),
            (&[3, 5, 8], 1, 200),
            (&[30, 3], 0, 2500),
            (&[2, 3], 0, 0),
        ] {
            let x = numbers(dims, dtype, 1);
            let mut wanted = dims.to_vec();
            wanted[axis] = count;
            let source = numbers(&wanted, dtype, 4);
            let at = integers(&[count], dims[axis] as u64, 2).cast(DType::I32).unwrap();
            check(&IndexAdd { axis }, &[&x, &at, &source], 0.5);
            let each = integers(&wanted, dims[axis] as u64, 3);
            let larger: Vec<usize> = wanted.iter().map(|n| n + 1).collect();
            check(&ScatterAdd { axis }, &[&x, &each, &numbers(&larger, dtype, 5)], 0.5);
        }
    }
    let (x, at) = (Tensor::scalar(2.0, DType::F32), Tensor::scalar(0.0, DType::I64));
    check(&ScatterAdd { axis: 0 }, &[&x, &at, &x], 0.0);
    check(&Gather { axis: 0 }, &[&x, &at], 0.0);
}

#[test]
fn indices_out_of_range_are_told_as_on_the_cpu() {
    let x = numbers(&[3, 4], DType::F32, 1);
    for bad in [3, -1] {
        let at = Tensor::from_vec(vec![0i64, 2, bad], [3]).unwrap();
        let each = Tensor::from_vec(vec![0i64, bad, 1], [1, 3]).unwrap();
        let empty = numbers(&[3, 0], DType::F32, 1);
        let told = [
            errors(&IndexSelect { axis: 0 }, &[&x, &at]),
            errors(&IndexSelect { axis: 0 }, &[&empty, &at]),
            errors(&IndexAdd { axis: 0 }, &[&x, &at, &numbers(&[3, 4], DType::F32, 2)]),
            errors(&Gather { axis: 0 }, &[&x, &each]),
            errors(&ScatterAdd { axis: 0 }, &[&x, &each, &x]),
        ];
        for [got, want] in told {
            assert_eq!(got, want);
        }
    }
    // What was told is told once.
    check(&Gather { axis: 0 }, &[&x, &integers(&[3, 4], 3, 1)], 0.0);
}

#[test]
fn orders() {
    for dtype in TYPES {
        for (dims, axis) in [
            (&[1][..], 0),
            (&[7], 0),
            (&[40, 3], 0),
            (&[3, 65], 1),
            (&[2, 70, 3], 1),
            (&[1500], 0),
            (&[2, 2100], 1),
            (&[0, 3], 1),
        ] {
            for descending in [false, true] {
                for count in [None, Some(dims[axis] / 2), Some(dims[axis])] {
                    check(&ArgSort { axis, descending, count }, &[&numbers(dims, dtype, 1)], 0.0);
                }
            }
        }
    }
    let special = [0.0, f64::NAN, -0.0, f64::INFINITY, -1.0, -f64::NAN, f64::NEG_INFINITY, 1e-310, -1e-310];
    for descending in [false, true] {
        check(&ArgSort { axis: 0, descending, count: None }, &[&Tensor::from_slice(&special, [9]).unwrap()], 0.0);
    }
}
