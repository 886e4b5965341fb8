//! How steps of training are run: as plans with the bits of their operations, updating parameters where they lie, under a
//! watch; and that a step which fails loses nothing.

use crate::training::{assert_same_bits, classifier, points, quiet, weights};
use kiln::nn::losses::LossFn;
use kiln::nn::optimizers::SGD;
use kiln::nn::optimizers::{Iteration, Settings, Step, UpdateRule};
use kiln::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory that an update does not write anew is not fetched: what holds a parameter for longer than it must costs time.
#[test]
fn a_step_updates_parameters_where_they_lie() {
    let mut model = classifier(1);
    let data = points(32, 1);
    let places = |model: &Model| -> Vec<(String, *const f32)> {
        let tensors = weights(model).into_iter();
        tensors.map(|(name, x)| (name, x.as_slice::<f32>().expect("parameters lie dense").as_ptr())).collect()
    };
    let (x, y) = (&data.x().unwrap(), data.y());
    for eagerly in [true, false] {
        model = model.run_eagerly(eagerly);
        // Those that make a plan and check it need the old values, and write beside them.
        (0..4).for_each(|_| _ = model.train_on_batch(x, y).unwrap());
        let before = places(&model);
        model.train_on_batch(x, y).unwrap();
        let moves = |name: &str| name.contains("moving");
        let (before, after): (Vec<_>, Vec<_>) =
            before.into_iter().zip(places(&model)).filter(|(b, _)| !moves(&b.0)).unzip();
        assert_eq!(before, after, "eagerly: {eagerly}");
    }
}

/// What a model has learned and measured after three epochs with a last batch that is smaller, and how its steps were run.
fn trained(
    build: &dyn Fn() -> Model,
    data: &Dataset,
    fit: &dyn Fn() -> Fit<'static>,
    eagerly: bool,
) -> (Model, History) {
    let mut model = build().run_eagerly(eagerly);
    let history = model.fit(data, fit().epochs(3).batch_size(32)).unwrap();
    (model, history)
}

/// Steps that are plans give the bits of steps one operation at a time; `planned` says whether there is a plan.
#[track_caller]
fn assert_plans_change_nothing(
    build: &dyn Fn() -> Model,
    data: &Dataset,
    fit: &dyn Fn() -> Fit<'static>,
    planned: bool,
    what: &str,
) {
    let (eager, by_operations) = trained(build, data, fit, true);
    let (model, history) = trained(build, data, fit, false);
    assert!(eager.explain().contains("run_eagerly was asked for"));
    assert_eq!(model.explain().starts_with("for batches of"), planned, "{what}: {}", model.explain());
    for ((name, a), (_, b)) in weights(&model).iter().zip(&weights(&eager)) {
        assert!(a.same_bits(b), "{what}: {name} differs");
    }
    for ((name, a), (_, b)) in model.optimizer().state().iter().zip(&eager.optimizer().state()) {
        assert!(a.same_bits(b), "{what}: {name} differs");
    }
    for name in history.names() {
        assert_eq!(history.get(name), by_operations.get(name), "{what}: {name}");
    }
}

/// A rule of several operations, with a slot and a number that changes from update to update.
#[derive(Debug, Clone)]
struct Damped(Settings);

