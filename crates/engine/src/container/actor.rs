//! The event loop of one container: it alone changes the container's state.
//!
//! It never awaits the kernel, the disk or the network: long work runs as a job that reports back as an event, so a kill or a
//! forced removal is always heard. Reads do not come here; they take the last published view.
//! Decisions are in `phase.rs` and `restart.rs`; what a start does is in `start.rs`.

use super::command::{
    Command, ExecStart, ExitStatus, RemoveOptions, Reply, Start, Stop, StopOptions, WaitCondition,
};
use super::phase::{self, OnStart, Phase};
use super::record::ContainerRecord;
use super::restart::{self, Ended};
use super::start::{self, Running};
use super::view::ContainerView;
use super::{Shared, exit, signal};
use crate::exec::ExecSockets;
use crate::workload::shim::{Shim, ShimError, ShimEvent};
use gantry_base::{ContainerName, Error, ExecId, Result};
use gantry_shim_protocol as protocol;
use gantry_shim_protocol::{Event as ShimNews, FdRole, Request};
use gantry_state::Durability;
use gantry_state::rusqlite::Transaction;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Commands that may wait for a busy actor.
pub(super) const MAILBOX_MAX: usize = 64;
/// After SIGKILL: how long until a stop or forced removal gives up on a process in uninterruptible sleep.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// What the loop hears besides commands.
pub(super) enum Event {
    StartFinished {
        generation: u64,
        result: std::result::Result<Box<Running>, start::Failed>,
    },
    Shim(ShimEvent),
}

/// The life of one run.
struct Live {
    shim: Arc<Shim>,
    run: start::Outcome,
    /// Kills init when its shim died, race-free.
    init: Option<OwnedFd>,
    started: Instant,
    execs: HashMap<String, oneshot::Sender<i32>>,
}

/// A stop on its way.
struct Stopping {
    deadline: Option<Instant>,
    killed: bool,
    replies: Vec<Reply<Stop>>,
}

enum Waiter {
    NextExit(oneshot::Sender<ExitStatus>),
    Removed(oneshot::Sender<ExitStatus>),
}

pub(super) struct Actor {
    shared: Arc<Shared>,
    record: ContainerRecord,
    view: watch::Sender<Arc<ContainerView>>,
    events: mpsc::Sender<Event>,
    shim_events: mpsc::Sender<ShimEvent>,
    generation: u64,
    live: Option<Live>,
    /// The connection to a shim whose container has ended, until the shim has given everything back: its generation.
    retiring: Option<(u64, Arc<Shim>)>,
    /// A start waits for the end of `retiring`, as both would use the same cgroups.
    start_waits: bool,
    pending_attach: Vec<(protocol::Attach, OwnedFd)>,
    start_replies: Vec<Reply<Start>>,
    deferred: VecDeque<Command>,
    stopping: Option<Stopping>,
    /// Whether the exit that is awaited was asked for by a client.
    by_hand: bool,
    /// Whether policy and automatic removal are off for the next exit, as a start follows.
    for_restart: bool,
    removals: Vec<Reply<()>>,
    removal: Option<RemoveOptions>,
    waiters: Vec<Waiter>,
    restart_at: Option<Instant>,
    restart_delay: Duration,
    removed: bool,
}

impl Actor {
    /// Makes the actor, publishes its first view and starts its loop. `adopted` is a run found alive at boot.
    pub(super) fn spawn(
        shared: Arc<Shared>,
        record: ContainerRecord,
        adopted: Option<Box<Running>>,
    ) -> super::ContainerHandle {
        let (commands, mailbox) = mpsc::channel(MAILBOX_MAX);
        let (events, news) = mpsc::channel(MAILBOX_MAX);
        let (shim_events, shim_news) = mpsc::channel(MAILBOX_MAX);
        let first = Arc::new(super::published(&shared, &record, None, Vec::new()));
        let (view, watch) = watch::channel(first);
        let mut actor = Self {
            shared,
            record,
            view,
            events,
            shim_events,
            generation: 0,
            live: None,
            retiring: None,
            start_waits: false,
            pending_attach: Vec::new(),
            start_replies: Vec::new(),
            deferred: VecDeque::new(),
            stopping: None,
            by_hand: false,
            for_restart: false,
            removals: Vec::new(),
            removal: None,
            waiters: Vec::new(),
            restart_at: None,
            restart_delay: Duration::ZERO,
            removed: false,
        };
        if let Some(running) = adopted {
            actor.adopt(running);
        }
        tokio::spawn(actor.run(mailbox, news, shim_news));
        super::ContainerHandle {
            commands,
            view: watch,
        }
    }

