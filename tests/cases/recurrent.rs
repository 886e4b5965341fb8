//! Recurrent layers over sequences, with and without masks.

use super::{Array, Case, numbers};
use kiln_autograd::ops::*;
use kiln_autograd::{Tensor, Var};

/// Batch, time and units.
type Sizes = [usize; 3];

const SIZES: &[Sizes] = &[[2, 3, 2], [1, 1, 1], [3, 2, 3], [1, 4, 1], [0, 3, 2], [2, 0, 2], [2, 3, 0]];
/// More than a piece of a register, and an odd number; and so much that threads share the work.
const WIDE: Sizes = [5, 3, 21];
const LARGE: Sizes = [67, 6, 37];

/// Every third step or so does not count, some first and last ones among them.
fn mask([batch, time, _]: Sizes) -> Tensor {
    let counts = (0..batch * time).map(|i| (i * 5 + i / 4) % 3 != 1).collect::<Vec<bool>>();
    Tensor::from_vec(counts, [batch, time]).unwrap()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The states after each step, `[batch, time, units]` each: `step` makes the next of the gates' inputs, of a row times the
/// recurrent kernel and of the states of a unit.
fn over_time<const STATES: usize>(
    x: &Array,
    kernel: &Array,
    bias: Option<&Array>,
    first: [&Array; STATES],
    mask: Option<&Array>,
    step: impl Fn(&dyn Fn(usize) -> f64, &dyn Fn(usize) -> f64, [f64; STATES]) -> [f64; STATES],
) -> Vec<Array> {
    let (batch, time, units, width) = (x.dims[0], x.dims[1], kernel.dims[0], kernel.dims[1]);
    let mut all = vec![Array { dims: vec![batch, time, units], values: vec![0.0; batch * time * units] }; STATES];
    for b in 0..batch {
        let mut states: Vec<[f64; STATES]> = (0..units).map(|u| first.map(|s| s.at(&[b, u]))).collect();
        for t in 0..time {
            let inner: Vec<f64> = (0..width)
                .map(|j| {
                    let product: f64 = (0..units).map(|k| states[k][0] * kernel.at(&[k, j])).sum();
                    product + bias.map_or(0.0, |bias| bias.at(&[j]))
                })
                .collect();
            let counts = mask.is_none_or(|mask| mask.at(&[b, t]) != 0.0);
            for u in 0..units {
                if counts {
                    let given = |gate: usize| x.at(&[b, t, gate * units + u]);
                    states[u] = step(&given, &|gate| inner[gate * units + u], states[u]);
                }
                for (all, state) in all.iter_mut().zip(states[u]) {
                    all.values[(b * time + t) * units + u] = state;
                }
            }
        }
    }
    all
}

fn lstm(x: &[Array]) -> Vec<Array> {
    over_time(&x[0], &x[1], None, [&x[2], &x[3]], x.get(4), |given, inner, [_, c]| {
        let z = |gate: usize| given(gate) + inner(gate);
        let c = sigmoid(z(1)) * c + sigmoid(z(0)) * z(2).tanh();
        [sigmoid(z(3)) * c.tanh(), c]
    })
}

fn gru(x: &[Array]) -> Vec<Array> {
    over_time(&x[0], &x[1], Some(&x[2]), [&x[3]], x.get(4), |given, inner, [h]| {
        let (z, r) = (sigmoid(given(0) + inner(0)), sigmoid(given(1) + inner(1)));
        [z * h + (1.0 - z) * (given(2) + r * inner(2)).tanh()]
    })
}

fn simple(x: &[Array]) -> Vec<Array> {
    over_time(&x[0], &x[1], None, [&x[2]], x.get(3), |given, inner, _| [(given(0) + inner(0)).tanh()])
}

fn gru_inputs([batch, time, units]: Sizes) -> Vec<Tensor> {
    vec![
        numbers(&[batch, time, 3 * units], 1),
        numbers(&[units, 3 * units], 2).mul(2.0 / (units as f64 + 3.0)).unwrap(),
        numbers(&[3 * units], 3),
        numbers(&[batch, units], 4),
    ]
}

fn simple_inputs([batch, time, units]: Sizes) -> Vec<Tensor> {
    vec![
        numbers(&[batch, time, units], 1),
        numbers(&[units, units], 2).mul(2.0 / (units as f64 + 3.0)).unwrap(),
        numbers(&[batch, units], 3),
    ]
}

fn lstm_inputs([batch, time, units]: Sizes) -> Vec<Tensor> {
    vec![
        numbers(&[batch, time, 4 * units], 1),
        numbers(&[units, 4 * units], 2).mul(2.0 / (units as f64 + 3.0)).unwrap(),
        numbers(&[batch, units], 3),
        numbers(&[batch, units], 4),
    ]
}

/// With and without a mask, at all sizes; `f` is given the mask where there is one.
fn at_all_sizes(
    name: &'static str,
    inputs: fn(Sizes) -> Vec<Tensor>,
    f: fn(&[Var]) -> kiln_autograd::Result<Vec<Var>>,
    reference: fn(&[Array]) -> Vec<Array>,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for masked in [false, true] {
        let with_mask = |sizes: Sizes| {
            let mut all = inputs(sizes);
            all.extend(masked.then(|| mask(sizes)));
            all
        };
        for &sizes in SIZES {
            let case = Case::many(format!("{name} {sizes:?} masked {masked}"), with_mask(sizes), f);
            cases.push(case.references(reference).slack(64.0));
        }
        let case = Case::many(format!("{name} {WIDE:?} masked {masked}"), with_mask(WIDE), f);
        cases.push(case.references(reference).slack(64.0).no_gradient().large(with_mask(LARGE)));
    }
    cases
}

pub fn all() -> Vec<Case> {
    let mut cases =
        at_all_sizes("lstm", lstm_inputs, |x| x[0].lstm(&x[1], &x[2], &x[3], x.get(4)).map(|(h, c)| vec![h, c]), lstm);
    let inputs = || lstm_inputs([2, 3, 2]);
    let only_h = Case::new("h of an lstm", inputs(), |x| Ok(x[0].lstm(&x[1], &x[2], &x[3], None)?.0));
    cases.push(only_h.reference(|x| lstm(x)[0].clone()).slack(64.0));
    let only_c = Case::new("c of an lstm", inputs(), |x| Ok(x[0].lstm(&x[1], &x[2], &x[3], None)?.1));
    cases.push(only_c.reference(|x| lstm(x)[1].clone()).slack(64.0));
    let again = Case::many("lstm with one first state", inputs()[..3].to_vec(), |x| {
        let (h, c) = x[0].lstm(&x[1], &x[2], &x[2], None)?;
        Ok(vec![h, c])
    });
    cases.extend(at_all_sizes("gru", gru_inputs, |x| x[0].gru(&x[1], &x[2], &x[3], x.get(4)).map(|h| vec![h]), gru));
    cases.extend(at_all_sizes(
        "simple_rnn",
        simple_inputs,
        |x| x[0].simple_rnn(&x[1], &x[2], x.get(3)).map(|h| vec![h]),
        simple,
    ));
    let same = Case::new("simple_rnn of states that are its gates", vec![numbers(&[2, 2], 1)], |x| {
        x[0].unsqueeze(1)?.simple_rnn(&x[0], &x[0], None)
    });
    cases.push(same.slack(64.0));
    cases.push(again.references(|x| lstm(&[x, &[x[2].clone()]].concat())).slack(64.0));
    cases
}
