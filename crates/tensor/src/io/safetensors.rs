//! The safetensors format: a JSON header with names, types, shapes and free text, then the elements.

use super::{bytes_of, tensor_of};
use crate::{DType, Error, Result, Shape, Tensor};
use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The content of a safetensors file.
#[derive(Debug, Clone, Default)]
pub struct TensorFile {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The free text of the header.
    pub metadata: BTreeMap<String, String>,
}

fn format_of(dtype: DType) -> Dtype {
    match dtype {
        DType::Bool => Dtype::BOOL,
        DType::U8 => Dtype::U8,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

/// A safetensors file as bytes. Types and shapes are kept; views are written densely.
///
/// # Errors
/// A name that stands twice or collides with the format's own.
pub fn to_safetensors<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let data: Vec<(&str, &Tensor, Vec<u8>)> = tensors.into_iter().map(|(name, t)| (name, t, bytes_of(t))).collect();
    let invalid = |e: ::safetensors::SafeTensorError| Error::argument("safetensors", "cannot be written").caused_by(e);
    let views: Result<Vec<(&str, TensorView)>> = data
        .iter()
        .map(|(name, t, bytes)| {
            Ok((*name, TensorView::new(format_of(t.dtype()), t.shape().to_vec(), bytes).map_err(invalid)?))
        })
        .collect();
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    ::safetensors::serialize(views?, Some(metadata)).map_err(invalid)
}

/// The content of a safetensors file in memory; `name` stands for it in errors.
///
/// # Errors
/// Bytes that are no such file; an element type that Kiln does not have.
pub fn parse_safetensors(bytes: &[u8], name: &Path) -> Result<TensorFile> {
    let broken = |e: ::safetensors::SafeTensorError| Error::file(name, "is no valid safetensors file").caused_by(e);
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let mut tensors = BTreeMap::new();
    for (key, view) in SafeTensors::deserialize(bytes).map_err(broken)?.tensors() {
        let Some(dtype) = DType::ALL.into_iter().find(|&d| format_of(d) == view.dtype()) else {
            return Err(Error::file(
                name,
                format!("tensor `{key}` has elements of type {:?}, which Kiln does not have", view.dtype()),
            ));
        };
        let shape = Shape::new(view.shape()).map_err(|e| Error::file(name, format!("tensor `{key}`")).caused_by(e))?;
        if view.data().len() != shape.count() * dtype.size() {
            return Err(Error::file(
                name,
                format!(
                    "tensor `{key}` has {} bytes, its shape {shape} needs {}",
                    view.data().len(),
                    shape.count() * dtype.size()
                ),
            ));
        }
        tensors.insert(key, tensor_of(dtype, shape, view.data())?);
    }
    Ok(TensorFile { tensors, metadata })
}

/// Reads a safetensors file.
///
/// # Errors
/// A file that is missing, unreadable or damaged.
pub fn load_safetensors(path: impl AsRef<Path>) -> Result<TensorFile> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|e| Error::file(path, "cannot be read").caused_by(e))?;
    parse_safetensors(&bytes, path)
}

/// Writes tensors by name to a safetensors file.
///
/// ```
/// use kiln_tensor::{Tensor, io::{load_safetensors, save_safetensors}};
/// let path = std::env::temp_dir().join(format!("kiln-{}.safetensors", std::process::id()));
/// let x = Tensor::new([[1.5f32, -2.0]]);
/// save_safetensors(&path, [("x", &x)])?;
/// assert!(load_safetensors(&path)?.tensors["x"].same_bits(&x));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
///
/// # Errors
/// A file that cannot be written.
pub fn save_safetensors<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<()> {
    let path = path.as_ref();
    let bytes = to_safetensors(tensors, &BTreeMap::new())?;
    std::fs::write(path, bytes).map_err(|e| Error::file(path, "cannot be written").caused_by(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{CastOps, ViewOps};

    #[test]
    fn every_type_and_shape_survives() {
        let base = Tensor::new([[0.0, 1.0, 2.0], [3.0, 4.0, 100.0]]);
        let mut all: Vec<(String, Tensor)> =
            DType::ALL.iter().map(|&d| (d.to_string(), base.cast(d).unwrap())).collect();
        all.push(("strided".into(), base.t().unwrap()));
        all.push(("scalar".into(), Tensor::new(3i64)));
        all.push(("empty".into(), Tensor::zeros([0, 4]).unwrap()));
        let text = BTreeMap::from([("format".to_owned(), "kiln".to_owned())]);
        let bytes = to_safetensors(all.iter().map(|(n, t)| (n.as_str(), t)), &text).unwrap();
        let file = parse_safetensors(&bytes, Path::new("memory")).unwrap();
        assert_eq!(file.metadata, text);
        assert!(all.iter().all(|(name, t)| file.tensors[name].same_bits(t)));
        for end in [0, 7, 20, bytes.len() - 1] {
            let error = parse_safetensors(&bytes[..end], Path::new("cut.safetensors")).unwrap_err();
            assert!(error.to_string().starts_with("cut.safetensors: is no valid safetensors file"), "{error}");
        }
    }
}
