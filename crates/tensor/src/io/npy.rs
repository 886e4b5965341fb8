//! NumPy's formats: npy, one array, and npz, a zip archive of them by name.

use crate::{DType, Error, Result, Shape, Tensor};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const MAGIC: &[u8] = b"\x93NUMPY";
/// The data begin at a multiple of this.
const ALIGNMENT: usize = 64;

/// NumPy's name for an element type. It has none for bf16.
fn descriptor(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::BF16 => return None,
    })
}

/// A tensor as the bytes of an npy file.
///
/// # Errors
/// A `bf16` tensor, for which NumPy has no type.
pub fn to_npy(tensor: &Tensor) -> Result<Vec<u8>> {
    let Some(descriptor) = descriptor(tensor.dtype()) else {
        return Err(Error::dtype("npy", "NumPy has no type for bf16").help("convert it: .cast(DType::F32)"));
    };
    let dims: String = tensor.shape().iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({}), }}", dims.trim_end());
    let fixed = MAGIC.len() + 4;
    let padded = (fixed + header.len() + 1).next_multiple_of(ALIGNMENT);
    header.extend(std::iter::repeat_n(' ', padded - fixed - header.len() - 1));
    header.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(super::bytes_of(tensor));
    Ok(out)
}

/// The tensor of an npy file in memory; `name` stands for it in errors.
///
/// # Errors
/// Bytes that are no such file, an element type that Kiln does not have, too few or too many elements.
pub fn parse_npy(bytes: &[u8], name: &Path) -> Result<Tensor> {
    let broken = |what: &str| Error::file(name, format!("is no valid npy file: {what}"));
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| broken("it does not begin with NumPy's mark"))?;
    let (header, data) = match rest {
        [1, _, a, b, rest @ ..] => rest.split_at_checked(usize::from(u16::from_le_bytes([*a, *b]))),
        [2 | 3, _, a, b, c, d, rest @ ..] => rest.split_at_checked(u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => return Err(broken("its version is unknown")),
    }
    .ok_or_else(|| broken("its header is cut off"))?;
    let header = std::str::from_utf8(header).map_err(|_| broken("its header is no text"))?;
    let field = |key: &str| {
        let at = header.find(&format!("'{key}'"))? + key.len() + 2;
        header[at..].trim_start().strip_prefix(':').map(str::trim_start)
    };
    let quoted = field("descr").and_then(|v| v.strip_prefix('\'')?.split('\'').next());
    let code = quoted.ok_or_else(|| broken("its header names no element type"))?;
    let plain = |c: &str| c.trim_start_matches(['<', '|', '=']).to_owned();
    let dtype = DType::ALL
        .into_iter()
        .find(|&d| descriptor(d).is_some_and(|known| plain(known) == plain(code)))
        .ok_or_else(|| Error::file(name, format!("has elements of NumPy's type '{code}', which Kiln does not read")))?;
    let dims = field("shape").and_then(|v| v.strip_prefix('(')?.split(')').next());
    let dims: Option<Vec<usize>> =
        dims.and_then(|d| d.split(',').map(str::trim).filter(|d| !d.is_empty()).map(|d| d.parse().ok()).collect());
    let dims = dims.ok_or_else(|| broken("its header has no shape"))?;
    let fortran = field("fortran_order").is_some_and(|v| v.starts_with("True"));
    let shape = Shape::new(&dims).map_err(|e| Error::file(name, "its shape").caused_by(e))?;
    if data.len() != shape.count() * dtype.size() {
        let text = format!(
            "has {} bytes of data, its shape {shape} ({dtype}) needs {}",
            data.len(),
            shape.count() * dtype.size()
        );
        return Err(Error::file(name, text));
    }
    if !fortran {
        return super::tensor_of(dtype, shape, data);
    }
    use crate::ops::ViewOps;
    let reversed: Vec<usize> = dims.iter().rev().copied().collect();
    let axes: Vec<isize> = (0..dims.len() as isize).rev().collect();
    super::tensor_of(dtype, Shape::new(&reversed)?, data)?.permute(&axes)
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |e| Error::file(path, "cannot be read").caused_by(e)
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |e| Error::file(path, "cannot be written").caused_by(e)
}

/// Reads an npy file.
///
/// # Errors
/// As [`parse_npy`], and a file that is missing.
pub fn load_npy(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    parse_npy(&std::fs::read(path).map_err(unreadable(path))?, path)
}

/// Writes an npy file.
///
/// # Errors
/// As [`to_npy`], and a file that cannot be written.
pub fn save_npy(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    let path = path.as_ref();
    std::fs::write(path, to_npy(tensor)?).map_err(unwritable(path))
}

