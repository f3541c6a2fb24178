//! Images, configurations and neighbours that try to reach the host. Each case leaves a canary and looks whether it lives.

use crate::world::{Case, World, docker_capabilities, field, process, rounds};
use gantry_oci::runtime::{Mount, User};
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};

pub(crate) const ALL: &[Case] = &[
    ("hostile_working_directories", working_directories),
    ("hostile_descriptors_do_not_leak", descriptors_do_not_leak),
    ("hostile_swapped_mount_targets", swapped_mount_targets),
    ("hostile_null_device", null_device),
    ("hostile_proc", proc),
    (
        "hostile_capabilities_are_not_inherited",
        capabilities_are_not_inherited,
    ),
    ("hostile_groups_are_exact", groups_are_exact),
    ("hostile_users_out_of_range", users_out_of_range),
    ("hostile_dev_link", dev_link),
    ("hostile_links_as_mount_targets", links_as_mount_targets),
    ("hostile_sysctls", sysctls),
    ("hostile_passwd", passwd),
    ("hostile_cgroups_are_read_only", cgroups_are_read_only),
];

fn tmpfs(destination: &str) -> Mount {
    Mount {
        destination: destination.into(),
        kind: "tmpfs".into(),
        source: "marker".into(),
        ..Mount::default()
    }
}

fn bind(source: &Path, destination: &str) -> Mount {
    Mount {
        destination: destination.into(),
        kind: "bind".into(),
        source: source.display().to_string(),
        options: vec!["rbind".into()],
        ..Mount::default()
    }
}

/// A folder of the host with one file; and a check that nothing else has appeared in it.
struct Canary(PathBuf);

impl Canary {
    fn new(world: &World) -> Self {
        let folder = world.folder.join("canary");
        fs::create_dir(&folder).expect("is made");
        fs::write(folder.join("ptmx"), "alive").expect("is written");
        Self(folder)
    }
    fn check(&self) {
        let names: Vec<_> = fs::read_dir(&self.0)
            .expect("is listed")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(names, ["ptmx"]);
        assert_eq!(
            fs::read_to_string(self.0.join("ptmx")).expect("is read"),
            "alive"
        );
    }
}

/// CVE-2024-21626.
fn working_directories(world: &World) {
    world.rootfs("cwd");
    let mut started = 0;
    for number in 0..64 {
        for path in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/self/fd/{number}/../../.."),
        ] {
            let mut spec = world.spec(&["cwd"]);
            spec.process.as_mut().expect("is there").cwd = path;
            if let Ok((text, _)) = world.run("cwd", &spec) {
                started += 1;
                assert!(text.starts_with('/'), "{text}");
            }
        }
    }
    assert_eq!(started, 0, "a link of procfs was followed");
    let running = world.start("cwd", &world.spec(&["sleep"]));
    for number in 0..64 {
        let mut other = process(&["cwd"]);
        other.cwd = format!("/proc/self/fd/{number}");
        running.exec(other).expect_err("is refused");
    }
    let mut other = process(&["cwd"]);
    other.cwd = "/proc/1/cwd".into();
    running.exec(other).expect_err("is refused");
    running.stop();
}

/// CVE-2024-21626, CVE-2016-9962: the descriptors of a program are its three streams.
fn descriptors_do_not_leak(world: &World) {
    // Descriptors of the creator that anybody forgot to mark.
    let folder = fs::File::open("/").expect("opens");
    rustix::io::fcntl_setfd(&folder, rustix::io::FdFlags::empty()).expect("is set");
    world.rootfs("fds");
    for _ in 0..10 {
        let (text, _) = world.run("fds", &world.spec(&["fds"])).expect("runs");
        assert_eq!(text.lines().count(), 3, "{text}");
    }
    let running = world.start("fds", &world.spec(&["sleep"]));
    for _ in 0..10 {
        let (text, _) = running.exec(process(&["fds"])).expect("runs");
        assert_eq!(text.lines().count(), 3, "{text}");
    }
    running.stop();
}

