//! Losses as functions: the gradients of first and second order beside differences, and by definition what PyTorch's recorded
//! numbers (`xtask refs`) do not cover.

use super::{Array, Case, indices, numbers};
use kiln_autograd::ops::losses::*;
use kiln_autograd::ops::*;
use kiln_autograd::{Result, Tensor, Var};

const ALL: [Reduction; 4] = [Reduction::None, Reduction::Mean, Reduction::Sum, Reduction::BatchMean];

/// Numbers between 0 and 1.
fn shares(dims: &[usize], seed: u64) -> Tensor {
    numbers(dims, seed).sigmoid().unwrap()
}

/// 1 and -1.
fn signs(dims: &[usize]) -> Tensor {
    indices(dims, 2).mul(2).unwrap().sub(1).unwrap()
}

fn distances() -> Vec<Case> {
    let pair = || vec![numbers(&[3, 4], 1), numbers(&[3, 4], 2)];
    let mut all: Vec<Case> = ALL
        .into_iter()
        .map(|reduction| {
            Case::new(format!("mse_loss {reduction:?}"), pair(), move |x| mse_loss(&x[0], &x[1], reduction))
                .slack(64.0)
                .reference(move |x| {
                    let each = Array::build(&[3, 4], |at| (x[0].at(at) - x[1].at(at)).powi(2));
                    let sum = each.values.iter().sum::<f64>();
                    let one = |value| Array { dims: vec![], values: vec![value] };
                    match reduction {
                        Reduction::None => each,
                        Reduction::Mean => one(sum / 12.0),
                        Reduction::Sum => one(sum),
                        Reduction::BatchMean => one(sum / 3.0),
                    }
                })
        })
        .collect();
    let each = Reduction::None;
    type Loss = fn(&Var, &Var) -> Result<Var>;
    let rows: [(&str, Loss); 8] = [
        ("l1_loss", |x, y| l1_loss(x, y, Reduction::None)),
        ("smooth_l1_loss", |x, y| smooth_l1_loss(x, y, 0.7, Reduction::Mean)),
        ("smooth_l1_loss of 0", |x, y| smooth_l1_loss(x, y, 0.0, Reduction::Mean)),
        ("huber_loss", |x, y| huber_loss(x, y, 0.7, Reduction::Sum)),
        ("pairwise_distance", |x, y| pairwise_distance(x, y, 2.0, 1e-6, true)),
        ("pairwise_distance of sums", |x, y| pairwise_distance(x, y, 1.0, 1e-6, false)),
        ("cosine_similarity", |x, y| cosine_similarity(x, y, 0, 1e-8)),
        ("cosine_similarity of rows", |x, y| cosine_similarity(x, y, -1, 1e-8)),
    ];
    all.extend(rows.map(|(name, loss)| Case::new(name, pair(), move |x| loss(&x[0], &x[1])).slack(64.0)));
    all.push(Case::new("cosine_embedding_loss", [pair(), vec![signs(&[3])]].concat(), move |x| {
        cosine_embedding_loss(&x[0], &x[1], &x[2], 0.1, each)
    }));
    all
}

fn margins() -> Vec<Case> {
    let each = Reduction::None;
    let triplet = Triplet { margin: 0.5, swap: true, reduction: each, ..Triplet::default() };
    let three = || (1..4).map(|seed| numbers(&[3, 4], seed)).collect::<Vec<_>>();
    vec![
        Case::new("hinge_embedding_loss", vec![numbers(&[3, 4], 1), signs(&[3, 4])], move |x| {
            hinge_embedding_loss(&x[0], &x[1], 0.7, each)
        })
        .reference(|x| {
            Array::build(&[3, 4], |at| if x[1].at(at) > 0.0 { x[0].at(at) } else { (0.7 - x[0].at(at)).max(0.0) })
        }),
        Case::new("margin_ranking_loss", vec![numbers(&[5], 1), numbers(&[5], 2), signs(&[5])], move |x| {
            margin_ranking_loss(&x[0], &x[1], &x[2], 0.3, each)
        })
        .reference(|x| Array::build(&[5], |at| (-x[2].at(at) * (x[0].at(at) - x[1].at(at)) + 0.3).max(0.0))),
        Case::new("soft_margin_loss", vec![numbers(&[5], 1), signs(&[5])], |x| {
            soft_margin_loss(&x[0], &x[1], Reduction::Mean)
        }),
        Case::new(
            "multilabel_soft_margin_loss",
            vec![numbers(&[3, 4], 1), indices(&[3, 4], 2), shares(&[4], 3)],
            move |x| multilabel_soft_margin_loss(&x[0], &x[1], Some(&x[2]), each),
        ),
        Case::new("triplet_margin_loss", three(), move |x| triplet_margin_loss(&x[0], &x[1], &x[2], &triplet))
            .slack(64.0),
        Case::new("triplet_margin_with_distance_loss", three(), move |x| {
            let squares = |a: &Var, b: &Var| a.sub(b)?.square()?.sum(-1);
            triplet_margin_with_distance_loss(&x[0], &x[1], &x[2], squares, &triplet)
        })
        .slack(64.0),
    ]
}

