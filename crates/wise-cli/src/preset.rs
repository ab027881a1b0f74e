//! Hyperparameters by model family, shipped with the program.

use crate::error::{Error, Result};

/// Name and contents of each file in `presets/`.
const PRESETS: &[(&str, &str)] = &[
    (
        "blip2-opt-2.7b",
        include_str!("../presets/blip2-opt-2.7b.toml"),
    ),
    ("gpt-j-6b", include_str!("../presets/gpt-j-6b.toml")),
    ("gpt2-xl", include_str!("../presets/gpt2-xl.toml")),
    ("llama-2-7b", include_str!("../presets/llama-2-7b.toml")),
    ("llama-3-8b", include_str!("../presets/llama-3-8b.toml")),
    ("llama-3.1-8b", include_str!("../presets/llama-3.1-8b.toml")),
    ("llama-3.2-3b", include_str!("../presets/llama-3.2-3b.toml")),
    (
        "llava-onevision-7b",
        include_str!("../presets/llava-onevision-7b.toml"),
    ),
    (
        "minigpt4-vicuna-7b",
        include_str!("../presets/minigpt4-vicuna-7b.toml"),
    ),
    ("mistral-7b", include_str!("../presets/mistral-7b.toml")),
    ("qwen2-vl-7b", include_str!("../presets/qwen2-vl-7b.toml")),
    ("qwen2.5-7b", include_str!("../presets/qwen2.5-7b.toml")),
    ("qwen3-vl-4b", include_str!("../presets/qwen3-vl-4b.toml")),
    ("qwen3.5-9b", include_str!("../presets/qwen3.5-9b.toml")),
    ("smollm2", include_str!("../presets/smollm2.toml")),
];

/// The TOML text of a preset.
pub fn text(name: &str) -> Result<&'static str> {
    let found = PRESETS.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, text)| *text)
        .ok_or_else(|| Error::NoSuchPreset(name.to_owned()))
}

/// What tells prompts by what they ask for, of a model that is known by name, as a file of `wise relations`.
pub fn relations(model: &str) -> Option<&'static [u8]> {
    match model {
        "smollm2" => Some(include_bytes!("../relations/smollm2.safetensors")),
        "gemma3-270m" => Some(include_bytes!("../relations/gemma3-270m.safetensors")),
        _ => None,
    }
}

/// The names of all presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The preset of a model that is known by name.
pub fn of_model(model: &str) -> Option<&'static str> {
    names().find(|name| *name == model)
}

#[cfg(test)]
mod tests {
    use toml::Table;
    use wise_edit::WiseConfig;

    use super::*;

    #[test]
    fn every_preset_is_a_configuration() {
        let files = std::fs::read_dir("presets").unwrap();
        assert_eq!(files.count(), names().count());
        for name in names() {
            let table: Table = text(name).unwrap().parse().unwrap();
            let config: Result<WiseConfig, _> = table.try_into();
            assert!(config.is_ok(), "{name}: {config:?}");
        }
    }
}
