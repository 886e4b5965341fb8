//! Attention by tensor cores: tiles that are cut off, queries that see what is before them, operands that lie or broadcast in
//! other ways, and shapes that have no kernel.

use crate::beside::{device, difference, numbers, scattered, shared};
use kiln_tensor::ops::{Attend, AttendGrad, AttentionOps, AttentionOptions, MatMulOps, ViewOps};
use kiln_tensor::{DType, Device, Op, Tensor};

/// On the device and on the CPU, with what the sums of rows may differ by.
fn check(op: &impl Op, x: &[Tensor], there: &dyn Fn(&Tensor) -> Tensor) {
    let moved: Vec<Tensor> = x.iter().map(there).collect();
    let got = Tensor::apply(op, &moved.iter().collect::<Vec<_>>()).unwrap();
    let want = Tensor::apply(op, &x.iter().collect::<Vec<_>>()).unwrap();
    for (i, (got, want)) in got.iter().zip(want.iter()).enumerate() {
        let slack = if want.dtype() == DType::F32 { 64.0 } else { 4.0 };
        if let Some(problem) = difference(&got.to_device(Device::Cpu).unwrap(), want, slack) {
            panic!("{op:?} of {:?}: result {i}: {problem}", x.iter().map(Tensor::spec).collect::<Vec<_>>());
        }
    }
}

fn of(x: &Tensor) -> Tensor {
    x.to_device(device()).unwrap()
}

#[test]
fn tiles_of_attention() {
    let _shared = shared();
    for (lead, rows, columns, inner, width, causal) in [
        (vec![2], 64, 64, 16, 16, false),
        (vec![1, 2], 70, 130, 32, 48, false),
        (vec![3], 70, 70, 64, 64, true),
        (vec![], 33, 100, 80, 16, true),
        (vec![2], 100, 33, 16, 128, true),
        (vec![1], 1, 1, 128, 96, true),
    ] {
        for dtype in [DType::F16, DType::BF16] {
            let matrix = |rows: usize, width: usize, seed| numbers(&[&lead[..], &[rows, width]].concat(), dtype, seed);
            let x = [matrix(rows, inner, 1), matrix(columns, inner, 2), matrix(columns, width, 3)];
            let op = Attend { scale: 0.3 / (inner as f64).sqrt(), causal };
            check(&op, &x, &of);
            check(&op, &x, &scattered);
            let [y, sums] = Tensor::apply(&op, &x.each_ref()).unwrap().into_array().unwrap();
            let all: Vec<Tensor> = x.into_iter().chain([y, sums, matrix(rows, width, 4)]).collect();
            check(&AttendGrad { of: op }, &all, &of);
            check(&AttendGrad { of: op }, &all, &scattered);
        }
    }
}

#[test]
fn operands_of_attention_broadcast() {
    let _shared = shared();
    // Batches and heads as projections give them, keys that all heads share, values that all share.
    let dtype = DType::BF16;
    let heads = |x: &Tensor| x.permute(&[0, 2, 1, 3]).unwrap();
    let q = numbers(&[2, 40, 3, 16], dtype, 1);
    let (k, v) = (numbers(&[2, 1, 50, 16], dtype, 2), numbers(&[50, 32], dtype, 3));
    let op = Attend { scale: 0.1, causal: false };
    let run = |q: &Tensor, k: &Tensor, v: &Tensor| {
        let x = [&heads(q), k, v];
        let [y, sums] = Tensor::apply(&op, &x).unwrap().into_array().unwrap();
        let dy = y.permute(&[3, 1, 2, 0]).unwrap().permute(&[3, 1, 2, 0]).unwrap();
        let grad = AttendGrad { of: op };
        let dx = Tensor::apply(&grad, &[x[0], x[1], x[2], &y, &sums, &dy]).unwrap();
        [y].into_iter().chain(dx).map(|x| x.to_device(Device::Cpu).unwrap()).collect::<Vec<_>>()
    };
    for (got, want) in run(&of(&q), &of(&k), &of(&v)).iter().zip(&run(&q, &k, &v)) {
        assert_eq!(difference(got, want, 8.0), None);
    }
}

#[test]
fn what_has_no_kernel_is_put_together() {
    let _shared = shared();
    for (dtype, inner, masked) in [(DType::F32, 16, false), (DType::F16, 12, false), (DType::F16, 16, true)] {
        let [q, k, v] = [1, 2, 3].map(|seed| numbers(&[2, 5, inner], dtype, seed));
        let mask = Tensor::from_vec((0..25).map(|i| i % 3 != 1).collect(), [5, 5]).unwrap();
        let run = |there: &dyn Fn(&Tensor) -> Tensor| {
            let mask = there(&mask);
            let options = AttentionOptions { mask: masked.then_some(&mask), causal: true, scale: None };
            let shares = there(&q).attention_shares(&there(&k), &options).unwrap();
            let y = there(&q).scaled_dot_product_attention(&there(&k), &there(&v), &options).unwrap();
            (y.to_device(Device::Cpu).unwrap(), shares.matmul(&there(&v)).unwrap().to_device(Device::Cpu).unwrap())
        };
        let (got, together) = run(&of);
        assert!(got.same_bits(&together));
        assert_eq!(difference(&got, &run(&Tensor::clone).0, 8.0), None);
    }
}
