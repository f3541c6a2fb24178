//! The user's terminal: its size, raw mode, and giving it back as it was.

use crate::failure::{Failure, Outcome};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::sync::Mutex;

/// What the terminal was before raw mode; put back by [`restore`].
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    isatty(rustix::stdio::stdin())
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    isatty(rustix::stdio::stdout())
}

/// Rows and columns of the terminal on standard output.
pub(crate) fn size() -> Option<(u16, u16)> {
    tcgetwinsize(rustix::stdio::stdout())
        .ok()
        .map(|size| (size.ws_row, size.ws_col))
        .filter(|size| *size != (0, 0))
}

/// Rows and columns of the terminal on standard input.
pub(crate) fn size_of_stdin() -> Option<(u16, u16)> {
    tcgetwinsize(rustix::stdio::stdin())
        .ok()
        .map(|size| (size.ws_row, size.ws_col))
        .filter(|(_, columns)| *columns > 0)
}

/// Runs `read` while the terminal does not show what is typed.
///
/// # Errors
/// What `read` returns.
pub(crate) fn without_echo<T>(read: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let Ok(saved) = tcgetattr(rustix::stdio::stdin()) else {
        return read();
    };
    let mut silent = saved.clone();
    silent.local_modes -= rustix::termios::LocalModes::ECHO;
    // A terminal that refuses shows the password: better than none at all.
    let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &silent);
    let outcome = read();
    let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &saved);
    outcome
}

/// A terminal in raw mode until this is dropped.
pub(crate) struct RawMode(());

impl RawMode {
    /// Hands each key through as it is. Nothing happens where standard input is no terminal.
    ///
    /// # Errors
    /// The terminal refuses.
    pub(crate) fn enter() -> Outcome<Self> {
        if !stdin_is_terminal() {
            return Ok(Self(()));
        }
        let failure = |error: rustix::io::Errno| {
            Failure::new(format!(
                "unable to setup input stream: unable to set IO streams as raw terminal: {error}"
            ))
        };
        let saved = tcgetattr(rustix::stdio::stdin()).map_err(failure)?;
        let mut raw = saved.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw).map_err(failure)?;
        *SAVED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(saved);
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was before raw mode, if it was changed.
pub(crate) fn restore() {
    let saved = SAVED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take();
    if let Some(saved) = saved {
        // There is nobody left to tell.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &saved);
    }
}

/// Docker's refusal of `-t` with an input that is no terminal.
pub(crate) fn check_tty(is_attached: bool, is_tty: bool) -> Outcome {
    if is_attached && is_tty && !stdin_is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    Ok(())
}
