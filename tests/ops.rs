//! Every case of `cases/` through every check: values against the reference in each floating-point type, strided
//! inputs, each instruction set, each number of threads, derivatives against differences.

use crate::cases::{self, Array, Case, Check, compare, precision, with_dtype};
use kiln_autograd::ops::{CastOps, ViewOps};
use kiln_autograd::{DType, GradCheck, Result, Tape, Tensor, Var, gradients};
use kiln_autograd::{Isa, with_isa};

#[test]
fn elementwise() {
    check_all(cases::elementwise::all());
}

#[test]
fn random() {
    check_all(cases::random::all());
}

#[test]
fn reduce() {
    check_all(cases::reduce::all());
}

#[test]
fn views() {
    check_all(cases::views::all());
    check_all(cases::cast::all());
    check_all(cases::concat::all());
}

#[test]
fn rearrange() {
    check_all(cases::diagonal::all());
    check_all(cases::padding::all());
    check_all(cases::rearrange::all());
}

#[test]
fn matmul() {
    check_all(cases::matmul::all().into_iter().map(Case::fused).collect());
}

#[test]
fn einsum() {
    check_all(cases::einsum::all().into_iter().map(Case::fused).collect());
}

#[test]
fn resize() {
    check_all(cases::resize::all());
}

#[test]
fn softmax() {
    check_all(cases::softmax::all());
    check_all(cases::cross_entropy::all());
}

#[test]
fn sort() {
    check_all(cases::sort::all());
    check_all(cases::scan::all());
    check_all(cases::search::all());
}

#[test]
fn order() {
    check_all(cases::order::all());
}

#[test]
fn gather() {
    check_all(cases::gather::all());
}

#[test]
fn linalg() {
    check_all(cases::linalg::all());
}

#[test]
fn composed() {
    check_all(cases::attention::all());
    check_all(cases::columns::all());
    check_all(cases::losses::all());
    check_all(cases::normalization::all());
    check_all(cases::products::all());
    check_all(cases::sampling::all());
}

#[test]
fn index() {
    check_all(cases::index::all());
    check_all(cases::embedding::all());
}

#[test]
fn conv() {
    check_all(cases::conv::all().into_iter().map(Case::fused).collect());
}

#[test]
fn recurrent() {
    check_all(cases::recurrent::all().into_iter().map(Case::fused).collect());
}

#[test]
fn pool() {
    check_all(cases::pool::all());
}

fn check_all(cases: Vec<Case>) {
    let failures: Vec<String> = cases.iter().flat_map(|case| check_op(case).err()).collect();
    assert!(failures.is_empty(), "{} of {} cases fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn check_op(case: &Case) -> Check {
    let checks: [fn(&Case) -> Check; 6] = [reference, large, strided, instruction_sets, threads, derivatives];
    let failed: Vec<String> = checks.iter().filter_map(|check| check(case).err()).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("  {}: {}", case.name, failed.join("; "))) }
}

fn values(case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let vars: Vec<Var> = inputs.iter().cloned().map(Var::new).collect();
    let y = (case.f)(&vars).map_err(|e| e.to_string())?;
    Ok(y.into_iter().map(Var::into_tensor).collect())
}

/// The results, and the gradients of the inputs under a cotangent without a pattern.
fn values_and_gradients(case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let differentiate = || -> Result<Vec<Tensor>> {
        let tape = Tape::new();
        let vars: Vec<Var> = inputs.iter().map(|x| tape.watch(x)).collect();
        let y = (case.f)(&vars)?;
        let seeds: Vec<(usize, Var)> = y
            .iter()
            .enumerate()
            .filter(|(_, y)| y.is_tracked())
            .map(|(i, y)| Ok((i, Var::new(cases::numbers(y.tensor().shape(), 9).cast(y.tensor().dtype())?))))
            .collect::<Result<_>>()?;
        let pairs: Vec<(&Var, &Var)> = seeds.iter().map(|(i, seed)| (&y[*i], seed)).collect();
        let wrt: Vec<&Var> = vars.iter().filter(|x| x.is_tracked()).collect();
        let dx = if pairs.is_empty() { vec![] } else { gradients(&pairs, &wrt, false)? };
        Ok(y.into_iter().chain(dx.into_iter().flatten()).map(Var::into_tensor).collect())
    };
    differentiate().map_err(|e| e.to_string())
}

fn reference(case: &Case) -> Check {
    let types = if case.narrow { &[DType::F64, DType::F32, DType::F16, DType::BF16][..] } else { &[DType::F64] };
    types.iter().try_for_each(|&dtype| against_reference(case, &case.inputs, dtype, case.slack))
}

/// Inputs that threads share the work on, in the type in which that happens most. Long sums meet more roundings.
fn large(case: &Case) -> Check {
    let Some(large) = &case.large else { return Ok(()) };
    if case.reference.is_none() {
        return Err("large: there is no reference".to_owned());
    }
    let dtype = if case.narrow { DType::F32 } else { DType::F64 };
    against_reference(case, large, dtype, 16.0 * case.slack).map_err(|e| format!("large: {e}"))
}

