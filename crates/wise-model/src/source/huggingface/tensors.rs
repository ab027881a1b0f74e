//! The tensors of one or several mapped safetensors files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::super::map::{file_name, hex, io_error, map, sha256};
use super::super::report::index_by_name;
use super::super::{Report, TensorSource};
use super::{optional, parse};
use crate::{Error, Result};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// One mapped file.
struct Shard {
    path: PathBuf,
    bytes: Mmap,
}

/// Where a tensor lies.
struct Place {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

/// The tensors of a folder.
pub(super) struct FolderTensors {
    shards: Vec<Shard>,
    tensors: HashMap<String, Place>,
}

impl FolderTensors {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let mut shards = Vec::new();
        let mut places = Vec::new();
        for (path, promised) in files(folder)? {
            let shard = Shard {
                bytes: map(&path)?,
                path,
            };
            let held = shard.places(shards.len())?;
            let held_names: BTreeSet<&str> = held.iter().map(|(name, _)| name.as_str()).collect();
            if let Some(absent) = promised
                .iter()
                .find(|name| !held_names.contains(name.as_str()))
            {
                let detail = format!("it lacks tensor {absent}, which {INDEX} promises");
                return Err(malformed(&shard.path, detail));
            }
            places.extend(held);
            shards.push(shard);
        }
        let tensors = index_by_name(places).map_err(|detail| malformed(folder, detail))?;
        Ok(Self { shards, tensors })
    }

    /// SHA-256 of the only file, or of the files' SHA-256 texts in order of name.
    pub(super) fn sha256(&self, progress: Report<'_>) -> String {
        let mut sums: Vec<String> = self
            .shards
            .iter()
            .map(|shard| sha256(&file_name(&shard.path), &shard.bytes, progress))
            .collect();
        if sums.len() == 1 {
            sums.remove(0)
        } else {
            hex(&Sha256::digest(sums.concat()))
        }
    }
}

/// The weight files in order of name, each with the tensors that an index promises of it.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<String>>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let single = folder.join(SINGLE);
    if single.exists() {
        return Ok(BTreeMap::from([(single, Vec::new())]));
    }
    let path = folder.join(INDEX);
    let Some(text) = optional(&path)? else {
        return unlisted_files(folder);
    };
    let index: Index = parse(&path, &text)?;
    let mut files: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (tensor, file) in index.weight_map {
        if Path::new(&file)
            .file_name()
            .is_none_or(|name| name != file.as_str())
        {
            return Err(malformed(
                &path,
                format!("{file:?} is not the name of a file in its folder"),
            ));
        }
        files.entry(folder.join(file)).or_default().push(tensor);
    }
    match files.keys().find(|file| !file.exists()) {
        Some(absent) => Err(Error::MissingFile {
            path: absent.clone(),
            expected: "a part of the weights",
        }),
        None if files.is_empty() => Err(malformed(&path, "weight_map is empty".to_owned())),
        None => Ok(files),
    }
}

/// Every `model*.safetensors` of a folder without an index.
fn unlisted_files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<String>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(io_error("list", folder))? {
        let path = entry.map_err(io_error("list", folder))?.path();
        let name = file_name(&path);
        if name.starts_with("model") && name.ends_with(".safetensors") {
            files.insert(path, Vec::new());
        }
    }
    if files.is_empty() {
        return Err(Error::MissingFile {
            path: folder.join(SINGLE),
            expected: "the weights",
        });
    }
    Ok(files)
}

impl Shard {
    fn places(&self, shard: usize) -> Result<Vec<(String, Place)>> {
        let (header, metadata) = SafeTensors::read_metadata(&self.bytes)
            .map_err(|e| malformed(&self.path, describe(&e, &self.bytes)))?;
        // The header follows the 8 bytes of its own length.
        let data = 8 + header;
        let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let (start, end) = info.data_offsets;
            let shape = info.shape.clone();
            (
                name,
                Place {
                    shard,
                    dtype: info.dtype,
                    shape,
                    start: data + start,
                    end: data + end,
                },
            )
        };
        Ok(metadata.tensors().into_iter().map(place).collect())
    }
}

/// What is wrong with a safetensors file, with the sizes where the file is cut.
fn describe(error: &SafeTensorError, bytes: &[u8]) -> String {
    let got = bytes.len();
    match (error, announced_len(bytes)) {
        (SafeTensorError::MetadataIncompleteBuffer, Some(expected)) => {
            format!("it has {got} bytes, expected {expected}")
        }
        _ => format!("{error} (the file has {got} bytes)"),
    }
}

/// The length that a file's header claims for the file.
fn announced_len(bytes: &[u8]) -> Option<u64> {
    let header_len = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let end = usize::try_from(header_len.checked_add(8)?).ok()?;
    let header: serde_json::Value = serde_json::from_slice(bytes.get(8..end)?).ok()?;
    let ends = header
        .as_object()?
        .values()
        .filter_map(|info| info["data_offsets"][1].as_u64());
    ends.max().unwrap_or(0).checked_add(end as u64)
}

fn malformed(path: &Path, detail: String) -> Error {
    Error::Malformed {
        path: path.to_owned(),
        format: "safetensors",
        detail,
    }
}

impl TensorSource for FolderTensors {
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors.keys().cloned().collect();
        names.sort();
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|place| place.shape.clone())
    }

    fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let Some(place) = self.tensors.get(name) else {
            let path = &self.shards[0].path;
            return Err(malformed(path, format!("tensor {name} is missing")));
        };
        let shard = &self.shards[place.shard];
        let bytes = &shard.bytes[place.start..place.end];
        let pairs = bytes.as_chunks::<2>().0.iter();
        match place.dtype {
            Dtype::F32 => Ok(bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect()),
            Dtype::F16 => Ok(pairs.map(|b| f16::from_le_bytes(*b).to_f32()).collect()),
            Dtype::BF16 => Ok(pairs.map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
            other => {
                let detail = format!(
                    "tensor {name} has the number format {other}, expected F32, F16 or BF16"
                );
                Err(malformed(&shard.path, detail))
            }
        }
    }
}
