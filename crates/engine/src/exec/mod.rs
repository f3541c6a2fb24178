//! Execs: further processes in running containers.
//!
//! An exec is remembered while its container is; it does not survive the daemon, as in Docker. Its process does, and its end is
//! written by the shim.

use crate::Shared;
use crate::container::ClientStream;
use crate::container::command::{Command, ExecStart as ShimExec, gone};
use crate::container::config::Config;
use crate::container::spec::set_variable;
use crate::container::{exec_environment, phase_of};
use crate::workload::user;
use gantry_base::{ContainerId, Context, Error, ExecId, Result};
use gantry_oci::runtime::{Capabilities, ConsoleSize, Process, User};
use gantry_shim_protocol::{Attach, Exec, FdRole};
use gantry_sys::beneath::Root;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, oneshot};

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
            (exec.running, exec.exit_code, exec.pid) = (false, Some(exit_code), 0)
        });
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

/// An exec that was checked and waits for its stream.
pub struct ExecPlan {
    /// Whether output is raw (a terminal) or framed.
    pub tty: bool,
    shared: Arc<Shared>,
    view: ExecView,
    commands: mpsc::Sender<Command>,
    process: OwnedFd,
    seccomp: Option<OwnedFd>,
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

    fn publish(
        &self,
        container: &crate::container::view::ContainerView,
        action: &str,
        id: &ExecId,
        more: &[(&str, &str)],
    ) {
        publish(&self.shared, container, action, id, more);
    }
}

fn publish(
    shared: &Shared,
    container: &crate::container::view::ContainerView,
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

impl ExecPlan {
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
            ..
        } = self;
        let container = shared
            .containers
            .find(view.container.as_str())
            .map(|(_, view)| view)?;
        let config = view.config.clone();
        let mut exec = Exec {
            id: view.id.as_str().to_owned(),
            terminal: config.tty,
            open_stdin: config.attach_stdin && client.is_some(),
            attach: Vec::new(),
        };
        let mut sockets = Vec::new();
        if let Some(ClientStream { socket, input }) = client {
            exec.attach.push(Attach {
                exec: Some(exec.id.clone()),
                stdin: config.attach_stdin,
                stdout: config.attach_stdout,
                stderr: config.attach_stderr,
                framed: !config.tty,
                detach_keys: config
                    .detach_keys
                    .clone()
                    .unwrap_or_else(|| crate::container::DETACH_KEYS.to_vec()),
                input,
            });
            sockets.push(socket.into());
        }
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
        let sent = commands
            .send(Command::Exec { start, reply })
            .await
            .map_err(|_| gone(container.id.as_str()));
        let started = match sent {
            Ok(()) => answer
                .await
                .map_err(|_| gone(container.id.as_str()))
                .and_then(|result| result),
            Err(error) => Err(error),
        };
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
                    (exec.running, exec.exit_code) = (false, Some(code))
                });
                Err(error.prefixed(
                    "OCI runtime exec failed: exec failed: unable to start container process",
                ))
            }
        }
    }
}

/// Docker's form: a space after the program, also without arguments.
fn event_line(command: &[String]) -> String {
    let (program, arguments) = command
        .split_first()
        .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    format!("{program} {}", arguments.join(" "))
}

async fn follow_exit(
    shared: Arc<Shared>,
    container: Arc<crate::container::view::ContainerView>,
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

/// The OCI process document, in a sealed file.
fn process_file(
    shared: &Shared,
    container: &crate::container::view::ContainerView,
    exec: &ExecConfig,
    start: ExecStart,
) -> Result<OwnedFd> {
    let process = build_process(shared, container, exec, start)?;
    let document = serde_json::to_vec(&process)
        .map_err(|error| Error::internal(format!("cannot write the process document: {error}")))?;
    gantry_sys::memfd::sealed_bytes("process", &document)
        .context("cannot keep the process document")
}

fn build_process(
    shared: &Shared,
    container: &crate::container::view::ContainerView,
    exec: &ExecConfig,
    start: ExecStart,
) -> Result<Process> {
    let config: &Config = &container.config;
    let user = resolve_user(container, config, exec)?;
    let mut env = exec_environment(container, shared);
    for item in &exec.env {
        set_variable(&mut env, item);
    }
    if exec.tty && env.iter().all(|item| !item.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    if env.iter().all(|item| !item.starts_with("HOME=")) {
        env.push(format!(
            "HOME={}",
            if user.home.is_empty() {
                "/"
            } else {
                &user.home
            }
        ));
    }
    let capabilities = if exec.privileged {
        shared
            .host
            .capabilities
            .iter()
            .map(|&name| name.to_owned())
            .collect()
    } else {
        crate::container::spec::effective_capabilities(config, &shared.host)?
    };
    let held = if user.uid == 0 {
        capabilities.clone()
    } else {
        Vec::new()
    };
    let cwd = [&exec.working_dir, &config.process.working_dir]
        .into_iter()
        .find(|dir| !dir.is_empty());
    Ok(Process {
        terminal: exec.tty,
        console_size: start
            .console_size
            .or(exec.console_size)
            .map(|(height, width)| ConsoleSize { height, width }),
        user: User {
            uid: user.uid,
            gid: user.gid,
            additional_gids: user.additional_gids,
            ..User::default()
        },
        args: exec.cmd.clone(),
        env,
        cwd: cwd.cloned().unwrap_or_else(|| "/".into()),
        capabilities: Some(Capabilities {
            bounding: capabilities,
            effective: held.clone(),
            permitted: held,
            ..Capabilities::default()
        }),
        rlimits: Vec::new(),
        no_new_privileges: config
            .security
            .no_new_privileges
            .unwrap_or(shared.settings().no_new_privileges),
        ..Process::default()
    })
}

fn resolve_user(
    container: &crate::container::view::ContainerView,
    config: &Config,
    exec: &ExecConfig,
) -> Result<crate::container::spec::ResolvedUser> {
    // Through the magic link of a live process: its own root, resolved beneath it.
    let path = format!("/proc/{}/root", container.state.pid);
    let root = Root::open(std::path::Path::new(&path)).map_err(|error| {
        Error::conflict(format!("container {} is not running", container.id)).with_source(error)
    })?;
    let spec = if exec.user.is_empty() {
        &config.process.user
    } else {
        &exec.user
    };
    user::resolve(
        spec,
        &config.process.group_add,
        &crate::container::read_text(&root, "/etc/passwd")?,
        &crate::container::read_text(&root, "/etc/group")?,
    )
}
