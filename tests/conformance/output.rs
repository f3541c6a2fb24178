//! What comes out of containers: exit codes, streams, logs.

use crate::pair::Pair;
use gantry_testkit::image::SHELL;
use gantry_testkit::world;

#[test]
fn exit_codes() {
    if !world::enter("output::exit_codes") {
        return;
    }
    let Some(pair) = Pair::start("exit-codes") else {
        return;
    };
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("kill -9 $$", 137),
        ("kill -15 $$; sleep 1", 0),
        ("exit 300", 44),
    ] {
        assert_eq!(pair.same_script("", script).code, code, "{script}");
    }
    for (words, code) in [
        (&["run", "--rm", SHELL, "/absent"][..], 127),
        (&["run", "--rm", SHELL, "absent"], 127),
        (&["run", "--rm", SHELL, "/etc"], 126),
        (&["run", "--rm", SHELL, "/etc/passwd"], 126),
        (
            &["run", "--rm", "--pull=never", "gantry-test/absent:1"],
            125,
        ),
        (&["run", "--rm", "-w", "relative", SHELL, "true"], 125),
        (&["run", "--rm", "-u", "nosuchuser", SHELL, "true"], 125),
        (&["run", "--rm", "-m", "1m", SHELL, "true"], 125),
        (&["run", "--rm", "--cpus", "1000", SHELL, "true"], 125),
        (&["run", "--rm", "--cap-add", "NOSUCH", SHELL, "true"], 125),
        (&["run", "--rm", "--network", "nosuch", SHELL, "true"], 125),
        (&["run", "--rm", "-v", "/tmp:relative", SHELL, "true"], 125),
        (
            &[
                "run",
                "--rm",
                "--mount",
                "type=bind,src=/no/such,dst=/x",
                SHELL,
                "true",
            ],
            125,
        ),
        (&["run", "--rm", SHELL], 0),
    ] {
        assert_eq!(pair.same_words(words, b"").code, code, "{words:?}");
    }
}

#[test]
fn streams() {
    if !world::enter("output::streams") {
        return;
    }
    let Some(pair) = Pair::start("streams") else {
        return;
    };
    let echoed = pair.same_words(&["run", "--rm", "-i", SHELL, "cat"], b"x\n");
    assert_eq!(echoed.stdout, "x\n");
    let apart = pair.same_script("", "echo out; echo err >&2; printf unfinished");
    assert_eq!(
        (apart.stdout.as_str(), apart.stderr.as_str()),
        ("out\nunfinished", "err\n")
    );
    let large: Vec<u8> = (0..2_000_000_u32)
        .map(|i| b'a' + u8::try_from(i % 26).expect("below 26"))
        .collect();
    let copied = pair.same_words(&["run", "--rm", "-i", SHELL, "cat"], &large);
    assert_eq!(copied.stdout.len(), large.len());
    // Without -i the container has no input.
    assert_eq!(
        pair.same_words(&["run", "--rm", SHELL, "cat"], b"lost")
            .stdout,
        ""
    );
    // Half-closed: output goes on after the end of the input.
    let late = pair.same_words(
        &[
            "run",
            "--rm",
            "-i",
            SHELL,
            "sh",
            "-c",
            "cat; sleep 0.3; echo late",
        ],
        b"first\n",
    );
    assert_eq!(late.stdout, "first\nlate\n");
    assert_eq!(
        pair.same_words(
            &[
                "run",
                "--rm",
                "-a",
                "stderr",
                SHELL,
                "sh",
                "-c",
                "echo out; echo err >&2"
            ],
            b""
        )
        .stdout,
        ""
    );
}

#[test]
fn logs() {
    if !world::enter("output::logs") {
        return;
    }
    let Some(pair) = Pair::start("logs") else {
        return;
    };
    let script = "for i in 1 2 3 4 5; do echo line $i; done; echo problem >&2; printf unfinished";
    pair.same_words(
        &["run", "-d", "--name", "@a", SHELL, "sh", "-c", script],
        b"",
    );
    pair.same("wait @a");
    for options in [
        "",
        "--tail 2",
        "--tail 0",
        "--tail all",
        "-t",
        "--since 1h",
        "--until 1h",
        "-f",
        "-f --tail 1",
        "--details",
        "-n 3 -t",
    ] {
        let finished = pair.same(format!("logs {options} @a").replace("  ", " ").as_str());
        assert_eq!(finished.code, 0, "{options}");
    }
    assert_eq!(pair.same("logs @absent").code, 1);
    assert_eq!(pair.same("logs --since yesterday @a").code, 1);
    // Following ends with the container, and shows what is written meanwhile.
    pair.same_words(
        &[
            "run",
            "-d",
            "--name",
            "@b",
            SHELL,
            "sh",
            "-c",
            "echo one; sleep 1; echo two",
        ],
        b"",
    );
    assert_eq!(pair.same("logs -f @b").stdout, "one\ntwo\n");
    // Without a log there is nothing to read.
    pair.same_words(
        &[
            "run",
            "-d",
            "--name",
            "@c",
            "--log-driver",
            "none",
            SHELL,
            "echo",
            "x",
        ],
        b"",
    );
    pair.same("wait @c");
    assert_eq!(pair.same("logs @c").code, 1);
}
