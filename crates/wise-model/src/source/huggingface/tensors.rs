//! The tensors of one or several mapped safetensors files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use wise_tensor::Precision;

use super::super::map::{file_name, hex, io_error, map_file, sha256};
use super::super::report::index_by_name;
use super::super::{Report, TensorSource};
use super::held::{Form, Held, held};
use super::{optional, parse};
use crate::{Config, Error, Result};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// One file.
struct Shard {
    path: PathBuf,
    file: File,
}

/// Where a tensor lies.
struct Place {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    form: Form,
    start: usize,
    end: usize,
}

impl Place {
    fn of(&self, held: Held) -> (String, Self) {
        let place = Self {
            shape: held.shape,
            form: held.form,
            ..*self
        };
        (held.name, place)
    }
}

/// The tensors of a folder. One file is mapped at a time: what has been read of a mapped file counts as memory of the
/// process.
pub(super) struct FolderTensors {
    folder: PathBuf,
    shards: Vec<Shard>,
    mapped: Option<(usize, Bytes)>,
    tensors: HashMap<String, Place>,
}

impl FolderTensors {
    pub(super) fn open(folder: &Path, config: &Config) -> Result<Self> {
        let mut shards = Vec::new();
        let mut places = Vec::new();
        for (path, promised) in files(folder)? {
            let shard = Shard::open(path)?;
            let stored = places_of(&shard.path, &shard.map()?, shards.len())?;
            let names: BTreeSet<&str> = stored.iter().map(|(name, _)| name.as_str()).collect();
            if let Some(absent) = promised.iter().find(|name| !names.contains(name.as_str())) {
                let detail = format!("it lacks tensor {absent}, which {INDEX} promises");
                return Err(malformed(&shard.path, detail));
            }
            for (name, place) in &stored {
                let held = held(config, name, &place.shape).into_iter();
                places.extend(held.map(|held| place.of(held)));
            }
            shards.push(shard);
        }
        let tensors = index_by_name(places).map_err(|detail| malformed(folder, detail))?;
        Ok(Self {
            folder: folder.to_owned(),
            shards,
            mapped: None,
            tensors,
        })
    }

    fn map(&mut self, shard: usize) -> Result<Bytes> {
        if let Some((_, bytes)) = self.mapped.as_ref().filter(|(mapped, _)| *mapped == shard) {
            return Ok(bytes.clone());
        }
        self.mapped = None;
        let bytes = Bytes::from_owner(self.shards[shard].map()?);
        self.mapped = Some((shard, bytes.clone()));
        Ok(bytes)
    }

    /// A tensor's bytes, and where they are.
    fn bytes(&mut self, name: &str) -> Result<(Bytes, Dtype, usize)> {
        let Some(place) = self.tensors.get(name) else {
            let detail = format!("tensor {name} is missing");
            return Err(malformed(&self.shards[0].path, detail));
        };
        let (shard, dtype, range) = (place.shard, place.dtype, place.start..place.end);
        let bytes = self.map(shard)?;
        if bytes.len() < range.end {
            let detail = format!("it has {} bytes, expected {}", bytes.len(), range.end);
            return Err(malformed(&self.shards[shard].path, detail));
        }
        Ok((bytes.slice(range), dtype, shard))
    }

    /// SHA-256 of the only file, or of the files' SHA-256 texts in order of name.
    pub(super) fn sha256(&self, progress: Report<'_>) -> Result<String> {
        let mut sum = |shard: &Shard| Ok(sha256(&file_name(&shard.path), &shard.map()?, progress));
        let mut sums: Vec<String> = self.shards.iter().map(&mut sum).collect::<Result<_>>()?;
        Ok(if sums.len() == 1 {
            sums.remove(0)
        } else {
            hex(&Sha256::digest(sums.concat()))
        })
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
    fn open(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).map_err(io_error("open", &path))?;
        Ok(Self { path, file })
    }

    fn map(&self) -> Result<Mmap> {
        map_file(&self.file).map_err(io_error("map", &self.path))
    }
}

/// Where the tensors of a file are.
fn places_of(path: &Path, bytes: &[u8], shard: usize) -> Result<Vec<(String, Place)>> {
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|e| malformed(path, describe(&e, bytes)))?;
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
                form: Form::Plain,
                start: data + start,
                end: data + end,
            },
        )
    };
    Ok(metadata.tensors().into_iter().map(place).collect())
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

pub(super) fn malformed(path: &Path, detail: String) -> Error {
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
        let (bytes, dtype, shard) = self.bytes(name)?;
        let pairs = bytes.as_chunks::<2>().0.iter();
        let values: Vec<f32> = match dtype {
            Dtype::F32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::F16 => pairs.map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => pairs.map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            other => {
                let detail = format!(
                    "tensor {name} has the number format {other}, expected F32, F16 or BF16"
                );
                return Err(malformed(&self.shards[shard].path, detail));
            }
        };
        let place = &self.tensors[name];
        Ok(place.form.undo(values, &place.shape))
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.folder)
    }

    fn stored(&mut self, name: &str) -> Result<Option<(Precision, Bytes)>> {
        let is_plain = |place: &Place| matches!(place.form, Form::Plain);
        if !self.tensors.get(name).is_some_and(is_plain) {
            return Ok(None);
        }
        let (bytes, dtype, _) = self.bytes(name)?;
        let precision = match dtype {
            Dtype::F32 => Precision::F32,
            Dtype::BF16 => Precision::Bf16,
            Dtype::F16 => Precision::F16,
            _ => return Ok(None),
        };
        Ok(Some((precision, bytes)))
    }
}
