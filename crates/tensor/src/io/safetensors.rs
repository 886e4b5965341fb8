//! The safetensors format: a JSON header with names, types, shapes and free text, then the elements.

use super::{Encoding, format, read_tensor, replace_file, room_for, unreadable, unwritable, write_elements};
use crate::{DType, Error, Result, Shape, Tensor};
use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// The name that the format keeps for its free text.
const METADATA: &str = "__metadata__";

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
/// A name that stands twice or is the format's own; a view of more elements than memory holds.
pub fn to_safetensors<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let invalid = |e: ::safetensors::SafeTensorError| Error::argument("safetensors", "cannot be written").caused_by(e);
    let mut data: BTreeMap<&str, (&Tensor, Vec<u8>)> = BTreeMap::new();
    for (name, tensor) in tensors {
        let mut bytes = room_for(tensor, 0)?;
        write_elements(tensor, &mut bytes)
            .map_err(|e| Error::argument("safetensors", "cannot be written").caused_by(e))?;
        if name == METADATA || data.insert(name, (tensor, bytes)).is_some() {
            let problem = if name == METADATA { "is the format's own name" } else { "names two tensors" };
            return Err(Error::argument("safetensors", format!("`{name}` {problem}")).help("give each its own name"));
        }
    }
    let views: Result<Vec<(&str, TensorView)>> = data
        .iter()
        .map(|(name, (t, bytes))| {
            Ok((*name, TensorView::new(format_of(t.dtype()), t.shape().to_vec(), bytes).map_err(invalid)?))
        })
        .collect();
    ::safetensors::serialize(views?, Some(metadata.clone().into_iter().collect())).map_err(invalid)
}

/// The content of a safetensors file in memory; `name` stands for it in errors.
///
/// # Errors
/// Bytes that are no such file; an element type that Kiln does not have; a name that stands twice.
pub fn parse_safetensors(bytes: &[u8], name: &Path) -> Result<TensorFile> {
    let broken = |e: ::safetensors::SafeTensorError| format::not_a("safetensors", name, bytes, &e.to_string());
    let (length, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    if let Some(twice) = repeated_name(&bytes[8..8 + length]) {
        return Err(Error::file(name, format!("has two tensors of the name `{twice}`")));
    }
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
        // `read_metadata` has compared the number of bytes with shape and type.
        tensors.insert(key, read_tensor(name, shape, Encoding::of(dtype), &mut view.data())?);
    }
    Ok(TensorFile { tensors, metadata })
}

/// A name that a header has more than once: of such the parser would silently take the last.
fn repeated_name(header: &[u8]) -> Option<String> {
    struct Names(Option<String>);
    impl<'de> Visitor<'de> for &mut Names {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("names")
        }
        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
            let mut seen = BTreeSet::new();
            while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                if let Some(twice) = seen.replace(name) {
                    self.0 = Some(twice);
                }
            }
            Ok(())
        }
    }
    let mut names = Names(None);
    // The parser has read this header before, so there is no error to tell.
    let _ = serde_json::Deserializer::from_slice(header).deserialize_map(&mut names);
    names.0
}

/// Reads a safetensors file.
///
/// # Errors
/// A file that is missing, unreadable or damaged.
pub fn load_safetensors(path: impl AsRef<Path>) -> Result<TensorFile> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(unreadable(path))?;
    parse_safetensors(&bytes, path)
}

/// Writes tensors by name to a safetensors file. A file that is there is replaced in one step ([`replace_file`]): if
/// anything fails, it stays.
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
/// As [`to_safetensors`], and a file that cannot be written.
pub fn save_safetensors<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<()> {
    let path = path.as_ref();
    let bytes = to_safetensors(tensors, &BTreeMap::new())?;
    replace_file(path, &bytes).map_err(unwritable(path))
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
    #[test]
    fn every_bit_of_every_half_survives() {
        let f: Vec<crate::f16> = (0..=u16::MAX).map(crate::f16::from_bits).collect();
        let b: Vec<crate::bf16> = (0..=u16::MAX).map(crate::bf16::from_bits).collect();
        let (f, b) = (Tensor::from_slice(&f, [1 << 16]).unwrap(), Tensor::from_slice(&b, [256, 256]).unwrap());
        let b = b.t().unwrap();
        let bytes = to_safetensors([("f", &f), ("b", &b)], &BTreeMap::new()).unwrap();
        let file = parse_safetensors(&bytes, Path::new("memory")).unwrap();
        assert!(file.tensors["f"].to_vec::<crate::f16>().unwrap().iter().map(|x| x.to_bits()).eq(0..=u16::MAX));
        assert!(file.tensors["f"].same_bits(&f) && file.tensors["b"].same_bits(&b));
    }

    /// A file of this header and 4 bytes.
    fn file(header: &str) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat()
    }

    fn error(bytes: &[u8]) -> String {
        parse_safetensors(bytes, Path::new("x.safetensors")).unwrap_err().to_string()
    }

    #[test]
    fn a_name_stands_once() {
        let x = Tensor::new([1, 2]);
        let write =
            |names: [&str; 2]| to_safetensors(names.map(|n| (n, &x)), &BTreeMap::new()).unwrap_err().to_string();
        assert!(write(["w", "w"]).starts_with("safetensors: `w` names two tensors"));
        assert!(write(["w", METADATA]).starts_with("safetensors: `__metadata__` is the format's own name"));
        let entry = r#""w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}"#;
        assert!(parse_safetensors(&file(&format!("{{{entry}}}")), Path::new("x")).is_ok());
        let twice = error(&file(&format!("{{{entry}, {entry}}}")));
        assert_eq!(twice, "x.safetensors: has two tensors of the name `w`");
    }

    #[test]
    fn claims_are_compared_with_what_is_there() {
        for (shape, end) in [("[1099511627776]", 4u64), ("[4611686018427387904, 4]", 4), ("[1]", u64::MAX)] {
            let header = format!(r#"{{"w": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, {end}]}}}}"#);
            assert!(error(&file(&header)).contains("is no valid safetensors file: "));
        }
        assert!(error(&[0xff; 100]).contains("is no valid safetensors file: header too large"));
    }

    #[test]
    fn other_files_are_named() {
        let npy = super::super::to_npy(&Tensor::new([1, 2])).unwrap();
        let others: [(&[u8], &str); 7] = [
            (b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01K\x01s.", "a Python pickle"),
            (b"PK\x03\x04\x14\0\0\0\0\0", "a zip archive, such as npz or a PyTorch checkpoint"),
            (b"\x1f\x8b\x08\0\0\0\0\0\0", "a gzip file"),
            (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file"),
            (b"{\"weights\": [1, 2, 3]}", "JSON text"),
            (b"<!DOCTYPE html>", "a page of the web, or XML"),
            (&npy, "an npy file"),
        ];
        for (bytes, name) in others {
            let text = error(bytes);
            assert!(text.starts_with(&format!("x.safetensors: is no valid safetensors file, but {name}")), "{text}");
        }
    }
}
