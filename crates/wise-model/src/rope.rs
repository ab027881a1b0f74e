//! Rotary position embeddings (Su et al., 2021), in the half-split form of the Hugging Face Llama.

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{Config, RopeScaling};

#[derive(Debug, Clone)]
pub(crate) struct Rope {
    /// Radians per position, one per pair of a head's elements.
    frequencies: Vec<f32>,
}

impl Rope {
    pub(crate) fn new(config: &Config) -> Self {
        let pairs = config.head_dim / 2;
        let frequencies = (0..pairs)
            .map(|i| {
                let exponent = 2.0 * i as f64 / config.head_dim as f64;
                let plain = config.rope_theta.powf(-exponent);
                config.rope_scaling.map_or(plain, |s| scaled(plain, s)) as f32
            })
            .collect();
        Self { frequencies }
    }

    /// Cosines and sines of the angles at `positions`, each `[positions, 1, head_dim]`.
    pub(crate) fn tables(&self, positions: &[usize], device: &Device) -> (Tensor<3>, Tensor<3>) {
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|&p| {
                let half = self.frequencies.iter().map(move |f| p as f32 * f);
                half.clone().chain(half)
            })
            .collect();
        let shape = [positions.len(), 1, 2 * self.frequencies.len()];
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().copied().map(f).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        (table(f32::cos), table(f32::sin))
    }
}

fn scaled(frequency: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => {
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            let turns = original_context as f64 / wavelength;
            let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
            let kept = kept.clamp(0.0, 1.0);
            (1.0 - kept) * frequency / factor + kept * frequency
        }
    }
}

/// Rotates every head of `x` (`[tokens, heads, head_dim]`) by the angles of its position.
pub(crate) fn rotate(x: Tensor<3>, cos: Tensor<3>, sin: Tensor<3>) -> Tensor<3> {
    let [tokens, heads, width] = x.dims();
    let half = width / 2;
    let first = x.clone().slice([0..tokens, 0..heads, 0..half]);
    let second = x.clone().slice([0..tokens, 0..heads, half..width]);
    let turned = Tensor::cat(vec![second.neg(), first], 2);
    x * cos + turned * sin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_high_and_divides_low_frequencies() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        assert!((scaled(1.0, scaling) - 1.0).abs() < 1e-12);
        assert!((scaled(1e-6, scaling) - 1e-6 / 8.0).abs() < 1e-18);
    }

    #[test]
    fn rotation_turns_pairs_and_keeps_lengths() {
        let device = wise_tensor::DeviceName::Cpu.open().unwrap();
        let rope = Rope {
            frequencies: vec![1.0],
        };
        let (cos, sin) = rope.tables(&[0, 2], &device);
        let x = Tensor::<3>::from_floats([[[1.0, 0.0]], [[1.0, 0.0]]], &device);
        let turned: Vec<f32> = rotate(x, cos, sin).into_data().try_to_vec().unwrap();
        let expected = [1.0, 0.0, 2_f32.cos(), 2_f32.sin()];
        for (got, expected) in turned.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6);
        }
    }
}
