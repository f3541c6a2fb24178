//! One run of a health check: an exec in the container, with its output's beginning and a time limit.

use super::{HealthResult, NO_EXIT_CODE};
use crate::Shared;
use crate::clock::now_ns;
use crate::container::ClientStream;
use crate::container::command::Command;
use crate::exec::{ExecConfig, ExecStart, Execs};
use gantry_base::{ContainerId, Context, Error, ExecId, Result};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// Bytes of output that are kept.
const OUTPUT_MAX_BYTES: usize = 4096;
/// How often an end is looked for that nothing tells of.
const END_CHECK: Duration = Duration::from_millis(20);
/// How long a killed check may take to end; after that it is left to itself.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the check and says how it went.
pub(in crate::container) async fn run(
    shared: Arc<Shared>,
    container: ContainerId,
    cmd: Vec<String>,
    timeout: Duration,
) -> HealthResult {
    let start_ns = now_ns();
    let execs = Execs { shared };
    let (exit_code, output, end_ns) = match attempt(&execs, &container, cmd, timeout).await {
        Ok(outcome) => outcome,
        Err(error) => (NO_EXIT_CODE, error.message().to_owned(), now_ns()),
    };
    HealthResult {
        start_ns,
        end_ns,
        exit_code,
        output,
    }
}

/// Exit code, output, and when it ended.
type Outcome = (i32, String, i64);

async fn attempt(
    execs: &Execs,
    container: &ContainerId,
    cmd: Vec<String>,
    timeout: Duration,
) -> Result<Outcome> {
    let config = ExecConfig {
        cmd,
        attach_stdout: true,
        attach_stderr: true,
        ..ExecConfig::default()
    };
    let id = execs.create(container.as_str(), config).await?;
    let outcome = follow(execs, container, &id, timeout).await;
    execs.shared.execs.forget_one(&id);
    outcome
}

async fn follow(
    execs: &Execs,
    container: &ContainerId,
    id: &ExecId,
    timeout: Duration,
) -> Result<Outcome> {
    let (socket, ours) = UnixStream::pair().context("cannot make a health check's stream")?;
    ours.set_nonblocking(true)?;
    let ours = tokio::net::UnixStream::from_std(ours)?;
    let plan = execs.start(id.as_str(), ExecStart::default()).await?;
    let client = ClientStream {
        socket,
        input: Vec::new(),
        head: Vec::new(),
    };
    let mut output = Output::default();
    let running = async {
        plan.raw().run(Some(client)).await?;
        output.read(ours).await;
        loop {
            let exec = execs.inspect(id.as_str()).await?;
            if let Some(exit_code) = exec.exit_code {
                return Ok::<_, Error>(exit_code);
            }
            // It closed its output before its end.
            tokio::time::sleep(END_CHECK).await;
        }
    };
    if let Ok(result) = tokio::time::timeout(timeout, running).await {
        return Ok((result?, output.text(), now_ns()));
    }
    let end_ns = now_ns();
    end(execs, container, id).await;
    let text = match output.text().as_str() {
        "" => String::new(),
        text => format!(": {text}"),
    };
    let limit = go_duration(timeout);
    Ok((
        NO_EXIT_CODE,
        format!("Health check exceeded timeout ({limit}){text}"),
        end_ns,
    ))
}

/// Kills the check's process and waits until it has ended, so that slow checks do not pile up.
async fn end(execs: &Execs, container: &ContainerId, id: &ExecId) {
    let Ok((commands, _)) = execs.shared.containers.find(container.as_str()) else {
        return;
    };
    // An actor that has ended has killed everything.
    let _ = commands.send(Command::KillExec(id.clone())).await;
    let ended = async {
        while execs.get(id.as_str()).is_ok_and(|exec| exec.running) {
            tokio::time::sleep(END_CHECK).await;
        }
    };
    if tokio::time::timeout(KILL_PATIENCE, ended).await.is_err() {
        tracing::warn!(%container, "a health check that took too long did not end when it was killed");
    }
}

/// The beginning of an output.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Output {
    async fn read(&mut self, mut stream: tokio::net::UnixStream) {
        let mut buffer = [0; OUTPUT_MAX_BYTES];
        // A stream that breaks has ended.
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            let room = OUTPUT_MAX_BYTES - self.bytes.len();
            self.bytes.extend_from_slice(&buffer[..length.min(room)]);
            self.truncated |= length > room;
        }
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        if self.truncated {
            format!("{text}...")
        } else {
            text.into_owned()
        }
    }
}

/// A duration as Go prints it: `1m30s`, `500ms`, `1.5s`.
fn go_duration(time: Duration) -> String {
    let decimal = |whole: u64, billionths: u32| {
        let text = format!("{whole}.{billionths:09}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let (seconds, nanoseconds) = (time.as_secs(), time.subsec_nanos());
    if seconds == 0 {
        let rest = nanoseconds % 1_000_000 * 1_000;
        return format!("{}ms", decimal((nanoseconds / 1_000_000).into(), rest));
    }
    let rest = decimal(seconds % 60, nanoseconds);
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_prints_them() {
        for (milliseconds, text) in [
            (1, "1ms"),
            (500, "500ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (90_000, "1m30s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(milliseconds)), text);
        }
    }
}
