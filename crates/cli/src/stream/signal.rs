//! Signals that we get and the container is meant to get.

use crate::failure::Failure;
use gantry_api::client::{Client, Request, path};
use std::io;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// So many `INT` or `TERM` end this program.
const INSISTED: u32 = 3;

/// Numbers and names of what can be caught, other than `CHLD`, `PIPE`, `URG` and the size of the terminal.
#[cfg(target_os = "linux")]
const FORWARDED: &[(i32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (28, "WINCH"),
];
#[cfg(not(target_os = "linux"))]
const FORWARDED: &[(i32, &str)] = &[(1, "HUP"), (2, "INT"), (3, "QUIT"), (15, "TERM")];

/// Caught signals; from its making on, none of them ends this process.
pub(crate) struct Signals {
    listeners: Vec<(Signal, &'static str)>,
}

impl Signals {
    /// Begins to catch.
    pub(crate) fn catch() -> io::Result<Self> {
        let listeners = FORWARDED
            .iter()
            .map(|(number, name)| Ok((signal(SignalKind::from_raw(*number))?, *name)))
            .collect::<io::Result<_>>()?;
        Ok(Self { listeners })
    }

    /// The name of the next signal.
    async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|context| {
            for (listener, name) in &mut self.listeners {
                if let Poll::Ready(Some(())) = listener.poll_recv(context) {
                    return Poll::Ready(*name);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Sends every caught signal to the container. Ends only when the user insists, with the third `INT` or `TERM`: a container
/// may ignore them.
pub(crate) async fn forward(client: &Client, id: &str, signals: Option<Signals>) -> Failure {
    let Some(mut signals) = signals else {
        return std::future::pending().await;
    };
    let mut insisted = 0;
    loop {
        let name = signals.next().await;
        if matches!(name, "INT" | "TERM") {
            insisted += 1;
        }
        if insisted == INSISTED {
            return Failure::new("\ngot 3 SIGTERM/SIGINTs, forcefully exiting");
        }
        let request = Request::post(path("containers", id, "kill")).query("signal", name);
        // A container that has just ended cannot be signalled, and that is fine.
        if let Ok(answer) = client.send(request).await {
            let _ = answer.discard().await;
        }
    }
}
