//! Operations at sizes that training uses, for tracking with criterion: `cargo bench --bench ops [-- FILTER]`. Of products of matrices
//! an "element" is an addition or a multiplication: what criterion calls Gelem/s are GFLOP/s there.

mod limit;

use criterion::{Criterion, Throughput, criterion_group};
use kiln::nn::optimizers::{IntoOptimizer, ParameterUpdate};
use kiln::prelude::*;
use std::cell::Cell;
use std::hint::black_box;

type Outcome = kiln::tensor::Result<Tensor>;

fn normal(shape: &[usize]) -> Tensor {
    Key::new(1).normal(shape, 0.0, 1.0).expect("the shapes of this file fit into memory")
}

/// Measures `f` and reports elements per second.
fn measure(c: &mut Criterion, name: &str, elements: usize, f: impl Fn() -> Outcome) {
    let mut group = c.benchmark_group(name.split(' ').next().unwrap_or(name).to_owned());
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function(name, |b| b.iter(|| black_box(f().expect("the operands of this file fit"))));
    group.finish();
}

fn elementwise(c: &mut Criterion) {
    let (x, y) = (normal(&[1 << 20]), normal(&[1 << 20]));
    let row = normal(&[1024]);
    let matrix = normal(&[1024, 1024]);
    measure(c, "add 1M", 1 << 20, || x.add(&y));
    measure(c, "add row 1024x1024", 1 << 20, || matrix.add(&row));
    let (image, channels) = (normal(&[32, 30, 30, 16]), normal(&[16]));
    measure(c, "add channels 32x30x30x16", 32 * 900 * 16, || image.add(&channels));
    measure(c, "add transposed 1024x1024", 1 << 20, || matrix.add(&matrix.t()?));
    measure(c, "exp 1M", 1 << 20, || x.exp());
    measure(c, "tanh 1M", 1 << 20, || x.tanh());
    measure(c, "gelu 1M", 1 << 20, || x.gelu());
    measure(c, "gelu_tanh 1M", 1 << 20, || x.gelu_tanh());
    measure(c, "relu 1M", 1 << 20, || x.relu());
}

fn reductions(c: &mut Criterion) {
    let x = normal(&[1024, 1024]);
    measure(c, "sum all 1024x1024", 1 << 20, || x.sum(..));
    measure(c, "sum rows 1024x1024", 1 << 20, || x.sum(1));
    measure(c, "sum columns 1024x1024", 1 << 20, || x.sum(0));
    measure(c, "softmax 1024x1024", 1 << 20, || x.softmax(-1));
    measure(c, "argmax 1024x1024", 1 << 20, || x.argmax(-1));
    let logits = normal(&[1024, 10]);
    let labels = Tensor::from_vec((0..1024).map(|i| i % 10).collect::<Vec<i64>>(), [1024]).expect("1024 labels");
    measure(c, "softmax 1024x10", 10240, || logits.softmax(-1));
    measure(c, "argmax 1024x10", 10240, || logits.argmax(-1));
    measure(c, "cross_entropy 1024x10", 10240, || logits.cross_entropy(&labels));
}

fn indexing(c: &mut Criterion) {
    // More than any cache holds, as a data set is.
    let (data, key) = (Tensor::zeros([60_000, 784]).expect("190 MB"), Key::new(2));
    let batches: Vec<Tensor> = (0..256)
        .map(|batch| (0..32).map(|i| key.below(32 * batch + i, 60_000) as i64).collect::<Vec<_>>())
        .map(|indices| Tensor::from_vec(indices, [32]).expect("32 indices"))
        .collect();
    let next = Cell::new(0);
    measure(c, "index_select 32 of 60000x784", 32 * 784, || {
        next.set((next.get() + 1) % batches.len());
        data.index_select(0, &batches[next.get()])
    });
}

