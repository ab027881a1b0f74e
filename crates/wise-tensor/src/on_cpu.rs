//! Values of tensors that are in the memory of the CPU, for what is one pass there and many on a device.

use burn::tensor::{Device, Tensor, TensorData};

/// Whether a device is the processor, whose memory weights can be mapped into.
#[cfg(feature = "cpu")]
pub fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// Whether a device is the processor, whose memory weights can be mapped into.
#[cfg(not(feature = "cpu"))]
pub fn is_cpu(_: &Device) -> bool {
    false
}

/// After how many steps of a descent its losses are read: waiting for them costs nothing on the CPU, and keeps other
/// devices idle.
pub fn steps_between_reads(device: &Device) -> usize {
    if is_cpu(device) { 1 } else { 4 }
}

pub(crate) fn floats(x: Tensor<2>) -> Vec<f32> {
    let data = x.into_data().convert::<f32>();
    data.try_into_vec().expect("converted to f32")
}

pub(crate) fn tensor(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
