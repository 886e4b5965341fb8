//! AttentionOptions by its definition: a weighted mean of the values that a query may see.

use super::{Array, Case, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, Tape, Tensor, Var, gradients};

/// One head: `[B, L, E]`, `[B, S, E]`, `[B, S, F]`.
fn naive(x: &[Array], sees: impl Fn(usize, usize) -> bool) -> Array {
    let (q, k, v) = (&x[0], &x[1], &x[2]);
    let scale = 1.0 / (q.dims[2] as f64).sqrt();
    Array::build(&[q.dims[0], q.dims[1], v.dims[2]], |at| {
        let score = |s: usize| (0..q.dims[2]).map(|e| q.at(&[at[0], at[1], e]) * k.at(&[at[0], s, e])).sum::<f64>();
        let seen: Vec<usize> = (0..k.dims[1]).filter(|&s| sees(at[1], s)).collect();
        let weights: Vec<f64> = seen.iter().map(|&s| (score(s) * scale).exp()).collect();
        let sum: f64 = weights.iter().sum();
        seen.iter().zip(&weights).map(|(&s, w)| w / sum * v.at(&[at[0], s, at[2]])).sum()
    })
}

fn inputs() -> Vec<Tensor> {
    vec![numbers(&[2, 3, 4], 1), numbers(&[2, 5, 4], 2), numbers(&[2, 5, 2], 3)]
}

/// Where a query sees a key, and one that sees none.
fn mask() -> Tensor {
    Tensor::from_vec((0..15).map(|i| i / 5 != 1 && i % 4 != 2).collect(), [3, 5]).unwrap()
}

pub fn all() -> Vec<Case> {
    let attend =
        |x: &[Var], options: &AttentionOptions<'_, Var>| x[0].scaled_dot_product_attention(&x[1], &x[2], options);
    let heads = || {
        vec![
            numbers(&[2, 3, 4], 1),
            numbers(&[2, 5, 4], 2),
            numbers(&[12, 4], 3),
            numbers(&[12], 4),
            numbers(&[4, 4], 5),
        ]
    };
    let project = |x: &[Var], options: &AttentionOptions<'_, Var>, key_mask: Option<&Var>| {
        let (in_weight, in_bias, out_weight) = (&x[2], Some(&x[3]), &x[4]);
        let projections = MultiHead { heads: 2, in_weight, in_bias, out_weight, out_bias: None, key_mask };
        x[0].multi_head_attention(&x[1], &x[1], &projections, options).map(|(y, shares)| vec![y, shares])
    };
    let all = vec![
        Case::new("attention", inputs(), move |x| attend(x, &AttentionOptions::default()))
            .slack(64.0)
            .reference(|x| naive(x, |_, _| true)),
        Case::new("attention, causal", inputs(), move |x| {
            attend(x, &AttentionOptions { causal: true, ..AttentionOptions::default() })
        })
        .slack(64.0)
        .reference(|x| naive(x, |query, key| key <= query)),
        Case::new("attention with a mask", inputs(), move |x| {
            let mask = x[0].beside(mask())?;
            attend(x, &AttentionOptions { mask: Some(&mask), ..AttentionOptions::default() })
        })
        .slack(64.0)
        .reference(|x| naive(x, |query, key| query != 1 && (5 * query + key) % 4 != 2)),
        Case::new("attention with numbers added", [inputs(), vec![numbers(&[3, 5], 4)]].concat(), move |x| {
            attend(x, &AttentionOptions { mask: Some(&x[3]), scale: Some(0.3), causal: true })
        })
        .slack(64.0),
        Case::new(
            "attention of groups of heads",
            vec![numbers(&[2, 4, 3, 2], 1), numbers(&[2, 2, 5, 2], 2), numbers(&[2, 2, 5, 3], 3)],
            move |x| attend(x, &AttentionOptions::default()),
        )
        .slack(64.0),
        Case::many("multi_head_attention", heads(), move |x| project(x, &AttentionOptions::default(), None))
            .slack(256.0),
        Case::many("multi_head_attention with masks", heads(), move |x| {
            let keys = Tensor::from_vec((0..10).map(|i| i % 5 < 3 + i / 5).collect(), [2, 5])?;
            let (mask, keys) = (x[0].beside(mask())?, x[0].beside(keys)?);
            project(x, &AttentionOptions { mask: Some(&mask), ..AttentionOptions::default() }, Some(&keys))
        })
        .slack(256.0),
        Case::new("rotary_embedding", vec![numbers(&[2, 3, 4], 1)], |x| {
            x[0].rotary_embedding(&x[0].beside(Tensor::arange(0, 3, 1)?)?, 100.0, true)
        })
        .slack(64.0)
        .reference(|x| {
            Array::build(&[2, 3, 4], |at| {
                let angle = at[1] as f64 * 100f64.powf(-2.0 * (at[2] / 2) as f64 / 4.0);
                let pair = |i: usize| x[0].at(&[at[0], at[1], at[2] / 2 * 2 + i]);
                let (a, b) = (pair(0), pair(1));
                if at[2] % 2 == 0 { a * angle.cos() - b * angle.sin() } else { a * angle.sin() + b * angle.cos() }
            })
        }),
        Case::new("rotary_embedding by halves", vec![numbers(&[2, 3, 4], 1), numbers(&[2, 3], 2)], |x| {
            x[0].rotary_embedding(&x[1], 100.0, false)
        })
        .slack(64.0),
    ];
    all.into_iter().map(Case::fused).collect()
}