fn against_reference(case: &Case, inputs: &[Tensor], dtype: DType, slack: f64) -> Check {
    let Some(reference) = &case.reference else { return Ok(()) };
    let inputs = with_dtype(inputs, dtype);
    // The reference starts from the rounded inputs, so that only the computation's own error is seen.
    let want = reference(&inputs.iter().map(Array::of).collect::<Vec<_>>());
    let got = values(case, &inputs)?;
    if got.len() != want.len() {
        return Err(format!("{} results, expected {}", got.len(), want.len()));
    }
    for (got, want) in got.iter().zip(&want) {
        let float = got.dtype().is_float();
        if float && got.dtype() != dtype && case.inputs.iter().any(|x| x.dtype().is_float()) {
            return Err(format!("from {dtype} came {}", got.dtype()));
        }
        let tolerance = if float { slack * precision(got.dtype()) } else { 0.0 };
        compare(&format!("{dtype}"), got, want, tolerance)?;
    }
    Ok(())
}

/// The same elements in a memory order of their own: axes reversed, and every second element of the last.
fn scattered(x: &Tensor) -> Tensor {
    let rank = x.rank() as isize;
    if rank == 0 {
        // A scalar has no strides, but it can have an offset.
        return kiln_autograd::ops::stack(&[x, x], 0).unwrap().index(0, 1).unwrap();
    }
    let reversed: Vec<isize> = (0..rank).rev().collect();
    let dense = x.permute(&reversed).unwrap().reshape([x.count()]).unwrap();
    let gaps = kiln_autograd::ops::stack(&[&dense, &dense], 1).unwrap().reshape([2 * x.count()]).unwrap();
    let strided = gaps.stride(0, kiln_autograd::ops::Stride { start: 0, length: x.count(), step: 2 }).unwrap();
    let mut dims = x.shape().to_vec();
    dims.reverse();
    strided.reshape(dims).unwrap().permute(&reversed).unwrap()
}

fn strided(case: &Case) -> Check {
    let inputs: Vec<Tensor> = case.inputs.iter().map(scattered).collect();
    let (got, want) = (values_and_gradients(case, &inputs)?, values_and_gradients(case, &case.inputs)?);
    for (got, want) in got.iter().zip(&want) {
        compare("strided", got, &Array::of(want), 1e-12)?;
    }
    Ok(())
}

/// The same bits from each, but for products of matrices: an instruction set may add them up in one rounding or in two.
fn instruction_sets(case: &Case) -> Check {
    for dtype in [DType::F64, DType::F32] {
        if dtype == DType::F32 && !case.narrow {
            continue;
        }
        let inputs = with_dtype(&case.inputs, dtype);
        let want = with_isa(Isa::Avx512, || values_and_gradients(case, &inputs))?;
        for isa in [Isa::Baseline, Isa::Avx2] {
            let got = with_isa(isa, || values_and_gradients(case, &inputs))?;
            for (got, want) in got.iter().zip(&want) {
                if case.fused {
                    compare(&format!("{isa:?} {dtype}"), got, &Array::of(want), 16.0 * case.slack * precision(dtype))?;
                } else if !same_numbers(got, want) {
                    return Err(format!("{isa:?} {dtype} gives other bits: {got} and {want}"));
                }
            }
        }
    }
    Ok(())
}

/// Whether two tensors have the same bits, whatever those of a NaN.
fn same_numbers(a: &Tensor, b: &Tensor) -> bool {
    let pairs = || a.to_vec_as::<f64>().into_iter().zip(b.to_vec_as::<f64>());
    a.spec() == b.spec() && pairs().all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

fn threads(case: &Case) -> Check {
    let Some(large) = &case.large else { return Ok(()) };
    for dtype in [DType::F32, DType::F64] {
        let inputs = with_dtype(large, dtype);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| values_and_gradients(case, &inputs))
        };
        let alone = run(1)?;
        for count in [2, 3, 7] {
            let same = run(count)?.iter().zip(&alone).all(|(a, b)| a.same_bits(b));
            if !same {
                return Err(format!("{count} threads give other bits than one, in {dtype}"));
            }
        }
    }
    Ok(())
}

fn derivatives(case: &Case) -> Check {
    if !case.gradients {
        return Ok(());
    }
    // Several results are checked as one: their sums, each with its own weight.
    let joined = |x: &[Var]| -> Result<Var> {
        use kiln_autograd::ops::{ArithmeticOps, ReduceOps};
        let y = (case.f)(x)?;
        if let [y] = &y[..] {
            return Ok(y.clone());
        }
        let mut total = Var::new(Tensor::scalar(0.0, DType::F64));
        for (i, y) in y.iter().filter(|y| y.tensor().dtype().is_float()).enumerate() {
            let weights = Var::new(cases::numbers(y.tensor().shape(), 20 + i as u64));
            total = total.add(&y.mul(&weights)?.sum(..)?)?;
        }
        Ok(total)
    };
    GradCheck::new().run(joined, &case.inputs).map_err(|e| e.to_string())
}
