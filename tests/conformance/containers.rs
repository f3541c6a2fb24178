//! The life of containers: run, stop, kill, wait, rename, rm, pause, exec, top, inspect.

use crate::both::Both;
use gantry_testkit::world;

#[test]
fn lives_of_containers() {
    if !world::enter("containers::lives_of_containers") {
        return;
    }
    let Some(both) = Both::start("life") else { return };
    run(&both);
    stop_and_wait(&both);
    pause_and_rename(&both);
    exec(&both);
    configuration(&both);
    both.each("rm -f @a @b @c @d");
    drop(both.peer.is_some());
    let left = both.ours("ps -aq");
    assert_eq!(left.stdout, "", "containers are left");
    both.ours.assert_clean("the lives of containers");
}

fn run(both: &Both) {
    let seen = both.same("run --rm IMAGE echo hello");
    assert_eq!((seen.stdout.as_str(), seen.code), ("hello\n", Some(0)));
    both.same("run --rm IMAGE sh -c 'echo out; echo err >&2; exit 3'");
    both.same("run --rm IMAGE sh -c 'kill -9 $$'");
    both.same("run --rm IMAGE sh -c 'kill -15 $$; sleep 0.2; exit 5'");
    both.same("run --name @a -d IMAGE sleep 1000");
    both.same("ps --filter name=@a --format '{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Ports}} {{.Networks}} {{.Mounts}}'");
    both.same("run --name @a IMAGE true");
    both.same("rm @a");
    both.same("start @a");
    both.same("rm -f @a");
    both.same("create --name @a IMAGE false");
    both.same("start -a @a");
    both.same("inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.RestartCount}}' @a");
    both.same("start -a @a");
    both.same("rm @a");
    both.same("rm @a");
}

fn stop_and_wait(both: &Both) {
    both.same("run --name @a -d IMAGE sleep 1000");
    both.same("stop -t 1 @a");
    both.same("stop @a");
    both.same("wait @a");
    both.same("inspect -f '{{.State.Status}} {{.State.ExitCode}}' @a");
    both.same("restart -t 0 @a");
    both.same("kill -s TERM @a");
    both.same("kill @a");
    both.same("wait @a");
    both.same("kill @a");
    both.same("run --name @b -d IMAGE sh -c 'trap \"exit 9\" TERM; while :; do sleep 0.1; done'");
    both.same("stop @b");
    both.same("inspect -f '{{.State.ExitCode}}' @b");
    both.same("run --name @c -d --stop-signal USR1 IMAGE sh -c 'trap \"exit 10\" USR1; while :; do sleep 0.1; done'");
    both.same("stop @c");
    both.same("inspect -f '{{.State.ExitCode}}' @c");
    both.same("rm @a @b @c nothere");
}

fn pause_and_rename(both: &Both) {
    both.same("run --name @a -d IMAGE sleep 1000");
    both.same("pause @a");
    both.same("pause @a");
    both.same("ps --filter name=@a --format '{{.State}}'");
    both.same("exec @a true");
    both.same("unpause @a");
    both.same("unpause @a");
    both.same("rename @a @b");
    both.same("rename @b @b");
    both.same("rename @b -bad");
    both.same("inspect -f '{{.Name}}' @b");
    both.same("inspect @a");
    both.same("top @b -o pid,comm");
    both.same("rm -f @b");
}

fn exec(both: &Both) {
    both.same("run --name @a -d -e A=1 -w /home IMAGE sleep 1000");
    both.same("exec @a sh -c 'echo $A; pwd; exit 4'");
    both.same("exec -e A=2 -w /tmp -u web @a sh -c 'echo $A; pwd; id'");
    both.same("exec -u 12:34 @a id");
    both.same("exec @a nosuch");
    both.same("exec @a /etc/passwd");
    both.same("exec -u nobodyx @a id");
    both.same("exec nothere id");
    both.same_with("exec -i @a cat", b"through exec\n");
    both.same("exec -d @a touch /tmp/made");
    both.same("exec @a sh -c 'grep -E \"^(Cap|Seccomp|NoNewPrivs)\" /proc/self/status'");
    both.same("exec --privileged @a sh -c 'grep CapEff /proc/self/status'");
    both.same("stop -t 0 @a");
    both.same("exec @a true");
    both.same("rm @a");
}

fn configuration(both: &Both) {
    both.same("run --rm -e X=1 -e Y IMAGE sh -c 'env | grep -v HOSTNAME'");
    both.same("run --rm -h web -u web IMAGE sh -c 'hostname; id; echo $HOME'");
    both.same("run --rm -u web:video --group-add 99 IMAGE id");
    both.same("run --rm -w /made/here IMAGE pwd");
    both.same("run --rm --read-only IMAGE touch /x");
    both.same("run --rm --tmpfs /t:size=64k IMAGE sh -c 'mount | grep \" /t \"'");
    both.same("run --rm -v /etc/debian_version:/v:ro IMAGE sh -c 'wc -l </v; touch /v'");
    both.same("run --rm --entrypoint echo IMAGE a b");
    both.same("run --rm --cap-drop ALL --cap-add CHOWN IMAGE grep Cap /proc/self/status");
    both.same("run --rm --privileged IMAGE grep -E 'CapEff|Seccomp:' /proc/self/status");
    both.same("run --rm --security-opt no-new-privileges --security-opt seccomp=unconfined IMAGE grep -E 'NoNew|Seccomp:' /proc/self/status");
    both.same("run --rm --ulimit nofile=100:200 IMAGE sh -c 'ulimit -n; ulimit -Hn'");
    both.same("run --rm --sysctl net.ipv4.ip_forward=1 IMAGE cat /proc/sys/net/ipv4/ip_forward");
    both.same("run --rm --network none IMAGE ip -o link");
    both.same("run --rm --add-host a.b:1.2.3.4 IMAGE grep a.b /etc/hosts");
    both.same("run --rm --init IMAGE sh -c 'cat /proc/1/comm >/dev/null; ps | wc -l'");
    both.same("run --rm --label a=b --name @d -d IMAGE sleep 100");
    both.same("inspect -f '{{json .Config.Labels}} {{json .HostConfig.AutoRemove}} {{json .Config.Cmd}} {{.Path}} {{.Args}}' @d");
    both.same("rm -f @d");
    both.same("run --rm --shm-size 1m IMAGE sh -c 'mount | grep shm'");
    both.same("run --rm IMAGE sh -c 'ls /dev; mount | awk \"{print \\$3, \\$5}\" | grep -v etc'");
}
