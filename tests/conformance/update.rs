//! `docker update`: limits of running and stopped containers, as inspect shows them and as the container's cgroups have them.

use crate::pair::Pair;
use gantry_testkit::world;

const SHOWN: &str = "inspect --format '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuQuota}} \
     {{.HostConfig.CpuPeriod}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}} {{json .HostConfig.RestartPolicy}} \
     {{.HostConfig.CpusetCpus}} {{.HostConfig.MemoryReservation}}' @a";
/// Whichever of the two layouts there is.
const FILES: &str = "exec @a sh -c 'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes \
     memory/memory.soft_limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus \
     memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max cpuset.cpus 2>/dev/null; true'";

#[test]
fn limits() {
    if !world::enter("update::limits") {
        return;
    }
    let Some(pair) = Pair::start("update") else {
        return;
    };
    pair.same("run -d --name @a -m 64m --cpus .5 IMAGE sleep 1000");
    let changes = [
        ("-m 32m", 0),
        ("-m 256m", 1),
        ("-m 256m --memory-swap 512m", 0),
        ("--cpus 1", 0),
        ("--cpu-quota 5000", 1),
        ("--cpu-period 5000", 1),
        ("--cpu-shares 512", 0),
        ("--pids-limit 50", 0),
        ("--pids-limit -1", 0),
        ("--restart always", 0),
        ("--restart on-failure:3", 0),
        ("--restart foo", 1),
        ("--cpuset-cpus 0", 0),
        ("--cpuset-cpus 777", 1),
        ("--memory-reservation 16m", 0),
        ("-m 1m", 1),
        ("--cpus 9999", 1),
    ];
    for (change, code) in changes {
        pair.check(&[
            (&format!("update {change} @a"), code),
            (SHOWN, 0),
            (FILES, 0),
        ]);
    }
    // What was changed holds for the next run, and for a container that does not run.
    pair.check(&[
        // dockerd says so and leaves the running container as it was: no look inside before the restart.
        ("update --memory-swap -1 @a", 0),
        ("update --restart no @a", 0),
        ("restart -t 0 @a", 0),
        (SHOWN, 0),
        (FILES, 0),
        ("stop -t 0 @a", 0),
        ("update -m 128m --memory-swap 256m --pids-limit 20 @a", 0),
        ("start @a", 0),
        (SHOWN, 0),
        (FILES, 0),
        ("update @a", 1),
        ("update -m 32m @absent", 1),
        ("run -d --rm --name @b IMAGE sleep 1000", 0),
        ("update --restart always @b", 1),
        ("update -m 32m @b", 1),
        ("update --cpu-shares 77 @a @b", 0),
    ]);
    pair.finish();
}
