//! The life of a container: start, stop, kill, wait, rename, remove, pause, exec, top, events, ports.

use crate::pair::{Pair, run_here};
use gantry_testkit::image::SHELL;
use gantry_testkit::world;

#[test]
fn life() {
    if !world::enter("container::life") {
        return;
    }
    let Some(pair) = Pair::start("life") else {
        return;
    };
    let sleeper = [
        "sh",
        "-c",
        "trap 'exit 5' TERM; while :; do sleep 0.05; done",
    ];
    let run = |name: &str, command: &[&str]| {
        let mut words = vec!["run", "-d", "--name", name, SHELL];
        words.extend(command);
        pair.same_words(&words, b"");
    };
    run("@a", &sleeper);
    for (command, code) in [
        ("start @a", 0),
        ("rm @a", 1),
        ("rename @a @b", 0),
        ("rename @absent @c", 1),
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
        ("start @b", 0),
        ("kill --signal NOSUCH @b", 1),
        ("kill --signal KILL @b", 0),
        ("wait @b", 0),
        ("restart -t 0 @b", 0),
        ("rm -f @b", 0),
        ("rm -f @b", 0),
        ("rm @b", 1),
        ("start @b", 1),
        ("stop @b", 1),
        ("wait @b", 1),
        ("inspect @b", 1),
        ("port @b", 1),
    ] {
        assert_eq!(pair.same(command).code, code, "{command}");
    }
    run("@c", &sleeper);
    let taken = pair.same_words(&["create", "--name", "@c", SHELL], b"");
    assert_eq!(taken.code, 1, "a name is given once");
    pair.same_words(&["create", "--name", "bad name", SHELL], b"");
    run("@d", &["sh", "-c", "exit 7"]);
    pair.same("wait @d");
    pair.same("rename @d @c");
    pair.same_words(
        &[
            "ps",
            "-a",
            "--filter",
            &format!("name={}", pair.name("")),
            "--format",
            "{{.Names}} {{.Image}} {{.Command}} {{.State}}",
        ],
        b"",
    );
    pair.same("rm -f @c @d @absent");
}

#[test]
fn pause_and_top() {
    if !world::enter("container::pause_and_top") {
        return;
    }
    let Some(pair) = Pair::start("pause") else {
        return;
    };
    pair.same_words(&["run", "-d", "--name", "@a", SHELL, "sleep", "1000"], b"");
    let format = "{{.State.Status}} {{.State.Paused}} {{.State.Running}}";
    pair.same_words(&["top", "@a", "-o", "comm,args"], b"");
    for command in [
        "pause @a",
        "pause @a",
        "exec @a true",
        "start @a",
        "rm @a",
        "unpause @a",
        "unpause @a",
    ] {
        pair.same(command);
        pair.same_words(&["inspect", "--format", format, "@a"], b"");
    }
    pair.same("pause @a");
    pair.same_words(
        &[
            "ps",
            "--filter",
            &format!("name={}", pair.name("a")),
            "--format",
            "{{.State}}",
        ],
        b"",
    );
    pair.same("rm -f @a");
}

#[test]
fn exec() {
    if !world::enter("container::exec") {
        return;
    }
    let Some(pair) = Pair::start("exec") else {
        return;
    };
    pair.same_words(
        &[
            "run", "-d", "--name", "@a", "-e", "BASE=1", "-w", "/tmp", SHELL, "sleep", "1000",
        ],
        b"",
    );
    for (words, code) in [
        (
            &["exec", "@a", "sh", "-c", "echo out; echo err >&2; exit 9"][..],
            9,
        ),
        (
            &[
                "exec",
                "@a",
                "sh",
                "-c",
                "echo $BASE $EXTRA; pwd; id -u; id -g",
            ],
            0,
        ),
        (
            &[
                "exec",
                "-e",
                "EXTRA=2",
                "-w",
                "/etc",
                "-u",
                "nobody",
                "@a",
                "sh",
                "-c",
                "echo $BASE $EXTRA; pwd; id",
            ],
            0,
        ),
        (&["exec", "-u", "1234:5678", "@a", "id"], 0),
        (&["exec", "-u", "nosuchuser", "@a", "id"], 126),
        (&["exec", "@a", "absent"], 127),
        (&["exec", "@a", "/etc"], 126),
        (&["exec", "-w", "/absent", "@a", "true"], 127),
        (&["exec", "@absent", "true"], 1),
        (
            &[
                "exec",
                "--privileged",
                "@a",
                "grep",
                "CapEff",
                "/proc/self/status",
            ],
            0,
        ),
        (
            &[
                "exec",
                "@a",
                "grep",
                "-E",
                "Cap|Seccomp:|NoNewPrivs",
                "/proc/self/status",
            ],
            0,
        ),
        (&["exec", "@a", "sh", "-c", "kill -9 $$"], 137),
        (
            &["exec", "-d", "@a", "sh", "-c", "echo done > /tmp/detached"],
            0,
        ),
    ] {
        let finished = pair.both(words, b"");
        assert_eq!(
            finished[0].code, finished[1].code,
            "{words:?}: {finished:?}"
        );
        if code != 126 || !words.contains(&"-w") {
            pair.same_words(words, b"");
        }
        assert_eq!(finished[0].code, code, "{words:?}: {finished:?}");
    }
    assert_eq!(
        pair.same_words(&["exec", "-i", "@a", "cat"], b"typed\n")
            .stdout,
        "typed\n"
    );
    pair.same_words(
        &["exec", "@a", "sh", "-c", "sleep 0.2; cat /tmp/detached"],
        b"",
    );
}

