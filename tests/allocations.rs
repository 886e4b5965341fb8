//! A plan that is run again allocates nothing: counted by the allocator, in a program of its own.

use kiln::nn::losses::IntoLoss;
use kiln::nn::optimizers::{IntoOptimizer, ParameterUpdate};
use kiln::nn::{IntoModule, Module, Pass, Sequential};
use kiln::prelude::*;
use kiln::tensor::{Plan, Trace};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
/// Whether each is shown with where it came from: SHOW_ALLOCATIONS=1.
static SHOWS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::Relaxed) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
            if SHOWS.load(Ordering::Relaxed) {
                COUNTS.store(false, Ordering::Relaxed);
                eprintln!("{}", std::backtrace::Backtrace::force_capture());
                COUNTS.store(true, Ordering::Relaxed);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of a run of `plan`, which takes `batch`, `state` and `numbers` and gives a loss and the next state.
fn allocations(plan: &mut Plan, batch: &[Tensor], state: Vec<Tensor>, numbers: &[f64]) -> Result<usize> {
    let (mut tensors, mut state) = (Vec::new(), state);
    let mut run = || -> kiln::tensor::Result<()> {
        tensors.extend(batch.iter().cloned());
        tensors.append(&mut state);
        tensors.extend(numbers.iter().map(|&number| Tensor::number(number)));
        plan.run_in_place(&mut tensors)?;
        state.extend(tensors.drain(1..));
        tensors.clear();
        Ok(())
    };
    // Lists and buffers grow to what is needed.
    for _ in 0..50 {
        run()?;
    }
    ALLOCATIONS.store(0, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    let outcome = run();
    COUNTS.store(false, Ordering::Relaxed);
    outcome?;
    Ok(ALLOCATIONS.load(Ordering::Relaxed))
}

/// A step of training with Adam, of a classifier that ends in logits.
fn of_classifier(layers: Sequential, x: &Tensor, classes: usize) -> Result<usize> {
    let (mut module, mut optimizer) = (layers.into_module()?, "adam".into_optimizer()?);
    let loss = "sparse_categorical_crossentropy".into_loss()?.with_logits().expect("this loss can start from logits");
    let labels = (0..x.shape()[0]).map(|i| (i % classes) as i64).collect::<Vec<_>>();
    let batch = [x.clone(), Tensor::from_vec(labels, [x.shape()[0]])?];
    let names: Vec<String> = kiln::nn::module::named_parameters(&module).into_iter().map(|(name, _)| name).collect();
    let mut plan = None;
    // The first step makes the optimizer's slots, the second is recorded.
    for trace in [None, Some(Trace::new())] {
        let mut batch = batch.clone();
        if let Some(trace) = &trace {
            let mut add = |x: &mut Tensor| trace.input(x).map(|input| *x = input).expect("there is memory");
            batch.iter_mut().for_each(&mut add);
            module.parameters_mut(&mut |_, parameter| add(&mut parameter.tensor));
            optimizer.visit(&mut |_, _, slot| {
                add(slot);
                Ok(())
            })?;
        }
        let mut pass = Pass::training(Key::new(1));
        let [x, y] = batch.map(Var::new);
        let loss = loss.call(&y, &module.forward(&x, &mut pass)?, None)?;
        let mut gradients = pass.finish(&loss, &mut module)?.into_iter();
        let mut results = vec![loss.into_tensor()];
        let (mut updates, mut names) = (Vec::new(), names.iter());
        module.parameters_mut(&mut |_, parameter| {
            let (name, gradient) = (names.next().expect("a name for each"), gradients.next().flatten());
            updates.push(ParameterUpdate { name, value: &mut parameter.tensor, gradient });
        });
        let Some(trace) = trace else {
            optimizer.apply(&mut updates)?;
            continue;
        };
        optimizer.record(&mut updates, 1.0, &trace)?;
        module.parameters_mut(&mut |_, parameter| results.push(parameter.tensor.clone()));
        optimizer.visit(&mut |_, _, slot| {
            results.push(slot.clone());
            Ok(())
        })?;
        plan = Some(trace.finish(&results.iter().collect::<Vec<_>>())?);
    }
    let mut plan = plan.expect("the second step is recorded");
    let numbers = optimizer.numbers(1.0);
    let mut state = Vec::new();
    module.parameters_mut(&mut |_, parameter| state.push(parameter.tensor.untraced()));
    optimizer.visit(&mut |_, _, slot| {
        state.push(slot.untraced());
        Ok(())
    })?;
    drop((module, optimizer));
    allocations(&mut plan, &batch, state, &numbers)
}

/// Sizes of the transformer's block.
const BATCH: usize = 4;
const LENGTH: usize = 24;
const WIDTH: usize = 32;
const HEADS: usize = 4;

/// A step of gradient descent of a transformer's block: attention with four heads, then two dense layers, each around
/// a residual and after a normalization.
fn of_transformer() -> Result<usize> {
    let key = Key::new(2);
    let normal = |n: u64, dims: &[usize]| key.fold(n).normal(dims, 0.0, 0.1);
    let norm = |x: &Var, scale: &Var| -> kiln::tensor::Result<Var> {
        let centred = x.sub(&x.mean(keep(-1))?)?;
        centred.mul(&centred.square()?.mean(keep(-1))?.add(1e-5)?.rsqrt()?)?.mul(scale)
    };
    let block = |x: &Var, p: &[Var]| -> kiln::tensor::Result<Var> {
        let normed = norm(x, &p[0])?;
        let heads = |w: &Var| {
            let split = [BATCH, LENGTH, HEADS, WIDTH / HEADS];
            normed.matmul(w)?.reshape(split)?.permute(&[0, 2, 1, 3])
        };
        let (q, k, v) = (heads(&p[1])?, heads(&p[2])?, heads(&p[3])?);
        let shares = q.matmul(&k.permute(&[0, 1, 3, 2])?)?.mul(0.35)?.softmax(-1)?;
        let mixed = shares.matmul(&v)?.permute(&[0, 2, 1, 3])?.reshape([BATCH, LENGTH, WIDTH])?;
        let x = x.add(&mixed.matmul(&p[4])?)?;
        x.add(&norm(&x, &p[5])?.matmul(&p[6])?.gelu()?.matmul(&p[7])?)
    };
    let step = |inputs: &[Tensor]| {
        let [x, parameters @ ..] = inputs else { panic!("too few inputs") };
        let loss = |p: &[Var]| block(&Var::new(x.clone()), p)?.square()?.mean(..);
        let (loss, gradients) = value_and_grad(loss, parameters)?;
        let mut results = vec![loss];
        for (parameter, gradient) in parameters.iter().zip(gradients) {
            results.push(parameter.sub(&gradient.mul(0.1)?)?);
        }
        Ok(results)
    };
    let (row, square) = ([WIDTH], [WIDTH, WIDTH]);
    let shapes: [&[usize]; 8] =
        [&row, &square, &square, &square, &square, &row, &[WIDTH, 4 * WIDTH], &[4 * WIDTH, WIDTH]];
    let mut inputs = vec![normal(0, &[BATCH, LENGTH, WIDTH])?];
    for (i, shape) in shapes.iter().enumerate() {
        inputs.push(normal(1 + i as u64, shape)?);
    }
    let mut plan = Plan::of(step, &inputs)?;
    let state = inputs.split_off(1);
    allocations(&mut plan, &inputs, state, &[])
}

fn all() -> Result<[(&'static str, usize); 5]> {
    let dense = Sequential::new([28, 28]).add(Flatten::new()).add(Dense::new(128).activation("relu"));
    let convolutions = Sequential::new([32, 32, 3])
        .add(Conv2D::new(16, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Conv2D::new(32, 3).activation("relu"))
        .add(MaxPooling2D::new(2))
        .add(Flatten::new());
    let recurrent = Sequential::new([12, 8]).add(Masking::new(0.0)).add(LSTM::new(16));
    let attending = Sequential::new([24, 32])
        .add(PositionEmbedding::new(24))
        .add(TransformerDecoder::new(64, 4).activation("gelu").normalize_first(true))
        .add(LayerNormalization::new())
        .add(GlobalAveragePooling1D::new());
    let (digits, images) = (Tensor::ones([32, 28, 28])?, Tensor::ones([32, 32, 32, 3])?);
    Ok([
        ("a perceptron", of_classifier(dense.add(Dense::new(10)), &digits, 10)?),
        ("a convolutional network", of_classifier(convolutions.add(Dense::new(10)), &images, 10)?),
        ("a transformer's block", of_transformer()?),
        ("an LSTM", of_classifier(recurrent.add(Dense::new(10)), &Tensor::ones([32, 12, 8])?, 10)?),
        ("a transformer of layers", of_classifier(attending.add(Dense::new(10)), &Tensor::ones([8, 24, 32])?, 10)?),
    ])
}

/// What predicting one sample takes after the first.
fn of_predictor() -> Result<usize> {
    let net =
        Sequential::new([28, 28]).add(Flatten::new()).add(Dense::new(128).activation("relu")).add(Dropout::new(0.2));
    let net = net.add(Dense::new(10).activation("softmax"));
    let model = net.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])?;
    let x = Key::new(0).uniform([1, 28, 28], 0.0, 1.0)?;
    let mut predictor = model.predictor(&[&x])?;
    predictor.predict(&[&x])?;
    ALLOCATIONS.store(0, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    for _ in 0..100 {
        predictor.predict(&[&x])?;
    }
    COUNTS.store(false, Ordering::Relaxed);
    Ok(ALLOCATIONS.load(Ordering::Relaxed))
}

#[test]
fn a_plan_allocates_nothing() {
    SHOWS.store(std::env::var_os("SHOW_ALLOCATIONS").is_some(), Ordering::Relaxed);
    // One thread: to wake a sleeping one takes a small allocation of its pool's.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (of, count) in pool.install(all).unwrap() {
        assert_eq!(count, 0, "a step of {of} allocated");
    }
    assert_eq!(pool.install(of_predictor).unwrap(), 0, "predicting one sample allocated");
}
