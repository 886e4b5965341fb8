//! What models are made of: losses, normalization, attention, recurrent layers.

use super::{Call, Called, Same, one, two};
use kiln::tensor::ops::losses::*;
use kiln::tensor::ops::*;
use kiln::tensor::{DType, Result};

pub fn run<V: Ops + AttentionOps>(call: &mut Call<'_>, x: &[V; 3]) -> Called<V> {
    let dtype = call.choose.of(&[DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32]);
    let (name, results) = match call.choose.below(7) {
        0 => classes(call, dtype),
        1 => distances(call, x),
        2 => margins(call, x),
        3 => normalization(call, x),
        4 => attention(call, dtype),
        5 => recurrent(call, dtype),
        _ => ctc(call, dtype),
    };
    Called { name, same: Same::Sums, results }
}

type Named<V> = (&'static str, Result<Vec<V>>);

impl Call<'_> {
    fn reduction(&mut self) -> Reduction {
        self.choose.of(&[Reduction::None, Reduction::Mean, Reduction::Sum, Reduction::BatchMean])
    }
}

fn classes<V: Ops>(call: &mut Call<'_>, dtype: DType) -> Named<V> {
    let (rows, count) = (call.choose.below(5), call.choose.of(&[3, 1, 2, 5, 17, 0]));
    let dims = match call.choose.below(4) {
        0 => vec![count],
        1 => vec![rows, count, 2],
        _ => vec![rows, count],
    };
    let mut of_labels = dims.clone();
    of_labels.remove(dims.len().min(2) - 1);
    let x: V = call.operand(&dims, dtype);
    let shares: V = call.operand(&dims, dtype);
    let labels = match call.indices::<V>(&of_labels, count) {
        Ok(labels) => labels,
        Err(error) => return ("labels", Err(error)),
    };
    let weight: V = call.operand(&[count], dtype);
    let weight = call.choose.flag().then_some(&weight);
    let reduction = call.reduction();
    let options = ClassLoss {
        weight,
        ignore_index: call.choose.of(&[-100, 0, 1, i64::MIN, i64::MAX]),
        label_smoothing: call.choose.of(&[0.0, 0.1, 1.0, -1.0, f64::NAN]),
        reduction,
    };
    match call.choose.below(7) {
        0 => ("CrossEntropyOps", one(CrossEntropyOps::cross_entropy(&x, &labels))),
        1 => ("CrossEntropyOps with shares", one(CrossEntropyOps::cross_entropy(&x, &shares))),
        2 => ("cross_entropy", one(cross_entropy(&x, &labels, &options))),
        3 => ("cross_entropy with shares", one(cross_entropy(&x, &shares, &options))),
        4 => ("nll_loss", one(nll_loss(&x, &labels, &options))),
        5 => ("multi_margin_loss", {
            let (p, margin) = (1 + call.choose.below(3) as i32, call.choose.number());
            one(multi_margin_loss(&x, &labels, p, margin, weight, reduction))
        }),
        _ => ("multilabel_margin_loss", {
            let all = call.indices::<V>(&dims, count);
            one(all.and_then(|all| multilabel_margin_loss(&x, &all, reduction)))
        }),
    }
}

