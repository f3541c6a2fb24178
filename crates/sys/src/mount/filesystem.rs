//! New file systems by fsopen(2), and what the kernel has to say about their options.

use super::Attributes;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A file system being configured; [`FsContext::create`] or [`FsContext::open_existing`] makes a mount of it.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
}

impl FsContext {
    /// A new instance of a file system type.
    pub fn open(kind: &str) -> io::Result<Self> {
        Ok(Self {
            fd: rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?,
        })
    }
    /// Sets an option that has no value.
    pub fn flag(&self, key: &str) -> io::Result<()> {
        self.explain(rustix::mount::fsconfig_set_flag(self.fd.as_fd(), key))
    }
    /// Sets an option; at most 255 bytes, a limit of the kernel.
    pub fn string(&self, key: &str, value: impl AsRef<Path>) -> io::Result<()> {
        self.explain(rustix::mount::fsconfig_set_string(
            self.fd.as_fd(),
            key,
            value.as_ref(),
        ))
    }
    /// Sets an option to a descriptor.
    pub fn fd(&self, key: &str, value: BorrowedFd<'_>) -> io::Result<()> {
        self.explain(rustix::mount::fsconfig_set_fd(self.fd.as_fd(), key, value))
    }
    /// Creates the file system and a detached mount of it.
    pub fn create(&self, attributes: Attributes) -> io::Result<OwnedFd> {
        self.explain(rustix::mount::fsconfig_create(self.fd.as_fd()))?;
        let bits = u32::try_from(attributes.0).map_err(|_| io::Error::from(Errno::INVAL))?;
        self.explain(rustix::mount::fsmount(
            self.fd.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::from_bits_retain(bits),
        ))
    }
    /// The descriptor, for callers that decide when it is closed.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
    /// What the kernel said, the newest message last; empty if nothing.
    pub fn messages(&self) -> String {
        let mut text = String::new();
        let mut buffer = [0_u8; 512];
        while let Ok(length) = rustix::io::read(&self.fd, &mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..length]);
            // "e overlay: no such layer": a class, then the text.
            let line = line.trim_end();
            let line = line.get(2..).unwrap_or(line);
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(line);
            if length == 0 {
                break;
            }
        }
        text
    }

    fn explain<T>(&self, result: rustix::io::Result<T>) -> io::Result<T> {
        result.map_err(|errno| {
            let error = io::Error::from(errno);
            let messages = self.messages();
            if messages.is_empty() {
                error
            } else {
                io::Error::new(error.kind(), Explained { error, messages })
            }
        })
    }
}

/// An errno and what the kernel wrote about it.
#[derive(Debug)]
struct Explained {
    error: io::Error,
    messages: String,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        write!(f, "{} ({})", text.to_lowercase(), self.messages)
    }
}

impl std::error::Error for Explained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The error number of an error made in this module, also of one that carries the kernel's messages.
pub fn errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        error
            .get_ref()?
            .downcast_ref::<Explained>()?
            .error
            .raw_os_error()
    })
}

/// A new file system with options as in mount(8): `size=64k`, `ro`-less flags, in order.
pub fn new_filesystem(
    kind: &str,
    source: Option<&str>,
    options: &[(&str, Option<&str>)],
    attributes: Attributes,
) -> io::Result<OwnedFd> {
    let context = FsContext::open(kind)?;
    if let Some(source) = source {
        context.string("source", source)?;
    }
    for (key, value) in options {
        match value {
            Some(value) => context.string(key, value)?,
            None => context.flag(key)?,
        }
    }
    context.create(attributes)
}
