//! Every layer in the ways in which a user meets it: in a graph, trained by plans, saved and loaded, in half precision, with
//! inputs that do not fit.

use crate::training::folder;
use kiln::nn::{self, AnyLayer, Network};
use kiln::prelude::layers::*;
use kiln::prelude::*;

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

pub(crate) fn outputs(module: &Network, x: &[Tensor]) -> Vec<Tensor> {
    let x: Vec<Signal> = x.iter().cloned().map(Signal::from).collect();
    let y = module.forward_all(&x, &mut Pass::inference()).unwrap();
    y.into_iter().map(|y| y.value.into_tensor()).collect()
}

pub(crate) fn same(a: &[Tensor], b: &[Tensor]) -> bool {
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
