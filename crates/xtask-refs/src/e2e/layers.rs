//! Keras's layers as a manifest writes them, as layers here.

use super::call::Call;
use crate::Stop;
use kiln::nn::layers::*;
use kiln::nn::{Activation as Function, AnyLayer, Sequential};
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
    texts.try_fold(Sequential::new(dims), |model, text| Ok(model.add_boxed(layer(text)?)))
}

/// What the first arguments of a class are called.
fn positional(class: &str) -> &'static [&'static str] {
    match class {
        "Dense" | "LSTM" | "GRU" | "SimpleRNN" => &["units"],
        "Conv1D" | "Conv2D" | "Conv3D" => &["filters", "kernel_size"],
        "MaxPooling1D" | "MaxPooling2D" | "AveragePooling1D" | "AveragePooling2D" => &["pool_size"],
        "Dropout" => &["rate"],
        "Embedding" => &["input_dim", "output_dim"],
        "Activation" => &["activation"],
        "Reshape" => &["target_shape"],
        _ => &[],
    }
}

fn layer(text: &str) -> Result<Box<dyn AnyLayer>, Stop> {
    let call = Call::read(text)?;
    let missing = |what: String| Stop::Unsupported(format!("{}{what}", call.name));
    if call.positional.is_empty() && call.named.is_empty() && is_function(&call.name) {
        return Ok(Box::new(Activation::new(call.name.as_str())));
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
    let config: serde_json::Map<String, Value> = given.into_iter().collect();
    if call.name == "Dropout" && config.get("rate").and_then(Value::as_f64) != Some(0.0) {
        return Err(missing(" with random numbers".into()));
    }
    from_config(&call.name, &Value::Object(config)).map_err(|error| missing(format!(": {error}")))
}

fn is_function(name: &str) -> bool {
    !matches!(Function::from(name), Function::Unknown(_))
}
