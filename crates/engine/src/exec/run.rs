//! Running an exec: its process is started with the client's stream, and its end is followed.

use super::{ExecView, event_line, publish};
use crate::Shared;
use crate::container::command::{Command, ExecStart as ShimExec, gone};
use crate::container::view::ContainerView;
use crate::container::{ClientStream, DETACH_KEYS};
use gantry_base::{ContainerId, ExecId, Result};
use gantry_shim_protocol::{Attach, Exec};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// An exec that was checked and waits for its stream.
pub struct ExecPlan {
    /// Whether output is raw (a terminal) or framed.
    pub tty: bool,
    pub(super) framed: bool,
    pub(super) shared: Arc<Shared>,
    pub(super) view: ExecView,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) process: OwnedFd,
    pub(super) seccomp: Option<OwnedFd>,
}

impl ExecPlan {
    /// Gives stdout and stderr as they come, not framed.
    pub(crate) fn raw(mut self) -> Self {
        self.framed = false;
        self
    }

    /// Starts the process with the client's stream; returns once it runs.
    ///
    /// # Errors
    /// runc's words for a program that is not there or cannot be executed.
    pub async fn run(self, client: Option<ClientStream>) -> Result<()> {
        let Self {
            shared,
            view,
            commands,
            process,
            seccomp,
            framed,
            ..
        } = self;
        let container = shared
            .containers
            .find(view.container.as_str())
            .map(|(_, view)| view)?;
        let config = view.config.clone();
        let (exec, sockets) = request(&view, client, framed);
        let (exited, exit) = oneshot::channel();
        shared.execs.change(&view.id, |exec| exec.running = true);
        let line = event_line(&config.cmd);
        publish(
            &shared,
            &container,
            &format!("exec_start: {line}"),
            &view.id,
            &[],
        );
        let (reply, answer) = oneshot::channel();
        let start = ShimExec {
            exec,
            process,
            seccomp,
            sockets,
            exited,
        };
        let started = ask(
            &commands,
            Command::Exec { start, reply },
            answer,
            &container.id,
        )
        .await;
        match started {
            Ok(pid) => {
                shared.execs.change(&view.id, |exec| exec.pid = pid);
                tokio::spawn(follow_exit(shared, container, view.id, exit));
                Ok(())
            }
            Err(error) => {
                let code = match error.message() {
                    text if text.contains("not found") || text.contains("no such file") => 127,
                    _ => 126,
                };
                shared.execs.change(&view.id, |exec| {
                    (exec.running, exec.exit_code) = (false, Some(code));
                });
                Err(error.prefixed(
                    "OCI runtime exec failed: exec failed: unable to start container process",
                ))
            }
        }
    }
}

/// What the shim is asked for, and the client's sockets that go with it.
fn request(view: &ExecView, client: Option<ClientStream>, framed: bool) -> (Exec, Vec<OwnedFd>) {
    let config = &view.config;
    let mut exec = Exec {
        id: view.id.as_str().to_owned(),
        terminal: config.tty,
        open_stdin: config.attach_stdin && client.is_some(),
        attach: Vec::new(),
    };
    let mut sockets = Vec::new();
    if let Some(ClientStream { socket, input, .. }) = client {
        exec.attach.push(Attach {
            exec: Some(exec.id.clone()),
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
            framed,
            detach_keys: config
                .detach_keys
                .clone()
                .unwrap_or_else(|| DETACH_KEYS.to_vec()),
            input,
        });
        sockets.push(socket.into());
    }
    (exec, sockets)
}

/// Gives the container's actor a command and waits for its answer.
async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: Command,
    answer: oneshot::Receiver<Result<T>>,
    container: &ContainerId,
) -> Result<T> {
    let gone = || gone(container.as_str());
    commands.send(command).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

async fn follow_exit(
    shared: Arc<Shared>,
    container: Arc<ContainerView>,
    id: ExecId,
    exit: oneshot::Receiver<i32>,
) {
    // The actor drops the sender only when the container ended without telling: its processes were killed.
    let code = exit.await.unwrap_or(137);
    shared.execs.end(&id, code);
    publish(
        &shared,
        &container,
        "exec_die",
        &id,
        &[("exitCode", &code.to_string())],
    );
}
