//! What a container is when nobody attacks it.

use crate::world::{Case, World, docker_capabilities, field, output, process};
use gantry_oci::runtime::{ConsoleSize, Hook, Hooks, Mount, Rlimit, Seccomp, SeccompRule, User};
use gantry_runtime::{Document, ErrorKind, ExecPlan, Start, Stdio, Tolerate};
use gantry_sys::{fdpass, mount, pidfd};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(crate) const ALL: &[Case] = &[
    ("runs_a_program", runs_a_program),
    (
        "refusals_have_kinds_and_texts",
        refusals_have_kinds_and_texts,
    ),
    (
        "is_created_first_and_started_later",
        is_created_first_and_started_later,
    ),
    ("is_started_by_a_connection", is_started_by_a_connection),
    ("processes_join_everything", processes_join_everything),
    ("has_a_terminal", has_a_terminal),
    ("runs_hooks_in_order", runs_hooks_in_order),
    (
        "an_init_reaps_and_passes_signals",
        an_init_reaps_and_passes_signals,
    ),
    (
        "limits_are_errors_or_warnings",
        limits_are_errors_or_warnings,
    ),
    (
        "a_filter_needs_to_allow_only_execve",
        a_filter_needs_to_allow_only_execve,
    ),
    (
        "read_only_roots_and_copied_up_tmpfs",
        read_only_roots_and_copied_up_tmpfs,
    ),
    ("bind_mounts_are_in_order", bind_mounts_are_in_order),
    ("many_mounts_and_variables", many_mounts_and_variables),
];

fn runs_a_program(world: &World) {
    let (text, code) = world
        .probe(&["fds+cwd+env+ls+hostname+status", "/dev"], |spec| {
            spec.hostname = "box".into();
            spec.process
                .as_mut()
                .expect("is there")
                .env
                .push("A=b".into());
        })
        .expect("runs");
    assert_eq!(code, 0);
    let fds: Vec<&str> = text.lines().take_while(|line| *line != "/").collect();
    assert_eq!(fds.len(), 3, "{text}");
    assert!(text.contains("\n/\nPATH=/bin\nA=b\nHOME=/\n"), "{text}");
    assert!(text.contains("\nbox\n"), "{text}");
    for node in [
        "null 20666 0:0 103",
        "tty 20666 0:0 500",
        "ptmx 120777 0:0 0 -> pts/ptmx",
        "fd 120777 0:0 0 -> /proc/self/fd",
    ] {
        assert!(text.contains(node), "{node} is not in {text}");
    }
    assert_eq!((field(&text, "Pid"), field(&text, "NSsid")), ("1", "1"));
    assert_eq!(
        (
            field(&text, "Umask"),
            field(&text, "SigIgn"),
            field(&text, "SigBlk")
        ),
        ("0022", "0000000000001000", "0000000000000000")
    );
}

fn refusals_have_kinds_and_texts(world: &World) {
    let check = |program: &str, kind: ErrorKind, text: &str| {
        let error = world
            .probe(&[], |spec| {
                spec.process.as_mut().expect("is there").args = vec![program.into()];
            })
            .expect_err("is refused");
        assert_eq!((error.kind, error.message.as_str()), (kind, text));
    };
    check(
        "nosuch",
        ErrorKind::CommandNotFound,
        "exec: \"nosuch\": executable file not found in $PATH",
    );
    check(
        "/nosuch",
        ErrorKind::CommandNotFound,
        "exec: \"/nosuch\": stat /nosuch: no such file or directory",
    );
    check(
        "/tmp",
        ErrorKind::CommandNotExecutable,
        "exec: \"/tmp\": permission denied",
    );
    check(
        "/bin/probe/x",
        ErrorKind::CommandNotExecutable,
        "exec: \"/bin/probe/x\": stat /bin/probe/x: not a directory",
    );
    // A file that is executable but no program starts, and fails as it would for a shell.
    let root = world.rootfs("probe");
    std::fs::write(root.join("bin/text"), "no program").expect("is written");
    std::fs::set_permissions(
        root.join("bin/text"),
        std::fs::Permissions::from_mode(0o755),
    )
    .expect("is set");
    let (text, code) = world
        .probe(&[], |spec| {
            spec.process.as_mut().expect("is there").args = vec!["text".into()];
        })
        .expect("starts");
    assert_eq!(
        (text.as_str(), code),
        ("exec /bin/text: exec format error\n", 1)
    );
    // Nothing is left of any of them.
    assert!(world.cgroups.find(&[]).procs().expect("is read").is_empty());
}

