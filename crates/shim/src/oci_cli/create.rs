//! `create` and `run`.

use gantry_oci::runtime::Spec;
use gantry_runtime::cgroup::Roots;
use gantry_runtime::{Error, Init, Result, Start, Stdio, bundle};
use gantry_sys::{fdpass, pidfd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::flags::Matches;
use super::foreground;
use super::store::{Container, Record, START_SOCKET, at, process_stat};
use super::{Context, in_container_process, report};

pub(super) fn create(context: &Context, matches: &Matches) -> Result<i32> {
    let made = Made::new(context, matches, false)?;
    made.settle(context, matches)?;
    Ok(0)
}

pub(super) fn run(context: &Context, matches: &Matches) -> Result<i32> {
    let made = Made::new(context, matches, true)?;
    let (container, init) = made.settle(context, matches)?;
    if matches.has("detach") {
        return Ok(0);
    }
    let code = foreground::serve(&init.pidfd, init.terminal.as_ref())?;
    drop(init);
    if !matches.has("keep") {
        container
            .forget()?
            .iter()
            .for_each(|warning| context.log.warning(warning));
    }
    Ok(code)
}

/// A container whose init runs, but which is not remembered yet. Dropped then, it is taken back.
struct Made {
    record: Record,
    folder: PathBuf,
    roots: Arc<Roots>,
    init: Option<Init>,
}

impl Made {
    fn new(context: &Context, matches: &Matches, start: bool) -> Result<Self> {
        let id = &matches.arguments[0];
        let (bundle, spec) = open_bundle(matches)?;
        let is_terminal = spec
            .process
            .as_ref()
            .is_some_and(|process| process.terminal);
        let is_detached = !start || matches.has("detach");
        foreground::check(is_terminal, is_detached, matches.value("console-socket"))?;
        let folder = context.store.claim(id)?;
        let made = Self::create(id, matches, start, bundle, spec, &folder);
        if made.is_err() {
            let _ = std::fs::remove_dir_all(&folder);
        }
        made
    }

    fn create(
        id: &str,
        matches: &Matches,
        start: bool,
        bundle: PathBuf,
        mut spec: Spec,
        folder: &Path,
    ) -> Result<Self> {
        let roots = Arc::new(Roots::open()?);
        let listen_fds = foreground::pass_listen_fds(spec.process.as_mut());
        let is_terminal = spec
            .process
            .as_ref()
            .is_some_and(|process| process.terminal);
        let rootfs = spec
            .root
            .as_ref()
            .map(|root| bundle.join(&root.path))
            .unwrap_or_default();
        let mut plan = bundle::plan(id, &bundle, spec.clone(), Arc::clone(&roots))?;
        plan.no_pivot = matches.has("no-pivot");
        plan.mounts_in_order = true;
        plan.no_new_keyring = matches.has("no-new-keyring");
        plan.preserve_fds = matches.number("preserve-fds")?.unwrap_or(0) + listen_fds;
        plan.stdio = if is_terminal {
            Stdio::Terminal
        } else {
            Stdio::Inherit
        };
        let init = if start {
            gantry_runtime::run(plan)
        } else {
            // A relative name, since the whole path may be longer than a socket's address.
            rustix::process::chdir(folder).map_err(|error| at(folder, error.into()))?;
            plan.start = Start::OnConnect(fdpass::listen(Path::new(START_SOCKET))?);
            gantry_runtime::create(plan)
        };
        let init = init.map_err(in_container_process)?;
        let record = Record {
            id: id.to_owned(),
            pid: init.pid,
            pid_start: process_stat(init.pid).map_or(0, |(start, _)| start),
            rootfs: std::fs::canonicalize(&rootfs).unwrap_or(rootfs),
            bundle,
            created: report::now_exactly(),
            namespaces: init.namespaces,
            cgroup: init.cgroup.paths(),
            spec,
        };
        Ok(Self {
            record,
            folder: folder.to_path_buf(),
            roots,
            init: Some(init),
        })
    }

    /// Remembers the container, and tells those who wait for it.
    fn settle(mut self, context: &Context, matches: &Matches) -> Result<(Container, Init)> {
        let container = Container::new(
            self.record.clone(),
            self.folder.clone(),
            Arc::clone(&self.roots),
        );
        container.save()?;
        let init = self
            .init
            .as_mut()
            .ok_or_else(|| Error::internal("is set until the end"))?;
        init.warnings
            .iter()
            .for_each(|warning| context.log.warning(warning));
        if let Some(socket) = matches.value("console-socket") {
            foreground::send_terminal(socket, init.terminal.take())?;
        }
        if let Some(path) = matches.value("pid-file") {
            foreground::write_pid_file(Path::new(path), init.pid)?;
        }
        let init = self
            .init
            .take()
            .ok_or_else(|| Error::internal("is set until the end"))?;
        Ok((container, init))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(init) = self.init.take() {
            let _ = pidfd::send_signal(&init.pidfd, libc::SIGKILL);
            let _ = pidfd::wait(&init.pidfd);
            let _ = init.cgroup.remove();
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn open_bundle(matches: &Matches) -> Result<(PathBuf, Spec)> {
    if let Some(path) = matches.value("bundle") {
        rustix::process::chdir(path)
            .map_err(|error| Error::from(error).prefixed(format!("chdir {path}")))?;
    }
    let bundle = std::env::current_dir()?;
    let spec = bundle::read_config(&bundle)?;
    Ok((bundle, spec))
}
