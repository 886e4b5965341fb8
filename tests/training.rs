//! What Kiln promises about training: the same bits again, resumed runs, the best weights, weights that multiply,
//! metrics over all batches. Not here: numbers of other libraries (`refs.rs`), error texts (`errors.rs`).

use approx::abs_diff_eq;
use kiln::nn::Metric;
use kiln::nn::losses::{Huber, LossFn, SparseCategoricalCrossentropy};
use kiln::nn::metrics::{FBetaScore, Precision};
use kiln::nn::module::named_parameters;
use kiln::nn::optimizers::{Adam, IntoOptimizer, ParameterUpdate, SGD};
use kiln::nn::schedules::ExponentialDecay;
use kiln::nn::{Initializer, Weight};
use kiln::prelude::*;
use kiln::train::{StopReason, Stream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) fn quiet<'a>() -> Fit<'a> {
    Fit::new().verbose(Verbosity::Silent)
}

/// A folder of its own for a test, emptied.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("kiln-training-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Points in the plane of two classes that overlap, with more of class 0.
pub(crate) fn points(n: usize, seed: u64) -> Dataset {
    let key = Key::new(seed);
    let x = key.fold(0).normal([n, 2], 0.0, 1.0).unwrap();
    let noise = key.fold(1).normal([n], 0.0, 0.7).unwrap();
    let y = x.sum(-1).unwrap().add(&noise).unwrap().gt(0.8).unwrap().cast(DType::I64).unwrap();
    Dataset::new(x, y).unwrap()
}

/// A classifier with everything that draws random numbers or keeps state.
pub(crate) fn classifier(seed: u64) -> Model {
    let model = Sequential::new([2]).seed(seed).add(Dense::new(16).activation("tanh")).add(BatchNormalization::new());
    let model = model.add(Dropout::new(0.3)).add(Dense::new(2).activation("softmax"));
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"]).unwrap()
}

pub(crate) fn weights<M: Module>(model: &Model<M>) -> Vec<(String, Tensor)> {
    named_parameters(model.module())
}

#[track_caller]
pub(crate) fn assert_same_bits(a: &[(String, Tensor)], b: &[(String, Tensor)]) {
    assert_eq!(a.len(), b.len());
    for ((name, a), (_, b)) in a.iter().zip(b) {
        assert!(a.same_bits(b), "{name} differs");
    }
}

#[track_caller]
fn assert_close(a: &[(String, Tensor)], b: &[(String, Tensor)], tolerance: f64) {
    for ((name, a), (_, b)) in a.iter().zip(b) {
        assert!(abs_diff_eq!(a, b, epsilon = tolerance), "{name} differs: {a} and {b}");
    }
}

/// An image classifier trained on some digits, on so many threads.
fn digits_on(threads: usize, seed: u64) -> (Vec<(String, Tensor)>, History) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let (train, test) = datasets::digits().unwrap();
        let (train, test) = (train.take(160).unwrap(), test.take(50).unwrap());
        let model = Sequential::new([28, 28]).seed(seed).add(Reshape::new([28, 28, 1]));
        let model =
            model.add(Conv2D::new(6, 5).activation("relu")).add(MaxPooling2D::new(4)).add(BatchNormalization::new());
        let model = model.add(Flatten::new()).add(Dropout::new(0.2)).add(Dense::new(10).activation("softmax"));
        let mut model = model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"]).unwrap();
        let history = model.fit(&train, quiet().epochs(2).seed(seed).validation_data(&test)).unwrap();
        (weights(&model), history)
    })
}

#[test]
fn equal_seeds_give_equal_bits_on_any_number_of_threads() {
    let (one, history) = digits_on(1, 7);
    for threads in [1, 2, 3] {
        let (again, other) = digits_on(threads, 7);
        assert_same_bits(&one, &again);
        for (name, values) in history.iter() {
            assert_eq!(other.get(name), Some(values), "{name} on {threads} threads");
        }
    }
    let (other, _) = digits_on(2, 8);
    assert!(one.iter().zip(&other).any(|((_, a), (_, b))| !a.same_bits(b)));
}

