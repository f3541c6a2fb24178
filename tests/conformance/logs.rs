//! `docker logs` with its options, and what `docker events` tells.

use crate::both::Both;
use gantry_testkit::world;

#[test]
fn logs_and_events() {
    if !world::enter("logs::logs_and_events") {
        return;
    }
    let Some(both) = Both::start("logs") else { return };
    both.same("run --name @a IMAGE sh -c 'for i in 1 2 3 4 5; do echo out $i; done; sleep 0.1; echo err >&2; printf \"no newline\"'");
    both.same("logs @a");
    both.same("logs --tail 2 @a");
    both.same("logs --tail 0 @a");
    both.same("logs --tail all @a");
    both.same("logs -t @a");
    both.same("logs --since 1h @a");
    both.same("logs --until 1h @a");
    both.same("logs --since 2999-01-01T00:00:00 @a");
    both.same("logs -f @a");
    both.same("run --name @b IMAGE sh -c 'head -c 40000 /dev/zero | tr \"\\0\" x; echo; printf \"\\377\\376 <&>\\n\"'");
    both.same("logs @b");
    both.same("run --name @c --log-driver none IMAGE echo unseen");
    both.same("logs @c");
    both.same("run --name @d -d IMAGE sh -c 'for i in 1 2 3; do echo line $i; sleep 0.3; done'");
    let followed = both.same("logs -f @d");
    assert_eq!(followed.stdout, "line 1\nline 2\nline 3\n");
    both.same("run --name @e --log-opt max-size=1k --log-opt max-file=2 IMAGE sh -c 'for i in $(seq 100); do echo line $i; done'");
    both.same("logs --tail 3 @e");
    let format = "'{{.Type}} {{.Action}} {{index .Actor.Attributes \"exitCode\"}}'";
    for name in ["@a", "@d"] {
        both.same(&format!("events --since 1h --until 0s --filter container={name} --filter type=container --format {format}"));
    }
    both.each("rm -f @a @b @c @d @e");
    both.ours.assert_clean("logs");
}
