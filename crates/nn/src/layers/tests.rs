//! What layers refuse, and what they do at the edges.

use super::*;
use crate::layer::{Layer, Weight, Weights};
use crate::{Connect, Input, Module, Pass, Regularizer, Sequential, Signal};
use kiln_autograd::ops::{CastOps, ComparisonOps, Value, ViewOps, concat};
use kiln_autograd::{DType, Key, Shape, Tensor, Var};

#[test]
fn settings_out_of_range_are_refused_where_a_model_is_built() {
    let refused = |layer: Box<dyn AnyLayer>, setting: &str| {
        let text = format!("{layer:?}");
        // Read back from a file, it is refused too.
        let again = from_config(layer.class_name(), &layer.to_config()).unwrap();
        for layer in [layer, again] {
            let error = Sequential::new([4]).add_boxed(layer).build().expect_err(&text).to_string();
            assert!(error.contains("help: "), "{error}");
            assert!(error.contains(setting), "{text}: {error}");
        }
    };
    for epsilon in [-1.0, -1e-9, f64::NAN, f64::INFINITY] {
        refused(Box::new(BatchNormalization::new().epsilon(epsilon)), "epsilon is");
        refused(Box::new(LayerNormalization::new().epsilon(epsilon)), "epsilon is");
    }
    for momentum in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        refused(Box::new(BatchNormalization::new().momentum(momentum)), "momentum is");
    }
    for rate in [-0.1, 1.1, f64::NAN] {
        refused(Box::new(Dropout::new(rate)), "rate");
    }
    let glu = "gives another shape than it is given";
    for error in [
        Sequential::new([3, 4]).add(LSTM::new(4).activation("glu")).build(),
        Sequential::new([3, 4]).add(GRU::new(4).recurrent_activation("glu")).build(),
        Sequential::new([3, 4]).add(TransformerEncoder::new(4, 2).activation("glu")).build(),
    ] {
        assert!(text(error.map(|_| ())).contains(glu));
    }
    refused(Box::new(Rescaling::new(1.0).offset(f64::NAN)), "offset is");
    refused(Box::new(Normalization::new().mean([0.0]).variance([-1.0])), "a variance is");
    refused(Box::new(Normalization::new().axis(None).mean([0.0, 1.0]).variance([1.0, 1.0])), "2 means for 1 whole");
    refused(Box::new(Activation::new(crate::Activation::LeakyRelu(f64::NAN))), "slope");
    for momentum in [0.0, 1.0] {
        let layer = BatchNormalization::new().momentum(momentum).epsilon(0.0);
        assert!(Sequential::new([4]).add(layer).build().is_ok());
    }
}

fn text<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn samples_without_elements_are_errors_or_nothing() {
    assert!(Sequential::new([]).add(GroupNormalization::new()).build().is_err());
    let none = Tensor::zeros([1, 0, 4, 3]).unwrap();
    for layer in [Box::new(CenterCrop::new(2, 2)) as Box<dyn AnyLayer>, Box::new(RandomCrop::new(2, 2))] {
        let built = Sequential::new([0, 4, 3]).add_boxed(layer).build();
        let outcome = built.and_then(|model| model.forward(&Var::new(none.clone()), &mut Pass::inference()));
        assert!(outcome.is_err() || outcome.unwrap().tensor().count() > 0);
    }
}

#[test]
fn what_is_no_category_is_an_error() {
    let model = Sequential::new([2]).add(CategoryEncoding::new(3).output_mode(OutputMode::Count)).build().unwrap();
    let run = |x: Tensor| model.forward(&Var::new(x), &mut Pass::inference());
    assert_eq!(run(Tensor::new([[0.0f32, 2.0]])).unwrap().tensor().to_vec_as::<f64>(), [1.0, 0.0, 1.0]);
    for odd in [3.0f32, -1.0, f32::NAN] {
        let error = text(run(Tensor::new([[0.0, odd]])));
        assert!(error.contains("num_tokens 3"), "{error}");
    }
}

