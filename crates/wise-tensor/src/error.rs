//! What can go wrong when a device or a precision is chosen.

use crate::Precision;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong when a device or a precision is chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text names no device.
    #[error("unknown device {got:?}, expected cpu, wgpu or cuda:N")]
    UnknownDevice {
        /// The text as given.
        got: String,
    },
    /// The device exists, but this build cannot use it.
    #[error("device {device} was not compiled in, expected cargo feature `{feature}`")]
    NotCompiledIn {
        /// The device asked for.
        device: String,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The build could use the device, but this machine has none that works.
    #[error("device {device} does not work here: {detail}")]
    NotFound {
        /// The device asked for.
        device: String,
        /// What the backend said.
        detail: String,
    },
    /// The text names no precision.
    #[error("unknown precision {got:?}, expected f32, bf16 or f16")]
    UnknownPrecision {
        /// The text as given.
        got: String,
    },
    /// The device cannot compute in this precision.
    #[error("the device does not compute in {precision}, expected {expected}")]
    UnsupportedPrecision {
        /// The precision asked for.
        precision: Precision,
        /// Those that it takes.
        expected: String,
    },
}

impl Error {
    /// A sentence about what a person can do.
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownDevice { .. } => "use --device cpu".to_owned(),
            Self::NotCompiledIn { feature, .. } => {
                format!("rebuild with --features {feature}, or use --device cpu")
            }
            Self::NotFound { .. } => {
                "install the device's driver (docs/devices.md), or use --device cpu".to_owned()
            }
            Self::UnknownPrecision { .. } => "use --precision f32".to_owned(),
            Self::UnsupportedPrecision { expected, .. } => {
                format!("use --precision with one of {expected}")
            }
        }
    }
}