fn is_created_first_and_started_later(world: &World) {
    world.rootfs("two");
    let mut plan = world
        .plan("two", &world.spec(&["cwd"]))
        .expect("is planned");
    let (mut reader, stdio) = output();
    plan.stdio = stdio;
    plan.start = Start::OnMessage;
    let mut init = gantry_runtime::create(plan).expect("is created");
    assert!(!pidfd::has_ended(&init.pidfd).expect("is asked"));
    assert!(init.mount_namespace.is_some());
    init.start().expect("is started");
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("is read");
    assert_eq!(text, "/\n");
    pidfd::wait(&init.pidfd).expect("is reaped");
    crate::world::end(init);
}

fn is_started_by_a_connection(world: &World) {
    world.rootfs("three");
    let mut plan = world
        .plan("three", &world.spec(&["cwd"]))
        .expect("is planned");
    let (_reader, stdio) = output();
    plan.stdio = stdio;
    let path = world.folder.join("start.sock");
    plan.start = Start::OnConnect(fdpass::listen(&path).expect("listens"));
    let init = gantry_runtime::create(plan).expect("is created");
    let connection = fdpass::connect(&path).expect("connects");
    gantry_runtime::wait_for_start(&connection).expect("is started");
    assert_eq!(pidfd::wait(&init.pidfd).expect("is reaped").code(), 0);
    crate::world::end(init);
}

