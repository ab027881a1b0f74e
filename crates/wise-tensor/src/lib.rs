//! Devices by name, and the few tensor operations that `wise` needs beyond burn.
//!
//! burn 0.22 picks its backend at run time: a [`burn::tensor::Device`] is a value, and one binary can hold
//! several backends. This crate is the only one of the workspace that names them, as cargo features:
//! `cpu` (default), `wgpu`, `cuda`. It never asks burn for a default device, which would change with the
//! features that happen to be compiled in.
//!
//! It also says in which [`Precision`] frozen weights are held, and what is computed in it.
//!
//! ```
//! use burn::tensor::Tensor;
//! use wise_tensor::{DeviceName, row_norms};
//!
//! let device = "cpu".parse::<DeviceName>()?.open()?;
//! let x = Tensor::<2>::from_floats([[3.0, 4.0], [0.0, 0.0]], &device);
//! let norms: Vec<f32> = row_norms(x).into_data().try_to_vec().unwrap();
//! assert_eq!(norms, [5.0, 0.0]);
//! # Ok::<(), wise_tensor::Error>(())
//! ```

mod device;
mod error;
mod label_loss;
mod on_cpu;
mod ops;
mod precision;
mod step;
mod table;

pub use device::{DeviceName, DeviceNames};
pub use error::{Error, Result};
pub use label_loss::{LabelLoss, label_loss};
pub use on_cpu::{is_cpu, steps_between_reads};
pub use ops::{clamp_around, mean_of_positive, no_longer_than, row_norms};
pub use precision::{Placement, Precision, listed, product, widened};
pub use step::{Adam, EqualSteps, Step, masked_sgd_step};
pub use table::Table;
