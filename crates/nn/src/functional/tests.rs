//! Graphs beside what their parts compute, as layers of each other, and what cannot be one.

use super::*;
use crate::layers::{Add, Concatenate, Dense};
use crate::{Connect, Input, Module};
use kiln_autograd::{Spec, Tensor, Var};

fn paths(module: &impl Module) -> Vec<String> {
    crate::module::named_parameters(module).into_iter().map(|(path, _)| path).collect()
}

fn outputs(model: &Network, x: &[Signal]) -> Vec<Vec<f64>> {
    let y = model.forward_all(x, &mut Pass::inference()).unwrap();
    y.iter().map(|y| y.value.tensor().to_vec_as::<f64>()).collect()
}

/// Two inputs, a residual connection, a shared layer, two outputs.
fn graph() -> Functional {
    let (a, b) = (Input::named("a", [3]), Input::new([3]));
    let shared = Dense::new(3).activation("tanh").shared();
    let (p, q) = (shared.on(&a).unwrap(), shared.on(&b).unwrap());
    let sum = Add::new().on([&p, &q, &a]).unwrap();
    let y = Dense::new(2).activation("softmax").named("class").on(&sum).unwrap();
    let both = Concatenate::new().on([&sum, &y]).unwrap();
    let z = Dense::new(1).on(&both).unwrap();
    Functional::new([&a, &b], [&y, &z]).unwrap()
}

#[test]
fn a_graph_computes_what_its_parts_do_and_survives_its_config() {
    let model = graph().seed(3).build().unwrap();
    assert_eq!(
        paths(&model),
        ["dense/kernel", "dense/bias", "class/kernel", "class/bias", "dense_1/kernel", "dense_1/bias"]
    );
    assert_eq!(model.input_names(), ["a", "input_1"]);
    assert_eq!(model.output_names(), ["class", "dense_1"]);
    let x = |seed| Signal::from(Key::new(seed).normal([4, 3], 0.0, 1.0).unwrap());
    let found = outputs(&model, &[x(1), x(2)]);
    let again = Functional::from_config(&model.config().unwrap()).unwrap().seed(3).build().unwrap();
    assert_eq!(again.config(), model.config());
    assert_eq!(outputs(&again, &[x(1), x(2)]), found);
    // By hand.
    let (a, b) = (x(1).value, x(2).value);
    let weights = crate::module::named_parameters(&model);
    let dense = |x: &Var, i: usize| {
        use kiln_autograd::ops::{ArithmeticOps, MatMulOps};
        x.matmul(&Var::new(weights[2 * i].1.clone())).unwrap().add(&Var::new(weights[2 * i + 1].1.clone())).unwrap()
    };
    use kiln_autograd::ops::{ArithmeticOps, MathOps, SoftmaxOps};
    let sum = dense(&a, 0).tanh().unwrap().add(&dense(&b, 0).tanh().unwrap()).unwrap().add(&a).unwrap();
    let y = dense(&sum, 1).softmax(-1).unwrap();
    let z = dense(&kiln_autograd::ops::concat(&[&sum, &y], -1).unwrap(), 2);
    assert_eq!(found, [y.tensor().to_vec_as::<f64>(), z.tensor().to_vec_as()]);
    // What a loss is fused with comes before the activation.
    let logits = model.logits(&[x(1), x(2)], &mut Pass::inference()).unwrap();
    assert_eq!(logits[0].value.tensor().to_vec_as::<f64>(), dense(&sum, 1).tensor().to_vec_as::<f64>());
    assert_eq!(logits[1].value.tensor().to_vec_as::<f64>(), found[1]);
    let table = model.summary();
    assert!(table.contains("Connected to") && table.contains("dense, dense, a"), "{table}");
}

