//! Functions of each element, with the allocation of their results: in a cache, in a larger one, in memory; broadcast and transposed.

use super::row::{Family, Outcome, by, gradients, normal, passes};
use criterion::Criterion;
use kiln::prelude::*;

const SIZES: &[(&str, usize)] = &[("1e3", 1000), ("1e5", 100_000), ("1e7", 10_000_000)];

/// A name, and the function of tensors and of what a tape follows.
type Unary = (&'static str, fn(&Tensor) -> Outcome, fn(&Var) -> Outcome<Var>);

const UNARY: &[Unary] = &[
    ("relu", |x| x.relu(), |x| x.relu()),
    ("exp", |x| x.exp(), |x| x.exp()),
    ("tanh", |x| x.tanh(), |x| x.tanh()),
    ("sigmoid", |x| x.sigmoid(), |x| x.sigmoid()),
    ("gelu", |x| x.gelu(), |x| x.gelu()),
    ("gelu_tanh", |x| x.gelu_tanh(), |x| x.gelu_tanh()),
];

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "elementwise");
    for &(size, n) in SIZES {
        family.row(format!("add-{size}"), passes(3, n), || {
            let (x, y) = (normal(&[n]), normal(&[n]));
            move || x.add(&y)
        });
        family.row(format!("mul-{size}"), passes(3, n), || {
            let (x, y) = (normal(&[n]), normal(&[n]));
            move || x.mul(&y)
        });
        for &(name, f, _) in UNARY {
            family.row(format!("{name}-{size}"), passes(2, n), || {
                let x = normal(&[n]);
                move || f(&x)
            });
        }
    }
    for &(name, _, f) in UNARY {
        family.row(format!("{name}-gradients-1e5"), passes(5, 100_000), || {
            gradients(move |x| f(&x[0]), vec![normal(&[100_000])])
        });
    }
    layouts(&mut family);
}

/// Operands that broadcast, or lie otherwise than the result.
fn layouts(family: &mut Family<'_>) {
    for (name, x, y) in [
        ("row", &[4096, 1024][..], &[1024][..]),
        ("column", &[4096, 1024], &[4096, 1]),
        ("channels", &[32, 30, 30, 16], &[16]),
    ] {
        let n = x.iter().product();
        family.row(format!("add-{name}-{}", by(x)), passes(2, n), || {
            let (x, y) = (normal(x), normal(y));
            move || x.add(&y)
        });
    }
    family.row("add-row-gradients-4096x1024", passes(4, 4096 * 1024), || {
        gradients(|x| x[0].add(&x[1]), vec![normal(&[4096, 1024]), normal(&[1024])])
    });
    family.row("add-transposed-1024x1024", passes(3, 1 << 20), || {
        let (x, y) = (normal(&[1024, 1024]), normal(&[1024, 1024]));
        move || x.add(&y.t()?)
    });
    family.row("exp-transposed-1024x1024", passes(2, 1 << 20), || {
        let x = normal(&[1024, 1024]);
        move || x.t()?.exp()
    });
}
