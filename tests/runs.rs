//! What goes wrong in the training loops of others, and the settings of a run: each fault that users have reported, with the right
//! value. Runs that are put down are in `resume.rs`.

use crate::training::{assert_same_bits, classifier, folder, points, quiet, weights};
use kiln::nn::ops::Value;
use kiln::nn::optimizers::{Adam, SGD};
use kiln::nn::{Initializer, Parameter, Pass};
use kiln::prelude::*;
use kiln::train::splits::KFold;
use kiln::train::{StopReason, Stream, cross_validate};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// One number `w`, whose prediction is itself.
#[derive(Debug)]
struct Number {
    w: Parameter,
}

impl Module for Number {
    kiln::nn::parameters!(w);

    fn forward(&self, x: &Var, pass: &mut Pass) -> kiln::nn::Result<Var> {
        Ok(pass.parameter(&self.w).expand(Value::shape(x))?)
    }
}

/// It, made small as its square: from 1 with a rate of 1.5 to -2, 4, -8; so its losses are 1, 4, 16.
fn number(optimizer: impl IntoOptimizer) -> Model<Number> {
    let w = Parameter::new(Tensor::new([[1.0f32]]));
    Number { w }.compile(optimizer, "mse", ()).unwrap()
}

fn zeros(n: usize) -> Dataset {
    Dataset::new(Tensor::zeros([n, 1]).unwrap(), Tensor::zeros([n, 1]).unwrap()).unwrap()
}

fn value(model: &Model<Number>) -> f64 {
    weights(model)[0].1.item().unwrap()
}

#[test]
fn the_weights_put_back_are_those_that_were_measured() {
    let restore = |monitor: &str| EarlyStopping::new().monitor(monitor).patience(5).verbose(false);
    let mut model = number(SGD::new(1.5));
    let history = model.fit(&zeros(1), quiet().epochs(3).callback(restore("loss"))).unwrap();
    assert_eq!(history.get("loss").unwrap(), [1.0, 4.0, 16.0]);
    assert_eq!(value(&model), 1.0, "loss was measured before the update");

    let mut model = number(SGD::new(1.5));
    let data = zeros(1);
    let history = model.fit(&data, quiet().epochs(3).validation_data(&data).callback(restore("val_loss"))).unwrap();
    assert_eq!(history.get("val_loss").unwrap(), [4.0, 16.0, 64.0]);
    assert_eq!(value(&model), -2.0, "val_loss after it");

    // What accumulation holds back, or an average, does not move them any more.
    let data = zeros(6);
    for optimizer in [SGD::new(1.5).gradient_accumulation_steps(4), SGD::new(1.5).use_ema(true).ema_momentum(0.5)] {
        let mut model = number(optimizer);
        let fit = quiet().epochs(3).batch_size(1).validation_data(&data).callback(restore("val_loss"));
        let history = model.fit(&data, fit).unwrap();
        let best = history.best_value("val_loss", Mode::Min).unwrap();
        assert_eq!(model.evaluate(&data).unwrap().get("loss").unwrap(), best);
    }
}

#[test]
fn a_callback_begins_each_fit_afresh() {
    let stopping = EarlyStopping::new().patience(1).verbose(false);
    let data = points(60, 1);
    let run = |stopping: EarlyStopping| {
        classifier(0).fit(&data, quiet().epochs(8).validation_split(0.25).callback(stopping)).unwrap()
    };
    let first = run(stopping.clone());
    assert_eq!(run(stopping).get("val_loss"), first.get("val_loss"));
}

#[test]
fn freezing_survives_a_file() {
    let folder = folder("frozen");
    let path = folder.join("model.safetensors");
    let mut model = classifier(1);
    model.set_trainable("dense/*", false).unwrap();
    model.save(&path).unwrap();
    let mut loaded = Model::load(&path).unwrap();
    let before = weights(&loaded);
    loaded.fit(&points(40, 1), quiet()).unwrap();
    for ((name, before), (_, after)) in before.iter().zip(&weights(&loaded)) {
        assert_eq!(before.same_bits(after), name.starts_with("dense/"), "{name}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn one_model_predicts_for_sixteen_threads() {
    fn shared<T: Sync + Send + Clone>(_: &T) {}
    let model = classifier(1);
    shared(&model);
    let x = Key::new(1).normal([7, 2], 0.0, 1.0).unwrap();
    let alone = classifier(1).predict(&x).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..50).for_each(|_| assert!(model.predict(&x).unwrap().same_bits(&alone))));
        }
    });
}