/// Reads every array of an npz file.
///
/// # Errors
/// A file that is missing, no zip archive, or holds a damaged array.
pub fn load_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, Tensor>> {
    let path = path.as_ref();
    let broken = |e: zip::result::ZipError| Error::file(path, "is no valid npz file").caused_by(e);
    let mut archive = ZipArchive::new(File::open(path).map_err(unreadable(path))?).map_err(broken)?;
    let mut arrays = BTreeMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(broken)?;
        let Some(name) = entry.name().map_err(broken)?.strip_suffix(".npy").map(str::to_owned) else { continue };
        // The archive's own word for the size bounds what is read: a small file cannot unpack without end.
        let (size, mut bytes) = (entry.size(), Vec::new());
        entry.by_ref().take(size).read_to_end(&mut bytes).map_err(unreadable(path))?;
        arrays.insert(name.clone(), parse_npy(&bytes, &path.join(name))?);
    }
    Ok(arrays)
}

/// Writes arrays by name to an npz file, compressed.
///
/// ```
/// use kiln_tensor::{Tensor, io::{load_npz, save_npz}};
/// let path = std::env::temp_dir().join(format!("kiln-{}.npz", std::process::id()));
/// let x = Tensor::new([[1, 2], [3, 4]]);
/// save_npz(&path, [("x", &x)])?;
/// assert!(load_npz(&path)?["x"].same_bits(&x));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), kiln_tensor::Error>(())
/// ```
///
/// # Errors
/// As [`to_npy`], and a file that cannot be written.
pub fn save_npz<'a>(path: impl AsRef<Path>, arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    let path = path.as_ref();
    let failed = |e: zip::result::ZipError| Error::file(path, "cannot be written").caused_by(e);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(true);
    for (name, tensor) in arrays {
        archive.start_file(format!("{name}.npy"), options).map_err(failed)?;
        archive.write_all(&to_npy(tensor)?).map_err(unwritable(path))?;
    }
    let bytes = archive.finish().map_err(failed)?.into_inner();
    std::fs::write(path, bytes).map_err(unwritable(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{CastOps, ViewOps};

    #[test]
    fn every_type_and_shape_survives() {
        let base = Tensor::new([[0.0, 1.0, 2.0], [3.0, 4.0, 100.0]]);
        let mut all: Vec<Tensor> = DType::ALL.iter().map(|&d| base.cast(d).unwrap()).collect();
        all.extend([base.t().unwrap(), Tensor::new(3i64), Tensor::zeros([0, 4]).unwrap(), Tensor::new([7u8])]);
        for t in all {
            match t.dtype() {
                DType::BF16 => assert!(to_npy(&t).unwrap_err().to_string().contains("cast(DType::F32)")),
                _ => {
                    let bytes = to_npy(&t).unwrap();
                    assert_eq!(bytes.len() % ALIGNMENT, t.count() * t.dtype().size() % ALIGNMENT);
                    assert!(parse_npy(&bytes, Path::new("x.npy")).unwrap().same_bits(&t));
                }
            }
        }
    }

    #[test]
    fn column_major_files() {
        // numpy.save of asfortranarray([[1, 2, 3], [4, 5, 6]], dtype uint8)
        let mut bytes = MAGIC.to_vec();
        let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n";
        bytes.extend([1, 0, header.len() as u8, 0]);
        bytes.extend(header.as_bytes());
        bytes.extend([1, 4, 2, 5, 3, 6]);
        let t = parse_npy(&bytes, Path::new("f.npy")).unwrap();
        assert!(t.reshape([6]).unwrap().same_bits(&Tensor::new([1u8, 2, 3, 4, 5, 6])));
    }

    #[test]
    fn damage_is_named() {
        let good = to_npy(&Tensor::new([1.0, 2.0])).unwrap();
        let error = |bytes: &[u8]| parse_npy(bytes, Path::new("x.npy")).unwrap_err().to_string();
        assert!(error(b"hello").starts_with("x.npy: is no valid npy file: it does not begin"));
        assert!(error(&good[..9]).contains("version is unknown"));
        assert!(error(&good[..40]).contains("cut off"));
        assert!(error(&good[..good.len() - 1]).contains("has 15 bytes of data, its shape [2] (f64) needs 16"));
        let text = String::from_utf8_lossy(&good).replace("<f8", "<c8");
        assert!(error(&[&good[..10], &text.as_bytes()[text.find('{').unwrap()..]].concat()).contains("'<c8'"));
    }
}
