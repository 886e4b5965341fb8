//! Small runs whose instructions are counted (`cargo xtask bench --instructions`), for what noise would hide: the cost of a call, a loop
//! that is no longer vectorized, a copy too many. Waiting for memory is not counted: what takes more instructions need not take longer.

use kiln::prelude::*;
use std::hint::black_box;

type Outcome<T = Tensor> = kiln::tensor::Result<T>;

/// A row: something to run again and again.
type Run = Box<dyn FnMut()>;

/// A name, and what makes the row.
const ROWS: &[(&str, fn() -> Run)] = &[
    ("add-0d", || {
        let (x, y) = (normal(&[]), normal(&[]));
        run(move || x.add(&y))
    }),
    ("add-0d-recorded-100-times", || {
        let (x, y) = (normal(&[]), Var::new(normal(&[])));
        run(move || {
            let tape = Tape::new();
            (0..100).try_fold(tape.watch(&x), |x, _| x.add(&y))
        })
    }),
    ("add-4096", || {
        let (x, y) = (normal(&[4096]), normal(&[4096]));
        run(move || x.add(&y))
    }),
    ("add-row-64x64", || {
        let (x, y) = (normal(&[64, 64]), normal(&[64]));
        run(move || x.add(&y))
    }),
    ("add-transposed-64x64", || {
        let (x, y) = (normal(&[64, 64]), normal(&[64, 64]));
        run(move || x.add(&y.t()?))
    }),
    ("exp-4096", || {
        let x = normal(&[4096]);
        run(move || x.exp())
    }),
    ("gelu-4096", || {
        let x = normal(&[4096]);
        run(move || x.gelu())
    }),
    ("gelu-gradients-4096", || gradients(|x| x[0].gelu(), &[&[4096]])),
    ("sum-last-64x64", || {
        let x = normal(&[64, 64]);
        run(move || x.sum(1))
    }),
    ("sum-first-64x64", || {
        let x = normal(&[64, 64]);
        run(move || x.sum(0))
    }),
    ("argmax-last-64x64", || {
        let x = normal(&[64, 64]);
        run(move || x.argmax(1))
    }),
    ("softmax-last-64x64", || {
        let x = normal(&[64, 64]);
        run(move || x.softmax(1))
    }),
    ("softmax-gradients-last-64x64", || gradients(|x| x[0].softmax(1), &[&[64, 64]])),
    ("layer_norm-64x64", || {
        let x = normal(&[64, 64]);
        run(move || x.layer_norm(&[64], None, None, 1e-5))
    }),
    ("transpose-copy-64x64", || {
        let x = normal(&[64, 64]);
        run(move || x.t()?.reshape([4096]))
    }),
    ("sort-1024", || {
        let x = normal(&[1024]);
        run(move || x.sort(0, false))
    }),
    ("matmul-64x64x64", || {
        let (x, y) = (normal(&[64, 64]), normal(&[64, 64]));
        run(move || x.matmul(&y))
    }),
    ("matmul-gradients-32x100x10", || gradients(|x| x[0].matmul(&x[1]), &[&[32, 100], &[100, 10]])),
    ("conv2d-2x16x16x8-16", || {
        let (x, w) = (normal(&[2, 16, 16, 8]), normal(&[3, 3, 8, 16]));
        run(move || x.conv2d(&w, &Conv2dOptions::new()))
    }),
    ("conv2d-gradients-2x16x16x8-16", || {
        gradients(|x| x[0].conv2d(&x[1], &Conv2dOptions::new()), &[&[2, 16, 16, 8], &[3, 3, 8, 16]])
    }),
    ("max_pool2d-2x16x16x8", || {
        let x = normal(&[2, 16, 16, 8]);
        run(move || x.max_pool2d(&Pool2dOptions::new([2, 2])))
    }),
    ("train_on_batch-dense-32x20", || {
        let mut model = Sequential::new([20])
            .add(Dense::new(32).activation("relu"))
            .add(Dense::new(3).activation("softmax"))
            .compile("adam", "sparse_categorical_crossentropy", ())
            .expect("the model is valid");
        let labels = Tensor::from_vec((0..32).map(|i| i % 3).collect::<Vec<i64>>(), [32]).expect("32 labels");
        let x = normal(&[32, 20]);
        Box::new(move || {
            black_box(model.train_on_batch(&x, &labels).expect("the batch fits"));
        })
    }),
];

/// Runs that make what is kept: recycled memory, a plan of the step.
const WARM: usize = 4;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list", filter] => ROWS.iter().filter(|row| row.0.contains(filter)).for_each(|row| println!("{}", row.0)),
        ["--run", name] => {
            let row = ROWS.iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("no row is named {name}"));
            let mut f = row.1();
            (0..WARM).for_each(|_| f());
            counted_by_callgrind(&mut f);
        }
        // As cargo has benchmarks tried: each once.
        ref arguments if arguments.contains(&"--test") => ROWS.iter().for_each(|row| row.1()()),
        _ => println!("instructions: counted by `cargo xtask bench --instructions`"),
    }
}

/// What Valgrind counts in: it knows the function by its name.
#[inline(never)]
fn counted_by_callgrind(f: &mut Run) {
    black_box(f)();
}

fn run<T>(mut f: impl FnMut() -> Outcome<T> + 'static) -> Run {
    Box::new(move || {
        black_box(f().expect("the operands of this row fit"));
    })
}

/// Forward, and backward with a gradient of the result that is given.
fn gradients(f: impl Fn(&[Var]) -> Outcome<Var> + 'static, shapes: &[&[usize]]) -> Run {
    let x: Vec<Tensor> = shapes.iter().map(|shape| normal(shape)).collect();
    let constants: Vec<Var> = x.iter().cloned().map(Var::new).collect();
    let dy = normal(f(&constants).expect("the operands of this row fit").shape());
    run(move || vjp(&f, &x, &dy))
}

fn normal(shape: &[usize]) -> Tensor {
    Key::new(1).normal(shape, 0.0, 1.0).expect("the shapes of this file fit into memory")
}