#[test]
fn predictors_give_what_the_model_gives() {
    let model = classifier(1);
    let x = Key::new(1).normal([3, 2], 0.0, 1.0).unwrap();
    let want = model.predict(&x).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut predictor = model.predictor(&[&x]).unwrap();
                (0..20).for_each(|_| assert!(predictor.predict(&[&x]).unwrap().same_bits(&want)));
                let error = predictor.predict(&[&want.slice(0, 0..1).unwrap()]).unwrap_err().to_string();
                assert!(error.contains("the predictor is for [3, 2] (f32), found [1, 2] (f32)"), "{error}");
                assert!(predictor.predict(&[&x]).unwrap().same_bits(&want));
            });
        }
    });
    let error = model.predictor(&[&Tensor::zeros([3, 5]).unwrap()]).unwrap_err().to_string();
    assert!(error.contains("expects batches of shape (None, 2), found [3, 5]"), "{error}");
}

#[test]
fn a_clone_goes_on_by_itself() {
    let (data, fit) = (points(40, 1), || quiet().epochs(2));
    let mut model = classifier(1);
    model.fit(&data, fit()).unwrap();
    let mut clone = model.clone();
    let before = weights(&model);
    clone.fit(&data, fit().seed(1)).unwrap();
    assert_same_bits(&before, &weights(&model));
    model.fit(&data, fit().seed(1)).unwrap();
    assert_same_bits(&weights(&clone), &weights(&model));
}

#[test]
fn weights_of_classes_come_from_labels_of_any_form() {
    let labels = Tensor::new([0i64, 1, 2, 3]);
    let one_hot = Tensor::eye(4, 4).unwrap();
    let x = Key::new(0).normal([4, 3], 0.0, 1.0).unwrap();
    let loss = |y: &Tensor, loss: &str, weights: &[(usize, f64)]| {
        let net = Sequential::new([3]).seed(1).add(Dense::new(4).activation("softmax"));
        let fit = quiet().batch_size(4).class_weight(weights.to_vec());
        net.compile("sgd", loss, ())
            .unwrap()
            .fit(&Dataset::new(x.clone(), y.clone()).unwrap(), fit)
            .map(|h| h.last("loss").unwrap())
    };
    let weights = [(0, 0.1), (2, 0.3)];
    let sparse = loss(&labels, "sparse_categorical_crossentropy", &weights).unwrap();
    assert!((loss(&one_hot, "categorical_crossentropy", &weights).unwrap() - sparse).abs() < 1e-6);
    let plain = loss(&labels, "sparse_categorical_crossentropy", &[]).unwrap();
    assert!(sparse < 0.8 * plain);
    let error = loss(&labels, "sparse_categorical_crossentropy", &[(7, 0.5)]).unwrap_err().to_string();
    assert!(error.contains("class 7 does not occur"), "{error}");
    let error = loss(&labels, "sparse_categorical_crossentropy", &[(1, 0.5), (1, 2.0)]).unwrap_err().to_string();
    assert!(error.contains("class 1 has several weights"), "{error}");
    let none = [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0)];
    let error = loss(&labels, "sparse_categorical_crossentropy", &none).unwrap_err().to_string();
    assert!(error.contains("every class has the weight 0"), "{error}");
    let weights = Tensor::new([1.0, f64::NAN]);
    let error = points(2, 1).sample_weight(weights).unwrap_err().to_string();
    assert!(error.contains("the weight of sample 1 is NaN"), "{error}");
    let error = classifier(0).fit(&points(9, 1), quiet().class_weight("balance")).unwrap_err().to_string();
    assert!(error.contains("did you mean `balanced`"), "{error}");
}

