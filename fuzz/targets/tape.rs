//! Random programs in double precision: the gradient that a tape gives is that of differences wherever these say something,
//! and a plan gives the bits of its operations.

#![no_main]

use kiln::autograd::{Tape, Var};
use kiln::tensor::ops::*;
use kiln::tensor::{DType, Key, Plan, Result, Tensor};
use kiln_fuzz::calls::Call;
use kiln_fuzz::{Choices, same_bits, tensor_of};
use libfuzzer_sys::fuzz_target;
use std::cell::{Cell, RefCell};
use std::sync::LazyLock;

/// What is meant to have another gradient: as if nothing had been shortened, none for the row of padding, none through what is
/// taken as given.
const OTHER_GRADIENTS: &[&str] = &["renorm_rows", "embedding", "embedding_bag", "tables"];
/// Whether results without a gradient are printed: `KILN_SHOW=1`.
static IS_SHOWN: LazyLock<bool> = LazyLock::new(|| std::env::var_os("KILN_SHOW").is_some());
/// Places of each input that are moved.
const PLACES: usize = 4;

fuzz_target!(|data: &[u8]| {
    let mut choose = Choices::new(data);
    let x: Vec<Tensor> = (0..2).map(|_| input(&mut choose)).collect();
    let length = 1 + choose.below(3);
    let seen = Seen { is_smooth: Cell::new(true), names: RefCell::default() };
    let f = |x: &[Var]| program(&choose, length, x, &seen);
    let Ok((y, gradients)) = with_gradients(&f, &x) else { return };
    let is_smooth = seen.is_smooth.get();
    for (x, g) in x.iter().zip(&gradients) {
        assert_eq!(g.spec(), x.spec(), "the gradient's shape");
    }
    planned(&f, &x);
    if is_smooth && y.item().unwrap().abs() < 1e5 {
        differences(&f, &x, &gradients, &seen);
    }
});

/// What a program turned out to be.
struct Seen {
    is_smooth: Cell<bool>,
    names: RefCell<Vec<&'static str>>,
}

/// Numbers of ordinary size, mostly not one twice, in any layout.
fn input(choose: &mut Choices<'_>) -> Tensor {
    let like = tensor_of(choose, DType::F64);
    let key = Key::new(choose.any::<u8>().into());
    let numbers = key.uniform_as(*like.shape(), -1.5, 1.5, DType::F64).unwrap();
    // What the layout repeats is repeated.
    match choose.below(4) {
        0 => numbers.abs().unwrap().add(0.25).unwrap(),
        1 => numbers.t().map_or(numbers, |x| x.add(0.0).unwrap().t().unwrap()),
        2 if numbers.rank() > 0 => numbers.flip(0).unwrap(),
        _ => numbers,
    }
}

/// A number that depends on all results of the last operation.
fn program(choose: &Choices<'_>, length: usize, x: &[Var], seen: &Seen) -> Result<Var> {
    let mut call = Call::new(choose, false);
    let mut pool = x.to_vec();
    let mut last = Vec::new();
    seen.names.borrow_mut().clear();
    for _ in 0..length {
        let x = [(); 3].map(|()| pool[call.choose.below(pool.len())].clone());
        let called = call.run(&x);
        seen.names.borrow_mut().push(called.name);
        let results = called.results?;
        // Differences of rounded values are no derivatives.
        let floats = || results.iter().filter(|y| y.dtype().is_float());
        // What is taken as given, as edges of bins are, has differences and no derivative.
        if floats().any(|y| !y.is_tracked()) && *IS_SHOWN {
            eprintln!("{} is not recorded", called.name);
        }
        if floats().any(|y| y.dtype() != DType::F64 || !y.is_tracked()) || OTHER_GRADIENTS.contains(&called.name) {
            seen.is_smooth.set(false);
        }
        last = results.into_iter().filter(|y| y.dtype().is_float() && y.shape().count() < 20_000).take(4).collect();
        pool.extend(last.iter().cloned());
    }
    let mut total = x[0].sum(..)?.mul(0.5)?;
    for y in &last {
        let y = y.cast(DType::F64)?;
        let weights = Key::new(7).uniform_as(*y.shape(), 0.5, 1.5, DType::F64)?;
        total = total.add(&y.mul(&Var::new(weights))?.sum(..)?)?;
    }
    Ok(total)
}

fn with_gradients(f: &impl Fn(&[Var]) -> Result<Var>, x: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
    let tape = Tape::new();
    let x: Vec<Var> = x.iter().map(|x| tape.watch(x)).collect();
    let y = f(&x)?;
    let all = y.backward()?;
    let gradients = x.iter().map(|x| all.get(x)).collect::<Result<Vec<_>>>()?;
    Ok((y.into_tensor(), gradients))
}

/// What reads values makes no plan; what makes one gives the same bits, the second time too.
fn planned(f: &impl Fn(&[Var]) -> Result<Var>, x: &[Tensor]) {
    let step = |x: &[Tensor]| {
        let (y, mut all) = with_gradients(f, x)?;
        all.push(y);
        Ok(all)
    };
    let dense: Vec<Tensor> = x.iter().map(kiln_fuzz::compact).collect();
    let Ok(mut plan) = Plan::of(step, &dense) else { return };
    let Ok(want) = step(&dense) else { panic!("a plan was made of what is an error") };
    for _ in 0..2 {
        let got = plan.run(&dense.iter().collect::<Vec<_>>()).unwrap();
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.spec(), want.spec());
            assert!(same_bits(got, want), "{got} planned, {want} by itself:\n{}", plan.explain());
        }
    }
}

fn differences(f: &impl Fn(&[Var]) -> Result<Var>, x: &[Tensor], gradients: &[Tensor], seen: &Seen) {
    for (i, g) in gradients.iter().enumerate() {
        let (g, values) = (g.to_vec_as::<f64>(), x[i].to_vec_as::<f64>());
        for at in (0..values.len()).step_by((values.len() / PLACES).max(1)).take(PLACES) {
            let moved = |by: f64| -> Option<f64> {
                let mut values = values.clone();
                values[at] += by;
                let mut x: Vec<Var> = x.iter().cloned().map(Var::new).collect();
                x[i] = Var::new(Tensor::from_vec(values, *x[i].shape()).unwrap());
                f(&x).ok()?.tensor().item().ok()
            };
            if let Some(numeric) = slope(&moved) {
                let exact = g[at];
                // What has no bound is no derivative; differences step over it.
                if exact.is_finite() && exact.abs() < 1e5 {
                    assert!(
                        (exact - numeric).abs() <= 1e-3 * (1.0 + numeric.abs()),
                        "input {i} {}, place {at}: {exact} by the tape, {numeric} by differences of {:?}",
                        x[i].shape(),
                        seen.names.borrow()
                    );
                }
            }
        }
    }
}

/// A derivative by differences, where they agree: from both sides, and at every distance.
fn slope(f: &impl Fn(f64) -> Option<f64>) -> Option<f64> {
    let middle = f(0.0)?;
    let mut found: Option<f64> = None;
    for h in [3e-4, 1e-4, 1e-5] {
        let (above, below) = ((f(h)? - middle) / h, (middle - f(-h)?) / h);
        let slope = 0.5 * (above + below);
        let agree = |a: f64, b: f64, within: f64| (a - b).abs() <= within * (1.0 + slope.abs());
        if !agree(above, below, 30.0 * h) || found.is_some_and(|found| !agree(found, slope, 1e-5)) {
            return None;
        }
        found = Some(slope);
    }
    found
}
