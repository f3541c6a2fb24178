//! `cargo xtask vm`: runs the runtime's kernel tests in small virtual machines, one with cgroup v2 alone, one with v1 alone.
//!
//! The machines that build this project have hybrid cgroups, so limits of v2 can be tried nowhere else.
//! A guest is a Debian cloud kernel under QEMU without hardware help, and an initial file system that holds just the
//! static test binary as its first process (`crates/runtime/tests/it/machine.rs`) and a static busybox as its shell.
//! Results come over the serial console.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Outcome;

pub(crate) const USAGE: &str = "\
usage: cargo xtask vm [FILTER...]

Runs the cases of gantry-runtime's kernel tests whose names contain a FILTER (all without one) under QEMU.
needs: qemu-system-x86_64 (Debian: qemu-system-x86), strip (binutils) and a static /bin/busybox (busybox-static)
GANTRY_VM_KERNEL=FILE  kernel to boot (default: Debian's cloud kernel, fetched with apt-get download)
GANTRY_VM_LAYOUT=NAME  just one layout: unified or legacy";

/// What the guest says when every case passed; see `machine.rs`.
const PASSED: &str = "machine: all cases passed";
/// A guest without hardware help is slow, and the host may be busy.
const TIMEOUT: Duration = Duration::from_mins(10);
/// The guest's shell, for hooks.
const BUSYBOX: &str = "/bin/busybox";
const LAYOUTS: [&str; 2] = ["unified", "legacy"];

/// Boots one machine for each layout.
pub(crate) fn run(root: &Path, filters: &[&str]) -> Outcome {
    require_qemu()?;
    let folder = root.join("target/vm");
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let kernel = kernel(&folder)?;
    let binary = folder.join("it");
    // Every case copies the program, and a guest is slow.
    output(
        Command::new("strip")
            .args(["--strip-debug", "-o"])
            .arg(&binary)
            .arg(build(root)?),
    )?;
    let image = folder.join("initramfs.cpio");
    initial_file_system(&binary, &image)
        .map_err(|error| format!("cannot write {}: {error}", image.display()))?;
    let only = std::env::var("GANTRY_VM_LAYOUT").ok();
    if let Some(unknown) = only.as_deref().filter(|name| !LAYOUTS.contains(name)) {
        return Err(format!(
            "GANTRY_VM_LAYOUT is {unknown}, must be unified or legacy"
        ));
    }
    let mut failed = Vec::new();
    for layout in LAYOUTS
        .into_iter()
        .filter(|layout| only.as_deref().is_none_or(|only| only == *layout))
    {
        println!("== cgroups: {layout}, kernel: {}", kernel.display());
        let started = Instant::now();
        let passed = boot(&kernel, &image, layout, filters)?;
        println!(
            "== cgroups: {layout}: {} after {:.0?}",
            if passed { "passed" } else { "FAILED" },
            started.elapsed()
        );
        if !passed {
            failed.push(layout);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed with cgroups {}", failed.join(" and ")))
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

/// The static test binary, optimized: a guest is slow enough.
fn build(root: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = [
        "test",
        "--package",
        "gantry-runtime",
        "--test",
        "it",
        "--release",
        "--no-run",
        "--message-format",
        "json",
    ];
    let output = Command::new(cargo)
        .current_dir(root)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err("the test binary does not build".to_owned());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages
        .lines()
        .filter_map(|line| line.split_once("\"executable\":\"")?.1.split_once('"'))
        .next_back();
    executable
        .map(|(path, _)| PathBuf::from(path))
        .ok_or_else(|| "cargo named no executable".to_owned())
}

/// The given kernel, one that was fetched before, or a fresh one from the distribution.
fn kernel(folder: &Path) -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os("GANTRY_VM_KERNEL") {
        return Ok(given.into());
    }
    if let Some(found) = fetched(folder) {
        return Ok(found);
    }
    let listing = output(Command::new("apt-cache").args([
        "depends",
        "--important",
        "linux-image-cloud-amd64",
    ]))?;
    let package = listing
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"));
    let package = package.ok_or("apt knows no linux-image-cloud-amd64; set GANTRY_VM_KERNEL")?;
    println!("fetching {package}");
    output(
        Command::new("apt-get")
            .current_dir(folder)
            .args(["download", package]),
    )?;
    let archives = std::fs::read_dir(folder)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path());
    let archive = archives
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let archive = archive.ok_or("apt-get download left no package")?;
    output(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&archive)
            .arg(folder.join("kernel")),
    )?;
    let _ = std::fs::remove_file(archive);
    fetched(folder).ok_or_else(|| format!("{package} has no boot/vmlinuz"))
}

fn fetched(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder.join("kernel/boot"))
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    files.into_iter().find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
    })
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let failed = |detail: String| format!("{name}: {detail}");
    let output = Command::new(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap_or_else(|| Path::new(".")))
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs one guest and shows what it prints; whether every case passed.
fn boot(kernel: &Path, image: &Path, layout: &str, filters: &[&str]) -> Result<bool, String> {
    let append = format!(
        "console=ttyS0 panic=-1 quiet -- --machine {layout} {}",
        filters.join(" ")
    );
    let mut guest = Command::new("qemu-system-x86_64")
        .args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-smp",
            "2",
            "-m",
            "1024",
        ])
        // With cmpxchg16b guests of QEMU 7.2 die by double faults; five-level page tables cost time and have no use here.
        .args([
            "-cpu",
            "max,-cx16,la57=off",
            "-nodefaults",
            "-nographic",
            "-no-reboot",
            "-serial",
            "stdio",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .args(["-append", append.trim_end()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run qemu-system-x86_64: {error}"))?;
    let console = guest.stdout.take().expect("is piped");
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                .is_err()
            {
                break;
            }
        }
    });
    let deadline = Instant::now() + TIMEOUT;
    let mut passed = false;
    let ended = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                passed |= line.contains(PASSED);
                println!("{line}");
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
    };
    if !ended {
        let _ = guest.kill();
    }
    let _ = guest.wait();
    let _ = reader.join();
    if ended {
        Ok(passed)
    } else {
        Err(format!("the machine was not done after {TIMEOUT:?}"))
    }
}