#[test]
fn each_seed_matters_alone() {
    let data = points(64, 0);
    let run = |initial: u64, seed: u64| {
        let mut model = classifier(initial);
        model.fit(&data, quiet().seed(seed)).unwrap();
        model.predict(&data).unwrap()
    };
    let base = run(0, 0);
    assert!(base.same_bits(&run(0, 0)));
    assert!(!base.same_bits(&run(1, 0)), "the seed of the initial weights");
    assert!(!base.same_bits(&run(0, 1)), "the seed of the order and of dropout");
}

#[test]
fn early_stopping_puts_the_best_weights_back() {
    let (train, validation) = (points(40, 1), points(200, 2));
    let model = Sequential::new([2]).add(Dense::new(64).activation("relu")).add(Dense::new(2).activation("softmax"));
    let mut model = model.compile(Adam::new(0.05), "sparse_categorical_crossentropy", ["accuracy"]).unwrap();
    let fit = quiet().epochs(200).batch_size(200).validation_data(&validation);
    let history = model.fit(&train, fit.callback(EarlyStopping::new().patience(4))).unwrap();
    let best = history.best_epoch("val_loss", Mode::Min).unwrap();
    assert_eq!(history.len(), best + 5, "four epochs of patience after the best");
    assert!(matches!(&history.stopped, Some(StopReason::EarlyStopping { best_epoch: Some(e), .. }) if *e == best));
    let loss = model.evaluate(&validation).unwrap().get("loss").unwrap();
    assert_eq!(loss, history.get("val_loss").unwrap()[best]);
    assert!(loss < history.last("val_loss").unwrap());
}

