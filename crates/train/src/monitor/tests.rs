//! Monitors as users run them.

use super::*;
use crate::{Compile, Fit, Verbosity};
use kiln_nn::layers::Dense;
use kiln_nn::ops::{ArithmeticOps, CastOps, ComparisonOps, ReduceOps};
use kiln_nn::{DType, Key, Network, Sequential};

/// Samples of a normal feature, and one of the classes 0, 1 and 2; the label is whether their sum is above `above`.
fn data(seed: u64, n: usize, moved: f64, above: f64) -> Dataset {
    let key = Key::new(seed);
    let number = key.fold(0).normal([n, 1], moved, 1.0).unwrap();
    let class = key.fold(1).uniform([n, 1], 0.0, 3.0).unwrap().cast(DType::I64).unwrap().cast(DType::F32).unwrap();
    let x = concat(&[&number, &class], 1).unwrap();
    let y = x.sum(-1).unwrap().gt(above).unwrap().cast(DType::I64).unwrap();
    Dataset::new(x, y).unwrap()
}

fn model() -> Model<Network> {
    let net = Sequential::new([2]).seed(1).add(Dense::new(2).activation("softmax"));
    let mut model = net.compile("adam", "sparse_categorical_crossentropy", ["accuracy"]).unwrap();
    model.fit(&data(0, 2000, 0.0, 1.0), Fit::new().epochs(20).verbose(Verbosity::Silent)).unwrap();
    model
}

fn watch(model: &Model<Network>) -> Monitor {
    let reference = Reference::new(model, &data(1, 2000, 0.0, 1.0)).unwrap();
    Monitor::new(model, reference.feature_names(["temperature", "grade"]).unwrap()).unwrap()
}

fn show(monitor: &mut Monitor, model: &Model<Network>, data: &Dataset) -> Range<u64> {
    let x = data.x().unwrap();
    monitor.observe(&x, &model.predict(&x).unwrap()).unwrap()
}