fn probabilities() -> Vec<Case> {
    let each = Reduction::None;
    let three = || vec![numbers(&[3, 4], 1), shares(&[3, 4], 2), shares(&[4], 3)];
    let gauss = GaussianNll { full: true, reduction: each, ..GaussianNll::default() };
    let poisson = PoissonNll { full: true, reduction: each, ..PoissonNll::default() };
    let counts = || vec![shares(&[3, 4], 1), indices(&[3, 4], 5)];
    vec![
        Case::new("binary_cross_entropy", vec![shares(&[3, 4], 1), shares(&[3, 4], 2), shares(&[4], 3)], move |x| {
            binary_cross_entropy(&x[0], &x[1], Some(&x[2]), each)
        })
        .slack(64.0)
        .reference(|x| {
            Array::build(&[3, 4], |at| {
                let (p, y) = (x[0].at(at), x[1].at(at));
                -(y * p.ln() + (1.0 - y) * (1.0 - p).ln()) * x[2].at(&at[1..])
            })
        }),
        Case::new("binary_cross_entropy_with_logits", three(), move |x| {
            binary_cross_entropy_with_logits(&x[0], &x[1], None, Some(&x[2]), each)
        })
        .slack(64.0)
        .reference(|x| {
            Array::build(&[3, 4], |at| {
                let (p, y) = (1.0 / (1.0 + (-x[0].at(at)).exp()), x[1].at(at));
                -(x[2].at(&at[1..]) * y * p.ln() + (1.0 - y) * (1.0 - p).ln())
            })
        }),
        Case::new("gaussian_nll_loss", vec![numbers(&[3, 4], 1), numbers(&[3, 4], 2), shares(&[3], 3)], move |x| {
            gaussian_nll_loss(&x[0], &x[1], &x[2], &gauss)
        })
        .slack(64.0),
        Case::new("poisson_nll_loss", counts(), move |x| poisson_nll_loss(&x[0], &x[1].cast(x[0].dtype())?, &poisson))
            .slack(64.0),
        Case::new("poisson_nll_loss of counts", counts(), move |x| {
            poisson_nll_loss(&x[0], &x[1], &PoissonNll { log_input: false, full: false, ..poisson })
        })
        .slack(64.0),
    ]
}

