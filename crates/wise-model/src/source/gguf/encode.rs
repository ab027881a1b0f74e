//! Metadata and the entries of tensors, as the [reader](super::reader) reads them.

use std::collections::HashMap;

use super::reader::{TensorInfo, Value, kind};

/// The version of the format that is written.
pub(super) const VERSION: u32 = 3;

/// The number of entries and the entries, in the order of their keys. Whole numbers are of 32 bits: no model's setting is
/// larger.
pub(super) fn encoded(metadata: &HashMap<String, Value>) -> Vec<u8> {
    let mut entries: Vec<(&String, u32, Vec<u8>)> = metadata
        .iter()
        .filter_map(|(key, value)| {
            let (kind, bytes) = value_bytes(value)?;
            Some((key, kind, bytes))
        })
        .collect();
    entries.sort_unstable();
    let mut bytes = (entries.len() as u64).to_le_bytes().to_vec();
    for (key, kind, value) in entries {
        bytes.extend(text(key));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
    }
    bytes
}

/// Kind and bytes; none of a value that the reader passes over.
fn value_bytes(value: &Value) -> Option<(u32, Vec<u8>)> {
    let list = |of: u32, len: usize, items: Vec<u8>| {
        let head = [&of.to_le_bytes()[..], &(len as u64).to_le_bytes()].concat();
        (kind::LIST, [head, items].concat())
    };
    Some(match value {
        Value::Integer(n) => (kind::U32, (*n as u32).to_le_bytes().to_vec()),
        Value::Float(n) => (kind::F32, (*n as f32).to_le_bytes().to_vec()),
        Value::Bool(flag) => (kind::BOOL, vec![u8::from(*flag)]),
        Value::Text(value) => (kind::TEXT, text(value)),
        Value::Integers(items) => {
            let bytes = items.iter().flat_map(|n| (*n as i32).to_le_bytes());
            list(kind::I32, items.len(), bytes.collect())
        }
        Value::Floats(items) => {
            let bytes = items.iter().flat_map(|n| n.to_le_bytes());
            list(kind::F32, items.len(), bytes.collect())
        }
        Value::Texts(items) => {
            let bytes = items.iter().flat_map(|item| text(item));
            list(kind::TEXT, items.len(), bytes.collect())
        }
        Value::Other => return None,
    })
}

/// A text behind its length.
pub(super) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// What the header says about a tensor that begins `offset` bytes behind the header.
pub(super) fn entry(tensor: &TensorInfo, offset: usize) -> Vec<u8> {
    let mut entry = text(&tensor.name);
    entry.extend((tensor.shape.len() as u32).to_le_bytes());
    for &size in tensor.shape.iter().rev() {
        entry.extend((size as u64).to_le_bytes());
    }
    entry.extend(tensor.format.ggml().to_le_bytes());
    entry.extend((offset as u64).to_le_bytes());
    entry
}
