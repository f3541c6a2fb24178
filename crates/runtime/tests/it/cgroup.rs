//! Cgroups of the real kernel, with v1, v2 or both, as this machine has them.
//!
//! Cases named `unified_…` see the v2 hierarchy alone, also on a hybrid machine, where it has few controllers.

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_oci::runtime::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, Memory, Pids, Resources, ThrottleDevice,
};
use gantry_runtime::cgroup::{Cgroup, Layout, Roots};
use gantry_sys::{clone, pidfd};

use crate::world::{Case, World};

pub(crate) const ALL: &[Case] = &[
    ("cgroup_limits_reach_the_kernel", limits_reach_the_kernel),
    ("cgroup_limits_can_be_taken_away", limits_can_be_taken_away),
    (
        "cgroup_members_are_in_every_hierarchy",
        members_are_in_every_hierarchy,
    ),
    (
        "cgroup_memory_limit_kills_and_tells",
        memory_limit_kills_and_tells,
    ),
    ("cgroup_pids_limit_holds", pids_limit_holds),
    (
        "cgroup_memory_limits_can_go_up_and_down",
        memory_limits_can_go_up_and_down,
    ),
    ("cgroup_devices", |world| {
        devices(world.cgroups.clone(), world.name());
    }),
    ("cgroup_freezes_and_thaws", |world| {
        freezes_and_thaws(world.cgroups.clone(), world.name());
    }),
    ("cgroup_kills_a_forking_family", |world| {
        kills_a_forking_family(world.cgroups.clone(), world.name());
    }),
    (
        "cgroup_parents_without_processors",
        parents_without_processors,
    ),
    (
        "cgroup_refused_limits_leave_nothing",
        refused_limits_leave_nothing,
    ),
    ("cgroup_is_not_shared", is_not_shared),
    (
        "cgroup_removal_takes_nested_ones_along",
        removal_takes_nested_ones_along,
    ),
    ("unified_devices", |world| devices(unified(), world.name())),
    ("unified_freezes_and_thaws", |world| {
        freezes_and_thaws(unified(), world.name());
    }),
    ("unified_kills_a_forking_family", |world| {
        kills_a_forking_family(unified(), world.name());
    }),
];

/// The v2 hierarchy alone: in this case's own mount namespace the others are unmounted.
fn unified() -> Arc<Roots> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("is read");
    for line in mounts.lines().filter(|line| line.contains(" - cgroup ")) {
        let point = line.split(' ').nth(4).expect("mountinfo has a fifth field");
        rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH).expect("is unmounted");
    }
    if !mounts.contains(" - cgroup2 ") {
        let (point, flags) = ("/mnt/unified", rustix::mount::MountFlags::empty());
        fs::create_dir(point).expect("the case has a file system there");
        rustix::mount::mount("cgroup2", point, "cgroup2", flags, None).expect("is mounted");
    }
    let roots = Roots::open().expect("is opened");
    assert_eq!(roots.layout(), Layout::Unified);
    Arc::new(roots)
}

/// A child in the cgroup that runs `work`; its exit code is `work`'s.
fn member(cgroup: &Cgroup, work: impl FnOnce() -> i32) -> clone::Child {
    let target = cgroup.clone_target().expect("is opened");
    let options = clone::Clone {
        cgroup: target.as_ref().map(std::os::fd::AsFd::as_fd),
        ..clone::Clone::default()
    };
    #[expect(unsafe_code, reason = "a case's process has one thread")]
    // SAFETY: see the reason above.
    let child = unsafe {
        clone::spawn(&options, || {
            cgroup.join_self(target.is_none()).expect("is joined");
            work()
        })
    };
    child.expect("is cloned")
}