impl UpdateRule for Damped {
    fn name(&self) -> &str {
        "Damped"
    }
    fn settings(&self) -> &Settings {
        &self.0
    }
    fn arguments(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn boxed(&self) -> Box<dyn UpdateRule> {
        Box::new(self.clone())
    }
    fn slots(&self, parameter: Spec) -> Vec<(&'static str, Tensor)> {
        vec![("mean", Tensor::filled(parameter, 0.0))]
    }
    fn numbers(&self, iteration: &Iteration) -> Vec<f64> {
        vec![1.0 / iteration.number.sqrt()]
    }
    fn update(&self, step: &Step, x: Vec<Tensor>) -> kiln::nn::Result<Vec<Tensor>> {
        let mean = x[2].mul(0.9)?.add(&x[1].mul(&step.numbers[0])?)?;
        Ok(vec![x[0].sub(&mean.mul(&step.rate)?)?, mean])
    }
}

#[test]
fn a_planned_step_has_the_bits_of_its_operations() {
    use kiln::nn::optimizers::*;
    use kiln::nn::schedules::ExponentialDecay;
    let data = points(32 * 6 + 7, 5);
    let net =
        || Sequential::new([2]).seed(3).add(Dense::new(9).activation("tanh")).add(Dense::new(2).activation("softmax"));
    let loss = "sparse_categorical_crossentropy";
    let optimizers: Vec<(&str, Box<dyn Fn() -> Optimizer>, bool)> = vec![
        ("sgd", Box::new(|| SGD::new(0.1).into_optimizer().unwrap()), true),
        ("nesterov", Box::new(|| SGD::new(0.1).momentum(0.9).nesterov(true).into_optimizer().unwrap()), true),
        ("schedule", Box::new(|| Adam::new(ExponentialDecay::new(0.1, 3, 0.7)).into_optimizer().unwrap()), true),
        ("clipnorm", Box::new(|| Adam::new(0.01).clipnorm(0.05).into_optimizer().unwrap()), true),
        ("global_clipnorm", Box::new(|| Adam::new(0.01).global_clipnorm(0.05).into_optimizer().unwrap()), true),
        ("clipvalue", Box::new(|| RMSprop::new(0.01).clipvalue(0.01).into_optimizer().unwrap()), true),
        ("decay", Box::new(|| AdamW::new(0.01).weight_decay(0.1).into_optimizer().unwrap()), true),
        ("accumulation", Box::new(|| Adam::new(0.01).gradient_accumulation_steps(3).into_optimizer().unwrap()), true),
        ("averages", Box::new(|| Adam::new(0.01).use_ema(true).into_optimizer().unwrap()), true),
        (
            "overwritten",
            Box::new(|| Adam::new(0.01).use_ema(true).ema_overwrite_frequency(2).into_optimizer().unwrap()),
            true,
        ),
        (
            "everything",
            Box::new(|| {
                let adam = AdamW::new(ExponentialDecay::new(0.1, 3, 0.7)).global_clipnorm(0.1).use_ema(true);
                adam.ema_overwrite_frequency(3).gradient_accumulation_steps(2).into_optimizer().unwrap()
            }),
            true,
        ),
        (
            "of a user",
            Box::new(|| {
                Damped(Settings { clipnorm: Some(0.1), weight_decay: Some(0.1), ..Settings::default() })
                    .into_optimizer()
                    .unwrap()
            }),
            true,
        ),
    ];
    for (name, optimizer, planned) in &optimizers {
        let build = || net().compile(optimizer(), loss, ["accuracy", "sparse_categorical_crossentropy"]).unwrap();
        assert_plans_change_nothing(&build, &data, &quiet, *planned, name);
    }
    for name in [
        "sgd",
        "rmsprop",
        "adam",
        "adamw",
        "nadam",
        "adamax",
        "radam",
        "adagrad",
        "adadelta",
        "lion",
        "ftrl",
        "lamb",
        "adafactor",
    ] {
        let build = || net().compile(name, loss, "accuracy").unwrap();
        assert_plans_change_nothing(&build, &data, &quiet, true, name);
    }
    let normalized = || net().add(BatchNormalization::new()).add(Dense::new(2).activation("softmax"));
    let build = || normalized().compile("adam", loss, ["accuracy"]).unwrap();
    assert_plans_change_nothing(&build, &data, &quiet, true, "batch normalization");
    for name in ["adam", "lamb"] {
        let build = || {
            let mut model = net().compile(name, loss, ["accuracy"]).unwrap();
            model.module_mut().parameters_mut(&mut |path, parameter| parameter.trainable = path != "dense/kernel");
            model
        };
        assert_plans_change_nothing(&build, &data, &quiet, true, "a frozen parameter");
    }
    let weighted = || quiet().class_weight(ClassWeight::Balanced).validation_split(0.2);
    let build = || net().compile("adam", loss, ()).unwrap().weighted_metrics(["accuracy"]).unwrap();
    assert_plans_change_nothing(&build, &data, &weighted, true, "class weights");
    assert_plans_change_nothing(&|| classifier(4), &data, &quiet, true, "dropout");
    let build = || net().compile("adam", loss, metrics::SparseTopKCategoricalAccuracy::new().k(1)).unwrap();
    assert_plans_change_nothing(&build, &data, &quiet, true, "top k");
}

#[test]
fn batches_one_by_one_evaluation_and_prediction_are_planned_to_the_same_bits() {
    let (data, few) = (points(256 * 8 + 7, 5), points(64, 6));
    let (x, y) = (few.x().unwrap(), few.y().clone());
    let run = |eagerly| {
        let mut model = classifier(4).run_eagerly(eagerly);
        let logs: Vec<String> = (0..12).map(|_| format!("{:?}", model.train_on_batch(&x, &y).unwrap())).collect();
        assert_eq!(model.explain().starts_with("for batches of"), !eagerly, "{}", model.explain());
        let measured = format!("{:?}", model.evaluate(&data).unwrap());
        (logs, measured, model.predict(&data.x().unwrap()).unwrap(), weights(&model))
    };
    let (planned, eager) = (run(false), run(true));
    assert_eq!((planned.0, planned.1), (eager.0, eager.1));
    assert!(planned.2.same_bits(&eager.2));
    assert_same_bits(&planned.3, &eager.3);
    // A module that does something else each time is not planned.
    let counted = |eagerly| {
        let factor = |passes, _: &Tensor| 1.0 / (1.0 + passes as f64);
        let odd = Odd { weight: Parameter::new(Tensor::ones([2, 1]).unwrap()), passes: AtomicU64::new(0), factor };
        odd.compile("sgd", "mse", ()).unwrap().run_eagerly(eagerly).predict(&data.x().unwrap()).unwrap()
    };
    assert!(counted(false).same_bits(&counted(true)));
}

/// A weight times a number that `forward` makes of what it has counted, or of what it reads.
#[derive(Debug)]
struct Odd {
    weight: Parameter,
    passes: AtomicU64,
    factor: fn(u64, &Tensor) -> f64,
}

impl Module for Odd {
    fn forward(&self, x: &Var, pass: &mut Pass) -> kiln::nn::Result<Var> {
        let factor = (self.factor)(self.passes.fetch_add(1, Ordering::Relaxed), x.tensor());
        Ok(x.matmul(&pass.parameter(&self.weight))?.mul(factor)?)
    }
    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        visit("weight", &self.weight);
    }
    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        visit("weight", &mut self.weight);
    }
}

