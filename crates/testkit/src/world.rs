//! A world for one test: fresh network and mount namespaces, made by executing the test anew inside them.
//!
//! Whatever a daemon under test leaves there (bridges, rules, mounts) cannot touch the machine, and is easy to count.

use std::process::Command;

/// Set in the environment of a test that runs in its world.
const MARK: &str = "GANTRY_TEST_WORLD";

/// sysfs shows the interfaces of the namespace in which it was mounted, so it is mounted anew; the cgroups below it are kept.
const ENTER: &str = "\
cgroups=$(mktemp -d) && mount --rbind /sys/fs/cgroup \"$cgroups\" && mount -t sysfs sysfs /sys && \
mount --rbind \"$cgroups\" /sys/fs/cgroup && umount -l \"$cgroups\" && rmdir \"$cgroups\" && \
ip link set lo up && exec \"$0\" \"$@\"";

/// Whether the caller runs in its own world. If not, runs the named test there, and panics if it failed there; the caller
/// then returns. Prints why it skips where the machine does not allow worlds.
///
/// # Panics
/// When the test failed in its world.
#[must_use]
pub fn enter(test: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: daemons under test need root");
        return false;
    }
    let program = std::env::current_exe().expect("a test knows its executable");
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg("sh")
        .args(["-c", ENTER])
        .arg(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .status()
        .expect("unshare of util-linux is there");
    assert!(status.success(), "{test} failed in its world: {status}");
    false
}
