//! Files mapped into memory, and their checksums.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::{Progress, Report};
use crate::{Error, Result};

/// Bytes hashed between two progress reports.
const STEP: usize = 16 << 20;

/// Wraps an [`std::io::Error`] with what was tried on which file.
pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

/// Maps a file for reading.
pub(crate) fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(io_error("open", path))?;
    map_file(&file).map_err(io_error("map", path))
}

#[allow(unsafe_code)]
pub(super) fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this process. Should another process change or
    // truncate the file meanwhile, the numbers read change or the process ends by a signal; that
    // is accepted here, as by every program that maps weights. Weights in this crate's own cache
    // are replaced by renaming, which leaves an existing map intact.
    unsafe { Mmap::map(file) }
}

/// SHA-256 of `bytes` as lower-case hexadecimal digits.
pub(super) fn sha256(what: &str, bytes: &[u8], progress: Report<'_>) -> String {
    let mut hasher = Sha256::new();
    let mut done = 0;
    for chunk in bytes.chunks(STEP) {
        hasher.update(chunk);
        done += chunk.len() as u64;
        progress(Progress::Hashing {
            what,
            bytes: done,
            total: bytes.len() as u64,
        });
    }
    hex(&hasher.finalize())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The last component of a path, for progress reports.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_abc_is_the_published_value() {
        let mut seen = Vec::new();
        let digest = sha256("abc", b"abc", &mut |p| {
            if let Progress::Hashing { bytes, total, .. } = p {
                seen.push((bytes, total));
            }
        });
        assert_eq!(
            digest,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(seen, [(3, 3)]);
    }

    #[test]
    fn mapping_an_absent_file_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = map(&dir.path().join("absent")).unwrap_err().to_string();
        assert!(
            error.contains("cannot open") && error.contains("absent"),
            "{error}"
        );
    }
}
