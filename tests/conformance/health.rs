//! Health checks: what `ps`, `inspect` and `events` show of them, on both daemons.

use crate::pair::{Pair, now};
use gantry_testkit::world;
use std::time::{Duration, Instant};

/// How long a health check may take to come to its end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const SEEN: &str = "{{.State.Health.Status}} {{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}";

#[test]
fn checks() {
    if !world::enter("health::checks") {
        return;
    }
    let Some(pair) = Pair::start("health") else {
        return;
    };
    let fast = "--health-interval 300ms --health-retries 2";
    for (name, options, becomes) in [
        ("good", "--health-cmd 'echo fine >&2'", "healthy"),
        ("bad", "--health-cmd 'exit 3'", "unhealthy"),
        (
            "slow",
            "--health-cmd 'echo begun; exec sleep 100' --health-timeout 300ms",
            "unhealthy",
        ),
        ("absent", "--health-cmd /nosuch", "unhealthy"),
    ] {
        pair.same(&format!(
            "run -d --name @{name} {fast} {options} IMAGE sleep 1000"
        ));
        reaches(&pair, name, becomes);
        pair.same(&format!("inspect --format '{SEEN}' @{name}"));
        pair.same(&format!(
            "ps --filter name=@{name} --filter health={becomes} --format {{{{.Names}}}}"
        ));
        pair.same(&format!(
            "inspect --format '{{{{json .Config.Healthcheck}}}}' @{name}"
        ));
    }
    pair.check(&[
        ("pause @good", 0),
        (
            "inspect --format '{{.State.Health.Status}} {{.State.Health.FailingStreak}}' @good",
            0,
        ),
        ("unpause @good", 0),
    ]);
    reaches(&pair, "good", "healthy");
    pair.check(&[
        ("stop -t 0 @good", 0),
        ("inspect --format '{{.State.Health.Status}}' @good", 0),
        ("start @good", 0),
    ]);
    reaches(&pair, "good", "healthy");
    // In the start period failures do not count, and a container without a check has no health.
    pair.check(&[
        ("run -d --name @early --health-cmd false --health-interval 200ms --health-start-period 1m --health-start-interval 200ms --health-retries 1 IMAGE sleep 1000", 0),
        ("run -d --name @none --no-healthcheck IMAGE sleep 1000", 0),
        ("inspect --format '{{.State.Health}} {{json .Config.Healthcheck}}' @none", 0),
        ("ps --filter name=@none --filter health=none --format {{.Names}}", 0),
        ("run --rm --health-cmd true --health-interval 1us IMAGE true", 125),
        ("run --rm --health-cmd true --health-retries -1 IMAGE true", 125),
        ("run --rm --health-cmd true --no-healthcheck IMAGE true", 125),
    ]);
    std::thread::sleep(Duration::from_millis(900));
    pair.same("inspect --format '{{.State.Health.Status}} {{.State.Health.FailingStreak}}' @early");
    pair.finish();
}

#[test]
fn events() {
    if !world::enter("health::events") {
        return;
    }
    let Some(pair) = Pair::start("health-events") else {
        return;
    };
    let begin = now();
    pair.same("run -d --name @a --health-cmd 'test -e /well' --health-interval 300ms --health-retries 1 IMAGE sleep 1000");
    reaches(&pair, "a", "unhealthy");
    pair.same("exec @a touch /well");
    reaches(&pair, "a", "healthy");
    // The command line cuts the present moment down to a second.
    std::thread::sleep(Duration::from_millis(1100));
    pair.same(&format!("events --since {begin} --until 0s --filter container=@a --filter event=health_status --format '{{{{.Action}}}} {{{{.Actor.Attributes.name}}}}'"));
    pair.same("rm -f @a");
    pair.finish();
}

/// Waits until the container has this health on both.
#[track_caller]
fn reaches(pair: &Pair, name: &str, health: &str) {
    let begin = Instant::now();
    let name = format!("@{name}");
    loop {
        let words = ["inspect", "--format", "{{.State.Health.Status}}", &name];
        let found = pair.both(&words, b"");
        if found.iter().all(|one| one.stdout.trim() == health) {
            return;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "{name} does not become {health}: {found:?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