#[test]
fn a_weight_may_name_a_class_that_only_the_validation_part_has() {
    let x = Key::new(0).normal([40, 2], 0.0, 1.0).unwrap();
    let labels = Tensor::from_vec((0..40i64).map(|i| if i == 39 { 3 } else { i % 3 }).collect(), [40]).unwrap();
    let data = Dataset::new(x, labels).unwrap();
    let fit = |split: Fit<'static>, weights: &[(usize, f64)]| {
        let net = Sequential::new([2]).add(Dense::new(4).activation("softmax"));
        let mut model = net.compile("sgd", "sparse_categorical_crossentropy", ()).unwrap();
        model.fit(&data, split.class_weight(weights.to_vec())).map(|_| ())
    };
    for split in [|| quiet().validation_last(0.1), || quiet().seed(7).validation_split(0.5), quiet] {
        fit(split(), &[(0, 2.0), (3, 1.0)]).unwrap();
        let error = fit(split(), &[(4, 1.0)]).unwrap_err().to_string();
        assert!(error.contains("class 4 does not occur") && error.contains("from 0 to 3"), "{error}");
    }
    fit(quiet().validation_last(0.1).class_weight("balanced"), &[]).unwrap();
}

#[test]
fn rows_of_numbers_are_no_classes() {
    let x = Tensor::zeros([3, 2]).unwrap();
    let classes = |y: Tensor| Dataset::new(x.clone(), y).unwrap().classes();
    assert_eq!(classes(Tensor::new([[0.2f32, 1.5], [3.0, -0.5], [0.0, 0.0]])), None);
    assert_eq!(classes(Tensor::new([[1i64, 1, 0], [0, 1, 0], [0, 0, 1]])), None, "several labels at once");
    assert_eq!(classes(Tensor::new([[f32::NAN, 1.0], [0.0, 1.0], [1.0, 0.0]])), None);
    assert_eq!(classes(Tensor::new([0.5f32, 1.0, 2.0])), None);
    assert_eq!(classes(Tensor::new([[0.0f32, 1.0], [1.0, 0.0], [0.05, 0.95]])), Some(vec![1, 0, 1]));
    assert_eq!(classes(Tensor::new([[false, true], [true, false], [true, false]])), Some(vec![1, 0, 0]));
    assert_eq!(classes(Tensor::new([[2.0f32], [0.0], [1.0]])), Some(vec![2, 0, 1]));
    let data = Dataset::new(x.clone(), Tensor::new([[0.2f32, 1.5], [3.0, -0.5], [0.0, 0.0]])).unwrap();
    let mut model = Sequential::new([2]).add(Dense::new(2)).compile("sgd", "mse", ()).unwrap();
    let error = model.fit(&data, quiet().class_weight("balanced")).unwrap_err().to_string();
    assert!(error.contains("the targets are no classes") && error.contains("sample_weight"), "{error}");
    assert!(data.split_stratified(0.5, 0).unwrap_err().to_string().contains("needs classes"));
}

/// Keras gives 1.0032 here: ignored rows divide its batches' means.
#[test]
fn the_loss_of_an_epoch_is_that_of_the_rows_that_count() {
    use kiln::nn::losses::{Reduction, SparseCategoricalCrossentropy};
    // 1 row of a loss of ln 2 among ignored ones, then 10 of ln(1 + e).
    let x: Vec<f32> = (0..40).map(|i| if i >= 20 && i % 2 == 0 { 1.0 } else { 0.0 }).collect();
    let labels: Vec<i64> = (0..20)
        .map(|i| {
            if i == 0 {
                0
            } else if i < 10 {
                -1
            } else {
                1
            }
        })
        .collect();
    let data = Dataset::new(Tensor::from_vec(x, [20, 2]).unwrap(), Tensor::from_vec(labels, [20]).unwrap()).unwrap();
    let loss = SparseCategoricalCrossentropy::new().from_logits(true).ignore_class(Some(-1));
    for reduction in [Reduction::default(), Reduction::MeanWithSampleWeight] {
        let same = Dense::new(2).kernel_initializer(Initializer::Identity { gain: 1.0 });
        let net = Sequential::new([2]).add(same);
        let mut model = net.compile(SGD::new(0.0), loss.clone().reduction(reduction), ()).unwrap();
        let fit = quiet().batch_size(10).shuffle(false).validation_data(&data).epochs(4);
        let history = model.fit(&data, fit).unwrap();
        let evaluated = model.evaluate(&data).unwrap().get("loss").unwrap();
        let all = history.get("loss").unwrap().iter().chain(history.get("val_loss").unwrap()).chain([&evaluated]);
        all.for_each(|found| assert!((found - 1.2568876414311065).abs() < 1e-6, "{reduction:?}: {found}"));
    }
}

