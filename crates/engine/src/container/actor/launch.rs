//! Starting: one job at a time, its outcome taken over or recorded.

use super::super::command::{Reply, Start};
use super::super::phase::{self, OnStart, Phase};
use super::super::start::{self, Running};
use super::{Actor, Event, Live, answer, copy};
use gantry_base::Result;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

impl Actor {
    pub(super) fn on_start(&mut self, reply: Reply<Start>) {
        match phase::on_start(self.record.phase) {
            Err(refusal) => answer(reply, Err(refusal)),
            Ok(OnStart::AlreadyRunning) => answer(reply, Ok(Start::AlreadyRunning)),
            Ok(OnStart::Join) => self.start_replies.push(reply),
            Ok(OnStart::Begin) => {
                self.start_replies.push(reply);
                self.record.status.restart_count = 0;
                self.restart_delay = Duration::ZERO;
                self.begin_start();
            }
        }
    }

    pub(super) fn begin_start(&mut self) {
        self.restart_at = None;
        self.by_hand = false;
        self.for_restart = false;
        self.record.phase = Phase::Starting;
        self.record.status.stopped_by_hand = false;
        self.start_waits = self.retiring.is_some();
        if !self.start_waits {
            self.spawn_start();
        }
    }

    pub(super) fn spawn_start(&mut self) {
        self.generation += 1;
        let generation = self.generation;
        let attach = std::mem::take(&mut self.pending_attach);
        let (shared, record, events) = (
            self.shared.clone(),
            self.record.clone(),
            self.events.clone(),
        );
        tokio::spawn(async move {
            let result = start::run(shared, record, attach).await;
            // The actor ends only after its last start has reported.
            let _ = events
                .send(Event::StartFinished {
                    generation,
                    result: result.map(Box::new),
                })
                .await;
        });
    }

    /// Takes over a run, fresh or found at boot.
    pub(super) fn adopt(&mut self, running: Running) {
        let Running {
            shim,
            outcome,
            paused,
        } = running;
        self.generation = self.generation.max(1);
        let shim = match shim.into_async(self.shim_events.clone(), self.generation) {
            Ok(shim) => Arc::new(shim),
            Err(error) => {
                tracing::error!(container = %self.record.id, %error, "cannot watch the shim");
                return;
            }
        };
        let pid = rustix::process::Pid::from_raw(outcome.pid);
        let init = pid.and_then(|pid| {
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
        });
        self.record.phase = if paused {
            Phase::Paused
        } else {
            Phase::Running
        };
        self.record.status.pid = outcome.pid;
        self.record.status.started_ns = Some(outcome.started_ns);
        self.record.status.error.clear();
        self.record.status.exit_code = 0;
        self.record.status.oom_killed = false;
        self.live = Some(Live {
            shim,
            run: outcome,
            init,
            started: Instant::now(),
            execs: HashMap::new(),
        });
        if !paused {
            self.begin_health();
        }
        self.publish();
    }

    pub(super) fn on_start_failed(&mut self, failed: start::Failed) {
        let ran_before = self.record.status.started_ns.is_some();
        self.record.phase = if ran_before {
            Phase::Exited
        } else {
            Phase::Created
        };
        self.record.status.exit_code = failed.exit_code;
        failed
            .error
            .message()
            .clone_into(&mut self.record.status.error);
        self.save();
        self.publish();
        self.reply_to_starts(Err(failed.error));
        if self.record.config.auto_remove && !ran_before {
            self.finish_removal(true);
        }
    }

    pub(super) fn reply_to_starts(&mut self, result: Result<Start>) {
        for reply in self.start_replies.drain(..) {
            answer(reply, copy(&result));
        }
    }
}
