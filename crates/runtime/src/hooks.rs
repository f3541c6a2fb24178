//! Runs the programs that a configuration names for points of a container's life, with the container's state on stdin.
//!
//! Source: runtime-spec `config.md`, POSIX-platform Hooks.

use gantry_oci::runtime::{Hook, Hooks, OCI_VERSION, State};
use gantry_sys::pidfd;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};
use crate::outline::Annotations;

/// What a hook's stdin tells.
#[derive(Debug, Clone, Default)]
pub struct HookState {
    /// The container.
    pub id: String,
    /// Its init, as the hook sees it; 0 once stopped.
    pub pid: i32,
    /// The bundle.
    pub bundle: PathBuf,
    /// Of the configuration.
    pub annotations: Annotations,
}

impl HookState {
    fn to_json(&self, status: &str) -> Result<Vec<u8>> {
        let state = State {
            oci_version: OCI_VERSION.to_owned(),
            id: self.id.clone(),
            status: status.to_owned(),
            pid: (self.pid != 0).then_some(self.pid),
            bundle: self.bundle.to_string_lossy().into_owned(),
            annotations: self
                .annotations
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        };
        serde_json::to_vec(&state)
            .map_err(|error| Error::internal(format!("cannot write the state: {error}")))
    }
}

/// `prestart`, then `createRuntime`: in the creator's namespaces, before the root is changed.
pub(crate) fn run_runtime(hooks: &Hooks, state: &HookState) -> Result<()> {
    run_all(&hooks.prestart, state, "creating")?;
    run_all(&hooks.create_runtime, state, "creating")
}

/// `createContainer`: in the container's namespaces, before the root is changed.
pub(crate) fn run_create_container(hooks: &Hooks, state: &HookState) -> Result<()> {
    run_all(&hooks.create_container, state, "creating")
}

/// `startContainer`: in the container, right before its program.
pub(crate) fn run_start_container(hooks: &Hooks, state: &HookState) -> Result<()> {
    run_all(&hooks.start_container, state, "created")
}

/// `poststart`: in the creator's namespaces, after the program was executed. A failure ends the container.
pub fn run_poststart(hooks: &Hooks, state: &HookState) -> Result<Vec<String>> {
    run_all(&hooks.poststart, state, "running")?;
    Ok(Vec::new())
}

/// `poststop`: in the caller's namespaces, after the container was deleted. All are run; failures are warnings.
pub fn run_poststop(hooks: &Hooks, state: &HookState) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, hook) in hooks.poststop.iter().enumerate() {
        if let Err(error) = run_one(hook, state, "stopped") {
            warnings.push(format!("error running poststop hook #{index}: {error}"));
        }
    }
    warnings
}

fn run_all(hooks: &[Hook], state: &HookState, status: &str) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, state, status)
            .with_context(|| format!("error running hook #{index}: error running hook"))?;
    }
    Ok(())
}

fn run_one(hook: &Hook, state: &HookState, status: &str) -> Result<()> {
    if !hook.path.starts_with('/') {
        return Err(Error::invalid(format!(
            "the path {:?} is not absolute",
            hook.path
        )));
    }
    let mut command = Command::new(&hook.path);
    if let Some(name) = hook.args.first() {
        command.arg0(name).args(&hook.args[1..]);
    }
    command.env_clear();
    for item in &hook.env {
        if let Some((name, value)) = item.split_once('=') {
            command.env(name, value);
        }
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("fork/exec {}", hook.path))?;
    // A hook need not read its stdin; one that has closed it is no error.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(&state.to_json(status)?);
    }
    if let Some(timeout_s) = hook.timeout {
        let child_pidfd = pidfd::open(i32::try_from(child.id()).expect("the kernel's pids fit"))?;
        if !pidfd::wait_for_end(&child_pidfd, Some(u64::from(timeout_s) * 1000))? {
            child.kill()?;
            child.wait()?;
            return Err(Error::internal(format!(
                "hook ran past specified timeout of {timeout_s:.1}s",
                timeout_s = f64::from(timeout_s)
            )));
        }
    }
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let read = |stream: Option<&mut dyn Read>, text: &mut String| {
        if let Some(stream) = stream {
            let _ = stream.take(16 * 1024).read_to_string(text);
        }
    };
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    read(
        out.as_mut().map(|stream| stream as &mut dyn Read),
        &mut stdout,
    );
    read(
        err.as_mut().map(|stream| stream as &mut dyn Read),
        &mut stderr,
    );
    let result = child.wait()?;
    if result.success() {
        return Ok(());
    }
    let what = result
        .code()
        .map_or_else(|| result.to_string(), |code| format!("exit status {code}"));
    Err(Error::internal(format!(
        "{what}, stdout: {stdout}, stderr: {stderr}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<u32>) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: vec!["sh".into(), "-c".into(), script.into()],
            env: vec!["A=b".into()],
            timeout,
        }
    }

    #[test]
    fn state_environment_failure_and_timeout() {
        let state = HookState {
            id: "c1".into(),
            pid: 7,
            bundle: "/b".into(),
            ..HookState::default()
        };
        let check =
            r#"test "$A" = b && grep -q '"id":"c1","status":"creating","pid":7,"bundle":"/b"'"#;
        run_one(&hook(check, None), &state, "creating").expect("succeeds");
        let error = run_one(
            &hook("echo out; echo err >&2; exit 3", None),
            &state,
            "creating",
        )
        .expect_err("fails");
        assert_eq!(error.message, "exit status 3, stdout: out\n, stderr: err\n");
        let error =
            run_one(&hook("exec sleep 30", Some(1)), &state, "creating").expect_err("is late");
        assert!(
            error.message.contains("ran past specified timeout of 1.0s"),
            "{error}"
        );
        assert!(
            run_one(
                &Hook {
                    path: "sh".into(),
                    ..Hook::default()
                },
                &state,
                "x"
            )
            .is_err()
        );
    }
}
