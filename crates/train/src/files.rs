//! Writing a file so that a crash leaves the old one or the new one, never half of it: the array files' writer, with
//! this crate's error.

use crate::error::{Error, Result};
use kiln_nn::io::replace_file;
use std::path::Path;

/// Makes `bytes` the content of the file at `path` in one step; missing folders are made.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_file(path, bytes).map_err(|e| Error::io("write", path, e))
}