#[test]
fn what_changes_between_steps_or_reads_values_makes_no_plan() {
    let x = Key::new(2).normal([128, 2], 0.0, 1.0).unwrap();
    let data = Dataset::new(x.clone(), x.sum(keep(-1)).unwrap()).unwrap();
    let cases: [(fn(u64, &Tensor) -> f64, &str); 3] = [
        (|_, _| 0.5, "plan of"),
        (|passes, _| 1.0 / (1.0 + passes as f64), "gave other numbers than the same operations one by one"),
        (|_, x| x.to_vec_as::<f64>()[0], "a recorded value was read on the host"),
    ];
    for (factor, why) in cases {
        let trained = |eagerly| {
            let odd = Odd { weight: Parameter::new(Tensor::ones([2, 1]).unwrap()), passes: AtomicU64::new(0), factor };
            let mut model = odd.compile("sgd", "mse", ()).unwrap().run_eagerly(eagerly);
            model.fit(&data, quiet().batch_size(8)).unwrap();
            (weights(&model), model.explain())
        };
        let (planned, text) = trained(false);
        assert!(text.contains(why), "{text}");
        assert_same_bits(&planned, &trained(true).0);
        // The error of an escape names the line that reads.
        assert!(!why.contains("host") || text.contains("tests/steps.rs:"), "{text}");
    }
}