#[test]
fn a_query_that_sees_nothing_passes_nothing_on() {
    let tape = Tape::new();
    let x: Vec<Var> = inputs().iter().map(|x| tape.watch(x)).collect();
    let mask = Var::new(mask());
    let options = AttentionOptions { mask: Some(&mask), ..AttentionOptions::default() };
    let y = x[0].scaled_dot_product_attention(&x[1], &x[2], &options).unwrap();
    assert_eq!(y.tensor().index(1, 1).unwrap().to_vec::<f64>().unwrap(), [0.0; 4]);
    let seed = Var::new(Tensor::filled(y.tensor().spec(), 1.0));
    let dx = gradients(&[(&y, &seed)], &x.iter().collect::<Vec<_>>(), false).unwrap();
    let dq = dx[0].as_ref().unwrap().tensor().index(1, 1).unwrap();
    assert_eq!(dq.to_vec::<f64>().unwrap(), [0.0; 8]);
    assert!(dx.iter().flatten().all(|dx| dx.tensor().to_vec_as::<f64>().iter().all(|x| x.is_finite())));
}

/// More queries and keys than a tile has, one attention and many, operands that lie otherwise or broadcast: what is
/// computed tile by tile against the shares in memory.
#[test]
fn tiles_give_what_shares_give() {
    let numbers = |dims: &[usize], seed| numbers(dims, seed).cast(DType::F64).unwrap();
    let close = |what: &str, a: &Tensor, b: &Tensor| {
        let apart = a.sub(b).unwrap().abs().unwrap().amax(..).unwrap().item().unwrap();
        assert!(a.shape() == b.shape() && apart < 1e-10, "{what}: {apart}");
    };
    for (lead, rows, columns) in [(vec![], 70, 300), (vec![3], 130, 129), (vec![2, 5], 65, 140), (vec![2], 1, 1)] {
        let of = |rows: usize, width: usize, seed| numbers(&[&lead[..], &[rows, width]].concat(), seed);
        let (q, k, v) = (of(rows, 9, 1), of(9, columns, 2).transpose(-1, -2).unwrap(), numbers(&[columns, 5], 3));
        let hidden = |at: usize| at % 7 != 3 && at / columns != 2 % rows;
        let hidden = Tensor::from_vec((0..rows * columns).map(hidden).collect(), [rows, columns]).unwrap();
        let added = numbers(&[rows, 1], 4);
        for (mask, causal) in [(None, false), (None, true), (Some(&hidden), true), (Some(&added), false)] {
            let what = format!("{lead:?}, {rows}, {columns}, {mask:?}, {causal}");
            let run = |tiled: bool| {
                let tape = Tape::new();
                let x = [&q, &k, &v].map(|x| tape.watch(x));
                let mask = mask.map(|mask| Var::new(mask.clone()));
                let options = AttentionOptions { mask: mask.as_ref(), causal, scale: Some(0.4) };
                let y = match tiled {
                    true => x[0].scaled_dot_product_attention(&x[1], &x[2], &options),
                    false => x[0].attention_shares(&x[1], &options).and_then(|p| p.matmul(&x[2])),
                };
                let y = y.unwrap();
                let seed = Var::new(numbers(y.tensor().shape(), 8));
                let dx = gradients(&[(&y, &seed)], &[&x[0], &x[1], &x[2]], false).unwrap();
                [y].into_iter().chain(dx.into_iter().flatten()).map(Var::into_tensor).collect::<Vec<_>>()
            };
            for (a, b) in run(true).iter().zip(&run(false)) {
                close(&what, a, b);
            }
        }
    }
}

