//! Convolutions of images `[N, H, W, C]` by windows of 3 × 3: forward, and with the gradients by images and weights.

use super::row::{Family, Work, by, gradients, normal};
use criterion::Criterion;
use kiln::prelude::*;
use kiln::tensor::ops::Padding;

/// With zeros around: the images, and how many filters.
const SAME: &[([usize; 4], usize)] =
    &[([64, 32, 32, 16], 32), ([32, 16, 16, 64], 64), ([64, 32, 32, 3], 16), ([32, 8, 8, 256], 256)];

/// Without.
const VALID: &[([usize; 4], usize)] = &[([32, 32, 32, 3], 16), ([32, 15, 15, 16], 32), ([32, 28, 28, 64], 64)];

/// One filter for each channel, with zeros around.
const DEPTHWISE: &[[usize; 4]] = &[[32, 32, 32, 64], [32, 8, 8, 256]];

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "conv2d");
    for (image, filters) in SAME {
        both(&mut family, "same", *image, *filters, Conv2dOptions::new().padding(Padding::Same));
    }
    for (image, filters) in VALID {
        both(&mut family, "valid", *image, *filters, Conv2dOptions::new());
    }
    for image in DEPTHWISE {
        let options = Conv2dOptions::new().padding(Padding::Same).groups(image[3]);
        both(&mut family, "depthwise", *image, image[3], options);
    }
    // Images `[N, C, H, W]` and weights `[O, C, KH, KW]`, as PyTorch has them.
    family.row("channels-first-64x16x32x32-32", Work::Flops(2 * 64 * 32 * 32 * 9 * 16 * 32), || {
        let options = Conv2dOptions::new().padding(Padding::Same).channels_first();
        let (x, w) = (normal(&[64, 16, 32, 32]), normal(&[32, 16, 3, 3]));
        move || x.conv2d(&w, &options)
    });
}

fn both(family: &mut Family<'_>, kind: &str, image: [usize; 4], filters: usize, options: Conv2dOptions) {
    let [n, h, w, channels] = image;
    let (per_group, edge) = (if kind == "depthwise" { 1 } else { channels }, if kind == "valid" { 2 } else { 0 });
    let weights = [3, 3, per_group, filters];
    let flops = 2 * n * (h - edge) * (w - edge) * 9 * per_group * filters;
    let size = format!("{}-{filters}", by(&image));
    family.row(format!("{kind}-{size}"), Work::Flops(flops), || {
        let (x, w) = (normal(&image), normal(&weights));
        move || x.conv2d(&w, &options)
    });
    family.row(format!("{kind}-gradients-{size}"), Work::Flops(3 * flops), || {
        gradients(move |x| x[0].conv2d(&x[1], &options), vec![normal(&image), normal(&weights)])
    });
}
