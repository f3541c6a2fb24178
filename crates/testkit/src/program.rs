//! Runs a program to its end, within a time, with what it said.

use crate::daemon::{Daemon, executable};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// No command of a test takes longer, unless it hangs.
const TIME_MAX: Duration = Duration::from_mins(1);

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code, or 128 and the signal.
    pub code: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Finished {
    /// The output, once it is clear that all went well.
    ///
    /// # Panics
    /// When the program failed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(
            self.code, 0,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self.stdout.trim_end()
    }
}

impl Daemon {
    /// A command of Gantry's own command line against this daemon.
    pub fn gantry_command(&self, arguments: &[&str]) -> Command {
        let mut command = command(executable("gantry"), arguments);
        command.env("DOCKER_HOST", self.host());
        command
    }

    /// A command of the real `docker` command line against this daemon.
    ///
    /// # Panics
    /// When there is none; [`docker`] tells before.
    pub fn docker_command(&self, arguments: &[&str]) -> Command {
        let docker = find("docker").expect("the test has asked whether there is one");
        let mut command = command(docker, arguments);
        command.env("DOCKER_HOST", self.host());
        command
    }

    /// Runs Gantry's own command line.
    #[track_caller]
    pub fn gantry(&self, arguments: &[&str]) -> Finished {
        run(&mut self.gantry_command(arguments))
    }

    /// Runs the real `docker` command line.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> Finished {
        run(&mut self.docker_command(arguments))
    }
}

/// Runs a command with nothing on stdin.
pub fn run(command: &mut Command) -> Finished {
    run_with_input(command, b"")
}

/// Runs a command with these bytes on stdin, which is closed behind them.
///
/// # Panics
/// When it cannot be started, or does not end in time (it is killed then).
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Finished {
    let shown = format!("{command:?}");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {shown}: {e}"));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let input = input.to_vec();
    // A program that does not read its input closes the pipe, which is no failure.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = reader(child.stdout.take().expect("stdout is a pipe"));
    let stderr = reader(child.stderr.take().expect("stderr is a pipe"));
    let began = Instant::now();
    let status = loop {
        match child
            .try_wait()
            .unwrap_or_else(|e| panic!("cannot wait for {shown}: {e}"))
        {
            Some(status) => break status,
            None if began.elapsed() > TIME_MAX => {
                drop(child.kill());
                drop(child.wait());
                panic!("{shown} did not end within {TIME_MAX:?}");
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    drop(writer.join());
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        let bytes = reader.join().expect("reading does not panic");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Finished {
        code: exit_code(status),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// The code a shell would show.
pub fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Sends a signal; a process that is gone already is no failure.
pub fn signal(pid: Pid, signal: Signal) {
    if let Err(error) = kill_process(pid, signal) {
        eprintln!("cannot signal process {}: {error}", pid.as_raw_nonzero());
    }
}

/// Calls `condition` until it holds.
///
/// # Panics
/// When it does not hold in time; `what` says what was waited for.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < TIME_MAX / 2, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The real `docker` command line; none, with a word on stderr, where there is none.
pub fn docker() -> Option<PathBuf> {
    let found = find("docker");
    if found.is_none() {
        eprintln!("skipped: no docker command line in the path (./test packages gets one)");
    }
    found
}

/// Looks for a program in the path.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A command with arguments.
pub fn command<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn reader(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error counts.
        drop(pipe.read_to_end(&mut bytes));
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_run_to_their_end() {
        let finished = run_with_input(
            &mut command("sh", ["-c", "cat; echo oops >&2; exit 3"]),
            b"input",
        );
        assert_eq!(
            finished,
            Finished {
                code: 3,
                stdout: "input".into(),
                stderr: "oops\n".into()
            }
        );
        assert_eq!(run(&mut command("sh", ["-c", "kill -9 $$"])).code, 137);
    }
}
