//! Limits as the process inside sees them, and what follows when they are met.

use crate::both::Both;
use gantry_testkit::world;

#[test]
fn limits_inside_and_out_of_memory() {
    if !world::enter("limits::limits_inside_and_out_of_memory") {
        return;
    }
    let Some(both) = Both::start("limit") else { return };
    let files = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us pids/pids.max || cat memory.max cpu.max pids.max";
    let seen = both.same(&format!("run --rm -m 64m --cpus .5 --pids-limit 20 IMAGE sh -c '{files}'"));
    assert!(seen.stdout.contains("67108864") && seen.stdout.contains("50000") && seen.stdout.contains("20"), "{seen:?}");
    both.same("run --rm --cpu-shares 512 --cpuset-cpus 0 IMAGE sh -c 'nproc; cat /sys/fs/cgroup/cpu/cpu.shares'");
    // A fork bomb stays within its limit and does not reach the shell's own exit.
    both.same("run --rm --pids-limit 6 IMAGE sh -c '(sleep 1 & sleep 1 & sleep 1 & sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait) 2>&1 | grep -c fork'");
    let seen = both.same("run --name @oom -m 16m --memory-swap 16m IMAGE sh -c 'x=$(yes | head -c 50000000 | tr -d n); echo $x | wc -c'");
    assert_eq!(seen.code, Some(137), "{seen:?}");
    let seen = both.same("inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' @oom");
    assert_eq!(seen.stdout.trim(), "true 137");
    both.each("rm -f @oom");
    both.ours.assert_clean("limits");
}
