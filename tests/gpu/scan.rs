//! Running folds, positions of extremes, products of others, and tensors put beside and into others.

use crate::beside::{FLOATS, TYPES, check, device, integers, numbers, shared};
use crate::programs::agree;
use kiln_tensor::ops::*;
use kiln_tensor::{DType, Shape, Tensor};

const SHAPES: [(&[usize], usize); 10] = [
    (&[1], 0),
    (&[7], 0),
    (&[40, 3], 0),
    (&[300, 33], 1),
    (&[3, 257], 1),
    (&[2, 700, 3], 1),
    (&[2500], 0),
    (&[130, 40], 0),
    (&[3, 0], 0),
    (&[], 0),
];

#[test]
fn running_folds() {
    for dtype in TYPES {
        for (dims, axis) in SHAPES {
            let x = numbers(dims, dtype, 1);
            check(&CumSum { axis, reverse: false }, &[&x], 1.0);
            check(&CumSum { axis, reverse: true }, &[&x], 1.0);
            check(&CumArg { axis, largest: true }, &[&x], 0.0);
            check(&CumArg { axis, largest: false }, &[&x], 0.0);
        }
    }
}

/// Rows that several blocks share: some that end where a part does, one before and one behind.
const LONG: [(&[usize], usize); 6] =
    [(&[16_385], 0), (&[2, 17_000, 2], 1), (&[16_383], 0), (&[16_384], 0), (&[3, 18_432], 1), (&[9, 16_640], 1)];

#[test]
fn running_folds_of_long_rows() {
    for (i, dtype) in TYPES.into_iter().enumerate() {
        // Where parts begin and end is the same in all types.
        for (dims, axis) in if i == 0 { &LONG[..] } else { &LONG[..2] } {
            let (x, axis) = (numbers(dims, dtype, 1), *axis);
            check(&CumSum { axis, reverse: i % 2 == 0 }, &[&x], 1.0);
            check(&CumArg { axis, largest: i % 2 == 0 }, &[&x], 0.0);
            if dtype != DType::Bool {
                let factors = if dtype.is_float() { x.div(8.0).unwrap() } else { numbers(dims, dtype, 2) };
                check(&Recurrence { axis, reverse: i % 2 == 1 }, &[&factors, &x], 2.0);
            }
        }
    }
}

#[test]
fn a_million_elements_run_along() {
    let x = numbers(&[1_000_003], DType::F32, 1);
    check(&CumSum { axis: 0, reverse: false }, &[&x], 1.0);
    check(&CumArg { axis: 0, largest: true }, &[&x], 0.0);
}

/// What one part gives to the next: the last of equal ones, a NaN, infinities, and products that are beyond all numbers.
#[test]
fn parts_of_long_rows_hand_on_what_they_found() {
    let count = 40_000;
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let falling: Vec<f32> = (0..count).map(|i| -(i as f32)).collect();
    let with = |values: &[(usize, f32)]| {
        let mut all = falling.clone();
        values.iter().for_each(|&(at, value)| all[at] = value);
        Tensor::from_vec(all, [count]).unwrap()
    };
    for values in [&[][..], &[(5, 7.0), (20_000, 7.0)], &[(9_000, nan), (30_000, inf)], &[(3, -inf), (39_999, nan)]] {
        for largest in [false, true] {
            check(&CumArg { axis: 0, largest }, &[&with(values)], 0.0);
        }
        check(&CumSum { axis: 0, reverse: true }, &[&with(values)], 1.0);
    }
    for (factor, first) in [(1e30f32, 0.0f32), (1e-30, 1.0), (-1e30, 1.0), (1e30, inf), (1.0, nan), (0.5, 3.0)] {
        let factors = Tensor::from_vec(vec![factor; count], [count]).unwrap();
        let mut terms = vec![0.0f32; count];
        terms[0] = first;
        let terms = Tensor::from_vec(terms, [count]).unwrap();
        check(&Recurrence { axis: 0, reverse: false }, &[&factors, &terms], 1.0);
    }
}

#[test]
fn plans_have_the_bits_of_long_running_folds() {
    let _device = shared();
    let f = |x: &[Tensor]| {
        let [sums, products] = [x[0].cumsum(1)?, x[0].div(4.0)?.cumprod(1)?];
        let (largest, at) = x[0].cummax(1)?;
        Ok(vec![sums, products, largest, at, x[0].logcumsumexp(1)?])
    };
    let inputs = |seed| [numbers(&[2, 20_000], DType::F32, seed).to_device(device()).unwrap()];
    agree(f, &inputs(1), &inputs(2), "long rows");
    let counts = integers(&[30_000], 9, 1);
    let plain = counts.cumsum(0).unwrap().to_vec::<i64>().unwrap();
    assert_eq!(counts.to_device(device()).unwrap().cumsum(0).unwrap().to_vec::<i64>().unwrap(), plain);
}

