//! A file's content as memory, without a copy of it in this process's own memory.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A private read-only mapping of a whole file.
///
/// For files that nobody truncates, sealed ones best: reading beyond a new end kills the process.
#[derive(Debug)]
pub struct FileMap {
    address: *mut libc::c_void,
    length: usize,
}

impl FileMap {
    /// Maps a regular file of at most `bytes_max` bytes.
    pub fn open(file: BorrowedFd<'_>, bytes_max: usize) -> io::Result<Self> {
        let length = usize::try_from(rustix::fs::fstat(file)?.st_size)
            .map_err(|_| io::ErrorKind::InvalidData)?;
        if length > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if length == 0 {
            return Ok(Self {
                address: std::ptr::null_mut(),
                length,
            });
        }
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { address, length })
        }
    }
    /// The content.
    pub fn bytes(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: the mapping is readable, has this length, and lives as long as self.
        unsafe { std::slice::from_raw_parts(self.address.cast(), self.length) }
    }
}

impl Drop for FileMap {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: unmaps exactly what open mapped; no reference outlives self.
            unsafe { libc::munmap(self.address, self.length) };
        }
    }
}