#[test]
fn sizes_beyond_memory_are_errors() {
    let far = [LSTM::new(1 << 34), LSTM::new(usize::MAX)];
    for layer in far {
        assert!(Sequential::new([2, 3]).add(layer).build().is_err());
    }
    assert!(Sequential::new([2, 3]).add(GRU::new(usize::MAX / 2)).build().is_err());
    let layer = Conv1DTranspose::new(1, 2).strides(usize::MAX).output_padding(usize::MAX - 1);
    assert!(layer.output_shape(&Shape::new(&[3, 1]).unwrap()).is_err());
    let none = Conv1DTranspose::new(1, 2).output_shape(&Shape::new(&[0, 1]).unwrap());
    assert!(none.is_ok() || text(none).contains("help: "));
}

#[test]
fn a_mask_of_pairs_covers_them() {
    let infer = |shape: &[usize]| {
        let shapes = [&[4, 6][..], &[5, 6], shape].map(|shape| Shape::new(shape).unwrap());
        MultiHeadAttention::new(2, 3).takes_attention_mask(true).infer(&shapes)
    };
    for covers in [[4, 5], [1, 5], [4, 1], [1, 1]] {
        assert!(infer(&covers).is_ok(), "{covers:?}");
    }
    for of_heads in [[2, 4, 5], [1, 4, 5], [2, 1, 5]] {
        assert!(infer(&of_heads).is_ok(), "{of_heads:?}");
    }
    for other in [&[5, 4][..], &[3, 5], &[5], &[3, 4, 5], &[1, 2, 4, 5]] {
        assert!(text(infer(other)).contains("does not cover 4 steps of queries and 5 of values"), "{other:?}");
    }
}

#[test]
fn a_mask_of_each_head_is_that_of_all_where_they_are_alike() {
    let key = Key::new(0);
    let x = key.fold(0).normal([3, 4, 6], 0.0, 1.0).unwrap();
    let pairs = key.fold(1).uniform([3, 1, 4, 4], 0.0, 1.0).unwrap().gt(0.4).unwrap();
    let run = |mask: &Tensor| {
        let (value, seen) = (Input::new([4, 6]), Input::new(&mask.shape()[1..]));
        let layer = MultiHeadAttention::new(2, 3).takes_attention_mask(true).return_attention_scores(true);
        let y = layer.on_all([&value, &value, &seen]).unwrap();
        let model = Functional::new([&value, &seen], &y[1]).unwrap().seed(1).build().unwrap();
        let inputs = [Signal::from(x.clone()), Signal::from(mask.clone())];
        model.forward_all(&inputs, &mut Pass::inference()).unwrap().swap_remove(0).value.into_tensor()
    };
    let of_all = run(&pairs.reshape([3, 4, 4]).unwrap());
    assert!(of_all.same_bits(&run(&pairs)));
    let alike = pairs.expand([3, 2, 4, 4]).unwrap();
    assert!(of_all.same_bits(&run(&alike)));
    // Only the second head looks at the first step alone.
    let first = Tensor::arange(0, 4, 1).unwrap().eq(0).unwrap().expand([3, 1, 4, 4]).unwrap();
    let scores = run(&concat(&[&pairs, &first], 1).unwrap());
    assert!(scores.slice(1, 0..1).unwrap().same_bits(&of_all.slice(1, 0..1).unwrap()));
    assert_eq!(scores.slice(1, 1..2).unwrap().slice(-1, 0..1).unwrap().to_vec_as::<f64>(), [1.0; 12]);
}

#[test]
fn a_normalization_that_is_called_twice_moves_twice() {
    let (a, b) = (Input::new([1]), Input::new([1]));
    let layer = || BatchNormalization::new().momentum(0.5);
    for shared in [layer().shared(), Recompute::new(layer()).shared()] {
        let sum = Add::new().on([&shared.on(&a).unwrap(), &shared.on(&b).unwrap()]).unwrap();
        let mut model = Functional::new([&a, &b], &sum).unwrap().build().unwrap();
        let x = |value: f64| Signal::from(Tensor::new([[value], [value]]));
        let mut step = |x: [Signal; 2]| {
            let mut pass = Pass::training(Key::new(0));
            model.forward_all(&x, &mut pass).unwrap();
            pass.finish(&Var::new(Tensor::new(0.0)), &mut model).unwrap();
            crate::module::named_parameters(&model)[2].1.to_vec_as::<f64>()[0]
        };
        // 0 and 10, then with 2: as in Keras.
        assert_eq!(step([x(10.0), x(2.0)]), 3.5);
        // No sample, no statistics.
        let none = || Signal::from(Tensor::zeros([0, 1]).unwrap());
        assert_eq!(step([none(), none()]), 3.5);
    }
}