/// CVE-2021-30465, CVE-2024-45310: a neighbour swaps a directory of a shared volume for a link while it is mounted upon.
fn swapped_mount_targets(world: &World) {
    let canary = Canary::new(world);
    let volume = world.folder.join("volume");
    fs::create_dir_all(volume.join("a/inner")).expect("is made");
    symlink(&canary.0, volume.join("b")).expect("is made");
    world.rootfs("victim");
    let mut spec = world.spec(&["mounts"]);
    spec.mounts.extend([
        bind(&volume, "/vol"),
        tmpfs("/vol/a/inner"),
        tmpfs("/vol/a/new/deep"),
    ]);
    let mut attacker = swap(&volume.join("a"), &volume.join("b"));
    let (mut started, mut refused) = (0, 0);
    for _ in 0..rounds(300) {
        match world.run("victim", &spec) {
            Ok((text, _)) => {
                started += 1;
                let marks = text.lines().filter(|line| line.contains(" marker "));
                assert!(marks.count() <= 2, "{text}");
            }
            Err(_) => refused += 1,
        }
    }
    attacker.kill().expect("is killed");
    attacker.wait().expect("is reaped");
    println!("note: {started} started, {refused} refused");
    canary.check();
    assert!(
        !fs::read_to_string("/proc/self/mountinfo")
            .expect("is read")
            .contains(" marker ")
    );
}

/// A process that exchanges two names as fast as it can.
fn swap(one: &Path, other: &Path) -> std::process::Child {
    let program = std::env::current_exe().expect("is known");
    std::process::Command::new(program)
        .args(["--swap".as_ref(), one, other])
        .spawn()
        .expect("starts")
}

/// CVE-2025-31133: the container's own `/dev` has a link as its null device.
fn null_device(world: &World) {
    let evil = world.folder.join("evil");
    fs::create_dir(&evil).expect("is made");
    symlink("/proc/sys/kernel/core_pattern", evil.join("null")).expect("is made");
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("is read");
    world.rootfs("null");
    let mut spec = world.spec(&["cat", "/proc/keys"]);
    spec.mounts
        .retain(|mount| !mount.destination.starts_with("/dev"));
    spec.mounts.push(bind(&evil, "/dev"));
    let (text, _) = world.run("null", &spec).expect("runs");
    assert_eq!(text, "", "the masked file shows something");
    spec.process = Some(process(&["write", "/proc/keys", "evil"]));
    let (text, _) = world.run("null", &spec).expect("runs");
    assert!(text.contains("wrote") || text.contains("denied"), "{text}");
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/core_pattern").expect("is read"),
        before
    );
    // Another device under that name is none either.
    fs::remove_file(evil.join("null")).expect("is removed");
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let zero = rustix::fs::makedev(1, 5);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        evil.join("null"),
        rustix::fs::FileType::CharacterDevice,
        mode,
        zero,
    )
    .expect("is made");
    spec.process = Some(process(&["cat", "/proc/keys"]));
    assert_eq!(world.run("null", &spec).expect("runs").0, "");
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2025-52881: what looks like procfs is something else.
fn proc(world: &World) {
    let refused = |change: &dyn Fn(&Path, &mut gantry_oci::runtime::Spec), text: &str| {
        let _ = fs::remove_dir_all(world.folder.join("proc"));
        let root = world.rootfs("proc");
        let mut spec = world.spec(&["cwd"]);
        change(&root, &mut spec);
        let error = world.run("proc", &spec).expect_err("is refused");
        assert!(error.message.contains(text), "{error}");
    };
    let relink = |name: &'static str| {
        move |root: &Path, _: &mut gantry_oci::runtime::Spec| {
            fs::remove_dir(root.join(name)).expect("is removed");
            fs::create_dir(root.join("else")).expect("is made");
            symlink("/else", root.join(name)).expect("is made");
        }
    };
    refused(&relink("proc"), "must be mounted on ordinary directory");
    refused(&relink("sys"), "must be mounted on ordinary directory");
    let volume = world.folder.join("volume");
    fs::create_dir(&volume).expect("is made");
    refused(
        &|_, spec| spec.mounts.push(tmpfs("/proc")),
        "cannot be mounted because it is not of type proc",
    );
    refused(
        &|_, spec| spec.mounts.push(bind(&volume, "/proc")),
        "cannot be mounted because it is not of type proc",
    );
    refused(
        &|_, spec| spec.mounts.push(tmpfs("/proc/self/attr")),
        "cannot be mounted because it is inside /proc",
    );
    refused(
        &|_, spec| spec.mounts.push(bind(&volume, "/proc/sys/kernel")),
        "cannot be mounted because it is inside /proc",
    );
    refused(
        &|root, spec| {
            symlink("/proc/sys", root.join("foo")).expect("is made");
            spec.mounts.push(bind(&volume, "/foo"));
        },
        "cannot be mounted because it is inside /proc",
    );
    // Even a writable process attribute is not where a link of the image leads.
    refused(
        &|root, spec| {
            symlink("/proc/self/attr/exec", root.join("attr")).expect("is made");
            spec.mounts.push(bind(Path::new("/etc/passwd"), "/attr"));
        },
        "",
    );
}