fn distances<V: Ops>(call: &mut Call<'_>, [x, _, _]: &[V; 3]) -> Named<V> {
    let (y, z) = (call.beside(x), call.beside(x));
    let weight = call.choose.flag().then_some(&z);
    let (reduction, p) = (call.reduction(), call.choose.amount());
    let [full, log] = [call.choose.flag(), call.choose.flag()];
    let eps = call.choose.of(&[1e-6, 0.0, -1.0, f64::NAN, 1.0]);
    let y = match call.choose.below(13) {
        0 => ("mse_loss", mse_loss(x, &y, reduction)),
        1 => ("l1_loss", l1_loss(x, &y, reduction)),
        2 => ("smooth_l1_loss", smooth_l1_loss(x, &y, call.choose.number(), reduction)),
        3 => ("huber_loss", huber_loss(x, &y, call.choose.number(), reduction)),
        4 => ("pairwise_distance", pairwise_distance(x, &y, p, eps, full)),
        5 => ("cosine_similarity", cosine_similarity(x, &y, call.choose.axis(x.shape().rank()), eps)),
        6 => ("kl_div", kl_div(x, &y, log, reduction)),
        7 => ("binary_cross_entropy", binary_cross_entropy(x, &y, weight, reduction)),
        8 => ("binary_cross_entropy_with_logits", binary_cross_entropy_with_logits(x, &y, weight, weight, reduction)),
        9 => ("gaussian_nll_loss", gaussian_nll_loss(x, &y, &z, &GaussianNll { full, eps, reduction })),
        10 => ("poisson_nll_loss", poisson_nll_loss(x, &y, &PoissonNll { log_input: log, full, eps, reduction })),
        11 => ("soft_margin_loss", soft_margin_loss(x, &y, reduction)),
        _ => ("normalize", x.normalize(p, call.choose.axis(x.shape().rank()), eps)),
    };
    (y.0, one(y.1))
}

fn margins<V: Ops>(call: &mut Call<'_>, [x, _, _]: &[V; 3]) -> Named<V> {
    let (y, z): (V, V) = (call.operand(x.shape().dims(), x.dtype()), call.operand(x.shape().dims(), x.dtype()));
    let rows = &x.shape().dims()[..x.shape().rank().saturating_sub(1)];
    let target: V = call.operand(rows, x.dtype());
    let (reduction, margin) = (call.reduction(), call.choose.number());
    let options = Triplet { margin, p: call.choose.amount(), eps: 1e-6, swap: call.choose.flag(), reduction };
    let y = match call.choose.below(6) {
        0 => ("cosine_embedding_loss", cosine_embedding_loss(x, &y, &target, margin, reduction)),
        1 => ("hinge_embedding_loss", hinge_embedding_loss(x, &y, margin, reduction)),
        2 => ("margin_ranking_loss", margin_ranking_loss(x, &y, &z, margin, reduction)),
        3 => ("multilabel_soft_margin_loss", multilabel_soft_margin_loss(x, &y, Some(&z), reduction)),
        4 => ("triplet_margin_loss", triplet_margin_loss(x, &y, &z, &options)),
        _ => {
            let distance = |a: &V, b: &V| a.sub(b)?.abs()?.sum(-1);
            ("triplet_margin_with_distance_loss", triplet_margin_with_distance_loss(x, &y, &z, distance, &options))
        }
    };
    (y.0, one(y.1))
}

fn normalization<V: Ops>(call: &mut Call<'_>, [x, _, _]: &[V; 3]) -> Named<V> {
    let dims = x.shape().to_vec();
    let axis = call.choose.axis(dims.len());
    let place = axis.rem_euclid(dims.len().max(1) as isize) as usize;
    let channels = dims.get(place).copied().unwrap_or(1);
    let (w, b): (V, V) = (call.operand(&[channels], x.dtype()), call.operand(&[channels], x.dtype()));
    let (w, b) = (call.choose.flag().then_some(&w), call.choose.flag().then_some(&b));
    let eps = call.choose.of(&[1e-5, 0.0, 1.0, -1.0, f64::NAN]);
    let options = ChannelNorm { axis, weight: w, bias: b, eps, momentum: call.choose.of(&[0.1, 1.0, 0.0, -1.0]) };
    let (mean, variance) = (call.operand(&[channels], DType::F32), call.operand(&[channels], DType::F32));
    let statistics = RunningStatistics { mean, variance };
    let running = call.choose.flag().then_some(&statistics);
    let behind = &dims[call.choose.below(dims.len() + 1)..];
    let (inner, shift): (V, V) = (call.operand(behind, x.dtype()), call.operand(behind, x.dtype()));
    let (inner, shift) = (call.choose.flag().then_some(&inner), call.choose.flag().then_some(&shift));
    let training = call.choose.flag();
    let list = |y: Result<(V, Option<RunningStatistics<V>>)>| {
        y.map(|(y, kept)| match kept {
            Some(kept) => vec![y, kept.mean, kept.variance],
            None => vec![y],
        })
    };
    match call.choose.below(7) {
        0 => ("layer_norm", one(x.layer_norm(behind, inner, shift, eps))),
        1 => ("rms_norm", one(x.rms_norm(behind, inner, call.choose.flag().then_some(eps)))),
        2 => ("batch_norm", list(x.batch_norm(running, training, &options))),
        3 => ("instance_norm", list(x.instance_norm(running, training, &options))),
        4 => ("group_norm", one(x.group_norm(call.choose.size(channels.min(8)), &options))),
        5 => {
            let (axes, centered) = (call.axes(dims.len()), call.choose.flag());
            let (weight, bias) = if call.choose.flag() { (inner, shift) } else { (w, b) };
            let y = x.standardize(axes, &Standardize { weight, bias, eps, centered });
            ("standardize", y.map(|y| vec![y.values, y.mean, y.variance]))
        }
        _ => {
            let (alpha, beta, k) = (call.choose.number(), call.choose.number(), call.choose.number());
            ("local_response_norm", one(x.local_response_norm(call.choose.size(6), axis, alpha, beta, k)))
        }
    }
}