fn products(c: &mut Criterion) {
    for [m, k, n] in [[32, 784, 128], [32, 128, 10], [256, 256, 256], [1024, 1024, 1024]] {
        let (a, b) = (normal(&[m, k]), normal(&[k, n]));
        measure(c, &format!("matmul {m}x{k}x{n}"), 2 * m * k * n, || a.matmul(&b));
    }
    for (input, weights) in
        [([32, 32, 32, 3], [3, 3, 3, 16]), ([32, 15, 15, 16], [3, 3, 16, 32]), ([32, 28, 28, 64], [3, 3, 64, 64])]
    {
        let (x, w) = (normal(&input), normal(&weights));
        measure(c, &format!("conv2d {input:?} {weights:?}"), x.count(), || x.conv2d(&w, &Conv2dOptions::new()));
    }
    let x = normal(&[32, 30, 30, 16]);
    measure(c, "max_pool2d 32x30x30x16", x.count(), || x.max_pool2d(&Pool2dOptions::new([2, 2])));
}

fn attention(c: &mut Criterion) {
    for [batch, heads, time] in [[16, 4, 128], [1, 4, 2048]] {
        let x = [1, 2, 3].map(|_| normal(&[batch, heads, time, 64]));
        let size = format!("{batch}x{heads}x{time}x64");
        measure(c, &format!("causal attention {size}"), x[0].count(), || {
            let options = AttentionOptions { causal: true, ..AttentionOptions::default() };
            x[0].scaled_dot_product_attention(&x[1], &x[2], &options)
        });
        c.bench_function(&format!("causal attention with gradients {size}"), |b| {
            b.iter(|| {
                let loss = |v: &[Var]| {
                    let options = AttentionOptions { causal: true, ..AttentionOptions::default() };
                    v[0].scaled_dot_product_attention(&v[1], &v[2], &options)?.sum(..)
                };
                black_box(grad(loss, &x).expect("the shapes fit"))
            });
        });
    }
}

fn recurrent(c: &mut Criterion) {
    let [batch, time, units] = [64, 64, 128];
    let x = normal(&[batch, time, units]);
    let (kernel, own) = (normal(&[units, 4 * units]), normal(&[units, 4 * units]));
    let zeros = Tensor::zeros([batch, units]).expect("32 KB");
    let gates = x.matmul(&kernel).expect("the shapes fit");
    measure(c, "lstm of 64x64x128", batch * time * units, || Ok(gates.lstm(&own, &zeros, &zeros, None)?.0));
    measure(c, "lstm with its inputs 64x64x128", batch * time * units, || {
        Ok(x.matmul(&kernel)?.lstm(&own, &zeros, &zeros, None)?.0)
    });
    let first = Var::new(zeros.clone());
    c.bench_function("lstm with its inputs and gradients 64x64x128", |b| {
        b.iter(|| {
            let loss = |v: &[Var]| v[0].matmul(&v[1])?.lstm(&v[2], &first, &first, None)?.0.sum(..);
            black_box(grad(loss, &[x.clone(), kernel.clone(), own.clone()]).expect("the shapes fit"))
        });
    });
}

fn training(c: &mut Criterion) {
    let gradient = normal(&[784, 128]);
    let mut value = normal(&[784, 128]);
    let mut adam = "adam".into_optimizer().expect("adam is a known optimizer");
    c.bench_function("adam 100k", |b| {
        b.iter(|| {
            let update = ParameterUpdate { name: "w", value: &mut value, gradient: Some(gradient.clone()) };
            adam.apply(&mut [update]).expect("the gradient has the shape of its parameter");
        });
    });
    let (x, w) = (normal(&[32, 784]), normal(&[784, 10]));
    let labels = Tensor::from_vec((0..32).map(|i| i % 10).collect::<Vec<i64>>(), [32]).expect("32 labels");
    c.bench_function("gradient of a linear classifier 32x784x10", |b| {
        b.iter(|| {
            let loss =
                |v: &[Var]| Var::new(x.clone()).matmul(&v[0])?.cross_entropy(&Var::new(labels.clone()))?.mean(..);
            black_box(grad(loss, std::slice::from_ref(&w)).expect("the shapes fit"))
        });
    });
}

criterion_group!(benches, elementwise, reductions, indexing, products, attention, recurrent, training);

fn main() {
    limit::limited(benches);
    Criterion::default().configure_from_args().final_summary();
}
