//! The files of a run.
//!
//! ```text
//! run.json        what the run is about
//! baseline.jsonl  a line per record: the unedited model
//! edits.jsonl     a line per edit, as they were made
//! state/*.safetensors   the editor, a file per part
//! scores.jsonl    a line per record: the model after the last edit
//! metrics.json    the report; only a finished run has it
//! lock            held by the process that writes the run
//! ```
//!
//! A line that was cut off by a crash is dropped. An edit counts as made once the editor's state holds it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wise_edit::StatePart;
use wise_model::{lock_file, replace_file};

use super::editing::MadeEdit;
use super::{Baseline, Identity, RunFolder};
use crate::metrics::{METRICS_FILE, Measured, RUN_FILE};
use crate::{Error, Record, Result};

const BASELINE: &str = "baseline.jsonl";
const EDITS: &str = "edits.jsonl";
const SCORES: &str = "scores.jsonl";
const STATE: &str = "state";
const HEADER: &str = "state";
const LOCK: &str = "lock";

/// The folder of a run.
pub(super) struct Folder {
    path: PathBuf,
    /// Baselines of another run over the same model.
    other: Vec<Baseline>,
    files: HashMap<&'static str, File>,
    _lock: File,
}

impl Folder {
    /// Begins a run, or goes on with it.
    pub(super) fn open(run: RunFolder<'_>, identity: &Identity) -> Result<Self> {
        let path = run.path.to_owned();
        let run_file = path.join(RUN_FILE);
        let other = match run.baseline {
            Some(other) => baselines_of(other, identity)?,
            None => Vec::new(),
        };
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        let lock = lock(&path)?;
        let known: Option<Identity> = read_json(&run_file)?;
        match known {
            Some(_) if !run.resume => return Err(Error::RunExists(path)),
            Some(known) => {
                if let Some(detail) = difference(&known, identity)? {
                    return Err(Error::OtherRun { path, detail });
                }
            }
            None if path.join(METRICS_FILE).exists() => return Err(Error::RunExists(path)),
            None => {
                let state = path.join(STATE);
                fs::create_dir_all(&state).map_err(Error::io("create", &state))?;
                let bytes = serde_json::to_vec_pretty(identity)?;
                replace_file(&run_file, &bytes).map_err(Error::io("write", &run_file))?;
            }
        }
        Ok(Self {
            path,
            other,
            files: HashMap::new(),
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is known of the unedited model, by the record's index.
    pub(super) fn baselines(&mut self, records: &[Record]) -> Result<BTreeMap<usize, Baseline>> {
        let key = |record: &Record| serde_json::to_string(record).unwrap_or_default();
        let own: Vec<Baseline> = self.lines(BASELINE)?;
        let mut own: HashMap<String, Baseline> =
            own.into_iter().map(|b| (key(&b.record), b)).collect();
        let other = std::mem::take(&mut self.other).into_iter();
        let other: HashMap<String, Baseline> = other.map(|b| (key(&b.record), b)).collect();
        let mut known = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            let key = key(record);
            if let Some(taken) = other.get(&key)
                && !own.contains_key(&key)
            {
                // Kept here too: the other run may be gone when this one goes on.
                self.keep_baseline(taken)?;
                own.insert(key.clone(), taken.clone());
            }
            if let Some(baseline) = own.get(&key) {
                known.insert(index, baseline.clone());
            }
        }
        Ok(known)
    }

    pub(super) fn keep_baseline(&mut self, baseline: &Baseline) -> Result<()> {
        self.append(BASELINE, baseline)
    }

    /// The edits reported so far. One that the editor's state does not hold is made again, and its later line
    /// counts.
    pub(super) fn made(&mut self) -> Result<BTreeMap<usize, MadeEdit>> {
        let lines: Vec<MadeEdit> = self.lines(EDITS)?;
        Ok(lines.into_iter().map(|edit| (edit.id, edit)).collect())
    }

    /// The editor's state holds edits that were never reported.
    pub(super) fn lacks_edits(&self, got: usize, expected: usize) -> Error {
        Error::Damaged {
            path: self.path.join(EDITS),
            detail: format!("it has {got} edits, expected {expected}"),
        }
    }

    pub(super) fn keep_edit(&mut self, edit: &MadeEdit) -> Result<()> {
        self.append(EDITS, edit)
    }

    pub(super) fn scores(&mut self) -> Result<Vec<Measured>> {
        self.lines(SCORES)
    }

    pub(super) fn keep_scores(&mut self, scores: &Measured) -> Result<()> {
        self.append(SCORES, scores)
    }

    /// The editor's state.
    pub(super) fn parts(&self) -> Result<Vec<StatePart>> {
        let folder = self.path.join(STATE);
        let entries = fs::read_dir(&folder).map_err(Error::io("read", &folder))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io("read", &folder))?.path();
            if path.extension().is_some_and(|e| e == "safetensors") {
                paths.push(path);
            }
        }
        paths.sort();
        paths.iter().map(|path| read_part(path)).collect()
    }

