//! Plans on the device: the bits of the operations one by one, as kernels that run several steps, and as graphs.

use crate::beside::{alone, device, shared};
use crate::driver::{Fake, elsewhere};
use crate::ops::{everything, today};
use crate::programs::{Choices, agree, assert_same, with_gradients};
use kiln_autograd::ops::*;
use kiln_autograd::{DType, ErrorKind, Key, Plan, Result, Tensor, Trace};

fn normal(seed: u64, dims: &[usize]) -> Tensor {
    Key::new(seed).normal(dims, 0.0, 1.0).unwrap().to_device(device()).unwrap()
}

#[test]
fn random_programs_and_their_gradients() {
    let _device = shared();
    let mut together = 0;
    // Others every day.
    let seeds = if everything() { 0..60 } else { 6 * today() as u64..6 * today() as u64 + 6 };
    let fewest = seeds.clone().count();
    for seed in seeds {
        let mut choose = Choices::new(1000 + seed);
        let dims = *choose.of(&[[2, 3], [4, 4], [5, 70], [33, 17]]);
        let inputs = |shift| [dims, [dims[0], 1], [1, dims[1]]].map(|dims| normal(10 * seed + shift, &dims));
        let length = 5 + choose.below(30);
        let f = |x: &[Tensor]| with_gradients(seed, length, x);
        let plan = agree(f, &inputs(1), &inputs(2), &format!("program {seed} of {length} steps"));
        together += plan.explain().matches(" together, in one kernel").count();
    }
    assert!(together > fewest, "{together} kernels run several steps");
}

#[test]
fn steps_of_one_shape_are_one_kernel() {
    let _device = shared();
    let f = |x: &[Tensor]| {
        // Rows, columns, a turned operand, another type, random numbers and a number's place.
        let a = x[0].mul(&x[1])?.add(&x[2])?.tanh()?;
        let b = a.sub(&x[3].t()?)?.gt(0)?.select(&a, 0.5)?.dropout(Key::new(3), 0.25)?;
        Ok(vec![b.cast(DType::F16)?.exp()?, a.square()?, b.sum(0)?])
    };
    for (rows, columns) in [(1, 1), (33, 40), (64, 128)] {
        let dims = [vec![rows, columns], vec![columns], vec![rows, 1], vec![columns, rows]];
        let inputs = |shift| dims.iter().map(|dims| normal(shift, dims)).collect::<Vec<_>>();
        let plan = agree(f, &inputs(1), &inputs(2), "a group");
        let text = plan.explain();
        assert!(text.contains(" steps together, in one kernel:") && text.contains(" in registers alone"), "{text}");
        assert!(kernels(&text) <= 3, "{text}");
    }
}

