//! What models of layers promise: several inputs and outputs, ties, recomputation, masks, frozen parts, half precision, several
//! optimizers. Single layers are in `layers.rs`.

use crate::layers::{outputs, same};
use crate::training::folder;
use kiln::nn;
use kiln::prelude::layers::*;
use kiln::prelude::*;
use optimizers::{Adam, AdamW, Group, IntoOptimizer, LossScale, Optimizer, SGD};

#[test]
fn a_frozen_batch_normalization_stands_still_and_files_remember() {
    let x = Key::new(1).normal([8, 4], 3.0, 2.0).unwrap();
    let y = Tensor::zeros([8, 2]).unwrap();
    let model = Sequential::new([4]).add(BatchNormalization::new()).add(Dense::new(2)).seed(3);
    let mut model = model.compile("sgd", "mse", ()).unwrap();
    assert_eq!(model.set_trainable("batch_normalization/*", false).unwrap(), 4);
    let before = crate::training::weights(&model);
    let loss = model.train_on_batch(&x, &y).unwrap().get("loss").unwrap();
    let after = crate::training::weights(&model);
    let unchanged = |path: &str| {
        let of = |all: &[(String, Tensor)]| all.iter().find(|(p, _)| p == path).unwrap().1.clone();
        of(&before).same_bits(&of(&after))
    };
    for weight in ["gamma", "beta", "moving_mean", "moving_variance"] {
        assert!(unchanged(&format!("batch_normalization/{weight}")), "{weight} moved");
    }
    assert!(!unchanged("dense/kernel"));
    // In inference mode it judges alike.
    let mut fresh = Sequential::new([4]).add(BatchNormalization::new()).add(Dense::new(2)).seed(3);
    fresh = fresh.name("other");
    let fresh = fresh.compile("sgd", "mse", ()).unwrap();
    let judged = fresh.evaluate(&Dataset::new(x.clone(), y.clone()).unwrap()).unwrap().get("loss").unwrap();
    assert!((judged - loss).abs() < 1e-5, "{judged} {loss}");
    let path = folder("frozen").join("model.safetensors");
    model.save(&path).unwrap();
    let mut loaded = Model::load(&path).unwrap();
    loaded.train_on_batch(&x, &y).unwrap();
    let moved = crate::training::weights(&loaded);
    assert!(moved[2].1.same_bits(&after[2].1), "{} moved", moved[2].0);
    assert!(model.set_trainable("nothing/*", false).unwrap_err().to_string().contains("nothing/*"));
}