fn exit_code(child: &clone::Child) -> i32 {
    pidfd::wait(&child.pidfd).expect("is reaped").code()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A control file of the cgroup in the hierarchy that has it.
fn file(cgroup: &Cgroup, name: &str) -> Option<String> {
    let dirs = cgroup.open_dirs().expect("are opened");
    dirs.iter().find_map(|(_, dir)| {
        let path = format!(
            "/proc/self/fd/{}/{name}",
            std::os::fd::AsRawFd::as_raw_fd(dir)
        );
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    })
}

fn path(name: &str) -> String {
    format!("/{name}")
}

fn limits_reach_the_kernel(world: &World) {
    let cgroup = world
        .cgroups
        .create(&path(world.name()), &typical_limits())
        .expect("is made");
    let expected: &[(&str, &str)] = if world.cgroups.layout() == Layout::Unified {
        &[
            ("memory.max", "67108864"),
            ("memory.low", "33554432"),
            ("cpu.weight", "59"),
            ("cpu.max", "50000 100000"),
            ("cpuset.cpus", "0"),
            ("pids.max", "20"),
        ]
    } else {
        &[
            ("memory.limit_in_bytes", "67108864"),
            ("memory.memsw.limit_in_bytes", "67108864"),
            ("memory.soft_limit_in_bytes", "33554432"),
            ("cpu.shares", "512"),
            ("cpu.cfs_quota_us", "50000"),
            ("cpuset.cpus", "0"),
            ("pids.max", "20"),
        ]
    };
    for (name, value) in expected {
        assert_eq!(file(&cgroup, name).as_deref(), Some(*value), "{name}");
    }
    let huge =
        file(&cgroup, "hugetlb.2MB.max").or_else(|| file(&cgroup, "hugetlb.2MB.limit_in_bytes"));
    assert_eq!(huge.as_deref(), Some("2097152"));
    if let Some((major, minor)) = whole_disk() {
        let line = file(&cgroup, "io.max")
            .or_else(|| file(&cgroup, "blkio.throttle.write_bps_device"))
            .expect("exists");
        assert!(
            line.contains(&format!("{major}:{minor}")) && line.contains("1048576"),
            "{line}"
        );
    }
    cgroup.remove().expect("is removed");
    assert!(cgroup.open_dirs().is_err(), "the directories are gone");
}

fn typical_limits() -> Resources {
    let disk = |(major, minor)| ThrottleDevice {
        major,
        minor,
        rate: 1 << 20,
    };
    Resources {
        memory: Some(Memory {
            limit: Some(64 << 20),
            reservation: Some(32 << 20),
            swap: Some(64 << 20),
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: Some(512),
            quota: Some(50_000),
            period: Some(100_000),
            cpus: "0".to_owned(),
            mems: "0".to_owned(),
            ..Cpu::default()
        }),
        pids: Some(Pids { limit: 20 }),
        block_io: Some(BlockIo {
            throttle_write_bps_device: whole_disk().into_iter().map(disk).collect(),
            ..BlockIo::default()
        }),
        hugepage_limits: vec![HugepageLimit {
            page_size: "2MB".to_owned(),
            limit: 2 << 20,
        }],
        ..Resources::default()
    }
}

fn limits_can_be_taken_away(world: &World) {
    let cgroup = world
        .cgroups
        .create(&path(world.name()), &typical_limits())
        .expect("is made");
    let unlimited = Resources {
        pids: Some(Pids { limit: -1 }),
        cpu: Some(Cpu {
            quota: Some(-1),
            shares: Some(1024),
            ..Cpu::default()
        }),
        memory: Some(Memory {
            limit: Some(-1),
            ..Memory::default()
        }),
        ..Resources::default()
    };
    cgroup.apply(&unlimited).expect("is changed");
    assert_eq!(file(&cgroup, "pids.max").as_deref(), Some("max"));
    let none = |(name, content): &(String, String)| name == "pids.current" && content.trim() == "0";
    assert!(cgroup.stats().iter().any(none));
    let quota = file(&cgroup, "cpu.max").or_else(|| file(&cgroup, "cpu.cfs_quota_us"));
    assert!(
        matches!(quota.as_deref(), Some("max 100000" | "-1")),
        "{quota:?}"
    );
    let memory = file(&cgroup, "memory.max").or_else(|| file(&cgroup, "memory.limit_in_bytes"));
    assert!(
        memory
            .as_deref()
            .is_some_and(|limit| limit == "max" || limit.len() >= 19),
        "{memory:?}"
    );
    cgroup.remove().expect("is removed");
}

/// Any disk, whatever its driver.
fn whole_disk() -> Option<(i64, i64)> {
    let disks = fs::read_dir("/sys/block").ok()?.flatten();
    let mut numbers = disks.filter_map(|disk| fs::read_to_string(disk.path().join("dev")).ok());
    let number = numbers.next()?;
    let (major, minor) = number.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn members_are_in_every_hierarchy(world: &World) {
    let path = path(world.name());
    let cgroup = world
        .cgroups
        .create(&path, &Resources::default())
        .expect("is made");
    let (mut reader, mut writer) = std::io::pipe().expect("is made");
    let child = member(&cgroup, || {
        let own = fs::read("/proc/self/cgroup").expect("is read");
        writer.write_all(&own).map_or(1, |()| 0)
    });
    drop(writer);
    let mut own = String::new();
    reader.read_to_string(&mut own).expect("is read");
    assert_eq!(exit_code(&child), 0);
    let outside: Vec<&str> = own.lines().filter(|line| !line.ends_with(&path)).collect();
    assert!(outside.is_empty() && !own.is_empty(), "{own}");
    // Another process finds the same cgroups by what the first wrote down.
    let again = world.cgroups.find(&cgroup.paths());
    assert_eq!(again.paths(), cgroup.paths());
    again.remove().expect("is removed");
    again.remove().expect("may be called twice");
}

fn memory_limit_kills_and_tells(world: &World) {
    let limit = Some(16 << 20);
    let resources = Resources {
        memory: Some(Memory {
            limit,
            swap: limit,
            ..Memory::default()
        }),
        ..Resources::default()
    };
    let cgroup = world
        .cgroups
        .create(&path(world.name()), &resources)
        .expect("is made");
    let events = cgroup
        .oom_events()
        .expect("is opened")
        .expect("memory is controlled");
    assert_eq!(cgroup.oom_kill_count().expect("is read"), 0);
    assert!(!told(&events, Duration::ZERO), "no news before");
    let child = member(&cgroup, || {
        let mut memory = vec![0_u8; 64 << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        i32::from(memory[4096])
    });
    assert_eq!(exit_code(&child), 137);
    assert!(told(&events, Duration::from_secs(5)), "the kernel tells");
    events.drain().expect("is read");
    assert!(!told(&events, Duration::ZERO), "it is quiet again");
    assert_eq!(cgroup.oom_kill_count().expect("is read"), 1);
    cgroup.remove().expect("is removed");
}

fn told(events: &gantry_runtime::cgroup::OomEvents, patience: Duration) -> bool {
    use rustix::event::{Timespec, epoll};
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("is made");
    epoll::add(
        &epoll,
        events.fd(),
        epoll::EventData::new_u64(1),
        events.flags(),
    )
    .expect("is added");
    let mut ready = Vec::with_capacity(1);
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).expect("is short"),
        tv_nsec: 0,
    };
    epoll::wait(
        &epoll,
        rustix::buffer::spare_capacity(&mut ready),
        Some(&timeout),
    )
    .expect("waits");
    !ready.is_empty()
}

fn pids_limit_holds(world: &World) {
    let resources = Resources {
        pids: Some(Pids { limit: 3 }),
        ..Resources::default()
    };
    let cgroup = world
        .cgroups
        .create(&path(world.name()), &resources)
        .expect("is made");
    let child = member(&cgroup, || {
        let mut children = Vec::new();
        loop {
            #[expect(
                unsafe_code,
                reason = "the child of a process with one thread has one thread"
            )]
            // SAFETY: see the reason above.
            let spawned = unsafe { clone::spawn(&clone::Clone::default(), sleep_forever) };
            match spawned {
                Ok(child) => children.push(child),
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => break,
                Err(_) => return 99,
            }
        }
        i32::try_from(children.len()).expect("is small")
    });
    assert_eq!(exit_code(&child), 2);
    cgroup.kill_all().expect("is killed");
    cgroup.remove().expect("is removed");
}

