//! Runs a program in a pseudo-terminal, as a person at a keyboard would.

use crate::program::signal;
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a test waits for a text.
const TIME_MAX: Duration = Duration::from_secs(20);

/// A program and the keyboard and screen in front of it.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Starts a command in a new terminal of this size; it leads a session of its own.
    ///
    /// # Panics
    /// When the terminal cannot be made or the command not started.
    #[track_caller]
    pub fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&master)
            .and_then(|()| unlockpt(&master))
            .expect("its other end");
        let name = ptsname(&master, Vec::new()).expect("its name");
        set_size(&master, rows, columns);
        let end = || {
            File::options()
                .read(true)
                .write(true)
                .open(name.to_str().expect("an ASCII name"))
                .expect("its other end")
        };
        // setsid makes the terminal the controlling one, without code of ours between fork and exec.
        let mut wrapped = Command::new("setsid");
        wrapped
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        let child = wrapped
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid is always installed");
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone().expect("a descriptor can be copied");
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            keyboard,
            screen,
            seen: String::new(),
        }
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.keyboard
            .write_all(text.as_bytes())
            .expect("the terminal takes input");
    }

    /// Changes the size, which the program is told by a signal.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.keyboard, rows, columns);
    }

    /// Waits until a text appears behind what was waited for before, and gives all up to its end.
    ///
    /// # Panics
    /// When it does not appear; with what did.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let began = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            match self.screen.recv_timeout(Duration::from_millis(50)) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(RecvTimeoutError::Timeout) if began.elapsed() < TIME_MAX => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("waited for {text:?}, saw {:?}", self.seen)
                }
            }
        }
    }

    /// Waits for the program's end; its exit code and what was shown since the last text waited for.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn finish(mut self) -> (i32, String) {
        let mut status = None;
        crate::program::wait_until("the program in the terminal ends", || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        while let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(100)) {
            self.seen += &String::from_utf8_lossy(&bytes);
        }
        (
            status.map_or(-1, crate::program::exit_code),
            std::mem::take(&mut self.seen),
        )
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(Pid::from_child(&self.child), Signal::KILL);
            drop(self.child.wait());
        }
    }
}

fn set_size(terminal: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("a terminal has a size");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_in_a_terminal() {
        let mut shell = Command::new("sh");
        shell.env("PS1", "prompt> ");
        let mut terminal = Terminal::start(&shell, 24, 80);
        terminal.expect("prompt> ");
        terminal.send("stty size\n");
        terminal.expect("24 80");
        terminal.resize(30, 100);
        terminal.send("stty size; exit 7\n");
        terminal.expect("30 100");
        assert_eq!(terminal.finish().0, 7);
    }
}
