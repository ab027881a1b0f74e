//! Weights as the decoder holds them: matrices in the precision asked for, projections turned to `[in, out]`.
//!
//! That is how products with few tokens are fast on the CPU. Other devices take matrices as they come, `[out, in]`, straight
//! from the model's files, one at a time.
//!
//! For the CPU, turning a model's files into that takes most of the time of a start and, in memory, as much as the model. So it is
//! done once: the result is kept in a file, which is mapped from then on. Mapped pages are shared between processes, and
//! the system can drop them when memory is short.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{AllocationProperty, Bytes, DType, Device, Shape, Tensor, TensorData};
use bytes::Bytes as Shared;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, View};
use wise_tensor::{Placement, Precision, Table, is_cpu};

use crate::atomic::{temporary_file, write_safetensors};
use crate::source::{expected_tensors, map};
use crate::{Config, Error, Progress, Result, TensorSource};

/// Of the layout; a file of another one is written anew.
const LAYOUT: (&str, &str) = ("wise_weights", "1");

/// Where weights are read from, one at a time.
pub(crate) enum Weights<'a> {
    /// The model's own files.
    Files(Converter<'a>),
    /// A file of converted weights.
    Mapped(Mapped),
}

impl<'a> Weights<'a> {
    /// The weights of `source` for a placement; for the CPU from the file `kept` if it holds them, through it if it can
    /// be written.
    ///
    /// # Errors
    /// If the source has weights that cannot be read or are not finite.
    pub(crate) fn open(
        config: &Config,
        source: &'a mut dyn TensorSource,
        kept: Option<&Path>,
        placement: &Placement,
        progress: &'a mut dyn FnMut(Progress<'_>),
    ) -> Result<Self> {
        let precision = placement.precision;
        let converter = Converter {
            precision,
            source: RefCell::new(source),
            progress: RefCell::new(progress),
            done: Cell::new(0),
            total: expected_tensors(config).len(),
            failed: RefCell::new(None),
        };
        let Some(kept) = kept.filter(|_| placement.is_on_cpu()) else {
            return Ok(Self::Files(converter));
        };
        let kept = &in_precision(kept, precision);
        if let Some(mapped) = Mapped::open(kept, config, precision) {
            return Ok(Self::Mapped(mapped));
        }
        converter.write(config, kept)?;
        match Mapped::open(kept, config, precision) {
            Some(mapped) => Ok(Self::Mapped(mapped)),
            // The disk is full, or the folder may not be written to: the model still runs.
            None => Ok(Self::Files(converter)),
        }
    }

    /// A weight; a projection `[out, in]` lies turned behind that shape.
    ///
    /// # Errors
    /// If it cannot be read or is not finite.
    pub(crate) fn read<const D: usize>(&self, name: &str, device: &Device) -> Result<Tensor<D>> {
        let (data, is_turned) = match self {
            Self::Files(converter) => {
                let turn = is_projection(name) && is_cpu(device);
                (converter.convert(name, turn)?, turn)
            }
            Self::Mapped(mapped) => (mapped.data(name), is_projection(name)),
        };
        let dtype = data.dtype();
        let tensor = Tensor::<D>::from_data(data, (device, dtype));
        Ok(if is_turned {
            tensor.transpose()
        } else {
            tensor
        })
    }

    /// The embedding table or the head.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn table(&self, name: &str, device: &Device) -> Result<Table> {
        let data = match self {
            Self::Files(converter) => converter.convert(name, false)?,
            Self::Mapped(mapped) => mapped.data(name),
        };
        Ok(Table::new(data, device))
    }
}

fn is_projection(name: &str) -> bool {
    name.ends_with("_proj.weight")
}

/// Norms and biases are added to and multiplied with f32, so they are f32 themselves.
fn held_in(shape: &[usize], precision: Precision) -> Precision {
    if shape.len() < 2 {
        Precision::F32
    } else {
        precision
    }
}

fn safetensors_dtype(precision: Precision) -> Dtype {
    match precision {
        Precision::F32 => Dtype::F32,
        Precision::Bf16 => Dtype::BF16,
        Precision::F16 => Dtype::F16,
    }
}

/// The file beside `kept` for weights of a precision.
fn in_precision(kept: &Path, precision: Precision) -> PathBuf {
    match precision {
        Precision::F32 => kept.to_owned(),
        Precision::Bf16 | Precision::F16 => kept.with_extension(format!("{precision}.safetensors")),
    }
}

/// The shape in memory.
fn turned(name: &str, shape: &[usize]) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if is_projection(name) {
        shape.reverse();
    }
    shape
}

/// Converts a source's weights.
pub(crate) struct Converter<'a> {
    precision: Precision,
    source: RefCell<&'a mut dyn TensorSource>,
    progress: RefCell<&'a mut dyn FnMut(Progress<'_>)>,
    done: Cell<usize>,
    total: usize,
    /// Why a weight could not be written: [`View::data`] cannot fail.
    failed: RefCell<Option<Error>>,
}