#[test]
fn a_loss_that_changes_between_epochs_is_noticed() {
    let data = points(64, 3);
    let trained = |eagerly| {
        let factor = std::sync::Arc::new(AtomicU64::new(1));
        let (of_loss, of_callback) = (factor.clone(), factor);
        let loss = LossFn::new("annealed", move |t: &Var, p: &Var| {
            Ok(p.sub(t)?.square()?.mean(-1)?.mul(of_loss.load(Ordering::Relaxed) as i64)?)
        });
        let net = Sequential::new([2]).seed(1).add(Dense::new(1).activation("tanh"));
        let mut model = net.compile("adam", loss, ()).unwrap().run_eagerly(eagerly);
        let grow = LambdaCallback::new().on_epoch_end(move |_, _, _| {
            of_callback.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        let data =
            Dataset::new(data.x().unwrap(), data.y().cast(DType::F32).unwrap().reshape([64, 1]).unwrap()).unwrap();
        let history = model.fit(&data, quiet().epochs(3).batch_size(8).callback(grow)).unwrap();
        (history.get("loss").unwrap().to_vec(), weights(&model))
    };
    let (eager, planned) = (trained(true), trained(false));
    assert_eq!(eager.0, planned.0);
    assert_same_bits(&eager.1, &planned.1);
}

#[test]
fn a_panic_in_a_step_loses_no_parameter() {
    /// Panics in the seventh call of its kernel and later.
    #[derive(Debug, Clone, PartialEq)]
    struct Bomb;
    static CALLS: AtomicU64 = AtomicU64::new(0);
    impl Op for Bomb {
        fn name(&self) -> &str {
            "bomb"
        }
        fn infer(&self, x: &[Spec]) -> kiln::tensor::Result<Specs> {
            Ok(x[0].into())
        }
        fn cpu(&self, call: CpuCall<'_, Self>) -> kiln::tensor::Result<()> {
            assert!(CALLS.fetch_add(1, Ordering::Relaxed) < 6, "as planned");
            let (x, y) = call.parts();
            y[0].slice::<f32>()?.copy_from_slice(&x[0].contiguous::<f32>()?);
            Ok(())
        }
    }
    let loss = LossFn::new("bomb", |t: &Var, p: &Var| {
        let t = Var::new(Tensor::apply(&Bomb, &[&t.tensor().mul(1.0)?])?.one()?);
        Ok(p.sub(&t)?.square()?.mean(-1)?)
    });
    let data = points(64, 3);
    let data = Dataset::new(data.x().unwrap(), data.y().cast(DType::F32).unwrap().reshape([64, 1]).unwrap()).unwrap();
    let net = Sequential::new([2]).seed(1).add(Dense::new(1));
    let mut model = net.compile("adam", loss, ()).unwrap();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.fit(&data, quiet().batch_size(4))));
    assert!(panic.is_err());
    assert!(weights(&model)[0].1.to_vec_as::<f64>().iter().all(|w| *w != 0.0));
}

#[test]
fn a_batch_that_a_plan_refuses_is_an_error_as_ever_and_loses_nothing() {
    let net = || Sequential::new([2]).seed(1).add(Dense::new(3).activation("softmax"));
    let x = Key::new(4).normal([8, 2], 0.0, 1.0).unwrap();
    let labels = |last: i64| Tensor::from_vec(vec![0, 1, 2, 0, 1, 2, 0, last], [8]).unwrap();
    let mut both = [true, false].map(|eagerly| {
        net().compile("adam", "sparse_categorical_crossentropy", ["accuracy"]).unwrap().run_eagerly(eagerly)
    });
    let bad = Dataset::new(concat(&[&x, &x, &x, &x, &x], 0).unwrap(), {
        let good = labels(1);
        concat(&[&good, &good, &good, &good, &labels(7)], 0).unwrap()
    });
    let bad = bad.unwrap();
    let errors = both.each_mut().map(|model| {
        let error = model.fit(&bad, quiet().shuffle(false).batch_size(8)).unwrap_err();
        error.to_string()
    });
    assert_eq!(errors[0], errors[1]);
    assert!(both[1].explain().starts_with("for batches of"), "{}", both[1].explain());
    let [eager, planned] = both.each_ref().map(|model| (weights(model), model.optimizer().state()));
    assert_same_bits(&eager.0, &planned.0);
    assert_same_bits(&eager.1, &planned.1);
}

