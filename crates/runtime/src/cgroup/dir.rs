//! One cgroup's directory in one hierarchy: reading and writing its files, with errors in runc's words.

use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;

use gantry_base::{Error, Result};
use rustix::fs::{Mode, OFlags};

use super::Hierarchy;

/// Control files are small; `memory.stat` of a large machine is the largest that is read.
const READ_STEP: usize = 4096;

/// A directory, named from the hierarchy's root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dir<'a> {
    pub(super) hierarchy: &'a Hierarchy,
    /// Without a leading slash; empty for the root itself.
    pub(super) path: &'a str,
}

impl<'a> Dir<'a> {
    pub(super) fn new(hierarchy: &'a Hierarchy, path: &'a str) -> Self {
        Self { hierarchy, path }
    }

    /// Writes a control file in one piece.
    pub(super) fn write(&self, file: &str, value: impl Display) -> Result<()> {
        let value = value.to_string();
        self.try_write(file, &value)
            .map_err(|error| self.write_error(file, &value, error))
    }

    /// Writes several values to one file, one write each.
    pub(super) fn write_each(&self, file: &str, values: &[String]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let fd = self
            .open(file, OFlags::WRONLY)
            .map_err(|error| self.write_error(file, &values[0], error))?;
        values.iter().try_for_each(|value| {
            write_whole(&fd, value).map_err(|error| self.write_error(file, value, error))
        })
    }

    pub(super) fn try_write(&self, file: &str, value: &str) -> io::Result<()> {
        write_whole(&self.open(file, OFlags::WRONLY)?, value)
    }

    pub(super) fn read(&self, file: &str) -> Result<String> {
        self.try_read(file)
            .map_err(|error| Error::from(error).prefixed(format!("read {}", self.shown(file))))
    }

    pub(super) fn try_read(&self, file: &str) -> io::Result<String> {
        let fd = self.open(file, OFlags::RDONLY)?;
        let mut content = Vec::new();
        loop {
            let length = content.len();
            content.resize(length + READ_STEP, 0);
            let read = rustix::io::read(&fd, &mut content[length..])?;
            content.truncate(length + read);
            // The kernel gives as much as fits; a short read of such a file is its end.
            if read < READ_STEP {
                return String::from_utf8(content).map_err(|_| io::ErrorKind::InvalidData.into());
            }
        }
    }

    /// Reads a file with one number; `max` is the greatest.
    pub(super) fn read_number(&self, file: &str) -> Result<u64> {
        let text = self.read(file)?;
        match text.trim() {
            "max" => Ok(u64::MAX),
            number => number.parse().map_err(|_| {
                Error::internal(format!(
                    "{} holds no number: \"{number}\"",
                    self.shown(file)
                ))
            }),
        }
    }

    pub(super) fn exists(&self, file: &str) -> bool {
        rustix::fs::accessat(
            &self.hierarchy.root,
            self.name(file),
            rustix::fs::Access::EXISTS,
            rustix::fs::AtFlags::empty(),
        )
        .is_ok()
    }

    pub(super) fn open(&self, file: &str, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(
            &self.hierarchy.root,
            self.name(file),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    /// The directory itself.
    pub(super) fn open_self(&self, flags: OFlags) -> Result<OwnedFd> {
        let path = if self.path.is_empty() { "." } else { self.path };
        rustix::fs::openat(
            &self.hierarchy.root,
            path,
            flags | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| {
            Error::from(io::Error::from(error)).prefixed(format!("open {}", self.shown("")))
        })
    }

    /// The path as the user knows it.
    pub(super) fn shown(&self, file: &str) -> String {
        let mut path = self.hierarchy.point.clone();
        for part in [self.path, file] {
            if !part.is_empty() {
                path.push('/');
                path.push_str(part);
            }
        }
        path
    }

    fn name(&self, file: &str) -> String {
        if self.path.is_empty() {
            file.to_owned()
        } else {
            format!("{}/{file}", self.path)
        }
    }

    pub(super) fn write_error(&self, file: &str, value: &str, error: io::Error) -> Error {
        Error::from(error).prefixed(format!(
            "failed to write \"{}\": write {}",
            value.escape_debug(),
            self.shown(file)
        ))
    }
}

fn write_whole(fd: &OwnedFd, value: &str) -> io::Result<()> {
    let written = rustix::io::write(fd, value.as_bytes())?;
    if written == value.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Whether the error is this one of the kernel's.
pub(super) fn is(error: &io::Error, errno: rustix::io::Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
