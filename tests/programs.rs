//! Random programs, and what plans of any function promise: the bits of its operations one by one.

use kiln_autograd::ops::*;
use kiln_autograd::{DType, Key, Plan, Result, Tape, Tensor, Var, keep};

#[track_caller]
pub fn assert_same(planned: &[Tensor], eager: &[Tensor], what: &str) {
    assert_eq!(planned.len(), eager.len());
    for (i, (planned, eager)) in planned.iter().zip(eager).enumerate() {
        assert!(planned.same_bits(eager), "{what}, result {i}: {planned} planned, {eager} eager");
    }
}

/// Numbers stay numbers; the others get memory of their own.
fn copy(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 0 { Ok(x.clone()) } else { concat(&[x], 0) }
}

/// Runs `f` on `inputs` one by one and as a plan that was recorded on `example`, with the inputs borrowed, then given away.
#[track_caller]
pub fn agree(f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>, example: &[Tensor], inputs: &[Tensor], what: &str) -> Plan {
    let mut plan = Plan::of(&f, example).unwrap();
    let eager = f(inputs).unwrap();
    let borrowed: Vec<&Tensor> = inputs.iter().collect();
    assert_same(&plan.run(&borrowed).unwrap(), &eager, what);
    // The arena is full of old numbers now.
    assert_same(&plan.run(&borrowed).unwrap(), &eager, what);
    let mut own = inputs.iter().map(copy).collect::<Result<Vec<_>>>().unwrap();
    let of_own = f(&own).unwrap();
    plan.run_in_place(&mut own).unwrap();
    assert_same(&own, &of_own, what);
    plan
}

/// Random choices, one after the other.
pub struct Choices(Key, u64);

impl Choices {
    pub fn new(seed: u64) -> Choices {
        Choices(Key::new(seed), 0)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.1 += 1;
        self.0.below(self.1, bound as u64) as usize
    }

    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// A random program of `x`: as many operations as `length`, on matrices of one shape and what they broadcast with. It may
/// be run again, and makes the same choices.
fn program(seed: u64, length: usize, x: &[Var]) -> Result<Vec<Var>> {
    let mut choose = Choices::new(seed);
    let mut pool: Vec<Var> = x.to_vec();
    let shape = *x[0].shape();
    for _ in 0..length {
        let (a, b) = (choose.of(&pool).clone(), choose.of(&pool).clone());
        let whole = |v: &Var| v.add(&x[0].mul(0.0)?);
        let y = match choose.below(22) {
            0 => a.add(&b)?,
            1 => a.sub(&b)?,
            2 => a.mul(&b)?.tanh()?,
            3 => a.relu()?,
            4 => a.sigmoid()?.mul(2.5)?,
            5 => a.square()?.add(1.0)?.sqrt()?,
            6 => a.mean(keep(-1))?,
            7 => a.sum(keep(0))?.mul(0.1)?,
            8 => a.amax(keep(1))?,
            9 => whole(&a)?.softmax(-1)?,
            10 => whole(&a)?.log_softmax(0)?,
            11 => whole(&a)?.t()?.matmul(&whole(&b)?)?.sum(keep(..))?.mul(0.01)?,
            12 => whole(&a)?.matmul(&whole(&b)?.t()?)?.mean(keep(1))?,
            13 => {
                let mask = a.tensor().gt(b.tensor())?;
                Var::new(mask).select(&a, &b)?
            }
            14 => a.clamp(-0.5, 0.75)?,
            15 => whole(&a)?.flip(1)?,
            16 => {
                let half = (shape[0] / 2) as isize;
                let a = whole(&a)?;
                concat(&[&a.slice(0, half..)?, &a.slice(0, 0..half)?], 0)?
            }
            17 => whole(&a)?.cumsum(1)?.mul(0.2)?,
            18 => {
                let index = whole(&a)?.tensor().argmax(-1)?;
                whole(&b)?.gather(-1, &Var::new(index.unsqueeze(-1)?))?
            }
            19 => a.detach().abs()?.maximum(&b)?,
            20 => a.cast(DType::F64)?.exp()?.reciprocal()?.cast(DType::F32)?,
            _ => a.std(keep(..), 1.0)?.add(&b)?,
        };
        pool.push(y);
    }
    Ok(pool.split_off(x.len()))
}

/// The last values of a random program, and the gradients of their sum.
pub fn with_gradients(seed: u64, length: usize, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let tape = Tape::new();
    let x: Vec<Var> = x.iter().map(|x| tape.watch(x)).collect();
    let y = program(seed, length, &x)?;
    let (mut results, mut total) = (Vec::new(), x[0].sum(..)?);
    for y in y.iter().rev().take(3) {
        total = total.add(&y.mean(..)?)?;
        results.push(y.tensor().clone());
    }
    let gradients = total.backward()?;
    for x in &x {
        results.push(gradients.get(x)?);
    }
    Ok(results)
}
