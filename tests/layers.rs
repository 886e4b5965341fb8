//! Every layer in the ways in which a user meets it: in a graph, trained by plans, saved and loaded, in half precision, with
//! inputs that do not fit.

use crate::training::folder;
use kiln::nn::{self, AnyLayer, Network};
use kiln::prelude::layers::*;
use kiln::prelude::*;
use optimizers::{Adam, AdamW, Group, IntoOptimizer, LossScale, Optimizer, SGD};

/// A layer, and the shapes of samples that it is called on. Those of `i` are whole numbers below 5.
struct Case {
    layer: Box<dyn AnyLayer>,
    inputs: Vec<Vec<usize>>,
    is_integer: bool,
}

fn case(layer: impl AnyLayer + 'static, inputs: &[&[usize]]) -> Case {
    Case { layer: Box::new(layer), inputs: inputs.iter().map(|shape| shape.to_vec()).collect(), is_integer: false }
}

fn cases() -> Vec<Case> {
    let tokens =
        |layer: Box<dyn AnyLayer>, shape: &[usize]| Case { layer, inputs: vec![shape.to_vec()], is_integer: true };
    let l2 = nn::Regularizer::l2(0.01);
    let mut all = vec![
        case(Dense::new(4).activation("relu").kernel_regularizer(l2), &[&[5]]),
        case(Dense::new(4).kernel_constraint(nn::Constraint::MaxNorm { max_value: 0.5, axis: 0 }), &[&[5]]),
        case(EinsumDense::new("abc,cd->abd", [None, Some(3)]).bias_axes("d"), &[&[4, 5]]),
        case(Conv1D::new(3, 3).padding(Padding::Causal).dilation_rate(2), &[&[7, 2]]),
        case(Conv2D::new(4, [3, 2]).padding(Padding::Same).strides([2, 1]).groups(2), &[&[5, 6, 2]]),
        case(Conv3D::new(2, 2), &[&[3, 4, 3, 2]]),
        case(Conv1DTranspose::new(3, 3).strides(2).padding(Padding::Same), &[&[4, 2]]),
        case(Conv2DTranspose::new(3, 3).strides(2), &[&[3, 4, 2]]),
        case(Conv3DTranspose::new(2, 2).strides(2), &[&[2, 2, 2, 1]]),
        case(DepthwiseConv1D::new(3).depth_multiplier(2), &[&[6, 2]]),
        case(DepthwiseConv2D::new(3).depth_multiplier(2), &[&[5, 5, 2]]),
        case(SeparableConv1D::new(3, 3), &[&[6, 2]]),
        case(SeparableConv2D::new(3, 3), &[&[5, 5, 2]]),
        case(MaxPooling1D::new(2), &[&[6, 2]]),
        case(MaxPooling2D::new(2).padding(Padding::Same), &[&[5, 5, 2]]),
        case(MaxPooling3D::new(2), &[&[4, 4, 4, 1]]),
        case(AveragePooling1D::new(2), &[&[6, 2]]),
        case(AveragePooling2D::new(3).strides(1), &[&[5, 5, 2]]),
        case(AveragePooling3D::new(2), &[&[4, 4, 4, 1]]),
        case(GlobalMaxPooling1D::new(), &[&[6, 2]]),
        case(GlobalMaxPooling2D::new(), &[&[4, 5, 2]]),
        case(GlobalMaxPooling3D::new().keepdims(true), &[&[3, 4, 2, 2]]),
        case(GlobalAveragePooling1D::new(), &[&[6, 2]]),
        case(GlobalAveragePooling2D::new().keepdims(true), &[&[4, 5, 2]]),
        case(GlobalAveragePooling3D::new(), &[&[3, 4, 2, 2]]),
        case(BatchNormalization::new(), &[&[4, 3]]),
        case(BatchNormalization::new().renorm(true), &[&[4, 3]]),
        case(LayerNormalization::new().axis([1, 2]), &[&[4, 3]]),
        case(LayerNormalization::new().rms_scaling(true), &[&[4, 3]]),
        case(GroupNormalization::new().groups(2), &[&[5, 4]]),
        case(RMSNormalization::new(), &[&[5, 4]]),
        case(UnitNormalization::new(), &[&[5, 4]]),
        case(SpectralNormalization::new(Dense::new(3)), &[&[4]]),
        case(SimpleRNN::new(3), &[&[5, 2]]),
        case(LSTM::new(3).return_sequences(true).return_state(true), &[&[5, 2]]),
        case(LSTM::new(3).recurrent_dropout(0.2).dropout(0.1), &[&[5, 2]]),
        case(LSTM::new(3), &[&[5, 2], &[3], &[3]]),
        case(GRU::new(3).go_backwards(true).return_sequences(true), &[&[5, 2]]),
        case(GRU::new(3).reset_after(false), &[&[5, 2]]),
        case(RNN::new(StackedRNNCells::new().add(LSTMCell::new(3)).add(GRUCell::new(2))), &[&[4, 2]]),
        case(Bidirectional::new(LSTM::new(3).return_sequences(true)), &[&[5, 2]]),
        case(Bidirectional::new(GRU::new(3)).merge_mode(MergeMode::Apart), &[&[5, 2]]),
        case(TimeDistributed::new(Dense::new(3).activation("tanh")), &[&[4, 5]]),
        case(ConvLSTM1D::new(2, 3), &[&[3, 6, 2]]),
        case(ConvLSTM2D::new(2, 2).padding(Padding::Same).return_sequences(true), &[&[3, 4, 4, 1]]),
        case(ConvLSTM3D::new(1, 2), &[&[2, 3, 3, 3, 1]]),
        case(Masking::new(0.0), &[&[4, 3]]),
        case(MultiHeadAttention::new(2, 3), &[&[4, 6], &[5, 6]]),
        case(MultiHeadAttention::new(2, 3).use_causal_mask(true).return_attention_scores(true), &[&[4, 6]]),
        case(MultiHeadAttention::new(2, 3).attention_axes(2).use_gate(true).output_shape([2, 3]), &[&[2, 4, 6]]),
        case(MultiHeadAttention::new(2, 3).return_attention_scores(true), &[&[2, 3, 6], &[3, 2, 6]]),
        case(GroupQueryAttention::new(3, 4, 2), &[&[4, 6]]),
        case(GroupQueryAttention::new(3, 4, 2).use_gate(true).sliding_window(2), &[&[4, 6]]),
        case(Attention::new().use_scale(true), &[&[4, 6], &[5, 6]]),
        case(AdditiveAttention::new(), &[&[4, 6], &[5, 6]]),
        case(TransformerEncoder::new(8, 2).activation("gelu"), &[&[4, 6]]),
        case(TransformerDecoder::new(8, 2).normalize_first(true), &[&[4, 6], &[5, 6]]),
        case(PositionEmbedding::new(6), &[&[4, 3]]),
        case(SinePositionEncoding::new(), &[&[4, 6]]),
        case(RotaryEmbedding::new(), &[&[4, 6]]),
        case(Dropout::new(0.5), &[&[5]]),
        case(Dropout::new(0.5).noise_shape([None, Some(1), None]), &[&[4, 5]]),
        case(AlphaDropout::new(0.5).noise_shape([None, Some(1), None]), &[&[4, 5]]),
        case(SpatialDropout1D::new(0.5), &[&[5, 2]]),
        case(SpatialDropout2D::new(0.5), &[&[3, 3, 2]]),
        case(SpatialDropout3D::new(0.5), &[&[3, 3, 2, 2]]),
        case(GaussianNoise::new(0.1), &[&[5]]),
        case(GaussianDropout::new(0.3), &[&[5]]),
        case(AlphaDropout::new(0.3), &[&[5]]),
        case(ActivityRegularization::new(0.01, 0.02), &[&[5]]),
        case(Activation::new("glu"), &[&[6]]),
        case(ReLU::new().max_value(0.5).negative_slope(0.1).threshold(0.1), &[&[6]]),
        case(LeakyReLU::new().negative_slope(0.2), &[&[6]]),
        case(ELU::new(), &[&[6]]),
        case(PReLU::new().shared_axes([1]), &[&[3, 4]]),
        case(Softmax::new().axis(1), &[&[3, 4]]),
        case(Flatten::new(), &[&[3, 4]]),
        case(Reshape::new([Reshape::REST, 2]), &[&[3, 4]]),
        case(Permute::new([2, 1]), &[&[3, 4]]),
        case(RepeatVector::new(3), &[&[4]]),
        case(ZeroPadding1D::new([1, 2]), &[&[3, 2]]),
        case(ZeroPadding2D::new([1, 2]), &[&[3, 3, 2]]),
        case(ZeroPadding3D::new(1), &[&[2, 2, 2, 1]]),
        case(Cropping1D::new([1, 0]), &[&[3, 2]]),
        case(Cropping2D::new(1), &[&[4, 4, 2]]),
        case(Cropping3D::new(1), &[&[3, 4, 3, 1]]),
        case(UpSampling1D::new(2), &[&[3, 2]]),
        case(UpSampling2D::new([2, 1]), &[&[3, 3, 1]]),
        case(UpSampling2D::new(2).interpolation(Resize::Bilinear), &[&[3, 3, 1]]),
        case(Identity::new(), &[&[3]]),
        case(UpSampling3D::new(2), &[&[2, 2, 2, 1]]),
        case(Add::new(), &[&[3, 4], &[1, 4]]),
        case(Subtract::new(), &[&[4], &[4]]),
        case(Multiply::new(), &[&[4], &[4], &[4]]),
        case(Average::new(), &[&[4], &[4]]),
        case(Maximum::new(), &[&[4], &[4]]),
        case(Minimum::new(), &[&[4], &[4]]),
        case(Concatenate::new().axis(1), &[&[3, 4], &[2, 4]]),
        case(Dot::new([2, 1]).normalize(true), &[&[3, 4], &[4, 2]]),
        case(Rescaling::new(0.5).offset(1.0), &[&[4]]),
        case(Rescaling::new([0.5, 2.0]).offset([0.0, 1.0]), &[&[3, 2]]),
        case(Normalization::new().mean([1.0, 2.0]).variance([4.0, 0.5]), &[&[2]]),
        case(Discretization::new([0.0, 0.5]), &[&[4]]),
        case(Resizing::new(4, 5), &[&[3, 3, 2]]),
        case(CenterCrop::new(2, 3), &[&[4, 4, 1]]),
        case(RandomCrop::new(2, 3), &[&[4, 4, 1]]),
        case(RandomFlip::new(), &[&[4, 4, 1]]),
        case(RandomRotation::new(0.1), &[&[4, 4, 1]]),
        case(RandomZoom::new(0.2), &[&[4, 4, 1]]),
        case(RandomTranslation::new(0.2, 0.2), &[&[4, 4, 1]]),
        case(RandomContrast::new(0.2), &[&[4, 4, 1]]),
        case(RandomBrightness::new(0.2), &[&[4, 4, 1]]),
        tokens(Box::new(Embedding::new(5, 3).mask_zero(true)), &[4]),
        tokens(Box::new(CategoryEncoding::new(5).output_mode(OutputMode::Count)), &[4]),
    ];
    all.push(case(Recompute::new(TransformerEncoder::new(5, 2).dropout(0.3)), &[&[4, 6]]));
    all.push(case(Recompute::new(BatchNormalization::new()), &[&[4]]));
    all.extend(with_the_channels_first());
    // A model inside of a model.
    all.push(case(Sequential::new([4]).add(Dense::new(3)).add(BatchNormalization::new()), &[&[4]]));
    all
}

