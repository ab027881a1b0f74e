//! A real model against the figures that `PyTorch` and transformers give for its weights (`golden/*_forward.json`).
//!
//! Tolerances: token ids equal; logits, norms and perplexity within 1e-3 relative.

use serde_json::Value;
use wise_model::{
    DeviceName, Finish, GenerateOptions, Model, Overlay, Prompt, PromptFormat, argmax,
};

const TOLERANCE: f64 = 1e-3;

pub struct Reference {
    pub model: Model,
    golden: Value,
    /// Where the passes are split, if a check does not say.
    layer: usize,
}

impl Reference {
    pub fn of(name: &str, golden: &str, layer: usize) -> Self {
        let device = DeviceName::Cpu.open().unwrap();
        Self {
            model: Model::open(name, &device, &mut |_| {}).expect("the model loads"),
            golden: serde_json::from_str(golden).unwrap(),
            layer,
        }
    }

    /// Logits after every token, run as prefix and suffix split at `layer`.
    pub fn logits(&self, tokens: &[u32], layer: usize) -> Vec<Vec<f32>> {
        let at: Vec<usize> = (0..tokens.len()).collect();
        let rows = [tokens.to_vec().into()];
        let logits = self.model.logits(&rows, layer, &Overlay::Main, &at);
        let logits = logits.unwrap();
        let width = logits.dims()[1];
        let flat: Vec<f32> = logits.into_data().iter::<f32>().collect();
        flat.chunks(width).map(<[f32]>::to_vec).collect()
    }

    pub fn check_logits(&self) {
        for prompt in self.golden["prompts"].as_array().unwrap() {
            let tokens = ids(&prompt["ids"]);
            let text = prompt["text"].as_str().unwrap();
            assert_eq!(self.model.tokenize(text).unwrap(), tokens, "{text}");
            let all = self.logits(&tokens, self.layer);
            let last = all.last().unwrap();
            let top = numbers(&prompt["top20_logits"]);
            for (id, expected) in ids(&prompt["top20_ids"]).iter().zip(&top) {
                assert_close(f64::from(last[*id as usize]), *expected, top[0], text);
            }
            let sum: f64 = last.iter().map(|&x| f64::from(x).exp()).sum();
            let expected = prompt["logsumexp_last"].as_f64().unwrap();
            assert_close(sum.ln(), expected, expected, text);
            let argmaxes: Vec<u32> = all.iter().map(|row| argmax(row)).collect();
            assert_eq!(argmaxes, ids(&prompt["argmax_each_pos"]), "{text}");
        }
    }

    pub fn check_residual_stream(&self) {
        let prompt = &self.golden["prompts"][0];
        let rows = [ids(&prompt["ids"]).into()];
        let expected = [
            numbers(&prompt["hidden_norm_first"]),
            numbers(&prompt["hidden_norm_last"]),
        ];
        for layer in 0..self.model.config().layers {
            let site = self.model.prefix(&rows, layer, None).unwrap();
            let output = self.model.site_output(&site, &Overlay::Main);
            let after = self.model.after_site(&site, output);
            let norms: Vec<f32> = wise_tensor::row_norms(after).into_data().iter().collect();
            for (got, expected) in [norms[0], *norms.last().unwrap()].iter().zip(&expected) {
                let expected = expected[layer];
                let what = format!("layer {layer}");
                assert_close(f64::from(*got), expected, expected, &what);
            }
        }
    }

    pub fn check_losses_of_edits(&self) {
        for edit in self.golden["edit_loss_before"].as_array().unwrap() {
            let text = |key: &str| edit[key].as_str().unwrap();
            let prompt = text("prompt");
            let answered = self
                .model
                .answered(PromptFormat::Raw, "", prompt, text("target"))
                .unwrap();
            assert_eq!(answered.tokens, ids(&edit["ids"]), "{prompt}");
            let start = edit["prompt_len"].as_u64().unwrap();
            assert_eq!(answered.answer().start as u64, start);
            let all = self.logits(&answered.tokens, self.layer);
            let expected = numbers(&edit["nll_per_target_token"]);
            for (at, expected) in answered.answer().zip(expected) {
                let nll = nll_of(&all[at - 1], answered.tokens[at]);
                assert_close(nll, expected, expected.max(1.0), prompt);
            }
        }
    }

    pub fn check_greedy_generation(&self) {
        for case in self.golden["greedy"].as_array().unwrap() {
            let tokens = self.model.tokenize(case["text"].as_str().unwrap()).unwrap();
            let expected = ids(&case["new_ids"]);
            let options = GenerateOptions {
                max_new_tokens: expected.len(),
                ..GenerateOptions::default()
            };
            let prompt = Prompt {
                scope: 0..tokens.len(),
                tokens,
            };
            let mut generated = self
                .model
                .generate(&prompt, self.layer, &options, &mut |_| Overlay::Main)
                .unwrap();
            if generated.finish == Finish::Eos {
                generated.tokens.push(self.model.eos()[0]);
            }
            assert_eq!(generated.tokens, expected);
        }
    }

    pub fn check_perplexity(&self) {
        let text = include_str!("../golden/ppl_text.txt");
        let tokens = self.model.tokenize(text).unwrap();
        assert_eq!(tokens, ids(&self.golden["ppl"]["ids"]));
        let all = self.logits(&tokens, self.layer);
        let predicted = tokens[1..].iter().zip(&all);
        let total: f64 = predicted.map(|(&token, row)| nll_of(row, token)).sum();
        let perplexity = (total / (tokens.len() - 1) as f64).exp();
        let expected = self.golden["ppl"]["ppl"].as_f64().unwrap();
        assert_close(perplexity, expected, expected, "perplexity");
    }
}

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).iter().map(|&id| id as u32).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn nll_of(logits: &[f32], token: u32) -> f64 {
    let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    sum.ln() - f64::from(logits[token as usize])
}

#[track_caller]
fn assert_close(got: f64, expected: f64, scale: f64, what: &str) {
    let error = (got - expected).abs() / scale.abs();
    assert!(error < TOLERANCE, "{what}: got {got}, expected {expected}");
}
