//! In which number format frozen weights are held, and products with them.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, Device, FloatDType, Tensor};

use crate::on_cpu::is_cpu;
use crate::{Error, Result};

/// The number format of a model's frozen matrices on a device.
///
/// Whatever is not a frozen matrix is f32: hidden states between products, norms, attention, losses, distances, and
/// the edited matrix with its gradient.
///
/// ```
/// use wise_tensor::Precision;
///
/// assert_eq!("bf16".parse(), Ok(Precision::Bf16));
/// assert_eq!(Precision::default(), Precision::F32);
/// assert!("f8".parse::<Precision>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// IEEE single precision.
    #[default]
    F32,
    /// The upper half of f32: its range, 8 bits of significand.
    Bf16,
    /// IEEE half precision: 11 bits of significand, at most 65504.
    F16,
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|p| p.name() == text);
        found.ok_or_else(|| Error::UnknownPrecision {
            got: text.to_owned(),
        })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Precision {
    /// Every precision, the widest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// burn's name of the format.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// Bytes of one weight.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Whether a device can hold this format and compute in it.
    pub fn is_taken_by(self, device: &Device) -> bool {
        device.supports_dtype(self.dtype())
    }
}

/// Where a model's weights are held, and in which precision.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The devices, which hold one stretch of layers each; there must be one at least.
    pub devices: Vec<Device>,
    /// Of the matrices.
    pub precision: Precision,
}

impl From<&Device> for Placement {
    fn from(device: &Device) -> Self {
        Self {
            devices: vec![device.clone()],
            precision: Precision::F32,
        }
    }
}

impl Placement {
    /// Matrices in `precision` on `devices`, of which there must be one at least.
    ///
    /// # Errors
    /// [`Error::UnsupportedPrecision`] names those that all devices take.
    pub fn new(devices: Vec<Device>, precision: Precision) -> Result<Self> {
        let is_taken = |precision: Precision| devices.iter().all(|d| precision.is_taken_by(d));
        if is_taken(precision) {
            return Ok(Self { devices, precision });
        }
        let taken = Precision::ALL.into_iter().filter(|&p| is_taken(p));
        Err(Error::UnsupportedPrecision {
            precision,
            expected: listed(taken),
        })
    }

    /// Whether the processor computes all of it.
    pub fn is_on_cpu(&self) -> bool {
        self.devices.iter().all(is_cpu)
    }
}

/// Names one behind the other: `f32, f16`.
pub fn listed(precisions: impl Iterator<Item = Precision>) -> String {
    precisions
        .map(Precision::name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// `x * weight^T` in the format of `x`: `[tokens, in]` and a frozen matrix `[out, in]` to `[tokens, out]`. The gradient
/// passes through to `x`.
///
/// Where the formats differ, the CPU widens the weight, which has no instruction for less, and other devices narrow `x`,
/// which are fastest there.
pub fn product(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    let turned = weight.clone().transpose();
    let (outside, inside) = (x.dtype(), weight.dtype());
    if outside == inside {
        x.matmul(turned)
    } else if is_cpu(&weight.device()) {
        x.matmul(turned.cast(outside))
    } else {
        x.cast(inside).matmul(turned).cast(outside)
    }
}

/// The same numbers in f32.
pub fn widened(x: Tensor<2>) -> Tensor<2> {
    x.cast(FloatDType::F32)
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::DeviceName;

    fn values(x: Tensor<2>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for precision in Precision::ALL {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        let error = "fp16".parse::<Precision>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown precision \"fp16\", expected f32, bf16 or f16"
        );
    }

    #[test]
    fn a_product_with_a_narrow_weight_rounds_the_weight_alone_and_has_a_gradient() {
        let device = DeviceName::Cpu.open().unwrap();
        // 1 + 2^-9 is no bf16: it rounds to 1. As an entry of x it stays what it is.
        let fine = 1.0 + 2_f32.powi(-9);
        let x = Tensor::<2>::from_floats([[fine, 2.0]], &device);
        let weight = Tensor::<2>::from_floats([[fine, 0.0], [0.0, 3.0]], &device);
        let x = x.autodiff().require_grad();
        for (precision, expected) in [
            (Precision::F32, [fine * fine, 6.0]),
            (Precision::Bf16, [fine, 6.0]),
            (Precision::F16, [fine * fine, 6.0]),
        ] {
            let weight = weight.clone().cast(precision.dtype());
            let y = product(x.clone(), &weight);
            assert_eq!(y.dtype(), DType::F32);
            assert_eq!(values(y.clone().detach()), expected, "{precision}");
            let gradient = x.grad_remove(&mut y.sum().backward()).unwrap();
            let column = if precision == Precision::Bf16 {
                1.0
            } else {
                fine
            };
            assert_eq!(values(gradient), [column, 3.0], "{precision}");
        }
    }

    #[test]
    fn the_cpu_takes_every_precision() {
        let device = DeviceName::Cpu.open().unwrap();
        for precision in Precision::ALL {
            assert!(
                Placement::new(vec![device.clone()], precision)
                    .unwrap()
                    .is_on_cpu()
            );
        }
    }
}
