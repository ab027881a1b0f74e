//! Tensors of a safetensors file, checked.

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// A tensor of one dimension: its name, type and bytes.
pub(crate) type Named = (String, Dtype, Vec<u8>);

/// A safetensors file of some tensors and one text of metadata.
pub(crate) fn file(tensors: &[Named], key: &str, text: String) -> Result<Vec<u8>, String> {
    let views = tensors
        .iter()
        .map(|(name, dtype, bytes)| {
            let count = bytes.len() * 8 / dtype.bitsize();
            let view = TensorView::new(*dtype, vec![count], bytes);
            Ok((name.as_str(), view.map_err(|e| e.to_string())?))
        })
        .collect::<Result<Vec<_>, String>>()?;
    let metadata = HashMap::from([(key.to_owned(), text)]);
    safetensors::serialize(views, Some(metadata)).map_err(|e| e.to_string())
}

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

/// A tensor of either type.
pub(crate) fn read_any(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<f32>, String> {
    match tensors.tensor(name).map(|view| view.dtype()) {
        Ok(Dtype::BF16) => read_upper_halves(tensors, name),
        _ => read(tensors, name),
    }
}

fn finite(name: &str, values: Vec<f32>) -> Result<Vec<f32>, String> {
    match values.iter().filter(|v| !v.is_finite()).count() {
        0 => Ok(values),
        bad => Err(format!(
            "tensor {name} holds {bad} values that are not finite, expected none"
        )),
    }
}