#[test]
fn chance_is_no_drift_and_drift_is_none_of_chance() {
    let model = model();
    let mut monitor = watch(&model);
    for seed in 10..60 {
        show(&mut monitor, &model, &data(seed, 500, 0.0, 1.0));
    }
    assert_eq!(monitor.take_events(), [], "{monitor}");
    assert_eq!(monitor.history().len(), 50);
    show(&mut monitor, &model, &data(60, 499, 1.0, 1.0));
    assert_eq!(monitor.take_events(), [], "not before the window is full");
    show(&mut monitor, &model, &data(61, 1, 1.0, 1.0));
    let events = monitor.take_events();
    let [Event::InputDrift { at: 25_500, features }, Event::PredictionDrift { .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(features.iter().map(|drift| &*drift.name).collect::<Vec<_>>(), ["temperature"]);
    assert!(features[0].psi > 0.25 && features[0].p_value < 1e-6);
    // Told once, until it is over.
    show(&mut monitor, &model, &data(62, 500, 1.0, 1.0));
    assert_eq!(monitor.take_events(), []);
    show(&mut monitor, &model, &data(63, 500, 0.0, 1.0));
    let told: Vec<String> = monitor.take_events().iter().map(Event::to_string).collect();
    assert_eq!(
        told,
        [
            "after sample 26500: inputs again as on the reference",
            "after sample 26500: predictions again as on the reference"
        ]
    );
}

#[test]
fn classes_and_what_is_no_number() {
    let model = model();
    let mut monitor = watch(&model);
    let other = data(5, 500, 0.0, 1.0);
    let x = other.x().unwrap();
    // A class that the reference has not, in a tenth of the samples.
    let mut values = x.to_vec_as::<f32>();
    values.iter_mut().skip(1).step_by(20).for_each(|value| *value = 7.0);
    let odd = Tensor::from_vec(values.clone(), [500, 2]).unwrap();
    let y = model.predict(&x).unwrap();
    monitor.observe(&odd, &y).unwrap();
    let Event::InputDrift { features, .. } = &monitor.take_events()[0] else { unreachable!() };
    assert_eq!(features[0].name, "grade");
    let mut monitor = watch(&model);
    values.iter_mut().step_by(20).for_each(|value| *value = f32::NAN);
    monitor.observe(&Tensor::from_vec(values, [500, 2]).unwrap(), &y).unwrap();
    let Some((inputs, _)) = monitor.drift() else { unreachable!() };
    assert!(inputs.iter().all(|drift| drift.psi > 0.25), "{inputs:?}");
}

#[test]
fn metrics_follow_labels_whenever_they_come() {
    let model = model();
    let mut monitor = watch(&model).window(400).unwrap();
    let good = data(7, 400, 0.0, 1.0);
    let seen = show(&mut monitor, &model, &good);
    let evens: Vec<u64> = seen.clone().step_by(2).collect();
    let rows: Vec<usize> = evens.iter().map(|&n| n as usize).collect();
    let some = good.select(&rows).unwrap();
    monitor.label(evens, some.y()).unwrap();
    let close = |a: Option<f64>, b: Option<f64>| assert!((a.unwrap() - b.unwrap()).abs() < 1e-6, "{a:?} {b:?}");
    for name in ["accuracy", "loss"] {
        close(monitor.metrics().get(name), model.evaluate(&some).unwrap().get(name));
    }
    // All of them, those from before once more: they do not count twice.
    monitor.label(seen, good.y()).unwrap();
    close(monitor.metrics().get("accuracy"), model.evaluate(&good).unwrap().get("accuracy"));
    assert_eq!(monitor.take_events(), []);
    // The world has changed: the same inputs mean something else.
    let bad = data(8, 400, 0.0, 2.0);
    let seen = show(&mut monitor, &model, &bad);
    monitor.label(seen, bad.y()).unwrap();
    let events = monitor.take_events();
    assert!(
        events.iter().any(|event| matches!(event, Event::MetricDrop { name, .. } if name == "accuracy")),
        "{events:?}"
    );
    assert!(events.iter().all(|event| matches!(event, Event::MetricDrop { .. })), "{events:?}");
    // It goes on getting worse, which is told again; that it is as bad as before is not.
    let wrong =
        Dataset::new(bad.x().unwrap(), Tensor::ones([400]).unwrap().cast(DType::I64).unwrap().sub(bad.y()).unwrap())
            .unwrap();
    for is_new in [true, false] {
        let seen = show(&mut monitor, &model, &wrong);
        monitor.label(seen, wrong.y()).unwrap();
        let events = monitor.take_events();
        let is_told = events.iter().any(|event| matches!(event, Event::MetricDrop { name, .. } if name == "accuracy"));
        assert_eq!(is_told, is_new, "{events:?}");
    }
    let told = monitor.to_string();
    assert!(told.contains("alarms: ") && told.contains("accuracy"), "{told}");
}

#[test]
fn chance_in_a_small_window_is_no_drop() {
    let model = model();
    let mut monitor = watch(&model).window(50).unwrap();
    for seed in 0..60 {
        let same = data(100 + seed, 50, 0.0, 1.0);
        let seen = show(&mut monitor, &model, &same);
        monitor.label(seen, same.y()).unwrap();
    }
    let events = monitor.take_events();
    assert!(!events.iter().any(|event| matches!(event, Event::MetricDrop { .. })), "{events:?}");
}

#[test]
fn a_reference_is_part_of_the_model_and_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut model = model();
    let reference = Reference::new(&model, &data(1, 300, 0.0, 1.0)).unwrap();
    model.set_reference(reference.clone());
    model.save(&path).unwrap();
    assert_eq!(Model::load(&path).unwrap().reference(), Some(&reference));
    assert_eq!(model.clone().reference(), Some(&reference));
}

#[test]
fn a_challenger_is_promoted_only_if_it_is_better() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let champion = model();
    champion.save(&path).unwrap();
    let (new, held_out) = (data(20, 2000, 0.0, 2.0), data(21, 500, 0.0, 2.0));
    let challenge = Challenge::new("accuracy");
    // The same model is not better.
    let verdict = challenge.promote(&path, &champion, &champion.clone(), &held_out).unwrap();
    assert!(!verdict.is_promoted);
    let mut challenger = Model::load(&path).unwrap();
    challenger.fit(&new, Fit::new().epochs(20).verbose(Verbosity::Silent)).unwrap();
    let far = Challenge::new("accuracy").min_gain(0.9).judge(&champion, &challenger, &held_out).unwrap();
    assert!(!far.is_promoted && far.challenger > far.champion);
    let verdict = challenge.promote(&path, &champion, &challenger, &held_out).unwrap();
    assert!(verdict.is_promoted && verdict.to_string().ends_with("promoted"), "{verdict}");
    // Judged by the champion of before, the one in use would be lost to one that is worse.
    let error = challenge.promote(&path, &champion, &challenger, &held_out).unwrap_err().to_string();
    assert!(error.contains("holds another model than the champion") && error.contains("Model::load"), "{error}");
    let x = held_out.x().unwrap();
    let predict = |path: &str| Model::load(folder.path().join(path)).unwrap().predict(&x).unwrap();
    assert!(predict("model.safetensors").same_bits(&challenger.predict(&x).unwrap()));
    assert!(predict("model.safetensors.previous").same_bits(&champion.predict(&x).unwrap()));
    let record = std::fs::read_to_string(folder.path().join("model.safetensors.challenges.jsonl")).unwrap();
    let lines: Vec<Verdict> = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[0].is_promoted, &lines[1]), (2, false, &verdict));
    // What is not a number can be read again too.
    let mut lost = verdict.clone();
    (lost.champion, lost.challenger) = (f64::NAN, f64::NEG_INFINITY);
    let again: Verdict = serde_json::from_str(&serde_json::to_string(&lost).unwrap()).unwrap();
    assert!(again.champion.is_nan() && again.challenger == f64::NEG_INFINITY);
    let error =
        Challenge::new("acuracy").mode(Mode::Max).judge(&champion, &challenger, &held_out).unwrap_err().to_string();
    assert!(error.contains("did you mean `accuracy`"), "{error}");
}

