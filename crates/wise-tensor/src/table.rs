//! A frozen table with a row for every token, in pieces that the device can bind.

use std::ops::Range;

use burn::tensor::{Bytes, Device, Int, Shape, Tensor, TensorData};

use crate::precision::{product, widened};

/// The most that a device binds at once, in bytes: what every implementation of `WebGPU` has to offer.
#[cfg(feature = "wgpu")]
fn most_bound(device: &Device) -> usize {
    if *device == Device::wgpu(burn::tensor::DeviceKind::default()) {
        128 << 20
    } else {
        usize::MAX
    }
}

#[cfg(not(feature = "wgpu"))]
fn most_bound(_: &Device) -> usize {
    usize::MAX
}

/// The embedding table or the head, `[vocabulary, width]`. Where a device cannot bind all of it, it lies in pieces, cut
/// along the vocabulary.
#[derive(Debug, Clone)]
pub struct Table {
    pieces: Vec<Tensor<2>>,
}

impl From<Tensor<2>> for Table {
    fn from(whole: Tensor<2>) -> Self {
        Self {
            pieces: vec![whole],
        }
    }
}

impl Table {
    /// Puts a matrix on a device, in its number format.
    pub fn new(data: TensorData, device: &Device) -> Self {
        Self::in_pieces(data, device, most_bound(device))
    }

    fn in_pieces(data: TensorData, device: &Device, most: usize) -> Self {
        let (dtype, shape) = (data.dtype(), data.shape().to_vec());
        let (rows, width) = (shape[0], shape[1]);
        let row_bytes = width * dtype.size();
        if rows * row_bytes <= most {
            return Tensor::from_data(data, (device, dtype)).into();
        }
        let together = (most / row_bytes).max(1);
        let piece = |first: usize| {
            let count = together.min(rows - first);
            let bytes = &data.as_bytes()[first * row_bytes..(first + count) * row_bytes];
            let bytes = Bytes::from_bytes_vec(bytes.to_vec());
            let piece = TensorData::from_bytes(bytes, Shape::from([count, width]), dtype);
            Tensor::from_data(piece, (device, dtype))
        };
        Self {
            pieces: (0..rows).step_by(together).map(piece).collect(),
        }
    }

    /// Where it lies.
    pub fn device(&self) -> Device {
        self.pieces[0].device()
    }

    /// Tokens of the vocabulary.
    pub(crate) fn tokens(&self) -> usize {
        self.pieces.iter().map(|piece| piece.dims()[0]).sum()
    }

    /// The pieces, each with its rows.
    fn ranges(&self) -> impl Iterator<Item = (Range<usize>, &Tensor<2>)> {
        self.pieces.iter().scan(0, |first, piece| {
            let rows = *first..*first + piece.dims()[0];
            *first = rows.end;
            Some((rows, piece))
        })
    }

    /// The rows of some tokens in f32, `[tokens, width]`; there must be one at least, and none past the end.
    pub fn rows(&self, tokens: &[u32]) -> Tensor<2> {
        let device = self.device();
        let index = |rows: Vec<i32>| {
            let count = rows.len();
            Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device)
        };
        if let [whole] = self.pieces.as_slice() {
            let chosen = tokens.iter().map(|&token| token as i32).collect();
            return widened(whole.clone().select(0, index(chosen)));
        }
        let mut places = vec![0; tokens.len()];
        let (mut gathered, mut count) = (Vec::new(), 0);
        for (rows, piece) in self.ranges() {
            let here: Vec<usize> = (0..tokens.len())
                .filter(|&at| rows.contains(&(tokens[at] as usize)))
                .collect();
            if here.is_empty() {
                continue;
            }
            for &at in &here {
                places[at] = count;
                count += 1;
            }
            let chosen = here
                .iter()
                .map(|&at| (tokens[at] as usize - rows.start) as i32);
            gathered.push(piece.clone().select(0, index(chosen.collect())));
        }
        widened(Tensor::cat(gathered, 0).select(0, index(places)))
    }

    /// Logits, `[tokens, vocabulary]`, of hidden states `[tokens, width]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        if let [whole] = self.pieces.as_slice() {
            return product(hidden, whole);
        }
        let of_piece = |piece| product(hidden.clone(), piece);
        Tensor::cat(self.pieces.iter().map(of_piece).collect(), 1)
    }

    /// The other way: `logits * table`, `[tokens, vocabulary]` to `[tokens, width]`.
    pub(crate) fn back(&self, logits: Tensor<2>) -> Tensor<2> {
        let of_piece = |(rows, piece): (Range<usize>, &Tensor<2>)| {
            let some = logits.clone().narrow(1, rows.start, rows.len());
            product(some, &piece.clone().transpose())
        };
        let sum = self.ranges().map(of_piece).reduce(|a, b| a + b);
        sum.unwrap_or(logits)
    }
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
    fn a_table_in_pieces_is_the_whole_table() {
        let device = DeviceName::Cpu.open().unwrap();
        let data = || {
            let values: Vec<f32> = (0..14).map(|i| (i * i) as f32).collect();
            TensorData::new(values, [7, 2])
        };
        let whole = Table::new(data(), &device);
        // Three rows of 8 bytes fit.
        let cut = Table::in_pieces(data(), &device, 26);
        let rows: Vec<usize> = cut.ranges().map(|(rows, _)| rows.len()).collect();
        assert_eq!((whole.pieces.len(), rows), (1, vec![3, 3, 1]));

        let tokens = [6, 0, 3, 3, 1];
        assert_eq!(values(cut.rows(&tokens)), values(whole.rows(&tokens)));
        assert_eq!(values(cut.rows(&[5])), [100.0, 121.0]);

        let hidden = Tensor::<2>::from_floats([[1.0, 2.0], [0.5, -1.0]], &device);
        let logits = whole.logits(hidden.clone());
        assert_eq!(values(cut.logits(hidden)), values(logits.clone()));
        assert_eq!(values(cut.back(logits.clone())), values(whole.back(logits)));
    }
}
