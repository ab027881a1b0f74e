//! Files that appear whole or not at all.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use safetensors::tensor::View;
use tempfile::NamedTempFile;

/// Puts `bytes` under `path`, replacing what is there only once everything is on disk, and returns once the name leads to
/// it there too. What is replaced leaves its permissions; a symbolic link stays one, and what it leads to is replaced.
///
/// # Errors
/// The system's; nothing is left under `path` that was not there before.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// The same with whatever `write` writes.
pub(crate) fn replace_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let path = &followed(path);
    let folder = folder_of(path);
    let mut file = temporary(&unfinished(path), folder)?;
    write(file.as_file_mut())?;
    if let Ok(replaced) = fs::metadata(path) {
        file.as_file().set_permissions(replaced.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

/// Removes what killed processes have left of files that they were about to put under `path`. Nobody else may be replacing
/// it.
///
/// # Errors
/// The system's.
pub fn remove_unfinished(path: &Path) -> io::Result<()> {
    let path = &followed(path);
    let beginning = unfinished(path);
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let name = entry.file_name();
        if name
            .as_encoded_bytes()
            .starts_with(beginning.as_encoded_bytes())
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A file that is there to be locked, and is for as long as the file is open; none if another process holds it.
///
/// # Errors
/// The system's.
pub fn lock_file(path: &Path) -> io::Result<Option<File>> {
    let file = to_be_locked(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The same once no other process holds it.
#[cfg(feature = "hub")]
pub(crate) fn wait_for_lock(path: &Path) -> io::Result<File> {
    let file = to_be_locked(path)?;
    file.lock()?;
    Ok(file)
}

fn to_be_locked(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// Writes tensors, and returns once they are on disk. Others may read them as far as the umask lets them, where
/// safetensors writes for its owner alone.
pub(crate) fn write_safetensors<V: View>(
    tensors: impl IntoIterator<Item = (String, V)>,
    (key, value): (&str, &str),
    path: &Path,
) -> io::Result<()> {
    let header = HashMap::from([(key.to_owned(), value.to_owned())]);
    let permissions = File::create(path)?.metadata()?.permissions();
    safetensors::serialize_to_file(tensors, Some(header), path).map_err(io::Error::other)?;
    fs::set_permissions(path, permissions)?;
    File::open(path)?.sync_all()
}

/// The folder that a path is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Where a symbolic link leads; other paths as they are.
pub fn followed(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// How the names of its temporary files begin.
fn unfinished(path: &Path) -> OsString {
    let mut beginning = OsString::from(".");
    beginning.push(path.file_name().unwrap_or_default());
    beginning.push(".unfinished-");
    beginning
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere folders cannot be opened as files.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// How the names of temporary files and folders in the cache begin, the ones of `tempfile` among them.
const TEMPORARY: &str = ".tmp";

/// No download or conversion takes longer.
const LONGEST: Duration = Duration::from_hours(24);

/// A temporary file that may be renamed into place: others may read it as far as the umask lets them. The folder is one of
/// the cache, and what killed processes have left there is removed.
pub(crate) fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    for entry in fs::read_dir(folder)?.flatten().filter(is_left) {
        let path = entry.path();
        // Another process may do the same.
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    temporary(OsStr::new(TEMPORARY), folder)
}

fn is_left(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let changed = entry.metadata().and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|changed| changed.elapsed().ok());
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
        && age.is_some_and(|age| age > LONGEST)
}

fn temporary(beginning: &OsStr, folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(beginning);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_is_replaced_leaves_its_permissions_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", &link).unwrap();
        replace_file(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let unfinished = folder.path().join(".file.unfinished-x");
        File::create(&unfinished).unwrap();
        remove_unfinished(&link).unwrap();
        assert!(!unfinished.exists());
    }

    #[test]
    fn what_killed_processes_have_left_is_removed_and_what_others_write_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [left, written, model] =
            [".tmpLEFT", ".tmpNEW", "model"].map(|n| folder.path().join(n));
        for path in [&left, &written, &model] {
            File::create(path).unwrap();
        }
        for path in [&left, &model] {
            let long_ago = std::time::SystemTime::now() - 2 * LONGEST;
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        drop(temporary_file(folder.path()).unwrap());
        assert!(!left.exists() && written.exists() && model.exists());
    }
}
