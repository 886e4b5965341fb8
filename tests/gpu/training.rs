//! Whole runs of training on the device, beside the same runs on the CPU.

use crate::beside::{alone, device, difference, shared};
use crate::driver::Fake;
use kiln::nn::Optimizer;
use kiln::nn::schedules::CosineDecay;
use kiln::prelude::*;
use optimizers::{Adam, AdamW, Group, IntoOptimizer, ParameterUpdate, SGD};

/// Samples of `classes` kinds, each with its own place in the mean.
fn samples(shape: &[usize], classes: usize, count: usize) -> Dataset {
    let key = Key::new(5);
    let labels = Tensor::from_vec((0..count as i64).map(|i| i * 7 % classes as i64).collect(), [count]).unwrap();
    let noise = key.normal([&[count], shape].concat(), 0.0, 0.5).unwrap().to_vec::<f32>().unwrap();
    let each = shape.iter().product::<usize>();
    let x = noise.iter().enumerate().map(|(i, x)| {
        let label = (i / each) * 7 % classes;
        x + if i % each % classes == label { 1.0 } else { 0.0 }
    });
    Dataset::new(Tensor::from_vec(x.collect(), [&[count], shape].concat()).unwrap(), labels).unwrap()
}

/// Trains the same model here and there, and compares what is logged and predicted, and what a file holds.
fn same_on_both(name: &str, make: impl Fn() -> Model, data: &Dataset, tolerance: f64) {
    same_with(Fit::new, name, make, data, tolerance);
}

