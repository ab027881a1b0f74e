//! Number formats of ggml, turned into f32.
//!
//! A quantised row is a sequence of blocks. The simple formats hold 32 values with one scale (and
//! one offset for the `_1` variants); the K formats hold 256 values in sub-blocks that have scales
//! of their own, themselves quantised. The nibble order is ggml's: the low nibbles are the first
//! half of a group, the high nibbles the second.

use half::{bf16, f16};
use wise_tensor::Precision;

/// A number format that this crate can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

use Format::{BF16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};

impl From<Precision> for Format {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => F32,
            Precision::Bf16 => BF16,
            Precision::F16 => F16,
        }
    }
}

impl Format {
    /// The format with ggml's number `number`.
    pub(super) fn from_ggml(number: u32) -> Result<Self, String> {
        Ok(match number {
            0 => F32,
            1 => F16,
            2 => Q4_0,
            3 => Q4_1,
            6 => Q5_0,
            7 => Q5_1,
            8 => Q8_0,
            12 => Q4K,
            13 => Q5K,
            14 => Q6K,
            30 => BF16,
            _ => {
                return Err(format!(
                    "its number format is ggml type {number}, expected F32 (0), F16 (1), Q4_0 (2), \
                     Q4_1 (3), Q5_0 (6), Q5_1 (7), Q8_0 (8), Q4_K (12), Q5_K (13), Q6_K (14) or BF16 (30)"
                ));
            }
        })
    }

    /// Its number in ggml.
    pub(super) fn ggml(self) -> u32 {
        match self {
            F32 => 0,
            F16 => 1,
            Q4_0 => 2,
            Q4_1 => 3,
            Q5_0 => 6,
            Q5_1 => 7,
            Q8_0 => 8,
            Q4K => 12,
            Q5K => 13,
            Q6K => 14,
            BF16 => 30,
        }
    }

    /// Values in one block.
    pub(super) fn block_values(self) -> usize {
        match self {
            F32 | F16 | BF16 => 1,
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 => 32,
            Q4K | Q5K | Q6K => 256,
        }
    }

    /// Bytes of one block.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            F32 => 4,
            F16 | BF16 => 2,
            Q4_0 => 2 + 16,
            Q4_1 => 2 + 2 + 16,
            Q5_0 => 2 + 4 + 16,
            Q5_1 => 2 + 2 + 4 + 16,
            Q8_0 => 2 + 32,
            Q4K => 2 + 2 + 12 + 128,
            Q5K => 2 + 2 + 12 + 32 + 128,
            Q6K => 128 + 64 + 16 + 2,
        }
    }

    /// The values of whole blocks.
    pub(super) fn dequantize(self, bytes: &[u8]) -> Vec<f32> {
        let mut out = Vec::with_capacity(bytes.len() / self.block_bytes() * self.block_values());
        for block in bytes.chunks_exact(self.block_bytes()) {
            match self {
                F32 => out.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
                F16 => out.push(half_at(block, 0)),
                BF16 => out.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
                Q4_0 => nibbles(&block[2..], None, half_at(block, 0), -8.0, 0.0, &mut out),
                Q4_1 => nibbles(
                    &block[4..],
                    None,
                    half_at(block, 0),
                    0.0,
                    half_at(block, 2),
                    &mut out,
                ),
                Q5_0 => nibbles(
                    &block[6..],
                    Some(&block[2..6]),
                    half_at(block, 0),
                    -16.0,
                    0.0,
                    &mut out,
                ),
                Q5_1 => {
                    let (scale, min) = (half_at(block, 0), half_at(block, 2));
                    nibbles(&block[8..], Some(&block[4..8]), scale, 0.0, min, &mut out);
                }
                Q8_0 => {
                    let scale = half_at(block, 0);
                    out.extend(block[2..].iter().map(|q| scale * f32::from(*q as i8)));
                }
                Q4K => k_nibbles(block, None, &block[16..], &mut out),
                Q5K => k_nibbles(block, Some(&block[16..48]), &block[48..], &mut out),
                Q6K => q6_k(block, &mut out),
            }
        }
        out
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 32 values of 4 bits, or 5 with their fifth bits in `high`: `(q + shift) * scale + min`.
fn nibbles(low: &[u8], high: Option<&[u8]>, scale: f32, shift: f32, min: f32, out: &mut Vec<f32>) {
    let bits = high.map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let value = |nibble: u8, position: usize| {
        let q = nibble | (((bits >> position) & 1) as u8) << 4;
        (f32::from(q) + shift) * scale + min
    };
    out.extend(low.iter().enumerate().map(|(i, byte)| value(byte & 15, i)));
    out.extend(
        low.iter()
            .enumerate()
            .map(|(i, byte)| value(byte >> 4, i + 16)),
    );
}

/// The 6-bit scale and minimum of sub-block `j` of 8, packed in 12 bytes.
fn packed_scale(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        let scale = (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4);
        let min = (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4);
        (scale, min)
    };
    (f32::from(scale), f32::from(min))
}

