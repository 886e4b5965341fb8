//! Causal attention `[batch, heads, time, features]`. Counted are the products of the queries with keys that they may see: half of all.

use super::row::{Family, Outcome, Work, by, gradients, normal};
use criterion::Criterion;
use kiln::prelude::*;

pub fn rows(c: &mut Criterion) {
    let mut family = Family::new(c, "attention");
    for shape @ [batch, heads, time, features] in [[16, 4, 128, 64], [1, 4, 2048, 64]] {
        let flops = 2 * batch * heads * time * time * features;
        family.row(format!("causal-{}", by(&shape)), Work::Flops(flops), || {
            let x = [(); 3].map(|()| normal(&shape));
            move || causal(&x)
        });
        family.row(format!("causal-gradients-{}", by(&shape)), Work::Flops(3 * flops), || {
            gradients(causal, [(); 3].map(|()| normal(&shape)).to_vec())
        });
    }
}

fn causal<V: Ops + AttentionOps>(x: &[V]) -> Outcome<V> {
    let options = AttentionOptions { causal: true, ..AttentionOptions::default() };
    x[0].scaled_dot_product_attention(&x[1], &x[2], &options)
}