#[test]
fn a_resumed_run_has_the_bits_of_one_that_was_never_interrupted() {
    let (data, folder) = (points(100, 3), folder("resume"));
    let mut whole = classifier(5);
    let all = whole.fit(&data, quiet().epochs(6).seed(9)).unwrap();

    let path = folder.join("{epoch}.safetensors");
    let mut first = classifier(5);
    let checkpoint = ModelCheckpoint::new(path.to_str().unwrap());
    let mut history = first.fit(&data, quiet().epochs(3).seed(9).callback(checkpoint)).unwrap();
    let mut second = Model::load(folder.join("3.safetensors")).unwrap();
    assert!(second.predict(&data).unwrap().same_bits(&first.predict(&data).unwrap()));
    history.append(&second.fit(&data, quiet().initial_epoch(3).epochs(6).seed(9)).unwrap());

    assert_same_bits(&weights(&whole), &weights(&second));
    assert_eq!(history.epochs(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(history.get("loss"), all.get("loss"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_reader_never_sees_half_a_model() {
    let folder = folder("atomic");
    let (path, done) = (folder.join("model.safetensors"), AtomicBool::new(false));
    let model = classifier(0);
    model.save(&path).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) || reads == 0 {
                Model::load(&path).unwrap();
                reads += 1;
            }
        });
        (0..50).for_each(|_| model.save(&path).unwrap());
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing but the model is left");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn history_has_a_gap_where_nothing_was_validated() {
    let data = points(60, 4);
    let history = classifier(0).fit(&data, quiet().epochs(5).validation_split(0.25).validation_freq(2)).unwrap();
    for name in ["loss", "accuracy", "val_loss", "val_accuracy"] {
        let values = history.get(name).unwrap();
        let gaps: Vec<bool> = values.iter().map(|v| v.is_nan()).collect();
        let odd = name.starts_with("val_");
        assert_eq!(gaps, [odd, false, odd, false, odd], "{name}");
    }
}

#[test]
fn class_and_sample_weights_multiply() {
    let data = points(48, 5);
    let sample = Key::new(1).uniform([48], 0.5, 2.0).unwrap();
    let class = data.y().to_vec::<i64>().unwrap().into_iter().map(|c| [2.0f32, 3.0][c as usize]).collect();
    let product = sample.mul(&Tensor::from_vec(class, [48]).unwrap()).unwrap();
    let run = |each: &Tensor, class: Option<ClassWeight>| {
        let mut model = classifier(1);
        let fit = quiet().epochs(2);
        let fit = class.into_iter().fold(fit, Fit::class_weight);
        let history = model.fit(&data.clone().sample_weight(each.clone()).unwrap(), fit).unwrap();
        (weights(&model), history.get("loss").unwrap().to_vec())
    };
    let both = run(&sample, Some(ClassWeight::Weights(vec![(0, 2.0), (1, 3.0)])));
    let one = run(&product, None);
    assert_close(&both.0, &one.0, 1e-5);
    assert!(both.1.iter().zip(&one.1).all(|(a, b)| (a - b).abs() < 1e-5));
    assert!((run(&sample, None).1[0] - both.1[0]).abs() > 0.1, "the class weights count");
}

#[test]
fn metrics_are_of_all_samples_not_means_over_batches() {
    let data = points(90, 6);
    let column = data.y().reshape([90, 1]).unwrap().cast(DType::F32).unwrap();
    let data = Dataset::new(data.x().unwrap(), column).unwrap();
    let names = ["precision", "recall", "f1_score", "auc"];
    // A rate of 0: the model is the same in all batches, so that the epoch can be computed again.
    let model =
        Sequential::new([2]).seed(3).add(Dense::new(8).activation("tanh")).add(Dense::new(1).activation("sigmoid"));
    let f1: Box<dyn Metric> = Box::new(metrics::F1Score::new().threshold(Some(0.5)));
    let metrics: Vec<Box<dyn Metric>> =
        [names[0], names[1], names[3]].iter().map(|n| metrics::from_name(n).unwrap()).chain([f1]).collect();
    let mut model = model.compile(SGD::new(0.0), "binary_crossentropy", metrics).unwrap();
    let history = model.fit(&data, quiet().batch_size(8).shuffle(false)).unwrap();
    let whole = model.evaluate(&data).unwrap();
    let parts: Vec<Logs> =
        (0..90).step_by(8).map(|i| model.evaluate(&data.range(i, (i + 8).min(90)).unwrap()).unwrap()).collect();
    for name in names {
        let epoch = history.last(name).unwrap();
        let mean = parts.iter().map(|logs| logs.get(name).unwrap()).sum::<f64>() / parts.len() as f64;
        assert!((epoch - whole.get(name).unwrap()).abs() < 1e-12, "{name}: {epoch} in training, {whole} after it");
        assert!((epoch - mean).abs() > 1e-3, "{name}: {epoch} is the mean over batches");
    }
}

#[test]
fn validation_splits_are_shuffled_and_strata_keep_their_share() {
    let y: Vec<i64> = (0..200).map(|i| i64::from(i >= 160)).collect();
    let x = Key::new(0).normal([200, 2], 0.0, 1.0).unwrap();
    let data = Dataset::new(x, Tensor::from_vec(y, [200]).unwrap()).unwrap();
    let of_class_1 = |part: &Dataset| part.classes().unwrap().into_iter().filter(|&c| c == 1).count();
    let (train, validation) = data.split(0.25, 3).unwrap();
    assert_eq!((train.len(), validation.len()), (150, 50));
    assert!((2..=20).contains(&of_class_1(&validation)), "sorted data are mixed");
    assert_eq!(of_class_1(&train) + of_class_1(&validation), 40);
    let (train, validation) = data.split_stratified(0.25, 3).unwrap();
    assert_eq!((of_class_1(&train), of_class_1(&validation), validation.len()), (30, 10, 50));

    // `fit` splits in the same way.
    let (train, validation) = data.split(0.25, 3).unwrap();
    let inside = classifier(0).fit(&data, quiet().seed(3).validation_split(0.25)).unwrap();
    let outside = classifier(0).fit(&train, quiet().seed(3).validation_data(&validation)).unwrap();
    assert_eq!(inside.get("val_loss"), outside.get("val_loss"));
}

#[test]
fn training_on_logits_is_training_on_probabilities() {
    let (train, _) = datasets::digits().unwrap();
    let train = train.take(128).unwrap();
    let model = || {
        let model = Sequential::new([28, 28]).dtype(DType::F64).add(Flatten::new());
        model.add(Dense::new(12).activation("relu")).add(Dense::new(10).activation("softmax"))
    };
    let data = Dataset::new(train.x().unwrap().cast(DType::F64).unwrap(), train.y().clone()).unwrap();
    let mut fused = model().compile(SGD::new(0.1), "sparse_categorical_crossentropy", ["accuracy"]).unwrap();
    // A loss of one's own has no activation that it could be fused with.
    let probabilities = LossFn::new("of_probabilities", |t, p| SparseCategoricalCrossentropy::new().values(t, p));
    let mut plain = model().compile(SGD::new(0.1), probabilities, ["sparse_categorical_accuracy"]).unwrap();
    let a = fused.fit(&data, quiet().epochs(3)).unwrap();
    let b = plain.fit(&data, quiet().epochs(3)).unwrap();
    assert_close(&weights(&fused), &weights(&plain), 1e-6);
    assert!((a.last("loss").unwrap() - b.last("loss").unwrap()).abs() < 1e-6);
    assert_eq!(a.get("accuracy"), b.get("sparse_categorical_accuracy"));
}

/// Twice its input, times a weight that starts from 1.
#[derive(Debug, Clone)]
struct Twice;

impl Layer for Twice {
    fn class(&self) -> &'static str {
        "Twice"
    }
    fn output_shape(&self, input: &Shape) -> kiln::nn::Result<Shape> {
        Ok(*input)
    }
    fn weights(&self, _: &Shape) -> Vec<Weight> {
        vec![Weight::new("scale", [1], Initializer::Ones)]
    }
    fn call(&self, x: &Var, weights: Weights<'_>, pass: &mut Pass) -> kiln::nn::Result<Var> {
        Ok(x.mul(2.0)?.mul(&pass.parameter(&weights[0]))?)
    }
    fn config(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

#[test]
fn a_model_with_parts_of_its_own_goes_on_to_the_same_bits() {
    let (data, path) = (points(100, 4), folder("own").join("model.safetensors"));
    let quartic = || LossFn::new("quartic", |t, p| Ok(p.squeeze(-1)?.sub(&t.cast(DType::F32)?)?.square()?.square()?));
    let model = || {
        let model = Sequential::new([2]).add(Dense::new(4).activation("tanh")).add(Twice).add(Dropout::new(0.2));
        model.add(Dense::new(1)).compile("adam", quartic(), ["mae"]).unwrap()
    };
    let mut whole = model();
    whole.fit(&data, quiet().epochs(4).seed(2)).unwrap();
    let mut first = model();
    first.fit(&data, quiet().epochs(2).seed(2)).unwrap();
    first.save(&path).unwrap();

    let error = Model::load(&path).unwrap_err().to_string();
    assert!(error.contains("the layer `Twice`") && error.contains("model.load_state(path)"), "{error}");
    let mut second = model();
    second.load_state(&path).unwrap();
    second.fit(&data, quiet().initial_epoch(2).epochs(4).seed(2)).unwrap();
    assert_same_bits(&weights(&whole), &weights(&second));

    let before = weights(&second);
    let mut other = Sequential::new([2]).add(Dense::new(4)).compile("adam", quartic(), ["mae"]).unwrap();
    other.save(&path).unwrap();
    assert!(second.load_state(&path).unwrap_err().to_string().contains("twice/scale"));
    assert_same_bits(&before, &weights(&second));
    second.fit(&data, quiet()).unwrap();
    let mut sgd = Sequential::new([2]).add(Dense::new(4)).compile("sgd", quartic(), ["mae"]).unwrap();
    let error = sgd.load_state(&path).unwrap_err().to_string();
    assert!(error.contains("has the state of Adam") && error.contains("compiled with SGD"), "{error}");
    other.load_state(&path).unwrap();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

/// A layer that promises a shape, and gives what it likes.
#[derive(Debug, Clone)]
struct Liar(usize, fn(&Var) -> kiln::tensor::Result<Var>);

impl Layer for Liar {
    fn class(&self) -> &'static str {
        "Liar"
    }
    fn output_shape(&self, _: &Shape) -> kiln::nn::Result<Shape> {
        Ok(Shape::new(&[self.0])?)
    }
    fn call(&self, x: &Var, _: Weights<'_>, _: &mut Pass) -> kiln::nn::Result<Var> {
        Ok(self.1(x)?)
    }
    fn config(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

#[test]
fn a_layer_gives_the_shape_that_it_promises() {
    let lies = [
        (Liar(3, |x| Ok(x.clone())), "[5, 2] for [5, 2], and promises (None, 3)"),
        (Liar(2, |x| x.slice(0, ..1)), "[1, 2] for [5, 2], and promises (None, 2)"),
        (Liar(2, |x| x.mean(..)), "[] for [5, 2], and promises (None, 2)"),
    ];
    for ((lie, text), is_last) in lies.iter().flat_map(|lie| [(lie, true), (lie, false)]) {
        let model = Sequential::new([2]).add(lie.clone());
        let model = if is_last { model } else { model.add(Dense::new(1)) };
        let model = model.compile("sgd", "mse", ["mae"]).unwrap();
        let error = model.predict(&Tensor::zeros([5, 2]).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("Liar: it gives {text}")), "{error}");
        assert!(error.contains("in layer `liar`"), "{error}");
    }
}

/// A layer with a way around it, written by hand.
#[derive(Debug)]
struct Residual {
    inner: Parameter,
    outer: Parameter,
}

impl Module for Residual {
    fn forward(&self, x: &Var, pass: &mut Pass) -> kiln::nn::Result<Var> {
        let h = x.matmul(&pass.parameter(&self.inner))?.tanh()?.add(x)?;
        Ok(h.matmul(&pass.parameter(&self.outer))?)
    }
    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        visit("inner", &self.inner);
        visit("outer", &self.outer);
    }
    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        visit("inner", &mut self.inner);
        visit("outer", &mut self.outer);
    }
}

fn residual() -> Residual {
    let key = Key::new(3);
    let inner = Parameter::new(key.fold(0).normal([2, 2], 0.0, 0.3).unwrap());
    Residual { inner, outer: Parameter::new(key.fold(1).normal([2, 2], 0.0, 0.3).unwrap()) }
}

/// Two parameters under one path.
#[derive(Debug)]
struct Twins(Residual);

impl Module for Twins {
    fn forward(&self, x: &Var, pass: &mut Pass) -> kiln::nn::Result<Var> {
        self.0.forward(x, pass)
    }
    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        self.0.parameters(&mut |_, parameter| visit("weight", parameter));
    }
    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        self.0.parameters_mut(&mut |_, parameter| visit("weight", parameter));
    }
}