#[test]
fn several_inputs_and_outputs_by_name() {
    let (title, body) = (Input::named("title", [4]), Input::named("body", [3]));
    let both = Concatenate::new().on([&title, &body]).unwrap();
    let hidden = Dense::new(8).activation("relu").on(&both).unwrap();
    let hidden = Add::new().on([&hidden, &Dense::new(8).on(&hidden).unwrap()]).unwrap();
    let priority = Dense::new(1).activation("sigmoid").named("priority").on(&hidden).unwrap();
    let kind = Dense::new(3).activation("softmax").named("kind").on(&hidden).unwrap();
    let graph = || Functional::new([&title, &body], [&priority, &kind]).unwrap();
    let losses = [("kind", "sparse_categorical_crossentropy"), ("priority", "binary_crossentropy")];
    let mut model = graph().compile(Adam::new(0.02), losses, ()).unwrap();
    model = model.loss_weights([("kind", 0.5)]).unwrap().output_metrics("kind", ["accuracy"]).unwrap();
    let x = |seed, n| Key::new(seed).normal([64, n], 0.0, 1.0).unwrap();
    let labels = x(1, 4).slice(1, ..3).unwrap().argmax(-1).unwrap();
    let urgent = x(2, 3).slice(1, ..1).unwrap().gt(0.0).unwrap().cast(DType::F32).unwrap();
    // In another order than the model's.
    let data = Dataset::new([("body", x(2, 3)), ("title", x(1, 4))], [("kind", labels), ("priority", urgent)]).unwrap();
    let fit = Fit::new().epochs(40).batch_size(16).verbose(Verbosity::Silent).validation_split(0.25);
    let history = model.fit(&data, fit).unwrap();
    for series in ["loss", "priority_loss", "kind_loss", "kind_accuracy", "val_loss", "val_kind_accuracy"] {
        assert_eq!(history.get(series).map(<[f64]>::len), Some(40), "{series}");
    }
    let (total, first, second) = ["loss", "priority_loss", "kind_loss"].map(|s| history.get(s).unwrap()[7]).into();
    assert!((total - first - 0.5 * second).abs() < 1e-5, "{total} is not {first} + {second} / 2");
    assert!(*history.get("kind_accuracy").unwrap().last().unwrap() > 0.9);
    assert_eq!(model.predict_all(&data).unwrap().iter().map(|y| y.shape()[1]).collect::<Vec<_>>(), [1, 3]);
    let path = folder("several").join("model.safetensors");
    model.save(&path).unwrap();
    let loaded = Model::load(&path).unwrap();
    assert_eq!(loaded.evaluate(&data).unwrap(), model.evaluate(&data).unwrap());
    let picture = path.with_extension("svg");
    model.plot(&picture).unwrap();
    let text = std::fs::read_to_string(&picture).unwrap();
    assert!(text.contains("priority (Dense)") && text.contains("(None, 8)"), "{text}");
    // Mistakes.
    let error = |result: Result<Logs>| result.unwrap_err().to_string();
    let short = Dataset::new([x(2, 3)], [x(1, 4)]).unwrap();
    assert!(error(model.evaluate(&short)).contains("the model has 2 inputs (`title`, `body`), the data 1"));
    let odd = Dataset::new([("head", x(1, 4)), ("body", x(2, 3))], [("kind", x(1, 1)), ("priority", x(1, 1))]).unwrap();
    assert!(error(model.evaluate(&odd)).contains("no tensor for the input `title`"));
    let text = graph().compile("adam", [("sort", "mse")], ()).unwrap_err().to_string();
    assert!(text.contains("there is no output `sort`"), "{text}");
    assert!(graph().compile("adam", ["mse"], ()).unwrap_err().to_string().contains("1 loss for 2 outputs"));
    assert!(model.predict(&data).unwrap_err().to_string().contains("predict_all"));
}

#[test]
fn masks_reach_the_loss() {
    // Two samples of three steps, of which the second has one.
    let x = Tensor::new([[[1.0f32], [2.0], [3.0]], [[4.0], [0.0], [0.0]]]);
    let y = Tensor::new([[[2.0f32], [2.0], [2.0]], [[2.0], [9.0], [9.0]]]);
    let model = Sequential::new([3, 1]).add(Masking::new(0.0)).compile("sgd", "mse", ()).unwrap();
    let loss = model.evaluate(&Dataset::new(x, y).unwrap()).unwrap().get("loss").unwrap();
    // The mean over the four steps that count: (1 + 0 + 1 + 4) / 4.
    assert!((loss - 1.5).abs() < 1e-6, "{loss}");
}

#[test]
fn groups_train_by_plans_to_the_same_bits() {
    let (x, y) = (Key::new(1).normal([8, 4], 0.0, 1.0).unwrap(), Tensor::zeros([8, 2]).unwrap());
    let model = |groups: Vec<Group>, eagerly: bool| {
        let layers = Sequential::new([4]).add(Dense::new(3)).add(Dense::new(2));
        layers.compile(AdamW::new(0.01).groups(groups), "mse", ()).map(|model| model.run_eagerly(eagerly))
    };
    let groups = vec![Group::new("dense/*").rate_factor(0.1), Group::new("*/bias").weight_decay(0.0)];
    let trained = |groups: &[Group], eagerly: bool| {
        let mut model = model(groups.to_vec(), eagerly).unwrap();
        (0..5).for_each(|_| drop(model.train_on_batch(&x, &y).unwrap()));
        crate::training::weights(&model)
    };
    crate::training::assert_same_bits(&trained(&groups, false), &trained(&groups, true));
    let moved = |weights: &[(String, Tensor)], other: &[(String, Tensor)]| !weights[0].1.same_bits(&other[0].1);
    assert!(moved(&trained(&groups, false), &trained(&[], false)));
    let text = model(vec![Group::new("encoder/*")], false).unwrap_err().to_string();
    assert!(text.contains("encoder/*"), "{text}");
}

