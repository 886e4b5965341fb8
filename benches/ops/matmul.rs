//! Products of matrices: squares, what layers have, their gradients, operands that lie transposed, half precision, batches.

use super::row::{Family, Work, by, gradients, normal};
use criterion::Criterion;
use kiln::prelude::*;

/// `[m, k, n]`.
const SIZES: &[[usize; 3]] = &[
    [128, 128, 128],
    [256, 256, 256],
    [512, 512, 512],
    [1024, 1024, 1024],
    [2048, 2048, 2048],
    [2048, 256, 1024],
    [64, 1024, 1024],
    [32, 784, 128],
    [32, 128, 10],
];

/// The gradients of a dense layer's product `[32, 784] · [784, 128]` by its weights and by its inputs, and a square.
const LEFT_TRANSPOSED: &[[usize; 3]] = &[[784, 32, 128], [1024, 1024, 1024]];
const RIGHT_TRANSPOSED: &[[usize; 3]] = &[[32, 128, 784], [1024, 1024, 1024]];

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "matmul");
    for size @ [m, k, n] in SIZES {
        family.row(format!("f32-{}", by(size)), flops(*size), || {
            let (a, b) = (normal(&[*m, *k]), normal(&[*k, *n]));
            move || a.matmul(&b)
        });
    }
    for size @ [m, k, n] in LEFT_TRANSPOSED {
        family.row(format!("f32-left-transposed-{}", by(size)), flops(*size), || {
            let (a, b) = (normal(&[*k, *m]), normal(&[*k, *n]));
            move || a.t()?.matmul(&b)
        });
    }
    for size @ [m, k, n] in RIGHT_TRANSPOSED {
        family.row(format!("f32-right-transposed-{}", by(size)), flops(*size), || {
            let (a, b) = (normal(&[*m, *k]), normal(&[*n, *k]));
            move || a.matmul(&b.t()?)
        });
    }
    for size @ [m, k, n] in [[32, 784, 128], [512, 512, 512]] {
        family.row(format!("f32-gradients-{}", by(&size)), Work::Flops(6 * m * k * n), || {
            gradients(|x| x[0].matmul(&x[1]), vec![normal(&[m, k]), normal(&[k, n])])
        });
    }
    family.row("bf16-1024x1024x1024", flops([1024; 3]), || {
        let half = || normal(&[1024, 1024]).cast(DType::BF16).expect("numbers can be rounded");
        let (a, b) = (half(), half());
        move || a.matmul(&b)
    });
    family.row("f32-batch-64x128x64x128", Work::Flops(64 * 2 * 128 * 64 * 128), || {
        let (a, b) = (normal(&[64, 128, 64]), normal(&[64, 128, 64]));
        move || a.matmul(&b.transpose(1, 2)?)
    });
}

fn flops([m, k, n]: [usize; 3]) -> Work {
    Work::Flops(2 * m * k * n)
}
