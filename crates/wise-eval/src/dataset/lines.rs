//! JSONL files: a JSON object a line, its values asked for by key.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use crate::{Error, Result};

/// Characters of a bad line that an error shows.
const EXCERPT: usize = 40;

/// What is wrong with a line; the reader adds where it is.
#[derive(Debug)]
pub(super) struct Fault {
    got: String,
    expected: String,
}

impl Fault {
    fn new(got: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            got: got.into(),
            expected: expected.into(),
        }
    }
}

/// Reads the first `limit` lines that are not blank, or all of them.
pub(super) fn read<T>(
    path: &Path,
    limit: Option<usize>,
    parse: impl Fn(&Fields) -> Result<T, Fault>,
) -> Result<Vec<T>> {
    if limit == Some(0) {
        return Err(Error::NoneAskedFor);
    }
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut items = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).split(b'\n')) {
        let line = line.map_err(Error::io("read", path))?;
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        let item = Fields::parse(line).and_then(|fields| parse(&fields));
        items.push(item.map_err(|fault| Error::Line {
            path: path.to_owned(),
            line: number,
            got: fault.got,
            expected: fault.expected,
        })?);
        if limit == Some(items.len()) {
            return Ok(items);
        }
    }
    match limit {
        _ if items.is_empty() => Err(Error::Empty(path.to_owned())),
        Some(expected) => Err(Error::TooFew {
            path: path.to_owned(),
            got: items.len(),
            expected,
        }),
        None => Ok(items),
    }
}

/// A JSON object.
pub(super) struct Fields {
    object: Map<String, Value>,
    /// Put in front of keys in errors: `locality.` inside that object.
    within: &'static str,
}

impl Fields {
    fn parse(line: &[u8]) -> Result<Self, Fault> {
        match serde_json::from_slice(line) {
            Ok(Value::Object(object)) => Ok(Self { object, within: "" }),
            Ok(other) => Err(Fault::new(kind(&other), "a JSON object")),
            Err(error) => {
                let text = String::from_utf8_lossy(line.trim_ascii());
                let excerpt: String = text.chars().take(EXCERPT).collect();
                let cut = if excerpt.len() < text.len() { ".." } else { "" };
                let column = error.column();
                let got = format!("{excerpt:?}{cut}, which is not JSON at column {column}");
                Err(Fault::new(got, "a JSON object"))
            }
        }
    }

    /// A text that must be there.
    pub(super) fn text(&self, key: &str) -> Result<String, Fault> {
        let name = self.name(key);
        match self.object.get(key) {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
            Some(Value::String(_)) => Err(Fault::new(format!("an empty {name}"), "a text")),
            Some(other) => Err(wrong_kind(&name, other, "a text")),
            None => Err(Fault::new(self.keys(), format!("the key {name}"))),
        }
    }

    /// A text that may be absent, null or blank.
    pub(super) fn optional(&self, key: &str) -> Result<Option<String>, Fault> {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(wrong_kind(&self.name(key), other, "a text or null")),
        }
    }

    /// A value of any kind.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key)
    }

    /// The object under `key`, which errors shall call by `within`.
    pub(super) fn object(&self, key: &str, within: &'static str) -> Result<Self, Fault> {
        match self.object.get(key) {
            Some(Value::Object(object)) => Ok(Self {
                object: object.clone(),
                within,
            }),
            Some(other) => Err(wrong_kind(&self.name(key), other, "a text or an object")),
            None => Err(Fault::new(
                self.keys(),
                format!("the key {}", self.name(key)),
            )),
        }
    }

    /// Refuses every other key.
    pub(super) fn only(&self, keys: &[&str]) -> Result<(), Fault> {
        let unknown = self.object.keys().find(|key| !keys.contains(&key.as_str()));
        unknown.map_or(Ok(()), |key| {
            let got = format!("the unknown key {}", self.name(key));
            Err(Fault::new(got, format!("only {}", keys.join(", "))))
        })
    }

    fn name(&self, key: &str) -> String {
        format!("{:?}", format!("{}{key}", self.within))
    }

    fn keys(&self) -> String {
        if self.object.is_empty() {
            return "an empty object".to_owned();
        }
        let keys: Vec<&str> = self.object.keys().map(String::as_str).collect();
        format!("the keys {}", keys.join(", "))
    }
}

fn wrong_kind(name: &str, value: &Value, expected: &str) -> Fault {
    Fault::new(format!("{} as {name}", kind(value)), expected)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
