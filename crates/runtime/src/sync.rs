//! The conversation of a container's creator with its init, over a pair of packet sockets.
//!
//! Init's end is close-on-exec: the end of the connection without an error before it means that the program was executed.

use gantry_sys::fdpass;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Error, ErrorKind, Result};

/// Longest text of an error or warning; longer ones are cut.
const TEXT_MAX: usize = 16 * 1024;

/// Init to creator.
#[derive(Debug)]
pub(crate) enum Report {
    /// Something was approximated.
    Warning(String),
    /// The master of the container's terminal.
    Terminal(OwnedFd),
    /// Hooks of the creator's namespaces are due; answered by [`Order::Continue`].
    Hooks,
    /// Everything is ready; waits for [`Order::Continue`].
    Created,
    /// The process that goes on, where it is not the one that was cloned first.
    Process(i32, OwnedFd),
    /// It failed and ends.
    Failed(Error),
}

/// Creator to init: go on. Anything else, the end of the connection too, tells init to end.
const CONTINUE: &[u8] = b"+";

pub(crate) fn send_continue(socket: impl AsFd) -> Result<()> {
    Ok(fdpass::send(socket, CONTINUE, &[])?)
}

/// Waits for the creator's word.
pub(crate) fn wait_continue(socket: impl AsFd) -> Result<()> {
    match fdpass::receive(socket, 8)? {
        Some(packet) if packet.bytes == CONTINUE => Ok(()),
        _ => Err(Error::internal("the container's creator gave up")),
    }
}

pub(crate) fn send(socket: impl AsFd, report: &Report) -> Result<()> {
    let mut bytes = Vec::new();
    let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
    match report {
        Report::Warning(text) => {
            bytes.push(b'W');
            bytes.extend(&text.as_bytes()[..text.len().min(TEXT_MAX)]);
        }
        Report::Terminal(master) => {
            bytes.push(b'T');
            fds.push(master.as_fd());
        }
        Report::Hooks => bytes.push(b'H'),
        Report::Created => bytes.push(b'C'),
        Report::Process(pid, pidfd) => {
            bytes.push(b'P');
            bytes.extend(pid.to_le_bytes());
            fds.push(pidfd.as_fd());
        }
        Report::Failed(error) => {
            bytes.extend([b'E', error.kind.to_byte()]);
            bytes.extend(&error.message.as_bytes()[..error.message.len().min(TEXT_MAX)]);
        }
    }
    Ok(fdpass::send(socket, &bytes, &fds)?)
}

/// The next report; none at the end of the connection.
pub(crate) fn receive(socket: impl AsFd) -> Result<Option<Report>> {
    let Some(mut packet) = fdpass::receive(socket, TEXT_MAX + 16)? else {
        return Ok(None);
    };
    let text = |from: usize| {
        String::from_utf8_lossy(packet.bytes.get(from..).unwrap_or_default()).into_owned()
    };
    let report = match packet.bytes.first() {
        Some(b'W') => Report::Warning(text(1)),
        Some(b'H') => Report::Hooks,
        Some(b'C') => Report::Created,
        Some(b'E') => {
            let kind = packet
                .bytes
                .get(1)
                .map_or(ErrorKind::Internal, |byte| ErrorKind::from_byte(*byte));
            Report::Failed(Error::new(kind, text(2)))
        }
        Some(b'T') => Report::Terminal(packet.fds.pop().ok_or_else(nonsense)?),
        Some(b'P') => {
            let pid = packet
                .bytes
                .get(1..5)
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(nonsense)?;
            Report::Process(
                i32::from_le_bytes(pid),
                packet.fds.pop().ok_or_else(nonsense)?,
            )
        }
        _ => return Err(nonsense()),
    };
    Ok(Some(report))
}

fn nonsense() -> Error {
    Error::internal("the container's init sent nonsense")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_arrive_as_they_were_sent() {
        let (a, b) = fdpass::pair().expect("is made");
        let error = Error::new(
            ErrorKind::CommandNotFound,
            "exec: \"x\": executable file not found in $PATH",
        );
        send(&a, &Report::Failed(error.clone())).expect("is sent");
        send(&a, &Report::Terminal(b.try_clone().expect("is cloned"))).expect("is sent");
        send(&a, &Report::Warning("w".repeat(100_000))).expect("is sent");
        assert!(matches!(receive(&b), Ok(Some(Report::Failed(got))) if got == error));
        assert!(matches!(receive(&b), Ok(Some(Report::Terminal(_)))));
        assert!(matches!(receive(&b), Ok(Some(Report::Warning(text))) if text.len() == TEXT_MAX));
        send_continue(&b).expect("is sent");
        wait_continue(&a).expect("is continued");
        drop(a);
        assert!(matches!(receive(&b), Ok(None)));
    }
}