fn sleep_forever() -> i32 {
    loop {
        std::thread::sleep(Duration::from_mins(1));
    }
}

fn memory_limits_can_go_up_and_down(world: &World) {
    let limits = |limit: i64, swap: i64| Resources {
        memory: Some(Memory {
            limit: Some(limit << 20),
            swap: Some(if swap < 0 { -1 } else { swap << 20 }),
            ..Memory::default()
        }),
        ..Resources::default()
    };
    let cgroup = world
        .cgroups
        .create(&path(world.name()), &limits(64, 128))
        .expect("is made");
    // Each step is refused by v1 if the two values are written in the wrong order.
    for (limit, swap) in [(256, 512), (32, 48), (32, -1), (128, 128), (16, 16)] {
        cgroup
            .apply(&limits(limit, swap))
            .unwrap_or_else(|error| panic!("{limit} {swap}: {error}"));
    }
    let limit = file(&cgroup, "memory.max").or_else(|| file(&cgroup, "memory.limit_in_bytes"));
    assert_eq!(limit.as_deref(), Some("16777216"));
    cgroup.remove().expect("is removed");
}

fn devices(roots: Arc<Roots>, name: &str) {
    const KMSG: (i64, i64) = (1, 11);
    let rule = |allow, kind: &str, access: &str| DeviceRule {
        allow,
        kind: kind.to_owned(),
        major: (kind == "c").then_some(KMSG.0),
        minor: (kind == "c").then_some(KMSG.1),
        access: access.to_owned(),
    };
    let closed = Resources {
        devices: vec![rule(false, "a", "rwm")],
        ..Resources::default()
    };
    let cgroup = roots.create(&path(name), &closed).expect("is made");
    // Bit 0: null can be written, bit 1: kmsg can be read, bit 2: kmsg can be written.
    let open = || {
        let child = member(&cgroup, || {
            let open = |path: &str, write: bool| {
                fs::OpenOptions::new()
                    .read(!write)
                    .write(write)
                    .open(path)
                    .is_ok()
            };
            i32::from(open("/dev/null", true))
                | i32::from(open("/dev/kmsg", false)) << 1
                | i32::from(open("/dev/kmsg", true)) << 2
        });
        exit_code(&child)
    };
    assert_eq!(open(), 0b001, "only the standard devices");
    let readable = Resources {
        devices: vec![rule(false, "a", "rwm"), rule(true, "c", "r")],
        ..Resources::default()
    };
    cgroup.apply(&readable).expect("is changed");
    assert_eq!(open(), 0b011);
    cgroup.apply(&closed).expect("is changed");
    assert_eq!(open(), 0b001, "an update takes back what it gave");
    let without_write = Resources {
        devices: vec![rule(true, "a", "rwm"), rule(false, "c", "w")],
        ..Resources::default()
    };
    cgroup.apply(&without_write).expect("is changed");
    assert_eq!(open(), 0b011, "everything but one access");
    cgroup.remove().expect("is removed");
}

