//! A folder as a copy of another, with one of its weights replaced.

use std::fs::File;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

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
        let mut left = replaced;
        for entry in std::fs::read_dir(source).map_err(io_error("list", source))? {
            let from = entry.map_err(io_error("list", source))?.path();
            let extension = from.extension().and_then(|e| e.to_str());
            if !from.is_file() || extension.is_some_and(|e| OTHER_WEIGHTS.contains(&e)) {
                continue;
            }
            let to = whole.join(from.file_name().unwrap_or_default());
            if let Some(replaced) = left.filter(|_| extension == Some("safetensors"))
                && rewrite(&from, config, replaced, &to)?
            {
                left = None;
                continue;
            }
            std::fs::copy(&from, &to).map_err(io_error("copy", &from))?;
            let synced = File::open(&to).and_then(|file| file.sync_all());
            synced.map_err(io_error("write", &to))?;
        }
        match left {
            Some(replaced) => Err(replaced.refused(0)),
            None => Ok(()),
        }
    })
}

/// Writes a file of weights with one of them replaced; does nothing if it is not in this file.
fn rewrite(from: &Path, config: &Config, replaced: Replaced<'_>, to: &Path) -> Result<bool> {
    let file = File::open(from).map_err(io_error("open", from))?;
    let bytes = map_file(&file).map_err(io_error("map", from))?;
    let damaged = |e: safetensors::SafeTensorError| malformed(from, e.to_string());
    let mut tensors: Vec<(String, TensorView<'_>)> =
        SafeTensors::deserialize(&bytes).map_err(damaged)?.tensors();
    let of_replaced = |(index, (name, view)): (usize, &(String, TensorView<'_>))| {
        let mut held = held(config, name, view.shape()).into_iter();
        Some((index, held.find(|held| held.name == replaced.name)?))
    };
    let Some((index, held)) = tensors.iter().enumerate().find_map(of_replaced) else {
        return Ok(false);
    };
    let (name, view) = &tensors[index];
    let (name, shape) = (name.clone(), view.shape().to_vec());
    let values = as_held(replaced, &held, &shape)?;
    let view = TensorView::new(Dtype::F32, shape, &values).map_err(damaged)?;
    tensors[index] = (name, view);
    write_tensors(tensors, to).map_err(io_error("write", to))?;
    Ok(true)
}

/// The bytes of a matrix as the folder has it, in a tensor of this shape.
fn as_held(replaced: Replaced<'_>, held: &Held, shape: &[usize]) -> Result<Vec<u8>> {
    let values = replaced.values;
    let values: Vec<f32> = match (&held.form, shape) {
        (Form::Plain, _) => values.to_vec(),
        (Form::Columns { chosen, .. }, &[rows, columns]) if *chosen == (0..columns) => (0..rows)
            .flat_map(|row| values.iter().skip(row).step_by(rows).copied())
            .collect(),
        _ => return Err(replaced.refused(0)),
    };
    Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
}
