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
            Self::Json(_) => None,
        }
    }
}