fn freezes_and_thaws(roots: Arc<Roots>, name: &str) {
    let cgroup = roots
        .create(&path(name), &Resources::default())
        .expect("is made");
    let (mut reader, mut writer) = std::io::pipe().expect("is made");
    let child = member(&cgroup, || {
        loop {
            if writer.write_all(b"x").is_err() {
                return 0;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    drop(writer);
    let mut byte = [0; 4096];
    reader.read_exact(&mut byte[..3]).expect("the child runs");
    assert!(!cgroup.is_frozen().expect("is read"));
    cgroup.freeze().expect("is frozen");
    assert!(cgroup.is_frozen().expect("is read"));
    rustix::io::ioctl_fionbio(&reader, true).expect("is set");
    while reader.read(&mut byte).is_ok() {}
    std::thread::sleep(Duration::from_millis(50));
    assert!(
        reader.read(&mut byte).is_err(),
        "nothing is written while frozen"
    );
    cgroup.thaw().expect("is thawed");
    assert!(!cgroup.is_frozen().expect("is read"));
    until("goes on", || {
        rustix::io::read(&reader, &mut [0; 16]).is_ok()
    });
    // A frozen process dies too.
    cgroup.freeze().expect("is frozen");
    assert!(cgroup.kill_all().expect("is killed"));
    assert_eq!(exit_code(&child), 137);
    cgroup.remove().expect("is removed");
    assert!(!cgroup.is_frozen().expect("what is gone is not frozen"));
}

fn kills_a_forking_family(roots: Arc<Roots>, name: &str) {
    let resources = if roots.layout() == Layout::Legacy {
        Resources {
            pids: Some(Pids { limit: 200 }),
            ..Resources::default()
        }
    } else {
        Resources::default()
    };
    let cgroup = roots.create(&path(name), &resources).expect("is made");
    let child = member(&cgroup, || {
        rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
            .map_or(1, |()| family(5))
    });
    until("the family grows", || {
        cgroup.procs().expect("are listed").len() >= 30
    });
    assert!(cgroup.procs().expect("are listed").contains(&child.pid));
    assert!(cgroup.kill_all().expect("is killed"));
    assert_eq!(exit_code(&child), 137);
    until("all are gone", || {
        cgroup.procs().expect("are listed").is_empty()
    });
    cgroup.remove().expect("is removed");
}

/// Makes two children, which do the same, and then replaces whatever ends.
fn family(depth: u32) -> i32 {
    for _ in 0..2 {
        if depth > 0 {
            #[expect(
                unsafe_code,
                reason = "the child of a process with one thread has one thread"
            )]
            // SAFETY: see the reason above.
            let _ = unsafe { clone::spawn(&clone::Clone::default(), || family(depth - 1)) };
        }
    }
    loop {
        #[expect(
            unsafe_code,
            reason = "the child of a process with one thread has one thread"
        )]
        // SAFETY: see the reason above.
        if let Ok(child) = unsafe { clone::spawn(&clone::Clone::default(), || 0) } {
            let _ = pidfd::wait(&child.pidfd);
        }
    }
}

