//! Pools of images `[N, H, W, C]` by windows of 2 × 2.

use super::row::{Family, Outcome, by, gradients, normal};
use crate::row::Work;
use criterion::Criterion;
use kiln::prelude::*;

/// A name, and the pool of tensors and of what a tape follows.
type Pool = (&'static str, fn(&Tensor) -> Outcome, fn(&Var) -> Outcome<Var>);

const POOLS: &[Pool] = &[
    ("max", |x| x.max_pool2d(&Pool2dOptions::new([2, 2])), |x| x.max_pool2d(&Pool2dOptions::new([2, 2]))),
    ("average", |x| x.average_pool2d(&Pool2dOptions::new([2, 2])), |x| x.average_pool2d(&Pool2dOptions::new([2, 2]))),
];

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "pool");
    for shape in [[64, 32, 32, 64], [32, 30, 30, 16]] {
        let (size, n) = (by(&shape), shape.iter().product::<usize>());
        for &(name, f, recorded) in POOLS {
            family.row(format!("{name}-{size}"), Work::Bytes(5 * n), || {
                let x = normal(&shape);
                move || f(&x)
            });
            family.row(format!("{name}-gradients-{size}"), Work::Bytes(10 * n), || {
                gradients(move |x| recorded(&x[0]), vec![normal(&shape)])
            });
        }
    }
}