#[test]
fn what_does_not_fit_is_said() {
    let model = model();
    let mut monitor = watch(&model);
    let x = data(1, 4, 0.0, 1.0).x().unwrap();
    let y = model.predict(&x).unwrap();
    let text = |outcome: Result<Range<u64>>| outcome.unwrap_err().to_string();
    assert!(text(monitor.observe(&x.slice(0, 0..3).unwrap(), &y)).contains("3 samples with 4 predictions"));
    assert!(text(monitor.observe(&x.slice(1, 0..1).unwrap(), &y)).contains("samples of 1 numbers"));
    let few = Reference::new(&model, &data(1, 9, 0.0, 1.0)).unwrap();
    assert!(Monitor::new(&model, few).unwrap_err().to_string().contains("a reference of 9 samples"));
    let narrow = y.slice(1, 0..1).unwrap();
    assert!(text(monitor.observe(&x, &narrow)).contains("with predictions of 1"));
    assert!(monitor.label([9], &Tensor::new([1i64])).unwrap_err().to_string().contains("no sample 9"));
    assert!(monitor.label([0, 1], &Tensor::new([1i64])).unwrap_err().to_string().contains("1 labels for 2"));
    assert!(watch(&model).window(3).is_err() && watch(&model).tolerance(-1.0).is_err());
    assert!(watch(&model).thresholds(0.1, 2.0).is_err());
    let reference = Reference::new(&model, &data(1, 30, 0.0, 1.0)).unwrap();
    assert!(reference.feature_names(["one"]).unwrap_err().to_string().contains("1 names for 2 features"));
    assert!(x.sub(1.0).is_ok());
}

