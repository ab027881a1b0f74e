//! Weights as the decoder holds them: matrices in the precision asked for, projections turned to `[in, out]`.
//!
//! Turning a model's files into that takes most of the time of a start and, in memory, as much as the model. So it is
//! done once: the result is kept in a file, which is mapped from then on. Mapped pages are shared between processes, and
//! the system can drop them when memory is short.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{AllocationProperty, Bytes, DType, Device, Shape, Tensor, TensorData};
use bytes::Bytes as Shared;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, View};
use wise_tensor::Precision;

use crate::atomic::temporary_file;
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
    /// The weights of `source` in `precision`, from the file `kept` if it holds them, through it if it can be written.
    ///
    /// # Errors
    /// If the source has weights that cannot be read or are not finite.
    pub(crate) fn open(
        config: &Config,
        source: &'a mut dyn TensorSource,
        kept: Option<&Path>,
        precision: Precision,
        progress: &'a mut dyn FnMut(Progress<'_>),
    ) -> Result<Self> {
        let converter = Converter {
            precision,
            source: RefCell::new(source),
            progress: RefCell::new(progress),
            done: Cell::new(0),
            total: expected_tensors(config).len(),
            failed: RefCell::new(None),
        };
        let Some(kept) = kept else {
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
        let data = match self {
            Self::Files(converter) => converter.convert(name)?,
            Self::Mapped(mapped) => mapped.data(name),
        };
        let dtype = data.dtype();
        let tensor = Tensor::<D>::from_data(data, (device, dtype));
        Ok(if is_projection(name) {
            tensor.transpose()
        } else {
            tensor
        })
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
    fn convert(&self, name: &str) -> Result<TensorData> {
        (self.progress.borrow_mut())(Progress::Loading {
            tensor: name,
            done: self.done.get(),
            total: self.total,
        });
        self.done.set(self.total.min(self.done.get() + 1));
        let mut source = self.source.borrow_mut();
        let values = source.read(name)?;
        // The shape was checked against the configuration before anything was read.
        let shape = source.shape(name).unwrap_or_default();
        let precision = held_in(&shape, self.precision);
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
        let values = if is_projection(name) {
            let mut transposed = vec![0.0; values.len()];
            transpose::transpose(&values, &mut transposed, shape[1], shape[0]);
            transposed
        } else {
            values
        };
        let data = TensorData::new(values, turned(name, &shape));
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
        let header = HashMap::from([(LAYOUT.0.to_owned(), LAYOUT.1.to_owned())]);
        let write = || -> std::io::Result<()> {
            let folder = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            let file = temporary_file(folder)?.into_temp_path();
            safetensors::serialize_to_file(views, Some(header), &file)
                .map_err(std::io::Error::other)?;
            if self.failed.borrow().is_none() {
                std::fs::File::open(&file)?.sync_all()?;
                file.persist(path).map_err(|e| e.error)?;
            }
            Ok(())
        };
        let _ = write();
        self.failed.take().map_or(Ok(()), Err)
    }
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
        match self.converter.convert(&self.name) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceName;
    use crate::source::testing::tiny_config;

    /// Every value another one; at most so many tensors can be read.
    struct Counting(usize);

    impl TensorSource for Counting {
        fn names(&self) -> Vec<String> {
            let expected = expected_tensors(&tiny_config()).into_iter();
            expected.map(|(name, _)| name).collect()
        }

        fn shape(&self, name: &str) -> Option<Vec<usize>> {
            let mut expected = expected_tensors(&tiny_config()).into_iter();
            expected.find(|(n, _)| n == name).map(|(_, shape)| shape)
        }

        fn read(&mut self, name: &str) -> Result<Vec<f32>> {
            self.0 = self
                .0
                .checked_sub(1)
                .ok_or(Error::Empty { what: "source" })?;
            let count: usize = self.shape(name).unwrap().iter().product();
            let first = name.len() as f32 * 1000.0;
            Ok((0..count).map(|i| first + i as f32).collect())
        }
    }

    const ALL: usize = usize::MAX;

    fn values(source: &mut dyn TensorSource, kept: Option<&Path>) -> Result<Vec<Vec<f32>>> {
        values_in(Precision::F32, source, kept)
    }

    fn values_in(
        precision: Precision,
        source: &mut dyn TensorSource,
        kept: Option<&Path>,
    ) -> Result<Vec<Vec<f32>>> {
        let device = DeviceName::Cpu.open().unwrap();
        let (config, mut progress) = (tiny_config(), |_: Progress<'_>| {});
        let weights = Weights::open(&config, source, kept, precision, &mut progress)?;
        let of_tensor = |(name, shape): (String, Vec<usize>)| {
            let data = match shape.len() {
                1 => weights.read::<1>(&name, &device)?.into_data(),
                _ => weights.read::<2>(&name, &device)?.into_data(),
            };
            assert_eq!(data.dtype(), held_in(&shape, precision).dtype());
            assert_eq!(data.shape().to_vec(), shape, "{name}");
            Ok(data.iter::<f32>().collect())
        };
        expected_tensors(&config)
            .into_iter()
            .map(of_tensor)
            .collect()
    }

    #[test]
    fn kept_weights_are_those_of_the_source_and_are_converted_once() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("new/kept.safetensors");
        let plain = values(&mut Counting(ALL), None).unwrap();
        let mut source = Counting(ALL);
        let named = expected_tensors(&tiny_config()).into_iter();
        let read: Vec<_> = named.map(|(name, _)| source.read(&name).unwrap()).collect();
        assert_eq!(plain, read);
        assert_eq!(values(&mut Counting(ALL), Some(&kept)).unwrap(), plain);
        assert_eq!(values(&mut Counting(0), Some(&kept)).unwrap(), plain);
    }

    #[test]
    fn each_precision_has_a_file_of_its_own_with_rounded_matrices() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept.safetensors");
        let plain = values(&mut Counting(ALL), Some(&kept)).unwrap();
        let rounded = values_in(Precision::Bf16, &mut Counting(ALL), Some(&kept)).unwrap();
        for ((name, shape), (got, exact)) in expected_tensors(&tiny_config())
            .into_iter()
            .zip(rounded.iter().zip(&plain))
        {
            let round = |v: &f32| bf16::from_f32(*v).to_f32();
            let expected: Vec<f32> = match shape.len() {
                1 => exact.clone(),
                _ => exact.iter().map(round).collect(),
            };
            assert_eq!(got, &expected, "{name}");
        }
        assert_ne!(rounded, plain);
        let again = values_in(Precision::Bf16, &mut Counting(0), Some(&kept)).unwrap();
        assert_eq!(again, rounded);
        assert_eq!(values(&mut Counting(0), Some(&kept)).unwrap(), plain);
    }

    #[test]
    fn what_f16_cannot_hold_is_refused() {
        // Beyond 65504, the most of f16.
        struct Large;
        impl TensorSource for Large {
            fn names(&self) -> Vec<String> {
                Counting(ALL).names()
            }
            fn shape(&self, name: &str) -> Option<Vec<usize>> {
                Counting(ALL).shape(name)
            }
            fn read(&mut self, name: &str) -> Result<Vec<f32>> {
                let values = Counting(ALL).read(name)?;
                Ok(values.into_iter().map(|v| v * 10.0).collect())
            }
        }
        assert!(values_in(Precision::Bf16, &mut Large, None).is_ok());
        let error = values_in(Precision::F16, &mut Large, None).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
        assert!(error.hint().unwrap().contains("bf16"));
    }

    #[test]
    fn a_file_that_is_not_whole_or_of_another_layout_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept.safetensors");
        let plain = values(&mut Counting(ALL), Some(&kept)).unwrap();
        let whole = std::fs::read(&kept).unwrap();
        let layout = b"\"wise_weights\":\"1\"";
        let at = whole.windows(layout.len()).position(|w| w == layout);
        let mut other = whole.clone();
        other[at.unwrap() + layout.len() - 2] = b'0';
        for damaged in [&whole[..whole.len() - 1], &whole[..4], &other] {
            std::fs::write(&kept, damaged).unwrap();
            assert_eq!(values(&mut Counting(ALL), Some(&kept)).unwrap(), plain);
            assert!(std::fs::read(&kept).unwrap() == whole);
        }
    }

    #[test]
    fn without_a_place_for_the_file_the_weights_are_in_memory() {
        let plain = values(&mut Counting(ALL), None).unwrap();
        let nowhere = Path::new("/dev/null/kept.safetensors");
        assert_eq!(values(&mut Counting(ALL), Some(nowhere)).unwrap(), plain);
    }

    #[test]
    fn a_source_that_cannot_be_read_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept.safetensors");
        let error = values(&mut Counting(3), Some(&kept)).unwrap_err();
        assert!(matches!(error, Error::Empty { what: "source" }), "{error}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
