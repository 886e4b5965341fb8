//! Recurrent layers and their gradients: with and without masks, one step and many, units and rows around those of a block.

use crate::beside::{FLOATS, check, integers, numbers};
use kiln_tensor::ops::{CastOps, Gru, GruGrad, Lstm, LstmGrad, SimpleRnn, SimpleRnnGrad};
use kiln_tensor::{DType, Tensor};

/// Numbers from -1/4 to 1/4.
fn small(dims: &[usize], dtype: DType, seed: u64) -> Tensor {
    let values: Vec<f64> = numbers(dims, dtype, seed).to_vec_as::<f64>().iter().map(|x| x / 16.0).collect();
    Tensor::from_vec(values, dims).unwrap().cast(dtype).unwrap()
}

/// Batch, time and units, and the types.
fn sizes() -> Vec<([usize; 3], &'static [DType])> {
    vec![
        ([1, 1, 1], &FLOATS),
        ([2, 3, 5], &FLOATS),
        ([5, 4, 33], &FLOATS),
        ([9, 70, 7], &[DType::F32]),
        ([0, 3, 2], &[DType::F32]),
        ([2, 0, 3], &[DType::F32]),
        ([2, 3, 0], &[DType::F32]),
    ]
}

fn with_mask<'a>(x: &[&'a Tensor], mask: Option<&'a Tensor>) -> Vec<&'a Tensor> {
    x.iter().copied().chain(mask).collect()
}

fn for_all(test: impl Fn([usize; 3], DType, Option<&Tensor>)) {
    for (sizes, types) in sizes() {
        for &dtype in types {
            let mask = integers(&sizes[..2], 3, 9).cast(DType::Bool).unwrap();
            test(sizes, dtype, None);
            test(sizes, dtype, Some(&mask));
        }
    }
}

#[test]
fn simple() {
    for_all(|[batch, time, units], dtype, mask| {
        let masked = mask.is_some();
        let (x, kernel) = (small(&[batch, time, units], dtype, 1), small(&[units, units], dtype, 2));
        let first = small(&[batch, units], dtype, 3);
        let op = SimpleRnn { masked };
        check(&op, &with_mask(&[&x, &kernel, &first], mask), 64.0);
        let h = Tensor::apply(&op, &with_mask(&[&x, &kernel, &first], mask)).unwrap().one().unwrap();
        let dh = small(h.shape().dims(), dtype, 4);
        check(&SimpleRnnGrad { masked }, &with_mask(&[&h, &kernel, &first, &dh], mask), 64.0);
    });
}

#[test]
fn lstm() {
    for_all(|[batch, time, units], dtype, mask| {
        let masked = mask.is_some();
        let (x, kernel) = (small(&[batch, time, 4 * units], dtype, 1), small(&[units, 4 * units], dtype, 2));
        let [h0, c0] = [3, 4].map(|seed| small(&[batch, units], dtype, seed));
        let op = Lstm { masked };
        let operands = with_mask(&[&x, &kernel, &h0, &c0], mask);
        check(&op, &operands, 32.0);
        let [h, c, gates] = Tensor::apply(&op, &operands).unwrap().into_array().unwrap();
        let [dh, dc] = [5, 6].map(|seed| small(h.shape().dims(), dtype, seed));
        let operands = [&gates, &h, &c, &kernel, &h0, &c0, &dh, &dc];
        check(&LstmGrad { cell: false, masked }, &with_mask(&operands[..7], mask), 64.0);
        check(&LstmGrad { cell: true, masked }, &with_mask(&operands, mask), 64.0);
    });
}

#[test]
fn gru() {
    for_all(|[batch, time, units], dtype, mask| {
        let masked = mask.is_some();
        let (x, kernel) = (small(&[batch, time, 3 * units], dtype, 1), small(&[units, 3 * units], dtype, 2));
        let (bias, first) = (small(&[3 * units], dtype, 3), small(&[batch, units], dtype, 4));
        let op = Gru { masked };
        let operands = with_mask(&[&x, &kernel, &bias, &first], mask);
        check(&op, &operands, 32.0);
        let [h, gates, inner] = Tensor::apply(&op, &operands).unwrap().into_array().unwrap();
        let dh = small(h.shape().dims(), dtype, 5);
        check(&GruGrad { masked }, &with_mask(&[&gates, &inner, &h, &kernel, &first, &dh], mask), 64.0);
    });
}
