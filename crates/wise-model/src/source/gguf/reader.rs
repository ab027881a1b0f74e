//! The GGUF container, versions 2 and 3, little-endian: metadata and where each tensor lies.
//!
//! Nothing is believed that the header announces: every length is checked against the bytes that
//! are left before anything is allocated or skipped, and all arithmetic on announced numbers is
//! checked.

use std::collections::HashMap;

use super::dequant::Format;

/// First bytes of every GGUF file.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";

/// Bytes of data are aligned to this unless the metadata says otherwise.
pub(super) const DEFAULT_ALIGNMENT: u64 = 32;

/// Arrays inside arrays are followed this far.
const MAX_NESTING: usize = 4;

/// ggml knows no more dimensions than this.
const MAX_DIMENSIONS: u32 = 4;

/// How GGUF numbers the kinds of values that models have; the others are whole numbers of other sizes, and f64.
pub(super) mod kind {
    pub(in super::super) const U32: u32 = 4;
    pub(in super::super) const I32: u32 = 5;
    pub(in super::super) const F32: u32 = 6;
    pub(in super::super) const BOOL: u32 = 7;
    pub(in super::super) const TEXT: u32 = 8;
    pub(in super::super) const LIST: u32 = 9;
}

/// What is wrong with a file, in words.
type Checked<T> = Result<T, String>;

/// A metadata value. Integers are widened; arrays that no model setting uses are passed over.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
    Other,
}

/// Where a tensor lies and how it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorInfo {
    /// llama.cpp's name.
    pub(super) name: String,
    /// Dimensions in row-major order, the reverse of how GGUF writes them.
    pub(super) shape: Vec<usize>,
    /// Number format.
    pub(super) format: Format,
    /// First byte in the file.
    pub(super) start: usize,
    /// Bytes.
    pub(super) len: usize,
}

impl TensorInfo {
    /// A tensor of a format without blocks that has no place yet.
    pub(super) fn new(name: String, shape: &[usize], format: Format) -> Self {
        Self {
            name,
            shape: shape.to_vec(),
            format,
            start: 0,
            len: shape.iter().product::<usize>() * format.block_bytes(),
        }
    }
}

/// A parsed header, every tensor of which lies inside the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) metadata: HashMap<String, Value>,
    /// In the file's order.
    pub(super) tensors: Vec<TensorInfo>,
    /// Where the entries of the tensors begin, behind the metadata.
    pub(super) tensors_at: usize,
    /// What tensors are aligned to.
    pub(super) alignment: usize,
}

/// Reads the metadata alone: the number of entries and the entries.
pub(super) fn metadata(bytes: &[u8]) -> Checked<HashMap<String, Value>> {
    Cursor { bytes, at: 0 }.metadata()
}

impl Header {
    /// Parses the header of the file that `bytes` holds in full.
    pub(super) fn parse(bytes: &[u8]) -> Checked<Self> {
        let mut cursor = Cursor { bytes, at: 0 };
        let magic = cursor.take(4)?;
        if magic != MAGIC {
            return Err(format!(
                "it begins with {magic:02x?}, expected {MAGIC:02x?} (GGUF)"
            ));
        }
        let version = cursor.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!(
                "its version is {version}, expected 2 or 3 (little-endian)"
            ));
        }
        // The smallest entry takes 24 bytes.
        let tensor_count = cursor.count(24, "tensors")?;
        let metadata = cursor.metadata()?;
        let (alignment, tensors_at) = (alignment(&metadata)?, cursor.at);
        let mut tensors = Vec::with_capacity(tensor_count);
        for _ in 0..tensor_count {
            tensors.push(cursor.tensor()?);
        }
        let data = aligned(cursor.at as u64, alignment).ok_or("its header is too long")?;
        for tensor in &mut tensors {
            place(tensor, data, bytes.len() as u64, alignment)?;
        }
        Ok(Self {
            metadata,
            tensors,
            tensors_at,
            alignment: alignment as usize,
        })
    }
}

fn alignment(metadata: &HashMap<String, Value>) -> Checked<u64> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Integer(n)) if (1..=1 << 20).contains(n) => Ok(*n as u64),
        Some(other) => Err(format!(
            "general.alignment is {other:?}, expected 1 to 2^20"
        )),
    }
}

fn aligned(offset: u64, alignment: u64) -> Option<u64> {
    offset.checked_next_multiple_of(alignment)
}

/// Turns a tensor's offset in the data section into its place in the file.
fn place(tensor: &mut TensorInfo, data: u64, file: u64, alignment: u64) -> Checked<()> {
    let (name, offset) = (&tensor.name, tensor.start as u64);
    if !offset.is_multiple_of(alignment) {
        return Err(format!(
            "tensor {name} is at offset {offset}, expected a multiple of {alignment}"
        ));
    }
    let start = data.checked_add(offset);
    let end = start.and_then(|start| start.checked_add(tensor.len as u64));
    match (start, end) {
        (Some(start), Some(end)) if end <= file => {
            tensor.start = start as usize;
            Ok(())
        }
        _ => Err(format!(
            "tensor {name} has {} bytes at {offset} of the data section, which begins at {data}, \
             but the file has {file} bytes",
            tensor.len
        )),
    }
}

