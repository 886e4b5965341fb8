//! What a file says of a graph: its inputs, layers and calls, values by number. A row of layers needs no calls.

use super::{Call, Functional, Placed, Port, Tie};
use crate::{Error, Result, layers};
use kiln_autograd::{DType, Shape};
use serde_json::{Value as Json, json};

/// Keras's names of what a model computes in.
const POLICIES: [(&str, DType); 2] = [("mixed_bfloat16", DType::BF16), ("mixed_float16", DType::F16)];

impl Functional {
    /// The model that [`Module::config`](crate::Module::config) describes.
    ///
    /// # Errors
    /// JSON that is no such description, or names a layer that is not known.
    pub fn from_config(config: &Json) -> Result<Functional> {
        let broken = |what: &str| {
            Error::config(
                format!("the model's architecture has no valid `{what}`"),
                "the file is damaged or of another program",
            )
        };
        let sizes = |json: &Json| -> Option<Vec<usize>> {
            json.as_array().and_then(|a| a.iter().map(|d| d.as_u64().and_then(|d| d.try_into().ok())).collect())
        };
        let dtype = config["dtype"].as_str().unwrap_or("f32");
        let dtype = DType::ALL.into_iter().find(|d| d.to_string() == dtype && d.is_float());
        let is_row = config["calls"].is_null();
        let name = config["name"].as_str().unwrap_or(if is_row { "sequential" } else { "functional" });
        let mut graph = Functional::empty(if is_row { "Sequential" } else { "Functional" }, name);
        graph.dtype = dtype.ok_or_else(|| broken("dtype"))?;
        graph.compute = match config["policy"].as_str() {
            None => None,
            Some(policy) => {
                let known = POLICIES.iter().find(|(name, _)| *name == policy).ok_or_else(|| broken("policy"))?;
                Some(known.1)
            }
        };
        if is_row {
            let shape = sizes(&config["input_shape"]).ok_or_else(|| broken("input_shape"))?;
            graph.input("input".into(), Shape::new(&shape)?)?;
        }
        for input in config["inputs"].as_array().into_iter().flatten() {
            let name = input["name"].as_str().ok_or_else(|| broken("inputs"))?;
            let shape = sizes(&input["shape"]).ok_or_else(|| broken("inputs"))?;
            graph.input(name.to_owned(), Shape::new(&shape)?)?;
        }
        for layer in config["layers"].as_array().ok_or_else(|| broken("layers"))? {
            let name = layer["name"].as_str().ok_or_else(|| broken("name"))?;
            let class = layer["class"].as_str().ok_or_else(|| broken("class"))?;
            let layer = layers::from_config(class, &layer["config"]).map_err(|e| match e {
                unknown @ Error::Unknown { .. } => unknown,
                other => other.in_layer(name),
            })?;
            let at = graph.place(name.to_owned(), layer.into())?;
            if is_row {
                graph.call_one(at, at)?;
            }
        }
        if is_row {
            graph.outputs = vec![graph.calls.len()];
            return graph.tied_as(&config["ties"]);
        }
        for call in config["calls"].as_array().ok_or_else(|| broken("calls"))? {
            let layer = call["layer"].as_u64().map(|i| i as usize).filter(|i| *i < graph.layers.len());
            let inputs = sizes(&call["inputs"]).filter(|x| x.iter().all(|i| *i < graph.shapes.len()));
            let (layer, inputs) = layer.zip(inputs).ok_or_else(|| broken("calls"))?;
            graph.call(layer, inputs)?;
        }
        let outputs = sizes(&config["outputs"]).filter(|x| x.iter().all(|i| *i < graph.shapes.len()));
        graph.outputs = outputs.filter(|x| !x.is_empty()).ok_or_else(|| broken("outputs"))?;
        graph.tied_as(&config["ties"])
    }

    pub(super) fn config(&self) -> Json {
        let layer = |placed: &Placed| {
            let (class, config) = (placed.layer.class_name(), placed.layer.to_config());
            json!({ "name": placed.name, "class": class, "config": config })
        };
        let mut config = json!({
            "name": self.name,
            "dtype": self.dtype.to_string(),
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
        });
        if let Some((policy, _)) = POLICIES.iter().find(|(_, dtype)| self.compute == Some(*dtype)) {
            config["policy"] = json!(policy);
        }
        if !self.ties.is_empty() {
            let tie =
                |(weight, tie): &(String, Tie)| json!({ "weight": weight, "to": tie.to, "transposed": tie.transposed });
            config["ties"] = self.ties.iter().map(tie).collect();
        }
        if self.is_row() {
            config["input_shape"] = json!(self.inputs[0].shape.dims());
            return config;
        }
        let input = |port: &Port| json!({ "name": port.name, "shape": port.shape.dims() });
        let call = |call: &Call| json!({ "layer": call.layer, "inputs": call.inputs });
        config["inputs"] = self.inputs.iter().map(input).collect();
        config["calls"] = self.calls.iter().map(call).collect();
        config["outputs"] = json!(self.outputs);
        config
    }
}
