//! A folder as a copy of another, with one of its weights replaced.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};

use super::export::{Replaced, whole_folder, write_tensors};
use super::held::{Form, Held, held};
use super::tensors::malformed;
use crate::source::map::{io_error, map_file};
use crate::{Config, Result};

/// Weights in formats that this crate does not read.
const OTHER_WEIGHTS: &[&str] = &["bin", "pt", "pth", "h5", "msgpack", "ot", "onnx", "gguf"];

/// Copies every file of a folder but weights in other formats; the one with the replaced weight is written anew, with that
/// weight in f32 and all else as it was.
pub(super) fn copy_folder(
    source: &Path,
    config: &Config,
    replaced: Option<Replaced<'_>>,
    folder: &Path,
) -> Result<()> {
    whole_folder(folder, |whole| {
        for entry in std::fs::read_dir(source).map_err(io_error("list", source))? {
            let from = entry.map_err(io_error("list", source))?.path();
            let extension = from.extension().and_then(|e| e.to_str());
            if !from.is_file() || extension.is_some_and(|e| OTHER_WEIGHTS.contains(&e)) {
                continue;
            }
            let to = whole.join(from.file_name().unwrap_or_default());
            let is_rewritten = match replaced.filter(|_| extension == Some("safetensors")) {
                Some(replaced) => rewrite(&from, config, replaced, &to)?,
                None => false,
            };
            if !is_rewritten {
                std::fs::copy(&from, &to).map_err(io_error("copy", &from))?;
                let synced = File::open(&to).and_then(|file| file.sync_all());
                synced.map_err(io_error("write", &to))?;
            }
        }
        Ok(())
    })
}

/// Writes a file of weights with one of them replaced; does nothing if it is not in this file.
fn rewrite(from: &Path, config: &Config, replaced: Replaced<'_>, to: &Path) -> Result<bool> {
    let file = File::open(from).map_err(io_error("open", from))?;
    let bytes = map_file(&file).map_err(io_error("map", from))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| malformed(from, e.to_string()))?;
    let of_replaced = |name: &str, shape: &[usize]| {
        let held = held(config, name, shape).into_iter();
        held.rev().find(|held| held.name == replaced.name)
    };
    let mut found = false;
    let mut weights: Vec<(String, Weight<'_>)> = Vec::new();
    for (name, view) in tensors.iter() {
        let (mut dtype, mut data) = (view.dtype(), Cow::Borrowed(view.data()));
        if let Some(held) = of_replaced(name, view.shape()) {
            (dtype, data) = (Dtype::F32, Cow::Owned(as_held(replaced.values, &held)));
            found = true;
        }
        let shape = view.shape().to_vec();
        weights.push((name.to_owned(), Weight { dtype, shape, data }));
    }
    if found {
        write_tensors(weights, to).map_err(io_error("write", to))?;
    }
    Ok(found)
}

/// The bytes of a matrix as the folder has it.
fn as_held(values: &[f32], held: &Held) -> Vec<u8> {
    let values: Vec<f32> = match (&held.form, held.shape.as_slice()) {
        (Form::Columns { .. }, &[_, columns]) => (0..columns)
            .flat_map(|column| values.iter().skip(column).step_by(columns).copied())
            .collect(),
        _ => values.to_vec(),
    };
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

struct Weight<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Cow<'a, [u8]>,
}

impl View for Weight<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}
