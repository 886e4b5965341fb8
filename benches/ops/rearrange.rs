//! Copies that change the order in memory, and joining.

use super::row::{Family, normal, passes};
use criterion::Criterion;
use kiln::prelude::*;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "rearrange");
    for n in [256, 4096] {
        family.row(format!("transpose-copy-{n}x{n}"), passes(2, n * n), || {
            let x = normal(&[n, n]);
            move || x.t()?.reshape([n * n])
        });
    }
    let images = 32 * 64 * 64 * 32;
    family.row("channels-first-copy-32x64x64x32", passes(2, images), || {
        let x = normal(&[32, 64, 64, 32]);
        move || x.permute(&[0, 3, 1, 2])?.reshape([images])
    });
    family.row("heads-copy-16x128x4x64", passes(2, 16 * 128 * 4 * 64), || {
        let x = normal(&[16, 128, 4, 64]);
        move || x.permute(&[0, 2, 1, 3])?.reshape([16 * 128 * 4 * 64])
    });
    family.row("concat-last-1024x512-twice", passes(4, 1024 * 512), || {
        let (x, y) = (normal(&[1024, 512]), normal(&[1024, 512]));
        move || concat(&[&x, &y], 1)
    });
}