#[test]
fn each_parameter_has_a_path_of_its_own() {
    let error = Twins(residual()).compile("sgd", "mse", ()).unwrap_err().to_string();
    assert!(error.contains("two parameters `weight`") && error.contains("help: visit each"), "{error}");
}

#[test]
fn settings_out_of_range_are_refused_by_compile() {
    let model = || Sequential::new([2]).add(Dense::new(1));
    let loss = model().compile("sgd", Huber::new().delta(f64::NAN), ()).unwrap_err().to_string();
    assert!(loss.contains("huber: delta is NaN\n  help: give a number above 0"), "{loss}");
    let metric = model().compile("sgd", "mse", Precision::new().top_k(Some(0))).unwrap_err().to_string();
    assert!(metric.contains("precision: top_k is 0\n  help: give a number from 1"), "{metric}");
    let metric = model().compile("sgd", "mse", ()).unwrap().weighted_metrics(FBetaScore::new().beta(0.0));
    assert!(metric.unwrap_err().to_string().contains("fbeta_score: beta is 0"));
}

#[test]
fn a_file_that_claims_other_layers_is_refused_before_they_are_made() {
    let folder = folder("claims");
    let path = folder.join("model.safetensors");
    let model = Sequential::new([2]).add(Dense::new(3)).compile("sgd", "mse", ()).unwrap();
    model.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let name = b"kiln_checksum\\\": \\\"";
    let digits_of = |file: &[u8]| name.len() + file.windows(name.len()).position(|part| part == name).unwrap();
    // The header is as long as its first eight bytes say: the number grows where spaces were.
    let text = String::from_utf8_lossy(&bytes[8..]).into_owned();
    let at = 8 + text.find("\\\"units\\\": 3").unwrap();
    for units in ["4", "40000000000", "4000000000000000000"] {
        let claim = format!("\\\"units\\\": {units}");
        let mut other = bytes.clone();
        other.splice(at..at + "\\\"units\\\": 3".len(), claim.bytes());
        let longer = claim.len() - "\\\"units\\\": 3".len();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) + longer as u64;
        other[..8].copy_from_slice(&header.to_le_bytes());
        // Who claims such things can compute a checksum.
        let sum = digits_of(&other);
        other[sum..sum + 8].copy_from_slice(b"00000000");
        let digits = format!("{:08x}", crc32fast::hash(&other));
        other[sum..sum + 8].copy_from_slice(digits.as_bytes());
        std::fs::write(&path, &other).unwrap();
        let error = Model::load(&path).unwrap_err().to_string();
        assert!(error.contains("`dense/kernel` has shape") || error.contains("more elements than memory"), "{error}");
        assert!(error.contains("model.safetensors"), "{error}");
    }
    // A checksum that is called otherwise is none.
    let mut other = bytes.clone();
    other[digits_of(&bytes) - name.len()] ^= 1;
    std::fs::write(&path, &other).unwrap();
    let error = Model::load(&path).unwrap_err().to_string();
    assert!(error.contains("is damaged: its checksum is missing"), "{error}");
}