/// [`same_on_both`] with more settings of a run.
fn same_with<'a>(fit: impl Fn() -> Fit<'a>, name: &str, make: impl Fn() -> Model, data: &'a Dataset, tolerance: f64) {
    let _device = shared();
    let run = |mut model: Model| {
        let history =
            model.fit(data, fit().epochs(3).batch_size(16).validation_data(data).verbose(Verbosity::Silent)).unwrap();
        let logs: Vec<(String, f64)> = history
            .names()
            .flat_map(|name| history.get(name).into_iter().flatten().map(|value| (name.to_owned(), *value)))
            .chain(model.evaluate(data).unwrap().iter().map(|(name, value)| (name.to_owned(), value)))
            .collect();
        (logs, model)
    };
    let ((logs, here), (logs_there, there)) = (run(make()), run(make().on(device()).unwrap()));
    // Plans give the bits of the operations one by one.
    assert!(there.explain().contains(", started by one call"), "{}", there.explain());
    let (logs_of_operations, eager) = run(make().run_eagerly(true).on(device()).unwrap());
    assert_eq!(logs_there, logs_of_operations);
    assert!(eager.predict(data).unwrap().same_bits(&there.predict(data).unwrap()));
    assert_eq!(logs.len(), logs_there.len());
    for ((log, a), (same, b)) in logs.iter().zip(&logs_there) {
        assert_eq!(log, same);
        assert!((a - b).abs() <= tolerance * (1.0 + a.abs()), "{log}: {a} here, {b} there\n{logs:?}\n{logs_there:?}");
    }
    let close = |a: &Tensor, b: &Tensor| {
        let pairs = a.to_vec_as::<f64>().into_iter().zip(b.to_vec_as::<f64>());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    let predicted = there.predict(data).unwrap();
    assert_eq!((there.device(), predicted.device()), (device(), Device::Cpu));
    let apart = close(&here.predict(data).unwrap(), &predicted);
    assert!(apart <= tolerance, "predictions are {apart} apart");
    // A file that was written there is loaded here.
    let file = std::env::temp_dir().join(format!("kiln-gpu-{}-{}.kiln", std::process::id(), name));
    there.save(&file).unwrap();
    let loaded = Model::load(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(loaded.device(), Device::Cpu);
    assert!(close(&loaded.predict(data).unwrap(), &predicted) <= tolerance);
}

#[test]
fn a_network_of_dense_layers() {
    train_dense();
}

pub fn train_dense() {
    let make = || {
        Sequential::new([6, 4])
            .add(Flatten::new())
            .add(Dense::new(16).activation("relu"))
            .add(Dropout::new(0.25))
            .add(Dense::new(3).activation("softmax"))
            .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
            .unwrap()
    };
    same_on_both("dense", make, &samples(&[6, 4], 3, 70), 1e-3);
}

#[test]
fn a_network_of_convolutions() {
    train_convolutions();
}

pub fn train_convolutions() {
    let make = || {
        Sequential::new([8, 8, 2])
            .add(Conv2D::new(4, 3).activation("relu").padding(Padding::Same))
            .add(BatchNormalization::new())
            .add(MaxPooling2D::new(2))
            .add(Flatten::new())
            .add(Dense::new(3).activation("softmax"))
            .compile("rmsprop", "sparse_categorical_crossentropy", ["accuracy"])
            .unwrap()
    };
    same_on_both("cnn", make, &samples(&[8, 8, 2], 3, 40), 5e-3);
}

#[test]
fn recurrent_networks() {
    let make = || {
        Sequential::new([5, 3])
            .add(LSTM::new(6).return_sequences(true))
            .add(GRU::new(4))
            .add(Dense::new(3).activation("softmax"))
            .compile("nadam", "sparse_categorical_crossentropy", ["accuracy"])
            .unwrap()
    };
    same_on_both("rnn", make, &samples(&[5, 3], 3, 40), 2e-3);
}

#[test]
fn a_transformer() {
    let tokens = Tensor::from_vec((0..40 * 6).map(|i| (i * 11 + i / 6 * 5) as i64 % 9).collect(), [40, 6]).unwrap();
    let labels = Tensor::from_vec((0..40).map(|i| i * 7 % 3).collect::<Vec<i64>>(), [40]).unwrap();
    let make = || {
        Sequential::new([6])
            .add(Embedding::new(9, 8))
            .add(SinePositionEncoding::new())
            .add(TransformerEncoder::new(16, 2))
            .add(GlobalAveragePooling1D::new())
            .add(Dense::new(3).activation("softmax"))
            .compile("adamw", "sparse_categorical_crossentropy", ["accuracy"])
            .unwrap()
    };
    same_on_both("transformer", make, &Dataset::new(tokens, labels).unwrap(), 2e-3);
}

/// All that changes from step to step beside parameters and batches, in half precision.
#[test]
fn all_that_a_step_can_have() {
    let rate = || CosineDecay::new(0.0, 12).warmup_target(Some(0.02)).warmup_steps(3);
    let adam = || AdamW::new(rate()).weight_decay(0.01).global_clipnorm(1.0).use_ema(true).ema_momentum(0.9);
    let sgd = || SGD::new(0.05).momentum(0.9).nesterov(true).gradient_accumulation_steps(2).clipvalue(0.5);
    let layers = || {
        Sequential::new([6, 4])
            .add(GaussianNoise::new(0.1))
            .add(Conv1D::new(5, 3).activation("gelu"))
            .add(LayerNormalization::new())
            .add(SpatialDropout1D::new(0.2))
            .add(Flatten::new())
            .add(Dense::new(3).activation("softmax"))
    };
    let data = samples(&[6, 4], 3, 70);
    let fit = || Fit::new().class_weight(ClassWeight::Balanced).log_gradient_norm(true).log_learning_rate(true);
    let compile = |layers: Sequential, optimizer: Optimizer| {
        layers.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"]).unwrap()
    };
    let half = || compile(layers().mixed_float16(), adam().into_optimizer().unwrap());
    same_with(fit, "mixed-f16", half, &data, 0.05);
    let brain = || compile(layers().mixed_bfloat16(), sgd().into_optimizer().unwrap());
    same_with(fit, "mixed-bf16", brain, &data, 0.2);
    let parts = || compile(layers(), adam().into_optimizer().unwrap().part("dense/*", SGD::new(0.05)).unwrap());
    same_with(fit, "parts", parts, &data, 5e-3);
}

/// An optimizer's step is one kernel for all parameters, however many there are, and so are means of gradients and averages;
/// few take the norm of all gradients.
#[test]
fn an_update_of_many_parameters_is_one_launch() {
    let _device = shared();
    let data = samples(&[4], 3, 32);
    for depth in [1, 6] {
        let mut layers = Sequential::new([4]);
        for i in 0..depth {
            // Some are updated by a part of a block, some by several.
            layers = layers.add(Dense::new(5 + 40 * i).activation("relu"));
        }
        let adam = AdamW::new(0.01).global_clipnorm(1.0).use_ema(true);
        let adam = adam.gradient_accumulation_steps(2).into_optimizer().unwrap();
        let loss = losses::SparseCategoricalCrossentropy::new().from_logits(true);
        let mut model = layers.add(Dense::new(3)).compile(adam, loss, ["accuracy"]).unwrap().on(device()).unwrap();
        model.fit(&data, Fit::new().epochs(1).batch_size(8).verbose(Verbosity::Silent)).unwrap();
        let (text, parameters) = (model.explain(), 2 * (depth + 1));
        let lines: Vec<&str> = text.lines().collect();
        let above =
            |name: &str| lines.iter().position(|line| line.starts_with("  ") && line.contains(name)).unwrap() - 1;
        for name in [" = accumulate(", " = adam(", " = blend("] {
            assert_eq!(lines[above(name)], format!("{parameters} steps abreast, in one kernel:"), "{text}");
        }
        let norms = lines[above(" = norm(")].strip_prefix(&format!("{parameters} steps abreast, in ")).unwrap();
        assert!(["one", "2", "3", "4"].contains(&norms.split(' ').next().unwrap()), "{text}");
    }
}

/// So it is without a plan: in a step of one's own, too, and in place.
#[test]
fn an_eager_update_of_many_parameters_is_one_launch() {
    let _device = alone();
    let shapes: Vec<Vec<usize>> = (0..14).map(|i| if i % 2 == 0 { vec![3 + 40 * i, 5] } else { vec![i] }).collect();
    let paths: Vec<String> = (0..shapes.len()).map(|i| format!("layer_{i}/weight")).collect();
    let tensors = |seed: u64, device: Device| -> Vec<Tensor> {
        let one = |(i, shape): (usize, &Vec<usize>)| Key::new(seed).fold(i as u64).normal(shape, 0.0, 1.0).unwrap();
        shapes.iter().enumerate().map(one).map(|x| x.to_device(device).unwrap()).collect()
    };
    let steps = |mut optimizer: Optimizer, device: Device, launches: &dyn Fn() -> i64| {
        let mut values = tensors(0, device);
        let mut counts = Vec::new();
        for step in 1..=3 {
            let gradients = tensors(step, device);
            let pairs = values.iter_mut().zip(gradients).zip(&paths);
            let mut updates: Vec<_> = pairs
                .map(|((value, gradient), name)| ParameterUpdate { name, value, gradient: Some(gradient) })
                .collect();
            let before = launches();
            optimizer.apply(&mut updates).unwrap();
            counts.push(launches() - before);
        }
        (values, counts)
    };
    let fake = Fake::open();
    let launches = || fake.as_ref().map_or(0, |fake| fake.calls("cuLaunchKernel"));
    let plain = || Adam::new(0.01).into_optimizer().unwrap();
    let all = || {
        let groups = [Group::new("layer_3/*").rate_factor(0.5)];
        let adam = AdamW::new(0.01).exclude_from_weight_decay(["layer_1"]).groups(groups);
        adam.use_ema(true).gradient_accumulation_steps(2).into_optimizer().unwrap()
    };
    // Without an average there is one kernel; means of gradients are another, and an average is one more.
    for (make, wanted) in [(&plain as &dyn Fn() -> Optimizer, [1, 1, 1]), (&all, [1, 3, 1])] {
        let ((here, _), (there, counts)) = (steps(make(), Device::Cpu, &|| 0), steps(make(), device(), &launches));
        for (here, there) in here.iter().zip(&there) {
            assert!(here.same_bits(&there.to_device(Device::Cpu).unwrap()));
        }
        assert!(fake.is_none() || counts == wanted, "{counts:?}");
    }
    // The norm of all gradients takes a kernel for each kind of size, and a few more for what it becomes.
    let clipped = || Adam::new(0.01).global_clipnorm(1.0).into_optimizer().unwrap();
    let (there, counts) = steps(clipped(), device(), &launches);
    assert!(counts.iter().all(|&count| count < 24), "{counts:?}");
    for (here, there) in steps(clipped(), Device::Cpu, &|| 0).0.iter().zip(there) {
        assert!(difference(&there.to_device(Device::Cpu).unwrap(), here, 8.0).is_none());
    }
}

/// An update needs no memory beside what is kept, and one that fails says which.
#[test]
fn an_eager_update_is_in_place() {
    let _device = alone();
    let mut optimizer = Adam::new(0.01).into_optimizer().unwrap();
    let mut values = [[1 << 20], [1 << 19]].map(|shape| Tensor::ones(shape).unwrap().to_device(device()).unwrap());
    let mut step = |before: &dyn Fn()| {
        let mut updates: Vec<_> = values
            .iter_mut()
            .zip(["a", "b"])
            .map(|(value, name)| ParameterUpdate { name, gradient: Some(value.mul(2.0).unwrap()), value })
            .collect();
        before();
        device().reset_peak_memory().unwrap();
        let before = device().memory().unwrap().live;
        let outcome = optimizer.apply(&mut updates);
        (outcome, device().memory().unwrap().peak - before)
    };
    step(&|| ()).0.unwrap();
    let (outcome, more) = step(&|| ());
    outcome.unwrap();
    assert_eq!(more, 0);
    let Some(fake) = Fake::open() else { return };
    let text = step(&|| fake.fail("cuLaunchKernel", 701)).0.unwrap_err().to_string();
    assert!(text.starts_with("adam: the kernel pointwise cannot be started: "), "{text}");
}

#[test]
fn a_label_that_is_no_class_is_told_with_its_place() {
    // Nobody else waits for the device meanwhile.
    let _device = alone();
    let mut model = Sequential::new([3])
        .add(Dense::new(3).activation("softmax"))
        .compile("sgd", "sparse_categorical_crossentropy", ())
        .unwrap()
        .on(device())
        .unwrap();
    let data = Dataset::new(Tensor::ones([5, 3]).unwrap(), Tensor::new([0, 1, 7, 2, 1])).unwrap();
    let error = model.fit(&data, Fit::new().verbose(Verbosity::Silent)).unwrap_err().to_string();
    assert!(error.contains("label 7 at position") && error.contains("not one of the 3 classes"), "{error}");
    // The device goes on.
    let data = Dataset::new(Tensor::ones([5, 3]).unwrap(), Tensor::new([0, 1, 0, 2, 1])).unwrap();
    model.fit(&data, Fit::new().verbose(Verbosity::Silent)).unwrap();
}

#[test]
fn a_run_that_was_cut_goes_on_with_the_same_bits() {
    let _device = shared();
    let folder = std::env::temp_dir().join(format!("kiln-gpu-resume-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let data = samples(&[4], 3, 50);
    let model = || {
        let layers =
            Sequential::new([4]).add(Dense::new(8).activation("tanh")).add(Dropout::new(0.3)).add(Dense::new(3));
        let loss = losses::SparseCategoricalCrossentropy::new().from_logits(true);
        layers.compile("adam", loss, ["accuracy"]).unwrap().on(device()).unwrap()
    };
    let fit = || Fit::new().epochs(3).batch_size(16).verbose(Verbosity::Silent);
    let mut whole = model();
    whole.fit(&data, fit()).unwrap();
    let mut cut = model();
    cut.fit(&data, fit().max_steps(6).checkpoint_every(Every::Steps(2), &folder)).unwrap();
    let mut resumed = model();
    resumed.fit(&data, fit().resume_from(&folder)).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(resumed.device(), device());
    assert!(whole.predict(&data).unwrap().same_bits(&resumed.predict(&data).unwrap()));
}
