//! Streams without a terminal: piped input, half close, large outputs, several clients, attach.

use crate::both::Both;
use gantry_testkit::world;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn piped_streams() {
    if !world::enter("streams::piped_streams") {
        return;
    }
    let Some(both) = Both::start("stream") else { return };
    let seen = both.same_with("run --rm -i IMAGE cat", b"x\n");
    assert_eq!(seen.stdout, "x\n");
    both.same_with("run --rm -i IMAGE sh -c 'cat; echo end >&2'", b"");
    both.same_with("run --rm IMAGE cat", b"not read\n");
    let large: Vec<u8> = (0..4_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    both.same_with("run --rm -i IMAGE md5sum", &large);
    let seen = both.same("run --rm IMAGE sh -c 'seq 300000 | md5sum; seq 300000'");
    assert_eq!(seen.stdout.lines().count(), 300_001);
    both.same("run --rm -a stderr IMAGE sh -c 'echo out; echo err >&2'");
    attach(&both);
    both.each("rm -f @a");
    both.ours.assert_clean("streams");
}

/// Two clients see the same output; closing one's input does not end the other.
fn attach(both: &Both) {
    both.same("run -d -i --name @a IMAGE sh -c 'while read line; do echo got $line; done; echo done'");
    let host = both.ours.host();
    let name = both.split("@a").remove(0);
    let watcher = both.command(&host, &["attach", "--no-stdin", &name]).stdout(Stdio::piped()).spawn().expect("attaches");
    std::thread::sleep(Duration::from_millis(300));
    let seen = both.docker(&host, &["attach", &name], b"one\ntwo\n");
    let watched = watcher.wait_with_output().expect("ends with the container");
    let expected = "got one\ngot two\ndone\n";
    assert_eq!(String::from_utf8_lossy(&watched.stdout), expected);
    assert_eq!(seen.stdout, expected);
    assert_eq!(both.ours("wait @a").stdout.trim(), "0");
}