/// How many kernels a plan has.
fn kernels(text: &str) -> usize {
    text.split("on cuda:0: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Of one element, of fewer than are read at once, of parts of blocks and of several, and of so many that a sum has parts.
const SIZES: [&[usize]; 9] = [&[1], &[3], &[7, 5], &[300], &[1024], &[33, 40], &[5000], &[8, 2, 1100], &[3, 6001]];

#[test]
fn steps_that_are_alike_are_one_launch() {
    let _device = shared();
    let count = SIZES.len();
    // What an optimizer does: a rule for each parameter, of which it takes the place, and the size of all gradients.
    let f = |x: &[Tensor]| {
        let (values, gradients) = (&x[..count], &x[count..2 * count]);
        let norms = gradients.iter().map(|x| x.norm(2.0, ..)).collect::<Result<Vec<_>>>()?;
        let whole = stack(&norms.iter().collect::<Vec<_>>(), 0)?.norm(2.0, ..)?.mul(&x[2 * count])?;
        values.iter().zip(gradients).map(|(value, x)| value.sub(&x.mul(&whole)?)).chain([Ok(whole.clone())]).collect()
    };
    let inputs = |shift| {
        let of = |shift| SIZES.iter().enumerate().map(move |(i, dims)| normal(shift + i as u64, dims));
        of(shift).chain(of(shift + 20)).chain([Tensor::number(0.25)]).collect::<Vec<_>>()
    };
    let text = agree(f, &inputs(1), &inputs(50), "alike").explain();
    // Sums by a warp, by a block, and by several with what joins them; then the norms beside
    // each other, the norm of those, its product with a number, and the rule.
    assert!(text.contains("9 steps abreast, in 4 kernels:"), "{text}");
    assert_eq!(text.matches("9 steps abreast, in one kernel:").count(), 2, "{text}");
    assert_eq!(kernels(&text), 4 + 1 + 1 + 1 + 2, "{text}");
}

/// Values that stay in the plan, of which the next steps take the places; among them turned ones and other types.
#[test]
fn what_is_abreast_shares_the_memory_of_a_plan() {
    let _device = shared();
    let every = |x: &[Tensor], f: &dyn Fn(&Tensor) -> Result<Tensor>| x.iter().map(f).collect::<Result<Vec<_>>>();
    let f = |x: &[Tensor]| {
        let turned = every(x, &|x| if x.rank() == 2 { x.t() } else { Ok(x.clone()) })?;
        let half = every(&turned, &|x| x.cast(DType::F16))?;
        let powers = every(&half, &|x| x.cast(DType::F32)?.exp())?;
        let sums = every(&powers, &|x| x.sum(0))?;
        let shares = powers.iter().zip(&sums).map(|(x, sum)| x.div(sum)).collect::<Result<Vec<_>>>()?;
        let squares = every(&shares, &|x| x.square())?;
        let mut results = every(x, &|x| x.reshape([x.count()]))?;
        for (result, square) in results.iter_mut().zip(&squares) {
            *result = square.reshape([square.count()])?.add(&*result)?;
        }
        let flat = every(&half, &|x| x.reshape([x.count()]))?;
        results.push(concat(&flat.iter().collect::<Vec<_>>(), 0)?);
        Ok(results)
    };
    let inputs = |shift| SIZES.iter().enumerate().map(|(i, dims)| normal(shift + i as u64, dims)).collect::<Vec<_>>();
    let text = agree(f, &inputs(1), &inputs(30), "stages").explain();
    assert!(text.matches(" steps abreast, in ").count() >= 4, "{text}");
}

/// What another step of the same launch reads is not overwritten, even where a step of its own is the last to read it.
#[test]
fn what_is_read_abreast_is_not_overwritten() {
    let _device = shared();
    let f = |x: &[Tensor]| Ok(vec![x[0].add(&x[1].reshape([300])?)?, x[1].add(&x[2])?]);
    let inputs = |shift| [normal(shift, &[300]), normal(shift + 1, &[6, 50]), normal(shift + 2, &[6, 50])];
    let text = agree(f, &inputs(1), &inputs(5), "read by two").explain();
    assert!(text.contains("2 steps abreast, in one kernel:"), "{text}");
    assert!(text.contains(" in place of input 0") && text.contains(" in place of input 2"), "{text}");
}

#[test]
#[ignore = "what `tables_of_many_calls_are_cut` runs"]
fn many_alike() {
    let f = |x: &[Tensor]| x.iter().map(|x| x.mul(2.0)?.add(1.0)?.neg()).collect();
    let inputs = |shift: u64| (0..300u64).map(|i| normal(shift + i, &[i as usize % 7 + 1])).collect::<Vec<_>>();
    // On a line of its own, whatever the test is run with.
    println!("\n{} kernels", kernels(&agree(f, &inputs(0), &inputs(300), "many").explain()));
}

/// A kernel takes so many bytes of arguments, with older drivers 4 KiB.
#[test]
fn tables_of_many_calls_are_cut() {
    let _device = shared();
    if Fake::open().is_some() {
        let text = elsewhere("plan::many_alike", &[]);
        assert!(text.contains("\n2 kernels"), "{text}");
        let text = elsewhere("plan::many_alike", &[("KILN_FAKE_DRIVER_VERSION", "12000")]);
        assert!(text.contains("\n8 kernels"), "{text}");
    }
}

/// What one step reads turned must not be overwritten by another of the same kernel.
#[test]
fn what_is_read_across_a_kernel_is_not_overwritten() {
    let _device = shared();
    let f = |x: &[Tensor]| {
        let square = x[0].matmul(&x[0])?;
        let turned = square.transpose(0, 1)?.mul(2.0)?;
        Ok(vec![turned.exp()?.add(&square)?.neg()?.sum(0)?, x[1].t()?.add(&x[1])?])
    };
    let inputs = |shift| [normal(shift, &[40, 40]), normal(shift + 1, &[300, 300])];
    agree(f, &inputs(1), &inputs(5), "turned");
}

#[test]
fn numbers_and_keys_are_new_in_every_run() {
    let _device = shared();
    let f = |x: &[Tensor]| Ok(vec![x[0].mul(&x[1])?.add(&x[1].mul(&x[2])?)?, x[0].sub(&x[2])?.mean(..)?]);
    let inputs = |shift, rate: f64, whole: i64| [normal(shift, &[9, 5]), Tensor::number(rate), Tensor::number(whole)];
    agree(f, &inputs(1, 0.5, 3), &inputs(2, -1.25, 1 << 40), "numbers");
    let draws = |key: &Key| -> Result<Vec<Tensor>> {
        let on = key.fold(3).on(device());
        Ok(vec![on.normal([7, 3], 0.0, 1.0)?, Tensor::ones([9])?.to_device(device())?.dropout(key.fold(1), 0.5)?])
    };
    let trace = Trace::new();
    let recorded = draws(&Key::new(1).traced_by(&trace).unwrap()).unwrap();
    let mut plan = trace.finish(&recorded.iter().collect::<Vec<_>>()).unwrap();
    for seed in [1, 2, 77] {
        let [a, b] = Key::new(seed).operands();
        assert_same(&plan.run(&[&a, &b]).unwrap(), &draws(&Key::new(seed)).unwrap(), "draws");
    }
}

/// What is kept of earlier runs lies elsewhere than what comes.
#[test]
fn results_may_be_kept() {
    let _device = shared();
    let f = |x: &[Tensor]| Ok(vec![x[0].exp()?, x[0].sum(..)?]);
    let mut plan = Plan::of(f, &[normal(1, &[50])]).unwrap();
    let inputs: Vec<Tensor> = (0..12).map(|seed| normal(seed, &[50])).collect();
    let mut kept = Vec::new();
    for x in &inputs {
        kept.push(plan.run(&[x]).unwrap());
    }
    for (x, y) in inputs.iter().zip(&kept) {
        assert_same(y, &f(std::slice::from_ref(x)).unwrap(), "what was kept");
    }
}

#[test]
fn a_plan_runs_where_it_was_recorded() {
    let _device = shared();
    let mut plan = Plan::of(|x| Ok(vec![x[0].exp()?]), &[normal(1, &[3])]).unwrap();
    let error = plan.run(&[&Tensor::new([1.0f32, 2.0, 3.0])]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    let text = error.to_string();
    assert!(text.contains("input 0 is on cpu, but the plan runs on cuda:0"), "{text}");
    // Views are no steps.
    let x = normal(2, &[2, 3]);
    let mut views = Plan::of(|x| Ok(vec![x[0].t()?]), std::slice::from_ref(&x)).unwrap();
    for _ in 0..3 {
        assert_same(&views.run(&[&x]).unwrap(), &[x.t().unwrap()], "a view");
    }
    let both = |x: &[Tensor]| Ok(vec![x[0].exp()?, x[1].exp()?]);
    let error = Plan::of(both, &[normal(1, &[3]), Tensor::new([1.0f32])]).unwrap_err().to_string();
    assert!(error.contains("ran on cuda:0 and on cpu, a plan runs on one device"), "{error}");
    let read = |x: &[Tensor]| Ok(vec![x[0].add(x[0].sum(..)?.item()?)?]);
    let error = Plan::of(read, &[normal(1, &[3])]).unwrap_err().to_string();
    assert!(error.contains("a recorded value was read on the host"), "{error}");
}

#[test]
fn what_only_values_show_is_told_after_each_run() {
    let _device = alone();
    let f = |x: &[Tensor]| Ok(vec![x[0].index_select(0, &x[1])?]);
    let x = normal(1, &[4, 2]);
    let there = |index: [i64; 2]| Tensor::new(index).to_device(device()).unwrap();
    let mut plan = Plan::of(f, &[x.clone(), there([0, 1])]).unwrap();
    for _ in 0..4 {
        let y = plan.run(&[&x, &there([3, 9])]).unwrap();
        let text = y[0].to_vec::<f32>().unwrap_err().to_string();
        assert!(text.contains("index 9") && text.starts_with("index_select"), "{text}");
        let y = plan.run(&[&x, &there([3, 2])]).unwrap();
        assert_same(&y, &f(&[x.clone(), there([3, 2])]).unwrap(), "after an error");
    }
}

#[test]
fn a_run_that_fails_changes_nothing() {
    let _device = alone();
    let Some(fake) = Fake::open() else { return };
    let f = |x: &[Tensor]| Ok(vec![x[0].mul(&x[1])?, x[0].sum(..)?]);
    // What runs the first time, what makes a graph of the second run, and what starts it.
    let functions = [
        (0, "cuLaunchKernel"),
        (1, "cuStreamCreate"),
        (1, "cuStreamBeginCapture"),
        (1, "cuLaunchKernel"),
        (1, "cuStreamEndCapture"),
        (1, "cuGraphInstantiateWithFlags"),
        (1, "cuGraphLaunch"),
        (3, "cuGraphLaunch"),
        (2, "cuMemcpyHtoDAsync"),
    ];
    for (first, function) in functions {
        let mut plan = Plan::of(f, &[normal(1, &[30]), Tensor::number(1.0)]).unwrap();
        let mut state = vec![normal(2, &[30])];
        let run = |plan: &mut Plan, state: &mut Vec<Tensor>| {
            state.push(Tensor::number(0.5));
            let outcome = plan.run_in_place(state);
            state.truncate(1);
            outcome
        };
        for _ in 0..first {
            run(&mut plan, &mut state).unwrap();
        }
        let before = state[0].to_vec::<f32>().unwrap();
        fake.fail(function, 2);
        let error = run(&mut plan, &mut state).expect_err(function);
        assert_eq!(error.kind(), ErrorKind::Memory, "{function}: {error}");
        assert_eq!(state[0].to_vec::<f32>().unwrap(), before, "{function}");
        for _ in 0..3 {
            run(&mut plan, &mut state).unwrap();
        }
        let eighths: Vec<f32> = before.iter().map(|x| x * 0.125).collect();
        assert_eq!(state[0].to_vec::<f32>().unwrap(), eighths, "{function}");
    }
}

/// While one thread makes a graph, others put their own work into the device's stream.
#[test]
fn threads_share_the_device() {
    let _device = shared();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                let f = |x: &[Tensor]| Ok(vec![x[0].exp()?.mul(&x[0])?, x[0].sum(..)?]);
                let inputs: Vec<Tensor> = (0..4).map(|i| normal(10 * thread + i, &[40 + thread as usize])).collect();
                let mut plan = Plan::of(f, &inputs[..1]).unwrap();
                for i in 0..40 {
                    let x = &inputs[i / 2 % 4];
                    let planned = plan.run(&[x]).unwrap();
                    assert_same(&planned, &f(std::slice::from_ref(x)).unwrap(), "a thread");
                }
            });
        }
    });
}
