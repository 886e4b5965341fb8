//! Runs that are put down and taken up again: cut after every batch, killed at any moment, on damaged files, full disks and
//! panics. They end with the bits of a run that was left alone.

use crate::training::{assert_same_bits, classifier, folder, points, quiet, weights};
use kiln::nn::optimizers::{Adam, AdamW, IntoOptimizer, LossScale, Nadam, Optimizer, SGD};
use kiln::nn::schedules::ExponentialDecay;
use kiln::prelude::*;
use kiln::train::callbacks::on_epoch_end;
use kiln::train::{Every, StopReason, Stream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A run with much to forget.
struct Case {
    name: &'static str,
    model: fn() -> Model,
    data: fn() -> (Dataset, Dataset),
    fit: fn() -> Fit<'static>,
}

fn batches() -> Fit<'static> {
    quiet().epochs(4).batch_size(16).seed(3)
}

/// Sequences `[n, 5, 3]` and whether their sum is positive.
fn sequences() -> (Dataset, Dataset) {
    let part = |seed| {
        let x = Key::new(seed).normal([50, 5, 3], 0.0, 1.0).unwrap();
        let y = x.sum([1, 2]).unwrap().gt(0.0).unwrap().cast(DType::F32).unwrap().reshape([50, 1]).unwrap();
        Dataset::new(x, y).unwrap()
    };
    (part(1), part(2))
}

fn images() -> (Dataset, Dataset) {
    let part = |seed| {
        let x = Key::new(seed).normal([50, 6, 6, 1], 0.0, 1.0).unwrap();
        let y = x.sum([1, 2, 3]).unwrap().gt(0.0).unwrap().cast(DType::I64).unwrap();
        Dataset::new(x, y).unwrap()
    };
    (part(3), part(4))
}

const CASES: [Case; 5] = [
    Case {
        name: "an MLP with dropout, Adam and early stopping",
        model: || classifier(5),
        data: || (points(72, 3), points(40, 4)),
        fit: || {
            let stopping = EarlyStopping::new().patience(1).verbose(false);
            batches().epochs(9).callback(stopping)
        },
    },
    Case {
        name: "a CNN with batch normalization, a schedule and ReduceLROnPlateau",
        model: || {
            let model = Sequential::new([6, 6, 1]).seed(1).add(Conv2D::new(4, 3).activation("relu"));
            let model = model.add(BatchNormalization::new()).add(Flatten::new()).add(Dense::new(2));
            let loss = losses::SparseCategoricalCrossentropy::new().from_logits(true);
            let optimizer = SGD::new(ExponentialDecay::new(0.1, 3, 0.9)).momentum(0.9);
            model.compile(optimizer, loss, ["accuracy"]).unwrap()
        },
        data: images,
        fit: || {
            let plateau = ReduceLROnPlateau::new().factor(0.5).patience(1).min_delta(0.5);
            batches().callback(plateau).log_gradient_norm(true)
        },
    },
    Case {
        name: "an LSTM with accumulation and averaged weights",
        model: || {
            let model = Sequential::new([5, 3]).seed(2).add(LSTM::new(6)).add(Dense::new(1).activation("sigmoid"));
            let optimizer = Adam::new(0.01).gradient_accumulation_steps(3).use_ema(true);
            model.compile(optimizer, "binary_crossentropy", ["accuracy", "f1_score"]).unwrap()
        },
        data: sequences,
        fit: || batches().callback(EarlyStopping::new().monitor("loss").patience(9).verbose(false)),
    },
    Case {
        name: "mixed precision with loss scaling",
        model: || {
            let model = Sequential::new([2]).seed(4).mixed_float16();
            let model = model.add(Dense::new(16).activation("gelu")).add(Dropout::new(0.2)).add(Dense::new(2));
            let loss = losses::SparseCategoricalCrossentropy::new().from_logits(true);
            model.compile(scaling(), loss, ["accuracy"]).unwrap()
        },
        data: || (points(72, 3), points(40, 4)),
        fit: || batches().log_gradient_norm(true).class_weight("balanced"),
    },
    Case {
        name: "epochs that are not passes, and validation within them",
        model: || classifier(6),
        data: || (points(72, 5), points(40, 6)),
        fit: || batches().steps_per_epoch(7).validation_every_steps(3),
    },
];