#[test]
fn every_number_of_callbacks_and_fits_has_a_range() {
    let data = points(40, 1);
    let one = |fit: Fit<'static>| classifier(0).fit(&data, fit.validation_data(&data)).map(|_| ());
    for bad in [f64::NAN, f64::NEG_INFINITY, -0.5, f64::INFINITY] {
        let early = || EarlyStopping::new().patience(2);
        let plateau = ReduceLROnPlateau::new;
        let is_number = bad.is_finite();
        // A value may be of any sign.
        let of_values: [(&str, Fit<'static>); 2] = [
            ("baseline is", quiet().callback(early().baseline(bad))),
            ("initial_value_threshold is", quiet().callback(ModelCheckpoint::new("x").initial_value_threshold(bad))),
        ];
        let refused: [(&str, Fit<'static>); 5] = [
            ("min_delta is", quiet().callback(early().min_delta(bad))),
            ("factor is", quiet().callback(plateau().factor(bad))),
            ("min_delta is", quiet().callback(plateau().min_delta(bad))),
            ("min_lr is", quiet().callback(plateau().min_lr(bad))),
            ("the function gave", quiet().callback(LearningRateScheduler::new(move |_, _| bad))),
        ];
        let of_values = of_values.into_iter().filter(|(name, _)| match *name {
            "baseline is" => !is_number,
            _ => bad.is_nan(),
        });
        for (name, fit) in refused.into_iter().chain(of_values) {
            let error = one(fit).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("help: "), "{bad}: {error}");
        }
        for fit in [
            quiet().validation_split(bad),
            quiet().stratified_validation_split(bad),
            quiet().validation_last(bad),
            quiet().class_weight([(0, bad)]),
        ] {
            let error = classifier(0).fit(&data, fit).unwrap_err().to_string();
            assert!(error.contains(&bad.to_string()) && error.contains("help: "), "{bad}: {error}");
        }
        let mut model = classifier(0);
        let rate = model.optimizer().learning_rate();
        let error = model.set_learning_rate(bad).unwrap_err().to_string();
        assert!(error.contains(&format!("the learning rate is {bad}")) && error.contains("help: "), "{error}");
        assert_eq!(model.optimizer().learning_rate(), rate);
    }
    for (name, fit) in [
        ("batch size", quiet().batch_size(0)),
        ("batch size", quiet().validation_batch_size(0)),
        ("validation_freq", quiet().validation_freq(0)),
        ("steps_per_epoch", quiet().steps_per_epoch(0)),
        ("validation_steps", quiet().validation_steps(0)),
        ("validation_every_steps", quiet().validation_every_steps(0)),
        ("save_every_batches", quiet().callback(ModelCheckpoint::new("x").save_every_batches(0))),
        ("keep_last", quiet().callback(ModelCheckpoint::new("{epoch}").keep_last(0))),
    ] {
        let error = one(fit).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("help: "), "{error}");
    }
}

