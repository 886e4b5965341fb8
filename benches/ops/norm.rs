//! Normalizations with weights and biases: of each sample, and of each channel in training.

use super::row::{Family, gradients, normal, passes};
use criterion::Criterion;
use kiln::prelude::*;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "norm");
    let (shape, n) = ([4096, 1024], 4096 * 1024);
    let operands = move || vec![normal(&shape), normal(&[1024]), normal(&[1024])];
    family.row("layer_norm-4096x1024", passes(2, n), || {
        let x = operands();
        move || x[0].layer_norm(&[1024], Some(&x[1]), Some(&x[2]), 1e-5)
    });
    family.row("layer_norm-gradients-4096x1024", passes(5, n), || {
        gradients(|x| x[0].layer_norm(&[1024], Some(&x[1]), Some(&x[2]), 1e-5), operands())
    });
    let (shape, n) = ([64, 32, 32, 64], 64 * 32 * 32 * 64);
    let operands = move || vec![normal(&shape), normal(&[64]), normal(&[64])];
    family.row("batch_norm-64x32x32x64", passes(2, n), || {
        let x = operands();
        move || {
            let options = ChannelNorm { weight: Some(&x[1]), bias: Some(&x[2]), ..ChannelNorm::default() };
            x[0].batch_norm(None, true, &options).map(|(y, _)| y)
        }
    });
    family.row("batch_norm-gradients-64x32x32x64", passes(5, n), || {
        let f = |x: &[Var]| {
            let options = ChannelNorm { weight: Some(&x[1]), bias: Some(&x[2]), ..ChannelNorm::default() };
            x[0].batch_norm(None, true, &options).map(|(y, _)| y)
        };
        gradients(f, operands())
    });
}
