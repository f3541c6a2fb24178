//! The first process of a virtual machine that was booted for these cases: `cargo xtask vm`.
//!
//! Mounts what a distribution's start would have mounted, with the cgroup layout that was asked for, runs the cases, and switches off.

use std::path::Path;
use std::process::Command;

use rustix::mount::MountFlags;

/// What the host looks for on the console when all went well.
const PASSED: &str = "machine: all cases passed";
/// Hierarchies of the v1 layout: directory and options.
const LEGACY: [(&str, &str); 12] = [
    ("cpu,cpuacct", "cpu,cpuacct"),
    ("cpuset", "cpuset"),
    ("memory", "memory"),
    ("devices", "devices"),
    ("freezer", "freezer"),
    ("blkio", "blkio"),
    ("pids", "pids"),
    ("hugetlb", "hugetlb"),
    ("net_cls,net_prio", "net_cls,net_prio"),
    ("perf_event", "perf_event"),
    ("rdma", "rdma"),
    ("systemd", "none,name=systemd"),
];

/// Runs as process 1; `layout` is `legacy` or `unified`, the rest are filters.
pub(crate) fn main(layout: &str, filters: &[String]) -> ! {
    leave_initial_file_system();
    mount("proc", "proc", "/proc", "");
    mount("sysfs", "sysfs", "/sys", "");
    mount("devtmpfs", "devtmpfs", "/dev", "");
    mount("devpts", "devpts", "/dev/pts", "");
    mount("tmpfs", "tmpfs", "/dev/shm", "");
    mount("tmpfs", "tmpfs", "/tmp", "");
    mount("tmpfs", "tmpfs", "/run", "");
    std::fs::create_dir_all("/mnt").expect("the initial file system is writable");
    if layout == "unified" {
        mount("cgroup2", "cgroup2", "/sys/fs/cgroup", "");
    } else {
        mount("tmpfs", "tmpfs", "/sys/fs/cgroup", "");
        for (name, options) in LEGACY {
            mount(
                "cgroup",
                "cgroup",
                &format!("/sys/fs/cgroup/{name}"),
                options,
            );
        }
    }
    let status = Command::new("/init")
        .args(filters)
        .env(crate::world::IN_MACHINE, "1")
        .status();
    match status {
        Ok(status) if status.success() => println!("{PASSED}"),
        other => println!("machine: {other:?}"),
    }
    let _ = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    // Without a way to switch off, the end of process 1 ends the machine.
    std::process::exit(1);
}

/// Goes on in a tmpfs with the same content: the initial file system can be neither pivoted away nor id-mapped, and no
/// distribution stays in it. See `pivot_root(2)`.
fn leave_initial_file_system() {
    const NEW: &str = "/mnt";
    mount("tmpfs", "tmpfs", NEW, "");
    for folder in [
        "dev", "proc", "sys", "tmp", "run", "mnt", "etc", "root", "bin",
    ] {
        std::fs::create_dir(Path::new(NEW).join(folder)).expect("the tmpfs is empty");
    }
    for program in ["init", "bin/busybox"] {
        std::fs::copy(Path::new("/").join(program), Path::new(NEW).join(program))
            .expect("fits into memory");
    }
    std::os::unix::fs::symlink("busybox", Path::new(NEW).join("bin/sh")).expect("is new");
    rustix::process::chdir(NEW).expect("was just mounted");
    rustix::mount::mount_move(".", "/").expect("the tmpfs is mounted");
    rustix::process::chroot(".").expect("runs as root");
    rustix::process::chdir("/").expect("is the new root");
}

/// A kernel without a controller just lacks its hierarchy.
fn mount(source: &str, kind: &str, target: &str, options: &str) {
    let path = Path::new(target);
    let made = std::fs::create_dir_all(path);
    let options = std::ffi::CString::new(options).expect("has no zero byte");
    let mounted = rustix::mount::mount(
        source,
        path,
        kind,
        MountFlags::empty(),
        Some(options.as_c_str()),
    );
    if made.is_err() || mounted.is_err() {
        println!("machine: no {kind} at {target}: {mounted:?}");
        let _ = std::fs::remove_dir(path);
    }
}
