//! One process that this supervisor started: the container's init, or one that was exec'd into it.

use crate::stream::Streams;
use std::time::{Duration, Instant};

/// How long the end of init waits to be told until the ends of exec'd processes were.
pub(super) const EXECS_WAIT: Duration = Duration::from_secs(3);

/// A process and what remains to be done for it.
pub(super) struct Process {
    /// Distinguishes the processes of this supervisor.
    pub(super) key: u32,
    /// The exec's id; none for init.
    pub(super) exec: Option<String>,
    /// In our pid namespace. Not another process's before we have reaped this one.
    pub(super) pid: i32,
    pub(super) streams: Streams,
    pub(super) end: Option<End>,
}

/// How a process ended, and how far its end was dealt with.
pub(super) struct End {
    /// 0 to 255; 128 + signal for a death by signal.
    pub(super) exit_code: i32,
    pub(super) at_ns: i64,
    pub(super) seen: Instant,
    /// All output was read, and is logged and queued for clients.
    pub(super) finished: bool,
    /// The daemon was told.
    pub(super) reported: bool,
}

impl Process {
    /// Whether it still runs.
    pub(super) fn runs(&self) -> bool {
        self.end.is_none()
    }

    /// The next moment at which something is due without anything happening.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let report = self
            .end
            .as_ref()
            .filter(|end| !end.reported)
            .and_then(|end| {
                let execs = self.exec.is_none().then(|| end.seen + EXECS_WAIT);
                // Past moments are left out: what they allow was done when they came.
                self.streams
                    .flush_deadline()
                    .into_iter()
                    .chain(execs)
                    .filter(|at| *at > Instant::now())
                    .min()
            });
        self.streams.next_deadline().into_iter().chain(report).min()
    }
}
