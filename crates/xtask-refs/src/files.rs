//! Manifests and their tensors.

use super::{Category, Stop};
use kiln::autograd::{Element, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// A manifest with the tensors of its file.
pub(crate) struct Manifest {
    pub(crate) json: Value,
    tensors: HashMap<String, Tensor>,
}

impl Manifest {
    pub(crate) fn read(path: &Path) -> Result<Manifest, String> {
        let read = |path: &Path| std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
        let json: Value = serde_json::from_slice(&read(path)?).map_err(|e| format!("{}: {e}", path.display()))?;
        let tensors = match json.get("tensors").and_then(Value::as_str) {
            Some(name) => {
                let file = path.with_file_name(name);
                load(&read(&file)?).map_err(|e| format!("{}: {e}", file.display()))?
            }
            None => HashMap::new(),
        };
        Ok(Manifest { json, tensors })
    }

    /// Which part of the library the manifest is about.
    pub(crate) fn category(&self) -> Option<Category> {
        if self.json.get("format") != Some(&Value::from(1)) {
            return None;
        }
        match () {
            () if self.json.get("samples").is_some() => Some(Category::Ops),
            () if self.json.get("entries").is_some() => Some(Category::Train),
            () if self.json.get("losses").is_some() || self.json.get("history").is_some() => Some(Category::EndToEnd),
            () => None,
        }
    }

    /// The text under `key` of the manifest.
    pub(crate) fn text(&self, key: &str) -> &str {
        text(&self.json, key)
    }

    /// The list under `key` of the manifest.
    pub(crate) fn list(&self, key: &str) -> &[Value] {
        self.json.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The tensor of a key.
    pub(crate) fn tensor(&self, key: &str) -> Result<&Tensor, Stop> {
        self.tensors.get(key).ok_or_else(|| Stop::Failed(format!("the file has no tensor `{key}`")))
    }

    /// The tensor that field `field` of an entry names; `None` where it is null or absent.
    pub(crate) fn field(&self, entry: &Value, field: &str) -> Result<Option<&Tensor>, Stop> {
        match entry.get(field).and_then(Value::as_str) {
            Some(key) => self.tensor(key).map(Some),
            None => Ok(None),
        }
    }
}

/// The text under `key` of an entry; empty where there is none.
pub(crate) fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A number, with the three that JSON lacks.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value.get("float").and_then(Value::as_str) {
        Some("inf") => Some(f64::INFINITY),
        Some("-inf") => Some(f64::NEG_INFINITY),
        Some("nan") => Some(f64::NAN),
        _ => value.as_f64().or_else(|| value.as_bool().map(|b| f64::from(u8::from(b)))),
    }
}

/// All numbers of a number or of nested lists, in order.
pub(crate) fn numbers(value: &Value) -> Option<Vec<f64>> {
    match value {
        Value::Array(items) => Some(items.iter().map(numbers).collect::<Option<Vec<_>>>()?.concat()),
        _ => number(value).map(|x| vec![x]),
    }
}

fn load(bytes: &[u8]) -> Result<HashMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut tensors = HashMap::new();
    for (name, view) in file.tensors() {
        let (data, shape) = (view.data(), view.shape());
        let tensor = match view.dtype() {
            Dtype::F64 => elements(data, shape, f64::from_le_bytes),
            Dtype::F32 => elements(data, shape, f32::from_le_bytes),
            Dtype::I64 => elements(data, shape, i64::from_le_bytes),
            Dtype::I32 => elements(data, shape, i32::from_le_bytes),
            Dtype::U8 => elements(data, shape, |[byte]: [u8; 1]| byte),
            Dtype::BOOL => elements(data, shape, |[byte]: [u8; 1]| byte != 0),
            other => Err(format!("`{name}` has the unexpected type {other:?}")),
        };
        tensors.insert(name, tensor?);
    }
    Ok(tensors)
}

fn elements<T: Element, const N: usize>(
    data: &[u8],
    shape: &[usize],
    read: fn([u8; N]) -> T,
) -> Result<Tensor, String> {
    let (chunks, _) = data.as_chunks::<N>();
    let values: Vec<T> = chunks.iter().map(|&bytes| read(bytes)).collect();
    Tensor::from_vec(values, shape).map_err(|e| e.to_string())
}
