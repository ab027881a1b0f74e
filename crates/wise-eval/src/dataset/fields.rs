//! JSON objects, their values asked for by key.

use serde_json::{Map, Value};

use super::Probe;

/// Characters of a bad line that an error shows.
const EXCERPT: usize = 40;

/// What is wrong with a record; the reader adds where it is.
#[derive(Debug)]
pub(super) struct Fault {
    pub got: String,
    pub expected: String,
}

impl Fault {
    pub fn new(got: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            got: got.into(),
            expected: expected.into(),
        }
    }
}

/// The value that a line holds.
pub(super) fn json(line: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(line).map_err(|error| {
        let text = String::from_utf8_lossy(line.trim_ascii());
        let excerpt: String = text.chars().take(EXCERPT).collect();
        let cut = if excerpt.len() < text.len() { ".." } else { "" };
        let column = error.column();
        let got = format!("{excerpt:?}{cut}, which is not JSON at column {column}");
        Fault::new(got, "a JSON object")
    })
}

/// A JSON object.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// Put in front of keys in errors: `locality.` inside that object.
    within: String,
}

impl<'a> Fields<'a> {
    /// Those of a whole record.
    pub fn of(record: &'a Value) -> Result<Self, Fault> {
        let object = record.as_object();
        let object = object.ok_or_else(|| Fault::new(kind(record), "a JSON object"))?;
        Ok(Self {
            object,
            within: String::new(),
        })
    }

    /// A text that must be there.
    pub fn text(&self, key: &str) -> Result<String, Fault> {
        let missing = || Fault::new(self.keys(), format!("the key {:?}", self.name(key)));
        self.node(key).ok_or_else(missing)?.text("a text")
    }

    /// A text that may be absent, null or blank.
    pub fn optional(&self, key: &str) -> Result<Option<String>, Fault> {
        let node = self.given(key);
        node.map(|node| node.text("a text or null")).transpose()
    }

    /// The unrelated prompt, if there is one, and its answer: most benchmarks have one in two keys.
    pub fn locality(&self, prompt: &str, answer: &str) -> Result<Vec<Probe>, Fault> {
        let Some(prompt) = self.optional(prompt)? else {
            return Ok(Vec::new());
        };
        let answer = self.optional(answer)?;
        Ok(vec![Probe {
            prompt,
            answer,
            group: None,
        }])
    }

    /// A value that is neither absent nor null nor a blank text.
    pub fn given(&self, key: &str) -> Option<Node<'a>> {
        let node = self.node(key)?;
        (!node.value.is_null() && !node.is_blank()).then_some(node)
    }

    /// A value of any kind.
    pub fn node(&self, key: &str) -> Option<Node<'a>> {
        let value = self.object.get(key)?;
        Some(Node {
            value,
            name: self.name(key),
        })
    }

    /// Refuses every other key.
    pub fn only(&self, keys: &[&str]) -> Result<(), Fault> {
        let unknown = self.object.keys().find(|key| !keys.contains(&key.as_str()));
        unknown.map_or(Ok(()), |key| {
            let got = format!("the unknown key {:?}", self.name(key));
            Err(Fault::new(got, format!("only {}", keys.join(", "))))
        })
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.within)
    }

    fn keys(&self) -> String {
        if self.object.is_empty() {
            return "an empty object".to_owned();
        }
        let keys: Vec<&str> = self.object.keys().map(String::as_str).collect();
        format!("the keys {}", keys.join(", "))
    }
}

/// A value and what errors call it: its path, with elements of lists counted from 0, as in `locality[2].loc`.
pub(super) struct Node<'a> {
    value: &'a Value,
    name: String,
}

impl<'a> Node<'a> {
    pub fn is_text(&self) -> bool {
        self.value.is_string()
    }

    pub fn is_blank(&self) -> bool {
        self.value
            .as_str()
            .is_some_and(|text| text.trim().is_empty())
    }

    pub fn text(&self, expected: &str) -> Result<String, Fault> {
        if self.is_blank() {
            return Err(Fault::new(format!("an empty {:?}", self.name), expected));
        }
        let text = self.value.as_str();
        text.map(str::to_owned).ok_or_else(|| self.wrong(expected))
    }

    pub fn object(&self, expected: &str) -> Result<Fields<'a>, Fault> {
        let object = self.value.as_object().ok_or_else(|| self.wrong(expected))?;
        Ok(Fields {
            object,
            within: format!("{}.", self.name),
        })
    }

    pub fn list(&self) -> Result<Vec<Self>, Fault> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let element = |(index, value)| Self {
            value,
            name: format!("{}[{index}]", self.name),
        };
        Ok(list.iter().enumerate().map(element).collect())
    }

    fn wrong(&self, expected: &str) -> Fault {
        Fault::new(format!("{} as {:?}", kind(self.value), self.name), expected)
    }
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
