//! Execs: further processes in running containers.
//!
//! An exec is remembered while its container is; it does not survive the daemon, as in Docker. Its process does, and its end is
//! written by the shim.

mod process;
mod run;

pub use run::ExecPlan;

use crate::Shared;
use crate::container::command::{Command, gone};
use crate::container::phase_of;
use crate::container::view::ContainerView;
use gantry_base::{ContainerId, Error, ExecId, Result};
use gantry_shim_protocol::FdRole;
use process::{process_file, resolve_user};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// The service for the noun. Cheap to clone.
#[derive(Clone)]
pub struct Execs {
    pub(crate) shared: Arc<Shared>,
}

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct ExecConfig {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// `NAME=value` over the container's.
    pub env: Vec<String>,
    /// Empty: the container's.
    pub working_dir: String,
    /// Empty: the container's.
    pub user: String,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether the client gives input.
    pub attach_stdin: bool,
    /// Whether the client gets stdout.
    pub attach_stdout: bool,
    /// Whether the client gets stderr.
    pub attach_stderr: bool,
    /// All capabilities.
    pub privileged: bool,
    /// Bytes that detach; none: ctrl-p ctrl-q.
    pub detach_keys: Option<Vec<u8>>,
    /// Rows and columns.
    pub console_size: Option<(u16, u16)>,
}

/// An exec at one moment.
#[derive(Debug, Clone)]
pub struct ExecView {
    /// Its id.
    pub id: ExecId,
    /// Its container.
    pub container: ContainerId,
    /// What it runs.
    pub config: Arc<ExecConfig>,
    /// Whether its process runs.
    pub running: bool,
    /// None: it has not ended.
    pub exit_code: Option<i32>,
    /// 0 unless it was started.
    pub pid: i32,
}

/// How to start an exec.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExecStart {
    /// Without a client.
    pub detach: bool,
    /// As at create.
    pub tty: bool,
    /// Rows and columns.
    pub console_size: Option<(u16, u16)>,
}

/// Every exec of every container.
#[derive(Default)]
pub(crate) struct ExecTable {
    execs: Mutex<HashMap<ExecId, ExecView>>,
}

impl ExecTable {
    pub(crate) fn ids_of(&self, container: &ContainerId) -> Vec<ExecId> {
        self.lock()
            .values()
            .filter(|e| &e.container == container && e.running)
            .map(|e| e.id.clone())
            .collect()
    }

    pub(crate) fn forget(&self, container: &ContainerId) {
        self.lock().retain(|_, exec| &exec.container != container);
    }

    /// The end of an exec, recorded by its container's actor in the order of the shim's events.
    pub(crate) fn end(&self, id: &ExecId, exit_code: i32) {
        self.change(id, |exec| {
            (exec.running, exec.exit_code, exec.pid) = (false, Some(exit_code), 0);
        });
    }

    /// Forgets an exec whose end everybody knows who asked for it.
    pub(crate) fn forget_one(&self, id: &ExecId) {
        self.lock().remove(id);
    }

