//! NumPy's format for arrays by name: a zip archive of npy files.

use super::npy::{read_npy, write_npy};
use super::{format, replace_file_with, unreadable, unwritable};
use crate::{Error, Result, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// An archive that unpacks to more bytes than this …
const LARGE: u128 = if cfg!(test) { 1 << 20 } else { 256 << 20 };
/// … and to more than this many times its size is refused: arrays of numbers are seldom so regular, and a few bytes
/// from a stranger could fill the memory.
const RATIO: u128 = 200;

/// Whether so much out of so little is more likely an attack than data.
fn is_bomb(unpacked: u128, packed: u128) -> bool {
    unpacked > LARGE && unpacked / RATIO > packed
}

/// Reads every array of an npz file.
///
/// # Errors
/// A file that is missing, no zip archive, or holds a damaged array; one whose small size and huge content make it
/// likely that it was built to fill the memory.
pub fn load_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, Tensor>> {
    let path = path.as_ref();
    let broken = |e: zip::result::ZipError| Error::file(path, "is no valid npz file").caused_by(e);
    let mut file = BufReader::new(File::open(path).map_err(unreadable(path))?);
    let mut start = Vec::new();
    file.by_ref().take(32).read_to_end(&mut start).map_err(unreadable(path))?;
    let packed = file.get_ref().metadata().map_err(unreadable(path))?.len();
    let mut archive = ZipArchive::new(file).map_err(|e| format::not_a("npz", path, &start, &e.to_string()))?;
    // Of all entries together, because they may share one compressed piece.
    let mut unpacked = 0;
    for i in 0..archive.len() {
        unpacked += u128::from(archive.by_index_raw(i).map_err(broken)?.size());
    }
    if is_bomb(unpacked, packed.into()) {
        let text = format!("has {packed} bytes that claim to unpack to {unpacked}");
        let help = "if you trust the file, unpack it with another program and read its arrays with load_npy";
        return Err(Error::file(path, text).help(help));
    }
    let mut arrays = BTreeMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(broken)?;
        let Some(name) = entry.name().map_err(broken)?.strip_suffix(".npy").map(str::to_owned) else { continue };
        let inside = path.join(&name);
        // The archive's own word for the size, which the array's header must confirm, bounds what is read.
        let size = entry.size();
        let array = read_npy(&mut entry, size, &inside)?;
        // Reading on to the end also compares the checksum.
        match entry.read(&mut [0]).map_err(unreadable(&inside))? {
            0 => arrays.insert(name, array),
            _ => return Err(Error::file(inside, format!("goes on after the {size} bytes that the archive claims"))),
        };
    }
    Ok(arrays)
}

/// Writes arrays by name to an npz file, compressed. A file that is there is replaced in one step
/// ([`replace_file_with`]): if anything fails, it stays.
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
/// As [`to_npy`](super::to_npy), a name that stands twice, and a file that cannot be written.
pub fn save_npz<'a>(path: impl AsRef<Path>, arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    let path = path.as_ref();
    let arrays: Vec<(&str, &Tensor)> = arrays.into_iter().collect();
    let mut seen = BTreeSet::new();
    if let Some((twice, _)) = arrays.iter().find(|(name, _)| !seen.insert(name)) {
        return Err(Error::argument("npz", format!("`{twice}` names two arrays")).help("give each its own name"));
    }
    let mut refused = Ok(());
    let written = replace_file_with(path, |temporary| {
        let unpacked = write_npz(temporary, &arrays, CompressionMethod::Deflated, &mut refused)?;
        // What Kiln writes it also reads, however regular it is.
        if is_bomb(unpacked, std::fs::metadata(temporary)?.len().into()) {
            write_npz(temporary, &arrays, CompressionMethod::Stored, &mut refused)?;
        }
        Ok(())
    });
    refused?;
    written.map_err(unwritable(path))
}

/// Writes the archive and returns the size of what is in it. The reason why an array cannot be written at all goes to
/// `refused`.
fn write_npz(
    path: &Path,
    arrays: &[(&str, &Tensor)],
    method: CompressionMethod,
    refused: &mut Result<()>,
) -> io::Result<u128> {
    let mut archive = ZipWriter::new(BufWriter::new(File::create(path)?));
    let options = SimpleFileOptions::default().compression_method(method).large_file(true);
    let mut unpacked = 0;
    for (name, tensor) in arrays {
        archive.start_file(format!("{name}.npy"), options)?;
        match write_npy(tensor, &mut archive) {
            Ok(written) => written?,
            Err(error) => {
                *refused = Err(error);
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        unpacked += tensor.count() as u128 * tensor.dtype().size() as u128;
    }
    archive.finish()?.flush()?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bf16;
    use crate::ops::ViewOps;

    /// An archive with an entry `x.npy`.
    fn archive(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        let mut archive = ZipWriter::new(File::create(path).unwrap());
        archive.start_file("x.npy", SimpleFileOptions::default().large_file(true)).unwrap();
        write(&mut archive).unwrap();
        archive.finish().unwrap();
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.npz");
        let zeros = Tensor::zeros([1]).unwrap().expand([1 << 20]).unwrap();
        archive(&path, |target| write_npy(&zeros, target).unwrap());
        let error = load_npz(&path).unwrap_err().to_string();
        assert!(error.contains("claim to unpack to 4194432"), "{error}");
        // Kiln's own files are never taken for one.
        save_npz(&path, [("x", &zeros)]).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() > 4 << 20);
        assert!(load_npz(&path).unwrap()["x"].same_bits(&zeros));
    }

    #[test]
    fn a_size_that_the_header_does_not_confirm_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        archive(&path, |target| {
            write_npy(&Tensor::new([1, 2, 3]), target).unwrap()?;
            target.write_all(&[0; 1 << 19])
        });
        let error = load_npz(&path).unwrap_err().to_string();
        assert!(error.contains("has 524300 bytes of data, its shape [3] ('<i4') needs 12"), "{error}");
        // The archive's own word for it, made smaller: what comes after it is noticed.
        let mut bytes = std::fs::read(&path).unwrap();
        let claimed = (128u64 + 12 + (1 << 19)).to_le_bytes();
        for at in 0..bytes.len() - 4 {
            if bytes[at..].starts_with(&claimed[..4]) {
                bytes[at..at + 4].copy_from_slice(&140u32.to_le_bytes());
            }
        }
        std::fs::write(&path, bytes).unwrap();
        let error = load_npz(&path).unwrap_err().to_string();
        assert!(error.contains("larger than its declared uncompressed size"), "{error}");
    }

    #[test]
    fn what_cannot_be_saved_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let (old, half) = (Tensor::new([1, 2, 3]), Tensor::new([bf16::ONE]));
        save_npz(&path, [("x", &old)]).unwrap();
        let refused = save_npz(&path, [("x", &old), ("y", &half)]).unwrap_err();
        assert!(refused.to_string().contains("cast(DType::F32)"), "{refused}");
        let twice = save_npz(&path, [("x", &old), ("x", &old)]).unwrap_err().to_string();
        assert!(twice.starts_with("npz: `x` names two arrays"), "{twice}");
        assert!(load_npz(&path).unwrap()["x"].same_bits(&old));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        for (bytes, name) in [(&b"\x80\x04\x95"[..], "a Python pickle"), (b"\x1f\x8b\x08", "a gzip file")] {
            std::fs::write(&path, bytes).unwrap();
            let error = load_npz(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("is no valid npz file, but {name}")), "{error}");
        }
        std::fs::write(&path, "hello").unwrap();
        assert!(load_npz(&path).unwrap_err().to_string().contains("is no valid npz file: "));
    }
}
