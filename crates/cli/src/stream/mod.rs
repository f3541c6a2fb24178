//! What flows between the user's terminal and a container: input, output, detach keys, sizes, signals.
//!
//! Start reading at [`pump`].

mod demultiplex;
mod detach;
mod input;
mod resize;
mod signal;

pub(crate) use demultiplex::Demultiplexer;
pub(crate) use resize::{Resized, follow_size};
pub(crate) use signal::{Signals, forward};

use crate::failure::{Failure, Outcome};
use crate::output::{self, Stream};
use crate::terminal::{self, RawMode};
use detach::DetachFilter;
use gantry_api::client::Hijacked;
use input::Stdin;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const BUFFER_BYTES: usize = 64 * 1024;

/// Which streams are attached, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attached {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) tty: bool,
    /// As in `--detach-keys`; empty for the default.
    pub(crate) detach_keys: String,
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The container closed it.
    Closed,
    /// The user typed the detach keys.
    Detached,
}

/// Copies both directions until the container closes its output or the user detaches. The end of our input is passed on.
///
/// # Errors
/// The terminal cannot be set up, or the stream is broken.
pub(crate) async fn pump(hijacked: Hijacked, attached: &Attached) -> Outcome<End> {
    let _raw = if attached.stdin && attached.tty {
        Some(RawMode::enter()?)
    } else {
        None
    };
    let Hijacked {
        mut reader,
        mut writer,
        ..
    } = hijacked;
    let has_output = attached.stdout || attached.stderr;
    let output = async {
        if has_output {
            copy_output(&mut reader, attached).await
        } else {
            std::future::pending().await
        }
    };
    let input = copy_input(&mut writer, attached);
    tokio::pin!(output, input);
    let end = tokio::select! {
        result = &mut output => {
            result?;
            End::Closed
        }
        end = &mut input => match end? {
            End::Detached => End::Detached,
            End::Closed if has_output => {
                (&mut output).await?;
                End::Closed
            }
            End::Closed => End::Closed,
        },
    };
    terminal::restore();
    Ok(end)
}

async fn copy_output(reader: &mut (impl AsyncRead + Unpin), attached: &Attached) -> Outcome {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut demultiplexer = Demultiplexer::default();
    loop {
        let count = match reader.read(&mut buffer).await {
            Ok(count) => count,
            // A daemon that dies takes the connection with it; its exit status is what counts then.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error.into()),
        };
        if count == 0 {
            return Ok(());
        }
        if attached.tty {
            output::write_bytes(Stream::Stdout, &buffer[..count]);
        } else {
            demultiplexer.feed(&buffer[..count], |stream, bytes| {
                let is_wanted = if stream == Stream::Stdout {
                    attached.stdout
                } else {
                    attached.stderr
                };
                if is_wanted {
                    output::write_bytes(stream, bytes);
                }
            })?;
        }
    }
}

async fn copy_input(writer: &mut (impl AsyncWrite + Unpin), attached: &Attached) -> Outcome<End> {
    if attached.stdin {
        let mut stdin = Stdin::open()?;
        let mut filter = if attached.tty {
            Some(DetachFilter::new(&attached.detach_keys))
        } else {
            None
        };
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut filtered = Vec::new();
        loop {
            let count = stdin.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            let mut bytes = &buffer[..count];
            let mut is_detached = false;
            if let Some(filter) = &mut filter {
                filtered.clear();
                is_detached = filter.feed(bytes, &mut filtered);
                bytes = &filtered;
            }
            // Where the other side is gone, its output ends as well, and says more.
            if writer.write_all(bytes).await.is_err() {
                break;
            }
            if is_detached {
                return Ok(End::Detached);
            }
        }
    }
    // The other side may be gone already.
    let _ = writer.shutdown().await;
    Ok(End::Closed)
}

/// The failure that `attach` and `exec` end with when the user detached.
pub(crate) fn detached_failure() -> Failure {
    Failure::new("read escape sequence")
}
