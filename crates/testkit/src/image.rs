//! Images for tests: a small system with a shell, from the archives of real images or from this machine's busybox.

use crate::http::Client;
use crate::tar::Archive;
use std::fs;
use std::path::{Path, PathBuf};

/// The name that [`import_shell`] gives.
pub const SHELL: &str = "gantry-test/shell:1";

/// The folder with archives of real images, if the environment names one that exists.
pub fn real_images() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("GANTRY_TEST_IMAGES")?);
    let folder = fs::canonicalize(folder).ok()?;
    folder.is_dir().then_some(folder)
}

/// An archive of a root file system with a shell and the usual tools.
///
/// # Panics
/// When there are neither real images nor a static busybox.
pub fn shell_archive() -> Vec<u8> {
    if let Some(archive) = real_images()
        .map(|folder| folder.join(format!("alpine-3.20.3-{}.rootfs.tar.gz", architecture())))
        && archive.is_file()
    {
        return fs::read(&archive)
            .unwrap_or_else(|e| panic!("cannot read {}: {e}", archive.display()));
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .map(Path::new)
        .find(|p| p.is_file());
    from_busybox(
        busybox.expect("no image for tests: set GANTRY_TEST_IMAGES or install busybox-static"),
    )
}

/// Makes [`SHELL`] known to a daemon, unless it is.
///
/// # Panics
/// When the daemon does not take it.
pub fn import_shell(client: &mut Client) {
    let known = client
        .ask("GET", &format!("/images/{SHELL}/json"), None)
        .expect("the daemon answers");
    if known.status == 200 {
        return;
    }
    let (repository, tag) = SHELL.split_once(':').expect("the name has a tag");
    let path = format!("/images/create?fromSrc=-&repo={repository}&tag={tag}");
    let answer = client
        .upload(&path, &mut shell_archive().as_slice())
        .expect("the daemon imports an archive");
    let text = String::from_utf8_lossy(&answer.body);
    assert!(!text.contains("\"error\""), "{text}");
}

fn from_busybox(busybox: &Path) -> Vec<u8> {
    let applets = std::process::Command::new(busybox)
        .arg("--list")
        .output()
        .expect("busybox runs");
    let content = fs::read(busybox).expect("what runs can be read");
    let mut archive = Archive::new(Vec::new());
    let built: std::io::Result<()> = (|| {
        for folder in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"] {
            archive.folder(folder, if folder == "tmp" { 0o1777 } else { 0o755 })?;
        }
        for (name, text) in [
            (
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            ),
            ("etc/group", "root:x:0:\nnobody:x:65534:\n"),
        ] {
            archive.file(name, 0o644, text.as_bytes(), text.len() as u64)?;
        }
        archive.file(
            "bin/busybox",
            0o755,
            content.as_slice(),
            content.len() as u64,
        )?;
        for applet in String::from_utf8_lossy(&applets.stdout)
            .lines()
            .filter(|a| *a != "busybox")
        {
            archive.link(&format!("bin/{applet}"), "busybox")?;
        }
        Ok(())
    })();
    built
        .and_then(|()| archive.finish())
        .expect("memory takes any archive")
}

/// This machine, in Docker's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
