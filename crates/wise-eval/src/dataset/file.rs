//! Files of JSON objects, one a line or all in one array.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fields::{self, Fault, Fields};
use crate::{Error, Result};

/// The sha256 of a file, as lower-case hexadecimal digits.
///
/// # Errors
/// [`Error::Io`].
pub fn sha256(path: &Path) -> Result<String> {
    Ok(format!("{:x}", Sha256::digest(bytes(path)?)))
}

/// Reads the first `limit` objects, or all of them.
pub(super) fn read<T>(
    path: &Path,
    limit: Option<usize>,
    parse: impl Fn(&Fields) -> Result<T, Fault>,
) -> Result<Vec<T>> {
    if limit == Some(0) {
        return Err(Error::NoneAskedFor);
    }
    let bytes = bytes(path)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let most = limit.unwrap_or(usize::MAX);
    let items = if text.trim_ascii_start().starts_with(b"[") {
        array(text, most, parse).map_err(|(record, fault)| Error::Record {
            path: path.to_owned(),
            record,
            got: fault.got,
            expected: fault.expected,
        })?
    } else {
        lines(text, most, parse).map_err(|(line, fault)| Error::Line {
            path: path.to_owned(),
            line,
            got: fault.got,
            expected: fault.expected,
        })?
    };
    match limit {
        _ if items.is_empty() => Err(Error::Empty(path.to_owned())),
        Some(expected) if items.len() < expected => Err(Error::TooFew {
            path: path.to_owned(),
            got: items.len(),
            expected,
        }),
        _ => Ok(items),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

/// A fault comes with the number of its line.
fn lines<T>(
    text: &[u8],
    most: usize,
    parse: impl Fn(&Fields) -> Result<T, Fault>,
) -> Result<Vec<T>, (usize, Fault)> {
    let one = |line: &[u8]| parse(&Fields::of(&fields::json(line)?)?);
    (1..)
        .zip(text.split(|byte| *byte == b'\n'))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .take(most)
        .map(|(number, line)| one(line).map_err(|fault| (number, fault)))
        .collect()
}

/// A fault comes with the number of its record.
fn array<T>(
    text: &[u8],
    most: usize,
    parse: impl Fn(&Fields) -> Result<T, Fault>,
) -> Result<Vec<T>, (usize, Fault)> {
    let mut items = Vec::new();
    let mut fault = None;
    let each = |value: Value| {
        match Fields::of(&value).and_then(|fields| parse(&fields)) {
            Ok(item) => items.push(item),
            Err(found) => fault = Some(found),
        }
        fault.is_none() && items.len() < most
    };
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = json
        .deserialize_seq(Elements(each))
        .and_then(|()| json.end());
    // To stop early is an error to serde_json too.
    let unread = read.err().filter(|_| items.len() < most);
    let unread = unread.map(|error| {
        Fault::new(
            format!("text that is not JSON ({error})"),
            "an array of JSON objects",
        )
    });
    match fault.or(unread) {
        Some(fault) => Err((items.len() + 1, fault)),
        None => Ok(items),
    }
}

/// Hands over the elements of an array one by one, as long as the function asks for more: whole training sets
/// are large, and a fault shall have its number.
struct Elements<F>(F);

impl<'de, F: FnMut(Value) -> bool> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            if !(self.0)(element) {
                break;
            }
        }
        Ok(())
    }
}
