//! What plans promise: the bits of the operations run one by one, on other inputs, in whatever memory; and that what no
//! plan can follow is told.

use crate::programs::{Choices, agree, assert_same, with_gradients};
use kiln_autograd::ops::*;
use kiln_autograd::{
    Aliases, Arity, CpuCall, DType, ErrorKind, Isa, Key, Op, Outputs, Plan, Result, Spec, Specs, Tensor, Trace, Var,
    Watch, value_and_grad, with_isa,
};

#[test]
fn random_programs_and_their_gradients() {
    let normal = |seed, dims: [usize; 2]| Key::new(seed).normal(dims, 0.0, 1.0).unwrap();
    for seed in 0..220 {
        let mut choose = Choices::new(1000 + seed);
        let dims = *choose.of(&[[2, 3], [4, 4], [5, 70], [33, 17], [3, 600]]);
        let shapes = [dims, [dims[0], 1], [1, dims[1]]];
        let inputs = |shift| shapes.map(|dims| normal(10 * seed + shift, dims));
        let (length, isa) = (5 + choose.below(30), *choose.of(&[Isa::Baseline, Isa::Avx2, Isa::Avx512]));
        let what = format!("program {seed} of {length} steps on {isa:?}");
        with_isa(isa, || {
            let f = |x: &[Tensor]| with_gradients(seed, length, x);
            agree(f, &inputs(1), &inputs(2), &what);
        });
    }
}

/// So many elements that chains of operations run piece by piece.
#[test]
fn random_programs_in_pieces() {
    let shapes = [[700, 760], [700, 1], [1, 760]];
    let mut in_pieces = 0;
    for seed in 500..506 {
        let inputs = |shift| shapes.map(|dims| Key::new(10 * seed + shift).normal(dims, 0.0, 1.0).unwrap());
        let f = |x: &[Tensor]| with_gradients(seed, 12, x);
        let plan = agree(f, &inputs(1), &inputs(2), &format!("program {seed} in pieces"));
        in_pieces += usize::from(plan.explain().contains(" together, in "));
    }
    assert!(in_pieces > 2, "{in_pieces} programs have a chain");
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let input = |seed| [Key::new(seed).normal([400, 300], 0.0, 1.0).unwrap()];
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            for seed in 0..4 {
                agree(|x| with_gradients(seed, 25, x), &input(1), &input(2), &format!("{threads} threads"));
            }
        });
    }
}

#[test]
fn a_run_that_fails_changes_nothing() {
    // The update comes first and would lie where its operand lay; then a label is out of range.
    let f = |x: &[Tensor]| {
        let updated = x[0].mul(0.5)?.add(&x[0])?;
        let doubled = x[0].add(&x[0])?;
        Ok(vec![updated, doubled, x[1].index_select(0, &x[2])?])
    };
    let inputs = |index: i64| vec![Tensor::ones([100]).unwrap(), Tensor::ones([3]).unwrap(), Tensor::new([index])];
    let mut plan = Plan::of(f, &inputs(0)).unwrap();
    let mut own = inputs(7);
    assert_eq!(plan.run_in_place(&mut own).unwrap_err().kind(), ErrorKind::Index);
    assert_same(&own, &inputs(7), "inputs");
    own[2] = Tensor::new([2i64]);
    plan.run_in_place(&mut own).unwrap();
    assert_same(&own, &f(&inputs(2)).unwrap(), "the next run");
    // What fails leaves too, beside an update that is nobody else's operand.
    let f = |x: &[Tensor]| Ok(vec![x[0].exp()?, x[1].index_select(0, &x[2])?]);
    let mut plan = Plan::of(f, &inputs(0)).unwrap();
    let mut own = inputs(7);
    assert!(plan.run_in_place(&mut own).is_err());
    assert_same(&own, &inputs(7), "inputs");
}

/// A multilayer perceptron's loss, gradients, and its parameters after a step.
fn step(x: &[Tensor]) -> Result<Vec<Tensor>> {
    let [features, labels, rate, parameters @ ..] = x else { panic!("too few inputs") };
    let loss = |p: &[Var]| {
        let hidden = Var::new(features.clone()).matmul(&p[0])?.add(&p[1])?.relu()?;
        let logits = hidden.matmul(&p[2])?.add(&p[3])?;
        logits.cross_entropy(&Var::new(labels.clone()))?.mean(..)
    };
    let (loss, gradients) = value_and_grad(loss, parameters)?;
    let mut results = vec![loss];
    for (parameter, gradient) in parameters.iter().zip(gradients) {
        results.push(parameter.sub(&gradient.mul(rate)?)?);
    }
    Ok(results)
}