/// Layers of each family that has a `data_format`.
fn with_the_channels_first() -> Vec<Case> {
    let first = DataFormat::ChannelsFirst;
    vec![
        case(Conv1D::new(3, 3).data_format(first), &[&[2, 7]]),
        case(Conv2D::new(4, 2).padding(Padding::Same).data_format(first), &[&[2, 5, 6]]),
        case(Conv2DTranspose::new(3, 3).strides(2).data_format(first), &[&[2, 3, 4]]),
        case(DepthwiseConv2D::new(3).depth_multiplier(2).data_format(first), &[&[2, 5, 5]]),
        case(SeparableConv2D::new(3, 3).data_format(first), &[&[2, 5, 5]]),
        case(ConvLSTM2D::new(2, 2).return_sequences(true).return_state(true).data_format(first), &[&[3, 1, 4, 4]]),
        case(MaxPooling2D::new(2).data_format(first), &[&[2, 5, 5]]),
        case(GlobalAveragePooling2D::new().keepdims(true).data_format(first), &[&[2, 4, 5]]),
        case(UpSampling2D::new([2, 1]).data_format(first), &[&[1, 3, 3]]),
        case(ZeroPadding2D::new([1, 2]).data_format(first), &[&[2, 3, 3]]),
        case(Cropping2D::new(1).data_format(first), &[&[2, 4, 4]]),
        case(Flatten::new().data_format(first), &[&[2, 3, 4]]),
        case(SpatialDropout2D::new(0.5).data_format(first), &[&[2, 3, 3]]),
        case(Resizing::new(4, 5).data_format(first), &[&[2, 3, 3]]),
        case(RandomZoom::new(0.2).data_format(first), &[&[1, 4, 4]]),
    ]
}

