//! Files that appear whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// Puts `bytes` under `path`, replacing what is there only once everything is on disk, and returns once the name leads to
/// it there too.
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
    let folder = folder_of(path);
    let mut file = temporary(&unfinished(path), folder)?;
    write(file.as_file_mut())?;
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

/// The folder that a path is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
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

/// A temporary file that may be renamed into place: others may read it as far as the umask lets them.
pub(crate) fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    temporary(OsStr::new(".tmp"), folder)
}

fn temporary(beginning: &OsStr, folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(beginning);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}
