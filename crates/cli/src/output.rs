//! The only place that writes to standard output and standard error.
//!
//! A closed pipe ends the process quietly, as the signal would have done.

use std::io::{self, IsTerminal, Write};

/// Writes text to standard output.
pub(crate) fn print(text: &str) {
    write_bytes(Stream::Stdout, text.as_bytes());
}

/// Writes text and a newline to standard output.
pub(crate) fn print_line(text: &str) {
    let mut line = String::with_capacity(text.len() + 1);
    line.push_str(text);
    line.push('\n');
    print(&line);
}

/// Writes text and a newline to standard error.
pub(crate) fn print_error_line(text: &str) {
    let mut line = String::with_capacity(text.len() + 1);
    line.push_str(text);
    line.push('\n');
    write_bytes(Stream::Stderr, line.as_bytes());
}

/// Which of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Whether a person reads it.
    pub(crate) fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }
}

/// Writes bytes at once, without waiting for a newline.
pub(crate) fn write_bytes(stream: Stream, bytes: &[u8]) {
    if let Err(error) = try_write(stream, bytes)
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        crate::terminal::restore();
        std::process::exit(if stream == Stream::Stdout { 141 } else { 1 });
    }
}

fn try_write(stream: Stream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Stdout => {
            // Straight to the descriptor: the library's line buffer would split what belongs together.
            let mut rest = bytes;
            let stdout = io::stdout().lock();
            while !rest.is_empty() {
                match rustix::io::write(&stdout, rest) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => rest = &rest[count..],
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => wait_writable(&stdout)?,
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        }
        Stream::Stderr => io::stderr().lock().write_all(bytes),
    }
}

fn wait_writable(descriptor: &impl std::os::fd::AsFd) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(descriptor, PollFlags::OUT)], None)?;
    Ok(())
}
