//! Anonymous files in memory whose content can no longer change: our own executable, and documents handed to a shim.
//!
//! Does not execute anything: `std::process::Command::new(memfd::path(&fd))` does, while the descriptor is open.

use rustix::fs::{MemfdFlags, SealFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// An executable copy of all of `file`, sealed. `name` shows in `/proc/PID/exe` as `/memfd:name (deleted)`.
pub fn sealed_executable(name: &str, file: impl AsFd) -> io::Result<OwnedFd> {
    // Without the flag a host with vm.memfd_noexec=1 makes the file unexecutable; kernels before 6.3 do not know it.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        other => other?,
    };
    let mut offset = 0_u64;
    while rustix::io::retry_on_intr(|| {
        rustix::fs::sendfile(&copy, file.as_fd(), Some(&mut offset), 1 << 30)
    })? > 0
    {}
    seal(&copy)?;
    Ok(copy)
}

/// `bytes` as a sealed file that is not executable, to be read from its start.
pub fn sealed_bytes(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // NOEXEC_SEAL is for hosts with vm.memfd_noexec=2, which refuse anything else.
    let file = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        other => other?,
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        // pwrite keeps the file's offset, which the reader shares, at 0.
        let position = (bytes.len() - rest.len()) as u64;
        let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&file, rest, position))?;
        rest = &rest[written..];
    }
    seal(&file)?;
    Ok(file)
}

/// Whether every change of `file` is impossible: it is a memfd with all seals of [`sealed_executable`].
pub fn is_sealed(file: impl AsFd) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS))
}

/// A path under which this process (or a child that inherits the descriptor) can open or execute `fd`.
pub fn path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// The kernel refuses while a page of the file is still referred to, as it can be for a moment after the copy on a busy machine.
fn seal(file: &OwnedFd) -> io::Result<()> {
    const ATTEMPTS: u32 = 100;
    for _ in 1..ATTEMPTS {
        match rustix::fs::fcntl_add_seals(file, SEALS) {
            Err(rustix::io::Errno::BUSY) => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            other => return Ok(other?),
        }
    }
    Ok(rustix::fs::fcntl_add_seals(file, SEALS)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn a_sealed_copy_runs_and_cannot_be_changed() {
        let original = File::open("/bin/true").expect("exists");
        let copy = sealed_executable("truth", &original).expect("is copied");
        assert!(is_sealed(&copy) && !is_sealed(&original));
        let status = std::process::Command::new(path(&copy))
            .status()
            .expect("is executed");
        assert!(status.success());
        let mut file = File::from(copy);
        assert_eq!(
            file.metadata().expect("has").len(),
            original.metadata().expect("has").len()
        );
        assert!(file.write_all(b"x").is_err() && file.set_len(1).is_err());
        assert!(rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE).is_err());
        // Also not through a fresh descriptor, which is what an attacker in the container would use.
        let again = std::fs::OpenOptions::new().write(true).open(path(&file));
        assert!(again.and_then(|mut file| file.write_all(b"x")).is_err());
    }

    #[test]
    fn sealed_bytes_are_read_from_the_start() {
        let content = vec![b'a'; 300_000];
        let mut file = File::from(sealed_bytes("config", &content).expect("is made"));
        let mut read = Vec::new();
        file.read_to_end(&mut read).expect("is read");
        assert_eq!(read, content);
        assert!(is_sealed(&file));
    }
}
