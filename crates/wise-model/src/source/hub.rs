//! Models of the Hugging Face Hub: `hf:owner/name[@revision]`.

use std::path::PathBuf;

use super::Report;
use crate::Result;

/// Downloads the files of a model and says in which folder they are.
#[cfg(not(feature = "hub"))]
pub(super) fn fetch(name: &str, _repository: &str, _progress: Report<'_>) -> Result<PathBuf> {
    Err(crate::Error::HubNotCompiledIn(name.to_owned()))
}

/// Downloads the files of a model and says in which folder they are.
#[cfg(feature = "hub")]
pub(super) fn fetch(name: &str, repository: &str, progress: Report<'_>) -> Result<PathBuf> {
    online::fetch(name, repository, progress)
}

#[cfg(feature = "hub")]
mod online {
    use std::collections::BTreeSet;
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};

    use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
    use hf_hub::{Cache, CacheRepo, Repo, RepoType};
    use serde_json::Value as Json;

    use super::super::map::io_error;
    use super::super::{Progress, Report, cache_dir};
    use crate::atomic::wait_for_lock;
    use crate::{Error, Result};

    const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
    const OPTIONAL: [&str; 3] = [
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
    ];
    const WEIGHTS: &str = "model.safetensors";
    const INDEX: &str = "model.safetensors.index.json";

    /// A repository, and what of it was downloaded before.
    struct Remote<'a> {
        name: &'a str,
        api: ApiRepo,
        cached: CacheRepo,
    }

    pub(super) fn fetch(name: &str, repository: &str, progress: Report<'_>) -> Result<PathBuf> {
        let remote = Remote::new(name, repository)?;
        if let Some(folder) = remote.complete() {
            return Ok(folder);
        }
        // hf-hub waits five seconds for another process that downloads, and then fails.
        let _lock = lock(repository)?;
        if let Some(folder) = remote.complete() {
            return Ok(folder);
        }
        let config = remote.get(REQUIRED[0], progress)?;
        remote.get(REQUIRED[1], progress)?;
        for file in OPTIONAL {
            remote.get_optional(file, progress)?;
        }
        if remote.get_optional(WEIGHTS, progress)?.is_none() {
            let index = remote.get(INDEX, progress)?;
            for shard in shards(&index)? {
                remote.get(&shard, progress)?;
            }
        }
        // All files of one revision lie side by side.
        Ok(config.parent().map(Path::to_owned).unwrap_or_default())
    }

    /// Waits until no other process downloads the repository; nobody else does as long as the file is open.
    fn lock(repository: &str) -> Result<File> {
        let folder = cache_dir().join("hub");
        fs::create_dir_all(&folder).map_err(io_error("write", &folder))?;
        let path = folder.join(format!("{}.lock", repository.replace(['/', '\\'], "--")));
        wait_for_lock(&path).map_err(io_error("lock", &path))
    }

    /// The files that an index names; the folder loader judges the rest of it.
    fn shards(index: &Path) -> Result<BTreeSet<String>> {
        let text = fs::read_to_string(index).map_err(io_error("read", index))?;
        let malformed = |detail| Error::Malformed {
            path: index.to_owned(),
            format: "JSON",
            detail,
        };
        let index: Json = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
        let map = index["weight_map"].as_object();
        let map = map.ok_or_else(|| malformed("it has no weight_map".to_owned()))?;
        Ok(map
            .values()
            .filter_map(Json::as_str)
            .map(str::to_owned)
            .collect())
    }

    impl<'a> Remote<'a> {
        fn new(name: &'a str, repository: &str) -> Result<Self> {
            let (id, revision) = split(repository).ok_or_else(|| Error::UnknownModel {
                got: name.to_owned(),
            })?;
            let repo = Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned());
            let folder = cache_dir().join("hub");
            let cached = Cache::new(folder.clone()).repo(repo.clone());
            let api = ApiBuilder::from_env()
                .with_cache_dir(folder)
                .with_progress(false)
                .build();
            let failed = |e: ApiError| Error::Fetch {
                what: name.to_owned(),
                detail: e.to_string(),
            };
            Ok(Self {
                name,
                api: api.map_err(failed)?.repo(repo),
                cached,
            })
        }

        /// The folder of an earlier download, if it is whole: then no network is needed. The weights
        /// come last, so where they are, the optional files were asked for.
        fn complete(&self) -> Option<PathBuf> {
            let config = self.cached.get(REQUIRED[0])?;
            self.cached.get(REQUIRED[1])?;
            if self.cached.get(WEIGHTS).is_none() {
                let shards = shards(&self.cached.get(INDEX)?).ok()?;
                shards
                    .iter()
                    .try_for_each(|shard| self.cached.get(shard).map(drop))?;
            }
            config.parent().map(Path::to_owned)
        }

        fn get(&self, file: &str, progress: Report<'_>) -> Result<PathBuf> {
            self.download(file, progress)
                .map_err(|e| self.failed(file, &e))
        }

        /// `None` if the repository has no such file.
        fn get_optional(&self, file: &str, progress: Report<'_>) -> Result<Option<PathBuf>> {
            match self.download(file, progress) {
                Ok(path) => Ok(Some(path)),
                Err(e) if is_absent(&e) => Ok(None),
                Err(e) => Err(self.failed(file, &e)),
            }
        }

        fn download(&self, file: &str, progress: Report<'_>) -> Result<PathBuf, ApiError> {
            if let Some(path) = self.cached.get(file) {
                return Ok(path);
            }
            let meter = Meter {
                file: file.to_owned(),
                bytes: 0,
                total: None,
                progress,
            };
            self.api.download_with_progress(file, meter)
        }

        fn failed(&self, file: &str, error: &ApiError) -> Error {
            Error::Fetch {
                what: format!("{file} of {}", self.name),
                detail: error.to_string(),
            }
        }
    }

    fn is_absent(error: &ApiError) -> bool {
        error.to_string().contains("status: 404")
    }

    /// `owner/name` and the revision after an `@`, `main` without one.
    fn split(repository: &str) -> Option<(&str, &str)> {
        let (id, revision) = repository.split_once('@').unwrap_or((repository, "main"));
        let (owner, name) = id.split_once('/')?;
        let plain = |part: &str| {
            !part.is_empty() && !part.contains(['/', '\\', ' ']) && part != "." && part != ".."
        };
        let safe = plain(owner) && plain(name) && !revision.is_empty() && !revision.contains("..");
        safe.then_some((id, revision))
    }

    /// Passes hf-hub's progress on.
    struct Meter<'a, 'b> {
        file: String,
        bytes: u64,
        total: Option<u64>,
        progress: &'a mut (dyn FnMut(Progress<'_>) + 'b),
    }

    impl hf_hub::api::Progress for Meter<'_, '_> {
        fn init(&mut self, size: usize, _file: &str) {
            self.total = Some(size as u64);
        }

        fn update(&mut self, size: usize) {
            self.bytes += size as u64;
            let Self {
                file, bytes, total, ..
            } = self;
            (self.progress)(Progress::Fetching {
                what: file,
                bytes: *bytes,
                total: *total,
            });
        }

        fn finish(&mut self) {}
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_repository_may_have_a_revision() {
            assert_eq!(split("o/n"), Some(("o/n", "main")));
            assert_eq!(split("o/n@v1"), Some(("o/n", "v1")));
            for bad in ["n", "/n", "o/", "o/n/x", "o/n@", "../n", "o/n@../x"] {
                assert_eq!(split(bad), None, "{bad}");
            }
        }

        #[test]
        fn an_index_names_each_shard_once() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(INDEX);
            fs::write(&path, r#"{"weight_map": {"a": "1", "b": "2", "c": "1"}}"#).unwrap();
            assert_eq!(
                shards(&path).unwrap().into_iter().collect::<Vec<_>>(),
                ["1", "2"]
            );
            fs::write(&path, "{}").unwrap();
            assert!(shards(&path).is_err());
        }
    }
}