fn classes() -> Vec<Case> {
    let mut all = Vec::new();
    for reduction in [Reduction::None, Reduction::Mean] {
        let inputs = vec![numbers(&[4, 3, 2], 1), indices(&[4, 2], 3), shares(&[3], 3)];
        let f = move |x: &[Var]| {
            let options = ClassLoss { weight: Some(&x[2]), ignore_index: 1, label_smoothing: 0.2, reduction };
            cross_entropy(&x[0], &x[1], &options)
        };
        all.push(Case::new(format!("cross_entropy {reduction:?}"), inputs, f).slack(64.0));
        let inputs = vec![numbers(&[4, 3], 1), indices(&[4], 3)];
        let f = move |x: &[Var]| nll_loss(&x[0], &x[1], &ClassLoss { reduction, ..ClassLoss::default() });
        all.push(Case::new(format!("nll_loss {reduction:?}"), inputs, f).slack(64.0));
    }
    all.push(
        Case::new("cross_entropy of shares", vec![numbers(&[4, 3], 1), shares(&[4, 3], 2)], |x| {
            cross_entropy(&x[0], &x[1], &ClassLoss { label_smoothing: 0.1, ..ClassLoss::default() })
        })
        .slack(64.0),
    );
    let pair = || vec![numbers(&[4, 3], 1), shares(&[4, 3], 2)];
    all.push(Case::new("kl_div", pair(), |x| kl_div(&x[0], &x[1], false, Reduction::BatchMean)).slack(64.0));
    all.push(Case::new("kl_div of logarithms", pair(), |x| kl_div(&x[0], &x[1], true, Reduction::None)).slack(64.0));
    for p in [1, 2] {
        let inputs = vec![numbers(&[4, 3], 1), indices(&[4], 3), shares(&[3], 2)];
        let f = move |x: &[Var]| multi_margin_loss(&x[0], &x[1], p, 0.7, Some(&x[2]), Reduction::None);
        all.push(Case::new(format!("multi_margin_loss {p}"), inputs, f).slack(64.0).reference(move |x| {
            Array::build(&[4], |at| {
                let label = x[1].at(at) as usize;
                let gap = |c: usize| (0.7 - x[0].at(&[at[0], label]) + x[0].at(&[at[0], c])).max(0.0).powi(p);
                (0..3).filter(|&c| c != label).map(gap).sum::<f64>() * x[2].at(&[label]) / 3.0
            })
        }));
    }
    let labels = Tensor::new([[2i64, 0, -1, 1], [-1, 0, 1, 2], [3, 1, 0, 2]]);
    let f = |x: &[Var]| multilabel_margin_loss(&x[0], &x[1], Reduction::None);
    all.push(Case::new("multilabel_margin_loss", vec![numbers(&[3, 4], 1), labels], f).slack(64.0).reference(|x| {
        Array::build(&[3], |at| {
            let labels = (0..4).map(|c| x[1].at(&[at[0], c])).take_while(|&label| label >= 0.0);
            let labels: Vec<usize> = labels.map(|label| label as usize).collect();
            let others = || (0..4).filter(|c| !labels.contains(c));
            let score = |c: usize| x[0].at(&[at[0], c]);
            let gaps = labels.iter().flat_map(|&own| others().map(move |c| (own, c)));
            gaps.map(|(own, c)| (1.0 - score(own) + score(c)).max(0.0)).sum::<f64>() / 4.0
        })
    }));
    all
}

/// The loss by its definition: over all ways to give each step a class, those that spell the labels.
fn ctc(x: &Array, labels: &[&[usize]], steps: &[usize], blank: usize) -> Array {
    Array::build(&[labels.len()], |at| {
        let sample = at[0];
        let classes = x.dims[2];
        let mut total = 0.0;
        for mut path in 0..classes.pow(steps[sample] as u32) {
            let (mut spelled, mut last, mut chance) = (Vec::new(), blank, 1.0);
            for t in 0..steps[sample] {
                let class = path % classes;
                path /= classes;
                chance *= x.at(&[t, sample, class]).exp();
                if class != last && class != blank {
                    spelled.push(class);
                }
                last = class;
            }
            total += if spelled == labels[sample] { chance } else { 0.0 };
        }
        -f64::ln(total)
    })
}

fn sequences() -> Vec<Case> {
    let f = move |x: &[Var], labels: Tensor, options: CtcLoss| {
        let log = x[0].log_softmax(-1)?;
        let there = |x: [i64; 3]| log.beside(Tensor::from_vec(x.to_vec(), 3)?);
        ctc_loss(&log, &log.beside(labels)?, &there([4, 5, 3])?, &there([2, 2, 0])?, &options)
    };
    let reference = |x: &[Array]| {
        let log = Array::build(&x[0].dims, |at| {
            let sum: f64 = (0..3).map(|c| x[0].at(&[at[0], at[1], c]).exp()).sum();
            x[0].at(at) - sum.ln()
        });
        ctc(&log, &[&[1, 1], &[2, 1], &[]], &[4, 5, 3], 0)
    };
    let options = CtcLoss { reduction: Reduction::None, ..CtcLoss::default() };
    let inputs = || vec![numbers(&[5, 3, 3], 1)];
    vec![
        Case::new("ctc_loss", inputs(), move |x| f(x, Tensor::new([[1, 1, -7], [2, 1, 9], [0, 0, 0]]), options))
            .slack(64.0)
            .reference(reference),
        Case::new("ctc_loss of labels in a row", inputs(), move |x| f(x, Tensor::new([1, 1, 2, 1]), options))
            .slack(64.0)
            .reference(reference),
        Case::new("ctc_loss, its mean", inputs(), move |x| {
            f(x, Tensor::new([[0, 0], [2, 0], [1, 1]]), CtcLoss { blank: 1, ..CtcLoss::default() })
        })
        .slack(64.0),
    ]
}