impl Case {
    /// The layer again, by what a file says of it.
    fn again(&self) -> Box<dyn AnyLayer> {
        from_config(self.layer.class_name(), &self.layer.to_config()).unwrap()
    }

    /// A model of this layer; one whose outputs are not made of weights gets some.
    fn network(&self, dtype: DType) -> Functional {
        let inputs: Vec<_> =
            self.inputs.iter().enumerate().map(|(i, s)| Input::named(format!("x{i}"), s.as_slice())).collect();
        let outputs = nn::Shared::of(self.again()).on_all(&inputs).unwrap_or_else(|e| panic!("{:?}: {e}", self.layer));
        Functional::new(&inputs, &outputs).unwrap().seed(1).dtype(dtype)
    }

    fn data(&self, dtype: DType) -> Vec<Tensor> {
        let one = |(i, shape): (usize, &Vec<usize>)| {
            let shape = [&[3], shape.as_slice()].concat();
            let key = Key::new(9).fold(i as u64);
            match self.is_integer {
                true => key.uniform(shape, 0.0, 5.0).unwrap().cast(DType::I64).unwrap(),
                false => key.uniform(shape, -1.0, 1.0).unwrap().cast(dtype).unwrap(),
            }
        };
        self.inputs.iter().enumerate().map(one).collect()
    }
}

