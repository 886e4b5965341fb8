//! Keras's layers as a manifest writes them, as layers here.

use super::call::Call;
use crate::Stop;
use kiln::nn::layers::from_config;
use kiln::nn::{Activation as Function, Sequential};
use serde_json::{Value, json};

/// The model that a list such as `["Input(6)", "Dense(16, relu)", "Dense(4, softmax)"]` describes.
pub(super) fn model(texts: &[Value]) -> Result<Sequential, Stop> {
    let mut texts = texts.iter().map(|text| text.as_str().unwrap_or_default());
    let input = texts.next().unwrap_or_default();
    let shape = input.strip_suffix("channels last").unwrap_or(input);
    let call = Call::read(shape)?;
    let dims: Option<Vec<usize>> = call.positional.iter().map(|d| d.as_u64().map(|d| d as usize)).collect();
    let (Some(dims), "Input", true) = (dims, call.name.as_str(), call.named.is_empty()) else {
        return Stop::unsupported(format!("the input `{input}`"));
    };
    texts.try_fold(Sequential::new(dims), |model, text| {
        let (class, config) = layer(text)?;
        let layer = from_config(&class, &config);
        Ok(model.add_boxed(layer.map_err(|error| Stop::Unsupported(format!("{class}: {error}")))?))
    })
}

/// What the first arguments of a class are called.
fn positional(class: &str) -> &'static [&'static str] {
    match class {
        "Dense" | "LSTM" | "GRU" | "SimpleRNN" => &["units"],
        "Conv1D" | "Conv2D" | "Conv3D" | "SeparableConv1D" | "SeparableConv2D" | "Conv1DTranspose"
        | "Conv2DTranspose" | "Conv3DTranspose" | "ConvLSTM1D" | "ConvLSTM2D" | "ConvLSTM3D" => {
            &["filters", "kernel_size"]
        }
        "DepthwiseConv1D" | "DepthwiseConv2D" => &["kernel_size"],
        "GroupNormalization" => &["groups"],
        "Bidirectional" | "TimeDistributed" => &["layer"],
        "MaxPooling1D" | "MaxPooling2D" | "AveragePooling1D" | "AveragePooling2D" => &["pool_size"],
        "Dropout" => &["rate"],
        "Embedding" => &["input_dim", "output_dim"],
        "Activation" => &["activation"],
        "Reshape" => &["target_shape"],
        _ => &[],
    }
}

/// The class and the arguments of a layer.
fn layer(text: &str) -> Result<(String, Value), Stop> {
    let call = Call::read(text)?;
    let missing = |what: String| Stop::Unsupported(format!("{}{what}", call.name));
    if call.positional.is_empty() && call.named.is_empty() && is_function(&call.name) {
        return Ok(("Activation".into(), json!({ "activation": call.name })));
    }
    let mut names = positional(&call.name).iter();
    let mut given = call.named.clone();
    for value in &call.positional {
        // A word among numbers is the activation, wherever it stands.
        match (value.as_str(), names.next()) {
            (Some(word), _) if is_function(word) => given.insert("activation".into(), json!(word)),
            (_, Some(name)) => given.insert((*name).into(), value.clone()),
            (_, None) => return Err(missing(format!(": the argument {value}"))),
        };
    }
    for (name, value) in &mut given {
        match value.as_str() {
            Some(inner) if name == "layer" => {
                let (class, config) = layer(inner)?;
                *value = json!({ "class": class, "config": config });
            }
            Some(inner) if name.ends_with("regularizer") && inner.contains('(') => *value = regularizer(inner)?,
            _ => {}
        }
    }
    if call.name == "Dropout" && given.get("rate").and_then(Value::as_f64) != Some(0.0) {
        return Err(missing(" with random numbers".into()));
    }
    Ok((call.name, Value::Object(given)))
}

/// `L2(0.01)`, with the factor by position or by name.
fn regularizer(text: &str) -> Result<Value, Stop> {
    let mut call = Call::read(text)?;
    call.name = call.name.to_lowercase();
    let names: &[&str] = match call.name.as_str() {
        "l1" => &["l1"],
        "l2" => &["l2"],
        "l1_l2" | "l1l2" => &["l1", "l2"],
        _ => return Stop::unsupported(format!("the regularizer {text}")),
    };
    for (name, value) in names.iter().zip(std::mem::take(&mut call.positional)) {
        call.named.insert((*name).into(), value);
    }
    let name = match names {
        [one] => one.to_uppercase(),
        _ => "L1L2".into(),
    };
    Ok(json!({ "name": name, "config": call.named }))
}

fn is_function(name: &str) -> bool {
    !matches!(Function::from(name), Function::Other(_))
}