impl Converter<'_> {
    /// A weight as it is to be held; `turn` makes `[in, out]` of `[out, in]`.
    fn convert(&self, name: &str, turn: bool) -> Result<TensorData> {
        (self.progress.borrow_mut())(Progress::Loading {
            tensor: name,
            done: self.done.get(),
            total: self.total,
        });
        self.done.set(self.total.min(self.done.get() + 1));
        let mut source = self.source.borrow_mut();
        // The shape was checked against the configuration before anything was read.
        let shape = source.shape(name).unwrap_or_default();
        let precision = held_in(&shape, self.precision);
        if !turn && let Some(bytes) = as_it_is(&mut **source, name, precision, shape.len())? {
            return finite(name, bytes, shape, precision);
        }
        let values = source.read(name)?;
        // What rounds to infinity is not finite in the end.
        let largest = match precision {
            Precision::F32 => f32::MAX,
            Precision::Bf16 => bf16::MAX.to_f32(),
            Precision::F16 => f16::MAX.to_f32(),
        };
        let holds = |v: &f32| v.abs() <= largest;
        let count = values.iter().filter(|v| !holds(v)).count();
        if count > 0 {
            return Err(Error::NotFinite {
                name: name.to_owned(),
                count,
            });
        }
        let values = if turn {
            let mut transposed = vec![0.0; values.len()];
            transpose::transpose(&values, &mut transposed, shape[1], shape[0]);
            transposed
        } else {
            values
        };
        let shape = if turn { turned(name, &shape) } else { shape };
        let data = TensorData::new(values, shape);
        Ok(data.convert_dtype(precision.dtype()))
    }

    /// Puts all weights under `path` once they are on disk; nothing is there if the system does not let it.
    fn write(&self, config: &Config, path: &Path) -> Result<()> {
        let views = expected_tensors(config).into_iter().map(|(name, shape)| {
            let view = Unconverted {
                converter: self,
                precision: held_in(&shape, self.precision),
                shape: turned(&name, &shape),
                name: name.clone(),
            };
            (name, view)
        });
        let write = || -> std::io::Result<()> {
            let folder = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            let file = temporary_file(folder)?.into_temp_path();
            write_safetensors(views, LAYOUT, &file)?;
            if self.failed.borrow().is_none() {
                file.persist(path).map_err(|e| e.error)?;
            }
            Ok(())
        };
        let _ = write();
        self.failed.take().map_or(Ok(()), Err)
    }
}

/// The bytes of a matrix that its source holds in the precision asked for, where they lie as numbers have to; vectors may
/// have to be worked on.
fn as_it_is(
    source: &mut dyn TensorSource,
    name: &str,
    precision: Precision,
    rank: usize,
) -> Result<Option<Shared>> {
    if rank < 2 || cfg!(target_endian = "big") {
        return Ok(None);
    }
    let stored = source.stored(name)?;
    let as_asked = stored.filter(|(held, _)| *held == precision);
    let bytes = as_asked.map(|(_, bytes)| bytes);
    Ok(bytes.filter(|bytes| bytes.as_ptr().align_offset(precision.bytes()) == 0))
}

/// The bytes as a tensor's, if all of its values are finite.
fn finite(
    name: &str,
    bytes: Shared,
    shape: Vec<usize>,
    precision: Precision,
) -> Result<TensorData> {
    // Infinity and NaN have all bits of the exponent set.
    let all_set = |mask: u16| {
        let pairs = bytes.as_chunks::<2>().0.iter();
        pairs
            .filter(|b| u16::from_le_bytes(**b) & mask == mask)
            .count()
    };
    let count = match precision {
        Precision::F32 => {
            let words = bytes.as_chunks::<4>().0.iter();
            words
                .filter(|b| !f32::from_le_bytes(**b).is_finite())
                .count()
        }
        Precision::Bf16 => all_set(0x7f80),
        Precision::F16 => all_set(0x7c00),
    };
    if count > 0 {
        return Err(Error::NotFinite {
            name: name.to_owned(),
            count,
        });
    }
    let bytes = Bytes::from_shared(bytes, AllocationProperty::File);
    Ok(TensorData::from_bytes(
        bytes,
        Shape::from(shape),
        precision.dtype(),
    ))
}

/// A weight that is converted when it is written.
struct Unconverted<'a, 'b> {
    converter: &'a Converter<'b>,
    name: String,
    precision: Precision,
    shape: Vec<usize>,
}

impl View for Unconverted<'_, '_> {
    fn dtype(&self) -> Dtype {
        safetensors_dtype(self.precision)
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if self.converter.failed.borrow().is_some() {
            return Cow::default();
        }
        match self
            .converter
            .convert(&self.name, is_projection(&self.name))
        {
            Ok(data) => Cow::Owned(data.as_bytes().to_vec()),
            Err(error) => {
                *self.converter.failed.borrow_mut() = Some(error);
                Cow::default()
            }
        }
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.precision.bytes()
    }
}

/// A file of converted weights.
pub(crate) struct Mapped {
    bytes: Shared,
    places: HashMap<String, (Vec<usize>, DType, Range<usize>)>,
}

impl Mapped {
    /// `None` if there is no such file, or it is not this model's in this layout and precision.
    fn open(path: &Path, config: &Config, precision: Precision) -> Option<Self> {
        let bytes = Shared::from_owner(map::map(path).ok()?);
        let (header, metadata) = SafeTensors::read_metadata(&bytes).ok()?;
        let layout = metadata.metadata().as_ref()?.get(LAYOUT.0)?;
        let tensors = metadata.tensors();
        let first = header + size_of::<u64>();
        let mut places = HashMap::new();
        for (name, shape) in expected_tensors(config) {
            let info = tensors.get(&name)?;
            let precision = held_in(&shape, precision);
            if info.dtype != safetensors_dtype(precision) || info.shape != turned(&name, &shape) {
                return None;
            }
            let (start, end) = info.data_offsets;
            let place = first + start..first + end;
            places.insert(name, (info.shape.clone(), precision.dtype(), place));
        }
        (layout == LAYOUT.1).then_some(Self { bytes, places })
    }

    fn data(&self, name: &str) -> TensorData {
        let (shape, dtype, place) = &self.places[name];
        let bytes = Bytes::from_shared(self.bytes.slice(place.clone()), AllocationProperty::File);
        TensorData::from_bytes(bytes, Shape::from(shape.clone()), *dtype)
    }
}
