//! Derivatives of functions: the tape is made, used and dropped inside.

use crate::backward::{gradients, single};
use crate::ops::{ArithmeticOps, ReduceOps, Value};
use crate::{Error, Result, Tape, Tensor, Var};
use std::panic::Location;

/// The arguments on a tape. One that has no gradient is a mistake: literals without a point are integers.
#[track_caller]
fn watch(op: &str, tape: &Tape, x: &[Tensor]) -> Result<Vec<Var>> {
    if let Some((i, x)) = x.iter().enumerate().find(|(_, x)| !x.dtype().is_float()) {
        let text =
            format!("argument {i} has elements of type {}, and only floating-point values have gradients", x.dtype());
        let help =
            "write 1.0 for 1, or cast it: x.cast(DType::F32); what has no gradient can be captured by the function";
        return Err(Error::dtype(op, text).help(help).at(Location::caller()));
    }
    Ok(x.iter().map(|x| tape.watch(x)).collect())
}

fn zeros_like(x: &Tensor) -> Tensor {
    Tensor::filled(x.spec(), 0.0)
}

fn tensors(gradients: Vec<Option<Var>>, like: &[Tensor]) -> Vec<Tensor> {
    gradients.into_iter().zip(like).map(|(g, x)| g.map_or_else(|| zeros_like(x), Var::into_tensor)).collect()
}

/// A function's value, a single number, and its gradient with respect to each argument.
///
/// ```
/// use kiln_autograd::{Tensor, ops::*, value_and_grad};
/// let (y, g) = value_and_grad(|x| x[0].square()?.sum(..), &[Tensor::new([1.0, 3.0])])?;
/// assert_eq!((y.item()?, g[0].to_vec::<f64>()?), (10.0, vec![2.0, 6.0]));
/// # Ok::<(), kiln_autograd::Error>(())
/// ```
///
/// # Errors
/// Those of `f`, a value that is no single number, and arguments of integers.
#[track_caller]
pub fn value_and_grad(f: impl Fn(&[Var]) -> Result<Var>, x: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
    with_gradient("value_and_grad", f, x)
}

#[track_caller]
fn with_gradient(op: &str, f: impl Fn(&[Var]) -> Result<Var>, x: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
    let at = Location::caller();
    let tape = Tape::new();
    let vars = watch(op, &tape, x)?;
    let y = f(&vars)?;
    single(op, &y).map_err(|e| e.at(at))?;
    if !y.is_tracked() {
        return Ok((y.into_tensor(), x.iter().map(zeros_like).collect()));
    }
    let all = y.backward()?;
    let gradients: Result<Vec<Tensor>> = vars.iter().map(|x| all.get(x)).collect();
    Ok((y.into_tensor(), gradients?))
}

/// The gradient of a function of a single number's value with respect to each argument.
///
/// # Errors
/// As [`value_and_grad`].
#[track_caller]
pub fn grad(f: impl Fn(&[Var]) -> Result<Var>, x: &[Tensor]) -> Result<Vec<Tensor>> {
    with_gradient("grad", f, x).map(|(_, gradients)| gradients)
}

/// A function's value, and the product of the cotangent `dy` (of the value's shape) with its Jacobian.
///
/// # Errors
/// Those of `f`, a cotangent of another shape than the value, and arguments of integers.
#[track_caller]
pub fn vjp(f: impl Fn(&[Var]) -> Result<Var>, x: &[Tensor], dy: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
    let tape = Tape::new();
    let vars = watch("vjp", &tape, x)?;
    let y = f(&vars)?;
    let dx = gradients(&[(&y, &Var::new(dy.clone()))], &vars.iter().collect::<Vec<_>>(), false)?;
    Ok((y.into_tensor(), tensors(dx, x)))
}

/// A function's value, and the product of its Jacobian with the tangent `dx` (one tensor for each argument): the
/// derivative along `dx`.
///
/// Computed as the derivative, with respect to `u`, of the linear map `u ↦ u · J`: two walks back make one forward.
///
/// # Errors
/// Those of `f`, tangents of other shapes than the arguments, and arguments of integers.
#[track_caller]
pub fn jvp(f: impl Fn(&[Var]) -> Result<Var>, x: &[Tensor], dx: &[Tensor]) -> Result<(Tensor, Tensor)> {
    check_directions("jvp", x, dx)?;
    let tape = Tape::new();
    let vars = watch("jvp", &tape, x)?;
    let y = f(&vars)?;
    let u = tape.watch(&zeros_like(y.tensor()));
    let products = gradients(&[(&y, &u)], &vars.iter().collect::<Vec<_>>(), true)?;
    let directions: Vec<Var> = dx.iter().map(|d| Var::new(d.clone())).collect();
    let pairs: Vec<(&Var, &Var)> =
        products.iter().zip(&directions).filter_map(|(p, d)| Some((p.as_ref()?, d))).collect();
    let tangent = gradients(&pairs, &[&u], false)?;
    let like = [zeros_like(y.tensor())];
    Ok((y.into_tensor(), tensors(tangent, &like).swap_remove(0)))
}

/// The gradient of a function, and the product of its second derivatives (the Hessian) with the direction `v`.
///
/// # Errors
/// As [`value_and_grad`], and directions of other shapes than the arguments.
#[track_caller]
pub fn hvp(f: impl Fn(&[Var]) -> Result<Var>, x: &[Tensor], v: &[Tensor]) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
    let at = Location::caller();
    check_directions("hvp", x, v)?;
    let tape = Tape::new();
    let vars = watch("hvp", &tape, x)?;
    let refs: Vec<&Var> = vars.iter().collect();
    let y = f(&vars)?;
    single("hvp", &y).map_err(|e| e.at(at))?;
    let one = Var::new(y.tensor().filled_like(1.0)?);
    let first = gradients(&[(&y, &one)], &refs, true)?;
    let mut along: Option<Var> = None;
    for (g, v) in first.iter().zip(v) {
        let Some(g) = g else { continue };
        let term = g.mul(&Var::new(v.clone()))?.sum(..)?;
        along = Some(match along {
            Some(sum) => sum.add(&term)?,
            None => term,
        });
    }
    let second = match along.filter(Var::is_tracked) {
        Some(along) => gradients(&[(&along, &Var::new(along.tensor().filled_like(1.0)?))], &refs, false)?,
        None => vec![None; x.len()],
    };
    Ok((tensors(first, x), tensors(second, x)))
}

#[track_caller]
fn check_directions(op: &str, x: &[Tensor], v: &[Tensor]) -> Result<()> {
    let fits = x.len() == v.len() && x.iter().zip(v).all(|(x, v)| Value::shape(x) == Value::shape(v));
    if fits {
        return Ok(());
    }
    let shapes = |t: &[Tensor]| t.iter().map(|t| t.shape().to_string()).collect::<Vec<_>>().join(", ");
    let text = format!("the directions have shapes {}, the arguments {}", shapes(v), shapes(x));
    Err(Error::shape(op, text).at(Location::caller()))
}
