//! What can go wrong while a model is edited.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while a model is edited.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model could not run a sequence.
    #[error(transparent)]
    Model(#[from] wise_model::Error),
    /// The subspace of a shard could not be drawn.
    #[error(transparent)]
    Mask(#[from] wise_merge::Error),
    /// An edit lacks a text it needs.
    #[error("edit {index}: the {field} is empty, expected a text")]
    EmptyField {
        /// Which edit of the editor's life, counted from 1.
        index: usize,
        /// `prompt` or `target`.
        field: &'static str,
    },
    /// An edit does not fit the model's context.
    #[error(
        "edit {index}: prompt and target have {got} tokens with their context, expected at most {context}"
    )]
    EditTooLong {
        /// Which edit of the editor's life, counted from 1.
        index: usize,
        /// Tokens of its longest row.
        got: usize,
        /// The model's context in tokens.
        context: usize,
    },
    /// There is nothing to train the router against.
    #[error("no router negatives, expected at least one unrelated prompt")]
    NoNegatives,
    /// A router negative cannot be run.
    #[error("router negative {index}: {source}")]
    Negative {
        /// Which one, counted from 1.
        index: usize,
        /// Why not.
        source: Box<wise_model::Error>,
    },
    /// Nothing tells the model to stop.
    #[error("the model {model} has no end-of-sequence token, expected one in its configuration")]
    NoEos {
        /// Name of the model.
        model: String,
    },
    /// A hyperparameter is out of its range.
    #[error("{name} is {got}, expected {expected}")]
    Hyperparameter {
        /// Its name in the configuration file.
        name: &'static str,
        /// Its value.
        got: String,
        /// Its range in words.
        expected: &'static str,
    },
    /// There is no edit of that id.
    #[error("there is no edit {id}")]
    NoSuchEdit {
        /// The id as given.
        id: usize,
    },
    /// Keys do not belong to the edits they came with.
    #[error("got {got} keys, expected {expected}: one per edit")]
    Keys {
        /// How many there are.
        got: usize,
        /// How many the edits need.
        expected: usize,
    },
    /// A reader of relations is of another model.
    #[error(
        "the reader of relations takes {got} numbers a prompt, expected {expected} as of the model"
    )]
    Relations {
        /// How many it takes.
        got: usize,
        /// Twice the width of the model's hidden states.
        expected: usize,
    },
    /// Edits have been made without reading what they ask for.
    #[error("a reader of relations was given after edits had been made, expected before")]
    LateRelations,
    /// What was learnt earlier can only be taken up by an editor that has learnt nothing itself.
    #[error("an editor with edits was to take up those of another, expected one without")]
    NotNew,
    /// A shard that replays the prompts of others cannot be trained anew without them.
    #[error("edits made with `replay` cannot be taken back: shards depend on each other's prompts")]
    UndoOfReplay,
    /// A part of an editor's state does not belong to this run.
    #[error("the saved state {name} does not belong to this run: {detail}")]
    StatePart {
        /// Name of the part.
        name: String,
        /// What was got.
        detail: String,
    },
    /// Something could not be written as JSON.
    #[error("cannot write as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Training diverged.
    #[error(
        "edit {index}: the loss became {loss} at iteration {iteration}, expected a finite number"
    )]
    Diverged {
        /// Which edit of the editor's life, counted from 1.
        index: usize,
        /// The iteration, counted from 1.
        iteration: usize,
        /// The loss.
        loss: f32,
    },
}

impl Error {
    /// A sentence about what a person can do, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Model(error) => error.hint(),
            Self::Negative { source, .. } => source.hint(),
            Self::NoEos { .. } => {
                Some("add eos_token_id to generation_config.json, or use --compat paper".to_owned())
            }
            Self::EmptyField { .. } => Some("give every edit a prompt and a target".to_owned()),
            Self::EditTooLong { .. } => Some("shorten the prompt or the target".to_owned()),
            Self::Diverged { .. } => Some("lower edit_lr in the configuration".to_owned()),
            _ => None,
        }
    }
}

/// Refuses a hyperparameter that is out of its range.
pub(crate) fn require(
    name: &'static str,
    got: impl ToString,
    holds: bool,
    expected: &'static str,
) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::Hyperparameter {
        name,
        got: got.to_string(),
        expected,
    })
}
