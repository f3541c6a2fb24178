//! How a command ends when it does not succeed: an exit status, and a text for standard error.

use gantry_base::Error;

/// What a command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// The end of a command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) status: i32,
    /// Printed on standard error with a newline, unless empty.
    pub(crate) message: String,
}

impl Failure {
    /// Ends with status 1 and a text.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            status: 1,
            message: message.into(),
        }
    }
    /// Ends with `status` and says nothing.
    pub(crate) fn silent(status: i32) -> Self {
        Self {
            status,
            message: String::new(),
        }
    }
    /// The same text with another status.
    pub(crate) fn with_status(self, status: i32) -> Self {
        Self { status, ..self }
    }
    /// Several failures of one command, a line each.
    pub(crate) fn joined(failures: Vec<String>) -> Outcome {
        if failures.is_empty() {
            Ok(())
        } else {
            Err(Self::new(failures.join("\n")))
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.message())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Error::from(error).into()
    }
}
