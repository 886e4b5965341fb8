//! Products of vectors and matrices by their definitions.

use super::{Array, Case, numbers};
use kiln_autograd::Tensor;
use kiln_autograd::ops::*;

fn inputs(shapes: &[&[usize]]) -> Vec<Tensor> {
    shapes.iter().zip(1..).map(|(dims, seed)| numbers(dims, seed)).collect()
}

fn vectors() -> Vec<Case> {
    let inner = |x: &[Array]| {
        let (a, b) = (&x[0], &x[1]);
        let (p, q) = (a.dims.len() - 1, b.dims.len() - 1);
        Array::build(&[&a.dims[..p], &b.dims[..q]].concat(), |at| {
            (0..a.dims[p]).map(|k| a.at(&[&at[..p], &[k]].concat()) * b.at(&[&at[p..], &[k]].concat())).sum()
        })
    };
    let cross = |x: &[Array]| {
        Array::build(&[2, 3, 4], |at| {
            let of = |x: &Array, by: usize| x.broadcast_at(&[at[0], (at[1] + by) % 3, at[2]]);
            of(&x[0], 1) * of(&x[1], 2) - of(&x[0], 2) * of(&x[1], 1)
        })
    };
    let distance = |p: f64| {
        move |x: &[Array]| {
            Array::build(&[2, 3, 4], |at| {
                let gap = |k: usize| (x[0].at(&[at[0], at[1], k]) - x[1].at(&[at[0], at[2], k])).abs();
                let gaps = (0..5).map(gap);
                if p.is_infinite() {
                    gaps.fold(0.0, f64::max)
                } else {
                    gaps.map(|d| d.powf(p)).sum::<f64>().powf(1.0 / p)
                }
            })
        }
    };
    let mut all = vec![
        Case::new("outer", inputs(&[&[3], &[4]]), |x| x[0].outer(&x[1]))
            .reference(|x| Array::build(&[3, 4], |at| x[0].at(&at[..1]) * x[1].at(&at[1..]))),
        Case::new("outer of nothing", inputs(&[&[0], &[4]]), |x| x[0].outer(&x[1])),
        Case::new("inner of vectors", inputs(&[&[5], &[5]]), |x| x[0].inner(&x[1])).slack(64.0).reference(inner),
        Case::new("inner of matrices", inputs(&[&[2, 3, 5], &[4, 5]]), |x| x[0].inner(&x[1]))
            .slack(64.0)
            .reference(inner),
        Case::new("inner with a number", inputs(&[&[2, 3], &[]]), |x| x[0].inner(&x[1])),
        Case::new("inner of nothing", inputs(&[&[2, 0], &[3, 0]]), |x| x[0].inner(&x[1])).reference(inner),
        Case::new("cross", inputs(&[&[2, 3, 4], &[2, 3, 4]]), |x| x[0].cross(&x[1], -2)).slack(64.0).reference(cross),
        Case::new("cross, repeated", inputs(&[&[2, 3, 4], &[1, 3, 1]]), |x| x[0].cross(&x[1], 1))
            .slack(64.0)
            .reference(cross),
        Case::new("cross with itself", inputs(&[&[3]]), |x| x[0].cross(&x[0].mul(&x[0])?, 0)).slack(64.0),
    ];
    for p in [1.0, 1.5, 2.0, 3.0, f64::INFINITY] {
        let case = Case::new(format!("cdist {p}"), inputs(&[&[2, 3, 5], &[2, 4, 5]]), move |x| x[0].cdist(&x[1], p));
        all.push(case.slack(64.0).reference(distance(p)));
    }
    let covariance = |correction: f64| {
        move |x: &[Array]| {
            let mean = |row: usize| (0..5).map(|k| x[0].at(&[row, k])).sum::<f64>() / 5.0;
            let apart = |row: usize, k: usize| x[0].at(&[row, k]) - mean(row);
            Array::build(&[3, 3], |at| {
                (0..5).map(|k| apart(at[0], k) * apart(at[1], k)).sum::<f64>() / (5.0 - correction)
            })
        }
    };
    for correction in [0.0, 1.0] {
        let case = Case::new(format!("cov {correction}"), inputs(&[&[3, 5]]), move |x| x[0].cov(correction));
        all.push(case.slack(64.0).reference(covariance(correction)));
    }
    all.push(Case::new("corrcoef", inputs(&[&[3, 5]]), |x| x[0].corrcoef()).slack(64.0).reference(move |x| {
        let together = covariance(1.0)(x);
        let deviation = |i: usize| together.at(&[i, i]).sqrt();
        Array::build(&[3, 3], |at| together.at(at) / deviation(at[0]) / deviation(at[1]))
    }));
    all.push(Case::new("pdist", inputs(&[&[4, 3]]), |x| x[0].pdist(2.0)).slack(64.0).reference(|x| {
        let pairs = (0..4).flat_map(|i| (i + 1..4).map(move |j| (i, j)));
        let distance = |(i, j)| (0..3).map(|k| (x[0].at(&[i, k]) - x[0].at(&[j, k])).powi(2)).sum::<f64>().sqrt();
        Array { dims: vec![6], values: pairs.map(distance).collect() }
    }));
    all.push(Case::new("pdist of one row", inputs(&[&[1, 3]]), |x| x[0].pdist(1.0)));
    all.push(Case::new("vecdot", inputs(&[&[2, 3, 4], &[3, 1]]), |x| x[0].vecdot(&x[1], 1)).slack(64.0));
    all.push(Case::new("cdist of nothing", inputs(&[&[0, 5], &[4, 5]]), |x| x[0].cdist(&x[1], 2.0)));
    all
}