    pub(super) fn keep_part(&self, part: &StatePart) -> Result<()> {
        let path = self
            .path
            .join(STATE)
            .join(format!("{}.safetensors", part.name));
        let damaged = |error: safetensors::SafeTensorError| damaged(&path, &error);
        let raw: Vec<(&String, &Vec<usize>, Vec<u8>)> = part
            .tensors
            .iter()
            .map(|(name, (shape, values))| {
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name, shape, bytes)
            })
            .collect();
        let views = raw
            .iter()
            .map(|(name, shape, bytes)| {
                let view = TensorView::new(Dtype::F32, (*shape).clone(), bytes);
                Ok((name.as_str(), view.map_err(damaged)?))
            })
            .collect::<Result<Vec<_>>>()?;
        let header = HashMap::from([(HEADER.to_owned(), part.header.clone())]);
        let bytes = safetensors::serialize(views, Some(header)).map_err(damaged)?;
        replace_file(&path, &bytes).map_err(Error::io("write", &path))
    }

    /// The whole lines of a file; a last one that was cut off is removed from it.
    fn lines<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Vec<T>> {
        let path = self.path.join(name);
        let (text, whole) = whole_lines(&path)?;
        if whole < text.len() {
            replace_file(&path, &text[..whole]).map_err(Error::io("write", &path))?;
        }
        parse_lines(&path, &text[..whole])
    }

    fn append(&mut self, name: &'static str, item: &impl Serialize) -> Result<()> {
        let path = self.path.join(name);
        let mut line = serde_json::to_vec(item)?;
        line.push(b'\n');
        if !self.files.contains_key(name) {
            let file = OpenOptions::new().append(true).create(true).open(&path);
            self.files
                .insert(name, file.map_err(Error::io("open", &path))?);
        }
        if let Some(file) = self.files.get_mut(name) {
            file.write_all(&line)
                .and_then(|()| file.sync_data())
                .map_err(Error::io("write", &path))?;
        }
        Ok(())
    }
}

/// # Errors
/// [`Error::RunBusy`] if another process holds it.
fn lock(run: &Path) -> Result<File> {
    let path = run.join(LOCK);
    let file = lock_file(&path).map_err(Error::io("lock", &path))?;
    file.ok_or_else(|| Error::RunBusy(run.to_owned()))
}

/// A file's text, none if there is no file, and how much of it are whole lines.
fn whole_lines(path: &Path) -> Result<(Vec<u8>, usize)> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let last = text.iter().rposition(|&b| b == b'\n');
    let whole = last.map_or(0, |end| end + 1);
    Ok((text, whole))
}

fn parse_lines<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<Vec<T>> {
    let lines = (1..).zip(text.split(|&b| b == b'\n'));
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            serde_json::from_slice(line).map_err(|error| Error::Damaged {
                path: path.to_owned(),
                detail: format!("line {number}: {error}"),
            })
        })
        .collect()
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let parsed = serde_json::from_slice(&bytes).map_err(|error| Error::Damaged {
        path: path.to_owned(),
        detail: error.to_string(),
    })?;
    Ok(Some(parsed))
}

/// Baselines of another run; none where it asked another model or in another way.
fn baselines_of(other: &Path, identity: &Identity) -> Result<Vec<Baseline>> {
    let run: Identity =
        read_json(&other.join(RUN_FILE))?.ok_or_else(|| Error::NoRun(other.to_owned()))?;
    let format = |identity: &Identity| identity.config.get("prompt_format").cloned();
    let same = run.model.sha256 == identity.model.sha256
        && run.model.precision == identity.model.precision
        && run.plan.protocols == identity.plan.protocols
        && format(&run) == format(identity);
    if !same {
        return Err(Error::OtherBaseline(other.to_owned()));
    }
    // As it is: the run may be going on.
    let path = other.join(BASELINE);
    let (text, whole) = whole_lines(&path)?;
    parse_lines(&path, &text[..whole])
}

/// The first thing in which two runs differ, the most telling first.
fn difference(known: &Identity, asked: &Identity) -> Result<Option<String>> {
    if known.editor != asked.editor {
        let (known, asked) = (&known.editor, &asked.editor);
        return Ok(Some(format!("its editor is {known}, asked for {asked}")));
    }
    if known.edits != asked.edits {
        let (known, asked) = (known.edits, asked.edits);
        return Ok(Some(format!("it has {known} edits, asked for {asked}")));
    }
    let (known, asked) = (serde_json::to_value(known)?, serde_json::to_value(asked)?);
    Ok(differing("", &known, &asked))
}

fn differing(key: &str, known: &serde_json::Value, asked: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match (known, asked) {
        (Value::Object(known), Value::Object(asked)) => {
            let keys: BTreeSet<&String> = known.keys().chain(asked.keys()).collect();
            keys.into_iter().find_map(|inner| {
                let name = if key.is_empty() {
                    inner.clone()
                } else {
                    format!("{key}.{inner}")
                };
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(inner).cloned().unwrap_or(Value::Null)
                };
                differing(&name, &of(known), &of(asked))
            })
        }
        _ if known == asked => None,
        _ => Some(format!("its {key} is {known}, asked for {asked}")),
    }
}

fn read_part(path: &Path) -> Result<StatePart> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let damage = |error: safetensors::SafeTensorError| damaged(path, &error);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(damage)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(damage)?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(HEADER));
    let header = header.cloned().ok_or_else(|| Error::Damaged {
        path: path.to_owned(),
        detail: format!("it has no {HEADER:?} in its metadata"),
    })?;
    let values = |view: &TensorView<'_>| -> Vec<f32> {
        let values = view.data().chunks_exact(4);
        values
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    };
    let name = path.file_stem().unwrap_or_default();
    Ok(StatePart {
        name: name.to_string_lossy().into_owned(),
        header,
        tensors: tensors
            .iter()
            .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(&view))))
            .collect(),
    })
}

fn damaged(path: &Path, error: &safetensors::SafeTensorError) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        detail: error.to_string(),
    }
}
