//! What can go wrong in an evaluation.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The editor failed, or the model could not run a record.
    #[error(transparent)]
    Edit(#[from] wise_edit::Error),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line of a file is not what its format asks for.
    #[error("{}, line {line}: got {got}, expected {expected}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is there.
        got: String,
        /// What should be there.
        expected: String,
    },
    /// An element of a file that is one JSON array is not what its format asks for.
    #[error("{}, record {record}: got {got}, expected {expected}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The element, counted from 1.
        record: usize,
        /// What is there.
        got: String,
        /// What should be there.
        expected: String,
    },
    /// A file has no records.
    #[error("{} has no records, expected at least one", .0.display())]
    Empty(PathBuf),
    /// A file has fewer records than were asked for.
    #[error("{} has {got} records, expected at least {expected}", path.display())]
    TooFew {
        /// The file.
        path: PathBuf,
        /// Records in it.
        got: usize,
        /// Records asked for.
        expected: usize,
    },
    /// No records were asked for.
    #[error("0 records asked for, expected at least 1")]
    NoneAskedFor,
    /// A report could not be turned into JSON.
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A folder has no report.
    #[error("{} has no metrics.json, expected the folder of a finished run", .0.display())]
    NoReport(PathBuf),
    /// A folder holds a run that has not written its report yet.
    #[error("the run in {} is not finished: got run.json, expected metrics.json as well", .0.display())]
    Unfinished(PathBuf),
    /// A report of another version.
    #[error("{}: got schema {got}, expected {expected}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        got: u32,
        /// The one that this version reads.
        expected: u32,
    },
    /// A file is no report.
    #[error("{} is not a report of wise eval: {detail}", path.display())]
    NotAReport {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        detail: String,
    },
    /// A page could not be made.
    #[error("cannot make the page: {0}")]
    Page(#[from] minijinja::Error),
    /// A folder holds a run already.
    #[error("{} holds a run already, expected a new or empty folder", .0.display())]
    RunExists(PathBuf),
    /// A folder holds another run.
    #[error("the run in {} is another one: {detail}", path.display())]
    OtherRun {
        /// The folder.
        path: PathBuf,
        /// The first thing in which they differ.
        detail: String,
    },
    /// A folder holds no run.
    #[error("{} holds no run: it has no run.json", .0.display())]
    NoRun(PathBuf),
    /// Another run's answers before editing cannot be taken over.
    #[error("the run in {} asked another model or in another way, expected the same model, prompt format and protocols", .0.display())]
    OtherBaseline(PathBuf),
    /// A file of a run is damaged.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, and what was got.
        detail: String,
    },
    /// An oracle was asked for in place of a router that is not there.
    #[error(
        "an oracle router was asked for with editor {editor}, expected one that has side memories"
    )]
    NoRouter {
        /// The editor's name.
        editor: &'static str,
    },
    /// A text is too short to be read in windows.
    #[error("the held text has {got} tokens, expected at least {expected}")]
    ShortText {
        /// Its tokens.
        got: usize,
        /// Tokens of a window.
        expected: usize,
    },
    /// A record cannot be asked about.
    #[error("record {record}, {prompt:?}: {source}")]
    OfRecord {
        /// Its place in the order of the edits, counted from 1.
        record: usize,
        /// How its prompt begins.
        prompt: String,
        /// Why.
        source: Box<Error>,
    },
    /// Another process writes the run.
    #[error("{} is being written by another process", .0.display())]
    RunBusy(PathBuf),
    /// A model cannot read a window of text.
    #[error("the model's context has {got} tokens, expected at least {expected} for the held text")]
    ShortContext {
        /// Tokens of its context.
        got: usize,
        /// Tokens of a window.
        expected: usize,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A sentence about what a person can do, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Edit(error) => error.hint(),
            Self::Io {
                action: "open" | "read",
                ..
            } => Some("check that the file exists and is readable".to_owned()),
            Self::Io { .. } => Some("check that the folder is writable and has room".to_owned()),
            Self::Line { .. } => Some(
                "correct that line, or check that the file has the format asked for".to_owned(),
            ),
            Self::Record { .. } => Some(
                "correct that record, or check that the file has the format asked for".to_owned(),
            ),
            Self::Empty(_) => {
                Some("give a file with a JSON object a line, or an array of them".to_owned())
            }
            Self::TooFew { got, .. } => Some(format!("ask for at most {got} records")),
            Self::NoneAskedFor => Some("leave the number out to use every record".to_owned()),
            Self::NoReport(_) | Self::NotAReport { .. } => {
                Some("give the folder that wise eval --out wrote, or its metrics.json".to_owned())
            }
            Self::Unfinished(_) => Some(
                "finish it: repeat the wise eval command it began with, and add --resume"
                    .to_owned(),
            ),
            Self::Schema { got, expected, .. } => Some(if got < expected {
                "run wise eval again: this version writes the newer schema".to_owned()
            } else {
                "use the version of wise that wrote it, or a newer one".to_owned()
            }),
            Self::RunExists(_) => {
                Some("give another --out, or --resume to go on with that run".to_owned())
            }
            Self::OtherRun { .. } => {
                Some("resume with the arguments it began with, or give another --out".to_owned())
            }
            Self::NoRun(_) => Some("give the folder that wise eval --out wrote".to_owned()),
            Self::OtherBaseline(_) => Some("leave --baseline out".to_owned()),
            Self::Damaged { .. } => Some("begin the run again in another folder".to_owned()),
            Self::OfRecord { source, .. } => source.hint(),
            Self::RunBusy(_) => Some("wait until it is done, or give another --out".to_owned()),
            Self::ShortText { .. } => Some("give a longer text".to_owned()),
            Self::ShortContext { .. } => Some("leave --held-text out".to_owned()),
            Self::Json(_) | Self::Page(_) | Self::NoRouter { .. } => None,
        }
    }
}
