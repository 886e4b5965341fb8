//! Writing a file so that a crash leaves the old one or the new one, never half of it. Knows no format.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `bytes` beside `path`, then renames; missing folders are made.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_atomic(path, |temporary| {
        let mut file = File::create(temporary).map_err(|source| Error::io("create", path, source))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| Error::io("write", path, e))
    })
}

/// Lets `write` fill a temporary file beside `path`, then renames it to `path`; removes it if anything failed.
pub(crate) fn replace_atomic(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|source| Error::io("create", folder, source))?;
    }
    let temporary = temporary_beside(path)?;
    let result = write(&temporary).and_then(|()| fs::rename(&temporary, path).map_err(|e| Error::io("write", path, e)));
    if result.is_err() {
        // The first error is the one worth telling; a file that was never made cannot be removed.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// A name in the same folder (a rename must not cross file systems) that keeps the extension, and that no other
/// thread or process picks.
fn temporary_beside(path: &Path) -> Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(Error::config(
            format!("`{}` does not name a file", path.display()),
            "give a path that ends in a file name, such as `history.csv`",
        ));
    };
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let prefix = format!(".{}-{number}-", std::process::id());
    let mut temporary = std::ffi::OsString::from(prefix);
    temporary.push(name);
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/a.txt");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomic(&path, b"old").unwrap();
        let failed = replace_atomic(&path, |temporary| {
            fs::write(temporary, b"half").unwrap();
            Err(Error::data("stop", ""))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_without_a_name_is_an_error() {
        assert!(write_atomic(Path::new("/"), b"").is_err());
    }
}
