//! The zygote: one small process per daemon from which every shim is forked. See `gantry_shim_protocol`.
//!
//! It is executed from a sealed copy in memory, so nothing that a container does can change what later containers run.

use gantry_base::{Context, Error, Result};
use gantry_shim_protocol::ZygoteRequest;
use gantry_sys::{fdpass, memfd};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// Starts shims. If its process dies, the next fork starts another one; shims do not depend on it.
pub(crate) struct Zygote {
    executable: OwnedFd,
    running: Mutex<Option<Running>>,
}

struct Running {
    child: Child,
    socket: OwnedFd,
}

impl Zygote {
    /// Copies and seals the executable, and starts the process.
    pub(crate) fn start(shim: &Path) -> Result<Self> {
        let file =
            std::fs::File::open(shim).with_context(|| format!("cannot open {}", shim.display()))?;
        let executable = memfd::sealed_executable("gantry-shim", &file)
            .context("cannot seal a copy of gantry-shim")?;
        let running = spawn(&executable)?;
        Ok(Self {
            executable,
            running: Mutex::new(Some(running)),
        })
    }

    /// Forks a shim that lives on `control`.
    pub(crate) fn fork(&self, id: &str, control: impl AsFd) -> Result<()> {
        let request =
            serde_json::to_vec(&ZygoteRequest::Fork { id: id.to_owned() }).map_err(|error| {
                Error::internal(format!("cannot write a request to the zygote: {error}"))
            })?;
        let mut running = self
            .running
            .lock()
            .expect("no code panics while it holds the zygote");
        if let Some(zygote) = running.as_ref()
            && fdpass::send(&zygote.socket, &request, &[control.as_fd()]).is_ok()
        {
            return Ok(());
        }
        if let Some(mut dead) = running.take() {
            tracing::warn!("the zygote has died; starting another one");
            let _ = dead.child.kill();
            let _ = dead.child.wait();
        }
        let fresh = running.insert(spawn(&self.executable)?);
        fdpass::send(&fresh.socket, &request, &[control.as_fd()]).context("cannot reach the zygote")
    }

    /// The zygote's pid, for measurements.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running
            .lock()
            .expect("no code panics while it holds the zygote")
            .as_ref()
            .map(|running| running.child.id())
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let running = self
            .running
            .get_mut()
            .expect("no code panics while it holds the zygote")
            .take();
        if let Some(Running { mut child, socket }) = running {
            // The end of its socket ends the zygote; waiting leaves no zombie.
            drop(socket);
            let _ = child.wait();
        }
    }
}

fn spawn(executable: &OwnedFd) -> Result<Running> {
    let (ours, theirs) = fdpass::pair().context("cannot make the zygote's socket")?;
    let child = Command::new(memfd::path(executable))
        .arg("zygote")
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| name == "GANTRY_FAILPOINTS"))
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start the zygote")?;
    Ok(Running {
        child,
        socket: ours,
    })
}
