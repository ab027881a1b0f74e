//! Weights as they are held and kept.

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
    let placement = Placement::new(vec![device.clone()], precision).unwrap();
    let weights = Weights::open(&config, source, kept, &placement, &mut progress)?;
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