pub fn all() -> Vec<Case> {
    [distances(), margins(), probabilities(), classes(), sequences()].into_iter().flatten().collect()
}

#[test]
fn labels_that_do_not_fit_are_never_spelled() {
    let log = numbers(&[2, 1, 3], 1).log_softmax(-1).unwrap();
    let (labels, steps, counts) = (Tensor::new([[1, 1]]), Tensor::new([2]), Tensor::new([2]));
    let call = |options| ctc_loss(&log, &labels, &steps, &counts, &options).unwrap().item().unwrap();
    assert_eq!(call(CtcLoss::default()), f64::INFINITY);
    assert_eq!(call(CtcLoss { zero_infinity: true, ..CtcLoss::default() }), 0.0);
    // A sample alone.
    let log = log.squeeze(1).unwrap();
    let one = ctc_loss(&log, &Tensor::new([1, 2]), &Tensor::new(2), &Tensor::new(2), &CtcLoss::default()).unwrap();
    assert_eq!(one.rank(), 0);
    let by_hand = -(log.index(0, 0).unwrap().index(0, 1).unwrap().item().unwrap()
        + log.index(0, 1).unwrap().index(0, 2).unwrap().item().unwrap());
    assert!((one.item().unwrap() - by_hand / 2.0).abs() < 1e-12);
}

#[test]
fn mistakes_are_errors() {
    let (x, labels) = (numbers(&[4, 3], 1), Tensor::new([0, 2, 1, 0]));
    let told = |x: Result<Tensor>, part: &str| {
        let text = x.unwrap_err().to_string();
        assert!(text.starts_with(part) && text.contains("losses.rs"), "{text}");
    };
    let plain = ClassLoss::default();
    let each = Reduction::None;
    told(mse_loss(&x, &numbers(&[4, 2], 1), each), "mse_loss: ");
    told(smooth_l1_loss(&x, &x, -1.0, each), "smooth_l1_loss: beta is -1");
    told(huber_loss(&x, &x, 0.0, each), "huber_loss: delta is 0");
    told(cross_entropy(&x, &Tensor::new([0, 1]), &plain), "cross_entropy: labels of shape [2] do not fit");
    told(cross_entropy(&x, &Tensor::new([0, 1, 3, 0]), &plain), "cross_entropy: gather: index 3");
    told(cross_entropy(&x, &numbers(&[4, 2], 1), &plain), "cross_entropy: shares of shape [4, 2]");
    told(nll_loss(&x, &labels, &ClassLoss { label_smoothing: 0.1, ..plain }), "nll_loss: there is no label_smoothing");
    told(multi_margin_loss(&x, &labels, 3, 1.0, None, each), "multi_margin_loss: p is 3");
    told(multi_margin_loss(&x, &Tensor::new([0]), 1, 1.0, None, each), "multi_margin_loss: labels of shape [1]");
    told(multilabel_margin_loss(&x, &labels, each), "multilabel_margin_loss: labels of shape [4]");
    let log = numbers(&[2, 1, 3], 1);
    let two = Tensor::new([2]);
    told(ctc_loss(&x, &x, &two, &two, &CtcLoss::default()), "ctc_loss: labels");
    told(
        ctc_loss(&log, &Tensor::new([[1, 2]]), &two, &two, &CtcLoss { blank: 3, ..CtcLoss::default() }),
        "ctc_loss: the blank 3 is none of 3 classes",
    );
    told(ctc_loss(&log, &Tensor::new([[1, 5]]), &two, &two, &CtcLoss::default()), "ctc_loss: gather: index 5");
    told(ctc_loss(&log, &Tensor::new([1, 2, 1]), &two, &two, &CtcLoss::default()), "ctc_loss: 3 labels in a row, 2 by");
}