fn step_inputs(seed: u64) -> Vec<Tensor> {
    let key = Key::new(seed);
    let normal = |n, dims: &[usize]| key.fold(n).normal(dims, 0.0, 0.1).unwrap();
    let labels: Vec<i64> = (0..32).map(|i| key.below(i, 10) as i64).collect();
    let mut inputs =
        vec![normal(0, &[32, 784]), Tensor::from_vec(labels, [32]).unwrap(), Tensor::scalar(0.1, DType::F32)];
    inputs.extend(
        [&[784, 128][..], &[128], &[128, 10], &[10]].iter().enumerate().map(|(i, dims)| normal(1 + i as u64, dims)),
    );
    inputs
}

#[test]
fn a_training_step() {
    let mut plan = agree(step, &step_inputs(1), &step_inputs(2), "step");
    // What is given away is updated where it lies.
    let mut own = step_inputs(3);
    let places: Vec<_> = own[3..].iter().map(|x| x.as_slice::<f32>().unwrap().as_ptr()).collect();
    plan.run_in_place(&mut own).unwrap();
    let after: Vec<_> = own[1..].iter().map(|x| x.as_slice::<f32>().unwrap().as_ptr()).collect();
    assert_eq!(places, after);
    // But not where somebody else holds it.
    let mut own = step_inputs(3);
    let held = own.clone();
    plan.run_in_place(&mut own).unwrap();
    held.iter().zip(step_inputs(3)).for_each(|(held, before)| assert!(held.same_bits(&before)));
    let text = plan.explain();
    assert!(text.contains("matmul(input 0, input 3)") && text.contains("in place of"), "{text}");
    assert!(text.contains("tests/plan.rs:"), "{text}");
}

/// Gates open where they lie, and their gradients go there: with and without a mask, and by way of single precision.
#[test]
fn recurrent_layers_write_over_their_gates() {
    let layers = |x: &[Tensor]| {
        let (mask, x) = (Var::new(x[0].clone()), &x[1..]);
        let loss = |x: &[Var]| {
            let (h, c) = x[0].matmul(&x[1])?.add(0.1)?.lstm(&x[2], &x[3], &x[4], Some(&mask))?;
            let h = h.matmul(&x[5])?.add(0.1)?.gru(&x[6], &x[7], &x[3], None)?.add(&c)?;
            h.matmul(&x[8])?.simple_rnn(&x[8], &x[4], Some(&mask))?.square()?.sum(..)
        };
        let (loss, gradients) = value_and_grad(loss, x)?;
        Ok([vec![loss], gradients].concat())
    };
    let shapes: &[&[usize]] =
        &[&[9, 5, 7], &[7, 80], &[20, 80], &[9, 20], &[9, 20], &[20, 60], &[20, 60], &[60], &[20, 20]];
    let inputs = |seed: u64, dtype: DType| -> Vec<Tensor> {
        let key = Key::new(seed);
        let mut all = vec![key.uniform([9, 5], 0.0, 1.0).unwrap().lt(0.7).unwrap()];
        let normal = |(i, dims): (usize, &&[usize])| key.fold(i as u64).normal(*dims, 0.0, 0.3)?.cast(dtype);
        all.extend(shapes.iter().enumerate().map(|x| normal(x).unwrap()));
        all
    };
    for dtype in [DType::F32, DType::F64, DType::F16] {
        let plan = agree(layers, &inputs(1, dtype), &inputs(2, dtype), "recurrent layers");
        let text = plan.explain();
        for op in ["lstm", "lstm_grad", "gru", "gru_grad"] {
            let line = text.lines().find(|line| line.contains(&format!("{op}(")));
            assert!(line.is_some_and(|line| line.contains("in place of")), "{dtype}: {text}");
        }
    }
}

#[test]
fn memory_is_close_to_what_is_alive_at_once() {
    let mut bound = 0;
    for seed in 0..40 {
        let input = [Key::new(seed).normal([64, 96], 0.0, 1.0).unwrap()];
        let plan = Plan::of(|x| with_gradients(seed, 40, x), &input).unwrap();
        let memory = plan.memory();
        assert!(memory.arena <= memory.least + memory.least / 10 && memory.arena <= memory.sum, "{seed}: {memory:?}");
        bound += usize::from(memory.arena == memory.least);
    }
    assert!(bound > 20, "{bound} of 40 arenas are as small as can be");
}

