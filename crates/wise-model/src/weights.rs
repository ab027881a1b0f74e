//! Weights as the decoder holds them: f32, projections turned to `[in, out]`.
//!
//! Turning a model's files into that takes most of the time of a start and, in memory, as much as the model. So it is
//! done once: the result is kept in a file, which is mapped from then on. Mapped pages are shared between processes, and
//! the system can drop them when memory is short.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use burn::tensor::{AllocationProperty, Bytes, DType, Device, Shape, Tensor, TensorData};
use bytes::Bytes as Shared;
use safetensors::tensor::{Dtype, SafeTensors, View};

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
    /// The weights of `source`, from the file `kept` if it holds them, through it if it can be written.
    ///
    /// # Errors
    /// If the source has weights that cannot be read or are not finite.
    pub(crate) fn open(
        config: &Config,
        source: &'a mut dyn TensorSource,
        kept: Option<&Path>,
        progress: &'a mut dyn FnMut(Progress<'_>),
    ) -> Result<Self> {
        let converter = Converter {
            source: RefCell::new(source),
            progress: RefCell::new(progress),
            done: Cell::new(0),
            total: expected_tensors(config).len(),
            failed: RefCell::new(None),
        };
        let Some(kept) = kept else {
            return Ok(Self::Files(converter));
        };
        if let Some(mapped) = Mapped::open(kept, config) {
            return Ok(Self::Mapped(mapped));
        }
        converter.write(config, kept)?;
        match Mapped::open(kept, config) {
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
            Self::Files(converter) => {
                let (values, shape) = converter.convert(name)?;
                TensorData::new(values, shape)
            }
            Self::Mapped(mapped) => mapped.data(name),
        };
        let tensor = Tensor::<D>::from_data(data, device);
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
    source: RefCell<&'a mut dyn TensorSource>,
    progress: RefCell<&'a mut dyn FnMut(Progress<'_>)>,
    done: Cell<usize>,
    total: usize,
    /// Why a weight could not be written: [`View::data`] cannot fail.
    failed: RefCell<Option<Error>>,
}

impl Converter<'_> {
    fn convert(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
        (self.progress.borrow_mut())(Progress::Loading {
            tensor: name,
            done: self.done.get(),
            total: self.total,
        });
        self.done.set(self.total.min(self.done.get() + 1));
        let mut source = self.source.borrow_mut();
        let values = source.read(name)?;
        let count = values.iter().filter(|v| !v.is_finite()).count();
        if count > 0 {
            return Err(Error::NotFinite {
                name: name.to_owned(),
                count,
            });
        }
        // The shape was checked against the configuration before anything was read.
        let shape = source.shape(name).unwrap_or_default();
        if !is_projection(name) {
            return Ok((values, shape));
        }
        let mut transposed = vec![0.0; values.len()];
        transpose::transpose(&values, &mut transposed, shape[1], shape[0]);
        Ok((transposed, turned(name, &shape)))
    }

    /// Puts all weights under `path` once they are on disk; nothing is there if the system does not let it.
    fn write(&self, config: &Config, path: &Path) -> Result<()> {
        let views = expected_tensors(config).into_iter().map(|(name, shape)| {
            let view = Unconverted {
                converter: self,
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
    shape: Vec<usize>,
}

impl View for Unconverted<'_, '_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if self.converter.failed.borrow().is_some() {
            return Cow::default();
        }
        match self.converter.convert(&self.name) {
            Ok((values, _)) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Err(error) => {
                *self.converter.failed.borrow_mut() = Some(error);
                Cow::default()
            }
        }
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}

/// A file of converted weights.
pub(crate) struct Mapped {
    bytes: Shared,
    places: HashMap<String, (Vec<usize>, Range<usize>)>,
}

impl Mapped {
    /// `None` if there is no such file, or it is not this model's in this layout.
    fn open(path: &Path, config: &Config) -> Option<Self> {
        let bytes = Shared::from_owner(map::map(path).ok()?);
        let (header, metadata) = SafeTensors::read_metadata(&bytes).ok()?;
        let layout = metadata.metadata().as_ref()?.get(LAYOUT.0)?;
        let tensors = metadata.tensors();
        let first = header + size_of::<u64>();
        let mut places = HashMap::new();
        for (name, shape) in expected_tensors(config) {
            let info = tensors.get(&name)?;
            if info.dtype != Dtype::F32 || info.shape != turned(&name, &shape) {
                return None;
            }
            let (start, end) = info.data_offsets;
            places.insert(name, (info.shape.clone(), first + start..first + end));
        }
        (layout == LAYOUT.1).then_some(Self { bytes, places })
    }

    fn data(&self, name: &str) -> TensorData {
        let (shape, place) = &self.places[name];
        let bytes = Bytes::from_shared(self.bytes.slice(place.clone()), AllocationProperty::File);
        TensorData::from_bytes(bytes, Shape::from(shape.clone()), DType::F32)
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
        let device = DeviceName::Cpu.open().unwrap();
        let (config, mut progress) = (tiny_config(), |_: Progress<'_>| {});
        let weights = Weights::open(&config, source, kept, &mut progress)?;
        let of_tensor = |(name, shape): (String, Vec<usize>)| {
            let data = match shape.len() {
                1 => weights.read::<1>(&name, &device)?.into_data(),
                _ => weights.read::<2>(&name, &device)?.into_data(),
            };
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