fn name(case: &Case) -> String {
    format!("{:?}", case.layer).chars().take(60).collect()
}

fn outputs(module: &Network, x: &[Tensor]) -> Vec<Tensor> {
    let x: Vec<Signal> = x.iter().cloned().map(Signal::from).collect();
    let y = module.forward_all(&x, &mut Pass::inference()).unwrap();
    y.into_iter().map(|y| y.value.into_tensor()).collect()
}

fn same(a: &[Tensor], b: &[Tensor]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same_bits(b))
}

#[test]
fn plans_train_each_layer_to_the_bits_of_single_operations_and_files_keep_it() {
    let folder = folder("layers");
    for case in cases() {
        let x = case.data(DType::F32);
        let shapes = outputs(&case.network(DType::F32).build().unwrap(), &x);
        let y: Vec<Tensor> = shapes.iter().map(|y| y.cast(DType::F32).unwrap().mul(0.5).unwrap()).collect();
        let model = |eagerly: bool| {
            let model = case.network(DType::F32).compile("adam", "mse", ());
            model.unwrap_or_else(|e| panic!("{}: {e}", name(&case))).run_eagerly(eagerly)
        };
        let (mut planned, mut eager) = (model(false), model(true));
        for step in 0..5 {
            let losses = [&mut planned, &mut eager].map(|model| {
                let logs = model.train_on_batch(x.clone(), y.clone());
                logs.unwrap_or_else(|e| panic!("{}: {e}", name(&case))).get("loss").unwrap()
            });
            assert_eq!(losses[0].to_bits(), losses[1].to_bits(), "{} at step {step}: {losses:?}", name(&case));
        }
        let text = planned.explain();
        assert!(!text.starts_with("no plan"), "{}: {text}", name(&case));
        let weights = |model: &Model| crate::training::weights(model).into_iter().map(|(_, w)| w).collect::<Vec<_>>();
        assert!(same(&weights(&planned), &weights(&eager)), "{}", name(&case));
        // A file holds it all.
        let path = folder.join("model.safetensors");
        planned.save(&path).unwrap();
        let loaded = Model::load(&path).unwrap_or_else(|e| panic!("{}: {e}", name(&case)));
        assert!(same(&outputs(loaded.module(), &x), &outputs(planned.module(), &x)), "{}", name(&case));
    }
}

