//! The runtime's error: a class that callers branch on, and a text in runc's words where runc has words.

use std::fmt::{self, Write as _};

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Classes that callers branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The program was not found: exit code 127.
    CommandNotFound,
    /// The program could not be executed: exit code 126.
    CommandNotExecutable,
    /// The request contradicts itself or names what does not exist.
    Invalid,
    /// The named process does not exist or has ended.
    NoSuchProcess,
    /// Something that is not supported.
    Unsupported,
    /// Everything else.
    Internal,
}

impl ErrorKind {
    const ALL: [Self; 6] = [
        Self::CommandNotFound,
        Self::CommandNotExecutable,
        Self::Invalid,
        Self::NoSuchProcess,
        Self::Unsupported,
        Self::Internal,
    ];

    pub(crate) fn to_byte(self) -> u8 {
        Self::ALL
            .iter()
            .position(|kind| *kind == self)
            .map_or(u8::MAX, |index| u8::try_from(index).unwrap_or(u8::MAX))
    }
    pub(crate) fn from_byte(byte: u8) -> Self {
        Self::ALL
            .get(usize::from(byte))
            .copied()
            .unwrap_or(Self::Internal)
    }
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What class of failure.
    pub kind: ErrorKind,
    /// For the user.
    pub message: String,
}

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
    /// [`ErrorKind::Invalid`]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }
    /// [`ErrorKind::Unsupported`]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }
    /// [`ErrorKind::Internal`]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
    /// The same kind, with `prefix: ` before the message.
    #[must_use]
    pub fn prefixed(mut self, prefix: impl fmt::Display) -> Self {
        self.message = format!("{prefix}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<gantry_base::Error> for Error {
    fn from(error: gantry_base::Error) -> Self {
        let kind = match error.kind() {
            gantry_base::ErrorKind::InvalidParameter | gantry_base::ErrorKind::NotFound => {
                ErrorKind::Invalid
            }
            gantry_base::ErrorKind::NotImplemented => ErrorKind::Unsupported,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.message())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        // The base's conversion gives the text the form of Go's errors.
        gantry_base::Error::from(error).into()
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(error: rustix::io::Errno) -> Self {
        std::io::Error::from(error).into()
    }
}

/// Adds what was attempted to an error that crosses a boundary.
pub(crate) trait Context<T> {
    /// Prefixes the message with `what` and `: `.
    fn context(self, what: impl fmt::Display) -> Result<T>;
    /// Like [`Context::context`], computed only on failure.
    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().prefixed(what))
    }
    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.into().prefixed(what()))
    }
}

/// Text in double quotes as Go's `%q` prints it; users and foreign tests know messages in that form.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            control if control.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