#[test]
fn masks_within_steps_are_those_of_the_layer() {
    // Two steps of three, of which the first counts one and the second none.
    let mask = Tensor::new([[[true, false, false], [false, false, false]]]);
    let x = Tensor::new([[[[4.0], [1.0], [1.0]], [[5.0], [6.0], [7.0]]]]);
    let x = Signal::from(x).masked(Var::new(mask));
    let layer = TimeDistributed::new(GlobalAveragePooling1D::new());
    let y = layer.run(&[x], Weights::none(), &mut Pass::inference()).unwrap();
    assert_eq!(y[0].value.tensor().to_vec_as::<f64>(), [4.0, 0.0]);
    assert_eq!(y[0].mask.as_ref().unwrap().tensor().to_vec::<bool>().unwrap(), [true, false]);
}

/// A cell that forgets its state.
#[derive(Debug)]
struct Forgetful;

impl Cell for Forgetful {
    fn class(&self) -> &str {
        "Forgetful"
    }
    fn state_shapes(&self, input: &Shape) -> Result<Vec<Shape>> {
        Ok(vec![*input])
    }
    fn weights(&self, _input: &Shape) -> Result<Vec<Weight>> {
        Ok(Vec::new())
    }
    fn step(
        &self,
        x: &Var,
        _states: &[Var],
        _weights: Weights<'_>,
        _drawn: &Drawn,
        _pass: &mut Pass,
    ) -> Result<(Var, Vec<Var>)> {
        Ok((x.clone(), Vec::new()))
    }
    fn config(&self) -> Json {
        Json::Null
    }
}

#[test]
fn states_that_get_lost_are_told() {
    let x = Var::new(Tensor::ones([2, 3, 4]).unwrap());
    for layer in [RNN::new(Forgetful), RNN::new(StackedRNNCells::new().add(Forgetful).add(GRUCell::new(4)))] {
        let model = Sequential::new([3, 4]).add(layer).build().unwrap();
        let error = text(model.forward(&x, &mut Pass::inference()));
        assert!(error.contains("Forgetful: a step makes states of"), "{error}");
    }
}

#[test]
fn recurrent_layers_take_numbers_of_any_type() {
    let x = Tensor::new([[[1.0f32], [2.0], [0.0]]]);
    let layers: [Box<dyn AnyLayer>; 4] = [
        Box::new(SimpleRNN::new(2)),
        Box::new(LSTM::new(2)),
        Box::new(GRU::new(2)),
        Box::new(RNN::new(StackedRNNCells::new().add(LSTMCell::new(2)))),
    ];
    for layer in layers {
        let model = Sequential::new([3, 1]).add_boxed(layer).build().unwrap();
        let y = |dtype: DType| {
            let x = Var::new(x.cast(dtype).unwrap());
            let y = model.forward(&x, &mut Pass::inference()).unwrap();
            (Value::dtype(&y), y.tensor().to_vec_as::<f64>())
        };
        let (dtype, single) = y(DType::F32);
        assert_eq!((dtype, &single), (DType::F32, &y(DType::I64).1));
        let (dtype, double) = y(DType::F64);
        assert_eq!(dtype, DType::F64);
        assert!(single.iter().zip(&double).all(|(a, b)| (a - b).abs() < 1e-6), "{single:?} {double:?}");
    }
}

#[test]
fn images_are_cut_only_where_they_are_told_to_be() {
    let cut = |class: &str, sample: &[usize]| {
        let layer = from_config(class, &Json::Null).unwrap();
        layer.infer(&[Shape::new(sample).unwrap()]).unwrap()[0].to_vec()
    };
    assert_eq!(cut("Cropping1D", &[5, 2]), [3, 2]);
    assert_eq!(cut("Cropping2D", &[5, 4, 2]), [5, 4, 2]);
    assert_eq!(cut("Cropping3D", &[5, 4, 3, 2]), [3, 2, 1, 2]);
}