#[test]
fn what_nobody_needs_is_left_out_and_what_repeats_is_computed_once() {
    let f = |x: &[Tensor]| {
        let _unused = x[0].exp()?.sum(..)?;
        let (a, b) = (x[0].mul(2.0)?.tanh()?, x[0].mul(2.0)?.tanh()?);
        // These differ in the sign of a zero.
        Ok(vec![a.add(&b)?, x[0].mul(0.0)?, x[0].mul(-0.0)?])
    };
    let x = [Tensor::new([1.0f32, -2.0])];
    let plan = agree(f, &x, &x, "repeats");
    let text = plan.explain();
    assert!(
        text.starts_with("plan of 5 steps, 1 input, 3 results (9 operations recorded, 2 not needed, 2 repeated)"),
        "{text}"
    );
}

#[test]
fn results_may_be_inputs_constants_and_views() {
    let constant = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]]);
    let f = |x: &[Tensor]| {
        let y = x[0].add(&constant)?;
        Ok(vec![x[0].clone(), constant.clone(), y.t()?, y.clone(), x[0].t()?.reshape([4])?, x[0].slice(0, 1..2)?])
    };
    let example = [Tensor::new([[0.0f32, 0.0], [0.0, 0.0]])];
    agree(f, &example, &[Tensor::new([[5.0f32, 6.0], [7.0, 8.0]])], "views");
    // An input that is a view itself.
    let strided = Tensor::new([[5.0f32, 6.0], [7.0, 8.0]]).t().unwrap();
    agree(f, &example, std::slice::from_ref(&strided), "a strided input");
    agree(f, &[strided], &example, "recorded on a strided input");
    let empty = [Tensor::zeros([0, 2]).unwrap()];
    agree(|x| Ok(vec![x[0].exp()?.sum(0)?, x[0].add(1.0)?]), &empty, &empty, "nothing");
}

#[test]
fn numbers_and_keys_are_inputs_too() {
    let f = |x: &[Tensor]| {
        let [x, rate, seed, stream] = x else { panic!("four inputs") };
        let dropped = Tensor::apply(&Dropout, &[x, seed, stream, &Tensor::number(0.5), &Tensor::number(2.0)])?.one()?;
        Ok(vec![x.mul(rate)?, dropped])
    };
    let inputs = |rate: f64, key: u64| {
        let [seed, stream] = Key::new(key).operands();
        [Tensor::ones([100]).unwrap(), Tensor::number(rate), seed, stream]
    };
    let mut plan = agree(f, &inputs(0.5, 1), &inputs(-3.0, 2), "numbers");
    // A number is none of rank 0 of the same type: `x.mul(&number)` is of x's type, whatever the number's.
    let [x, _, seed, stream] = inputs(1.0, 1);
    assert!(plan.run(&[&x, &Tensor::scalar(1.0, DType::F64), &seed, &stream]).is_err());
}

#[test]
fn a_traced_key_draws_by_the_key_of_the_run() {
    let draws = |key: &Key| -> Result<Vec<Tensor>> {
        let x = key.fold(3).normal([50], 0.0, 1.0)?;
        Ok(vec![x.dropout(key.fold(1).fold(9), 0.4)?, key.bernoulli([20], 0.5)?, key.fold(4).uniform([7], -1.0, 1.0)?])
    };
    let trace = Trace::new();
    let results = draws(&Key::new(1).traced_by(&trace).unwrap()).unwrap();
    let mut plan = trace.finish(&results.iter().collect::<Vec<_>>()).unwrap();
    for seed in [1, 2, 3] {
        let [a, b] = Key::new(seed).operands();
        assert_same(&plan.run(&[&a, &b]).unwrap(), &draws(&Key::new(seed)).unwrap(), "draws");
    }
    // What is drawn on the host cannot follow another key.
    let trace = Trace::new();
    let key = Key::new(1).traced_by(&trace).unwrap();
    assert_eq!(key, Key::new(1));
    key.fold(2).permutation(5).unwrap();
    assert_eq!(trace.finish(&[]).unwrap_err().kind(), ErrorKind::Escape);
}

