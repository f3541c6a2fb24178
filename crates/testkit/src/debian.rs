//! A Debian system with nginx, Redis and Python, made with debootstrap from the mirror that this machine uses for itself.
//!
//! It is built once and kept beside the tests' executables; deleting the file builds it anew.

use crate::lan;
use crate::program::find;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The name under which tests import it.
pub const IMAGE: &str = "gantry-test/debian:1";
const PACKAGES: &str = "nginx,redis-server,python3-minimal";

/// The mirror of the machine's own packages.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// As in a list of sources.
    pub url: String,
    /// Code name of the release.
    pub release: String,
    /// The server's name; port 80.
    pub server: String,
}

/// The mirror, if the machine has one that speaks plain HTTP; says why not.
pub fn mirror() -> Option<Mirror> {
    let format = [
        "--format",
        "$(REPO_URI) $(CODENAME) $(COMPONENT)",
        "Created-By: Packages",
    ];
    let output = Command::new("apt-get")
        .arg("indextargets")
        .args(format)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (url, release) = (words.next()?, words.next()?);
        let server = url.strip_prefix("http://")?.split('/').next()?;
        (words.next()? == "main" && !release.contains('-')).then(|| Mirror {
            url: url.to_owned(),
            release: release.to_owned(),
            server: server.to_owned(),
        })
    });
    if found.is_none() {
        eprintln!("skipped: apt-get names no mirror with http (run apt-get update)");
    }
    found
}

/// An archive of the system's root; none, with a word on stderr, where it cannot be made. Call it in a world.
///
/// # Panics
/// When a file beside the tests' executables cannot be written.
pub fn archive() -> Option<PathBuf> {
    let test = std::env::current_exe().expect("a test knows its executable");
    let folder = test
        .ancestors()
        .nth(2)
        .expect("tests lie in target/<profile>/deps");
    let kept = folder.join(format!("debian-{}.tar", std::env::consts::ARCH));
    // Tests run side by side: the second waits for what the first makes.
    let lock = std::fs::File::create(kept.with_extension("lock")).expect("a lock can be made");
    lock.lock().expect("a lock can be taken");
    if kept.is_file() {
        return Some(kept);
    }
    if find("debootstrap").is_none() {
        eprintln!("skipped: debootstrap is not installed (./test packages)");
        return None;
    }
    let mirror = mirror()?;
    // Within the world's own mounts: nothing is left of it. In memory, as dpkg syncs every file.
    let work = tempfile::tempdir().expect("a scratch directory can be made");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(work.path())
        .status();
    assert!(
        mounted.is_ok_and(|status| status.success()),
        "cannot mount a tmpfs"
    );
    let tree = work.path().join("tree");
    let log = folder.join("debootstrap.log");
    let include = format!("--include={PACKAGES}");
    let built = lan::outside(
        "debootstrap",
        &["--variant=minbase", &include, &mirror.release],
    )
    .arg(&tree)
    .arg(&mirror.url)
    .stdin(Stdio::null())
    .stdout(std::fs::File::create(&log).expect("a log can be made"))
    .stderr(Stdio::inherit())
    .status();
    let part = kept.with_extension("part");
    let packed = built.is_ok_and(|status| status.success()) && pack(&tree, &part);
    // Else the directory could not be removed.
    drop(Command::new("umount").arg("-l").arg(work.path()).status());
    if !packed {
        eprintln!(
            "skipped: debootstrap did not work (no network?); see {}",
            log.display()
        );
        return None;
    }
    std::fs::rename(&part, &kept).expect("a finished archive can be renamed");
    Some(kept)
}

/// Without what only this machine's build put there.
fn pack(tree: &std::path::Path, archive: &std::path::Path) -> bool {
    let status = Command::new("tar")
        .args([
            "--exclude=./proc/*",
            "--exclude=./sys/*",
            "--exclude=./var/cache/apt/archives/*.deb",
        ])
        .args(["--exclude=./var/lib/apt/lists/*", "--numeric-owner", "-cf"])
        .arg(archive)
        .arg("-C")
        .arg(tree)
        .arg(".")
        .status();
    status.is_ok_and(|status| status.success())
}
