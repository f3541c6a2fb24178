//! `cargo xtask vm`: runs tests in small virtual machines with a distribution's kernel.
//!
//! The machines that build this project have a new kernel and hybrid cgroups; most users have an older one and v2 alone.
//! A guest is a Debian cloud kernel under QEMU without hardware help, and an initial file system with a static busybox.
//! Two stages run the runtime's kernel tests (`crates/runtime/tests/it/machine.rs`), with cgroup v2 alone and v1 alone;
//! the third, `daemon.sh`, runs a daemon and its containers with v2. Results come over the serial console.
//! `kernel` fetches the kernel and sorts its modules, `archive` writes the initial file system, `guest` boots it.

mod archive;
mod guest;
mod kernel;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Outcome;
use archive::Archive;
use kernel::Kernel;

pub(crate) const USAGE: &str = "\
usage: cargo xtask vm [FILTER...]

Runs tests under QEMU in three stages:
  unified, legacy  the cases of gantry-runtime's kernel tests whose names contain a FILTER (all without one)
  daemon           a daemon and containers; here a FILTER is the exact name of a case
needs: qemu-system-x86_64 (Debian: qemu-system-x86), strip (binutils) and a static /bin/busybox (busybox-static)
GANTRY_VM_KERNEL=FILE  boot/vmlinuz-RELEASE of an unpacked package (default: Debian's cloud kernel, fetched with
                       apt-get download); the stage daemon takes modules from lib/modules/RELEASE beside boot
GANTRY_VM_STAGE=NAME   just one stage";

/// The guest's shell.
const BUSYBOX: &str = "/bin/busybox";
const STAGES: [&str; 3] = ["unified", "legacy", "daemon"];
const DAEMON: &str = include_str!("vm/daemon.sh");

/// Boots one machine for each stage.
pub(crate) fn run(root: &Path, filters: &[&str]) -> Outcome {
    require_qemu()?;
    let only = std::env::var("GANTRY_VM_STAGE").ok();
    if let Some(unknown) = only.as_deref().filter(|name| !STAGES.contains(name)) {
        return Err(format!(
            "GANTRY_VM_STAGE is {unknown}, must be one of {}",
            STAGES.join(", ")
        ));
    }
    let folder = root.join("target/vm");
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let kernel = kernel::get(&folder)?;
    let mut failed = Vec::new();
    for stage in STAGES
        .into_iter()
        .filter(|stage| only.as_deref().is_none_or(|only| only == *stage))
    {
        println!("== {stage}, kernel: {}", kernel.image.display());
        let image = folder.join(format!("{stage}.cpio"));
        let command_line = match stage {
            "daemon" => {
                daemon_image(root, &folder, &kernel, &image)?;
                filters.join(" ")
            }
            layout => {
                runtime_image(root, &folder, &image)?;
                format!("--machine {layout} {}", filters.join(" "))
            }
        };
        let started = Instant::now();
        let passed = guest::boot(&kernel.image, &image, &command_line)?;
        println!(
            "== {stage}: {} after {:.0?}",
            if passed { "passed" } else { "FAILED" },
            started.elapsed()
        );
        if !passed {
            failed.push(stage);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(" and ")))
    }
}

fn require_qemu() -> Outcome {
    match Command::new("qemu-system-x86_64")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
    {
        Ok(status) if status.success() => Ok(()),
        _ => Err(
            "qemu-system-x86_64 is not installed; Debian and Ubuntu have it in qemu-system-x86"
                .to_owned(),
        ),
    }
}

/// The static test binary, optimized since a guest is slow, as the first process.
fn runtime_image(root: &Path, folder: &Path, image: &Path) -> Outcome {
    let arguments = [
        "test",
        "--release",
        "--package",
        "gantry-runtime",
        "--test",
        "it",
        "--no-run",
    ];
    let binary = stripped(&built(root, &arguments)?, folder)?;
    let [binary] = binary.as_slice() else {
        return Err("cargo named not exactly one executable".to_owned());
    };
    write_image(image, |archive| {
        for name in ["proc", "sys", "tmp", "run", "mnt", "etc", "root", "bin"] {
            archive.folder(name)?;
        }
        archive.program("init", &binary.1)?;
        archive.program("bin/busybox", &std::fs::read(BUSYBOX)?)
    })
}

/// Both executables, a script as the first process, and kernel modules for `modprobe`.
fn daemon_image(root: &Path, folder: &Path, kernel: &Kernel, image: &Path) -> Outcome {
    let arguments = ["build", "--package", "gantry", "--package", "gantry-shim"];
    let binaries = stripped(&built(root, &arguments)?, folder)?;
    let modules = kernel.modules()?;
    write_image(image, |archive| {
        for name in ["bin", "sbin", "lib", "lib/modules"] {
            archive.folder(name)?;
        }
        archive.program("init", DAEMON.as_bytes())?;
        archive.program("bin/busybox", &std::fs::read(BUSYBOX)?)?;
        archive.link("bin/sh", "busybox")?;
        // The kernel calls it by this name.
        archive.link("sbin/modprobe", "../bin/busybox")?;
        for (name, content) in &binaries {
            archive.program(&format!("bin/{name}"), content)?;
        }
        let folder = format!("lib/modules/{}", modules.release);
        archive.folder(&folder)?;
        for (name, content) in &modules.files {
            archive.program(&format!("{folder}/{name}"), content)?;
        }
        Ok(())
    })
}

fn write_image(
    image: &Path,
    fill: impl FnOnce(&mut Archive<std::io::BufWriter<std::fs::File>>) -> std::io::Result<()>,
) -> Outcome {
    let write = || {
        let mut archive = Archive::new(std::io::BufWriter::new(std::fs::File::create(image)?))?;
        fill(&mut archive)?;
        archive.finish().map(drop)
    };
    write().map_err(|error| format!("cannot write {}: {error}", image.display()))
}

/// Executables that a run of cargo made.
fn built(root: &Path, arguments: &[&str]) -> Result<Vec<PathBuf>, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(arguments)
        .args(["--message-format", "json"])
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo {} failed", arguments.join(" ")));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executables = messages
        .lines()
        .filter_map(|line| line.split_once("\"executable\":\"")?.1.split_once('"'));
    Ok(executables.map(|(path, _)| PathBuf::from(path)).collect())
}

/// Names and contents of executables without debug information: what a guest holds costs memory and time.
fn stripped(paths: &[PathBuf], folder: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
    let to = folder.join("stripped");
    let one = |path: &PathBuf| {
        output(
            Command::new("strip")
                .args(["--strip-debug", "-o"])
                .arg(&to)
                .arg(path),
        )?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let content = std::fs::read(&to).map_err(|error| error.to_string())?;
        Ok((name.into_owned(), content))
    };
    paths.iter().map(one).collect()
}

fn output(command: &mut Command) -> Result<String, String> {
    raw_output(command).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn raw_output(command: &mut Command) -> Result<Vec<u8>, String> {
    let name = command.get_program().display().to_string();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let detail = String::from_utf8_lossy(&output.stderr);
        Err(format!("{name}: {}", detail.trim()))
    }
}