#[test]
fn what_is_missing_is_compared_as_well() {
    let mut model = model();
    // Every third sample has no first number; the second are whole numbers, every fourth is missing.
    let samples = |seed: u64, first: usize, second: usize| {
        let x = data(seed, 600, 0.0, 1.0).x().unwrap().to_vec_as::<f64>();
        let holes = |(i, value): (usize, f64)| match (i / 2, i % 2) {
            (row, 0) if row % first == 0 => f64::NAN,
            (row, 1) if row % second == 0 => f64::NAN,
            (row, 1) => (row % 5) as f64,
            _ => value,
        };
        let x: Vec<f64> = x.into_iter().enumerate().map(holes).collect();
        Tensor::from_vec(x, [600, 2]).unwrap().cast(DType::F32).unwrap()
    };
    let y = model.predict(&data(1, 600, 0.0, 1.0)).unwrap();
    let x = samples(1, 3, 4);
    let labels = data(1, 600, 0.0, 1.0).y().clone();
    let reference = Reference::new(&model, &Dataset::new(x, labels).unwrap()).unwrap();
    let moved = |x: Tensor| -> Vec<String> {
        let mut monitor = Monitor::new(&model, reference.clone()).unwrap().window(600).unwrap();
        monitor.observe(&x, &y).unwrap();
        let events = monitor.take_events();
        let inputs = |event: &Event| match event {
            Event::InputDrift { features, .. } => features.iter().map(|drift| drift.name.clone()).collect(),
            _ => Vec::new(),
        };
        let mut all: Vec<String> = events.iter().flat_map(inputs).collect();
        all.sort();
        all
    };
    assert_eq!(moved(samples(2, 3, 4)), [""; 0], "as many are missing as were");
    assert_eq!(moved(samples(2, 1, 4)), ["x[0]"], "all are missing");
    assert_eq!(moved(samples(2, 700, 1)), ["x[0]", "x[1]"], "none, and all");
    // NaN and infinities in a reference come back from the file.
    let mut reference = reference.clone();
    reference.metrics[0].1 = f64::NEG_INFINITY;
    let x = Tensor::new([[1.5f32, 2.0], [f32::INFINITY, 3.0]]).expand([10, 2, 2]).unwrap().reshape([20, 2]).unwrap();
    let infinite = Reference::new(&model, &Dataset::new(x, Tensor::ones([20, 1]).unwrap()).unwrap()).unwrap();
    reference.features = infinite.features;
    model.set_reference(reference.clone());
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path().join("model.safetensors")).unwrap();
    let again = Model::load(folder.path().join("model.safetensors")).unwrap();
    // NaN is not equal to itself.
    assert_eq!(format!("{:?}", again.reference()), format!("{:?}", Some(&reference)));
}

#[test]
fn labels_that_do_not_fit_are_not_kept() {
    let model = model();
    let mut monitor = watch(&model);
    let data = data(3, 60, 0.0, 1.0);
    let seen = show(&mut monitor, &model, &data);
    let first = data.y().slice(0, 0..30).unwrap();
    monitor.label(seen.start..seen.start + 30, &first).unwrap();
    let before = monitor.metrics().clone();
    let odd = Tensor::zeros([30, 1, 7]).unwrap();
    let rest = || seen.start + 30..seen.end;
    let error = monitor.label(rest(), &odd).unwrap_err().to_string();
    assert!(error.contains("labels of shape [30, 1, 7]") && error.contains("help"), "{error}");
    assert_eq!(monitor.metrics(), &before);
    monitor.label(rest(), &data.y().slice(0, 30..60).unwrap()).unwrap();
    // Also where they are the first.
    let mut monitor = watch(&model);
    let seen = show(&mut monitor, &model, &data);
    assert!(monitor.label(seen.clone(), &Tensor::zeros([60, 5, 7]).unwrap()).is_err());
    monitor.label(seen, data.y()).unwrap();
    assert_eq!(monitor.metrics().get("accuracy"), model.evaluate(&data).unwrap().get("accuracy"));
}
