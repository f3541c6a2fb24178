//! The life of a container: start, stop, kill, wait, rename, remove, pause, exec, top, events, ports.

use crate::pair::{Pair, run_here};
use gantry_testkit::world;

#[test]
fn life() {
    if !world::enter("container::life") {
        return;
    }
    let Some(pair) = Pair::start("life") else {
        return;
    };
    pair.check(
        &[
            (
                "run -d --name @a IMAGE sh -c 'trap \"exit 5\" TERM; while :; do sleep 0.05; done'",
                0,
            ),
            (
                "ps --filter name=@a --format '{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Ports}} {{.Networks}} {{.Mounts}}'",
                0,
            ),
            ("run --name @a IMAGE true", 125),
            ("create --name @a IMAGE", 1),
            ("start @a", 0),
            ("rm @a", 1),
            ("rename @a @b", 0),
            ("rename @b @b", 1),
            ("rename @b -bad", 125),
            ("inspect --format {{.Name}} @b", 0),
            ("stop @b", 0),
            ("stop @b", 0),
            ("wait @b", 0),
            (
                "inspect --format {{.State.Status}}/{{.State.ExitCode}}/{{.State.Running}}/{{.State.OOMKilled}}/{{.State.Error}} @b",
                0,
            ),
            ("kill @b", 1),
            ("pause @b", 1),
            ("unpause @b", 1),
            ("exec @b true", 1),
            ("top @b", 1),
            ("port @b", 0),
            ("start @b", 0),
            ("kill --signal NOSUCH @b", 1),
            ("kill --signal KILL @b", 0),
            ("wait @b", 0),
            (
                "inspect --format {{.State.Status}}/{{.State.ExitCode}} @b",
                0,
            ),
            ("restart -t 0 @b", 0),
            ("rm -f @b", 0),
            ("rm -f @b", 0),
            ("rm @b", 1),
        ],
    );
    pair.finish();
}

#[test]
fn ends() {
    if !world::enter("container::ends") {
        return;
    }
    let Some(pair) = Pair::start("ends") else {
        return;
    };
    pair.check(
        &[
            ("create --name @a IMAGE false", 0),
            ("start -a @a", 1),
            (
                "inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.RestartCount}}' @a",
                0,
            ),
            ("start -a @a", 1),
            (
                "run -d --name @b --stop-signal USR1 IMAGE sh -c 'trap \"exit 10\" USR1; while :; do sleep 0.05; done'",
                0,
            ),
            ("stop @b", 0),
            ("inspect --format {{.State.ExitCode}} @b", 0),
            ("run -d --name @c IMAGE sleep 1000", 0),
            ("stop -t 1 @c", 0),
            ("inspect --format {{.State.ExitCode}} @c", 0),
            ("rm @a @b @c @absent", 1),
            ("run -d --name @d IMAGE sh -c 'exit 7'", 0),
            ("wait @d", 0),
            (
                "ps -a --filter name=@ --format '{{.Names}} {{.Command}} {{.State}}'",
                0,
            ),
            ("rename @d @e", 0),
            ("rm @e", 0),
            (
                "run --name @f --restart on-failure:2 IMAGE sh -c 'exit 1'",
                1,
            ),
            ("create --name 'bad name' IMAGE true", 1),
        ],
    );
    pair.finish();
}

#[test]
fn pause_and_top() {
    if !world::enter("container::pause_and_top") {
        return;
    }
    let Some(pair) = Pair::start("pause") else {
        return;
    };
    pair.same("run -d --name @a IMAGE sleep 1000");
    pair.same("top @a -o comm,args");
    pair.same("top @a -o nosuch");
    for command in [
        "pause @a",
        "pause @a",
        "exec @a true",
        "start @a",
        "rm @a",
        "unpause @a",
        "unpause @a",
        "pause @a",
    ] {
        pair.same(command);
        pair.same("inspect --format '{{.State.Status}} {{.State.Paused}} {{.State.Running}}' @a");
    }
    pair.same("ps --filter name=@a --format {{.State}}");
    pair.same("stop -t 0 @a");
    pair.same("inspect --format '{{.State.Status}} {{.State.Paused}} {{.State.ExitCode}}' @a");
    pair.same("rm -f @a");
    pair.finish();
}