#[test]
fn operations_are_run_for_their_errors() {
    let f = |x: &[Tensor]| Ok(vec![x[0].index_select(0, &x[1])?]);
    let (x, index) = (Tensor::new([1.0f32, 2.0]), Tensor::new([0i64, 1]));
    let mut plan = Plan::of(f, &[x.clone(), index]).unwrap();
    let error = plan.run(&[&x, &Tensor::new([0i64, 7])]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Index);
    assert!(error.to_string().contains("tests/plan.rs"), "{error}");
    // The plan is none the worse for it.
    assert_eq!(plan.run(&[&x, &Tensor::new([1i64, 0])]).unwrap()[0].to_vec::<f32>().unwrap(), [2.0, 1.0]);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let x = Tensor::new([1.0f32, 2.0]);
    let mut plan = Plan::of(|x| Ok(vec![x[0].mul(2.0)?]), std::slice::from_ref(&x)).unwrap();
    let errors = [
        (plan.run(&[]), "it was made for 1 inputs, 0 were given"),
        (plan.run(&[&Tensor::new([1.0f32])]), "input 0 is f32 [1], but the plan was made for f32 [2]"),
        (plan.run(&[&Tensor::new([1.0f64, 2.0])]), "input 0 is f64 [2]"),
    ];
    for (result, text) in errors {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("plan: ") && error.contains(text) && error.contains("tests/plan.rs"), "{error}");
    }
    assert!(Plan::of(|x| x[0].matmul(&Tensor::zeros([3, 2])?).map(|y| vec![y]), &[x]).is_err());
}

#[test]
fn what_reads_the_host_makes_no_plan() {
    let x = [Tensor::new([1.0f32, 2.0])];
    let reads: [fn(&Tensor) -> bool; 6] = [
        |x| x.to_vec::<f32>().is_ok(),
        |x| x.sum(..).unwrap().item().is_ok(),
        |x| x.as_slice::<f32>().is_some(),
        |x| x.same_bits(&Tensor::new([1.0f32, 2.0])),
        |x| !x.to_string().is_empty(),
        |x| x.exp().unwrap().to_vec_as::<f64>().len() == 2,
    ];
    for read in reads {
        let f = |x: &[Tensor]| if read(&x[0]) { Ok(vec![x[0].add(1.0)?]) } else { Ok(vec![]) };
        let error = Plan::of(f, &x).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Escape, "{error}");
        // What prints a value does not say where it stands.
        let text = error.to_string();
        assert!(text.contains("tests/plan.rs") || text.contains("was printed"), "{text}");
    }
    // The shape and the type are no values.
    assert!(Plan::of(|x| Ok(vec![x[0].reshape([x[0].count(), 1])?.cast(x[0].dtype())?]), &x).is_ok());
}

#[test]
fn recordings_do_not_mix() {
    let (one, two) = (Trace::new(), Trace::new());
    let x = Tensor::new([1.0f32, 2.0]);
    let (a, b) = (one.input(&x).unwrap(), two.input(&x).unwrap());
    assert_eq!(a.add(&b).unwrap_err().kind(), ErrorKind::Escape);
    let y = a.mul(3.0).unwrap();
    let mut plan = one.finish(&[&y]).unwrap();
    assert_eq!(plan.run(&[&x]).unwrap()[0].to_vec::<f32>().unwrap(), [3.0, 6.0]);
    // What was recorded remains a tensor like any other: in the next recording a constant.
    assert_eq!(y.add(&a).unwrap().to_vec::<f32>().unwrap(), [4.0, 8.0]);
    let product = y.mul(&b).unwrap();
    assert!(b.mul(&y).is_ok());
    let mut plan = two.finish(&[&product, &y]).unwrap();
    assert_eq!(plan.run(&[&Tensor::new([10.0f32, 20.0])]).unwrap()[0].to_vec::<f32>().unwrap(), [30.0, 120.0]);
}

/// An operation of two results, in the place of its first operand, that keeps both promises of its kernel.
#[derive(Debug, Clone, PartialEq)]
struct SumAndDifference;

impl Op for SumAndDifference {
    fn name(&self) -> &str {
        "sum_and_difference"
    }
    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }
    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        Ok([x[0], x[0]].into())
    }
    fn aliases(&self) -> Aliases {
        Aliases::Any
    }
    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let (a, b) = (x[0].contiguous::<f32>()?, x[1].contiguous::<f32>()?);
        let [sum, difference] = y else { unreachable!("infer gives two") };
        sum.slice::<f32>()?.iter_mut().zip(a.iter().zip(&*b)).for_each(|(y, (a, b))| *y = a + b);
        difference.slice::<f32>()?.iter_mut().zip(a.iter().zip(&*b)).for_each(|(y, (a, b))| *y = a - b);
        Ok(())
    }
}

