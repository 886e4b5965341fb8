//! A researcher's view: an activation function from one function, and an operation with a backward rule of its own.
//! Both work on tensors and on tapes, to any order of derivative, and are checked here against differences of values.
//!
//! Runs at once: `cargo run --release --example custom_op`. Expect four lines that end in "ok".

use kiln::prelude::*;
use kiln::tensor::Result;

/// `x · tanh(exp(x))`, the activation TanhExp (Liu and Di 2020). This is all there is to write: the SIMD kernel, the
/// derivative and the derivative's derivatives come from this one function.
#[derive(Debug, Clone, PartialEq)]
struct TanhExp;

impl Function<1> for TanhExp {
    const NAME: &'static str = "tanh_exp";
    #[inline(always)]
    fn call<S: Scalar>(&self, [x]: [S; 1]) -> [S; 1] {
        [x.clone() * x.exp().tanh()]
    }
}

/// The running sum along the last dimension: an operation whose elements depend on each other.
#[derive(Debug, Clone, PartialEq)]
struct CumulativeSum;

impl Op for CumulativeSum {
    fn name(&self) -> &str {
        "cumulative_sum"
    }

    /// Shapes and types, before anything is allocated; errors about shapes belong here.
    fn infer(&self, x: &[Spec]) -> Result<Specs> {
        Ok(x[0].into())
    }

    /// The kernel, compiled for each type of elements.
    fn cpu(&self, call: CpuCall<'_, Self>) -> Result<()> {
        let (x, y) = call.parts();
        with_element!(x[0].dtype(), T => running_sums::<T>(&x[0], &mut y[0]))
    }
}

/// Reads a strided view where it can and a copy where it must, and writes into memory that it is given. Sums are kept in
/// double precision and rounded once.
fn running_sums<T: Element>(x: &View<'_>, y: &mut ViewMut<'_>) -> Result<()> {
    let length = x.shape().last().copied().unwrap_or(1).max(1);
    let x = x.contiguous::<T>()?;
    for (x, y) in x.chunks(length).zip(y.slice::<T>()?.chunks_mut(length)) {
        let mut sum = 0.0;
        x.iter().zip(y).for_each(|(x, y)| {
            sum += x.to_f64();
            *y = T::from_f64(sum);
        });
    }
    Ok(())
}

impl Differentiable for CumulativeSum {
    /// Each input counts in every later output, so its gradient is the running sum from the end.
    fn vjp(&self, _x: &[Var], _y: &[Var], dy: &[Option<Var>], _need: &[bool]) -> Result<Vec<Option<Var>>> {
        let Some(dy) = &dy[0] else { return Ok(vec![None]) };
        let from_end = Var::apply_one(CumulativeSum, &[&dy.flip(-1)?])?.flip(-1)?;
        Ok(vec![Some(from_end)])
    }

    /// The rule reads no values, so none are kept for it.
    fn keeps(&self) -> Keep {
        Keep::NOTHING
    }
}

fn main() -> Result<()> {
    let x = Tensor::new([[0.3, -1.2, 2.0], [1.0, 0.0, -0.5]]);

    let [y] = Tensor::elementwise(TanhExp, [&x])?;
    println!("tanh_exp\n{y}");
    GradCheck::new().run(|x| Var::elementwise(TanhExp, [&x[0]]).map(|[y]| y), std::slice::from_ref(&x))?;
    println!("first and second derivative of tanh_exp: ok");

    let y = Tensor::apply_one(CumulativeSum, &[&x])?;
    println!("cumulative_sum\n{y}");
    GradCheck::new().run(|x| Var::apply_one(CumulativeSum, &[&x[0].square()?]), std::slice::from_ref(&x))?;
    println!("first and second derivative of cumulative_sum(x²): ok");

    // In a model: the gradient of a loss through both.
    let tape = Tape::new();
    let w = tape.watch(&x);
    let [h] = Var::elementwise(TanhExp, [&w])?;
    let loss = Var::apply_one(CumulativeSum, &[&h])?.square()?.mean(..)?;
    let gradient = loss.backward()?.get(&w)?;
    println!("loss {}, gradient\n{gradient}\ngradient through both: ok", loss.tensor());

    // A strided view goes in as it is.
    let t = Tensor::apply_one(CumulativeSum, &[&x.t()?])?;
    assert_eq!(t.to_vec::<f64>()?, [0.3, 1.3, -1.2, -1.2, 2.0, 1.5]);
    println!("cumulative_sum of a transposed view: ok");
    Ok(())
}
