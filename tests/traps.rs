//! The traps of other frameworks, and that Kiln has none of them. Those that a test elsewhere shows are listed with it; for the others
//! the test is here.
//!
//! | whose | trap | test |
//! |---|---|---|
//! | Burn | backend and rank are type parameters | [`one_function_for_every_rank_and_type`] |
//! | | a graph that is global and keeps what it should drop | `tape::forward_passes_keep_no_memory`, `training::fits_do_not_gather_memory` |
//! | | one operation is written into many files | `new_op` of `xtask`: a struct and a rule, and [`an_operation_is_one_struct_and_one_rule`] |
//! | Candle | gradients of pools, scattering and resizing that are silently wrong | `ops::pool`, `ops::gather`, `ops::resize`, against differences in both orders |
//! | | no backward of softmax and layer normalization | `ops::softmax`, [`normalizations_have_gradients_of_any_order`] |
//! | | a walk that recurs and overflows the stack | `tape::a_hundred_thousand_steps_deep` |
//! | | a seed that cannot be set on the CPU | `training::equal_seeds_give_equal_bits_on_any_number_of_threads` |
//! | | `contiguous` everywhere | `ops::*`, whose cases are run on strided inputs too, [`views_need_no_copy`] |
//! | | slow convolutions | `benches/train_step.rs`, whose numbers are in the README |
//! | PyTorch, Keras | means of batches' metrics that are not the metric | `training::metrics_are_of_all_samples_not_means_over_batches` |
//! | | validation on the last rows, unshuffled | `training::validation_splits_are_shuffled_and_strata_keep_their_share` |
//! | | a misspelt monitor that is only a warning | [`a_misspelt_monitor_ends_the_run_before_its_first_step`] |
//! | | early stopping that forgets the best weights | `training::early_stopping_puts_the_best_weights_back` |
//! | | weights of classes and of samples that exclude each other | `training::class_and_sample_weights_multiply` |
//! | | `(N, 1)` against `(N)` broadcast in a loss | `training::targets_without_the_last_dimension_are_not_broadcast`, [`no_loss_broadcasts_a_column_against_a_row`] |
//! | | labels out of range whose loss is 0 | [`a_label_that_is_none_is_told_by_its_sample`] |
//! | | a resumed run without optimizer, random numbers or the order of the data | `resume::cut_after_any_batch_a_run_ends_with_the_same_bits` |
//! | | accumulated gradients averaged wrongly, and the last ones dropped | `models::accumulated_gradients_count_by_samples`, [`what_accumulation_holds_at_the_end_is_applied`] |
//! | | a crash or Ctrl-C that loses the history | `resume::whatever_happens_history_and_the_last_checkpoint_stay`, `runs::ctrl_c_leaves_the_epochs_that_are_whole` |
//! | | confusion matrices and folds in other packages | [`confusion_matrices_and_folds_are_here`] |

use crate::training::{classifier, points, quiet, weights};
use kiln::nn::optimizers::SGD;
use kiln::prelude::*;
use kiln::tensor::ops::Apply;
use kiln::train::{cross_validate, splits::KFold};

#[test]
fn one_function_for_every_rank_and_type() {
    fn standardized(x: &Tensor) -> kiln::tensor::Result<Tensor> {
        x.sub(&x.mean(keep(-1))?)?.div(&x.std(keep(-1), 0.0)?)
    }
    for shape in [&[4][..], &[2, 4], &[1, 2, 3, 4]] {
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
            let x = Key::new(1).normal(shape, 3.0, 2.0).unwrap().cast(dtype).unwrap();
            let y = standardized(&x).unwrap();
            assert_eq!((y.shape(), y.dtype()), (x.shape(), dtype));
            assert!(y.mean(..).unwrap().item().unwrap().abs() < 0.02);
        }
    }
    // A model is one type, whatever its data are.
    let models =
        [Sequential::new([3]).add(Dense::new(1)), Sequential::new([4, 4, 1]).add(Flatten::new()).add(Dense::new(1))];
    let compiled: Vec<Model> = models.map(|net| net.compile("sgd", "mse", ()).unwrap()).into();
    assert_eq!(compiled.len(), 2);
}

/// `x³` by hand, with what any operation needs and no more.
#[derive(Debug, Clone, PartialEq)]
struct Cube;

impl Op for Cube {
    fn name(&self) -> &str {
        "cube"
    }
    fn infer(&self, x: &[Spec]) -> kiln::tensor::Result<Specs> {
        Ok(x[0].into())
    }
    fn cpu(&self, call: CpuCall<'_, Self>) -> kiln::tensor::Result<()> {
        let (x, y) = call.parts();
        let x = x[0].contiguous::<f64>()?;
        y[0].slice::<f64>()?.iter_mut().zip(x.iter()).for_each(|(y, x)| *y = x * x * x);
        Ok(())
    }
}

