//! What a start costs in system calls: the part of the benchmark that does not depend on how busy a machine is.
//!
//! Traces daemon, zygote, shim and init with strace during one `run --rm`, counts up to the payload's execution and for the
//! others to the end, and refuses what would stall: a sync, a child process, a moved or deleted link, another's pid in `cgroup.procs`.

use super::daemon::Daemon;
use super::own::{Own, Profile, signal};
use super::{archive, compile_payload, transfer};
use crate::Outcome;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CALLS_MAX: usize = 1000;
/// Runs before the one that counts: caches fill, threads start.
const WARM_UP: usize = 3;
/// Clean-up happens after the answer and counts too.
const CLEAN_UP: Duration = Duration::from_millis(700);
const SYNCS: [&str; 6] = [
    "fsync",
    "fdatasync",
    "sync",
    "syncfs",
    "sync_file_range",
    "msync",
];

/// What one trace shows.
#[derive(Default, Debug)]
struct Trace {
    calls: BTreeMap<String, usize>,
    breaches: Vec<String>,
    payloads: Vec<String>,
}

pub(crate) fn run(root: &Path) -> Outcome {
    let strace = Command::new("strace").arg("-V").output();
    strace.map_err(|e| format!("cannot run strace, which counts the calls: {e}"))?;
    let folder = tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?;
    let own = Own::start(root, Profile::Debug)?;
    let daemon = Daemon {
        label: "Gantry".into(),
        socket: own.socket.clone(),
        client: own.client.clone(),
    };
    let program = compile_payload(root, folder.path())?;
    let archive = archive::with_program("payload", &program)
        .map_err(|e| format!("cannot make an archive of the payload: {e}"))?;
    transfer::import_payload(&daemon, &archive)?;
    let mut failures = Vec::new();
    let kept = std::env::var_os("GANTRY_KEEP_TRACE");
    for network in ["bridge", "none"] {
        let lines = trace_run(&daemon, network, &folder.path().join("trace"))?;
        if let Some(kept) = &kept {
            let path = Path::new(kept).join(format!("trace-{network}"));
            std::fs::write(&path, &lines)
                .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        }
        let trace = parse(&lines);
        failures.extend(judge(network, &trace));
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n"))
    }
}

/// Traces one run and answers strace's lines.
fn trace_run(daemon: &Daemon, network: &str, file: &Path) -> Result<String, String> {
    let option = format!("--network={network}");
    let arguments = ["run", "--rm", &option, transfer::IMAGE, "/payload", "true"];
    for _ in 0..WARM_UP {
        daemon.time_command(&daemon.client, &arguments)?;
    }
    std::thread::sleep(CLEAN_UP);
    let mut strace = attach(&daemon.processes()?, file)?;
    let outcome = daemon.time_command(&daemon.client, &arguments);
    std::thread::sleep(CLEAN_UP);
    signal(&strace, Signal::INT);
    strace
        .wait()
        .map_err(|e| format!("cannot wait for strace: {e}"))?;
    outcome?;
    std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))
}

