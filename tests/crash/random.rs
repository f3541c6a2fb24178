//! The daemon is killed at random moments while several clients create, start, stop and remove.

use crate::support::{body, remove_all};
use gantry_testkit::daemon::Daemon;
use gantry_testkit::world;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const KILLS: u32 = 100;
const WORKERS: u32 = 3;

#[test]
fn a_hundred_deaths_under_load() {
    if !world::enter("random::a_hundred_deaths_under_load") {
        return;
    }
    let mut daemon = Daemon::new("random");
    let mut seed = 0x2026_1121_u64;
    let done = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU32::new(0));
    assert!(daemon.start(""), "{}", daemon.log_text());
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (client, done, acknowledged) =
                (daemon.client(), done.clone(), acknowledged.clone());
            std::thread::spawn(move || work(worker, client, &done, &acknowledged))
        })
        .collect();
    for _ in 0..KILLS {
        // xorshift: the moments differ, and are the same in each run.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        std::thread::sleep(Duration::from_millis(20 + seed % 180));
        daemon.kill();
        assert!(
            daemon.start(""),
            "a daemon does not start after a kill: {}",
            daemon.log_text()
        );
    }
    done.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().expect("a worker does not panic");
    }
    println!(
        "{KILLS} kills, {} acknowledged operations",
        acknowledged.load(Ordering::Relaxed)
    );
    assert!(
        acknowledged.load(Ordering::Relaxed) > KILLS,
        "hardly anything was done between the kills"
    );
    remove_all(&daemon, "a hundred kills");
}

/// One client that does the whole life of a container again and again, whatever the daemon does.
fn work(
    worker: u32,
    mut client: gantry_testkit::http::Client,
    done: &AtomicBool,
    acknowledged: &AtomicU32,
) {
    let mut round = 0;
    while !done.load(Ordering::Relaxed) {
        round += 1;
        let name = format!("w{worker}-{round}");
        let steps = [
            (
                "POST",
                format!("/containers/create?name={name}"),
                Some(body(None)),
            ),
            ("POST", format!("/containers/{name}/start"), None),
            ("POST", format!("/containers/{name}/stop?t=0"), None),
            ("DELETE", format!("/containers/{name}?force=1"), None),
        ];
        let mut exists = false;
        for (method, path, request) in steps {
            let Ok(response) = client.ask(method, &path, request.as_ref()) else {
                // The daemon is dead; the next one answers soon.
                std::thread::sleep(Duration::from_millis(10));
                break;
            };
            acknowledged.fetch_add(1, Ordering::Relaxed);
            // What was acknowledged is there: a created container is never unknown to a later daemon.
            let known = response.status != 404 || !exists;
            assert!(known, "{path}: {}", String::from_utf8_lossy(&response.body));
            exists = exists || (path.contains("create") && response.status == 201);
        }
    }
}
