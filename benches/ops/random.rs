//! Random numbers, and what needs them.

use super::row::{Family, gradients, normal, passes};
use criterion::Criterion;
use kiln::prelude::*;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "random");
    for (size, n) in [("1e5", 100_000), ("1e7", 10_000_000)] {
        family.row(format!("uniform-{size}"), passes(1, n), || move || Key::new(3).uniform([n], 0.0, 1.0));
        family.row(format!("normal-{size}"), passes(1, n), || move || Key::new(3).normal([n], 0.0, 1.0));
        family.row(format!("dropout-{size}"), passes(2, n), || {
            let x = normal(&[n]);
            move || x.dropout(Key::new(4), 0.5)
        });
    }
    family.row("dropout-gradients-1e5", passes(4, 100_000), || {
        gradients(|x| x[0].dropout(Key::new(4), 0.5), vec![normal(&[100_000])])
    });
}
