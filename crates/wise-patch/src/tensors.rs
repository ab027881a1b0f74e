//! Tensors of a safetensors file, checked.

use safetensors::{Dtype, SafeTensors};

/// Of brain floats all there is.
pub(crate) fn upper_halves(values: &[f32]) -> Vec<u8> {
    let halves = values.iter().map(|v| v.to_le_bytes());
    halves.flat_map(|[_, _, a, b]| [a, b]).collect()
}

/// The bytes of a tensor of this type.
pub(crate) fn data<'a>(
    tensors: &'a SafeTensors<'_>,
    name: &str,
    expected: Dtype,
) -> Result<&'a [u8], String> {
    let view = tensors
        .tensor(name)
        .map_err(|_| format!("got no tensor {name}, expected one"))?;
    match view.dtype() {
        got if got == expected => Ok(view.data()),
        got => Err(format!("tensor {name} is {got:?}, expected {expected:?}")),
    }
}

pub(crate) fn read(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<f32>, String> {
    let bytes = data(tensors, name, Dtype::F32)?.chunks_exact(4);
    let values = bytes.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    finite(name, values.collect())
}

pub(crate) fn read_upper_halves(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<f32>, String> {
    let bytes = data(tensors, name, Dtype::BF16)?.chunks_exact(2);
    let values = bytes.map(|b| f32::from_le_bytes([0, 0, b[0], b[1]]));
    finite(name, values.collect())
}

fn finite(name: &str, values: Vec<f32>) -> Result<Vec<f32>, String> {
    match values.iter().filter(|v| !v.is_finite()).count() {
        0 => Ok(values),
        bad => Err(format!(
            "tensor {name} holds {bad} values that are not finite, expected none"
        )),
    }
}
