//! Parity of the forward pass with `PyTorch` and transformers on `SmolLM2-135M-Instruct`.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::OnceLock;

use common::Reference;
use wise_model::{Model, Overlay, PromptFormat, argmax};

fn reference() -> &'static Reference {
    static REFERENCE: OnceLock<Reference> = OnceLock::new();
    let golden = include_str!("golden/smollm2_forward.json");
    REFERENCE.get_or_init(|| Reference::of("smollm2", golden, 23))
}

fn model() -> &'static Model {
    &reference().model
}

fn logits(tokens: &[u32], layer: usize) -> Vec<Vec<f32>> {
    reference().logits(tokens, layer)
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn logits_agree_with_the_reference() {
    reference().check_logits();
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn residual_stream_agrees_after_every_layer() {
    reference().check_residual_stream();
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
    reference().check_losses_of_edits();
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn greedy_generation_agrees() {
    reference().check_greedy_generation();
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn perplexity_agrees() {
    reference().check_perplexity();
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn only_the_users_words_vote_even_where_the_template_repeats_them() {
    for text in ["a", "assistant", "im", "What is the capital of Peru?"] {
        let prompt = model().prompt(PromptFormat::Chat, "", text).unwrap();
        let voters = model()
            .detokenize(&prompt.tokens[prompt.scope.clone()])
            .unwrap();
        assert_eq!(voters, text);
        // After the message the template writes "<|im_end|>\n<|im_start|>assistant\n".
        assert_eq!(prompt.tokens.len() - prompt.scope.end, 6);
    }
}
