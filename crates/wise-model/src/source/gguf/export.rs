//! A GGUF file made from another.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::config::config;
use super::dequant::Format;
use super::names::hugging_face;
use super::reader::{Header, TensorInfo};
use super::{is_gguf, malformed};
use crate::atomic::replace_with;
use crate::source::huggingface::Replaced;
use crate::source::locate;
use crate::source::map::{io_error, map};
use crate::{Error, Family, Progress, Result};

/// Writes a copy of the GGUF file that `name` stands for, whose metadata and tensors are the original's byte for byte;
/// of the tensors one may be `replaced`, and is then in f32. Nothing is under `out` until all of it is there.
///
/// # Errors
/// [`Error::NotGguf`] if `name` stands for something else, [`Error::Replaced`] if the replaced weight is none of the
/// model's, has another size or is one whose rows GGUF orders in its own way, or [`Error::Io`].
pub fn write_gguf(
    name: &str,
    replaced: Option<Replaced<'_>>,
    out: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let path = locate(name, progress)?;
    if path.is_dir() || !is_gguf(&path)? {
        return Err(Error::NotGguf(name.to_owned()));
    }
    let bytes = map(&path)?;
    let header = Header::parse(&bytes).map_err(|detail| malformed(&path, detail))?;
    let family = config(&header)?.family;
    if let Some(replaced) = replaced {
        let own = |tensor: &&TensorInfo| hugging_face(&tensor.name, family) == replaced.name;
        let own = header.tensors.iter().find(own);
        let plain = own.filter(|_| super::rotary_heads(replaced.name, 1, 1).is_none());
        replaced.check(plain.map(|tensor| tensor.shape.as_slice()))?;
    }
    let replaced = replaced.map(|replaced| (replaced, family));
    write(&bytes, &header, replaced, out).map_err(io_error("write", out))
}

fn write(
    bytes: &[u8],
    header: &Header,
    replaced: Option<(Replaced<'_>, Family)>,
    out: &Path,
) -> io::Result<()> {
    let values = |tensor: &TensorInfo| {
        replaced
            .filter(|(replaced, family)| hugging_face(&tensor.name, *family) == replaced.name)
            .map(|(replaced, _)| replaced.values)
    };
    let mut entries = Vec::new();
    let mut offset = 0;
    for tensor in &header.tensors {
        let (format, len) = match values(tensor) {
            Some(values) => (Format::F32, size_of_val(values)),
            None => (tensor.format, tensor.len),
        };
        entries.extend(entry(tensor, format, offset));
        offset += len.next_multiple_of(header.alignment);
    }

    replace_with(out, |file| {
        let mut writer = BufWriter::new(file);
        writer.write_all(&bytes[..header.tensors_at])?;
        writer.write_all(&entries)?;
        pad(&mut writer, header.tensors_at + entries.len(), header)?;
        for tensor in &header.tensors {
            let len = if let Some(values) = values(tensor) {
                for value in values {
                    writer.write_all(&value.to_le_bytes())?;
                }
                size_of_val(values)
            } else {
                writer.write_all(&bytes[tensor.start..][..tensor.len])?;
                tensor.len
            };
            pad(&mut writer, len, header)?;
        }
        writer.flush()
    })
}

/// What the header says about a tensor.
fn entry(tensor: &TensorInfo, format: Format, offset: usize) -> Vec<u8> {
    let mut entry = (tensor.name.len() as u64).to_le_bytes().to_vec();
    entry.extend(tensor.name.as_bytes());
    entry.extend((tensor.shape.len() as u32).to_le_bytes());
    for &size in tensor.shape.iter().rev() {
        entry.extend((size as u64).to_le_bytes());
    }
    entry.extend(format.ggml().to_le_bytes());
    entry.extend((offset as u64).to_le_bytes());
    entry
}

/// Fills up with zeros behind what is `written`.
fn pad(writer: &mut impl Write, written: usize, header: &Header) -> io::Result<()> {
    let zeros = written.next_multiple_of(header.alignment) - written;
    io::copy(&mut io::Read::take(io::repeat(0), zeros as u64), writer).map(drop)
}
