//! The caller's side of a process: its terminal and signals while it runs in the foreground, and what is handed over else.

use gantry_oci::runtime::Process;
use gantry_runtime::{Error, Result};
use gantry_sys::supervise::SignalFd;
use gantry_sys::{fdpass, pidfd};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Bytes copied at once.
const BUFFER_BYTES: usize = 16 * 1024;

/// Refuses combinations in which a terminal's master would have nobody to go to.
pub(super) fn check(
    is_terminal: bool,
    is_detached: bool,
    console_socket: Option<&str>,
) -> Result<()> {
    if is_detached && is_terminal && console_socket.is_none() {
        return Err(Error::invalid(
            "cannot allocate tty if runc will detach without setting console socket",
        ));
    }
    if (!is_detached || !is_terminal) && console_socket.is_some() {
        return Err(Error::invalid(
            "cannot use console socket if runc will not detach or allocate tty",
        ));
    }
    Ok(())
}

/// Sends a terminal's master to whoever listens.
pub(super) fn send_terminal(socket: &str, master: Option<OwnedFd>) -> Result<()> {
    let Some(master) = master else { return Ok(()) };
    let stream = UnixStream::connect(socket)
        .map_err(|error| Error::from(error).prefixed(format!("dial unix {socket}: connect")))?;
    Ok(fdpass::send(&stream, b"/dev/ptmx", &[master.as_fd()])?)
}

/// Writes a process id, so that a reader finds all of it or nothing.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::invalid(format!("{} is not a file name", path.display())))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    std::fs::write(&temporary, pid.to_string())
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|error| super::store::at(path, error))
}

/// Sockets that the caller's service manager has passed go on to the container; gives how many.
pub(super) fn pass_listen_fds(process: Option<&mut Process>) -> u32 {
    let count = std::env::var("LISTEN_FDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    if let Some(process) = process.filter(|_| count > 0) {
        process.env.push(format!("LISTEN_FDS={count}"));
        process.env.push("LISTEN_PID=1".to_owned());
    }
    count
}

/// Waits for a process's end; gives its exit status. Signals that this process gets go to it, and so does the terminal.
pub(super) fn serve(child: &OwnedFd, master: Option<&OwnedFd>) -> Result<i32> {
    let forwarded: Vec<i32> = (1..32)
        .filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP | libc::SIGPIPE))
        .collect();
    let signals = SignalFd::new(&forwarded)?;
    let terminal = master.map(Terminal::new);
    let mut takes_input = terminal.is_some();
    let mut gives_output = terminal.is_some();
    loop {
        let stdin = rustix::stdio::stdin();
        let signals_fd = signals.as_fd();
        let mut polled = vec![
            PollFd::new(child, PollFlags::IN),
            PollFd::new(&signals_fd, PollFlags::IN),
        ];
        if let Some(terminal) = &terminal {
            polled.push(PollFd::new(
                terminal.master,
                if gives_output {
                    PollFlags::IN
                } else {
                    PollFlags::empty()
                },
            ));
            polled.push(PollFd::new(
                &stdin,
                if takes_input {
                    PollFlags::IN
                } else {
                    PollFlags::empty()
                },
            ));
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        if let Some(terminal) = &terminal {
            if gives_output && ready[2] {
                gives_output = copy(terminal.master.as_fd(), rustix::stdio::stdout());
            }
            if takes_input && ready[3] {
                takes_input = copy(stdin, terminal.master.as_fd());
            }
        }
        if ready[1] {
            while let Some(signal) = signals.take() {
                forward(signal, child, terminal.as_ref());
            }
        }
        if ready[0] {
            if let Some(terminal) = &terminal {
                terminal.drain();
            }
            return Ok(pidfd::wait(child)?.code());
        }
    }
}

fn forward(signal: i32, child: &OwnedFd, terminal: Option<&Terminal<'_>>) {
    match signal {
        libc::SIGCHLD | libc::SIGURG => {}
        libc::SIGWINCH => {
            if let Some(terminal) = terminal {
                terminal.resize();
            }
        }
        // The process may have ended meanwhile.
        _ => drop(pidfd::send_signal(child, signal)),
    }
}

/// The caller's terminal in raw mode, connected to a container's.
struct Terminal<'a> {
    master: &'a OwnedFd,
    before: Option<Termios>,
}

impl<'a> Terminal<'a> {
    fn new(master: &'a OwnedFd) -> Self {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _ = rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw);
        }
        let terminal = Self { master, before };
        terminal.resize();
        terminal
    }

    /// Takes over the size of the caller's terminal.
    fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
            let _ = rustix::termios::tcsetwinsize(self.master, size);
        }
    }

    /// Copies what is still to be read, now that nobody writes any more.
    fn drain(&self) {
        loop {
            let mut polled = [PollFd::new(self.master, PollFlags::IN)];
            let now = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let is_ready =
                rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|count| count > 0);
            if !is_ready
                || !polled[0].revents().contains(PollFlags::IN)
                || !copy(self.master.as_fd(), rustix::stdio::stdout())
            {
                return;
            }
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ =
                rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Copies what can be read at once; false at the end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0_u8; BUFFER_BYTES];
    let length = match rustix::io::read(from, &mut buffer) {
        // A terminal whose other end is closed says EIO.
        Ok(0) | Err(Errno::IO) => return false,
        Err(Errno::INTR | Errno::AGAIN) => return true,
        Err(_) => return false,
        Ok(length) => length,
    };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_need_somebody_who_gets_them() {
        check(false, false, None).expect("is valid");
        check(true, false, None).expect("is valid");
        check(true, true, Some("/s")).expect("is valid");
        assert!(
            check(true, true, None)
                .expect_err("is refused")
                .message
                .starts_with("cannot allocate tty")
        );
        assert!(
            check(false, true, Some("/s"))
                .expect_err("is refused")
                .message
                .starts_with("cannot use console socket")
        );
        assert!(check(true, false, Some("/s")).is_err());
    }
}
