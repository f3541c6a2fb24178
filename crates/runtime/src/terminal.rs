//! Pseudo-terminals of a container: made in its own devpts, and verified to be what they seem.

use gantry_oci::runtime::ConsoleSize;
use gantry_sys::mount::{self, DEVPTS_MAGIC};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Context, Error, Result};

/// Both ends of a pseudo-terminal.
pub(crate) struct Terminal {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}

/// Opens a new pseudo-terminal of the devpts whose root is `devpts`.
pub(crate) fn open(devpts: impl AsFd, size: Option<&ConsoleSize>) -> Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master =
        rustix::fs::openat(devpts, "ptmx", flags, Mode::empty()).context("open /dev/pts/ptmx")?;
    let stat = rustix::fs::fstat(&master)?;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2)
        && mount::filesystem_magic(&master)? == DEVPTS_MAGIC;
    if !is_ptmx {
        return Err(Error::internal(
            "/dev/pts/ptmx is not a terminal multiplexer",
        ));
    }
    rustix::pty::unlockpt(&master).context("unlock the terminal")?;
    // Asked of the master itself: a name in /dev/pts could be another terminal by now.
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, peer).context("open the terminal")?;
    if let Some(size) = size.filter(|size| size.height != 0 || size.width != 0) {
        let size = Winsize {
            ws_row: size.height,
            ws_col: size.width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size).context("set the size of the terminal")?;
    }
    Ok(Terminal { master, slave })
}

/// Makes a terminal the controlling one of this session, which must have none.
pub(crate) fn control(slave: impl AsFd) -> Result<()> {
    rustix::process::ioctl_tiocsctty(slave).context("cannot set the controlling terminal")
}

/// Makes three descriptors the standard streams.
pub(crate) fn set_streams(stdin: impl AsFd, stdout: impl AsFd, stderr: impl AsFd) -> Result<()> {
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    Ok(rustix::stdio::dup2_stderr(stderr)?)
}