#[test]
fn a_watch_names_where_numbers_got_lost() {
    let data = points(64, 3);
    let build = |rate: f64| {
        let model = Sequential::new([2]).add(Dense::new(4).activation("relu"));
        model.add(Dense::new(1)).compile(SGD::new(rate), "mse", ["mae"]).unwrap()
    };
    let fit = || quiet().batch_size(32).epochs(3);
    let mut model = build(1e25);
    let error = model.fit(&data, fit().check_finite()).unwrap_err().to_string();
    assert!(error.contains("is not finite") && error.contains("\n  operand 1, f32 ["), "{error}");
    assert!(error.contains("in layer `dense_1`"), "{error}");
    assert!(error.contains("\n  in epoch 1, batch 2\n"), "{error}");
    assert!(model.explain().starts_with("no plan: check_finite"), "{}", model.explain());
    // The model is as it was before that step.
    for (name, weight) in weights(&model) {
        assert!(weight.to_vec_as::<f64>().iter().all(|w| w.is_finite()), "{name}");
    }
    // Where nothing is wrong, a watched run has the bits of one that is not.
    let (mut watched, mut plain) = (build(0.01), build(0.01));
    let history = watched.fit(&data, fit().check_finite()).unwrap();
    assert_eq!(history.get("loss"), plain.fit(&data, fit()).unwrap().get("loss"));
    assert_same_bits(&weights(&watched), &weights(&plain));
    // Validation is watched as well.
    let mut x = vec![0.5f32; 80];
    x[70] = f32::INFINITY;
    let odd = Dataset::new(Tensor::from_vec(x, [40, 2]).unwrap(), Tensor::ones([40, 1]).unwrap()).unwrap();
    let fit = || fit().validation_data(&odd).validation_batch_size(8);
    let error = build(0.01).fit(&data, fit().check_finite()).unwrap_err().to_string();
    assert!(error.contains(": x, f32 [8, 2], was not finite when it was given: inf at [3, 0]"), "{error}");
    assert!(error.contains("is x\n") && error.contains("in epoch 1, validation batch 5\n"), "{error}");
    assert!(error.contains("in layer `dense`"), "{error}");
    let history = build(0.01).fit(&data, fit()).unwrap();
    assert!(!history.last("val_loss").unwrap().is_finite());
    // So is a sample of the training data, which is told by its place there.
    let error = build(0.01).fit(&odd, quiet().batch_size(8).check_finite()).unwrap_err().to_string();
    assert!(error.contains("of sample 35 of the data, in epoch 1, batch"), "{error}");
}

#[test]
fn metrics_evaluations_and_predictions_are_not_watched() {
    let data = points(16, 3);
    let lost = metrics::MetricFn::new("lost", |_, p| Ok(p.sub(p)?.log()?.mean(-1)?));
    let mut model =
        Sequential::new([2]).add(Dense::new(1)).compile("sgd", "mse", vec![metrics::Metric::boxed(&lost)]).unwrap();
    let fit = quiet().epochs(1).validation_data(&data).check_finite();
    let history = model.fit(&data, fit).unwrap();
    assert_eq!(history.last("lost"), Some(f64::NEG_INFINITY));
    assert_eq!(history.last("val_lost"), Some(f64::NEG_INFINITY));
    let x = Tensor::full([16, 2], f32::INFINITY).unwrap();
    assert!(!model.predict(&x).unwrap().to_vec_as::<f64>()[0].is_finite());
    let logs = model.evaluate(&Dataset::new(x, data.y().clone()).unwrap()).unwrap();
    assert!(!logs.get("loss").unwrap().is_finite());
}

#[test]
fn a_plan_is_told_by_the_names_of_what_it_is_given() {
    let net = Sequential::new([2]).add(Dense::new(4).activation("relu")).add(Dropout::new(0.5)).add(Dense::new(3));
    let mut model = net.compile("adam", "mse", ["mae"]).unwrap();
    let data = points(64, 3);
    let data = Dataset::new(data.x().unwrap(), Tensor::ones([64, 3]).unwrap()).unwrap();
    model.fit(&data, quiet().batch_size(16)).unwrap();
    let text = model.explain();
    for line in [
        "= matmul(x, dense/kernel)  f32 [16, 4] at byte 0 of the arena  crates/nn/src/layers/dense.rs:",
        "= relu(",
        "= relu_grad(",
        "= fold_key(key/seed, key/stream)",
        "= squared_error(y, ",
        "= squared_error_grad(y, ",
        "adam/velocity of dense_1/bias, constant, constant, adam/number 1",
        "in place of adam/momentum of dense/kernel",
        "= add_both(mae/total, mae/weight, ",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("input ") && text.lines().count() < 40, "{text}");
}