/// The logarithms of the sums are a result as well, with a gradient.
#[test]
fn sums_of_scores_have_gradients() {
    let scale = 0.5;
    let f = |x: &[Var]| {
        let outputs = Var::apply_op(Attend { scale, causal: true }, &[&x[0], &x[1], &x[2]])?;
        outputs[0].square()?.sum(..)?.add(&outputs[1].exp()?.sum(..)?)
    };
    let x: Vec<Tensor> = inputs().iter().map(|x| x.cast(DType::F64).unwrap()).collect();
    kiln_autograd::GradCheck::new().run(f, &x).unwrap();
}

#[test]
fn mistakes_are_errors() {
    let told = |x: kiln_autograd::Result<Tensor>, part: &str| {
        let text = x.unwrap_err().to_string();
        assert!(text.contains(part) && text.contains("attention.rs"), "{text}");
    };
    let (q, k) = (numbers(&[2, 3, 4], 1), numbers(&[2, 5, 3], 2));
    told(
        q.scaled_dot_product_attention(&k, &k, &AttentionOptions::default()),
        "found [2, 3, 4], [2, 5, 3] and [2, 5, 3]",
    );
    let (q, k) = (numbers(&[1, 4, 2, 2], 1), numbers(&[1, 3, 2, 2], 2));
    told(
        q.scaled_dot_product_attention(&k, &k, &AttentionOptions::default()),
        "3 heads of keys or values do not divide 4",
    );
    told(numbers(&[2, 3], 1).rotary_embedding(&Tensor::new([0, 1]), 1e4, true), "an even number of features");
    let x = numbers(&[1, 2, 4], 1);
    let projections =
        MultiHead { heads: 3, in_weight: &x, in_bias: None, out_weight: &x, out_bias: None, key_mask: None };
    told(
        x.multi_head_attention(&x, &x, &projections, &AttentionOptions::default()).map(|(y, _)| y),
        "that 3 heads divide",
    );
    assert_eq!(
        x.cast(DType::BF16).unwrap().rotary_embedding(&Tensor::new([0, 1]), 1e4, true).unwrap().dtype(),
        DType::BF16
    );
}

/// Whether the gradient of an attention is one task or many depends on the threads, and its bits do not.
#[test]
fn threads_do_not_change_the_gradients_of_few_attentions() {
    let x: Vec<Tensor> = (1..5).map(|seed| numbers(&[1, 3, 200, 16], seed).cast(DType::F32).unwrap()).collect();
    for causal in [false, true] {
        let found = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let tape = Tape::new();
                let v: Vec<Var> = x[..3].iter().map(|x| tape.watch(x)).collect();
                let options = AttentionOptions { causal, ..AttentionOptions::default() };
                let y = v[0].scaled_dot_product_attention(&v[1], &v[2], &options).unwrap();
                let dy = Var::new(x[3].clone());
                let dx = gradients(&[(&y, &dy)], &v.iter().collect::<Vec<_>>(), false).unwrap();
                dx.iter().flat_map(|dx| dx.as_ref().unwrap().tensor().to_vec::<f32>().unwrap()).collect::<Vec<_>>()
            })
        };
        let alone = found(1);
        for threads in [2, 7, 16] {
            assert!(found(threads) == alone, "{threads} threads, causal {causal}");
        }
    }
}
