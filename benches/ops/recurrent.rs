//! A recurrent layer over `[batch, time, units]`.

use super::row::{Family, Work, gradients, normal};
use criterion::Criterion;
use kiln::prelude::*;

const BATCH: usize = 64;
const TIME: usize = 64;
const UNITS: usize = 128;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "recurrent");
    let product = 2 * BATCH * TIME * UNITS * 4 * UNITS;
    let zeros = || Tensor::zeros([BATCH, UNITS]).expect("32 KB");
    // Input, kernel, and the kernel of what went before.
    let operands = || vec![normal(&[BATCH, TIME, UNITS]), normal(&[UNITS, 4 * UNITS]), normal(&[UNITS, 4 * UNITS])];
    family.row("lstm-of-64x64x128", Work::Flops(product), || {
        let (x, zeros) = (operands(), zeros());
        let gates = x[0].matmul(&x[1]).expect("the shapes fit");
        move || Ok(gates.lstm(&x[2], &zeros, &zeros, None)?.0)
    });
    family.row("lstm-64x64x128", Work::Flops(2 * product), || {
        let (x, zeros) = (operands(), zeros());
        move || Ok(x[0].matmul(&x[1])?.lstm(&x[2], &zeros, &zeros, None)?.0)
    });
    family.row("lstm-gradients-64x64x128", Work::Flops(6 * product), || {
        let zeros = Var::new(zeros());
        gradients(move |x| Ok(x[0].matmul(&x[1])?.lstm(&x[2], &zeros, &zeros, None)?.0), operands())
    });
}
