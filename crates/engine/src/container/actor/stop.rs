//! Stop, kill, pause: signals, and what happens when their time is over.

use super::super::command::{Reply, Stop, StopOptions};
use super::super::phase::{self, Phase};
use super::super::signal;
use super::{Actor, KILL_PATIENCE, Stopping, answer};
use crate::workload::shim::ShimError;
use gantry_base::{Error, ExecId};
use gantry_shim_protocol::{self as protocol, Request};
use std::time::Duration;
use tokio::time::Instant;

impl Actor {
    pub(super) fn on_stop(&mut self, options: &StopOptions, for_restart: bool, reply: Reply<Stop>) {
        if self.record.phase == Phase::Restarting {
            self.restart_at = None;
            self.record.phase = Phase::Exited;
            self.record.status.stopped_by_hand = !for_restart;
            self.save();
            self.publish();
            return answer(reply, Ok(Stop::Stopped));
        }
        let Some(live) = &self.live else {
            return answer(reply, Ok(Stop::AlreadyStopped));
        };
        let config = &self.record.config.process;
        let chosen = options.signal.as_deref().unwrap_or(&config.stop_signal);
        let number = match signal::parse(chosen) {
            _ if chosen.is_empty() => Some(signal::TERM),
            // A number of the configuration that no kernel knows reaches nobody, and what is not heard is followed by this.
            None if options.signal.is_none() => Some(signal::KILL),
            known => known,
        };
        let Some(number) = number else {
            return answer(
                reply,
                Err(Error::internal(format!("invalid signal: {chosen}"))),
            );
        };
        let default = self.shared.settings().default_stop_timeout_s;
        let seconds = options
            .timeout_s
            .or(config.stop_timeout_s)
            .unwrap_or(default);
        // Zero seconds kill at once; a negative number never does.
        let number = if seconds == 0 { signal::KILL } else { number };
        drop(live.shim.signal(None, number));
        if self.record.phase == Phase::Paused {
            drop(live.shim.request(Request::Resume, &[], &[]));
        }
        self.by_hand = true;
        self.for_restart = for_restart;
        let patience = match u64::try_from(seconds) {
            Ok(0) => Some(KILL_PATIENCE),
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => None,
        };
        let deadline = patience.map(|patience| Instant::now() + patience);
        let stopping = self.stopping.get_or_insert(Stopping {
            deadline,
            killed: seconds == 0,
            replies: Vec::new(),
        });
        stopping.deadline = match (stopping.deadline, deadline) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
        stopping.replies.push(reply);
        self.publish_event("kill", &[("signal", &number.to_string())]);
    }

    pub(super) fn on_timer(&mut self) {
        let now = Instant::now();
        if self.probe_at.is_some_and(|at| at <= now) {
            self.on_probe_due();
        }
        if self.restart_at.is_some_and(|at| at <= now) {
            self.record.status.restart_count += 1;
            self.begin_start();
        }
        let Some(stopping) = &mut self.stopping else {
            return;
        };
        if stopping.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        if stopping.killed {
            let id = &self.record.id;
            let text = format!(
                "container {id} PID {} is zombie and can not be killed. Use the --init option when creating containers to run an init inside the container that forwards signals and reaps processes",
                self.record.status.pid
            );
            for reply in self
                .stopping
                .take()
                .into_iter()
                .flat_map(|stopping| stopping.replies)
            {
                answer(reply, Err(Error::internal(text.clone())));
            }
            for reply in self.removals.drain(..) {
                answer(
                    reply,
                    Err(Error::internal(format!(
                        "cannot remove container \"{}\": could not kill: {text}",
                        self.record.name
                    ))),
                );
            }
            self.removal = None;
            return;
        }
        stopping.killed = true;
        stopping.deadline = Some(now + KILL_PATIENCE);
        self.send_kill();
    }

    /// SIGKILL to init, also of a frozen container.
    pub(super) fn send_kill(&mut self) {
        let Some(live) = &self.live else { return };
        drop(live.shim.signal(None, signal::KILL));
        if self.record.phase == Phase::Paused {
            drop(live.shim.request(Request::Resume, &[], &[]));
        }
        self.publish_event("kill", &[("signal", "9")]);
    }

    /// SIGKILL to an exec; its end is reported as any other.
    pub(super) fn kill_exec(&mut self, exec: &ExecId) {
        let Some(live) = &self.live else { return };
        drop(live.shim.signal(Some(exec), signal::KILL));
    }

    pub(super) fn on_kill(&mut self, number: i32, reply: Reply<()>) {
        let Some(live) = &self.live else {
            let refusal = match self.record.phase {
                Phase::Restarting => phase::restarting(&self.record.id),
                _ => phase::not_running(&self.record.id),
            };
            return answer(reply, Err(refusal));
        };
        let request = live.shim.signal(None, number);
        if number == signal::KILL && self.record.phase == Phase::Paused {
            drop(live.shim.request(Request::Resume, &[], &[]));
        }
        let stop = signal::parse(&self.record.config.process.stop_signal).unwrap_or(signal::TERM);
        if number == signal::KILL || number == stop {
            self.by_hand = true;
        }
        self.publish_event("kill", &[("signal", &number.to_string())]);
        let id = self.record.id.clone();
        tokio::spawn(async move {
            let result = match request.await {
                Ok(_) => Ok(()),
                Err(ShimError::Refused(f)) if f.kind == protocol::FailureKind::NoSuchProcess => {
                    Err(phase::not_running(&id))
                }
                Err(error) => Err(error.into()),
            };
            answer(reply, result);
        });
    }

    pub(super) fn on_pause(&mut self, reply: Reply<()>, pause: bool) {
        let id = &self.record.id;
        let check = if pause {
            phase::check_pause(self.record.phase, id)
        } else {
            phase::check_unpause(self.record.phase, id)
        };
        let live = match (check, &self.live) {
            (Err(refusal), _) => return answer(reply, Err(refusal)),
            (Ok(()), None) => return answer(reply, Err(phase::not_running(id))),
            (Ok(()), Some(live)) => live,
        };
        let request = live.shim.request(
            if pause {
                Request::Pause
            } else {
                Request::Resume
            },
            &[],
            &[],
        );
        // The freezer answers within microseconds; the phase changes with the request, so that a second pause is refused.
        self.record.phase = if pause { Phase::Paused } else { Phase::Running };
        if pause {
            self.end_health();
        } else {
            self.schedule_probe();
        }
        self.save();
        self.publish();
        self.publish_event(if pause { "pause" } else { "unpause" }, &[]);
        tokio::spawn(async move {
            answer(reply, request.await.map(drop).map_err(Error::from));
        });
    }
}