/// The unread rest of the file.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Checked<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or_else(|| {
            let (at, left) = (self.at, rest.len());
            format!("it ends too early: {len} bytes expected at byte {at}, got {left}")
        })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Checked<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Checked<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Checked<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of things that take at least `least` bytes each, so that it is safe to reserve.
    fn count(&mut self, least: usize, what: &str) -> Checked<usize> {
        let announced = self.u64()?;
        let left = self.bytes.len() - self.at;
        match usize::try_from(announced)
            .ok()
            .filter(|n| *n <= left / least)
        {
            Some(count) => Ok(count),
            None => Err(format!(
                "it announces {announced} {what}, but only {left} bytes are left"
            )),
        }
    }

    fn text(&mut self) -> Checked<String> {
        let len = self.count(1, "bytes of text")?;
        let at = self.at;
        let text = std::str::from_utf8(self.take(len)?);
        text.map(str::to_owned)
            .map_err(|e| format!("the text at byte {at} is not UTF-8: {e}"))
    }

    fn metadata(&mut self) -> Checked<HashMap<String, Value>> {
        // The smallest entry takes 13 bytes.
        let count = self.count(13, "metadata entries")?;
        let mut metadata = HashMap::with_capacity(count);
        for _ in 0..count {
            let key = self.text()?;
            let kind = self.u32()?;
            let value = self
                .value(kind)
                .map_err(|e| format!("metadata {key}: {e}"))?;
            metadata.insert(key, value);
        }
        Ok(metadata)
    }

    fn value(&mut self, kind: u32) -> Checked<Value> {
        Ok(match kind {
            kind::F32 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            kind::BOOL => Value::Bool(self.take(1)?[0] != 0),
            kind::TEXT => Value::Text(self.text()?),
            kind::LIST => self.list(MAX_NESTING)?,
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            _ => Value::Integer(self.integer(kind)?),
        })
    }

    fn integer(&mut self, kind: u32) -> Checked<i128> {
        Ok(match kind {
            0 => self.take(1)?[0].into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.array()?).into(),
            _ => return Err(format!("the value type is {kind}, expected 0 to 12")),
        })
    }

    fn list(&mut self, nesting: usize) -> Checked<Value> {
        let kind = self.u32()?;
        // The smallest text takes the 8 bytes of its length, the smallest array 12.
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => 12,
            _ => return Err(format!("the element type is {kind}, expected 0 to 12")),
        };
        let len = self.count(least, "array elements")?;
        match kind {
            kind::U32 | kind::I32 => (0..len)
                .map(|_| Ok(self.integer(kind)? as i64))
                .collect::<Checked<_>>()
                .map(Value::Integers),
            kind::F32 => (0..len)
                .map(|_| self.array().map(f32::from_le_bytes))
                .collect::<Checked<_>>()
                .map(Value::Floats),
            kind::TEXT => (0..len)
                .map(|_| self.text())
                .collect::<Checked<_>>()
                .map(Value::Texts),
            kind::LIST if nesting == 0 => Err("arrays are nested too deeply".to_owned()),
            kind::LIST => (0..len)
                .try_for_each(|_| self.list(nesting - 1).map(drop))
                .map(|()| Value::Other),
            _ => self.take(least * len).map(|_| Value::Other),
        }
    }

    /// A tensor whose `start` is still relative to the data section.
    fn tensor(&mut self) -> Checked<TensorInfo> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > MAX_DIMENSIONS {
            return Err(format!(
                "tensor {name} has {dimensions} dimensions, expected 1 to {MAX_DIMENSIONS}"
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.u64()?);
        }
        shape.reverse();
        let format = Format::from_ggml(self.u32()?).map_err(|e| format!("tensor {name}: {e}"))?;
        let offset = self.u64()?;
        let too_large = || format!("tensor {name} has the shape {shape:?}, which is too large");
        let columns = shape.last().copied().unwrap_or(0);
        if shape.contains(&0) || !columns.is_multiple_of(format.block_values() as u64) {
            let block = format.block_values();
            return Err(format!(
                "tensor {name} has the shape {shape:?}, expected rows of a multiple of {block}"
            ));
        }
        let values = shape
            .iter()
            .try_fold(1u64, |all, n| all.checked_mul(*n))
            .ok_or_else(too_large)?;
        let len = (values / format.block_values() as u64).checked_mul(format.block_bytes() as u64);
        Ok(TensorInfo {
            len: len
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(too_large)?,
            start: usize::try_from(offset).map_err(|_| too_large())?,
            shape: shape.iter().map(|n| *n as usize).collect(),
            name,
            format,
        })
    }
}