/// CVE-2022-29162, CVE-2022-24769.
fn capabilities_are_not_inherited(world: &World) {
    let mut spec = world.spec(&["status"]);
    spec.process.as_mut().expect("is there").capabilities = Some(docker_capabilities());
    world.rootfs("caps");
    let (text, _) = world.run("caps", &spec).expect("runs");
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
        .map(|name| field(&text, name).to_owned());
    assert_eq!(
        sets,
        [
            "0000000000000000",
            "00000000a80425fb",
            "00000000a80425fb",
            "00000000a80425fb",
            "0000000000000000"
        ]
    );
    spec.process.as_mut().expect("is there").args = ["probe", "sleep"].map(str::to_owned).to_vec();
    let running = world.start("caps", &spec);
    for uid in [0, 1000] {
        let mut other = process(&["status"]);
        other.capabilities = Some(docker_capabilities());
        other.user = User {
            uid,
            gid: uid,
            ..User::default()
        };
        let (text, _) = running.exec(other).expect("runs");
        let effective = if uid == 0 {
            "00000000a80425fb"
        } else {
            "0000000000000000"
        };
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
            .map(|name| field(&text, name).to_owned());
        assert_eq!(
            sets,
            [
                "0000000000000000",
                effective,
                effective,
                "00000000a80425fb",
                "0000000000000000"
            ],
            "{uid}"
        );
    }
    running.stop();
}

/// CVE-2022-36109: groups are those of the configuration, and the caller's are gone.
fn groups_are_exact(world: &World) {
    rustix::thread::set_thread_groups(&[
        rustix::fs::Gid::from_raw(4),
        rustix::fs::Gid::from_raw(27),
    ])
    .expect("are set");
    let root = world.rootfs("groups");
    fs::write(root.join("secret"), "secret").expect("is written");
    fs::set_permissions(
        root.join("secret"),
        std::os::unix::fs::PermissionsExt::from_mode(0o707),
    )
    .expect("is set");
    std::os::unix::fs::chown(root.join("secret"), Some(0), Some(50)).expect("is given");
    let run = |groups: &[u32]| {
        let mut spec = world.spec(&["status+cat", "/secret"]);
        let process = spec.process.as_mut().expect("is there");
        process.user = User {
            uid: 1000,
            gid: 1000,
            additional_gids: groups.to_vec(),
            ..User::default()
        };
        process.capabilities = Some(docker_capabilities());
        world.run("groups", &spec).expect("runs").0
    };
    let text = run(&[]);
    assert!(
        field(&text, "Groups").is_empty() && text.ends_with("secret"),
        "{text}"
    );
    // A member of the group is denied what others may read.
    let text = run(&[50, 60]);
    assert_eq!(field(&text, "Groups"), "50 60");
    assert!(text.contains("Permission denied"), "{text}");
}

/// CVE-2024-40635.
fn users_out_of_range(world: &World) {
    world.rootfs("range");
    for (uid, gid, more) in [
        (u32::MAX, 0, 0),
        (1 << 31, 0, 0),
        (0, u32::MAX, 0),
        (0, 0, 1 << 31),
    ] {
        let mut spec = world.spec(&["status"]);
        spec.process.as_mut().expect("is there").user = User {
            uid,
            gid,
            additional_gids: vec![more],
            ..User::default()
        };
        let error = world.run("range", &spec).expect_err("is refused");
        assert!(
            error
                .message
                .ends_with("uids and gids must be in range 0-2147483647"),
            "{error}"
        );
    }
    // Numbers beyond 32 bits do not even parse.
    let text = r#"{"process":{"user":{"uid":4294967296}}}"#;
    assert!(serde_json::from_str::<gantry_oci::runtime::Spec>(text).is_err());
}

/// CVE-2026-41579: `/dev` of the image is a link to the host.
fn dev_link(world: &World) {
    let canary = Canary::new(world);
    for with_mount in [true, false] {
        let name = format!("dev-{with_mount}");
        let root = world.rootfs(&name);
        fs::remove_dir(root.join("dev")).expect("is removed");
        symlink(&canary.0, root.join("dev")).expect("is made");
        let mut spec = world.spec(&["cwd"]);
        if !with_mount {
            spec.mounts
                .retain(|mount| !mount.destination.starts_with("/dev"));
        }
        // It may start, with its devices where the link leads inside the container, or be refused.
        let result = world.run(&name, &spec);
        println!("note: with a mount {with_mount}: {result:?}");
        canary.check();
    }
}

