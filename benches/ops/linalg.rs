//! Factorizations of matrices.

use super::row::{Family, Work, normal};
use criterion::Criterion;
use kiln::prelude::*;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "linalg");
    let positive = |n: usize| {
        let x = normal(&[n, n]);
        x.matmul(&x.t().expect("a matrix"))
            .and_then(|y| y.add(&Tensor::eye(n, n)?.cast(DType::F32)?))
            .expect("a matrix")
    };
    // The additions and multiplications of the usual algorithms.
    let flops = |share: f64, n: usize| Work::Flops((share * (n * n * n) as f64) as usize);
    for n in [32, 256] {
        let size = format!("{n}x{n}");
        family.row(format!("solve-{size}"), flops(8.0 / 3.0, n), || {
            let (x, b) = (normal(&[n, n]), normal(&[n, n]));
            move || x.solve(&b)
        });
        family.row(format!("cholesky-{size}"), flops(1.0 / 3.0, n), || {
            let x = positive(n);
            move || x.cholesky(Triangle::Lower)
        });
        family.row(format!("qr-{size}"), flops(8.0 / 3.0, n), || {
            let x = normal(&[n, n]);
            move || x.qr()
        });
        family.row(format!("eigh-{size}"), flops(9.0, n), || {
            let x = positive(n);
            move || x.eigh()
        });
        family.row(format!("svd-{size}"), flops(20.0, n), || {
            let x = normal(&[n, n]);
            move || x.svd()
        });
    }
}