fn attention<V: Ops + AttentionOps>(call: &mut Call<'_>, dtype: DType) -> Named<V> {
    let mut lead: Vec<usize> = (0..call.choose.below(3)).map(|_| call.choose.of(&[1, 2, 3, 0])).collect();
    let [l, s] = [(); 2].map(|()| call.choose.of(&[3, 1, 5, 0, 9, 65, 130]));
    let (e, f) = (call.choose.of(&[2, 4, 8, 1, 0, 17]), call.choose.of(&[2, 3, 1, 16, 0]));
    let dims = |lead: &[usize], last: [usize; 2]| [lead, &last].concat();
    let q: V = call.operand(&dims(&lead, [l, e]), dtype);
    if let Some(first) = lead.first_mut().filter(|_| call.choose.flag()) {
        *first = 1;
    }
    let (k, v): (V, V) = (call.operand(&dims(&lead, [s, e]), dtype), call.operand(&dims(&lead, [s, f]), dtype));
    let kind = call.choose.of(&[DType::Bool, dtype]);
    let rows = if call.choose.flag() { 1 } else { l };
    let mask: V = call.operand(&[rows, s], kind);
    let options = AttentionOptions {
        mask: call.choose.flag().then_some(&mask),
        causal: call.choose.flag(),
        scale: call.choose.flag().then(|| call.choose.number()),
    };
    // Of scores far apart the last place decides which is the largest.
    call.ordinary &= options.scale.is_none_or(|scale| scale.abs() <= 1.0);
    match call.choose.below(5) {
        0 | 1 => ("scaled_dot_product_attention", one(q.scaled_dot_product_attention(&k, &v, &options))),
        2 => ("attention_shares", one(q.attention_shares(&k, &options))),
        3 => {
            let at = call.indices::<V>(&[l], 9);
            let (base, interleaved) = (call.choose.of(&[10000.0, 1.0, 0.0, -2.0]), call.choose.flag());
            ("rotary_embedding", one(at.and_then(|at| q.rotary_embedding(&at, base, interleaved))))
        }
        _ => {
            let n = call.choose.below(3);
            let (q, k): (V, V) = (call.operand(&[n, l, e], dtype), call.operand(&[n, s, e], dtype));
            let (w, o): (V, V) = (call.operand(&[3 * e, e], dtype), call.operand(&[e, e], dtype));
            let (w_bias, o_bias): (V, V) = (call.operand(&[3 * e], dtype), call.operand(&[e], dtype));
            let key_mask: V = call.mask(&[n, s]);
            let projections = MultiHead {
                heads: if call.choose.wild() { call.choose.size(9) } else { call.choose.of(&[1, 2]) },
                in_weight: &w,
                in_bias: call.choose.flag().then_some(&w_bias),
                out_weight: &o,
                out_bias: call.choose.flag().then_some(&o_bias),
                key_mask: call.choose.flag().then_some(&key_mask),
            };
            ("multi_head_attention", two(q.multi_head_attention(&k, &k, &projections, &options)))
        }
    }
}

