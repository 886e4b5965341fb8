//! What an operation costs beside its arithmetic: of numbers of rank 0, of a thousand elements, and of a small model.

use super::row::{Family, Work, normal, passes, whole};
use criterion::Criterion;
use kiln::prelude::*;

/// Operations of the rows that have many.
const MANY: usize = 100;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "overhead");
    family.row("add-0d", Work::Flops(1), || {
        let (x, y) = (normal(&[]), normal(&[]));
        move || x.add(&y)
    });
    family.row("add-0d-recorded-100-times", Work::Flops(MANY), || {
        let (x, y) = (normal(&[]), Var::new(normal(&[])));
        move || {
            let tape = Tape::new();
            (0..MANY).try_fold(tape.watch(&x), |x, _| x.add(&y))
        }
    });
    family.row("add-0d-gradients-100-times", Work::Flops(2 * MANY), || {
        let (x, y) = (normal(&[]), Var::new(normal(&[])));
        move || grad(|x| (0..MANY).try_fold(x[0].clone(), |x, _| x.add(&y)), std::slice::from_ref(&x))
    });
    family.row("add-1000", passes(3, 1000), || {
        let (x, y) = (normal(&[1000]), normal(&[1000]));
        move || x.add(&y)
    });
    family.row("linear-gradients-32x784x10", Work::Flops(4 * 32 * 784 * 10), || {
        let (x, w) = (Var::new(normal(&[32, 784])), normal(&[784, 10]));
        let labels = Var::new(whole(32, 10));
        move || grad(|w| x.matmul(&w[0])?.cross_entropy(&labels)?.mean(..), std::slice::from_ref(&w))
    });
}
