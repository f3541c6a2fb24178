//! A guest under QEMU: boots, shows its console, waits for its end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a guest says when every case passed; see `machine.rs` and `daemon.sh`.
const PASSED: &str = "machine: all cases passed";
/// A guest without hardware help is slow, and the host may be busy.
const TIMEOUT: Duration = Duration::from_mins(20);

/// Runs one guest and shows what it prints; whether every case passed. `arguments` are for its first process.
pub(super) fn boot(kernel: &Path, image: &Path, arguments: &str) -> Result<bool, String> {
    let append = format!("console=ttyS0 panic=-1 quiet -- {arguments}");
    let mut guest = Command::new("qemu-system-x86_64")
        .args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-smp",
            "2",
            "-m",
            "1536",
        ])
        // With cmpxchg16b guests of QEMU 7.2 die by double faults; five-level page tables cost time and have no use here.
        .args([
            "-cpu",
            "max,-cx16,la57=off",
            "-nodefaults",
            "-nographic",
            "-no-reboot",
            "-serial",
            "stdio",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .args(["-append", append.trim_end()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run qemu-system-x86_64: {error}"))?;
    let console = guest.stdout.take().expect("is piped");
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                .is_err()
            {
                break;
            }
        }
    });
    let deadline = Instant::now() + TIMEOUT;
    let mut passed = false;
    let ended = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                passed |= line.contains(PASSED);
                println!("{line}");
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
    };
    if !ended {
        let _ = guest.kill();
    }
    let _ = guest.wait();
    let _ = reader.join();
    if ended {
        Ok(passed)
    } else {
        Err(format!("the machine was not done after {TIMEOUT:?}"))
    }
}
