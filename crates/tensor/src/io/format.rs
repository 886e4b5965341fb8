//! What a file really is, whatever its name says: told by its first bytes.

use crate::Error;
use std::path::Path;

/// The formats that arrive under another's name: how they begin, what they are, and what to do with one.
const FORMATS: &[(&[u8], &str, &str)] = &[
    (b"\x93NUMPY", "an npy file", "read it with load_npy"),
    (b"PK\x03\x04", "a zip archive, such as npz or a PyTorch checkpoint", "read npz with load_npz"),
    (b"\x80\x02", "a Python pickle", PICKLE),
    (b"\x80\x03", "a Python pickle", PICKLE),
    (b"\x80\x04", "a Python pickle", PICKLE),
    (b"\x80\x05", "a Python pickle", PICKLE),
    (b"\x1f\x8b", "a gzip file", "unpack it first: gunzip"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save it again as safetensors, in Python"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch the file: git lfs pull"),
    (b"<", "a page of the web, or XML", "download the file again"),
    (b"{", "JSON text", ""),
    (b"[", "text such as JSON or TOML", ""),
];
const PICKLE: &str = "a pickle is a program, which Kiln does not run; save the tensors again as safetensors, in Python";

/// The name of a file's format, and what to do with one.
fn recognize(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    // The length of a header, then the header: no other format begins so.
    if let [_, _, _, _, _, 0, 0, 0, b'{', ..] = bytes {
        return Some(("a safetensors file", "read it with load_safetensors"));
    }
    FORMATS.iter().find(|(mark, ..)| bytes.starts_with(mark)).map(|&(_, name, help)| (name, help))
}

/// Why a file that begins with `bytes` is no valid file of `format`, as far as `problem` knows; and what it is instead,
/// as far as its bytes tell.
pub(super) fn not_a(format: &str, path: &Path, bytes: &[u8], problem: &str) -> Error {
    let what = format!("is no valid {format} file");
    match recognize(bytes) {
        Some((name, help)) if !name.contains(format) => {
            let error = Error::file(path, format!("{what}, but {name}"));
            if help.is_empty() { error } else { error.help(help) }
        }
        _ => Error::file(path, format!("{what}: {problem}")),
    }
}