#[test]
fn operations_of_users_take_part() {
    let f = |x: &[Tensor]| {
        let (a, b) = (x[0].mul(2.0)?, x[1].mul(3.0)?);
        let both: Outputs = Tensor::apply(&SumAndDifference, &[&a, &b])?;
        Ok(vec![both[0].mul(&both[1])?])
    };
    let inputs = [Tensor::new([1.0f32, 2.0]), Tensor::new([5.0f32, 7.0])];
    let plan = agree(f, &inputs, &[inputs[1].clone(), inputs[0].clone()], "a user's operation");
    assert!(plan.explain().contains("sum_and_difference"));
}

/// A copy, which panics where the first element is negative.
#[derive(Debug, Clone, PartialEq)]
struct Fragile;

impl Op for Fragile {
    fn name(&self) -> &str {
        "fragile"
    }
    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        Ok(x[0].into())
    }
    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        let x = x[0].contiguous::<f32>()?;
        assert!(x[0] >= 0.0, "it breaks");
        y[0].slice::<f32>()?.copy_from_slice(&x);
        Ok(())
    }
}

#[test]
fn a_panic_leaves_nothing_behind_for_the_next_run() {
    let numbers = || Tensor::new([1f32, 2.0, 3.0]);
    let f = |x: &[Tensor]| Ok(vec![x[0].add(1.0)?, Tensor::apply_one(Fragile, &[&x[1]])?]);
    let mut plan = Plan::of(f, &[numbers(), numbers()]).unwrap();
    let mut list = vec![numbers(), numbers().neg().unwrap()];
    let run = std::panic::AssertUnwindSafe(|| plan.run_in_place(&mut list));
    assert!(std::panic::catch_unwind(run).is_err());
    let kept = list[0].clone();
    let mut other = vec![Tensor::new([100f32, 200.0, 300.0]), numbers()];
    plan.run_in_place(&mut other).unwrap();
    assert!(kept.same_bits(&numbers()));
    assert_same(&other, &[Tensor::new([101f32, 201.0, 301.0]), numbers()], "after a panic");
}

#[test]
fn what_is_watched_and_what_is_recorded_do_not_mix() {
    let (trace, watch) = (Trace::new(), Watch::new());
    let recorded = trace.input(&Tensor::new([1f32, 2.0])).unwrap();
    let watched = watch.input("w", &Tensor::new([1f32, 2.0]));
    for (a, b) in [(&recorded, &watched), (&watched, &recorded)] {
        assert_eq!(a.mul(b).unwrap_err().kind(), ErrorKind::Escape);
    }
}

/// An operation that takes every other of its kind for itself, though what it gives differs.
#[derive(Clone)]
struct Ramp(usize);

impl PartialEq for Ramp {
    fn eq(&self, _: &Ramp) -> bool {
        true
    }
}

impl std::fmt::Debug for Ramp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ramp")
    }
}

impl Op for Ramp {
    fn name(&self) -> &str {
        "ramp"
    }
    fn infer(&self, _: &[Spec]) -> Result<Specs> {
        Ok(Spec::new(kiln::tensor::Shape::new(&[self.0])?, DType::F64).into())
    }
    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (_, y) = call.parts();
        y[0].slice::<f64>()?.iter_mut().zip(0..).for_each(|(y, i)| *y = f64::from(i));
        Ok(())
    }
}

#[test]
fn operations_that_only_say_that_they_are_alike_stay_apart() {
    let x = Tensor::new([1.0, 2.0]);
    let f = |x: &[Tensor]| {
        let [a, b] = [4, 100_000].map(|n| Tensor::apply_one(Ramp(n), &[&x[0]]));
        let (a, b) = (a?, b?);
        Ok(vec![a.sum(..)?, b.sum(..)?, b])
    };
    let mut plan = Plan::of(f, std::slice::from_ref(&x)).unwrap();
    let results = plan.run(&[&x]).unwrap();
    assert_eq!(results[0].item().unwrap(), 6.0);
    assert_eq!(results[1].item().unwrap(), 4_999_950_000.0);
    assert_eq!(results[2].shape().dims(), [100_000]);
}