#[test]
fn exec() {
    if !world::enter("container::exec") {
        return;
    }
    let Some(pair) = Pair::start("exec") else {
        return;
    };
    pair.check(&[
        ("run -d --name @a -e BASE=1 -w /tmp IMAGE sleep 1000", 0),
        ("exec @a sh -c 'echo out; echo err >&2; exit 9'", 9),
        ("exec @a sh -c 'echo $BASE $EXTRA; pwd; id -u; id -g'", 0),
        (
            "exec -e EXTRA=2 -w /etc -u nobody @a sh -c 'echo $BASE $EXTRA; pwd; id; echo $HOME'",
            0,
        ),
        ("exec -u 1234:5678 @a id", 0),
        ("exec -u nosuchuser @a id", 1),
        ("exec @a absent", 127),
        ("exec @a /etc", 126),
        ("exec @a /etc/passwd", 126),
        ("exec @absent true", 1),
        ("exec --privileged @a grep CapEff /proc/self/status", 0),
        (
            "exec @a grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status",
            0,
        ),
        ("exec @a sh -c 'kill -9 $$'", 137),
        ("exec -d @a sh -c 'echo done > /tmp/detached'", 0),
        ("exec @a sh -c 'sleep 0.2; cat /tmp/detached'", 0),
    ]);
    assert_eq!(
        pair.same_with_input("exec -i @a cat", b"typed\n").stdout,
        "typed\n"
    );
    pair.same("stop -t 0 @a");
    pair.same("exec @a true");
    pair.finish();
}

#[test]
fn events() {
    if !world::enter("container::events") {
        return;
    }
    let Some(pair) = Pair::start("events") else {
        return;
    };
    let now = || run_here("date", &["+%s.%N"]).ok().to_owned();
    let began = now();
    for command in [
        "run --name @a --label l=v IMAGE sh -c 'exit 3'",
        "start @a",
        "wait @a",
        "rename @a @b",
        "rm @b",
        "run -d --name @c IMAGE sleep 1000",
        "pause @c",
        "unpause @c",
        "exec @c true",
        "kill @c",
        "wait @c",
        "rm @c",
        "run --rm --name @d IMAGE true",
    ] {
        pair.same(command);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let ended = now();
    let format = "'{{.Type}} {{.Action}} {{index .Actor.Attributes \"exitCode\"}} {{index .Actor.Attributes \"signal\"}} {{index .Actor.Attributes \"l\"}}'";
    for name in ["@a", "@b", "@c", "@d"] {
        let filters = format!("--filter container={name} --filter type=container");
        pair.same(&format!(
            "events --since {began} --until {ended} {filters} --format {format}"
        ));
    }
    pair.finish();
}

#[test]
fn ports() {
    if !world::enter("container::ports") {
        return;
    }
    let Some(pair) = Pair::start("ports") else {
        return;
    };
    let serve = "while :; do printf \"HTTP/1.0 200 OK\\r\\n\\r\\nfrom inside\\n\" | nc -l -p 80 > /dev/null; done";
    pair.same(&format!(
        "run -d --name @a -p 127.0.0.1:18480:80 -p 127.0.0.1:18481:81/udp IMAGE sh -c '{serve}'"
    ));
    for command in [
        "port @a",
        "port @a 80",
        "port @a 80/tcp",
        "port @a 81/udp",
        "port @a 99",
        "ps --filter name=@a --format {{.Ports}}",
    ] {
        pair.same(command);
    }
    // Ours is in this test's world, the peer's on the host.
    let page = run_here(
        "curl",
        &[
            "-sS",
            "--retry",
            "5",
            "--retry-all-errors",
            "http://127.0.0.1:18480/",
        ],
    );
    assert_eq!(page.ok(), "from inside");
    assert_eq!(
        pair.same("run --name @b -p 127.0.0.1:18480:80 IMAGE true")
            .code,
        125
    );
    assert_eq!(pair.same("create --name @c -p 99999:80 IMAGE").code, 125);
    pair.finish();
}