fn parents_without_processors(world: &World) {
    let parent = format!("{}-parent", world.name());
    let legacy = world
        .cgroups
        .hierarchies()
        .iter()
        .find(|one| !one.unified && one.controllers.iter().any(|name| name == "cpuset"));
    let Some(cpuset) = legacy else {
        println!("note: no cpuset hierarchy of v1");
        return;
    };
    // Somebody else's, as Docker leaves one: nothing in it, and nothing inherited.
    rustix::fs::mkdirat(
        &cpuset.root,
        &parent,
        rustix::fs::Mode::from_raw_mode(0o755),
    )
    .expect("is made");
    let with = Resources {
        cpu: Some(Cpu {
            cpus: "0".to_owned(),
            ..Cpu::default()
        }),
        ..Resources::default()
    };
    for (name, resources) in [("plain", &Resources::default()), ("limited", &with)] {
        let cgroup = world
            .cgroups
            .create(&format!("/{parent}/{name}"), resources)
            .expect("is made");
        let child = member(&cgroup, || 7);
        assert_eq!(exit_code(&child), 7, "{name}");
        cgroup.remove().expect("is removed");
    }
    for hierarchy in world.cgroups.hierarchies() {
        rustix::fs::unlinkat(&hierarchy.root, &parent, rustix::fs::AtFlags::REMOVEDIR)
            .expect("is removed");
    }
}

fn refused_limits_leave_nothing(world: &World) {
    let path = path(world.name());
    let refuse = |resources: &Resources| {
        world
            .cgroups
            .create(&path, resources)
            .expect_err("must be refused")
            .to_string()
    };
    let too_small = Resources {
        cpu: Some(Cpu {
            quota: Some(10),
            period: Some(100_000),
            ..Cpu::default()
        }),
        ..Resources::default()
    };
    let text = refuse(&too_small);
    let (value, file) = if world.cgroups.layout() == Layout::Unified {
        ("10 100000", "cpu.max")
    } else {
        ("10", "cpu.cfs_quota_us")
    };
    assert!(
        text.starts_with(&format!(
            "failed to write \"{value}\": write /sys/fs/cgroup/"
        )),
        "{text}"
    );
    assert!(
        text.ends_with(&format!("{path}/{file}: invalid argument")),
        "{text}"
    );
    let processor = Resources {
        cpu: Some(Cpu {
            cpus: "4095".to_owned(),
            ..Cpu::default()
        }),
        ..Resources::default()
    };
    let text = refuse(&processor);
    assert!(text.contains("cpuset.cpus"), "{text}");
    for hierarchy in world.cgroups.hierarchies() {
        let left = rustix::fs::accessat(
            &hierarchy.root,
            &path[1..],
            rustix::fs::Access::EXISTS,
            rustix::fs::AtFlags::empty(),
        );
        assert!(left.is_err(), "left in {}", hierarchy.name);
    }
}

fn is_not_shared(world: &World) {
    let path = path(world.name());
    let cgroup = world
        .cgroups
        .create(&path, &Resources::default())
        .expect("is made");
    world
        .cgroups
        .create(&path, &Resources::default())
        .expect("an empty one is taken over");
    let child = member(&cgroup, sleep_forever);
    until("it joins", || {
        cgroup.procs().expect("are listed").contains(&child.pid)
    });
    let text = world
        .cgroups
        .create(&path, &Resources::default())
        .expect_err("must be refused")
        .to_string();
    assert_eq!(text, "container's cgroup is not empty: 1 process(es) found");
    cgroup.signal_all(libc::SIGTERM).expect("is sent");
    assert_eq!(exit_code(&child), 143);
    cgroup.remove().expect("is removed");
}

fn removal_takes_nested_ones_along(world: &World) {
    let cgroup = world
        .cgroups
        .create(&path(world.name()), &Resources::default())
        .expect("is made");
    for hierarchy in world.cgroups.hierarchies() {
        for nested in ["a", "a/b", "c"] {
            let nested = format!("{}/{nested}", world.name());
            rustix::fs::mkdirat(
                &hierarchy.root,
                nested,
                rustix::fs::Mode::from_raw_mode(0o755),
            )
            .expect("is made");
        }
    }
    let inner = world.cgroups.find(
        &cgroup
            .paths()
            .into_iter()
            .map(|(name, path)| (name, path + "/a"))
            .collect::<Vec<_>>(),
    );
    // Controllers of v2 may not be shared with processes in between, but a v2 cgroup without any may hold both.
    let child = member(&inner, sleep_forever);
    until("it is seen from outside", || {
        cgroup.procs().expect("are listed").contains(&child.pid)
    });
    assert!(cgroup.kill_all().expect("is killed"));
    assert_eq!(exit_code(&child), 137);
    cgroup.remove().expect("is removed");
}