/// What a batch was computed in is not what statistics are kept in.
#[test]
fn statistics_keep_their_type() {
    let path = folder("statistics").join("model.safetensors");
    let x = Key::new(1).normal([64, 6], 0.0, 1.0).unwrap();
    let y = x.sum(keep(-1)).unwrap();
    for (model, data) in [
        (DType::BF16, DType::F32),
        (DType::F16, DType::F32),
        (DType::F32, DType::F64),
        (DType::F32, DType::F16),
        (DType::F64, DType::F32),
    ] {
        for renorm in [false, true] {
            let normalize = BatchNormalization::new().renorm(renorm);
            let net = Sequential::new([6]).add(normalize).add(Dense::new(1)).dtype(model);
            let mut net = net.compile("sgd", "mse", ["mae"]).unwrap();
            let data = Dataset::new(x.cast(data).unwrap(), y.clone()).unwrap();
            net.fit(&data, crate::training::quiet().epochs(2).batch_size(16)).unwrap();
            assert!(crate::training::weights(&net).iter().all(|(_, weight)| weight.dtype() == model));
            net.save(&path).unwrap();
            let loaded: Model = Model::load(&path).unwrap();
            assert!(loaded.predict(&data).unwrap().same_bits(&net.predict(&data).unwrap()));
        }
    }
}

#[test]
fn mixed_precision_keeps_weights_whole() {
    let data = crate::training::points(64, 5);
    let layers = || {
        let model = Sequential::new([2]).add(Dense::new(16).activation("tanh")).add(BatchNormalization::new());
        model.add(Dense::new(2).activation("softmax"))
    };
    let compiled =
        |layers: Sequential| layers.compile("adam", "sparse_categorical_crossentropy", ["accuracy"]).unwrap();
    let loss = |model: &Model| model.evaluate(&data).unwrap().get("loss").unwrap();
    let mut whole = compiled(layers());
    let before = loss(&whole);
    whole.fit(&data, crate::training::quiet().epochs(20).batch_size(16)).unwrap();
    for policy in [Sequential::mixed_bfloat16, Sequential::mixed_float16] {
        let (mut mixed, mut eager) = (compiled(policy(layers())), compiled(policy(layers())).run_eagerly(true));
        assert!(before != loss(&mixed) && (before - loss(&mixed)).abs() < 0.02);
        for model in [&mut mixed, &mut eager] {
            model.fit(&data, crate::training::quiet().epochs(20).batch_size(16)).unwrap();
        }
        crate::training::assert_same_bits(&crate::training::weights(&mixed), &crate::training::weights(&eager));
        assert!(crate::training::weights(&mixed).iter().all(|(_, weight)| weight.dtype() == DType::F32));
        assert_eq!(mixed.predict(&data).unwrap().dtype(), DType::F32);
        assert!((loss(&whole) - loss(&mixed)).abs() < 0.05, "{} {}", loss(&whole), loss(&mixed));
        let path = folder("mixed").join("model.safetensors");
        mixed.save(&path).unwrap();
        let loaded: Model = Model::load(&path).unwrap();
        assert_eq!(loss(&loaded), loss(&mixed));
        assert_eq!(loaded.optimizer().loss_scale(), mixed.optimizer().loss_scale());
    }
}

