//! The real `SmolLM2` file against figures of the reference stack.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use wise_model::{ChatTemplate, LoadReport, Message, ModelFiles, expected_tensors, open};

const GOLDEN: &str = include_str!("golden/smollm2_forward.json");

fn smollm2() -> ModelFiles {
    open("smollm2", &mut |_| {}).expect("smollm2 opens")
}

fn prompts() -> Vec<(String, Vec<u32>)> {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let prompt = |p: &Value| {
        let ids = p["ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_u64().unwrap() as u32);
        (p["text"].as_str().unwrap().to_owned(), ids.collect())
    };
    golden["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(prompt)
        .collect()
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn the_tokenizer_gives_the_golden_ids_and_back() {
    let model = smollm2();
    let prompts = prompts();
    assert_eq!(prompts.len(), 10);
    for (text, ids) in prompts {
        let encoding = model.tokenizer.encode(text.as_str(), true).unwrap();
        assert_eq!(encoding.get_ids(), ids, "{text}");
        assert_eq!(model.tokenizer.decode(&ids, true).unwrap(), text);
    }
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn the_configuration_and_the_tensors_fit_each_other() {
    let mut model = smollm2();
    let config = &model.config;
    assert_eq!(
        (config.vocab_size, config.hidden_size, config.ffn_size),
        (49152, 576, 1536)
    );
    assert_eq!(
        (
            config.layers,
            config.heads,
            config.kv_heads,
            config.head_dim
        ),
        (30, 9, 3, 64)
    );
    assert_eq!(
        (config.norm_eps, config.rope_theta, config.context),
        (1e-5, 1e5, 8192)
    );
    assert!(config.tied_head && !config.qkv_bias);
    assert_eq!(expected_tensors(config).len(), 272);
    assert_eq!(model.tensors.names().len(), 272);
    LoadReport::check(config, &*model.tensors).unwrap();
    assert_eq!(
        model.sha256,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    );
    let down = model
        .tensors
        .read("model.layers.0.mlp.down_proj.weight")
        .unwrap();
    assert_eq!(down.len(), 576 * 1536);
    assert!(down.iter().all(|value| value.is_finite()));
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn a_turn_ends_with_im_end_and_the_chat_template_adds_the_system_prompt() {
    let model = smollm2();
    assert_eq!(model.eos, [2]);
    assert_eq!(
        model.tokenizer.id_to_token(2).as_deref(),
        Some("<|im_end|>")
    );
    let template = ChatTemplate::compile(&model.chat_template.unwrap());
    let text = template.render(&[Message::user("Hi")], true).unwrap();
    assert_eq!(
        text,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
    let ids = model.tokenizer.encode(text, false).unwrap();
    assert_eq!(ids.get_ids()[..4], [1, 9690, 198, 2683]);
}
