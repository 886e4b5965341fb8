//! Normalizations with weights and biases: of each sample, and of each channel in training.

use super::row::{Family, gradients, normal, passes};
use criterion::Criterion;
use kiln::prelude::*;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "norm");
    // The others: of few channels, each pixel by itself.
    for (rows, n) in [(4096, 1024), (50176, 16), (50176, 48)] {
        let operands = move || vec![normal(&[rows, n]), normal(&[n]), normal(&[n])];
        family.row(format!("layer_norm-{rows}x{n}"), passes(2, rows * n), || {
            let x = operands();
            move || x[0].layer_norm(&[n], Some(&x[1]), Some(&x[2]), 1e-5)
        });
        family.row(format!("layer_norm-gradients-{rows}x{n}"), passes(5, rows * n), || {
            gradients(move |x| x[0].layer_norm(&[n], Some(&x[1]), Some(&x[2]), 1e-5), operands())
        });
    }
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