/// Targets so large that `f16` cannot hold the gradients of the scaled loss at first.
#[test]
fn a_step_that_overflows_is_none() {
    let x = Key::new(1).normal([32, 4], 0.0, 1.0).unwrap();
    let y = Key::new(2).normal([32, 1], 0.0, 100.0).unwrap();
    let optimizer =
        || Adam::new(0.01).use_ema(true).loss_scale(LossScale::Dynamic { initial: 65536.0, growth_steps: 4 });
    let model = |eagerly| {
        let layers = Sequential::new([4]).add(Dense::new(8).activation("relu")).add(Dense::new(1)).mixed_float16();
        layers.compile(optimizer(), "mse", ()).unwrap().run_eagerly(eagerly)
    };
    let (mut planned, mut eager) = (model(false), model(true));
    let initial = crate::training::weights(&planned);
    let scales = |model: &mut Model| -> Vec<f64> {
        let one = |_| {
            model.train_on_batch(&x, &y).unwrap();
            model.optimizer().loss_scale().unwrap()
        };
        (0..40).map(one).collect()
    };
    let (a, b) = (scales(&mut planned), scales(&mut eager));
    assert_eq!(a, b);
    crate::training::assert_same_bits(&crate::training::weights(&planned), &crate::training::weights(&eager));
    let skipped = [65536.0].iter().chain(&a).zip(&a).filter(|(before, after)| after < before).count() as u64;
    assert!(skipped > 1 && a.windows(2).any(|pair| pair[1] > pair[0]), "{a:?}");
    assert_eq!(planned.optimizer().iterations(), 40 - skipped);
    assert!(
        crate::training::weights(&planned)
            .iter()
            .all(|(_, w)| w.is_finite().unwrap().all(..).unwrap().item().unwrap() == 1.0)
    );

    // The first one alone changes nothing at all.
    let mut model = model(false);
    model.train_on_batch(&x, &y).unwrap();
    crate::training::assert_same_bits(&crate::training::weights(&model), &initial);
    assert_eq!((model.optimizer().iterations(), model.optimizer().loss_scale()), (0, Some(32768.0)));

    // Where no scale helps, training says so.
    let nan = Tensor::full([32, 1], f32::NAN).unwrap();
    let error = (0..100).find_map(|_| model.train_on_batch(&x, &nan).err()).unwrap().to_string();
    assert!(error.contains("the gradients are not finite, however small the loss scale"), "{error}");
}

#[test]
fn parts_of_a_model_have_optimizers_of_their_own() {
    let x = Key::new(1).normal([16, 4], 0.0, 1.0).unwrap();
    let y = Key::new(2).normal([16, 2], 0.0, 1.0).unwrap();
    let layers = || Sequential::new([4]).add(Dense::new(3).activation("tanh")).add(Dense::new(2));
    let both = || Adam::new(0.01).into_optimizer().unwrap().part("dense_1/*", SGD::new(0.1).momentum(0.9)).unwrap();
    let trained = |optimizer: Optimizer, eagerly: bool, frozen: &str| {
        let mut model = layers().compile(optimizer, "mse", ()).unwrap().run_eagerly(eagerly);
        if !frozen.is_empty() {
            model.set_trainable(frozen, false).unwrap();
        }
        (0..5).for_each(|_| drop(model.train_on_batch(&x, &y).unwrap()));
        model
    };
    let weights = crate::training::weights;
    crate::training::assert_same_bits(&weights(&trained(both(), false, "")), &weights(&trained(both(), true, "")));
    // With the other part frozen each is as it is alone.
    let alone = [
        ("dense/*", SGD::new(0.1).momentum(0.9).into_optimizer().unwrap()),
        ("dense_1/*", Adam::new(0.01).into_optimizer().unwrap()),
    ];
    for (frozen, optimizer) in alone {
        let (one, other) = (trained(both(), false, frozen), trained(optimizer, false, frozen));
        crate::training::assert_same_bits(&weights(&one), &weights(&other));
    }
    // A run that is put down and taken up.
    let path = folder("parts").join("model.safetensors");
    let mut model = trained(both(), false, "");
    model.save(&path).unwrap();
    let mut loaded: Model = Model::load(&path).unwrap();
    for model in [&mut model, &mut loaded] {
        (0..3).for_each(|_| drop(model.train_on_batch(&x, &y).unwrap()));
    }
    crate::training::assert_same_bits(&weights(&model), &weights(&loaded));
    // Rates keep their ratio.
    let mut optimizer = both();
    optimizer.set_learning_rate(0.001).unwrap();
    assert!(
        (optimizer.state().iter().find(|(name, _)| name == "dense_1/*: rate_factor").unwrap().1.item().unwrap() - 0.1)
            .abs()
            < 1e-12
    );
    let wrong = Adam::new(0.01).into_optimizer().unwrap().part("encoder/*", "sgd").unwrap();
    let error = layers().compile(wrong, "mse", ()).unwrap_err().to_string();
    assert!(error.contains("encoder/*"), "{error}");
    assert!(both().part("x", both()).unwrap_err().to_string().contains("has parts"));
}