fn tensors() -> Vec<Case> {
    let kron = |x: &[Array]| {
        let dims: Vec<usize> = x[0].dims.iter().zip(&x[1].dims).map(|(p, q)| p * q).collect();
        let q = x[1].dims.clone();
        Array::build(&dims, |at| {
            let outer: Vec<usize> = at.iter().zip(&q).map(|(i, q)| i / q).collect();
            let inner: Vec<usize> = at.iter().zip(&q).map(|(i, q)| i % q).collect();
            x[0].at(&outer) * x[1].at(&inner)
        })
    };
    vec![
        Case::new("tensordot", inputs(&[&[2, 3, 4], &[4, 5, 3]]), |x| x[0].tensordot(&x[1], &[1, -1], &[2, 0]))
            .slack(64.0)
            .reference(|x| {
                Array::build(&[2, 5], |at| {
                    let pairs = (0..3).flat_map(|j| (0..4).map(move |k| (j, k)));
                    pairs.map(|(j, k)| x[0].at(&[at[0], j, k]) * x[1].at(&[k, at[1], j])).sum()
                })
            }),
        Case::new("tensordot of everything", inputs(&[&[2, 3], &[2, 3]]), |x| x[0].tensordot(&x[1], &[0, 1], &[0, 1]))
            .slack(64.0),
        Case::new("tensordot of no dimension", inputs(&[&[2], &[3]]), |x| x[0].tensordot(&x[1], &[], &[])),
        Case::new("kron", inputs(&[&[2, 3], &[3, 2]]), |x| x[0].kron(&x[1])).reference(kron),
        Case::new("kron of ranks", inputs(&[&[2], &[3, 2]]), |x| x[0].kron(&x[1])),
        Case::new("kron of nothing", inputs(&[&[2, 0], &[3, 2]]), |x| x[0].kron(&x[1])).reference(kron),
        Case::new("multi_dot", inputs(&[&[4, 2], &[2, 5], &[5, 1], &[1, 3]]), |x| {
            multi_dot(&x.iter().collect::<Vec<_>>())
        })
        .slack(64.0),
        Case::new("multi_dot of vectors", inputs(&[&[3], &[3, 4], &[4]]), |x| multi_dot(&[&x[0], &x[1], &x[2]]))
            .slack(64.0),
        Case::new("multi_dot of one", inputs(&[&[3, 2]]), |x| multi_dot(&[&x[0]])),
    ]
}