impl Differentiable for Cube {
    fn vjp(&self, x: &[Var], _: &[Var], dy: &[Option<Var>], _: &[bool]) -> kiln::tensor::Result<Vec<Option<Var>>> {
        let Some(dy) = &dy[0] else { return Ok(vec![None]) };
        Ok(vec![Some(x[0].square()?.mul(3.0)?.mul(dy)?)])
    }
    fn keeps(&self) -> Keep {
        Keep::INPUTS
    }
}

#[test]
fn an_operation_is_one_struct_and_one_rule() {
    let x = Tensor::new([1.0, -2.0, 0.5]);
    let cubed = |x: &[Var]| Var::apply_op(Cube, &[&x[0]])?.one()?.sum(..);
    GradCheck::new().run(cubed, std::slice::from_ref(&x)).unwrap();
    assert_eq!(grad(cubed, &[x]).unwrap()[0].to_vec::<f64>().unwrap(), [3.0, 12.0, 0.75]);
}

#[test]
fn normalizations_have_gradients_of_any_order() {
    let x = Key::new(2).normal([3, 4], 0.0, 1.0).unwrap().cast(DType::F64).unwrap();
    for layer in [
        Box::new(LayerNormalization::new()) as Box<dyn AnyLayer>,
        Box::new(RMSNormalization::new()),
        Box::new(UnitNormalization::new()),
        Box::new(GroupNormalization::new().groups(2)),
        Box::new(Softmax::new()),
    ] {
        let net = Sequential::new([4]).add_boxed(layer).dtype(DType::F64).build().unwrap();
        let f = |x: &[Var]| {
            let y = net.forward(&x[0], &mut Pass::inference()).unwrap();
            y.mul(&Var::new(Tensor::new([1.0, -2.0, 0.5, 3.0])))?.sum(..)
        };
        GradCheck::new().run(f, std::slice::from_ref(&x)).unwrap();
    }
}