#[test]
fn vectors_that_are_looked_up_can_be_penalized() {
    let table = Tensor::new([[1.0, 2.0], [3.0, 0.0]]);
    let layer = Embedding::new(2, 2).activity_regularizer(Regularizer::L1 { l1: 0.5 });
    let mut built = Sequential::new([2]).add(layer).build().unwrap();
    let mut pass = Pass::training(Key::new(0));
    built.parameters_mut(&mut |_, parameter| parameter.tensor = table.clone());
    built.forward(&Var::new(Tensor::new([[0, 0], [1, 0]])), &mut pass).unwrap();
    // Half of 3 + 3 + 3 + 3, over two samples.
    assert_eq!(pass.penalties().unwrap().unwrap().tensor().item().unwrap(), 3.0);
}

#[test]
fn each_step_has_statistics_of_its_own() {
    let layer = TimeDistributed::new(BatchNormalization::new().momentum(0.5));
    let mut model = Sequential::new([2, 1]).add(layer).build().unwrap();
    let mut pass = Pass::training(Key::new(0));
    // Means of 1 and 10, one after the other.
    let x = Var::new(Tensor::new([[[0.0], [10.0]], [[2.0], [10.0]]]));
    let y = model.forward(&x, &mut pass).unwrap();
    pass.finish(&Var::new(Tensor::new(0.0)), &mut model).unwrap();
    let y = y.tensor().to_vec_as::<f64>();
    assert!((y[0] + 1.0).abs() < 1e-2 && (y[2] - 1.0).abs() < 1e-2 && y[1] == 0.0 && y[3] == 0.0, "{y:?}");
    assert_eq!(crate::module::named_parameters(&model)[2].1.to_vec_as::<f64>(), [5.25]);
}

/// The numbers of a layer with weights of 0.5 and biases of 1/8.
fn halves(layer: impl AnyLayer + 'static, x: &Tensor) -> (Vec<usize>, Vec<f64>) {
    let inputs = [Shape::new(&x.shape()[1..]).unwrap()];
    let mut built = crate::Built::of(Box::new(layer), &inputs, Key::new(0), DType::F64).unwrap();
    built.parameters_mut(&mut |path, parameter| {
        let number = if path.ends_with("bias") { 0.125 } else { 0.5 };
        parameter.tensor = Tensor::filled(parameter.tensor.spec(), number);
    });
    let y = built.call(&[Signal::from(x.clone())], &mut Pass::inference()).unwrap().swap_remove(0);
    (y.shape().to_vec(), y.value.tensor().to_vec_as())
}

fn is_near(found: &[f64], wanted: &[f64], within: f64) {
    assert_eq!(found.len(), wanted.len());
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((found - wanted).abs() < within, "{i}: {found}, expected {wanted}");
    }
}

#[test]
fn attention_over_some_axes_is_that_of_keras() {
    // Two rows of three pixels, of two channels.
    let x = Tensor::arange(0, 12, 1).unwrap().cast(DType::F64).unwrap();
    let x = kiln_autograd::ops::ArithmeticOps::div(&x, 10.0).unwrap();
    let x = x.reshape([1, 2, 3, 2]).unwrap();
    let (shape, y) = halves(MultiHeadAttention::new(2, 2).use_gate(true).attention_axes(2), &x);
    assert_eq!(shape, [1, 2, 3, 2]);
    let wanted = [0.539_901_75, 0.586_231_74, 0.632_568_09, 1.499_673_56, 1.593_656_21, 1.681_388_43];
    is_near(&y, &wanted.map(|y| [y, y]).concat(), 1e-6);
    // A step that sees itself alone gives its own value.
    let layer = MultiHeadAttention::new(2, 2).output_shape([1, 2]).attention_axes(1).sliding_window(1);
    let (shape, y) = halves(layer, &x);
    assert_eq!(shape, [1, 2, 3, 1, 2]);
    is_near(&y, &[0.475, 0.875, 1.275, 1.675, 2.075, 2.475].map(|y| [y, y]).concat(), 1e-12);
}

