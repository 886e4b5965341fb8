//! What layers refuse, and what they do at the edges.

use super::*;
use crate::layer::{Layer, Weight, Weights};
use crate::{Connect, Input, Module, Pass, Regularizer, Sequential, Signal};
use kiln_autograd::ops::{CastOps, Value};
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
    for other in [&[5, 4][..], &[3, 5], &[5], &[1, 4, 5]] {
        assert!(text(infer(other)).contains("does not cover 4 steps of queries and 5 of values"), "{other:?}");
    }
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
