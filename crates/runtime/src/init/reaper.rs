//! A minimal init for `--init`: starts the program as its child, passes signals on, reaps whatever ends, and ends as the program did.

use gantry_sys::process as sys_process;
use rustix::process::{WaitOptions, WaitStatus};

use crate::error::{Context, Error, Result};
use crate::program::Program;

/// Runs the program; gives the exit status of this process.
pub(super) fn run(program: &Program, filter: Option<&[u8]>) -> Result<i32> {
    let signals = sys_process::SignalQueue::block_all().context("cannot block signals")?;
    #[expect(
        unsafe_code,
        reason = "the program has to be another process than its init"
    )]
    // SAFETY: this process has one thread.
    let child = unsafe {
        sys_process::fork(|| {
            sys_process::reset_signals();
            // A group of its own that owns the terminal, so that job control works as without an init.
            let _ = rustix::process::setpgid(None, None);
            if rustix::termios::isatty(rustix::stdio::stdin()) {
                sys_process::take_foreground();
            }
            match install(filter) {
                Ok(()) => program.execute(),
                Err(error) => {
                    let text = format!("{}\n", error.message);
                    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
                    1
                }
            }
        })
    }
    .context("cannot fork the program")?;
    // After the fork, as the filter may forbid the system call that makes processes with a pidfd.
    install(filter)?;
    // Only the child's copy may keep the creator waiting.
    #[expect(
        unsafe_code,
        reason = "the end of the connection is what tells that the program was executed"
    )]
    // SAFETY: nothing that owns a descriptor is used below.
    unsafe {
        sys_process::close_all_but(&mut []).context("cannot close descriptors")?;
    }
    loop {
        let signal = signals.wait();
        if signal == libc::SIGCHLD {
            if let Some(code) = reap(child)? {
                return Ok(code);
            }
        } else {
            sys_process::send_signal(child, signal);
        }
    }
}

fn install(filter: Option<&[u8]>) -> Result<()> {
    match filter {
        Some(filter) => Ok(gantry_sys::seccomp::install(filter)?),
        None => Ok(()),
    }
}

/// Reaps everything that has ended; the status to end with, once the program has.
fn reap(program: i32) -> Result<Option<i32>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_pid() == program => {
                return Ok(Some(code(status)));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::from(error).prefixed("cannot wait for the program")),
        }
    }
}

fn code(status: WaitStatus) -> i32 {
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
        .unwrap_or(255)
}