/// Starts strace and waits until it follows every process.
fn attach(pids: &BTreeSet<i32>, file: &Path) -> Result<Child, String> {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-v", "-s", "256", "-o"])
        .arg(file);
    for pid in pids {
        command.arg("-p").arg(pid.to_string());
    }
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot run strace: {e}"))?;
    let errors = child.stderr.take().ok_or("strace has no stderr")?;
    let mut lines = BufReader::new(errors).lines();
    let mut waiting = pids.clone();
    while !waiting.is_empty() {
        let Some(Ok(line)) = lines.next() else {
            return Err("strace ended before it was attached".to_owned());
        };
        // `strace: Process 12 attached`, then ` with 3 threads` if it has some.
        let pid = line
            .split("Process ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .and_then(|pid| pid.parse().ok());
        match pid {
            Some(pid) if line.contains("attached") => {
                waiting.remove(&pid);
            }
            _ => return Err(format!("strace: {line}")),
        }
    }
    // Nobody reads on, and a full pipe must not stop strace.
    std::thread::spawn(move || lines.for_each(drop));
    Ok(child)
}

fn judge(network: &str, trace: &Trace) -> Vec<String> {
    let total: usize = trace.calls.values().sum();
    let mut most: Vec<(&String, &usize)> = trace.calls.iter().collect();
    most.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let list: Vec<String> = most
        .iter()
        .take(12)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    println!(
        "syscalls: run --rm, network {network}: {total} (at most {CALLS_MAX}); {}",
        list.join(", ")
    );
    let mut failures: Vec<String> = trace
        .breaches
        .iter()
        .map(|b| format!("syscalls: network {network}: {b}"))
        .collect();
    if total > CALLS_MAX {
        failures.push(format!(
            "syscalls: network {network}: {total} calls, at most {CALLS_MAX}"
        ));
    }
    if trace.payloads.len() != 1 {
        failures.push(format!(
            "syscalls: network {network}: executed {:?}, only the payload was expected",
            trace.payloads
        ));
    }
    failures
}

/// Reads strace's lines: `PID name(arguments) = result`, with `<unfinished ...>` and `<... name resumed>` between threads.
fn parse(lines: &str) -> Trace {
    let mut trace = Trace::default();
    let mut payloads = BTreeSet::new();
    let mut unfinished: BTreeMap<&str, &str> = BTreeMap::new();
    for line in lines.lines() {
        let Some((pid, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if payloads.contains(pid) {
            continue;
        }
        let (call, counts) = match rest.strip_prefix("<... ") {
            Some(_) => (
                format!("{}{rest}", unfinished.remove(pid).unwrap_or_default()),
                false,
            ),
            None => (rest.to_owned(), true),
        };
        if rest.ends_with("<unfinished ...>") {
            unfinished.insert(pid, rest);
        }
        let Some(name) = call
            .split('(')
            .next()
            .filter(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        else {
            continue;
        };
        if counts && !is_debug_check(&call) {
            *trace.calls.entry(name.to_owned()).or_default() += 1;
            trace.breaches.extend(breach(name, &call));
        }
        if name.starts_with("execve") && call.trim_end().ends_with("= 0") {
            trace
                .payloads
                .push(call.split('"').nth(1).unwrap_or_default().to_owned());
            payloads.insert(pid.to_owned());
        }
    }
    trace
}

/// Whether std made this call in a debug build only: it looks whether a descriptor is open before it closes it.
fn is_debug_check(call: &str) -> bool {
    call.starts_with("fcntl(") && call.contains(", F_GETFD")
}

/// Why this call must not be on the way of a start.
fn breach(name: &str, call: &str) -> Option<String> {
    let shown: String = call.chars().take(160).collect();
    if SYNCS.contains(&name) {
        return Some(format!("a sync: {shown}"));
    }
    if matches!(name, "sendto" | "sendmsg" | "sendmmsg" | "write") {
        // One call may carry several messages.
        for message in call.split("{nlmsg_len=") {
            if message.contains("nlmsg_type=RTM_DELLINK") {
                return Some(format!("a link is deleted: {shown}"));
            }
            let changes = ["nlmsg_type=RTM_SETLINK", "nlmsg_type=RTM_NEWLINK"]
                .iter()
                .any(|t| message.contains(t));
            if changes && !message.contains("NLM_F_CREATE") && message.contains("IFLA_NET_NS") {
                return Some(format!("a link is moved: {shown}"));
            }
        }
    }
    let foreign = call.contains("/cgroup.procs>")
        && !call.contains(", \"0\"")
        && !call.contains(", \"0\\n\"");
    (name == "write" && foreign).then(|| format!("another process is moved into a cgroup: {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_once_and_the_payload_not_at_all() {
        let trace = parse(
            "10 read(3, \"\", 1) = 0\n\
             11 epoll_wait(4 <unfinished ...>\n\
             10 close(3) = 0\n\
             11 <... epoll_wait resumed>, [], 1, 0) = 0\n\
             12 execve(\"/payload\", [\"/payload\"], [] <unfinished ...>\n\
             10 --- SIGCHLD {si_signo=SIGCHLD} ---\n\
             12 <... execve resumed>) = 0\n\
             12 brk(NULL) = 0x1\n\
             12 +++ exited with 0 +++\n",
        );
        assert_eq!(trace.calls.values().sum::<usize>(), 4);
        assert_eq!(trace.payloads, ["/payload"]);
        assert!(trace.breaches.is_empty());
    }

    #[test]
    fn a_failed_execution_is_no_payload() {
        let trace = parse(
            "12 execve(\"/a\", [], []) = -1 ENOENT (No such file or directory)\n12 execve(\"/b\", [], []) = 0\n",
        );
        assert_eq!(trace.payloads, ["/b"]);
    }

    #[test]
    fn stalls_are_found() {
        for line in [
            "1 fdatasync(7</x>) = 0",
            "1 sendto(5<NETLINK>, [{nlmsg_len=1, nlmsg_type=RTM_DELLINK, nlmsg_flags=0}, {}], 1, 0, NULL, 0) = 1",
            "1 sendto(5<NETLINK>, [{nlmsg_type=RTM_SETLINK, nlmsg_flags=NLM_F_REQUEST}, {}, [{nla_type=IFLA_NET_NS_FD}, 9]], 1, 0, NULL, 0) = 1",
            "1 write(6</sys/fs/cgroup/pids/x/cgroup.procs>, \"4321\", 4) = 4",
        ] {
            assert_eq!(parse(line).breaches.len(), 1, "{line}");
        }
        for line in [
            "1 sendto(5<NETLINK>, [{nlmsg_type=RTM_NEWLINK, nlmsg_flags=NLM_F_REQUEST|NLM_F_CREATE}, {}, [{nla_type=IFLA_NET_NS_FD}, 9]], 1, 0, NULL, 0) = 1",
            "1 write(6</sys/fs/cgroup/pids/x/tasks>, \"0\", 1) = 1",
            "1 recvmsg(5<NETLINK>, [{nlmsg_len=1, nlmsg_type=RTM_DELLINK, nlmsg_flags=0}, {}], 0) = 1",
            "1 openat(5, \"cgroup.procs\", O_RDONLY) = 6</x/cgroup.procs>",
        ] {
            assert!(parse(line).breaches.is_empty(), "{line}");
        }
    }
}
