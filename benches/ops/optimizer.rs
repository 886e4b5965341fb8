//! Updates of parameters, each one pass over memory.

use super::row::{Family, Outcome, normal, passes};
use criterion::Criterion;
use kiln::nn::optimizers::{AdamW, IntoOptimizer, Optimizer, ParameterUpdate, SGD};

/// A name, how many numbers an update reads and writes for each parameter, and the optimizer.
type Rule = (&'static str, usize, fn() -> kiln::nn::Result<Optimizer>);

const RULES: &[Rule] = &[
    ("adam", 7, || "adam".into_optimizer()),
    ("adamw", 7, || AdamW::new(1e-3).into_optimizer()),
    ("sgd", 3, || "sgd".into_optimizer()),
    ("sgd-momentum", 5, || SGD::new(1e-3).momentum(0.9).into_optimizer()),
];

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "optimizer");
    for (size, n) in [("1e5", 100_000), ("1e7", 10_000_000)] {
        for &(name, moved, optimizer) in RULES {
            family.row(format!("{name}-{size}"), passes(moved, n), || update(optimizer, n));
        }
    }
}

fn update(optimizer: fn() -> kiln::nn::Result<Optimizer>, n: usize) -> impl FnMut() -> Outcome<()> {
    let mut optimizer = optimizer().expect("the settings are valid");
    let (gradient, mut value) = (normal(&[n]), normal(&[n]));
    move || {
        let update = ParameterUpdate { name: "w", value: &mut value, gradient: Some(gradient.clone()) };
        optimizer.apply(&mut [update]).expect("the gradient has the shape of its parameter");
        Ok(())
    }
}