/// One that begins so large that steps are passed over.
fn scaling() -> Optimizer {
    let scale = LossScale::Dynamic { initial: 2f64.powi(20), growth_steps: 5 };
    Nadam::new(0.01).into_optimizer().unwrap().scaling_loss(scale).unwrap()
}

impl Case {
    /// Trains a new model, and says how it ended.
    fn run(&self, set: impl FnOnce(Fit<'static>) -> Fit<'static>) -> (Model, History) {
        let (train, validation) = (self.data)();
        let mut model = (self.model)();
        // The fit borrows its validation data.
        let validation: &'static Dataset = Box::leak(Box::new(validation));
        let history = model.fit(&train, set((self.fit)()).validation_data(validation)).unwrap();
        (model, history)
    }
}

/// Equal bits in all but the time that it took.
#[track_caller]
fn assert_same_run(name: &str, (a, first): &(Model, History), (b, second): &(Model, History)) {
    assert_same_bits(&weights(a), &weights(b));
    for ((key, a), (_, b)) in a.optimizer().state().iter().zip(&b.optimizer().state()) {
        assert!(a.same_bits(b), "{name}: {key} differs");
    }
    assert_same_history(name, first, second);
}

#[track_caller]
fn assert_same_history(name: &str, a: &History, b: &History) {
    assert_eq!(a.epochs(), b.epochs(), "{name}");
    assert_eq!((&a.stopped, &a.params), (&b.stopped, &b.params), "{name}");
    for (key, values) in a.iter() {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(values), bits(b.get(key).unwrap()), "{name}: {key}");
    }
    assert_eq!(a.validations(), b.validations(), "{name}");
}