#[test]
fn positions_of_extremes() {
    for dtype in TYPES {
        for (dims, axis) in SHAPES {
            for largest in [false, true] {
                let axis = if dims.is_empty() { None } else { Some(axis) };
                if !dims.contains(&0) {
                    check(&ArgReduce { largest, axis, keep_dims: false }, &[&numbers(dims, dtype, 1)], 0.0);
                    check(&ArgReduce { largest, axis: None, keep_dims: true }, &[&numbers(dims, dtype, 1)], 0.0);
                }
            }
        }
    }
}

#[test]
fn long_rows_are_cut_into_parts() {
    for (dims, axis) in [(&[2, 20_011][..], 1), (&[20_011, 3], 0), (&[8_192], 0)] {
        // Of the largest there are many, of which the first counts; then one beyond them, and a NaN behind it.
        let plain = numbers(dims, DType::F32, 1);
        let mut values = plain.to_vec::<f32>().unwrap();
        let count = values.len();
        values[count - 7] = 9.0;
        let one = Tensor::from_slice(&values, dims).unwrap();
        values[count - 5] = f32::NAN;
        for x in [plain, one, Tensor::from_slice(&values, dims).unwrap()] {
            for largest in [false, true] {
                check(&ArgReduce { largest, axis: Some(axis), keep_dims: false }, &[&x], 0.0);
                check(&ArgReduce { largest, axis: None, keep_dims: true }, &[&x], 0.0);
            }
        }
    }
}

#[test]
fn no_numbers_are_extreme() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let x = Tensor::from_slice(&[1.0, nan, 2.0, nan, inf, 5.0, -inf, -0.0, 0.0, 7.0, inf, nan], [3, 4]).unwrap();
    for largest in [false, true] {
        for axis in [0, 1] {
            check(&ArgReduce { largest, axis: Some(axis), keep_dims: false }, &[&x], 0.0);
            check(&CumArg { axis, largest }, &[&x], 0.0);
        }
        check(&ArgReduce { largest, axis: None, keep_dims: false }, &[&x], 0.0);
    }
}

#[test]
fn products_of_others() {
    for dtype in FLOATS {
        for (dims, axes) in
            [(&[5][..], &[0][..]), (&[3, 4], &[0]), (&[3, 4], &[1]), (&[2, 3, 4], &[0, 2]), (&[3, 2], &[])]
        {
            let mut op = ProductOfOthers { axes: Default::default() };
            axes.iter().for_each(|&axis| op.axes[axis] = true);
            check(&op, &[&numbers(dims, dtype, 2)], 2.0);
        }
    }
}

#[test]
fn beside_and_into_others() {
    for dtype in TYPES {
        for axis in [0, 1, 2] {
            let parts = [2usize, 0, 16, 1].map(|length| {
                let mut dims = [4, 8, 16];
                dims[axis] = length;
                numbers(&dims, dtype, length as u64)
            });
            check(&Concat { axis }, &parts.each_ref(), 0.0);
        }
        let uniform = Tensor::filled(kiln_tensor::Spec::new(Shape::new(&[3, 5]).unwrap(), dtype), 1.0);
        check(&Concat { axis: 1 }, &[&uniform, &numbers(&[3, 2], dtype, 1)], 0.0);
        let range = |start, length, step| Stride { start, length, step };
        for (dims, ranges, fill) in [
            (vec![9], vec![range(2, 3, 1)], 0.0),
            (vec![9, 7], vec![range(8, 3, -3), range(1, 3, 2)], 1.0),
            (vec![4, 1, 5], vec![range(3, 1, 100), range(0, 1, 0), range(4, 5, -1)], 2.0),
            (vec![4, 3], vec![range(1, 0, 1), range(0, 3, 1)], 1.0),
            (vec![], vec![], 1.0),
        ] {
            let x: Vec<usize> = ranges.iter().map(|range| range.length).collect();
            check(&Embed { shape: Shape::new(&dims).unwrap(), ranges, fill }, &[&numbers(&x, dtype, 3)], 0.0);
        }
    }
}
