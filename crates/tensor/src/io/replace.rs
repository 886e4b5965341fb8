//! Writing a file so that a crash or a full disk leaves the old one or the new one, never half of it. Knows no format.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Error, ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes `bytes` the content of the file at `path`, as [`replace_file_with`] does.
///
/// # Errors
/// What the operating system refuses; the old file is as it was then.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_file_with(path, |temporary| File::create(temporary)?.write_all(bytes))
}

/// Lets `write` fill a temporary file beside `path`, brings it to the disk, and renames it to `path`. Missing folders
/// are made. A link stays one: the file that it points to is replaced. What is no file, such as a pipe, is written to
/// as it is.
///
/// # Errors
/// That of `write`, or what the operating system refuses; the old file is as it was then, and nothing else is left.
pub fn replace_file_with(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let old = fs::metadata(path).ok();
    if old.as_ref().is_some_and(|old| !old.is_file() && !old.is_dir()) {
        return write(path);
    }
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let Some(name) = path.file_name() else {
        return Err(Error::new(ErrorKind::InvalidInput, "the path does not end in the name of a file"));
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    // In the same folder, because a rename must not cross file systems; with the same extension, which `write` may read.
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut unique = OsString::from(format!(".{}-{}-", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    unique.push(name);
    let temporary = path.with_file_name(unique);
    let result = write(&temporary).and_then(|()| {
        if let Some(old) = old {
            fs::set_permissions(&temporary, old.permissions())?;
        }
        // Without this the rename may reach the disk before the content does.
        OpenOptions::new().append(true).open(&temporary)?.sync_all()?;
        fs::rename(&temporary, path)
    });
    if result.is_err() {
        // The first error is the one worth telling; a file that was never made cannot be removed.
        let _ = fs::remove_file(&temporary);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_of(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn replaces_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/a.txt");
        replace_file(&path, b"one").unwrap();
        replace_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(files_of(path.parent().unwrap()), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        replace_file(&path, b"old").unwrap();
        let failed = replace_file_with(&path, |temporary| {
            fs::write(temporary, b"half")?;
            Err(ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(files_of(folder.path()), 1);
    }

    #[test]
    fn a_folder_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert!(replace_file(folder.path(), b"").is_err());
        assert!(replace_file(Path::new("/"), b"").is_err());
        assert!(replace_file(Path::new(""), b"").is_err());
        assert_eq!(files_of(folder.path()), 0);
    }

    #[cfg(unix)]
    #[test]
    fn links_devices_and_permissions_stay_what_they_are() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        symlink(&file, &link).unwrap();
        replace_file(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        replace_file(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
