//! What comes out of containers and goes in: exit codes, streams, attached clients, logs.

use crate::pair::Pair;
use gantry_testkit::image::SHELL;
use gantry_testkit::program;
use gantry_testkit::world;
use std::time::Duration;

#[test]
fn exit_codes() {
    if !world::enter("output::exit_codes") {
        return;
    }
    let Some(pair) = Pair::start("exit") else {
        return;
    };
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("sh -c \"kill -9 \\$\\$\"; exit $?", 137),
        ("kill -15 $$; sleep 0.2; exit 5", 5),
        ("exit 300", 44),
    ] {
        assert_eq!(pair.same_script("", script).code, code, "{script}");
    }
    pair.check(&[
        ("run --rm IMAGE /absent", 127),
        ("run --rm IMAGE absent", 127),
        ("run --rm IMAGE /etc", 126),
        ("run --rm IMAGE /etc/passwd", 126),
        ("run --rm --pull=never gantry-test/absent:1", 125),
        ("run --rm --no-such-flag IMAGE true", 125),
        ("run -d --rm IMAGE absent", 127),
    ]);
    // The peer may lack docker-init.
    let with_init = pair.ours.docker(&[
        "run",
        "--init",
        "--rm",
        SHELL,
        "sh",
        "-c",
        "sleep 1000 & exit 4",
    ]);
    assert_eq!(with_init.code, 4, "{with_init:?}");
    pair.finish();
}

#[test]
fn streams() {
    if !world::enter("output::streams") {
        return;
    }
    let Some(pair) = Pair::start("streams") else {
        return;
    };
    assert_eq!(
        pair.same_with_input("run --rm -i IMAGE cat", b"x\n").stdout,
        "x\n"
    );
    let apart = pair.same_script("", "echo out; echo err >&2; printf unfinished");
    assert_eq!(
        (apart.stdout.as_str(), apart.stderr.as_str()),
        ("out\nunfinished", "err\n")
    );
    let large: Vec<u8> = (0..4_000_000_u32).flat_map(u32::to_le_bytes).collect();
    pair.same_with_input("run --rm -i IMAGE md5sum", &large);
    let lines = pair.same_script("", "seq 300000 | md5sum; seq 300000");
    assert_eq!(lines.stdout.lines().count(), 300_001);
    // Without -i the container has no input.
    assert_eq!(
        pair.same_with_input("run --rm IMAGE cat", b"lost").stdout,
        ""
    );
    // Half-closed: output goes on after the end of the input.
    let late = pair.same_with_input(
        "run --rm -i IMAGE sh -c 'cat; sleep 0.3; echo late'",
        b"first\n",
    );
    assert_eq!(late.stdout, "first\nlate\n");
    assert_eq!(
        pair.same("run --rm -a stderr IMAGE sh -c 'echo out; echo err >&2'")
            .stdout,
        ""
    );
    pair.finish();
}

/// Two clients see the same output; the end of one's input ends nothing for the other.
#[test]
fn attached_clients() {
    if !world::enter("output::attached_clients") {
        return;
    }
    let Some(pair) = Pair::start("attach") else {
        return;
    };
    pair.same(
        "create -i --name @a IMAGE sh -c 'while read line; do echo got $line; done; echo done'",
    );
    pair.same("start @a");
    let expected = "got one\ngot two\ndone\n";
    let watch =
        |mut command: std::process::Command| std::thread::spawn(move || program::run(&mut command));
    let name = pair.name("a");
    let watchers = [
        watch(pair.ours.docker_command(&["attach", "--no-stdin", &name])),
        watch(pair.peer.docker_command(&["attach", "--no-stdin", &name])),
    ];
    std::thread::sleep(Duration::from_millis(500));
    let attached = pair.same_with_input("attach @a", b"one\ntwo\n");
    assert_eq!(attached.stdout, expected);
    for watcher in watchers {
        let seen = watcher.join().expect("the watcher ends with the container");
        assert_eq!((seen.stdout.as_str(), seen.code), (expected, 0));
    }
    pair.same("attach @a");
    pair.finish();
}

#[test]
fn logs() {
    if !world::enter("output::logs") {
        return;
    }
    let Some(pair) = Pair::start("logs") else {
        return;
    };
    let script =
        "for i in 1 2 3 4 5; do echo line $i; done; sleep 0.1; echo problem >&2; printf unfinished";
    pair.same(&format!("run -d --name @a IMAGE sh -c '{script}'"));
    pair.same("wait @a");
    for options in [
        "",
        "--tail 2",
        "--tail 0",
        "--tail all",
        "-t",
        "--since 1h",
        "--until 1h",
        "--since 2999-01-01T00:00:00",
        "-f",
        "-f --tail 1",
        "--details",
        "-n 3 -t",
    ] {
        assert_eq!(
            pair.same(&format!("logs {options} @a")).code,
            0,
            "{options}"
        );
    }
    assert_eq!(pair.same("logs --since yesterday @a").code, 1);
    // Long lines and bytes that are no text.
    pair.same("run --name @b IMAGE sh -c 'head -c 40000 /dev/zero | tr \"\\0\" x; echo; printf \"\\377\\376 <&>\\n\"'");
    pair.same("logs @b");
    // Following ends with the container, and shows what is written meanwhile.
    pair.same("run -d --name @c IMAGE sh -c 'for i in 1 2 3; do echo line $i; sleep 0.3; done'");
    assert_eq!(pair.same("logs -f @c").stdout, "line 1\nline 2\nline 3\n");
    pair.same("run --name @d --log-driver none IMAGE echo unseen");
    assert_eq!(pair.same("logs @d").code, 1);
    pair.same("run --name @e --log-opt max-size=1k --log-opt max-file=2 IMAGE sh -c 'for i in $(seq 100); do echo line $i; done'");
    pair.same("logs --tail 3 @e");
    pair.same("run --name @f -t IMAGE sh -c 'echo in a terminal'");
    pair.same("logs @f");
    pair.finish();
}
