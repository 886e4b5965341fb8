//! Normalizations: their means and spreads are looked at, and their gradients compared with differences. Against PyTorch's
//! numbers: `xtask refs`.

use super::{Array, Case, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{Tensor, Var};

/// `(x - mean) / √(variance + ε)` of the elements for which `group` says the same.
fn standardized(x: &Array, eps: f64, group: impl Fn(&[usize]) -> usize) -> Array {
    let all: Vec<(usize, f64)> =
        (0..x.values.len()).map(|flat| (group(&super::unravel(flat, &x.dims)), x.values[flat])).collect();
    Array::build(&x.dims, |at| {
        let own = group(at);
        let of: Vec<f64> = all.iter().filter(|(group, _)| *group == own).map(|(_, x)| *x).collect();
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        let variance = of.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / of.len() as f64;
        (x.at(at) - mean) / (variance + eps).sqrt()
    })
}

fn with<'a>(axis: isize, weight: Option<&'a Var>, bias: Option<&'a Var>) -> ChannelNorm<'a, Var> {
    ChannelNorm { axis, weight, bias, eps: 0.1, momentum: 0.3 }
}

fn channels() -> Vec<Case> {
    let inputs = || vec![numbers(&[3, 4, 2, 5], 1), numbers(&[4], 2), numbers(&[4], 3)];
    let affine = |y: Array, x: &[Array]| Array::build(&y.dims, |at| y.at(at) * x[1].at(&at[1..2]) + x[2].at(&at[1..2]));
    let running = |x: &Var| -> kiln_autograd::Result<RunningStatistics<Var>> {
        Ok(RunningStatistics { mean: x.clone(), variance: x.square()?.add(0.5)? })
    };
    vec![
        Case::new("batch_norm", inputs(), |x| {
            x[0].batch_norm(None, true, &with(1, Some(&x[1]), Some(&x[2]))).map(|(y, _)| y)
        })
        .slack(256.0)
        .reference(move |x| affine(standardized(&x[0], 0.1, |at| at[1]), x)),
        Case::new("batch_norm, channels last", vec![numbers(&[3, 2, 4], 1)], |x| {
            x[0].batch_norm(None, true, &with(-1, None, None)).map(|(y, _)| y)
        })
        .slack(256.0)
        .reference(|x| standardized(&x[0], 0.1, |at| at[2])),
        Case::many("batch_norm and what it keeps", inputs(), move |x| {
            let (y, after) = x[0].batch_norm(Some(&running(&x[1].detach())?), true, &with(1, None, Some(&x[2])))?;
            let after = after.expect("there are running statistics");
            Ok(vec![y, after.mean, after.variance])
        })
        // The statistics are constants.
        .no_gradient(),
        Case::new("batch_norm, not in training", inputs(), move |x| {
            x[0].batch_norm(Some(&running(&x[1])?), false, &with(1, Some(&x[2]), None)).map(|(y, _)| y)
        })
        .slack(64.0),
        Case::new("instance_norm", inputs(), |x| {
            x[0].instance_norm(None, true, &with(1, Some(&x[1]), Some(&x[2]))).map(|(y, _)| y)
        })
        .slack(256.0)
        .reference(move |x| affine(standardized(&x[0], 0.1, |at| 4 * at[0] + at[1]), x)),
        Case::many("instance_norm and what it keeps", inputs(), move |x| {
            let (y, after) = x[0].instance_norm(Some(&running(&x[1].detach())?), true, &with(1, None, None))?;
            let after = after.expect("there are running statistics");
            Ok(vec![y, after.mean, after.variance])
        })
        // The statistics are constants.
        .no_gradient(),
        Case::new("group_norm", inputs(), |x| x[0].group_norm(2, &with(1, Some(&x[1]), Some(&x[2]))))
            .slack(256.0)
            .reference(move |x| affine(standardized(&x[0], 0.1, |at| 2 * at[0] + at[1] / 2), x)),
        Case::new("group_norm, channels last", vec![numbers(&[2, 3, 6], 4)], |x| {
            x[0].group_norm(3, &with(-1, None, None))
        })
        .slack(256.0)
        .reference(|x| standardized(&x[0], 0.1, |at| 3 * at[0] + at[2] / 2)),
    ]
}

pub fn all() -> Vec<Case> {
    let mut all = channels();
    all.extend([
        Case::new("layer_norm", vec![numbers(&[3, 2, 4], 1), numbers(&[4], 2), numbers(&[4], 3)], |x| {
            x[0].layer_norm(&[4], Some(&x[1]), Some(&x[2]), 0.1)
        })
        .slack(256.0)
        .reference(|x| {
            let y = standardized(&x[0], 0.1, |at| 2 * at[0] + at[1]);
            Array::build(&y.dims, |at| y.at(at) * x[1].at(&at[2..]) + x[2].at(&at[2..]))
        }),
        Case::new("layer_norm of two", vec![numbers(&[3, 2, 4], 1)], |x| x[0].layer_norm(&[2, 4], None, None, 0.1))
            .slack(256.0)
            .reference(|x| standardized(&x[0], 0.1, |at| at[0])),
        Case::new("layer_norm of nothing", vec![numbers(&[0, 4], 1)], |x| x[0].layer_norm(&[4], None, None, 0.1)),
        Case::new("rms_norm", vec![numbers(&[3, 4], 1), numbers(&[4], 2)], |x| x[0].rms_norm(&[4], Some(&x[1]), None))
            .slack(256.0)
            .reference(|x| {
                Array::build(&[3, 4], |at| {
                    let mean = (0..4).map(|i| x[0].at(&[at[0], i]).powi(2)).sum::<f64>() / 4.0;
                    x[0].at(at) / mean.sqrt() * x[1].at(&at[1..])
                })
            }),
        Case::new("local_response_norm", vec![numbers(&[2, 5, 3], 1)], |x| {
            x[0].local_response_norm(3, 1, 0.5, 0.75, 1.5)
        })
        .slack(64.0)
        .reference(|x| {
            Array::build(&[2, 5, 3], |at| {
                let near = (0..5usize).filter(|c| c.abs_diff(at[1]) <= 1);
                let sum: f64 = near.map(|c| x[0].at(&[at[0], c, at[2]]).powi(2)).sum();
                x[0].at(at) / (1.5 + 0.5 / 3.0 * sum).powf(0.75)
            })
        }),
        // More channels than there are, and none beyond them.
        Case::new("local_response_norm of all", vec![numbers(&[2, 3, 2], 1)], |x| {
            x[0].local_response_norm(15, 1, 0.5, 0.75, 1.5)
        })
        .slack(64.0)
        .reference(|x| {
            Array::build(&[2, 3, 2], |at| {
                let sum: f64 = (0..3).map(|c| x[0].at(&[at[0], c, at[2]]).powi(2)).sum();
                x[0].at(at) / (1.5 + 0.5 / 15.0 * sum).powf(0.75)
            })
        }),
        Case::new("local_response_norm, channels last", vec![numbers(&[2, 3], 1)], |x| {
            x[0].local_response_norm(2, -1, 0.5, 0.5, 1.0)
        })
        .slack(64.0),
        Case::new("normalize", vec![numbers(&[3, 4], 1)], |x| x[0].normalize(2.0, 1, 1e-12)).slack(64.0),
        Case::new("normalize by sums", vec![numbers(&[3, 4], 1)], |x| x[0].normalize(1.0, 0, 1e-12)).slack(64.0),
        Case::new("renorm", vec![numbers(&[3, 4], 1)], |x| x[0].renorm(2.0, 0, 2.5)).slack(64.0),
        Case::new("renorm of columns", vec![numbers(&[3, 2, 4], 1)], |x| x[0].renorm(1.0, -1, 5.0)).slack(64.0),
    ]);
    all
}

#[test]
fn mistakes_are_errors() {
    let x = numbers(&[2, 3, 4], 1);
    let told = |x: kiln_autograd::Result<Tensor>, part: &str| {
        let text = x.unwrap_err().to_string();
        assert!(text.starts_with(part) && text.contains("normalization.rs"), "{text}");
    };
    let plain = ChannelNorm::default();
    let far = numbers(&[0, 3], 1).local_response_norm(1 << 48, 1, 1.0, 1.0, 1.0).unwrap();
    assert_eq!(far.shape().dims(), [0, 3]);
    told(x.layer_norm(&[3], None, None, 0.0), "layer_norm: [3] are not the last dimensions of [2, 3, 4]");
    told(x.rms_norm(&[], None, None), "rms_norm: [] are not the last dimensions");
    told(x.batch_norm(None, false, &plain).map(|(y, _)| y), "batch_norm: without training there must be running");
    told(x.batch_norm(None, true, &ChannelNorm { axis: 3, ..plain }).map(|(y, _)| y), "batch_norm: axis 3");
    told(x.group_norm(3, &plain), "group_norm: 4 channels cannot be parted into 3 groups");
    told(x.group_norm(0, &plain), "group_norm: 4 channels cannot be parted into 0 groups");
    told(x.local_response_norm(0, 1, 1.0, 1.0, 1.0), "local_response_norm: a size of 0");
    told(x.batch_norm(None, true, &ChannelNorm { weight: Some(&x), ..plain }).map(|(y, _)| y), "batch_norm: reshape");
}