#[test]
fn no_metric_has_the_name_of_a_column_of_the_log() {
    for name in ["epoch", "seconds", "learning_rate", "loss"] {
        let mut metric = metrics::MeanAbsoluteError::new();
        metric.name = name.into();
        let error = Sequential::new([2]).add(Dense::new(1)).compile("sgd", "mse", metric).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}`")) && error.contains("help: "), "{error}");
    }
}

#[test]
fn epochs_of_any_number_of_steps() {
    let data = points(40, 1);
    // Two passes of five batches as five epochs of two.
    let (mut passes, mut epochs) = (classifier(0), classifier(0));
    passes.fit(&data, quiet().epochs(2).batch_size(8)).unwrap();
    let history = epochs.fit(&data, quiet().epochs(5).batch_size(8).steps_per_epoch(2)).unwrap();
    assert_same_bits(&weights(&passes), &weights(&epochs));
    assert_eq!((history.len(), history.params.steps), (5, Some(2)));
}

#[test]
fn a_stream_trains_as_the_same_data_in_memory() {
    let data = points(40, 1);
    let parts = data.clone();
    let stream = Stream::new(move |_| {
        let parts = parts.clone();
        (0..5).map(move |i| parts.range(8 * i, 8 * i + 8))
    });
    let (mut whole, mut streamed) = (classifier(0), classifier(0));
    let fit = || quiet().epochs(3).batch_size(8).shuffle(false).validation_data(&data);
    let a = whole.fit(&data, fit()).unwrap();
    let b = streamed.fit(&stream, fit()).unwrap();
    assert_same_bits(&weights(&whole), &weights(&streamed));
    assert_eq!((a.get("val_loss"), a.get("loss")), (b.get("val_loss"), b.get("loss")));
    assert_eq!(b.params.steps, Some(5), "known after the first pass");
}

#[test]
fn a_stream_is_evaluated_and_validates() {
    let data = points(40, 1);
    let parts = data.clone();
    let stream = Stream::new(move |_| {
        let parts = parts.clone();
        (0..5).map(move |i| parts.range(8 * i, 8 * i + 8))
    });
    let model = classifier(0);
    let (whole, streamed) = (model.evaluate(&data).unwrap(), model.evaluate(&stream).unwrap());
    for name in ["loss", "accuracy"] {
        assert!((whole.get(name).unwrap() - streamed.get(name).unwrap()).abs() < 1e-6, "{whole} {streamed}");
    }
    // Batches of the same size have the same bits; of three batches both take the same.
    for steps in [None, Some(3)] {
        let fit = |fit: Fit<'static>| match steps {
            Some(steps) => fit.batch_size(8).epochs(2).validation_steps(steps),
            None => fit.batch_size(8).epochs(2),
        };
        let a = classifier(0).fit(&data, fit(quiet()).validation_data(&data)).unwrap();
        let b = classifier(0).fit(&data, fit(quiet()).validation_data(&stream)).unwrap();
        assert_eq!((a.get("val_loss"), a.get("val_accuracy")), (b.get("val_loss"), b.get("val_accuracy")));
    }
    let error = model.evaluate(&Stream::new(|_| [])).unwrap_err().to_string();
    assert!(error.contains("gave no batch to evaluate"), "{error}");
    let odd =
        Stream::new(|_| [Ok(points(8, 1)), Dataset::new(Tensor::zeros([4, 3]).unwrap(), Tensor::zeros([4]).unwrap())]);
    let error = model.evaluate(&odd).unwrap_err().to_string();
    assert!(error.contains("in batch 2"), "{error}");
}

#[test]
fn how_data_lie_decides_no_bits() {
    let dense = Key::new(0).normal([40, 6, 5], 0.0, 1.0).unwrap();
    let turned = dense.permute(&[0, 2, 1]).unwrap().flatten(0, -1).unwrap().reshape([40, 5, 6]).unwrap();
    let turned = turned.permute(&[0, 2, 1]).unwrap();
    let model = || {
        let net = Sequential::new([6, 5]).seed(1).add(GlobalAveragePooling1D::new()).add(Dense::new(1));
        net.compile("sgd", "mse", ()).unwrap()
    };
    let run = |x: &Tensor| {
        let data = Dataset::new(x.clone(), Tensor::ones([40, 1]).unwrap()).unwrap();
        let mut model = model();
        let history = model.fit(&data, quiet().shuffle(false).batch_size(8).validation_data(&data)).unwrap();
        (weights(&model), history.get("val_loss").unwrap().to_vec(), model.predict(x).unwrap())
    };
    let (a, b) = (run(&dense), run(&turned));
    assert_same_bits(&a.0, &b.0);
    assert!(a.1 == b.1 && a.2.same_bits(&b.2));
}

#[test]
fn validation_data_that_do_not_fit_end_a_run_before_its_first_step() {
    let data = points(40, 1);
    let wide = Dataset::new(Tensor::zeros([9, 5]).unwrap(), Tensor::zeros([9]).unwrap()).unwrap();
    let mut model = classifier(0);
    let before = weights(&model);
    let error = model.fit(&data, quiet().validation_data(&wide)).unwrap_err().to_string();
    assert!(error.contains("in the validation before the first step"), "{error}");
    assert_same_bits(&before, &weights(&model));
    let error = model.fit(&data, quiet().validation_split(0.2).validation_data(&data)).unwrap_err().to_string();
    assert!(error.contains("the validation data are named twice"), "{error}");
}

#[test]
fn a_callback_that_is_lent_can_be_read_afterwards() {
    #[derive(Default)]
    struct Counter(usize);
    impl Callback for Counter {
        fn name(&self) -> &str {
            "Counter"
        }
        fn on_epoch_end(&mut self, epoch: usize, _: &mut Logs, _: &mut dyn Control) -> Result<()> {
            self.0 += 1;
            if epoch == 2 { Err(Error::data("enough", "")) } else { Ok(()) }
        }
    }
    let mut counter = Counter::default();
    let error = classifier(0).fit(&points(8, 1), quiet().epochs(9).callback(&mut counter)).unwrap_err().to_string();
    assert!(error.contains("enough\n  of the callback Counter, in epoch 3"), "{error}");
    assert_eq!(counter.0, 3);
}

#[test]
fn what_a_stream_cannot_do_is_said() {
    let fit = |stream: &Stream, fit: Fit<'static>| classifier(0).fit(stream, fit).unwrap_err().to_string();
    let good = Stream::new(|_| [Ok(points(8, 1))]);
    for (error, part) in [
        (fit(&good, quiet().validation_split(0.2)), "cannot be split"),
        (fit(&good, quiet().class_weight("balanced")), "for data in memory"),
        (fit(&Stream::new(|_| []), quiet()), "gave no batch in pass 1"),
        (fit(&Stream::new(|pass| (pass..1).map(|_| Ok(points(8, 1)))), quiet().epochs(2)), "gave no batch in pass 2"),
        (
            fit(&Stream::new(|_| [Ok(points(8, 1)), Err(Error::data("a torn file", ""))]), quiet()),
            "in batch 2 of pass 1",
        ),
        (
            fit(
                &Stream::new(|_| {
                    [Dataset::new([Tensor::new([[1.0f32]]), Tensor::new([[1.0f32]])], Tensor::new([0i64]))]
                }),
                quiet(),
            ),
            "in batch 1 of pass 1",
        ),
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_batch_of_a_stream_that_does_not_fit_is_told_by_its_number() {
    let batch = |columns: usize| Dataset::new(Tensor::zeros([4, columns]).unwrap(), Tensor::zeros([4, 1]).unwrap());
    let stream = Stream::new(move |_| [2, 2, 3, 2].into_iter().map(batch));
    let mut model = Sequential::new([2]).add(Dense::new(1)).compile("sgd", "mse", ()).unwrap();
    let error = model.fit(&stream, quiet()).unwrap_err().to_string();
    assert!(error.contains("in epoch 1, batch 3"), "{error}");
}

/// A parameter that is used by its tensor and not through the pass, so that no gradient finds it.
#[derive(Debug)]
struct Unbound {
    bound: Parameter,
    unbound: Parameter,
}

impl Module for Unbound {
    kiln::nn::parameters!(bound, unbound);

    fn forward(&self, x: &Var, pass: &mut Pass) -> kiln::nn::Result<Var> {
        Ok(x.mul(&pass.parameter(&self.bound))?.add(&Var::new(self.unbound.tensor.clone()))?)
    }
}

#[test]
#[ignore = "a child of the test below"]
fn odd_runs_child() {
    let one = || Parameter::new(Tensor::new([[1.0f32]]));
    let fit = || Fit::new().epochs(3).verbose(Verbosity::Line);
    let mut model = Unbound { bound: one(), unbound: one() }.compile("sgd", "mse", ()).unwrap();
    model.fit(&zeros(4), fit()).unwrap();
    // Frozen on purpose is not odd.
    model.set_trainable("unbound", false).unwrap();
    model.fit(&zeros(4), fit()).unwrap();
    number(SGD::new(1e30)).fit(&zeros(4), fit()).unwrap();
}

#[test]
fn what_is_odd_in_a_run_is_said_once() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "runs::odd_runs_child", "--ignored", "--nocapture"]);
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let times = |text: &str| said.matches(text).count();
    assert_eq!(times("The loss does not depend on `unbound`, which therefore cannot be trained"), 1, "{said}");
    assert_eq!(times("The loss is no number any more"), 1, "{said}");
    assert_eq!(times("3/3"), 3, "{said}");
}

#[test]
fn settings_of_validation() {
    let (data, validation) = (points(40, 1), points(50, 2));
    let loss = |fit: Fit<'_>| classifier(0).fit(&data, fit).unwrap().last("val_loss").unwrap();
    let first = validation.take(16).unwrap();
    let fit = || quiet().batch_size(8);
    let some = loss(fit().validation_data(&validation).validation_steps(2));
    assert_eq!(some, loss(fit().validation_data(&first)));
    assert_ne!(some, loss(fit().validation_data(&validation)));
    // A look before the first step changes nothing, and finds what is wrong there.
    assert_eq!(some, loss(fit().validation_data(&first).sanity_validation(1)));
    let wrong = Dataset::new(Tensor::zeros([4, 3]).unwrap(), Tensor::new([0i64, 0, 1, 1])).unwrap();
    let mut model = classifier(0);
    let before = weights(&model);
    let error = model.fit(&data, fit().validation_data(&wrong).sanity_validation(1)).unwrap_err().to_string();
    assert!(error.contains("in the validation before the first step"), "{error}");
    assert_same_bits(&before, &weights(&model));
    for bad in [fit().sanity_validation(1), fit().validation_steps(3), fit().validation_every_steps(3)] {
        let error = classifier(0).fit(&data, bad).unwrap_err().to_string();
        assert!(error.contains("without anything to validate on"), "{error}");
    }
}

#[test]
fn validation_within_epochs() {
    let (data, validation) = (points(40, 1), points(50, 2));
    let heard = Arc::new(Mutex::new(Vec::new()));
    struct Ear(Arc<Mutex<Vec<u64>>>);
    impl Callback for Ear {
        fn name(&self) -> &str {
            "Ear"
        }
        fn on_validation_end(&mut self, steps: u64, logs: &Logs, _: &mut dyn Control) -> Result<()> {
            assert!(logs.get("val_loss").is_some() && logs.get("loss").is_none());
            self.0.lock().unwrap().push(steps);
            Ok(())
        }
    }
    let fit = quiet().batch_size(8).epochs(3).validation_data(&validation).validation_every_steps(2);
    let history = classifier(0).fit(&data, fit.callback(Ear(heard.clone()))).unwrap();
    assert_eq!(*heard.lock().unwrap(), [2, 4, 6, 8, 10, 12, 14]);
    let measured: Vec<f64> = history.validations().iter().map(|(_, logs)| logs.get("val_loss").unwrap()).collect();
    assert_eq!(history.get("val_loss").unwrap(), [measured[1], measured[4], measured[6]]);
    // It is the validation of a run that ends there.
    let whole = classifier(0).fit(&data, quiet().batch_size(8).epochs(2).validation_data(&validation)).unwrap();
    assert_eq!(whole.last("val_loss"), Some(measured[4]));
    let folder = folder("validations");
    history.to_json(folder.join("history.json")).unwrap();
    assert_eq!(History::from_json(folder.join("history.json")).unwrap(), history);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn one_batch_is_learnt_by_heart() {
    let data = points(100, 1);
    let net =
        || Sequential::new([2]).seed(1).add(Dense::new(32).activation("tanh")).add(Dense::new(2).activation("softmax"));
    let model = || net().compile(Adam::new(0.05), "sparse_categorical_crossentropy", ["accuracy"]).unwrap();
    let history = model().fit(&data, quiet().epochs(200).batch_size(16).overfit_one_batch()).unwrap();
    assert_eq!(history.params.steps, Some(1));
    assert!(history.last("loss").unwrap() < 0.1 && history.last("val_accuracy").unwrap() > 0.95, "{history}");
    let stream = Stream::new(|pass| (0..9).map(move |i| Ok(points(16, 9 * pass as u64 + i))));
    let history = model().fit(&stream, quiet().epochs(200).overfit_one_batch()).unwrap();
    assert!(history.last("loss").unwrap() < 0.1, "{history}");
}

/// Trains until it is told to stop, and then says what was left.
#[test]
#[ignore = "a child of the test below"]
fn interrupted_child() {
    let Some(folder) = std::env::var_os("KILN_INTERRUPTED").map(std::path::PathBuf::from) else { return };
    let ready = folder.join("ready");
    let callback = LambdaCallback::new().on_epoch_end(move |epoch, _, _| {
        if epoch == 1 {
            std::fs::write(&ready, "").unwrap();
        }
        Ok(())
    });
    let end = folder.join("end");
    let ends = LambdaCallback::new().on_train_end(move |_| {
        std::fs::write(&end, "").unwrap();
        Ok(())
    });
    let history =
        classifier(0).fit(&points(3200, 1), quiet().epochs(usize::MAX).callback(callback).callback(ends)).unwrap();
    history.to_json(folder.join("history.json")).unwrap();
}

/// Whether this process would hear Ctrl-C: one that was started in the background of a shell ignores it, and so do its children.
#[cfg(unix)]
fn hears_interrupts() -> bool {
    const SIGINT: u64 = 1 << 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_none_or(|ignored| ignored & SIGINT == 0)
}

/// Runs a test of this program as a child, and presses Ctrl-C as soon as it has written `ready`.
#[cfg(unix)]
fn interrupt(test: &str, folder: &std::path::Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--quiet"])
        .env("KILN_INTERRUPTED", folder)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !folder.join("ready").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_the_epochs_that_are_whole() {
    if !hears_interrupts() {
        return;
    }
    let folder = folder("interrupted");
    interrupt("runs::interrupted_child", &folder);
    let history = History::from_json(folder.join("history.json")).unwrap();
    assert!(history.was_interrupted() && history.len() >= 2);
    let Some(StopReason::Interrupted { epoch }) = history.stopped else { unreachable!() };
    assert!(epoch + 1 == history.len() || epoch == history.len(), "{epoch} of {}", history.len());
    assert!(folder.join("end").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

/// Trains a model for each of three folds, the second without end.
#[test]
#[ignore = "a child of the test below"]
fn interrupted_folds_child() {
    let Some(folder) = std::env::var_os("KILN_INTERRUPTED").map(std::path::PathBuf::from) else { return };
    let mut fold = 0;
    let ready = folder.join("ready");
    let fit = || {
        fold += 1;
        let (is_second, ready) = (fold == 2, ready.clone());
        let callback = LambdaCallback::new().on_epoch_end(move |_, _, _| {
            if is_second {
                std::fs::write(&ready, "").unwrap();
            }
            Ok(())
        });
        quiet().epochs(if is_second { usize::MAX } else { 2 }).callback(callback)
    };
    let data = points(300, 1);
    let result = cross_validate(|_| Ok(classifier(0)), &data, &KFold::new(3), fit).unwrap();
    assert!(result.was_interrupted() && result.folds[0].history.len() == 2);
    std::fs::write(folder.join("folds"), result.to_string()).unwrap();
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_the_folds_that_are_whole() {
    if !hears_interrupts() {
        return;
    }
    let folder = folder("interrupted-folds");
    interrupt("runs::interrupted_folds_child", &folder);
    let text = std::fs::read_to_string(folder.join("folds")).unwrap();
    assert!(text.starts_with("interrupted: 1 of 3 folds\n") && text.contains("accuracy"), "{text}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_layer_that_files_would_confuse_with_their_own_is_refused() {
    for name in ["optimizer", "run"] {
        let model = Sequential::new([2]).add_named(name, Dense::new(1)).compile("sgd", "mse", ());
        let error = model.unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}/kernel`")) && error.contains("another name"), "{error}");
    }
    assert!(
        Sequential::new([2])
            .add_named("runner", Dense::new(1).kernel_initializer(Initializer::Ones))
            .compile("sgd", "mse", ())
            .is_ok()
    );
}
