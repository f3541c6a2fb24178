//! Small things that users meet: sizes, paths of a container that never ran, ports given twice, events of names.

use crate::pair::{Pair, now};
use gantry_testkit::world;
use std::time::Duration;

#[test]
fn sizes() {
    if !world::enter("details::sizes") {
        return;
    }
    let Some(pair) = Pair::start("sizes") else {
        return;
    };
    pair.check(&[
        ("run -d --name @a IMAGE sleep 1000", 0),
        (
            "exec @a sh -c 'head -c 100000 /dev/zero > /new; rm /etc/passwd'",
            0,
        ),
        ("ps --size --filter name=@a --format {{.Size}}", 0),
        (
            "inspect --size --format '{{.SizeRw}} {{.SizeRootFs}}' @a",
            0,
        ),
        ("inspect --format '{{.SizeRw}}' @a", 0),
        ("create --name @b IMAGE true", 0),
        ("ps -a --size --filter name=@b --format {{.Size}}", 0),
    ]);
    pair.finish();
}

#[test]
fn log_attributes() {
    if !world::enter("details::log_attributes") {
        return;
    }
    let Some(pair) = Pair::start("log-attributes") else {
        return;
    };
    pair.check(&[
        (
            "run --name @a --label a=1 --label zone=2 -e E=x -e F=y --log-opt labels=a --log-opt labels-regex=^zo \
             --log-opt env=E --log-opt tag={{.ImageName}} --log-opt mode=non-blocking IMAGE echo line",
            0,
        ),
        ("logs --details @a", 0),
        ("run --rm --log-opt mode=other IMAGE true", 125),
        ("run --rm --log-opt max-buffer-size=1m IMAGE true", 125),
        ("run -d --name @b IMAGE sleep 100", 0),
        ("kill --signal 99 @b", 1),
        ("kill --signal -1 @b", 1),
        ("kill --signal 0 @b", 1),
    ]);
    pair.finish();
}

#[test]
fn network() {
    if !world::enter("details::network") {
        return;
    }
    let Some(pair) = Pair::start("details-net") else {
        return;
    };
    pair.check(&[
        ("create --name @never IMAGE true", 0),
        ("inspect --format '{{.ResolvConfPath}}|{{.HostnamePath}}|{{.HostsPath}}|{{.LogPath}}' @never", 0),
        ("run --rm --sysctl net.ipv6.conf.all.disable_ipv6=1 IMAGE sh -c 'wc -l < /etc/hosts'", 0),
        ("run --rm --sysctl net.ipv6.conf.lo.disable_ipv6=1 IMAGE sh -c 'wc -l < /etc/hosts'", 0),
        ("run --rm --sysctl net.ipv6.conf.default.disable_ipv6=1 IMAGE sh -c 'wc -l < /etc/hosts'", 0),
    ]);
    // The endpoint's name and ID are in between.
    let twice = "run --rm --name @twice -p 0.0.0.0:18123:80 -p 0.0.0.0:18123:81 IMAGE true";
    let words: Vec<&str> = twice.split(' ').collect();
    for finished in pair.both(&words, b"") {
        assert_eq!(finished.code, 125, "{finished:?}");
        let ending = "Bind for 0.0.0.0:18123 failed: port is already allocated";
        assert!(finished.stderr.contains(ending), "{finished:?}");
    }
    pair.finish();
}

#[test]
fn events() {
    if !world::enter("details::events") {
        return;
    }
    let Some(pair) = Pair::start("details-events") else {
        return;
    };
    let begin = now();
    pair.check(&[
        ("tag IMAGE gantry-test/other:1", 0),
        ("rmi gantry-test/other:1", 0),
        // A forced removal is no stop.
        ("run -d --name @a IMAGE sleep 1000", 0),
        ("rm -f @a", 0),
    ]);
    // The command line cuts the present moment down to a second.
    std::thread::sleep(Duration::from_millis(1100));
    let actions =
        format!("events --since {begin} --until 0s --format '{{{{.Type}}}} {{{{.Action}}}}'");
    pair.same(&format!(
        "{actions} --filter container=@a --filter type=container"
    ));
    let untagged = format!(
        "events --since {begin} --until 0s --filter type=image --filter event=untag --format"
    );
    let words: Vec<&str> = untagged
        .split(' ')
        .chain(["{{.Actor.Attributes.name}}"])
        .collect();
    for finished in pair.both(&words, b"") {
        assert!(finished.ok().starts_with("sha256:"), "{finished:?}");
    }
    pair.finish();
}

#[test]
fn stats() {
    if !world::enter("details::stats") {
        return;
    }
    let Some(pair) = Pair::start("stats") else {
        return;
    };
    let shown = "stats --no-stream --format '{{.Name}} {{.PIDs}} {{.MemUsage}}'";
    pair.check(&[("run -d --name @a -m 64m IMAGE sleep 1000", 0)]);
    let words: Vec<&str> = shown
        .split('\'')
        .flat_map(|part| {
            let is_format = part.starts_with("{{");
            if is_format {
                vec![part]
            } else {
                part.split_whitespace().collect()
            }
        })
        .chain(["@a"])
        .collect();
    for finished in pair.both(&words, b"") {
        // How much is used differs; the limit does not.
        let line = finished.ok();
        let name = pair.name("a");
        assert!(
            line.starts_with(&format!("{name} 1 ")) && line.ends_with("/ 64MiB"),
            "{line}"
        );
    }
    pair.check(&[
        ("stop -t 0 @a", 0),
        (&format!("{shown} @a"), 0),
        ("stats --no-stream @nosuch", 1),
    ]);
    pair.finish();
}
