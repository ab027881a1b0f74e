//! What can go wrong in a task.

use std::fmt;

/// Result of a task.
pub(crate) type Result<T = (), E = Error> = std::result::Result<T, E>;

/// What can go wrong in a task.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line is wrong.
    Usage { got: String, expected: &'static str },
    /// The task itself failed.
    Failed(String),
}

impl Error {
    pub(crate) fn usage(got: String, expected: &'static str) -> Self {
        Self::Usage { got, expected }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { got, expected } => {
                write!(f, "{got}, expected {expected}\nhint: cargo xtask help")
            }
            Self::Failed(message) => f.write_str(message),
        }
    }
}
