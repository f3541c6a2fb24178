//! The docker command line in a pseudo-terminal: interactive shells, resize, detach keys.

use crate::both::Both;
use gantry_testkit::world;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn interactive_terminals() {
    if !world::enter("terminal::interactive_terminals") {
        return;
    }
    let Some(both) = Both::start("tty") else { return };
    let hosts = std::iter::once(both.ours.host()).chain(both.peer.clone());
    let results: Vec<String> = hosts.map(|host| session(&both, &host)).collect();
    for result in &results {
        assert_eq!(result, &results[0], "the sessions differ");
    }
    both.each("rm -f @a");
    both.ours.assert_clean("terminals");
}

/// A user's session; the answer is what it showed, without what may differ.
fn session(both: &Both, host: &str) -> String {
    let name = both.split("@a").remove(0);
    let mut seen = String::new();
    let mut terminal = Terminal::start(both, host, &["run", "-it", "--name", &name, crate::both::IMAGE, "sh"]);
    terminal.expect("#");
    terminal.type_keys("stty size; tty\n");
    seen.push_str(&terminal.expect("/dev/pts/0"));
    terminal.resize(50, 120);
    terminal.type_keys("sleep 0.5; stty size\n");
    terminal.expect("50 120");
    // ctrl-p ctrl-q detaches and leaves the container running.
    terminal.type_keys("\x10\x11");
    seen.push_str(&format!("detached with {:?}\n", terminal.wait()));
    let state = both.docker(host, &["inspect", "-f", "{{.State.Running}}", &name], b"");
    seen.push_str(&state.stdout);
    let mut terminal = Terminal::start(both, host, &["attach", &name]);
    terminal.type_keys("echo again $((40+2))\n");
    terminal.expect("again 42");
    terminal.type_keys("exit 7\n");
    seen.push_str(&format!("ended with {:?}\n", terminal.wait()));
    let mut terminal = Terminal::start(both, host, &["start", "-ai", &name]);
    terminal.expect("#");
    let mut second = Terminal::start(both, host, &["exec", "-it", &name, "sh"]);
    second.expect("#");
    second.type_keys("stty size\n");
    second.expect("24 80");
    second.type_keys("exit 5\n");
    seen.push_str(&format!("exec ended with {:?}\n", second.wait()));
    // ctrl-c ends what runs in the shell, ctrl-d the shell.
    terminal.type_keys("sleep 1000\n");
    std::thread::sleep(Duration::from_millis(500));
    terminal.type_keys("\x03");
    terminal.type_keys("echo code $?\n");
    seen.push_str(&terminal.expect("code 130").contains("code 130").to_string());
    terminal.type_keys("\x04");
    seen.push_str(&format!(" ended with {:?}\n", terminal.wait()));
    both.docker(host, &["rm", "-f", &name], b"");
    seen
}

/// A docker command line with a terminal of its own.
struct Terminal {
    master: File,
    output: mpsc::Receiver<Vec<u8>>,
    text: String,
    child: Child,
}

impl Terminal {
    fn start(both: &Both, host: &str, arguments: &[&str]) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal can be had");
        rustix::pty::grantpt(&master).and_then(|()| rustix::pty::unlockpt(&master)).expect("it is ours");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("it has a name");
        let slave = File::options().read(true).write(true).open(name.to_str().expect("ASCII")).expect("opens");
        set_size(&master, 24, 80);
        let docker = both.command(host, arguments);
        // setsid gives the command the terminal as its controlling one.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(docker.get_program()).args(docker.get_args());
        for (key, value) in docker.get_envs() {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        let stream = || Stdio::from(slave.try_clone().expect("can be duplicated"));
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("setsid of util-linux is there");
        drop(slave);
        let master = File::from(master);
        let (sender, output) = mpsc::channel();
        let mut reader = master.try_clone().expect("can be duplicated");
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO is how a terminal says that its last user left.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { master, output, text: String::new(), child }
    }

    fn type_keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.master, rows, columns);
    }

    /// Waits for a text and gives everything up to it; panics with what was seen.
    fn expect(&mut self, wanted: &str) -> String {
        let begin = Instant::now();
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let left = Duration::from_secs(15).saturating_sub(begin.elapsed());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{wanted:?} does not appear; the terminal shows {:?}", self.text),
            }
        }
    }

    fn wait(mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(15) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        panic!("the command does not end; the terminal shows {:?}", self.text);
    }
}

fn set_size(master: &impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size).expect("a terminal has a size");
}
