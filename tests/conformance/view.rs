//! What a container sees, and what `inspect` says about it: limits, mounts, devices, environment, privileges.

use crate::pair::Pair;
use gantry_testkit::world;
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn surroundings() {
    if !world::enter("view::surroundings") {
        return;
    }
    let Some(pair) = Pair::start("surroundings") else {
        return;
    };
    for script in [
        "env | sort",
        "id; pwd; umask",
        "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status",
        "ls -l /dev | awk '{print $1, $3, $4, $5, $6, $NF}' | grep -v ^total | sed 's/ [0-9]*$//' | sort",
        "awk '{print $2, $3}' /proc/mounts | grep -v -E '^/(etc|sys/fs/cgroup)' | sort",
        "awk '{print $2}' /proc/mounts | grep -E '^/etc' | sort",
        "cat /etc/hosts | grep -v \"$(hostname)\"",
        "ulimit -a",
        "cat /proc/self/oom_score_adj; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/sys/net/ipv4/ping_group_range",
        "for f in /proc/kcore /proc/keys /proc/timer_list /sys/firmware /proc/scsi; do test -e $f && ls -ld $f | cut -c1-10; head -c1 $f 2>&1 | wc -c; done",
        "echo x > /proc/sys/kernel/hostname; echo $?; mount -t tmpfs x /mnt 2>/dev/null; echo $?; mknod /tmp/n c 1 3; echo $?",
        "touch /sys/x 2>/dev/null; echo $?; hostname | wc -c; cat /proc/1/comm",
    ] {
        pair.same_script("", script);
    }
    pair.same_script(
        "--hostname h.example --domainname d -e A=b -u nobody -w /tmp",
        "hostname; env | sort | grep -v PWD; id; pwd",
    );
    pair.same_script(
        "--read-only --tmpfs /scratch:size=1m",
        "touch /x; echo $?; touch /scratch/x; echo $?; df -k /scratch | tail -1 | awk '{print $2}'",
    );
    pair.same_script(
        "--cap-drop ALL --cap-add CHOWN --security-opt no-new-privileges",
        "grep -E '^(Cap|NoNewPrivs)' /proc/self/status",
    );
    pair.same_script("--privileged", "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; touch /proc/sys/kernel/hostname; echo $?");
    pair.same_script(
        "--network none",
        "ls /sys/class/net; cat /etc/resolv.conf | wc -l",
    );
    pair.same_script("--network host --uts host", "test -d /proc/1; echo $?");
    pair.same_script("--ulimit nofile=100:200 --sysctl net.ipv4.ip_forward=0 --shm-size 1m", "ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_forward; df -k /dev/shm | tail -1 | awk '{print $2}'");
    pair.same_script(
        "-v /etc/hostname:/given:ro --mount type=tmpfs,dst=/t",
        "test -s /given; echo $?; echo x > /given; echo $?; touch /t/x; echo $?",
    );
    pair.same_script(
        "--dns 192.0.2.1 --dns-search example.org --add-host peer:192.0.2.2",
        "grep -v '^#' /etc/resolv.conf | sort; grep peer /etc/hosts",
    );
    pair.finish();
}

#[test]
fn limits() {
    if !world::enter("view::limits") {
        return;
    }
    let Some(pair) = Pair::start("limits") else {
        return;
    };
    let read = "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus 2>/dev/null";
    for options in [
        "",
        "-m 64m --cpus .5 --pids-limit 20",
        "-m 64m --memory-swap 128m --cpu-shares 512 --cpuset-cpus 0",
        "--cpu-period 50000 --cpu-quota 20000",
        "--pids-limit -1",
    ] {
        pair.same_script(options, read);
    }
    pair.same_script(
        "--pids-limit 5",
        "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done 2>/dev/null; echo unreachable",
    );
    // The kernel's out-of-memory killer: 137, and said so.
    let eat = "x=$(yes | head -c 50000000 | tr -d n); echo $x | wc -c";
    let killed = pair.same(&format!(
        "run --name @oom -m 16m --memory-swap 16m IMAGE sh -c '{eat}'"
    ));
    assert_eq!(killed.code, 137, "{killed:?}");
    let state = pair.same("inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}}' @oom");
    assert_eq!(state.stdout, "true 137\n");
    pair.finish();
}

#[test]
fn inspect_has_the_same_shape() {
    if !world::enter("view::inspect_has_the_same_shape") {
        return;
    }
    let Some(pair) = Pair::start("inspect") else {
        return;
    };
    pair.same("run -d --name @a -p 127.0.0.1:18482:80 -m 64m --label l=v -v /tmp:/given --restart on-failure:3 IMAGE sleep 1000");
    let [ours, peer] = pair
        .both(&["inspect", "@a"], b"")
        .map(|finished| serde_json::from_str::<Value>(finished.ok()).expect("inspect prints JSON"));
    let (mut shape, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    describe(&ours[0], "", &mut shape);
    describe(&peer[0], "", &mut wanted);
    let missing: Vec<_> = wanted.difference(&shape).collect();
    let extra: Vec<_> = shape.difference(&wanted).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing: {missing:#?}\nextra: {extra:#?}"
    );
    pair.finish();
}

/// Every member with its type; maps with free keys count as one.
fn describe(value: &Value, path: &str, shape: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    // What depends on the storage driver or on the legacy members of older API versions is not compared.
    if path.starts_with(".GraphDriver")
        || path.starts_with(".Storage")
        || path.starts_with(".NetworkSettings")
    {
        return;
    }
    shape.insert(format!("{path}: {kind}"));
    for (name, member) in value.as_object().into_iter().flatten() {
        describe(member, &format!("{path}.{name}"), shape);
    }
    for item in value.as_array().into_iter().flatten() {
        describe(item, &format!("{path}[]"), shape);
    }
}
