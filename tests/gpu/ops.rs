//! Every case of the table on the device: values and gradients beside those of the CPU in each floating-point type, of
//! dense and of strided inputs.

use crate::cases::{self, Array, Case, Check, compare, precision, with_dtype};
use kiln_autograd::ops::{CastOps, ViewOps};
use kiln_autograd::{DType, Device, ErrorKind, Result, Tape, Tensor, Var, gradients};
use rayon::prelude::*;
use std::time::SystemTime;

fn device() -> Device {
    Device::cuda(0)
        .unwrap_or_else(|error| panic!("{error}\n  these tests run with a GPU, or by `cargo xtask fake-gpu`"))
}

macro_rules! families {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            check_all(cases::$name::all());
        }
    )*};
}
families! {
    attention cast columns concat conv cross_entropy diagonal einsum elementwise embedding
    gather index losses matmul normalization order padding pool products random
    rearrange recurrent reduce resize sampling scan search softmax sort views
}

/// Decompositions have no kernels, and say so instead of computing elsewhere.
#[test]
fn linalg() {
    let shared = crate::beside::shared();
    let (refused, checked): (Vec<Case>, Vec<Case>) = cases::linalg::all().into_iter().partition(|case| {
        let moved: Vec<Tensor> = case.inputs.iter().map(|x| x.to_device(device()).unwrap()).collect();
        let refusal = values_and_gradients(case, &moved).err().filter(|error| error.kind() == ErrorKind::Device);
        refusal.is_some_and(|error| {
            let text = error.to_string();
            assert!(text.contains("has no CUDA kernel"), "{}: {text}", case.name);
            true
        })
    });
    drop(shared);
    let names = ["qr", "svd", "pinv", "lstsq", "eigh", "matrix_norm", "cond"];
    for case in &refused {
        assert!(names.iter().any(|name| case.name.starts_with(name)), "{} has a kernel", case.name);
    }
    check_all(checked);
}

fn check_all(cases: Vec<Case>) {
    let _shared = crate::beside::shared();
    // Of large families a third, another one every day: a kernel is compiled for each type and layout of each.
    let part = if everything() || cases.len() < 100 { 1 } else { 3 };
    let chosen: Vec<(usize, &Case)> =
        cases.iter().enumerate().filter(|(number, _)| (number + today()).is_multiple_of(part)).collect();
    let failures: Vec<String> =
        chosen.par_iter().filter_map(|(number, case)| check(case, number / part).err()).collect();
    assert!(failures.is_empty(), "{} of {} cases fail:\n{}", failures.len(), chosen.len(), failures.join("\n"));
}

/// Whether a run has time for every case.
pub fn everything() -> bool {
    std::env::var_os("KILN_GPU_ALL").is_some_and(|all| !all.is_empty())
}

/// The number of the day.
pub fn today() -> usize {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| (since.as_secs() / 86_400) as usize)
}

/// Each case in single precision, in another type and with strided inputs in turn: which, changes from case to case and every
/// day. `KILN_GPU_ALL` has all of them in every type.
fn check(case: &Case, number: usize) -> Check {
    let named = |problem: String| format!("  {}: {problem}", case.name);
    let (all, turn) = (everything(), number + today());
    let types = [DType::F64, DType::F16, DType::BF16, DType::F32];
    let types: &[DType] = match (case.narrow, all) {
        (false, _) => &types[..1],
        (true, true) => &types,
        (true, false) => &[types[turn % 3], DType::F32],
    };
    for (i, &dtype) in types.iter().enumerate() {
        let inputs = with_dtype(&case.inputs, dtype);
        if all || i > 0 || turn % 2 == 0 || types.len() == 1 {
            beside(case, &inputs, dtype, case.slack, &|x| x.to_device(device())).map_err(named)?;
        }
        if all || (i == 0 && (turn % 2 == 1 || types.len() == 1)) {
            let strided = |problem| named(format!("strided: {problem}"));
            beside(case, &inputs, dtype, case.slack, &scattered).map_err(strided)?;
        }
    }
    if let Some(large) = &case.large {
        let dtype = if case.narrow { DType::F32 } else { DType::F64 };
        let large = with_dtype(large, dtype);
        beside(case, &large, dtype, 16.0 * case.slack, &|x| x.to_device(device()))
            .map_err(|problem| named(format!("large: {problem}")))?;
    }
    Ok(())
}

/// Compares what the device makes of the inputs, moved there by `there`, with what the CPU does.
fn beside(
    case: &Case,
    inputs: &[Tensor],
    dtype: DType,
    slack: f64,
    there: &dyn Fn(&Tensor) -> Result<Tensor>,
) -> Check {
    let moved = inputs.iter().map(there).collect::<Result<Vec<_>>>().map_err(|e| e.to_string())?;
    let (got, want) = match (values_and_gradients(case, &moved), values_and_gradients(case, inputs)) {
        (Ok(got), Ok(want)) => (got, want),
        (Err(got), Err(want)) if got.kind() == want.kind() => return Ok(()),
        (got, want) => {
            let text = |x: Result<Vec<Tensor>>| x.map_or_else(|e| e.to_string(), |x| format!("{} results", x.len()));
            return Err(format!("{dtype}: {} and on the CPU {}", text(got), text(want)));
        }
    };
    if got.len() != want.len() {
        return Err(format!("{} results, expected {}", got.len(), want.len()));
    }
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        if got.spec() != want.spec() {
            return Err(format!("{dtype}: result {i} is {:?}, expected {:?}", got.spec(), want.spec()));
        }
        let tolerance = if want.dtype().is_float() { 2.0 * slack * precision(want.dtype()) } else { 0.0 };
        compare(&format!("{dtype}: result {i}"), got, &Array::of(want), tolerance)?;
    }
    Ok(())
}

/// The results, and the gradients of the inputs under a cotangent without a pattern, all where the inputs are.
fn values_and_gradients(case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let tape = Tape::new();
    let vars: Vec<Var> = inputs.iter().map(|x| tape.watch(x)).collect();
    let y = (case.f)(&vars)?;
    let mut seeds = Vec::new();
    for (i, y) in y.iter().enumerate().filter(|(_, y)| y.is_tracked()) {
        let seed = cases::numbers(y.tensor().shape(), 9).cast(y.tensor().dtype())?;
        seeds.push((i, Var::new(seed.to_device(y.tensor().device())?)));
    }
    let pairs: Vec<(&Var, &Var)> = seeds.iter().map(|(i, seed)| (&y[*i], seed)).collect();
    let wrt: Vec<&Var> = vars.iter().filter(|x| x.is_tracked()).collect();
    let dx = if pairs.is_empty() { vec![] } else { gradients(&pairs, &wrt, false)? };
    let all: Vec<Tensor> = y.into_iter().chain(dx.into_iter().flatten()).map(Var::into_tensor).collect();
    // What only values show is told when they are read.
    all.iter().map(|x| x.to_device(Device::Cpu)).collect()
}

/// The same elements on the device in a memory order of their own: axes reversed, and every second element of the last.
fn scattered(x: &Tensor) -> Result<Tensor> {
    let rank = x.rank() as isize;
    let reversed: Vec<isize> = (0..rank).rev().collect();
    let turned = x.permute(&reversed)?;
    let gaps = kiln_autograd::ops::stack(&[&turned, &turned], rank)?.to_device(device())?;
    gaps.index(rank, 0)?.permute(&reversed)
}
