//! Devices by name.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::{Error, Result};

/// A device as a person names it: `cpu`, `wgpu` or `cuda:N`.
///
/// ```
/// use wise_tensor::DeviceName;
///
/// assert_eq!("cuda:1".parse(), Ok(DeviceName::Cuda(1)));
/// assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
/// assert!("tpu".parse::<DeviceName>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceName {
    /// The processor, through burn-flex.
    #[default]
    Cpu,
    /// The first GPU that wgpu finds (Vulkan, Metal, DX12, WebGPU).
    Wgpu,
    /// The NVIDIA GPU of this index.
    Cuda(usize),
}

impl FromStr for DeviceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::UnknownDevice {
            got: text.to_owned(),
        };
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "wgpu" => Ok(Self::Wgpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) => index.parse().map(Self::Cuda).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu => f.write_str("wgpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceName {
    /// The cargo feature that compiles this device in.
    pub fn feature(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda(_) => "cuda",
        }
    }

    /// Whether this build holds the backend of this device.
    pub fn is_compiled_in(self) -> bool {
        match self {
            Self::Cpu => cfg!(feature = "cpu"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Cuda(_) => cfg!(feature = "cuda"),
        }
    }

    /// Opens the device and computes one number on it.
    ///
    /// # Errors
    /// [`Error::NotCompiledIn`] names the cargo feature that this build lacks; [`Error::NotFound`] says what the backend
    /// reported where this machine has no such device or no driver for it.
    pub fn open(self) -> Result<Device> {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => self.tried(|| Device::wgpu(burn::tensor::DeviceKind::default())),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => self.tried(|| Device::cuda(index)),
            #[allow(unreachable_patterns)]
            missing => Err(Error::NotCompiledIn {
                device: missing.to_string(),
                feature: missing.feature(),
            }),
        }
    }

    /// Backends of devices report a missing device or driver by a panic.
    #[cfg(any(feature = "wgpu", feature = "cuda", test))]
    fn tried(self, open: impl FnOnce() -> Device + std::panic::UnwindSafe) -> Result<Device> {
        let try_out = || {
            let device = open();
            let one = burn::tensor::Tensor::<1>::ones([1], &device).into_scalar::<f32>();
            (device, one)
        };
        let detail = match std::panic::catch_unwind(try_out) {
            Ok((device, 1.0)) => return Ok(device),
            Ok((_, got)) => format!("it computed {got} where 1 was expected"),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                text.unwrap_or("its backend did not say why").to_owned()
            }
        };
        Err(Error::NotFound {
            device: self.to_string(),
            detail,
        })
    }
}

/// One device or several, as a person names them: `cpu`, `cuda:0,cuda:1`. There is always one; one that is named twice
/// takes twice as many layers.
///
/// ```
/// use wise_tensor::DeviceNames;
///
/// let names: DeviceNames = "cuda:0,cuda:1".parse()?;
/// assert_eq!(names.to_string(), "cuda:0,cuda:1");
/// # Ok::<(), wise_tensor::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNames(Vec<DeviceName>);

impl Default for DeviceNames {
    fn default() -> Self {
        Self(vec![DeviceName::default()])
    }
}

impl FromStr for DeviceNames {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = text.split(',').map(str::parse).collect::<Result<_>>()?;
        Ok(Self(names))
    }
}

impl fmt::Display for DeviceNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(","))
    }
}

impl DeviceNames {
    /// Opens all of them.
    ///
    /// # Errors
    /// As [`DeviceName::open`].
    pub fn open(&self) -> Result<Vec<Device>> {
        self.0.iter().map(|name| name.open()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["cpu", "wgpu", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_was_got() {
        for text in ["", "gpu", "cuda:", "cuda:x", "cpu:1", "wgpu:0"] {
            let error = text.parse::<DeviceName>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn each_of_several_names_has_to_be_one() {
        assert_eq!("cpu".parse(), Ok(DeviceNames::default()));
        for text in ["", "cpu,", "cpu,tpu", "cpu wgpu"] {
            assert!(text.parse::<DeviceNames>().is_err(), "{text}");
        }
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn a_device_that_does_not_work_says_why() {
        let error = DeviceName::Wgpu.tried(|| panic!("no adapter")).unwrap_err();
        let text = "device wgpu does not work here: no adapter";
        assert_eq!(error.to_string(), text);
        assert!(error.hint().contains("driver"));
        assert!(DeviceName::Wgpu.tried(Device::flex).is_ok());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_missing_backend_names_its_feature() {
        let error = DeviceName::Cuda(0).open().unwrap_err();
        assert_eq!(
            error.to_string(),
            "device cuda:0 was not compiled in, expected cargo feature `cuda`"
        );
        assert!(error.hint().contains("--features cuda"));
    }
}
