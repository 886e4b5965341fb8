//! Folds of the last, first, middle and all dimensions.

use super::row::{Family, by, gradients, normal, passes};
use criterion::Criterion;
use kiln::prelude::*;

const AXES: &[(&str, &[usize], &[isize])] = &[
    ("last", &[4096, 1024], &[1]),
    ("first", &[4096, 1024], &[0]),
    ("middle", &[64, 64, 1024], &[1]),
    ("all", &[4096, 1024], &[0, 1]),
    ("last", &[1024, 10], &[1]),
];

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "reduce");
    for &(which, shape, axes) in AXES {
        let (size, work) = (by(shape), passes(1, shape.iter().product()));
        family.row(format!("sum-{which}-{size}"), work, || {
            let x = normal(shape);
            move || x.sum(axes)
        });
        family.row(format!("max-{which}-{size}"), work, || {
            let x = normal(shape);
            move || x.amax(axes)
        });
        family.row(format!("argmax-{which}-{size}"), work, || {
            let x = normal(shape);
            move || if axes.len() == 1 { x.argmax(axes) } else { x.argmax(..) }
        });
    }
    family.row("sum-transposed-4096x1024", passes(1, 4096 * 1024), || {
        let x = normal(&[1024, 4096]);
        move || x.t()?.sum(1)
    });
    family.row("mean-gradients-last-4096x1024", passes(2, 4096 * 1024), || {
        gradients(|x| x[0].mean(1), vec![normal(&[4096, 1024])])
    });
    family.row("max-gradients-last-4096x1024", passes(3, 4096 * 1024), || {
        gradients(|x| x[0].amax(1), vec![normal(&[4096, 1024])])
    });
}
