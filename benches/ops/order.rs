//! Sorting, the largest elements, and running sums.

use super::row::{Family, Work, gradients, normal, passes, whole};
use criterion::Criterion;
use kiln::prelude::*;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "order");
    for (which, axis) in [("last", 1), ("first", 0)] {
        family.row(format!("cumsum-{which}-1024x1024"), passes(2, 1 << 20), || {
            let x = normal(&[1024, 1024]);
            move || x.cumsum(axis)
        });
    }
    family.row("cumsum-gradients-last-1024x1024", passes(4, 1 << 20), || {
        gradients(|x| x[0].cumsum(1), vec![normal(&[1024, 1024])])
    });
    // A value and a position of eight bytes for each element.
    for (size, shape) in [("1024x1024", &[1024, 1024][..]), ("1e6", &[1_000_000])] {
        family.row(format!("sort-last-{size}"), passes(4, shape.iter().product()), || {
            let x = normal(shape);
            move || x.sort(-1, false)
        });
    }
    family.row("bincount-1e6", Work::Bytes(8 * 1_000_000), || {
        let x = whole(1_000_000, 1000);
        move || x.bincount(None, 1000)
    });
    family.row("histogram-1e6", passes(1, 1_000_000), || {
        let x = normal(&[1_000_000]);
        move || x.histogram(100, None, None)
    });
    family.row("unique-1e6", Work::Bytes(2 * 8 * 1_000_000), || {
        let x = whole(1_000_000, 1000);
        move || x.unique()
    });
    family.row("topk-10-1024x1024", passes(1, 1 << 20), || {
        let x = normal(&[1024, 1024]);
        move || x.top_k(10, -1, true)
    });
}