#[test]
fn events() {
    if !world::enter("container::events") {
        return;
    }
    let Some(pair) = Pair::start("events") else {
        return;
    };
    let began = run_here("date", &["+%s.%N"]).ok().to_owned();
    pair.same_words(
        &["run", "--name", "@a", "--label", "l=v", SHELL, "true"],
        b"",
    );
    for command in ["start @a", "wait @a", "rename @a @b", "rm @b"] {
        pair.same(command);
    }
    pair.same_words(&["run", "-d", "--name", "@c", SHELL, "sleep", "1000"], b"");
    for command in [
        "pause @c",
        "unpause @c",
        "exec @c true",
        "kill @c",
        "wait @c",
        "rm @c",
    ] {
        pair.same(command);
    }
    let ended = run_here("date", &["+%s.%N"]).ok().to_owned();
    for name in ["a", "b", "c"] {
        let filter = format!("container={}", pair.name(name));
        let words = [
            "events",
            "--since",
            &began,
            "--until",
            &ended,
            "--filter",
            &filter,
            "--format",
            "{{.Type}} {{.Action}}",
        ];
        let [ours, peer] = pair.both(&words, b"");
        let lines = |text: &str| {
            text.lines()
                .map(|l| l.split(": ").next().unwrap_or(l).to_owned())
                .collect::<Vec<_>>()
        };
        // Events of other nouns (network, volume) may come between; a container's own must be the same, in the same order.
        let own = |text: &str| {
            lines(text)
                .into_iter()
                .filter(|l| l.starts_with("container "))
                .collect::<Vec<_>>()
        };
        assert_eq!(own(&ours.stdout), own(&peer.stdout), "{name}");
    }
}

#[test]
fn ports() {
    if !world::enter("container::ports") {
        return;
    }
    let Some(pair) = Pair::start("ports") else {
        return;
    };
    let serve = "while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nfrom inside\\n' | nc -l -p 80 > /dev/null; done";
    pair.same_words(
        &[
            "run",
            "-d",
            "--name",
            "@a",
            "-p",
            "127.0.0.1:18480:80",
            "-p",
            "18481:81/udp",
            SHELL,
            "sh",
            "-c",
            serve,
        ],
        b"",
    );
    pair.same("port @a 80");
    pair.same("port @a 80/tcp");
    pair.same("port @a 99");
    // Ours is in this test's world, the peer's on the host.
    let page = run_here(
        "curl",
        &[
            "-sS",
            "--retry",
            "5",
            "--retry-connrefused",
            "--retry-all-errors",
            "http://127.0.0.1:18480/",
        ],
    );
    assert_eq!(page.ok(), "from inside");
    let second = pair.same_words(
        &[
            "run",
            "--name",
            "@b",
            "-p",
            "127.0.0.1:18480:80",
            SHELL,
            "true",
        ],
        b"",
    );
    assert_eq!(second.code, 125, "a port is published once");
    assert_eq!(
        pair.same_words(&["create", "--name", "@c", "-p", "99999:80", SHELL], b"")
            .code,
        125
    );
    pair.same("rm -f @a @b");
}
