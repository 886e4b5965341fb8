//! NumPy's format for arrays by name: a zip archive of npy files.

use super::npy::{read_npy, write_npy};
use super::{format, replace_file_with, unreadable, unwritable};
use crate::{Error, Result, Tensor};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use rawzip::path::{EntryPath, ZipFilePath};
use rawzip::{CompressionMethod, ErrorKind, ZipArchive, ZipArchiveWriter};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

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
/// A file that is missing, no zip archive, holds a damaged array, two of one name, or one whose name in the archive's
/// directory is not that at its place; one whose small size and huge content make it
/// likely that it was built to fill the memory.
pub fn load_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, Tensor>> {
    let path = path.as_ref();
    let broken = |e: rawzip::Error| Error::file(path, "is no valid npz file").caused_by(e);
    let file = File::open(path).map_err(unreadable(path))?;
    let mut start = Vec::new();
    (&file).take(32).read_to_end(&mut start).map_err(unreadable(path))?;
    let packed = file.metadata().map_err(unreadable(path))?.len();
    // A record of the directory, the longest one included, is read at once.
    let mut buffer = vec![0; rawzip::MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let archive =
        ZipArchive::from_file(file, &mut buffer).map_err(|e| format::not_a("npz", path, &start, &e.to_string()))?;
    // Of all entries together, because they may share one compressed piece.
    let (mut count, mut unpacked) = (0, 0);
    let (mut names, mut entries) = (BTreeSet::new(), Vec::new());
    let mut directory = archive.entries(&mut buffer);
    while let Some(entry) = directory.next_entry().map_err(broken)? {
        count += 1;
        unpacked += u128::from(entry.uncompressed_size_hint());
        let name = entry.file_path();
        let Some(name) = name.as_bytes().strip_suffix(b".npy") else { continue };
        let name = str::from_utf8(name).map_err(|e| Error::file(path, "has a name that is no text").caused_by(e))?;
        if entry.flags().is_encrypted() {
            return Err(Error::file(inside(path, name), "is encrypted"));
        }
        if !names.insert(name.to_owned()) {
            return Err(Error::file(path, format!("has two arrays named `{name}`")));
        }
        entries.push((name.to_owned(), entry.compression_method(), entry.wayfinder()));
    }
    if count != archive.entries_hint() {
        return Err(Error::file(path, format!("has {count} entries and claims {}", archive.entries_hint())));
    }
    if is_bomb(unpacked, packed.into()) {
        let text = format!("has {packed} bytes that claim to unpack to {unpacked}");
        let help = "if you trust the file, unpack it with another program and read its arrays with load_npy";
        return Err(Error::file(path, text).help(help));
    }
    let mut arrays = BTreeMap::new();
    for (name, method, entry) in entries {
        let inside = inside(path, &name);
        // The archive's own word for the size, which the array's header must confirm, bounds what is read.
        let size = entry.uncompressed_size_hint();
        let entry = archive.get_entry(entry).map_err(broken)?;
        // The directory could give an array a name that no reader of the entries themselves would find.
        let own = entry.local_header(&mut buffer).map_err(broken)?;
        let own = own.file_path().as_bytes();
        if own.strip_suffix(b".npy") != Some(name.as_bytes()) {
            let text = format!("is named `{}` at its own place in the archive", String::from_utf8_lossy(own));
            return Err(Error::file(inside, text));
        }
        let content: &mut dyn Read = match method {
            CompressionMethod::STORE => &mut BufReader::new(entry.reader()),
            CompressionMethod::DEFLATE => &mut DeflateDecoder::new(entry.reader()),
            other => return Err(Error::file(inside, format!("is compressed by {other}, which Kiln does not read"))),
        };
        let mut content = entry.verifying_reader(content);
        let array = read_npy(&mut content, size, &inside)?;
        // Reading on finds what comes after the size that the archive claims.
        match content.read(&mut [0]).map_err(unreadable(&inside))? {
            0 => arrays.insert(name, array),
            _ => return Err(Error::file(inside, format!("goes on after the {size} bytes that the archive claims"))),
        };
    }
    Ok(arrays)
}

/// What errors call an array of an archive. Its name is only text: as a path, `/a` would lead out of the archive.
fn inside(path: &Path, name: &str) -> PathBuf {
    let mut inside = path.as_os_str().to_owned();
    inside.push("/");
    inside.push(name);
    inside.into()
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
/// As [`to_npy`](super::to_npy), a name that stands twice or that no archive can hold, and a file that cannot be written.
pub fn save_npz<'a>(path: impl AsRef<Path>, arrays: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<()> {
    let path = path.as_ref();
    let arrays: Vec<(&str, &Tensor)> = arrays.into_iter().collect();
    let mut seen = BTreeSet::new();
    if let Some((twice, _)) = arrays.iter().find(|(name, _)| !seen.insert(name)) {
        return Err(Error::argument("npz", format!("`{twice}` names two arrays")).help("give each its own name"));
    }
    if let Some((name, _)) = arrays.iter().find(|(name, _)| path_of(name).is_none()) {
        return Err(Error::argument("npz", format!("`{name}` is no path that a zip archive can hold"))
            .help("keep to ASCII, or leave out `\\\\`, `//`, `.` and `..`"));
    }
    let mut refused = Ok(());
    let written = replace_file_with(path, |temporary| {
        let unpacked = write_npz(temporary, &arrays, CompressionMethod::DEFLATE, &mut refused)?;
        // What Kiln writes it also reads, however regular it is.
        if is_bomb(unpacked, std::fs::metadata(temporary)?.len().into()) {
            write_npz(temporary, &arrays, CompressionMethod::STORE, &mut refused)?;
        }
        Ok(())
    });
    refused?;
    written.map_err(unwritable(path))
}

/// The entry of an array. A name in ASCII is kept as it is. Any other has to be marked as UTF-8, and only paths without
/// detours can be.
fn path_of(name: &str) -> Option<EntryPath<'static>> {
    let file = format!("{name}.npy");
    if file.is_ascii() {
        return Some(EntryPath::verbatim(file.into_bytes()));
    }
    (ZipFilePath::from_str(&file).as_str() == file).then(|| EntryPath::conformant(file))
}

