//! Everything that ends a command early.

use std::path::{Path, PathBuf};

use wise_model::Precision;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Tensor(#[from] wise_tensor::Error),
    #[error(transparent)]
    Model(#[from] wise_model::Error),
    #[error(transparent)]
    Edit(#[from] wise_edit::Error),
    #[error(transparent)]
    Patch(#[from] wise_patch::Error),
    #[error(transparent)]
    Eval(#[from] wise_eval::Error),
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot print: {0}")]
    Print(std::io::Error),
    #[error("{} is not a valid configuration: {detail}", path.display())]
    Config { path: PathBuf, detail: String },
    #[error("{} is not a conversation: {detail}", path.display())]
    Conversation { path: PathBuf, detail: String },
    #[error("--earlier is of a chat, got --prompt-format raw")]
    EarlierInRaw,
    #[error("there is no preset {0:?}, expected {list} or none", list = crate::preset::names().collect::<Vec<_>>().join(", "))]
    NoSuchPreset(String),
    #[error("0 repeats asked for, expected at least 1")]
    NoRepeats,
    #[error("{flag} means nothing to --editor {editor}")]
    NotOfEditor { flag: &'static str, editor: String },
    #[error("{} has neither rephrasings nor near misses, expected some", .0.display())]
    NoPairs(PathBuf),
    #[error("{} has no edit {id}, expected {}", path.display(), listed(ids))]
    NoSuchEdit {
        path: PathBuf,
        id: usize,
        ids: Vec<usize>,
    },
    #[error("{} is signed by {got}, expected {expected}", path.display())]
    NotSignedBy {
        path: PathBuf,
        got: String,
        expected: String,
    },
    #[error("{} is being edited by another process", .0.display())]
    Locked(PathBuf),
    #[error("{} has edits that are not made yet: {}", path.display(), listed(ids))]
    Unfinished { path: PathBuf, ids: Vec<usize> },
    #[error("an export holds the weights as the model has them, got --precision {0}")]
    RoundedExport(Precision),
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    #[error("{} exists, expected a folder to be made", .0.display())]
    FolderExists(PathBuf),
}

impl Error {
    pub fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub fn write(path: &Path, source: std::io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }

    pub fn config(path: &Path, detail: &impl ToString) -> Self {
        Self::Config {
            path: path.to_owned(),
            detail: detail.to_string().trim().to_owned(),
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tensor(error) => Some(error.hint()),
            Self::Model(error) => error.hint(),
            Self::Edit(error) => error.hint(),
            Self::Patch(error) => error.hint(),
            Self::Eval(error) => error.hint(),
            Self::Write { .. } => {
                Some("check that the folder exists, is writable and has room".to_owned())
            }
            Self::Exists(_) => Some("give another --out, or --force to replace it".to_owned()),
            Self::Conversation { .. } => Some(
                "each line is a message, such as {\"role\": \"user\", \"content\": \"Hello\"}"
                    .to_owned(),
            ),
            Self::EarlierInRaw => Some("ask with --prompt-format chat".to_owned()),
            Self::FolderExists(_) => Some("give another folder, or remove this one".to_owned()),
            Self::NoSuchEdit { path, .. } => Some(format!(
                "`wise patch list {}` shows them with their prompts",
                path.display()
            )),
            Self::Unfinished { path, .. } => {
                let path = path.display();
                Some(format!(
                    "`wise edit --patch {path} --resume` makes them, `wise patch undo {path} ID..` drops them"
                ))
            }
            Self::RoundedExport(_) => Some("leave --precision out".to_owned()),
            Self::Locked(_) => Some("wait until it is done, or give another --out".to_owned()),
            Self::NoPairs(_) => Some(
                "give records with a `rephrase`, such as cargo xtask locality writes".to_owned(),
            ),
            Self::Read { .. }
            | Self::Config { .. }
            | Self::NotSignedBy { .. }
            | Self::NoSuchPreset(_)
            | Self::NotOfEditor { .. }
            | Self::NoRepeats
            | Self::Print(_) => None,
        }
    }
}

/// Ids in words, runs of them as ranges.
fn listed(ids: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &id in ids {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == id => *last = id,
            _ => runs.push((id, id)),
        }
    }
    let run = |(first, last): &(usize, usize)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first} to {last}")
        }
    };
    match runs.as_slice() {
        [] => "none: it holds no edits".to_owned(),
        runs => runs.iter().map(run).collect::<Vec<_>>().join(", "),
    }
}
