//! Llama 3's rescaling of rotary frequencies, of which a GGUF file has what it divides each frequency by.

use super::super::report::unsupported;
use super::ROPE_FREQS;
use crate::rope::Rope;
use crate::{Config, Result, RopeScaling};

/// The settings that lead to these divisors. They cannot be told from the divisors alone, but Llama 3.1, 3.2 and 3.3
/// share all of them except the factor, and a model of others is refused.
pub(super) fn scaling(config: &Config, divisors: &[f32]) -> Result<Option<RopeScaling>> {
    let factor = divisors.iter().copied().fold(1.0, f32::max);
    let settings = (factor > 1.0).then_some(RopeScaling::Llama3 {
        factor: factor.into(),
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192,
    });
    let expected = divisors_of(config, settings);
    let same = |(got, expected): (&f32, &f32)| (got / expected - 1.0).abs() < 1e-4;
    let all_same = divisors.len() == expected.len() && divisors.iter().zip(&expected).all(same);
    match (config.rope_scaling, settings) {
        (scaling, None) if all_same => Ok(scaling),
        (None, settings) if all_same => Ok(settings),
        _ => Err(unsupported(
            ROPE_FREQS,
            "a tensor of other factors than those of Llama 3.1 to 3.3",
            "no such tensor; use the model in the Hugging Face layout, whose config.json has the settings",
        )),
    }
}

/// What llama.cpp divides a model's frequencies by; nothing where a setting says it.
pub(super) fn divisors(config: &Config) -> Vec<f32> {
    match config.rope_scaling {
        Some(RopeScaling::Llama3 { .. }) => divisors_of(config, config.rope_scaling),
        Some(RopeScaling::Linear { .. }) | None => Vec::new(),
    }
}

fn divisors_of(config: &Config, scaling: Option<RopeScaling>) -> Vec<f32> {
    let rope = |scaling| Rope::new(config.head_dim, config.rope_theta, scaling);
    let (plain, scaled) = (rope(None), rope(scaling));
    let both = plain.frequencies().iter().zip(scaled.frequencies());
    both.map(|(plain, scaled)| plain / scaled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::tiny_config;

    fn llama_3_2() -> (Config, [f32; 32]) {
        let mut config = tiny_config();
        (config.head_dim, config.rope_theta) = (64, 500_000.0);
        let mut divisors = [1.0; 32];
        // Figures of transformers for Llama 3.2 1B.
        divisors[15..18].copy_from_slice(&[1.65133, 3.29226, 9.66673]);
        divisors[18..].fill(32.0);
        (config, divisors)
    }

    #[test]
    fn the_divisors_of_llama_3_2_are_its_settings() {
        let (config, divisors) = llama_3_2();
        let expected = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        assert_eq!(scaling(&config, &divisors).unwrap(), Some(expected));
        assert_eq!(scaling(&config, &[1.0; 32]).unwrap(), None);
    }

    #[test]
    fn other_divisors_are_refused() {
        let (config, divisors) = llama_3_2();
        let mut other = divisors;
        other[16] = 4.0;
        for refused in [&other[..], &divisors[1..], &[0.0; 32]] {
            let error = scaling(&config, refused).unwrap_err().to_string();
            assert!(error.contains("rope_freqs.weight"), "{error}");
        }
        let config = Config {
            rope_scaling: Some(RopeScaling::Linear { factor: 2.0 }),
            ..config
        };
        assert!(scaling(&config, &divisors).is_err());
        assert!(scaling(&config, &[1.0; 32]).unwrap().is_some());
    }
}