/// A cpio archive (`newc`) with the binary as `/init` and the console's node.
fn initial_file_system(binary: &Path, image: &Path) -> std::io::Result<()> {
    const FOLDER: u32 = 0o040_755;
    const PROGRAM: u32 = 0o100_755;
    const CHARACTER_DEVICE: u32 = 0o020_600;
    let program = std::fs::read(binary)?;
    let busybox = std::fs::read(BUSYBOX)?;
    let mut archive = Archive {
        file: std::io::BufWriter::new(std::fs::File::create(image)?),
        entries: 0,
    };
    for folder in [
        "dev", "proc", "sys", "tmp", "run", "mnt", "etc", "root", "bin",
    ] {
        archive.add(folder, FOLDER, (0, 0), &[])?;
    }
    archive.add("dev/console", CHARACTER_DEVICE, (5, 1), &[])?;
    archive.add("init", PROGRAM, (0, 0), &program)?;
    archive.add("bin/busybox", PROGRAM, (0, 0), &busybox)?;
    archive.add("TRAILER!!!", 0, (0, 0), &[])?;
    archive.file.flush()
}

struct Archive<W> {
    file: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    fn add(
        &mut self,
        name: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> std::io::Result<()> {
        const MAGIC: &str = "070701";
        const HEADER_LEN: usize = 110;
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
        let name_len =
            u32::try_from(name.len() + 1).map_err(|_| std::io::ErrorKind::InvalidFilename)?;
        // inode, mode, user, group, links, time, size, device, device node, length of the name, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            name_len,
            0,
        ];
        write!(self.file, "{MAGIC}")?;
        for field in fields {
            write!(self.file, "{field:08x}")?;
        }
        write!(self.file, "{name}\0")?;
        self.pad(HEADER_LEN + name.len() + 1)?;
        self.file.write_all(content)?;
        self.pad(content.len())
    }

    /// Everything begins at a multiple of four bytes.
    fn pad(&mut self, length: usize) -> std::io::Result<()> {
        self.file
            .write_all(&[0; 3][..length.next_multiple_of(4) - length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_aligned_and_end_with_the_trailer() {
        let mut archive = Archive {
            file: Vec::new(),
            entries: 0,
        };
        archive
            .add("init", 0o100_755, (0, 0), b"12345")
            .expect("writes to memory");
        archive
            .add("TRAILER!!!", 0, (0, 0), &[])
            .expect("writes to memory");
        let bytes = archive.file;
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(
            &bytes[116..121],
            b"12345",
            "the header and the name are 115 bytes long, so one is put between"
        );
        let second = 124;
        assert_eq!(&bytes[second..second + 6], b"070701");
        assert_eq!(&bytes[second + 110..second + 121], b"TRAILER!!!\0");
    }
}
