//! Normalizations: their means and spreads are looked at, and their gradients compared with differences. Against PyTorch's
//! numbers: `xtask refs`.

use super::{Array, Case, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Tape, Tensor, Var, keep};
use std::collections::HashMap;
use std::hash::Hash;

/// `(x - mean) / √(variance + ε)` of the elements for which `group` says the same.
fn standardized<K: std::cmp::Eq + Hash>(x: &Array, eps: f64, group: impl Fn(&[usize]) -> K) -> Array {
    let mut groups: HashMap<K, Vec<f64>> = HashMap::new();
    for flat in 0..x.values.len() {
        groups.entry(group(&super::unravel(flat, &x.dims))).or_default().push(x.values[flat]);
    }
    let moments = |of: &Vec<f64>| {
        let mean = of.iter().sum::<f64>() / of.len() as f64;
        (mean, of.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / of.len() as f64)
    };
    let groups: HashMap<K, (f64, f64)> = groups.into_iter().map(|(group, of)| (group, moments(&of))).collect();
    Array::build(&x.dims, |at| {
        let (mean, variance) = groups[&group(at)];
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

/// Over axes that lie anywhere, with weights of any fit.
fn over_axes() -> Vec<Case> {
    fn over(x: &[Var], axes: &[isize], centered: bool) -> kiln_autograd::Result<Standardized<Var>> {
        let [weight, bias] = [1, 2].map(|i| x.get(i));
        x[0].standardize(axes, &Standardize { weight, bias, eps: 0.1, centered })
    }
    let values =
        |axes: &'static [isize], centered: bool| move |x: &[Var]| over(x, axes, centered).map(|all| all.values);
    let reference = |axes: &'static [isize]| {
        move |x: &[Array]| {
            let rank = x[0].dims.len();
            let folded = |axis: usize| axes.iter().any(|&a| a.rem_euclid(rank as isize) as usize == axis);
            let group = |at: &[usize]| (0..rank).filter(|&axis| !folded(axis)).map(|axis| at[axis]).collect::<Vec<_>>();
            let y = standardized(&x[0], 0.1, group);
            let beside = |w: &Array, at: &[usize]| {
                let of = w.dims.iter().zip(&at[rank - w.dims.len()..]);
                w.at(&of.map(|(&length, &i)| i.min(length - 1)).collect::<Vec<_>>())
            };
            Array::build(&y.dims, |at| y.at(at) * beside(&x[1], at) + beside(&x[2], at))
        }
    };
    let inputs = |dims: &[usize], weight: &[usize]| vec![numbers(dims, 1), numbers(weight, 2), numbers(weight, 3)];
    vec![
        Case::new("standardize every second axis", inputs(&[2, 3, 2, 4], &[2, 1, 2, 1]), values(&[1, 3], true))
            .slack(256.0)
            .large(inputs(&[2, 40, 3, 300], &[2, 1, 3, 1]))
            .reference(reference(&[1, 3])),
        Case::new("standardize of every other", inputs(&[3, 2, 4, 2], &[2, 1, 2]), values(&[0, 2], true))
            .slack(256.0)
            .large(inputs(&[30, 2, 40, 70], &[2, 1, 70]))
            .reference(reference(&[0, 2])),
        Case::new("standardize axes apart", vec![numbers(&[2, 3, 2, 2, 3], 1)], values(&[0, 2, 4], true)).slack(256.0),
        Case::new("standardize channels last", inputs(&[3, 2, 4], &[4]), values(&[0, 1], true))
            .slack(256.0)
            .large(inputs(&[50, 33, 20], &[20]))
            .reference(reference(&[0, 1])),
        Case::new("standardize channels first", inputs(&[3, 4, 2], &[4, 1]), values(&[0, 2], true))
            .slack(256.0)
            .large(inputs(&[20, 4, 700], &[4, 1]))
            .reference(reference(&[0, 2])),
        Case::new("standardize places of the first", inputs(&[4, 3], &[4, 1]), values(&[0], true)).slack(256.0),
        Case::new("standardize weights of both", inputs(&[4, 3], &[4, 3]), values(&[1], true)).slack(256.0),
        Case::new("standardize rows", inputs(&[3, 5], &[3, 1]), values(&[-1], true))
            .slack(256.0)
            .large(inputs(&[300, 70], &[300, 1]))
            .reference(reference(&[-1])),
        Case::new("standardize places", inputs(&[3, 5], &[5]), values(&[-1], true))
            .slack(256.0)
            .large(inputs(&[300, 70], &[70]))
            .reference(reference(&[-1])),
        Case::new("standardize by one weight", vec![numbers(&[3, 4], 1), numbers(&[], 2)], values(&[0], true))
            .slack(256.0),
        Case::new("standardize squares of rows", inputs(&[3, 4], &[4]), values(&[1], false)).slack(256.0),
        Case::new("standardize squares of columns", inputs(&[3, 4], &[4]), values(&[0], false)).slack(256.0),
        Case::new("standardize by all", vec![numbers(&[3, 4], 1)], values(&[0, 1], true)).slack(256.0),
        Case::new("standardize by no axis", vec![numbers(&[3, 4], 1)], values(&[], false)).slack(256.0),
        Case::many("standardize and its moments", vec![numbers(&[3, 4, 2], 1)], move |x| {
            let Standardized { values, mean, variance } = over(x, &[0, 2], true)?;
            Ok(vec![values, mean, variance])
        })
        .slack(256.0),
        Case::many("standardize, moments alone", vec![numbers(&[3, 4], 1)], move |x| {
            let Standardized { mean, variance, .. } = over(x, &[1], false)?;
            Ok(vec![mean, variance])
        })
        .slack(256.0),
    ]
}

pub fn all() -> Vec<Case> {
    let mut all = channels();
    all.extend(over_axes());
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

/// Results and gradients of sizes that are shared out among threads, against the formula in double precision.
#[test]
fn large_ones_follow_the_formula() {
    let formula = |x: &[Var], axes: &[isize], centered: bool| -> kiln_autograd::Result<Var> {
        let mean = if centered { x[0].mean(keep(axes))? } else { Var::new(x[0].tensor().filled_like(0.0)?) };
        let apart = x[0].sub(&mean)?;
        apart.mul(&apart.square()?.mean(keep(axes))?.add(0.1)?.rsqrt()?)?.mul(&x[1])?.add(&x[2])
    };
    for (dims, weight, axes) in [
        (&[4, 5000][..], &[5000][..], &[1][..]),
        (&[900, 40], &[40], &[1]),
        (&[900, 40], &[900, 1], &[1]),
        (&[5000, 3], &[3], &[0]),
        (&[300, 200], &[200], &[0]),
        (&[3, 500, 40], &[40], &[1]),
        (&[9, 5, 1200], &[5, 1], &[0, 2]),
        (&[2, 90, 4, 33], &[1], &[1, 3]),
        (&[7, 90, 4, 5], &[7, 1, 4, 1], &[1, 3]),
    ] {
        for (centered, shift) in [(true, 0.0), (false, 0.0), (true, 100.0)] {
            let x = [numbers(dims, 1).add(shift).unwrap(), numbers(weight, 2), numbers(weight, 3)];
            let along = Var::new(numbers(dims, 4));
            let all = |dtype: DType, f: &dyn Fn(&[Var]) -> kiln_autograd::Result<Var>| -> Vec<Vec<f64>> {
                let tape = Tape::new();
                let x: Vec<Var> = x.iter().map(|x| tape.watch(&x.cast(dtype).unwrap())).collect();
                let y = f(&x).unwrap();
                let slopes = y.mul(&along).unwrap().sum(..).unwrap().backward().unwrap();
                let dx = x.iter().map(|x| slopes.get(x).unwrap().clone());
                dx.chain([y.tensor().clone()]).map(|x| x.to_vec_as::<f64>()).collect()
            };
            let want = all(DType::F64, &|x| formula(x, axes, centered));
            for (dtype, least) in [(DType::F64, 1e-11), (DType::F32, 2e-4)] {
                let found = all(dtype, &|x| {
                    let options = Standardize { weight: Some(&x[1]), bias: Some(&x[2]), eps: 0.1, centered };
                    x[0].standardize(axes, &options).map(|all| all.values)
                });
                for (found, want) in found.iter().zip(&want) {
                    let most = want.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
                    let apart = found.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    assert!(
                        apart <= least * most,
                        "{dims:?} {weight:?} {axes:?} {dtype} {centered}: {apart} of {most}"
                    );
                }
            }
        }
    }
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
    let weight = numbers(&[2, 2, 3, 4], 2);
    let larger = x.standardize(1, &Standardize { weight: Some(&weight), ..Standardize::default() });
    told(larger.map(|y| y.values), "standardize: weights and biases of [2, 2, 3, 4] do not broadcast to [2, 3, 4]");
    told(x.standardize(3, &Standardize::default()).map(|y| y.values), "standardize: axis 3");
    told(x.group_norm(3, &plain), "group_norm: 4 channels cannot be parted into 3 groups");
    told(x.group_norm(0, &plain), "group_norm: 4 channels cannot be parted into 0 groups");
    told(x.local_response_norm(0, 1, 1.0, 1.0, 1.0), "local_response_norm: a size of 0");
    told(x.batch_norm(None, true, &ChannelNorm { weight: Some(&x), ..plain }).map(|(y, _)| y), "batch_norm: reshape");
}