    fn change(&self, id: &ExecId, change: impl FnOnce(&mut ExecView)) {
        if let Some(exec) = self.lock().get_mut(id) {
            change(exec);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ExecId, ExecView>> {
        self.execs
            .lock()
            .expect("no code panics while it holds the execs")
    }
}

/// The sockets of an exec's clients with their roles.
pub(crate) struct ExecSockets;

impl ExecSockets {
    pub(crate) fn roles(sockets: &[OwnedFd]) -> Vec<(FdRole, BorrowedFd<'_>)> {
        sockets
            .iter()
            .enumerate()
            .map(|(index, fd)| (FdRole::Attach { index }, fd.as_fd()))
            .collect()
    }
}

impl Execs {
    /// Registers an exec in a running container.
    pub async fn create(&self, container: &str, config: ExecConfig) -> Result<ExecId> {
        let (commands, view) = self.shared.containers.find(container)?;
        if config.cmd.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        let (reply, answer) = oneshot::channel();
        commands
            .send(Command::ExecCheck { reply })
            .await
            .map_err(|_| gone(container))?;
        answer
            .await
            .map_err(|_| gone(container))?
            .map_err(|error| phase_of(error, container))?;
        let (container_view, asked) = (view.clone(), config.clone());
        let user = tokio::task::spawn_blocking(move || {
            resolve_user(&container_view, &container_view.config, &asked)
        });
        user.await
            .map_err(|_| Error::internal("the exec ended unexpectedly"))??;
        let id = ExecId::from_random(crate::random_bytes);
        let line = event_line(&config.cmd);
        let exec = ExecView {
            id: id.clone(),
            container: view.id.clone(),
            config: Arc::new(config),
            running: false,
            exit_code: None,
            pid: 0,
        };
        self.shared.execs.lock().insert(id.clone(), exec);
        self.publish(&view, &format!("exec_create: {line}"), &id, &[]);
        Ok(id)
    }

    /// By full id or unique prefix.
    pub fn get(&self, reference: &str) -> Result<ExecView> {
        let execs = self.shared.execs.lock();
        let mut found = execs
            .values()
            .filter(|exec| !reference.is_empty() && exec.id.as_str().starts_with(reference));
        match (found.next(), found.next()) {
            (Some(exec), None) => Ok(exec.clone()),
            _ => Err(Error::not_found(format!(
                "No such exec instance: {reference}"
            ))),
        }
    }

    /// As [`Execs::get`], but an end that the shim has told of is in the answer: clients ask right after the stream's end.
    pub async fn inspect(&self, reference: &str) -> Result<ExecView> {
        let view = self.get(reference)?;
        if view.running
            && let Ok((commands, _)) = self.shared.containers.find(view.container.as_str())
        {
            // The shim answers in the order of its events, and the actor takes commands after what it heard before.
            let (reply, answer) = oneshot::channel();
            if commands.send(Command::Processes(reply)).await.is_ok() {
                drop(answer.await);
            }
            let (reply, answer) = oneshot::channel();
            if commands.send(Command::ExecCheck { reply }).await.is_ok() {
                drop(answer.await);
            }
        }
        self.get(reference)
    }

    /// Checks a start; the process is started by [`ExecPlan::run`].
    ///
    /// # Errors
    /// An exec that runs or ran, a container that does not, a user that is not in the container's files.
    pub async fn start(&self, reference: &str, start: ExecStart) -> Result<ExecPlan> {
        let view = self.get(reference)?;
        if view.exit_code.is_some() {
            return Err(Error::conflict(format!(
                "exec command {} has already run",
                view.id
            )));
        }
        if view.running {
            return Err(Error::conflict(format!(
                "exec command {} is already running",
                view.id
            )));
        }
        let (commands, container) = self.shared.containers.find(view.container.as_str())?;
        if !container.state.status.is_live() {
            return Err(Error::conflict(format!(
                "container {} is not running",
                container.id
            )));
        }
        let (shared, config) = (self.shared.clone(), view.config.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            let process = process_file(&shared, &container, &config, start)?;
            let seccomp =
                shared
                    .seccomp
                    .filter_for(&container.config, &shared.settings(), &shared.host)?;
            Ok::<_, Error>((process, seccomp.filter(|_| !config.privileged)))
        });
        let (process, seccomp) = prepared
            .await
            .map_err(|_| Error::internal("the exec ended unexpectedly"))??;
        Ok(ExecPlan {
            tty: view.config.tty,
            framed: !view.config.tty,
            shared: self.shared.clone(),
            view,
            commands,
            process,
            seccomp,
        })
    }

    /// Changes the size of an exec's terminal.
    pub async fn resize(&self, reference: &str, rows: u16, columns: u16) -> Result<()> {
        let view = self.get(reference)?;
        let (commands, _) = self.shared.containers.find(view.container.as_str())?;
        let (reply, answer) = oneshot::channel();
        let exec = Some(view.id.as_str().to_owned());
        commands
            .send(Command::Resize {
                exec,
                rows,
                columns,
                reply,
            })
            .await
            .map_err(|_| gone(reference))?;
        answer.await.map_err(|_| gone(reference))?
    }

    fn publish(&self, container: &ContainerView, action: &str, id: &ExecId, more: &[(&str, &str)]) {
        publish(&self.shared, container, action, id, more);
    }
}

fn publish(
    shared: &Shared,
    container: &ContainerView,
    action: &str,
    id: &ExecId,
    more: &[(&str, &str)],
) {
    let mut attributes = crate::container::view_attributes(container);
    attributes.insert("execID".into(), id.as_str().to_owned());
    attributes.extend(
        more.iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned())),
    );
    shared
        .events
        .publish("container", action, container.id.as_str(), attributes);
}

/// Docker's form: a space after the program, also without arguments.
fn event_line(command: &[String]) -> String {
    let (program, arguments) = command
        .split_first()
        .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    format!("{program} {}", arguments.join(" "))
}