#[test]
fn views_need_no_copy() {
    let x = Key::new(3).normal([6, 8], 0.0, 1.0).unwrap();
    let view = x.t().unwrap().slice(0, 1..7).unwrap().slice(1, ..4).unwrap();
    let dense = Tensor::from_vec(view.to_vec::<f32>().unwrap(), [6, 4]).unwrap();
    for (a, b) in [
        (view.softmax(0), dense.softmax(0)),
        (view.matmul(&view.t().unwrap()), dense.matmul(&dense.t().unwrap())),
        (view.argmax(-1), dense.argmax(-1)),
        (view.reshape([3, 8]), dense.reshape([3, 8])),
    ] {
        let (a, b) = (a.unwrap().to_vec_as::<f64>(), b.unwrap().to_vec_as::<f64>());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn a_misspelt_monitor_ends_the_run_before_its_first_step() {
    let best = ModelCheckpoint::new("never.safetensors").save_best_only(true);
    for (fit, name) in [
        (quiet().callback(EarlyStopping::new().monitor("val_los")), "EarlyStopping"),
        (quiet().callback(ReduceLROnPlateau::new().monitor("val_los")), "ReduceLROnPlateau"),
        (quiet().callback(best.monitor("val_los")), "ModelCheckpoint"),
        (quiet().callback(ModelCheckpoint::new("never-{val_los:.2f}.safetensors")), "ModelCheckpoint"),
    ] {
        let mut model = classifier(0);
        let before = weights(&model);
        let fit = fit.validation_split(0.25);
        let error = model.fit(&points(40, 1), fit).unwrap_err().to_string();
        assert_eq!(error, format!("{name}: `val_los` is not logged in this run\n  help: did you mean `val_loss`?"));
        crate::training::assert_same_bits(&before, &weights(&model));
    }
}

#[test]
fn no_loss_broadcasts_a_column_against_a_row() {
    let p = Tensor::new([[0.2f32], [0.4], [0.9]]);
    for name in ["mse", "mae", "huber", "log_cosh", "binary_crossentropy", "hinge", "poisson"] {
        let loss = losses::from_name(name).unwrap();
        let of = |t: Tensor| loss.call(&Var::new(t), &Var::new(p.clone()), None).map(|l| l.tensor().item().unwrap());
        let (row, column) = (of(Tensor::new([0.0f32, 1.0, 1.0])), of(Tensor::new([[0.0f32], [1.0], [1.0]])));
        assert_eq!(row.unwrap(), column.unwrap(), "{name}");
        let error = of(Tensor::new([[0.0f32, 1.0, 1.0]; 3])).unwrap_err().to_string();
        assert!(error.contains("[3, 3]") && error.contains("[3, 1]"), "{name}: {error}");
    }
    // One of your own that does is an error of its shape.
    let own = losses::LossFn::new("own", |t, p| Ok(p.sub(t)?.square()?.mean(-1)?));
    let data = Dataset::new(Tensor::zeros([3, 2]).unwrap(), Tensor::new([0.0f32, 1.0, 1.0])).unwrap();
    let mut model = Sequential::new([2]).add(Dense::new(1)).compile("sgd", own, ()).unwrap();
    let loss = model.fit(&data, quiet()).map(|history| history.last("loss").unwrap());
    // Aligned, as the built-in ones do: predictions are near 0.
    assert!(loss.as_ref().is_ok_and(|loss| (loss - 2.0 / 3.0).abs() < 1e-6) || loss.is_err(), "{loss:?}");
}

#[test]
fn a_label_that_is_none_is_told_by_its_sample() {
    let x = Key::new(0).normal([64, 4], 0.0, 1.0).unwrap();
    let with = |label: i64| {
        let labels = (0..64).map(|i| if i == 41 { label } else { i % 3 }).collect();
        Dataset::new(x.clone(), Tensor::from_vec(labels, [64]).unwrap()).unwrap()
    };
    let model = || {
        let net = Sequential::new([4]).add(Dense::new(3).activation("softmax"));
        net.compile("adam", "sparse_categorical_crossentropy", ["accuracy"]).unwrap()
    };
    let fit = || quiet().batch_size(8).epochs(2);
    for label in [3, -1, i64::MAX] {
        let data = with(label);
        let ways: [(&str, Result<()>); 6] = [
            ("shuffled", model().fit(&data, fit()).map(|_| ())),
            ("in order", model().fit(&data, fit().shuffle(false)).map(|_| ())),
            ("split", model().fit(&data, fit().seed(3).validation_split(0.3)).map(|_| ())),
            ("split at the end", model().fit(&data, fit().validation_last(0.5)).map(|_| ())),
            ("validation", model().fit(&with(0), fit().validation_data(&data)).map(|_| ())),
            ("evaluated", model().evaluate(&data).map(|_| ())),
        ];
        for (way, outcome) in ways {
            let error = outcome.unwrap_err().to_string();
            let is_told =
                error.contains(&format!("label {label} at position")) && error.contains("of sample 41 of the data");
            assert!(is_told && error.contains("help: labels count from 0"), "{way}: {error}");
        }
    }
    // So are targets that are no probabilities, and words beyond an embedding's.
    let binary = Sequential::new([4]).add(Dense::new(1).activation("sigmoid"));
    let mut binary = binary.compile("adam", "binary_crossentropy", ()).unwrap();
    let targets = Tensor::from_vec((0..64).map(|i| if i == 41 { 2f32 } else { 1.0 }).collect(), [64, 1]).unwrap();
    let error = binary.fit(&Dataset::new(x.clone(), targets).unwrap(), fit()).unwrap_err().to_string();
    assert!(
        error.contains("target 2 at position") && error.contains("of sample 41 of the data, in epoch 1"),
        "{error}"
    );
    let words = Tensor::from_vec((0..192).map(|i| if i == 3 * 41 + 2 { 9 } else { i % 5 }).collect(), [64, 3]).unwrap();
    let data = Dataset::new(words.clone(), Tensor::zeros([64, 1]).unwrap()).unwrap();
    let text = || Sequential::new([3]).add(Embedding::new(5, 2)).add(Flatten::new()).add(Dense::new(1));
    let mut model = text().compile("adam", "mse", ()).unwrap();
    let error = model.fit(&data, fit()).unwrap_err().to_string();
    assert!(error.contains("index 9") && error.contains("of sample 41 of the data, in epoch 1"), "{error}");
    let error = model.predict(&words).unwrap_err().to_string();
    assert!(error.contains("index 9") && error.contains("of sample 41"), "{error}");
}

#[test]
fn what_accumulation_holds_at_the_end_is_applied() {
    // 5 batches, of which the last is shorter, in steps of 2, and all of them at once: by samples.
    let data = points(36, 1);
    let run = |steps: u64, batch_size: usize, epochs: usize| {
        let net = Sequential::new([2]).seed(1).add(Dense::new(2).activation("softmax"));
        let optimizer = SGD::new(0.5).gradient_accumulation_steps(steps);
        let mut model = net.compile(optimizer, "sparse_categorical_crossentropy", ()).unwrap();
        let before = weights(&model);
        model.fit(&data, quiet().shuffle(false).batch_size(batch_size).epochs(epochs)).unwrap();
        (before, weights(&model))
    };
    let ((before, few), (_, whole)) = (run(100, 8, 1), run(1, 36, 1));
    assert!(!before[0].1.same_bits(&few[0].1), "nothing was applied");
    for ((_, a), (_, b)) in few.iter().zip(&whole) {
        assert!(a.to_vec::<f32>().unwrap().iter().zip(b.to_vec::<f32>().unwrap()).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

#[test]
fn confusion_matrices_and_folds_are_here() {
    let data = points(60, 1);
    let result = cross_validate(|_| Ok(classifier(0)), &data, &KFold::new(3).shuffle(0), || quiet().epochs(5)).unwrap();
    assert!(result.folds.len() == 3 && !result.was_interrupted() && result.mean("accuracy").is_some());
    let mut model = classifier(0);
    model.fit(&data, quiet().epochs(5)).unwrap();
    let predicted = model.predict(&data).unwrap().argmax(-1).unwrap();
    let matrix = kiln::scores::confusion_matrix(data.y(), &predicted, ()).unwrap();
    assert_eq!(Some(matrix.accuracy()), model.evaluate(&data).unwrap().get("accuracy"));
}