#[test]
fn an_order_without_memory_is_an_error() {
    let x = Tensor::ones([1, 2]).unwrap().expand([1 << 44, 2]).unwrap();
    let data = Dataset::new(x.clone(), x.slice(1, 0..1).unwrap()).unwrap();
    let mut model = Sequential::new([2]).add(Dense::new(1)).compile("sgd", "mse", ()).unwrap();
    let error = model.fit(&data, quiet()).unwrap_err().to_string();
    assert!(error.contains("permutation: there is no memory"), "{error}");
    assert!(data.split(0.5, 0).unwrap_err().to_string().contains("permutation: there is no memory"));
}

#[test]
fn a_module_written_by_hand_trains_like_any_other() {
    let (data, folder) = (points(100, 8), folder("module"));
    let loss = || SparseCategoricalCrossentropy::new().from_logits(true);
    let mut model = residual().compile(Adam::new(0.02), loss(), ["accuracy"]).unwrap();
    let history = model.fit(&data, quiet().epochs(20).validation_split(0.2)).unwrap();
    assert!(
        history.last("accuracy").unwrap() > 0.75 && history.last("loss").unwrap() < history.get("loss").unwrap()[0]
    );
    model.save_weights(folder.join("weights.safetensors")).unwrap();
    let mut same = residual().compile("adam", loss(), ["accuracy"]).unwrap();
    same.load_weights(folder.join("weights.safetensors")).unwrap();
    assert!(same.predict(&data).unwrap().same_bits(&model.predict(&data).unwrap()));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn weights_are_taken_over_by_name() {
    let (data, folder) = (points(100, 8), folder("by-name"));
    let net = |units: usize, seed| {
        let features = Sequential::new([2]).add(Dense::new(units).activation("tanh")).add(BatchNormalization::new());
        let layers = Sequential::new([2]).seed(seed).add_named("features", features);
        let layers = layers.add_named(format!("head_{seed}"), Dense::new(2).activation("softmax"));
        layers.compile("adam", "sparse_categorical_crossentropy", ()).unwrap()
    };
    let mut first = net(6, 1);
    first.fit(&data, quiet().epochs(2)).unwrap();
    let path = folder.join("first.safetensors");
    first.save(&path).unwrap();

    // Statistics are taken over too; what the optimizer keeps for the file's model is nothing to this one.
    let mut second = net(6, 2);
    let head = weights(&second)[6..].to_vec();
    let report = second.load_weights_by_name(&path, "*").unwrap();
    assert_same_bits(&weights(&second)[..6], &weights(&first)[..6]);
    assert_same_bits(&weights(&second)[6..], &head);
    assert!(report.loaded.len() == 6 && report.loaded[5] == "features/batch_normalization/moving_variance");
    assert_eq!(report.missing, ["head_2/kernel", "head_2/bias"]);
    assert_eq!(report.unused, ["head_1/bias", "head_1/kernel"]);
    assert!(report.unfit.is_empty() && !report.is_complete());

    // Frozen features stay as they were loaded, statistics included.
    second.set_trainable("features/*", false).unwrap();
    second.fit(&data, quiet().epochs(2)).unwrap();
    assert_same_bits(&weights(&second)[..6], &weights(&first)[..6]);
    assert!(!weights(&second)[6].1.same_bits(&head[0].1));

    // What does not fit stays.
    let mut other = net(5, 1);
    let before = weights(&other);
    let report = other.load_weights_by_name(&path, "*").unwrap();
    assert_eq!(report.loaded, ["head_1/bias"]);
    assert_eq!(report.unfit.len(), 7);
    assert_same_bits(&weights(&other)[..7], &before[..7]);
    let error = other.load_weights_by_name(&path, "features/*").unwrap_err().to_string();
    assert!(error.contains("`features/dense/kernel` has shape [2, 5] (f32) in the model and [2, 6] (f32)"), "{error}");
    let error = other.load_weights_by_name(&path, "feature/*").unwrap_err().to_string();
    assert!(error.contains("feature/*") && error.contains("features/dense/kernel"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_custom_loss_and_train_on_batch() {
    let data = points(32, 9);
    let x = data.x().unwrap();
    let y = x.sum(-1).unwrap().add(2.0).unwrap().reshape([32, 1]).unwrap();
    let model = |loss: LossFn| Sequential::new([2]).add(Dense::new(1)).compile(SGD::new(0.005), loss, ["mae"]).unwrap();
    let quartic = || LossFn::new("quartic", |t, p| Ok(p.sub(t)?.square()?.square()?.mean(-1)?));
    let mut by_hand = model(quartic());
    let losses: Vec<f64> = (0..20).map(|_| by_hand.train_on_batch(&x, &y).unwrap().get("loss").unwrap()).collect();
    assert!(losses[19] < 0.5 * losses[0], "{losses:?}");
    let mut fitted = model(quartic());
    let whole = Dataset::new(x, y).unwrap();
    let history = fitted.fit(&whole, quiet().epochs(20).batch_size(32).shuffle(false)).unwrap();
    assert_eq!(history.get("loss").unwrap(), losses);
    assert_same_bits(&weights(&by_hand), &weights(&fitted));
}

#[test]
fn targets_without_the_last_dimension_are_not_broadcast() {
    let x = points(16, 10).x().unwrap();
    let y = x.sum(-1).unwrap();
    let run = |y: Tensor| {
        let mut model = Sequential::new([2]).add(Dense::new(1)).compile("sgd", "mse", ["mae"]).unwrap();
        model.fit(&Dataset::new(x.clone(), y).unwrap(), quiet()).unwrap().get("loss").unwrap().to_vec()
    };
    assert_eq!(run(y.clone()), run(y.reshape([16, 1]).unwrap()));
}

#[test]
fn integers_and_masks_are_features_too() {
    let images = Tensor::from_vec((0..2 * 8 * 8).map(|i| (i % 251) as u8).collect(), [2, 8, 8, 1]).unwrap();
    for x in [images.clone(), images.cast(DType::I64).unwrap(), images.gt(100.0).unwrap()] {
        let model =
            Sequential::new([8, 8, 1]).add(Conv2D::new(2, 3)).add(MaxPooling2D::new(2)).add(BatchNormalization::new());
        let mut model = model.add(Flatten::new()).add(Dense::new(1)).compile("adam", "mse", ["mae"]).unwrap();
        let data = Dataset::new(x, Tensor::new([[0.0f32], [1.0]])).unwrap();
        assert!(model.fit(&data, quiet()).unwrap().last("loss").unwrap().is_finite());
        assert_eq!(model.predict(&data).unwrap().dtype(), DType::F32);
    }
}

#[test]
fn closures_watch_change_and_stop_a_run() {
    let data = points(40, 11);
    let rates =
        LambdaCallback::new().on_epoch_begin(|epoch, control| control.set_learning_rate(0.1 / (epoch + 1) as f64));
    let stop = on_epoch_end(|epoch, logs, control| {
        logs.set("twice", 2.0 * logs.get("loss").unwrap());
        if epoch == 2 {
            control.stop(StopReason::Callback { message: "three are enough".into() });
        }
        Ok(())
    });
    let history = classifier(0).fit(&data, quiet().epochs(10).callback(rates).callback(stop)).unwrap();
    assert_eq!(history.len(), 3);
    assert_eq!(history.get("learning_rate").unwrap(), [0.1, 0.05, 0.1 / 3.0]);
    assert_eq!(history.last("twice").unwrap(), 2.0 * history.last("loss").unwrap());
    assert!(matches!(&history.stopped, Some(StopReason::Callback { message }) if message == "three are enough"));
}

#[test]
fn a_callback_scales_a_schedule() {
    let data = points(40, 11);
    let rates = |callback: Box<dyn Fn(Fit<'static>) -> Fit<'static>>| {
        let model = Sequential::new([2]).add(Dense::new(2).activation("softmax"));
        let schedule = ExponentialDecay::new(0.1, 2, 0.5);
        let mut model = model.compile(Adam::new(schedule), "sparse_categorical_crossentropy", ["accuracy"]).unwrap();
        // Two batches an epoch: the schedule halves the rate from epoch to epoch.
        let history = model.fit(&data, callback(quiet().epochs(4).batch_size(20))).unwrap();
        history.get("learning_rate").unwrap().to_vec()
    };
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    let plateau = rates(Box::new(|fit| {
        fit.callback(ReduceLROnPlateau::new().monitor("loss").factor(0.1).patience(1).min_delta(1e9))
    }));
    assert!(near(&plateau, &[0.1, 0.05, 0.0025, 0.000125]), "{plateau:?}");
    let scheduler = rates(Box::new(|fit| {
        fit.callback(LearningRateScheduler::new(|epoch, rate| {
            if epoch == 1 {
                0.0
            } else if epoch == 2 {
                0.05
            } else {
                rate
            }
        }))
    }));
    assert!(near(&scheduler, &[0.1, 0.0, 0.05, 0.025]), "{scheduler:?}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let x = Tensor::new([[1.0f32, 1.0], [f32::NAN, 1.0], [1.0, 1.0]]);
    let data = Dataset::new(x, Tensor::new([0i64, 1, 0])).unwrap();
    let history = classifier(0)
        .fit(&data, quiet().epochs(4).batch_size(1).shuffle(false).callback(TerminateOnNaN::new()))
        .unwrap();
    assert!(matches!(history.stopped, Some(StopReason::NotFinite { epoch: 0, batch: 1 })));
}

#[test]
fn the_state_of_an_input_that_is_silent_dies_out() {
    let mut weight = Tensor::new([0.5f32; 3]);
    let mut optimizer = Adam::new(0.01).into_optimizer().unwrap();
    for step in 0..1500 {
        let gradient = Tensor::new(if step == 0 { [0.25f32, -4.0, f32::NAN] } else { [0.0; 3] });
        optimizer.apply(&mut [ParameterUpdate { name: "w", value: &mut weight, gradient: Some(gradient) }]).unwrap();
    }
    let state = optimizer.state();
    let momentum = &state.iter().find(|(name, _)| name == "w/momentum").unwrap().1.to_vec::<f32>().unwrap();
    assert_eq!(momentum[..2], [0.0, 0.0], "neither subnormal nor small: 0.9 to the power of 1,500");
    assert!(momentum[2].is_nan(), "what is no number stays visible");
    assert!(weight.to_vec::<f32>().unwrap()[..2].iter().all(|w| w.is_finite() && *w != 0.5));

    // Double precision keeps what is small and normal there: steps follow the gradient's sign, not its size.
    let mut weight = Tensor::new([0.5]);
    let mut optimizer = Adam { epsilon: 0.0, ..Adam::new(0.01) }.into_optimizer().unwrap();
    for _ in 0..2 {
        let gradient = Some(Tensor::new([1e-100]));
        optimizer.apply(&mut [ParameterUpdate { name: "w", value: &mut weight, gradient }]).unwrap();
    }
    assert!((weight.to_vec::<f64>().unwrap()[0] - 0.48).abs() < 1e-12);
}

/// Resident memory of this process in bytes, where the system tells it.
fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
}

/// The memory of a process of its own: the other tests' would be counted here.
#[test]
fn fits_do_not_gather_memory() {
    let program = std::env::current_exe().unwrap();
    let arguments = ["training::three_hundred_fits", "--exact", "--ignored", "--test-threads=1"];
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by fits_do_not_gather_memory in a process of its own"]
fn three_hundred_fits() {
    let (train, _) = datasets::digits().unwrap();
    let train = train.take(512).unwrap();
    let fit = || {
        let model = Sequential::new([28, 28])
            .add(Flatten::new())
            .add(Dense::new(128).activation("relu"))
            .add(Dropout::new(0.2));
        let mut model = model
            .add(Dense::new(10).activation("softmax"))
            .compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
            .unwrap();
        model.fit(&train, quiet().epochs(2).validation_split(0.2)).unwrap();
    };
    let mut streamed = classifier(0);
    let endless = Stream::new(|_| (0..).map(|batch| Ok(points(32, batch))));
    let mut all = || {
        fit();
        streamed.fit(&endless, quiet().epochs(2).steps_per_epoch(3)).unwrap();
    };
    (0..20).for_each(|_| all());
    let Some(before) = resident_bytes() else { return };
    (0..300).for_each(|_| all());
    let grown = resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < 4 << 20, "300 fits left {grown} bytes behind");
}