/// Writes the archive and returns the size of what is in it. The reason why an array cannot be written at all goes to
/// `refused`.
fn write_npz(
    path: &Path,
    arrays: &[(&str, &Tensor)],
    method: CompressionMethod,
    refused: &mut Result<()>,
) -> io::Result<u128> {
    let mut archive = ZipArchiveWriter::new(BufWriter::new(File::create(path)?));
    let mut unpacked = 0;
    for (name, tensor) in arrays {
        let path = path_of(name).ok_or(io::ErrorKind::InvalidInput)?;
        write_entry(&mut archive, path, method, &mut |target| {
            write_npy(tensor, target).unwrap_or_else(|error| {
                *refused = Err(error);
                Err(io::ErrorKind::InvalidInput.into())
            })
        })?;
        unpacked += tensor.count() as u128 * tensor.dtype().size() as u128;
    }
    archive.finish().map_err(io_error)?;
    Ok(unpacked)
}

/// Adds an entry with what `write` gives.
fn write_entry<W: Write>(
    archive: &mut ZipArchiveWriter<W>,
    path: EntryPath<'_>,
    method: CompressionMethod,
    write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let (mut entry, content) = archive.new_file(path).compression_method(method).start().map_err(io_error)?;
    let descriptor = if method == CompressionMethod::STORE {
        let mut content = content.wrap(&mut entry);
        write(&mut content)?;
        content.finish().map_err(io_error)?.1
    } else {
        let mut content = content.wrap(DeflateEncoder::new(&mut entry, Compression::default()));
        write(&mut content)?;
        let (encoder, descriptor) = content.finish().map_err(io_error)?;
        encoder.finish()?;
        descriptor
    };
    entry.finish(descriptor).map(drop).map_err(io_error)
}

/// The error of the file that an archive is written to, such as a full disk, as it came from there.
fn io_error(error: rawzip::Error) -> io::Error {
    match error.into_kind() {
        ErrorKind::IO(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bf16;
    use crate::ops::ViewOps;

    /// An archive with an entry `x.npy`.
    fn archive(path: &Path, method: CompressionMethod, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) {
        let mut archive = ZipArchiveWriter::new(File::create(path).unwrap());
        write_entry(&mut archive, EntryPath::conformant("x.npy"), method, write).unwrap();
        archive.finish().unwrap();
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.npz");
        let zeros = Tensor::zeros([1]).unwrap().expand([1 << 20]).unwrap();
        archive(&path, CompressionMethod::DEFLATE, &mut |target| write_npy(&zeros, target).unwrap());
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
        archive(&path, CompressionMethod::DEFLATE, &mut |target| {
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
        assert!(error.contains("Invalid checksum"), "{error}");
    }

    #[test]
    fn a_changed_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let x = Tensor::new([1, 2, 0x0102_0304]);
        archive(&path, CompressionMethod::STORE, &mut |target| write_npy(&x, target).unwrap());
        assert!(load_npz(&path).unwrap()["x"].same_bits(&x));
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(4).position(|four| four == [4, 3, 2, 1]).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = load_npz(&path).unwrap_err().to_string();
        assert!(error.contains("Invalid checksum"), "{error}");
    }

    /// Puts `to` in the place of `from`, of the same length, `times` times at most.
    fn rename(path: &Path, from: &[u8], to: &[u8], times: usize) {
        let mut bytes = std::fs::read(path).unwrap();
        let at: Vec<usize> = (0..=bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
        at.into_iter().take(times).for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_name_stands_once_and_is_the_same_in_both_places() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let (one, two) = (Tensor::new([1, 2, 3]), Tensor::new([4, 5, 6]));
        save_npz(&path, [("one", &one), ("two", &two)]).unwrap();
        rename(&path, b"two.npy", b"one.npy", usize::MAX);
        let error = load_npz(&path).unwrap_err().to_string();
        assert!(error.ends_with("x.npz: has two arrays named `one`"), "{error}");
        // The first mention is the one before the array itself, the second that in the directory.
        save_npz(&path, [("one", &one)]).unwrap();
        rename(&path, b"one.npy", b"two.npy", 1);
        let error = load_npz(&path).unwrap_err().to_string();
        assert!(error.ends_with("x.npz/one: is named `two.npy` at its own place in the archive"), "{error}");
    }

    #[test]
    fn errors_name_the_archive_whatever_the_name_inside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        save_npz(&path, [("/abs", &Tensor::new([1, 2, 3]))]).unwrap();
        rename(&path, b"/abs.npy", b"/two.npy", 1);
        let error = load_npz(&path).unwrap_err().to_string();
        assert!(error.contains("x.npz//abs: is named `/two.npy`"), "{error}");
    }

    #[test]
    fn any_name_comes_back_or_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let x = Tensor::new([1, 2, 3]);
        let names = ["", "/a", "a/../b", "a//b", "a\\b", "C:c", "d/", "größe/α", "."];
        save_npz(&path, names.map(|name| (name, &x))).unwrap();
        let read = load_npz(&path).unwrap();
        assert_eq!(read.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(names));
        let refused = save_npz(&path, [("α//β", &x)]).unwrap_err().to_string();
        assert!(refused.starts_with("npz: `α//β` is no path"), "{refused}");
        assert_eq!(load_npz(&path).unwrap().len(), names.len());
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
