//! Attach: a client's socket is handed to the shim, which reads and writes it itself; no byte passes through the daemon.

use super::Containers;
use super::command::{self, Command};
use super::logs::LogsOptions;
use crate::container::view::Status;
use gantry_base::{Context, Error, Result};
use gantry_shim_protocol::Attach;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use tokio::sync::mpsc;

/// What a client wants of an attach.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Give input.
    pub stdin: bool,
    /// Get stdout.
    pub stdout: bool,
    /// Get stderr.
    pub stderr: bool,
    /// Replay the log first.
    pub logs: bool,
    /// Stay attached.
    pub stream: bool,
    /// Bytes that detach; none: ctrl-p ctrl-q.
    pub detach_keys: Option<Vec<u8>>,
}

/// A client's connection after the hijack.
pub struct ClientStream {
    /// The client's own socket, or one end of a pair that somebody copies.
    pub socket: UnixStream,
    /// Input that was read before.
    pub input: Vec<u8>,
    /// What the client must read first: the head of the answer, unless it was written already.
    pub head: Vec<u8>,
}

/// An attach that was checked and waits for its hijacked stream.
pub struct AttachPlan {
    /// Whether output is raw (a terminal) or framed.
    pub tty: bool,
    commands: mpsc::Sender<Command>,
    reference: String,
    options: AttachOptions,
    stdin: bool,
    containers: Containers,
}

/// Docker's default: ctrl-p ctrl-q.
pub(crate) const DETACH_KEYS: [u8; 2] = [16, 17];

impl Containers {
    /// Checks an attach. The stream is connected by [`AttachPlan::run`].
    pub fn attach(&self, reference: &str, options: AttachOptions) -> Result<AttachPlan> {
        let (commands, view) = self.shared.containers.find(reference)?;
        match view.state.status {
            Status::Paused => {
                return Err(Error::conflict(format!(
                    "container {reference} is paused, unpause the container before attach"
                )));
            }
            Status::Restarting => {
                return Err(Error::conflict(format!(
                    "container {reference} is restarting, wait until the container is running before attach"
                )));
            }
            Status::Created
            | Status::Running
            | Status::Removing
            | Status::Exited
            | Status::Dead => {}
        }
        Ok(AttachPlan {
            tty: view.config.process.tty,
            commands,
            reference: reference.to_owned(),
            stdin: options.stdin && view.config.process.open_stdin,
            options,
            containers: self.clone(),
        })
    }
}

impl AttachPlan {
    /// Connects the stream; returns when the shim (or, before the start, the container's actor) has taken it over.
    pub async fn run(self, client: ClientStream) -> Result<()> {
        let Self {
            tty,
            commands,
            reference,
            options,
            stdin,
            containers,
        } = self;
        let ClientStream {
            socket,
            input,
            head,
        } = client;
        let (socket, head) = if options.logs || !options.stream {
            let socket = write_all(socket, head.into()).await?;
            let socket = if options.logs {
                replay(&containers, &reference, &options, socket).await?
            } else {
                socket
            };
            (socket, Vec::new())
        } else {
            (socket, head)
        };
        if !options.stream {
            return Ok(());
        }
        let attach = Attach {
            exec: None,
            stdin,
            stdout: options.stdout,
            stderr: options.stderr,
            framed: !tty,
            detach_keys: options.detach_keys.unwrap_or_else(|| DETACH_KEYS.to_vec()),
            input,
        };
        let (reply, answer) = tokio::sync::oneshot::channel();
        let command = Command::Attach {
            attach,
            head,
            socket: socket.into(),
            reply,
        };
        commands
            .send(command)
            .await
            .map_err(|_| command::gone(&reference))?;
        answer.await.map_err(|_| command::gone(&reference))?
    }
}

/// Writes what was logged so far.
async fn replay(
    containers: &Containers,
    reference: &str,
    options: &AttachOptions,
    socket: UnixStream,
) -> Result<UnixStream> {
    let wanted = LogsOptions {
        stdout: options.stdout,
        stderr: options.stderr,
        ..LogsOptions::default()
    };
    let mut stream = containers.logs(reference, wanted).await?;
    let mut socket = socket;
    while let Some(chunk) = stream.chunks.recv().await {
        socket = write_all(socket, chunk?).await?;
    }
    Ok(socket)
}

async fn write_all(mut socket: UnixStream, bytes: bytes::Bytes) -> Result<UnixStream> {
    let written = tokio::task::spawn_blocking(move || -> std::io::Result<UnixStream> {
        socket.set_nonblocking(false)?;
        socket.write_all(&bytes)?;
        Ok(socket)
    });
    written
        .await
        .map_err(|_| Error::internal("the log replay ended unexpectedly"))?
        .context("cannot write to the attached client")
}