/// What `EarlyStopping` puts back is what was measured, though accumulated gradients or averages are left at the end.
#[test]
fn the_end_of_a_run_leaves_restored_weights_alone() {
    let data = points(40, 3);
    for sgd in [SGD::new(1.9).gradient_accumulation_steps(4), SGD::new(0.1).use_ema(true)] {
        let net = Sequential::new([2]).seed(3).add(Dense::new(1));
        let mut model = net.compile(sgd, "mse", ()).unwrap();
        let stopping = EarlyStopping::new().patience(100).restore_best_weights(true);
        let fit = quiet().epochs(7).batch_size(9).validation_data(&data).callback(stopping);
        let history = model.fit(&data, fit).unwrap();
        let best = history.get("val_loss").unwrap().iter().copied().fold(f64::INFINITY, f64::min);
        let loss = model.evaluate(&data).unwrap().get("loss").unwrap();
        assert!((loss - best).abs() < 1e-5 * best, "{loss} {best}");
    }
}

/// A module that shows its parameters in another order where they may be changed.
#[derive(Debug)]
struct Turned(Parameter, Parameter);

impl Module for Turned {
    fn forward(&self, x: &Var, pass: &mut Pass) -> kiln::nn::Result<Var> {
        Ok(x.mul(&pass.parameter(&self.0))?.add(&pass.parameter(&self.1))?)
    }
    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        visit("w", &self.0);
        visit("b", &self.1);
    }
    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        visit("b", &mut self.1);
        visit("w", &mut self.0);
    }
}

#[test]
fn parameters_are_known_by_their_paths_whatever_the_order() {
    let mut module = Turned(Parameter::new(Tensor::new([3.0f32])), Parameter::new(Tensor::new([5.0f32])));
    let saved = kiln::nn::module::named_parameters(&module);
    let find = |path: &str| saved.iter().find(|(name, _)| name == path).map(|(_, tensor)| tensor.clone());
    kiln::nn::module::load_parameters(&mut module, find).unwrap();
    let values = (module.0.tensor.item().unwrap(), module.1.tensor.item().unwrap());
    assert_eq!(values, (3.0, 5.0));
}

/// One of two parameters is used.
#[derive(Debug)]
struct Half(Parameter, Parameter);

impl Module for Half {
    fn forward(&self, x: &Var, pass: &mut Pass) -> kiln::nn::Result<Var> {
        Ok(x.mul(&pass.parameter(&self.0))?)
    }
    fn parameters<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Parameter)) {
        visit("used", &self.0);
        visit("unused", &self.1);
    }
    fn parameters_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Parameter)) {
        visit("used", &mut self.0);
        visit("unused", &mut self.1);
    }
}

#[test]
fn a_parameter_that_no_gradient_reaches_leaves_plans_be() {
    let numbers = |seed| Key::new(seed).normal([40, 3], 0.0, 1.0).unwrap();
    let data = Dataset::new(numbers(1), numbers(2)).unwrap();
    for optimizer in ["sgd", "adam", "adamw", "rmsprop", "nadam", "adafactor"] {
        let run = |eagerly: bool| {
            let parameter = |value: f32| Parameter::new(Tensor::full([3], value).unwrap());
            let model = Half(parameter(0.5), parameter(2.0)).compile(optimizer, "mse", ()).unwrap();
            let mut model = model.run_eagerly(eagerly);
            model.fit(&data, quiet().epochs(3).batch_size(10)).unwrap();
            assert_eq!(model.explain().starts_with("for batches of"), !eagerly, "{optimizer}: {}", model.explain());
            weights(&model).into_iter().map(|(_, w)| w.to_vec_as::<f64>()).collect::<Vec<_>>()
        };
        assert_eq!(run(false), run(true), "{optimizer}");
    }
}
