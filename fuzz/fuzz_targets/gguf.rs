//! A GGUF file: metadata, tokenizer, tensors.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use wise_fuzz::read_all;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).expect("room for a file");
    read_all(&path);
});