#[test]
fn axes_of_attention_are_those_of_steps() {
    let infer = |layer: MultiHeadAttention| text(layer.infer(&[Shape::new(&[4, 5, 6]).unwrap()]));
    let layer = || MultiHeadAttention::new(2, 3);
    assert!(infer(layer().attention_axes(3)).contains("axis 3 of attention_axes is that of the features"));
    assert!(infer(layer().attention_axes(0)).contains("axis 0 is the batch"));
    assert!(infer(layer().attention_axes([1, -3])).contains("name an axis twice"));
    assert!(infer(layer().use_causal_mask(true)).contains("which of 2 axes of attention is time?"));
    let shapes = [[4, 5, 6], [3, 5, 6]].map(|shape| Shape::new(&shape).unwrap());
    assert!(text(layer().attention_axes(2).infer(&shapes)).contains("differ where no attention goes"));
    assert!(layer().attention_axes(1).infer(&shapes).is_ok());
}

#[test]
fn a_batch_normalization_that_is_corrected_is_that_of_keras() {
    let clipping = RenormClipping { rmax: Some(1.5), rmin: Some(0.5), dmax: Some(0.5) };
    let layer = BatchNormalization::new().renorm(true).renorm_clipping(clipping).renorm_momentum(0.5).momentum(0.5);
    assert_eq!(layer, {
        let mut read = BatchNormalization::new();
        settings::read("BatchNormalization", Settings::settings_mut(&mut read), &layer.to_config()).unwrap();
        read
    });
    let inputs = [Shape::new(&[2]).unwrap()];
    let mut built = crate::Built::of(Box::new(layer), &inputs, Key::new(0), DType::F64).unwrap();
    let x = Var::new(Tensor::new([[1.0, 10.0], [2.0, 20.0], [4.0, -30.0]]));
    let mut pass = Pass::training(Key::new(0));
    let y = built.forward(&x, &mut pass).unwrap();
    let wanted = [-0.833_333_333, 0.694_364_331, 0.166_666_667, 1.388_728_662, 2.166_666_667, -2.083_092_993];
    is_near(&y.tensor().to_vec_as::<f64>(), &wanted, 1e-8);
    pass.finish(&Var::new(Tensor::new(0.0)), &mut built).unwrap();
    let y = built.forward(&x, &mut Pass::inference()).unwrap();
    let wanted = [-0.148_305_025, 0.884_858_177, 0.741_525_124, 1.769_716_355, 2.521_185_421, -2.654_574_532];
    is_near(&y.tensor().to_vec_as::<f64>(), &wanted, 1e-8);
}

#[test]
fn a_letter_of_the_batch_is_in_no_kernel() {
    let infer = |layer: EinsumDense| layer.infer(&[Shape::new(&[2, 5, 3]).unwrap()]);
    let layer = EinsumDense::new("abcd,acd->abd", [None, Some(3)]);
    assert!(text(infer(layer)).contains("the kernel has the letter `a` of the batch"));
    let layer = EinsumDense::new("ab...,bd->ad...", [Some(4)]).bias_axes("d");
    assert_eq!(infer(layer).unwrap()[0][..], [4, 5, 3]);
}

#[test]
fn noise_fits_the_samples() {
    let built = |noise: &[Option<usize>]| {
        let layer = Dropout::new(0.5).noise_shape(noise.to_vec());
        Sequential::new([2, 3]).add(layer).build()
    };
    assert!(text(built(&[None, Some(2)])).contains("does not fit samples of [2, 3]"));
    assert!(text(built(&[None, Some(3), None])).contains("give 3 lengths"));
    let model = built(&[None, Some(1), None]).unwrap();
    let x = Var::new(Tensor::ones([50, 2, 3]).unwrap());
    let y = model.forward(&x, &mut Pass::training(Key::new(3))).unwrap().tensor().to_vec_as::<f64>();
    let together = y.chunks(6).all(|sample| sample[..3] == sample[3..]);
    assert!(together && y.contains(&0.0) && y.contains(&2.0), "{y:?}");
}