#[test]
fn cut_after_any_batch_a_run_ends_with_the_same_bits() {
    for case in &CASES {
        let folder = folder("cut");
        let whole = case.run(|fit| fit);
        // One that writes as it goes is the same run.
        let every = case.run(|fit| fit.checkpoint_every(Every::Steps(2), &folder));
        assert_same_run(case.name, &whole, &every);
        let steps = whole.1.len() as u64 * whole.1.params.steps.unwrap() as u64;
        for cut in 0..=steps {
            std::fs::remove_dir_all(&folder).unwrap();
            let fit = |fit: Fit<'static>| fit.checkpoint_every(Every::Epochs(1000), &folder);
            case.run(|f| fit(f).max_steps(cut));
            let resumed = case.run(|f| fit(f).resume_from(&folder));
            assert_same_run(&format!("{}, cut after {cut} of {steps} batches", case.name), &whole, &resumed);
            // And of what has ended nothing more comes.
            let again = case.run(|f| fit(f).resume_from(&folder));
            assert_same_run(&format!("{}, cut after {cut}, once more", case.name), &whole, &again);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_stream_is_taken_up_where_it_was() {
    let folder = folder("stream");
    let stream = Stream::new(|pass| (0..5).map(move |batch| Ok(points(8, 100 * pass as u64 + batch))));
    let run = |set: &dyn Fn(Fit<'static>) -> Fit<'static>| {
        let mut model = classifier(1);
        let history = model.fit(&stream, set(quiet().epochs(3).steps_per_epoch(7))).unwrap();
        (model, history)
    };
    let whole = run(&|fit| fit);
    for cut in 0..=21 {
        run(&|fit| fit.checkpoint_every(Every::Steps(100), &folder).max_steps(cut));
        let resumed = run(&|fit| fit.resume_from(&folder));
        assert_same_run(&format!("cut after {cut}"), &whole, &resumed);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

/// What a killed process does, again and again.
#[test]
#[ignore = "a child of the test below"]
fn child() {
    let Ok(case) = std::env::var("KILN_RESUME_CASE") else { return };
    let folder = PathBuf::from(std::env::var_os("KILN_RESUME_FOLDER").unwrap());
    let case = &CASES[case.parse::<usize>().unwrap()];
    let checkpoints = folder.join("checkpoints");
    let (model, history) = case
        .run(|fit| fit.checkpoint_every(Every::Steps(1), &checkpoints).keep_best("loss").resume_if_found(&checkpoints));
    model.save(folder.join("end.safetensors")).unwrap();
    history.to_json(folder.join("end.json")).unwrap();
}

fn start(case: usize, folder: &Path) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "resume::child", "--ignored", "--quiet"]);
    command.env("KILN_RESUME_CASE", case.to_string()).env("KILN_RESUME_FOLDER", folder);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// `KILN_KILLS=100 cargo test --test main killed` kills each run so often.
#[test]
fn killed_at_any_moment_a_run_ends_with_the_same_bits() {
    let kills: u64 = std::env::var("KILN_KILLS").map_or(10, |n| n.parse().unwrap());
    let mut moments =
        Key::new(0).uniform([CASES.len() * kills as usize], 0.0, 1.0).unwrap().to_vec_as::<f64>().into_iter();
    for (i, case) in CASES.iter().enumerate() {
        let whole = case.run(|fit| fit);
        let folder = folder("killed");
        let began = std::time::Instant::now();
        assert!(start(i, &folder).wait().unwrap().success());
        let alone = began.elapsed();
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        for _ in 0..kills {
            let mut child = start(i, &folder);
            // Past the start and past the end too.
            std::thread::sleep(alone.mul_f64(1.1 * moments.next().unwrap()));
            child.kill().unwrap();
            child.wait().unwrap();
            if folder.join("end.json").exists() {
                // It had come to its end: it begins anew.
                check_end(case, &whole, &folder);
                std::fs::remove_dir_all(&folder).unwrap();
                std::fs::create_dir_all(&folder).unwrap();
            }
        }
        assert!(start(i, &folder).wait().unwrap().success(), "{}", case.name);
        check_end(case, &whole, &folder);
        let left = std::fs::read_dir(folder.join("checkpoints")).unwrap().count();
        assert!(left <= 3, "{left} files are left: the two newest and the best");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

fn check_end(case: &Case, whole: &(Model, History), folder: &Path) {
    let mut ended = (case.model)();
    ended.load_state(folder.join("end.safetensors")).unwrap();
    assert_same_run(case.name, whole, &(ended, History::from_json(folder.join("end.json")).unwrap()));
}

/// A folder with checkpoints after 4 and 8 batches.
fn two_checkpoints(name: &str) -> PathBuf {
    let folder = folder(name);
    let fit = quiet().epochs(2).batch_size(16).checkpoint_every(Every::Steps(4), &folder);
    classifier(0).fit(&points(64, 1), fit).unwrap();
    folder
}

fn newest(folder: &Path) -> PathBuf {
    folder.join("checkpoint-000000008.safetensors")
}

#[test]
fn a_damaged_checkpoint_is_an_error_or_passed_over() {
    let folder = two_checkpoints("damaged");
    let good = std::fs::read(newest(&folder)).unwrap();
    let data = points(64, 1);
    let resume = |fit: Fit<'static>| classifier(0).fit(&data, fit.epochs(2).batch_size(16).resume_from(&folder));
    let whole = resume(quiet()).unwrap();
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    // A bit anywhere: in the length, the header, the weights, the end; and a file that is cut.
    for at in [0, 3, 9, header / 2, header - 3, header, header + (good.len() - header) / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 4;
        std::fs::write(newest(&folder), &bad).unwrap();
        let error = resume(quiet()).unwrap_err().to_string();
        assert!(error.contains("checkpoint-000000008"), "byte {at}: {error}");
        assert!(error.contains("skip_damaged(true)"), "byte {at}: {error}");
        let resumed = resume(quiet().skip_damaged(true)).unwrap();
        assert_same_history("passed over", &whole, &resumed);
    }
    for length in [0, 7, header, good.len() - 1] {
        std::fs::write(newest(&folder), &good[..length]).unwrap();
        resume(quiet()).unwrap_err();
        assert_same_history("passed over", &whole, &resume(quiet().skip_damaged(true)).unwrap());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_checkpoint_is_a_model_file() {
    let folder = two_checkpoints("model");
    let mut own = classifier(0);
    let fit = || quiet().epochs(2).batch_size(16);
    own.fit(&points(64, 1), fit()).unwrap();
    let path = newest(&folder);
    assert_same_bits(&weights(&own), &weights(&Model::load(&path).unwrap()));
    let mut other = classifier(9);
    other.load_weights(&path).unwrap();
    assert_same_bits(&weights(&own), &weights(&other));
    let report = classifier(9).load_weights_by_name(&path, "dense/*").unwrap();
    assert_eq!(report.loaded, ["dense/kernel", "dense/bias"]);
    assert!(report.is_complete());
    // And a model file is no run.
    let model = folder.join("model.safetensors");
    own.save(&model).unwrap();
    let error = own.fit(&points(64, 1), fit().resume_from(&model)).unwrap_err().to_string();
    assert!(error.contains("holds no run to resume"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_run_is_told_apart() {
    let folder = two_checkpoints("other");
    let data = points(64, 1);
    let fit = || quiet().epochs(3).batch_size(16).resume_from(&folder);
    let other: [(&str, Result<History, Error>); 9] = [
        ("was compiled otherwise: metrics was Accuracy, in this one it is none", {
            let model = Sequential::new([2]).add(Dense::new(2).activation("softmax"));
            model.compile("adam", "sparse_categorical_crossentropy", ()).unwrap().fit(&data, fit())
        }),
        ("with batch_size 16, this one has 32", classifier(0).fit(&data, fit().batch_size(32))),
        ("with seed 0, this one has 1", classifier(0).fit(&data, fit().seed(1))),
        ("with shuffle true", classifier(0).fit(&data, fit().shuffle(false))),
        ("with training data of 64 samples, checksum", classifier(0).fit(&points(64, 2), fit())),
        ("with validation data unset", classifier(0).fit(&data, fit().validation_data(&points(9, 1)))),
        ("the callbacks none, this one has EarlyStopping of loss", {
            classifier(0).fit(&data, fit().callback(EarlyStopping::new().monitor("loss")))
        }),
        ("initial_epoch", classifier(0).fit(&data, fit().initial_epoch(1))),
        ("was compiled otherwise: optimizer was Adam, in this one it is SGD", {
            let model = Sequential::new([2]).add(Dense::new(2).activation("softmax"));
            model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"]).unwrap().fit(&data, fit())
        }),
    ];
    for (part, result) in other {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("help"), "{part}: {error}");
    }
    // A model that refused is as it was.
    let mut model = classifier(3);
    let before = weights(&model);
    model.fit(&data, fit().batch_size(32)).unwrap_err();
    assert_same_bits(&before, &weights(&model));
    let error = classifier(0).fit(&data, quiet().resume_from(folder.join("none"))).unwrap_err().to_string();
    assert!(error.contains("no checkpoint") && error.contains("resume_if_found"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_does_not_show_in_weights_is_told_apart_too() {
    let folder = folder("scaled");
    let data = points(64, 1);
    let fit = || quiet().batch_size(16).checkpoint_every(Every::Steps(1), &folder);
    let model = |rate: f64, activation: &str| {
        let net = Sequential::new([2]).seed(1).add(Dense::new(4).activation(activation)).add(Dropout::new(rate));
        net.add(Dense::new(2).activation("softmax")).compile("adam", "sparse_categorical_crossentropy", ()).unwrap()
    };
    model(0.5, "relu").fit(&data.clone().scale(0.5), fit().max_steps(2)).unwrap();
    let resumed = |mut model: Model, scale: f64| {
        let outcome = model.fit(&data.clone().scale(scale), fit().resume_from(&folder));
        outcome.map_or_else(|error| error.to_string(), |_| String::new())
    };
    let error = resumed(model(0.5, "relu"), 2.0);
    assert!(error.contains("scaled by 0.5, this one has of 64 samples") && error.contains("scaled by 2.0"), "{error}");
    let error = resumed(model(0.9, "relu"), 0.5);
    assert!(error.contains("another model: dropout/rate was 0.5, in this one it is 0.9"), "{error}");
    let error = resumed(model(0.5, "tanh"), 0.5);
    assert!(error.contains("dense/activation was \"relu\", in this one it is \"tanh\""), "{error}");
    assert_eq!(resumed(model(0.5, "relu"), 0.5), "");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_new_run_takes_no_checkpoints_of_another_away() {
    let folder = two_checkpoints("taken");
    let data = points(64, 1);
    let fit = || quiet().epochs(1).batch_size(16).checkpoint_every(Every::Steps(1), &folder);
    let error = classifier(0).fit(&data, fit()).unwrap_err().to_string();
    assert!(error.contains("the newest") && error.contains("checkpoint-000000008"), "{error}");
    assert!(newest(&folder).exists());
    // Nor one that goes on with a run of elsewhere.
    let other = two_checkpoints("elsewhere");
    let error = classifier(0).fit(&data, fit().epochs(3).resume_from(&other)).unwrap_err().to_string();
    assert!(error.contains("checkpoints of another run"), "{error}");
    // A file of the folder itself is that run.
    let older = folder.join("checkpoint-000000004.safetensors");
    classifier(0).fit(&data, fit().epochs(2).resume_from(&older)).unwrap();
    [folder, other].iter().for_each(|folder| std::fs::remove_dir_all(folder).unwrap());
}

#[test]
fn the_learning_rate_of_a_checkpoint_comes_back() {
    let folder = folder("rate");
    let data = points(64, 1);
    let mut model = classifier(0);
    let halve = || LearningRateScheduler::new(|epoch, rate| if epoch == 0 { rate / 2.0 } else { rate });
    let fit = || quiet().epochs(3).callback(halve()).checkpoint_every(Every::Epochs(1), &folder);
    model.fit(&data, fit().max_steps(3)).unwrap();
    let mut resumed = classifier(0);
    resumed.fit(&data, fit().resume_from(&folder)).unwrap();
    assert_eq!(resumed.optimizer().learning_rate(), 0.0005);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn other_settings_of_rate_callbacks_and_length_are_refused() {
    let folder = folder("settings");
    let data = points(64, 1);
    let model = |rate: f64, decay: f64| {
        let net = Sequential::new([2]).seed(1).add(Dense::new(2).activation("softmax"));
        net.compile(AdamW::new(rate).weight_decay(decay), "sparse_categorical_crossentropy", ()).unwrap()
    };
    let stopping = |patience| EarlyStopping::new().monitor("loss").patience(patience).verbose(false);
    let fit =
        |patience| quiet().batch_size(16).checkpoint_every(Every::Epochs(1), &folder).callback(stopping(patience));
    let mut first = model(0.01, 0.004);
    first.fit(&data, fit(3).epochs(4).max_steps(10)).unwrap();
    let mut frozen = model(0.01, 0.004);
    frozen.set_trainable("dense/bias", false).unwrap();
    for (part, mut model, patience, epochs) in [
        ("began with the learning rate 0.01, this one has 0.02", model(0.02, 0.004), 3, 4),
        ("optimizer/weight_decay was 0.004, in this one it is 0.5", model(0.01, 0.5), 3, 4),
        ("EarlyStopping of loss/patience was 3, in this one it is 1", model(0.01, 0.004), 1, 4),
        ("is of epoch 3, and the run is to have 2", model(0.01, 0.004), 3, 2),
        ("is of a run with the frozen parameters none", frozen, 3, 4),
    ] {
        let error = model.fit(&data, fit(patience).epochs(epochs).resume_from(&folder)).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("help"), "{part}: {error}");
    }
    // The rates of parts as well.
    let parts = |rate: f64| {
        let net = Sequential::new([2]).seed(1).add(Dense::new(2).activation("softmax"));
        let optimizer = AdamW::new(0.01).into_optimizer().unwrap().part("dense/*", SGD::new(rate)).unwrap();
        net.compile(optimizer, "sparse_categorical_crossentropy", ()).unwrap()
    };
    let other = folder.join("parts");
    let of_parts = || quiet().epochs(2).checkpoint_every(Every::Epochs(1), &other);
    parts(0.1).fit(&data, of_parts().max_steps(3)).unwrap();
    let error = parts(0.5).fit(&data, of_parts().resume_from(&other)).unwrap_err().to_string();
    assert!(error.contains("learning rate 0.01, 0.1, this one has 0.01, 0.5"), "{error}");
    // As it was, also of a model that was loaded from the checkpoint itself.
    let mut whole = model(0.01, 0.004);
    whole.fit(&data, quiet().batch_size(16).epochs(4).callback(stopping(3))).unwrap();
    for mut model in [model(0.01, 0.004), Model::load(newest(&folder)).unwrap()] {
        model.fit(&data, fit(3).epochs(4).resume_from(&folder)).unwrap();
        assert_same_bits(&weights(&whole), &weights(&model));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn two_runs_at_a_time_do_not_share_a_folder() {
    let folder = folder("shared");
    let data = points(64, 1);
    let error = Arc::new(Mutex::new(String::new()));
    let (told, inner, same) = (error.clone(), data.clone(), folder.clone());
    let other = on_epoch_end(move |_, _, _| {
        let fit = quiet().checkpoint_every(Every::Epochs(1), &same);
        *told.lock().unwrap() = classifier(1).fit(&inner, fit).unwrap_err().to_string();
        Ok(())
    });
    let fit = || quiet().checkpoint_every(Every::Epochs(1), &folder);
    classifier(0).fit(&data, fit().callback(other)).unwrap();
    let error = error.lock().unwrap();
    assert!(error.contains("is the folder of a run that is under way"), "{error}");
    // It is free when the run has ended.
    classifier(0).fit(&data, fit().epochs(2).resume_from(&folder).callback(on_epoch_end(|_, _, _| Ok(())))).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_best_state_goes_along_or_is_told_to_be_lost() {
    let folder = folder("best-lost");
    let (first, second) = (folder.join("first"), folder.join("second"));
    let data = points(64, 1);
    let fit = |to: &Path| quiet().batch_size(16).keep_best("loss").checkpoint_every(Every::Epochs(1), to);
    let best = |folder: &Path| std::fs::read(folder.join("best.safetensors")).ok();
    classifier(0).fit(&data, fit(&first).epochs(2)).unwrap();
    // To another folder the best state comes along, also where none is better any more.
    classifier(0).fit(&data, fit(&second).epochs(2).resume_from(&first)).unwrap();
    assert!(best(&second).is_some() && best(&first) == best(&second));
    // Where it is missing or broken, the next epoch gives one.
    for broken in [None, Some("junk")] {
        let path = second.join("best.safetensors");
        match broken {
            None => std::fs::remove_file(&path).unwrap(),
            Some(text) => std::fs::write(&path, text).unwrap(),
        }
        let epochs = if broken.is_some() { 4 } else { 3 };
        classifier(0).fit(&data, fit(&second).epochs(epochs).resume_from(&second)).unwrap();
        assert!(Model::load(&path).is_ok());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_longer_run_goes_on_and_a_stopped_one_does_not() {
    let folder = two_checkpoints("longer");
    let data = points(64, 1);
    let fit = |epochs| quiet().epochs(epochs).batch_size(16);
    let mut whole = classifier(0);
    let all = whole.fit(&data, fit(5)).unwrap();
    let mut longer = classifier(0);
    let history = longer.fit(&data, fit(5).resume_from(&folder)).unwrap();
    assert_same_run("longer", &(whole, all), &(longer, history));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_newest_and_the_best_are_kept() {
    let folder = folder("kept");
    let (data, validation) = (points(64, 1), points(64, 2));
    let fit = || quiet().batch_size(16).validation_data(&validation).checkpoint_every(Every::Epochs(1), &folder);
    let mut model = classifier(0);
    let history = model.fit(&data, fit().epochs(12).keep_checkpoints(3).keep_best("val_loss")).unwrap();
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "best.safetensors",
            "checkpoint-000000040.safetensors",
            "checkpoint-000000044.safetensors",
            "checkpoint-000000048.safetensors"
        ]
    );
    let best = Model::load(folder.join("best.safetensors")).unwrap();
    let loss = best.evaluate(&validation).unwrap().get("loss").unwrap();
    let value = history.best_value("val_loss", Mode::Min).unwrap();
    assert!((loss - value).abs() < 1e-6, "{loss} {value}: of other batches");
    let error = classifier(0).fit(&data, fit().keep_best("val_los")).unwrap_err().to_string();
    assert!(error.contains("did you mean `val_loss`"), "{error}");
    let norm = fit().log_gradient_norm(true).keep_best("gradient_norm");
    let error = classifier(0).fit(&data, norm).unwrap_err().to_string();
    assert!(error.contains("keep_best: whether a higher") && error.contains("ModelCheckpoint"), "{error}");
    let nameless = quiet().checkpoint_every(Every::Steps(1), "");
    let error = classifier(0).fit(&data, nameless).unwrap_err().to_string();
    assert!(error.contains("a folder without a name"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn weights_that_are_lost_are_not_the_best() {
    let folder = folder("lost");
    let x: Vec<f32> = (0..64).map(|i| if i < 56 { 1.0 } else { f32::NAN }).collect();
    let data = Dataset::new(Tensor::from_vec(x, [64, 1]).unwrap(), Tensor::full([64], 1i64).unwrap()).unwrap();
    let loss = losses::SparseCategoricalCrossentropy::new().from_logits(true);
    let mut model = Sequential::new([1]).add(Dense::new(2)).compile("sgd", loss, ["accuracy"]).unwrap();
    let fit = quiet().batch_size(8).shuffle(false).checkpoint_every(Every::Epochs(1), &folder).keep_best("accuracy");
    let history = model.fit(&data, fit.callback(TerminateOnNaN::new())).unwrap();
    assert!(matches!(history.stopped, Some(StopReason::NotFinite { .. })), "{history}");
    assert!(!folder.join("best.safetensors").exists());
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn limits_end_a_run_and_are_told() {
    let (data, validation) = (points(64, 1), points(30, 2));
    let fit = || quiet().epochs(100).batch_size(16).validation_data(&validation);
    let history = classifier(0).fit(&data, fit().max_steps(6)).unwrap();
    assert_eq!(history.stopped, Some(StopReason::MaxSteps { steps: 6 }));
    assert_eq!(history.epochs(), [0, 1], "the epoch that was cut counts, with its validation");
    assert!(history.last("val_loss").unwrap().is_finite());
    let history = classifier(0).fit(&data, fit().epochs(usize::MAX).max_time(Duration::from_millis(200))).unwrap();
    assert!(matches!(history.stopped, Some(StopReason::MaxTime { .. })) && !history.is_empty());
    // Time that runs out between two epochs begins none, whose loss would be that of nothing: 0.
    let slow = on_epoch_end(|_, _, _| {
        std::thread::sleep(Duration::from_millis(200));
        Ok(())
    });
    let folder = folder("limits");
    let limited = || fit().max_time(Duration::from_millis(200)).checkpoint_every(Every::Epochs(99), &folder);
    let history = classifier(0).fit(&data, limited().callback(slow)).unwrap();
    assert_eq!(history.epochs(), [0]);
    assert!(history.last("loss").unwrap() > 0.0);
    let idle = on_epoch_end(|_, _, _| Ok(()));
    let resumed = classifier(0).fit(&data, limited().callback(idle).resume_from(&folder)).unwrap();
    assert_same_history("no time left", &history, &resumed);
    assert!(classifier(0).fit(&data, fit().max_steps(0)).unwrap().is_empty());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn whatever_happens_history_and_the_last_checkpoint_stay() {
    let folder = folder("accidents");
    let data = points(64, 1);
    let fit = || quiet().epochs(5).batch_size(16).checkpoint_every(Every::Epochs(1), &folder);
    let whole = classifier(0).fit(&data, quiet().epochs(5).batch_size(16)).unwrap();
    type Accident = fn() -> Result<(), Error>;
    let accidents: [Accident; 2] = [|| panic!("in a callback"), || Err(Error::data("in a callback", ""))];
    for accident in accidents {
        let _ = std::fs::remove_dir_all(&folder);
        let mut model = classifier(0);
        let trap =
            || LambdaCallback::new().on_epoch_end(move |epoch, _, _| if epoch == 3 { accident() } else { Ok(()) });
        let safe = || LambdaCallback::new().on_epoch_end(move |_, _, _| Ok(()));
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.fit(&data, fit().callback(trap()))));
        assert!(!matches!(outcome, Ok(Ok(_))));
        assert_eq!(model.history().epochs(), [0, 1, 2]);
        let mut resumed = classifier(0);
        let history = resumed.fit(&data, fit().callback(safe()).resume_from(&folder)).unwrap();
        assert_same_history("after an accident", &whole, &history);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn callbacks_hear_the_end_after_an_error_of_another() {
    use std::sync::{Arc, Mutex};
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = |name: &'static str, fails: bool| {
        let heard = heard.clone();
        LambdaCallback::new().on_train_end(move |_| {
            heard.lock().unwrap().push(name);
            if fails { Err(Error::data("the end of one", "")) } else { Ok(()) }
        })
    };
    let fit = quiet().callback(ear("first", true)).callback(ear("second", false));
    let error = classifier(0).fit(&points(20, 1), fit).unwrap_err().to_string();
    assert!(error.contains("the end of one"), "{error}");
    let fit = quiet().callback(ear("third", false));
    let bad = LambdaCallback::new().on_epoch_end(|_, _, _| Err(Error::data("an epoch", "")));
    assert!(classifier(0).fit(&points(20, 1), fit.callback(bad)).unwrap_err().to_string().contains("an epoch"));
    assert_eq!(*heard.lock().unwrap(), ["first", "second", "third"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_no_run_and_is_told_at_its_end() {
    let folder = folder("full");
    let data = points(64, 1);
    let fit = || quiet().epochs(3).batch_size(16).checkpoint_every(Every::Epochs(1), folder.join("in"));
    // A folder that cannot be made: something else has its name.
    let blocked = LambdaCallback::new().on_epoch_end({
        let place = folder.join("in");
        move |epoch, _, _| {
            if epoch == 1 {
                std::fs::rename(&place, place.with_file_name("kept")).unwrap();
                std::fs::write(&place, "in the way").unwrap();
            }
            Ok(())
        }
    });
    let mut model = classifier(0);
    let error = model.fit(&data, fit().callback(blocked)).unwrap_err().to_string();
    assert!(error.contains("cannot write"), "{error}");
    assert_eq!(model.history().epochs(), [0, 1, 2], "the run went on to its end");
    assert!(folder.join("kept/checkpoint-000000004.safetensors").exists());
    std::fs::remove_dir_all(folder).unwrap();
}
