//! What runs inside the containers: prints what a process there sees.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

/// Does what the first argument says, with the rest; several may be joined by `+`.
pub(crate) fn main(arguments: &[String]) -> i32 {
    let Some(what) = arguments.first() else {
        return 2;
    };
    for word in what.split('+') {
        let rest = &arguments[1..];
        match word {
            "status" => print("/proc/self/status"),
            "mounts" => print("/proc/self/mountinfo"),
            "limits" => print("/proc/self/limits"),
            "cat" => rest.iter().for_each(|path| print(path)),
            "env" => std::env::vars_os()
                .for_each(|(name, value)| println!("{}={}", name.display(), value.display())),
            "cwd" => println!(
                "{}",
                std::env::current_dir()
                    .map_or_else(|error| error.to_string(), |path| path.display().to_string())
            ),
            "fds" => fds(),
            "ls" => rest.iter().for_each(|path| list(path)),
            "write" => write(&rest[0], &rest[1]),
            "exit" => return rest[0].parse().unwrap_or(1),
            "sleep" => std::thread::sleep(std::time::Duration::from_mins(1)),
            "namespaces" => namespaces(),
            "tty" => println!(
                "tty {}",
                std::io::IsTerminal::is_terminal(&std::io::stdin())
            ),
            "ignore" => {
                for number in [1, 2, 15] {
                    gantry_sys::supervise::ignore_signals(&[number]);
                }
            }
            "orphan" => orphan(),
            "fork" => {
                let program = std::env::current_exe().expect("is known");
                let child = std::process::Command::new(program)
                    .arg0("probe")
                    .arg("nap")
                    .spawn();
                // Not waited for: that is what an init is there for.
                std::mem::forget(child.expect("starts"));
            }
            "nap" => std::thread::sleep(std::time::Duration::from_millis(100)),
            "hostname" => print("/proc/sys/kernel/hostname"),
            other => {
                println!("unknown word {other}");
                return 2;
            }
        }
    }
    0
}

fn print(path: &str) {
    match std::fs::read(path) {
        Ok(bytes) => print!("{}", String::from_utf8_lossy(&bytes)),
        Err(error) => println!("{path}: {error}"),
    }
}

fn write(path: &str, text: &str) {
    match std::fs::write(path, text) {
        Ok(()) => println!("wrote {path}"),
        Err(error) => println!("{path}: {error}"),
    }
}

fn fds() {
    // The listing's own descriptor is one of them; it is gone once its link is read.
    let numbers: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .expect("is listed")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    for path in numbers {
        if let Ok(target) = std::fs::read_link(&path) {
            println!(
                "{} {}",
                path.file_name().expect("is a number").display(),
                target.display()
            );
        }
    }
}

fn list(path: &str) {
    let mut lines: Vec<String> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let stat = entry.path().symlink_metadata().ok()?;
            let target = std::fs::read_link(entry.path())
                .map(|target| format!(" -> {}", target.display()))
                .unwrap_or_default();
            Some(format!(
                "{} {:o} {}:{} {:x}{target}",
                entry.file_name().display(),
                stat.mode(),
                stat.uid(),
                stat.gid(),
                stat.rdev()
            ))
        })
        .collect();
    lines.sort();
    for line in lines {
        println!("{line}");
    }
}

fn namespaces() {
    for kind in gantry_sys::namespace::Kind::ALL {
        let link = std::fs::read_link(format!("/proc/self/ns/{}", kind.proc_name()));
        println!(
            "{} {}",
            kind.name(),
            link.map_or_else(|error| error.to_string(), |link| link.display().to_string())
        );
    }
}

/// Leaves a child behind whose parent ends, and tells whether somebody has reaped it in the end.
fn orphan() {
    let program = std::env::current_exe().expect("is known");
    let mut middle = std::process::Command::new(&program)
        .arg0("probe")
        .arg("fork")
        .spawn()
        .expect("starts");
    middle.wait().expect("is reaped");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let zombies = || {
        std::fs::read_dir("/proc")
            .expect("is listed")
            .flatten()
            .filter(|entry| {
                std::fs::read_to_string(entry.path().join("stat"))
                    .is_ok_and(|text| text.contains(") Z "))
            })
            .count()
    };
    // Reaping takes as long as the machine is busy.
    for _ in 0..100 {
        if zombies() == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    println!("zombies {}", zombies());
}

/// Exchanges two names until it is killed.
pub(crate) fn swap(one: &Path, other: &Path) {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    loop {
        let _ = rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, flags);
    }
}
