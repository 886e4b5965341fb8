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

/// Inputs, first states and PyTorch's weights of a stack.
fn stack_inputs(options: RecurrentStack, gates: usize, states: usize) -> Vec<Tensor> {
    let (units, features, directions) = (2, 3, if options.bidirectional { 2 } else { 1 });
    let first = if options.batch_first { [2, 4, features] } else { [4, 2, features] };
    let mut shapes = vec![first.to_vec()];
    shapes.extend(vec![vec![options.layers * directions, 2, units]; states]);
    for layer in 0..options.layers {
        for _ in 0..directions {
            let wide = if layer == 0 { features } else { directions * units };
            shapes.extend([vec![gates * units, wide], vec![gates * units, units]]);
            shapes.extend(vec![vec![gates * units]; if options.biases { 2 } else { 0 }]);
        }
    }
    shapes.iter().zip(1..).map(|(dims, seed)| numbers(dims, seed)).collect()
}

/// Stacks by PyTorch's formulas, step by step; their numbers are PyTorch's in `xtask refs`.
fn stacks() -> Vec<Case> {
    let plain = RecurrentStack::default();
    let deep = RecurrentStack { layers: 2, bidirectional: true, biases: false, batch_first: true };
    let mut cases = Vec::new();
    for options in [plain, deep] {
        let f = move |x: &[Var]| {
            let (y, h, c) = x[0].lstm_stack(&x[1], &x[2], &x[3..].iter().collect::<Vec<_>>(), &options)?;
            Ok(vec![y, h, c])
        };
        cases.push(Case::many(format!("lstm_stack {options:?}"), stack_inputs(options, 4, 2), f).slack(64.0));
        let f = move |x: &[Var]| {
            let (y, h) = x[0].rnn_stack(&x[1], &x[2..].iter().collect::<Vec<_>>(), &options)?;
            Ok(vec![y, h])
        };
        cases.push(Case::many(format!("rnn_stack {options:?}"), stack_inputs(options, 1, 1), f).slack(64.0));
        let f = move |x: &[Var]| {
            let (y, h) = x[0].gru_stack(&x[1], &x[2..].iter().collect::<Vec<_>>(), &options)?;
            Ok(vec![y, h])
        };
        cases.push(Case::many(format!("gru_stack {options:?}"), stack_inputs(options, 3, 1), f).slack(64.0));
    }
    let gru = |x: &[Var]| Ok(x[0].gru_stack(&x[1], &x[2..].iter().collect::<Vec<_>>(), &RecurrentStack::default())?.0);
    let reference = |x: &[Array]| {
        let [x, h, w, u, b, d] = x else { panic!("six inputs") };
        let mut y = Array::build(&[4, 2, 2], |_| 0.0);
        let mut state = Array { dims: vec![2, 2], values: h.values.clone() };
        for t in 0..4 {
            let part = |sample: usize, row: usize, state: &Array| {
                let inner: f64 = (0..3).map(|k| x.at(&[t, sample, k]) * w.at(&[row, k])).sum();
                let own: f64 = (0..2).map(|k| state.at(&[sample, k]) * u.at(&[row, k])).sum();
                (inner + b.at(&[row]), own + d.at(&[row]))
            };
            let next = Array::build(&[2, 2], |at| {
                let gate = |number: usize| part(at[0], 2 * number + at[1], &state);
                let (r, z, n) = (gate(0), gate(1), gate(2));
                let (r, z) = (sigmoid(r.0 + r.1), sigmoid(z.0 + z.1));
                (1.0 - z) * (n.0 + r * n.1).tanh() + z * state.at(at)
            });
            y.values[4 * t..4 * t + 4].copy_from_slice(&next.values);
            state = next;
        }
        y
    };
    cases.push(Case::new("gru_stack by hand", stack_inputs(plain, 3, 1), gru).slack(64.0).reference(reference));
    cases.push(
        Case::many("lstm_cell", [[2, 3], [2, 2], [2, 2], [8, 3], [8, 2]].map(|dims| numbers(&dims, 3)).to_vec(), |x| {
            let (h, c) = x[0].lstm_cell(&x[1], &x[2], &[&x[3], &x[4]])?;
            Ok(vec![h, c])
        })
        .slack(64.0),
    );
    cases
}

#[test]
fn stacks_count_their_weights() {
    let x: Vec<Tensor> = stack_inputs(RecurrentStack::default(), 1, 1);
    let text = x[0].rnn_stack(&x[1], &[&x[2], &x[3]], &RecurrentStack::default()).unwrap_err().to_string();
    assert!(
        text.contains("rnn_stack: recurrent: 2 weights for 1 layers in 1 directions, each of which has 4"),
        "{text}"
    );
    let beyond = RecurrentStack { layers: 1 << 62, ..RecurrentStack::default() };
    assert!(x[0].rnn_stack(&x[1], &[], &beyond).is_err());
}

#[test]
fn stacks_of_no_units_and_of_weights_that_do_not_fit() {
    let options = RecurrentStack { biases: false, ..RecurrentStack::default() };
    let (x, h) = (numbers(&[3, 2, 4], 1), numbers(&[1, 2, 0], 1));
    let (y, last) = x.gru_stack(&h, &[&numbers(&[0, 4], 1), &numbers(&[0, 0], 1)], &options).unwrap();
    assert_eq!((y.shape().dims(), last.shape().dims()), (&[3, 2, 0][..], &[1, 2, 0][..]));
    // Four rows are no three gates.
    let (h, u) = (numbers(&[1, 2, 2], 1), numbers(&[4, 2], 1));
    let text = x.gru_stack(&h, &[&numbers(&[4, 4], 1), &u], &options).unwrap_err().to_string();
    assert!(text.starts_with("gru_stack: ") && text.contains("recurrent.rs"), "{text}");
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
    cases.extend(stacks());
    cases
}
