//! Parity of the forward pass with `PyTorch` and transformers on `SmolLM2-135M-Instruct`.
//!
//! Tolerances: token ids equal; logits and norms within 1e-3 relative; perplexity within 1e-3 relative.
#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;

use serde_json::Value;
use wise_model::{DeviceName, GenerateOptions, Model, Overlay, Prompt, argmax};

const TOLERANCE: f64 = 1e-3;
const NEEDS_MODEL: &str = "the smollm2 model loads";

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let device = DeviceName::Cpu.open().unwrap();
        Model::open("smollm2", &device, &mut |_| {}).expect(NEEDS_MODEL)
    })
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/smollm2_forward.json")).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).iter().map(|&id| id as u32).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|x| x.as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_close(got: f64, expected: f64, scale: f64, what: &str) {
    let error = (got - expected).abs() / scale.abs();
    assert!(error < TOLERANCE, "{what}: got {got}, expected {expected}");
}

/// Logits after every token, run as prefix and suffix split at `layer`.
fn logits(tokens: &[u32], layer: usize) -> Vec<Vec<f32>> {
    let at: Vec<usize> = (0..tokens.len()).collect();
    let rows = [tokens.to_vec().into()];
    let logits = model().logits(&rows, layer, &Overlay::Main, &at).unwrap();
    let width = logits.dims()[1];
    let flat: Vec<f32> = logits.into_data().iter::<f32>().collect();
    flat.chunks(width).map(<[f32]>::to_vec).collect()
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn logits_agree_with_the_reference() {
    for prompt in golden()["prompts"].as_array().unwrap() {
        let tokens = ids(&prompt["ids"]);
        let text = prompt["text"].as_str().unwrap();
        assert_eq!(model().tokenize(text).unwrap(), tokens, "{text}");
        let all = logits(&tokens, 26);
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

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn residual_stream_agrees_after_every_layer() {
    let golden = golden();
    let prompt = &golden["prompts"][0];
    let rows = [ids(&prompt["ids"]).into()];
    let expected = [
        numbers(&prompt["hidden_norm_first"]),
        numbers(&prompt["hidden_norm_last"]),
    ];
    for layer in 0..model().config().layers {
        let site = model().prefix(&rows, layer, None).unwrap();
        let after = site.residual.clone() + model().site_output(&site, &Overlay::Main);
        let norms: Vec<f32> = wise_tensor::row_norms(after).into_data().iter().collect();
        for (got, expected) in [norms[0], *norms.last().unwrap()].iter().zip(&expected) {
            let expected = expected[layer];
            assert_close(
                f64::from(*got),
                expected,
                expected,
                &format!("layer {layer}"),
            );
        }
    }
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn any_split_is_the_same_model() {
    let tokens = [504, 3575, 282, 4649, 314];
    let reference = logits(&tokens, 0);
    for layer in [7, 29] {
        for (a, b) in logits(&tokens, layer).iter().zip(&reference) {
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3));
        }
    }
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn a_batch_gives_what_its_rows_give_alone() {
    let texts = [
        vec![504_u32, 3575, 282],
        vec![1780, 5006, 1250, 36949, 36545],
        vec![81],
    ];
    let rows: Vec<_> = texts.iter().cloned().map(Into::into).collect();
    let together = model()
        .logits(&rows, 20, &Overlay::Main, &[2, 7, 8])
        .unwrap();
    let width = together.dims()[1];
    let together: Vec<f32> = together.into_data().iter::<f32>().collect();
    for (row, together) in texts.iter().zip(together.chunks(width)) {
        let alone = logits(row, 20).pop().unwrap();
        assert!(
            alone
                .iter()
                .zip(together)
                .all(|(a, b)| (a - b).abs() < 2e-3)
        );
        assert_eq!(argmax(&alone), argmax(together));
    }
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn losses_of_edits_agree() {
    let golden = golden();
    for edit in golden["edit_loss_before"].as_array().unwrap() {
        let (prompt, target) = (
            edit["prompt"].as_str().unwrap(),
            edit["target"].as_str().unwrap(),
        );
        let answered = model()
            .answered(wise_model::PromptFormat::Raw, "", prompt, target)
            .unwrap();
        assert_eq!(answered.tokens, ids(&edit["ids"]), "{prompt}");
        assert_eq!(
            answered.answer().start as u64,
            edit["prompt_len"].as_u64().unwrap()
        );
        let all = logits(&answered.tokens, 23);
        for (at, expected) in answered
            .answer()
            .zip(numbers(&edit["nll_per_target_token"]))
        {
            let row = &all[at - 1];
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            let nll = sum.ln() - f64::from(row[answered.tokens[at] as usize]);
            assert_close(nll, expected, expected.max(1.0), prompt);
        }
    }
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn greedy_generation_agrees() {
    for case in golden()["greedy"].as_array().unwrap() {
        let tokens = model().tokenize(case["text"].as_str().unwrap()).unwrap();
        let expected = ids(&case["new_ids"]);
        let options = GenerateOptions {
            max_new_tokens: expected.len(),
            ..GenerateOptions::default()
        };
        let prompt = Prompt {
            scope: 0..tokens.len(),
            tokens,
        };
        let mut generated = model()
            .generate(&prompt, 23, &options, &mut |_| Overlay::Main)
            .unwrap();
        if generated.finish == wise_model::Finish::Eos {
            generated.tokens.push(model().eos()[0]);
        }
        assert_eq!(generated.tokens, expected);
    }
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn perplexity_agrees() {
    let tokens = model()
        .tokenize(include_str!("golden/ppl_text.txt"))
        .unwrap();
    let golden = golden();
    assert_eq!(tokens, ids(&golden["ppl"]["ids"]));
    let all = logits(&tokens, 23);
    let total: f64 = (1..tokens.len())
        .map(|at| {
            let row = &all[at - 1];
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            sum.ln() - f64::from(row[tokens[at] as usize])
        })
        .sum();
    let perplexity = (total / (tokens.len() - 1) as f64).exp();
    let expected = golden["ppl"]["ppl"].as_f64().unwrap();
    assert_close(perplexity, expected, expected, "perplexity");
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn only_the_users_words_vote_even_where_the_template_repeats_them() {
    for text in ["a", "assistant", "im", "What is the capital of Peru?"] {
        let prompt = model()
            .prompt(wise_model::PromptFormat::Chat, "", text)
            .unwrap();
        let voters = model()
            .detokenize(&prompt.tokens[prompt.scope.clone()])
            .unwrap();
        assert_eq!(voters, text);
        // After the message the template writes "<|im_end|>\n<|im_start|>assistant\n".
        assert_eq!(prompt.tokens.len() - prompt.scope.end, 6);
    }
}
