//! The event loop of one container: it alone changes the container's state.
//!
//! It never awaits the kernel, the disk or the network: long work runs as a job that reports back as an event, so a kill or a
//! forced removal is always heard. Reads do not come here; they take the last published view.
//! Decisions are in `phase.rs` and `restart.rs`; what a start does is in `start/`. Here are the loop and what follows an exit; the
//! commands are in `launch.rs`, `stop.rs`, `leave.rs` and `streams.rs`.

mod health;
mod launch;
mod leave;
mod network;
mod publish;
mod stop;
mod streams;
mod update;

use super::command::{Command, ExitStatus, NetworkChange, RemoveOptions, Reply, Start, Stop};
use super::health::HealthResult;
use super::phase::Phase;
use super::record::ContainerRecord;
use super::restart::{self, Ended};
use super::start::{self, Running};
use super::view::ContainerView;
use super::{Shared, exit, signal};
use crate::workload::shim::{Shim, ShimEvent};
use gantry_base::{Error, ExecId, Result};
use gantry_shim_protocol::{self as protocol, Event as ShimNews, Request};
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
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
    NetworkChanged {
        generation: u64,
        changed: Box<network::Changed>,
    },
    Updated(Box<update::Updated>),
    Probed {
        generation: u64,
        result: HealthResult,
    },
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
    /// When the next health check is due; none while one runs.
    probe_at: Option<Instant>,
    removed: bool,
    /// One change at a time; the others wait here.
    network_is_changing: bool,
    network_changes: VecDeque<(NetworkChange, Reply<()>)>,
    /// Changes of networks wait for it, and it for them, as both change the configuration.
    is_updating: bool,
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
            probe_at: None,
            removed: false,
            network_is_changing: false,
            network_changes: VecDeque::new(),
            is_updating: false,
        };
        if let Some(running) = adopted {
            actor.adopt(*running);
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
        [stop, self.restart_at, self.probe_at]
            .into_iter()
            .flatten()
            .min()
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
                | Command::Network { .. }
                | Command::Remove { .. }
        );
        let is_update = matches!(command, Command::Update { .. });
        let is_changing = self.network_is_changing || self.is_updating;
        if self.record.phase == Phase::Starting && (waits || is_update) || is_changing && is_update
        {
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
                head,
                socket,
                reply,
            } => self.on_attach(attach, &head, socket, reply),
            Command::Resize {
                exec,
                rows,
                columns,
                reply,
            } => self.on_resize(exec, rows, columns, reply),
            Command::Exec { start, reply } => self.on_exec(start, reply),
            Command::ExecCheck { reply } => self.on_exec_check(reply),
            Command::KillExec(exec) => self.kill_exec(&exec),
            Command::Network { change, reply } => self.on_network(change, reply),
            Command::Update { update, reply } => self.on_update(update, reply),
            Command::Processes(reply) => {
                self.ask(Request::Processes, reply, |answer| match answer {
                    protocol::Reply::Processes(pids) => Some(pids),
                    _ => None,
                });
            }
            Command::Stats(reply) => self.ask(Request::Stats, reply, |answer| match answer {
                protocol::Reply::Stats(files) => Some(files),
                _ => None,
            }),
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::StartFinished { generation, result } if generation == self.generation => {
                match result {
                    Ok(running) => {
                        self.adopt(*running);
                        self.publish_volume_events("mount");
                        self.publish_network_events("connect");
                        self.publish_event("start", &[]);
                        self.reply_to_starts(Ok(Start::Started));
                    }
                    Err(failed) => self.on_start_failed(failed),
                }
            }
            Event::StartFinished { .. } => {}
            Event::Shim(ShimEvent { generation, event }) if generation == self.generation => {
                self.on_shim(event);
            }
            Event::Shim(ShimEvent {
                generation,
                event: None,
            }) => self.on_retired(generation),
            Event::Shim(_) => {}
            Event::NetworkChanged {
                generation,
                changed,
            } => self.on_network_changed(generation, *changed),
            Event::Updated(updated) => self.on_updated(*updated),
            Event::Probed { generation, result } => self.on_probed(generation, result),
        }
        if self.record.phase != Phase::Starting {
            for command in std::mem::take(&mut self.deferred) {
                self.on_command(command);
            }
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
        self.end_health();
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
        self.publish_network_events("disconnect");
        self.publish_volume_events("unmount");
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
        // A forced removal stops without this event.
        if stopped
            .as_ref()
            .is_some_and(|stopped| !stopped.replies.is_empty())
        {
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
