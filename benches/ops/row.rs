//! A row of the table: what is measured, under which name, and how much work it is.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use kiln::prelude::*;
use std::hint::black_box;

/// What the kernels of this folder give.
pub type Outcome<T = Tensor> = kiln::tensor::Result<T>;

/// The work of one run, by which a row is a share of what the machine can.
#[derive(Clone, Copy)]
pub enum Work {
    /// Additions and multiplications: criterion's "Gelem/s" are GFLOP/s.
    Flops(usize),
    /// Bytes that have to be read and written at least, each operand and result once. In rows with gradients that is so of both ways.
    Bytes(usize),
}

/// Bytes of so many passes over `n` numbers of single precision.
pub fn passes(passes: usize, n: usize) -> Work {
    Work::Bytes(4 * passes * n)
}

/// Rows of one family.
pub struct Family<'a>(BenchmarkGroup<'a, WallTime>);

impl<'a> Family<'a> {
    pub fn new(c: &'a mut Criterion, name: &str) -> Self {
        Self(c.benchmark_group(name))
    }

    /// Measures what `make` gives. Operands are made in `make`, which is called only if the row is wanted.
    pub fn row<T, F: FnMut() -> Outcome<T>>(&mut self, name: impl Into<String>, work: Work, make: impl FnOnce() -> F) {
        self.0.throughput(match work {
            Work::Flops(n) => Throughput::Elements(n as u64),
            Work::Bytes(n) => Throughput::BytesDecimal(n as u64),
        });
        let (mut make, mut made) = (Some(make), None);
        self.0.bench_function(name.into(), |b| {
            if let Some(make) = make.take() {
                made = Some(make());
            }
            let f = made.as_mut().expect("made above");
            b.iter(|| black_box(f().expect("the operands of this row fit")));
        });
    }
}

/// Normal numbers, the same ones each time.
pub fn normal(shape: &[usize]) -> Tensor {
    Key::new(1).normal(shape, 0.0, 1.0).expect("the shapes of this folder fit into memory")
}

/// `n` whole numbers below `most`.
pub fn whole(n: usize, most: u64) -> Tensor {
    let key = Key::new(2);
    let numbers: Vec<i64> = (0..n as u64).map(|i| key.below(i, most) as i64).collect();
    Tensor::from_vec(numbers, [n]).expect("as many numbers as the shape has")
}

/// Runs `f` forward, and backward with a gradient of the result that is given: what a layer in the middle of a model does.
pub fn gradients(f: impl Fn(&[Var]) -> Outcome<Var>, x: Vec<Tensor>) -> impl FnMut() -> Outcome<Vec<Tensor>> {
    let constants: Vec<Var> = x.iter().cloned().map(Var::new).collect();
    let dy = normal(f(&constants).expect("the operands of this row fit").shape());
    move || Ok(vjp(&f, &x, &dy)?.1)
}

/// A shape as names have it: `32x784`.
pub fn by(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
