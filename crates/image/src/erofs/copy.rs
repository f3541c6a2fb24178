//! A reader that writes what it reads into a layer's file, as it comes.

use super::TAR_OFFSET;
use crate::Limits;
use std::fs::File;
use std::io::{BufRead, Error, Read, Result};
use std::os::unix::fs::FileExt as _;

/// How many bytes are written between two looks at the free space.
const SPACE_CHECK_BYTES: u64 = 32 << 20;

/// Copies all that passes through.
pub(super) struct Copying<'a, R> {
    input: R,
    file: &'a File,
    /// How much was consumed by the reader of this.
    position: u64,
    /// How much lies in the file.
    written: u64,
    free_bytes_min: u64,
    unchecked_bytes: u64,
}

impl<'a, R> Copying<'a, R> {
    pub(super) fn new(input: R, file: &'a File, limits: &Limits) -> Self {
        Self {
            input,
            file,
            position: 0,
            written: 0,
            free_bytes_min: limits.free_bytes_min,
            unchecked_bytes: 0,
        }
    }
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}

impl<R: BufRead> BufRead for Copying<'_, R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        let bytes = self.input.fill_buf()?;
        let known = usize::try_from(self.written - self.position).expect("is within a buffer");
        if let Some(new) = bytes.get(known..).filter(|new| !new.is_empty()) {
            let begin = TAR_OFFSET + self.written;
            self.file.write_all_at(new, begin)?;
            self.written += new.len() as u64;
            gantry_sys::file::write_behind(self.file, begin, TAR_OFFSET + self.written);
            self.unchecked_bytes += new.len() as u64;
            if self.unchecked_bytes >= SPACE_CHECK_BYTES {
                self.unchecked_bytes = 0;
                check_space(self.file, self.free_bytes_min)?;
            }
        }
        Ok(bytes)
    }
    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.position += count as u64;
    }
}

impl<R: BufRead> Read for Copying<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// Stops before the disk is full for everybody else.
fn check_space(file: &File, bytes_min: u64) -> Result<()> {
    let space = rustix::fs::fstatvfs(file)?;
    if space.f_bavail.saturating_mul(space.f_frsize) < bytes_min {
        return Err(Error::from_raw_os_error(libc::ENOSPC));
    }
    Ok(())
}