fn recurrent<V: Ops>(call: &mut Call<'_>, dtype: DType) -> Named<V> {
    let [batch, time] = [(); 2].map(|()| call.choose.of(&[2, 1, 3, 0, 5]));
    let units = call.choose.of(&[2, 1, 3, 0, 8, 17]);
    let which = call.choose.below(7);
    let gates = [4, 3, 1, 4, 3, 1, 4][which];
    let h: V = call.operand(&[batch, units], dtype);
    let c: V = call.operand(&[batch, units], dtype);
    if which < 3 {
        let x: V = call.operand(&[batch, time, gates * units], dtype);
        let kernel: V = call.operand(&[units, gates * units], dtype);
        let bias: V = call.operand(&[gates * units], dtype);
        let mask: V = call.mask(&[batch, time]);
        let mask = call.choose.flag().then_some(&mask);
        return match which {
            0 => ("lstm", two(x.lstm(&kernel, &h, &c, mask))),
            1 => ("gru", one(x.gru(&kernel, &bias, &h, mask))),
            _ => ("simple_rnn", one(x.simple_rnn(&kernel, &h, mask))),
        };
    }
    let features = call.choose.below(4);
    let options = RecurrentStack {
        layers: if call.choose.wild() { call.choose.size(2).min(1000) } else { 1 + call.choose.below(2) },
        bidirectional: call.choose.flag(),
        biases: call.choose.flag(),
        batch_first: call.choose.flag(),
    };
    let directions = 1 + usize::from(options.bidirectional);
    let mut weights: Vec<V> = Vec::new();
    for layer in 0..options.layers.min(3) {
        for _ in 0..directions {
            let from = if layer == 0 { features } else { directions * units };
            weights.push(call.operand(&[gates * units, from], dtype));
            weights.push(call.operand(&[gates * units, units], dtype));
            for _ in 0..2 * usize::from(options.biases) {
                weights.push(call.operand(&[gates * units], dtype));
            }
        }
    }
    if call.choose.wild() {
        weights.pop();
    }
    let weights: Vec<&V> = weights.iter().collect();
    let order = if options.batch_first { [batch, time, features] } else { [time, batch, features] };
    let x: V = call.operand(&order, dtype);
    let states = [options.layers.min(3) * directions, batch, units];
    let (h, c, one_step): (V, V, V) =
        (call.operand(&states, dtype), call.operand(&states, dtype), call.operand(&[batch, features], dtype));
    match which {
        3 => ("lstm_stack", x.lstm_stack(&h, &c, &weights, &options).map(|(y, h, c)| vec![y, h, c])),
        4 => ("gru_stack", two(x.gru_stack(&h, &weights, &options))),
        5 => ("rnn_stack", two(x.rnn_stack(&h, &weights, &options))),
        _ => {
            let (h, c): (V, V) = (call.operand(&[batch, units], dtype), call.operand(&[batch, units], dtype));
            ("lstm_cell", two(one_step.lstm_cell(&h, &c, &weights)))
        }
    }
}

fn ctc<V: Ops>(call: &mut Call<'_>, dtype: DType) -> Named<V> {
    let (time, batch, count) = (call.choose.below(6), call.choose.below(4), call.choose.below(5));
    let most = call.choose.below(4);
    let blank = if call.choose.wild() { call.choose.size(4) } else { 0 };
    let reduction = call.reduction();
    let mut run = || -> Result<V> {
        let x: V = call.operand(&[time, batch, count], dtype);
        let labels = call.indices::<V>(&[batch, most], count)?;
        let steps = call.indices::<V>(&[batch], time + 1)?;
        let counts = call.indices::<V>(&[batch], most + 1)?;
        let options = CtcLoss { blank, reduction, zero_infinity: call.choose.flag() };
        ctc_loss(&x.log_softmax(-1)?, &labels, &steps, &counts, &options)
    };
    ("ctc_loss", one(run()))
}