/// Three batches of 4, 4 and 2 samples make one update of the ten.
#[test]
fn accumulated_gradients_count_by_samples() {
    let x = Key::new(1).normal([10, 4], 0.0, 1.0).unwrap();
    let y = Key::new(2).normal([10, 1], 0.0, 1.0).unwrap();
    let data = Dataset::new(x, y).unwrap();
    let trained = |steps: u64, batch_size: usize, eagerly: bool| {
        let model = Sequential::new([4]).add(Dense::new(1)).dtype(DType::F64);
        let mut model = model.compile(SGD::new(0.1).gradient_accumulation_steps(steps), "mse", ()).unwrap();
        model = model.run_eagerly(eagerly);
        model.fit(&data, crate::training::quiet().epochs(4).batch_size(batch_size).shuffle(false)).unwrap();
        crate::training::weights(&model)
    };
    let (whole, parts) = (trained(1, 10, false), trained(3, 4, false));
    for ((_, a), (_, b)) in whole.iter().zip(&parts) {
        assert!(a.sub(b).unwrap().abs().unwrap().amax(..).unwrap().item().unwrap() < 1e-12);
    }
    crate::training::assert_same_bits(&parts, &trained(3, 4, true));
}

#[test]
fn logs_have_the_rate_and_the_norm_of_gradients() {
    let data = crate::training::points(32, 5);
    let model = || Sequential::new([2]).add(Dense::new(2).activation("softmax"));
    let fit = || crate::training::quiet().epochs(2).batch_size(32).log_learning_rate(true).log_gradient_norm(true);
    let clipped = SGD::new(0.1).global_clipnorm(1e-3);
    let mut one = model().compile(clipped, "sparse_categorical_crossentropy", ()).unwrap();
    let history = one.fit(&data, fit().validation_data(&data)).unwrap();
    assert_eq!(history.get("learning_rate").unwrap(), [0.1, 0.1]);
    let norms = history.get("gradient_norm").unwrap();
    assert!(norms.iter().all(|norm| *norm > 1e-2), "before it is clipped: {norms:?}");
    assert!(history.get("val_gradient_norm").is_none());
    let scaled = SGD::new(0.1).global_clipnorm(1e-3).loss_scale(LossScale::Fixed(64.0));
    let mut other = model().compile(scaled, "sparse_categorical_crossentropy", ()).unwrap();
    assert_eq!(other.fit(&data, fit()).unwrap().get("gradient_norm").unwrap(), norms, "of the loss itself");
}

#[test]
fn tied_weights_train_by_plans_and_files_keep_them() {
    let tokens = Key::new(1).uniform([16, 6], 0.0, 20.0).unwrap().cast(DType::I64).unwrap();
    let (x, y) = (tokens.slice(1, ..5).unwrap(), tokens.slice(1, 1..).unwrap());
    let model = |eagerly: bool| {
        let scores = Dense::new(20).use_bias(false).activation("softmax");
        let model =
            Sequential::new([5]).add(Embedding::new(20, 8)).add(LSTM::new(8).return_sequences(true)).add(scores);
        let model = model.tie_transposed("dense/kernel", "embedding/embeddings");
        model.compile(AdamW::new(0.02), "sparse_categorical_crossentropy", ()).unwrap().run_eagerly(eagerly)
    };
    let (mut planned, mut eager) = (model(false), model(true));
    let mut losses = Vec::new();
    for _ in 0..20 {
        let step = |model: &mut Model| model.train_on_batch(&x, &y).unwrap().get("loss").unwrap();
        losses.push(step(&mut planned));
        assert_eq!(step(&mut eager).to_bits(), losses[losses.len() - 1].to_bits());
    }
    assert!(losses[19] < 0.95 * losses[0], "{losses:?}");
    let path = folder("tied").join("model.safetensors");
    planned.save(&path).unwrap();
    let mut loaded = Model::load(&path).unwrap();
    assert_eq!(crate::training::weights(&loaded).len(), 4);
    assert!(same(
        &outputs(loaded.module(), std::slice::from_ref(&x)),
        &outputs(planned.module(), std::slice::from_ref(&x))
    ));
    let both = [&mut planned, &mut loaded].map(|model| model.train_on_batch(&x, &y).unwrap().get("loss").unwrap());
    assert_eq!(both[0].to_bits(), both[1].to_bits());
}

