//! A folder in the Hugging Face layout whose weights are anything.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use wise_fuzz::read_all;

const CONFIG: &str = include_str!("../../crates/wise-model/tests/tiny/llama/config.json");
const TOKENIZER: &str = include_str!("../../crates/wise-model/tests/tiny/llama/tokenizer.json");

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = [
        ("config.json", CONFIG.as_bytes()),
        ("tokenizer.json", TOKENIZER.as_bytes()),
        ("model.safetensors", bytes),
    ];
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("room for a file");
    }
    read_all(folder.path());
});
