//! The OCI process document of an exec: user, environment and capabilities from the container's configuration and the request.

use super::{ExecConfig, ExecStart};
use crate::Shared;
use crate::container::config::Config;
use crate::container::spec::{ResolvedUser, effective_capabilities, rlimits, set_variable};
use crate::container::view::ContainerView;
use crate::container::{exec_environment, read_text};
use crate::workload::user;
use gantry_base::{Context, Error, Result};
use gantry_oci::runtime::{Capabilities, ConsoleSize, Process, User};
use gantry_sys::beneath::Root;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The OCI process document, in a sealed file.
pub(super) fn process_file(
    shared: &Shared,
    container: &ContainerView,
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
    container: &ContainerView,
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
        effective_capabilities(config, &shared.host)?
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
        rlimits: rlimits(config),
        oom_score_adj: Some(config.resources.oom_score_adj),
        no_new_privileges: config
            .security
            .no_new_privileges
            .unwrap_or(shared.settings().no_new_privileges),
        ..Process::default()
    })
}

pub(super) fn resolve_user(
    container: &ContainerView,
    config: &Config,
    exec: &ExecConfig,
) -> Result<ResolvedUser> {
    // Through the magic link of a live process: its own root, resolved beneath it.
    let path = format!("/proc/{}/root", container.state.pid);
    let root = Root::open(Path::new(&path)).map_err(|error| {
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
        &read_text(&root, "/etc/passwd")?,
        &read_text(&root, "/etc/group")?,
    )
}
