//! What can go wrong while a patch is saved or loaded.

use std::path::PathBuf;

use crate::Conflict;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while a patch is saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written. A failed save leaves what was there before.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is no patch, or a damaged one.
    #[error("{} is not a valid patch: {detail}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was got and what was expected.
        detail: String,
    },
    /// The patch was written by another version.
    #[error(
        "{} is from {} version of wise: it has patch schema {got}, expected {expected}",
        path.display(), if got > expected { "a newer" } else { "an older" }
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        got: u32,
        /// The schema this version reads.
        expected: u32,
    },
    /// The patch belongs to another model.
    #[error(
        "the patch was made for {patch_model} (model_id {expected}), got {model} (model_id {got})"
    )]
    WrongModel {
        /// Name of the model the patch was made for.
        patch_model: String,
        /// Its id.
        expected: String,
        /// Name of the model at hand.
        model: String,
        /// Its id.
        got: String,
    },
    /// The patch's matrix has another shape than the model's.
    #[error("the patch's {matrix} is {got:?}, expected {expected:?}")]
    Shape {
        /// Hugging Face name of the matrix.
        matrix: String,
        /// Its shape in the patch.
        got: [usize; 2],
        /// Its shape in the model.
        expected: [usize; 2],
    },
    /// What read the edits' keys does not fit the model.
    #[error("the patch's reader is {got} wide, expected {expected} as the model")]
    Reader {
        /// How wide it is in the patch.
        got: usize,
        /// How wide the model's hidden states are.
        expected: usize,
    },
    /// The file holds no key of the kind asked for.
    #[error("{} does not hold {kind} Ed25519 key in PEM", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Which kind, with its article.
        kind: &'static str,
    },
    /// Patches whose memories cannot stand side by side.
    #[error("the patches cannot be stacked: {0}")]
    NotAlike(String),
    /// A patch with edits that are not made yet cannot be stacked.
    #[error("a patch has edits that are not made yet, such as {0:?}")]
    Unfinished(String),
    /// Patches that give the same prompts different targets.
    #[error("the patches disagree on {}", disagreements(.0))]
    Conflicts(Vec<Conflict>),
    /// The file is no reader of relations, or a damaged one.
    #[error("{} is not a reader of relations: {detail}", path.display())]
    Relations {
        /// The file.
        path: PathBuf,
        /// What was got and what was expected.
        detail: String,
    },
    /// The reader of relations was learnt on another model.
    #[error("{} was learnt on {expected}, got {got}", path.display())]
    RelationsOfOtherModel {
        /// The file.
        path: PathBuf,
        /// Name of the model it was learnt on.
        expected: String,
        /// Name of the model at hand.
        got: String,
    },
    /// A shard's numbers do not fit the model.
    #[error("the patch's shards do not fit the model: {0}")]
    Edit(#[from] wise_edit::Error),
    /// The model could not be asked.
    #[error(transparent)]
    Model(#[from] wise_model::Error),
}

impl Error {
    /// A sentence about what a person can do, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io { action: "save", .. } => {
                "check that the folder exists, is writable and has room"
            }
            Self::Malformed { .. } => {
                "give a file that `wise edit --out` wrote; a damaged one has to come from a copy"
            }
            Self::Schema { got, expected, .. } if got > expected => "update wise",
            Self::Schema { .. } => "make the patch anew with this version",
            Self::WrongModel { patch_model, .. } => {
                return Some(format!(
                    "use --model {patch_model}, or edit this model anew"
                ));
            }
            Self::Key {
                kind: "a public", ..
            } => "`openssl pkey -in private.pem -pubout -out public.pem` makes one",
            Self::Key { .. } => "`openssl genpkey -algorithm ed25519 -out private.pem` makes one",
            Self::NotAlike(_) => "make the edits of one anew with the setup of the other",
            Self::Unfinished(_) => "make them with `wise edit --resume`, or drop them",
            Self::Conflicts(_) => "give --on-conflict first or last, or take one of the edits back",
            Self::Relations { .. } => "give a file that `wise relations --out` wrote",
            Self::RelationsOfOtherModel { .. } => "learn one on this model with `wise relations`",
            Self::Model(error) => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn disagreements(conflicts: &[Conflict]) -> String {
    let one = |conflict: &Conflict| {
        let targets = conflict.targets.iter();
        let targets = targets.map(|(patch, target)| format!("{target:?} in patch {}", patch + 1));
        format!(
            "{:?}: {}",
            conflict.prompt,
            targets.collect::<Vec<_>>().join(", ")
        )
    };
    conflicts.iter().map(one).collect::<Vec<_>>().join("; ")
}