#[test]
fn each_layer_computes_in_half_precision() {
    for case in cases() {
        let (half, single) = (DType::BF16, DType::F32);
        let narrow = outputs(&case.network(half).build().unwrap(), &case.data(half));
        let wide = outputs(&case.network(single).build().unwrap(), &case.data(single));
        for (narrow, wide) in narrow.iter().zip(&wide) {
            let (narrow, wide) = (narrow.to_vec_as::<f64>(), wide.to_vec_as::<f64>());
            let far = narrow.iter().zip(&wide).filter(|(n, w)| (*n - *w).abs() > 0.06 + 0.06 * w.abs()).count();
            assert!(far * 20 <= narrow.len(), "{}: {narrow:?}\n{wide:?}", name(&case));
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_errors_that_name_the_layer_and_help() {
    for case in cases() {
        let least = case.inputs.len();
        // Ranks that no layer of the list takes beside its own.
        for rank in [0, 6] {
            let shapes = vec![Shape::new(&vec![2; rank]).unwrap(); least];
            if let Err(error) = case.layer.infer(&shapes) {
                let text = error.to_string();
                let is_told = text.contains("help: ") || text.contains("the most is 8");
                assert!(is_told, "{}: {text}", name(&case));
            }
        }
        assert!(case.layer.infer(&[]).is_err(), "{}", name(&case));
        let text = match nn::Shared::of(case.again()).on(&Input::new([2, 2, 2, 2, 2, 2])) {
            Err(error) => error.to_string(),
            Ok(_) => continue,
        };
        assert!(text.contains("help: "), "{}: {text}", name(&case));
    }
}

/// Each number of a config that is no whole one, by what leads to it.
fn numbers(config: &serde_json::Value, at: String, found: &mut Vec<String>) {
    match config {
        serde_json::Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| numbers(value, format!("{at}/{name}"), found))
        }
        serde_json::Value::Array(all) => {
            all.iter().enumerate().for_each(|(i, value)| numbers(value, format!("{at}/{i}"), found))
        }
        value if value.is_f64() => found.push(at),
        _ => {}
    }
}

#[test]
fn every_number_of_every_layer_has_a_range() {
    // Those that may be any finite number.
    let free = ["threshold", "scale", "offset", "mean", "value_range", "negative_slope", "alpha", "fill_value"];
    let mut accepted = Vec::new();
    for case in cases() {
        let config = case.layer.to_config();
        let mut found = Vec::new();
        numbers(&config, String::new(), &mut found);
        for at in found {
            let setting = at.split('/').rfind(|part| part.parse::<usize>().is_err()).unwrap();
            for bad in ["NaN", "inf", "-inf", "-1e300"] {
                // Nor are an infinite mask or the ends of the last bins in the way.
                let is_free = match setting {
                    "mask_value" | "bin_boundaries" => bad != "NaN",
                    _ => bad == "-1e300" && free.contains(&setting),
                };
                if is_free {
                    continue;
                }
                let mut wrong = config.clone();
                *wrong.pointer_mut(&at).unwrap() = bad.into();
                let outcome = from_config(case.layer.class_name(), &wrong).and_then(|layer| {
                    let inputs: Vec<_> = case.inputs.iter().map(|shape| Input::new(shape.as_slice())).collect();
                    Functional::new(&inputs, &nn::Shared::of(layer).on_all(&inputs)?)?.build().map(|_| ())
                });
                let error = outcome.err().map(|error| error.to_string()).unwrap_or_default();
                let is_told = error.contains("help: ")
                    && error.contains(setting.rsplit('_').next().unwrap().trim_end_matches('s'));
                if !is_told {
                    accepted.push(format!("{} {at} = {bad}: {error}", case.layer.class_name()));
                }
            }
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
}

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