fn processes_join_everything(world: &World) {
    world.rootfs("box");
    let mut spec = world.spec(&["namespaces+status+sleep"]);
    spec.process.as_mut().expect("is there").capabilities = Some(docker_capabilities());
    let mut running = world.start("box", &spec);
    let mut first = String::new();
    // Until the sleep, which prints nothing.
    while !first.contains("nonvoluntary_ctxt_switches") {
        let mut bytes = [0; 4096];
        let length = running.reader.read(&mut bytes).expect("is read");
        first.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    let mut other = process(&["namespaces+fds+cat+status", "/proc/self/cgroup"]);
    other.user = User {
        uid: 1000,
        gid: 1000,
        umask: Some(0o77),
        additional_gids: vec![7, 8],
    };
    other.cwd = "/tmp".into();
    other.no_new_privileges = true;
    let (text, code) = running.exec(other).expect("runs");
    assert_eq!(code, 0, "{text}");
    let spaces = |text: &str| text.lines().take(8).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(spaces(&text), spaces(&first));
    assert_ne!(
        spaces(&text)[1],
        format!(
            "pid {}",
            std::fs::read_link("/proc/self/ns/pid")
                .expect("is read")
                .display()
        )
    );
    assert_eq!(
        text.lines()
            .filter(|line| line.contains("pipe:") || line.contains("/dev/null"))
            .count(),
        3,
        "{text}"
    );
    assert_eq!(
        (field(&text, "Uid"), field(&text, "Groups")),
        ("1000\t1000\t1000\t1000", "7 8")
    );
    assert_eq!(
        (field(&text, "NoNewPrivs"), field(&text, "Umask")),
        ("1", "0077")
    );
    // In the container's cgroup namespace its own cgroup is the root.
    assert!(
        text.lines()
            .filter(|line| line.split(':').count() == 3)
            .all(|line| line.ends_with(":/")),
        "{text}"
    );
    let mut missing = process(&[]);
    missing.args = vec!["nosuch".into()];
    assert_eq!(
        running.exec(missing).expect_err("is missing").kind,
        ErrorKind::CommandNotFound
    );
    running.stop();
}

fn has_a_terminal(world: &World) {
    world.rootfs("tty");
    let mut spec = world.spec(&["tty+ls+sleep", "/dev"]);
    let wanted = spec.process.as_mut().expect("is there");
    wanted.terminal = true;
    wanted.console_size = Some(ConsoleSize {
        height: 33,
        width: 77,
    });
    let mut plan = world.plan("tty", &spec).expect("is planned");
    plan.stdio = Stdio::Terminal;
    let init = gantry_runtime::run(plan).expect("runs");
    let master = init
        .terminal
        .as_ref()
        .expect("has a terminal")
        .try_clone()
        .expect("is cloned");
    let size = rustix::termios::tcgetwinsize(&master).expect("is asked");
    assert_eq!((size.ws_row, size.ws_col), (33, 77));
    let mut text = String::new();
    let mut reader = File::from(master);
    while !text.contains("zero") {
        let mut bytes = [0; 4096];
        let length = reader.read(&mut bytes).expect("is read");
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    assert!(text.contains("tty true"), "{text}");
    // Major number 136: a pseudo-terminal and no file of an image.
    let console = text
        .lines()
        .find(|line| line.starts_with("console "))
        .expect("is listed");
    assert!(console.trim_end().ends_with(" 8800"), "{console}");
    let plan = ExecPlan {
        process: Document::Parsed(Box::new(process(&["tty"]))),
        stdio: Stdio::Terminal,
        seccomp_filter: None,
        tolerate: Tolerate::default(),
        preserve_fds: 0,
    };
    let running = crate::world::Running {
        init,
        reader: output().0,
    };
    let child = gantry_runtime::exec(&running.target(), plan).expect("runs");
    pidfd::wait(&child.pidfd).expect("is reaped");
    let mut bytes = [0; 64];
    let length = File::from(child.terminal.expect("has a terminal"))
        .read(&mut bytes)
        .expect("is read");
    assert_eq!(&bytes[..length], b"tty true\r\n");
    running.stop();
}

fn runs_hooks_in_order(world: &World) {
    let log = world.folder.join("log");
    let root = world.rootfs("hooks");
    std::fs::create_dir_all(root.join("out")).expect("is made");
    let hook = |name: &str, log: &str| Hook {
        path: "/bin/sh".into(),
        args: vec![
            "sh".into(),
            "-c".into(),
            format!("read state; echo {name} $state >> {log}"),
        ],
        ..Hook::default()
    };
    let host = log.display().to_string();
    let mut spec = world.spec(&["cat", "/out/log"]);
    spec.hooks = Some(Hooks {
        prestart: vec![hook("prestart", &host)],
        create_runtime: vec![hook("createRuntime", &host)],
        create_container: vec![hook("createContainer", &host)],
        // Inside the container there is no shell, but the probe can write.
        start_container: vec![Hook {
            path: "/bin/probe".into(),
            args: ["probe", "write", "/out/log", "started"]
                .map(str::to_owned)
                .to_vec(),
            ..Hook::default()
        }],
        poststart: vec![hook("poststart", &host)],
        ..Hooks::default()
    });
    let (text, code) = world.run("hooks", &spec).expect("runs");
    assert_eq!((text.as_str(), code), ("started", 0));
    let lines = std::fs::read_to_string(&log).expect("is read");
    let names: Vec<&str> = lines
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        names,
        ["prestart", "createRuntime", "createContainer", "poststart"]
    );
    assert!(
        lines
            .lines()
            .next()
            .expect("has one")
            .contains(r#""status":"creating""#),
        "{lines}"
    );
    // A hook that fails ends the start, and nothing is left.
    spec.hooks = Some(Hooks {
        prestart: vec![hook("x", "/nonexistent/log")],
        ..Hooks::default()
    });
    let error = world.run("hooks", &spec).expect_err("fails");
    assert!(
        error
            .message
            .starts_with("error during container init: error running hook #0"),
        "{error}"
    );
}

fn an_init_reaps_and_passes_signals(world: &World) {
    world.rootfs("init");
    let run = |arguments: &[&str]| {
        let mut plan = world
            .plan("init", &world.spec(arguments))
            .expect("is planned");
        let (reader, stdio) = output();
        (plan.stdio, plan.init) = (stdio, true);
        (gantry_runtime::run(plan).expect("runs"), reader)
    };
    let (init, mut reader) = run(&["orphan+exit", "7"]);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("is read");
    assert_eq!(text, "zombies 0\n");
    assert_eq!(pidfd::wait(&init.pidfd).expect("is reaped").code(), 7);
    crate::world::end(init);
    let (init, mut reader) = run(&["cwd+sleep"]);
    let mut bytes = [0; 8];
    let length = reader.read(&mut bytes).expect("is read");
    assert_eq!(&bytes[..length], b"/\n");
    pidfd::send_signal(&init.pidfd, libc::SIGTERM).expect("is sent");
    assert_eq!(pidfd::wait(&init.pidfd).expect("is reaped").code(), 143);
    crate::world::end(init);
}

fn limits_are_errors_or_warnings(world: &World) {
    world.rootfs("limits");
    let mut spec = world.spec(&["limits+cat", "/proc/self/oom_score_adj"]);
    let wanted = spec.process.as_mut().expect("is there");
    let too_much = Rlimit {
        kind: "RLIMIT_NOFILE".into(),
        hard: 1 << 40,
        soft: 1 << 40,
    };
    wanted.rlimits = vec![
        Rlimit {
            kind: "RLIMIT_CORE".into(),
            hard: 5000,
            soft: 4000,
        },
        too_much,
    ];
    wanted.oom_score_adj = Some(77);
    let error = world
        .run("limits", &spec)
        .expect_err("is too much for any kernel");
    assert_eq!(
        error.message,
        "error during container init: error setting rlimits for ready process: error setting rlimit type 7: operation not permitted"
    );
    let mut plan = world.plan("limits", &spec).expect("is planned");
    plan.tolerate.rlimits = true;
    let (mut reader, stdio) = output();
    plan.stdio = stdio;
    let init = gantry_runtime::run(plan).expect("runs");
    assert!(
        init.warnings
            .iter()
            .any(|warning| warning.contains("RLIMIT_NOFILE")),
        "{:?}",
        init.warnings
    );
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("is read");
    assert!(text.contains("77\n"), "{text}");
    let core = text
        .lines()
        .find(|line| line.starts_with("Max core"))
        .expect("is listed");
    assert!(core.contains("4000") && core.contains("5000"), "{core}");
    pidfd::wait(&init.pidfd).expect("is reaped");
    crate::world::end(init);
}

fn a_filter_needs_to_allow_only_execve(world: &World) {
    // Everything that the runtime itself would call late is denied, and the user is not root, without no_new_privs.
    let names = [
        "setresuid",
        "setresgid",
        "setgroups",
        "capset",
        "prctl",
        "fchdir",
        "close_range",
        "umask",
        "seccomp",
        "sendmsg",
    ];
    let filter = Seccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        syscalls: vec![SeccompRule {
            names: names.map(str::to_owned).to_vec(),
            action: "SCMP_ACT_KILL_PROCESS".into(),
            ..SeccompRule::default()
        }],
        ..Seccomp::default()
    };
    let (text, code) = world
        .probe(&["status"], |spec| {
            spec.linux.as_mut().expect("is there").seccomp = Some(filter);
            let process = spec.process.as_mut().expect("is there");
            process.capabilities = Some(docker_capabilities());
            process.user = User {
                uid: 1000,
                gid: 1000,
                ..User::default()
            };
        })
        .expect("runs");
    assert_eq!(code, 0, "{text}");
    assert_eq!(
        (field(&text, "Seccomp"), field(&text, "NoNewPrivs")),
        ("2", "0")
    );
    assert_eq!(
        (field(&text, "CapEff"), field(&text, "CapPrm")),
        ("0000000000000000", "0000000000000000")
    );
    assert_eq!(field(&text, "CapBnd"), "00000000a80425fb");
}

fn read_only_roots_and_copied_up_tmpfs(world: &World) {
    let root = world.rootfs("ro");
    std::fs::create_dir_all(root.join("etc/sub")).expect("is made");
    std::fs::write(root.join("etc/sub/file"), "content").expect("is written");
    std::os::unix::fs::symlink("sub/file", root.join("etc/link")).expect("is made");
    let mut spec = world.spec(&["write", "/x", "1"]);
    spec.root.as_mut().expect("is there").readonly = true;
    let (text, _) = world.run("ro", &spec).expect("runs");
    assert!(text.contains("Read-only file system"), "{text}");
    spec.process.as_mut().expect("is there").args =
        ["probe", "cat", "/etc/link"].map(str::to_owned).to_vec();
    let tmpfs = Mount {
        destination: "/etc".into(),
        kind: "tmpfs".into(),
        source: "tmpfs".into(),
        options: vec!["tmpcopyup".into(), "ro".into()],
        ..Mount::default()
    };
    spec.mounts.push(tmpfs);
    let (text, _) = world.run("ro", &spec).expect("runs");
    assert_eq!(text, "content");
}

fn bind_mounts_are_in_order(world: &World) {
    let attach = |name: &str, place: &Path| {
        std::fs::create_dir_all(place).expect("is made");
        let tmpfs = mount::new_filesystem("tmpfs", Some(name), &[], mount::Attributes::NONE)
            .expect("is made");
        mount::attach_at(&tmpfs, place).expect("is attached");
        tmpfs
    };
    world.rootfs("order");
    let source = world.folder.join("source");
    // What is taken away from the container's copy of a shared mount must not go away here.
    let shared = mount::Change {
        propagation: Some(mount::Propagation::Shared),
        ..mount::Change::default()
    };
    mount::change(attach("outer", &source), &shared).expect("is changed");
    attach("inner", &source.join("below"));
    std::fs::write(source.join("file"), "").expect("is written");
    let mount = |destination: &str, kind: &str, source: &Path, option: &str| Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.display().to_string(),
        options: vec![option.into()],
        ..Mount::default()
    };
    let mut spec = world.spec(&["mounts"]);
    spec.mounts.extend([
        mount("/a", "tmpfs", Path::new("tmpfs"), "rw"),
        mount("/b", "bind", &source, "rbind"),
        mount("/c", "tmpfs", Path::new("tmpfs"), "rw"),
        mount("/d", "bind", &source.join("file"), "bind"),
    ]);
    let mut plan = world.plan("order", &spec).expect("is planned");
    plan.mounts_in_order = true;
    let (text, _) = World::run_plan(plan).expect("runs");
    let wanted = ["/a", "/b", "/b/below", "/c", "/d"];
    let points: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| wanted.contains(point))
        .collect();
    assert_eq!(points, wanted, "{text}");
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("is read");
    assert!(text.contains("/source/below "), "{text}");
}

fn many_mounts_and_variables(world: &World) {
    world.rootfs("many");
    let source = world.folder.join("source");
    std::fs::write(&source, "shared").expect("is written");
    let mut spec = world.spec(&["cat", "/mnt/399", "/proc/self/environ"]);
    let long = "x".repeat(100_000);
    spec.process
        .as_mut()
        .expect("is there")
        .env
        .push(format!("LONG={long}"));
    for number in 0..400 {
        spec.mounts.push(Mount {
            destination: format!("/mnt/{number}"),
            kind: "bind".into(),
            source: source.display().to_string(),
            options: vec!["bind".into(), "ro".into()],
            ..Mount::default()
        });
    }
    let (text, code) = world.run("many", &spec).expect("runs");
    assert_eq!(code, 0);
    assert!(text.starts_with("shared") && text.contains(&long));
    assert!(Path::new(&source).exists());
}
