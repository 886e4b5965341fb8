//! Keras's layers as a manifest writes them, as layers here.

use super::call::Call;
use crate::Stop;
use kiln::nn::layers::*;
use kiln::nn::{Activation as Function, Layer, Sequential};
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

/// A layer of a class with its defaults, and what its first arguments are called.
fn known(class: &str) -> Option<(Box<dyn Layer>, &'static [&'static str])> {
    Some(match class {
        "Dense" => (Box::new(Dense::new(1)), &["units"]),
        "Conv2D" => (Box::new(Conv2D::new(1, 1)), &["filters", "kernel_size"]),
        "MaxPooling2D" => (Box::new(MaxPooling2D::new(2)), &["pool_size"]),
        "AveragePooling2D" => (Box::new(AveragePooling2D::new(2)), &["pool_size"]),
        "GlobalAveragePooling2D" => (Box::new(GlobalAveragePooling2D::new()), &[]),
        "BatchNormalization" => (Box::new(BatchNormalization::new()), &[]),
        "LayerNormalization" => (Box::new(LayerNormalization::new()), &[]),
        "Dropout" => (Box::new(Dropout::new(0.0)), &["rate"]),
        "Flatten" => (Box::new(Flatten::new()), &[]),
        "Embedding" => (Box::new(Embedding::new(1, 1)), &["input_dim", "output_dim"]),
        "Activation" => (Box::new(Activation::new("linear")), &["activation"]),
        _ => return None,
    })
}

fn layer(text: &str) -> Result<Box<dyn Layer>, Stop> {
    let call = Call::read(text)?;
    let missing = |what: String| Stop::Unsupported(format!("{}{what}", call.name));
    if call.positional.is_empty() && call.named.is_empty() && is_function(&call.name) {
        return Ok(Box::new(Activation::new(call.name.as_str())));
    }
    let (default, names) = known(&call.name).ok_or_else(|| missing(String::new()))?;
    let mut config = default.config();
    let mut names = names.iter();
    let mut given = call.named.clone();
    for value in &call.positional {
        // A word among numbers is the activation, wherever it stands.
        match (value.as_str(), names.next()) {
            (Some(word), _) if is_function(word) && config.get("activation").is_some() => {
                given.insert("activation".into(), json!(word))
            }
            (_, Some(name)) => given.insert((*name).into(), value.clone()),
            (_, None) => return Err(missing(format!(": the argument {value}"))),
        };
    }
    for (name, value) in &given {
        let Some(slot) = config.get_mut(name) else { return Err(missing(format!(": {name}"))) };
        *slot = match slot.is_array() && value.is_number() {
            true => json!([value, value]),
            false => value.clone(),
        };
    }
    // Windows lie side by side unless told otherwise.
    if given.contains_key("pool_size") && !given.contains_key("strides") {
        config["strides"] = config["pool_size"].clone();
    }
    if call.name == "Dropout" && config["rate"] != json!(0.0) {
        return Err(missing(" with random numbers".into()));
    }
    from_config(&call.name, &config).map_err(|error| missing(format!(": {error}")))
}

fn is_function(name: &str) -> bool {
    !matches!(Function::from(name), Function::Unknown(_))
}