    async fn run(
        mut self,
        mut mailbox: mpsc::Receiver<Command>,
        mut news: mpsc::Receiver<Event>,
        mut shim_news: mpsc::Receiver<ShimEvent>,
    ) {
        while !self.removed {
            let deadline = self.deadline();
            tokio::select! {
                // What happened comes before what is asked: an answer is never older than the news.
                biased;
                Some(event) = news.recv() => self.on_event(event),
                Some(event) = shim_news.recv() => self.on_event(Event::Shim(event)),
                () = sleep_until(deadline) => self.on_timer(),
                command = mailbox.recv() => match command {
                    Some(command) => self.on_command(command),
                    // The engine is shutting down; the shim lives on and the next daemon adopts it.
                    None => break,
                },
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let stop = self
            .stopping
            .as_ref()
            .and_then(|stopping| stopping.deadline);
        match (stop, self.restart_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn on_command(&mut self, command: Command) {
        // While a start is on its way its outcome decides what the others mean.
        let waits = matches!(
            command,
            Command::Stop { .. }
                | Command::Kill { .. }
                | Command::Pause(_)
                | Command::Unpause(_)
                | Command::Resize { .. }
                | Command::Exec { .. }
                | Command::ExecCheck { .. }
                | Command::Attach { .. }
                | Command::Remove { .. }
        );
        if self.record.phase == Phase::Starting && waits {
            self.deferred.push_back(command);
            return;
        }
        match command {
            Command::Start(reply) => self.on_start(reply),
            Command::Stop {
                options,
                for_restart,
                reply,
            } => self.on_stop(&options, for_restart, reply),
            Command::Kill { signal, reply } => self.on_kill(signal, reply),
            Command::Pause(reply) => self.on_pause(reply, true),
            Command::Unpause(reply) => self.on_pause(reply, false),
            Command::Rename { name, reply } => self.on_rename(name, reply),
            Command::Remove {
                options,
                reference,
                reply,
            } => self.on_remove(options, &reference, reply),
            Command::Wait { condition, reply } => self.on_wait(condition, reply),
            Command::Attach {
                attach,
                socket,
                reply,
            } => self.on_attach(attach, socket, reply),
            Command::Resize {
                exec,
                rows,
                columns,
                reply,
            } => self.on_resize(exec, rows, columns, reply),
            Command::Exec { start, reply } => self.on_exec(start, reply),
            Command::ExecCheck { reply } => {
                answer(
                    reply,
                    phase::check_exec(
                        self.record.phase,
                        &self.record.id,
                        self.record.name.as_str(),
                    ),
                );
            }
            Command::Processes(reply) => {
                self.ask(Request::Processes, reply, |answer| match answer {
                    protocol::Reply::Processes(pids) => Some(pids),
                    _ => None,
                })
            }
            Command::Stats(reply) => self.ask(Request::Stats, reply, |answer| match answer {
                protocol::Reply::Stats(files) => Some(files),
                _ => None,
            }),
        }
    }

    // ---- start ----

    fn on_start(&mut self, reply: Reply<Start>) {
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

    fn begin_start(&mut self) {
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

    fn spawn_start(&mut self) {
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

    fn on_event(&mut self, event: Event) {
        match event {
            Event::StartFinished { generation, result } if generation == self.generation => {
                match result {
                    Ok(running) => {
                        self.adopt(running);
                        self.publish_event("start", &[]);
                        self.reply_to_starts(Ok(Start::Started));
                    }
                    Err(failed) => self.on_start_failed(failed),
                }
            }
            Event::StartFinished { .. } => {}
            Event::Shim(ShimEvent { generation, event }) if generation == self.generation => {
                self.on_shim(event)
            }
            Event::Shim(ShimEvent {
                generation,
                event: None,
            }) => self.on_retired(generation),
            Event::Shim(_) => {}
        }
        if self.record.phase != Phase::Starting {
            for command in std::mem::take(&mut self.deferred) {
                self.on_command(command);
            }
        }
    }

    /// Takes over a run, fresh or found at boot.
    fn adopt(&mut self, running: Box<Running>) {
        let Running {
            shim,
            outcome,
            paused,
        } = *running;
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
        self.publish();
    }

    fn on_start_failed(&mut self, failed: start::Failed) {
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

    fn reply_to_starts(&mut self, result: Result<Start>) {
        for reply in self.start_replies.drain(..) {
            answer(reply, copy(&result));
        }
    }

    // ---- the shim's news ----

    fn on_shim(&mut self, news: Option<ShimNews>) {
        match news {
            Some(ShimNews::Hello { .. }) => {}
            Some(ShimNews::Exited(exit)) => self.on_exited(&exit, true),
            Some(ShimNews::ExecExited { id, exit_code }) => {
                if let Ok(exec) = ExecId::parse(&id) {
                    self.shared.execs.end(&exec, exit_code);
                }
                if let Some(waiting) = self.live.as_mut().and_then(|live| live.execs.remove(&id)) {
                    // Nobody may care any more.
                    let _ = waiting.send(exit_code);
                }
            }
            Some(ShimNews::OutOfMemory) => {
                self.record.status.oom_killed = true;
                self.publish();
                self.publish_event("oom", &[]);
            }
            Some(ShimNews::Detached { .. }) => self.publish_event("detach", &[]),
            None if self.live.is_some() => {
                let exit = exit::after_shim_death(
                    &self.shared,
                    &self.record.id,
                    self.live.as_ref().and_then(|live| live.init.as_ref()),
                );
                self.on_exited(&exit, false);
            }
            None => {}
        }
    }

    /// The shim of an ended run is gone: a start that waited for it may begin.
    fn on_retired(&mut self, generation: u64) {
        if self
            .retiring
            .as_ref()
            .is_some_and(|(retiring, _)| *retiring == generation)
        {
            self.retiring = None;
            if std::mem::take(&mut self.start_waits) {
                self.spawn_start();
            }
        }
    }

    fn on_exited(&mut self, exit: &protocol::Exit, connected: bool) {
        let Some(live) = self.live.take() else { return };
        let ran_for = live.started.elapsed();
        if connected {
            self.retiring = Some((self.generation, live.shim.clone()));
        }
        self.generation += 1;
        for (_, waiting) in live.execs {
            let _ = waiting.send(128 + signal::KILL);
        }
        let status = &mut self.record.status;
        status.pid = 0;
        status.exit_code = exit.exit_code;
        status.oom_killed = exit.oom_killed;
        status.finished_ns = Some(exit.finished_at_ns);
        status.stopped_by_hand = self.by_hand;
        if exit.log_bytes_dropped > 0 {
            tracing::warn!(container = %self.record.id, bytes = exit.log_bytes_dropped, "log bytes were dropped");
        }
        let restart = self.restart_after(exit.exit_code, ran_for);
        self.record.phase = if restart.is_some() {
            Phase::Restarting
        } else {
            Phase::Exited
        };
        self.publish();
        let duration = ran_for.as_secs().to_string();
        self.publish_event(
            "die",
            &[
                ("execDuration", &duration),
                ("exitCode", &exit.exit_code.to_string()),
            ],
        );
        self.publish_network_events("disconnect", &live.run);
        exit::release(&self.shared, &self.record, live.run);
        self.after_exit(exit.exit_code, restart);
    }

    fn restart_after(&mut self, exit_code: i32, ran_for: Duration) -> Option<Duration> {
        if self.for_restart || self.removal.is_some() {
            return None;
        }
        let ended = Ended {
            exit_code,
            by_hand: self.by_hand,
            restarts_so_far: self.record.status.restart_count,
            ran_for,
            last_delay: self.restart_delay,
        };
        restart::after_exit(&self.record.config.restart, ended)
    }

    fn after_exit(&mut self, exit_code: i32, restart: Option<Duration>) {
        let stopped = self.stopping.take();
        let status = ExitStatus {
            code: exit_code,
            error: None,
        };
        let (next_exit, kept) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|w| matches!(w, Waiter::NextExit(_)));
        self.waiters = kept;
        for waiter in next_exit {
            if let Waiter::NextExit(sender) = waiter {
                let _ = sender.send(status.clone());
            }
        }
        if stopped.is_some() {
            self.publish_event("stop", &[]);
        }
        if let Some(delay) = restart {
            self.restart_delay = delay;
            self.restart_at = Some(Instant::now() + delay);
        } else if self.removal.is_some() || (self.record.config.auto_remove && !self.for_restart) {
            self.finish_removal(self.removal.is_none());
        }
        for reply in stopped.into_iter().flat_map(|stopped| stopped.replies) {
            answer(reply, Ok(Stop::Stopped));
        }
    }

    // ---- stop, kill, pause ----

    fn on_stop(&mut self, options: &StopOptions, for_restart: bool, reply: Reply<Stop>) {
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
        let Some(number) = (if chosen.is_empty() {
            Some(signal::TERM)
        } else {
            signal::parse(chosen)
        }) else {
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
        drop(live.shim.request(
            Request::Signal {
                exec: None,
                signal: number,
                all: false,
            },
            &[],
            &[],
        ));
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

    fn on_timer(&mut self) {
        let now = Instant::now();
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
    fn send_kill(&mut self) {
        let Some(live) = &self.live else { return };
        drop(live.shim.request(
            Request::Signal {
                exec: None,
                signal: signal::KILL,
                all: false,
            },
            &[],
            &[],
        ));
        if self.record.phase == Phase::Paused {
            drop(live.shim.request(Request::Resume, &[], &[]));
        }
        self.publish_event("kill", &[("signal", "9")]);
    }

    fn on_kill(&mut self, number: i32, reply: Reply<()>) {
        let Some(live) = &self.live else {
            let refusal = match self.record.phase {
                Phase::Restarting => phase::restarting(&self.record.id),
                _ => phase::not_running(&self.record.id),
            };
            return answer(reply, Err(refusal));
        };
        let request = live.shim.request(
            Request::Signal {
                exec: None,
                signal: number,
                all: false,
            },
            &[],
            &[],
        );
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

    fn on_pause(&mut self, reply: Reply<()>, pause: bool) {
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
        self.save();
        self.publish();
        self.publish_event(if pause { "pause" } else { "unpause" }, &[]);
        tokio::spawn(async move {
            answer(reply, request.await.map(drop).map_err(Error::from));
        });
    }

    // ---- rename, remove, wait ----

    fn on_rename(&mut self, name: ContainerName, reply: Reply<()>) {
        let old = std::mem::replace(&mut self.record.name, name);
        self.publish();
        let old_name = format!("/{old}");
        self.publish_event("rename", &[("oldName", &old_name)]);
        answer(reply, Ok(()));
    }

    fn on_remove(&mut self, options: RemoveOptions, reference: &str, reply: Reply<()>) {
        if let Err(refusal) = phase::check_remove(self.record.phase, options.force, reference) {
            return answer(reply, Err(refusal));
        }
        self.removals.push(reply);
        self.removal = Some(options);
        self.restart_at = None;
        if self.live.is_none() {
            return self.finish_removal(false);
        }
        self.by_hand = true;
        let deadline = Some(Instant::now() + KILL_PATIENCE);
        let stopping = self.stopping.get_or_insert(Stopping {
            deadline,
            killed: true,
            replies: Vec::new(),
        });
        (stopping.deadline, stopping.killed) = (deadline, true);
        self.send_kill();
    }

    /// Gives the name and every reserved thing back, tells everybody, and ends the actor. The effects are cleaned up
    /// behind the reply; boot sweeps whatever has no row.
    fn finish_removal(&mut self, automatic: bool) {
        self.removed = true;
        let code = self.record.status.exit_code;
        let removals = std::mem::take(&mut self.removals);
        let waiters = std::mem::take(&mut self.waiters);
        let attributes = super::attributes(&self.record, &[]);
        super::remove::finish(
            &self.shared,
            &self.record,
            self.removal,
            automatic,
            attributes,
            move |result| {
                let error = result
                    .as_ref()
                    .err()
                    .map(|error| error.message().to_owned());
                for reply in removals {
                    answer(reply, copy(&result));
                }
                for waiter in waiters {
                    let (Waiter::NextExit(sender) | Waiter::Removed(sender)) = waiter;
                    let _ = sender.send(ExitStatus {
                        code,
                        error: error.clone(),
                    });
                }
            },
        );
    }

    fn on_wait(
        &mut self,
        condition: WaitCondition,
        reply: oneshot::Sender<oneshot::Receiver<ExitStatus>>,
    ) {
        let (sender, receiver) = oneshot::channel();
        match condition {
            WaitCondition::NotRunning
                if self.live.is_none() && self.record.phase != Phase::Starting =>
            {
                let _ = sender.send(ExitStatus {
                    code: self.record.status.exit_code,
                    error: None,
                });
            }
            WaitCondition::NotRunning | WaitCondition::NextExit => {
                self.waiters.push(Waiter::NextExit(sender))
            }
            WaitCondition::Removed => self.waiters.push(Waiter::Removed(sender)),
        }
        let _ = reply.send(receiver);
    }

    // ---- streams, exec ----

    fn on_attach(&mut self, attach: protocol::Attach, socket: OwnedFd, reply: Reply<()>) {
        match &self.live {
            None => {
                self.pending_attach.push((attach, socket));
                answer(reply, Ok(()));
            }
            Some(live) => {
                let request = live
                    .shim
                    .request(Request::Attach(attach), &[], &[socket.as_fd()]);
                tokio::spawn(
                    async move { answer(reply, request.await.map(drop).map_err(Error::from)) },
                );
            }
        }
        self.publish_event("attach", &[]);
    }

    fn on_resize(&mut self, exec: Option<String>, rows: u16, columns: u16, reply: Reply<()>) {
        let Some(live) = &self.live else {
            return answer(reply, Err(phase::not_running(&self.record.id)));
        };
        if exec.is_none() {
            let (height, width) = (rows.to_string(), columns.to_string());
            self.publish_event("resize", &[("height", &height), ("width", &width)]);
        }
        let request = live.shim.request(
            Request::Resize {
                exec,
                rows,
                columns,
            },
            &[],
            &[],
        );
        tokio::spawn(async move { answer(reply, request.await.map(drop).map_err(Error::from)) });
    }

    fn on_exec(&mut self, start: ExecStart, reply: Reply<i32>) {
        if let Err(refusal) = phase::check_exec(
            self.record.phase,
            &self.record.id,
            self.record.name.as_str(),
        ) {
            return answer(reply, Err(refusal));
        }
        let Some(live) = &mut self.live else {
            return answer(reply, Err(phase::not_running(&self.record.id)));
        };
        let ExecStart {
            exec,
            process,
            seccomp,
            sockets,
            exited,
        } = start;
        let id = exec.id.clone();
        let request = {
            let sockets = ExecSockets::roles(&sockets);
            let mut descriptors: Vec<(FdRole, BorrowedFd<'_>)> =
                vec![(FdRole::Process, process.as_fd())];
            descriptors.extend(seccomp.iter().map(|fd| (FdRole::SeccompFilter, fd.as_fd())));
            descriptors.extend(sockets);
            live.shim.request(Request::Exec(exec), &descriptors, &[])
        };
        // Registered before the answer: the process may end before its start is reported.
        live.execs.insert(id, exited);
        tokio::spawn(async move {
            let result = match request.await {
                Ok(protocol::Reply::Started { pid, .. }) => Ok(pid),
                Ok(_) => Err(Error::internal("the shim gave no pid for a started exec")),
                Err(error) => Err(error.into()),
            };
            answer(reply, result);
        });
    }

    fn ask<T: Send + 'static>(
        &mut self,
        request: Request,
        reply: Reply<T>,
        pick: impl FnOnce(protocol::Reply) -> Option<T> + Send + 'static,
    ) {
        let Some(live) = &self.live else {
            return answer(reply, Err(phase::not_running(&self.record.id)));
        };
        let request = live.shim.request(request, &[], &[]);
        tokio::spawn(async move {
            let result = match request.await {
                Ok(found) => {
                    pick(found).ok_or_else(|| Error::internal("the shim answered something else"))
                }
                Err(error) => Err(error.into()),
            };
            answer(reply, result);
        });
    }

    // ---- publishing ----

    fn publish(&self) {
        let run = self.live.as_ref().map(|live| &live.run);
        let exec_ids = self.shared.execs.ids_of(&self.record.id);
        self.view.send_replace(Arc::new(super::published(
            &self.shared,
            &self.record,
            run,
            exec_ids,
        )));
    }

    fn publish_event(&self, action: &str, more: &[(&str, &str)]) {
        let attributes = super::attributes(&self.record, more);
        self.shared
            .events
            .publish("container", action, self.record.id.as_str(), attributes);
    }

    fn publish_network_events(&self, action: &str, run: &start::Outcome) {
        for endpoint in &run.endpoints {
            let kind = if endpoint.network == "none" {
                "null"
            } else {
                &endpoint.network
            };
            let attributes = [
                ("container", self.record.id.as_str()),
                ("name", &endpoint.network),
                ("type", kind),
            ];
            let attributes = attributes
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
            self.shared
                .events
                .publish("network", action, &endpoint.network_id, attributes);
        }
    }

    /// Writes phase and status behind the caller's back: an observation, in order with the others.
    fn save(&self) {
        let record = self.record.clone();
        let id = record.id.clone();
        let write = move |tx: &Transaction<'_>| record.update(tx);
        self.shared
            .db
            .enqueue(Durability::Normal, write, move |result| {
                if let Err(error) = result {
                    tracing::error!(container = %id, %error, "cannot record a container's state");
                }
            });
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A caller that has gone drops the reply, not the work.
fn answer<T>(reply: Reply<T>, result: Result<T>) {
    drop(reply.send(result));
}

fn copy<T: Copy>(result: &Result<T>) -> Result<T> {
    match result {
        Ok(value) => Ok(*value),
        Err(error) => Err(Error::new(error.kind(), error.message())),
    }
}