#[test]
fn a_model_is_a_layer_of_another() {
    let x = Input::new([3]);
    let y = crate::Sequential::new([3]).add(Dense::new(4)).add(Dense::new(3).activation("relu")).on(&x).unwrap();
    let y = Add::new().on([&x, &y]).unwrap();
    let model = Functional::new(&x, &y).unwrap().build().unwrap();
    assert_eq!(paths(&model)[0], "sequential/dense/kernel");
    let again = Functional::from_config(&model.config().unwrap()).unwrap().build().unwrap();
    let x = [Signal::from(Tensor::ones([2, 3]).unwrap())];
    assert_eq!(outputs(&again, &x), outputs(&model, &x));
}

#[test]
fn what_cannot_be_a_model_is_told() {
    let (a, b) = (Input::new([3]), Input::new([4]));
    let text = |result: Result<Functional>| result.unwrap_err().to_string();
    let y = Concatenate::new().on([&a, &b]).unwrap();
    assert!(text(Functional::new(&a, &y)).contains("does not name"));
    assert!(text(Functional::new([&a, &a], &y)).contains("twice"));
    assert!(text(Functional::new([&a, &y], &y)).contains("result of a layer"));
    let p = Dense::new(2).named("x").on(&a).unwrap();
    let q = Dense::new(2).named("x").on(&p).unwrap();
    assert!(text(Functional::new(&a, &q)).contains("Functional: two layers are named `x`"));
    let shared = Dense::new(3).shared().named("x");
    let q = shared.clone().named("y").on(&shared.on(&a).unwrap()).unwrap();
    assert!(text(Functional::new(&a, &q)).contains("one layer is named `x` and `y`"));
    // The weights of the first call do not fit the second.
    let shared = Dense::new(5).shared();
    let q = Concatenate::new().on([&shared.on(&a).unwrap(), &shared.on(&b).unwrap()]).unwrap();
    let refused = text(Functional::new([&a, &b], &q));
    assert!(refused.contains("`kernel` is [3, 5], and is called on [4], which needs [4, 5]"), "{refused}");
    let text = Add::new().on([&a, &b]).unwrap_err().to_string();
    assert!(text.contains("add"), "{text}");
    let model = Functional::new([&a, &b], &y).unwrap().build().unwrap();
    let ones = |n| Signal::from(Tensor::ones([2, n]).unwrap());
    let refused = |x: &[Signal]| model.forward_all(x, &mut Pass::inference()).unwrap_err().to_string();
    assert!(refused(&[ones(3)]).contains("takes 2 inputs (`input`, `input_1`), found 1"));
    assert!(refused(&[ones(3), ones(3)]).contains("for `input_1`, found [2, 3]"));
}

#[test]
fn names_of_inputs_are_their_places_unless_another_has_them() {
    let (a, b, c) = (Input::named("input_1", [3]), Input::new([3]), Input::named("input", [3]));
    let y = Add::new().on([&a, &b, &c]).unwrap();
    let model = Functional::new([&a, &b, &c], &y).unwrap();
    assert_eq!(model.input_names(), ["input_1", "input_1_1", "input"]);
    // A model as a layer has its own name.
    let inner = crate::Sequential::new([3]).add(Dense::new(3)).name("encoder");
    let y = inner.on(&b).unwrap();
    assert_eq!(paths(&Functional::new(&b, &y).unwrap().build().unwrap())[0], "encoder/dense/kernel");
}

#[test]
fn a_long_row_is_built_and_dropped() {
    let x = Input::new([1]);
    let shared = crate::layers::Identity::new().shared();
    let mut y = x.clone();
    for _ in 0..100_000 {
        y = shared.on(&y).unwrap();
    }
    drop(y);
}

