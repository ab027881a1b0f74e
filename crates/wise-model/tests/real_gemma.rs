//! Parity of the forward pass with `PyTorch` and transformers on Gemma 3 270M.
#![allow(clippy::unwrap_used)]

mod common;

use common::Reference;
use wise_model::{LoadReport, open};

// One test, since each would hold its own copy of the model.
#[test]
#[ignore = "needs the gemma3-270m model (network): cargo xtask test runs it by name"]
fn gemma_agrees_with_the_reference() {
    let files = open("gemma3-270m", &mut |_| {}).unwrap();
    LoadReport::check(&files.config, files.tensors.as_ref()).unwrap();
    assert_eq!(
        (files.config.vocab_size, files.eos),
        (262_144, vec![1, 106])
    );

    let golden = include_str!("golden/gemma3_270m_forward.json");
    let reference = Reference::of("gemma3-270m", golden, 12);
    reference.check_logits();
    reference.check_residual_stream();
    reference.check_losses_of_edits();
    reference.check_greedy_generation();
    reference.check_perplexity();
}