/// CVE-2019-16884 and others: targets that are links to the host lead nowhere outside.
fn links_as_mount_targets(world: &World) {
    let canary = Canary::new(world);
    let root = world.rootfs("links");
    let source = world.folder.join("source");
    fs::write(&source, "content").expect("is written");
    for (name, target) in [
        ("absolute", canary.0.clone()),
        ("dots", PathBuf::from("../../../../mnt/canary")),
    ] {
        symlink(target, root.join(name)).expect("is made");
    }
    let mut spec = world.spec(&["cwd"]);
    spec.mounts.extend([
        tmpfs("/absolute"),
        tmpfs("/dots/sub"),
        bind(&source, "/absolute/file"),
        bind(&source, "/../../mnt/canary/up"),
    ]);
    let result = world.run("links", &spec);
    println!("note: {result:?}");
    canary.check();
    assert!(
        !fs::read_to_string("/proc/self/mountinfo")
            .expect("is read")
            .contains(" marker ")
    );
    // Device nodes of the configuration do not go there either.
    let mut spec = world.spec(&["cwd"]);
    spec.linux
        .as_mut()
        .expect("is there")
        .devices
        .push(gantry_oci::runtime::Device {
            kind: "c".into(),
            path: "/absolute/node".into(),
            major: 1,
            minor: 3,
            ..gantry_oci::runtime::Device::default()
        });
    let _ = world.run("links", &spec);
    canary.check();
    assert!(
        !fs::symlink_metadata(canary.0.join("ptmx"))
            .expect("exists")
            .file_type()
            .is_char_device()
    );
}

/// CVE-2022-0811.
fn sysctls(world: &World) {
    world.rootfs("sysctl");
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("is read");
    let run = |name: &str, value: &str, network: bool| {
        let mut spec = world.spec(&["cat", "/proc/sys/net/ipv4/ip_forward"]);
        let linux = spec.linux.as_mut().expect("is there");
        if !network {
            linux
                .namespaces
                .retain(|namespace| namespace.kind != "network");
        }
        linux.sysctl.insert(name.into(), value.into());
        world.run("sysctl", &spec)
    };
    assert_eq!(
        run("net.ipv4.ip_forward", "1", true).expect("runs").0,
        "1\n"
    );
    for (name, value, network) in [
        ("kernel.core_pattern", "x", true),
        (
            "net.ipv4.ip_forward",
            "1+kernel.core_pattern=x\nkernel.core_pattern=x",
            true,
        ),
        ("net/../kernel/core_pattern", "x", true),
        ("net.ipv4.ip_forward=1+kernel.core_pattern", "x", true),
        ("net.ipv4.ip_forward", "1", false),
    ] {
        run(name, value, network).expect_err("is refused");
    }
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/core_pattern").expect("is read"),
        before
    );
}

/// CVE-2026-47262: what the image has as its user database is large, a pipe, or a link elsewhere.
fn passwd(world: &World) {
    let root = world.rootfs("passwd");
    let path = root.join("etc/passwd");
    let run = || {
        let start = std::time::Instant::now();
        let (text, _) = world.run("passwd", &world.spec(&["env"])).expect("runs");
        // Reading all of it would take minutes and gibibytes.
        assert!(start.elapsed().as_secs() < 120);
        assert!(text.contains("HOME=/\n"), "{text}");
    };
    let file = fs::File::create(&path).expect("is made");
    file.set_len(2 << 30).expect("is sparse");
    run();
    fs::remove_file(&path).expect("is removed");
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
        .expect("is made");
    run();
    fs::remove_file(&path).expect("is removed");
    symlink("/proc/self/environ", &path).expect("is made");
    run();
    fs::remove_file(&path).expect("is removed");
    fs::write(&path, format!("evil:x:0:0::/{}:\n", "x".repeat(1 << 20))).expect("is written");
    run();
}

/// CVE-2022-0492: no file of the hierarchies can be written, the release agent least of all.
fn cgroups_are_read_only(world: &World) {
    world.rootfs("cgroup");
    let mut spec = world.spec(&["write", "/sys/fs/cgroup/memory/release_agent", "/evil"]);
    spec.process.as_mut().expect("is there").capabilities = Some(docker_capabilities());
    for path in [
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/memory/tasks",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/new",
    ] {
        spec.process.as_mut().expect("is there").args =
            ["probe", "write", path, "1"].map(str::to_owned).to_vec();
        let (text, _) = world.run("cgroup", &spec).expect("runs");
        assert!(!text.contains("wrote"), "{text}");
    }
}