#[test]
fn tied_weights_are_one_parameter() {
    let rows = |tied: bool| {
        let model = crate::Sequential::new([3]).add(Dense::new(4)).add(Dense::new(3).use_bias(false)).seed(5);
        if tied { model.tie_transposed("dense_1/kernel", "dense/kernel") } else { model }
    };
    let mut model = rows(true).build().unwrap();
    assert_eq!(paths(&model), ["dense/kernel", "dense/bias"]);
    assert_eq!(rows(true).parameter_specs().unwrap().len(), 2);
    assert!(rows(true).summary().unwrap().contains("Total params: 16"));
    assert_eq!(rows(true).summary().unwrap(), model.summary());
    // By hand, with the gradient of both places.
    use kiln_autograd::ops::{ArithmeticOps, MatMulOps, MathOps, ReduceOps, ViewOps};
    let x = Var::new(Key::new(1).normal([5, 3], 0.0, 1.0).unwrap());
    let weights = crate::module::named_parameters(&model);
    let tape = kiln_autograd::Tape::new();
    let kernel = tape.watch(&weights[0].1);
    let hidden = x.matmul(&kernel).unwrap().add(&Var::new(weights[1].1.clone())).unwrap();
    let y = hidden.matmul(&kernel.t().unwrap()).unwrap();
    let wanted = y.square().unwrap().sum(..).unwrap().backward().unwrap().get(&kernel).unwrap();
    let mut pass = Pass::training(Key::new(0));
    let found = model.forward(&x, &mut pass).unwrap();
    assert!(found.tensor().same_bits(y.tensor()));
    let gradients = pass.finish(&found.square().unwrap().sum(..).unwrap(), &mut model).unwrap();
    assert_eq!(gradients.len(), 2);
    assert!(gradients[0].as_ref().unwrap().same_bits(&wanted));
    // In a file, and as a part of another model.
    let again = Functional::from_config(&model.config().unwrap()).unwrap();
    assert_eq!(again.config(), model.config().unwrap());
    let input = Input::new([3]);
    let outer = Functional::new(&input, &again.on(&input).unwrap()).unwrap().build().unwrap();
    assert_eq!(paths(&outer), ["sequential/dense/kernel", "sequential/dense/bias"]);
    assert_eq!(outputs(&outer, &[Signal::new(x.clone())])[0].len(), 15);
    // Frozen is what it is tied to.
    let mut model = rows(true).build().unwrap();
    let text = crate::module::set_trainable(&mut model, "dense_1/ker*", false).unwrap_err().to_string();
    assert!(text.contains("`dense_1/kernel` is no parameter of its own: it is tied to `dense/kernel`"), "{text}");
    assert_eq!(crate::module::set_trainable(&mut model, "dense/kernel", false).unwrap(), 1);
    // What cannot be tied.
    let text = |weight: &str, to: &str| rows(false).graph().unwrap().tie(weight, to).unwrap_err().to_string();
    assert!(text("dense_1/kernel", "dense/kernel").contains("`dense_1/kernel` is [4, 3], and `dense/kernel` [3, 4]"));
    assert!(text("dense/kernel", "dense/kernel").contains("tied to itself"));
    assert!(text("dense/cornel", "dense/kernel").contains("did you mean `dense/kernel`?"));
    let twice = rows(true).graph().unwrap().tie_transposed("dense/kernel", "dense_1/kernel").unwrap_err().to_string();
    assert!(twice.contains("`dense_1/kernel` is another weight already"), "{twice}");
}

#[test]
fn a_mask_has_the_first_dimensions_of_its_value() {
    let model = crate::Sequential::new([4, 3]).add(crate::layers::LSTM::new(2)).build().unwrap();
    let call = |mask: &[usize]| {
        let mask = Tensor::filled(Spec::new(Shape::new(mask).unwrap(), DType::Bool), 1.0);
        let x = Signal::from(Tensor::ones([2, 4, 3]).unwrap()).masked(Var::new(mask));
        model.forward_all(&[x], &mut Pass::inference())
    };
    assert!(call(&[2, 4]).is_ok());
    let text = call(&[2, 5]).unwrap_err().to_string();
    assert!(text.contains("LSTM: the mask of its input is [2, 5], the value [2, 4, 3]"), "{text}");
    assert!(text.contains("the first dimensions of its value: [2, 4]"), "{text}");
}
