//! Rotary position embeddings (Su et al., 2021), in the half-split form of the Hugging Face Llama.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::config::RopeScaling;

/// Radians per position, one per pair of a head's elements.
#[derive(Debug, Clone)]
pub(crate) struct Rope(Vec<f32>);

impl Rope {
    pub(crate) fn new(width: usize, theta: f64, scaling: Option<RopeScaling>) -> Self {
        let frequency = |pair: usize| {
            let plain = theta.powf(-2.0 * pair as f64 / width as f64);
            scaling.map_or(plain, |scaling| scaled(plain, scaling)) as f32
        };
        Self((0..width / 2).map(frequency).collect())
    }

    pub(crate) fn frequencies(&self) -> &[f32] {
        &self.0
    }

    /// The angles at `positions`.
    pub(crate) fn angles(&self, positions: &[usize], device: &Device) -> Angles {
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|&p| {
                let half = self.0.iter().map(move |f| p as f32 * f);
                half.clone().chain(half)
            })
            .collect();
        let shape = [positions.len(), 1, 2 * self.0.len()];
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().copied().map(f).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Angles {
            cos: table(f32::cos),
            sin: table(f32::sin),
        }
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

/// Cosines and sines of the angles that tokens are rotated by, each `[tokens, 1, rotary_dim]`.
#[derive(Debug, Clone)]
pub(crate) struct Angles {
    cos: Tensor<3>,
    sin: Tensor<3>,
}

impl Angles {
    /// The same on a device.
    pub(crate) fn on(&self, device: &Device) -> Self {
        Self {
            cos: self.cos.clone().to_device(device),
            sin: self.sin.clone().to_device(device),
        }
    }

    pub(crate) fn select(&self, tokens: &Tensor<1, Int>) -> Self {
        Self {
            cos: self.cos.clone().select(0, tokens.clone()),
            sin: self.sin.clone().select(0, tokens.clone()),
        }
    }

    /// Rotates every head of `x` (`[tokens, heads, head_dim]`), as much of it as there are angles for.
    pub(crate) fn rotate(&self, x: Tensor<3>) -> Tensor<3> {
        let (width, turned) = (x.dims()[2], self.cos.dims()[2]);
        if turned < width {
            let rest = x.clone().narrow(2, turned, width - turned);
            return Tensor::cat(vec![self.rotate(x.narrow(2, 0, turned)), rest], 2);
        }
        let first = x.clone().narrow(2, 0, width / 2);
        let second = x.clone().narrow(2, width / 2, width / 2);
        let quarter_turned = Tensor::cat(vec![second.neg(), first], 2);
        x * self.cos.clone() + quarter_turned * self.sin.clone()
    }
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
        let angles = Rope(vec![1.0]).angles(&[0, 2], &device);
        let x = Tensor::<3>::from_floats([[[1.0, 0.0]], [[1.0, 0.0]]], &device);
        let turned: Vec<f32> = angles.rotate(x).into_data().try_to_vec().unwrap();
        let expected = [1.0, 0.0, 2_f32.cos(), 2_f32.sin()];
        for (got, expected) in turned.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6);
        }
    }
}
