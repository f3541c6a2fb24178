//! Refusals: their texts and exit codes are interface, since clients and scripts read them.

use crate::pair::Pair;
use gantry_testkit::world;

const COMMANDS: [&str; 62] = [
    "run --rm IMAGE nosuch",
    "run --rm IMAGE /etc/passwd",
    "run --rm IMAGE /nosuch/x",
    "run --rm IMAGE /etc",
    "run --rm -w /etc/passwd IMAGE true",
    "run --rm -u nobodyx IMAGE true",
    "run --rm -u 4294967296 IMAGE true",
    "run --rm --network container:nope IMAGE true",
    "run --rm -m 1m IMAGE true",
    "run --rm --network nonet IMAGE true",
    "run --rm --cap-add FOO IMAGE true",
    "run --rm -v /nope:/x:foo IMAGE true",
    "run --rm --mount type=bind,src=/nope,dst=/x IMAGE true",
    "run --rm --cpus 1000 IMAGE true",
    "run --rm --memory 64m --memory-swap 32m IMAGE true",
    "run --rm --stop-signal NOPE IMAGE true",
    "run --rm --log-driver nope IMAGE true",
    "run --rm --log-opt nope=1 IMAGE true",
    "run --rm --name -bad IMAGE true",
    "run --rm --restart always IMAGE true",
    "run --rm -w relative IMAGE true",
    "run --rm --oom-score-adj 2000 IMAGE true",
    "run --rm --device /dev/nope IMAGE true",
    "run --rm --blkio-weight 5 IMAGE true",
    "run --rm IMAGE /bin/sh/x",
    "run --rm IMAGE ''",
    "run --rm --entrypoint echo IMAGE",
    "run --rm --tmpfs /x:nope=1 IMAGE true",
    "run --rm --tmpfs /x:nope IMAGE true",
    "run --rm --tmpfs /x:size=50%,nr_inodes=100,uid=5,ro IMAGE true",
    "run --rm --device-read-bps /dev/nope:1mb IMAGE true",
    "run --rm --log-opt max-size=nope IMAGE true",
    "run --rm --log-opt max-file=0 IMAGE true",
    "run --rm --log-opt max-file=nope IMAGE true",
    "run --rm --log-opt max-file=5 IMAGE true",
    "run -d --name @nosignal --stop-signal 99 IMAGE sleep 1000",
    "stop -t 1 @nosignal",
    "inspect --format {{.State.ExitCode}} @nosignal",
    "rm @nosignal",
    "network create --subnet nope nope",
    "run --rm --ulimit nofile=99999999:99999999 IMAGE true",
    "run --pull never nope:nope true",
    "create --pull never nope:nope",
    "start nothere",
    "stop nothere",
    "kill nothere",
    "kill -s NOPE nothere",
    "rm nothere",
    "pause nothere",
    "unpause nothere",
    "logs nothere",
    "wait nothere",
    "top nothere",
    "attach nothere",
    "rename nothere other",
    "inspect nothere",
    "container inspect nothere",
    "image inspect nothere",
    "image rm nothere",
    "tag nothere other",
    "tag IMAGE Bad:Name",
    "network inspect nothere",
];

#[test]
fn texts_and_codes() {
    if !world::enter("refusal::texts_and_codes") {
        return;
    }
    let Some(pair) = Pair::start("refusal") else {
        return;
    };
    for command in COMMANDS {
        pair.same(command);
    }
    pair.finish();
}
