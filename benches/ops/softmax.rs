//! Softmax, its logarithm, and the loss of classes.

use super::row::{Family, by, gradients, normal, passes, whole};
use criterion::Criterion;
use kiln::prelude::*;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "softmax");
    for (which, axis, shape) in
        [("last", 1, [4096, 1024]), ("first", 0, [1024, 1024]), ("last", 1, [1024, 10]), ("last", 1, [32, 10])]
    {
        family.row(format!("softmax-{which}-{}", by(&shape)), passes(2, shape[0] * shape[1]), || {
            let x = normal(&shape);
            move || x.softmax(axis)
        });
    }
    family.row("softmax-transposed-1024x1024", passes(2, 1 << 20), || {
        let x = normal(&[1024, 1024]);
        move || x.t()?.softmax(1)
    });
    let shape = [4096, 1024];
    let n = shape[0] * shape[1];
    family
        .row("softmax-gradients-last-4096x1024", passes(5, n), || gradients(|x| x[0].softmax(1), vec![normal(&shape)]));
    family.row("log_softmax-last-4096x1024", passes(2, n), || {
        let x = normal(&shape);
        move || x.log_softmax(1)
    });
    family.row("log_softmax-gradients-last-4096x1024", passes(5, n), || {
        gradients(|x| x[0].log_softmax(1), vec![normal(&shape)])
    });
    for shape in [[4096, 1024], [1024, 10]] {
        let n = shape[0] * shape[1];
        family.row(format!("cross_entropy-{}", by(&shape)), passes(1, n), || {
            let (x, labels) = (normal(&shape), whole(shape[0], shape[1] as u64));
            move || x.cross_entropy(&labels)
        });
        family.row(format!("cross_entropy-gradients-{}", by(&shape)), passes(3, n), || {
            let labels = Var::new(whole(shape[0], shape[1] as u64));
            gradients(move |x| x[0].cross_entropy(&labels)?.mean(..), vec![normal(&shape)])
        });
    }
}