#[test]
fn a_model_that_could_not_be_read_again_is_not_written() {
    let nested = |depth: usize| {
        let mut model = Sequential::new([2]).add(Dense::new(2));
        for _ in 0..depth {
            model = Sequential::new([2]).add(model);
        }
        model.compile("sgd", "mse", ()).unwrap()
    };
    let path = folder("nested").join("model.safetensors");
    nested(20).save(&path).unwrap();
    Model::load(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = nested(60).save(&path).unwrap_err().to_string();
    assert!(text.contains("cannot be read back") && !path.exists(), "{text}");
}

#[test]
fn recomputation_saves_memory_and_changes_no_bit() {
    let (x, y) = (Key::new(1).normal([256, 32], 0.0, 1.0).unwrap(), Tensor::zeros([256, 32]).unwrap());
    let model = |recomputes: bool| {
        let mut model = Sequential::new([32]).seed(2);
        for _ in 0..6 {
            let wide = || Dense::new(128).activation("gelu");
            let block = Sequential::new([32]).add(wide()).add(wide()).add(Dense::new(32));
            model = match recomputes {
                true => model.add(Recompute::new(block)),
                false => model.add(block),
            };
        }
        model.compile("sgd", "mse", ()).unwrap()
    };
    let arena = |recomputes: bool| {
        let mut model = model(recomputes);
        let losses: Vec<u64> =
            (0..5).map(|_| model.train_on_batch(&x, &y).unwrap().get("loss").unwrap().to_bits()).collect();
        let text = model.explain();
        let line = text.lines().find(|line| line.starts_with("memory: an arena of")).unwrap().to_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        let unit = match words[5] {
            "MB" => 1e6,
            "MiB" => 1_048_576.0,
            "KB" | "kB" => 1e3,
            "KiB" => 1024.0,
            other => panic!("{other}: {line}"),
        };
        (losses, words[4].parse::<f64>().unwrap() * unit)
    };
    let ((kept, whole), (again, part)) = (arena(false), arena(true));
    assert_eq!(kept, again);
    assert!(part < 0.5 * whole, "{part} of {whole} bytes");
}

#[test]
fn metrics_heed_masks_as_losses_do() {
    // The steps that count are right, the filling is wrong.
    let x = Tensor::new([[[1.0f32], [2.0], [0.0]], [[3.0], [0.0], [0.0]]]);
    let y = Tensor::new([[[1.0f32], [2.0], [7.0]], [[3.0], [7.0], [7.0]]]);
    let data = Dataset::new(x.clone(), y.clone()).unwrap();
    let model = Sequential::new([3, 1]).add(Masking::new(0.0)).compile("sgd", "mse", ["mae"]).unwrap();
    assert_eq!(model.evaluate(&data).unwrap().get("mae"), Some(0.0));
    let weighted = data.sample_weight(Tensor::new([1.0f32, 3.0])).unwrap();
    let model = model.weighted_metrics(["mse"]).unwrap();
    assert_eq!(model.evaluate(&weighted).unwrap().get("mse"), Some(0.0));
}

#[test]
fn what_is_judged_can_change_between_steps() {
    let data = crate::training::points(32, 5);
    let model = Sequential::new([2]).add(Dense::new(2).activation("softmax"));
    let mut model = model.compile("sgd", "sparse_categorical_crossentropy", ()).unwrap();
    let fit = || crate::training::quiet().epochs(1).batch_size(8);
    assert!(model.fit(&data, fit()).unwrap().get("accuracy").is_none());
    let mut model = model.weighted_metrics(["accuracy"]).unwrap();
    assert!(model.fit(&data, fit()).unwrap().get("accuracy").is_some());
    let model = model.weighted_metrics(["sparse_top_k_categorical_accuracy"]).unwrap();
    let logs = model.evaluate(&data).unwrap();
    assert!(logs.get("accuracy").is_some() && logs.get("sparse_top_k_categorical_accuracy").is_some());
}

#[test]
fn errors_of_several_outputs_name_theirs() {
    let x = Input::new([4]);
    let (a, b) = (Dense::new(2).named("a").on(&x).unwrap(), Dense::new(3).named("b").on(&x).unwrap());
    let graph = || Functional::new(&x, [&a, &b]).unwrap();
    let model = graph().compile("sgd", [("a", "mse"), ("b", "mse")], ()).unwrap();
    let ones = |n| Tensor::ones([8, n]).unwrap();
    let data = Dataset::new(ones(4), [("a", ones(2)), ("b", ones(5))]).unwrap();
    let text = model.evaluate(&data).unwrap_err().to_string();
    assert!(text.contains("for the output `b`"), "{text}");
    let text = graph().compile("sgd", [("a", "mse"), ("a", "mse")], ()).unwrap_err().to_string();
    assert!(text.contains("two losses for the output `a`"), "{text}");
    // The only output has a name too.
    let one = || Functional::new(&x, &a).unwrap();
    assert!(one().compile("sgd", [("a", "mse")], ()).is_ok());
    let text = one().compile("sgd", [("b", "mse")], ()).unwrap_err().to_string();
    assert!(text.contains("there is no output `b`") && text.contains('a'), "{text}");
}

#[test]
fn steps_that_are_passed_over_have_no_norm() {
    let data = crate::training::points(32, 5);
    // The first scale is too large, so that steps are passed over until it fits.
    let scale = LossScale::Dynamic { initial: 1e12, growth_steps: 2000 };
    let model = Sequential::new([2]).add(Dense::new(2).activation("softmax")).mixed_float16();
    let mut model = model.compile(SGD::new(0.1).loss_scale(scale), "sparse_categorical_crossentropy", ()).unwrap();
    let fit = crate::training::quiet().epochs(12).batch_size(8).log_gradient_norm(true);
    let history = model.fit(&data, fit).unwrap();
    let norms = history.get("gradient_norm").unwrap();
    assert!(norms.iter().all(|norm| norm.is_finite()), "{norms:?}");
    assert!(norms[11] > 0.0, "{norms:?}");
    let scales = history.get("loss_scale").unwrap();
    assert!(scales[0] < 1e12 && scales[11] < scales[0], "{scales:?}");
}

#[test]
fn files_of_larger_models_are_refused() {
    let net = |layers: usize| {
        let net = (0..layers).fold(Sequential::new([3]), |net, _| net.add(Dense::new(3)));
        net.compile("adam", "mse", ()).unwrap()
    };
    let path = folder("larger").join("model.safetensors");
    net(2).save(&path).unwrap();
    for result in [net(1).load_weights(&path), net(1).load_state(&path)] {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("has `dense_1/bias`, which this model does not have"), "{text}");
    }
    assert_eq!(net(1).load_weights_by_name(&path, "*").unwrap().loaded.len(), 2);
    let text = net(1).plot(path.with_extension("png")).unwrap_err().to_string();
    assert!(text.contains("model.svg"), "{text}");
}

/// The difference of its two inputs, which have no names.
#[derive(Debug)]
struct Difference {
    gain: Parameter,
}

impl Module for Difference {
    fn forward(&self, x: &Var, _pass: &mut Pass) -> nn::Result<Var> {
        Ok(x.clone())
    }
    fn forward_all(&self, x: &[Signal], pass: &mut Pass) -> nn::Result<Vec<Signal>> {
        Ok(vec![Signal::new(x[0].value.sub(&x[1].value)?.mul(&pass.parameter(&self.gain))?)])
    }
    nn::parameters!(gain);
}

#[test]
fn names_that_a_module_does_not_know_are_refused() {
    let ones = || Tensor::ones([4, 2]).unwrap();
    let module = Difference { gain: Parameter::new(Tensor::ones([2]).unwrap()) };
    let model = module.compile("sgd", "mse", ()).unwrap();
    assert!(model.evaluate(&Dataset::new([ones(), ones()], ones()).unwrap()).is_ok());
    let named = Dataset::new([("b", ones()), ("a", ones())], ones()).unwrap();
    let text = model.evaluate(&named).unwrap_err().to_string();
    assert!(text.contains("the model does not name its inputs, the data do: `b`, `a`"), "{text}");
}
