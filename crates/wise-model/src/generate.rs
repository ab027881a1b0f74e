//! Generation with a cache; the route is chosen once, when the prompt has been read.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::{EditSite, Error, Model, Overlay, Prompt, Result};

/// How tokens are chosen and when to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens to generate, the one that ends the answer included.
    pub max_new_tokens: usize,
    /// 0 takes the most likely token; more flattens the distribution.
    pub temperature: f64,
    /// Share of the probability mass to sample from, in (0, 1].
    pub top_p: f64,
    /// Seed of the sampling.
    pub seed: u64,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
        }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model said so.
    Eos,
    /// `max_new_tokens` or the context was reached.
    Length,
}

/// A generated answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Generated token ids, without the one that ended the answer.
    pub tokens: Vec<u32>,
    /// Their text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

impl Model {
    /// Generates an answer. `route` sees the prompt at the edit site of `layer` and picks the overlay that
    /// holds for the whole answer.
    ///
    /// # Errors
    /// [`Error::Setting`] on options out of range, [`Error::TooLong`] if the prompt fills the context.
    pub fn generate(
        &self,
        prompt: &Prompt,
        layer: usize,
        options: &GenerateOptions,
        route: &mut dyn FnMut(&EditSite) -> Overlay,
    ) -> Result<Generation> {
        let mut sampler = Sampler::new(options)?;
        let mut cache = self.new_cache();
        let site = self.prefix(&[prompt.tokens.clone().into()], layer, Some(&mut cache))?;
        let overlay = route(&site);
        let mut logits = self.last_logits(&site, &overlay, &mut cache)?;
        let mut tokens = Vec::new();
        let mut finish = Finish::Length;
        for step in 1..=options.max_new_tokens {
            let token = sampler.choose(&logits);
            if self.eos().contains(&token) {
                finish = Finish::Eos;
                break;
            }
            tokens.push(token);
            if step == options.max_new_tokens || cache.tokens() == self.config().context {
                break;
            }
            let site = self.prefix(&[vec![token].into()], layer, Some(&mut cache))?;
            logits = self.last_logits(&site, &overlay, &mut cache)?;
        }
        Ok(Generation {
            text: self.detokenize(&tokens)?,
            tokens,
            finish,
        })
    }

    fn last_logits(
        &self,
        site: &EditSite,
        overlay: &Overlay,
        cache: &mut crate::KvCache,
    ) -> Result<Vec<f32>> {
        let output = self.site_output(site, overlay);
        let last = site.layout.tokens() - 1;
        let logits = self.suffix(site, output, overlay, &[last], Some(cache));
        logits
            .into_data()
            .try_to_vec()
            .map_err(|e| Error::Tokenizer(format!("logits are not f32: {e:?}")))
    }
}

struct Sampler {
    temperature: f32,
    top_p: f32,
    random: ChaCha8Rng,
}

impl Sampler {
    fn new(options: &GenerateOptions) -> Result<Self> {
        let setting = |name, got, expected| {
            Err(Error::Setting {
                name,
                got,
                expected,
            })
        };
        if options.max_new_tokens == 0 {
            return setting("max_new_tokens", 0.0, "at least 1");
        }
        if !(options.temperature >= 0.0 && options.temperature.is_finite()) {
            return setting("temperature", options.temperature, "0 or more");
        }
        if !(options.top_p > 0.0 && options.top_p <= 1.0) {
            return setting("top_p", options.top_p, "more than 0 and at most 1");
        }
        Ok(Self {
            temperature: options.temperature as f32,
            top_p: options.top_p as f32,
            random: ChaCha8Rng::seed_from_u64(options.seed),
        })
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        if self.temperature == 0.0 {
            return argmax(logits);
        }
        let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut weighted: Vec<(u32, f32)> = (0..)
            .zip(logits)
            .map(|(token, logit)| (token, ((logit - peak) / self.temperature).exp()))
            .collect();
        weighted.sort_by(|a, b| b.1.total_cmp(&a.1));
        let total: f32 = weighted.iter().map(|(_, weight)| weight).sum();
        let uniform = self.random.next_u32() as f32 / 2_f32.powi(32);
        let mut left = uniform * self.top_p * total;
        for &(token, weight) in &weighted {
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
        weighted[0].0
    }
}

/// Index of the largest value, the first of several.
pub fn argmax(values: &[f32]) -> u32 {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f64, top_p: f64, seed: u64) -> Sampler {
        Sampler::new(&GenerateOptions {
            temperature,
            top_p,
            seed,
            ..GenerateOptions::default()
        })
        .unwrap()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(sampler(0.0, 1.0, 0).choose(&[1.0, 3.0, 3.0, 2.0]), 1);
    }

    #[test]
    fn a_small_top_p_leaves_only_the_likeliest() {
        let mut sampler = sampler(1.0, 0.1, 5);
        assert!((0..100).all(|_| sampler.choose(&[0.0, 2.0, 1.0]) == 1));
    }

    #[test]
    fn samples_follow_the_distribution_and_the_seed() {
        let logits = [0.0, 3_f32.ln()];
        let draw = |seed| {
            let mut sampler = sampler(1.0, 1.0, seed);
            (0..4000)
                .map(|_| sampler.choose(&logits))
                .collect::<Vec<_>>()
        };
        let ones = draw(1).iter().filter(|&&token| token == 1).count();
        // 3000 expected, standard deviation 27.
        assert!(ones.abs_diff(3000) < 140, "{ones}");
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (temperature, top_p) in [(-1.0, 1.0), (f64::NAN, 1.0), (1.0, 0.0), (1.0, 1.5)] {
            let options = GenerateOptions {
                temperature,
                top_p,
                ..GenerateOptions::default()
            };
            assert!(Sampler::new(&options).is_err());
        }
    }
}