fn sums() -> Vec<Case> {
    let bilinear = |x: &[Array]| {
        Array::build(&[3, 2], |at| {
            let pairs = (0..4).flat_map(|i| (0..5).map(move |j| (i, j)));
            let product = |(i, j)| x[0].at(&[at[0], i]) * x[2].at(&[at[1], i, j]) * x[1].at(&[at[0], j]);
            pairs.map(product).sum::<f64>() + x[3].at(&at[1..])
        })
    };
    vec![
        Case::new("addmm", inputs(&[&[2, 4], &[2, 3], &[3, 4]]), |x| x[0].addmm(&x[1], &x[2], 0.5, -2.0)).slack(64.0),
        Case::new("addmm, repeated", inputs(&[&[4], &[2, 3], &[3, 4]]), |x| x[0].addmm(&x[1], &x[2], 1.0, 1.0))
            .slack(64.0),
        Case::new("addmm without", inputs(&[&[], &[2, 3], &[3, 4]]), |x| x[0].addmm(&x[1], &x[2], 0.0, 1.0))
            .slack(64.0),
        Case::new("addmv", inputs(&[&[2], &[2, 3], &[3]]), |x| x[0].addmv(&x[1], &x[2], 2.0, 0.5)).slack(64.0),
        Case::new("baddbmm", inputs(&[&[5, 2, 4], &[5, 2, 3], &[5, 3, 4]]), |x| x[0].baddbmm(&x[1], &x[2], 1.0, 3.0))
            .slack(64.0),
        Case::new("addbmm", inputs(&[&[2, 4], &[5, 2, 3], &[5, 3, 4]]), |x| x[0].addbmm(&x[1], &x[2], 1.0, 3.0))
            .slack(64.0),
        Case::new("addr", inputs(&[&[2, 4], &[2], &[4]]), |x| x[0].addr(&x[1], &x[2], 0.5, 3.0)).slack(64.0),
        Case::new("linear", inputs(&[&[2, 3, 4], &[5, 4], &[5]]), |x| x[0].linear(&x[1], Some(&x[2]))).slack(64.0),
        Case::new("linear of one unit", inputs(&[&[3, 4], &[4]]), |x| x[0].linear(&x[1], None)).slack(64.0),
        Case::new("bilinear", inputs(&[&[3, 4], &[3, 5], &[2, 4, 5], &[2]]), |x| {
            x[0].bilinear(&x[1], &x[2], Some(&x[3]))
        })
        .slack(64.0)
        .reference(bilinear),
        Case::new("bilinear of one", inputs(&[&[4], &[5], &[2, 4, 5]]), |x| x[0].bilinear(&x[1], &x[2], None))
            .slack(64.0),
    ]
}

pub fn all() -> Vec<Case> {
    [vectors(), tensors(), sums()].into_iter().flatten().map(Case::fused).collect()
}

#[test]
fn what_is_left_out_is_not_looked_at() {
    let (nan, a) = (Tensor::new([[f64::NAN; 2]; 2]), Tensor::new([[1.0, 2.0], [3.0, 4.0]]));
    assert_eq!(nan.addmm(&a, &a, 0.0, 1.0).unwrap().to_vec::<f64>().unwrap(), [7.0, 10.0, 15.0, 22.0]);
}

#[test]
fn mistakes_are_errors() {
    let (a, b) = (numbers(&[2, 3], 1), numbers(&[3, 2], 2));
    let told = |x: kiln_autograd::Result<Tensor>, part: &str| {
        let text = x.unwrap_err().to_string();
        assert!(text.starts_with(part) && text.contains("products.rs"), "{text}");
    };
    told(a.outer(&b), "outer: needs two vectors, found [2, 3] and [3, 2]");
    told(a.inner(&b), "inner: axis -1 of [2, 3] and axis -1 of [3, 2] differ in length");
    told(a.tensordot(&b, &[0], &[]), "tensordot: 1 axes of the one, 0 of the other");
    told(a.tensordot(&b, &[0, 0], &[1, 1]), "tensordot: [0, 0] does not name different axes of [2, 3]");
    told(a.tensordot(&b, &[2], &[0]), "tensordot: axis 2 is out of range");
    told(a.cross(&b, 0), "cross");
    told(a.cross(&a, 0), "cross: needs vectors of 3 numbers along axis 0");
    told(a.cdist(&b, 2.0), "cdist: needs rows [..., m, d] and [..., n, d], found [2, 3] and [3, 2]");
    told(a.unsqueeze(0).unwrap().cov(1.0), "cov: needs variables in rows, [m, n], found [1, 2, 3]");
    told(a.corrcoef().and_then(|y| y.cov(f64::NAN)), "cov: the correction is NaN");
    told(a.addmm(&a, &a, 1.0, 1.0), "addmm: matmul: cannot multiply");
    told(a.addmm(&a, &b, 1.0, 1.0), "addmm: add: [2, 3] does not broadcast to the product's [2, 2]");
    told(a.linear(&b, None), "linear: matmul");
    told(multi_dot::<Tensor>(&[]), "multi_dot: there is nothing to multiply");
    told(multi_dot(&[&a, &numbers(&[3], 1), &b]), "multi_dot: operand 1 is [3], not a matrix");
}