/// 256 values in 8 sub-blocks; bit `j` of `high[i]` is the fifth bit of value `i` of sub-block `j`.
fn k_nibbles(block: &[u8], high: Option<&[u8]>, low: &[u8], out: &mut Vec<f32>) {
    let (scale_unit, min_unit) = (half_at(block, 0), half_at(block, 2));
    for j in 0..8 {
        let (scale, min) = packed_scale(&block[4..16], j);
        let (scale, min) = (scale_unit * scale, min_unit * min);
        // Two sub-blocks share 32 bytes: the even one has the low nibbles.
        let shared = &low[j / 2 * 32..][..32];
        out.extend(shared.iter().enumerate().map(|(i, byte)| {
            let nibble = if j % 2 == 0 { byte & 15 } else { byte >> 4 };
            let fifth = high.map_or(0, |bits| (bits[i] >> j) & 1);
            scale * f32::from(nibble | fifth << 4) - min
        }));
    }
}

/// 256 values of 6 bits: 4 low bits, 2 high bits, a signed scale for every 16.
fn q6_k(block: &[u8], out: &mut Vec<f32>) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, unit) = rest.split_at(16);
    let unit = half_at(unit, 0);
    for n in 0..256 {
        // Each half of 128 values is four groups of 32, which share bytes.
        let (half, group, i) = (n / 128, n % 128 / 32, n % 32);
        let byte = low[half * 64 + group % 2 * 32 + i];
        let nibble = if group < 2 { byte & 15 } else { byte >> 4 };
        let top = (high[half * 32 + i] >> (2 * group)) & 3;
        let q = i16::from(nibble | top << 4) - 32;
        out.push(unit * f32::from(scales[n / 16] as i8) * f32::from(q));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(value: f32) -> [u8; 2] {
        f16::from_f32(value).to_le_bytes()
    }

    /// Sixteen bytes whose low nibbles count up from 0 and whose high nibbles count down from 15.
    fn counting() -> Vec<u8> {
        (0..16).map(|i| i | (15 - i) << 4).collect()
    }

    #[test]
    fn plain_floats() {
        assert_eq!(F32.dequantize(&1.5f32.to_le_bytes()), [1.5]);
        assert_eq!(
            F16.dequantize(&[half(1.5), half(-2.0)].concat()),
            [1.5, -2.0]
        );
        assert_eq!(BF16.dequantize(&[0xc0, 0x3f, 0x00, 0xc0]), [1.5, -2.0]);
    }

    #[test]
    fn q4_0_is_scale_times_nibble_less_8() {
        let values = Q4_0.dequantize(&[&half(0.5)[..], &counting()].concat());
        assert_eq!(values.len(), 32);
        assert_eq!((values[0], values[1], values[15]), (-4.0, -3.5, 3.5));
        assert_eq!((values[16], values[17], values[31]), (3.5, 3.0, -4.0));
    }

    #[test]
    fn q4_1_is_scale_times_nibble_plus_minimum() {
        let values = Q4_1.dequantize(&[&half(0.5)[..], &half(-1.0), &counting()].concat());
        assert_eq!((values[0], values[1], values[15]), (-1.0, -0.5, 6.5));
        assert_eq!((values[16], values[31]), (6.5, -1.0));
    }

    #[test]
    fn q5_takes_its_fifth_bit_from_the_position_in_the_block() {
        // Bits 1 and 31: values 1 and 31 have 16 added.
        let high = (1u32 << 1 | 1 << 31).to_le_bytes();
        let values = Q5_0.dequantize(&[&half(2.0)[..], &high, &counting()].concat());
        assert_eq!((values[0], values[1], values[2]), (-32.0, 2.0, -28.0));
        assert_eq!((values[16], values[30], values[31]), (-2.0, -30.0, 0.0));
        let values = Q5_1.dequantize(&[&half(2.0)[..], &half(1.0), &high, &counting()].concat());
        assert_eq!((values[0], values[1], values[2]), (1.0, 35.0, 5.0));
        assert_eq!((values[16], values[31]), (31.0, 33.0));
    }

    #[test]
    fn q8_0_is_scale_times_signed_byte() {
        let mut block = half(0.25).to_vec();
        block.extend((0..32).map(|i| (i as i8 - 16) as u8));
        let values = Q8_0.dequantize(&block);
        assert_eq!((values[0], values[16], values[31]), (-4.0, 0.0, 3.75));
    }

    /// Sub-block scales 1 to 8 and minima 0 except sub-block 0 (3) and 7 (17, which needs its top bits).
    fn k_header() -> Vec<u8> {
        let mut packed = [0u8; 12];
        packed[..4].copy_from_slice(&[1, 2, 3, 4]);
        packed[4] = 3;
        packed[8..].copy_from_slice(&[5, 6, 7, 8 | 1 << 4]);
        packed[7] |= 1 << 6; // bit 4 of the minimum of sub-block 7
        packed[0] |= 2 << 6; // bit 5 of the scale of sub-block 4: 5 + 32
        [&half(0.5)[..], &half(0.25), &packed].concat()
    }

    #[test]
    fn q4_k_has_a_scale_and_a_minimum_for_every_32() {
        let mut low = vec![0u8; 128];
        low[0] = 7 | 9 << 4; // value 0 of sub-blocks 0 and 1
        low[64] = 2; // value 0 of sub-block 4
        low[127] = 15 << 4; // value 31 of sub-block 7
        let values = Q4K.dequantize(&[k_header(), low].concat());
        assert_eq!(values.len(), 256);
        assert_eq!((values[0], values[1]), (0.5 * 7.0 - 0.75, -0.75));
        assert_eq!((values[32], values[33]), (9.0, 0.0));
        assert_eq!((values[128], values[129]), (0.5 * 37.0 * 2.0, 0.0));
        assert_eq!((values[224], values[255]), (-4.25, 4.0 * 15.0 - 4.25));
    }

    #[test]
    fn q5_k_adds_the_fifth_bit_of_its_sub_block() {
        let mut high = vec![0u8; 32];
        high[0] = 1 << 1; // value 0 of sub-block 1
        high[31] = 1 << 7; // value 31 of sub-block 7
        let mut low = vec![0u8; 128];
        low[0] = 9 << 4;
        let values = Q5K.dequantize(&[k_header(), high, low].concat());
        assert_eq!((values[0], values[32]), (-0.75, 25.0));
        assert_eq!((values[254], values[255]), (-4.25, 4.0 * 16.0 - 4.25));
    }

    #[test]
    fn q6_k_joins_four_low_and_two_high_bits_under_a_signed_scale() {
        let mut block = vec![0u8; 210];
        block[0] = 5 | 6 << 4; // value 0 of groups 0 and 2
        block[32] = 7; // value 0 of group 1
        block[64 + 63] = 8 << 4; // value 31 of group 3, second half
        block[128] = 1 | 2 << 2 | 3 << 4; // high bits of groups 0, 1 and 2
        block[128 + 63] = 2 << 6; // group 3, second half
        block[192..208].copy_from_slice(&[1u8; 16]);
        block[192 + 4] = (-2i8) as u8; // values 64 to 79
        block[208..].copy_from_slice(&half(0.5));
        let values = Q6K.dequantize(&block);
        assert_eq!((values[0], values[1]), (0.5 * (21.0 - 32.0), -16.0));
        assert_eq!((values[32], values[33]), (0.5 * (39.0 - 32.0), -16.0));
        assert_eq!((values[64], values[80]), (-(54.0 - 32.0), -16.0));
        assert_eq!((values[254], values[255]), (-16.0, 0.5 * (40.0 - 32.0)));
    }

    #[test]
    fn an_unknown_format_is_named_by_its_number() {
        assert!(Format::from_ggml(19).unwrap_err().contains("ggml type 19"));
    }
}
