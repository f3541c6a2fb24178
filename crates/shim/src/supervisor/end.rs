//! The end of processes and of the container: reap, drain, record, report, release; in this order.

use super::process::{EXECS_WAIT, End, Process};
use super::{Status, Supervisor};
use crate::log::{JsonLog, Timestamp};
use crate::record;
use crate::stream::RELAY_BYTES;
use crate::zygote::complain;
use gantry_shim_protocol::{Event, Exit};
use rustix::process::WaitOptions;
use std::time::{Duration, Instant};

/// How long the last packets may take to the daemon.
const FAREWELL: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Reaps every child that has ended, also those that came to us as their subreaper.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let code = status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            let known = self
                .processes
                .iter()
                .position(|process| process.runs() && process.pid == pid);
            if let (Some(index), Some(code)) = (known, code) {
                self.process_ended(index, code);
            }
        }
    }

    fn process_ended(&mut self, index: usize, exit_code: i32) {
        let process = &mut self.processes[index];
        process.end = Some(End {
            exit_code,
            at_ns: Timestamp::now().0,
            seen: Instant::now(),
            finished: false,
            reported: false,
        });
        let is_init = process.exec.is_none();
        if self.buffer.is_empty() {
            self.buffer = vec![0; RELAY_BYTES];
        }
        let container = self.container.as_mut();
        let shares_pids = container
            .as_ref()
            .is_none_or(|container| container.shares_pids);
        if is_init
            && shares_pids
            && let Some(cgroup) = container
                .as_ref()
                .and_then(|container| container.cgroup.as_ref())
            && let Err(error) = cgroup.kill_all()
        {
            // With a pid namespace of its own the kernel has done this before it told us of the end.
            complain(&format!(
                "cannot kill the container's remaining processes: {error}"
            ));
        }
        let log = container
            .and_then(|container| container.log.as_mut())
            .filter(|_| is_init);
        // Init's pipes are closed everywhere by now, unless it shared its pid namespace; an exec'd process may have
        // left others behind that go on writing.
        let waits = !is_init || shares_pids;
        self.processes[index]
            .streams
            .process_ended(waits, &mut self.buffer, log);
    }

    /// Does what the state allows by now. False: there is nothing left to supervise.
    pub(super) fn advance(&mut self) -> bool {
        let now = Instant::now();
        for index in 0..self.processes.len() {
            self.finish_output(index);
            if self.may_report(index, now) {
                self.report(index);
            }
        }
        self.processes.retain(|process| {
            !(process.end.as_ref().is_some_and(|end| end.reported)
                && process.streams.is_abandoned())
        });
        if self.container.is_none() {
            // Either nothing was started yet, which makes sense only for a connected daemon, or it failed.
            return match self.leaves_at {
                None => self.control.is_connected(),
                Some(at) => self.control.is_behind() && now < at,
            };
        }
        let ended = self
            .container
            .as_ref()
            .is_some_and(|container| container.exit.is_some());
        if !ended {
            return true;
        }
        if !self.control.is_behind() || self.leaves_at.is_some_and(|at| now >= at) {
            // In this order: a daemon that sees the connection end may start the container again at once.
            self.release();
            self.control.disconnect();
            self.leaves_at = None;
        }
        // Slow clients still get what waits for them.
        self.control.is_connected() || !self.processes.is_empty()
    }

    /// Nothing can or could be started: leaves as soon as the daemon has the answer.
    pub(super) fn give_up(&mut self) {
        self.control.stop_listening();
        self.leaves_at = Some(Instant::now() + FAREWELL);
    }

    fn finish_output(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let Some(end) = &mut process.end else { return };
        if end.finished || !process.streams.is_drained() {
            return;
        }
        end.finished = true;
        process.streams.seal();
        if process.exec.is_none()
            && let Some(log) = self
                .container
                .as_mut()
                .and_then(|container| container.log.as_mut())
        {
            log.finish(Timestamp::now());
        }
    }

    fn may_report(&self, index: usize, now: Instant) -> bool {
        let process = &self.processes[index];
        let Some(end) = &process.end else {
            return false;
        };
        let told = |process: &Process| process.end.as_ref().is_some_and(|end| end.reported);
        end.finished
            && !end.reported
            && process.streams.is_flushed(now)
            && (process.exec.is_some()
                || now >= end.seen + EXECS_WAIT
                || self
                    .processes
                    .iter()
                    .all(|other| other.exec.is_none() || told(other)))
    }

    fn report(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let Some(end) = &mut process.end else { return };
        end.reported = true;
        let (exit_code, at_ns) = (end.exit_code, end.at_ns);
        match process.exec.clone() {
            Some(id) => self.report_exec(id, exit_code, at_ns),
            None => self.report_container(exit_code, at_ns),
        }
        self.processes[index].streams.finish();
    }

    fn report_exec(&mut self, id: String, exit_code: i32, finished_at_ns: i64) {
        let event = Event::ExecExited {
            id: id.clone(),
            exit_code,
        };
        if self.control.event(event.clone()) {
            return;
        }
        self.untold.push(event);
        if let Some(container) = &self.container {
            let content = gantry_shim_protocol::ExecExit {
                exit_code,
                finished_at_ns,
            };
            if let Err(error) =
                record::write(&container.run_dir, &format!("exec-{id}.json"), &content)
            {
                complain(&format!("cannot record the end of exec {id}: {error}"));
            }
        }
    }

    fn report_container(&mut self, exit_code: i32, finished_at_ns: i64) {
        self.count_oom_kills();
        let Some(container) = &mut self.container else {
            return;
        };
        let exit = Exit {
            exit_code,
            oom_killed: container.oom_kills > 0,
            finished_at_ns,
            log_bytes_dropped: container.log.as_ref().map_or(0, JsonLog::bytes_dropped),
        };
        if let Err(error) = record::write(&container.run_dir, "exit.json", &exit) {
            complain(&format!("cannot record the end of the container: {error}"));
        }
        container.status = Status::Stopped;
        container.exit = Some(exit.clone());
        self.control.stop_listening();
        self.control.event(Event::Exited(exit));
        self.leaves_at = Some(Instant::now() + FAREWELL);
    }

    /// After the report: gives back what the container held. Removing cgroups may take a moment.
    fn release(&mut self) {
        let Some(container) = &mut self.container else {
            return;
        };
        container.held.clear();
        container.mount_namespace = None;
        container.oom = None;
        container.log = None;
        if let Some(cgroup) = container.cgroup.take()
            && let Err(error) = cgroup.remove()
        {
            complain(&format!("cannot remove the container's cgroup: {error}"));
        }
    }

    /// Asks for news of memory running out, once the container runs; what came before is counted at the next news.
    pub(super) fn watch_memory(&mut self) {
        let Some(container) = self.container.as_mut().filter(|it| it.oom.is_none()) else {
            return;
        };
        if let Some(cgroup) = &container.cgroup {
            container.oom = cgroup.oom_events().unwrap_or_else(|error| {
                complain(&format!("no news of memory running out: {error}"));
                None
            });
        }
    }

    /// Asks how many processes were killed for want of memory, and tells of new ones.
    pub(super) fn count_oom_kills(&mut self) {
        let Some(container) = &mut self.container else {
            return;
        };
        if let Some(oom) = &container.oom
            && oom.drain().is_err()
        {
            container.oom = None;
        }
        let Some(cgroup) = &container.cgroup else {
            return;
        };
        let kills = cgroup.oom_kill_count().unwrap_or(container.oom_kills);
        if kills > container.oom_kills {
            container.oom_kills = kills;
            self.control.event(Event::OutOfMemory);
        }
    }
}
