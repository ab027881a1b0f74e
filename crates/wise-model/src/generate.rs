//! Generation with a cache; the route is chosen once, when the prompt has been read.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::{EditSite, Error, KvCache, Model, Overlay, Prompt, Result, Row};

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
        let mut route = |site: &EditSite| vec![route(site)];
        let generated = self.generate_together(&[(prompt, options)], layer, &mut route)?;
        generated
            .into_iter()
            .next()
            .ok_or(Error::Empty { what: "prompt" })
    }

    /// Generates an answer to each prompt, side by side: on the CPU most of the time of a single token goes into
    /// reading the weights, which the answers then share. `route` sees all prompts at the edit site of `layer` and
    /// picks an overlay for each.
    ///
    /// # Errors
    /// As [`Self::generate`]; [`Error::OtherAdapters`] if the overlays differ above the edit site.
    pub fn generate_together(
        &self,
        prompts: &[(&Prompt, &GenerateOptions)],
        layer: usize,
        route: &mut dyn FnMut(&EditSite) -> Vec<Overlay>,
    ) -> Result<Vec<Generation>> {
        let mut answers = prompts
            .iter()
            .map(|(_, options)| Writing::new(options))
            .collect::<Result<Vec<_>>>()?;
        if answers.is_empty() {
            return Ok(Vec::new());
        }
        let mut cache = self.new_cache(prompts.len());
        let rows: Vec<Row> = prompts
            .iter()
            .map(|(p, _)| p.tokens.clone().into())
            .collect();
        let mut site = self.prefix(&rows, layer, Some(&mut cache))?;
        let mut overlays = route(&site);
        let mut unfinished: Vec<usize> = (0..answers.len()).collect();
        loop {
            let logits = self.last_logits(&site, &overlays, &mut cache)?;
            let logits = logits.chunks(self.config().vocab_size);
            let mut rows: Vec<Row> = Vec::new();
            let mut kept = Vec::new();
            for (sequence, (logits, &answer)) in logits.zip(&unfinished).enumerate() {
                let full = cache.tokens(sequence) == self.config().context;
                if let Some(token) = answers[answer].write(logits, self.eos(), full) {
                    rows.push(vec![token].into());
                    kept.push(sequence);
                }
            }
            if kept.is_empty() {
                break;
            }
            if kept.len() < unfinished.len() {
                cache.keep(&kept);
                overlays = kept.iter().map(|&k| overlays[k].clone()).collect();
                unfinished = kept.iter().map(|&k| unfinished[k]).collect();
            }
            site = self.prefix(&rows, layer, Some(&mut cache))?;
        }
        let finished = answers.into_iter().map(|answer| answer.finish(self));
        finished.collect()
    }

    /// Logits after the last token of each row, `rows * vocabulary` of them.
    fn last_logits(
        &self,
        site: &EditSite,
        overlays: &[Overlay],
        cache: &mut KvCache,
    ) -> Result<Vec<f32>> {
        let output = self.site_output_by_row(site, overlays)?;
        let last: Vec<usize> = site.layout.rows().iter().map(|row| row.end - 1).collect();
        let logits = self.suffix(site, output, &overlays[0], &last, Some(cache));
        logits
            .into_data()
            .try_to_vec()
            .map_err(|e| Error::Tokenizer(format!("logits are not f32: {e:?}")))
    }
}

/// An answer while it is generated.
struct Writing {
    sampler: Sampler,
    most: usize,
    tokens: Vec<u32>,
    finish: Finish,
}

impl Writing {
    fn new(options: &GenerateOptions) -> Result<Self> {
        Ok(Self {
            sampler: Sampler::new(options)?,
            most: options.max_new_tokens,
            tokens: Vec::new(),
            finish: Finish::Length,
        })
    }

    /// Adds the next token, and returns it if the answer goes on behind it.
    fn write(&mut self, logits: &[f32], eos: &[u32], full: bool) -> Option<u32> {
        let token = self.sampler.choose(logits);
        if eos.contains(&token) {
            self.finish = Finish::Eos;
            return None;
        }
        self.tokens.push(token);
        (self.tokens.len() < self.most && !full).then_some(token)
    }

    fn finish(self, model: &Model) -> Result<Generation> {
        Ok(Generation {
            text: model.detokenize(&self.tokens)?,
            tokens: self.tokens,
            finish: self.finish,
        })
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
