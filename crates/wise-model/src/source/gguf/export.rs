//! A model as a GGUF file: a copy of one, or made of a Hugging Face folder.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};
use wise_tensor::Precision;

use super::config::config;
use super::dequant::Format;
use super::described::described;
use super::encode::{VERSION, entry};
use super::names::{hugging_face, llama_cpp, rotary_heads, turns_neighbours};
use super::reader::{Header, MAGIC, TensorInfo};
use super::rope::divisors;
use super::{ROPE_FREQS, is_gguf, malformed};
use crate::atomic::replace_with;
use crate::source::huggingface::{self, Replaced};
use crate::source::map::{io_error, map};
use crate::source::rotary::interleaved;
use crate::source::{ModelFiles, locate};
use crate::{Error, Progress, Result};

/// Writes the model that `name` stands for as a GGUF file, of whose tensors one may be `replaced`, and is then in f32.
/// Nothing is under `out` until all of it is there.
///
/// Of a GGUF file the metadata and the other tensors are the original's byte for byte. Of a folder every matrix is written
/// in the format that it has there, and the metadata are read again before anything is written: they have to say the same.
///
/// # Errors
/// [`Error::Replaced`] if the replaced weight is none of the model's, has another size or is one of a GGUF file whose rows
/// are ordered in their own way; [`Error::UnsupportedConfig`] or [`Error::Tokenizer`] if a folder holds a model that a
/// GGUF file cannot be made of; or [`Error::Io`].
pub fn write_gguf(
    name: &str,
    replaced: Option<Replaced<'_>>,
    out: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let path = locate(name, progress)?;
    if path.is_dir() {
        return make(
            huggingface::open_unhashed(name, &path)?,
            replaced,
            out,
            progress,
        );
    }
    if !is_gguf(&path)? {
        return Err(Error::UnknownModel {
            got: name.to_owned(),
        });
    }
    copy(&path, replaced, out)
}

fn copy(path: &Path, replaced: Option<Replaced<'_>>, out: &Path) -> Result<()> {
    let bytes = map(path)?;
    let header = Header::parse(&bytes).map_err(|detail| malformed(path, detail))?;
    let family = config(&header)?.family;
    let is_replaced = |tensor: &TensorInfo| {
        replaced.filter(|replaced| hugging_face(&tensor.name, family) == replaced.name)
    };
    if let Some(replaced) = replaced {
        let own = header.tensors.iter().find(|t| is_replaced(t).is_some());
        let plain = own.filter(|_| rotary_heads(replaced.name, 1, 1).is_none());
        replaced.check(plain.map(|tensor| tensor.shape.as_slice()))?;
    }
    let mut tensors = header.tensors.clone();
    for tensor in &mut tensors {
        if let Some(replaced) = is_replaced(tensor) {
            (tensor.format, tensor.len) = (Format::F32, size_of_val(replaced.values));
        }
    }
    let metadata = &bytes[..header.tensors_at];
    write(metadata, &tensors, header.alignment, out, |index| {
        let tensor = &header.tensors[index];
        Ok(match is_replaced(tensor) {
            Some(replaced) => Cow::Owned(bytes_of(replaced.values, Precision::F32)),
            None => Cow::Borrowed(&bytes[tensor.start..][..tensor.len]),
        })
    })
}

fn make(
    mut files: ModelFiles,
    replaced: Option<Replaced<'_>>,
    out: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let config = files.config.clone();
    let names = huggingface::checked_tensors(&files, replaced)?;
    let is_replaced = |name: &str| replaced.filter(|replaced| replaced.name == name);
    let (mut tensors, mut precisions) = (Vec::new(), Vec::new());
    for (name, shape) in &names {
        let precision = match is_replaced(name) {
            None if shape.len() > 1 => stored_precision(&mut files, name)?,
            // llama.cpp has norms and biases in f32.
            _ => Precision::F32,
        };
        let name = llama_cpp(name, config.family);
        tensors.push(TensorInfo::new(name, shape, precision.into()));
        precisions.push(precision);
    }
    let divisors = divisors(&config);
    if !divisors.is_empty() {
        tensors.push(TensorInfo::new(
            ROPE_FREQS.to_owned(),
            &[divisors.len()],
            Format::F32,
        ));
    }
    let (metadata, header) = described(&files, tensors)?;
    let mut head = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    head.extend((header.tensors.len() as u64).to_le_bytes());
    head.extend(metadata);
    write(&head, &header.tensors, header.alignment, out, |index| {
        let Some((name, _)) = names.get(index) else {
            return Ok(Cow::Owned(bytes_of(&divisors, Precision::F32)));
        };
        progress(Progress::Loading {
            tensor: name,
            done: index,
            total: names.len(),
        });
        let values = match is_replaced(name) {
            Some(replaced) => replaced.values.to_vec(),
            None => files.tensors.read(name)?,
        };
        let heads = rotary_heads(name, config.heads, config.kv_heads);
        let values = match heads.filter(|_| turns_neighbours(config.family)) {
            Some(heads) => interleaved(&values, heads, heads * config.head_dim, config.head_dim),
            None => values,
        };
        Ok(Cow::Owned(bytes_of(&values, precisions[index])))
    })
}

/// What a folder has a matrix in.
fn stored_precision(files: &mut ModelFiles, name: &str) -> Result<Precision> {
    let stored = files.tensors.stored(name)?;
    Ok(stored.map_or(Precision::F32, |(precision, _)| precision))
}

fn bytes_of(values: &[f32], precision: Precision) -> Vec<u8> {
    let values = values.iter();
    match precision {
        Precision::F32 => values.flat_map(|v| v.to_le_bytes()).collect(),
        Precision::Bf16 => values
            .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
            .collect(),
        Precision::F16 => values
            .flat_map(|v| f16::from_f32(*v).to_le_bytes())
            .collect(),
    }
}

/// Writes a file of a head, the entries of tensors, and what `data` says that each of them holds.
fn write<'a>(
    head: &[u8],
    tensors: &[TensorInfo],
    alignment: usize,
    out: &Path,
    mut data: impl FnMut(usize) -> Result<Cow<'a, [u8]>>,
) -> Result<()> {
    let mut entries = Vec::new();
    let mut offset = 0;
    for tensor in tensors {
        entries.extend(entry(tensor, offset));
        offset += tensor.len.next_multiple_of(alignment);
    }
    // The closure can only say what the system said.
    let mut failed = None;
    let written = replace_with(out, |file| {
        let mut writer = BufWriter::new(file);
        writer.write_all(head)?;
        writer.write_all(&entries)?;
        pad(&mut writer, head.len() + entries.len(), alignment)?;
        for index in 0..tensors.len() {
            let bytes = data(index).map_err(|error| {
                failed = Some(error);
                io::Error::other("a tensor could not be read")
            })?;
            writer.write_all(&bytes)?;
            pad(&mut writer, bytes.len(), alignment)?;
        }
        writer.flush()
    });
    match failed {
        Some(error) => Err(error),
        None => written.map_err(io_error("write", out)),
    }
}

/// Fills up with zeros behind what is `written`.
fn pad(writer: &mut impl Write, written: usize, alignment: usize) -> io::Result<()> {
    let zeros = written.next_multiple_of(alignment) - written;
    io::copy(&mut io::Read::take(io::repeat(0), zeros as u64), writer).map(drop)
}
