//! Keeps the size of a container's terminal at the size of ours.

use crate::terminal;
use gantry_api::client::{Client, Request, path};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const ATTEMPTS: u32 = 10;

/// Whose terminal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resized {
    Container,
    Exec,
}

/// Sets the size now and whenever ours changes. Never returns.
pub(crate) async fn follow_size(client: &Client, what: Resized, id: &str) {
    let changes = signal(SignalKind::window_change());
    // What was just started may not have its terminal yet.
    let mut is_done = resize(client, what, id).await;
    for attempt in 1..=ATTEMPTS {
        if is_done {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10) * attempt).await;
        is_done = resize(client, what, id).await;
    }
    if !is_done {
        crate::output::print_error_line("failed to resize tty, using default size");
    }
    let Ok(mut changes) = changes else {
        return std::future::pending().await;
    };
    while changes.recv().await.is_some() {
        resize(client, what, id).await;
    }
    std::future::pending::<()>().await;
}

async fn resize(client: &Client, what: Resized, id: &str) -> bool {
    let Some((rows, columns)) = terminal::size() else {
        return true;
    };
    let noun = if what == Resized::Exec {
        "exec"
    } else {
        "containers"
    };
    let request = Request::post(path(noun, id, "resize"))
        .query("h", rows.to_string())
        .query("w", columns.to_string());
    match client.send(request).await {
        Ok(answer) => answer.discard().await.is_ok(),
        Err(_) => false,
    }
}
